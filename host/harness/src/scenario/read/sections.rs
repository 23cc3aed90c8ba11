//! The file as a whole: its head, the operator's bounds, and policies.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_domain::Kind;
use portcullis_runtime::{DEADLINE_MAX, MEMORY_BYTES_MAX, STATE_BYTES_MAX};
use toml::de::{DeTable, DeValue};

use super::document::{need, open, table};
use super::steps;
use crate::document::mistake::{self, Cause, Mistake, Place, Wrong};
use crate::document::policy::{self, KINDS, OnFailure};
use crate::document::reader::{Reader, Section};
use crate::document::setting;
use crate::document::value::{self, Parsed};
use crate::scenario::keys;
use crate::scenario::model::{GateSpec, Named, PolicySpec, Scenario};
use crate::scenario::parse;

/// Most policies of one scenario.
const POLICIES_MAX: usize = 64;
const MS: Duration = Duration::from_millis(1);

/// The scenario and the keys that were asked for, or all mistakes in the order
/// of the file.
pub(super) fn read(text: &str) -> Result<(Scenario, BTreeSet<&'static str>), Vec<Mistake>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = open(text);
    reader.syntax(&errors);
    if !errors.is_empty() {
        return Err(reader.mistakes);
    }
    let root = reader.section(root.get_ref(), 0, "", None);
    let name = need(&mut reader, root, "name", parse::name);
    let scenario = Scenario {
        doc: reader.maybe(root, "doc", parse::text),
        start: reader.raw(root, "start").is_some().then(|| reader.get(root, "start", parse::instant)),
        gate: read_gate(&mut reader, root),
        policies: read_policies(&mut reader, root),
        steps: steps::read(&mut reader, root),
        name: name.unwrap_or_default(),
        file: String::new(),
        folder: PathBuf::new(),
    };
    if reader.mistakes.is_empty() {
        // Tables are asked for too, and not each of them is a key.
        reader.asked.retain(|path| keys::find(path).is_some());
        return Ok((scenario, reader.asked));
    }
    mistake::sort(&mut reader.mistakes);
    Err(reader.mistakes)
}

fn read_gate<'t>(reader: &mut Reader<'t>, root: Section<'t>) -> GateSpec {
    let section = table(reader, root, "gate").unwrap_or(Section::absent("gate", None));
    GateSpec {
        ipv6_prefix: reader.maybe(section, "gate.ipv6_prefix", |value| value::count(value, 1, 128)),
        never_ban: reader.maybe_list(section, "gate.never_ban", parse::network),
        trusted_proxies: reader.maybe_list(section, "gate.trusted_proxies", parse::network),
        max_inflight_attempts: reader
            .maybe(section, "gate.max_inflight_attempts", |value| value::count(value, 1, 1000)),
        max_wait: reader.maybe(section, "gate.max_wait", parse::duration),
        max_ban: reader.maybe(section, "gate.max_ban", parse::duration),
        verified_for: reader.maybe(section, "gate.verified_for", parse::duration),
    }
}

/// Those of the three kinds' names first, then by name.
fn read_policies<'t>(reader: &mut Reader<'t>, root: Section<'t>) -> Vec<PolicySpec> {
    let wrong = Wrong::expected("a table, [policy.NAME]");
    let tables = reader.raw(root, "policy").and_then(|found| reader.as_table(found, "policy", wrong));
    let Some(tables) = tables else {
        // A test wants to see every key asked for.
        read_policy(reader, Section::absent("policy.NAME", None), "", None);
        return Vec::new();
    };
    let mut names: Vec<_> = tables.iter().collect();
    names.sort_by_key(|(name, _)| KINDS.iter().position(|(known, _)| known == name.get_ref()).unwrap_or(KINDS.len()));
    if names.len() > POLICIES_MAX {
        let why = format!("more than {POLICIES_MAX} policies");
        reader.mistake(Place::Nowhere, "policy", Cause::Conflict { why });
    }
    let mut policies = Vec::new();
    for (name, value) in names.into_iter().take(POLICIES_MAX) {
        let line = reader.line(name.span().start);
        let Some(table) = policy::table(reader, name.get_ref(), line, value) else { continue };
        let section = reader.section(table, line, "policy.NAME", Some(name.get_ref()));
        let kind = KINDS.iter().find(|(known, _)| known == name.get_ref()).map(|(_, kind)| *kind);
        policies.push(read_policy(reader, section, name.get_ref(), kind));
    }
    policies
}

fn read_policy<'t>(reader: &mut Reader<'t>, section: Section<'t>, name: &str, fixed: Option<Kind>) -> PolicySpec {
    let limits = table(reader, section, "policy.NAME.limits");
    let limits = limits.unwrap_or(Section::absent("policy.NAME.limits", section.policy));
    PolicySpec {
        name: name.to_owned(),
        line: section.line,
        kind: reader.maybe(section, "policy.NAME.kind", |value| policy::kind(value, fixed)).or(fixed),
        plugin: named(reader, section, "policy.NAME.plugin"),
        settings: setting::read(reader, section, "policy.NAME.settings").unwrap_or_default(),
        subject: reader.maybe(section, "policy.NAME.subject", policy::subject),
        on_failure: reader.maybe(section, "policy.NAME.on_failure", on_failure_of),
        deadline: reader
            .maybe(limits, "policy.NAME.limits.deadline", |value| parse::duration_within(value, MS, DEADLINE_MAX)),
        memory_bytes: reader
            .maybe(limits, "policy.NAME.limits.memory", |value| parse::size(value, 64 << 10, MEMORY_BYTES_MAX)),
        state_bytes: reader.maybe(limits, "policy.NAME.limits.state", |value| parse::size(value, 1, STATE_BYTES_MAX)),
    }
}

/// A name that is looked up later, with its line.
pub(super) fn named<'t>(reader: &mut Reader<'t>, section: Section<'t>, path: &'static str) -> Option<Named> {
    let name = reader.maybe(section, path, parse::name)?;
    Some(Named { name, line: reader.line_of(section, path).unwrap_or_default() })
}

fn on_failure_of(value: &DeValue<'_>) -> Parsed<OnFailure> {
    let choices = [("deny", OnFailure::Deny), ("allow", OnFailure::Allow), ("bundle", OnFailure::Bundle)];
    value::choice(value, &choices)
}
