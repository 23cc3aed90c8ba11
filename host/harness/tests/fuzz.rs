//! Every format under lines that nobody has written: no panic, no address that
//! isn't in the line, and the same answer each time.
//!
//! A second for each format, or `PORTCULLIS_FUZZ=SECONDS`. It begins at
//! another place each time and says at which, for `PORTCULLIS_FUZZ_SEED`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_domain::{Outcome, Timestamp};
use portcullis_harness::logs::{Entry, Format, Parsed, Parser, Pattern, PatternOptions, What};

/// Lines of all formats: each is made into others, and parts of one turn up in another.
const SEEDS: [&str; 16] = [
    "2021/04/16 10:22:26 info: client-listener: GET /.env 404 21µs (203.0.113.7)",
    "2021/04/16 10:22:26 info: client-listener: Failed login attempt for client auth id \"x\", forcing to wait for 2s (2001:db8::7)",
    "2021/04/16 10:22:26 info: client-listener: client#12: Open x (203.0.113.7)",
    "203.0.113.7 - al\\x20ice [10/Oct/2000:13:55:36 -0700] \"GET /a?b HTTP/1.1\" 401 2326",
    "203.0.113.7 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.1\" 404 1 \"http://x/\" \"curl \\\"8\\\"\"",
    "2026-11-22T12:00:00.123Z info GET /a%20b 404 12us (203.0.113.7)",
    "2026-11-22T12:00:00.123Z info Failed login attempt for client auth id \"x%22\", forcing to wait for 2s (203.0.113.7)",
    r#"{"time":"2026-11-22T12:00:00.123Z","level":"info","kind":"access","method":"GET","path":"/a","status":404,"source":"203.0.113.7"}"#,
    r#"{"time":"2026-11-22T12:00:00.123Z","kind":"failed-login","client_id":"a","wait_ms":2000,"source":"2001:db8::7"}"#,
    "Apr 16 10:22:26 host sshd[7]: Failed password for invalid user x from 203.0.113.7 port 22 ssh2",
    "2026-11-22T12:00:00+01:00 host sshd-session[7]: Connection closed by invalid user a\\303\\244 203.0.113.7 port 1 [preauth]",
    "1795345200.5 host sshd[7]: Accepted publickey for x from 203.0.113.7 port 1 ssh2: RSA SHA256:x",
    r#"{"level":"info","ts":1795345200.5,"logger":"http.log.access","request":{"remote_ip":"203.0.113.7","client_ip":"203.0.113.7","method":"GET","uri":"/x?y","headers":{"User-Agent":["x"]}},"user_id":"","status":404}"#,
    r#"{"at":"2026-11-22T12:00:00Z","source":"203.0.113.7","client":"x","outcome":"failure"}"#,
    "1618568546 x y 203.0.113.7",
    "[client 8.8.8.8] user root from 8.8.8.8 port 22 ssh2 (8.8.8.8) 404 1s (8.8.8.8) \"8.8.8.8\" \\ \u{fffd}",
];

/// SplitMix64: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn range(&mut self, of: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.below(of + 1), self.below(of + 1));
        one.min(other)..one.max(other)
    }

    fn seed(&mut self) -> Vec<u8> {
        SEEDS[self.below(SEEDS.len())].as_bytes().to_vec()
    }

    /// A line that was one of the seeds before several things happened to it.
    fn line(&mut self) -> Vec<u8> {
        const ODD: &[u8] = b"\0\r\xff\xc3\"'\\()[]{} :,0";
        let mut line = self.seed();
        for _ in 0..self.below(6) {
            let range = self.range(line.len());
            match self.below(6) {
                0 if !line.is_empty() => {
                    let place = self.below(line.len());
                    line[place] = ODD[self.below(ODD.len())];
                }
                1 => drop(line.drain(range)),
                2 => {
                    let part = line[range].to_vec();
                    let place = self.below(line.len() + 1);
                    drop(line.splice(place..place, part));
                }
                3 => {
                    let other = self.seed();
                    let part = other[self.range(other.len())].to_vec();
                    drop(line.splice(range, part));
                }
                4 => {
                    let place = self.below(line.len() + 1);
                    line.insert(place, u8::try_from(self.below(256)).unwrap());
                }
                _ => line.truncate(range.end),
            }
        }
        line
    }
}

/// Everything that anybody asks of an entry, and what has to hold for it.
fn look(format: &Format, line: &[u8], entry: &Entry<'_>) {
    let told = || format!("{}: {:?}", format.name(), String::from_utf8_lossy(line));
    assert!(entry.at.as_millis() < 253_402_300_800_000, "{}", told());
    if let IpAddr::V4(from) = entry.from {
        let (text, from) = (String::from_utf8_lossy(line), from.to_string());
        // JSON may write a character in another way.
        assert!(text.contains(&from) || text.contains("\\u"), "{from} {}", told());
    }
    if let Some(client) = &entry.client {
        assert!(!client.decoded().is_empty(), "{}", told());
    }
    if let What::Request(answered) | What::FailedRequest(answered) = &entry.what {
        assert!((100..1000).contains(&answered.status), "{}", told());
        let _none_panics = (answered.method.decoded(), answered.path.decoded());
        let fields = [&answered.referer, &answered.user_agent];
        fields.into_iter().flatten().for_each(|field| drop(field.decoded()));
    }
    let owned = entry.clone().into_owned();
    assert_eq!((owned.at, owned.from), (entry.at, entry.from), "{}", told());
}

fn fuzz(format: Format) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("PORTCULLIS_FUZZ").unwrap_or(1);
    let seed = number("PORTCULLIS_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(format.name()));
    println!("PORTCULLIS_FUZZ_SEED={seed}");
    let (mut chance, began, mut entries, mut lines) = (Chance(seed), Instant::now(), 0_u64, 0_u64);
    let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let make = || {
        let mut parser = Parser::new(format.clone()).in_zone(zone.clone()).bare();
        parser.set_now(Timestamp::from_millis(1_795_345_200_000));
        parser
    };
    let mut parser = make();
    while lines % 256 > 0 || began.elapsed() < Duration::from_secs(seconds) {
        lines += 1;
        let line = chance.line();
        let parsed = parser.parse(&line);
        if let Parsed::Entry(entry) = &parsed {
            entries += 1;
            look(&format, &line, entry);
        }
        // What was before makes no difference, unless it is remembered on purpose.
        let parsed = format!("{parsed:?}");
        if !parser.remembers() && lines % 8 == 0 {
            assert_eq!(format!("{:?}", make().parse(&line)), parsed, "{:?}", String::from_utf8_lossy(&line));
        }
    }
    assert!(entries > 0, "none of {lines} lines was one");
}

macro_rules! each_format {
    ($($test:ident: $format:expr,)*) => {
        $(#[test] fn $test() { fuzz($format); })*

        #[test]
        fn every_format_is_among_them() {
            let here = [$($format.name().to_owned()),*];
            let missing: Vec<_> = Format::KNOWN.iter().map(Format::name).filter(|name| !here.iter().any(|known| known == name)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    };
}

fn pattern() -> Format {
    let options = PatternOptions { time_format: None, outcome: Some(Outcome::Failure) };
    Format::Pattern(Arc::new(Pattern::new(r"(?<time>\d+) (?<client>.*) (?<ip>\S+)", options).unwrap()))
}

each_format! {
    rportd: Format::Rportd,
    common: Format::Common,
    combined: Format::Combined,
    portcullis: Format::Portcullis,
    portcullis_json: Format::PortcullisJson,
    sshd: Format::Sshd,
    caddy: Format::Caddy,
    report: Format::Report,
    regex: pattern(),
}
