//! What the benchmark says about plugins whose ways are known.
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

use std::sync::Arc;

use portcullis_harness::Shelf;
use portcullis_harness::bench::{Contender, Effort, run};
use portcullis_harness::domain::Kind;
use portcullis_harness::runtime::{Limits, Plugin, RuntimeConfig, Settings};

fn contenders(names: &[&str], kind: Kind, load: impl Fn(&mut Shelf) -> Arc<Plugin>) -> Vec<Contender> {
    let configured = |metered| {
        let (mut shelf, _) = Shelf::new(&RuntimeConfig { metered, ..RuntimeConfig::default() }).unwrap();
        Arc::new(load(&mut shelf).configure(kind, &Settings::new(), &Limits::default()).unwrap())
    };
    let contender =
        |name: &&str| Contender { name: (*name).to_owned(), plugin: configured(false), metered: configured(true) };
    names.iter().map(contender).collect()
}

#[test]
fn the_costs_are_those_of_the_plugin_and_the_first_is_the_measure() {
    let contenders = contenders(&["one", "other"], Kind::Ban, |shelf| shelf.bundle(Kind::Ban).unwrap());
    let mut rounds = Vec::new();
    let costs = run(&contenders, Effort { rounds: 3, calls: 300 }, |round| rounds.push(round)).unwrap();
    assert_eq!(rounds, [1, 2, 3]);
    assert_eq!(costs.iter().map(|cost| cost.name.as_str()).collect::<Vec<_>>(), ["one", "other"]);
    assert!((costs[0].ratio - 1.0).abs() < f64::EPSILON, "{}", costs[0].ratio);
    for cost in &costs {
        assert_eq!(cost.size_bytes, contenders[0].plugin.plugin().size());
        assert!(cost.p50_ns > 0.0 && cost.p50_ns <= cost.p99_ns, "{cost:?}");
        assert!(cost.memory_bytes >= 64 << 10 && cost.memory_bytes <= cost.memory_bytes_after, "{cost:?}");
        assert!(!cost.instantiation.is_zero());
    }
    // The same plugin over the same events: not one instruction more or less.
    assert!(costs[0].fuel_per_call > 100.0);
    assert_eq!(costs[0].fuel_per_call.to_bits(), costs[1].fuel_per_call.to_bits());
}

#[test]
fn a_plugin_that_fails_is_named() {
    let contenders = contenders(&["trap"], Kind::Ban, |shelf| {
        shelf.runtime().load(&portcullis_guests::component("traps-always"), "trap").unwrap()
    });
    let error = run(&contenders, Effort { rounds: 1, calls: 100 }, |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("trap: it trapped"), "{error}");
}
