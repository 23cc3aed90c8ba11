//! Every kind of mistake, as its author reads it.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::super::keys::KEYS;
use super::super::model::Scenario;
use super::super::{Cause, Mistake};
use super::{SCENARIO_BYTES_MAX, sections};

/// With all that a scenario needs, in its first three lines.
const HEAD: &str = "name = \"x\"\n[[step]]\n";
const ATTEMPT: &str = "attempt = { from = \"203.0.113.7\", outcome = \"failure\" }\n";
const WHOLE: &str = include_str!("../../../../../tests/scenarios/bundle/ban.toml");

fn mistakes(text: &str) -> String {
    match Scenario::parse(text, "a.toml", Path::new("")) {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes.to_string(),
    }
}

/// What is wrong with a step of these lines; they begin at line 3.
fn in_step(lines: &str) -> String {
    mistakes(&format!("{HEAD}{lines}"))
}

#[test]
fn every_key_of_the_table_is_read_and_no_other() {
    let (_, asked) = sections::read(HEAD).unwrap();
    let known: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
    assert_eq!(asked, known);
}

#[test]
fn the_examples_are_taken() {
    for key in KEYS {
        let path = key.path.replace("NAME", "ban");
        let text = match path.strip_prefix("step.") {
            Some(path) => format!("[[step]]\n{path} = {}\n", key.example),
            None => format!("{path} = {}\n", key.example),
        };
        let Err(mistakes) = Scenario::parse(&text, "a.toml", Path::new("")) else { continue };
        // Alone, most of them lack something or don't go with the rest.
        let about = |mistake: &&Mistake| {
            matches!(mistake.cause, Cause::Syntax { .. } | Cause::Value { .. } | Cause::UnknownKey { .. })
        };
        let wrong: Vec<_> = mistakes.list.iter().filter(about).collect();
        assert!(wrong.is_empty(), "{text}{wrong:?}");
    }
}

#[test]
fn a_mistake_names_file_line_key_what_was_found_and_what_is_expected() {
    for (text, expected) in [
        ("name = ", "a.toml:1: string values must be quoted, expected literal string"),
        (
            "",
            "a.toml: name: missing; expected text, such as name = \"five failures in a row ban the source\"\n\
              a.toml: step: missing; expected at least one [[step]]",
        ),
        ("name = 3\n[[step]]\n", "a.toml:1: name: found 3, expected text, not empty, on one line"),
        (
            "name = \"x\"\n[step]\n",
            "a.toml:2: step: found a table, expected a list of tables: [[step]] with two brackets",
        ),
        ("name = \"x\"\nnmae = 1\n[[step]]\n", "a.toml:2: nmae: there is no such key (did you mean name?)"),
        (
            "name = \"x\"\nattempt = 1\n[[step]]\n",
            "a.toml:2: attempt: there is no such key (did you mean step.attempt?)",
        ),
        (
            "name = \"x\"\nstart = \"noon\"\n[[step]]\n",
            "a.toml:2: start: found \"noon\", expected a time in UTC such as \"2026-01-05T12:00:00Z\"",
        ),
        (
            "name = \"x\"\n[gate]\nmax_bann = \"1h\"\nipv6_prefix = 0\nnever_ban = [\"10.0.0.1/8\", 7]\nmax_wait = \"1y\"\n[[step]]\n",
            "a.toml:3: gate.max_bann: there is no such key (did you mean gate.max_ban?)\n\
          a.toml:4: gate.ipv6_prefix: found 0, expected a whole number from 1 to 128\n\
          a.toml:5: gate.never_ban: found \"10.0.0.1/8\", expected the network's own address, \"10.0.0.0/8\"\n\
          a.toml:5: gate.never_ban: found 7, expected a network such as \"203.0.113.0/24\" or an address\n\
          a.toml:6: gate.max_wait: found \"1y\", expected a duration in days and smaller units, such as \"365d\" for a year",
        ),
        (
            "name = \"x\"\n[policy]\nban = 1\n[[step]]\n",
            "a.toml:3: policy.ban: found 1, expected a table, [policy.ban]",
        ),
        (
            "name = \"x\"\n[policy]\nwiat = 1\n[[step]]\n",
            "a.toml:3: policy.wiat: found 1, expected a table, [policy.wiat] (did you mean policy.wait?)",
        ),
        (
            "name = \"x\"\n[policy.Ban]\n[[step]]\n",
            "a.toml:2: policy.Ban: found \"Ban\", expected a name of 1 to 32 characters out of a-z, 0-9 and -",
        ),
        (
            "name = \"x\"\n[policy.ban]\nkind = \"wait\"\nsubjekt = \"id\"\non_failure = \"alow\"\nlimits = { memory = \"1B\", deadline = \"1h\" }\n[[step]]\n",
            "a.toml:3: policy.ban.kind: found \"wait\", expected \"ban\": another kind is a policy under a name of its own\n\
          a.toml:4: policy.ban.subjekt: there is no such key (did you mean policy.ban.subject?)\n\
          a.toml:5: policy.ban.on_failure: found \"alow\", expected \"deny\", \"allow\" or \"bundle\" (did you mean \"allow\"?)\n\
          a.toml:6: policy.ban.limits.deadline: found \"1h\", expected a duration from 1ms to 10s\n\
          a.toml:6: policy.ban.limits.memory: found \"1B\", expected a size from 65536 to 1073741824 bytes, such as \"512B\", \"1KiB\" or \"64MiB\"",
        ),
        (
            "name = \"x\"\n[policy.ban]\nsettings = { at = 2026-01-05 }\n[[step]]\n",
            "a.toml:3: policy.ban.settings.at: found 2026-01-05, expected a finite number, text (at most 64 KiB), true, false, a list or a table; times as text",
        ),
    ] {
        assert_eq!(mistakes(text), expected, "{text}");
    }
}

#[test]
fn a_mistake_in_a_step_too() {
    let attempt = |rest: &str| format!("{ATTEMPT}{rest}");
    let mut wrong = Vec::new();
    for (lines, expected) in [
        ("atempt = {}\n".to_owned(), "a.toml:3: step.atempt: there is no such key (did you mean step.attempt?)"),
        (
            "attempt = { form = \"::1\", outcome = \"fails\" }\n".to_owned(),
            "a.toml:3: step.attempt.form: there is no such key (did you mean step.attempt.from?)\n\
          a.toml:3: step.attempt.from: missing; expected address, such as from = \"203.0.113.{n}\"\n\
          a.toml:3: step.attempt.outcome: found \"fails\", expected \"failure\" or \"success\" (did you mean \"failure\"?)",
        ),
        (
            "attempt = { from = \"203.0.113.{n}\", outcome = \"failure\" }\nrepeat = 300\n".to_owned(),
            "a.toml:3: step.attempt.from: found \"203.0.113.256\" for n = 256, expected an address such as \"203.0.113.7\" or \"2001:db8::1\"",
        ),
        (
            "attempt = 1\nrequest = { from = \"::1\", path = \"/\", status = 999 }\n".to_owned(),
            "a.toml:3: step.attempt: found 1, expected a table, such as { from = \"203.0.113.7\", outcome = \"failure\" }\n\
          a.toml:4: step.request: one thing happens in a step, and there is step.attempt already\n\
          a.toml:4: step.request.status: found 999, expected a status from 100 to 599",
        ),
        (
            "restart = \"forget\"\n".to_owned(),
            "a.toml:3: step.restart: found \"forget\", expected \"keep\" or \"lose\"",
        ),
        ("swap = {}\n".to_owned(), "a.toml:3: step.swap.policy: missing; expected text, such as policy = \"ban\""),
        (
            "after = \"3\"\nat = 3\n".to_owned(),
            "a.toml:3: step.after: found \"3\", expected a duration such as \"20ms\", \"3s\" or \"59m59s\", with its unit and in quotes\n\
          a.toml:4: step.at: found 3, expected a duration such as \"20ms\", \"3s\" or \"59m59s\", with its unit and in quotes",
        ),
        ("after = \"3s\"\nat = \"3s\"\n".to_owned(), "a.toml:4: step.at: say either after or at"),
        (
            "after = \"3s\"\n[[step]]\nat = \"2s\"\n".to_owned(),
            "a.toml:5: step.at: 2s is in the past: the step before ends at 3s, and time never goes back",
        ),
        (
            "repeat = 2\n".to_owned(),
            "a.toml:3: step.repeat: there is no attempt or request in this step that could be repeated",
        ),
        (attempt("repeat = 0\n"), "a.toml:4: step.repeat: found 0, expected a whole number from 1 to 100000"),
        (attempt("repeat = 2\nparallel = 2\n"), "a.toml:5: step.parallel: say either repeat or parallel"),
        (
            attempt("every = \"1s\"\n"),
            "a.toml:4: step.every: only with repeat; to let time pass before the step say after",
        ),
        (
            attempt("takes = \"1s\"\n"),
            "a.toml:4: step.takes: only with parallel: alone, how long a check takes changes nothing",
        ),
        (
            "request = { from = \"::1\", path = \"/\", status = 404 }\nparallel = 2\n".to_owned(),
            "a.toml:4: step.parallel: only attempts queue for their turn; say repeat for requests",
        ),
        (
            "expect = \"pass\"\nfailing = \"ban\"\ntotal = { bans = 1 }\nkept.ban = \"nothing\"\n".to_owned(),
            "a.toml:3: step.expect: there is no attempt or request in this step that could come to anything\n\
          a.toml:4: step.failing: there is no attempt or request in this step that a plugin could fail at\n\
          a.toml:5: step.total: there is no attempt or request in this step that could be counted\n\
          a.toml:6: step.kept: there is no event in this step, so say whose state: of = { from = \"203.0.113.7\" }",
        ),
        (
            attempt("expect = \"passed\"\n"),
            "a.toml:4: step.expect: found \"passed\", expected \"pass\", \"verified\", \"denied\" or \"any\", or a table such as { ban = \"1h\" } (did you mean \"pass\"?)",
        ),
        (
            attempt("expect = { refusd = 423 }\n"),
            "a.toml:4: step.expect.refusd: there is no such key (did you mean step.expect.refused?)",
        ),
        (attempt("expect = { refused = 503 }\n"), "a.toml:4: step.expect.refused: found 503, expected 423 or 429"),
        (
            attempt("expect = { refused = 423, ban = \"1h\" }\n"),
            "a.toml:4: step.expect.refused: a refusal orders nothing: no policy is asked",
        ),
        (
            attempt("expect = { retry_after = \"1500ms\" }\n"),
            "a.toml:4: step.expect.retry_after: found \"1500ms\", expected a duration of whole seconds, as Retry-After says it\n\
          a.toml:4: step.expect.retry_after: only beside refused",
        ),
        (
            attempt("expect = { wait = \"1s\", network = \"::/64\" }\n"),
            "a.toml:4: step.expect.network: only beside ban",
        ),
        (
            attempt("expect = { reply = 401, by = \"ban\" }\n"),
            "a.toml:4: step.expect.by: only beside wait, ban or spared: it is the order's",
        ),
        (attempt("expect = { spared = false }\n"), "a.toml:4: step.expect.spared: found false, expected true"),
        (attempt("expect = {}\n"), "a.toml:4: step.expect: missing; expected wait, ban, spared, refused or reply"),
        (
            attempt("expect = []\n"),
            "a.toml:4: step.expect: no order at all is expected; where none may come, say \"pass\"",
        ),
        (
            attempt("expect = [{ refused = 423 }, 1, { wait = \"1s\", reply = 401 }, { ban = \"1s\", reply = 403 }]\n"),
            "a.toml:4: step.expect: in a list every table is an order: wait, ban or spared\n\
          a.toml:4: step.expect: found 1, expected a table such as { wait = \"2s\" }\n\
          a.toml:4: step.expect.reply: there is one reply",
        ),
        (
            attempt("total = { banned = 1, bans = -1 }\n"),
            "a.toml:4: step.total.banned: there is no such key (did you mean step.total.bans?)\n\
          a.toml:4: step.total.bans: found -1, expected a whole number from 0 to 4294967295",
        ),
        (
            attempt("kept.ban = \"something\"\n"),
            "a.toml:4: step.kept.ban: found \"something\", expected \"nothing\" or a table such as { hex = \"01000000\" }",
        ),
        (
            attempt("kept.ban = { hex = \"0g\", text = \"x\", of = {}, ttl = 3 }\n"),
            "a.toml:4: step.kept.ban.hex: found \"0g\", expected pairs of hexadecimal digits, such as \"01000000\"\n\
          a.toml:4: step.kept.ban.ttl: found 3, expected a duration such as \"20ms\", \"3s\" or \"59m59s\", with its unit and in quotes\n\
          a.toml:4: step.kept.ban: say one of hex, text, bytes and nothing\n\
          a.toml:4: step.kept.ban.of: missing; expected client, from or both",
        ),
        (
            attempt("kept.ban = { nothing = true, ttl = \"1s\" }\n"),
            "a.toml:4: step.kept.ban.ttl: nothing has no time to live",
        ),
        (
            "attempt = { from = \"::1\", outcome = \"failure\", attributes = { User-Agent = \"x\" } }\n".to_owned(),
            "a.toml:3: step.attempt.attributes.User-Agent: found \"x\", expected text under a lower-case name",
        ),
    ] {
        let found = in_step(&lines);
        if found != expected {
            wrong.push(format!("{lines}{found}\n---\n{expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_too_much_is_told() {
    let steps = format!("name = \"x\"\n{}", format!("[[step]]\n{ATTEMPT}repeat = 100000\n").repeat(11));
    assert_eq!(mistakes(&steps), "a.toml: step: 1100000 events, where a scenario has at most 1000000");
    let long = "x".repeat(300);
    let found = in_step(&format!("attempt = {{ client = \"{long}\", from = \"::1\", outcome = \"failure\" }}\n"));
    assert!(
        found.contains("step.attempt.client: found \"xxx") && found.ends_with("expected at most 256 bytes"),
        "{found}"
    );
    let many: String = (0..100).map(|n| format!("key-{n} = 1\n")).collect();
    assert!(mistakes(&format!("{many}{HEAD}")).ends_with("… and 50 more"));
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(SCENARIO_BYTES_MAX + 1).unwrap();
    let error = Scenario::load(file.path()).unwrap_err().to_string();
    assert!(error.ends_with(": larger than 1048576 bytes"), "{error}");
    std::fs::write(file.path(), b"name = \"\xff\"").unwrap();
    let error = Scenario::load(file.path()).unwrap_err().to_string();
    assert!(error.ends_with(": not UTF-8 at byte 8"), "{error}");
}

#[test]
fn what_a_file_says_stays_on_its_line() {
    let found = mistakes("\"a\\u001b[2J\\nb\\u2028c\" = 1\nname = \"x\"\n[[step]]\n");
    assert_eq!(found, "a.toml:1: a\\u{1b}[2J\\u{a}b\\u{2028}c: there is no such key");
}

proptest! {
    #[test]
    fn no_bytes_stop_it(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        mistakes(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_change_of_a_file_stops_it(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "[\\[\\]{}=\"'.,0-9a-z\n-]{0,6}"), 1..8)
    ) {
        let mut text = WHOLE.to_owned();
        for (place, length, with) in changes {
            let start = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.floor_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end.max(start), &with);
        }
        mistakes(&text);
    }

    #[test]
    fn no_key_with_another_value_stops_it(
        key in prop::sample::select(KEYS),
        value in prop::sample::select(&["1", "-1", "1.5", "true", "\"\"", "\"x\"", "[]", "[[]]", "{}", "{ a = {} }", "2026-01-05",
            "nan", "9223372036854775807", "\"18446744073709551615s\"", "[{ ban = \"9999999999999d\" }]"][..]),
    ) {
        let path = key.path.replace("NAME", "ban");
        let text = path.strip_prefix("step.").map_or_else(
            || format!("{path} = {value}\n{HEAD}"),
            |path| format!("{HEAD}{path} = {value}\n"),
        );
        mistakes(&text);
    }
}
