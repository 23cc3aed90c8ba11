//! The server's gate in virtual time: what a scenario proves is what runs.
//!
//! A [`World`] is the gate of `portcullis-domain` with the judges of
//! `portcullis-runtime`, as in the server, but with a clock that moves only
//! when told to. Scenarios, replay of recorded traffic and a policy author's
//! own tests all drive one.
//!
//! It must not know HTTP, the server's configuration file or a terminal.
//! Rule numbers in comments refer to `RULES.md` of `portcullis-domain`.

#![forbid(unsafe_code)]

pub mod bench;
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
