//! Policies of the configuration: which plugin, with what settings and limits.
//!
//! It must not know plugins: settings stay generic values, each with the line
//! on which it stands, so that a plugin's complaint can name it.

use std::path::Path;
use std::time::Duration;

use portcullis_domain::{Kind, PolicyMode, SubjectBy};
use portcullis_harness::document::mistake::{Cause, Wrong, nearest};
use portcullis_harness::document::policy::{self, KINDS, OnFailure};
use portcullis_harness::document::reader::{Reader, Section, full};
use portcullis_harness::document::setting::{self, Setting};
use portcullis_harness::document::value::{self, Parsed};
use portcullis_runtime::PluginSource;
use toml::de::{DeTable, DeValue};

use super::parse;
use super::sections::table;

/// Most policies beside the three that are always there.
const POLICIES_MAX: usize = 64;

/// What a policy's plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// Time of one call.
    pub deadline: Duration,
    /// Memory of one instance in bytes, all memories and tables together.
    pub memory_bytes: u64,
    /// State kept for one subject, in bytes.
    pub state_bytes: u64,
}

/// One configured use of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyConfig {
    /// Its name, `[a-z0-9-]{1,32}`, unique.
    pub name: String,
    /// What it judges.
    pub kind: Kind,
    /// What runs.
    pub plugin: PluginSource,
    /// Settings of the plugin; the rest has the plugin's defaults.
    pub settings: Vec<Setting>,
    /// Whom it keeps state about.
    pub subject: SubjectBy,
    /// What happens when the plugin fails.
    pub on_failure: OnFailure,
    /// Settings of the bundle's plugin when it steps in.
    pub fallback_settings: Vec<Setting>,
    /// What the plugin may use.
    pub limits: PluginLimits,
    /// Whether its orders are enforced.
    pub mode: PolicyMode,
}

/// All policies in use: the bundle's three first, then the operator's by name.
pub(super) fn read<'t>(reader: &mut Reader<'t>, root: &'t DeTable<'t>, base: &Path) -> Vec<PolicyConfig> {
    let tables = table(reader, root, "policy", "policy");
    let mut policies = Vec::new();
    for (name, kind) in KINDS {
        let table = tables.and_then(|tables| table(reader, tables, name, &format!("policy.{name}")));
        policies.extend(read_policy(reader, table, name, Some(kind), None, base));
    }
    let Some(tables) = tables else { return policies };
    let mut own = 0_usize;
    for (name, value) in tables.iter().filter(|(name, _)| KINDS.iter().all(|(known, _)| known != name.get_ref())) {
        let line = reader.line(name.span().start);
        own += 1;
        if own == POLICIES_MAX + 1 {
            let why = format!("more than {POLICIES_MAX} policies of your own");
            reader.mistake(line, "policy", Cause::Conflict { why });
        }
        let Some(table) = policy::table(reader, name.get_ref(), line, value) else { continue };
        policies.extend(read_policy(reader, Some(table), name.get_ref(), None, Some(line), base));
    }
    policies
}

fn read_policy<'t>(
    reader: &mut Reader<'t>,
    table: Option<&'t DeTable<'t>>,
    name: &'t str,
    fixed: Option<Kind>,
    line: Option<usize>,
    base: &Path,
) -> Option<PolicyConfig> {
    let section = reader.section(table, 0, "policy.NAME", Some(name));
    let enabled = reader.get(section, "policy.NAME.enabled", value::boolean);
    let kind = reader.maybe(section, "policy.NAME.kind", |value| policy::kind(value, fixed)).or(fixed);
    let plugin = reader.maybe(section, "policy.NAME.plugin", |value| plugin_of(value, kind, base));
    let settings = setting::read(reader, section, "policy.NAME.settings").unwrap_or_default();
    let subject = reader.maybe(section, "policy.NAME.subject", policy::subject);
    let on_failure = reader.get(section, "policy.NAME.on_failure", on_failure_of);
    let fallback_settings = setting::read(reader, section, "policy.NAME.fallback_settings").unwrap_or_default();
    let limits = read_limits(reader, section);
    let mode = reader.get(section, "policy.NAME.mode", |value| {
        value::choice(value, &[("enforce", PolicyMode::Enforce), ("shadow", PolicyMode::Shadow)])
    });
    if let Some(line) = line {
        for (path, expected) in [
            ("policy.NAME.kind", "\"wait\", \"ban\" or \"scanner\""),
            ("policy.NAME.plugin", "\"bundle:ban\" or a file path"),
        ] {
            if reader.raw(section, path).is_none() {
                reader.mistake(line, full(path, Some(name)), Cause::Missing { expected: expected.to_owned() });
            }
        }
    }
    let kind = kind?;
    let plugin = plugin.or(fixed.map(PluginSource::Bundle))?;
    let subject = subject.unwrap_or_else(|| SubjectBy::default_of(kind));
    enabled.then(|| PolicyConfig {
        name: name.to_owned(),
        kind,
        plugin,
        settings,
        subject,
        on_failure,
        fallback_settings,
        limits,
        mode,
    })
}

fn read_limits<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> PluginLimits {
    let key = full("policy.NAME.limits", section.policy);
    let table = section.table.and_then(|policy| table(reader, policy, "limits", &key));
    let section = reader.section(table, 0, "policy.NAME.limits", section.policy);
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(10));
    PluginLimits {
        deadline: reader.get(section, "policy.NAME.limits.deadline", |value| parse::duration(value, least, most)),
        memory_bytes: reader.get(section, "policy.NAME.limits.memory", |value| parse::size(value, 64 << 10, 4 << 30)),
        state_bytes: reader.get(section, "policy.NAME.limits.state", |value| parse::size(value, 1, 64 << 10)),
    }
}

fn plugin_of(value: &DeValue<'_>, kind: Option<Kind>, base: &Path) -> Parsed<PluginSource> {
    const FORM: &str = r#""bundle:wait", "bundle:ban", "bundle:scanner" or a file path"#;
    let path = parse::file_path(value).map_err(|_| Wrong::expected(FORM))?;
    let Some(name) = path.to_str().and_then(|path| path.strip_prefix("bundle:")) else {
        return Ok(PluginSource::File(base.join(path)));
    };
    let bundled = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    let bundled = bundled.ok_or_else(|| Wrong {
        expected: FORM.to_owned(),
        nearest: nearest(name, KINDS.map(|(known, _)| known)).map(|near| format!("\"bundle:{near}\"")),
    })?;
    match kind {
        Some(kind) if kind != bundled => {
            Err(Wrong::expected(format!("a plugin of kind \"{kind}\", such as \"bundle:{kind}\"")))
        }
        _ => Ok(PluginSource::Bundle(bundled)),
    }
}

fn on_failure_of(value: &DeValue<'_>) -> Parsed<OnFailure> {
    value::choice(value, &[("bundle", OnFailure::Bundle), ("deny", OnFailure::Deny), ("allow", OnFailure::Allow)])
}
