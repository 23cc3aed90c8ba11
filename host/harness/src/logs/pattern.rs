//! Any other log, by a regular expression with named groups.

use std::borrow::Cow;

use portcullis_domain::{Outcome, Timestamp};
use regex::bytes::{Captures, Regex, RegexBuilder};

use super::field::{address, status, without_query};
use super::time::{Calendar, plausible};
use super::{Answered, Entry, Parsed, Text, What};

/// Most memory that a compiled expression may take, in bytes.
const SIZE_MAX: usize = 4 << 20;
/// Groups that mean something.
const GROUPS: [&str; 7] = ["time", "ip", "client", "path", "method", "status", "outcome"];
/// Words of the group `outcome`, in lower case.
const FAILURE: [&str; 10] =
    ["failure", "failed", "fail", "denied", "invalid", "wrong", "rejected", "error", "false", "0"];
/// The same for logins that succeeded.
const SUCCESS: [&str; 8] = ["success", "successful", "succeeded", "accepted", "ok", "granted", "true", "1"];

/// What is said about a log besides the expression itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternOptions {
    /// How the group `time` is written, in the notation of strptime; without
    /// it, seconds since the Unix epoch or RFC 3339. A time without a zone is UTC.
    pub time_format: Option<String>,
    /// Every line that matches is a login attempt that ended so; without it,
    /// the group `outcome` says how, or it is no attempt.
    pub outcome: Option<Outcome>,
}

/// A regular expression that a whole line has to match.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    options: PatternOptions,
}

/// An expression that no log can be read with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It isn't one, or it would take too much memory.
    #[error("the regular expression: {0}")]
    Regex(String),
    /// A group that can't be done without.
    #[error("the regular expression has no group (?<{0}>…)")]
    Missing(&'static str),
    /// A group with a name that means nothing here.
    #[error("the regular expression has a group {0}, which means nothing; there are {names}", names = GROUPS.join(", "))]
    Unknown(String),
    /// Nothing says what a matching line tells of.
    #[error(
        "the regular expression says neither how a request was answered (group status) nor how a login ended \
         (group outcome, or an outcome for every line)"
    )]
    Nothing,
    /// A format of times that isn't one.
    #[error("the format of times: {0}")]
    TimeFormat(String),
}

impl Pattern {
    /// An expression in the syntax of the crate `regex`, without anchors: both
    /// ends of the line are meant anyway.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn new(expression: &str, options: PatternOptions) -> Result<Self, PatternError> {
        let build = |expression: &str| {
            let built = RegexBuilder::new(expression).size_limit(SIZE_MAX).dfa_size_limit(SIZE_MAX).build();
            built.map_err(|error| PatternError::Regex(error.to_string()))
        };
        // By itself first: `a)|(b` must not get out of the brackets.
        build(expression)?;
        let regex = build(&format!(r"\A(?:{expression})\z"))?;
        let names: Vec<&str> = regex.capture_names().flatten().collect();
        if let Some(unknown) = names.iter().find(|name| !GROUPS.contains(name)) {
            return Err(PatternError::Unknown((*unknown).to_owned()));
        }
        if let Some(missing) = ["time", "ip"].into_iter().find(|name| !names.contains(name)) {
            return Err(PatternError::Missing(missing));
        }
        if options.outcome.is_none() && !names.contains(&"status") && !names.contains(&"outcome") {
            return Err(PatternError::Nothing);
        }
        if let Some(format) = &options.time_format {
            // What can be written can be read, or nearly so.
            let written =
                jiff::fmt::strtime::format(format, &jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC));
            let written = written.map_err(|error| PatternError::TimeFormat(error.to_string()))?;
            read_time(&mut Calendar::default(), written.as_bytes(), Some(format)).ok_or_else(|| {
                PatternError::TimeFormat(format!("{format} doesn't say when: a date and a time of day"))
            })?;
        }
        Ok(Self { regex, options })
    }

    pub(super) fn parse<'l>(&self, calendar: &mut Calendar, line: &'l [u8]) -> Parsed<'l> {
        match self.regex.captures(line) {
            Some(captures) => self.entry(calendar, &captures).map_or(Parsed::Unknown, Parsed::Entry),
            None => self.parse_mended(calendar, line),
        }
    }

    /// A `.` matches no byte that isn't UTF-8, and whoever sends one must not
    /// become invisible by it.
    fn parse_mended(&self, calendar: &mut Calendar, line: &[u8]) -> Parsed<'static> {
        let Cow::Owned(mended) = String::from_utf8_lossy(line) else { return Parsed::Unknown };
        let captures = self.regex.captures(mended.as_bytes());
        let entry = captures.and_then(|captures| self.entry(calendar, &captures).map(Entry::into_owned));
        entry.map_or(Parsed::Unknown, Parsed::Entry)
    }

    fn entry<'l>(&self, calendar: &mut Calendar, captures: &Captures<'l>) -> Option<Entry<'l>> {
        let group = |name| captures.name(name).map(|found| found.as_bytes());
        let at = read_time(calendar, group("time")?, self.options.time_format.as_deref())?;
        let from = address(group("ip")?)?;
        let client = group("client").filter(|id| !matches!(*id, b"" | b"-")).map(Text::plain);
        let answered = match group("status") {
            Some(text) => {
                let method = Text::plain(group("method").unwrap_or(b"GET"));
                let path = Text::plain(without_query(group("path").unwrap_or(b"/")));
                Some(Answered::new(method, path, status(text)?))
            }
            None => None,
        };
        let outcome = match group("outcome") {
            Some(word) => Some(outcome_of(word)?),
            None => self.options.outcome,
        };
        let offence = outcome == Some(Outcome::Failure)
            || answered.as_ref().is_some_and(|answered| matches!(answered.status, 401 | 404));
        let what = match (answered, outcome) {
            (Some(answered), Some(Outcome::Failure)) => What::FailedRequest(answered),
            // Of a request that logged in, the login is what matters more.
            (Some(_) | None, Some(outcome)) => What::Login(outcome),
            (Some(answered), None) => What::Request(answered),
            (None, None) => return None,
        };
        Some(Entry { at, from, client, what, offence, facts: None })
    }
}

fn outcome_of(word: &[u8]) -> Option<Outcome> {
    let is = |known: &&str| word.eq_ignore_ascii_case(known.as_bytes());
    if FAILURE.iter().any(is) {
        Some(Outcome::Failure)
    } else if SUCCESS.iter().any(is) {
        Some(Outcome::Success)
    } else {
        None
    }
}

fn read_time(calendar: &mut Calendar, text: &[u8], format: Option<&str>) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let millis = match format {
        Some(format) => {
            let broken_down = jiff::fmt::strtime::parse(format, text).ok()?;
            match broken_down.to_timestamp() {
                Ok(instant) => instant.as_millisecond(),
                // No zone in it: that of the log.
                Err(_) => {
                    let civil = jiff::tz::Offset::UTC.to_timestamp(broken_down.to_datetime().ok()?).ok()?;
                    return calendar.instant(u64::try_from(civil.as_millisecond()).ok()?);
                }
            }
        }
        None => match epoch_millis(text) {
            Some(millis) => millis,
            None => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
        },
    };
    u64::try_from(millis).ok().and_then(plausible)
}

/// Seconds since the epoch, as [`epoch_millis`] reads them.
pub(super) fn epoch(text: &[u8]) -> Option<Timestamp> {
    let millis = epoch_millis(std::str::from_utf8(text).ok()?)?;
    u64::try_from(millis).ok().and_then(plausible)
}

/// Seconds since the epoch, at most 12 digits of them, with decimals or without.
fn epoch_millis(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() > 12 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(whole.parse::<i64>().ok()? * 1000 + millis.parse::<i64>().ok()?)
}
