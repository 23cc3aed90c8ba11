//! The gate: admits, lets attempts pass one by one, has them judged, and puts
//! what is ordered in force.
//!
//! The order of things is in the types. Only [`Gate::admit`] makes an
//! [`Admitted`], only [`Gate::pass`] turns one into a [`Passage`], and only the
//! [`Admission`] inside a passage can be judged as an attempt; a front end
//! can't skip a step, it can only forget to answer.

mod acts;
mod asking;
mod judging;
mod observing;
mod outcome;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::event::{ClientId, Outcome};
use crate::guard::{Guard, Tripped};
use crate::order::Judged;
use crate::ruleset::Ruleset;
use crate::source::Source;
use crate::store::{Ban, Store};
use crate::subject::Subject;
use crate::sync::AtomicU64;
use crate::time::{Clock, Timestamp};
use crate::turnstile::Turnstile;
use crate::verified::VerifiedPairs;
use crate::witness::Witness;

pub use acts::{ActError, BAN_BY_HAND_PREFIX_MIN};
pub use asking::Inquiry;
pub use observing::Observed;
pub use outcome::{Admission, Admitted, Finished, Passage, Recognised, Refusal};

/// All rules as one state machine over judges, store and clock.
pub struct Gate {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ruleset: ArcSwap<Ruleset>,
    turnstile: Arc<Turnstile>,
    verified: VerifiedPairs,
    private_ban_seen: AtomicBool,
    /// Counts what can change how a login goes on: orders, and attempts judged.
    changes: AtomicU64,
    guard: Guard,
    witness: Option<Arc<dyn Witness>>,
    /// Events that the witness has heard of.
    testified: AtomicU64,
    /// How far back the latest sightings were, in milliseconds: what they need
    /// isn't swept away before them.
    behind: AtomicU64,
}

impl Gate {
    /// A gate over `store` and `clock`; `key` is random and of this process alone.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, ruleset: Ruleset, key: [u8; 32]) -> Self {
        Self {
            turnstile: Arc::new(Turnstile::new(ruleset.limits.max_inflight_attempts)),
            store,
            clock,
            ruleset: ArcSwap::from_pointee(ruleset),
            verified: VerifiedPairs::new(key),
            private_ban_seen: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            guard: Guard::default(),
            witness: None,
            testified: AtomicU64::new(0),
            behind: AtomicU64::new(0),
        }
    }

    /// The same gate, with somebody who hears what is judged and done.
    #[must_use]
    pub fn witnessed_by(self, witness: Arc<dyn Witness>) -> Self {
        Self { witness: Some(witness), ..self }
    }

    /// Puts another ruleset in force, for every event that begins to be judged
    /// from now on. Bans of networks that are never banned from now on are
    /// lifted (rule 34); which, is the answer.
    pub fn swap(&self, ruleset: Ruleset) -> Vec<Ban> {
        self.turnstile.set_inflight_per_source_max(ruleset.limits.max_inflight_attempts);
        let now = Arc::new(ruleset);
        let before = self.ruleset.swap(Arc::clone(&now));
        let spared_before = |network: &IpNet| before.source.spared().any(|known| known.contains(network));
        // The others' bans were lifted when they came; a look at all bans isn't for nothing.
        let newly: Vec<IpNet> = now.source.spared().filter(|network| !spared_before(network)).collect();
        self.lift_spared(&newly)
    }

    /// What is in force.
    pub fn ruleset(&self) -> arc_swap::Guard<Arc<Ruleset>> {
        self.ruleset.load()
    }

    /// Where waits, bans and kept state live.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The gate's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Policies that have ordered more bans in a minute than they may.
    #[must_use]
    pub fn tripped(&self) -> Vec<Tripped> {
        self.guard.tripped()
    }

    /// Policies that were among these and have kept to the cap for long enough:
    /// they are trusted again from now on, and told here once (rule 33). To be
    /// called now and then.
    pub fn mended(&self) -> Vec<Tripped> {
        self.guard.mended(self.ruleset().limits.max_bans_per_minute, self.clock.now())
    }

    /// Gives back memory of what has expired; to be called now and then.
    pub fn sweep(&self) {
        let behind = self.behind.swap(0, Ordering::Relaxed);
        let now = self.clock.now().as_millis();
        self.store.sweep(Timestamp::from_millis(now.saturating_sub(behind)));
    }

    /// First of all: is the source banned? (rule 11)
    ///
    /// # Errors
    /// [`Refusal::Banned`].
    pub fn admit(&self, source: Source) -> Result<Admitted, Refusal> {
        let now = self.clock.now();
        match self.store.banned_until(source.address(), now) {
            // Looked at second: most sources aren't banned.
            Some(until) if !self.ruleset().source.spares(source.address()) => Err(Refusal::Banned(until.since(now))),
            Some(_) | None => Ok(Admitted { source }),
        }
    }

    /// A login wants to pass: verified a moment ago, or waiting, or queueing for
    /// its turn and then once more from the start (rules 8, 11 and 12). Without
    /// a secret there is nothing that could be verified.
    ///
    /// The caller bounds the time of the whole by
    /// [`QUEUE_TIME_MAX`](crate::turnstile::QUEUE_TIME_MAX) and answers
    /// [`Refusal::Busy`] when it is over; dropping the future gives the place up.
    ///
    /// # Errors
    /// A [`Refusal`]; the secret wasn't looked at and nothing was counted.
    pub async fn pass(
        &self,
        admitted: &Admitted,
        id: Option<&ClientId>,
        secret: Option<&[u8]>,
    ) -> Result<Passage, Refusal> {
        let source = admitted.source;
        let changes = self.changes.load(Ordering::Acquire);
        if let Some(recognised) = self.recognise(source, id, secret)? {
            return Ok(Passage::Verified(recognised));
        }
        let entry = self.turnstile.enter(id, source.network()).map_err(|_full| Refusal::Busy)?;
        let at_once = entry.is_turn();
        let turn = entry.await;
        let era = self.verified.era();
        // An order or a success counts before its turn is given back: without
        // one, what was known a moment ago still holds.
        if (!at_once || self.changes.load(Ordering::Acquire) != changes)
            && let Some(recognised) = self.recognise(source, id, secret)?
        {
            return Ok(Passage::Verified(recognised));
        }
        Ok(Passage::Turn(Admission { source, client_id: id.cloned(), turn, era }))
    }

    /// Rule 11 from its start: banned, then verified, then waiting.
    fn recognise(
        &self,
        source: Source,
        id: Option<&ClientId>,
        secret: Option<&[u8]>,
    ) -> Result<Option<Recognised>, Refusal> {
        self.admit(source)?;
        let now = self.clock.now();
        if let (Some(id), Some(secret)) = (id, secret)
            && self.verified.recognises(id, source.network(), secret, now)
        {
            return Ok(Some(Recognised { source, client_id: id.clone() }));
        }
        match self.waits_until(source, id, now) {
            Some(until) => Err(Refusal::Waiting(until.since(now))),
            None => Ok(None),
        }
    }

    /// Whom a running wait was ordered for depends on the policy's subject at
    /// that time, so every kind of subject is looked up.
    fn waits_until(&self, source: Source, id: Option<&ClientId>, now: Timestamp) -> Option<Timestamp> {
        let network = source.network();
        let by_id = id.and_then(|id| self.store.waits_until(&Subject::Id(id.clone()), now));
        let by_pair = id.and_then(|id| self.store.waits_until(&Subject::Pair(id.clone(), network), now));
        let by_source = self.store.waits_until(&Subject::Source(network), now);
        by_id.max(by_pair).max(by_source)
    }

    /// The secret has been checked: have the attempt judged by every `wait` and
    /// `ban` policy. When this returns their orders are in force (rule 13), and
    /// the next attempt may come.
    pub fn judge_attempt(&self, admission: Admission, finished: &Finished<'_>) -> Judged {
        let Admission { source, client_id, turn, era } = admission;
        let judged = self.judge_own(source, client_id.as_ref(), finished);
        if finished.outcome == Outcome::Success
            && !judged.denied
            && let (Some(id), Some(secret)) = (&client_id, finished.secret)
        {
            let lasting = self.ruleset().limits.verified_for;
            self.verified.remember(id, source.network(), secret, self.clock.now(), lasting, era);
        }
        self.changes.fetch_add(1, Ordering::Release);
        drop(turn);
        judged
    }

    /// A pair that was recognised has been refused all the same, by whoever
    /// checks each request: it is verified no longer, and this was a failed
    /// attempt. It had no turn, so it doesn't give one back.
    pub fn judge_refuted(&self, recognised: Recognised, finished: &Finished<'_>) -> Judged {
        let Recognised { source, client_id } = recognised;
        self.verified.forget(&client_id, source.network());
        self.judge_own(source, Some(&client_id), &Finished { outcome: Outcome::Failure, ..*finished })
    }

    /// The credentials have changed: nothing is verified any longer (rule 8).
    pub fn unverify_all(&self) {
        self.verified.forget_all();
    }
}
