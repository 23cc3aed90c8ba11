//! Whom a change would newly ban: what was recorded lately, through the policies
//! in force and through those that are to be, side by side (rule 38).
//!
//! On the thread that swaps, in virtual time, with a store of its own: nothing
//! here is on the way of a request or changes what is in force.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis_domain::{Kind, PolicyMode, Source, Timestamp};
use portcullis_harness::logs::Entry;
use portcullis_harness::replay::{Replay, Report, Shown};
use portcullis_harness::{OpenError, Plan};
use portcullis_runtime::{LoadError, Runtime};

use crate::config::{Told, printable};
use crate::setup::Setup;

/// Events that are looked at, the newest ones.
pub const PREFLIGHT_EVENTS_MAX: usize = 100_000;
/// How far back they may lie; also how long a login speaks for its source.
pub const PREFLIGHT_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long it may take.
pub(super) const PREFLIGHT_TIME_MAX: Duration = Duration::from_secs(10);
/// Events between two looks at the clock.
const EVENTS_PER_LOOK: usize = 256;
/// Sources that are named.
const NAMED_MAX: usize = 20;

/// Why a change couldn't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// A plugin can't run.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The program's own bundle is broken.
    #[error("the bundle: {0}")]
    Bundle(#[from] LoadError),
}

/// Whom a change would newly ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightReport {
    /// Events that were looked at.
    pub events: usize,
    /// Events that there were.
    pub events_recorded: usize,
    /// When the first of them was; absent without any.
    pub since: Option<Timestamp>,
    /// Sources that the change would ban and what is in force wouldn't.
    pub newly_banned: usize,
    /// Of these, how many logged in within [`PREFLIGHT_AGE_MAX`].
    pub newly_banned_logged_in: usize,
    /// Sources that it would no longer ban.
    pub no_longer_banned: usize,
    /// Some of the newly banned, those that logged in first.
    pub sources: Vec<NewlyBanned>,
    /// Policies whose plugin failed on recorded events, and how often.
    pub failures: Vec<(String, u64)>,
}

/// A source that a change would newly ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewlyBanned {
    /// Who.
    pub source: IpNet,
    /// What would be banned: the source or a network around it.
    pub network: IpNet,
    /// The policy.
    pub policy: String,
    /// The plugin's reason: anybody's words.
    pub reason: String,
    /// Its code.
    pub code: String,
    /// When it would have been.
    pub at: Timestamp,
    /// Whether it logged in within [`PREFLIGHT_AGE_MAX`].
    pub logged_in: bool,
}

impl PreflightReport {
    /// Whether the change may be put in force without force.
    #[must_use]
    pub fn is_within(&self, max_new_bans: u32) -> bool {
        self.newly_banned <= usize::try_from(max_new_bans).unwrap_or(usize::MAX) && self.newly_banned_logged_in == 0
    }

    /// In one line, without a plugin's words.
    fn summary(&self) -> String {
        let Self { events, newly_banned, newly_banned_logged_in, no_longer_banned, .. } = self;
        let since = self.since.map(|since| format!(" since {}", shown(since))).unwrap_or_default();
        format!(
            "in {events} recorded events{since} it would newly ban {newly_banned} sources, {newly_banned_logged_in} of \
             which logged in within the last day, and no longer ban {no_longer_banned}"
        )
    }

    /// Its lines for the log, a plugin's words apart from ours.
    pub(super) fn told(&self, max_new_bans: u32) -> Vec<Told> {
        let allowed =
            format!("guard.max_new_bans allows {max_new_bans} and none that logged in; reload --force overrides");
        let mut told = vec![Told { ours: format!("{}: {allowed}", self.summary()), plugins: None }];
        told.extend(self.sources.iter().map(|newly| Told {
            ours: format!(
                "policy {} would ban {} for {}{}",
                newly.policy,
                newly.network,
                newly.source,
                if newly.logged_in { ", which logged in" } else { "" }
            ),
            plugins: Some(newly.reason.clone()),
        }));
        told
    }

    /// Tells the log that it was within bounds.
    pub(super) fn tell(&self) {
        tracing::info!("preflight: {}", self.summary());
        if self.events < self.events_recorded {
            tracing::warn!(
                "preflight: only {} of {} events were looked at within {} s",
                self.events,
                self.events_recorded,
                PREFLIGHT_TIME_MAX.as_secs()
            );
        }
        for (policy, times) in &self.failures {
            tracing::warn!("preflight: policy {policy}: its plugin failed {times} times on recorded events");
        }
    }
}

impl fmt::Display for PreflightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        for newly in &self.sources {
            let NewlyBanned { source, network, policy, reason, logged_in, .. } = newly;
            let who = if *logged_in { ", which logged in" } else { "" };
            write!(f, "\n  policy {policy} would ban {network} for {source}{who}: {}", printable(reason))?;
        }
        Ok(())
    }
}

/// Whether a change can newly ban anyone: another plugin, settings or subject of
/// a policy that bans, one more of these, or sources that are grouped otherwise
/// or no longer spared.
pub(super) fn is_needed(before: &Setup, after: &Setup) -> bool {
    let (known, sources) = (banning(before).collect::<Vec<_>>(), (&before.config.source, &after.config.source));
    let spared_still = |network: IpNet| sources.1.spared().any(|spared| spared.contains(&network));
    sources.0.ipv6_prefix != sources.1.ipv6_prefix
        || !sources.0.spared().all(spared_still)
        || !banning(after).all(|policy| known.contains(&policy))
}

/// What makes policies that enforce bans what they are.
fn banning(setup: &Setup) -> impl Iterator<Item = impl PartialEq + use<'_>> {
    let bans = setup.policies.iter().filter(|policy| {
        policy.config.mode == PolicyMode::Enforce && matches!(policy.config.kind, Kind::Ban | Kind::Scanner)
    });
    bans.map(|policy| (policy.config.kind, policy.config.subject, policy.judge.primary().provenance()))
}

/// Runs what was recorded through both.
///
/// # Errors
/// [`PreflightError`] if a plugin that could be loaded can't run.
pub(super) fn run(
    before: &Setup,
    after: &Setup,
    runtime: &Runtime,
    entries: &[Entry<'_>],
    now: Timestamp,
) -> Result<PreflightReport, PreflightError> {
    let began = Instant::now();
    let plans = (enforcing(before.plan(runtime)?), enforcing(after.plan(runtime)?));
    let shown = Shown { rows: PREFLIGHT_EVENTS_MAX, unknown: 0 };
    let mut replay = Replay::new(plans.0, Some(plans.1), None, shown)?;
    let mut events = 0;
    for some in entries.chunks(EVENTS_PER_LOOK) {
        if began.elapsed() >= PREFLIGHT_TIME_MAX {
            break;
        }
        some.iter().for_each(|entry| replay.entry(entry));
        events += some.len();
    }
    let prefix = after.config.source.ipv6_prefix;
    let sources: Sources = entries[..events].iter().fold(Sources::new(), |mut sources, entry| {
        let source = Source::new(entry.from, prefix).network();
        let lately = now.since(entry.at) <= PREFLIGHT_AGE_MAX;
        *sources.entry(source).or_default() |= lately && entry.shows_login();
        sources
    });
    let mut report = compared(&replay.finish(), &sources);
    (report.events, report.events_recorded) = (events, entries.len());
    report.since = entries.first().map(|entry| entry.at);
    Ok(report)
}

/// Without what enforces nothing, and without the cap: it bounds mistakes, and
/// here they are looked for.
fn enforcing(mut plan: Plan) -> Plan {
    plan.policies.retain(|policy| policy.mode == PolicyMode::Enforce);
    plan.limits.max_bans_per_minute = None;
    plan
}

/// Sources of events, each with whether it logged in lately.
type Sources = BTreeMap<IpNet, bool>;

/// Who of these only one side would ban. A source counts as banned with any
/// network that holds it.
fn compared(replayed: &Report, sources: &Sources) -> PreflightReport {
    let mut report = PreflightReport {
        events: 0,
        events_recorded: 0,
        since: None,
        newly_banned: 0,
        newly_banned_logged_in: 0,
        no_longer_banned: 0,
        sources: Vec::new(),
        failures: Vec::new(),
    };
    let Some(against) = &replayed.against else { return report };
    let banned = Networks::of(replayed.outcome.bans.iter().map(|ban| ban.network));
    let would_be = Networks::of(against.outcome.bans.iter().map(|ban| ban.network));
    let mut newly = Vec::new();
    for (&source, &logged_in) in sources {
        match (banned.around(source), would_be.around(source)) {
            (None, Some(network)) => newly.push((!logged_in, source, network)),
            (Some(_), None) => report.no_longer_banned += 1,
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
    newly.sort_unstable();
    report.newly_banned = newly.len();
    report.newly_banned_logged_in = newly.iter().filter(|(not_logged_in, ..)| !not_logged_in).count();
    report.sources = newly
        .into_iter()
        .take(NAMED_MAX)
        .filter_map(|(not_logged_in, source, network)| {
            let ban = against.outcome.bans.iter().find(|ban| ban.network == network)?;
            Some(NewlyBanned {
                source,
                network,
                policy: ban.policy.to_string(),
                reason: ban.reason.text().to_owned(),
                code: ban.reason.code().to_owned(),
                at: ban.at,
                logged_in: !not_logged_in,
            })
        })
        .collect();
    report.failures = against.outcome.failures.iter().map(|failed| (failed.policy.clone(), failed.times)).collect();
    report
}

/// Networks of any widths.
struct Networks {
    all: HashSet<IpNet>,
    widths: BTreeSet<u8>,
}

impl Networks {
    fn of(networks: impl Iterator<Item = IpNet>) -> Self {
        let all: HashSet<IpNet> = networks.collect();
        Self { widths: all.iter().map(IpNet::prefix_len).collect(), all }
    }

    /// The widest of them that holds `source`.
    fn around(&self, source: IpNet) -> Option<IpNet> {
        let address: IpAddr = source.addr();
        let widths = self.widths.iter().filter(|&&width| width <= source.prefix_len());
        let networks = widths.filter_map(|&width| Some(IpNet::new(address, width).ok()?.trunc()));
        networks.into_iter().find(|network| self.all.contains(network))
    }
}

fn shown(instant: Timestamp) -> jiff::Timestamp {
    let millis = i64::try_from(instant.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests;
