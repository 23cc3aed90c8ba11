//! What a policy was asked and what it answered, call by call; and what it had
//! to tell meanwhile.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_domain::event::Dated;
use portcullis_domain::{
    Answered, Denied, Interest, Judge, Judgement, Kept, Provenance, StateBytes, StateFormat, Subject, SubjectBy,
    Timestamp,
};
use portcullis_runtime::{Failure, LogLevel, Report, Reporter, Rung};

/// One call of a policy's judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Whom it keeps state about.
    pub subject: Subject,
    /// The event's time.
    pub at: Timestamp,
    /// What was kept for the subject before.
    pub before: Option<StateBytes>,
    /// What it said, or that nobody could judge.
    pub answer: Result<Judgement, Denied>,
}

/// Something that a policy had to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its plugin failed on that rung of the ladder (rule 21).
    Failed {
        /// The policy's name.
        policy: String,
        /// Where on the ladder.
        rung: Rung,
        /// Why.
        failure: Failure,
    },
    /// Its plugin wrote to the log.
    Log {
        /// The policy's name.
        policy: String,
        /// How loud.
        level: LogLevel,
        /// What; the plugin's own words.
        message: String,
    },
}

/// Where calls and reports are collected until somebody takes them.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    calls: Mutex<Vec<Call>>,
    told: Mutex<Vec<Told>>,
}

impl Journal {
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        mem::take(&mut lock(&self.calls))
    }

    pub(crate) fn take_told(&self) -> Vec<Told> {
        mem::take(&mut lock(&self.told))
    }
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reporter for Journal {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what a plugin did is of interest")]
    fn report(&self, policy: &str, report: Report<'_>) {
        let policy = policy.to_owned();
        let told = match report {
            Report::Failed { rung, failure } => Told::Failed { policy, rung, failure: failure.clone() },
            Report::Log { level, message } => Told::Log { policy, level, message: message.to_owned() },
            _ => return,
        };
        lock(&self.told).push(told);
    }
}

/// A judge that notes down each call of another.
pub(crate) struct Observed {
    pub(crate) policy: Arc<str>,
    pub(crate) subject: SubjectBy,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) journal: Arc<Journal>,
}

impl Judge for Observed {
    fn formats(&self) -> &[StateFormat] {
        self.judge.formats()
    }

    fn interest(&self) -> &Interest {
        self.judge.interest()
    }

    fn provenance(&self, answered: Answered) -> Option<Provenance> {
        self.judge.provenance(answered)
    }

    fn judge(&self, dated: &Dated<'_>, kept: &dyn Kept) -> Result<Judgement, Denied> {
        let answer = self.judge.judge(dated, kept);
        lock(&self.journal.calls).push(Call {
            policy: Arc::clone(&self.policy),
            subject: Subject::of(self.subject, &dated.event),
            at: dated.at,
            before: kept.read(0),
            answer: answer.clone(),
        });
        answer
    }
}
