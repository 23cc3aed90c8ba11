//! Steps: when, what, how often, and what it has to come to.

use std::time::Duration;

use portcullis_domain::{ClientId, Outcome};
use toml::de::DeValue;

use super::document::{need, table};
use super::sections::named;
use crate::document::mistake::{Cause, Place, Wrong};
use crate::document::reader::{Reader, Section, full};
use crate::document::setting;
use crate::document::value::{self, Parsed};
use crate::scenario::model::{
    Action, Attempt, Counted, EVENTS_MAX, Expect, Expected, ExpectedOrder, Kept, KeptBytes, Ordered, PARALLEL_MAX,
    REPEAT_MAX, Request, Step, Sum, Swap, Times, Ttl, When, Whose,
};
use crate::scenario::parse;
use crate::scenario::words;
use crate::world::RestartKeeps;

/// Longest text in which `{n}` is counted, in bytes: longer than anything that
/// a policy sees, and short enough to be written out for every event.
const COUNTED_BYTES_MAX: usize = 4 << 10;
/// Most attributes of one event.
const ATTRIBUTES_MAX: usize = 64;
/// Events of a step that are one of these.
const ACTIONS: [&str; 4] = ["step.attempt", "step.request", "step.restart", "step.swap"];

pub(super) fn read<'t>(reader: &mut Reader<'t>, root: Section<'t>) -> Vec<Step> {
    let Some(found) = reader.raw(root, "step") else {
        // A test wants to see every key asked for.
        read_step(reader, Section::absent("step", None));
        reader.mistake(Place::Nowhere, "step", Cause::Missing { expected: "at least one [[step]]".to_owned() });
        return Vec::new();
    };
    let Some(list) = found.get_ref().as_array() else {
        reader.wrong(found, "step", Wrong::expected("a list of tables: [[step]] with two brackets"));
        return Vec::new();
    };
    let mut steps = Vec::with_capacity(list.len());
    for element in list.iter() {
        let line = reader.line(element.span().start);
        match element.get_ref().as_table() {
            Some(table) => {
                let section = reader.section(table, line, "step", None);
                steps.push((section, read_step(reader, section)));
            }
            None => reader.wrong(element, "step", Wrong::expected("a table, [[step]]")),
        }
    }
    let events: u64 = steps.iter().map(|(_, step)| u64::from(step.times.count())).sum();
    if events > EVENTS_MAX {
        let why = format!("{events} events, where a scenario has at most {EVENTS_MAX}");
        reader.mistake(Place::Nowhere, "step", Cause::Conflict { why });
        return Vec::new();
    }
    check(reader, &steps);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// What makes no sense within a step, or after the one before.
fn check(reader: &mut Reader<'_>, steps: &[(Section<'_>, Step)]) {
    let mut earliest = Duration::ZERO;
    for (section, step) in steps {
        for (key, cause) in step.problems() {
            let line = key.strip_prefix("step.").and_then(|key| {
                let (table, key) = key.split_once('.').map_or((None, key), |(table, key)| (Some(table), key));
                let of = |table: &str| section.table?.get(table)?.get_ref().as_table();
                let table = table.map_or(section.table, of)?;
                Some(reader.line(table.get(key)?.span().start))
            });
            reader.mistake(line.or(Some(section.line)), key, cause);
        }
        match step.when {
            When::After(after) => earliest = earliest.saturating_add(after),
            When::At(at) if at < earliest => {
                let (at, end) = (words::duration(at), words::duration(earliest));
                let why = format!("{at} is in the past: the step before ends at {end}, and time never goes back");
                reader.mistake(reader.line_of(*section, "step.at"), "step.at", Cause::Conflict { why });
            }
            When::At(at) => earliest = at,
        }
        if let Times::Repeat { count, every } = step.times {
            earliest = earliest.saturating_add(every.saturating_mul(count.saturating_sub(1)));
        }
    }
}

fn read_step<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Step {
    let after = reader.maybe(section, "step.after", parse::duration);
    let at = reader.maybe(section, "step.at", parse::duration);
    if after.is_some() && at.is_some() {
        conflict(reader, section, "step.at", "say either after or at");
    }
    let actions = ACTIONS.into_iter().filter(|path| reader.raw(section, path).is_some()).collect::<Vec<_>>();
    if let [first, .., second] = actions.as_slice() {
        let why = format!("one thing happens in a step, and there is {first} already");
        conflict(reader, section, second, &why);
    }
    Step {
        line: section.line,
        note: reader.maybe(section, "step.note", parse::text),
        when: at.map(When::At).or(after.map(When::After)).unwrap_or(When::After(Duration::ZERO)),
        action: read_action(reader, section, &actions),
        times: read_times(reader, section),
        expect: read_expect(reader, section),
        failing: reader.maybe_list(section, "step.failing", parse::name).unwrap_or_default(),
        total: read_total(reader, section),
        kept: read_kept(reader, section),
    }
}

fn conflict(reader: &mut Reader<'_>, section: Section<'_>, path: &str, why: &str) {
    let line = reader.line_of(section, path);
    reader.mistake(line, full(path, section.policy), Cause::Conflict { why: why.to_owned() });
}

/// All of them are read, for the mistakes in them; the first one counts.
fn read_action<'t>(reader: &mut Reader<'t>, section: Section<'t>, actions: &[&str]) -> Action {
    let table = |reader: &mut Reader<'t>, path| {
        table(reader, section, path).unwrap_or_else(|| Section::absent(path, section.policy))
    };
    let attempt = table(reader, "step.attempt");
    let attempt = read_attempt(reader, attempt);
    let request = table(reader, "step.request");
    let request = read_request(reader, request);
    let restart = reader.maybe(section, "step.restart", |value| {
        value::choice(value, &[("keep", RestartKeeps::State), ("lose", RestartKeeps::Nothing)])
    });
    let swap = table(reader, "step.swap");
    let policy = need(reader, swap, "step.swap.policy", parse::name);
    let plugin = named(reader, swap, "step.swap.plugin");
    let settings = setting::read(reader, swap, "step.swap.settings");
    let swap = policy.map(|policy| Swap { policy, plugin, settings });
    let action = match actions.first().copied() {
        Some("step.attempt") => attempt.map(Action::Attempt),
        Some("step.request") => request.map(Action::Request),
        Some("step.restart") => restart.map(Action::Restart),
        Some("step.swap") => swap.map(Action::Swap),
        Some(_) | None => None,
    };
    action.unwrap_or(Action::Nothing)
}

fn counted(value: &DeValue<'_>) -> Parsed<Counted> {
    let text = parse::text(value)?;
    if text.len() <= COUNTED_BYTES_MAX {
        return Ok(Counted::new(text));
    }
    Err(Wrong::expected(format!("at most {COUNTED_BYTES_MAX} bytes")))
}

fn read_attempt<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Option<Attempt> {
    const OUTCOMES: [(&str, Outcome); 2] = [("failure", Outcome::Failure), ("success", Outcome::Success)];
    let client = reader.maybe(section, "step.attempt.client", counted);
    let from = need(reader, section, "step.attempt.from", counted);
    let outcome = need(reader, section, "step.attempt.outcome", |value| value::choice(value, &OUTCOMES));
    let secret = reader.maybe(section, "step.attempt.secret", counted);
    let known = reader.maybe(section, "step.attempt.known", value::boolean);
    let attributes = read_attributes(reader, section, "step.attempt.attributes");
    Some(Attempt { client, from: from?, outcome: outcome?, secret, known, attributes })
}

fn read_request<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Option<Request> {
    let from = need(reader, section, "step.request.from", counted);
    let path = need(reader, section, "step.request.path", counted);
    let status = need(reader, section, "step.request.status", parse::status);
    let method = reader.get(section, "step.request.method", parse::name);
    let client = reader.maybe(section, "step.request.client", counted);
    let attributes = read_attributes(reader, section, "step.request.attributes");
    Some(Request { from: from?, client, method, path: path?, status: status?, attributes })
}

fn read_attributes<'t>(reader: &mut Reader<'t>, section: Section<'t>, path: &'static str) -> Vec<(String, String)> {
    let Some(found) = reader.raw(section, path) else { return Vec::new() };
    let Some(table) = found.get_ref().as_table().filter(|table| table.len() <= ATTRIBUTES_MAX) else {
        let expected = format!("a table of at most {ATTRIBUTES_MAX} texts, such as {{ user-agent = \"curl\" }}");
        reader.wrong(found, path, Wrong::expected(expected));
        return Vec::new();
    };
    let mut attributes = Vec::with_capacity(table.len());
    for (name, value) in table.iter() {
        let lower = name.get_ref().to_ascii_lowercase();
        match value.get_ref().as_str().filter(|_| lower == name.get_ref().as_ref()) {
            Some(text) => attributes.push((lower, text.to_owned())),
            None => {
                let key = format!("{path}.{}", name.get_ref());
                reader.wrong(value, &key, Wrong::expected("text under a lower-case name"));
            }
        }
    }
    attributes
}

fn read_times<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Times {
    let repeat = reader.get(section, "step.repeat", |value| value::count(value, 1, REPEAT_MAX));
    let every = reader.get(section, "step.every", parse::duration);
    let parallel = reader.maybe(section, "step.parallel", |value| value::count(value, 1, PARALLEL_MAX));
    let takes = reader.get(section, "step.takes", parse::duration);
    let [has_repeat, has_every, has_parallel, has_takes] =
        ["step.repeat", "step.every", "step.parallel", "step.takes"].map(|path| reader.raw(section, path).is_some());
    if has_parallel && has_repeat {
        conflict(reader, section, "step.parallel", "say either repeat or parallel");
    }
    if has_every && !has_repeat {
        conflict(reader, section, "step.every", "only with repeat; to let time pass before the step say after");
    }
    if has_takes && !has_parallel {
        conflict(reader, section, "step.takes", "only with parallel: alone, how long a check takes changes nothing");
    }
    match parallel {
        Some(count) => Times::Parallel { count, takes },
        None => Times::Repeat { count: repeat, every },
    }
}

const WORDS: [(&str, u8); 4] = [("pass", 0), ("verified", 1), ("denied", 2), ("any", 3)];

fn read_expect<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Option<Expect> {
    const PATH: &str = "step.expect";
    // A test wants to see every key asked for.
    read_expect_table(reader, Section::absent(PATH, None));
    let found = reader.raw(section, PATH)?;
    if let Some(list) = found.get_ref().as_array() {
        let mut orders = Vec::new();
        let mut reply = None;
        for element in list.iter() {
            let line = reader.line(element.span().start);
            let Some(table) = element.get_ref().as_table() else {
                reader.wrong(element, PATH, Wrong::expected("a table such as { wait = \"2s\" }"));
                continue;
            };
            let section = reader.section(table, line, PATH, None);
            let one = read_expect_table(reader, section);
            match one.what {
                Expected::Orders(more) => orders.extend(more),
                Expected::Any
                | Expected::Sound
                | Expected::Pass
                | Expected::Verified
                | Expected::Denied
                | Expected::Refused { .. } => {
                    let why = "in a list every table is an order: wait, ban or spared".to_owned();
                    reader.mistake(line, PATH, Cause::Conflict { why });
                }
            }
            if one.reply.is_some() && reply.is_some() && one.reply != reply {
                conflict(reader, section, "step.expect.reply", "there is one reply");
            }
            reply = one.reply.or(reply);
        }
        return Some(Expect { what: Expected::Orders(orders), reply });
    }
    if let Some(table) = found.get_ref().as_table() {
        let line = reader.line(found.span().start);
        let section = reader.section(table, line, PATH, None);
        return Some(read_expect_table(reader, section));
    }
    let word = reader.maybe(section, PATH, |value| {
        let table = r#"or a table such as { ban = "1h" }"#;
        value::choice(value, &WORDS)
            .map_err(|wrong| Wrong { expected: format!("{}, {table}", wrong.expected), ..wrong })
    });
    let what = match word {
        Some(0) => Expected::Pass,
        Some(1) => Expected::Verified,
        Some(2) => Expected::Denied,
        Some(_) | None => Expected::Any,
    };
    Some(Expect { what, reply: None })
}

fn read_expect_table<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Expect {
    let wait = reader.maybe(section, "step.expect.wait", parse::duration);
    let duration = reader.maybe(section, "step.expect.ban", parse::duration);
    let spared = reader.maybe(section, "step.expect.spared", parse::yes);
    let by = reader.maybe(section, "step.expect.by", parse::name);
    let reason = reader.maybe(section, "step.expect.reason", parse::name);
    let text = reader.maybe(section, "step.expect.text", parse::text);
    let network = reader.maybe(section, "step.expect.network", parse::network);
    let refused = reader.maybe(section, "step.expect.refused", parse::refusal);
    let retry_after = reader.maybe(section, "step.expect.retry_after", parse::whole_seconds);
    let reply = reader.maybe(section, "step.expect.reply", parse::status);
    let says = |path: &str| section.table.is_some_and(|table| table.contains_key(path));
    let orders = ["wait", "ban", "spared"].into_iter().any(says);
    let details = ["by", "reason", "text"].into_iter().find(|key| says(key));
    if says("refused") && orders {
        conflict(reader, section, "step.expect.refused", "a refusal orders nothing: no policy is asked");
    }
    if says("retry_after") && !says("refused") {
        conflict(reader, section, "step.expect.retry_after", "only beside refused");
    }
    if says("network") && !says("ban") {
        conflict(reader, section, "step.expect.network", "only beside ban");
    }
    if let (Some(key), false) = (details, orders) {
        conflict(reader, section, &format!("step.expect.{key}"), "only beside wait, ban or spared: it is the order's");
    }
    if section.table.is_some_and(|table| table.is_empty()) {
        let expected = "wait, ban, spared, refused or reply".to_owned();
        reader.mistake(section.line, "step.expect", Cause::Missing { expected });
    }
    if let Some(status) = refused {
        return Expect { what: Expected::Refused { status, retry_after }, reply };
    }
    let mut orders: Vec<ExpectedOrder> = Vec::new();
    orders.extend(wait.map(|wait| Ordered::Wait(wait).into()));
    orders.extend(spared.map(|()| Ordered::Spared.into()));
    orders.extend(duration.map(|duration| Ordered::Ban { duration, network }.into()));
    let what = match orders.last_mut() {
        Some(last) => {
            (last.by, last.reason, last.text) = (by, reason, text);
            Expected::Orders(orders)
        }
        None => Expected::Sound,
    };
    Expect { what, reply }
}

fn read_total<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Vec<(Sum, u64)> {
    const PATHS: [(&str, Sum); 8] = [
        ("step.total.checked", Sum::Checked),
        ("step.total.refused", Sum::Refused),
        ("step.total.passed", Sum::Passed),
        ("step.total.waits", Sum::Waits),
        ("step.total.bans", Sum::Bans),
        ("step.total.spared", Sum::Spared),
        ("step.total.verified", Sum::Verified),
        ("step.total.denied", Sum::Denied),
    ];
    let section = table(reader, section, "step.total").unwrap_or_else(|| Section::absent("step.total", None));
    let mut total = Vec::new();
    for (path, sum) in PATHS {
        let value = reader.maybe(section, path, |value| value::count(value, 0, u32::MAX));
        total.extend(value.map(|value| (sum, u64::from(value))));
    }
    total
}

fn read_kept<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Vec<Kept> {
    const PATH: &str = "step.kept.NAME";
    let table = section.table.and_then(|table| table.get("kept"));
    let Some(found) = table else {
        // A test wants to see every key asked for.
        reader.raw(Section::absent(PATH, None), PATH);
        read_kept_table(reader, Section::absent(PATH, None), "", 0);
        return Vec::new();
    };
    let Some(table) = found.get_ref().as_table() else {
        reader.wrong(found, "step.kept", Wrong::expected("a table by policies, such as kept.ban = \"nothing\""));
        return Vec::new();
    };
    let mut list = Vec::new();
    for (policy, value) in table.iter() {
        let (name, line) = (policy.get_ref().as_ref(), reader.line(value.span().start));
        if let Some(table) = value.get_ref().as_table() {
            let section = reader.section(table, line, PATH, Some(name));
            list.extend(read_kept_table(reader, section, name, line));
        } else if value.get_ref().as_str() == Some("nothing") {
            let policy = name.to_owned();
            list.push(Kept { policy, line, of: None, what: KeptBytes::Nothing, ttl: None });
        } else {
            let expected = r#""nothing" or a table such as { hex = "01000000" }"#;
            reader.wrong(value, &full(PATH, Some(name)), Wrong::expected(expected));
        }
    }
    list
}

fn read_kept_table<'t>(reader: &mut Reader<'t>, section: Section<'t>, name: &str, line: usize) -> Option<Kept> {
    let hex = reader.maybe(section, "step.kept.NAME.hex", parse::hex);
    let text = reader.maybe(section, "step.kept.NAME.text", parse::text);
    let bytes = reader.maybe(section, "step.kept.NAME.bytes", |value| value::count(value, 0, 64 << 10));
    let nothing = reader.maybe(section, "step.kept.NAME.nothing", parse::yes);
    let ttl = reader.maybe(section, "step.kept.NAME.ttl", |value| match value.as_str() {
        Some("none") => Ok(Ttl::None),
        Some(_) | None => parse::duration(value).map(Ttl::Remaining),
    });
    let of = table(reader, section, "step.kept.NAME.of");
    let whose = of.unwrap_or_else(|| Section::absent("step.kept.NAME.of", section.policy));
    let client = reader.maybe(whose, "step.kept.NAME.of.client", |value| {
        ClientId::new(&parse::text(value)?).map_err(|_| Wrong::expected("at most 256 bytes"))
    });
    let from = reader.maybe(whose, "step.kept.NAME.of.from", parse::address);
    let says = |path: &str| section.table.is_some_and(|table| table.contains_key(path));
    if ["hex", "text", "bytes", "nothing"].into_iter().filter(|key| says(key)).count() > 1 {
        conflict(reader, section, "step.kept.NAME", "say one of hex, text, bytes and nothing");
    }
    if says("nothing") && says("ttl") {
        conflict(reader, section, "step.kept.NAME.ttl", "nothing has no time to live");
    }
    if let Some(of) = of.filter(|of| of.table.is_some_and(|table| table.is_empty())) {
        let expected = "client, from or both".to_owned();
        reader.mistake(of.line, full("step.kept.NAME.of", of.policy), Cause::Missing { expected });
    }
    let text = text.map(|text| KeptBytes::Exactly(text.as_bytes().into()));
    let bytes = bytes.map(KeptBytes::Long);
    let exactly = hex.map(KeptBytes::Exactly).or(text).or(bytes).or(nothing.map(|()| KeptBytes::Nothing));
    section.table?;
    let of = of.map(|_| Whose { client, from });
    Some(Kept { policy: name.to_owned(), line, of, what: exactly.unwrap_or(KeptBytes::Something), ttl })
}
