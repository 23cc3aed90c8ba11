//! RPort's own log, `rportd.log`.

use portcullis_domain::Outcome;

use super::field::{access, address_at_end, failed_login};
use super::time::Calendar;
use super::{Answered, Entry, Parsed, Text, What};

/// Bytes of `2021/04/16 10:22:26`.
const STAMP_BYTES: usize = 19;

pub(super) fn parse<'l>(calendar: &mut Calendar, line: &'l [u8]) -> Parsed<'l> {
    let Some((at, level, rest)) = begin(calendar, line) else { return Parsed::Unknown };
    if level.is_empty() || !level.iter().all(u8::is_ascii_lowercase) {
        return Parsed::Unknown;
    }
    // Most lines are over here: only these end with an address.
    if !line.ends_with(b")") {
        return Parsed::Other;
    }
    let Some((from, client, what, offence)) = event(rest) else { return Parsed::Other };
    Parsed::Entry(Entry { at, from, client, what, offence, facts: None })
}

/// `TIME LEVEL: REST`.
fn begin<'l>(calendar: &mut Calendar, line: &'l [u8]) -> Option<(portcullis_domain::Timestamp, &'l [u8], &'l [u8])> {
    let (stamp, rest) = line.split_at_checked(STAMP_BYTES)?;
    let at = calendar.slashed(stamp)?;
    let (level, rest) = until_colon(rest.strip_prefix(b" ")?)?;
    Some((at, level, rest))
}

/// What stands before and after the first `: `. The names before it are short.
fn until_colon(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().take(64).position(|&byte| byte == b':')?;
    Some((&text[..colon], text[colon + 1..].strip_prefix(b" ")?))
}

type Event<'l> = (std::net::IpAddr, Option<Text<'l>>, What<'l>, bool);

/// `NAME-listener: REST`.
fn event(rest: &[u8]) -> Option<Event<'_>> {
    let (component, message) = until_colon(rest)?;
    if !component.ends_with(b"-listener") {
        return None;
    }
    let (head, from) = address_at_end(message)?;
    if let Some(session) = message.strip_prefix(b"client#") {
        let (number, said) = until_colon(session)?;
        let opened = !number.is_empty() && number.iter().all(u8::is_ascii_digit) && said.starts_with(b"Open ");
        return opened.then_some((from, None, What::Login(Outcome::Success), false));
    }
    if let Some(id) = failed_login(head) {
        let client = Some(Text::plain(id)).filter(|_| !id.is_empty());
        return Some((from, client, What::Login(Outcome::Failure), true));
    }
    let found = access(head)?;
    let answered = Answered::new(Text::plain(found.method), Text::plain(found.path), found.status);
    Some((from, None, What::Request(answered), found.status == 404))
}
