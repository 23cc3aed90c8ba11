//! How a plugin fails (rule 21): the causes, told apart by type and never by
//! the text of a message.

use std::fmt;

use portcullis_domain::event::cut;

/// Longest detail of a failure, in bytes; a guest can have a say in it.
const DETAIL_BYTES_MAX: usize = 512;

/// Why a call into a plugin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It trapped.
    Trap,
    /// Its CPU time was used up.
    Deadline,
    /// It was refused memory and did not get over it.
    Memory,
    /// It called an import that this host only stands in for.
    Import,
    /// It handed over too much, or what can't be read.
    Unreadable,
    /// It answered with an error.
    Error,
    /// Its answer makes no sense.
    Nonsense,
    /// No instance of it could be made, or a new one refused its settings.
    Start,
}

impl Cause {
    /// Every cause, in the order of their indices.
    pub const ALL: [Self; 8] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::Import,
        Self::Unreadable,
        Self::Error,
        Self::Nonsense,
        Self::Start,
    ];

    /// Short and stable: a label for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Import => "import",
            Self::Unreadable => "unreadable",
            Self::Error => "error",
            Self::Nonsense => "nonsense",
            Self::Start => "start",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trap => "it trapped",
            Self::Deadline => "it ran past its deadline",
            Self::Memory => "it wanted more memory than its limit",
            Self::Import => "it called an import that isn't there",
            Self::Unreadable => "it handed over too much, or what can't be read",
            Self::Error => "it answered with an error",
            Self::Nonsense => "its answer makes no sense",
            Self::Start => "no instance could be made",
        })
    }
}

/// One failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// More words; a plugin can have a say in them, so encode them where they
    /// are written.
    pub detail: String,
}

impl Failure {
    pub(crate) fn new(cause: Cause, detail: &str) -> Self {
        Self { cause, detail: cut(detail, DETAIL_BYTES_MAX).to_owned() }
    }
}
