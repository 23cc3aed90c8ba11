//! Policies judge an event, and what they say is put in force.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipnet::IpNet;

use super::{Admitted, Enforced, Finished, Gate, Judged, Order};
use crate::event::{Attempt, ClientId, Dated, Event, Outcome, Request};
use crate::guard::Guarded;
use crate::judge::{Answered, Denied, Judgement, Kind};
use crate::ruleset::{Bound, Ruleset};
use crate::shadow::{ShadowLedger, ShadowOrder};
use crate::source::Source;
use crate::store::{By, Cause, Held, Subject};
use crate::time::Timestamp;
use crate::verdict::{BanOrder, Keep, Reason, Verdict, WaitOrder};
use crate::witness::Testimony;

/// Widest network that a plugin's ban may cover (rule 4), in bits.
const BAN_PREFIX_MIN_V4: u8 = 16;
/// The same for IPv6.
const BAN_PREFIX_MIN_V6: u8 = 32;

impl Gate {
    pub(super) fn judge_finished(
        &self,
        source: Source,
        client_id: Option<&ClientId>,
        finished: &Finished<'_>,
    ) -> Judged {
        let ruleset = self.ruleset();
        let attempt = Attempt {
            source,
            client_id,
            outcome: finished.outcome,
            client_known: finished.client_known,
            secret_fingerprint: finished.secret_fingerprint,
            attributes: finished.attributes,
        };
        let judged = self.judge_all(&ruleset, Event::Attempt(&attempt), |policy| policy.kind != Kind::Scanner);
        if judged.judged_by == 0
            && let Some(witness) = &self.witness
        {
            witness.unjudged(self.clock.now(), &attempt);
        }
        judged
    }

    /// The head of the reply is known: have the request judged by every
    /// `scanner` policy. When this returns their orders are in force (rule 14).
    pub fn judge_request(&self, admitted: &Admitted, request: &Request<'_>) -> Judged {
        debug_assert_eq!(admitted.source, request.source, "decided once (rule 1)");
        let ruleset = self.ruleset();
        self.judge_all(&ruleset, Event::Request(request), |policy| {
            policy.kind == Kind::Scanner && policy.judge.interest().wants_status(request.status)
        })
    }

    fn judge_all(&self, ruleset: &Ruleset, event: Event<'_>, asked: impl Fn(&Bound) -> bool) -> Judged {
        let mut judged = Judged::default();
        let mut shadowed = false;
        for policy in ruleset.policies.iter().filter(|policy| asked(policy)) {
            match &policy.shadow {
                None => self.judge(ruleset, policy, event, &mut judged),
                Some(_) => shadowed = true,
            }
        }
        if shadowed {
            // After those that enforce, so that each can be held against what was done.
            for policy in ruleset.policies.iter().filter(|policy| asked(policy)) {
                if let Some(ledger) = &policy.shadow {
                    self.judge_in_shadow(ruleset, policy, ledger, event, &mut judged);
                }
            }
        }
        judged
    }

    fn judge(&self, ruleset: &Ruleset, policy: &Bound, event: Event<'_>, judged: &mut Judged) {
        let subject = Subject::of(policy.subject, &event);
        judged.judged_by += 1;
        policy.table.hold(&subject, &*self.clock, &mut |at, held| {
            let dated = Dated { at, event };
            let answer = policy.judge.judge(&dated, held.as_kept());
            let order = match &answer {
                Ok(judgement) => self.enforce(ruleset, policy, &subject, event.source(), &judgement.verdict, at),
                Err(Denied) => {
                    judged.denied = true;
                    None
                }
            };
            self.testify(policy, &subject, &dated, held, &answer, order.as_ref());
            judged.orders.extend(order);
            keep(held, answer);
        });
    }

    /// As [`Self::judge`], but nothing is enforced and nobody is denied.
    fn judge_in_shadow(
        &self,
        ruleset: &Ruleset,
        policy: &Bound,
        ledger: &ShadowLedger,
        event: Event<'_>,
        judged: &mut Judged,
    ) {
        let subject = Subject::of(policy.subject, &event);
        let source = event.source();
        let whom = ShadowLedger::subject_of(policy.kind, &subject, source.network());
        let success = matches!(event, Event::Attempt(attempt) if attempt.outcome == Outcome::Success);
        let enforced = judged.orders.iter().any(|order| order.kind == policy.kind);
        if ledger.would_refuse(&whom, success, self.clock.now()) {
            if enforced {
                ledger.enforced(&whom, true, self.clock.now());
            }
            return;
        }
        judged.judged_by += 1;
        policy.table.hold(&subject, &*self.clock, &mut |at, held| {
            let dated = Dated { at, event };
            let answer = policy.judge.judge(&dated, held.as_kept());
            let order = answer.as_ref().ok().and_then(|judgement| {
                let (duration, reason) = match &judgement.verdict {
                    Verdict::Pass => return None,
                    Verdict::Wait(order) => (order.duration.min(ruleset.limits.max_wait), &order.reason),
                    Verdict::Ban(order) => (order.duration.min(ruleset.limits.max_ban), &order.reason),
                };
                (!duration.is_zero()).then_some(ShadowOrder { subject: &whom, until: at.after(duration), reason })
            });
            let order = order.filter(|_| policy.kind == Kind::Wait || !ruleset.source.spares(source.address()));
            ledger.judged(order, answer.is_err(), at);
            if enforced {
                ledger.enforced(&whom, order.is_some(), at);
            }
            self.testify(policy, &subject, &dated, held, &answer, None);
            keep(held, answer);
        });
    }

    /// Lets the witness hear of it: every attempt, and of requests what isn't
    /// simply passed.
    fn testify(
        &self,
        policy: &Bound,
        subject: &Subject,
        dated: &Dated<'_>,
        held: &dyn Held,
        answer: &Result<Judgement, Denied>,
        order: Option<&Order>,
    ) {
        let Some(witness) = &self.witness else { return };
        let simply_passed =
            |judgement: &Judgement| judgement.verdict == Verdict::Pass && judgement.keep == Keep::Unchanged;
        if matches!(dated.event, Event::Request(_)) && answer.as_ref().is_ok_and(simply_passed) {
            return;
        }
        let (format, answered) =
            answer.as_ref().map_or((0, Answered::Nobody), |judgement| (judgement.format, judgement.answered));
        let Some(format_name) = policy.judge.formats().get(format) else { return };
        // What is kept from now on counts when the subject is let go: this is what was before.
        let before = held.as_kept().read(format);
        witness.judged(&Testimony {
            dated,
            policy: &policy.name,
            kind: policy.kind,
            mode: policy.mode(),
            subject,
            provenance: policy.judge.provenance(answered),
            format: format_name,
            before: before.as_deref(),
            answer: answer.as_ref().map_err(|&denied| denied),
            order,
        });
    }

    fn enforce(
        &self,
        ruleset: &Ruleset,
        policy: &Bound,
        subject: &Subject,
        source: Source,
        verdict: &Verdict,
        at: Timestamp,
    ) -> Option<Order> {
        let cause = |reason: &Reason| Cause { by: By::Policy(Arc::clone(&policy.name)), reason: reason.clone() };
        let mut trusted_again = false;
        let (reason, enforced) = match verdict {
            Verdict::Pass => return None,
            Verdict::Wait(WaitOrder { duration, reason }) => {
                let duration = (*duration).min(ruleset.limits.max_wait);
                if duration.is_zero() {
                    return None;
                }
                let placed = self.store.wait(subject, at.after(duration), at, &cause(reason));
                self.changes.fetch_add(1, Ordering::Release);
                (reason, Enforced::Wait { subject: subject.clone(), duration, placed })
            }
            Verdict::Ban(BanOrder { duration, prefix_length, reason }) => {
                let duration = (*duration).min(ruleset.limits.max_ban);
                if duration.is_zero() {
                    return None;
                }
                if ruleset.source.spares(source.address()) {
                    (reason, Enforced::Spared)
                } else {
                    let network = banned_network(source, *prefix_length);
                    match self.guard.ban(&policy.name, ruleset.limits.max_bans_per_minute, at) {
                        Guarded::LogOnly { tripped } => (reason, Enforced::LogOnly { network, duration, tripped }),
                        Guarded::Enforce { back } => {
                            trusted_again = back;
                            let placed = self.store.ban(network, at.after(duration), at, &cause(reason));
                            self.changes.fetch_add(1, Ordering::Release);
                            let first_private =
                                is_private(source.address()) && !self.private_ban_seen.swap(true, Ordering::Relaxed);
                            (reason, Enforced::Ban { network, duration, placed, first_private })
                        }
                    }
                }
            }
        };
        let reason = reason.clone();
        Some(Order { policy: Arc::clone(&policy.name), kind: policy.kind, reason, enforced, trusted_again })
    }
}

/// What is kept from now on; nothing where nobody could judge.
fn keep(held: &mut dyn Held, answer: Result<Judgement, Denied>) {
    if let Ok(Judgement { keep, format, .. }) = answer {
        held.keep(format, keep);
    }
}

/// The network that a ban covers: the source's own unless the plugin named
/// another width, clamped (rule 4).
fn banned_network(source: Source, prefix_length: Option<u8>) -> IpNet {
    let (widest, narrowest) = match source.address() {
        IpAddr::V4(_) => (BAN_PREFIX_MIN_V4, 32),
        IpAddr::V6(_) => (BAN_PREFIX_MIN_V6, 128),
    };
    let prefix = prefix_length.unwrap_or(source.network().prefix_len()).clamp(widest, narrowest);
    IpNet::new(source.address(), prefix).map_or(source.network(), |network| network.trunc())
}

/// Loopback, private, link-local and unique local addresses: what a proxy
/// nearby would have.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
