//! What an event costs by the clock, in rounds, so that a busy machine is as
//! unfair to each of two that are set against each other.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_domain::{Admitted, Clock as _, Kind};
use portcullis_runtime::Runtime;
use portcullis_tests::{Spread, report_goal};

use crate::bare::Bare;
use crate::world::{PAUSE, World, banned, finished, ids, judge, kept, outcome, request, runtime, source};

/// Events that are timed at once.
const EVENTS: u32 = 100_000;
/// Logins that have their turn at once.
const TURNS: u32 = 1000;
/// From one source to the next: no divisor in common with how many there are, and
/// far enough for another page of memory.
const STRIDE: u64 = 6_180_339;

struct Effort {
    rounds: u32,
    tracked: &'static [u32],
}

const FULL: Effort = Effort { rounds: 11, tracked: &[1000, 100_000, 1_000_000, 10_000_000] };
const QUICK: Effort = Effort { rounds: 5, tracked: &[1000, 10_000_000] };

pub(crate) fn print(quick: bool) {
    let effort = if quick { QUICK } else { FULL };
    let runtime = runtime();
    println!("{} rounds, medians (least to most), nanoseconds of an event", effort.rounds);
    path_against_bare(&runtime, effort.rounds);
    many_against_few(&runtime, &effort);
    two_cores_against_one(&runtime, effort.rounds);
}

fn path_against_bare(runtime: &Runtime, rounds: u32) {
    println!(
        "\n| | policy path: look-up, judge, commit | bare wasmtime call | path / bare |\n| --- | --- | --- | --- |"
    );
    for (kind, name, goal) in
        [(Kind::Scanner, "a request, scanner", "path-requests"), (Kind::Ban, "a login attempt, ban", "path-attempts")]
    {
        let world = World::new(runtime, &[kind], TURNS);
        world.track(runtime, kind, TURNS);
        let state = kept(&judge(runtime, kind), kind, world.clock.now()).data;
        let mut bare = Bare::new(kind);
        let (mut paths, mut bares) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let path = match kind {
                Kind::Scanner => judged_requests(&world, TURNS),
                Kind::Wait | Kind::Ban => judged_attempts(&world, round),
            };
            let began = Instant::now();
            for n in 0..EVENTS {
                bare.judge(n % TURNS, outcome(n, TURNS), Some(&state));
            }
            // The first round warms up.
            if round > 0 {
                paths.push(nanos(path));
                bares.push(nanos(began.elapsed()));
            }
        }
        let ratio = ratio(&paths, &bares);
        println!("| {name} | {} | {} | {} |", spread(&paths).show(0), spread(&bares).show(0), ratio.show(2));
        report_goal(goal, ratio);
    }
}

fn judged_requests(world: &World, sources: u32) -> Duration {
    let admitted: Vec<Admitted> = (0..sources).map(|n| world.gate.admit(source(n)).unwrap()).collect();
    let began = Instant::now();
    for n in 0..EVENTS {
        let who = n % sources;
        black_box(world.gate.judge_request(&admitted[who as usize], &request(who, 200)));
    }
    began.elapsed()
}

/// The way to the turn isn't part of it: turns are taken by the thousand before.
fn judged_attempts(world: &World, round: u32) -> Duration {
    let ids = ids(TURNS);
    let mut took = Duration::ZERO;
    for batch in 0..EVENTS / TURNS {
        world.clock.advance(PAUSE);
        let turns: Vec<_> = (0..TURNS).map(|n| world.pass(source(n), &ids[n as usize])).collect();
        let first = (round * (EVENTS / TURNS) + batch) * TURNS;
        let began = Instant::now();
        for (n, turn) in (first..).zip(turns) {
            black_box(world.gate.judge_attempt(turn, &finished(outcome(n, TURNS))));
        }
        took += began.elapsed();
    }
    took
}

/// A world with so many tracked sources, and where its events have come to.
struct Crowd {
    tracked: u32,
    requests: World,
    attempts: World,
    bans: World,
    next: u32,
    took: [Vec<f64>; 4],
}

const STEPS: [(&str, Option<&str>); 4] = [
    ("a source let in", None),
    ("a banned source turned away", None),
    ("a request let in and judged by the scanner", Some("many-requests")),
    ("a login let in, its turn, judged by wait and ban", Some("many-attempts")),
];

fn many_against_few(runtime: &Runtime, effort: &Effort) {
    let mut crowds: Vec<Crowd> = effort.tracked.iter().map(|tracked| Crowd::new(runtime, *tracked)).collect();
    for round in 0..=effort.rounds {
        for crowd in &mut crowds {
            crowd.round(round > 0);
        }
    }
    let sizes: Vec<String> = effort.tracked.iter().map(u32::to_string).collect();
    println!("\n| with tracked sources (or bans) | {} | most / least |", sizes.join(" | "));
    println!("|{}", " --- |".repeat(sizes.len() + 2));
    for (step, (name, goal)) in STEPS.iter().enumerate() {
        let cells: Vec<String> = crowds.iter().map(|crowd| spread(&crowd.took[step]).show(0)).collect();
        let ratio = ratio(&crowds[crowds.len() - 1].took[step], &crowds[0].took[step]);
        println!("| {name} | {} | {} |", cells.join(" | "), ratio.show(2));
        if let Some(goal) = goal {
            report_goal(goal, ratio);
        }
    }
}

impl Crowd {
    fn new(runtime: &Runtime, tracked: u32) -> Self {
        let requests = World::new(runtime, &[Kind::Scanner], tracked);
        requests.track(runtime, Kind::Scanner, tracked);
        let attempts = World::new(runtime, &[Kind::Wait, Kind::Ban], tracked);
        attempts.track(runtime, Kind::Ban, tracked);
        let bans = World::new(runtime, &[], tracked);
        bans.ban(tracked);
        Self { tracked, requests, attempts, bans, next: 0, took: Default::default() }
    }

    fn round(&mut self, counts: bool) {
        let tracked = self.tracked;
        let who = |n: u32| u32::try_from(u64::from(n) * STRIDE % u64::from(tracked)).unwrap();
        let events = self.next..self.next + EVENTS;
        self.next += EVENTS;
        let bans = &self.bans.gate;
        let admit = timed(|| events.clone().for_each(|n| assert!(bans.admit(source(who(n))).is_ok())));
        let refuse = timed(|| {
            for n in events.clone() {
                assert!(bans.admit(banned(who(n))).is_err());
            }
        });
        let requests = timed(|| events.clone().for_each(|n| self.requests.judge_request(who(n), 200)));
        // Nobody may still wait when an id's turn comes again.
        let ids = ids(EVENTS.min(tracked));
        let attempts = timed(|| {
            for n in events {
                let id = n as usize % ids.len();
                if id == 0 {
                    self.attempts.clock.advance(PAUSE);
                }
                let turn = self.attempts.pass(source(who(n)), &ids[id]);
                black_box(self.attempts.gate.judge_attempt(turn, &finished(outcome(n, tracked))));
            }
        });
        if counts {
            let all = [admit, refuse, requests, attempts];
            self.took.iter_mut().zip(all).for_each(|(took, time)| took.push(nanos(time)));
        }
    }
}

fn two_cores_against_one(runtime: &Runtime, rounds: u32) {
    let world = World::new(runtime, &[Kind::Scanner], TURNS);
    world.track(runtime, Kind::Scanner, TURNS);
    world.ban(TURNS);
    let judge = |first: u32| {
        for n in 0..EVENTS * 4 {
            world.judge_request((first + n) % TURNS, 200);
        }
    };
    let refuse = |first: u32| {
        for n in 0..EVENTS * 20 {
            assert!(world.gate.admit(banned((first + n) % TURNS)).is_err());
        }
    };
    println!("\n| events per second | one core | two | two / one |\n| --- | --- | --- | --- |");
    let steps: [(_, _, &(dyn Fn(u32) + Sync), u32); 2] =
        [("judged", "cores-judge", &judge, 4), ("refused", "cores-refuse", &refuse, 20)];
    for (name, goal, step, times) in steps {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let alone = timed(|| step(0));
            let both = timed(|| {
                thread::scope(|scope| {
                    scope.spawn(|| step(0));
                    step(TURNS / 2);
                });
            });
            if round > 0 {
                let events = f64::from(EVENTS * times);
                one.push(events / alone.as_secs_f64());
                two.push(2.0 * events / both.as_secs_f64());
            }
        }
        let ratio = ratio(&two, &one);
        println!("| {name} | {} | {} | {} |", spread(&one).show(0), spread(&two).show(0), ratio.show(2));
        report_goal(goal, ratio);
    }
}

fn timed(step: impl FnOnce()) -> Duration {
    let began = Instant::now();
    step();
    began.elapsed()
}

/// Of an event.
fn nanos(took: Duration) -> f64 {
    took.as_nanos() as f64 / f64::from(EVENTS)
}

fn spread(figures: &[f64]) -> Spread {
    Spread::of(figures.iter().copied())
}

/// Round by round.
fn ratio(these: &[f64], those: &[f64]) -> Spread {
    Spread::of(these.iter().zip(those).map(|(this, that)| this / that))
}
