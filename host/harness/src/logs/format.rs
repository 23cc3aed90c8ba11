//! The formats by name, and the one parser for all of them.

use std::sync::Arc;

use super::time::DateCache;
use super::{Parsed, Pattern, access, portcullis, rportd};

/// Lines that are looked at to find out a log's format.
pub const SAMPLE_LINES: usize = 100;

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
    /// Anything else, by a regular expression.
    Pattern(Arc<Pattern>),
}

impl Format {
    /// Those that need nothing said about them.
    pub const KNOWN: [Self; 5] = [Self::Rportd, Self::Combined, Self::Common, Self::Portcullis, Self::PortcullisJson];

    /// Its name, as an option has it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rportd => "rportd",
            Self::Common => "common",
            Self::Combined => "combined",
            Self::Portcullis => "portcullis",
            Self::PortcullisJson => "portcullis-json",
            Self::Pattern(_) => "regex",
        }
    }

    /// The known format that the first lines are written in: the one that most
    /// of them fit. None if none does.
    #[must_use]
    pub fn detect<'l>(first_lines: impl Iterator<Item = &'l [u8]> + Clone) -> Option<Self> {
        let fitting = |format: &Self| {
            let mut parser = Parser::new(format.clone());
            first_lines.clone().filter(|line| matches!(parser.parse(line), Parsed::Entry(_) | Parsed::Other)).count()
        };
        // The first of those that fit equally well.
        let best = Self::KNOWN.into_iter().map(|format| (fitting(&format), format)).rev();
        best.max_by_key(|(lines, _)| *lines).filter(|(lines, _)| *lines > 0).map(|(_, format)| format)
    }
}

/// Reads lines of one format, one by one. Keeps the date of the last, for
/// speed; otherwise each line is read for itself.
#[derive(Clone, Debug)]
pub struct Parser {
    format: Format,
    dates: DateCache,
}

impl Parser {
    /// A parser of that format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, dates: DateCache::default() }
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
        match &self.format {
            Format::Rportd => rportd::parse(&mut self.dates, line),
            Format::Common => access::parse(&mut self.dates, line, false),
            Format::Combined => access::parse(&mut self.dates, line, true),
            Format::Portcullis => portcullis::parse_text(&mut self.dates, line),
            Format::PortcullisJson => portcullis::parse_json(&mut self.dates, line),
            Format::Pattern(pattern) => pattern.parse(line),
        }
    }
}
