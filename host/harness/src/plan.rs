//! What a world is made of: policies with their plugins, and the operator's bounds.

use std::sync::Arc;

use portcullis_domain::{Capacity, Kind, Limits, PolicyMode, SourceRules, SubjectBy, Timestamp};
use portcullis_runtime::{
    ConfigureError, Limits as PluginLimits, Mode, OnFailure, Plugin, PolicyJudge, Reporter, SettingValue, Settings,
};

/// When a world begins unless it is told otherwise: noon of a Monday,
/// 2026-01-05T12:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_767_614_400_000);

/// Policies and bounds of a [`World`](crate::World).
#[derive(Clone, Debug)]
pub struct Plan {
    /// The policies in force, in their order; names are unique.
    pub policies: Vec<PolicyPlan>,
    /// Who is it (rules 1 to 4).
    pub source: SourceRules,
    /// The operator's bounds on what policies may order.
    pub limits: Limits,
    /// How much the store keeps.
    pub capacity: Capacity,
    /// What time it is when the world begins.
    pub start: Timestamp,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            source: SourceRules::default(),
            limits: Limits::default(),
            capacity: Capacity::default(),
            start: START,
        }
    }
}

impl Plan {
    /// The same with one policy more.
    #[must_use]
    pub fn policy(mut self, policy: PolicyPlan) -> Self {
        self.policies.push(policy);
        self
    }
}

/// One configured use of a plugin.
#[derive(Clone, Debug)]
pub struct PolicyPlan {
    /// Its name.
    pub name: String,
    /// What it judges.
    pub kind: Kind,
    /// What runs.
    pub plugin: Arc<Plugin>,
    /// Settings; what is left out has the plugin's default.
    pub settings: Settings,
    /// Whom it keeps state about.
    pub subject: SubjectBy,
    /// What the plugin may use.
    pub limits: PluginLimits,
    /// Whether its orders are enforced.
    pub mode: PolicyMode,
    /// What the operator wants to happen when the plugin fails; what that comes
    /// to beside the other policies is found out whenever these are put in force.
    pub on_failure: Failing,
}

/// What happens when a policy's plugin fails (rule 21).
#[derive(Clone, Debug, Default)]
pub enum Failing {
    /// The event is denied.
    #[default]
    Deny,
    /// As if it had said pass.
    Allow,
    /// This plugin judges instead, with these settings.
    Bundle {
        /// The bundle's plugin of that kind.
        plugin: Arc<Plugin>,
        /// Its settings.
        settings: Settings,
    },
    /// What [`Failing::Bundle`] comes to where another policy runs the bundle's
    /// plugin already: its verdict is enough.
    BundleRunsAlready,
}

impl Failing {
    /// What the wish comes to for a policy of that kind that runs `own`, beside
    /// all policies of its ruleset that enforce, each with its kind and plugin: the bundle
    /// steps in unless another policy runs it already; the bundle itself failing
    /// is deny. Asked again whenever any of them runs another plugin.
    #[must_use]
    pub fn among<'p>(&self, kind: Kind, own: &Plugin, all: impl IntoIterator<Item = (Kind, &'p Plugin)>) -> Self {
        let Self::Bundle { plugin: bundled, .. } = self else { return self.clone() };
        // By what they are: the bundle's plugin is the same when it comes from a file.
        let is_bundled = |plugin: &Plugin| plugin.digest() == bundled.digest();
        if is_bundled(own) {
            Self::Deny
        } else if all.into_iter().any(|(as_kind, plugin)| as_kind == kind && is_bundled(plugin)) {
            Self::BundleRunsAlready
        } else {
            self.clone()
        }
    }
}

impl PolicyPlan {
    /// A policy of that name with the plugin's default settings, the kind's
    /// usual subject and default limits; when the plugin fails the event is denied.
    #[must_use]
    pub fn new(name: &str, kind: Kind, plugin: Arc<Plugin>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            plugin,
            settings: Settings::new(),
            subject: SubjectBy::default_of(kind),
            limits: PluginLimits::default(),
            mode: PolicyMode::Enforce,
            on_failure: Failing::default(),
        }
    }

    /// The same with a setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: SettingValue) -> Self {
        self.settings.insert(name.to_owned(), value);
        self
    }

    /// The same with another subject.
    #[must_use]
    pub fn subject(self, subject: SubjectBy) -> Self {
        Self { subject, ..self }
    }

    /// The judge that a gate calls for it beside `all` policies, on instances of its own.
    pub(crate) fn judge(
        &self,
        all: &[Self],
        mode: Mode,
        reporter: Arc<dyn Reporter>,
    ) -> Result<PolicyJudge, ConfigureError> {
        let configured = |plugin: &Arc<Plugin>, settings: &Settings| {
            plugin.configure(self.kind, settings, &self.limits).map(|configured| configured.with_mode(mode))
        };
        let primary = configured(&self.plugin, &self.settings)?;
        // A policy in shadow stands in for nobody (rule 32).
        let running = all.iter().filter(|policy| policy.mode == PolicyMode::Enforce);
        let running = running.map(|policy| (policy.kind, &*policy.plugin));
        let on_failure = match &self.on_failure.among(self.kind, &self.plugin, running) {
            Failing::Deny => OnFailure::Deny,
            Failing::Allow => OnFailure::Allow,
            Failing::Bundle { plugin, settings } => OnFailure::Bundle(Box::new(configured(plugin, settings)?)),
            Failing::BundleRunsAlready => OnFailure::BundleRunsAlready,
        };
        PolicyJudge::new(&self.name, primary, on_failure, reporter)
            .map_err(|_differ| ConfigureError::Kind { kind: self.kind })
    }
}
