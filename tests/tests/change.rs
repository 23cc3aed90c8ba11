//! Changes without fear: a policy is tried in shadow, a policy gone wild bans
//! nobody for long, and who comes to be never banned is let in (rules 32 to 38).

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;

use portcullis_tests::{Portcullis, Ran, Server, portcullis, run};
use serde_json::Value;

/// One policy bans at the second failure, and nobody waits.
fn bans_at_two(name: &str, rest: &str) -> String {
    format!("[policy.{name}]\nkind = \"ban\"\nplugin = \"bundle:ban\"\nsettings = {{ max_failed_login = 2 }}\n{rest}")
}

const NO_WAIT: &str = "[policy.wait]\nenabled = false\n";

/// Runs a command against that server's socket.
fn operate(server: &Server, arguments: &[&str]) -> Ran {
    run(Command::new(portcullis()).args(arguments).arg("--socket").arg(server.admin_socket()))
}

/// What it came to, which has to be all right, as text.
#[track_caller]
fn text(server: &Server, arguments: &[&str]) -> String {
    let ran = operate(server, arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.stdout
}

#[track_caller]
fn json(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&text(server, &[arguments, &["--json"]].concat())).unwrap()
}

fn fail(server: &Server, source: &str) -> u16 {
    server.get("/").from(source).basic(&format!("id-of-{source}"), "x").send().status
}

fn log_in(server: &Server, source: &str) -> u16 {
    server.get("/").from(source).basic("alice", "wonderland").send().status
}

#[test]
fn rule_32_a_policy_is_tried_in_shadow_and_put_in_force_with_what_it_has_kept() {
    let with = |mode: &str| format!("{NO_WAIT}{}", bans_at_two("strict", &format!("mode = \"{mode}\"\n")));
    let server = Portcullis::with_config(&with("shadow")).client("alice:wonderland").start();
    assert!(server.logged("policy strict runs bundle").contains("), in shadow"));
    assert_eq!([fail(&server, "203.0.113.7"), fail(&server, "203.0.113.7")], [401, 401]);
    let line = server.logged("Policy strict in shadow would ban 203.0.113.7 for 3600s: Maximum of 2 login attempts");
    assert!(!line.contains('('), "{line}");
    assert_eq!(log_in(&server, "203.0.113.7"), 200, "nothing is enforced");
    // The enforcing one bans at five; the new one would have had the rest refused.
    (0..4).for_each(|_| assert_eq!(fail(&server, "203.0.113.8"), 401));
    assert_eq!([fail(&server, "203.0.113.8"), fail(&server, "203.0.113.8")], [401, 423]);

    let report = json(&server, &["shadow", "report", "strict"]);
    let strict = &report["policies"][0];
    assert_eq!((&strict["newly_subjects"], &strict["newly_logged_in"]), (&1.into(), &1.into()), "{report}");
    assert_eq!((&strict["both"], &strict["no_longer_subjects"]), (&1.into(), &0.into()), "{report}");
    let newly = &strict["newly"][0];
    assert_eq!((&newly["source"], &newly["logins_refused"]), (&"203.0.113.7/32".into(), &1.into()));
    assert_eq!(newly["reason"]["text"], "Maximum of 2 login attempts reached.");
    let table = text(&server, &["shadow", "report"]);
    assert!(table.contains("would newly ban: 1, 1 of which logged in afterwards"), "{table}");
    assert!(table.contains("203.0.113.7/32"), "{table}");

    assert!(text(&server, &["shadow", "reset", "strict"]).contains("begins anew"));
    assert_eq!(json(&server, &["shadow", "report"])["policies"][0]["judged"], 0);
    for (wrong, why) in [("ban", "what it orders is enforced"), ("stritc", "there are: strict")] {
        let ran = operate(&server, &["shadow", "reset", wrong]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(why), "{ran:?}");
    }

    assert_eq!(fail(&server, "203.0.113.9"), 401);
    server.configure(&with("enforce"));
    server.swapped(1);
    assert_eq!([fail(&server, "203.0.113.9"), fail(&server, "203.0.113.9")], [401, 423], "one was counted in shadow");
    assert!(text(&server, &["shadow", "report"]).contains("no policy is in shadow"));
}

#[test]
fn rule_32_a_shadow_policy_that_fails_denies_nobody() {
    let config = "[policy.tried]\nkind = \"ban\"\nplugin = \"guest.wasm\"\non_failure = \"deny\"\nmode = \"shadow\"\n";
    let guest = portcullis_guests::component("traps-always");
    let server = Portcullis::with_config(config).file("guest.wasm", guest).client("alice:wonderland").start();
    for n in 0..3 {
        assert_eq!(log_in(&server, &format!("203.0.113.{n}")), 200);
        assert_eq!(fail(&server, &format!("198.51.100.{n}")), 401);
    }
    server.logged("policy tried: its plugin failed");
    let report = json(&server, &["shadow", "report"]);
    assert_eq!(report["policies"][0]["failed"], 6, "{report}");
}

#[test]
fn rule_33_a_policy_gone_wild_is_told_loudly_and_enforced_again_when_it_is_trusted() {
    let config =
        format!("{NO_WAIT}[policy.ban]\nsettings = {{ max_failed_login = 1 }}\n[guard]\nmax_bans_per_minute = 2\n");
    let server = Portcullis::with_config(&config).start();
    for n in 1..=4 {
        assert_eq!(fail(&server, &format!("203.0.113.{n}")), 401);
    }
    let statuses: Vec<_> = (1..=4).map(|n| server.get("/").from(&format!("203.0.113.{n}")).send().status).collect();
    assert_eq!(statuses, [423, 423, 401, 401]);
    server.logged("error policy ban: more bans in a minute than guard.max_bans_per_minute allows");
    server.logged_times(2, "Policy ban over its cap doesn't ban 203.0.113.");
    let ban = |status: &Value| status["policies"].as_array().unwrap()[0].clone();
    let tripped = ban(&json(&server, &["status"]))["health"]["tripped"].clone();
    assert_eq!(tripped["not_enforced"], 2, "{tripped}");
    assert!(text(&server, &["status", "ban"]).contains("over guard.max_bans_per_minute since"));

    assert!(text(&server, &["guard", "reset", "ban"]).contains("enforced again"));
    server.logged("policy ban: trusted again, by hand");
    assert!(ban(&json(&server, &["status"]))["health"]["tripped"].is_null());
    assert_eq!(fail(&server, "203.0.113.5"), 401);
    assert_eq!(server.get("/").from("203.0.113.5").send().status, 423);
    assert!(text(&server, &["guard", "reset", "ban"]).contains("all along"));
    assert_eq!(operate(&server, &["guard", "reset", "nobody"]).code, Some(1));
    let stopped = server.stop();
    assert_eq!((stopped.total("bans_log_only"), stopped.total("guard_trips")), (2, 1));
}

#[test]
fn rule_34_who_comes_to_be_never_banned_is_let_in_at_once() {
    let bans = format!("{NO_WAIT}[policy.ban]\nsettings = {{ max_failed_login = 1 }}\n");
    let proxies = "trusted_proxies = [\"127.0.0.0/8\"]";
    let server = Portcullis::with_config(&format!("{bans}[source]\n{proxies}\n")).client("alice:wonderland").start();
    for source in ["203.0.113.7", "198.51.100.1"] {
        assert_eq!([fail(&server, source), fail(&server, source)], [401, 423]);
    }
    server.configure(&format!("{bans}[source]\n{proxies}\nnever_ban = [\"203.0.113.0/24\"]\n"));
    server.swapped(1);
    server.logged("the ban of 203.0.113.7/32 is lifted: it is never banned now");
    assert_eq!(log_in(&server, "203.0.113.7"), 200);
    assert_eq!(log_in(&server, "198.51.100.1"), 423);
    assert_eq!(json(&server, &["status"])["bans"], 1);
}

#[test]
fn rule_34_what_was_lifted_stays_so_over_a_restart_and_what_was_kept_is_lifted_at_it() {
    let state = "[state]\nstore = \"sqlite:state.sqlite\"\n";
    let bans = format!("{NO_WAIT}[policy.ban]\nsettings = {{ max_failed_login = 1 }}\n{state}");
    let proxies = "trusted_proxies = [\"127.0.0.0/8\"]\n";
    let never = |config: &str, network: &str| config.replace(proxies, &format!("{proxies}never_ban = [{network:?}]\n"));
    let server = Portcullis::with_config(&bans).client("alice:wonderland").start();
    let config = std::fs::read_to_string(server.folder().join("portcullis.toml")).unwrap();
    for source in ["203.0.113.7", "198.51.100.1"] {
        assert_eq!([fail(&server, source), fail(&server, source)], [401, 423]);
    }
    server.replace("portcullis.toml", never(&config, "203.0.113.0/24"));
    server.swapped(1);
    let again = server.again();
    assert!(server.stop().status.success());
    // What is never banned changes while the server is down.
    let server = again.file("portcullis.toml", &config).start();
    assert_eq!([log_in(&server, "203.0.113.7"), log_in(&server, "198.51.100.1")], [200, 423]);
    let again = server.again();
    assert!(server.stop().status.success());
    let server = again.file("portcullis.toml", never(&config, "198.51.100.0/24")).start();
    server.logged("the ban of 198.51.100.1/32 is lifted: it is never banned now");
    assert_eq!(log_in(&server, "198.51.100.1"), 200);
}

#[test]
fn rule_38_a_change_that_would_newly_ban_too_many_is_refused_with_who_and_why_unless_forced() {
    let with = |limit: u32, max: u32| {
        format!("{NO_WAIT}[policy.ban]\nsettings = {{ max_failed_login = {limit} }}\n[guard]\nmax_new_bans = {max}\n")
    };
    let server = Portcullis::with_config(&with(5, 2)).client("alice:wonderland").start();
    for source in ["203.0.113.1", "203.0.113.2", "203.0.113.3"] {
        assert_eq!([fail(&server, source), fail(&server, source)], [401, 401]);
    }
    // Three would be banned, and two may be; the watch over files doesn't force.
    server.configure(&with(2, 2));
    server.logged("it would newly ban 3 sources, 0 of which logged in within the last day");
    server.logged("policy ban would ban 203.0.113.1/32 for 203.0.113.1/32 why=Maximum%20of%202%20login");
    assert_eq!(fail(&server, "203.0.113.1"), 401, "what ran goes on running");
    server.hang_up();
    server.logged_times(2, "what ran before goes on running");
    let refused = operate(&server, &["reload"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("newly ban 3 sources") && refused.stderr.contains("203.0.113.2/32"), "{refused:?}");
    assert_eq!(server.swaps(), 0);

    // As many as may be.
    server.configure(&with(2, 3));
    server.swapped(1);
    server.logged("preflight: in ");
    assert_eq!([fail(&server, "203.0.113.9"), fail(&server, "203.0.113.9")], [401, 401]);
    assert_eq!(fail(&server, "203.0.113.9"), 423);

    // One that logged in is one too many, however many may be.
    assert_eq!([fail(&server, "198.51.100.1"), log_in(&server, "198.51.100.1")], [401, 200]);
    server.configure(&with(1, 1000));
    server.logged("1 of which logged in within the last day");
    server.logged("for 198.51.100.1/32, which logged in");
    assert_eq!(server.swaps(), 1);
    assert!(text(&server, &["reload", "--force"]).starts_with("In force"));
    server.logged("preflight: left out, by force");
    assert_eq!([fail(&server, "192.0.2.1"), fail(&server, "192.0.2.1")], [401, 423]);
}

#[test]
fn a_swap_takes_effect_within_50_ms_of_the_end_of_compiling() {
    let server = Portcullis::new().start();
    let mut took = Vec::new();
    for n in 1..=9 {
        server.configure(&format!("[policy.ban]\nsettings = {{ max_failed_login = {n} }}\n"));
        server.swapped(n);
        let line = server.log_with("configuration put in force in ").pop().unwrap();
        let micros = line.split(" in ").last().unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
        took.push(micros);
    }
    took.sort_unstable();
    // Others may hold the processor for longer than that now and then.
    assert!(took[took.len() / 2] < 50_000, "{took:?} us");
}

/// Descriptors that the process has open.
fn descriptors(server: &Server) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count() as u64
}

#[test]
fn with_all_descriptors_used_who_is_connected_is_served_and_who_administers_gets_in() {
    let server = Portcullis::new().client("alice:wonderland").start();
    let mut kept = server.connect();
    let request = server.get("/").basic("alice", "wonderland");
    assert_eq!(kept.exchange(&request).status, 200);
    // What the client of the socket opens now and then is open already.
    assert_eq!(json(&server, &["status"])["ready"]["ready"], true);
    server.limit_descriptors(descriptors(&server) + 3);
    let crowd: Vec<_> = (0..20).map(|_| server.connect()).collect();
    server.logged("can't accept connections, trying again");
    for _ in 0..10 {
        assert_eq!(kept.exchange(&request).status, 200);
        assert_eq!(json(&server, &["status"])["policies"].as_array().unwrap().len(), 3);
    }
    let mut later = server.connect();
    drop(crowd);
    assert_eq!(later.exchange(&request).status, 200, "accepted again");
    assert_eq!(server.get("/").basic("alice", "wonderland").send().status, 200);
    assert_eq!(server.stop().status.code(), Some(0));
}

#[test]
fn a_plugin_that_is_written_piece_by_piece_is_in_force_when_it_is_whole_and_not_before() {
    use std::io::Write as _;

    let config = format!("{NO_WAIT}[policy.ban]\nplugin = \"plugins/policy.wasm\"\n");
    let bundle = portcullis_tests::repository().join("plugins/bundle/ban.wasm");
    let strict = portcullis_tests::repository().join("plugins/examples/bundle/strict-ban.wasm");
    let server = Portcullis::with_config(&config)
        .folder("plugins")
        .file("plugins/policy.wasm", std::fs::read(bundle).unwrap())
        .start();
    let runs_as_before = |source: &str| {
        let statuses: Vec<_> = (0..6).map(|_| fail(&server, source)).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 423]);
    };
    // The folder is replaced by one in which the plugin isn't whole yet.
    let (plugins, new) = (server.folder().join("plugins"), server.folder().join("plugins.new"));
    let whole = std::fs::read(strict).unwrap();
    std::fs::create_dir(&new).unwrap();
    let mut file = std::fs::File::create(new.join("policy.wasm")).unwrap();
    let pieces: Vec<&[u8]> = whole.chunks(whole.len().div_ceil(4)).collect();
    file.write_all(pieces[0]).unwrap();
    std::fs::rename(&plugins, server.folder().join("plugins.old")).unwrap();
    std::fs::rename(&new, &plugins).unwrap();
    for (n, piece) in pieces.iter().enumerate().skip(1) {
        server.logged_times(n, "what ran before goes on running");
        runs_as_before(&format!("203.0.113.{n}"));
        file.write_all(piece).unwrap();
        file.flush().unwrap();
    }
    server.swapped(1);
    assert_eq!([fail(&server, "198.51.100.1"), fail(&server, "198.51.100.1")], [401, 401]);
    assert_eq!(fail(&server, "198.51.100.1"), 423, "the new one bans at two");
    assert!(server.reasons().iter().all(|reason| !reason.contains("panicked")));
}
