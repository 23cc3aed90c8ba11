//! One policy: its plugin, and all that happens when that fails (rules 21 and
//! 22). A pooled instance, then a new one, then what the operator wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use portcullis_domain::event::Dated;
use portcullis_domain::{
    Answered, Denied, Interest, Judge, Judgement, Keep, Kept, Kind, Provenance, StateFormat, Timestamp, Verdict,
};

use crate::configured::Configured;
use crate::convert::Answer;
use crate::failure::Failure;
use crate::histogram::{Distribution, Histogram};
use crate::log::Logged;
use crate::quarantine::{Change, Quarantine};
use crate::report::{Counters, FellBack, Report, Reporter, Rung, Snapshot, bump};

/// Of a healthy policy's successes, one in so many is recorded, so that a
/// first failure isn't all that is known.
const SUCCESSES_SAMPLED: u64 = 32;

/// Of the calls on a thread, one in so many is timed.
pub const JUDGE_TIMES_SAMPLED: u64 = 8;
/// Which of them: not the one that makes the instance, nor one whose success is recorded.
const JUDGE_TIMES_SAMPLE: u64 = 3;
/// What times are told apart: half a microsecond to the usual deadline.
const JUDGE_TIMES: &[Duration] = &[
    Duration::from_nanos(500),
    Duration::from_micros(1),
    Duration::from_micros(2),
    Duration::from_micros(5),
    Duration::from_micros(10),
    Duration::from_micros(20),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
];

/// What to do when the plugin can't judge.
#[derive(Debug)]
pub enum OnFailure {
    /// This plugin of the bundle judges instead.
    Bundle(Box<Configured>),
    /// Another policy runs the bundle's plugin of this kind already: its
    /// verdict is enough.
    BundleRunsAlready,
    /// The event is denied.
    Deny,
    /// As if the plugin had said pass.
    Allow,
}

/// The fallback judges as another kind than the plugin that it stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {fallback} plugin can't stand in for a {kind} plugin")]
pub struct KindsDiffer {
    /// What the policy is.
    pub kind: Kind,
    /// What was to stand in.
    pub fallback: Kind,
}

/// A policy that judges.
pub struct PolicyJudge {
    name: Box<str>,
    primary: Configured,
    on_failure: OnFailure,
    formats: Vec<StateFormat>,
    interest: Interest,
    reporter: Arc<dyn Reporter>,
    counters: Counters,
    times: Histogram,
    /// Samples are written to it, while all threads read what lies beside it in every
    /// call.
    quarantine: CachePadded<Mutex<Quarantine>>,
    /// Until when, in milliseconds; 0 when there is none.
    quarantined_until: AtomicU64,
    watching: AtomicBool,
}

impl std::fmt::Debug for PolicyJudge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyJudge").field("name", &self.name).field("primary", &self.primary).finish_non_exhaustive()
    }
}

impl PolicyJudge {
    /// The policy of that name.
    ///
    /// # Errors
    /// [`KindsDiffer`] if the fallback is of another kind.
    pub fn new(
        name: &str,
        primary: Configured,
        on_failure: OnFailure,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, KindsDiffer> {
        let mut formats = vec![primary.state_format().clone()];
        let mut interest = primary.interest().clone();
        if let OnFailure::Bundle(fallback) = &on_failure {
            if fallback.kind() != primary.kind() {
                return Err(KindsDiffer { kind: primary.kind(), fallback: fallback.kind() });
            }
            if !formats.contains(fallback.state_format()) {
                formats.push(fallback.state_format().clone());
            }
            interest = either(interest, fallback.interest());
        }
        Ok(Self {
            name: name.into(),
            primary,
            on_failure,
            formats,
            interest,
            reporter,
            counters: Counters::default(),
            times: Histogram::new(JUDGE_TIMES),
            quarantine: CachePadded::new(Mutex::new(Quarantine::default())),
            quarantined_until: AtomicU64::new(0),
            watching: AtomicBool::new(false),
        })
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its plugin, with settings and limits.
    #[must_use]
    pub const fn primary(&self) -> &Configured {
        &self.primary
    }

    /// The bundle's plugin, with settings and limits, if it steps in when that
    /// one fails.
    #[must_use]
    pub fn stand_in(&self) -> Option<&Configured> {
        match &self.on_failure {
            OnFailure::Bundle(fallback) => Some(fallback),
            OnFailure::BundleRunsAlready | OnFailure::Deny | OnFailure::Allow => None,
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let until = self.quarantined_until.load(Ordering::Relaxed);
        Snapshot {
            calls: self.primary.calls(),
            quarantined_until: (until > 0).then(|| Timestamp::from_millis(until)),
            ..self.counters.snapshot()
        }
    }

    /// How long calls took, whatever rung answered: of one in
    /// [`JUDGE_TIMES_SAMPLED`].
    #[must_use]
    pub fn times(&self) -> Distribution {
        self.times.distribution()
    }

    fn tell(&self, report: Report<'_>) {
        self.reporter.report(&self.name, report);
    }

    fn tell_log(&self, logged: Option<Logged>) {
        let Some(logged) = logged else { return };
        for line in &logged.lines {
            self.tell(Report::Log { level: line.level, message: &line.message });
        }
        self.counters.log_lines.fetch_add(logged.lines.len() as u64, Ordering::Relaxed);
        if logged.dropped > 0 {
            self.counters.log_lines_dropped.fetch_add(logged.dropped, Ordering::Relaxed);
            self.tell(Report::LogDropped { lines: logged.dropped });
        }
    }

    fn tell_failed(&self, rung: Rung, failure: &Failure) {
        self.counters.failed(rung, failure.cause);
        self.tell(Report::Failed { rung, failure });
    }

    /// Whether the plugin is to be left alone at `now`.
    fn is_quarantined(&self, now: Timestamp) -> bool {
        let until = self.quarantined_until.load(Ordering::Acquire);
        if until == 0 {
            return false;
        }
        if now < Timestamp::from_millis(until) {
            return true;
        }
        let ended = self.quarantined_until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Relaxed);
        if ended.is_ok() {
            self.tell(Report::TriedAgain);
        }
        false
    }

    /// Whether the plugin keeps failing for this event's source. Looked at
    /// only after a failure somewhere.
    fn is_spared(&self, dated: &Dated<'_>) -> bool {
        self.watching.load(Ordering::Acquire) && self.quarantine.lock().spares(dated.at, dated.event.source().network())
    }

    fn record(&self, dated: &Dated<'_>, failed: bool) {
        self.record_in(self.quarantine.lock(), dated, failed);
    }

    fn record_in(&self, mut quarantine: MutexGuard<'_, Quarantine>, dated: &Dated<'_>, failed: bool) {
        // Another thread may have begun one since this call set out.
        if self.quarantined_until.load(Ordering::Acquire) != 0 {
            return;
        }
        let change = quarantine.record(dated.at, dated.event.source().network(), failed);
        self.watching.store(quarantine.is_watching(), Ordering::Release);
        if let Change::Quarantined { until, .. } = change {
            self.quarantined_until.store(until.as_millis(), Ordering::Release);
        }
        drop(quarantine);
        match change {
            Change::None => {}
            Change::Quarantined { until, period } => {
                bump(&self.counters.quarantines);
                self.tell(Report::Quarantined { until, period });
            }
            Change::Spared { until } => {
                self.tell(Report::Spared { source: dated.event.source().address(), until });
            }
            Change::Trusted => self.tell(Report::Trusted),
        }
    }

    /// The first two rungs. The error is for the third.
    fn climb(&self, dated: &Dated<'_>, kept: &dyn Kept, nth: u64) -> Result<Judgement, ()> {
        let state = kept.read(0);
        let mut logged = None;
        let answer = self.primary.judge(dated, state.as_deref(), &mut logged);
        self.tell_log(logged.take());
        let failure = match answer {
            Ok(answer) => {
                if self.watching.load(Ordering::Acquire) {
                    self.record(dated, false);
                } else if nth.is_multiple_of(SUCCESSES_SAMPLED)
                    // A sample isn't worth waiting for another thread's.
                    && let Some(quarantine) = self.quarantine.try_lock()
                {
                    self.record_in(quarantine, dated, false);
                }
                return Ok(judgement(answer, 0, Answered::Own));
            }
            Err(failure) => failure,
        };
        self.tell_failed(Rung::First, &failure);
        bump(&self.counters.fresh_retries);
        let answer = self.primary.judge_fresh(dated, state.as_deref(), &mut logged);
        self.tell_log(logged.take());
        // The first rung's failure counts, whatever the second comes to.
        self.record(dated, true);
        match answer {
            Ok(answer) => {
                bump(&self.counters.recovered);
                self.tell(Report::Recovered);
                Ok(judgement(answer, 0, Answered::Own))
            }
            Err(failure) => {
                self.tell_failed(Rung::Fresh, &failure);
                Err(())
            }
        }
    }

    /// The third rung.
    fn fall_back(&self, dated: &Dated<'_>, kept: &dyn Kept, tell: bool) -> Result<Judgement, Denied> {
        bump(&self.counters.fallbacks);
        let tell = |to| {
            if tell {
                self.tell(Report::FellBack(to));
            }
        };
        match &self.on_failure {
            OnFailure::Bundle(fallback) => {
                tell(FellBack::Bundle);
                self.ask_bundle(fallback, dated, kept).inspect_err(|Denied| bump(&self.counters.denied))
            }
            OnFailure::BundleRunsAlready => {
                tell(FellBack::BundleRunsAlready);
                Ok(pass())
            }
            OnFailure::Deny => {
                tell(FellBack::Deny);
                bump(&self.counters.denied);
                Err(Denied)
            }
            OnFailure::Allow => {
                tell(FellBack::Allow);
                Ok(pass())
            }
        }
    }

    fn ask_bundle(&self, fallback: &Configured, dated: &Dated<'_>, kept: &dyn Kept) -> Result<Judgement, Denied> {
        if !fallback.wants(&dated.event) {
            return Ok(pass());
        }
        // With one format both plugins share the state (rule 19).
        let format = self.formats.len() - 1;
        let state = kept.read(format);
        let mut logged = None;
        let answer = fallback.judge(dated, state.as_deref(), &mut logged);
        self.tell_log(logged);
        answer.map(|answer| judgement(answer, format, Answered::StandIn)).map_err(|failure| {
            self.tell_failed(Rung::Bundle, &failure);
            Denied
        })
    }
}

impl Judge for PolicyJudge {
    fn formats(&self) -> &[StateFormat] {
        &self.formats
    }

    fn interest(&self) -> &Interest {
        &self.interest
    }

    fn provenance(&self, answered: Answered) -> Option<Provenance> {
        match (answered, &self.on_failure) {
            (Answered::Own, _) => Some(self.primary.provenance()),
            (Answered::StandIn, OnFailure::Bundle(fallback)) => Some(fallback.provenance()),
            (Answered::StandIn, OnFailure::BundleRunsAlready | OnFailure::Deny | OnFailure::Allow)
            | (Answered::Nobody, _) => None,
        }
    }

    fn judge(&self, dated: &Dated<'_>, kept: &dyn Kept) -> Result<Judgement, Denied> {
        let nth = self.primary.count_call();
        if nth % JUDGE_TIMES_SAMPLED != JUDGE_TIMES_SAMPLE {
            return self.ask(dated, kept, nth);
        }
        let began = Instant::now();
        let answer = self.ask(dated, kept, nth);
        self.times.add(began.elapsed());
        answer
    }
}

impl PolicyJudge {
    /// The whole ladder.
    fn ask(&self, dated: &Dated<'_>, kept: &dyn Kept, nth: u64) -> Result<Judgement, Denied> {
        if self.is_quarantined(dated.at) {
            return self.fall_back(dated, kept, false);
        }
        if self.is_spared(dated) {
            bump(&self.counters.spared);
            return self.fall_back(dated, kept, false);
        }
        // The fallback may want to see more than the plugin does.
        if !self.primary.wants(&dated.event) {
            return Ok(pass());
        }
        self.climb(dated, kept, nth).or_else(|()| self.fall_back(dated, kept, true))
    }
}

fn judgement(answer: Option<Answer>, format: usize, answered: Answered) -> Judgement {
    answer.map_or_else(pass, |(verdict, keep)| Judgement { verdict, keep, format, answered })
}

const fn pass() -> Judgement {
    Judgement { verdict: Verdict::Pass, keep: Keep::Unchanged, format: 0, answered: Answered::Nobody }
}

/// What either of two wants to see.
fn either(mut one: Interest, other: &Interest) -> Interest {
    if one.statuses.is_empty() || other.statuses.is_empty() {
        one.statuses.clear();
    } else {
        one.statuses.extend(other.statuses.iter().cloned());
    }
    for name in &other.attributes {
        if !one.attributes.contains(name) {
            one.attributes.push(name.clone());
        }
    }
    one
}
