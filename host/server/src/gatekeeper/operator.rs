//! The operator over TCP, who shows a token: guarded as every login is, by
//! source alone, since there is no id that a stranger could lock.

use std::net::IpAddr;

use http::Request;
use portcullis_domain::turnstile::QUEUE_TIME_MAX;
use portcullis_domain::{Admitted, Finished, Judged, Outcome, Passage, Refusal, Source};

use super::facts::Facts;
use super::{Gatekeeper, Refused};
use crate::http::Form;
use crate::log::{FailedLogin, Line};

/// Why the operator's door stays shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// The gate turns the source away.
    Refused(Refusal),
    /// The token is wrong.
    Wrong,
    /// It is right, and a policy that couldn't judge wants it to be refused (rule 21).
    Denied,
}

impl Gatekeeper {
    /// First of all: who is it, and is it banned? (rules 1, 2 and 11)
    ///
    /// # Errors
    /// The refusal, counted and logged.
    pub async fn admit_operator<B>(&self, request: &Request<B>, peer: IpAddr) -> Result<Admitted, Refusal> {
        let post = &self.post;
        let decided = post.decide(request.headers(), peer);
        match post.gate.admit(decided.source) {
            Ok(admitted) => Ok(admitted),
            Err(refusal) => {
                post.turn_away(&decided, form(request), Refused::ByGate(refusal)).await;
                Err(refusal)
            }
        }
    }

    /// Whether the token that a request shows is right, as an attempt: when its
    /// turn has come `check` looks at it, and `wait` and `ban` policies judge.
    ///
    /// # Errors
    /// [`Shut`]; told already.
    pub async fn knock<B>(
        &self,
        admitted: &Admitted,
        request: &Request<B>,
        peer: IpAddr,
        token: &[u8],
        check: impl FnOnce() -> bool,
    ) -> Result<(), Shut> {
        let post = &self.post;
        let passing = post.gate.pass(admitted, None, None);
        let passage = tokio::time::timeout(QUEUE_TIME_MAX, passing).await.unwrap_or(Err(Refusal::Busy));
        let admission = match passage {
            Ok(Passage::Turn(admission)) => admission,
            // Nothing was shown that could have been verified.
            Ok(Passage::Verified(_)) => return Err(Shut::Refused(Refusal::Busy)),
            Err(refusal) => {
                let decided = post.decide(request.headers(), peer);
                post.turn_away(&decided, form(request), Refused::ByGate(refusal)).await;
                return Err(Shut::Refused(refusal));
            }
        };
        let outcome = if check() { Outcome::Success } else { Outcome::Failure };
        let facts = Facts::of(request, &post.gate.ruleset());
        let attributes = facts.for_attempts();
        let finished = Finished {
            outcome,
            secret: None,
            client_known: None,
            secret_fingerprint: (outcome == Outcome::Failure).then(|| post.fingerprints.of("", token)),
            attributes: &attributes,
        };
        let judged = post.gate.judge_attempt(admission, &finished);
        let denied = judged.denied;
        // The task is waited for, but not ended, by whoever waits: what was judged is told.
        let telling = tokio::spawn(self.clone().tell_knock(admitted.source(), outcome, judged));
        let _panicked = telling.await;
        match outcome {
            Outcome::Failure => Err(Shut::Wrong),
            Outcome::Success if denied => Err(Shut::Denied),
            Outcome::Success => Ok(()),
        }
    }

    /// Tells what came of it once that is durable.
    async fn tell_knock(self, source: Source, outcome: Outcome, judged: Judged) {
        let post = &self.post;
        post.counters.attempt_judged.add(u64::from(judged.judged_by));
        post.settle(&judged).await;
        match outcome {
            Outcome::Success => post.counters.attempts_succeeded.bump(),
            Outcome::Failure => {
                post.counters.attempts_failed.bump();
                let wait = judged.longest_wait();
                post.log.write(&Line::FailedLogin(FailedLogin { source: source.address(), client_id: "", wait }));
            }
        }
        post.tell_orders(&self.front(), source, &judged);
    }
}

/// Of a reply that somebody else writes.
fn form<B>(request: &Request<B>) -> Form {
    Form::of(request.method(), request.headers())
}
