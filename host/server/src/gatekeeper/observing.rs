//! Events that were seen elsewhere, in a log or by another proxy: judged by the
//! same gate, told and counted as those that came to it (rule 39).

use http::StatusCode;
use portcullis_domain::event::{METHOD_BYTES_MAX, PATH_BYTES_MAX, cut};
use portcullis_domain::{
    Attribute, ClientId, Finished, Judged, Observed, Origin, Outcome, Request as JudgedRequest, Sighting, Source,
};
use portcullis_harness::logs::{Answered, Entry, What};

use super::{Authentication, Front, Gatekeeper, Post};
use crate::auth::IdCase;
use crate::log::{FailedLogin, Line};

/// What became of an event that was seen elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighted {
    /// Policies judged, and what they ordered is in force.
    Judged {
        /// One of them banned somebody.
        banned: bool,
    },
    /// Its source was banned at that time already: nothing new came of it.
    Banned,
}

impl Gatekeeper {
    /// An event that was seen elsewhere: judged, and what came of it told in
    /// the log and counted. When this returns, orders are in force; whether a
    /// ban is durable is the caller's to wait for
    /// ([`Keeper::settled`](crate::state::Keeper::settled)), and the line in the
    /// log doesn't wait: nobody is answered before.
    ///
    /// `id_case` is how ids are compared where the event comes from.
    pub fn observe(&self, entry: &Entry<'_>, origin: Origin<'_>, id_case: IdCase) -> Sighted {
        let post = &self.post;
        let sighting = Sighting { at: entry.at, origin };
        let source = Source::new(entry.from, post.gate.ruleset().source.ipv6_prefix);
        // It has happened: with an id that can be nobody's it is still its source's.
        let id = entry.client.as_ref().and_then(|client| id_case.client_id(&client.decoded()).ok());
        let seen = Seen { entry, sighting, source, id: id.as_ref() };
        match &entry.what {
            What::Login(outcome) => post.observe_attempt(&seen, *outcome, None),
            What::Request(answered) => {
                let login = post.front.load().login_seen(answered, entry.client.is_some());
                match login {
                    Some(outcome) => post.observe_both(&seen, outcome, answered),
                    // A name that whoever asked has chosen keeps no scanner from being one.
                    None => post.observe_request(&seen, answered, seen.id.filter(|_| answered.vouched)),
                }
            }
            What::FailedRequest(answered) => post.observe_both(&seen, Outcome::Failure, answered),
        }
    }
}

/// An event and what has been made of it so far.
struct Seen<'a> {
    entry: &'a Entry<'a>,
    sighting: Sighting<'a>,
    source: Source,
    id: Option<&'a ClientId>,
}

impl Front {
    /// Rule 6 for a request that was answered elsewhere: whether that was a
    /// login, and how it ended. Who logs tells of credentials by naming a client.
    fn login_seen(&self, answered: &Answered<'_>, names_client: bool) -> Option<Outcome> {
        let Authentication::Upstream(by_upstream) = &self.authentication else { return None };
        let path = answered.path.decoded();
        let is_post = answered.method.decoded().eq_ignore_ascii_case("POST");
        let by_form = is_post && by_upstream.login_paths.contains(&path);
        if !by_form && !names_client {
            return None;
        }
        let status = StatusCode::from_u16(answered.status).ok()?;
        by_upstream.outcome(status, &answered.method.decoded(), &path, by_form)
    }
}

impl Post {
    /// Both, as at the gate, whatever the first brings about (rule 14).
    fn observe_both(&self, seen: &Seen<'_>, outcome: Outcome, answered: &Answered<'_>) -> Sighted {
        let attempt = self.observe_attempt(seen, outcome, Some(answered));
        if attempt == Sighted::Banned {
            return attempt;
        }
        let client_id = seen.id.filter(|_| outcome == Outcome::Success);
        match (attempt, self.observe_request(seen, answered, client_id)) {
            (Sighted::Judged { banned: one }, Sighted::Judged { banned: other }) => {
                Sighted::Judged { banned: one || other }
            }
            (attempt, _) => attempt,
        }
    }

    fn observe_attempt(&self, seen: &Seen<'_>, outcome: Outcome, answered: Option<&Answered<'_>>) -> Sighted {
        let facts = seen.entry.facts.as_deref();
        let named = seen.entry.attributes(answered, self.gate.ruleset().attempt_attributes());
        let attributes = borrowed(&named);
        let finished = Finished {
            outcome,
            secret: None,
            client_known: facts.and_then(|facts| facts.known),
            secret_fingerprint: facts.and_then(|facts| facts.fingerprint).filter(|_| outcome == Outcome::Failure),
            attributes: &attributes,
        };
        let judged = match self.gate.observe_attempt(&seen.sighting, seen.source, seen.id, &finished) {
            Observed::Banned => return Sighted::Banned,
            Observed::Judged(judged) => judged,
        };
        self.counters.attempt_judged.add(u64::from(judged.judged_by));
        match outcome {
            Outcome::Success => self.counters.attempts_succeeded.bump(),
            Outcome::Failure => {
                self.counters.attempts_failed.bump();
                let (source, wait) = (seen.source.address(), judged.longest_wait());
                let client_id = seen.id.map_or("", ClientId::as_str);
                self.log.write(&Line::FailedLogin(FailedLogin { source, client_id, wait }));
            }
        }
        self.tell_observed(seen.source, &judged)
    }

    fn observe_request(&self, seen: &Seen<'_>, answered: &Answered<'_>, client_id: Option<&ClientId>) -> Sighted {
        let (method, path) = (answered.method.decoded(), answered.path.decoded());
        let named = seen.entry.attributes(Some(answered), self.gate.ruleset().request_attributes());
        let attributes = borrowed(&named);
        let request = JudgedRequest {
            source: seen.source,
            client_id,
            method: cut(&method, METHOD_BYTES_MAX),
            path: cut(&path, PATH_BYTES_MAX),
            status: answered.status,
            attributes: &attributes,
        };
        match self.gate.observe_request(&seen.sighting, &request) {
            Observed::Banned => Sighted::Banned,
            Observed::Judged(judged) => {
                self.counters.scanner_judged.add(u64::from(judged.judged_by));
                self.tell_observed(seen.source, &judged)
            }
        }
    }

    fn tell_observed(&self, source: Source, judged: &Judged) -> Sighted {
        self.tell_orders(&self.front.load(), source, judged);
        Sighted::Judged { banned: judged.has_banned() }
    }
}

fn borrowed(named: &[(String, String)]) -> Vec<Attribute<'_>> {
    named.iter().map(|(name, value)| Attribute { name, value }).collect()
}
