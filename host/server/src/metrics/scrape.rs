//! One look at everything that is counted, and its form. It must not know which
//! metrics there are.

use std::fmt;
use std::sync::Arc;

use portcullis_domain::store::Sizes;
use portcullis_domain::{Kind, PolicyMode, Tripped};
use portcullis_runtime::{Distribution, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::families::FAMILIES;
use super::process::Process;
use crate::firewall::FirewallHealth;
use crate::journal::JournalCounts;
use crate::log::LogCounts;
use crate::running::{InForce, Running};
use crate::setup::LoadedPolicy;
use crate::state::StateHealth;
use crate::watch::WatchStatus;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by bucket.
    Histogram,
}

impl Metric {
    /// Its name in documents and in the text format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric, with all its labels.
pub struct Family {
    /// Its full name, the unit and `_total` included.
    pub name: &'static str,
    /// What it is.
    pub metric: Metric,
    /// Kept with the state: where that is durable, it goes on over restarts.
    pub lasting: bool,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one line.
    pub doc: &'static str,
    /// Where it is read.
    pub(super) read: fn(&Seen<'_>, &mut Samples),
}

impl Family {
    /// The names that its samples go by.
    #[must_use]
    pub fn written(&self) -> Vec<String> {
        match self.metric {
            Metric::Counter | Metric::Gauge => vec![self.name.to_owned()],
            Metric::Histogram => ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", self.name)).into(),
        }
    }
}

/// Everything that metrics are read from, looked at once.
pub(super) struct Seen<'a> {
    pub(super) running: &'a Running,
    pub(super) in_force: Arc<InForce>,
    pub(super) policies: Vec<SeenPolicy>,
    pub(super) tripped: Vec<Tripped>,
    pub(super) sizes: Sizes,
    pub(super) firewall: Option<FirewallHealth>,
    pub(super) state: Option<StateHealth>,
    pub(super) journal: JournalCounts,
    pub(super) log: LogCounts,
    pub(super) watches: Vec<WatchStatus>,
    pub(super) process: Process,
}

/// One policy in force.
pub(super) struct SeenPolicy {
    pub(super) loaded: LoadedPolicy,
    pub(super) counted: Snapshot,
    pub(super) times: Distribution,
}

impl SeenPolicy {
    pub(super) fn name(&self) -> &str {
        &self.loaded.config.name
    }

    pub(super) const fn kind(&self) -> Kind {
        self.loaded.config.kind
    }

    pub(super) const fn mode(&self) -> &'static str {
        match self.loaded.config.mode {
            PolicyMode::Enforce => "enforce",
            PolicyMode::Shadow => "shadow",
        }
    }
}

impl<'a> Seen<'a> {
    pub(super) fn of(running: &'a Running) -> Self {
        let in_force = running.in_force.load_full();
        let seen = |policy: &LoadedPolicy| SeenPolicy {
            loaded: policy.clone(),
            counted: policy.judge.snapshot(),
            times: policy.judge.times(),
        };
        Self {
            running,
            policies: in_force.policies.iter().map(seen).collect(),
            in_force,
            tripped: running.gatekeeper.gate().tripped(),
            sizes: running.gatekeeper.gate().store().sizes(),
            firewall: running.firewall.as_ref().map(crate::firewall::Firewall::health),
            state: running.keeper.as_ref().map(crate::state::Keeper::health),
            journal: running.journal.counts(),
            log: running.log.counts(),
            watches: running.watches.status(),
            process: Process::look(),
        }
    }
}

/// The samples of one family.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<(Vec<String>, Value)>);

#[derive(Debug)]
pub(super) enum Value {
    Whole(u64),
    Number(f64),
    Times(Distribution),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<Distribution> for Value {
    fn from(value: Distribution) -> Self {
        Self::Times(value)
    }
}

impl Samples {
    /// Without labels.
    pub(super) fn one(&mut self, value: impl Into<Value>) {
        self.labelled([], value);
    }

    /// The values of the labels come in the order of their names.
    pub(super) fn labelled<const N: usize>(&mut self, labels: [&str; N], value: impl Into<Value>) {
        self.0.push((labels.map(str::to_owned).into(), value.into()));
    }
}

/// All samples, to be written.
#[derive(Debug)]
pub(super) struct Scrape(Vec<(usize, Samples)>);

impl Scrape {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let read = |(index, family): (usize, &Family)| {
            let mut samples = Samples::default();
            (family.read)(seen, &mut samples);
            (index, samples)
        };
        Self(FAMILIES.iter().enumerate().map(read).collect())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (index, Samples(samples)) in &self.0 {
            let family = &FAMILIES[*index];
            // The format's own suffix, which the encoder adds.
            let name = family.name.strip_suffix("_total").unwrap_or(family.name);
            let metric = match family.metric {
                Metric::Counter => MetricType::Counter,
                Metric::Gauge => MetricType::Gauge,
                Metric::Histogram => MetricType::Histogram,
            };
            let mut encoder = encoder.encode_descriptor(name, family.doc, None, metric)?;
            for (labels, value) in samples {
                debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
                let labels: Vec<_> = family.labels.iter().copied().zip(labels.iter().map(String::as_str)).collect();
                write(&mut encoder.encode_family(&labels)?, family.metric, value)?;
            }
        }
        Ok(())
    }
}

fn write(encoder: &mut MetricEncoder<'_>, metric: Metric, value: &Value) -> fmt::Result {
    type NoExemplar = Option<&'static Exemplar<NoLabelSet, f64>>;
    let none: NoExemplar = None;
    match (metric, value) {
        (_, Value::Times(times)) => {
            let bounds = times.bounds.iter().map(|bound| bound.as_secs_f64());
            let buckets: Vec<_> = bounds.zip(times.counts.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(times.sum.as_secs_f64(), times.count(), &buckets, None)
        }
        (Metric::Counter, Value::Whole(value)) => encoder.encode_counter(value, none),
        (Metric::Counter, Value::Number(value)) => encoder.encode_counter(value, none),
        (Metric::Gauge | Metric::Histogram, Value::Whole(value)) => encoder.encode_gauge(value),
        (Metric::Gauge | Metric::Histogram, Value::Number(value)) => encoder.encode_gauge(value),
    }
}
