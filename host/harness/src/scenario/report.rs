//! What running a scenario came to, as data.

use std::time::Duration;

use portcullis_domain::{Keep, StateBytes, Subject};
use portcullis_runtime::{Failure, Rung};

use super::model::{Expect, KeptBytes, Step, Sum, Ttl};
use crate::observed::{Call, Told};
use crate::world::Reaction;

/// What one scenario came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it shows.
    pub name: String,
    /// Its file; lines are this file's.
    pub file: String,
    /// What each step came to.
    pub steps: Vec<StepReport>,
    /// Policies that answered differently on a fresh instance: all of the first
    /// event at which one did. What comes later can follow from that.
    pub hidden: Vec<HiddenState>,
}

impl Report {
    /// Whether everything came as it was expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.hidden.is_empty() && self.steps.iter().all(StepReport::passed)
    }

    /// Events that happened.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.steps.iter().map(|step| step.events).sum()
    }
}

/// What one step came to.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Which one, from 1.
    pub number: usize,
    /// As it was said.
    pub step: Step,
    /// When it began, since the start: once the time before it had passed.
    pub at: Duration,
    /// Events that happened.
    pub events: u64,
    /// What they came to, by sums.
    pub sums: Vec<(Sum, u64)>,
    /// What came otherwise; of events, and of plugins that failed, at most
    /// [`PROBLEMS_MAX`] each.
    pub problems: Vec<Problem>,
    /// How many more of these two there were.
    pub problems_more: u64,
    /// The first event that came otherwise, else the last one.
    pub event: Option<Happened>,
}

/// Most events of a step that came otherwise, and most failures of plugins in
/// it, that are told one by one; events in a row that came to the same are one.
pub const PROBLEMS_MAX: usize = 5;

impl StepReport {
    /// Whether everything came as it was expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }
}

/// One event, and all that it led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// Which one of the step, from 1.
    pub n: u32,
    /// When, since the start; of attempts at the same instant: when the last was over.
    pub at: Duration,
    /// What the gate made of it.
    pub reaction: Reaction,
    /// What the client is answered.
    pub reply: u16,
    /// What policies were asked and answered; of attempts at the same instant:
    /// all of them together, the first [`CALLS_MAX`].
    pub calls: Vec<Call>,
    /// How many calls more there were.
    pub calls_more: usize,
    /// What policies had to tell, likewise.
    pub told: Vec<Told>,
}

/// Most calls and log lines of an event that are kept.
pub const CALLS_MAX: usize = 20;

/// Something that came otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// An event came to something else.
    Event {
        /// Which one of the step, from 1.
        n: u32,
        /// The last of those after it that all came to the same; `n` if it is alone.
        last: u32,
        /// What was expected.
        expected: Expect,
        /// What came.
        came: Reaction,
        /// What the client is answered.
        reply: u16,
    },
    /// A plugin failed, and the step doesn't expect that.
    Failed {
        /// Which event of the step, from 1; of attempts at the same instant, 1.
        n: u32,
        /// The last of those after it at which it failed in the same way.
        last: u32,
        /// The policy.
        policy: String,
        /// Where on the ladder of rule 21.
        rung: Rung,
        /// Why.
        failure: Failure,
    },
    /// A plugin didn't fail, and the step expects that.
    Sound {
        /// The policy.
        policy: String,
    },
    /// A sum is another.
    Sum {
        /// Of what.
        sum: Sum,
        /// What was expected.
        expected: u64,
        /// What came.
        came: u64,
    },
    /// Something else is kept.
    Kept {
        /// By which policy.
        policy: String,
        /// For whom.
        subject: Subject,
        /// What was expected.
        expected: KeptBytes,
        /// What is kept.
        came: Option<StateBytes>,
    },
    /// It is kept for another time.
    Ttl {
        /// By which policy.
        policy: String,
        /// For whom.
        subject: Subject,
        /// What was expected.
        expected: Ttl,
        /// What is so; `None`: nothing is kept.
        came: Option<Ttl>,
    },
    /// The step is to happen at a time that has passed.
    Past {
        /// When, since the start.
        at: Duration,
        /// What time it is, since the start.
        now: Duration,
    },
    /// The step makes no sense, or a plugin can't be put in force.
    Broken {
        /// Why.
        why: String,
    },
}

/// A policy answered differently on a fresh instance: it keeps something where
/// the host doesn't see it.
#[derive(Clone, Debug, PartialEq)]
pub struct HiddenState {
    /// In which step, from 1.
    pub step: usize,
    /// Its line.
    pub line: usize,
    /// At which event of the step, from 1; of attempts at the same instant: at
    /// which call.
    pub n: u32,
    /// The policy.
    pub policy: String,
    /// Whom it was asked about.
    pub subject: Subject,
    /// The call on an instance that has judged before; `None`: it wasn't asked.
    pub pooled: Option<Call>,
    /// The call on a fresh instance; `None`: it wasn't asked.
    pub fresh: Option<Call>,
}

impl Call {
    /// What is kept under the policy's own format once this call is over.
    #[must_use]
    pub fn after(&self) -> Option<StateBytes> {
        match &self.answer {
            Ok(judgement) if judgement.format == 0 => match &judgement.keep {
                Keep::Unchanged => self.before.clone(),
                Keep::Forget => None,
                Keep::Put(kept) => Some(kept.data.clone()),
            },
            // The bundle's plugin keeps its state apart.
            Ok(_) | Err(_) => self.before.clone(),
        }
    }
}
