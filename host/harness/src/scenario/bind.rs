//! A scenario and what is under test, bound to a plan that can be run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use portcullis_domain::{Kind, SubjectBy};
use portcullis_runtime::{ConfigureError, Plugin, SettingProblem};

use super::mistake::Mistakes;
use super::model::{Action, Expected, GateSpec, Named, PolicySpec, Scenario, Step, Swap};
use crate::document::mistake::{self, Cause, Mistake, nearest, shown};
use crate::document::policy::OnFailure;
use crate::document::setting::{Setting, to_plugin};
use crate::plan::{Failing, Plan, PolicyPlan};
use crate::shelf::Shelf;

/// What scenarios are run against.
#[derive(Clone, Debug, Default)]
pub enum UnderTest {
    /// The bundle's plugins.
    #[default]
    Bundle,
    /// One plugin: it stands for the bundle's wherever a scenario names none
    /// and it judges as that kind.
    Plugin(Arc<Plugin>),
    /// A whole configuration: its policies where a scenario names none, and
    /// what a scenario leaves out about those that it names.
    Setup(Box<Plan>),
}

/// A scenario that can be run.
#[derive(Clone, Debug)]
pub struct Bound {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) plan: Plan,
    pub(super) steps: Vec<Step>,
    /// The policies that are in force after a step, by the step's index.
    pub(super) swaps: BTreeMap<usize, Vec<PolicyPlan>>,
}

impl Scenario {
    /// Finds and tries the plugins that are named.
    ///
    /// # Errors
    /// Every mistake in it: a plugin that can't be had or refuses its settings,
    /// a policy that isn't there.
    pub fn bind(&self, under_test: &UnderTest, shelf: &mut Shelf) -> Result<Bound, Mistakes> {
        let mut binder = Binder { under_test, shelf, folder: &self.folder, mistakes: Vec::new() };
        let mut plan = match under_test {
            UnderTest::Setup(plan) => (**plan).clone(),
            UnderTest::Bundle | UnderTest::Plugin(_) => Plan::default(),
        };
        plan.start = self.start.unwrap_or(plan.start);
        bounds(&mut plan, &self.gate);
        let policies = binder.policies(self, &plan);
        plan.policies = policies;
        let (steps, mut swaps) = (self.steps.clone(), BTreeMap::new());
        if binder.mistakes.is_empty() {
            swaps = binder.swaps(&steps, &plan.policies);
            binder.mistakes.extend(strangers(&steps, &plan.policies));
        }
        let Binder { mut mistakes, .. } = binder;
        if mistakes.is_empty() {
            return Ok(Bound { name: self.name.clone(), file: self.file.clone(), plan, steps, swaps });
        }
        mistake::sort(&mut mistakes);
        Err(Mistakes { file: self.file.clone(), list: mistakes })
    }
}

impl Bound {
    /// What it shows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The policies and bounds with which it begins.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether one of its policies ever runs that plugin, from the beginning or
    /// once it is swapped in. Where the bundle only stands in doesn't count.
    #[must_use]
    pub fn runs(&self, plugin: &Plugin) -> bool {
        let mut policies = self.plan.policies.iter().chain(self.swaps.values().flatten());
        policies.any(|policy| policy.plugin.digest() == plugin.digest())
    }

    /// The steps of a test written in Rust, `swaps` by the step's index.
    pub(super) fn new(
        name: String,
        file: String,
        plan: Plan,
        steps: Vec<Step>,
        swaps: BTreeMap<usize, Vec<PolicyPlan>>,
    ) -> Result<Self, Mistakes> {
        let mut list: Vec<Mistake> = Vec::new();
        for step in &steps {
            let mistake = |(key, cause): (&str, Cause)| Mistake::new(step.line, key, cause);
            list.extend(step.problems().into_iter().map(mistake));
        }
        list.extend(strangers(&steps, &plan.policies));
        for policy in &plan.policies {
            list.extend(tried(policy, &[], "settings", None));
        }
        for policy in swaps.values().flatten() {
            list.extend(tried(policy, &[], "settings", None));
        }
        list.dedup();
        if list.is_empty() { Ok(Self { name, file, plan, steps, swaps }) } else { Err(Mistakes { file, list }) }
    }
}

fn bounds(plan: &mut Plan, gate: &GateSpec) {
    let GateSpec { ipv6_prefix, never_ban, trusted_proxies, max_inflight_attempts, max_wait, max_ban, verified_for } =
        gate.clone();
    let (source, limits) = (&mut plan.source, &mut plan.limits);
    source.ipv6_prefix = ipv6_prefix.unwrap_or(source.ipv6_prefix);
    if let Some(networks) = never_ban {
        source.never_ban = networks;
    }
    if let Some(networks) = trusted_proxies {
        source.trusted_proxies = networks;
    }
    limits.max_inflight_attempts = max_inflight_attempts.unwrap_or(limits.max_inflight_attempts);
    limits.max_wait = max_wait.unwrap_or(limits.max_wait);
    limits.max_ban = max_ban.unwrap_or(limits.max_ban);
    limits.verified_for = verified_for.unwrap_or(limits.verified_for);
}

struct Binder<'a> {
    under_test: &'a UnderTest,
    shelf: &'a mut Shelf,
    folder: &'a Path,
    mistakes: Vec<Mistake>,
}

impl Binder<'_> {
    /// Exactly those that are named; none named: those of the configuration
    /// under test, else one of each kind.
    fn policies(&mut self, scenario: &Scenario, configured: &Plan) -> Vec<PolicyPlan> {
        if scenario.policies.is_empty() {
            if let UnderTest::Setup(_) = self.under_test {
                return configured.policies.clone();
            }
            let usual = |kind| self.usual(kind).map(|plugin| PolicyPlan::new(Kind::name(kind), kind, plugin));
            let usual: Vec<_> = Kind::ALL.into_iter().filter_map(usual).collect();
            for policy in &usual {
                self.mistakes.extend(tried(policy, &[], "settings", None));
            }
            return usual;
        }
        let mut policies = Vec::new();
        for spec in &scenario.policies {
            let known = configured.policies.iter().find(|policy| policy.name == spec.name);
            if let Some(policy) = self.policy(spec, known) {
                self.mistakes.extend(tried(&policy, &spec.settings, "settings", Some(spec.line)));
                policies.push(policy);
            }
        }
        policies
    }

    fn policy(&mut self, spec: &PolicySpec, configured: Option<&PolicyPlan>) -> Option<PolicyPlan> {
        let key = |key: &str| format!("policy.{}.{key}", spec.name);
        let Some(kind) = spec.kind.or(configured.map(|policy| policy.kind)) else {
            let expected = r#""wait", "ban" or "scanner""#.to_owned();
            self.mistakes.push(Mistake::new(spec.line, key("kind"), Cause::Missing { expected }));
            return None;
        };
        let configured = configured.filter(|policy| policy.kind == kind);
        let mut policy = match (&spec.plugin, configured) {
            (None, Some(configured)) => configured.clone(),
            (Some(named), Some(configured)) => {
                // Another plugin's settings mean nothing to this one.
                let plugin = self.named(named, &key("plugin"))?;
                PolicyPlan { plugin, settings: Default::default(), ..configured.clone() }
            }
            (Some(named), None) => PolicyPlan::new(&spec.name, kind, self.named(named, &key("plugin"))?),
            (None, None) => PolicyPlan::new(&spec.name, kind, self.usual(kind)?),
        };
        policy.settings.extend(to_plugin(&spec.settings));
        policy.subject = spec.subject.unwrap_or(policy.subject);
        policy.limits.deadline = spec.deadline.unwrap_or(policy.limits.deadline);
        policy.limits.memory_bytes = spec.memory_bytes.unwrap_or(policy.limits.memory_bytes);
        policy.limits.state_bytes = spec.state_bytes.unwrap_or(policy.limits.state_bytes);
        if let Some(wanted) = spec.on_failure {
            policy.on_failure = self.on_failure(wanted, &policy)?;
        }
        Some(policy)
    }

    /// What the operator wants; what it comes to is the world's business, which
    /// knows what runs beside it at every moment (rule 21).
    fn on_failure(&mut self, wanted: OnFailure, policy: &PolicyPlan) -> Option<Failing> {
        Some(match wanted {
            OnFailure::Deny => Failing::Deny,
            OnFailure::Allow => Failing::Allow,
            OnFailure::Bundle => match &policy.on_failure {
                // With the configuration's settings.
                configured @ Failing::Bundle { .. } => configured.clone(),
                Failing::Deny | Failing::Allow | Failing::BundleRunsAlready => {
                    Failing::Bundle { plugin: self.bundled(policy.kind)?, settings: Default::default() }
                }
            },
        })
    }

    /// The policies in force after each step that swaps one.
    fn swaps(&mut self, steps: &[Step], policies: &[PolicyPlan]) -> BTreeMap<usize, Vec<PolicyPlan>> {
        let mut policies = policies.to_vec();
        let mut swaps = BTreeMap::new();
        for (index, step) in steps.iter().enumerate() {
            let Action::Swap(Swap { policy, plugin, settings }) = &step.action else { continue };
            // A stranger's name is told of elsewhere.
            let Some(position) = policies.iter().position(|known| known.name == *policy) else { continue };
            let swapped = &mut policies[position];
            if let Some(named) = plugin {
                let Some(plugin) = self.named(named, "step.swap.plugin") else { continue };
                swapped.plugin = plugin;
            }
            if let Some(given) = settings {
                swapped.settings = to_plugin(given);
            }
            let given = settings.as_deref().unwrap_or_default();
            self.mistakes.extend(tried(&policies[position], given, "swap", Some(step.line)));
            swaps.insert(index, policies.clone());
        }
        swaps
    }

    /// What runs where nothing is named.
    fn usual(&mut self, kind: Kind) -> Option<Arc<Plugin>> {
        match self.under_test {
            UnderTest::Plugin(plugin) if plugin.kinds().contains(&kind) => Some(Arc::clone(plugin)),
            UnderTest::Plugin(_) | UnderTest::Bundle | UnderTest::Setup(_) => self.bundled(kind),
        }
    }

    fn bundled(&mut self, kind: Kind) -> Option<Arc<Plugin>> {
        let bundled = self.shelf.bundle(kind).map_err(|error| Cause::Conflict { why: error.to_string() });
        self.had(bundled, None, "policy")
    }

    fn named(&mut self, named: &Named, key: &str) -> Option<Arc<Plugin>> {
        let plugin =
            self.shelf.plugin(&named.name, self.folder).map_err(|error| Cause::Plugin { why: error.to_string() });
        self.had(plugin, Some(named.line), key)
    }

    fn had(&mut self, plugin: Result<Arc<Plugin>, Cause>, line: Option<usize>, key: &str) -> Option<Arc<Plugin>> {
        plugin.map_err(|cause| self.mistakes.push(Mistake::new(line, key, cause))).ok()
    }
}

/// What the plugin thinks of its settings, each by its line where it has one.
fn tried(policy: &PolicyPlan, given: &[Setting], table: &str, line: Option<usize>) -> Vec<Mistake> {
    let Err(error) = policy.plugin.configure(policy.kind, &policy.settings, &policy.limits) else {
        return Vec::new();
    };
    let key = if table == "swap" { "step.swap".to_owned() } else { format!("policy.{}", policy.name) };
    let problems = match error {
        ConfigureError::Settings(problems) => problems,
        ConfigureError::Kind { .. } | ConfigureError::Limits(_) | ConfigureError::Failed(_) => {
            let why = format!("{}: {error}", policy.plugin.origin());
            return vec![Mistake::new(line, key, Cause::Plugin { why })];
        }
    };
    let known: Vec<&str> = policy.plugin.description().settings.iter().map(|spec| spec.name.as_str()).collect();
    let mistake = |problem: SettingProblem| {
        let name = problem.name();
        let cause = match &problem {
            SettingProblem::Unknown { .. } => {
                Cause::UnknownKey { nearest: nearest(name, known.iter().copied()).map(shown) }
            }
            SettingProblem::Missing { .. }
            | SettingProblem::Refused { .. }
            | SettingProblem::Type { .. }
            | SettingProblem::NotFinite { .. } => Cause::Plugin { why: problem.to_string() },
        };
        let written = given.iter().find(|setting| setting.name == name).map(|setting| setting.line.0);
        Mistake::new(written.or(line), format!("{key}.settings.{name}"), cause)
    };
    problems.into_iter().map(mistake).collect()
}

/// Names of policies that there aren't, and subjects that can't be told.
fn strangers(steps: &[Step], policies: &[PolicyPlan]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut known = |name: &str, key: &str, line: usize| {
        if policies.iter().any(|policy| policy.name == name) {
            return;
        }
        let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
        let expected = format!("a policy that is in force: {}", names.join(", "));
        let nearest = nearest(name, names.iter().copied()).map(str::to_owned);
        let cause = Cause::Value { found: shown(name), expected, nearest };
        mistakes.push(Mistake::new(line, key, cause));
    };
    for step in steps {
        if let Action::Swap(swap) = &step.action {
            known(&swap.policy, "step.swap.policy", step.line);
        }
        if let Some(Expected::Orders(orders)) = step.expect.as_ref().map(|expect| &expect.what) {
            for by in orders.iter().filter_map(|order| order.by.as_ref()) {
                known(by, "step.expect.by", step.line);
            }
        }
        step.failing.iter().for_each(|name| known(name, "step.failing", step.line));
        step.kept.iter().for_each(|kept| known(&kept.policy, "step.kept", kept.line));
    }
    for kept in steps.iter().flat_map(|step| &step.kept) {
        let subject = policies.iter().find(|policy| policy.name == kept.policy).map(|policy| policy.subject);
        let (Some(of), Some(subject)) = (&kept.of, subject) else { continue };
        let by_id = of.client.is_some() && subject == SubjectBy::Id;
        if of.from.is_none() && !by_id {
            let key = format!("step.kept.{}.of.from", kept.policy);
            let expected = "the source, which is part of whom the policy keeps state about".to_owned();
            mistakes.push(Mistake::new(kept.line, key, Cause::Missing { expected }));
        }
    }
    mistakes
}
