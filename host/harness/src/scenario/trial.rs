//! Scenarios written in Rust: the same steps and expectations as in a file.

use std::collections::BTreeMap;
use std::panic::Location;
use std::time::Duration;

use super::bind::Bound;
use super::mistake::Mistakes;
use super::model::{
    Action, Attempt, Expect, Expected, ExpectedOrder, Kept, KeptBytes, Ordered, Request, Step, Sum, Swap, Times, When,
};
use super::report::Report;
use crate::plan::{Plan, PolicyPlan};
use crate::world::{OpenError, RestartKeeps};

/// A scenario under construction: what happens is said first, then what it has
/// to come to. The crate's documentation has an example. What is said about an
/// event goes for the one before it; time that passes goes for the next.
#[derive(Clone, Debug)]
pub struct Trial {
    name: String,
    file: String,
    plan: Plan,
    steps: Vec<Step>,
    swaps: BTreeMap<usize, Vec<PolicyPlan>>,
    next: When,
}

/// Why a [`Trial`] can't run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// It makes no sense.
    #[error("{0}")]
    Wrong(#[from] Mistakes),
    /// A plugin can't be put in force.
    #[error("{0}")]
    Open(#[from] OpenError),
}

impl Trial {
    /// A scenario without policies; it shows what `name` says.
    #[must_use]
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self::with(name, Plan::default())
    }

    /// A scenario with the plan's policies and bounds.
    #[must_use]
    #[track_caller]
    pub fn with(name: &str, plan: Plan) -> Self {
        let (name, file) = (name.to_owned(), Location::caller().file().to_owned());
        Self { name, file, plan, steps: Vec::new(), swaps: BTreeMap::new(), next: When::After(Duration::ZERO) }
    }

    /// One policy more.
    #[must_use]
    pub fn policy(self, policy: PolicyPlan) -> Self {
        Self { plan: self.plan.policy(policy), ..self }
    }

    /// So much time passes before the next step.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { next: When::After(time), ..self }
    }

    /// The next step happens so long after the start.
    #[must_use]
    pub fn at(self, time: Duration) -> Self {
        Self { next: When::At(time), ..self }
    }

    /// A login attempt.
    #[must_use]
    #[track_caller]
    pub fn attempt(self, attempt: Attempt) -> Self {
        self.step(Action::Attempt(attempt))
    }

    /// An answered request.
    #[must_use]
    #[track_caller]
    pub fn request(self, request: Request) -> Self {
        self.step(Action::Request(request))
    }

    /// Only time passes.
    #[must_use]
    #[track_caller]
    pub fn nothing(self) -> Self {
        self.step(Action::Nothing)
    }

    /// The host restarts.
    #[must_use]
    #[track_caller]
    pub fn restart(self, keeps: RestartKeeps) -> Self {
        self.step(Action::Restart(keeps))
    }

    /// The policy of the same name is replaced.
    #[must_use]
    #[track_caller]
    pub fn swap(mut self, policy: PolicyPlan) -> Self {
        let before = self.swaps.last_key_value().map_or(&self.plan.policies, |(_, policies)| policies);
        let replace = |known: &PolicyPlan| if known.name == policy.name { &policy } else { known }.clone();
        let after = before.iter().map(replace).collect();
        self.swaps.insert(self.steps.len(), after);
        self.step(Action::Swap(Swap { policy: policy.name.clone(), plugin: None, settings: None }))
    }

    /// The event happens so often, with that time between.
    #[must_use]
    #[track_caller]
    pub fn times(self, count: u32, every: Duration) -> Self {
        self.change(|step| step.times = Times::Repeat { count, every })
    }

    /// So many attempts come at the same instant, the check of each secret
    /// taking that long.
    #[must_use]
    #[track_caller]
    pub fn at_once(self, count: u32, takes: Duration) -> Self {
        self.change(|step| step.times = Times::Parallel { count, takes })
    }

    /// Said in the report.
    #[must_use]
    #[track_caller]
    pub fn note(self, note: &str) -> Self {
        self.change(|step| step.note = Some(note.to_owned()))
    }

    /// Each event of the step comes to that.
    #[must_use]
    #[track_caller]
    pub fn expect(self, expect: impl Into<Expect>) -> Self {
        self.change(|step| step.expect = Some(expect.into()))
    }

    /// Admitted, and no policy ordered anything.
    #[must_use]
    #[track_caller]
    pub fn expect_pass(self) -> Self {
        self.expect(Expected::Pass)
    }

    /// A verified pair: no attempt.
    #[must_use]
    #[track_caller]
    pub fn expect_verified(self) -> Self {
        self.expect(Expected::Verified)
    }

    /// A policy's plugin failed and its `on_failure` is deny.
    #[must_use]
    #[track_caller]
    pub fn expect_denied(self) -> Self {
        self.expect(Expected::Denied)
    }

    /// A wait of that length, and no other order.
    #[must_use]
    #[track_caller]
    pub fn expect_wait(self, duration: Duration) -> Self {
        self.expect_order(Ordered::Wait(duration))
    }

    /// A ban of that length, and no other order.
    #[must_use]
    #[track_caller]
    pub fn expect_ban(self, duration: Duration) -> Self {
        self.expect_order(Ordered::Ban { duration, network: None })
    }

    /// That order, and no other.
    #[must_use]
    #[track_caller]
    pub fn expect_order(self, order: impl Into<ExpectedOrder>) -> Self {
        self.expect(Expected::Orders(vec![order.into()]))
    }

    /// No policy was asked: 423 for a ban, 429 for a wait or a full queue.
    #[must_use]
    #[track_caller]
    pub fn expect_refused(self, status: u16) -> Self {
        self.expect(Expected::Refused { status, retry_after: None })
    }

    /// The policy's plugin has to fail in this step.
    #[must_use]
    #[track_caller]
    pub fn expect_failing(self, policy: &str) -> Self {
        self.change(|step| step.failing.push(policy.to_owned()))
    }

    /// The sum over the step's events.
    #[must_use]
    #[track_caller]
    pub fn expect_total(self, sum: Sum, count: u64) -> Self {
        self.change(|step| step.total.push((sum, count)))
    }

    /// What the policy keeps after the step for the subject of its last event.
    #[must_use]
    #[track_caller]
    pub fn expect_kept(self, policy: &str, what: KeptBytes) -> Self {
        let line = line();
        self.change(|step| {
            step.kept.push(Kept { policy: policy.to_owned(), line, of: None, what, ttl: None });
        })
    }

    /// Runs it, on pooled instances and on fresh ones.
    ///
    /// # Errors
    /// [`TrialError`] if it makes no sense or a plugin refuses its settings.
    pub fn run(self) -> Result<Report, TrialError> {
        Ok(Bound::new(self.name, self.file, self.plan, self.steps, self.swaps)?.run()?)
    }

    /// Runs it, as a test does.
    ///
    /// # Panics
    /// If anything came otherwise, saying what.
    #[track_caller]
    #[expect(clippy::panic, reason = "it is for tests, which fail so")]
    pub fn assert(self) {
        match self.run() {
            Ok(report) if report.passed() => {}
            Ok(report) => panic!("{report}"),
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn step(mut self, action: Action) -> Self {
        let when = std::mem::replace(&mut self.next, When::After(Duration::ZERO));
        self.steps.push(Step { when, action, ..Step::new(line()) });
        self
    }

    /// Changes the last step. Without one it changes a step in which nothing
    /// happens, and what makes no sense there is told at the end.
    #[track_caller]
    fn change(mut self, change: impl FnOnce(&mut Step)) -> Self {
        let line = line();
        if self.steps.is_empty() {
            self.steps.push(Step::new(line));
        }
        if let Some(step) = self.steps.last_mut() {
            change(step);
        }
        self
    }
}

#[track_caller]
fn line() -> usize {
    Location::caller().line() as usize
}
