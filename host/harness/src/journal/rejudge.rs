//! Every judgement of a journal once more, by the same plugin with the same
//! settings and the same state before: it has to come to the same, bit for bit.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::event::Dated;
use portcullis_domain::judge::Kept as Held;
use portcullis_domain::{
    self as domain, Attempt, ClientId, Event, Judge as _, PolicyMode, Request, Source, StateBytes,
};
use portcullis_runtime::{
    Configured, DEADLINE_MAX, Limits, MEMORY_BYTES_MAX, OnFailure, Plugin, PolicyJudge, STATE_BYTES_MAX, SettingValue,
    Settings, Silent,
};
use serde::Serialize;

use super::reader::{Findings, Read, Reader, Stored};
use super::record::{Answered, InForce, Judged, Keep, Mode, Policy, Record, Runs, Seen, Verdict, What};
use super::value::{Digest, Time};
use crate::plan::{Failing, Plan, PolicyPlan};

/// Plugins with settings that are told apart; a journal with more is none of ours.
const KNOWN_MAX: usize = 4096;
/// Prefix of an IPv6 source; plugins see the whole address.
const IPV6_PREFIX: u8 = 64;

/// Finds the plugin of that digest, which came from there.
pub type Find<'f> = &'f mut dyn FnMut(Digest, &str) -> Option<Arc<Plugin>>;

/// What came of judging once more.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rejudged {
    /// Judgements in the journal.
    pub judgements: u64,
    /// The same again.
    pub equal: u64,
    /// Something else.
    pub different: u64,
    /// The first of these.
    pub differences: Vec<Difference>,
    /// Judgements by plugins that aren't to be had, or can't be set up.
    pub unavailable: u64,
    /// These plugins.
    pub missing: Vec<Missing>,
    /// Judgements that can't be made again.
    pub not_reproducible: NotReproducible,
    /// What was met while reading.
    pub findings: Findings,
}

/// Why judgements can't be made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NotReproducible {
    /// Nobody had been asked: the event was of no interest, or the plugin was failing.
    pub nobody_asked: u64,
    /// Nobody could judge.
    pub denied: u64,
    /// The plugin had seen an attribute whose value isn't written down.
    pub withheld: u64,
}

impl NotReproducible {
    /// All of them.
    #[must_use]
    pub const fn all(&self) -> u64 {
        self.nobody_asked + self.denied + self.withheld
    }
}

/// A judgement that came to something else.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// As it was.
    pub record: Stored,
    /// What it came to now.
    pub now: Now,
}

/// What a judgement came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Now {
    /// The verdict, as in a record's JSON; absent if the plugin failed.
    pub verdict: Option<serde_json::Value>,
    /// What is kept, as in a record's JSON.
    pub keep: Option<serde_json::Value>,
}

/// A plugin that isn't to be had, or can't be set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// SHA-256 of the plugin.
    pub plugin: Digest,
    /// SHA-256 of its settings.
    pub settings: Digest,
    /// Where it had come from.
    pub origin: String,
    /// Why it can't judge.
    pub why: String,
    /// Its judgements.
    pub judgements: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    kind: domain::Kind,
    plugin: Digest,
    settings: Digest,
}

/// What runs under a key, as the journal says.
struct Known {
    origin: String,
    settings: Settings,
    limits: Limits,
}

impl Known {
    fn of(runs: &Runs<'_>) -> Self {
        let (origin, settings) = (runs.origin.to_owned(), settings(runs));
        Self { origin, settings, limits: limits(runs) }
    }
}

/// Judges everything in the journal once more; of differences at most so many
/// are kept.
#[must_use]
pub fn rejudge(reader: &Reader, find: Find<'_>, differences_max: usize) -> Rejudged {
    let known = known(reader);
    let mut judges: HashMap<Key, Result<PolicyJudge, Missing>> = HashMap::new();
    let mut rejudged = Rejudged::default();
    rejudged.findings = reader.forward(|read, record| {
        if let What::Judged(judged) = &record.what {
            rejudged.judgements += 1;
            one(read, record.time, judged, &known, &mut judges, find, differences_max, &mut rejudged);
        }
        ControlFlow::Continue(())
    });
    let missing = judges.into_values().filter_map(Result::err);
    rejudged.missing = missing.collect();
    rejudged.missing.sort_by(|one, other| (&one.origin, one.settings).cmp(&(&other.origin, other.settings)));
    rejudged.unavailable = rejudged.missing.iter().map(|missing| missing.judgements).sum();
    rejudged
}

fn known(reader: &Reader) -> HashMap<Key, Known> {
    let mut known = HashMap::new();
    reader.forward(|_, record| {
        let What::InForce(in_force) = &record.what else { return ControlFlow::Continue(()) };
        for policy in &in_force.policies {
            for runs in std::iter::once(&policy.runs).chain(&policy.stand_in) {
                if known.len() >= KNOWN_MAX {
                    return ControlFlow::Break(());
                }
                let kind = policy.kind.into();
                let key = Key { kind, plugin: runs.digest, settings: runs.settings_digest };
                known.entry(key).or_insert_with(|| Known::of(runs));
            }
        }
        ControlFlow::Continue(())
    });
    known
}

#[expect(clippy::too_many_arguments, reason = "the state of one loop")]
fn one(
    read: Read<'_>,
    time: Time,
    judged: &Judged<'_>,
    known: &HashMap<Key, Known>,
    judges: &mut HashMap<Key, Result<PolicyJudge, Missing>>,
    find: Find<'_>,
    differences_max: usize,
    rejudged: &mut Rejudged,
) {
    let (plugin, settings) = match (judged.answered, judged.plugin, judged.settings) {
        (Answered::Own | Answered::StandIn, Some(plugin), Some(settings)) => (plugin, settings),
        (Answered::Denied, ..) => return rejudged.not_reproducible.denied += 1,
        (Answered::Own | Answered::StandIn | Answered::Nobody, ..) => {
            return rejudged.not_reproducible.nobody_asked += 1;
        }
    };
    let key = Key { kind: judged.policy_kind.into(), plugin, settings };
    let judge = match judges.entry(key) {
        Slot::Occupied(slot) => slot.into_mut(),
        Slot::Vacant(slot) => slot.insert(judge(key, known.get(&key), find)),
    };
    let judge = match judge {
        Ok(judge) => judge,
        Err(missing) => return missing.judgements += 1,
    };
    let wants = |name: &str| judge.interest().attributes.iter().any(|wanted| wanted == name);
    if judged.attributes.iter().any(|attribute| attribute.value.is_none() && wants(attribute.name)) {
        return rejudged.not_reproducible.withheld += 1;
    }
    let answer = answer(judge, time, judged);
    let now = answer.as_ref().ok().map(|answer| (Verdict::from(&answer.verdict), Keep::from(&answer.keep)));
    if now.is_some() && now == judged.verdict.zip(judged.keep) {
        return rejudged.equal += 1;
    }
    rejudged.different += 1;
    if rejudged.differences.len() < differences_max {
        let json = |(verdict, keep)| Now {
            verdict: serde_json::to_value::<Verdict<'_>>(verdict).ok(),
            keep: serde_json::to_value::<Keep<'_>>(keep).ok(),
        };
        let now = now.map(json).unwrap_or_default();
        rejudged.differences.push(Difference { record: read.stored(), now });
    }
}

/// The judge of that key, or why there is none.
fn judge(key: Key, known: Option<&Known>, find: Find<'_>) -> Result<PolicyJudge, Missing> {
    let missing = |origin: &str, why: String| Missing {
        plugin: key.plugin,
        settings: key.settings,
        origin: origin.to_owned(),
        why,
        judgements: 0,
    };
    let Some(known) = known else {
        return Err(missing("", "the journal doesn't say with which settings it ran".to_owned()));
    };
    let Some(plugin) = find(key.plugin, &known.origin) else {
        return Err(missing(&known.origin, "no plugin of this digest is at hand".to_owned()));
    };
    let configured = plugin
        .configure(key.kind, &known.settings, &known.limits)
        .map_err(|error| missing(&known.origin, error.to_string()))?;
    if configured.provenance().settings != key.settings.0 {
        return Err(missing(&known.origin, "the settings in the journal aren't those of their digest".to_owned()));
    }
    of(configured).map_err(|why| missing(&known.origin, why))
}

fn of(configured: Configured) -> Result<PolicyJudge, String> {
    PolicyJudge::new("journal", configured, OnFailure::Deny, Arc::new(Silent)).map_err(|error| error.to_string())
}

/// The state that a record says was kept before.
struct Before<'r>(Option<&'r [u8]>);

impl Held for Before<'_> {
    fn read(&self, _: usize) -> Option<StateBytes> {
        self.0.map(StateBytes::from_slice)
    }
}

fn answer(judge: &PolicyJudge, time: Time, judged: &Judged<'_>) -> Result<domain::Judgement, domain::Denied> {
    let source = Source::new(judged.source.0, IPV6_PREFIX);
    // A longer one than the gate takes was never judged.
    let client = judged.client.and_then(|client| ClientId::new(client).ok());
    let attributes: Vec<_> = judged
        .attributes
        .iter()
        .filter_map(|attribute| Some(domain::Attribute { name: attribute.name, value: attribute.value? }))
        .collect();
    let before = Before(judged.before.map(|before| before.0));
    let judge = |event| judge.judge(&Dated { at: time.0, event }, &before);
    match judged.seen {
        Seen::Attempt { outcome, known, fingerprint } => judge(Event::Attempt(&Attempt {
            source,
            client_id: client.as_ref(),
            outcome: outcome.into(),
            client_known: known,
            secret_fingerprint: fingerprint.map(|fingerprint| fingerprint.0),
            attributes: &attributes,
        })),
        Seen::Request { method, path, status } => judge(Event::Request(&Request {
            source,
            client_id: client.as_ref(),
            method,
            path,
            status,
            attributes: &attributes,
        })),
    }
}

fn settings(runs: &Runs<'_>) -> Settings {
    runs.settings.iter().map(|setting| (setting.name.to_owned(), SettingValue::from(&setting.value))).collect()
}

/// The limits of then, but for the time: what was answered in time then may take
/// longer on this machine.
fn limits(runs: &Runs<'_>) -> Limits {
    let bytes = |bytes: u64, most: usize| usize::try_from(bytes).unwrap_or(most).min(most);
    Limits {
        deadline: DEADLINE_MAX,
        memory_bytes: bytes(runs.memory_bytes, MEMORY_BYTES_MAX),
        state_bytes: bytes(runs.state_bytes, STATE_BYTES_MAX),
        ..Limits::default()
    }
}

/// The policies that were in force last, as a plan.
///
/// # Errors
/// What is missing: words for people.
pub fn last_plan(reader: &Reader, find: Find<'_>) -> Result<Plan, String> {
    let mut last = None;
    reader.backward(None, |read, record| match record.what {
        What::InForce(_) => {
            last = Some(read.stored());
            ControlFlow::Break(())
        }
        What::Judged(_) | What::Unjudged(_) | What::Act(_) | What::Process(_) => ControlFlow::Continue(()),
    });
    let last = last.ok_or_else(|| "the journal doesn't say which policies were in force".to_owned())?;
    let record: Record<'_> = last.record().map_err(|error| error.to_string())?;
    let What::InForce(InForce { policies, .. }) = record.what else { return Ok(Plan::default()) };
    let policies = policies.iter().map(|policy| policy_plan(policy, find)).collect::<Result<_, _>>()?;
    Ok(Plan { policies, ..Plan::default() })
}

fn policy_plan(policy: &Policy<'_>, find: Find<'_>) -> Result<PolicyPlan, String> {
    let mut plugin = |runs: &Runs<'_>| {
        find(runs.digest, runs.origin)
            .ok_or_else(|| format!("policy {} ran {} ({}), which isn't at hand", policy.name, runs.origin, runs.digest))
    };
    let on_failure = match &policy.stand_in {
        None => Failing::Deny,
        Some(runs) => Failing::Bundle { plugin: plugin(runs)?, settings: settings(runs) },
    };
    Ok(PolicyPlan {
        name: policy.name.to_owned(),
        kind: policy.kind.into(),
        plugin: plugin(&policy.runs)?,
        settings: settings(&policy.runs),
        subject: policy.subject.into(),
        limits: Limits {
            deadline: Duration::from_micros(policy.runs.deadline_us).min(DEADLINE_MAX),
            ..limits(&policy.runs)
        },
        mode: match policy.mode {
            Mode::Enforce => PolicyMode::Enforce,
            Mode::Shadow => PolicyMode::Shadow,
        },
        on_failure,
    })
}

#[cfg(test)]
mod tests;
