//! The gate's rules: attempts, verdicts, the ledger of waits and bans, and the
//! order in which they apply.
//!
//! This crate decides and remembers; it does nothing else. It knows no clock
//! (time is a parameter, see [`Clock`]), no thread pool, no socket, no file and
//! no WebAssembly. The server, the test harness and every other front end
//! drive this same gate, so what a test in virtual time proves is what runs.
//!
//! Rule numbers in comments refer to `RULES.md` beside this crate's manifest.

#![forbid(unsafe_code)]

pub mod event;
pub mod gate;
pub mod guard;
pub mod judge;
pub mod memory;
pub mod order;
pub mod recorders;
pub mod ruleset;
pub mod shadow;
pub mod sighting;
pub mod source;
pub mod store;
pub mod subject;
pub mod time;
pub mod turnstile;
pub mod verdict;
pub mod verified;
pub mod witness;

mod maps;
mod sync;

pub use event::{Attempt, Attribute, ClientId, Event, IdTooLong, Outcome, Request};
pub use gate::{ActError, Admission, Admitted, Finished, Gate, Inquiry, Observed, Passage, Recognised, Refusal};
pub use guard::Tripped;
pub use judge::{
    Answered, Denied, Interest, Judge, Judgement, Kept, Kind, PolicyMode, Provenance, StateFormat, SubjectBy,
};
pub use memory::{Capacity, KeptEntry, MemoryStore};
pub use order::{Enforced, Judged, Order};
pub use recorders::Recorders;
pub use ruleset::{Limits, Policy, Ruleset};
pub use shadow::{Compared, ShadowCounts, ShadowLedger, ShadowOrder, ShadowReport};
pub use sighting::{Origin, Sighting};
pub use source::{Source, SourceRules};
pub use store::{Ban, By, Cause, Placed, Recorder, Sizes, Store, Table, TableSize, Wait};
pub use subject::Subject;
pub use time::{Clock, Timestamp, VirtualClock};
pub use turnstile::{Turn, Turnstile};
pub use verdict::{BanOrder, Keep, Kept as KeptState, Reason, StateBytes, Verdict, WaitOrder};
pub use verified::VerifiedPairs;
pub use witness::{Act, Testimony, Witness};
