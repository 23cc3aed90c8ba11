//! Scenarios: events in virtual time, and what they have to come to.
//!
//! A scenario is read from a file ([`Scenario::load`]) or written in Rust
//! ([`Trial`]). Bound to what is under test ([`Scenario::bind`]) it runs
//! ([`Bound::run`]): once on instances that have judged before and once on a
//! fresh one for each call, so that a policy that keeps something where the host
//! doesn't see it is found out. What it came to is data ([`Report`]); its
//! `Display` says it in words.
//!
//! [`reference`] has every key of the files.

mod bind;
mod check;
mod keys;
mod mistake;
mod model;
mod parse;
mod read;
mod report;
mod run;
mod trial;
mod words;

pub use crate::document::mistake::{Cause, Mistake, Place};
pub use crate::document::policy::OnFailure;
pub use bind::{Bound, UnderTest};
pub use keys::{KEYS, Key, reference};
pub use mistake::{Mistakes, ScenarioError};
pub use model::{
    Action, Attempt, Counted, EVENTS_MAX, Expect, Expected, ExpectedOrder, GateSpec, Kept, KeptBytes, Named, Ordered,
    PARALLEL_MAX, PolicySpec, REPEAT_MAX, Request, Scenario, Step, Sum, Swap, Times, Ttl, When, Whose,
};
pub use read::SCENARIO_BYTES_MAX;
pub use report::{CALLS_MAX, Happened, HiddenState, PROBLEMS_MAX, Problem, Report, StepReport};
pub use trial::{Trial, TrialError};
