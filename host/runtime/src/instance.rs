//! The only place that makes a store, and so the only place that has to
//! remember its bounds: deadline, memory, what is handed over, log lines.
//!
//! A store is born with all of them, before any of the guest's code has run.
//! Knows no policy, pool or ladder.

use std::time::{Duration, Instant};

use nix::time::ClockId;
use portcullis_domain::event::Dated;
use portcullis_domain::{Event, Interest, Kind};
use wasmtime::component::InstancePre;
use wasmtime::{ResourceLimiter, Store, Trap, UpdateDeadline};

use crate::bindings::exports::portcullis::policy::{ban, plugin, scanner, wait};
use crate::bindings::portcullis::policy::types as wire;
use crate::convert::{self, Answer};
use crate::failure::{Cause, Failure};
use crate::limits::Limits;
use crate::log::{CallLog, Logged};

/// A guest that only ever waits for a processor is stopped when this many of
/// its deadlines have gone by on the wall.
const WALL_DEADLINES: u32 = 50;
/// Most core instances, memories and tables of one plugin: interpreters bring
/// some thirty of the first and one or two of the others.
const CORE_INSTANCES_MAX: usize = 256;
const MEMORIES_MAX: usize = 16;
const TABLES_MAX: usize = 64;

/// Stands in for an import that language toolchains leave behind.
#[derive(Debug, thiserror::Error)]
#[error("{import} was called, and a plugin has no such thing")]
pub(crate) struct StandIn {
    pub(crate) import: String,
}

/// A store's data: the bounds of whoever runs in it.
pub(crate) struct Guarded {
    budget: Budget,
    clock: CallClock,
    pub(crate) log: CallLog,
}

/// Where a plugin's functions are, found once at load.
pub(crate) struct Exports {
    pub(crate) plugin: plugin::GuestIndices,
    pub(crate) wait: Option<wait::GuestIndices>,
    pub(crate) ban: Option<ban::GuestIndices>,
    pub(crate) scanner: Option<scanner::GuestIndices>,
}

/// A component ready to be instantiated.
pub(crate) struct Prepared {
    pub(crate) pre: InstancePre<Guarded>,
    pub(crate) exports: Exports,
    /// Whether fuel is counted.
    pub(crate) metered: bool,
}

enum JudgeGuest {
    Wait(wait::Guest),
    Ban(ban::Guest),
    Scanner(scanner::Guest),
}

/// One instance in a store of its own. After any failure it has to be dropped:
/// nothing in a store can be entered again after a trap.
pub(crate) struct Instance {
    store: Store<Guarded>,
    plugin: plugin::Guest,
    instance: wasmtime::component::Instance,
}

/// An instance that was configured for one kind.
pub(crate) struct Judging {
    store: Store<Guarded>,
    judge: JudgeGuest,
}

impl Instance {
    /// Instantiates, which can run the guest's own code.
    pub(crate) fn start(prepared: &Prepared, limits: &Limits) -> Result<Self, Failure> {
        let guarded = Guarded {
            budget: Budget { bytes: 0, bytes_max: limits.memory_bytes, last_growth: 0, refused: false },
            clock: CallClock { deadline: limits.deadline, begun: None },
            log: CallLog::new(limits.log_lines),
        };
        let mut store = Store::new(prepared.pre.engine(), guarded);
        store.limiter(|guarded| &mut guarded.budget);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().clock.tick()));
        if prepared.metered {
            // As much as there is: it is counted and not rationed.
            store.set_fuel(u64::MAX).map_err(|error| at_start(&error, store.data()))?;
        }
        begin(&mut store);
        let instance = prepared.pre.instantiate(&mut store).map_err(|error| at_start(&error, store.data()))?;
        let plugin =
            prepared.exports.plugin.load(&mut store, &instance).map_err(|error| at_start(&error, store.data()))?;
        Ok(Self { store, plugin, instance })
    }

    pub(crate) fn describe(&mut self) -> Result<wire::Description, Failure> {
        begin(&mut self.store);
        self.plugin.call_describe(&mut self.store).map_err(|error| failure(&error, self.store.data()))
    }

    /// Hands over the settings; a refusal is the inner error.
    pub(crate) fn configure(
        &mut self,
        settings: &[wire::Setting<'_>],
    ) -> Result<Result<Interest, Vec<wire::SettingError>>, Failure> {
        begin(&mut self.store);
        let answer = self.plugin.call_configure(&mut self.store, settings);
        match answer.map_err(|error| failure(&error, self.store.data()))? {
            Ok(interest) => Ok(Ok(convert::interest(interest)?)),
            Err(errors) => Ok(Err(errors)),
        }
    }

    /// Turns to judging. Fails if the interface isn't of the type it has to be.
    pub(crate) fn judging(mut self, prepared: &Prepared, kind: Kind) -> Result<Judging, Failure> {
        let judge = self.judge_guest(prepared, kind)?;
        Ok(Judging { store: self.store, judge })
    }

    /// Whether the interface of that kind is there and of the right type.
    pub(crate) fn check(&mut self, prepared: &Prepared, kind: Kind) -> Result<(), Failure> {
        self.judge_guest(prepared, kind).map(drop)
    }

    fn judge_guest(&mut self, prepared: &Prepared, kind: Kind) -> Result<JudgeGuest, Failure> {
        let (store, exports) = (&mut self.store, &prepared.exports);
        let loaded = match kind {
            Kind::Wait => exports.wait.as_ref().map(|at| at.load(store, &self.instance).map(JudgeGuest::Wait)),
            Kind::Ban => exports.ban.as_ref().map(|at| at.load(store, &self.instance).map(JudgeGuest::Ban)),
            Kind::Scanner => exports.scanner.as_ref().map(|at| at.load(store, &self.instance).map(JudgeGuest::Scanner)),
        };
        match loaded {
            Some(Ok(judge)) => Ok(judge),
            Some(Err(error)) => Err(Failure::new(Cause::Start, &format!("{error:#}"))),
            None => Err(Failure::new(Cause::Start, &format!("it doesn't judge as {kind}"))),
        }
    }

    pub(crate) fn take_log(&mut self) -> Logged {
        self.store.data_mut().log.take()
    }
}

impl Judging {
    /// Judges one event. Attempts are for `wait` and `ban`, requests for
    /// `scanner`; `None` for what this kind doesn't judge.
    pub(crate) fn judge(
        &mut self,
        dated: &Dated<'_>,
        state: Option<&[u8]>,
        interest: &Interest,
        state_bytes_max: usize,
    ) -> Result<Option<Answer>, Failure> {
        let store = &mut self.store;
        begin(store);
        let answer = match (&self.judge, dated.event) {
            (JudgeGuest::Wait(guest), Event::Attempt(attempt)) => {
                let attributes = convert::attributes(attempt.attributes, interest);
                guest
                    .call_judge(&mut *store, convert::attempt(dated.at, attempt, &attributes), state)
                    .map(|answer| answer.map(|answer| convert::wait_judgement(answer, state_bytes_max)))
            }
            (JudgeGuest::Ban(guest), Event::Attempt(attempt)) => {
                let attributes = convert::attributes(attempt.attributes, interest);
                guest
                    .call_judge(&mut *store, convert::attempt(dated.at, attempt, &attributes), state)
                    .map(|answer| answer.map(|answer| convert::ban_judgement(answer, state_bytes_max)))
            }
            (JudgeGuest::Scanner(guest), Event::Request(request)) => {
                let attributes = convert::attributes(request.attributes, interest);
                guest
                    .call_judge(&mut *store, convert::request(dated.at, request, &attributes), state)
                    .map(|answer| answer.map(|answer| convert::ban_judgement(answer, state_bytes_max)))
            }
            (JudgeGuest::Wait(_) | JudgeGuest::Ban(_), Event::Request(_))
            | (JudgeGuest::Scanner(_), Event::Attempt(_)) => return Ok(None),
        };
        match answer {
            Ok(Ok(answer)) => answer.map(Some),
            Ok(Err(said)) => Err(Failure::new(Cause::Error, &said)),
            Err(error) => Err(failure(&error, store.data())),
        }
    }

    /// Bytes of all memories and tables.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().budget.bytes
    }

    /// Fuel used up since the instance was made, if it is counted.
    pub(crate) fn fuel_used(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| u64::MAX - left)
    }

    /// What the guest wrote to the log since the last time, if anything.
    pub(crate) fn take_log(&mut self) -> Option<Logged> {
        let log = &mut self.store.data_mut().log;
        (!log.is_empty()).then(|| log.take())
    }
}

/// Starts the clock and the budgets of one call.
fn begin(store: &mut Store<Guarded>) {
    store.set_epoch_deadline(1);
    let guarded = store.data_mut();
    guarded.clock.begun = None;
    guarded.budget.refused = false;
}

/// Why a call failed, by the types of what came back and by what was refused.
fn failure(error: &wasmtime::Error, guarded: &Guarded) -> Failure {
    let trap = error.downcast_ref::<Trap>();
    let cause = if trap == Some(&Trap::Interrupt) {
        Cause::Deadline
    } else if guarded.budget.refused {
        Cause::Memory
    } else if trap.is_some() {
        Cause::Trap
    } else if error.downcast_ref::<StandIn>().is_some() {
        Cause::Import
    } else {
        Cause::Unreadable
    };
    Failure::new(cause, &detail(error))
}

/// What happened, and then where in the guest: the latter is what a bound cuts.
fn detail(error: &wasmtime::Error) -> String {
    let (what, place) = (error.root_cause().to_string(), error.to_string());
    if what == place {
        return what;
    }
    let place: Vec<_> = place.split_whitespace().collect();
    format!("{what}, {}", place.join(" "))
}

/// As [`failure`], for what happens before there is anything to read.
fn at_start(error: &wasmtime::Error, guarded: &Guarded) -> Failure {
    let failure = failure(error, guarded);
    match failure.cause {
        Cause::Unreadable => Failure { cause: Cause::Start, ..failure },
        Cause::Trap
        | Cause::Deadline
        | Cause::Memory
        | Cause::Import
        | Cause::Error
        | Cause::Nonsense
        | Cause::Start => failure,
    }
}

/// Holds a call to its CPU time. The fast path reads no clock: only a call
/// that meets a tick starts to count, so it may run up to a tick longer.
struct CallClock {
    deadline: Duration,
    begun: Option<(Duration, Instant)>,
}

impl CallClock {
    fn tick(&mut self) -> UpdateDeadline {
        let used = thread_cpu_time();
        let Some((used_before, wall)) = self.begun else {
            self.begun = Some((used, Instant::now()));
            return UpdateDeadline::Continue(1);
        };
        let over = used.saturating_sub(used_before) >= self.deadline;
        if over || wall.elapsed() >= self.deadline.saturating_mul(WALL_DEADLINES) {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::Continue(1)
        }
    }
}

/// By the C library: rustix looks for the kernel's clock where a valgrind has none.
fn thread_cpu_time() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}

/// Bytes of all memories and tables together.
struct Budget {
    bytes: usize,
    bytes_max: usize,
    last_growth: usize,
    refused: bool,
}

impl Budget {
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>, bytes_each: usize) -> bool {
        let growth = desired.saturating_sub(current).saturating_mul(bytes_each);
        let bytes = self.bytes.saturating_add(growth);
        if bytes > self.bytes_max || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused |= bytes > self.bytes_max;
            return false;
        }
        self.bytes = bytes;
        self.last_growth = growth;
        true
    }

    /// What was allowed and then could not be had isn't used.
    fn undo(&mut self) {
        self.bytes = self.bytes.saturating_sub(std::mem::take(&mut self.last_growth));
        self.refused = true;
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, 1))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, size_of::<usize>()))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.undo();
        Ok(())
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(deadline: Duration) -> CallClock {
        CallClock { deadline, begun: None }
    }

    #[test]
    fn a_call_goes_on_while_it_has_used_little_of_a_processor() {
        let mut clock = clock(Duration::from_secs(3600));
        for _ in 0..1000 {
            assert!(matches!(clock.tick(), UpdateDeadline::Continue(1)), "ticks alone end nothing");
        }
    }

    #[test]
    fn a_call_ends_with_its_processor_time() {
        let mut clock = clock(Duration::ZERO);
        assert!(matches!(clock.tick(), UpdateDeadline::Continue(1)), "the first tick starts to count");
        assert!(matches!(clock.tick(), UpdateDeadline::Interrupt));
    }

    #[test]
    fn a_call_that_only_waits_for_a_processor_ends_some_day() {
        let mut clock = clock(Duration::from_millis(1));
        clock.begun = Instant::now().checked_sub(Duration::from_millis(60)).map(|wall| (Duration::MAX, wall));
        assert!(matches!(clock.tick(), UpdateDeadline::Interrupt), "no processor time, and 60 ms on the wall");
    }

    #[test]
    fn growth_that_could_not_be_had_is_not_used() {
        let mut budget = Budget { bytes: 0, bytes_max: 100, last_growth: 0, refused: false };
        assert!(budget.grow(0, 60, None, 1));
        budget.undo();
        assert!(budget.grow(0, 60, None, 1));
        assert!(!budget.grow(0, 60, None, 1), "the sum counts");
        assert!(budget.grow(60, 100, None, 1));
        assert!(!budget.grow(0, 1, None, 8));
        assert!(!budget.grow(0, usize::MAX, None, usize::MAX));
    }
}
