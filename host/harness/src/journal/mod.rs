//! What a server writes down of what it judged and did, and what can be made of
//! it afterwards.
//!
//! [`record`] says what is written, [`segment`] how it lies in a file, [`Writer`]
//! and [`Reader`] do what their names say. [`newest_entries`] makes recorded
//! traffic of a journal. `JOURNAL.md` beside this crate's manifest tells it all
//! in words.
//!
//! It must not know the server: who writes brings the time, a thread, and what
//! happened.

mod entries;
pub mod explain;
mod reader;
pub mod record;
pub mod rejudge;
pub mod segment;
pub mod value;
pub mod writer;

#[cfg(test)]
mod tests;

pub use entries::{entries, newest_entries};
pub use reader::{Damage, Findings, OpenError, Place, Placed, Read, Reader, Stored};
pub use record::Record;
pub use writer::Writer;
