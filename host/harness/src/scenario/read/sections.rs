//! The file as a whole: its head, the operator's bounds, and policies.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_domain::{Kind, SubjectBy};
use portcullis_runtime::{DEADLINE_MAX, MEMORY_BYTES_MAX, STATE_BYTES_MAX};
use toml::de::{DeTable, DeValue};

use super::document::{Document, Section};
use super::{settings, steps};
use crate::scenario::mistake::{Cause, Mistake, Wrong, nearest, shown};
use crate::scenario::model::{GateSpec, Named, OnFailure, PolicySpec, Scenario};
use crate::scenario::parse::{self, Parsed};

/// Most errors of syntax that are reported: later ones mostly follow from earlier ones.
const SYNTAX_ERRORS_MAX: usize = 5;
/// Most policies of one scenario.
const POLICIES_MAX: usize = 64;
const KINDS: [(&str, Kind); 3] = [("wait", Kind::Wait), ("ban", Kind::Ban), ("scanner", Kind::Scanner)];
const MS: Duration = Duration::from_millis(1);

/// The scenario and the keys that were asked for, or all mistakes in the order
/// of the file.
pub(super) fn read(text: &str) -> Result<(Scenario, BTreeSet<&'static str>), Vec<Mistake>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut document = Document::new(text);
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        let line = error.span().map(|span| document.line(span.start));
        document.mistake(line, "", Cause::Syntax { reason: error.message().replace('\n', "; ") });
    }
    if !errors.is_empty() {
        return Err(document.mistakes);
    }
    let root = document.section(root.get_ref(), 0, "", None);
    let name = document.need(root, "name", parse::name);
    let scenario = Scenario {
        doc: document.maybe(root, "doc", parse::text),
        start: document.raw(root, "start").is_some().then(|| document.get(root, "start", parse::instant)),
        gate: read_gate(&mut document, root),
        policies: read_policies(&mut document, root),
        steps: steps::read(&mut document, root),
        name: name.unwrap_or_default(),
        file: String::new(),
        folder: PathBuf::new(),
    };
    if document.mistakes.is_empty() {
        return Ok((scenario, document.asked));
    }
    document.mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
    Err(document.mistakes)
}

fn read_gate<'t>(document: &mut Document<'t>, root: Section<'t>) -> GateSpec {
    let section = document.table(root, "gate").unwrap_or(Section { table: None, line: 0, path: "gate", policy: None });
    GateSpec {
        ipv6_prefix: document.maybe(section, "gate.ipv6_prefix", |value| {
            u8::try_from(parse::count(value, 1, 128)?).map_err(|_| Wrong::expected("a whole number from 1 to 128"))
        }),
        never_ban: document.maybe_list(section, "gate.never_ban", parse::network),
        trusted_proxies: document.maybe_list(section, "gate.trusted_proxies", parse::network),
        max_inflight_attempts: document
            .maybe(section, "gate.max_inflight_attempts", |value| parse::count(value, 1, 1000))
            .map(|count| count as usize),
        max_wait: document.maybe(section, "gate.max_wait", parse::duration),
        max_ban: document.maybe(section, "gate.max_ban", parse::duration),
        verified_for: document.maybe(section, "gate.verified_for", parse::duration),
    }
}

/// Those of the three kinds' names first, then by name.
fn read_policies<'t>(document: &mut Document<'t>, root: Section<'t>) -> Vec<PolicySpec> {
    let Some(section) = tables(document, root, "policy") else {
        // A test wants to see every key asked for.
        read_policy(document, Section { table: None, line: 0, path: "policy.NAME", policy: None }, "", None);
        return Vec::new();
    };
    let mut names: Vec<_> = section.iter().collect();
    names.sort_by_key(|(name, _)| KINDS.iter().position(|(known, _)| known == name.get_ref()).unwrap_or(KINDS.len()));
    if names.len() > POLICIES_MAX {
        let why = format!("more than {POLICIES_MAX} policies");
        document.mistake(None, "policy", Cause::Conflict { why });
    }
    let mut policies = Vec::new();
    for (name, value) in names.into_iter().take(POLICIES_MAX) {
        let key = format!("policy.{}", name.get_ref());
        let line = document.line(name.span().start);
        if !fits(name.get_ref()) {
            let expected = "a name of 1 to 32 characters out of a-z, 0-9 and -".to_owned();
            let cause = Cause::Value { found: shown(name.get_ref()), expected, nearest: None };
            document.mistake(Some(line), key, cause);
            continue;
        }
        let Some(table) = value.get_ref().as_table() else {
            // `[policy]` itself holds nothing but tables: most likely a key of one of them.
            let near = nearest(name.get_ref(), KINDS.map(|(name, _)| name)).filter(|near| near != name.get_ref());
            let near = near.map(|near| format!("policy.{near}"));
            document.wrong(value, &key, Wrong { expected: format!("a table, [{key}]"), nearest: near });
            continue;
        };
        let section = document.section(table, line, "policy.NAME", Some(name.get_ref()));
        let kind = KINDS.iter().find(|(known, _)| known == name.get_ref()).map(|(_, kind)| *kind);
        policies.push(read_policy(document, section, name.get_ref(), kind));
    }
    policies
}

fn tables<'t>(document: &mut Document<'t>, section: Section<'t>, key: &'static str) -> Option<&'t DeTable<'t>> {
    let found = document.raw(section, key)?;
    let table = found.get_ref().as_table();
    if table.is_none() {
        document.wrong(found, key, Wrong::expected(format!("a table, [{key}.NAME]")));
    }
    table
}

fn fits(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn read_policy<'t>(document: &mut Document<'t>, section: Section<'t>, name: &str, fixed: Option<Kind>) -> PolicySpec {
    let limits = document.table(section, "policy.NAME.limits");
    let limits = limits.unwrap_or(Section { table: None, line: 0, path: "policy.NAME.limits", policy: section.policy });
    PolicySpec {
        name: name.to_owned(),
        line: section.line,
        kind: document.maybe(section, "policy.NAME.kind", |value| kind_of(value, fixed)).or(fixed),
        plugin: named(document, section, "policy.NAME.plugin"),
        settings: settings::read(document, section, "policy.NAME.settings").unwrap_or_default(),
        subject: document.maybe(section, "policy.NAME.subject", subject_of),
        on_failure: document.maybe(section, "policy.NAME.on_failure", on_failure_of),
        deadline: document
            .maybe(limits, "policy.NAME.limits.deadline", |value| parse::duration_within(value, MS, DEADLINE_MAX)),
        memory_bytes: document
            .maybe(limits, "policy.NAME.limits.memory", |value| parse::size(value, 64 << 10, MEMORY_BYTES_MAX)),
        state_bytes: document.maybe(limits, "policy.NAME.limits.state", |value| parse::size(value, 1, STATE_BYTES_MAX)),
    }
}

/// A name that is looked up later, with its line.
pub(super) fn named<'t>(document: &mut Document<'t>, section: Section<'t>, path: &'static str) -> Option<Named> {
    let name = document.maybe(section, path, parse::name)?;
    Some(Named { name, line: document.line_of(section, path).unwrap_or_default() })
}

fn kind_of(value: &DeValue<'_>, fixed: Option<Kind>) -> Parsed<Kind> {
    let kind = parse::choice(value, &KINDS)?;
    match fixed {
        Some(fixed) if fixed != kind => {
            Err(Wrong::expected(format!("\"{fixed}\": another kind is a policy under a name of its own")))
        }
        Some(_) | None => Ok(kind),
    }
}

fn subject_of(value: &DeValue<'_>) -> Parsed<SubjectBy> {
    parse::choice(value, &[("id", SubjectBy::Id), ("source", SubjectBy::Source), ("pair", SubjectBy::Pair)])
}

fn on_failure_of(value: &DeValue<'_>) -> Parsed<OnFailure> {
    let choices = [("deny", OnFailure::Deny), ("allow", OnFailure::Allow), ("bundle", OnFailure::Bundle)];
    parse::choice(value, &choices)
}
