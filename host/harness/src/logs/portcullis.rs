//! Our own logs: text lines for eyes and fail2ban, JSON lines for machines.

use std::borrow::Cow;

use portcullis_domain::Outcome;
use serde::Deserialize;

use super::field::{access, address, address_at_end, failed_login, first_word};
use super::time::Calendar;
use super::{Answered, Entry, Parsed, Text, What};

/// Bytes of `2026-11-22T12:00:00.123Z`.
const STAMP_BYTES: usize = 24;

/// `TIME LEVEL REST`.
pub(super) fn parse_text<'l>(calendar: &mut Calendar, line: &'l [u8]) -> Parsed<'l> {
    let Some((at, rest)) = begin(calendar, line) else { return Parsed::Unknown };
    let Some((head, from)) = address_at_end(rest) else { return Parsed::Other };
    if let Some(id) = failed_login(head) {
        let client = Some(Text::percent(id)).filter(|_| !id.is_empty());
        return Parsed::Entry(Entry {
            at,
            from,
            client,
            what: What::Login(Outcome::Failure),
            offence: true,
            facts: None,
        });
    }
    // We write no space into a path.
    match access(head).filter(|found| !found.path.contains(&b' ')) {
        Some(found) => {
            let answered = Answered::new(Text::percent(found.method), Text::percent_path(found.path), found.status);
            let offence = found.status == 404;
            Parsed::Entry(Entry { at, from, client: None, what: What::Request(answered), offence, facts: None })
        }
        None => Parsed::Other,
    }
}

fn begin<'l>(calendar: &mut Calendar, line: &'l [u8]) -> Option<(portcullis_domain::Timestamp, &'l [u8])> {
    let (stamp, rest) = line.split_at_checked(STAMP_BYTES)?;
    let at = calendar.rfc_3339_millis(stamp)?;
    let (level, rest) = first_word(rest.strip_prefix(b" ")?)?;
    matches!(level, b"error" | b"warn" | b"info" | b"debug" | b"trace").then_some((at, rest))
}

/// What is read of a JSON line; the rest is left alone.
#[derive(Deserialize)]
struct Fields<'l> {
    #[serde(borrow)]
    time: Cow<'l, str>,
    #[serde(borrow)]
    kind: Cow<'l, str>,
    #[serde(borrow)]
    source: Option<Cow<'l, str>>,
    #[serde(borrow)]
    client_id: Option<Cow<'l, str>>,
    #[serde(borrow)]
    method: Option<Cow<'l, str>>,
    #[serde(borrow)]
    path: Option<Cow<'l, str>>,
    status: Option<u16>,
}

/// One object with `time` and `kind`.
pub(super) fn parse_json<'l>(calendar: &mut Calendar, line: &'l [u8]) -> Parsed<'l> {
    if !line.starts_with(b"{") {
        return Parsed::Unknown;
    }
    let Ok(fields) = serde_json::from_slice::<Fields<'l>>(line) else { return Parsed::Unknown };
    let Some(at) = calendar.rfc_3339_millis(fields.time.as_bytes()) else { return Parsed::Unknown };
    let from = fields.source.as_ref().and_then(|source| address(source.as_bytes()));
    let client = fields.client_id.filter(|id| !id.is_empty()).map(Text::of);
    match (&*fields.kind, from) {
        ("failed-login", Some(from)) => {
            Parsed::Entry(Entry { at, from, client, what: What::Login(Outcome::Failure), offence: true, facts: None })
        }
        ("access", Some(from)) => {
            let (Some(method), Some(path), Some(status)) = (fields.method, fields.path, fields.status) else {
                return Parsed::Unknown;
            };
            if !(100..1000).contains(&status) {
                return Parsed::Unknown;
            }
            let named = Answered::new(Text::of(method), Text::of(queryless(path)), status);
            // Our own access lines name whom the gate knew.
            let answered = Answered { vouched: true, ..named };
            let what = What::Request(answered);
            Parsed::Entry(Entry { at, from, client, what, offence: status == 404, facts: None })
        }
        ("failed-login" | "access", None) => Parsed::Unknown,
        _ => Parsed::Other,
    }
}

/// A path up to its query.
fn queryless(path: Cow<'_, str>) -> Cow<'_, str> {
    match path.find('?') {
        None => path,
        Some(query) => match path {
            Cow::Borrowed(path) => Cow::Borrowed(&path[..query]),
            Cow::Owned(mut path) => {
                path.truncate(query);
                Cow::Owned(path)
            }
        },
    }
}
