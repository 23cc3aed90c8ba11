//! What the runtime's tests share: one runtime, events, kept state, and a
//! reporter that remembers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't be set up fails")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use portcullis_domain::event::{Attempt, Attribute, Dated, Outcome, Request};
use portcullis_domain::{Denied, Event, Judge, Judgement, Keep, Kept, Source, StateBytes, Timestamp, Verdict};
use portcullis_runtime::{
    Cause, Configured, FellBack, Limits, Mode, OnFailure, Plugin, PolicyJudge, Report, Reporter, Rung, Runtime,
    RuntimeConfig, Settings,
};

pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let (runtime, notices) = Runtime::new(&RuntimeConfig::default()).unwrap();
    assert_eq!(notices, [], "nothing to complain of");
    runtime
});

pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub fn plugin(fixture: &str) -> Arc<Plugin> {
    RUNTIME.load(&portcullis_guests::component(fixture), fixture).unwrap_or_else(|error| panic!("{fixture}: {error}"))
}

pub fn configured(fixture: &str) -> Configured {
    let plugin = plugin(fixture);
    let kind = plugin.kinds()[0];
    plugin.configure(kind, &Settings::new(), &Limits::default()).unwrap()
}

/// A policy, and what it has told.
pub struct Policy {
    pub judge: PolicyJudge,
    pub told: Arc<Told>,
}

/// What a reporter remembers of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Log(String),
    LogDropped(u64),
    Failed(Rung, Cause),
    Recovered,
    FellBack(FellBack),
    Quarantined(Timestamp),
    TriedAgain,
    Spared(IpAddr, Timestamp),
    Trusted,
}

#[derive(Default)]
pub struct Told(Mutex<Vec<Said>>);

impl Told {
    /// What was told since the last time.
    pub fn take(&self) -> Vec<Said> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Reporter for Told {
    fn report(&self, policy: &str, report: Report<'_>) {
        assert_eq!(policy, "policy");
        self.0.lock().push(match report {
            Report::Log { message, .. } => Said::Log(message.to_owned()),
            Report::LogDropped { lines } => Said::LogDropped(lines),
            Report::Failed { rung, failure } => Said::Failed(rung, failure.cause),
            Report::Recovered => Said::Recovered,
            Report::FellBack(to) => Said::FellBack(to),
            Report::Quarantined { until, .. } => Said::Quarantined(until),
            Report::TriedAgain => Said::TriedAgain,
            Report::Spared { source, until } => Said::Spared(source, until),
            Report::Trusted => Said::Trusted,
            other => panic!("{other:?} is new"),
        });
    }
}

pub fn policy(configured: Configured, on_failure: OnFailure) -> Policy {
    let told = Arc::new(Told::default());
    let reporter = Arc::clone(&told) as Arc<dyn Reporter>;
    Policy { judge: PolicyJudge::new("policy", configured, on_failure, reporter).unwrap(), told }
}

/// A policy over a fixture that denies when it fails.
pub fn denying(fixture: &str) -> Policy {
    policy(configured(fixture), OnFailure::Deny)
}

/// A fixture that stands in for others.
pub fn stand_in(fixture: &str) -> OnFailure {
    OnFailure::Bundle(Box::new(configured(fixture)))
}

/// Kept state by format.
#[derive(Clone, Debug, Default)]
pub struct States(pub Vec<Option<StateBytes>>);

impl Kept for States {
    fn read(&self, format: usize) -> Option<StateBytes> {
        self.0.get(format).cloned().flatten()
    }
}

impl States {
    pub fn of(bytes: &[u8]) -> Self {
        Self(vec![Some(StateBytes::from_slice(bytes))])
    }

    /// Keeps what a judgement says.
    pub fn keep(&mut self, judgement: &Judgement) {
        self.0.resize(self.0.len().max(judgement.format + 1), None);
        match &judgement.keep {
            Keep::Unchanged => {}
            Keep::Forget => self.0[judgement.format] = None,
            Keep::Put(kept) => self.0[judgement.format] = Some(kept.data.clone()),
        }
    }
}

pub fn source(address: &str) -> Source {
    Source::new(address.parse().unwrap(), 64)
}

pub fn attempt(address: &str, outcome: Outcome) -> Attempt<'static> {
    Attempt {
        source: source(address),
        client_id: None,
        outcome,
        client_known: None,
        secret_fingerprint: None,
        attributes: &[],
    }
}

impl Policy {
    /// Judges an attempt of a stranger.
    pub fn attempt(&self, outcome: Outcome) -> Result<Judgement, Denied> {
        self.attempt_from("203.0.113.7", START, outcome)
    }

    pub fn attempt_from(&self, address: &str, at: Timestamp, outcome: Outcome) -> Result<Judgement, Denied> {
        self.judge.judge(&Dated { at, event: Event::Attempt(&attempt(address, outcome)) }, &States::default())
    }

    /// Judges an attempt with attributes.
    pub fn attempt_with(&self, attributes: &[Attribute<'_>]) -> Result<Judgement, Denied> {
        let attempt = Attempt { attributes, ..attempt("203.0.113.7", Outcome::Failure) };
        self.judge.judge(&Dated { at: START, event: Event::Attempt(&attempt) }, &States::default())
    }

    /// Judges an attempt with its state.
    pub fn attempt_kept(&self, outcome: Outcome, states: &States) -> Result<Judgement, Denied> {
        self.judge.judge(&Dated { at: START, event: Event::Attempt(&attempt("203.0.113.7", outcome)) }, states)
    }

    /// Judges a request.
    pub fn request(&self, address: &str, at: Timestamp, path: &str) -> Result<Judgement, Denied> {
        let request =
            Request { source: source(address), client_id: None, method: "GET", path, status: 404, attributes: &[] };
        self.judge.judge(&Dated { at, event: Event::Request(&request) }, &States::default())
    }
}

pub fn passes(judgement: &Result<Judgement, Denied>) -> bool {
    matches!(judgement, Ok(Judgement { verdict: Verdict::Pass, .. }))
}

pub fn bans(judgement: &Result<Judgement, Denied>) -> bool {
    matches!(judgement, Ok(Judgement { verdict: Verdict::Ban(_), .. }))
}

pub const FRESH: Mode = Mode::FreshPerCall;
