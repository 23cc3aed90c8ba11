//! What a policy has to tell: events for whoever writes logs, and counters for
//! status and metrics. Nothing here writes or encodes anything.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portcullis_domain::Timestamp;

use crate::failure::{Cause, Failure};
use crate::log::LogLevel;

/// Where on the ladder of rule 21 something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// The policy's plugin, on any instance.
    First,
    /// The same plugin on a new instance.
    Fresh,
    /// The bundle's plugin.
    Bundle,
}

impl Rung {
    /// Every rung, from the first.
    pub const ALL: [Self; 3] = [Self::First, Self::Fresh, Self::Bundle];

    /// Short and stable: a label for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Fresh => "fresh",
            Self::Bundle => "bundle",
        }
    }
}

/// What the operator wanted for when a plugin fails, as it came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FellBack {
    /// The bundle's plugin judged.
    Bundle,
    /// Another policy runs the bundle's plugin, so this one said pass.
    BundleRunsAlready,
    /// The event was denied.
    Deny,
    /// As if the plugin had said pass.
    Allow,
}

/// Something worth telling. Text in it can be the plugin's own words: encode
/// it where it is written (rule 28).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report<'a> {
    /// The plugin wrote to the log.
    Log {
        /// How loud.
        level: LogLevel,
        /// What; bounded.
        message: &'a str,
    },
    /// The plugin wrote more in one call than it may.
    LogDropped {
        /// How many lines were dropped.
        lines: u64,
    },
    /// A call failed.
    Failed {
        /// On which rung.
        rung: Rung,
        /// Why.
        failure: &'a Failure,
    },
    /// A new instance answered after a failure.
    Recovered,
    /// The plugin failed twice. Not told again for each event of a quarantine.
    FellBack(FellBack),
    /// The plugin isn't called for a while (rule 22).
    Quarantined {
        /// Until when.
        until: Timestamp,
        /// For how long.
        period: Duration,
    },
    /// The quarantine is over, the plugin is called again.
    TriedAgain,
    /// The plugin failed so often for one source that it isn't called for that
    /// one's events for a while; all others' are judged as ever (rule 22). Told
    /// once for each such while.
    Spared {
        /// From where the last of these events came.
        source: IpAddr,
        /// Until when.
        until: Timestamp,
    },
    /// The plugin has stood its trial after a quarantine.
    Trusted,
}

/// Hears what policies have to tell. Called on the thread that judges, and so
/// must never block.
pub trait Reporter: Send + Sync {
    /// Takes one report of the policy of that name.
    fn report(&self, policy: &str, report: Report<'_>);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _: &str, _: Report<'_>) {}
}

/// Counters of one policy, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Events that were put to the policy, in quarantine or not.
    pub calls: u64,
    /// Failures by rung and cause; see [`Snapshot::failed_on`].
    pub failures: [[u64; Cause::ALL.len()]; Rung::ALL.len()],
    /// Calls that were tried again on a new instance.
    pub fresh_retries: u64,
    /// Of these, the ones that were answered.
    pub recovered: u64,
    /// Events that were left to `on_failure`, in quarantine or not.
    pub fallbacks: u64,
    /// Of these, the ones of a source that the plugin kept failing for; it
    /// wasn't called.
    pub spared: u64,
    /// Events that were denied.
    pub denied: u64,
    /// Quarantines begun.
    pub quarantines: u64,
    /// Until when the policy is in quarantine, if it is.
    pub quarantined_until: Option<Timestamp>,
    /// Log lines handed on.
    pub log_lines: u64,
    /// Log lines dropped.
    pub log_lines_dropped: u64,
}

impl Snapshot {
    /// Failures of that cause on that rung.
    #[must_use]
    pub const fn failed_on(&self, rung: Rung, cause: Cause) -> u64 {
        self.failures[rung as usize][cause.index()]
    }

    /// Failures of the policy's own plugin of that cause, on either rung.
    #[must_use]
    pub const fn failed(&self, cause: Cause) -> u64 {
        self.failed_on(Rung::First, cause) + self.failed_on(Rung::Fresh, cause)
    }

    /// All failures of the policy's own plugin.
    #[must_use]
    pub fn own_failures(&self) -> u64 {
        Cause::ALL.into_iter().map(|cause| self.failed(cause)).sum()
    }

    /// All failures of the bundle's plugin in its stead.
    #[must_use]
    pub fn bundle_failures(&self) -> u64 {
        Cause::ALL.into_iter().map(|cause| self.failed_on(Rung::Bundle, cause)).sum()
    }
}

/// The counters behind a [`Snapshot`]; those of healthy calls are in the pool.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    failures: [[AtomicU64; Cause::ALL.len()]; Rung::ALL.len()],
    pub(crate) fresh_retries: AtomicU64,
    pub(crate) recovered: AtomicU64,
    pub(crate) fallbacks: AtomicU64,
    pub(crate) spared: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) quarantines: AtomicU64,
    pub(crate) log_lines: AtomicU64,
    pub(crate) log_lines_dropped: AtomicU64,
}

/// One more.
pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn failed(&self, rung: Rung, cause: Cause) {
        bump(&self.failures[rung as usize][cause.index()]);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            calls: 0,
            failures: std::array::from_fn(|rung| std::array::from_fn(|cause| read(&self.failures[rung][cause]))),
            fresh_retries: read(&self.fresh_retries),
            recovered: read(&self.recovered),
            fallbacks: read(&self.fallbacks),
            spared: read(&self.spared),
            denied: read(&self.denied),
            quarantines: read(&self.quarantines),
            quarantined_until: None,
            log_lines: read(&self.log_lines),
            log_lines_dropped: read(&self.log_lines_dropped),
        }
    }
}
