//! The log as operators, fail2ban and machines read it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in its helpers too")]

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use portcullis::log::{
    Access, Banned, Because, FailedLogin, Format, Level, Line, Log, NotEnforced, PluginMessage, Refused, Target,
};
use proptest::prelude::*;
use regex::Regex;
use tracing_subscriber::layer::SubscriberExt as _;

/// What the log wrote, for a test to look at.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(format: Format) -> (Log, Paper) {
    let paper = Paper::default();
    (Log::start(Level::Info, format, Target::Writer(Box::new(paper.clone()))).unwrap(), paper)
}

/// Lines so far, without their times.
fn lines(log: &Log, paper: &Paper) -> Vec<String> {
    log.flush().unwrap();
    let bytes = std::mem::take(&mut *paper.0.lock().unwrap());
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let time = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ").unwrap();
    text.lines().map(|line| time.replace(line, "").into_owned()).collect()
}

const SOURCE: &str = "203.0.113.7";

fn source() -> IpAddr {
    SOURCE.parse().unwrap()
}

fn access<'a>(method: &'a str, path: &'a str, status: u16) -> Line<'a> {
    let duration = Duration::from_micros(123);
    Line::Access(Access { source: source(), method, path, status, duration, bytes: Some(9), client_id: Some("me") })
}

fn failed(client_id: &str) -> Line<'_> {
    Line::FailedLogin(FailedLogin { source: source(), client_id, wait: Duration::from_millis(2_000) })
}

fn banned(reason: &str) -> Line<'_> {
    let until = "2026-11-22T13:00:00.5Z".parse().unwrap();
    Line::Banned(Banned { source: source(), reason, code: "max-failed-login", policy: "ban", until })
}

fn not_enforced<'a>(reason: &'a str, because: Because, client_id: Option<&'a str>) -> NotEnforced<'a> {
    let duration = Duration::from_secs(3600);
    NotEnforced { source: source(), policy: "new", because, client_id, duration, reason, code: "c" }
}

#[test]
fn what_isnt_enforced_is_told_in_words_of_its_own() {
    let (log, paper) = log(Format::Text);
    log.not_enforced(&not_enforced("2 failed logins.", Because::Shadow, None));
    log.not_enforced(&not_enforced("failed", Because::Shadow, Some("a b")));
    log.not_enforced(&not_enforced("404 1s (x)", Because::Cap, None));
    let expected = [
        "info Policy new in shadow would ban 203.0.113.7 for 3600s: 2 failed logins.",
        "info Policy new in shadow would make \"a%20b\" from 203.0.113.7 wait for 3600s: failed",
        "info Policy new over its cap doesn't ban 203.0.113.7 for 3600s: 404 1s %28x%29",
    ];
    assert_eq!(lines(&log, &paper), expected);
}

#[test]
fn what_isnt_enforced_is_limited_and_summed_up() {
    let (log, paper) = log(Format::Text);
    (0..100).for_each(|_| log.not_enforced(&not_enforced("x", Because::Cap, None)));
    let lines = lines(&log, &paper);
    assert!((21..100).contains(&lines.len()), "{}", lines.len());
    let summed_up = lines.iter().filter(|line| line.starts_with("info Not enforced: ")).count();
    assert!(summed_up > 0 && lines.last().unwrap().ends_with(" more orders within 10 s"), "{lines:?}");
}

#[test]
fn lines_are_worded_as_rports() {
    let (log, paper) = log(Format::Text);
    log.write(&access("GET", "/x/a%20b", 404));
    log.write(&failed("clientAuth1"));
    log.write(&banned("Maximum of 5 login attempts reached."));
    log.refused(&Refused { source: "::ffff:192.0.2.1".parse().unwrap(), status: 423, why: "banned" });
    log.write(&Line::Plugin(PluginMessage { policy: "ban", level: Level::Warn, text: "ä (x)\n" }));
    let expected = [
        "info GET /x/a%20b 404 123us (203.0.113.7)",
        "info Failed login attempt for client auth id \"clientAuth1\", forcing to wait for 2s (203.0.113.7)",
        "info Maximum of 5 login attempts reached. Visitor (203.0.113.7) banned. Ban expiry: 2026-11-22T13:00:00.500Z",
        "info Refused with 423, banned (192.0.2.1)",
        "warn Policy ban says: %C3%A4 %28x%29%0A",
    ];
    assert_eq!(lines(&log, &paper), expected);
}

#[test]
fn an_ipv6_address_is_shown_in_full() {
    let (log, paper) = log(Format::Text);
    let source = "2001:db8:1:2:3:4:5:6".parse().unwrap();
    log.write(&Line::FailedLogin(FailedLogin { source, client_id: "", wait: Duration::ZERO }));
    let expected = "info Failed login attempt for client auth id \"\", forcing to wait for 0s (2001:db8:1:2:3:4:5:6)";
    assert_eq!(lines(&log, &paper), [expected]);
}

/// The documented filters, taking anything in the brackets for the host.
fn filters() -> [Regex; 2] {
    [
        Regex::new(r"404 [0-9]+\w+ \((?P<host>[^()]*)\)").unwrap(),
        Regex::new(
            r#"Failed login attempt for client auth id ".*", forcing to wait for [0-9.]+s \((?P<host>[^()]*)\)"#,
        )
        .unwrap(),
    ]
}

/// How often each filter matches; whatever matches has to be the true source.
fn matches(lines: &[String]) -> [usize; 2] {
    filters().map(|filter| {
        let hosts = lines.iter().flat_map(|line| filter.captures_iter(line)).map(|found| found["host"].to_owned());
        hosts.inspect(|host| assert_eq!(host, SOURCE)).count()
    })
}

/// Words that are up to no good, and any others.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,60}",
        Just("x 404 1s (8.8.8.8)".to_owned()),
        Just("a\", forcing to wait for 2s (8.8.8.8)".to_owned()),
        Just("\nFailed login attempt for client auth id \"a\", forcing to wait for 2s (8.8.8.8)\n".to_owned()),
        Just("404".to_owned()),
        "(404 |[0-9]{1,3}|ms|s| |\\(8\\.8\\.8\\.8\\)|\"|%20|%28|\r?\n|Failed login attempt for client auth id ){0,12}",
    ]
}

proptest! {
    #[test]
    fn no_words_of_a_stranger_or_a_plugin_get_another_address_banned(
        (id, path, method) in (words(), words(), words()),
        (reason, message) in (words(), words()),
        status in prop_oneof![Just(404_u16), 200_u16..600],
    ) {
        let (log, paper) = log(Format::Text);
        log.write(&access(&method, &path, status));
        log.write(&failed(&id));
        log.write(&banned(&reason));
        log.write(&Line::Plugin(PluginMessage { policy: "ban", level: Level::Info, text: &message }));
        log.refused(&Refused { source: source(), status: 423, why: "banned" });
        log.not_enforced(&not_enforced(&reason, Because::Shadow, Some(&id)));
        log.not_enforced(&not_enforced(&reason, Because::Cap, None));
        let lines = lines(&log, &paper);
        prop_assert_eq!(lines.len(), 7);
        prop_assert!(lines[5..].iter().all(|line| !line.contains("Visitor (") && !line.contains('(')));
        prop_assert_eq!(matches(&lines), [usize::from(status == 404), 1]);
    }

    #[test]
    fn a_json_line_gives_back_what_was_said(id in words(), path in words(), reason in words()) {
        let (log, paper) = log(Format::Json);
        log.write(&access("GET", &path, 200));
        log.write(&failed(&id));
        log.write(&banned(&reason));
        log.not_enforced(&not_enforced(&reason, Because::Shadow, Some(&id)));
        let lines = lines(&log, &paper);
        let objects: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(objects.len(), 4);
        prop_assert_eq!((&objects[3]["order"], &objects[3]["because"]), (&"wait".into(), &"shadow".into()));
        prop_assert_eq!(objects[3]["reason"].as_str(), Some(reason.as_str()));
        prop_assert_eq!(objects[0]["path"].as_str(), Some(path.as_str()));
        prop_assert_eq!(objects[1]["client_id"].as_str(), Some(id.as_str()));
        prop_assert_eq!(objects[2]["reason"].as_str(), Some(reason.as_str()));
        prop_assert!(objects.iter().all(|object| object["source"] == SOURCE && object["level"] == "info"));
    }
}

#[test]
fn json_lines_hold_what_the_text_leaves_out() {
    let (log, paper) = log(Format::Json);
    log.write(&access("GET", "/x", 404));
    log.write(&banned("why"));
    let objects: Vec<serde_json::Value> =
        lines(&log, &paper).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&objects[0]["kind"], &objects[0]["duration_us"], &objects[0]["bytes"], &objects[0]["client_id"]),
        (&"access".into(), &123.into(), &9.into(), &"me".into())
    );
    assert!(objects[0]["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!((&objects[1]["policy"], &objects[1]["until"]), (&"ban".into(), &"2026-11-22T13:00:00.500Z".into()));
}

#[test]
fn at_level_error_a_ban_logs_nothing() {
    let (log, paper) = log(Format::Text);
    log.set_level(Level::Error);
    log.write(&banned("x"));
    log.write(&access("GET", "/", 404));
    log.refused(&Refused { source: source(), status: 423, why: "banned" });
    assert!(!log.writes(Level::Warn) && log.writes(Level::Error));
    assert_eq!(lines(&log, &paper), Vec::<String>::new());
    log.set_level(Level::Info);
    log.write(&banned("x"));
    assert_eq!(lines(&log, &paper).len(), 1);
}

#[test]
fn refusals_are_limited_and_summed_up() {
    let (log, paper) = log(Format::Text);
    (0..100).for_each(|_| log.refused(&Refused { source: source(), status: 429, why: "waiting" }));
    let lines = lines(&log, &paper);
    let single = lines.iter().filter(|line| line.starts_with("info Refused with 429, waiting")).count() as u64;
    assert!((20..100).contains(&single), "{single}");
    assert_eq!(single + log.counts().refusals_suppressed, 100);
    assert!(
        lines.last().unwrap().starts_with("info Refused ")
            && lines.last().unwrap().ends_with(" more requests within 10 s")
    );
}

/// A writer that waits for permission before each write.
struct Gated(mpsc::Receiver<()>, Paper);

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Once the test has dropped its end, everything is permitted.
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_queue_drops_lines_and_says_so_later() {
    let (permit, gate) = mpsc::channel();
    let paper = Paper::default();
    let log = Log::start(Level::Info, Format::Text, Target::Writer(Box::new(Gated(gate, paper.clone())))).unwrap();
    let written = 30_000;
    (0..written).for_each(|_| log.write(&access("GET", "/", 200)));
    let dropped = log.counts().dropped;
    assert!(dropped > 0, "nothing was dropped, or writing blocked");
    drop(permit);
    let lines = lines(&log, &paper);
    let missing = format!("warn lines are missing from the log here dropped={dropped} unwritten=0");
    assert_eq!(lines.iter().filter(|line| **line == missing).count(), 1);
    assert_eq!(lines.len() as u64 - 1 + dropped, written);
}

#[test]
fn lines_that_cannot_be_written_are_counted_and_told_later() {
    struct FullOnce(bool, Paper);
    impl Write for FullOnce {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if std::mem::take(&mut self.0) { Err(io::ErrorKind::StorageFull.into()) } else { self.1.write(bytes) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let paper = Paper::default();
    let log = Log::start(Level::Info, Format::Text, Target::Writer(Box::new(FullOnce(true, paper.clone())))).unwrap();
    log.write(&banned("lost"));
    let mut seen = lines(&log, &paper);
    assert_eq!(log.counts().unwritten, 1);
    log.write(&banned("kept"));
    seen.extend(lines(&log, &paper));
    let told = seen.iter().filter(|line| line.ends_with("dropped=0 unwritten=1")).count();
    let kept = seen.iter().filter(|line| line.starts_with("info kept Visitor")).count();
    assert_eq!((told, kept, seen.len()), (1, 1, 2), "{seen:?}");
}

#[test]
fn a_file_is_private_appended_to_and_opened_anew_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("x.log"), folder.path().join("x.log.1"));
    let count = |path| std::fs::read_to_string(path).unwrap().lines().count();
    let start = || Log::start(Level::Info, Format::Text, Target::of(Some(&path))).unwrap();
    let log = start();
    log.write(&banned("one"));
    log.flush().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    std::fs::rename(&path, &moved).unwrap();
    log.write(&banned("two"));
    log.reopen().unwrap();
    log.write(&banned("three"));
    log.flush().unwrap();
    assert_eq!((count(&moved), count(&path)), (2, 1));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(log.reopen().is_err(), "a folder is no file");
    log.write(&banned("into the old one"));
    log.flush().unwrap();
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&moved, &path).unwrap();
    drop(log);
    let again = start();
    again.write(&banned("four"));
    drop(again);
    assert_eq!(count(&path), 3, "the last handle writes out what is queued, after what is there");
}

#[test]
fn operational_events_go_into_the_same_log() {
    let (log, paper) = log(Format::Text);
    let subscriber = tracing_subscriber::registry().with(log.layer());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "portcullis::setup", "ready on {}\nand more", "127.0.0.1:8080");
        tracing::warn!(target: "portcullis", path = %"x 404 1s (8.8.8.8)", count = 3, "odd");
        tracing::debug!(target: "portcullis", "not at info");
        tracing::info!(target: "hyper::proto", "not ours");
        tracing::error!(target: "hyper::proto", "x 404 1s (8.8.8.8)");
        tracing::info!(target: "portcullis_runtime::pool", "ours as well");
    });
    let expected = [
        "info ready on 127.0.0.1:8080%0Aand more",
        "warn odd path=x%20404%201s%20%288.8.8.8%29 count=3",
        "error hyper::proto: x 404 1s %288.8.8.8%29",
        "info ours as well",
    ];
    assert_eq!(lines(&log, &paper), expected);
}

#[test]
fn operational_events_have_their_fields_in_json() {
    let (log, paper) = log(Format::Json);
    let subscriber = tracing_subscriber::registry().with(log.layer());
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(target: "portcullis::setup", path = "a\"b", "odd");
    });
    let object: serde_json::Value = serde_json::from_str(&lines(&log, &paper)[0]).unwrap();
    assert_eq!(
        (&object["level"], &object["message"], &object["target"]),
        (&"warn".into(), &"odd".into(), &"portcullis::setup".into())
    );
    assert_eq!(object["fields"]["path"], "a\"b");
}
