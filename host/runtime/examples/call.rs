//! What a call into each default plugin costs: medians over rounds, on one
//! thread. `cargo run --release -p portcullis-runtime --example call`

#![allow(clippy::unwrap_used, reason = "a measurement that can't be set up is none")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_domain::event::{Attempt, Dated, Outcome, Request};
use portcullis_domain::{ClientId, Event, Judge, Keep, Kept, Kind, Source, StateBytes, Timestamp};
use portcullis_runtime::{Limits, Mode, OnFailure, PolicyJudge, Runtime, RuntimeConfig, Settings, Silent};

const ROUNDS: usize = 21;

struct State(Option<StateBytes>);

impl Kept for State {
    fn read(&self, _: usize) -> Option<StateBytes> {
        self.0.clone()
    }
}

fn main() {
    let (runtime, notices) = Runtime::new(&RuntimeConfig::default()).unwrap();
    for notice in notices {
        println!("{notice}");
    }
    for kind in Kind::ALL {
        let began = Instant::now();
        let plugin = runtime.bundle(kind).unwrap();
        println!("{kind}: {} bytes, loaded in {:?}", plugin.size(), began.elapsed());
        for (mode, calls) in [(Mode::Pooled, 200_000), (Mode::FreshPerCall, 2_000)] {
            let configured = plugin.configure(kind, &Settings::new(), &Limits::default()).unwrap();
            let judge =
                PolicyJudge::new("policy", configured.with_mode(mode), OnFailure::Deny, Arc::new(Silent)).unwrap();
            println!("  {mode:?}: {} ns a call", measure(&judge, kind, calls));
        }
    }
}

fn measure(judge: &PolicyJudge, kind: Kind, calls: u32) -> u128 {
    let id = ClientId::new("someone").unwrap();
    let source = Source::new("203.0.113.7".parse().unwrap(), 64);
    let attempt = Attempt {
        source,
        client_id: Some(&id),
        outcome: Outcome::Failure,
        client_known: Some(true),
        secret_fingerprint: Some(1),
        attributes: &[],
    };
    let request =
        Request { source, client_id: None, method: "GET", path: "/api/v1/things", status: 200, attributes: &[] };
    let event = match kind {
        Kind::Wait | Kind::Ban => Event::Attempt(&attempt),
        Kind::Scanner => Event::Request(&request),
    };
    let mut state = State(None);
    let mut at = Timestamp::from_millis(1_700_000_000_000);
    let mut round = || {
        let began = Instant::now();
        for _ in 0..calls {
            at = at.after(Duration::from_millis(1));
            match judge.judge(&Dated { at, event }, &state).unwrap().keep {
                Keep::Unchanged => {}
                Keep::Forget => state.0 = None,
                Keep::Put(kept) => state.0 = Some(kept.data),
            }
        }
        began.elapsed().as_nanos() / u128::from(calls)
    };
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
