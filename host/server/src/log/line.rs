//! The lines there are, each with what it says.
//!
//! Which bytes they become is the business of `text` and `json`.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use super::{Format, Level, json, text};

/// One line of the log.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// A request was answered.
    Access(Access<'a>),
    /// A login attempt failed.
    FailedLogin(FailedLogin<'a>),
    /// A source was banned.
    Banned(Banned<'a>),
    /// A request was refused; to be written by [`super::Log::refused`].
    Refused(Refused<'a>),
    /// So many refusals weren't written.
    Suppressed(Suppressed),
    /// A connection was closed before it could make a request; to be written by
    /// [`super::Log::closed`].
    Closed(Closed<'a>),
    /// So many of these weren't written.
    ClosedSuppressed(Suppressed),
    /// A policy ordered something and nothing came of it; to be written by
    /// [`super::Log::not_enforced`].
    NotEnforced(NotEnforced<'a>),
    /// So many of these weren't written.
    NotEnforcedSuppressed(Suppressed),
    /// A plugin said something.
    Plugin(PluginMessage<'a>),
    /// The server itself says something.
    Operational(Operational<'a>),
}

/// An answered request (rule 26).
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// From where.
    pub source: IpAddr,
    /// As received.
    pub method: &'a str,
    /// As received, without the query.
    pub path: &'a str,
    /// The status of the reply.
    pub status: u16,
    /// From the request's head to the end of the reply.
    pub duration: Duration,
    /// Bytes of the reply's body, where known (JSON only).
    pub bytes: Option<u64>,
    /// Who, where known (JSON only).
    pub client_id: Option<&'a str>,
}

/// A failed login and the wait that follows from it (rule 27).
#[derive(Clone, Copy, Debug)]
pub struct FailedLogin<'a> {
    /// From where.
    pub source: IpAddr,
    /// Who it was said to be; empty where a login carries no id.
    pub client_id: &'a str,
    /// How long the id waits from now on; zero if it doesn't.
    pub wait: Duration,
}

/// A ban (rule 27).
#[derive(Clone, Copy, Debug)]
pub struct Banned<'a> {
    /// Who is banned.
    pub source: IpAddr,
    /// The plugin's own words.
    pub reason: &'a str,
    /// The reason's code (JSON only).
    pub code: &'a str,
    /// The policy that ordered it (JSON only).
    pub policy: &'a str,
    /// When it ends.
    pub until: Timestamp,
}

/// A refusal: banned, waiting, or over a bound (rule 11).
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// From where.
    pub source: IpAddr,
    /// What it was answered.
    pub status: u16,
    /// Why, in one word of ours such as `banned`, `waiting` or `crowded`.
    pub why: &'a str,
}

/// A connection closed without an answer.
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    /// From where.
    pub source: IpAddr,
    /// Why, in a few words of ours such as `banned` or `not-tls`.
    pub why: &'a str,
}

/// An order that nothing came of. Its words are such that no filter takes it
/// for a ban or a wait: no address stands in brackets.
#[derive(Clone, Copy, Debug)]
pub struct NotEnforced<'a> {
    /// From where.
    pub source: IpAddr,
    /// The policy that ordered it.
    pub policy: &'a str,
    /// Why nothing came of it.
    pub because: Because,
    /// Who would wait; absent for a ban.
    pub client_id: Option<&'a str>,
    /// For how long.
    pub duration: Duration,
    /// The plugin's own words.
    pub reason: &'a str,
    /// The reason's code (JSON only).
    pub code: &'a str,
}

/// Why nothing comes of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The policy is in shadow (rule 32).
    Shadow,
    /// It is over its cap of bans (rule 33).
    Cap,
}

/// Lines that the rate limit kept out of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// How many.
    pub count: u64,
    /// In how many seconds.
    pub seconds: u64,
}

/// What a plugin said.
#[derive(Clone, Copy, Debug)]
pub struct PluginMessage<'a> {
    /// The policy it runs for.
    pub policy: &'a str,
    /// How important the plugin thinks it is.
    pub level: Level,
    /// Its words.
    pub text: &'a str,
}

/// What the server itself says.
#[derive(Clone, Copy, Debug)]
pub struct Operational<'a> {
    /// How important it is.
    pub level: Level,
    /// The part of the server that says it.
    pub target: &'a str,
    /// Its words; `foreign` ones may repeat a stranger's and are escaped like them.
    pub text: &'a str,
    /// They are those of another crate.
    pub foreign: bool,
    /// Facts by name; the values may be a stranger's words.
    pub fields: &'a [(&'static str, String)],
}

impl Line<'_> {
    /// The level at which it is written.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Access(_)
            | Self::FailedLogin(_)
            | Self::Banned(_)
            | Self::Refused(_)
            | Self::Suppressed(_)
            | Self::Closed(_)
            | Self::ClosedSuppressed(_)
            | Self::NotEnforced(_)
            | Self::NotEnforcedSuppressed(_) => Level::Info,
            Self::Plugin(message) => message.level,
            Self::Operational(operational) => operational.level,
        }
    }
}

/// Longest line that a thread keeps room for.
const KEPT_BYTES_MAX: usize = 16 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Hands over the line's bytes, its newline included, in a buffer that is used again.
pub(super) fn with_formatted(format: Format, at: Timestamp, line: &Line<'_>, then: impl FnOnce(&[u8])) {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        format_line(buffer, format, at, line);
        then(buffer);
        buffer.shrink_to(KEPT_BYTES_MAX);
    });
}

/// Appends the line and its newline.
pub(super) fn format_line(into: &mut Vec<u8>, format: Format, at: Timestamp, line: &Line<'_>) {
    match format {
        Format::Text => text::write(into, at, line),
        Format::Json => json::write(into, at, line),
    }
    into.push(b'\n');
}
