//! Events as JSON, one a line: what `POST /report` takes, and what a program
//! whose log format can be chosen is told to write.

use std::borrow::Cow;
use std::fmt;

use portcullis_domain::{Outcome, Timestamp};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::field::{address, is_method, status, without_query};
use super::time::plausible;
use super::{Answered, Entry, Facts, Text, What};

/// Attributes that one event may have.
pub const ATTRIBUTES_MAX: usize = 32;

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It isn't JSON, or a field is unknown, missing, there twice, or not what it has to be.
    #[error("{0}")]
    Json(String),
    /// The address isn't one.
    #[error("source: expected an address such as \"203.0.113.7\" or \"2001:db8::7\"")]
    Source,
    /// The method isn't one.
    #[error("method: expected a method of HTTP such as \"GET\"")]
    Method,
    /// There is no time, and none is known otherwise.
    #[error("at: needed here, as RFC 3339 such as \"2026-11-25T14:20:05.123Z\" or as seconds since 1970")]
    NoTime,
    /// Nothing says what happened.
    #[error("expected status (a request was answered), outcome (a login ended), or both")]
    Nothing,
}

/// Reads one event; `now` is its time if it has none of its own.
///
/// # Errors
/// [`ReportError`], in words for whoever wrote the line.
pub fn read_report(line: &[u8], now: Option<Timestamp>) -> Result<Entry<'_>, ReportError> {
    // nginx writes a client's bytes as they came: nobody gets out of the log by
    // sending some that aren't UTF-8.
    match String::from_utf8_lossy(line) {
        Cow::Borrowed(_) => read(line, now),
        Cow::Owned(text) => read(text.as_bytes(), now).map(Entry::into_owned),
    }
}

fn read(line: &[u8], now: Option<Timestamp>) -> Result<Entry<'_>, ReportError> {
    // What is derived would take the fields in a list, too.
    if line.trim_ascii_start().first() == Some(&b'[') {
        return Err(ReportError::Json("expected an object in braces, one event".to_owned()));
    }
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|error| ReportError::Json(without_line(&error)))?;
    let from = address(fields.source.as_bytes()).ok_or(ReportError::Source)?;
    let at = fields.at.map(|Moment(at)| at).or(now).ok_or(ReportError::NoTime)?;
    let answered = match fields.status {
        Some(Answer(Some(status))) => {
            let method = fields.method.filter(|method| !method.is_empty()).unwrap_or(Cow::Borrowed("GET"));
            if !is_method(method.as_bytes()) {
                return Err(ReportError::Method);
            }
            let path = fields.path.filter(|path| !path.is_empty()).unwrap_or(Cow::Borrowed("/"));
            Some(Answered::new(Text::of(method), Text::of(path_alone(path)), status))
        }
        Some(Answer(None)) | None => None,
    };
    let outcome = fields.outcome.and_then(|Ended(outcome)| outcome);
    let offence = outcome == Some(Outcome::Failure)
        || outcome.is_none() && answered.as_ref().is_some_and(|answered| matches!(answered.status, 401 | 404));
    let what = match (answered, outcome) {
        (Some(answered), Some(Outcome::Failure)) => What::FailedRequest(answered),
        // Of a request that logged in, the login is what matters more.
        (Some(_) | None, Some(outcome)) => What::Login(outcome),
        (Some(answered), None) => What::Request(answered),
        (None, None) => return Err(ReportError::Nothing),
    };
    let attributes = fields.attributes.map(|Named(attributes)| attributes).unwrap_or_default();
    let facts = (fields.known.is_some() || !attributes.is_empty())
        .then(|| Box::new(Facts { known: fields.known, fingerprint: None, attributes }));
    let client = fields.client.filter(|client| !client.is_empty()).map(Text::of);
    Ok(Entry { at, from, client, what, offence, facts })
}

/// An error's words; which line of how many is for the caller to say.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once(" at line ") {
        Some((words, _)) => format!("{words} (at byte {})", error.column()),
        None => text,
    }
}

fn path_alone(path: Cow<'_, str>) -> Cow<'_, str> {
    let length = without_query(path.as_bytes()).len();
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.get(..length).unwrap_or(path)),
        Cow::Owned(mut path) => {
            path.truncate(length);
            Cow::Owned(path)
        }
    }
}

/// Text that needn't be copied out of the line.
type Words<'l> = Cow<'l, str>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'l> {
    at: Option<Moment>,
    #[serde(borrow)]
    source: Words<'l>,
    #[serde(borrow)]
    client: Option<Words<'l>>,
    known: Option<bool>,
    outcome: Option<Ended>,
    #[serde(borrow)]
    method: Option<Words<'l>>,
    #[serde(borrow)]
    path: Option<Words<'l>>,
    status: Option<Answer>,
    attributes: Option<Named>,
}

/// A time: RFC 3339, or seconds since 1970 with decimals or without.
struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("at as RFC 3339 such as \"2026-11-25T14:20:05.123Z\" or as seconds since 1970")
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Moment, E> {
                let at = seconds.checked_mul(1000).and_then(plausible);
                at.map(Moment).ok_or_else(|| E::custom("at: later than the year 9999"))
            }

            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds, as looked at")]
            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Moment, E> {
                let millis = (seconds * 1000.0).round();
                let at = (0.0..1e15).contains(&millis).then_some(millis as u64).and_then(plausible);
                at.map(Moment).ok_or_else(|| E::custom("at: expected seconds since 1970, up to the year 9999"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Moment, E> {
                let read = text.parse::<jiff::Timestamp>().ok();
                let at = read.and_then(|at| u64::try_from(at.as_millisecond()).ok()).and_then(plausible);
                at.map(Moment).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// A status as a number, or in quotes as templates write it; empty is none.
struct Answer(Option<u16>);

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = Answer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("status from 100 to 999")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Answer, E> {
                let status = u16::try_from(number).ok().filter(|status| (100..=999).contains(status));
                let wrong = || E::invalid_value(serde::de::Unexpected::Unsigned(number), &self);
                status.map(|status| Answer(Some(status))).ok_or_else(wrong)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Answer, E> {
                if text.is_empty() {
                    return Ok(Answer(None));
                }
                let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                status(text.as_bytes()).map(|status| Answer(Some(status))).ok_or_else(wrong)
            }
        }
        deserializer.deserialize_any(Reads)
    }
}

/// How a login ended; empty, as templates write it, is none.
struct Ended(Option<Outcome>);

impl<'de> Deserialize<'de> for Ended {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl Visitor<'_> for Reads {
            type Value = Ended;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("outcome \"success\" or \"failure\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Ended, E> {
                match text {
                    "" => Ok(Ended(None)),
                    "success" => Ok(Ended(Some(Outcome::Success))),
                    "failure" => Ok(Ended(Some(Outcome::Failure))),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_str(Reads)
    }
}

/// Attributes by name.
struct Named(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reads;
        impl<'de> Visitor<'de> for Reads {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("attributes as an object of texts by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
                let mut named: Vec<(String, String)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if named.len() == ATTRIBUTES_MAX {
                        return Err(A::Error::custom(format!("attributes: more than {ATTRIBUTES_MAX}")));
                    }
                    let name = name.to_ascii_lowercase();
                    if named.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("attributes: {name} is there twice")));
                    }
                    named.push((name, value));
                }
                Ok(Named(named))
            }
        }
        deserializer.deserialize_map(Reads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(line: &str) -> String {
        read_report(line.as_bytes(), Some(Timestamp::default())).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (line, words) in [
            ("", "EOF while parsing a value"),
            ("[]", "expected an object in braces"),
            (r#"{"status":404}"#, "missing field `source`"),
            (r#"{"source":"203.0.113.7"}"#, "expected status (a request was answered), outcome (a login ended)"),
            (r#"{"source":"203.0.113","status":404}"#, "source: expected an address such as"),
            (r#"{"source":"203.0.113.7, 8.8.8.8","status":404}"#, "source: expected an address such as"),
            (r#"{"source":"203.0.113.7","status":99}"#, "invalid value: integer `99`, expected status from 100 to 999"),
            (r#"{"source":"203.0.113.7","status":"4O4"}"#, "expected status from 100 to 999"),
            (r#"{"source":"203.0.113.7","outcome":"failed"}"#, "expected outcome \"success\" or \"failure\""),
            (r#"{"source":"203.0.113.7","status":404,"user":"x"}"#, "unknown field `user`, expected one of `at`"),
            (r#"{"source":"203.0.113.7","status":404,"status":200}"#, "duplicate field `status`"),
            (r#"{"source":"203.0.113.7","status":404,"at":"yesterday"}"#, "expected at as RFC 3339"),
            (r#"{"source":"203.0.113.7","status":404,"at":-1.5}"#, "at: expected seconds since 1970"),
            (r#"{"source":"203.0.113.7","status":404,"method":"GET /"}"#, "method: expected a method of HTTP"),
            (r#"{"source":"203.0.113.7","status":404,"attributes":{"a":"b","A":"c"}}"#, "attributes: a is there twice"),
            (r#"{"source":"203.0.113.7","status":404} {"#, "trailing characters"),
        ] {
            let said = error(line);
            assert!(said.contains(words), "{line}: {said}");
        }
        let many: Vec<String> = (0..=ATTRIBUTES_MAX).map(|n| format!("\"a{n}\":\"\"")).collect();
        let line = format!(r#"{{"source":"203.0.113.7","status":404,"attributes":{{{}}}}}"#, many.join(","));
        assert!(error(&line).contains("attributes: more than 32"));
        let line = br#"{"source":"203.0.113.7","status":404}"#;
        assert_eq!(read_report(line, None), Err(ReportError::NoTime), "a log has to say when");
    }

    #[test]
    fn all_of_an_event_is_taken() {
        let line =
            br#"{"at":1700000000.25,"source":"::ffff:203.0.113.7","client":"a\"b","known":true,"outcome":"failure",
            "method":"POST","path":"/login?a=b","status":"401","attributes":{"User-Agent":"curl"}}"#;
        let entry = read_report(line, None).unwrap();
        assert_eq!((entry.at.as_millis(), entry.from.to_string().as_str()), (1_700_000_000_250, "203.0.113.7"));
        assert_eq!(entry.client.unwrap().decoded(), "a\"b");
        let facts = entry.facts.unwrap();
        assert_eq!((facts.known, facts.attributes), (Some(true), vec![("user-agent".to_owned(), "curl".to_owned())]));
        let What::FailedRequest(answered) = entry.what else { panic!("{:?}", entry.what) };
        assert_eq!((&*answered.path.decoded(), answered.status), ("/login", 401));
    }

    #[test]
    fn bytes_that_are_not_text_hide_nobody() {
        let line = b"{\"source\":\"203.0.113.7\",\"status\":404,\"path\":\"/\xff\"}";
        let entry = read_report(line, Some(Timestamp::default())).unwrap();
        let What::Request(answered) = entry.what else { panic!("{:?}", entry.what) };
        assert_eq!((entry.from.to_string().as_str(), &*answered.path.decoded()), ("203.0.113.7", "/\u{fffd}"));
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange_and_none_gives_another_address(path in ".{0,60}", client in ".{0,30}") {
            let event = serde_json::json!({"source": "203.0.113.7", "status": 404, "path": path, "client": client});
            let line = event.to_string();
            let entry = read_report(line.as_bytes(), Some(Timestamp::default())).unwrap();
            prop_assert_eq!(entry.from.to_string(), "203.0.113.7");
            // As a template without escaping would write it.
            let raw = format!(r#"{{"source":"203.0.113.7","status":404,"path":"{path}"}}"#);
            if let Ok(entry) = read_report(raw.as_bytes(), Some(Timestamp::default())) {
                prop_assert_eq!(entry.from.to_string(), "203.0.113.7");
            }
        }
    }
}
