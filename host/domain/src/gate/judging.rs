//! Policies judge an event, and what they say is put in force.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipnet::IpNet;

use super::{Admitted, Finished, Gate};
use crate::event::{Attempt, ClientId, Dated, Event, Outcome, Request};
use crate::guard::Guarded;
use crate::judge::{Answered, Denied, Judgement, Kind};
use crate::order::{Enforced, Judged, Order};
use crate::ruleset::{Bound, Ruleset};
use crate::shadow::{ShadowLedger, ShadowOrder, Whom};
use crate::sighting::Origin;
use crate::source::Source;
use crate::store::{By, Cause, Held, Placed};
use crate::subject::Subject;
use crate::time::{Clock, Timestamp};
use crate::verdict::{BanOrder, Keep, Reason, Verdict, WaitOrder};
use crate::witness::Testimony;

/// Widest network that a plugin's ban may cover (rule 4), in bits.
const BAN_PREFIX_MIN_V4: u8 = 16;
/// The same for IPv6.
const BAN_PREFIX_MIN_V6: u8 = 32;

/// The number of an event, drawn when the witness first hears of it: most
/// requests are none of its business.
#[derive(Default)]
struct EventNumber(Cell<Option<u64>>);

impl EventNumber {
    fn get(&self, draw: impl FnOnce() -> u64) -> u64 {
        let number = self.0.get().unwrap_or_else(draw);
        self.0.set(Some(number));
        number
    }
}

/// What is the same for all policies that judge one event.
struct Hearing<'a> {
    ruleset: &'a Ruleset,
    event: Event<'a>,
    /// Whose time it is: the gate's, or that of a sighting.
    clock: &'a dyn Clock,
    origin: Origin<'a>,
    number: EventNumber,
}

impl Gate {
    /// An attempt as the gate itself has let it come to its end.
    pub(super) fn judge_own(&self, source: Source, client_id: Option<&ClientId>, finished: &Finished<'_>) -> Judged {
        self.judge_finished(source, client_id, finished, &*self.clock, Origin::Gateway)
    }

    pub(super) fn judge_finished(
        &self,
        source: Source,
        client_id: Option<&ClientId>,
        finished: &Finished<'_>,
        clock: &dyn Clock,
        origin: Origin<'_>,
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
        let event = Event::Attempt(&attempt);
        let hearing = Hearing { ruleset: &ruleset, event, clock, origin, number: EventNumber::default() };
        let judged = self.judge_all(&hearing, |policy| policy.kind != Kind::Scanner);
        if judged.judged_by == 0
            && let Some(witness) = &self.witness
        {
            witness.unjudged(clock.now(), &attempt, origin);
        }
        judged
    }

    /// The head of the reply is known: have the request judged by every
    /// `scanner` policy. When this returns their orders are in force (rule 14).
    pub fn judge_request(&self, admitted: &Admitted, request: &Request<'_>) -> Judged {
        debug_assert_eq!(admitted.source, request.source, "decided once (rule 1)");
        self.judge_answered(request, &*self.clock, Origin::Gateway)
    }

    pub(super) fn judge_answered(&self, request: &Request<'_>, clock: &dyn Clock, origin: Origin<'_>) -> Judged {
        let (ruleset, event) = (self.ruleset(), Event::Request(request));
        let hearing = Hearing { ruleset: &ruleset, event, clock, origin, number: EventNumber::default() };
        self.judge_all(&hearing, |policy| {
            policy.kind == Kind::Scanner && policy.judge.interest().wants_status(request.status)
        })
    }

    fn judge_all(&self, hearing: &Hearing<'_>, asked: impl Fn(&Bound) -> bool) -> Judged {
        let mut judged = Judged::default();
        let policies = &hearing.ruleset.policies;
        for policy in policies.iter().filter(|policy| policy.shadow.is_none() && asked(policy)) {
            self.judge(hearing, policy, &mut judged);
        }
        // After those that enforce, so that each can be held against what was done.
        for policy in policies {
            let Some(ledger) = &policy.shadow else { continue };
            note_login(hearing, policy, ledger);
            if asked(policy) {
                self.judge_in_shadow(hearing, policy, ledger, &mut judged);
            }
        }
        judged
    }

    fn judge(&self, hearing: &Hearing<'_>, policy: &Bound, judged: &mut Judged) {
        let event = hearing.event;
        let subject = Subject::of(policy.subject, &event);
        judged.judged_by += 1;
        policy.table.hold(&subject, hearing.clock, &mut |at, held| {
            let dated = Dated { at, event };
            let answer = policy.judge.judge(&dated, held.as_kept());
            let order = match &answer {
                Ok(judgement) => self.enforce(hearing, policy, &subject, &judgement.verdict, at),
                Err(Denied) => {
                    judged.denied = true;
                    None
                }
            };
            self.testify(hearing, policy, &subject, &dated, held, &answer, order.as_ref());
            judged.orders.extend(order);
            keep(held, answer);
        });
    }

    /// As [`Self::judge`], but nothing is enforced and nobody is denied (rule 32).
    fn judge_in_shadow(&self, hearing: &Hearing<'_>, policy: &Bound, ledger: &ShadowLedger, judged: &mut Judged) {
        let (ruleset, event) = (hearing.ruleset, hearing.event);
        let subject = Subject::of(policy.subject, &event);
        let enforced = judged.orders.iter().filter(|order| order.kind == policy.kind);
        let enforced: Vec<_> = enforced.filter_map(|order| Some((order.subject()?, &order.reason))).collect();
        let compare = |agreed, at| {
            enforced.iter().for_each(|(whom, reason)| ledger.enforced(whom, reason, agreed, at));
        };
        let now = hearing.clock.now();
        if ledger.would_refuse(Whom::of(policy.kind, &subject, event.source().address()), now) {
            return compare(true, now);
        }
        judged.judged_by += 1;
        let mut ordered = None;
        policy.table.hold(&subject, hearing.clock, &mut |at, held| {
            let dated = Dated { at, event };
            let answer = policy.judge.judge(&dated, held.as_kept());
            let verdict = answer.as_ref().ok().map(|judgement| &judgement.verdict);
            ordered = verdict.and_then(|verdict| would_order(ruleset, policy, &subject, event.source(), verdict));
            let failed = answer.as_ref().map_or(true, |judgement| judgement.answered == Answered::StandIn);
            ledger.judged(ordered.as_ref(), failed, at);
            compare(ordered.is_some(), at);
            self.testify(hearing, policy, &subject, &dated, held, &answer, None);
            keep(held, answer);
        });
        judged.in_shadow.extend(ordered);
    }

    /// Lets the witness hear of it: every attempt, and of requests what isn't
    /// simply passed.
    #[expect(clippy::too_many_arguments, reason = "each is part of what is testified")]
    fn testify(
        &self,
        hearing: &Hearing<'_>,
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
            origin: hearing.origin,
            event: hearing.number.get(|| self.testified.fetch_add(1, Ordering::Relaxed)),
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
        hearing: &Hearing<'_>,
        policy: &Bound,
        subject: &Subject,
        verdict: &Verdict,
        at: Timestamp,
    ) -> Option<Order> {
        let (ruleset, source) = (hearing.ruleset, hearing.event.source());
        let (policy, kind) = (&policy.name, policy.kind);
        let duration = clamped(verdict, ruleset)?;
        let (reason, enforced, trusted_again) = match verdict {
            Verdict::Pass => return None,
            Verdict::Wait(WaitOrder { reason, .. }) => {
                let placed = self.store.wait(subject, at.after(duration), at, &cause(policy, reason));
                self.changes.fetch_add(1, Ordering::Release);
                (reason, Enforced::Wait { subject: subject.clone(), duration, placed }, false)
            }
            Verdict::Ban(BanOrder { reason, .. }) if ruleset.source.spares(source.address()) => {
                (reason, Enforced::Spared, false)
            }
            Verdict::Ban(BanOrder { prefix_length, reason, .. }) => {
                let network = banned_network(source, *prefix_length);
                let max = ruleset.limits.max_bans_per_minute;
                match self.guarded(policy, network, max, at) {
                    Guarded::LogOnly { tripped } => (reason, Enforced::LogOnly { network, duration, tripped }, false),
                    Guarded::Enforce { back } => {
                        let placed = self.place_ban(ruleset, network, at.after(duration), at, &cause(policy, reason));
                        let enforced = placed.map_or(Enforced::Spared, |placed| {
                            let first_private =
                                is_private(source.address()) && !self.private_ban_seen.swap(true, Ordering::Relaxed);
                            Enforced::Ban { network, duration, placed, first_private }
                        });
                        (reason, enforced, back)
                    }
                }
            }
        };
        Some(Order { policy: Arc::clone(policy), kind, reason: reason.clone(), enforced, trusted_again })
    }

    /// Rule 33. A network that is banned already can be banned for longer: what
    /// is in its way meanwhile, such as requests under way, doesn't count again.
    /// A minute is one of the gate's own, whatever the time of what was seen.
    fn guarded(&self, policy: &Arc<str>, network: IpNet, max: Option<u32>, at: Timestamp) -> Guarded {
        if max.is_some() && self.store.bans_on(network.addr(), at).iter().any(|ban| ban.network == network) {
            return Guarded::Enforce { back: false };
        }
        self.guard.ban(policy, max, self.clock.now())
    }

    /// None if the network has come to be never banned while this was judged.
    fn place_ban(
        &self,
        ruleset: &Ruleset,
        network: IpNet,
        until: Timestamp,
        at: Timestamp,
        cause: &Cause,
    ) -> Option<Placed> {
        let placed = self.store.ban(network, until, at, cause);
        self.changes.fetch_add(1, Ordering::Release);
        let current = self.ruleset();
        let swapped = !std::ptr::eq(&**current, ruleset);
        if swapped && current.source.spared().any(|spared| spared.contains(&network)) {
            // The swap has lifted what it found, and this may have come after it.
            self.lift_spared(&[network]);
            return None;
        }
        Some(placed)
    }
}

/// A login that succeeds says something about whom a shadow policy would have
/// kept out, whether it judges logins or not.
fn note_login(hearing: &Hearing<'_>, policy: &Bound, ledger: &ShadowLedger) {
    if matches!(hearing.event, Event::Attempt(attempt) if attempt.outcome == Outcome::Success) {
        let subject = Subject::of(policy.subject, &hearing.event);
        let whom = Whom::of(policy.kind, &subject, hearing.event.source().address());
        ledger.logged_in(whom, hearing.clock.now());
    }
}

fn cause(policy: &Arc<str>, reason: &Reason) -> Cause {
    Cause { by: By::Policy(Arc::clone(policy)), reason: reason.clone() }
}

/// How long an order holds, within the operator's bounds (rule 4); none if not at all.
fn clamped(verdict: &Verdict, ruleset: &Ruleset) -> Option<Duration> {
    let duration = match verdict {
        Verdict::Pass => return None,
        Verdict::Wait(order) => order.duration.min(ruleset.limits.max_wait),
        Verdict::Ban(order) => order.duration.min(ruleset.limits.max_ban),
    };
    (!duration.is_zero()).then_some(duration)
}

/// What would be enforced if the policy weren't in shadow.
fn would_order(
    ruleset: &Ruleset,
    policy: &Bound,
    subject: &Subject,
    source: Source,
    verdict: &Verdict,
) -> Option<ShadowOrder> {
    let duration = clamped(verdict, ruleset)?;
    let (subject, reason) = match verdict {
        Verdict::Pass => return None,
        Verdict::Wait(order) => (subject.clone(), &order.reason),
        Verdict::Ban(_) if ruleset.source.spares(source.address()) => return None,
        Verdict::Ban(order) => (Subject::Source(banned_network(source, order.prefix_length)), &order.reason),
    };
    let (policy, kind) = (Arc::clone(&policy.name), policy.kind);
    Some(ShadowOrder { policy, kind, subject, duration, reason: reason.clone() })
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
