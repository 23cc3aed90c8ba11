//! Guests that misbehave, each as a policy of the real server, which serves on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;

use portcullis_guests::component;
use portcullis_tests::{Portcullis, Server, portcullis, run};

/// Refused before they are anything's plugin, with these words among the reasons.
const REFUSED_AT_LOAD: &[(&str, &str)] = &[
    ("core-module", "a core module, where a component is needed: wrap it with `wasm-tools component new`"),
    ("imports-sockets", "imports `wasi:sockets/"),
    ("other-types", "its interface is not that of portcullis:policy@0.1.0"),
    ("other-version", "made for version 0.9.0 of portcullis:policy, where this host speaks 0.1.0"),
    ("other-world", "no policy: it has to export `portcullis:policy/plugin`"),
    ("random-bytes", "not WebAssembly"),
    ("spins-in-start", "it ran past its deadline"),
    ("too-large", "where a plugin has at most"),
    ("traps-in-start", "it could not describe itself: "),
    ("truncated", "cut short after"),
];

/// Refused when they are to be configured.
const REFUSED_AT_CONFIGURE: &[(&str, &str)] = &[
    ("aliased-list", "it handed over too much"),
    ("refuses-settings", "too short"),
    ("spins-in-configure", "it ran past its deadline"),
];

/// Fail when they judge a failed attempt, with that cause.
const FAILS: &[(&str, &str)] = &[
    ("answers-error", "it answered with an error"),
    ("calls-a-clock", "it called an import that isn"),
    ("grows-memory", "it wanted more memory than its limit"),
    ("huge-tables", "it wanted more memory than its limit"),
    ("large-state", "its answer makes no sense"),
    ("no-text", "it handed over too much"),
    ("odd-reason-code", "its answer makes no sense"),
    ("recurses-without-end", "it trapped"),
    ("returns-megabytes", "it handed over too much"),
    ("spins-in-judge", "it ran past its deadline"),
    ("spins-in-realloc", "it ran past its deadline"),
    ("traps-always", "it trapped"),
    ("two-memories", "it wanted more memory than its limit"),
    ("writes-to-stdout", "it called an import that isn"),
];

/// A policy of that guest beside the default ones.
fn policy(guest: &str, kind: &str, rest: &str) -> String {
    format!("[policy.{guest}]\nkind = \"{kind}\"\nplugin = \"{guest}.wasm\"\n{rest}\n")
}

fn with_guest(guest: &str, config: &str) -> Server {
    Portcullis::with_config(config).client("alice:wonderland").file(&format!("{guest}.wasm"), component(guest)).start()
}

/// One failed login from there, as somebody new.
fn fail(server: &Server, source: &str, n: usize) -> u16 {
    server.get("/").from(source).basic(&format!("{source}-{n}"), "x").send().status
}

fn bans_at_the_fifth(server: &Server, source: &str) {
    let statuses: Vec<_> = (0..6).map(|n| fail(server, source, n)).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 423]);
}

#[test]
fn a_file_that_is_no_plugin_is_refused_by_inspect_and_check_with_a_reason() {
    for (guest, why) in REFUSED_AT_LOAD {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("guest.wasm");
        std::fs::write(&file, component(guest)).unwrap();
        let inspected = run(Command::new(portcullis()).arg("inspect").arg(&file));
        assert_eq!((inspected.code, inspected.stdout.as_str()), (Some(2), ""), "{guest}: {inspected:?}");
        assert!(inspected.stderr.contains(why), "{guest}: {inspected:?}");
    }
    for (guest, why) in REFUSED_AT_LOAD.iter().chain(REFUSED_AT_CONFIGURE) {
        let config = Portcullis::with_config(&policy(guest, "ban", ""));
        let checked = config.file(&format!("{guest}.wasm"), component(guest)).check();
        assert_eq!(checked.code, Some(2), "{guest}: {checked:?}");
        let place = format!("policy.{guest}.");
        assert!(checked.stderr.contains(why) && checked.stderr.contains(&place), "{guest}: {checked:?}");
    }
}

#[test]
fn a_running_server_keeps_its_old_plugin_when_the_new_one_is_refused() {
    let config = "[policy.mine]\nkind = \"ban\"\nplugin = \"mine.wasm\"\n";
    let server = Portcullis::with_config(config).file("mine.wasm", component("counts-failures")).start();
    let mut reasons = 0;
    for (n, (guest, why)) in REFUSED_AT_LOAD.iter().chain(REFUSED_AT_CONFIGURE).enumerate() {
        server.replace("mine.wasm", component(guest));
        server.logged_times(n + 1, "what ran before goes on running");
        // One line for each reason.
        let told = server.reasons().split_off(reasons);
        assert!(told.iter().any(|line| line.contains(why)), "{guest}: {told:?}");
        reasons += told.len();
        let source = format!("203.0.113.{}", n + 1);
        let statuses: Vec<_> = (0..4).map(|n| fail(&server, &source, n)).collect();
        assert_eq!(statuses, [401, 401, 401, 423], "{guest}: the old one bans at the third failure");
    }
    assert_eq!(server.swaps(), 0);
    assert_eq!(server.stop().status.code(), Some(0));
}

#[test]
fn rule_17_a_dozen_guests_that_fail_stop_neither_the_server_nor_the_other_policies() {
    let config: String = FAILS.iter().map(|(guest, _)| policy(guest, "ban", "on_failure = \"allow\"")).collect();
    let start = Portcullis::with_config(&config).client("alice:wonderland");
    let server =
        FAILS.iter().fold(start, |start, (guest, _)| start.file(&format!("{guest}.wasm"), component(guest))).start();
    bans_at_the_fifth(&server, "203.0.113.7");
    assert_eq!(server.get("/").from("203.0.113.8").basic("alice", "wonderland").send().status, 200);
    let stopped = server.stop();
    assert_eq!(stopped.status.code(), Some(0));
    for (guest, why) in FAILS {
        let why = why.replace(' ', "%20");
        let told = stopped
            .log
            .iter()
            .any(|line| line.contains(&format!("policy {guest}: its plugin failed (First)")) && line.contains(&why));
        assert!(told, "{guest} for {why}: {:?}", stopped.log);
        assert!(stopped.of_policy(guest, "failures") >= 10, "{guest}: five events, two tries each");
    }
}

#[test]
fn orders_out_of_all_bounds_are_cut() {
    let config = policy("extreme-bans", "ban", "") + "[gate]\nmax_ban = \"10m\"\n[policy.wait]\nenabled = false\n";
    let server = with_guest("extreme-bans", &config);
    assert_eq!(server.get("/").from("203.0.113.7").basic("alice", "wonderland").send().status, 200, "a ban of no time");
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 401);
    assert_eq!(fail(&server, "203.0.113.7", 0), 401);
    let banned = server.get("/").from("203.0.113.7").send();
    assert!(banned.status == 423 && (500..=600).contains(&banned.retry_after()), "{banned:?}");
    assert_eq!(server.get("/").from("203.0.113.8").send().status, 401, "a network of 200 bits is one address");

    let server = with_guest("extreme-waits", &policy("extreme-waits", "wait", ""));
    assert_eq!(server.get("/").from("203.0.113.7").basic("bob", "x").send().status, 401);
    server.logged("for client auth id \"bob\", forcing to wait for 3600s (203.0.113.7)");
    let waiting = server.get("/").from("203.0.113.7").basic("bob", "x").send();
    assert!(waiting.status == 429 && (3500..=3600).contains(&waiting.retry_after()), "{waiting:?}");
}

#[test]
fn a_flood_of_log_lines_is_bounded() {
    let server = with_guest("floods-log", &policy("floods-log", "ban", ""));
    bans_at_the_fifth(&server, "203.0.113.7");
    let stopped = server.stop();
    let lines = stopped.log.iter().filter(|line| line.contains("Policy floods-log says: ")).count();
    assert!((1..200).contains(&lines), "{lines} lines");
    assert!(stopped.of_policy("floods-log", "log_lines_dropped") > 20_000);
    assert_eq!(stopped.of_policy("floods-log", "failures"), 0);
}

#[test]
fn a_guest_that_falls_over_now_and_then_is_rescued_by_a_new_instance() {
    let guest = "traps-every-third-call";
    let others = "[policy.wait]\nenabled = false\n[policy.ban]\nenabled = false\n[listen]\nworkers = 2\n";
    let server = with_guest(guest, &(policy(guest, "ban", "on_failure = \"deny\"") + others));
    for n in 0..20 {
        // Fewer sources than it takes for a quarantine.
        assert_eq!(fail(&server, &format!("203.0.113.{}", n % 4 + 1), n), 401);
    }
    let stopped = server.stop();
    let failures = stopped.of_policy(guest, "failures");
    assert!(failures > 0);
    assert_eq!((stopped.of_policy(guest, "recovered"), stopped.total("denied")), (failures, 0));
}

#[test]
fn a_guest_that_remembers_by_itself_is_borne() {
    // On many cores nobody would come third to an instance.
    let server = with_guest("hidden-state", &policy("hidden-state", "ban", "[listen]\nworkers = 2\n"));
    for n in 0..20 {
        assert_eq!(fail(&server, &format!("203.0.113.{}", n + 1), n), 401);
    }
    let stopped = server.stop();
    assert_eq!(stopped.of_policy("hidden-state", "failures"), 0);
    assert!(stopped.total("bans") > 10, "whoever comes third to an instance, whatever they did");
}

#[test]
fn rule_21_when_the_plugin_fails_the_bundles_steps_in_with_its_own_settings() {
    let config = "[policy.ban]\nplugin = \"traps-always.wasm\"\nfallback_settings = { max_failed_login = 2 }\n";
    let server = with_guest("traps-always", config);
    let statuses: Vec<_> = (0..3).map(|n| fail(&server, "203.0.113.7", n)).collect();
    assert_eq!(statuses, [401, 401, 423]);
    server.logged("Maximum of 2 login attempts reached. Visitor (203.0.113.7) banned.");
    server.logged("policy ban: its plugin failed (First) why=it%20trapped");
    server.logged("policy ban: its plugin failed (Fresh) why=it%20trapped");
    server.logged("policy ban: its plugin can't judge, on_failure: Bundle");
    assert_eq!(server.stop().of_policy("ban", "fallbacks"), 2);
}

#[test]
fn rule_21_the_bundle_is_not_doubled_where_another_policy_runs_it_already() {
    let server =
        with_guest("traps-always", &policy("traps-always", "ban", "fallback_settings = { max_failed_login = 2 }"));
    bans_at_the_fifth(&server, "203.0.113.7");
    server.logged("policy traps-always: its plugin can't judge, on_failure: BundleRunsAlready");
    assert_eq!(server.stop().total("bans"), 1);
}

#[test]
fn rule_21_deny_is_a_503_and_nobody_is_authenticated() {
    let server = with_guest("traps-always", &policy("traps-always", "ban", "on_failure = \"deny\""));
    for _ in 0..2 {
        let denied = server.get("/").from("203.0.113.7").basic("alice", "wonderland").send();
        assert_eq!((denied.status, denied.text()), (503, "503 Service Unavailable\n"));
    }
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 401, "what is no attempt isn't judged");
    let stopped = server.stop();
    assert_eq!((stopped.total("denied"), stopped.total("verified")), (2, 0));
}

#[test]
fn rule_21_allow_is_as_if_it_had_said_pass() {
    let config = "[policy.ban]\nplugin = \"traps-always.wasm\"\non_failure = \"allow\"\n";
    let server = with_guest("traps-always", config);
    let statuses: Vec<_> = (0..8).map(|n| fail(&server, "203.0.113.7", n)).collect();
    assert_eq!(statuses, [401; 8]);
    assert_eq!(server.get("/").from("203.0.113.7").basic("alice", "wonderland").send().status, 200);
}

const POISONED: &str = "[policy.scanner]\nplugin = \"traps-on-one-path.wasm\"\non_failure = \"allow\"\n";
const QUARANTINED: &str = "policy scanner: its plugin fails for many sources and isn't called for 30 s";

#[test]
fn rule_22_one_strangers_poisonous_path_switches_no_policy_off() {
    let server = with_guest("traps-on-one-path", POISONED);
    for n in 0..60 {
        assert_eq!(server.get("/poison").from("203.0.113.7").send().status, 404);
        assert_eq!(server.get("/fine").from(&format!("198.51.100.{}", n % 20 + 1)).send().status, 404);
    }
    let stopped = server.stop();
    assert_eq!((stopped.of_policy("scanner", "fallbacks"), stopped.of_policy("scanner", "quarantines")), (60, 0));
}

#[test]
fn rule_22_a_plugin_that_fails_for_many_sources_is_left_alone_for_a_while() {
    let server = with_guest("traps-on-one-path", POISONED);
    for n in 1..=4 {
        assert_eq!(server.get("/poison").from(&format!("203.0.113.{n}")).send().status, 404);
    }
    assert!(server.log_with(QUARANTINED).is_empty());
    assert_eq!(server.get("/poison").from("203.0.113.5").send().status, 404);
    server.logged(QUARANTINED);
    for n in 6..=20 {
        assert_eq!(server.get("/poison").from(&format!("203.0.113.{n}")).send().status, 404);
    }
    let stopped = server.stop();
    assert_eq!(stopped.of_policy("scanner", "quarantines"), 1);
    assert_eq!(stopped.of_policy("scanner", "fallbacks"), 20);
    // Sixteen of these came while nobody called it, unless this took longer than the quarantine.
    assert!(stopped.of_policy("scanner", "failures") < 40);
}
