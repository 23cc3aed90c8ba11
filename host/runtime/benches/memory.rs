//! How many bytes a tracked source takes: resident, as an operator sees it, and
//! as asked for from the allocator.
//!
//! `cargo bench -p portcullis-runtime --bench memory [-- --quick]`
//!
//! Maps grow by leaps, so each number of sources is measured, in a process of its
//! own. A source is tracked by all three policies once it has drawn a 404 and a
//! login from it has failed, each under an id of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken benchmark stops")]
#![allow(clippy::cast_precision_loss, reason = "a measurement")]

#[path = "gate/world.rs"]
#[allow(dead_code, reason = "what the other benchmark needs")]
mod world;

use std::alloc::System;
use std::fs;
use std::process::Command;
use std::time::Duration;

use portcullis_domain::{ClientId, Kind, Outcome};
use portcullis_tests::{Spread, report_goal};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use world::{PAUSE, World, finished, runtime, source};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ONE: &str = "--sources";
/// Where maps have just grown, where they are about to, and between.
const SOURCES: [u32; 5] = [500_000, 650_000, 800_000, 900_000, 1_000_000];
const SOURCES_QUICK: [u32; 3] = [500_000, 750_000, 1_000_000];
/// What is said of a source at each of these.
const STEPS: [&str; 4] = [
    "a login failed, the wait over",
    "and a 404 drawn: **tracked**",
    "and another login failed, its id waiting",
    "and banned by a second 404, the wait over",
];
const TRACKED: usize = 1;
/// Virtual time in which all logins fail: waits end by the way, as they do in service.
const LOGINS: Duration = Duration::from_secs(60);
/// As often as a server does.
const SWEEP: Duration = Duration::from_secs(1);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == ONE) {
        return measure(args[at + 1].parse().unwrap());
    }
    let sources: &[u32] = if args.iter().any(|arg| arg == "--quick") { &SOURCES_QUICK } else { &SOURCES };
    let runs: Vec<Vec<[f64; 2]>> = sources.iter().map(|sources| one(*sources)).collect();
    println!("Bytes of a source, medians (least to most) over {} numbers of sources\n", sources.len());
    println!("| | resident | allocated |\n| --- | --- | --- |");
    for (step, name) in STEPS.iter().enumerate() {
        let [resident, allocated] = [0, 1].map(|which| Spread::of(runs.iter().map(|run| run[step][which])));
        println!("| {name} | {} | {} |", resident.show(0), allocated.show(0));
        if step == TRACKED {
            report_goal("memory", resident);
        }
    }
}

fn one(sources: u32) -> Vec<[f64; 2]> {
    let ran = Command::new(std::env::current_exe().unwrap()).args([ONE, &sources.to_string()]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8(ran.stdout).unwrap();
    let figures = |line: &str| {
        let (resident, allocated) = line.split_once(' ').unwrap();
        [resident, allocated].map(|figure| figure.parse().unwrap())
    };
    text.lines().map(figures).collect()
}

fn measure(sources: u32) {
    let runtime = runtime();
    let world = World::new(&runtime, &[Kind::Wait, Kind::Ban, Kind::Scanner], sources);
    let missing = |n| {
        let admitted = world.gate.admit(source(n)).unwrap();
        world.gate.judge_request(&admitted, &world::request(n, 404));
    };
    let fail = |n| {
        let turn = world.pass(source(n), &ClientId::new(&format!("client-{n}")).unwrap());
        world.gate.judge_attempt(turn, &finished(Outcome::Failure));
    };
    // Instances and all else that is made once.
    missing(sources);
    fail(sources);
    let before = now();
    let say = || {
        let (resident, allocated) = now();
        let each = |now: usize, before: usize| (now as f64 - before as f64) / f64::from(sources);
        println!("{} {}", each(resident, before.0), each(allocated, before.1));
    };
    let wait_over = || {
        world.clock.advance(PAUSE);
        world.gate.sweep();
    };
    let sweeps = u32::try_from(LOGINS.as_secs() / SWEEP.as_secs()).unwrap();
    for n in 0..sources {
        if n % (sources / sweeps) == 0 {
            world.clock.advance(SWEEP);
            world.gate.sweep();
        }
        fail(n);
    }
    wait_over();
    say();
    (0..sources).for_each(missing);
    say();
    (0..sources).for_each(fail);
    say();
    wait_over();
    (0..sources).for_each(missing);
    say();
}

/// Bytes that are resident, and bytes that are allocated.
fn now() -> (usize, usize) {
    let stats = ALLOCATOR.stats();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    (1024 * kib.unwrap().parse::<usize>().unwrap(), stats.bytes_allocated - stats.bytes_deallocated)
}
