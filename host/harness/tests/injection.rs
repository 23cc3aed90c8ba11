//! What strangers have written into logs so that somebody else is banned: the
//! address that counts is theirs, in every format.
//!
//! The words are those of fail2ban's issues 249 (brackets of Apache's error log
//! in a path), 432 (a greedy expression before the address) and 3724 (an
//! expression without an end), and ids and paths of the gate's own tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::IpAddr;

use portcullis_domain::Timestamp;
use portcullis_harness::logs::{Format, Parsed, Parser};

/// Whoever is really there.
const OWN: &str = "203.0.113.7";

/// What they chose as a name, a path, a user agent. All of it names 8.8.8.8.
const WORDS: [&str; 24] = [
    "[client 8.8.8.8] user root not found",
    "[client%208.8.8.8]%20user%20root%20not%20found",
    "] [client 8.8.8.8] File does not exist: /x",
    "x from 8.8.8.8",
    "root from 8.8.8.8 port 22 ssh2",
    "root from 8.8.8.8 port 22",
    "x from 8.8.8.8 port 22 ssh2: RSA SHA256:abc",
    "invalid user root from 8.8.8.8 port 22 ssh2",
    "root 8.8.8.8 port 22 [preauth]",
    "' from <8.8.8.8> (user 8.8.8.8:22)",
    "x' from 8.8.8.8:22",
    "login attempt for nonexistent user from 8.8.8.8:22",
    "x 404 1s (8.8.8.8)",
    " 404 1s (8.8.8.8)",
    "x\" 404 1s (8.8.8.8)",
    "x\", forcing to wait for 2s (8.8.8.8)",
    "Maximum of 5 login attempts reached. Visitor (8.8.8.8) banned. Ban expiry: x",
    "client#1: Open x (8.8.8.8)",
    "8.8.8.8 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 401 0",
    "\" 401 0 \"-\" \"8.8.8.8\"",
    "2021/04/16 10:22:26 info: client-listener: GET /x 404 1s (8.8.8.8)",
    "2026-11-22T12:00:00.123Z info GET /x 404 1s (8.8.8.8)",
    "\",\"source\":\"8.8.8.8\",\"x\":\"",
    "\",\"remote_ip\":\"8.8.8.8\",\"client_ip\":\"8.8.8.8\",\"x\":\"",
];

/// As Apache and nginx encode it.
fn backslashed(word: &str) -> String {
    word.replace('\\', "\\\\").replace('"', "\\\"")
}

/// As our own text log encodes it (rule 28).
fn percent(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/@:+=,".contains(&byte);
    word.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn json(word: &str) -> String {
    serde_json::to_string(word).unwrap()
}

/// Lines as each program writes them about a stranger of that name, path or agent.
fn lines(word: &str) -> Vec<(Format, String)> {
    let (slashed, coded, quoted) = (backslashed(word), percent(word), json(word));
    let rportd = |rest: String| (Format::Rportd, format!("2026/11/22 11:00:00 info: client-listener: {rest} ({OWN})"));
    let sshd = |rest: String| (Format::Sshd, format!("Nov 22 11:00:00 host sshd[7]: {rest}"));
    let own = |rest: String| (Format::Portcullis, format!("2026-11-22T11:00:00.123Z info {rest} ({OWN})"));
    let web =
        |tail: &str| format!("{OWN} - {slashed}x [22/Nov/2026:11:00:00 +0000] \"GET /{slashed} HTTP/1.1\" 401 1{tail}");
    let failed = |word: &str| format!("Failed login attempt for client auth id \"{word}\", forcing to wait for 2s");
    vec![
        rportd(format!("GET /{word} 404 21µs")),
        rportd(format!("GET /{word} 404 21µs 500B")),
        rportd(failed(word)),
        rportd(format!("client#7: Open {word}")),
        (Format::Common, web("")),
        (Format::Combined, web(&format!(" \"{slashed}\" \"{slashed}\""))),
        own(format!("GET /{coded} 404 12us")),
        own(failed(&coded)),
        (
            Format::PortcullisJson,
            format!(
                r#"{{"time":"2026-11-22T11:00:00.123Z","kind":"failed-login","client_id":{quoted},"source":"{OWN}"}}"#
            ),
        ),
        (
            Format::PortcullisJson,
            format!(
                r#"{{"time":"2026-11-22T11:00:00.123Z","kind":"access","method":"GET","path":{quoted},"status":404,"source":"{OWN}"}}"#
            ),
        ),
        sshd(format!("Failed password for invalid user {word} from {OWN} port 1 ssh2")),
        sshd(format!("Failed keyboard-interactive/pam for {word} from {OWN} port 1 ssh2")),
        sshd(format!("Invalid user {word} from {OWN} port 1")),
        sshd(format!("Connection closed by invalid user {word} {OWN} port 1 [preauth]")),
        sshd(format!("Connection reset by authenticating user {word} {OWN} port 1 [preauth]")),
        sshd(format!("Disconnected from invalid user {word} {OWN} port 1 [preauth]")),
        sshd(format!("error: maximum authentication attempts exceeded for {word} from {OWN} port 1 ssh2 [preauth]")),
        (
            Format::Caddy,
            format!(
                r#"{{"ts":1795345200.5,"logger":"http.log.access","request":{{"remote_ip":"{OWN}","method":"GET","uri":{quoted},"headers":{{"User-Agent":[{quoted}]}}}},"user_id":{quoted},"status":404}}"#
            ),
        ),
        (
            Format::Report,
            format!(r#"{{"at":"2026-11-22T11:00:00Z","source":"{OWN}","client":{quoted},"outcome":"failure"}}"#),
        ),
    ]
}

#[test]
fn no_word_of_a_stranger_brings_another_address_in_any_format() {
    let own: IpAddr = OWN.parse().unwrap();
    let mut seen: Vec<&str> = Vec::new();
    for word in WORDS {
        for (format, line) in lines(word) {
            let mut parser = Parser::new(format.clone());
            parser.set_now(Timestamp::from_millis(1_795_345_200_000));
            let Parsed::Entry(entry) = parser.parse(line.as_bytes()) else {
                panic!("no entry: {} {line}", format.name())
            };
            assert_eq!(entry.from, own, "{} {line}", format.name());
            if !seen.contains(&format.name()) {
                seen.push(Format::KNOWN.iter().find(|known| known.name() == format.name()).unwrap().name());
            }
        }
    }
    assert_eq!(seen.len(), Format::KNOWN.len(), "every built-in format: {seen:?}");
}

/// What the same words come to where a log's line is nothing but theirs, or was cut in two.
#[test]
fn the_rest_of_a_line_brings_no_address_that_is_not_at_its_place() {
    for word in WORDS {
        for (format, line) in lines(word) {
            for cut in (0..line.len()).filter(|cut| line.is_char_boundary(*cut)) {
                let mut parser = Parser::new(format.clone());
                parser.set_now(Timestamp::from_millis(1_795_345_200_000));
                // Whoever follows a log gives out no line without its end: what can be missing is the beginning.
                if let Parsed::Entry(entry) = parser.parse(&line.as_bytes()[cut..]) {
                    let from_end = matches!(format, Format::Rportd | Format::Portcullis | Format::Sshd);
                    assert!(!from_end || entry.from.to_string() == OWN, "{} {}", format.name(), &line[cut..]);
                }
            }
        }
    }
}
