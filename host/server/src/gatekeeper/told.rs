//! What is counted, logged and done about orders and refusals.

use std::net::IpAddr;

use http::Response;
use jiff::Timestamp;
use portcullis_domain::source::Decided;
use portcullis_domain::{Enforced, Judged, Kind, Order, Refusal, Source, Subject, Timestamp as Instant};

use super::{Front, Post, Refused};
use crate::counters::Counter;
use crate::http::{Body, Form};
use crate::log::{Banned, Because, Closed, Line, NotEnforced, Refused as RefusedLine};

impl Post {
    /// Turns a request away: counted in full, logged at a limited rate (rules 11 and 29).
    pub(super) async fn turn_away(&self, decided: &Decided, form: Form, refused: Refused) -> Response<Body> {
        match refused {
            Refused::ByGate(Refusal::Banned(_)) => {
                self.counters.refused_banned.bump();
                if let Some(keeper) = &self.keeper {
                    keeper.settling().await;
                }
            }
            Refused::ByGate(Refusal::Waiting(_)) => self.counters.refused_waiting.bump(),
            Refused::ByGate(Refusal::Busy) => self.counters.refused_busy.bump(),
            Refused::Malformed(_) | Refused::Misdirected => self.counters.refused_malformed.bump(),
            Refused::Overloaded => self.counters.refused_overloaded.bump(),
        }
        let (reply, why) = refused.reply();
        self.counters.recent.refused(decided.source.address(), why, || self.gate.clock().now());
        let status = reply.status().code().as_u16();
        self.log.refused(&RefusedLine { source: decided.source.address(), status, why });
        reply.into_response(form)
    }

    /// A connection was closed before it could make a request: counted in full,
    /// logged at a limited rate.
    pub(super) fn shut_out(&self, peer: IpAddr, counter: &Counter, why: &'static str) {
        counter.bump();
        let source = self.gate.ruleset().source.decide_for_itself(peer).source.address();
        self.counters.recent.refused(source, why, || self.gate.clock().now());
        self.log.closed(&Closed { source, why });
    }

    /// What the policies ordered is in force already; here it is told.
    pub(super) fn tell_orders(&self, front: &Front, source: Source, judged: &Judged) {
        if judged.denied {
            self.counters.denied.bump();
        }
        for order in &judged.orders {
            self.tell_order(front, source, order);
        }
        for order in &judged.in_shadow {
            self.counters.shadow_orders.bump();
            // Who would wait is named by id; who is known by the address alone by that.
            let client_id = match (&order.kind, &order.subject) {
                (Kind::Ban | Kind::Scanner, _) => None,
                (Kind::Wait, Subject::Id(id) | Subject::Pair(id, _)) => Some(id.as_str()),
                (Kind::Wait, Subject::Source(_)) => Some(""),
            };
            self.log.not_enforced(&NotEnforced {
                source: source.address(),
                policy: &order.policy,
                because: Because::Shadow,
                client_id,
                duration: order.duration,
                reason: order.reason.text(),
                code: order.reason.code(),
            });
        }
    }

    fn tell_order(&self, front: &Front, source: Source, order: &Order) {
        self.counters.orders.count(order);
        self.counters.recent.ordered(source.address(), order, || self.gate.clock().now());
        if order.trusted_again {
            tracing::warn!("policy {}: keeps to guard.max_bans_per_minute again; its bans are enforced", order.policy);
        }
        match &order.enforced {
            Enforced::Wait { .. } => self.counters.waits.bump(),
            Enforced::Spared => self.counters.bans_spared.bump(),
            Enforced::LogOnly { duration, tripped, .. } => {
                self.counters.bans_log_only.bump();
                if *tripped {
                    self.counters.guard_trips.bump();
                    tracing::error!(
                        "policy {}: more bans in a minute than guard.max_bans_per_minute allows; ITS BANS ARE NOT \
                         ENFORCED until it keeps to that for a minute or is trusted again by hand",
                        order.policy
                    );
                }
                self.log.not_enforced(&NotEnforced {
                    source: source.address(),
                    policy: &order.policy,
                    because: Because::Cap,
                    client_id: None,
                    duration: *duration,
                    reason: order.reason.text(),
                    code: order.reason.code(),
                });
            }
            Enforced::Ban { network, placed, first_private, .. } => {
                self.counters.bans.bump();
                if placed.changed {
                    self.log.write(&Line::Banned(Banned {
                        source: source.address(),
                        reason: order.reason.text(),
                        code: order.reason.code(),
                        policy: &order.policy,
                        until: shown(placed.until),
                    }));
                }
                if *first_private {
                    tracing::warn!(
                        source = %source,
                        "a loopback or private address was banned; if that is your proxy, list it in \
                         source.trusted_proxies, so that the client behind it is banned instead"
                    );
                }
                if let Some((displaced, _)) = placed.displaced {
                    self.counters.bans_displaced.bump();
                    tracing::warn!(network = %displaced, "the ban that would have ended soonest was lifted: as many are banned as can be");
                }
                if let Some(tunnels) = &front.tunnels_to_close {
                    let ruleset = self.gate.ruleset();
                    let is_hit =
                        |open: &Source| network.contains(&open.address()) && !ruleset.source.spares(open.address());
                    tunnels.close_tunnels(is_hit);
                }
            }
        }
    }
}

/// The gate's time as the log writes it.
fn shown(instant: Instant) -> Timestamp {
    let millis = i64::try_from(instant.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
