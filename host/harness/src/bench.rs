//! What calls into a plugin cost: time, instantiation, memory and fuel, of
//! several plugins in turns so that their ratios mean something.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_domain::event::{Attempt, Dated, Request};
use portcullis_domain::{ClientId, Event, Keep, Kind, Outcome, Source, StateBytes, Subject, SubjectBy, Timestamp};
use portcullis_runtime::{Configured, Failure, Probe};

/// Sources that the events come from.
const SOURCES: u32 = 1000;
/// Client auth ids that attempts are for.
const CLIENTS: u32 = 100;
/// One attempt in so many succeeds, one request in so many is a 404.
const RARE: u32 = 10;
/// Virtual time between two events.
const STEP: Duration = Duration::from_millis(50);
/// When the events begin.
const START: Timestamp = Timestamp::from_millis(1_767_614_400_000);
/// Instances that are made to time one.
const INSTANTIATIONS: u32 = 50;
/// Calls that are timed by themselves, of one plugin; 8 bytes each.
const SAMPLES_MAX: u64 = 2_000_000;
/// Calls whose states to keep are at hand at once.
const BATCH: u32 = 10_000;
/// Calls whose fuel is counted.
const METERED_CALLS: u32 = 2000;

/// A plugin to be measured, configured in a runtime at full speed and in a
/// [metered](portcullis_runtime::RuntimeConfig::metered) one.
#[derive(Debug)]
pub struct Contender {
    /// The name that it goes by.
    pub name: String,
    /// At full speed.
    pub plugin: Arc<Configured>,
    /// With its fuel counted.
    pub metered: Arc<Configured>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Rounds; each plugin has its turn in each.
    pub rounds: u32,
    /// Calls of a plugin in a round.
    pub calls: u32,
}

impl Effort {
    /// One call in so many is timed by itself, so that the samples fit into memory.
    fn every(self) -> u32 {
        let calls = u64::from(self.rounds.max(1)) * u64::from(self.calls);
        let mut every = u32::try_from(calls.div_ceil(SAMPLES_MAX)).unwrap_or(u32::MAX).max(1);
        // The events repeat after 10, 100 and 1000: with a divisor in common only some of them would be sampled.
        while every.is_multiple_of(2) || every.is_multiple_of(5) {
            every += 1;
        }
        every
    }
}

/// What a plugin costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The contender's name.
    pub name: String,
    /// What it judged as.
    pub kind: Kind,
    /// Size of its file in bytes.
    pub size_bytes: usize,
    /// Nanoseconds of a call in the middle, the clock's own cost taken off.
    pub p50_ns: f64,
    /// Nanoseconds of a call that 99 of 100 stay below.
    pub p99_ns: f64,
    /// Nanoseconds of a call on average, with none of them timed by itself:
    /// the median over rounds.
    pub mean_ns: f64,
    /// The mean against that of the first contender of its kind: the median of
    /// the rounds' ratios.
    pub ratio: f64,
    /// Median time to make an instance and give it its settings.
    pub instantiation: Duration,
    /// Bytes of all memories and tables of a new instance.
    pub memory_bytes: usize,
    /// The same after all calls.
    pub memory_bytes_after: usize,
    /// Fuel of a call on average, nearly the WebAssembly instructions.
    pub fuel_per_call: f64,
}

/// A plugin failed while it was measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{plugin}: {failure}")]
pub struct BenchError {
    /// The contender's name.
    pub plugin: String,
    /// Why.
    pub failure: Failure,
}

/// Measures all contenders, which must be of one kind, in turns. The events are
/// the same for all: attempts of which one in ten succeeds, or requests of
/// which one in ten is a 404, from a thousand sources, each with its kept
/// state. `done` is told after each round.
///
/// # Errors
/// [`BenchError`] at the first failure of a plugin.
pub fn run(contenders: &[Contender], effort: Effort, mut done: impl FnMut(u32)) -> Result<Vec<Cost>, BenchError> {
    let mut runners =
        contenders.iter().map(|contender| Runner::new(contender, effort)).collect::<Result<Vec<_>, _>>()?;
    for runner in &mut runners {
        // Its first calls are slower: they count for nothing.
        runner.untimed(effort.calls.min(METERED_CALLS))?;
    }
    for round in 0..effort.rounds.max(1) {
        // Whoever begins finds other caches: everyone begins at times.
        let first = round as usize % runners.len().max(1);
        runners.rotate_left(first);
        for runner in &mut runners {
            let mean = runner.round(effort.calls)?;
            runner.means.push(mean);
        }
        runners.rotate_right(first);
        done(round + 1);
    }
    let overhead = clock_overhead();
    let base = runners.first().map(|runner| runner.means.clone()).unwrap_or_default();
    runners.into_iter().map(|runner| runner.cost(&base, overhead)).collect()
}

/// One contender with its instance and states.
struct Runner<'a> {
    contender: &'a Contender,
    probe: Probe,
    traffic: Traffic,
    memory_bytes: usize,
    means: Vec<f64>,
    /// One call in so many is timed by itself.
    every: u32,
    samples: Vec<u64>,
}

impl<'a> Runner<'a> {
    fn new(contender: &'a Contender, effort: Effort) -> Result<Self, BenchError> {
        let probe = contender.plugin.probe().map_err(|failure| contender.error(failure))?;
        let memory_bytes = probe.memory_bytes();
        let traffic = Traffic::new(contender.plugin.kind());
        let every = effort.every();
        Ok(Self { contender, probe, traffic, memory_bytes, means: Vec::new(), every, samples: Vec::new() })
    }

    /// So many calls twice, over the same events: each timed by itself, and none.
    /// Nanoseconds of a call on average, of those that weren't.
    fn round(&mut self, calls: u32) -> Result<f64, BenchError> {
        let (mut judged, mut beside) = (Duration::ZERO, Duration::ZERO);
        let mut left = calls;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            let keeps = self.timed(batch)?;
            // What is done beside the calls (making the event, finding and keeping the
            // state) is measured alone, to be taken off.
            beside += self.traffic.clone().replay(keeps);
            judged += self.untimed(batch)?;
        }
        Ok(per(judged.saturating_sub(beside), calls))
    }

    /// The next events judged, and how long that took with all that is done beside it.
    fn untimed(&mut self, calls: u32) -> Result<Duration, BenchError> {
        let began = Instant::now();
        for _ in 0..calls {
            let probe = &mut self.probe;
            self.traffic
                .next(|dated, state| Ok(probe.judge(dated, state)?.map(|(_, keep)| keep)))
                .map_err(|failure| self.contender.error(failure))?;
        }
        Ok(began.elapsed())
    }

    /// Takes samples of the next events, which are still the next ones then; what
    /// the plugin wants to be kept.
    fn timed(&mut self, calls: u32) -> Result<Vec<Option<Keep>>, BenchError> {
        let mut traffic = self.traffic.clone();
        let mut keeps = Vec::with_capacity(calls as usize);
        for _ in 0..calls {
            let sampled = traffic.nth.is_multiple_of(self.every);
            let (probe, samples) = (&mut self.probe, &mut self.samples);
            let judge = |dated: &Dated<'_>, state: Option<&[u8]>| {
                let began = sampled.then(Instant::now);
                let answer = probe.judge(dated, state)?;
                samples.extend(began.map(|began| u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)));
                let keep = answer.map(|(_, keep)| keep);
                keeps.push(keep.clone());
                Ok(keep)
            };
            traffic.next(judge).map_err(|failure| self.contender.error(failure))?;
        }
        Ok(keeps)
    }

    fn cost(mut self, base: &[f64], overhead: f64) -> Result<Cost, BenchError> {
        self.samples.sort_unstable();
        let quantile = |part: f64| (at_quantile(&self.samples, part) - overhead).max(0.0);
        let ratios: Vec<f64> =
            self.means.iter().zip(base).map(|(own, base)| own / base.max(f64::MIN_POSITIVE)).collect();
        Ok(Cost {
            name: self.contender.name.clone(),
            kind: self.contender.plugin.kind(),
            size_bytes: self.contender.plugin.plugin().size(),
            p50_ns: quantile(0.50),
            p99_ns: quantile(0.99),
            mean_ns: median(self.means),
            ratio: median(ratios),
            instantiation: self.contender.instantiation()?,
            memory_bytes: self.memory_bytes,
            memory_bytes_after: self.probe.memory_bytes(),
            fuel_per_call: self.contender.fuel_per_call()?,
        })
    }
}

impl Contender {
    fn error(&self, failure: Failure) -> BenchError {
        BenchError { plugin: self.name.clone(), failure }
    }

    fn instantiation(&self) -> Result<Duration, BenchError> {
        let make = |_| {
            let began = Instant::now();
            black_box(self.plugin.probe()).map_err(|failure| self.error(failure))?;
            Ok(began.elapsed())
        };
        let mut times = (0..INSTANTIATIONS).map(make).collect::<Result<Vec<_>, _>>()?;
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }

    fn fuel_per_call(&self) -> Result<f64, BenchError> {
        let mut probe = self.metered.probe().map_err(|failure| self.error(failure))?;
        let mut traffic = Traffic::new(self.metered.kind());
        let before = probe.fuel_used().unwrap_or_default();
        for _ in 0..METERED_CALLS {
            traffic
                .next(|dated, state| Ok(probe.judge(dated, state)?.map(|(_, keep)| keep)))
                .map_err(|failure| self.error(failure))?;
        }
        let used = probe.fuel_used().unwrap_or_default().saturating_sub(before);
        Ok(as_f64(used) / f64::from(METERED_CALLS))
    }
}

/// Events one after another, always the same, and what is kept for their subjects.
#[derive(Clone)]
struct Traffic {
    kind: Kind,
    clients: Arc<[ClientId]>,
    kept: HashMap<Subject, StateBytes>,
    nth: u32,
    now: Timestamp,
}

impl Traffic {
    fn new(kind: Kind) -> Self {
        let client = |n| ClientId::new(&format!("client-{n}")).ok();
        Self { kind, clients: (0..CLIENTS).filter_map(client).collect(), kept: HashMap::new(), nth: 0, now: START }
    }

    /// Has `judge` judge the next event with its subject's state, and keeps
    /// what it says.
    fn next<E>(&mut self, judge: impl FnOnce(&Dated<'_>, Option<&[u8]>) -> Result<Option<Keep>, E>) -> Result<(), E> {
        self.nth = self.nth.wrapping_add(1);
        self.now = self.now.after(STEP);
        // A step through all sources that isn't in their order.
        let address = Ipv4Addr::from(0x0a00_0000 + self.nth.wrapping_mul(617) % SOURCES);
        let source = Source::new(IpAddr::V4(address), 64);
        let rare = self.nth.is_multiple_of(RARE);
        let client = &self.clients[self.nth as usize % self.clients.len()];
        let attempt = Attempt {
            source,
            client_id: Some(client),
            outcome: if rare { Outcome::Success } else { Outcome::Failure },
            client_known: Some(true),
            secret_fingerprint: (!rare).then_some(self.nth),
            attributes: &[],
        };
        let request = Request {
            source,
            client_id: None,
            method: "GET",
            path: "/api/v1/things",
            status: if rare { 404 } else { 200 },
            attributes: &[],
        };
        let event = match self.kind {
            Kind::Wait | Kind::Ban => Event::Attempt(&attempt),
            Kind::Scanner => Event::Request(&request),
        };
        let subject = Subject::of(SubjectBy::default_of(self.kind), &event);
        let state = self.kept.get(&subject).map(|bytes| bytes.as_slice());
        match judge(&Dated { at: self.now, event }, state)? {
            None | Some(Keep::Unchanged) => {}
            Some(Keep::Forget) => drop(self.kept.remove(&subject)),
            Some(Keep::Put(kept)) => drop(self.kept.insert(subject, kept.data)),
        }
        Ok(())
    }

    /// Time to do all but the calls once more, with what they wanted to be kept.
    fn replay(&mut self, keeps: Vec<Option<Keep>>) -> Duration {
        let began = Instant::now();
        for keep in keeps {
            let Ok(()) = self.next(|_, _| Ok::<_, Infallible>(keep));
        }
        began.elapsed()
    }
}

/// What reading the clock twice costs, in nanoseconds: in the middle of many.
fn clock_overhead() -> f64 {
    let mut samples: Vec<u64> = (0..10_001)
        .map(|_| {
            let began = Instant::now();
            u64::try_from(black_box(began).elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    samples.sort_unstable();
    at_quantile(&samples, 0.5)
}

#[expect(clippy::cast_precision_loss, reason = "times and counts far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn per(time: Duration, calls: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(calls.max(1))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the list")]
fn at_quantile(sorted: &[u64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (as_f64(last as u64) * part).round() as usize;
    sorted.get(at).copied().map_or(0.0, as_f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a broken test stops")]
mod tests {
    use portcullis_runtime::{Limits, RuntimeConfig, Settings};

    use super::*;
    use crate::Shelf;

    #[test]
    fn keeping_a_state_is_no_part_of_a_calls_cost() {
        let (mut shelf, _) = Shelf::new(&RuntimeConfig::default()).unwrap();
        let plugin = shelf.bundle(Kind::Ban).unwrap();
        let plugin = Arc::new(plugin.configure(Kind::Ban, &Settings::new(), &Limits::default()).unwrap());
        let contender = Contender { name: "ban".to_owned(), plugin: Arc::clone(&plugin), metered: plugin };
        let mut runner = Runner::new(&contender, Effort { rounds: 1, calls: 3000 }).unwrap();
        let mut beside = runner.traffic.clone();
        let keeps = runner.timed(3000).unwrap();
        assert!(runner.traffic.kept.is_empty(), "the same events are judged again");
        assert_eq!((keeps.len(), runner.samples.len()), (3000, 3000));
        beside.replay(keeps);
        runner.untimed(3000).unwrap();
        assert!(!beside.kept.is_empty());
        assert_eq!((beside.kept, beside.now), (runner.traffic.kept, runner.traffic.now));
    }

    #[test]
    fn samples_are_bounded_and_of_all_events() {
        for (rounds, calls) in [(0, 0), (1, 100), (9, 20_000), (1, 2_000_000), (3, 1_000_000), (1000, 10_000_000)] {
            let every = Effort { rounds, calls }.every();
            assert!(u64::from(rounds) * u64::from(calls) / u64::from(every) <= SAMPLES_MAX, "{rounds} {calls} {every}");
            let mut sampled: Vec<_> = (1..=SOURCES).map(|n| (n * every) % SOURCES).collect();
            sampled.sort_unstable();
            sampled.dedup();
            assert_eq!(sampled.len(), SOURCES as usize, "{every}");
        }
        assert_eq!(Effort { rounds: 9, calls: 20_000 }.every(), 1);
    }
}
