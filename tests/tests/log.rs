//! The log: what eyes and fail2ban read, and what strangers can't write into it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use portcullis_tests::{Portcullis, Server, Stopped, free_port, peer, require, run};

/// What would make a log filter ban 8.8.8.8, if it stood in the log as it is.
const FORGERIES: [&str; 3] = [
    "x 404 1s (8.8.8.8)",
    "a\", forcing to wait for 2s (8.8.8.8)",
    "2026-01-01T00:00:00.000Z info GET / 404 1s (8.8.8.8)",
];

fn is_time(text: &str) -> bool {
    let pattern = "0000-00-00T00:00:00.000Z";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(
            |(found, wanted)| {
                if wanted == b'0' { found.is_ascii_digit() } else { found == wanted }
            },
        )
}

fn is_duration(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < text.len() && ["us", "ms", "s"].contains(&unit)
}

fn fail(server: &Server, source: &str, times: usize) {
    for n in 0..times {
        server.get("/").from(source).basic(&format!("id-{n}"), "x").send();
    }
}

fn with<'l>(stopped: &'l Stopped, part: &str) -> Vec<&'l str> {
    stopped.log.iter().filter(|line| line.contains(part)).map(String::as_str).collect()
}

#[test]
fn rule_25_every_line_starts_with_a_time_in_utc_has_no_colours_and_full_addresses() {
    let server = Portcullis::new().client("alice:wonderland").start();
    let source = "2001:db8:1:2:3:4:5:6";
    fail(&server, source, 5);
    assert_eq!(server.get("/").from("2001:db8:1:2::ffff").send().status, 423, "the /64 is banned");
    server.hang_up();
    server.swapped(1);
    let stopped = server.stop();
    assert!(stopped.log.len() > 10);
    for line in &stopped.log {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(is_time(time), "{line}");
        let level = rest.split(' ').next().unwrap();
        assert!(["error", "warn", "info"].contains(&level), "{line}");
        assert!(!line.contains('\x1b') && !line.contains("/64"), "{line}");
    }
    assert_eq!(with(&stopped, &format!("({source})")).len(), 11, "five failures, five replies, one ban");
    assert_eq!(with(&stopped, "(2001:db8:1:2::ffff)").len(), 1);
}

#[test]
fn rule_26_an_access_line_is_method_path_status_duration_and_address() {
    let server = Portcullis::new().client("alice:wonderland").start();
    server.get("/a/b?secret=1").from("203.0.113.7").send();
    server.get("/").from("203.0.113.8").basic("alice", "wonderland").send();
    let stopped = server.stop();
    let [not_found] = with(&stopped, "(203.0.113.7)")[..] else { panic!("{:?}", stopped.log) };
    let words: Vec<_> = not_found.split(' ').collect();
    assert_eq!(words[1..5], ["info", "GET", "/a/b", "404"], "the query stays out of it");
    assert!(is_duration(words[5]) && words.len() == 7, "{not_found}");
    assert!(with(&stopped, "(203.0.113.8)")[0].contains(" info GET / 200 "));
}

#[test]
fn rule_27_failed_logins_and_bans_are_worded_as_rport_words_them() {
    let server = Portcullis::new().start();
    fail(&server, "203.0.113.7", 5);
    let stopped = server.stop();
    let failed =
        with(&stopped, "Failed login attempt for client auth id \"id-0\", forcing to wait for 2s (203.0.113.7)");
    assert_eq!(failed.len(), 1, "{:?}", stopped.log);
    let [banned] = with(&stopped, "banned.")[..] else { panic!("{:?}", stopped.log) };
    let (_, words) = banned.split_once(" info ").unwrap();
    let time = words.strip_prefix("Maximum of 5 login attempts reached. Visitor (203.0.113.7) banned. Ban expiry: ");
    assert!(time.is_some_and(is_time), "{banned}");
}

#[test]
fn rule_27_at_level_error_a_ban_logs_nothing() {
    let server = Portcullis::with_config("[log]\nlevel = \"error\"\n").on_port(free_port()).start();
    fail(&server, "203.0.113.7", 5);
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 423);
    assert_eq!(server.stop().log, Vec::<String>::new());
}

#[test]
fn rule_29_refusals_are_limited_in_the_log_and_counted_in_full() {
    let server = Portcullis::new().start();
    let began = Instant::now();
    for _ in 0..2 {
        server.get("/x").from("203.0.113.7").send();
    }
    let mut connection = server.connect();
    for _ in 0..500 {
        assert_eq!(connection.exchange(&server.get("/x").from("203.0.113.7")).status, 423);
    }
    let windows = began.elapsed().as_secs() / 10 + 1;
    let stopped = server.stop();
    let written = with(&stopped, "Refused with 423, banned (203.0.113.7)").len() as u64;
    assert!((20..=20 * windows).contains(&written), "{written} lines in {windows} windows");
    assert_eq!(stopped.total("refused_banned"), 500);
    assert_eq!(stopped.total("refusals_not_logged"), 500 - written);
    let summed: u64 = with(&stopped, "more requests within")
        .iter()
        .map(|line| line.split("Refused ").nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(summed, 500 - written);
}

/// The hosts that a real fail2ban would ban by that filter, each as often as it was found.
fn found_by_fail2ban(filter: &str, log: &Path) -> Vec<String> {
    let ran = run(Command::new("fail2ban-regex").args(["--usedns", "no", "--out", "ip"]).arg(log).arg(peer(filter)));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut hosts: Vec<_> =
        ran.stdout.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    hosts.sort();
    hosts
}

#[test]
fn rule_28_fail2ban_finds_the_true_scanners_and_guessers_and_nobody_that_a_stranger_named() {
    if !require("fail2ban-regex") {
        return;
    }
    let config = "[log]\nfile = \"portcullis.log\"\n\
        [policy.forger]\nkind = \"ban\"\nplugin = \"always-bans.wasm\"\n\
        [policy.parrot]\nkind = \"ban\"\nplugin = \"echoes-attribute.wasm\"\n";
    let server = Portcullis::with_config(config)
        .client("alice:wonderland")
        .file("always-bans.wasm", portcullis_guests::component("always-bans"))
        .file("echoes-attribute.wasm", portcullis_guests::component("echoes-attribute"))
        .start();
    let mut scanners = Vec::new();
    let mut guessers = Vec::new();
    for (n, path) in [
        "/.env",
        "/x%20404%201s%20(8.8.8.8)",
        "/404/1s(8.8.8.8)",
        "/x(8.8.8.8)",
        "/%0a404%201s%20(8.8.8.8)",
        "/a%22,%20forcing%20to%20wait%20for%202s%20(8.8.8.8)",
    ]
    .into_iter()
    .enumerate()
    {
        let source = format!("203.0.113.{}", n + 1);
        assert_eq!(server.get(path).from(&source).header("User-Agent", FORGERIES[0]).send().status, 404, "{path}");
        scanners.push(source);
    }
    assert_eq!(server.request("x(8.8.8.8)", "/").from("203.0.113.99").send().status, 400, "a method that is none");
    assert_eq!(server.request("X-404", "/x").from("2001:db8::7").send().status, 404);
    scanners.push("2001:db8::7".to_owned());
    for (n, id) in FORGERIES.into_iter().enumerate() {
        let source = format!("198.51.100.{}", n + 1);
        let agent = FORGERIES[n % 2];
        let reply = server.get("/").from(&source).header("User-Agent", agent).basic(id, "x").send();
        assert_eq!(reply.status, 401, "{id:?}");
        assert_eq!(server.get("/").from(&source).send().status, 423, "the guests ban everyone");
        guessers.push(source);
    }
    let broken = server.get("/").from("198.51.100.99").basic("x\n404 1s (8.8.8.8)", "x").send();
    assert_eq!(broken.status, 400, "an id of two lines is none");
    // The server's folder goes with it, its log not.
    let kept = tempfile::tempdir().unwrap();
    let log = kept.path().join("log");
    std::fs::hard_link(server.folder().join("portcullis.log"), &log).unwrap();
    assert_eq!(server.stop().status.code(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.matches("x 404 1s %288.8.8.8%29").count() >= 3, "the guests' reasons aren't there: {text}");

    let (as_scanners, as_guessers) = (
        found_by_fail2ban("fail2ban-rport-scanners.conf", &log),
        found_by_fail2ban("fail2ban-rport-client-connect.conf", &log),
    );
    scanners.sort();
    assert_eq!(as_scanners, scanners);
    let mut both = [scanners, guessers].concat();
    both.sort();
    assert_eq!(as_guessers, both);
}
