//! What can be changed while the server runs, and what a bad change does: nothing.
//!
//! `PORTCULLIS_SWAPS=10000 cargo test -p portcullis-tests --test swap -- swaps_without_end --nocapture`
//! swaps 10,000 times instead of 500, and prints what the process took of memory meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use portcullis_tests::{Answer, Backend, Load, Nginx, Portcullis, Server, repository, require};

fn bundled(name: &str) -> Vec<u8> {
    std::fs::read(repository().join("plugins/bundle").join(name)).unwrap()
}

fn strict_ban() -> Vec<u8> {
    std::fs::read(repository().join("plugins/examples/bundle/strict-ban.wasm")).unwrap()
}

const POLICY: &str = "[policy.wait]\nenabled = false\n[policy.ban]\nplugin = \"policy.wasm\"\n";

/// Lets a source fail so many times, each time as somebody else.
fn fail(server: &Server, source: &str, times: usize) -> Vec<u16> {
    let mut connection = server.connect();
    let guess = |n: usize| server.get("/login").from(source).basic(&format!("{source}-{n}"), "x");
    (0..times).map(|n| connection.exchange(&guess(n)).status).collect()
}

#[test]
fn a_policy_is_replaced_under_full_load_and_no_request_fails() {
    if !require("nginx") || !require("wrk") {
        return;
    }
    let nginx = Nginx::start();
    let server =
        Portcullis::with_config(POLICY).file("policy.wasm", bundled("ban.wasm")).upstream(&nginx.url()).start();
    assert_eq!(fail(&server, "203.0.113.1", 3), [401; 3]);
    let load = Load::start(&server.url("/"), 32);

    server.replace("policy.wasm", strict_ban());
    server.swapped(1);
    assert_eq!(fail(&server, "203.0.113.2", 3), [401, 401, 423]);
    server.logged("Failed login number 2. Visitor (203.0.113.2) banned.");

    server.configure(&format!("{POLICY}settings = {{ limit = 3 }}\n"));
    server.swapped(2);
    assert_eq!(fail(&server, "203.0.113.3", 4), [401, 401, 401, 423]);

    server.replace("policy.wasm", "not a plugin");
    server.logged("what ran before goes on running");
    assert_eq!(fail(&server, "203.0.113.4", 4), [401, 401, 401, 423]);

    server.replace("policy.wasm", strict_ban());
    server.swapped(3);
    server.configure(&format!("{POLICY}settings = {{ limit = 1 }}\n"));
    server.swapped(4);
    server.hang_up();
    server.swapped(5);
    assert_eq!(fail(&server, "203.0.113.5", 2)[0], 401);
    assert_eq!(server.get("/").from("203.0.113.5").send().status, 423);

    let loaded = load.stop();
    assert!(loaded.requests > 0 && loaded.complaints.is_empty(), "{loaded:?}");
}

/// The bundle's ban policy again and again: the same code, and another plugin each time.
fn variant(number: u8) -> Vec<u8> {
    // A custom section called "v" with one byte in it.
    [bundled("ban.wasm"), vec![0, 3, 1, b'v', number]].concat()
}

/// How often is swapped: 500 times, or as the environment says.
fn swaps_wanted() -> usize {
    std::env::var("PORTCULLIS_SWAPS").map_or(500, |times| times.parse().expect("a number in PORTCULLIS_SWAPS"))
}

#[test]
fn swaps_without_end_under_load_lose_no_count_fail_no_request_and_take_no_memory() {
    if !require("nginx") || !require("wrk") {
        return;
    }
    let swaps = swaps_wanted();
    let config = |settings: usize| {
        format!(
            "[policy.wait]\nenabled = false\n[policy.ban]\nplugin = \"policy.wasm\"\nsettings = {{ ban_time = {settings} }}\n[log]\nlevel = \"error\"\n"
        )
    };
    let nginx = Nginx::start();
    // At level error it doesn't say where it listens.
    let server = Portcullis::with_config(&config(3600))
        .file("policy.wasm", variant(0))
        .upstream(&nginx.url())
        .on_port(portcullis_tests::free_port())
        .start();
    let in_force_since = || {
        let status: serde_json::Value = serde_json::from_str(&server.administration("/v1/status")).unwrap();
        status["in_force_since"].clone()
    };
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count();
    let load = Load::start(&server.url("/"), 16);
    let mut connection = server.connect();
    let (mut curve, mut since) = (Vec::new(), in_force_since());
    let mut descriptors_at_first = 0;
    for swap in 1..=swaps {
        // A plugin, its settings, a plugin, ...
        match swap % 2 {
            0 => server.configure(&config(3600 + swap % 8)),
            _ => server.replace("policy.wasm", variant(u8::try_from(swap / 2 % 4).unwrap())),
        }
        since = portcullis_tests::eventually("the swap", || Some(in_force_since()).filter(|now| *now != since));
        // Each source fails once between two swaps, and is banned at the fifth.
        let group = swap / 5;
        let source = format!("10.{}.{}.{}", group >> 16 & 255, group >> 8 & 255, group & 255);
        let guess = server.get("/login").from(&source).basic(&format!("id-{swap}"), "x");
        assert_eq!(connection.exchange(&guess).status, 401, "swap {swap}, failure {} of {source}", swap % 5 + 1);
        if swap % 5 == 4 && swap > 5 {
            assert_eq!(connection.exchange(&guess).status, 423, "swap {swap}: {source} has failed five times");
        }
        if swap == swaps / 10 {
            descriptors_at_first = descriptors();
        }
        if swap % (swaps / 50).max(1) == 0 {
            let resident = server.resident();
            println!("after {swap:5} swaps {:7.1} MiB", resident as f64 / f64::from(1 << 20));
            curve.push((swap, resident));
        }
    }
    let loaded = load.stop();
    println!("{} requests of the load, complaints: {:?}", loaded.requests, loaded.complaints);
    assert!(loaded.requests > 0 && loaded.complaints.is_empty(), "{loaded:?}");
    assert!(
        descriptors() <= descriptors_at_first + 8,
        "{} descriptors, {descriptors_at_first} at first",
        descriptors()
    );
    // The first tenth warms up; from then on nothing grows but what is kept of sources.
    let median = |part: &[(usize, u64)]| {
        let mut residents: Vec<u64> = part.iter().map(|(_, resident)| *resident).collect();
        residents.sort_unstable();
        residents[residents.len() / 2]
    };
    let warm = &curve[curve.len() / 10..];
    let (early, late) = (median(&warm[..warm.len() / 4]), median(&warm[warm.len() * 3 / 4..]));
    assert!(late <= early + early / 10 + (8 << 20), "it grew from {early} to {late} bytes: {curve:?}");
}

#[test]
fn rule_19_counts_survive_a_swap_to_a_plugin_of_the_same_state_format() {
    let server = Portcullis::with_config(POLICY).file("policy.wasm", bundled("ban.wasm")).start();
    let fail = |source: &str| server.get("/").from(source).basic(source, "x").send().status;
    for _ in 0..4 {
        assert_eq!(fail("203.0.113.7"), 401);
    }
    // The same format by other settings: four failures are known, and it takes one more.
    server.configure(&format!("{POLICY}settings = {{ ban_time = 60 }}\n"));
    server.swapped(1);
    assert_eq!(fail("203.0.113.7"), 401);
    let banned = server.get("/").from("203.0.113.7").send();
    assert!(banned.status == 423 && (50..=60).contains(&banned.retry_after()), "{banned:?}");

    for _ in 0..4 {
        assert_eq!(fail("203.0.113.8"), 401);
    }
    // Another format starts from nothing, and the ban stays.
    server.replace("policy.wasm", strict_ban());
    server.swapped(2);
    let statuses: Vec<_> = (0..3).map(|_| fail("203.0.113.8")).collect();
    assert_eq!(statuses, [401, 401, 423]);
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 423);
}

#[test]
fn a_bad_change_is_refused_with_the_reason_and_what_ran_goes_on() {
    let server = Portcullis::with_config(POLICY).file("policy.wasm", bundled("ban.wasm")).start();
    let mut refusals = 0;
    let mut refused = |why: &str, swaps: usize| {
        refusals += 1;
        server.logged_times(refusals, "what ran before goes on running");
        let reasons = server.reasons();
        assert!(reasons.last().is_some_and(|reason| reason.contains(why)), "{why:?} isn't in {reasons:?}");
        assert_eq!(server.swaps(), swaps);
        let source = format!("203.0.113.{refusals}");
        assert_eq!(fail(&server, &source, 1), [404], "no upstream: it is the path that isn't there");
        let statuses: Vec<_> =
            (0..6).map(|n| server.get("/").from(&source).basic(&format!("{source}-{n}"), "x").send().status).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 423]);
    };
    server.replace("policy.wasm", &bundled("ban.wasm")[..5000]);
    refused("cut short after 5000 bytes", 0);
    server.replace("policy.wasm", bundled("wait.wasm"));
    refused("policy.ban", 0);
    server.replace("policy.wasm", bundled("ban.wasm"));
    server.swapped(1);
    server.configure(&POLICY.replace("plugin", "plugni"));
    refused("did you mean policy.ban.plugin?", 1);
    server.configure(&format!("{POLICY}settings = {{ max_failed_login = -1 }}\n"));
    refused("max_failed_login", 1);
    server.configure("no TOML at all");
    refused("portcullis.toml:1", 1);
    server.configure(&format!("{POLICY}settings = {{ max_failed_login = 1 }}\n"));
    server.swapped(2);
    assert_eq!(server.get("/").from("198.51.100.1").basic("x", "x").send().status, 401);
    assert_eq!(server.get("/").from("198.51.100.1").send().status, 423);
}

#[test]
fn rule_8_a_changed_credentials_file_is_read_anew_and_nobody_is_verified_any_longer() {
    let config = "[auth]\nfile = \"clients.json\"\n[policy.wait]\nsettings = { client_login_wait = 6 }\n";
    let server = Portcullis::with_config(config).file("clients.json", r#"{"alice":"old"}"#).start();
    let login = |source: &str, secret: &str| server.get("/").from(source).basic("alice", secret).send().status;
    assert_eq!((login("203.0.113.7", "old"), login("203.0.113.7", "old")), (200, 200));
    server.replace("clients.json", r#"{"alice":"new"}"#);
    server.swapped(1);
    assert_eq!(login("203.0.113.7", "old"), 401);
    server.replace("clients.json", "{");
    server.logged("what ran before goes on running");
    server.logged("not put in force");
    assert_eq!(login("203.0.113.8", "new"), 429, "the failure before is remembered, and so are the credentials");
    portcullis_tests::eventually("the wait is over", || {
        Some(login("203.0.113.8", "new")).filter(|status| *status != 429)
    });
    assert_eq!(login("203.0.113.8", "new"), 200);
}

#[test]
fn another_service_behind_and_another_level_are_put_in_force_and_another_address_is_not() {
    let (one, other) =
        (Backend::start(|_| Answer::status(200).body("one")), Backend::start(|_| Answer::status(200).body("other")));
    let server = Portcullis::with_config(&format!("[upstream]\nurl = \"{}\"\n", one.url())).start();
    assert_eq!(server.get("/").send().text(), "one");
    server.configure(&format!("[upstream]\nurl = \"{}\"\n[listen]\nidle_timeout = \"10s\"\n", other.url()));
    server.swapped(1);
    assert_eq!(server.get("/").send().text(), "other");
    server.logged("listen.idle_timeout has changed and takes effect at the next start");
    assert_eq!(server.stop().status.code(), Some(0));
}
