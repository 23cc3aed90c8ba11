//! What a single instance says about its cost.
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

use portcullis_domain::event::{Dated, Request};
use portcullis_domain::{Event, Keep, Kind, Source, Timestamp, Verdict};
use portcullis_runtime::{Limits, Probe, Runtime, RuntimeConfig, Settings};

fn probe(runtime: &Runtime) -> Probe {
    let plugin = runtime.bundle(Kind::Scanner).unwrap();
    plugin.configure(Kind::Scanner, &Settings::new(), &Limits::default()).unwrap().probe().unwrap()
}

fn judge(probe: &mut Probe, status: u16) -> (Verdict, Keep) {
    let source = Source::new("203.0.113.7".parse().unwrap(), 64);
    let request = Request { source, client_id: None, method: "GET", path: "/x", status, attributes: &[] };
    let at = Timestamp::from_millis(1_700_000_000_000);
    probe.judge(&Dated { at, event: Event::Request(&request) }, None).unwrap().unwrap()
}

#[test]
fn fuel_is_counted_where_it_is_asked_for_and_is_the_same_for_the_same_call() {
    let (metered, _) = Runtime::new(&RuntimeConfig { metered: true, ..RuntimeConfig::default() }).unwrap();
    let fuel = |status: u16| {
        let mut probe = probe(&metered);
        let before = probe.fuel_used().unwrap();
        judge(&mut probe, status);
        probe.fuel_used().unwrap() - before
    };
    assert!(fuel(200) > 0);
    assert_eq!(fuel(200), fuel(200));
    assert!(fuel(404) > fuel(200), "a hit is more work");

    let (plain, _) = Runtime::new(&RuntimeConfig::default()).unwrap();
    assert_eq!(probe(&plain).fuel_used(), None);
}

#[test]
fn memory_is_that_of_the_instance() {
    let (runtime, _) = Runtime::new(&RuntimeConfig::default()).unwrap();
    let mut probe = probe(&runtime);
    let begun = probe.memory_bytes();
    assert!((64 << 10..1 << 20).contains(&begun), "{begun}");
    for _ in 0..1000 {
        assert!(matches!(judge(&mut probe, 404), (Verdict::Pass, Keep::Put(_))));
    }
    assert!(probe.memory_bytes() <= begun + (64 << 10), "{} after {begun}", probe.memory_bytes());
}
