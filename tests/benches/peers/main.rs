//! Portcullis beside the programs that people otherwise use for the same job,
//! all in turns within one run.
//!
//! `cargo bench -p portcullis-tests --bench peers [-- --quick] [ROUNDS] [SCENARIO…]`, where SCENARIO is part of a
//! scenario's name.
//!
//! The server under test is alone on CPU 0 with one worker; wrk (or h2load) and
//! nginx, the service behind, are on CPU 1. In each round every contender has
//! its turn, in an order that is drawn anew. A turn is a warm-up and a measured
//! run; CPU time is that of the server's own processes, from the kernel's
//! scheduler, since a client saturates long before a server that only refuses.
//! Ratios are taken within a round and their median is shown, with the spread.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a broken benchmark stops")]

mod contender;
mod floor;
mod load;
mod measure;
mod scenario;
mod table;

use portcullis_tests::{Nginx, require};

use contender::Contender;
use measure::pin;
use scenario::{Length, SCENARIOS, Scenario};

/// Rounds for publishing.
const ROUNDS: usize = 9;
/// Rounds with `--quick`.
const ROUNDS_QUICK: usize = 3;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|arg| arg == floor::OPTION) {
        return floor::serve(&args[at + 1], &args[at + 2]);
    }
    if !["wrk", "nginx", "taskset", "haproxy", "h2load"].map(require).into_iter().all(|there| there) {
        return;
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(if quick { ROUNDS_QUICK } else { ROUNDS });
    // cargo passes `--bench`.
    let named: Vec<&String> =
        args.iter().filter(|arg| !arg.starts_with("--") && arg.parse::<usize>().is_err()).collect();
    let length = if quick { Length::QUICK } else { Length::FULL };
    let backend = Nginx::start();
    pin(1, backend.id());
    println!("{rounds} rounds; {} s measured after {} s of warm-up each", length.measured, length.warm_up);
    for scenario in SCENARIOS {
        if named.is_empty() || named.iter().any(|name| scenario.name.contains(name.as_str())) {
            run(scenario, rounds, length, &backend);
        }
    }
}

fn run(scenario: &Scenario, rounds: usize, length: Length, backend: &Nginx) {
    let mut contenders: Vec<Contender> =
        scenario.contenders.iter().map(|which| Contender::start(*which, scenario, backend)).collect();
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut shuffle = Shuffle::default();
    for _ in 0..rounds {
        shuffle.shuffle(&mut order);
        for &index in &order {
            contenders[index].turn(scenario, length);
        }
    }
    table::print(scenario, &contenders);
    for contender in contenders {
        contender.end();
    }
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
