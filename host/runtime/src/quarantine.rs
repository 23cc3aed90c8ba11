//! When a policy that fails is left alone for a while (rule 22).
//!
//! A pure state machine over the events' own times: no clock, no lock, no
//! plugin. What counts is the share of failures averaged over sources, so one
//! stranger who knows a poisonous path can't switch a policy off for everyone;
//! such a source alone is spared by its own breaker.

use std::time::Duration;

use ipnet::IpNet;
use portcullis_domain::Timestamp;

use crate::breaker::Breaker;

/// How long a source counts after it was last seen.
const WINDOW: Duration = Duration::from_secs(60);
/// Most sources that are remembered.
const SOURCES_MAX: usize = 64;
/// Fewest sources that must have met a failure.
const FAILING_SOURCES_MIN: usize = 5;
/// Calls after which a source's older ones begin to fade.
const CALLS_FADE: u32 = 32;
/// IPv6 networks are cheap: all of one site's count as one source.
const IPV6_SITE_BITS: u8 = 48;
/// The first quarantine, and the longest.
const PERIOD_MIN: Duration = Duration::from_secs(30);
const PERIOD_MAX: Duration = Duration::from_secs(600);

/// What a recorded call has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The policy is left alone until then.
    Quarantined { until: Timestamp, period: Duration },
    /// That source's events are kept from the plugin until then.
    Spared { until: Timestamp },
    /// A policy on trial has kept its trial.
    Trusted,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    source: IpNet,
    last: Timestamp,
    calls: u32,
    failures: u32,
    breaker: Breaker,
}

/// What one policy's sources have lately met.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    sources: Vec<Seen>,
    /// The last quarantine, until the policy has kept its trial after it.
    last: Option<(Timestamp, Duration)>,
}

impl Quarantine {
    /// Whether successes have to be recorded too: there has been a failure
    /// lately, or the policy is on trial.
    pub(crate) fn is_watching(&self) -> bool {
        self.last.is_some() || self.sources.iter().any(|seen| seen.failures > 0)
    }

    /// Whether that source's events are to be kept from the plugin. Never
    /// while nothing is watched.
    pub(crate) fn spares(&self, now: Timestamp, source: IpNet) -> bool {
        let source = site(source);
        self.sources.iter().any(|seen| seen.source == source && seen.breaker.is_open(now))
    }

    /// Records one call of a policy that isn't in quarantine.
    pub(crate) fn record(&mut self, now: Timestamp, source: IpNet, failed: bool) -> Change {
        self.sources.retain(|seen| now.since(seen.last) < WINDOW);
        let spared = self.see(now, source, failed);
        if self.is_failing() {
            let period = self.last.map_or(PERIOD_MIN, |(_, period)| (period * 2).min(PERIOD_MAX));
            let until = now.after(period);
            self.last = Some((until, period));
            self.sources.clear();
            return Change::Quarantined { until, period };
        }
        if let Some(until) = spared {
            return Change::Spared { until };
        }
        match self.last {
            Some((until, _)) if now.since(until) >= WINDOW => {
                self.last = None;
                Change::Trusted
            }
            _ => Change::None,
        }
    }

    fn see(&mut self, now: Timestamp, source: IpNet, failed: bool) -> Option<Timestamp> {
        let source = site(source);
        let index = match self.sources.iter().position(|seen| seen.source == source) {
            Some(index) => index,
            None => {
                self.make_room(now);
                self.sources.push(Seen { source, last: now, calls: 0, failures: 0, breaker: Breaker::default() });
                self.sources.len() - 1
            }
        };
        let seen = &mut self.sources[index];
        if seen.calls >= CALLS_FADE {
            seen.calls /= 2;
            // Rounded up: a failure doesn't fade to nothing while it counts.
            seen.failures = seen.failures.div_ceil(2);
        }
        seen.last = seen.last.max(now);
        seen.calls += 1;
        seen.failures += u32::from(failed);
        seen.breaker.record(now, WINDOW, failed)
    }

    /// The source that was seen least lately goes; one that is spared isn't
    /// seen, and goes last.
    fn make_room(&mut self, now: Timestamp) {
        if self.sources.len() < SOURCES_MAX {
            return;
        }
        let staleness = |seen: &Seen| (seen.breaker.is_open(now), seen.last);
        if let Some((index, _)) = self.sources.iter().enumerate().min_by_key(|(_, seen)| staleness(seen)) {
            self.sources.swap_remove(index);
        }
    }

    fn is_failing(&self) -> bool {
        let failing = self.sources.iter().filter(|seen| seen.failures > 0).count();
        if failing < FAILING_SOURCES_MIN {
            return false;
        }
        let shares: f64 = self.sources.iter().map(|seen| f64::from(seen.failures) / f64::from(seen.calls)).sum();
        #[expect(clippy::cast_precision_loss, reason = "at most 64 sources")]
        let sources = self.sources.len() as f64;
        shares * 2.0 >= sources
    }
}

fn site(source: IpNet) -> IpNet {
    match source {
        IpNet::V6(net) if net.prefix_len() > IPV6_SITE_BITS => {
            ipnet::Ipv6Net::new(net.addr(), IPV6_SITE_BITS).map_or(source, |site| IpNet::V6(site.trunc()))
        }
        IpNet::V4(_) | IpNet::V6(_) => source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn at(seconds: u64) -> Timestamp {
        START.after(Duration::from_secs(seconds))
    }

    fn source(n: u8) -> IpNet {
        format!("203.0.113.{n}/32").parse().unwrap()
    }

    /// Lets five sources fail, one a second from `seconds` on.
    fn all_fail(quarantine: &mut Quarantine, seconds: u64) -> Vec<Change> {
        (0..5).map(|n| quarantine.record(at(seconds + u64::from(n)), source(n), true)).collect()
    }

    fn begins(change: Change) -> bool {
        matches!(change, Change::Quarantined { .. })
    }

    #[test]
    fn rule_22_the_fifth_failing_source_begins_a_quarantine() {
        let mut quarantine = Quarantine::default();
        let changes = all_fail(&mut quarantine, 0);
        assert_eq!(changes[..4], [Change::None; 4]);
        assert_eq!(changes[4], Change::Quarantined { until: at(34), period: Duration::from_secs(30) });
    }

    #[test]
    fn rule_22_one_source_alone_never_does() {
        let mut quarantine = Quarantine::default();
        for second in 0..1000 {
            assert!(!begins(quarantine.record(at(second), source(1), true)));
        }
    }

    #[test]
    fn rule_22_one_source_alone_is_spared() {
        let mut quarantine = Quarantine::default();
        for second in 0..7 {
            assert_eq!(quarantine.record(at(second), source(1), true), Change::None);
        }
        assert_eq!(quarantine.record(at(7), source(1), true), Change::Spared { until: at(60) });
        assert!(quarantine.spares(at(59), source(1)) && !quarantine.spares(at(59), source(2)));
        assert!(quarantine.is_watching(), "or nobody would ask");
        for n in 0..100 {
            quarantine.record(at(8), source(100 + n), false);
        }
        assert!(quarantine.spares(at(59), source(1)), "a crowd doesn't wash it out");
        assert!(!quarantine.spares(at(60), source(1)));
    }

    #[test]
    fn a_quarantine_lets_go_of_the_spared() {
        let mut quarantine = Quarantine::default();
        for _ in 0..8 {
            quarantine.record(at(0), source(9), true);
        }
        assert!(begins(all_fail(&mut quarantine, 1)[3]), "a spared source counts as one of five");
        assert!(!quarantine.spares(at(5), source(9)), "on trial everyone is asked about again");
    }

    #[test]
    fn one_ipv6_site_is_one_source() {
        let mut quarantine = Quarantine::default();
        for n in 0..200u16 {
            let net = format!("2001:db8:1:{n:x}::/64").parse().unwrap();
            assert!(!begins(quarantine.record(at(1), net, true)));
        }
        assert!(quarantine.spares(at(1), "2001:db8:1:ffff::/64".parse().unwrap()), "and is spared as one");
        for n in 0..3u16 {
            let net = format!("2001:db8:{:x}::/64", n + 2).parse().unwrap();
            assert_eq!(quarantine.record(at(2), net, true), Change::None);
        }
        let fifth = "2001:db8:9::/64".parse().unwrap();
        assert_ne!(quarantine.record(at(2), fifth, true), Change::None, "five sites are five sources");
    }

    #[test]
    fn a_path_that_fails_for_some_while_others_are_fine_does_not() {
        let mut quarantine = Quarantine::default();
        for n in 0..20 {
            quarantine.record(at(0), source(n), false);
        }
        for second in 0..300 {
            for n in 0..20 {
                let change = quarantine.record(at(second), source(n), n < 8);
                assert!(!begins(change), "second {second}, source {n}");
            }
        }
    }

    #[test]
    fn half_of_the_sources_failing_every_time_does() {
        let mut quarantine = Quarantine::default();
        for n in 0..10 {
            quarantine.record(at(0), source(n), false);
        }
        let change = (1..100).find_map(|second| {
            (0..10).find_map(|n| {
                Some(quarantine.record(at(second), source(n), n < 6)).filter(|change| *change != Change::None)
            })
        });
        assert!(matches!(change, Some(Change::Quarantined { .. })), "{change:?}");
    }

    #[test]
    fn failures_a_minute_apart_do_not_add_up() {
        let mut quarantine = Quarantine::default();
        for n in 0..50 {
            assert_eq!(quarantine.record(at(60 * u64::from(n)), source(n), true), Change::None);
        }
        assert!(quarantine.is_watching());
        quarantine.record(at(60 * 60), source(1), false);
        assert!(!quarantine.is_watching(), "the last failure is forgotten");
    }

    #[test]
    fn quarantines_double_up_to_ten_minutes() {
        let mut quarantine = Quarantine::default();
        let mut seconds = 0;
        let mut periods = Vec::new();
        for _ in 0..8 {
            let Change::Quarantined { until, period } = all_fail(&mut quarantine, seconds)[4] else {
                panic!("no quarantine at {seconds} s");
            };
            periods.push(period.as_secs());
            seconds = until.since(START).as_secs() + 1;
        }
        assert_eq!(periods, [30, 60, 120, 240, 480, 600, 600, 600]);
    }

    #[test]
    fn a_kept_trial_starts_over() {
        let mut quarantine = Quarantine::default();
        all_fail(&mut quarantine, 0);
        assert!(quarantine.is_watching(), "on trial");
        assert_eq!(quarantine.record(at(40), source(1), false), Change::None);
        assert_eq!(quarantine.record(at(94), source(1), false), Change::Trusted);
        assert!(!quarantine.is_watching());
        let changes = all_fail(&mut quarantine, 200);
        assert_eq!(changes[4], Change::Quarantined { until: at(234), period: Duration::from_secs(30) });
    }

    #[test]
    fn the_number_of_sources_is_bounded_and_the_stalest_goes() {
        let mut quarantine = Quarantine::default();
        for n in 0..=u8::MAX {
            quarantine.record(at(u64::from(n) / 8), source(n), false);
        }
        assert_eq!(quarantine.sources.len(), SOURCES_MAX);
        assert!(quarantine.sources.iter().all(|seen| seen.last >= at(23)));
    }

    #[test]
    fn times_that_go_back_do_no_harm() {
        let mut quarantine = Quarantine::default();
        quarantine.record(at(100), source(1), true);
        assert_eq!(quarantine.record(at(1), source(2), true), Change::None);
        assert_eq!(quarantine.record(Timestamp::MAX, source(3), true), Change::None);
    }
}
