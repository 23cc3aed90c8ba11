//! How much a plugin may take. The bounds are kept in `instance`; this module
//! only says what they are.

use std::time::Duration;

/// Largest plugin file, in bytes.
pub const PLUGIN_BYTES_MAX: usize = 64 << 20;
/// Most memory that an operator may grant one instance, in bytes.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;
/// Longest deadline that an operator may grant a call.
pub const DEADLINE_MAX: Duration = Duration::from_secs(10);
/// Largest state that an operator may grant a subject, in bytes.
pub const STATE_BYTES_MAX: usize = 64 << 10;
/// Most data that an operator may let one call hand over, in bytes.
pub const HOSTCALL_BYTES_MAX: usize = 16 << 20;
/// Most log lines that an operator may grant a call.
pub const LOG_LINES_MAX: u32 = 1000;

/// The bounds of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of a call, of an instantiation and of a `configure`.
    pub deadline: Duration,
    /// Bytes of one instance, summed over all its memories and tables.
    pub memory_bytes: usize,
    /// Bytes of state kept for one subject.
    pub state_bytes: usize,
    /// Bytes that the guest may hand over in one call.
    pub hostcall_bytes: usize,
    /// Log lines of one call; more are dropped and counted.
    pub log_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(20),
            memory_bytes: 64 << 20,
            state_bytes: 1 << 10,
            hostcall_bytes: 256 << 10,
            log_lines: 16,
        }
    }
}

/// A limit that the host can't keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// A call needs some time, and not too much of it.
    #[error("a deadline of {found:?}, where more than none and at most {DEADLINE_MAX:?} is possible")]
    Deadline {
        /// What was asked for.
        found: Duration,
    },
    /// More memory than the pool reserves.
    #[error("{found} bytes of memory, where at most {MEMORY_BYTES_MAX} are possible")]
    Memory {
        /// What was asked for.
        found: usize,
    },
    /// A state larger than a store would want to keep.
    #[error("{found} bytes of state, where at most {STATE_BYTES_MAX} are possible")]
    State {
        /// What was asked for.
        found: usize,
    },
    /// More data per call than can be meant.
    #[error("{found} bytes handed over in a call, where at most {HOSTCALL_BYTES_MAX} are possible")]
    Hostcall {
        /// What was asked for.
        found: usize,
    },
    /// More log lines than anyone reads.
    #[error("{found} log lines in a call, where at most {LOG_LINES_MAX} are possible")]
    LogLines {
        /// What was asked for.
        found: u32,
    },
}

impl Limits {
    /// Whether the host can keep them; every one that it can't.
    ///
    /// # Errors
    /// One for each limit out of range.
    pub fn check(&self) -> Result<(), Vec<LimitError>> {
        let mut errors = Vec::new();
        if self.deadline.is_zero() || self.deadline > DEADLINE_MAX {
            errors.push(LimitError::Deadline { found: self.deadline });
        }
        if self.memory_bytes > MEMORY_BYTES_MAX {
            errors.push(LimitError::Memory { found: self.memory_bytes });
        }
        if self.state_bytes > STATE_BYTES_MAX {
            errors.push(LimitError::State { found: self.state_bytes });
        }
        if self.hostcall_bytes > HOSTCALL_BYTES_MAX {
            errors.push(LimitError::Hostcall { found: self.hostcall_bytes });
        }
        if self.log_lines > LOG_LINES_MAX {
            errors.push(LimitError::LogLines { found: self.log_lines });
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
