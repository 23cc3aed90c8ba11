//! What is counted in full, whatever the log leaves out.
//!
//! Counting must cost next to nothing on the way of a request: each thread adds
//! to a cell of its own, and only a reader sums them up.

mod orders;
mod upstream;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use crate::noted::Noted;
use crate::recent::Recent;
use crate::tls::HandshakeFailure;

pub use orders::{CODES_MAX, Counted, Fate, OTHER, Orders, POLICIES_MAX};
pub use upstream::{Began, UPSTREAM_TIMES_SAMPLED, UpstreamTimes};

/// Cells of one counter; threads beyond that many share.
const CELLS: usize = 8;

/// A counter that many threads add to.
#[derive(Debug, Default)]
pub struct Counter([CachePadded<AtomicU64>; CELLS]);

impl Counter {
    /// One more.
    pub fn bump(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0[cell()].fetch_add(more, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

fn cell() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    MINE.get().unwrap_or_else(|| {
        let mine = NEXT.fetch_add(1, Ordering::Relaxed) % CELLS;
        MINE.set(Some(mine));
        mine
    })
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Everything the server counts by itself; what policies count is theirs.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Orders by policy and code, since the start.
            pub orders: Orders,
            /// The last refusals and orders.
            pub recent: Recent,
            /// What each policy has seen against somebody, since the start.
            pub noted: Noted,
            /// How long the service behind took for the heads of its answers, since the start.
            pub upstream_times: UpstreamTimes,
        }

        impl Counters {
            /// Goes on from totals of an earlier process; names that it doesn't
            /// know are left out.
            pub fn resume(&self, totals: &BTreeMap<String, u64>) {
                $(self.$name.add(totals.get(stringify!($name)).copied().unwrap_or_default());)*
            }

            /// Every counter with its name.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Requests that reached the gate.
    requests,
    /// Calls of a scanner policy for a request.
    scanner_judged,
    /// Calls of a wait or ban policy for an attempt.
    attempt_judged,
    /// Attempts that failed.
    attempts_failed,
    /// Attempts that succeeded.
    attempts_succeeded,
    /// Requests with a pair verified a moment ago.
    verified,
    /// Waits that policies ordered.
    waits,
    /// Bans that policies ordered.
    bans,
    /// Bans that weren't enforced because the source is never banned.
    bans_spared,
    /// Bans that weren't enforced because the policy was over its cap of bans per minute.
    bans_log_only,
    /// How often a policy came to be over that cap.
    guard_trips,
    /// Orders of shadow policies: nothing came of them.
    shadow_orders,
    /// Active bans that went because the map was full of them.
    bans_displaced,
    /// Events that no policy could judge and that were denied.
    denied,
    /// Refused: banned (423).
    refused_banned,
    /// Refused: waiting (429).
    refused_waiting,
    /// Refused: too many attempts queue (429).
    refused_busy,
    /// Refused: malformed (400).
    refused_malformed,
    /// Refused: overloaded (503).
    refused_overloaded,
    /// Asked by other proxies: may pass.
    checks_passed,
    /// Asked by other proxies: banned.
    checks_banned,
    /// Asked by other proxies: a login that has to wait.
    checks_waiting,
    /// Asked by other proxies: malformed, or no client is named.
    checks_malformed,
    /// Peers that asked and may not.
    askers_untrusted,
    /// Reported events that policies judged.
    reported_judged,
    /// Reported events of sources that were banned already.
    reported_banned,
    /// Lines of reports that were no events.
    reported_rejected,
    /// Requests that the upstream didn't answer (502, 504).
    upstream_failed,
    /// Connections over the cap, closed with a 503.
    connections_refused,
    /// Requests of clients whom a certificate names, in place of credentials.
    certified,
    /// TLS handshakes, sessions that were resumed aside.
    handshakes_full,
    /// TLS sessions that were resumed.
    handshakes_resumed,
    /// TLS handshakes that took too long.
    handshakes_timeout,
    /// TLS handshakes closed for others: too many were under way.
    handshakes_crowded,
    /// TLS handshakes that the client didn't go on with.
    handshakes_client,
    /// TLS handshakes that were none.
    handshakes_not_tls,
    /// TLS handshakes without a version, cipher or application protocol in common.
    handshakes_incompatible,
    /// TLS handshakes whose client certificate is missing, isn't believed, or names nobody.
    handshakes_certificate,
    /// TLS handshakes that failed of something else.
    handshakes_other,
    /// Connections of banned sources, closed without a reply.
    closed_banned,
    /// Connections of peers that aren't trusted proxies, where a PROXY header is required.
    proxy_headers_untrusted,
    /// Connections that didn't begin with the PROXY header that is required.
    proxy_headers_malformed,
    /// Connections whose PROXY header took too long.
    proxy_headers_late,
    /// Lines of watched logs.
    watched_lines,
    /// Events among them that were neither too old nor from the future.
    watched_events,
    /// Configurations put in force while the server ran.
    swaps,
    /// Changes that were refused: what ran before went on running.
    swaps_refused,
}

impl Counters {
    /// Handshakes that failed of that.
    #[must_use]
    pub const fn handshakes_failed(&self, failure: HandshakeFailure) -> &Counter {
        match failure {
            HandshakeFailure::Timeout => &self.handshakes_timeout,
            HandshakeFailure::Crowded => &self.handshakes_crowded,
            HandshakeFailure::Client => &self.handshakes_client,
            HandshakeFailure::NotTls => &self.handshakes_not_tls,
            HandshakeFailure::Incompatible => &self.handshakes_incompatible,
            HandshakeFailure::Certificate => &self.handshakes_certificate,
            HandshakeFailure::Other => &self.handshakes_other,
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.all().enumerate() {
            write!(f, "{}{name}={count}", if index > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_threads_count_is_lost() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * CELLS {
                scope.spawn(|| (0..1000).for_each(|_| counters.requests.bump()));
            }
        });
        assert_eq!(counters.requests.get(), 16_000);
        assert!(counters.to_string().starts_with("requests=16000 scanner_judged=0"));
    }
}
