//! Portcullis beside the programs that people otherwise use for the same job,
//! all in turns within one run.
//!
//! `cargo bench -p portcullis-tests --bench peers [-- --quick] [ROUNDS] [SCENARIO…]`, where SCENARIO is part of a
//! scenario's name. `tests/bench` runs it beside all else that is measured.
//!
//! The server under test is alone on CPU 0 with one worker; wrk (or h2load) and
//! nginx, the service behind, are on CPU 1. In each round every contender has
//! its turn, in an order that is drawn anew; before the first it is warmed up.
//! CPU time is that of the server's own processes, from the kernel's scheduler,
//! since a client saturates long before a server that only refuses. Ratios are
//! taken within a round, and their median is shown, with the spread. Before it is
//! measured each contender has to show that it does what the scenario is about,
//! and every answer has to be of the kind expected: one that errs isn't fast.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a broken benchmark stops")]

mod contender;
mod load;
mod measure;
mod scenario;
mod table;

use portcullis_tests::{Nginx, require};

use contender::Contender;
use measure::pin;
use scenario::{Effort, SCENARIOS, Scenario};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !["wrk", "nginx", "taskset", "haproxy", "h2load", "caddy"].map(require).into_iter().all(|there| there) {
        return;
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let mut effort = if quick { Effort::QUICK } else { Effort::FULL };
    if let Some(rounds) = args.iter().find_map(|arg| arg.parse().ok()) {
        effort = Effort { rounds, rounds_aside: rounds, ..effort };
    }
    // cargo passes `--bench`.
    let named: Vec<&String> =
        args.iter().filter(|arg| !arg.starts_with("--") && arg.parse::<usize>().is_err()).collect();
    let backend = Nginx::start();
    pin("1", backend.id());
    println!(
        "{} rounds of {} s each where there is a goal, {} where there is none",
        effort.rounds, effort.seconds, effort.rounds_aside
    );
    for scenario in SCENARIOS {
        if named.is_empty() || named.iter().any(|name| scenario.name.contains(name.as_str())) {
            run(scenario, effort, &backend);
        }
    }
}

fn run(scenario: &Scenario, effort: Effort, backend: &Nginx) {
    let mut contenders: Vec<Contender> =
        scenario.contenders.iter().map(|which| Contender::start(*which, scenario, backend)).collect();
    contenders.iter_mut().for_each(|contender| contender.warm_up(scenario));
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut shuffle = Shuffle::default();
    let rounds = if scenario.goals.is_empty() { effort.rounds_aside } else { effort.rounds };
    for _ in 0..rounds {
        shuffle.shuffle(&mut order);
        for &index in &order {
            contenders[index].turn(scenario, effort.seconds);
        }
    }
    table::print(scenario, &contenders);
}

/// An order drawn anew each time, the same in each run of the program.
struct Shuffle(u64);

impl Default for Shuffle {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Shuffle {
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bound = u64::try_from(last + 1).unwrap();
            order.swap(last, usize::try_from((self.0 >> 33) % bound).unwrap());
        }
    }
}
