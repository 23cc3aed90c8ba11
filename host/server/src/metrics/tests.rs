use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use portcullis_domain::{ClientId, Finished, Gate, MemoryStore, Outcome, Passage, Source, Store, Timestamp};
use portcullis_runtime::{Runtime, RuntimeConfig, Silent};

use super::*;
use crate::auth::{Fingerprints, HashPool, ProcessKey};
use crate::clock::HostClock;
use crate::config::{Config, Overrides};
use crate::counters::Counters;
use crate::gatekeeper::Gatekeeper;
use crate::http::{ConnectionCap, HandshakeGauge, Tunnels};
use crate::journal::Journal;
use crate::log::{Format, Level, Log, Target};
use crate::running::InForce;
use crate::setup::{Setup, Workshop};
use crate::swap::{Stamps, SwapThread, Swapper};

/// A server with that configuration, without sockets.
fn running(config: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.toml");
    std::fs::write(&file, config).unwrap();
    let config = Config::load(Some(&file), &Overrides::default()).unwrap();
    let (runtime, _) = Runtime::new(&RuntimeConfig::default()).unwrap();
    let key = ProcessKey::generate().unwrap();
    let workshop =
        Workshop { runtime, reporter: Arc::new(Silent), key: key.clone(), workers: 1, tunnels: Tunnels::default() };
    let setup = Setup::prepare(config, "p.toml", &workshop, None).unwrap();
    let log = Log::start(Level::Info, Format::Text, Target::Writer(Box::new(std::io::sink()))).unwrap();
    let store = Arc::new(MemoryStore::default());
    let ruleset = setup.ruleset(&*store);
    let clock = Arc::new(HostClock::start(Timestamp::default()));
    let gate = Arc::new(Gate::new(Arc::clone(&store) as Arc<dyn Store>, clock, ruleset, key.to_bytes()));
    let hashing = HashPool::start(std::num::NonZeroUsize::new(1)).unwrap();
    let counters = Arc::new(Counters::default());
    let fingerprints = Fingerprints::new(key);
    let gatekeeper =
        Gatekeeper::new(gate, setup.front(), hashing, fingerprints, log.clone(), Arc::clone(&counters), None);
    let clock = Arc::new(HostClock::start(Timestamp::default()));
    let journal = Journal::start(&setup.config.journal, clock).unwrap();
    let started = setup.config.clone();
    let now = jiff::Timestamp::now();
    let in_force = InForce::of(&setup, now);
    let in_force = Arc::new(ArcSwap::from_pointee(in_force));
    let watches = crate::watch::Watches::new(gatekeeper.clone(), None);
    let swapper = Swapper {
        config_file: None,
        overrides: Overrides::default(),
        workshop,
        setup,
        started,
        seen: Stamps::default(),
        gatekeeper: gatekeeper.clone(),
        entrances: Vec::new(),
        log: log.clone(),
        in_force: Arc::clone(&in_force),
        journal: journal.clone(),
        watches: watches.clone(),
    };
    let swapping = SwapThread::start(swapper).unwrap().requests();
    let connections = ConnectionCap::new(100);
    Running {
        started: now,
        addresses: Vec::new(),
        decide_addresses: Vec::new(),
        ending: AtomicBool::new(false),
        gatekeeper,
        store,
        counters,
        connections,
        handshakes: HandshakeGauge::default(),
        log,
        journal,
        keeper: None,
        firewall: None,
        in_force,
        swapping,
        watches,
    }
}

/// One failed login, judged; its orders are counted as the gatekeeper counts them.
fn fail(running: &Running, id: &str) {
    let gate = running.gatekeeper.gate();
    let admitted = gate.admit(Source::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), 64)).unwrap();
    let id = ClientId::new(id).unwrap();
    let waiting = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let Passage::Turn(admission) = waiting.block_on(gate.pass(&admitted, Some(&id), None)).unwrap() else {
        panic!("nobody is verified")
    };
    let finished = Finished {
        outcome: Outcome::Failure,
        secret: None,
        client_known: None,
        secret_fingerprint: None,
        attributes: &[],
    };
    gate.judge_attempt(admission, &finished).orders.iter().for_each(|order| running.counters.orders.count(order));
}

/// Names, labels and values, read strictly as the text format is specified: a
/// family's lines are together, each with its help and type first, and no
/// sample comes twice.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Vec<(String, f64)>> {
    let mut families: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    let (mut current, mut metric) = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, doc) = help.split_once(' ').unwrap();
            assert!(!doc.is_empty() && is_name(name), "{line}");
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            (current, metric) = (name.to_owned(), kind.to_owned());
            assert!(families.insert(current.clone(), Vec::new()).is_none(), "{name} comes twice");
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = sample.split_once('{').map_or((sample, ""), |(name, labels)| {
            let labels = labels.strip_suffix('}').unwrap();
            assert!(are_labels(labels), "{line}");
            (name, labels)
        });
        let part = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} is in {current}"));
        match metric.as_str() {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&part), "{line}"),
            _ => assert_eq!(part, "", "{line}"),
        }
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite() && value >= 0.0, "{line}");
        let samples = families.get_mut(&current).unwrap();
        let key = format!("{part}{{{labels}}}");
        assert!(samples.iter().all(|(known, _)| *known != key), "{line} comes twice");
        samples.push((key, value));
    }
    assert!(text.ends_with('\n'));
    families
}

fn is_name(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit())
}

/// `name="value",…`, a value's quotes and backslashes escaped.
fn are_labels(labels: &str) -> bool {
    let mut rest = labels;
    loop {
        let Some((name, after)) = rest.split_once("=\"") else { return false };
        let mut escaped = false;
        let Some(end) = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        }) else {
            return false;
        };
        if !is_name(name) {
            return false;
        }
        match &after[end + 1..] {
            "" => return true,
            more => match more.strip_prefix(',') {
                Some(more) => rest = more,
                None => return false,
            },
        }
    }
}

#[test]
fn names_follow_the_conventions() {
    let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len(), "a name is there twice");
    for family in FAMILIES {
        let Family { name, metric, labels, doc, .. } = family;
        assert!(is_name(name) && (name.starts_with("portcullis_") || name.starts_with("process_")), "{name}");
        assert_eq!(name.ends_with("_total"), *metric == Metric::Counter, "{name}");
        assert!(*metric != Metric::Histogram || name.ends_with("_seconds"), "{name}");
        assert!(labels.iter().all(|label| is_name(label) && *label != "le"), "{name}");
        assert!(doc.ends_with('.') && !doc.contains(['\n', '|']), "{name}");
    }
}

#[test]
fn what_is_written_is_exactly_what_is_listed_and_true() {
    let running = running("[policy.ban-too]\nkind = \"ban\"\nplugin = \"bundle:ban\"\nmode = \"shadow\"\n");
    ["a", "b", "c", "d", "e"].iter().for_each(|id| fail(&running, id));
    running.counters.attempts_failed.add(5);
    running.counters.refused_banned.bump();
    (0..9).for_each(|_| {
        let began = running.counters.upstream_times.begin();
        running.counters.upstream_times.end(began);
    });
    let text = render(&running);
    let families = parse(&text);
    let listed: BTreeSet<_> = FAMILIES.iter().map(|family| family.name.to_owned()).collect();
    assert_eq!(families.keys().cloned().collect::<BTreeSet<_>>(), listed);
    let value = |family: &str, labels: &str| {
        let samples = &families[family];
        let found = samples.iter().find(|(key, _)| key == labels);
        found.unwrap_or_else(|| panic!("{family} has no {labels}, only {samples:?}")).1
    };
    assert_eq!(value("portcullis_attempts_total", r#"{outcome="failure"}"#), 5.0);
    assert_eq!(value("portcullis_refusals_total", r#"{why="banned"}"#), 1.0);
    assert_eq!(
        value("portcullis_orders_total", r#"{policy="ban",kind="ban",code="max-failed-login",fate="enforced"}"#),
        1.0
    );
    assert_eq!(value("portcullis_bans", "{}"), 1.0);
    assert_eq!(value("portcullis_waits", "{}"), 5.0);
    assert_eq!(value("portcullis_connections_max", "{}"), 100.0);
    assert_eq!(value("portcullis_policy_calls_total", r#"{policy="wait",kind="wait"}"#), 5.0);
    assert_eq!(value("portcullis_policy_judge_seconds", r#"_count{policy="wait",kind="wait"}"#), 1.0);
    assert_eq!(value("portcullis_policy_judge_seconds", r#"_bucket{policy="wait",kind="wait",le="+Inf"}"#), 1.0);
    assert_eq!(value("portcullis_upstream_head_seconds", "_count{}"), 2.0);
    assert_eq!(value("portcullis_shadow_events_total", r#"{policy="ban-too",kind="ban",what="agreed"}"#), 1.0);
    assert!(value("process_resident_memory_bytes", "{}") > 1e6);
    assert!(value("process_start_time_seconds", "{}") > 1.6e9);
    for (name, samples) in &families {
        let of = |suffix: &str| samples.iter().filter(|(key, _)| key.starts_with(suffix)).collect::<Vec<_>>();
        // Within one histogram each bucket holds those below it.
        for pair in of("_bucket").windows(2).filter(|pair| !pair[0].0.contains("+Inf")) {
            assert!(pair[0].1 <= pair[1].1, "{name}: {pair:?}");
        }
    }
}

#[test]
fn everything_that_is_counted_is_shown() {
    let running = running("");
    let totals = |from: u64| running.counters.all().map(|(name, _)| name.to_owned()).zip(from..);
    running.counters.resume(&totals(1_000_000).collect());
    let families = parse(&render(&running));
    let shown: Vec<f64> = families.values().flatten().map(|(_, value)| *value).collect();
    // A policy's calls are shown by policy, and lines of logs by watch.
    let by_whose = ["scanner_judged", "attempt_judged", "watched_lines", "watched_events"];
    for (name, total) in totals(1_000_000).filter(|(name, _)| !by_whose.contains(&name.as_str())) {
        let total = f64::from(u32::try_from(total).unwrap());
        assert!(shown.contains(&total), "{name} isn't among the metrics");
    }
}
