//! Policies with their plugins: read, compiled, described, configured and tried.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use portcullis_domain::Kind;
use portcullis_runtime::{Configured, Limits, OnFailure, PLUGIN_BYTES_MAX, Plugin, PolicyJudge};

use super::{Workshop, settings};
use crate::config::{Config, Mistake, OnFailure as Wanted, PluginLimits, PluginSource, PolicyConfig, Setting};

/// A policy whose plugin is loaded and has taken its settings.
#[derive(Clone)]
pub struct LoadedPolicy {
    /// What the operator wants.
    pub config: PolicyConfig,
    /// What judges.
    pub judge: Arc<PolicyJudge>,
    /// What stands in when the plugin fails; part of what makes a policy the same.
    fallback: Fallback,
}

/// What becomes of `on_failure` among the other policies (rule 21).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fallback {
    Bundle,
    BundleRunsAlready,
    Deny,
    Allow,
}

/// Loads every policy of the configuration. A policy of `before` whose file and
/// settings are the same goes on as it is, with its instances and counters.
pub(super) fn load(
    config: &Config,
    workshop: &Workshop,
    before: &[LoadedPolicy],
) -> Result<Vec<LoadedPolicy>, Vec<Mistake>> {
    let mut shelf = Shelf { workshop, loaded: HashMap::new() };
    let mut policies = Vec::new();
    let mut mistakes = Vec::new();
    for wanted in &config.policies {
        let known = before.iter().find(|known| known.config.name == wanted.name);
        match load_one(wanted, fallback(wanted, &config.policies), &mut shelf, known) {
            Ok(policy) => policies.push(policy),
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    if mistakes.is_empty() { Ok(policies) } else { Err(mistakes) }
}

fn load_one(
    wanted: &PolicyConfig,
    fallback: Fallback,
    shelf: &mut Shelf<'_>,
    before: Option<&LoadedPolicy>,
) -> Result<LoadedPolicy, Vec<Mistake>> {
    let plugin = shelf
        .plugin(&wanted.plugin)
        .map_err(|why| vec![settings::whole(wanted, "plugin", format!("{}: {why}", shown(&wanted.plugin)))])?;
    if let Some(before) = before
        && before.config == *wanted
        && before.fallback == fallback
        && before.judge.primary().plugin().digest() == plugin.digest()
    {
        return Ok(before.clone());
    }
    let limits = limits(&wanted.limits);
    let primary = configure(&plugin, wanted, "settings", &wanted.settings, &limits);
    // Tried even where it isn't used: settings that nobody looks at are wrong unnoticed.
    let stand_in = match shelf.plugin(&PluginSource::Bundle(wanted.kind)) {
        Ok(bundled) => configure(&bundled, wanted, "fallback_settings", &wanted.fallback_settings, &limits),
        Err(why) => Err(vec![settings::whole(wanted, "plugin", format!("the bundle's own plugin: {why}"))]),
    };
    let (primary, stand_in) = match (primary, stand_in) {
        (Ok(primary), Ok(stand_in)) => (primary, stand_in),
        (primary, stand_in) => {
            return Err([primary.err(), stand_in.err()].into_iter().flatten().flatten().collect());
        }
    };
    let on_failure = match fallback {
        Fallback::Bundle => OnFailure::Bundle(Box::new(stand_in)),
        Fallback::BundleRunsAlready => OnFailure::BundleRunsAlready,
        Fallback::Deny => OnFailure::Deny,
        Fallback::Allow => OnFailure::Allow,
    };
    let judge = PolicyJudge::new(&wanted.name, primary, on_failure, Arc::clone(&shelf.workshop.reporter))
        .map_err(|error| vec![settings::whole(wanted, "on_failure", error.to_string())])?;
    Ok(LoadedPolicy { config: wanted.clone(), judge: Arc::new(judge), fallback })
}

/// Rule 21: the bundle steps in unless another policy runs it already; the
/// bundle itself failing is deny.
fn fallback(policy: &PolicyConfig, all: &[PolicyConfig]) -> Fallback {
    let bundled = PluginSource::Bundle(policy.kind);
    match policy.on_failure {
        Wanted::Deny => Fallback::Deny,
        Wanted::Allow => Fallback::Allow,
        Wanted::Bundle if policy.plugin == bundled => Fallback::Deny,
        Wanted::Bundle if all.iter().any(|other| other.plugin == bundled) => Fallback::BundleRunsAlready,
        Wanted::Bundle => Fallback::Bundle,
    }
}

fn configure(
    plugin: &Arc<Plugin>,
    policy: &PolicyConfig,
    table: &str,
    given: &[Setting],
    limits: &Limits,
) -> Result<Configured, Vec<Mistake>> {
    plugin.configure(policy.kind, &settings::to_plugin(given), limits).map_err(|error| {
        let known: Vec<&str> = plugin.description().settings.iter().map(|spec| spec.name.as_str()).collect();
        settings::mistakes(error, policy, table, given, &known)
    })
}

fn limits(wanted: &PluginLimits) -> Limits {
    let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        deadline: wanted.deadline,
        memory_bytes: bytes(wanted.memory_bytes),
        state_bytes: bytes(wanted.state_bytes),
        ..Limits::default()
    }
}

/// Plugins that have been loaded for this setup: a file that two policies name
/// is read once.
struct Shelf<'w> {
    workshop: &'w Workshop,
    loaded: HashMap<String, Result<Arc<Plugin>, String>>,
}

impl Shelf<'_> {
    fn plugin(&mut self, source: &PluginSource) -> Result<Arc<Plugin>, String> {
        let name = shown(source);
        if let Some(known) = self.loaded.get(&name) {
            return known.clone();
        }
        let runtime = &self.workshop.runtime;
        let loaded = match source {
            PluginSource::Bundle(kind) => runtime.bundle(*kind).map_err(|error| error.to_string()),
            PluginSource::File(path) => {
                read(path).and_then(|bytes| runtime.load(&bytes, &name).map_err(|error| error.to_string()))
            }
        };
        self.loaded.insert(name, loaded.clone());
        loaded
    }
}

fn shown(source: &PluginSource) -> String {
    match source {
        PluginSource::Bundle(kind) => bundle_name(*kind),
        PluginSource::File(path) => path.display().to_string(),
    }
}

fn bundle_name(kind: Kind) -> String {
    format!("bundle:{kind}")
}

/// The kind whose plugin in the bundle has that name, such as `bundle:ban`.
pub(crate) fn bundled_kind(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| bundle_name(*kind) == name)
}

/// Reads a plugin's file; one that is far too large isn't read to its end.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    if size > PLUGIN_BYTES_MAX as u64 {
        return Err(format!("{size} bytes, where a plugin has at most {PLUGIN_BYTES_MAX}"));
    }
    file.take(PLUGIN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
