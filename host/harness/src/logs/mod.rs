//! Logs as they were written, line by line: the formats, and how they come in.
//!
//! A [`Parser`] takes the bytes of one line and gives an [`Entry`], or says why
//! there is none; it reads nothing itself, so that whoever watches a growing log
//! can use it as replay does. [`Input`] and
//! [`Lines`] read files, whole, compressed or from a pipe.
//!
//! What each format looks like and what is made of it stands in `LOGS.md`
//! beside this crate's manifest. Two things hold for all: a line is matched
//! from end to end in linear time, and an address is taken from the one place
//! that the format has for it, never from what a stranger wrote (a path, an
//! id, a user agent).

mod access;
mod caddy;
mod field;
mod format;
mod input;
mod pattern;
mod portcullis;
mod report;
mod rportd;
mod sshd;
mod text;
mod time;
mod zone;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use portcullis_domain::event::{ATTRIBUTE_BYTES_MAX, cut};
use portcullis_domain::{Outcome, Timestamp};

pub use format::{Format, Parser, SAMPLE_LINES};
pub use input::{Input, InputError, LINE_BYTES_MAX, Line, Lines};
pub use pattern::{Pattern, PatternError, PatternOptions};
pub use report::{ATTRIBUTES_MAX, ReportError, read_report};
pub use text::Text;

/// What a parser makes of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it lives for one line, and a box for each would cost more")]
pub enum Parsed<'l> {
    /// Something happened that policies judge.
    Entry(Entry<'l>),
    /// A line of this format that tells of nothing that policies judge.
    Other,
    /// Nothing stands there.
    Empty,
    /// No line of this format.
    Unknown,
}

/// A line that tells of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'l> {
    /// When, as the line has it; a time without a zone is taken for one of the parser's.
    pub at: Timestamp,
    /// From where.
    pub from: IpAddr,
    /// Who it was said to be, or who it was; never empty.
    pub client: Option<Text<'l>>,
    /// What.
    pub what: What<'l>,
    /// Whether a filter for scanners and guessers would mark the line: what
    /// counts as *matched*.
    pub offence: bool,
    /// More about it, which no log tells and a journal does.
    pub facts: Option<Box<Facts>>,
}

/// What is known of an event beyond what logs tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether such an id exists.
    pub known: Option<bool>,
    /// Of a failed login, a keyed hash of id and secret.
    pub fingerprint: Option<u32>,
    /// What policies had asked for, by lower-case name.
    pub attributes: Vec<(String, String)>,
}

impl Entry<'_> {
    /// The same, of no line any more.
    #[must_use]
    pub fn into_owned(self) -> Entry<'static> {
        let what = match self.what {
            What::Request(answered) => What::Request(answered.into_owned()),
            What::Login(outcome) => What::Login(outcome),
            What::FailedRequest(answered) => What::FailedRequest(answered.into_owned()),
        };
        let client = self.client.map(Text::into_owned);
        Entry { at: self.at, from: self.from, client, what, offence: self.offence, facts: self.facts }
    }

    /// What is known of these attributes, in this order, as a policy is handed them.
    /// `answered` is the request that it is about, if there was one.
    #[must_use]
    pub fn attributes(&self, answered: Option<&Answered<'_>>, wanted: &[String]) -> Vec<(String, String)> {
        let value = |name: &String| {
            let told = answered.and_then(|answered| match name.as_str() {
                "referer" => answered.referer.as_ref(),
                "user-agent" => answered.user_agent.as_ref(),
                _ => None,
            });
            let facts = || self.facts.as_ref()?.attributes.iter().find(|(known, _)| known == name);
            let value = match told {
                Some(text) => cut(&text.decoded(), ATTRIBUTE_BYTES_MAX).to_owned(),
                None => cut(&facts()?.1, ATTRIBUTE_BYTES_MAX).to_owned(),
            };
            Some((name.clone(), value))
        };
        wanted.iter().filter_map(value).collect()
    }

    /// Whether somebody is at work who knows a secret: a login that succeeded,
    /// or a request by a known client that was answered with 2xx or 3xx.
    #[must_use]
    pub fn shows_login(&self) -> bool {
        match &self.what {
            What::Login(outcome) => *outcome == Outcome::Success,
            What::Request(answered) => self.client.is_some() && (200..400).contains(&answered.status),
            What::FailedRequest(_) => false,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<'l> {
    /// A request was answered.
    Request(Answered<'l>),
    /// A login attempt ended.
    Login(Outcome),
    /// A request was answered that was a failed login attempt, too.
    FailedRequest(Answered<'l>),
}

/// An answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered<'l> {
    /// The method.
    pub method: Text<'l>,
    /// The path without the query.
    pub path: Text<'l>,
    /// The status of the reply, 100 to 999.
    pub status: u16,
    /// Where the client came from, if the format has it.
    pub referer: Option<Text<'l>>,
    /// What the client says it is, if the format has it.
    pub user_agent: Option<Text<'l>>,
    /// Whoever wrote the line had checked that it was the client named. Else
    /// that one is whom the request names, which may be anybody.
    pub vouched: bool,
}

impl<'l> Answered<'l> {
    fn new(method: Text<'l>, path: Text<'l>, status: u16) -> Self {
        Self { method, path, status, referer: None, user_agent: None, vouched: false }
    }

    fn into_owned(self) -> Answered<'static> {
        Answered {
            method: self.method.into_owned(),
            path: self.path.into_owned(),
            status: self.status,
            referer: self.referer.map(Text::into_owned),
            user_agent: self.user_agent.map(Text::into_owned),
            vouched: self.vouched,
        }
    }
}
