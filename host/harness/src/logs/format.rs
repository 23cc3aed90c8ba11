//! The formats by name, and the one parser for all of them.

use std::sync::Arc;

use jiff::tz::TimeZone;
use portcullis_domain::Timestamp;

use super::sshd::{self, Connections};
use super::time::Calendar;
use super::zone::Zone;
use super::{Parsed, Pattern, access, caddy, portcullis, report, rportd};

/// Lines that are looked at to find out a log's format.
pub const SAMPLE_LINES: usize = 100;

/// Some moment, where nobody cares which.
const ANY_TIME_MS: u64 = 1_700_000_000_000;

/// What a log's lines look like; `LOGS.md` has each in full.
#[derive(Clone, Debug)]
pub enum Format {
    /// RPort's `rportd.log`.
    Rportd,
    /// The Common Log Format of web servers.
    Common,
    /// The Combined Log Format, further fields after it or not.
    Combined,
    /// Portcullis' own text lines.
    Portcullis,
    /// Portcullis' own JSON lines.
    PortcullisJson,
    /// OpenSSH's server, in the files of syslog or as `journalctl` writes it.
    Sshd,
    /// Caddy's JSON access log.
    Caddy,
    /// Events as `POST /report` takes them, one a line.
    Report,
    /// Anything else, by a regular expression.
    Pattern(Arc<Pattern>),
}

impl Format {
    /// Those that need nothing said about them.
    pub const KNOWN: [Self; 8] = [
        Self::Rportd,
        Self::Combined,
        Self::Common,
        Self::Portcullis,
        Self::PortcullisJson,
        Self::Sshd,
        Self::Caddy,
        Self::Report,
    ];

    /// Its name, as an option has it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rportd => "rportd",
            Self::Common => "common",
            Self::Combined => "combined",
            Self::Portcullis => "portcullis",
            Self::PortcullisJson => "portcullis-json",
            Self::Sshd => "sshd",
            Self::Caddy => "caddy",
            Self::Report => "report",
            Self::Pattern(_) => "regex",
        }
    }

    /// The known format that the first lines are written in: the one that most
    /// of them fit. None if none does.
    #[must_use]
    pub fn detect<'l>(first_lines: impl Iterator<Item = &'l [u8]> + Clone) -> Option<Self> {
        let fitting = |format: &Self| {
            let mut parser = Parser::new(format.clone());
            // Whichever year it was.
            parser.set_now(Timestamp::from_millis(ANY_TIME_MS));
            first_lines.clone().filter(|line| matches!(parser.parse(line), Parsed::Entry(_) | Parsed::Other)).count()
        };
        // The first of those that fit equally well.
        let best = Self::KNOWN.into_iter().map(|format| (fitting(&format), format)).rev();
        best.max_by_key(|(lines, _)| *lines).filter(|(lines, _)| *lines > 0).map(|(_, format)| format)
    }
}

/// Reads lines of one format, one by one. Keeps the date of the last, for
/// speed, and of [`Format::Sshd`] which connections have been told of;
/// otherwise each line is read for itself.
#[derive(Clone, Debug)]
pub struct Parser {
    format: Format,
    calendar: Calendar,
    connections: Connections,
    bare: bool,
}

impl Parser {
    /// A parser of that format. Times without a zone are taken for UTC.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, calendar: Calendar::default(), connections: Connections::default(), bare: false }
    }

    /// The same with times that name no zone in that one.
    #[must_use]
    pub fn in_zone(mut self, zone: TimeZone) -> Self {
        self.calendar.set_zone(Zone::new(zone));
        self
    }

    /// The same for lines that may have neither a time nor who wrote them, as by
    /// `journalctl --output cat`: they are of the moment at which they are read.
    /// Only of [`Format::Sshd`] there are such lines.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// What time it is, for lines whose time doesn't say all of when it was: the
    /// year that it leaves out, or which of two hours. As long as nobody says so,
    /// times without a year are none.
    pub fn set_now(&mut self, now: Timestamp) {
        self.calendar.set_now(now);
    }

    /// Whether what is made of a line depends on those before it. Whoever begins
    /// in the middle of a log lets such a parser read some of those.
    #[must_use]
    pub const fn remembers(&self) -> bool {
        matches!(self.format, Format::Sshd)
    }

    /// The format.
    #[must_use]
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// Reads one line, given without its newline; a carriage return at its end
    /// isn't part of it.
    pub fn parse<'l>(&mut self, line: &'l [u8]) -> Parsed<'l> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Parsed::Empty;
        }
        let calendar = &mut self.calendar;
        match &self.format {
            Format::Rportd => rportd::parse(calendar, line),
            Format::Common => access::parse(calendar, line, false),
            Format::Combined => access::parse(calendar, line, true),
            Format::Portcullis => portcullis::parse_text(calendar, line),
            Format::PortcullisJson => portcullis::parse_json(calendar, line),
            Format::Sshd => sshd::parse(calendar, &mut self.connections, self.bare, line),
            Format::Caddy => caddy::parse(line),
            Format::Report => report::read_report(line, None).map_or(Parsed::Unknown, Parsed::Entry),
            Format::Pattern(pattern) => pattern.parse(calendar, line),
        }
    }
}
