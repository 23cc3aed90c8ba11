//! What a scraper and `top` see of the real program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use portcullis_tests::{Answer, Backend, Portcullis, Request, eventually, free_port, portcullis, repository, run};

/// Every sample by its name and labels, and every name that has a type.
fn scrape(address: SocketAddr) -> (BTreeMap<String, f64>, BTreeSet<String>) {
    let reply = Request::new(address, "GET", "/metrics").send();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = reply.text();
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        (sample.to_owned(), value.parse().unwrap())
    });
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    (samples.collect(), types.map(str::to_owned).collect())
}

#[test]
fn metrics_and_top_show_what_happened() {
    let backend = Backend::start(|_| Answer::status(200));
    let health: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let config = format!(
        "[admin]\nsocket = \"admin.sock\"\nhealth_address = \"{health}\"\n[state]\nstore = \"sqlite:state.sqlite\"\n\
         [journal]\ndir = \"journal\"\n\
         [policy.wait]\nsettings = {{ client_login_wait = 600.0 }}\n"
    );
    let server = Portcullis::with_config(&config).client("abc:right").upstream(&backend.url()).start();
    assert_eq!(server.get("/").basic("abc", "right").from("192.0.2.1").send().status, 200);
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(server.get("/").basic(id, "wrong").from("203.0.113.7").send().status, 401);
    }
    assert_eq!(server.get("/").basic("a", "wrong").from("198.51.100.9").send().status, 429);
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 423);

    let (samples, types) = scrape(health);
    let listed = fs::read_to_string(repository().join("host/server/METRICS.md")).unwrap();
    let listed = listed.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(types, listed.map(str::to_owned).collect(), "what METRICS.md lists");
    for (sample, value) in [
        (r#"portcullis_requests_total"#, 8.0),
        (r#"portcullis_attempts_total{outcome="success"}"#, 1.0),
        (r#"portcullis_attempts_total{outcome="failure"}"#, 5.0),
        (r#"portcullis_refusals_total{why="banned"}"#, 1.0),
        (r#"portcullis_refusals_total{why="waiting"}"#, 1.0),
        (r#"portcullis_bans_ordered_total{fate="enforced"}"#, 1.0),
        (r#"portcullis_bans"#, 1.0),
        (r#"portcullis_policy_calls_total{policy="ban",kind="ban"}"#, 6.0),
        (r#"portcullis_upstream_head_seconds_count"#, 1.0),
        (r#"portcullis_state_failing"#, 0.0),
        (r#"portcullis_journal_dropped_total"#, 0.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample} in {samples:#?}");
    }
    // Its thread writes them down in its own time.
    eventually("every judgement is in the journal", || {
        (scrape(health).0["portcullis_journal_events_total"] >= 12.0).then_some(())
    });

    let top = run(Command::new(portcullis())
        .args(["top", "--once", "--interval", "0.1", "--socket"])
        .arg(server.admin_socket()));
    assert_eq!((top.code, top.stderr.as_str()), (Some(0), ""), "{top:?}");
    for part in ["203.0.113.7", "198.51.100.9", "bans: 1 in force", "ready: does all that it should"] {
        assert!(top.stdout.contains(part), "{part} isn't in {}", top.stdout);
    }
    // Nobody can look at what goes to a file as it changes.
    let alone = run(Command::new(portcullis()).args(["top", "--socket"]).arg(server.admin_socket()));
    assert_eq!(alone.code, Some(2), "{alone:?}");
    assert!(alone.stderr.contains("--once"), "{alone:?}");

    server.replace("portcullis.toml", "[listen\n");
    eventually("the change is refused", || {
        (scrape(health).0[r#"portcullis_swaps_total{result="refused"}"#] >= 1.0).then_some(())
    });
}
