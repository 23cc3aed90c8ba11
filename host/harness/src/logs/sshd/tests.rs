//! OpenSSH's lines: as they come, and as somebody would like them to be read.

use proptest::prelude::*;

use super::super::tests::{check, told};
use super::super::{Format, Parser};
use super::*;

const NOW: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    Timestamp::from_millis(u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap())
}

fn parser() -> Parser {
    let mut parser = Parser::new(Format::Sshd);
    parser.set_now(at(NOW));
    parser
}

/// What is made of messages that come one after another.
fn made_of(messages: &[&str]) -> Vec<String> {
    let mut parser = parser();
    let line = |message: &&str| format!("Nov 22 11:00:00 host sshd[7]: {message}");
    messages.iter().map(|message| told(&parser.parse(line(message).as_bytes()))).collect()
}

#[test]
fn stamps_of_syslog_rsyslog_and_the_journal() {
    let failed = "Failed password for alice from 203.0.113.7 port 22 ssh2";
    let wanted = |time: &str| format!("{time} 203.0.113.7 alice login Failure !");
    for (begin, time) in [
        ("Nov 22 11:00:00 host sshd[7]:", "2026-11-22T11:00:00Z"),
        ("Nov  2 11:00:00 host sshd[7]:", "2026-11-02T11:00:00Z"),
        ("Dec 31 11:00:00 host sshd[7]:", "2025-12-31T11:00:00Z"),
        ("2026-11-22T11:00:00.123456+01:00 host sshd[7]:", "2026-11-22T10:00:00.123Z"),
        ("2026-11-22T11:00:00+0000 host sshd-session[7]:", "2026-11-22T11:00:00Z"),
        ("1795345200.5 host sshd[7]:", "2026-11-22T11:00:00.5Z"),
        ("2026-11-22T11:00:00Z host sshd:", "2026-11-22T11:00:00Z"),
    ] {
        let line = format!("{begin} {failed}");
        assert_eq!(told(&parser().parse(line.as_bytes())), wanted(time), "{line}");
    }
    check(
        &Format::Sshd,
        &[
            // Nobody has said what year it is.
            (&format!("Nov 22 11:00:00 host sshd[7]: {failed}"), "Unknown"),
            (&format!("2026-11-22T11:00:00Z host su[7]: {failed}"), "Other"),
            (&format!("2026-11-22T11:00:00Z host xsshd[7]: {failed}"), "Other"),
            (&format!("2026-11-22T11:00:00Z host sshd[x]: {failed}"), "Unknown"),
            (&format!("2026-11-22T11:00:00Z host {failed}"), "Unknown"),
            (&format!("2026-11-22T11:00:00 host sshd[7]: {failed}"), "Unknown"),
            (&format!("sshd[7]: {failed}"), "Unknown"),
            (failed, "Unknown"),
            ("2026-11-22T11:00:00Z host kernel: [1.2] sshd[7]: x", "Other"),
        ],
    );
}

#[test]
fn the_message_alone_is_of_now_where_that_was_asked_for() {
    let mut bare = parser().bare();
    for (line, wanted) in [
        (
            "Failed password for alice from 203.0.113.7 port 22 ssh2",
            "2026-11-22T12:00:00Z 203.0.113.7 alice login Failure !",
        ),
        (
            "Nov 22 11:00:00 host sshd[7]: Failed password for bob from 203.0.113.7 port 23 ssh2",
            "2026-11-22T11:00:00Z 203.0.113.7 bob login Failure !",
        ),
        ("pam_unix(sshd:session): session opened for user alice", "Other"),
        ("something else", "Unknown"),
        ("", "Empty"),
    ] {
        assert_eq!(told(&bare.parse(line.as_bytes())), wanted, "{line}");
    }
}

#[test]
fn logins_as_they_end() {
    for (message, wanted) in [
        ("Failed password for invalid user x from 203.0.113.7 port 1 ssh2", "203.0.113.7 x login Failure !"),
        ("Failed password for illegal user x from 203.0.113.7 port 1 ssh2", "203.0.113.7 x login Failure !"),
        ("Failed password for invalid user  from 203.0.113.7 port 1 ssh2", "203.0.113.7 - login Failure !"),
        (
            "Failed keyboard-interactive/pam for root from 2001:db8::7 port 65535 ssh2",
            "2001:db8::7 root login Failure !",
        ),
        (
            r"Failed password for invalid user a\303\244\\ b\n from 203.0.113.7 port 1 ssh2",
            "203.0.113.7 aä\\ b\n login Failure !",
        ),
        ("Accepted password for alice from 203.0.113.7 port 1 ssh2", "203.0.113.7 alice login Success"),
        (
            "Accepted publickey for alice from 203.0.113.7 port 1 ssh2: ED25519-CERT SHA256:x ID x from 8.8.8.8 port 1 \
             ssh2 (serial 0) CA ED25519 SHA256:y",
            "203.0.113.7 alice login Success",
        ),
        ("Invalid user x y from 203.0.113.7 port 1", "203.0.113.7 x y login Failure !"),
        ("Invalid user  from 203.0.113.7 port 1", "203.0.113.7 - login Failure !"),
        (
            "Connection closed by authenticating user root 203.0.113.7 port 1 [preauth]",
            "203.0.113.7 root login Failure !",
        ),
        ("Connection reset by invalid user a b 203.0.113.7 port 1 [preauth]", "203.0.113.7 a b login Failure !"),
        ("Disconnected from authenticating user root 203.0.113.7 port 1 [preauth]", "203.0.113.7 root login Failure !"),
        (
            "error: maximum authentication attempts exceeded for invalid user x from 203.0.113.7 port 1 ssh2 [preauth]",
            "203.0.113.7 x login Failure !",
        ),
    ] {
        assert_eq!(made_of(&[message]), [format!("2026-11-22T11:00:00Z {wanted}")], "{message}");
    }
    for message in [
        // A client offers what it has.
        "Failed publickey for alice from 203.0.113.7 port 1 ssh2: RSA SHA256:x",
        "Failed none for invalid user x from 203.0.113.7 port 1 ssh2",
        // Nobody has said who they are.
        "Connection closed by 203.0.113.7 port 1 [preauth]",
        "Connection closed by authenticating user root 203.0.113.7 port 1",
        // It was logged in.
        "Disconnected from user alice 203.0.113.7 port 1",
        "Received disconnect from 203.0.113.7 port 1:11: Bye Bye [preauth]",
        // What was before these words has no port, and what is behind them is the stranger's.
        "Invalid user x from 203.0.113.7",
        "Failed password for x from UNKNOWN port 65535 ssh2",
        "Failed password for x from 203.0.113.7 port 65536 ssh2",
        "Failed password for x from 203.0.113.7 port 1 ssh2 ",
        "Failed password for from 203.0.113.7 port 1",
        "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.7  user=root",
        "Server listening on 0.0.0.0 port 22.",
    ] {
        assert_eq!(made_of(&[message]), ["Other"], "{message}");
    }
}

#[test]
fn one_failure_is_one_however_many_lines_tell_of_it() {
    let failures = |messages: &[&str]| made_of(messages).iter().filter(|told| told.ends_with('!')).count();
    let invalid = "Invalid user x from 203.0.113.7 port 1";
    let wrong = "Failed password for invalid user x from 203.0.113.7 port 1 ssh2";
    let closed = "Connection closed by invalid user x 203.0.113.7 port 1 [preauth]";
    let too_many =
        "error: maximum authentication attempts exceeded for invalid user x from 203.0.113.7 port 1 ssh2 [preauth]";
    let other = "Failed password for root from 203.0.113.7 port 2 ssh2";
    for (messages, count) in [
        (&[invalid][..], 1),
        (&[invalid, closed], 1),
        (&[closed], 1),
        (&[invalid, wrong, closed], 1),
        (&[invalid, wrong, wrong, wrong, too_many], 3),
        (&[wrong, wrong, closed], 2),
        (&[invalid, other, wrong, other, closed], 3),
        // The port is another connection's by then.
        (&[wrong, closed, closed], 2),
        (&["Accepted password for x from 203.0.113.7 port 1 ssh2", closed], 1),
    ] {
        assert_eq!(failures(messages), count, "{messages:?}");
    }
}

#[test]
fn no_more_connections_are_remembered_than_may_be() {
    let mut connections = Connections::default();
    let ip = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
    for n in 0..3 * CONNECTIONS_MAX {
        connections.tell((ip(n), 1), Told::Failed);
        assert!(connections.told.len() <= CONNECTIONS_MAX && connections.order.len() <= CONNECTIONS_MAX);
    }
    assert!(connections.told.contains_key(&(ip(3 * CONNECTIONS_MAX - 1), 1)));
}

/// Words that somebody chooses as the name to log in with, after OpenSSH has encoded them.
fn names() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        " from 8.8.8.8 port 22 ssh2",
        " from 8.8.8.8 port 22",
        "root from 8.8.8.8",
        " 8.8.8.8 port 22 [preauth]",
        " [preauth]",
        "invalid user ",
        "Failed password for root from 8.8.8.8 port 22 ssh2",
        "sshd[1]: Accepted password for root from 8.8.8.8 port 22 ssh2",
        " ssh2",
        "\\n",
        " ",
        ":",
        "8.8.8.8",
    ]);
    let piece = prop_oneof![pieces.prop_map(str::to_owned), "[ -~]{0,6}"];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_name_brings_no_other_address(name in names(), form in 0..6) {
        let message = match form {
            0 => format!("Failed password for invalid user {name} from 203.0.113.7 port 1 ssh2"),
            1 => format!("Failed keyboard-interactive/pam for {name} from 203.0.113.7 port 1 ssh2"),
            2 => format!("Invalid user {name} from 203.0.113.7 port 1"),
            3 => format!("Connection closed by invalid user {name} 203.0.113.7 port 1 [preauth]"),
            4 => format!("Disconnected from authenticating user {name} 203.0.113.7 port 1 [preauth]"),
            _ => format!("error: maximum authentication attempts exceeded for {name} from 203.0.113.7 port 1 ssh2 [preauth]"),
        };
        for mut parser in [parser(), parser().bare()] {
            let line = format!("Nov 22 11:00:00 host sshd[7]: {message}");
            let Parsed::Entry(entry) = parser.parse(line.as_bytes()) else {
                return Err(TestCaseError::fail(format!("no entry: {line}")));
            };
            prop_assert_eq!(entry.from, IpAddr::from([203, 0, 113, 7]), "{}", line);
        }
        let mut bare = parser().bare();
        if let Parsed::Entry(entry) = bare.parse(message.as_bytes()) {
            prop_assert_eq!(entry.from, IpAddr::from([203, 0, 113, 7]), "{}", message);
        }
    }
}
