//! Policies with their plugins: read, compiled, described, configured and tried.

use std::collections::HashMap;
use std::mem::discriminant;
use std::path::Path;
use std::sync::Arc;

use portcullis_domain::{Kind, PolicyMode};
use portcullis_harness::document::setting::to_plugin;
use portcullis_harness::{Failing, PolicyPlan};
use portcullis_runtime::{
    Configured, Limits, LoadError, OnFailure, Plugin, PluginSource, PolicyJudge, Reporter, Runtime, read_plugin,
};
use sha2::{Digest as _, Sha256};

use super::settings;
use crate::config::{Cause, Config, Mistake, OnFailure as Wanted, PluginLimits, PolicyConfig, Setting};

/// A policy whose plugin is loaded and has taken its settings.
#[derive(Clone)]
pub struct LoadedPolicy {
    /// What the operator wants.
    pub config: PolicyConfig,
    /// What judges.
    pub judge: Arc<PolicyJudge>,
    /// What becomes of `on_failure` among the other policies; part of what makes
    /// a policy the same.
    pub(super) on_failure: Failing,
}

impl LoadedPolicy {
    /// The same for a world in virtual time, which finds out by itself what
    /// becomes of `on_failure`: there other policies may run beside it.
    pub(super) fn plan(&self, runtime: &Runtime) -> Result<PolicyPlan, LoadError> {
        let PolicyConfig { name, kind, settings, subject, limits: wanted, mode, .. } = &self.config;
        Ok(PolicyPlan {
            name: name.clone(),
            kind: *kind,
            plugin: Arc::clone(self.judge.primary().plugin()),
            settings: to_plugin(settings),
            subject: *subject,
            limits: limits(wanted),
            mode: *mode,
            on_failure: on_failure(&self.config, runtime.bundle(*kind)?),
        })
    }

    /// Tells the log what runs. What a plugin says of itself goes into fields,
    /// where it is encoded (rule 28).
    pub fn announce(&self, verb: &str) {
        let plugin = self.judge.primary().plugin();
        let description = plugin.description();
        let mode = match self.config.mode {
            PolicyMode::Enforce => "",
            PolicyMode::Shadow => ", in shadow",
        };
        tracing::info!(
            plugin = description.name,
            version = description.version,
            "policy {} {verb} {} ({}){mode}",
            self.config.name,
            plugin.origin(),
            &plugin.digest_hex()[..12]
        );
    }
}

/// Loads every policy of the configuration. A policy of `before` whose file and
/// settings are the same goes on as it is, with its instances and counters.
pub(super) fn load(
    config: &Config,
    runtime: &Runtime,
    reporter: &Arc<dyn Reporter>,
    before: &[LoadedPolicy],
) -> Result<Vec<LoadedPolicy>, Vec<Mistake>> {
    let mut loader = Loader { runtime, reporter, before, loaded: HashMap::new() };
    let mut policies = Vec::new();
    let mut mistakes = Vec::new();
    // What can't be had is told of when its policy's turn comes.
    let enforcing = config.policies.iter().filter(|wanted| wanted.mode == PolicyMode::Enforce);
    let running = enforcing.filter_map(|wanted| Some((wanted.kind, loader.plugin(&wanted.plugin).ok()?)));
    let running: Vec<_> = running.collect();
    for wanted in &config.policies {
        let known = before.iter().find(|known| known.config.name == wanted.name);
        match load_one(wanted, &running, &mut loader, known) {
            Ok(policy) => policies.push(policy),
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    if mistakes.is_empty() { Ok(policies) } else { Err(mistakes) }
}

/// One policy, beside all that run, each with its kind.
fn load_one(
    wanted: &PolicyConfig,
    running: &[(Kind, Arc<Plugin>)],
    loader: &mut Loader<'_>,
    before: Option<&LoadedPolicy>,
) -> Result<LoadedPolicy, Vec<Mistake>> {
    let whole = |cause| vec![settings::whole(wanted, "plugin", cause)];
    let plugin = loader.plugin(&wanted.plugin).map_err(whole)?;
    let bundled = loader.plugin(&PluginSource::Bundle(wanted.kind)).map_err(whole)?;
    let running = running.iter().map(|(kind, plugin)| (*kind, &**plugin));
    let failing = on_failure(wanted, Arc::clone(&bundled)).among(wanted.kind, &plugin, running);
    if let Some(before) = before
        && before.config == *wanted
        // Its settings are part of the configuration.
        && discriminant(&before.on_failure) == discriminant(&failing)
        && before.judge.primary().plugin().digest() == plugin.digest()
    {
        return Ok(before.clone());
    }
    let limits = limits(&wanted.limits);
    let primary = configure(&plugin, wanted, "settings", &wanted.settings, &limits);
    // Tried even where it isn't used: settings that nobody looks at are wrong unnoticed.
    let stand_in = configure(&bundled, wanted, "fallback_settings", &wanted.fallback_settings, &limits);
    let (primary, stand_in) = match (primary, stand_in) {
        (Ok(primary), Ok(stand_in)) => (primary, stand_in),
        (primary, stand_in) => {
            return Err([primary.err(), stand_in.err()].into_iter().flatten().flatten().collect());
        }
    };
    let on_failure = match failing {
        Failing::Bundle { .. } => OnFailure::Bundle(Box::new(stand_in)),
        Failing::BundleRunsAlready => OnFailure::BundleRunsAlready,
        Failing::Deny => OnFailure::Deny,
        Failing::Allow => OnFailure::Allow,
    };
    let judge = PolicyJudge::new(&wanted.name, primary, on_failure, Arc::clone(loader.reporter))
        .map_err(|error| vec![settings::whole(wanted, "on_failure", settings::ours(error))])?;
    Ok(LoadedPolicy { config: wanted.clone(), judge: Arc::new(judge), on_failure: failing })
}

/// What the operator wants, with the bundle's plugin of that kind.
fn on_failure(wanted: &PolicyConfig, bundled: Arc<Plugin>) -> Failing {
    match wanted.on_failure {
        Wanted::Deny => Failing::Deny,
        Wanted::Allow => Failing::Allow,
        Wanted::Bundle => Failing::Bundle { plugin: bundled, settings: to_plugin(&wanted.fallback_settings) },
    }
}

fn configure(
    plugin: &Arc<Plugin>,
    policy: &PolicyConfig,
    table: &str,
    given: &[Setting],
    limits: &Limits,
) -> Result<Configured, Vec<Mistake>> {
    plugin.configure(policy.kind, &to_plugin(given), limits).map_err(|error| {
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
struct Loader<'a> {
    runtime: &'a Runtime,
    reporter: &'a Arc<dyn Reporter>,
    before: &'a [LoadedPolicy],
    loaded: HashMap<String, Result<Arc<Plugin>, Cause>>,
}

impl Loader<'_> {
    fn plugin(&mut self, source: &PluginSource) -> Result<Arc<Plugin>, Cause> {
        let name = source.to_string();
        if let Some(known) = self.loaded.get(&name) {
            return known.clone();
        }
        let loaded = match source {
            PluginSource::Bundle(kind) => self.runtime.bundle(*kind).map_err(|error| cause(&name, &error)),
            PluginSource::File(path) => self.file(path, &name),
        };
        self.loaded.insert(name, loaded.clone());
        loaded
    }

    /// Compiling takes long and reading doesn't: the same bytes are the same plugin.
    fn file(&self, path: &Path, name: &str) -> Result<Arc<Plugin>, Cause> {
        let bytes = read_plugin(path).map_err(|why| settings::ours(format!("{name}: {why}")))?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let mut known = self.before.iter().map(|policy| policy.judge.primary().plugin());
        // Under another name it would go by the old one in messages.
        if let Some(known) = known.find(|known| *known.digest() == digest && known.origin() == name) {
            return Ok(Arc::clone(known));
        }
        self.runtime.load(&bytes, name).map_err(|error| cause(name, &error))
    }
}

/// Whether it's in words that a plugin can have chosen.
fn cause(name: &str, error: &LoadError) -> Cause {
    let why = format!("{name}: {error}");
    match error {
        LoadError::TooLarge { .. } | LoadError::NotWasm | LoadError::Truncated { .. } | LoadError::CoreModule => {
            settings::ours(why)
        }
        LoadError::Malformed { .. }
        | LoadError::NoPolicy { .. }
        | LoadError::Version { .. }
        | LoadError::Import { .. }
        | LoadError::Interface { .. }
        | LoadError::Describe(_)
        | LoadError::Description { .. } => Cause::Plugin { why },
    }
}
