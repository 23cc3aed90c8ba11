//! Scenarios: every expectation both ways, what the report says, hidden state,
//! failing plugins, and the same written in Rust.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken test stops")]

use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use portcullis_guests::component;
use portcullis_harness::domain::Kind;
use portcullis_harness::runtime::{Plugin, RuntimeConfig, SettingValue};
use portcullis_harness::scenario::{
    Attempt, Expected, KeptBytes, Ordered, Report, Request, Scenario, Sum, Trial, UnderTest,
};
use portcullis_harness::{Failing, Plan, PolicyPlan, RestartKeeps, Shelf};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn shelf() -> Shelf {
    Shelf::new(&RuntimeConfig::default()).unwrap().0
}

fn guest(shelf: &Shelf, name: &str) -> Arc<Plugin> {
    shelf.runtime().load(&component(name), name).unwrap()
}

fn try_run(under_test: &UnderTest, shelf: &mut Shelf, text: &str) -> Result<Report, String> {
    let text = format!("name = \"x\"\n{text}");
    let scenario = Scenario::parse(&text, "a.toml", Path::new("")).map_err(|mistakes| mistakes.to_string())?;
    let bound = scenario.bind(under_test, shelf).map_err(|mistakes| mistakes.to_string())?;
    Ok(bound.run().unwrap())
}

/// Against the bundle, which is compiled once for all tests.
fn run(text: &str) -> Report {
    static SHELF: LazyLock<Mutex<Shelf>> = LazyLock::new(|| Mutex::new(shelf()));
    try_run(&UnderTest::Bundle, &mut SHELF.lock().unwrap_or_else(PoisonError::into_inner), text).unwrap()
}

/// One of these steps for each line: `F` fails, `S` succeeds, `R` is a request
/// answered 404; what follows is the rest of the step.
fn steps(lines: &str) -> String {
    let step = |line: &str| {
        let (event, rest) = line.trim().split_at(1);
        let login =
            |outcome| format!("attempt = {{ client = \"abc\", from = \"203.0.113.7\", outcome = \"{outcome}\" }}");
        let event = match event {
            "F" => login("failure"),
            "S" => login("success"),
            "R" => "request = { from = \"203.0.113.7\", path = \"/.env\", status = 404 }".to_owned(),
            _ => String::new(),
        };
        format!("[[step]]\n{event}\n{}\n", rest.replace(';', "\n"))
    };
    lines.lines().filter(|line| !line.trim().is_empty()).map(step).collect()
}

/// What came otherwise in the last step; the steps before hold.
fn problems(text: &str) -> Vec<String> {
    let report = run(text);
    let (last, before) = report.steps.split_last().unwrap();
    assert!(before.iter().all(|step| step.passed()) && report.hidden.is_empty(), "{text}{report}");
    assert_eq!(report.passed(), last.problems.is_empty());
    last.problems.iter().map(ToString::to_string).collect()
}

/// Every expectation as a step, and what is said where it doesn't hold.
fn both_ways(policies: &str, before: &str, holds: &[&str], fails: &[(&str, &str)]) {
    let text = |last: &str| format!("{policies}\n{}{}", steps(before), steps(last));
    for last in holds {
        assert_eq!(problems(&text(last)), [""; 0], "{last}");
    }
    for (last, expected) in fails {
        assert_eq!(problems(&text(last)), [*expected], "{last}");
    }
}

const BAN: &str = "[policy.ban]\nsettings = { max_failed_login = 2 }";
const BANNED: &str = "a ban of 203.0.113.7/32 for 1h by ban because \"max-failed-login\", \"Maximum of 2 login attempts reached.\", answered 401";

#[test]
fn pass_verified_denied_and_any() {
    both_ways(
        BAN,
        "F",
        &["F expect = \"any\"", "S expect = \"pass\"", "F", "F expect = { reply = 401 }"],
        &[
            ("F expect = \"pass\"", &format!("event 1: expected a pass, came {BANNED}")),
            ("S expect = \"verified\"", "event 1: expected a verified pair, came a pass, answered 200"),
            ("S expect = \"denied\"", "event 1: expected a denial, came a pass, answered 200"),
            ("S expect = { reply = 401 }", "event 1: expected the reply 401, came a pass, answered 200"),
        ],
    );
    let owner = "attempt = { client = \"abc\", from = \"::1\", outcome = \"success\", secret = \"s\" }";
    let text = format!("{BAN}\n[[step]]\n{owner}\nexpect = \"pass\"\n[[step]]\n{owner}\nexpect = ");
    assert_eq!(problems(&format!("{text}\"verified\"")), [""; 0]);
    assert_eq!(problems(&format!("{text}\"any\"\ntotal = {{ verified = 1, checked = 0 }}")), [""; 0]);
    assert_eq!(problems(&format!("{text}\"pass\"")), ["event 1: expected a pass, came a verified pair, answered 200"]);
}

#[test]
fn orders() {
    both_ways(
        BAN,
        "F",
        &[
            "F expect = { ban = \"1h\" }",
            "F expect = { ban = \"1h\", by = \"ban\", reason = \"max-failed-login\", text = \"Maximum of 2 login attempts reached.\", network = \"203.0.113.7\", reply = 401 }",
            "F expect = [{ ban = \"1h\" }]",
        ],
        &[
            ("F expect = { ban = \"2h\" }", &format!("event 1: expected a ban of 2h, came {BANNED}")),
            ("F expect = { wait = \"1h\" }", &format!("event 1: expected a wait of 1h, came {BANNED}")),
            ("F expect = { spared = true }", &format!("event 1: expected a ban that isn't enforced, came {BANNED}")),
            (
                "F expect = { wait = \"2s\", ban = \"1h\" }",
                &format!("event 1: expected a wait of 2s and a ban of 1h, came {BANNED}"),
            ),
            (
                "F expect = { ban = \"1h\", reason = \"scanner\" }",
                &format!("event 1: expected a ban of 1h because \"scanner\", came {BANNED}"),
            ),
            (
                "F expect = { ban = \"1h\", text = \"Maximum\" }",
                &format!("event 1: expected a ban of 1h because \"Maximum\", came {BANNED}"),
            ),
            (
                "F expect = { ban = \"1h\", network = \"203.0.113.0/24\" }",
                &format!("event 1: expected a ban of 203.0.113.0/24 for 1h, came {BANNED}"),
            ),
            (
                "F expect = { ban = \"1h\", reply = 423 }",
                &format!("event 1: expected a ban of 1h, answered 423, came {BANNED}"),
            ),
            ("S expect = { ban = \"1h\" }", "event 1: expected a ban of 1h, came a pass, answered 200"),
        ],
    );
    let waits = "event 1: expected a wait of 3s, came a wait of 2s by wait because \"failed-login\", \"Failed login attempt.\", answered 401";
    both_ways(
        "[policy.wait]",
        "S",
        &["F expect = { wait = \"2s\", by = \"wait\" }"],
        &[("F expect = { wait = \"3s\" }", waits)],
    );
    let spared = "event 1: expected a ban of 1h, came a ban that isn't enforced by ban because \"max-failed-login\", \"Maximum of 2 login attempts reached.\", answered 401";
    both_ways(
        &format!("[gate]\nnever_ban = [\"203.0.113.0/24\"]\n{BAN}"),
        "F",
        &[
            "F expect = { spared = true, by = \"ban\", reply = 401 }",
            "F total = { checked = 1, spared = 1, bans = 0, passed = 0 }",
        ],
        &[("F expect = { ban = \"1h\" }", spared)],
    );
}

#[test]
fn several_orders_whoever_gives_them() {
    let policies = "[policy.ban]\nsettings = { max_failed_login = 1 }\n[policy.short]\nkind = \"ban\"\nsettings = { max_failed_login = 1, ban_time = 60 }";
    let came = "event 1: expected a ban of 1h by short and a ban of 1m, came a ban of 203.0.113.7/32 for 1h by ban because \"max-failed-login\", \"Maximum of 1 login attempts reached.\" and a ban of 203.0.113.7/32 for 1m by short because \"max-failed-login\", \"Maximum of 1 login attempts reached.\", answered 401";
    both_ways(
        policies,
        "S",
        &[
            "F expect = [{ ban = \"1m\" }, { ban = \"1h\" }]",
            "F expect = [{ ban = \"1h\", by = \"ban\" }, { ban = \"1m\", by = \"short\" }]",
        ],
        &[("F expect = [{ ban = \"1h\", by = \"short\" }, { ban = \"1m\" }]", came)],
    );
    // What says less may not take what says more.
    let alike = policies.replace(", ban_time = 60", "");
    for expect in
        ["[{ ban = \"1h\" }, { ban = \"1h\", by = \"ban\" }]", "[{ ban = \"1h\", by = \"short\" }, { ban = \"1h\" }]"]
    {
        assert_eq!(problems(&format!("{alike}\n{}", steps(&format!("F expect = {expect}")))), [""; 0]);
    }
    assert!(
        !problems(&format!("{policies}\n{}", steps("F expect = { ban = \"1h\" }"))).is_empty(),
        "one of two is not all"
    );
}

#[test]
fn refusals() {
    both_ways(
        BAN,
        "F repeat = 2",
        &[
            "F expect = { refused = 423 }",
            "F after = \"1500ms\"; expect = { refused = 423, retry_after = \"3599s\", reply = 423 }",
            "R expect = { refused = 423 }",
        ],
        &[
            (
                "F expect = { refused = 429 }",
                "event 1: expected a refusal with 429, came a refusal with 423 and Retry-After 3600 (the source is banned for another 1h), answered 423",
            ),
            (
                "F expect = { refused = 423, retry_after = \"1h1s\" }",
                "event 1: expected a refusal with 423 and Retry-After 3601, came a refusal with 423 and Retry-After 3600 (the source is banned for another 1h), answered 423",
            ),
            (
                "F expect = \"pass\"",
                "event 1: expected a pass, came a refusal with 423 and Retry-After 3600 (the source is banned for another 1h), answered 423",
            ),
            (
                "F after = \"1h\"; expect = { refused = 423 }",
                "event 1: expected a refusal with 423, came a pass, answered 401",
            ),
        ],
    );
    both_ways(
        "[policy.wait]",
        "F",
        &["F expect = { refused = 429, retry_after = \"2s\" }"],
        &[(
            "F expect = { refused = 423 }",
            "event 1: expected a refusal with 423, came a refusal with 429 and Retry-After 2 (it has to wait for another 2s), answered 429",
        )],
    );
}

#[test]
fn totals() {
    both_ways(
        BAN,
        "S",
        &[
            "F repeat = 5; total = { checked = 2, refused = 3, passed = 1, bans = 1, waits = 0, verified = 0, denied = 0, spared = 0 }",
        ],
        &[
            ("F repeat = 5; total = { checked = 5 }", "total.checked: expected 5, came 2"),
            ("F repeat = 5; total = { refused = 0 }", "total.refused: expected 0, came 3"),
            ("F repeat = 5; total = { passed = 2 }", "total.passed: expected 2, came 1"),
            ("F repeat = 5; total = { bans = 2 }", "total.bans: expected 2, came 1"),
            ("F repeat = 5; total = { waits = 1 }", "total.waits: expected 1, came 0"),
            ("F repeat = 5; total = { spared = 1 }", "total.spared: expected 1, came 0"),
            ("F repeat = 5; total = { verified = 1 }", "total.verified: expected 1, came 0"),
            ("F repeat = 5; total = { denied = 1 }", "total.denied: expected 1, came 0"),
        ],
    );
    let at_once = "[policy.wait]\n[[step]]\nattempt = { client = \"abc\", from = \"2001:db8:{n}::1\", outcome = \"failure\" }\nparallel = 100\ntakes = \"100ms\"\n";
    assert_eq!(problems(&format!("{at_once}total = {{ checked = 1, refused = 99, waits = 1 }}")), [""; 0]);
    assert_eq!(problems(&format!("{at_once}total = {{ refused = 98 }}")), ["total.refused: expected 98, came 99"]);
    // The first that came otherwise is the one that is shown.
    let report = run(&format!("{at_once}expect = {{ wait = \"2s\" }}"));
    assert_eq!(report.steps[0].event.as_ref().unwrap().n, 2, "{report}");
    assert_eq!((report.steps[0].problems.len(), report.steps[0].problems_more, report.events()), (2, 0, 100));
    assert!(report.steps[0].problems[0].to_string().starts_with("events 2 to "), "{report}");
}

#[test]
fn events_that_come_otherwise_are_told_once_and_hide_nothing_else() {
    // The ban's end comes nearer, or it doesn't.
    let wrong = "expect = \"pass\"; total = { bans = 7 }; kept.ban = {}";
    for (every, events, more) in [
        ("0s", &["event 2: ", "events 3 to 9: "][..], 0),
        ("1s", &["event 2: ", "event 3: ", "event 4: ", "event 5: ", "event 6: "][..], 3),
    ] {
        let report = run(&format!("{BAN}\n{}", steps(&format!("F repeat = 9; every = \"{every}\"; {wrong}"))));
        let step = &report.steps[0];
        let problems: Vec<_> = step.problems.iter().map(ToString::to_string).collect();
        let (of_events, rest) = problems.split_at(events.len());
        assert!(of_events.iter().zip(events).all(|(problem, event)| problem.starts_with(event)), "{problems:#?}");
        assert!(rest.len() == 2 && rest[0] == "total.bans: expected 7, came 1", "{problems:#?}");
        assert!(rest[1].starts_with("kept.ban: expected something"), "{problems:#?}");
        assert_eq!(step.problems_more, more, "{problems:#?}");
    }
    // A plugin that fails hides no events either.
    let mut shelf = shelf();
    let under_test = UnderTest::Plugin(guest(&shelf, "traps-always"));
    let text = format!("[policy.ban]\n{}", steps("F repeat = 9; expect = \"pass\"; total = { checked = 1 }"));
    let report = try_run(&under_test, &mut shelf, &text).unwrap();
    let problems: Vec<_> = report.steps[0].problems.iter().map(ToString::to_string).collect();
    assert!(problems.iter().any(|problem| problem.starts_with("events 1 to 9: expected a pass")), "{problems:#?}");
    assert_eq!(problems.last().unwrap(), "total.checked: expected 1, came 9");
    assert!(
        problems.iter().any(|problem| problem.contains(" failed (at first)")) && problems.len() <= 12,
        "{problems:#?}"
    );
}

#[test]
fn what_is_kept() {
    both_ways(
        "[policy.ban]",
        "S",
        &[
            "F repeat = 3; kept.ban = { hex = \"03 00 0000\", ttl = \"none\" }",
            "F kept.ban = { text = \"\\u0001\\u0000\\u0000\\u0000\" }",
            "F kept.ban = { bytes = 4 }",
            "F kept.ban = {}",
            "S kept.ban = \"nothing\"",
            "F kept.ban = { nothing = true, of = { from = \"203.0.113.8\" } }",
        ],
        &[
            (
                "F kept.ban = { hex = \"02\" }",
                "kept.ban: expected 02 |.| for source 203.0.113.7/32, kept is 01 00 00 00 |....|",
            ),
            (
                "F kept.ban = { text = \"a\" }",
                "kept.ban: expected 61 |a| for source 203.0.113.7/32, kept is 01 00 00 00 |....|",
            ),
            (
                "F kept.ban = { bytes = 5 }",
                "kept.ban: expected 5 bytes for source 203.0.113.7/32, kept is 01 00 00 00 |....|",
            ),
            (
                "F kept.ban = \"nothing\"",
                "kept.ban: expected nothing for source 203.0.113.7/32, kept is 01 00 00 00 |....|",
            ),
            ("S kept.ban = {}", "kept.ban: expected something for source 203.0.113.7/32, kept is nothing"),
            (
                "F kept.ban = { bytes = 4, ttl = \"1s\" }",
                "kept.ban.ttl: expected for another 1s for source 203.0.113.7/32, kept until the room is needed",
            ),
            (
                "F kept.ban = { hex = \"01000000\", of = { from = \"203.0.113.8\" } }",
                "kept.ban: expected 01 00 00 00 |....| for source 203.0.113.8/32, kept is nothing",
            ),
        ],
    );
    both_ways(
        "[policy.scanner]",
        "R",
        &[
            "T after = \"5s\"; kept.scanner = { bytes = 12, ttl = \"15s1ms\", of = { from = \"203.0.113.7\" } }",
            "T after = \"20s1ms\"; kept.scanner = { nothing = true, of = { from = \"203.0.113.7\" } }",
        ],
        &[
            (
                "T after = \"5s\"; kept.scanner = { ttl = \"20s\", of = { from = \"203.0.113.7\" } }",
                "kept.scanner.ttl: expected for another 20s for source 203.0.113.7/32, kept for another 15s 1ms",
            ),
            (
                "T after = \"20s1ms\"; kept.scanner = { of = { from = \"203.0.113.7\" } }",
                "kept.scanner: expected something for source 203.0.113.7/32, kept is nothing",
            ),
        ],
    );
}

#[test]
fn time_restarts_and_swaps() {
    both_ways(
        BAN,
        "F repeat = 2",
        &["S at = \"1h\"; expect = \"pass\"", "S at = \"59m59s999ms\"; expect = { refused = 423 }"],
        &[],
    );
    both_ways(
        BAN,
        "F after = \"1s\"; repeat = 2; every = \"5s\"",
        &["F at = \"6s\"; expect = { refused = 423, retry_after = \"3600s\" }"],
        &[],
    );
    both_ways(BAN, "F\nT restart = \"keep\"", &["F expect = { ban = \"1h\" }"], &[]);
    both_ways(BAN, "F\nT restart = \"lose\"", &["F expect = \"pass\""], &[]);
    both_ways(BAN, "F repeat = 2\nT restart = \"keep\"", &["F expect = { refused = 423 }"], &[]);
    both_ways(
        "[policy.ban]",
        "F\nT swap = { policy = \"ban\", settings = { max_failed_login = 2 } }",
        &["F expect = { ban = \"1h\" }"],
        &[],
    );
    // Checks of secrets take time, which a file can't tell beforehand.
    let slow = format!(
        "{BAN}\n[[step]]\nattempt = {{ from = \"::1\", outcome = \"success\" }}\nparallel = 1\ntakes = \"3s\"\n"
    );
    assert_eq!(problems(&format!("{slow}[[step]]\nat = \"3s\"\n")), [""; 0]);
    assert_eq!(
        problems(&format!("{slow}[[step]]\nat = \"2s\"\n")),
        ["at: 2s is in the past, it is 3s since the start already"]
    );
    // Summer time is nobody's business here: an hour is an hour.
    assert_eq!(
        problems(&format!(
            "start = \"2026-03-29T00:59:00Z\"\n{BAN}\n{}",
            steps("F repeat = 2\nF after = \"59m59s\"; expect = { refused = 423 }")
        )),
        [""; 0]
    );
}

#[test]
fn rule_17_a_success_lifts_no_ban_in_a_scenario() {
    both_ways(BAN, "F repeat = 2", &["S expect = { refused = 423 }"], &[]);
}

#[test]
fn what_a_report_tells() {
    let report =
        run(&format!("{BAN}\n{}", steps("F repeat = 2; every = \"90m\"; expect = \"pass\"; note = \"twice\\nover\"")));
    assert_eq!(
        report.to_string(),
        "x ... FAILED\n  \
           a.toml:4: step 1, at 0s: a login of \"abc\" from 203.0.113.7 fails, 2 times, one every 1h 30m (twice\\u{a}over)\n    \
             event 2: expected a pass, came a ban of 203.0.113.7/32 for 1h by ban because \"max-failed-login\", \"Maximum of 2 login attempts reached.\", answered 401\n    \
             came in all: checked 2, passed 1, bans 1\n    \
             event 2, at 1h 30m:\n      \
               policy ban judged source 203.0.113.7/32: ban 1h because \"max-failed-login\", \"Maximum of 2 login attempts reached.\"\n        \
                 kept before: 01 00 00 00 |....|\n        \
                 kept after:  nothing (forgotten)"
    );
}

#[test]
fn what_a_problem_tells_of_the_event_is_not_told_again() {
    let mut shelf = shelf();
    let under_test = UnderTest::Plugin(guest(&shelf, "traps-always"));
    let said = |shelf: &mut Shelf, step: &str| {
        try_run(&under_test, shelf, &format!("[policy.ban]\n{}", steps(step))).unwrap().to_string()
    };
    let both = said(&mut shelf, "F after = \"3s\"; expect = \"pass\"");
    assert_eq!((both.matches("a denial").count(), both.matches("failed (").count()), (1, 2), "{both}");
    assert!(both.contains(": step 1, at 3s: ") && both.contains("\n    event 1, at 3s:\n"), "{both}");
    // What no problem tells is.
    let failing = said(&mut shelf, "F failing = \"ban\"; total = { denied = 0 }");
    assert!(
        failing.contains("event 1, at 0s: a denial, answered 503") && failing.contains("failed (at first)"),
        "{failing}"
    );
}

#[test]
fn hidden_state_is_told_with_step_event_policy_and_both_answers() {
    let mut shelf = shelf();
    for (name, because) in
        [("hidden-state", None), ("examples", Some("\"hidden-state\", \"I have seen three failures.\""))]
    {
        let plugin = if name == "examples" {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/examples/bundle/hidden-state.wasm");
            shelf.plugin(path.to_str().unwrap(), Path::new("")).unwrap()
        } else {
            guest(&shelf, name)
        };
        let under_test = UnderTest::Plugin(plugin);
        // Nothing is expected, and all the same it is found; so it is where something else fails.
        for expect in ["", "expect = \"verified\""] {
            let text = format!("[policy.ban]\n{}", steps(&format!("F {expect}\nF repeat = 5; {expect}")));
            let report = try_run(&under_test, &mut shelf, &text).unwrap();
            let [hidden] = &report.hidden[..] else { panic!("{report}") };
            assert_eq!((hidden.step, hidden.line, hidden.n, hidden.policy.as_str()), (2, 6, 2, "ban"), "{report}");
            assert!(hidden.pooled.is_some() && hidden.fresh.is_some() && !report.passed());
            let said = report.to_string();
            let because = because.map_or_else(String::new, |because| format!(" because {because}"));
            for line in [
                "a.toml:6: step 2, event 2: policy ban has hidden state: for source 203.0.113.7/32 a fresh instance answers differently",
                &format!("  an instance that has judged before: ban 1m{because}"),
                "  a fresh instance:                   pass; kept after: nothing (unchanged)",
            ] {
                assert!(said.contains(line), "{line}\n{said}");
            }
        }
    }
    let pure = run(&format!("[policy.ban]\n{}", steps("F repeat = 5")));
    assert!(pure.passed() && pure.hidden.is_empty(), "{pure}");
}

#[test]
fn who_has_no_hidden_state_is_not_accused_of_what_follows_from_anothers() {
    let mut shelf = shelf();
    let under_test = UnderTest::Plugin(guest(&shelf, "hidden-state"));
    let policies = "[policy.wait]\n[policy.ban]\n[policy.other]\nkind = \"ban\"\n";
    let text = format!("{policies}{}", steps("F repeat = 6; every = \"2s\""));
    let report = try_run(&under_test, &mut shelf, &text).unwrap();
    // The ban keeps `wait` from being asked in one world and not in the other.
    let accused: Vec<_> = report.hidden.iter().map(|hidden| (hidden.n, hidden.policy.as_str())).collect();
    assert_eq!(accused, [(3, "ban"), (3, "other")], "{report}");
}

#[test]
fn hidden_state_among_attempts_at_the_same_instant() {
    let mut shelf = shelf();
    let under_test = UnderTest::Plugin(guest(&shelf, "hidden-state"));
    let text = "[policy.ban]\n[[step]]\nattempt = { client = \"{n}\", from = \"2001:db8:{n}::1\", outcome = \"failure\" }\nparallel = 5\n";
    let report = try_run(&under_test, &mut shelf, text).unwrap();
    assert_eq!((report.hidden.len(), report.hidden[0].step, report.hidden[0].n), (1, 1, 3), "{report}");
}

#[test]
fn a_failed_plugin_fails_the_step_unless_that_is_expected() {
    let mut shelf = shelf();
    let under_test = UnderTest::Plugin(guest(&shelf, "traps-always"));
    let mut problems = |on_failure: &str, step: &str| -> Vec<String> {
        let text = format!("[policy.ban]\non_failure = \"{on_failure}\"\n{}", steps(step));
        let report = try_run(&under_test, &mut shelf, &text).unwrap();
        report.steps[0].problems.iter().map(ToString::to_string).collect()
    };
    for on_failure in ["deny", "allow", "bundle"] {
        let found = problems(on_failure, "F");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("event 1: the plugin of policy ban failed (at first): it trapped"), "{found:?}");
        assert!(found[1].starts_with("event 1: the plugin of policy ban failed (on a fresh instance)"), "{found:?}");
        assert_eq!(problems(on_failure, "F expect = \"any\""), [""; 0]);
        assert_eq!(problems(on_failure, "F failing = \"ban\""), [""; 0]);
    }
    assert_eq!(problems("deny", "F expect = \"denied\"; total = { denied = 1, passed = 0 }"), [""; 0]);
    assert_eq!(problems("deny", "F expect = { reply = 503 }; failing = [\"ban\"]"), [""; 0]);
    assert_eq!(problems("allow", "F expect = \"pass\"; failing = \"ban\""), [""; 0]);
    assert_eq!(problems("bundle", "F expect = \"pass\"; failing = \"ban\"; repeat = 4"), [""; 0]);
    assert_eq!(problems("allow", "F expect = \"denied\""), ["event 1: expected a denial, came a pass, answered 401"]);
    assert_eq!(
        problems("deny", "F expect = \"pass\"; failing = \"ban\""),
        ["event 1: expected a pass, came a denial, answered 503"]
    );
    let sound = run(&format!("[policy.ban]\n{}", steps("F failing = \"ban\"")));
    assert_eq!(sound.steps[0].problems[0].to_string(), "failing: expected the plugin of policy ban to fail, it didn't");
}

#[test]
fn rule_21_on_failure_is_decided_anew_whenever_another_plugin_runs() {
    let mut shelf = shelf();
    let folder = tempfile::tempdir().unwrap();
    let traps = folder.path().join("traps.wasm");
    std::fs::write(&traps, component("traps-always")).unwrap();
    let bundled = shelf.bundle(Kind::Ban).unwrap();
    let fallback = [("max_failed_login".to_owned(), SettingValue::Integer(1))].into();
    let on_failure = Failing::Bundle { plugin: Arc::clone(&bundled), settings: fallback };
    let setup = Plan::default().policy(PolicyPlan { on_failure, ..PolicyPlan::new("ban", Kind::Ban, bundled) });
    let setup = UnderTest::Setup(Box::new(setup));
    let mut problems = |under_test: &UnderTest, policies: &str, step: &str| -> Vec<String> {
        let text = format!("{policies}\n{}", steps(step)).replace("TRAPS", traps.to_str().unwrap());
        let report = try_run(under_test, &mut shelf, &text).unwrap();
        report.steps.iter().flat_map(|step| &step.problems).map(ToString::to_string).collect()
    };
    let bundle = "[policy.ban]\nplugin = \"bundle:ban\"\non_failure = \"bundle\"";
    let swap = "T swap = { policy = \"ban\", plugin = \"TRAPS\", settings = {} }\n";
    // What the bundle's plugin would have failed for is denied; another's it steps in for.
    for (policies, step) in [
        (bundle.to_owned(), format!("{swap}F expect = \"pass\"; failing = \"ban\"")),
        (bundle.to_owned(), format!("{swap}T restart = \"keep\"\nF expect = \"pass\"; failing = \"ban\"")),
        // Beside another policy that runs the bundle's, its verdict is enough: nothing of this one is kept.
        (
            format!("{bundle}\n[policy.two]\nkind = \"ban\""),
            format!("{swap}F expect = \"pass\"; failing = \"ban\"; kept.two = {{ bytes = 4 }}"),
        ),
        // And as soon as that one runs something else, the bundle is gone.
        (
            format!(
                "{bundle}\nsettings = {{ max_failed_login = 1 }}\n[policy.two]\nkind = \"ban\"\nplugin = \"TRAPS\"\non_failure = \"bundle\""
            ),
            format!(
                "F expect = {{ ban = \"1h\", by = \"ban\" }}; failing = \"two\"\n{swap}F after = \"2h\"; expect = \"pass\"; repeat = 4; failing = [\"ban\", \"two\"]\nF expect = [{{ ban = \"1h\", by = \"ban\" }}, {{ ban = \"1h\", by = \"two\" }}]; failing = [\"ban\", \"two\"]"
            ),
        ),
    ] {
        assert_eq!(problems(&UnderTest::Bundle, &policies, &step), [""; 0], "{policies}\n{step}");
    }
    // Over a configuration, whose fallback's settings count too.
    let banned = "F expect = { ban = \"1h\" }; failing = \"ban\"";
    for (policies, step) in [
        ("[policy.ban]\nplugin = \"TRAPS\"", banned.to_owned()),
        ("[policy.ban]\nplugin = \"TRAPS\"\non_failure = \"bundle\"", banned.to_owned()),
        ("[policy.ban]\nplugin = \"TRAPS\"\non_failure = \"deny\"", "F expect = \"denied\"".to_owned()),
        ("", format!("{swap}{banned}")),
    ] {
        assert_eq!(problems(&setup, policies, &step), [""; 0], "{policies}\n{step}");
    }
}

#[test]
fn orders_beside_a_denial() {
    let mut shelf = shelf();
    let under_test = UnderTest::Plugin(guest(&shelf, "traps-always"));
    let mut passed = |expect: &str| {
        let text = format!("[policy.ban]\n[policy.wait]\n{}", steps(&format!("F expect = {expect}")));
        try_run(&under_test, &mut shelf, &text).unwrap().passed()
    };
    assert!(passed("{ wait = \"2s\", reply = 503 }"));
    assert!(passed("\"denied\""));
    assert!(!passed("{ wait = \"2s\" }"));
    assert!(!passed("{ wait = \"2s\" }; failing = \"ban\""), "a denial isn't among what is expected");
    assert!(!passed("{ wait = \"2s\", reply = 401 }; failing = \"ban\""));
    let text = format!("[policy.wait]\n{}", steps("F expect = { wait = \"2s\", reply = 503 }"));
    assert!(!run(&text).passed(), "without a denial there is no 503");
}

#[test]
fn what_a_plugin_logs_is_told_on_one_line() {
    let mut shelf = shelf();
    let under_test = UnderTest::Plugin(guest(&shelf, "floods-log"));
    let text = format!("[policy.ban]\n{}", steps("F expect = \"verified\""));
    let report = try_run(&under_test, &mut shelf, &text).unwrap();
    assert!(report.details().iter().any(|line| line.contains("policy ban logged (")), "{report}");
    assert!(report.details().iter().all(|line| !line.contains(char::is_control)), "{report}");
}

#[test]
fn what_does_not_fit_the_plugins_is_told_by_line() {
    let mut shelf = shelf();
    let mut mistakes = |text: &str| try_run(&UnderTest::Bundle, &mut shelf, text).unwrap_err();
    for (text, expected) in [
        (
            "[policy.ban]\nsettings = { max_failed_logins = 3,\n ban_time = \"1h\" }\n[[step]]\n",
            "a.toml:3: policy.ban.settings.max_failed_logins: there is no such key (did you mean \"max_failed_login\"?)\n\
          a.toml:4: policy.ban.settings.ban_time: ban_time: found a text, expected a number",
        ),
        ("[policy.mine]\n[[step]]\n", "a.toml:2: policy.mine.kind: missing; expected \"wait\", \"ban\" or \"scanner\""),
        (
            "[policy.ban]\nplugin = \"nowhere.wasm\"\n[[step]]\n",
            "a.toml:3: policy.ban.plugin: nowhere.wasm: No such file or directory (os error 2)",
        ),
        (
            "[policy.ban]\nplugin = \"bundle:wait\"\n[[step]]\n",
            "a.toml:2: policy.ban: bundle: the plugin doesn't judge as ban",
        ),
        (
            "[policy.ban]\n[[step]]\nswap = { policy = \"bann\" }\n[[step]]\nkept.wait = { nothing = true, of = { from = \"::1\" } }\n\
          [[step]]\nattempt = { from = \"::1\", outcome = \"failure\" }\nexpect = { ban = \"1h\", by = \"wait\" }\nfailing = \"scanner\"\n",
            "a.toml:3: step.swap.policy: found \"bann\", expected a policy that is in force: ban (did you mean ban?)\n\
          a.toml:6: step.kept: found \"wait\", expected a policy that is in force: ban\n\
          a.toml:7: step.expect.by: found \"wait\", expected a policy that is in force: ban\n\
          a.toml:7: step.failing: found \"scanner\", expected a policy that is in force: ban",
        ),
        (
            "[policy.ban]\n[[step]]\nswap = { policy = \"ban\", settings = { max = 1 } }\n",
            "a.toml:4: step.swap.settings.max: there is no such key (did you mean \"max_failed_login\"?)",
        ),
        (
            "[policy.ban]\n[[step]]\nkept.ban = { bytes = 4, of = { client = \"abc\" } }\n",
            "a.toml:4: step.kept.ban.of.from: missing; expected the source, which is part of whom the policy keeps state about",
        ),
    ] {
        assert_eq!(mistakes(text), expected, "{text}");
    }
}

#[test]
fn under_a_configuration_its_policies_are_in_force_and_a_scenario_goes_over_them() {
    let mut shelf = shelf();
    let ban = shelf.bundle(Kind::Ban).unwrap();
    let mine = PolicyPlan::new("mine", Kind::Ban, ban)
        .setting("max_failed_login", SettingValue::Integer(1))
        .setting("ban_time", SettingValue::Integer(60));
    let plan = Plan::default().policy(mine);
    let setup = UnderTest::Setup(Box::new(plan));
    let mut problems = |policies: &str, step: &str| -> Vec<String> {
        let report = try_run(&setup, &mut shelf, &format!("{policies}\n{}", steps(step))).unwrap();
        report.steps[0].problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(problems("", "F expect = { ban = \"1m\", by = \"mine\" }"), [""; 0]);
    let overridden = "[policy.mine]\nsettings = { max_failed_login = 2 }";
    assert_eq!(problems(overridden, "F expect = \"pass\""), [""; 0]);
    assert_eq!(
        problems(overridden, "F repeat = 2; total = { passed = 1, bans = 1 }; kept.mine = \"nothing\""),
        [""; 0]
    );
    // Exactly those that are named.
    assert_eq!(problems("[policy.wait]", "F expect = { wait = \"2s\" }"), [""; 0]);
    // Another plugin begins with settings of its own.
    assert_eq!(problems("[policy.mine]\nplugin = \"bundle:ban\"", "F repeat = 4; expect = \"pass\""), [""; 0]);
    assert_eq!(problems("[gate]\nmax_ban = \"10s\"", "F expect = { ban = \"10s\" }"), [""; 0]);
}

#[test]
fn the_plugin_under_test_stands_for_the_bundles_of_its_kind() {
    let mut shelf = shelf();
    let under_test = UnderTest::Plugin(guest(&shelf, "always-bans"));
    let text = steps("F expect = [{ wait = \"2s\", by = \"wait\" }, { ban = \"60s\", by = \"ban\" }]");
    let report = try_run(&under_test, &mut shelf, &text).unwrap();
    assert!(report.passed(), "{report}");
    let report =
        try_run(&under_test, &mut shelf, &format!("[policy.wait]\n{}", steps("F expect = { wait = \"2s\" }"))).unwrap();
    assert!(report.passed(), "{report}");
}

#[test]
fn the_defaults_that_the_reference_names_are_those_that_hold() {
    let mut shelf = shelf();
    let mut named = String::new();
    for key in portcullis_harness::scenario::KEYS {
        let path = key.path.replace("NAME", "ban");
        if let (Some(default), false) = (key.default, path.starts_with("step.")) {
            named.push_str(&format!("{path} = {default}\n"));
        }
    }
    assert_eq!(named.lines().count(), 12, "{named}");
    let mut plan = |text: &str| {
        let scenario = Scenario::parse(&format!("name = \"x\"\n{text}[[step]]\n"), "a.toml", Path::new("")).unwrap();
        scenario.bind(&UnderTest::Bundle, &mut shelf).unwrap().plan().clone()
    };
    assert_eq!(format!("{:?}", plan(&named)), format!("{:?}", plan("[policy.ban]\n")));
}

#[test]
fn a_trial_in_rust_says_the_same_as_a_file() {
    let mut shelf = shelf();
    let ban = PolicyPlan::new("ban", Kind::Ban, shelf.bundle(Kind::Ban).unwrap());
    let two = ban.clone().setting("max_failed_login", SettingValue::Integer(2));
    let wrong = Attempt::failure("abc", "203.0.113.7");
    Trial::new("two failures in a row")
        .policy(two.clone())
        .attempt(wrong.clone())
        .expect_pass()
        .expect_kept("ban", KeptBytes::Exactly([1, 0, 0, 0].as_slice().into()))
        .after(SECOND)
        .attempt(wrong.clone())
        .expect_ban(HOUR)
        .expect_kept("ban", KeptBytes::Nothing)
        .attempt(wrong.clone())
        .times(3, SECOND)
        .expect_refused(423)
        .expect_total(Sum::Refused, 3)
        .restart(RestartKeeps::Nothing)
        .swap(ban.clone())
        .at(2 * HOUR)
        .attempt(wrong.clone())
        .times(4, SECOND)
        .note("five again")
        .expect_pass()
        .attempt(wrong.clone())
        .at_once(1, SECOND)
        .expect_order(Ordered::Ban { duration: HOUR, network: Some("203.0.113.7/32".parse().unwrap()) })
        .request(Request::get("203.0.113.8", "/", 200))
        .expect(Expected::Pass)
        .attempt(Attempt::success("abc", "203.0.113.8").secret("sesame"))
        .expect_pass()
        .attempt(Attempt::success("abc", "203.0.113.8").secret("sesame"))
        .expect_verified()
        .nothing()
        .assert();
    let report = Trial::new("fails").policy(two.clone()).attempt(wrong.clone()).expect_ban(HOUR).run().unwrap();
    assert!(!report.passed());
    assert_eq!(report.steps[0].step.line, line!() as usize - 2);
    let text = report.to_string();
    assert!(text.starts_with("fails ... FAILED") && text.contains("host/harness/tests/scenarios.rs:"), "{text}");
    let guest =
        PolicyPlan { on_failure: Failing::Allow, ..PolicyPlan::new("ban", Kind::Ban, guest(&shelf, "traps-always")) };
    Trial::new("x").policy(guest.clone()).attempt(wrong.clone()).expect_pass().expect_failing("ban").assert();
    assert!(!Trial::new("x").policy(guest).attempt(wrong).expect_pass().run().unwrap().passed());
}

#[test]
fn a_trial_that_makes_no_sense_says_so() {
    let shelf = &mut shelf();
    let ban = PolicyPlan::new("ban", Kind::Ban, shelf.bundle(Kind::Ban).unwrap());
    let wrong = ban.clone().setting("max", SettingValue::Integer(2));
    let error = Trial::new("x").policy(ban).expect_pass().attempt(Attempt::failure("abc", "here")).run().unwrap_err();
    let error = error.to_string();
    assert!(error.contains("step.expect: there is no attempt or request in this step"), "{error}");
    assert!(error.contains("step.attempt.from: found \"here\", expected an address"), "{error}");
    let nothing = Trial::new("x").attempt(Attempt::failure("abc", "::1")).expect(Expected::Orders(Vec::new()));
    let error = nothing.run().unwrap_err().to_string();
    assert!(error.contains("step.expect: no order at all is expected"), "{error}");
    let error = Trial::new("x").policy(wrong).run().unwrap_err().to_string();
    assert!(error.contains("policy.ban.settings.max: there is no such key"), "{error}");
}

#[test]
#[should_panic(expected = "expected a ban of 1h, came a pass, answered 401")]
fn a_trial_that_fails_panics_with_what_came() {
    let ban = PolicyPlan::new("ban", Kind::Ban, shelf().bundle(Kind::Ban).unwrap());
    Trial::new("x").policy(ban).attempt(Attempt::failure("abc", "203.0.113.7")).expect_ban(HOUR).assert();
}

const WHOLE: [&str; 4] = [
    include_str!("../../../tests/scenarios/bundle/all.toml"),
    include_str!("../../../tests/scenarios/bundle/scanner.toml"),
    include_str!("../../../tests/scenarios/bundle/ban.toml"),
    "name = \"x\"\n[[step]]\nattempt = { client = \"a{n}\", from = \"2001:db8:{n}::1\", outcome = \"failure\" }\nparallel = 9\n\
     takes = \"9s\"\n[[step]]\nswap = { policy = \"ban\", settings = { ban_time = 9.5 } }\n[[step]]\nrestart = \"keep\"\nat = \"99d\"\n\
     kept.ban = { ttl = \"none\", of = { from = \"::1\" } }\n",
];

thread_local! {
    static SHELF: RefCell<Shelf> = RefCell::new(shelf());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_change_of_a_file_stops_a_run(
        whole in prop::sample::select(&WHOLE[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[0-9]{0,2}"), 1..6),
    ) {
        let mut text = whole.to_owned();
        for (place, with) in changes {
            // Digits for digits: most of what comes out still can be read.
            let digits: Vec<_> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
            if !digits.is_empty() {
                let at = digits[place.index(digits.len())];
                text.replace_range(at..=at, &with);
            }
        }
        if let Ok(scenario) = Scenario::parse(&text, "a.toml", Path::new(""))
            && scenario.steps.iter().map(|step| step.times.count()).sum::<u32>() < 500
        {
            SHELF.with(|shelf| {
                if let Ok(bound) = scenario.bind(&UnderTest::Bundle, &mut shelf.borrow_mut()) {
                    let report = bound.run().unwrap();
                    assert!(report.details().iter().all(|line| !line.contains(char::is_control)));
                    assert!(report.hidden.is_empty(), "{report}");
                }
            });
        }
    }
}
