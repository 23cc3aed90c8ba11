//! OpenSSH's server, as syslog and the journal write its lines.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use foldhash::quality::RandomState;
use portcullis_domain::{Outcome, Timestamp};

use super::field::{address, first_word, last_word};
use super::time::Calendar;
use super::{Entry, Parsed, Text, What};

/// Bytes of `Apr 16 10:22:26`.
const YEARLESS_BYTES: usize = 15;
/// Names under which it writes: since 9.8 a program for each connection does.
const PROGRAMS: [&[u8]; 3] = [b"sshd", b"sshd-session", b"sshd-auth"];
/// Connections that are remembered until they end; a stranger can open many.
const CONNECTIONS_MAX: usize = 8192;
/// How other lines of it begin, where nothing but the message is there to tell.
const OTHERS: [&[u8]; 36] = [
    b"Accepted ",
    b"Address ",
    b"Authentication ",
    b"Bad p",
    b"Close session",
    b"Connection ",
    b"Connecting ",
    b"Could not ",
    b"Did not receive",
    b"Disconnected ",
    b"Disconnecting ",
    b"Excessive ",
    b"Exiting ",
    b"Failed ",
    b"Invalid user ",
    b"Nasty PTR",
    b"Postponed ",
    b"Protocol ",
    b"Received ",
    b"Server listening",
    b"Starting session",
    b"Timeout ",
    b"Transferred",
    b"Unable to",
    b"User ",
    b"banner ",
    b"beginning MaxStartups",
    b"debug",
    b"drop connection",
    b"error: ",
    b"exited MaxStartups",
    b"fatal: ",
    b"kex_",
    b"message repeated",
    b"pam_",
    b"ssh_",
];

type Connection = (IpAddr, u16);

/// What was told of a connection so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It has asked for a user that there isn't, which counted.
    Invalid,
    /// A secret was wrong, which counted.
    Failed,
}

/// What is remembered of connections: one failure is told of in several lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    told: HashMap<Connection, Told, RandomState>,
    order: VecDeque<Connection>,
}

impl Connections {
    fn tell(&mut self, connection: Connection, told: Told) {
        if self.told.insert(connection, told).is_none() {
            self.order.push_back(connection);
        }
        // Some of those in the order have ended since.
        while self.order.len() > CONNECTIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.told.remove(&oldest);
            }
        }
    }
}

/// `TIME HOST sshd[PID]: MESSAGE`; where `bare`, the message alone is enough.
pub(super) fn parse<'l>(
    calendar: &mut Calendar,
    connections: &mut Connections,
    bare: bool,
    line: &'l [u8],
) -> Parsed<'l> {
    if let Some((at, rest)) = stamp(calendar, line) {
        return match program(rest) {
            Some((name, message)) if PROGRAMS.contains(&name) => event(connections, at, message),
            Some(_) => Parsed::Other,
            None => Parsed::Unknown,
        };
    }
    match calendar.now().filter(|_| bare) {
        Some(now) if OTHERS.iter().any(|known| line.starts_with(known)) || line.starts_with(b"maximum ") => {
            event(connections, now, line)
        }
        Some(_) | None => Parsed::Unknown,
    }
}

/// A time as syslog, rsyslog or journalctl writes it, and what stands after it.
fn stamp<'l>(calendar: &mut Calendar, line: &'l [u8]) -> Option<(Timestamp, &'l [u8])> {
    if line.first()?.is_ascii_uppercase() {
        let (stamp, rest) = line.split_at_checked(YEARLESS_BYTES)?;
        return Some((calendar.yearless(stamp)?, rest.strip_prefix(b" ")?));
    }
    let (stamp, rest) = first_word(line)?;
    let at = match stamp {
        [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..] => calendar.rfc_3339(stamp)?,
        _ => super::pattern::epoch(stamp)?,
    };
    Some((at, rest))
}

/// `HOST NAME[PID]: MESSAGE`: the name and the message.
fn program(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (host, rest) = first_word(rest)?;
    let (tag, message) = first_word(rest)?;
    let tag = tag.strip_suffix(b":")?;
    let name = match tag.strip_suffix(b"]") {
        Some(tag) => {
            let bracket = memchr::memrchr(b'[', tag)?;
            tag[bracket + 1..].iter().all(u8::is_ascii_digit).then_some(&tag[..bracket])?
        }
        None => tag,
    };
    (!host.is_empty() && !name.is_empty()).then_some((name, message))
}

/// What a message tells of.
enum Said<'l> {
    Accepted,
    Failed(&'l [u8]),
    Invalid(&'l [u8]),
    /// It has ended before anybody was let in.
    Ended(&'l [u8]),
}

fn event<'l>(connections: &mut Connections, at: Timestamp, message: &'l [u8]) -> Parsed<'l> {
    let Some((said, connection)) = said(message) else { return Parsed::Other };
    let (user, outcome) = match said {
        Said::Accepted => {
            connections.told.remove(&connection);
            (accepted_user(message), Outcome::Success)
        }
        Said::Failed(user) => {
            // The first wrong secret of a user that there isn't has counted already.
            let counted = connections.told.get(&connection) == Some(&Told::Invalid);
            connections.tell(connection, Told::Failed);
            if counted {
                return Parsed::Other;
            }
            (user, Outcome::Failure)
        }
        Said::Invalid(user) => {
            if connections.told.contains_key(&connection) {
                return Parsed::Other;
            }
            connections.tell(connection, Told::Invalid);
            (user, Outcome::Failure)
        }
        Said::Ended(user) => {
            if connections.told.remove(&connection).is_some() {
                return Parsed::Other;
            }
            (user, Outcome::Failure)
        }
    };
    let client = Some(Text::vis(user)).filter(|_| !user.is_empty());
    let offence = outcome == Outcome::Failure;
    Parsed::Entry(Entry { at, from: connection.0, client, what: What::Login(outcome), offence, facts: None })
}

/// Strangers choose the user, and nothing behind it: addresses are read from
/// the end. Of a login that was accepted the end can hold what a certificate
/// says, and the user is one that there is: that is read from the front.
fn said(message: &[u8]) -> Option<(Said<'_>, Connection)> {
    match message.first()? {
        b'A' => {
            let rest = message.strip_prefix(b"Accepted ")?;
            let (_method, rest) = first_word(rest)?;
            let (_user, rest) = first_word(rest.strip_prefix(b"for ")?)?;
            let (ip, rest) = first_word(rest.strip_prefix(b"from ")?)?;
            let (port, rest) = first_word(rest.strip_prefix(b"port ")?)?;
            matches!(rest, b"ssh2" | [b's', b's', b'h', b'2', b':', b' ', ..]).then_some(())?;
            Some((Said::Accepted, (address(ip)?, number(port)?)))
        }
        b'F' => {
            let (method, rest) = first_word(message.strip_prefix(b"Failed ")?)?;
            // A client offers one key after the other, and "none" to ask what there is.
            if method != b"password" && !method.starts_with(b"keyboard-interactive") {
                return None;
            }
            let (user, connection) = from_and_port(rest.strip_prefix(b"for ")?.strip_suffix(b" ssh2")?)?;
            let invalid = user.strip_prefix(b"invalid user ").or_else(|| user.strip_prefix(b"illegal user "));
            Some((Said::Failed(invalid.unwrap_or(user)), connection))
        }
        b'I' => {
            let rest = message.strip_prefix(b"Invalid user ").or_else(|| message.strip_prefix(b"Illegal user "))?;
            let (user, connection) = from_and_port(rest)?;
            Some((Said::Invalid(user), connection))
        }
        b'C' | b'D' => {
            const ENDS: [&[u8]; 3] = [b"Connection closed by ", b"Connection reset by ", b"Disconnected from "];
            let rest = ENDS.iter().find_map(|end| message.strip_prefix(*end))?.strip_suffix(b" [preauth]")?;
            let rest = rest.strip_prefix(b"authenticating user ").or_else(|| rest.strip_prefix(b"invalid user "))?;
            let (rest, port) = port(rest)?;
            // An empty user leaves but the space before the address.
            let (user, ip) = last_word(rest)?;
            Some((Said::Ended(user), (address(ip)?, port)))
        }
        b'e' | b'm' => {
            let rest = message.strip_prefix(b"error: ").unwrap_or(message);
            let rest = rest.strip_prefix(b"maximum authentication attempts exceeded for ")?;
            let (user, connection) = from_and_port(rest.strip_suffix(b" ssh2 [preauth]")?)?;
            Some((Said::Ended(user.strip_prefix(b"invalid user ").unwrap_or(user)), connection))
        }
        _ => None,
    }
}

/// Of `Accepted METHOD for USER from …` the user.
fn accepted_user(message: &[u8]) -> &[u8] {
    message.split(|&byte| byte == b' ').nth(3).unwrap_or_default()
}

/// `USER from ADDRESS port N`, to its end.
fn from_and_port(text: &[u8]) -> Option<(&[u8], Connection)> {
    let (rest, port) = port(text)?;
    let (rest, ip) = last_word(rest)?;
    let user = match rest.strip_suffix(b" from") {
        Some(user) => user,
        None if rest == b"from" => b"",
        None => return None,
    };
    Some((user, (address(ip)?, port)))
}

/// `… port N`, to its end.
fn port(text: &[u8]) -> Option<(&[u8], u16)> {
    let (rest, port) = last_word(text)?;
    Some((rest.strip_suffix(b" port")?, number(port)?))
}

fn number(text: &[u8]) -> Option<u16> {
    if text.is_empty() || text.len() > 5 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
