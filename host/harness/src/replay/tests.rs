//! Lines through worlds with the bundle's policies.

use std::io::Cursor;
use std::time::Duration;

use portcullis_domain::Kind;
use portcullis_runtime::{RuntimeConfig, SettingValue};

use super::*;
use crate::plan::PolicyPlan;
use crate::shelf::Shelf;

fn plan(findtime: f64) -> Plan {
    let (mut shelf, _) = Shelf::new(&RuntimeConfig::default()).unwrap();
    let policies = Kind::ALL.map(|kind| PolicyPlan::new(kind.name(), kind, shelf.bundle(kind).unwrap()));
    let mut plan = Plan { policies: policies.into(), ..Plan::default() };
    plan.policies[2] = plan.policies[2].clone().setting("findtime", SettingValue::Number(findtime));
    plan
}

const SHOWN: Shown = Shown { rows: 10, unknown: 2 };

fn replayed(against: Option<Plan>, format: Option<Format>, text: &str) -> Report {
    let mut replay = Replay::new(plan(20.0), against, format, SHOWN).unwrap();
    replay.read(Input::new("log", Cursor::new(text.to_owned())).unwrap()).unwrap();
    replay.finish()
}

fn at(second: u32, message: &str) -> String {
    format!("2021/04/16 10:{:02}:{:02} info: client-listener: {message}\n", second / 60, second % 60)
}

fn not_found(second: u32, ip: &str) -> String {
    at(second, &format!("GET /x 404 21µs ({ip})"))
}

#[test]
fn two_hits_ban_and_what_comes_from_there_is_refused() {
    let text = [
        not_found(0, "203.0.113.7"),
        not_found(20, "203.0.113.7"),
        not_found(21, "203.0.113.7"),
        at(22, "client#1: Open x (203.0.113.7)"),
        not_found(23, "203.0.113.8"),
        "\nnonsense\nmore\nand more\n".to_owned(),
    ];
    let report = replayed(None, None, &text.concat());
    let wanted = LineCounts { lines: 9, ignored: 1, matched: 4, missed: 4, unknown: 3, too_long: 0 };
    assert_eq!(report.lines, wanted);
    assert_eq!(report.unknown.iter().map(|line| line.number).collect::<Vec<_>>(), [7, 8]);
    let [ban] = &report.outcome.bans[..] else { panic!("{report:?}") };
    assert_eq!((ban.source.to_string().as_str(), &*ban.policy), ("203.0.113.7", "scanner"));
    assert_eq!((ban.duration, ban.reason.text()), (Duration::from_secs(3600), "2 hits within 20s."));
    let wanted = RefusedCounts { banned: 2, banned_successes: 1, ..RefusedCounts::default() };
    assert_eq!(report.outcome.refused, wanted);
}

#[test]
fn failed_logins_wait_and_ban_and_a_success_starts_the_count_again() {
    let failed =
        |second| at(second, "Failed login attempt for client auth id \"a\", forcing to wait for 2s (203.0.113.7)");
    let opened = at(40, "client#1: Open x (203.0.113.7)");
    let four: String = (0..4).map(|n| failed(n * 10)).collect();
    let report =
        replayed(None, None, &[&four, &failed(31), &opened, &failed(50), &failed(60)].map(String::as_str).concat());
    assert_eq!(report.outcome.bans_ordered, 0, "one came while waiting, then somebody logged in");
    assert_eq!((report.outcome.waits_ordered, report.outcome.refused.waiting), (6, 1));
    assert_eq!(report.outcome.waits[0].times, 6);
    let report = replayed(None, None, &[&four, &failed(50)].map(String::as_str).concat());
    assert_eq!(report.outcome.bans[0].reason.text(), "Maximum of 5 login attempts reached.");
}

#[test]
fn a_refused_request_of_an_access_log_is_an_attempt_and_a_request() {
    let line = |second: u32, status: u32| {
        format!("203.0.113.7 - a [10/Oct/2000:13:55:{second:02} +0000] \"GET / HTTP/1.1\" {status} 0\n")
    };
    let text: String = (0..5).map(|n| line(n * 10, 401)).collect();
    let report = replayed(None, None, &[text, line(50, 200), line(51, 404)].concat());
    let wanted = EventCounts { requests: 7, failed_logins: 5, ..EventCounts::default() };
    assert_eq!((report.events, report.lines.matched), (wanted, 6));
    assert_eq!(report.outcome.bans.len(), 1);
    assert_eq!(report.outcome.refused.banned, 2);
    assert_eq!(report.outcome.refused.banned_successes, 1, "the 200 was that of a client");
}

#[test]
fn a_request_that_failed_to_log_in_is_nobodys() {
    let mut plan = plan(20.0);
    plan.policies[2] = plan.policies[2].clone().setting("statuses", SettingValue::Integers(vec![401, 403]));
    let banned = |status: u32| {
        let line = |second: u32| {
            format!("203.0.113.7 - a [10/Oct/2000:13:55:{second:02} +0000] \"GET / HTTP/1.1\" {status} 0\n")
        };
        let mut replay = Replay::new(plan.clone(), None, None, SHOWN).unwrap();
        replay.read(Input::new("log", Cursor::new([line(0), line(10)].concat())).unwrap()).unwrap();
        replay.finish().outcome.bans_ordered
    };
    assert_eq!(banned(401), 1);
    assert_eq!(banned(403), 0, "a known client is no scanner");
}

#[test]
fn others_policies_are_compared_by_network_and_later_logins() {
    let text = [
        not_found(0, "203.0.113.7"),
        not_found(30, "203.0.113.7"),
        at(40, "client#1: Open x (203.0.113.7)"),
        not_found(50, "203.0.113.8"),
        not_found(55, "203.0.113.8"),
        not_found(60, "203.0.113.9"),
        not_found(90, "203.0.113.9"),
    ]
    .concat();
    let report = replayed(Some(plan(60.0)), None, &text);
    let against = report.against.unwrap();
    assert_eq!((against.newly_banned_networks, against.newly_banned_logged_in), (2, 1));
    assert_eq!(against.no_longer_banned_networks, 0);
    let newly: Vec<_> =
        against.newly_banned.iter().map(|newly| (newly.ban.source.to_string(), newly.logins_after)).collect();
    assert_eq!(newly, [("203.0.113.7".to_owned(), 1), ("203.0.113.9".to_owned(), 0)]);
    assert_eq!(against.newly_banned[0].logins_while_banned, 1);
    let report = replayed(Some(plan(1.0)), None, &text);
    let against = report.against.unwrap();
    assert_eq!((against.newly_banned_networks, against.no_longer_banned_networks), (0, 1));
    assert_eq!(against.no_longer_banned[0].source.to_string(), "203.0.113.8");
}

#[test]
fn hits_hours_apart_are_not_one_moment_when_the_newer_log_comes_first() {
    let log = |hour: u32| -> String {
        (0..30)
            .map(|n| format!("2021/04/16 {hour:02}:{n:02}:00 info: client-listener: GET /x 404 1s (203.0.113.7)\n"))
            .collect()
    };
    let report = replayed(None, None, &[log(12), log(10)].concat());
    assert_eq!(report.outcome.bans_ordered, 0);
    assert_eq!(report.times_back, TimesBack { late: 0, left_out: 15, set_back: 1 });
}

fn on(day: u32, second: u32, ip: &str) -> String {
    format!(
        "2021/{:02}/{:02} 10:00:{second:02} info: client-listener: GET /x 404 1s ({ip})\n",
        day / 28 + 1,
        day % 28 + 1
    )
}

#[test]
fn a_line_from_the_far_future_is_left_out_and_ends_no_ban() {
    let future = "2099/01/01 00:00:00 info: client-listener: GET /x 404 1s (203.0.113.9)\n".to_owned();
    let [a, b, c] = [0, 1, 2].map(|second| on(0, second, "203.0.113.7"));
    for (text, far_ahead) in
        [([&*a, &b, &c, ""], 0), ([&a, &b, &future, &c], 1), ([&a, &future, &b, &c], 1), ([&future, &a, &b, &c], 1)]
    {
        let report = replayed(None, None, &text.concat());
        assert_eq!((report.outcome.bans_ordered, report.outcome.refused.banned), (1, 1), "{text:?}");
        assert_eq!((report.far_ahead, report.times_back), (far_ahead, TimesBack::default()), "{text:?}");
        let span = report.span.map(|(first, last)| last.as_millis() - first.as_millis());
        assert_eq!(span, Some(2000), "{text:?}");
    }
}

#[test]
fn quiet_days_are_no_jump_that_a_line_is_lost_for() {
    let hits = |day: u32| [on(day, 0, "203.0.113.7"), on(day, 1, "203.0.113.7")].concat();
    let report = replayed(None, None, &(0..20).map(|day| hits(day * 2)).collect::<String>());
    assert_eq!((report.outcome.bans_ordered, report.far_ahead), (20, 0));
    assert_eq!(report.times_back, TimesBack::default());
    let sparse: String = (0..20).map(|day| on(day * 2, 0, "203.0.113.7")).collect();
    let report = replayed(None, None, &format!("{sparse}{}", on(38, 1, "203.0.113.7")));
    assert_eq!((report.outcome.bans_ordered, report.far_ahead), (1, 0), "the last two are near each other");
}

#[test]
fn an_id_that_the_host_would_not_take_is_counted_and_not_judged() {
    let failed = |id: &str| {
        at(0, &format!("Failed login attempt for client auth id \"{id}\", forcing to wait for 2s (203.0.113.7)"))
    };
    let report = replayed(None, Some(Format::Rportd), &failed(&"x".repeat(257)));
    assert_eq!((report.events.ids_too_long, report.outcome.waits_ordered), (1, 0));
    let report = replayed(None, Some(Format::Rportd), &failed(&"x".repeat(256)));
    assert_eq!((report.events.ids_too_long, report.outcome.waits_ordered), (0, 1));
}

/// Traffic of few sources and ids, so that much of it is about the same ones.
fn busy(seed: u64, events: u32) -> String {
    let mut random = seed;
    let mut below = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let line = |n: u32| {
        let ip = match below(4) {
            0 => format!("2001:db8:{:x}::{:x}", below(3), below(3)),
            _ => format!("10.{}.{}.{}", below(12), below(2), below(3)),
        };
        let user = if below(3) == 0 { format!("id{}", below(40)) } else { "-".to_owned() };
        let status = [200, 200, 401, 404][usize::try_from(below(4)).unwrap()];
        format!(
            "{ip} - {user} [05/Jan/2026:{:02}:{:02}:{:02} +0000] \"GET /{n} HTTP/1.1\" {status} 5\n",
            n / 3600 % 24,
            n / 60 % 60,
            n % 60
        )
    };
    (0..events).map(line).collect()
}

#[test]
fn on_several_threads_it_comes_to_the_same() {
    let report = |lanes: usize, text: &str| {
        let mut replay = Replay::new(plan(20.0), Some(plan(60.0)), None, Shown { rows: 100_000, unknown: 0 }).unwrap();
        replay.lanes = Lanes::of(lanes, &replay.player);
        replay.read(Input::new("log", Cursor::new(text.to_owned())).unwrap()).unwrap();
        format!("{:#?}", replay.finish())
    };
    for seed in 0..4 {
        let text = busy(seed, 12_000);
        let alone = report(1, &text);
        assert!(alone.contains("no_longer_banned") && alone.matches("Wait {").count() > 20, "{alone}");
        // Compared as texts, but not shown: they are long.
        assert!(report(2, &text) == alone, "two threads, seed {seed}");
        assert!(report(5, &text) == alone, "five threads, seed {seed}");
    }
}
