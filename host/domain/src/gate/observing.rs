//! Events that were seen elsewhere: they have happened, and are judged (rule 39).

use std::sync::atomic::Ordering;

use super::{Finished, Gate};
use crate::event::{ClientId, Request};
use crate::order::Judged;
use crate::sighting::Sighting;
use crate::source::Source;
use crate::time::{Clock, Timestamp};

/// What became of an event that was seen elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Its source was banned at that time: nothing new comes of it.
    Banned,
    /// The policies judged, and what they ordered is in force.
    Judged(Judged),
}

/// A sighting's time, as a clock that stands.
struct Standing(Timestamp);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        self.0
    }
}

impl Gate {
    /// A login attempt that was seen elsewhere. It takes no turn and is judged
    /// although its id waits: it has happened. It verifies nobody, since nobody
    /// here has seen a secret; `finished.secret` is not looked at.
    pub fn observe_attempt(
        &self,
        sighting: &Sighting<'_>,
        source: Source,
        client_id: Option<&ClientId>,
        finished: &Finished<'_>,
    ) -> Observed {
        let Some(clock) = self.standing_at(sighting, source) else { return Observed::Banned };
        let judged = self.judge_finished(source, client_id, finished, &clock, sighting.origin);
        self.changes.fetch_add(1, Ordering::Release);
        Observed::Judged(judged)
    }

    /// A request that was seen elsewhere, with the status of its reply.
    pub fn observe_request(&self, sighting: &Sighting<'_>, request: &Request<'_>) -> Observed {
        let Some(clock) = self.standing_at(sighting, request.source) else { return Observed::Banned };
        Observed::Judged(self.judge_answered(request, &clock, sighting.origin))
    }

    /// The time of a sighting, which is never in the gate's future; none if its
    /// source was banned then, or is still.
    fn standing_at(&self, sighting: &Sighting<'_>, source: Source) -> Option<Standing> {
        let now = self.clock.now();
        let at = sighting.at.min(now);
        let behind = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        if behind > self.behind.load(Ordering::Relaxed) {
            self.behind.fetch_max(behind, Ordering::Relaxed);
        }
        let banned =
            self.store.banned_until(source.address(), at).is_some() && !self.ruleset().source.spares(source.address());
        (!banned).then_some(Standing(at))
    }
}
