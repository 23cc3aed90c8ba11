//! The log: what happened, one line each, for eyes, fail2ban and machines
//! (rules 25 to 29).
//!
//! Nothing that a stranger or a plugin says gets into a text line unescaped.
//! Writing never blocks: lines go through a bounded queue to one thread, and
//! what doesn't fit is counted. It must not know the gate, HTTP or plugins.

mod escape;
mod json;
mod layer;
mod line;
mod refusals;
mod text;
mod time;
mod writer;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use jiff::Timestamp;

pub use layer::LogLayer;
pub use line::{
    Access, Banned, Because, Closed, FailedLogin, Line, NotEnforced, Operational, PluginMessage, Refused, Suppressed,
};
pub use refusals::RefusalLimit;

use refusals::Refusals;
use writer::Writer;

/// How important a line is, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Something doesn't work.
    Error,
    /// Something may soon not work, or isn't as it seems.
    Warn,
    /// What happens in ordinary operation.
    Info,
    /// For finding mistakes.
    Debug,
    /// For finding mistakes in the server itself.
    Trace,
}

impl Level {
    /// Every level.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Its name in configuration and lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For eyes and fail2ban.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where lines go.
pub enum Target {
    /// Standard error.
    Stderr,
    /// A file, appended to, made with mode 0640.
    File(PathBuf),
    /// Anything else: a test's buffer.
    Writer(Box<dyn io::Write + Send>),
}

impl Target {
    /// The file if there is one, else standard error.
    #[must_use]
    pub fn of(file: Option<&Path>) -> Self {
        file.map_or(Self::Stderr, |path| Self::File(path.to_owned()))
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file can't be opened.
    #[error("can't open the log file {}: {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The thread that writes can't be started.
    #[error("can't start the thread that writes the log: {0}")]
    Thread(io::Error),
    /// The thread that writes waits for whoever reads the log.
    #[error("the log's reader or disk hangs")]
    Stalled,
    /// The thread that writes has ended.
    #[error("the log is closed")]
    Closed,
}

/// What happened to lines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Lines that the queue had no room for.
    pub dropped: u64,
    /// Lines that couldn't be written.
    pub unwritten: u64,
    /// Refusals that the rate limit kept out.
    pub refusals_suppressed: u64,
}

/// A handle to the log; clones write to the same one.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    level: AtomicU8,
    format: Format,
    writer: Writer,
    refusals: Refusals,
    suppressed: AtomicU64,
    /// Connections closed without an answer: limited as refusals are, and apart from them.
    closed: Refusals,
    /// Orders that nothing came of: so are they.
    not_enforced: Refusals,
}

impl Log {
    /// Opens the target and starts the thread that writes.
    ///
    /// # Errors
    /// [`LogError`] if the file can't be opened or the thread can't be started.
    pub fn start(level: Level, format: Format, target: Target) -> Result<Self, LogError> {
        let writer = Writer::start(format, target)?;
        let refusals = Refusals::new(RefusalLimit::default());
        let level = AtomicU8::new(level as u8);
        let (suppressed, closed) = (AtomicU64::new(0), Refusals::new(RefusalLimit::default()));
        let not_enforced = Refusals::new(RefusalLimit::default());
        Ok(Self { shared: Arc::new(Shared { level, format, writer, refusals, suppressed, closed, not_enforced }) })
    }

    /// Whether lines of that level are written.
    #[must_use]
    pub fn writes(&self, level: Level) -> bool {
        level as u8 <= self.shared.level.load(Ordering::Relaxed)
    }

    /// Changes the level, for lines from now on.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }

    /// Writes a line, if its level is written. Formats it here and leaves the
    /// rest to the writing thread; never blocks.
    pub fn write(&self, line: &Line<'_>) {
        if self.writes(line.level()) {
            self.queue(Timestamp::now(), line);
        }
    }

    /// Writes that a request was refused, unless too many were in this window:
    /// those are summed up in one line when the next window begins (rule 29).
    pub fn refused(&self, refused: &Refused<'_>) {
        if !self.writes(Level::Info) {
            return;
        }
        let now = Timestamp::now();
        let (admitted, summary) = self.shared.refusals.admit(now.as_millisecond());
        if let Some(suppressed) = summary {
            self.queue(now, &Line::Suppressed(suppressed));
        }
        if admitted {
            self.queue(now, &Line::Refused(*refused));
        } else {
            self.shared.suppressed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes that a connection was closed without an answer, at the same rate; the rest is summed up.
    pub fn closed(&self, closed: &Closed<'_>) {
        if !self.writes(Level::Info) {
            return;
        }
        let now = Timestamp::now();
        let (admitted, summary) = self.shared.closed.admit(now.as_millisecond());
        if let Some(suppressed) = summary {
            self.queue(now, &Line::ClosedSuppressed(suppressed));
        }
        if admitted {
            self.queue(now, &Line::Closed(*closed));
        }
    }

    /// Writes that nothing came of an order, at the same rate; the rest is summed up.
    pub fn not_enforced(&self, order: &NotEnforced<'_>) {
        if !self.writes(Level::Info) {
            return;
        }
        let now = Timestamp::now();
        let (admitted, summary) = self.shared.not_enforced.admit(now.as_millisecond());
        if let Some(suppressed) = summary {
            self.queue(now, &Line::NotEnforcedSuppressed(suppressed));
        }
        if admitted {
            self.queue(now, &Line::NotEnforced(*order));
        }
    }

    /// Writes the summary of suppressed lines whose window is over; to be
    /// called now and then, so that it doesn't wait for the next such line.
    pub fn tick(&self) {
        let now = Timestamp::now();
        if let Some(suppressed) = self.shared.refusals.due(now.as_millisecond()) {
            self.queue(now, &Line::Suppressed(suppressed));
        }
        if let Some(suppressed) = self.shared.closed.due(now.as_millisecond()) {
            self.queue(now, &Line::ClosedSuppressed(suppressed));
        }
        if let Some(suppressed) = self.shared.not_enforced.due(now.as_millisecond()) {
            self.queue(now, &Line::NotEnforcedSuppressed(suppressed));
        }
    }

    /// Opens the file anew, after a logrotate. The old one stays if that fails.
    /// Waits for the writing thread, so it isn't for the gate's threads.
    ///
    /// # Errors
    /// [`LogError`] if the file can't be opened.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.shared.writer.reopen()
    }

    /// Waits until every line so far is written, some seconds at most. Not for
    /// the gate's threads; to be called at the end of the program, since a
    /// handle within `tracing` is never dropped.
    ///
    /// # Errors
    /// [`LogError::Stalled`] or [`LogError::Closed`] if nothing writes any more.
    pub fn flush(&self) -> Result<(), LogError> {
        if let Some(suppressed) = self.shared.refusals.take() {
            self.queue(Timestamp::now(), &Line::Suppressed(suppressed));
        }
        if let Some(suppressed) = self.shared.closed.take() {
            self.queue(Timestamp::now(), &Line::ClosedSuppressed(suppressed));
        }
        if let Some(suppressed) = self.shared.not_enforced.take() {
            self.queue(Timestamp::now(), &Line::NotEnforcedSuppressed(suppressed));
        }
        self.shared.writer.flush()
    }

    /// What happened to lines so far.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        let (dropped, unwritten) = self.shared.writer.counts();
        LogCounts { dropped, unwritten, refusals_suppressed: self.shared.suppressed.load(Ordering::Relaxed) }
    }

    /// What writes the operational events of `tracing` to this log.
    #[must_use]
    pub fn layer(&self) -> LogLayer {
        LogLayer::new(self.clone())
    }

    fn queue(&self, at: Timestamp, line: &Line<'_>) {
        line::with_formatted(self.shared.format, at, line, |bytes| self.shared.writer.queue(bytes));
    }
}

/// The full address, as a log shows it (rule 25): never a network, and IPv4
/// where it is IPv4 mapped into IPv6 (rule 3).
fn shown(source: IpAddr) -> IpAddr {
    source.to_canonical()
}
