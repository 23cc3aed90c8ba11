use std::path::Path;
use std::sync::Arc;

use portcullis_harness::logs::{Format, Parsed, Parser};
use portcullis_runtime::{RuntimeConfig, Silent};

use super::*;
use crate::auth::ProcessKey;
use crate::config::{Config, Overrides};
use crate::http::Tunnels;
use crate::setup::Workshop;

fn workshop() -> Workshop {
    let (runtime, _) = Runtime::new(&RuntimeConfig::default()).unwrap();
    let (reporter, key) = (Arc::new(Silent), ProcessKey::generate().unwrap());
    Workshop { runtime, reporter, key, workers: 1, tunnels: Tunnels::default() }
}

fn setup(workshop: &Workshop, text: &str) -> Setup {
    let config = Config::parse(text, "p.toml", Path::new(""), &Overrides::default()).unwrap();
    Setup::prepare(config, "p.toml", workshop, None).unwrap()
}

/// So many failures in a row ban.
fn limit(limit: u32) -> String {
    format!("[policy.ban]\nsettings = {{ max_failed_login = {limit} }}\n[policy.scanner]\nenabled = false\n")
}

/// Lines of a web server's log: who, as whom, and how it ended, ten seconds apart.
fn recorded(events: &[(&str, &str, u16)]) -> Vec<Entry<'static>> {
    let mut parser = Parser::new(Format::Common);
    let lines = events.iter().enumerate().map(|(n, (from, id, status))| {
        format!("{from} - {id} [05/Jan/2026:10:{:02}:{:02} +0000] \"GET / HTTP/1.1\" {status} 1", n / 6, n % 6 * 10)
    });
    lines
        .map(|line| match parser.parse(line.as_bytes()) {
            Parsed::Entry(entry) => entry.into_owned(),
            Parsed::Other | Parsed::Empty | Parsed::Unknown => panic!("{line}"),
        })
        .collect()
}

fn preflight(before: &str, after: &str, entries: &[Entry<'_>]) -> PreflightReport {
    let workshop = workshop();
    let now = entries.last().map_or(Timestamp::default(), |last| last.at);
    let (before, after) = (setup(&workshop, before), setup(&workshop, after));
    run(&before, &after, &workshop.runtime, entries, now).unwrap()
}

/// Two failures of each of these.
fn two_each(sources: std::ops::Range<u8>) -> Vec<(String, u16)> {
    sources.flat_map(|last| [401, 401].map(|status| (format!("203.0.113.{last}"), status))).collect()
}

#[test]
fn rule_38_who_would_newly_be_banned_is_counted_and_named() {
    let failures = two_each(1..26);
    let events: Vec<_> = failures.iter().map(|(from, status)| (from.as_str(), "x", *status)).collect();
    let report = preflight(&limit(5), &limit(2), &recorded(&events));
    assert_eq!((report.newly_banned, report.newly_banned_logged_in, report.no_longer_banned), (25, 0, 0));
    assert_eq!((report.events, report.events_recorded, report.sources.len()), (50, 50, NAMED_MAX));
    let first = &report.sources[0];
    assert_eq!((first.network.to_string(), first.policy.as_str()), ("203.0.113.1/32".to_owned(), "ban"));
    assert_eq!((first.reason.as_str(), first.logged_in), ("Maximum of 2 login attempts reached.", false));
    assert!(report.is_within(25) && !report.is_within(24));
    let milder = preflight(&limit(2), &limit(5), &recorded(&events));
    assert_eq!((milder.newly_banned, milder.no_longer_banned), (0, 25));
    assert!(milder.is_within(0));
}

#[test]
fn rule_38_one_that_logged_in_within_a_day_is_one_too_many_whenever_it_was() {
    let (fails, before) = (("203.0.113.7", "me", 401), ("203.0.113.7", "me", 200));
    for events in [[before, fails, fails], [fails, fails, before]] {
        let report = preflight(&limit(5), &limit(2), &recorded(&events));
        assert_eq!((report.newly_banned, report.newly_banned_logged_in), (1, 1));
        assert!(!report.is_within(1000));
        assert!(report.to_string().contains("for 203.0.113.7/32, which logged in"), "{report}");
    }
    let entries = recorded(&[before, fails, fails]);
    let workshop = workshop();
    let (five, two) = (setup(&workshop, &limit(5)), setup(&workshop, &limit(2)));
    let later = entries[2].at.after(PREFLIGHT_AGE_MAX);
    let report = run(&five, &two, &workshop.runtime, &entries, later).unwrap();
    assert_eq!((report.newly_banned, report.newly_banned_logged_in), (1, 0), "it was longer ago");
}

#[test]
fn rule_38_sources_count_and_not_networks() {
    let failures = two_each(1..6);
    let events: Vec<_> = failures.iter().map(|(from, status)| (from.as_str(), "x", *status)).collect();
    let entries = recorded(&events);
    let workshop = workshop();
    let five = setup(&workshop, &limit(5));
    let plan = enforcing(five.plan(&workshop.runtime).unwrap());
    let mut report = Replay::new(plan.clone(), Some(plan), None, Shown { rows: 9, unknown: 0 }).unwrap().finish();
    let reason = portcullis_domain::Reason::new("c", "wide").unwrap();
    let wide = portcullis_harness::replay::Ban {
        at: entries[0].at,
        source: entries[0].from,
        network: "203.0.113.0/24".parse().unwrap(),
        policy: "ban".into(),
        reason,
        duration: Duration::from_secs(1),
    };
    report.against.as_mut().unwrap().outcome.bans.push(wide);
    let sources = entries.iter().map(|entry| (IpNet::from(entry.from), false)).collect();
    let compared = compared(&report, &sources);
    assert_eq!((compared.newly_banned, compared.sources[0].network.prefix_len()), (5, 24));
}

#[test]
fn rule_38_what_can_ban_nobody_newly_needs_no_look() {
    let workshop = workshop();
    let needed = |before: &str, after: &str| is_needed(&setup(&workshop, before), &setup(&workshop, after));
    let also = "[policy.also]\nkind = \"ban\"\nplugin = \"bundle:ban\"\nsettings = { max_failed_login = 2 }\n";
    let shadow = format!("{also}mode = \"shadow\"\n");
    let never = "[source]\nnever_ban = [\"192.0.2.0/24\"]\n";
    for (before, after) in [
        ("", "[policy.wait]\nsettings = { client_login_wait = 9.0 }\n"),
        ("", "[policy.ban]\nlimits.deadline = \"9ms\"\n"),
        ("", shadow.as_str()),
        ("", never),
        (also, ""),
        (never, "[source]\nnever_ban = [\"192.0.0.0/16\"]\n"),
    ] {
        assert!(!needed(before, after), "{before:?} to {after:?}");
    }
    for (before, after) in [
        ("", limit(4).as_str()),
        ("", also),
        (shadow.as_str(), also),
        ("", "[policy.ban]\nsubject = \"id\"\n"),
        ("", "[source]\nipv6_prefix = 48\n"),
        (never, ""),
    ] {
        assert!(needed(before, after), "{before:?} to {after:?}");
    }
}

#[test]
fn rule_38_what_is_in_shadow_bans_nobody_there_either_and_the_cap_hides_nothing() {
    let failures = two_each(1..6);
    let events: Vec<_> = failures.iter().map(|(from, status)| (from.as_str(), "x", *status)).collect();
    let also = |mode: &str| {
        let settings = "settings = { max_failed_login = 2 }";
        let own = format!("[policy.also]\nkind = \"ban\"\nplugin = \"bundle:ban\"\n{settings}\nmode = \"{mode}\"\n");
        format!("[guard]\nmax_bans_per_minute = 1\n{}{own}", limit(5))
    };
    let entries = recorded(&events);
    assert_eq!(preflight(&limit(5), &also("shadow"), &entries).newly_banned, 0);
    assert_eq!(preflight(&also("shadow"), &also("enforce"), &entries).newly_banned, 5);
}

#[test]
fn rule_38_without_anything_recorded_nobody_is_newly_banned() {
    let report = preflight(&limit(5), &limit(1), &[]);
    assert_eq!((report.events, report.newly_banned, report.since), (0, 0, None));
}
