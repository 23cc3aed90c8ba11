//! The one import that does something: `log`, bounded and counted.
//!
//! A line goes no further than the call's own buffer; whoever made the call
//! hands the lines on. Nothing here writes or encodes.

use portcullis_domain::event::cut;

use crate::bindings::portcullis::policy::log as wire;

/// Longest message, in bytes; the rest is cut.
pub const LOG_MESSAGE_BYTES_MAX: usize = 512;

/// How loud a plugin's line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// For its author.
    Debug,
    /// For the operator.
    Info,
    /// For the operator, soon.
    Warn,
}

/// One line that a plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) level: LogLevel,
    pub(crate) message: Box<str>,
}

/// The lines of one call, up to its budget, and how many more there were.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    lines: Vec<LogLine>,
    dropped: u64,
    lines_max: usize,
}

impl CallLog {
    pub(crate) fn new(lines_max: u32) -> Self {
        Self { lines: Vec::new(), dropped: 0, lines_max: lines_max as usize }
    }

    /// What was written since the last time.
    pub(crate) fn take(&mut self) -> Logged {
        Logged { lines: std::mem::take(&mut self.lines), dropped: std::mem::take(&mut self.dropped) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

impl wire::Host for CallLog {
    fn log(&mut self, level: wire::Level, message: String) {
        if self.lines.len() >= self.lines_max {
            self.dropped += 1;
            return;
        }
        let level = match level {
            wire::Level::Debug => LogLevel::Debug,
            wire::Level::Info => LogLevel::Info,
            wire::Level::Warn => LogLevel::Warn,
        };
        self.lines.push(LogLine { level, message: cut(&message, LOG_MESSAGE_BYTES_MAX).into() });
    }
}

/// What a plugin wrote during one call or several.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    pub(crate) lines: Vec<LogLine>,
    pub(crate) dropped: u64,
}
