//! What instructions are counted of: a step on the way of an event each.

use portcullis_domain::event::Dated;
use portcullis_domain::{Event, Judge as _, Kind, Outcome, Timestamp};

use crate::bare::Bare;
use crate::world::{PAUSE, State, World, attempt, banned, finished, ids, judge, outcome, request, runtime, source};

/// Followed by a case's name, has that case run to be counted.
pub(crate) const OPTION: &str = "--case";
/// Events that are counted of a case.
pub(crate) const EVENTS: u32 = 2000;
/// Events before that, which aren't.
const WARM_UP: u32 = 100;
/// Who has a state.
const TRACKED: u32 = 1000;
/// The same for look-ups: as many as can be counted in little time.
const TRACKED_MANY: u32 = 100_000;

/// Does so many events, the next ones each time.
type Run = Box<dyn FnMut(u32)>;

/// A step that is counted.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) does: &'static str,
    make: fn() -> Run,
}

const fn case(name: &'static str, does: &'static str, make: fn() -> Run) -> Case {
    Case { name, does, make }
}

/// Every step.
pub(crate) const CASES: [Case; 10] = [
    case("admit", "a source that isn't banned is let in, beside 1,000 bans", || admit(1000)),
    case("admit-many", "the same beside 100,000 bans", || admit(TRACKED_MANY)),
    case("refuse", "a banned source is turned away", refuse),
    case("request", "a request is let in and judged by the scanner, which keeps nothing anew", || requests(TRACKED)),
    case("request-many", "the same with 100,000 tracked sources", || requests(TRACKED_MANY)),
    case("missing", "the first 404 of a source: the scanner keeps a state", missing),
    case("attempt", "a login is let in, has its turn and is judged by wait and ban", attempts),
    case("judge-request", "the scanner policy alone, from the call to its judgement", || judges(Kind::Scanner)),
    case("judge-attempt", "the ban policy alone", || judges(Kind::Ban)),
    case("bare-request", "the guest's function alone, called with wasmtime", || bare(Kind::Scanner)),
];

/// The one function that callgrind looks into.
#[inline(never)]
fn measured_under_callgrind(run: &mut dyn FnMut(u32)) {
    run(EVENTS);
}

/// Runs a case for callgrind.
pub(crate) fn count(name: &str) {
    let case = CASES.iter().find(|case| case.name == name).unwrap();
    let mut run = (case.make)();
    run(WARM_UP);
    measured_under_callgrind(&mut run);
}

fn admit(bans: u32) -> Run {
    let world = World::new(&runtime(), &[], bans);
    world.ban(bans);
    let mut next = 0;
    Box::new(move |events| {
        for n in next..next + events {
            world.gate.admit(source(n)).unwrap();
        }
        next += events;
    })
}

fn refuse() -> Run {
    let world = World::new(&runtime(), &[], 1000);
    world.ban(1000);
    let mut next = 0;
    Box::new(move |events| {
        for n in next..next + events {
            world.gate.admit(banned(n % 1000)).unwrap_err();
        }
        next += events;
    })
}

fn requests(tracked: u32) -> Run {
    let runtime = runtime();
    let world = World::new(&runtime, &[Kind::Scanner], tracked);
    world.track(&runtime, Kind::Scanner, tracked);
    let mut next = 0;
    Box::new(move |events| {
        for n in next..next + events {
            world.judge_request(n.wrapping_mul(617) % tracked, 200);
        }
        next += events;
    })
}

fn missing() -> Run {
    let runtime = runtime();
    let world = World::new(&runtime, &[Kind::Scanner], TRACKED_MANY);
    world.track(&runtime, Kind::Scanner, TRACKED);
    let mut next = TRACKED;
    Box::new(move |events| {
        for n in next..next + events {
            world.judge_request(n, 404);
        }
        next += events;
    })
}

fn attempts() -> Run {
    let runtime = runtime();
    let world = World::new(&runtime, &[Kind::Wait, Kind::Ban], TRACKED);
    let ids = ids(TRACKED);
    let mut next = 0;
    Box::new(move |events| {
        for n in next..next + events {
            let who = n % TRACKED;
            if who == 0 {
                world.clock.advance(PAUSE);
            }
            let turn = world.pass(source(who), &ids[who as usize]);
            assert_eq!(world.gate.judge_attempt(turn, &finished(outcome(n, TRACKED))).judged_by, 2);
        }
        next += events;
    })
}

fn judges(kind: Kind) -> Run {
    let judge = judge(&runtime(), kind);
    let ids = ids(TRACKED);
    let mut next = 0;
    Box::new(move |events| {
        for n in next..next + events {
            let (attempt, request) =
                (attempt(n, &ids[(n % TRACKED) as usize], Outcome::Failure), request(n % TRACKED, 200));
            let event = if kind == Kind::Scanner { Event::Request(&request) } else { Event::Attempt(&attempt) };
            let at = Timestamp::from_millis(1_767_614_400_000 + u64::from(n));
            std::hint::black_box(judge.judge(&Dated { at, event }, &State(None)).unwrap());
        }
        next += events;
    })
}

fn bare(kind: Kind) -> Run {
    let mut bare = Bare::new(kind);
    Box::new(move |events| (0..events).for_each(|n| bare.judge(n % TRACKED, Outcome::Failure, None)))
}
