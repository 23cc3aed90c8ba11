//! The server's gate in virtual time: what a scenario proves is what runs.
//!
//! A [`World`] is the gate of `portcullis-domain` with the judges of
//! `portcullis-runtime`, as in the server, but with a clock that moves only
//! when told to. Scenarios, replay of recorded traffic and a policy author's
//! own tests all drive one.
//!
//! A policy author's own test, with the steps and expectations that scenario
//! files have ([`scenario`]):
//!
//! ```
//! use std::time::Duration;
//!
//! use portcullis_harness::domain::Kind;
//! use portcullis_harness::runtime::{RuntimeConfig, SettingValue};
//! use portcullis_harness::scenario::{Attempt, Trial};
//! use portcullis_harness::{PolicyPlan, Shelf};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut shelf, _) = Shelf::new(&RuntimeConfig::default())?;
//! let ban = PolicyPlan::new("ban", Kind::Ban, shelf.bundle(Kind::Ban)?);
//! let wrong = Attempt::failure("abc", "203.0.113.7");
//! Trial::new("two failures in a row ban the source")
//!     .policy(ban.setting("max_failed_login", SettingValue::Integer(2)))
//!     .attempt(wrong.clone())
//!     .expect_pass()
//!     .after(Duration::from_secs(3))
//!     .attempt(wrong.clone())
//!     .expect_ban(Duration::from_secs(3600))
//!     .attempt(wrong)
//!     .expect_refused(423)
//!     .assert();
//! # Ok(())
//! # }
//! ```
//!
//! Scenario files are read by [`document`], and so is whatever else people write
//! about policies in TOML.
//!
//! It must not know HTTP, the keys of the server's configuration or a terminal.
//! Rule numbers in comments refer to `RULES.md` of `portcullis-domain`.

#![forbid(unsafe_code)]

pub mod bench;
pub mod document;
pub mod journal;
pub mod logs;
pub mod scenario;

mod observed;
mod plan;
pub mod replay;
mod shelf;
mod world;

pub use observed::{Call, Told};
pub use plan::{Failing, Plan, PolicyPlan};
pub use shelf::{Shelf, ShelfError};
pub use world::{Login, OpenError, Reaction, RestartKeeps, Visit, World};

pub use portcullis_domain as domain;
pub use portcullis_runtime as runtime;
