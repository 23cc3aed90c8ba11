//! Whoever records what a store tells holds what the store holds, whatever
//! happened (rule 36).
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use kit::*;
use portcullis_domain::*;
use proptest::prelude::*;

type KeptKey = (Arc<str>, StateFormat, Subject);

/// What was told, as a file would hold it.
#[derive(Default)]
struct Mirror {
    bans: BTreeMap<IpNet, Ban>,
    waits: BTreeMap<Subject, Wait>,
    kept: BTreeMap<KeptKey, (Vec<u8>, Timestamp)>,
}

#[derive(Default)]
struct Recording(Mutex<Mirror>);

impl Recorder for Recording {
    fn banned(&self, ban: &Ban) {
        self.0.lock().unwrap().bans.insert(ban.network, ban.clone());
    }

    fn unbanned(&self, network: IpNet) {
        self.0.lock().unwrap().bans.remove(&network).expect("only what was banned is unbanned");
    }

    fn waits(&self, wait: &Wait) {
        self.0.lock().unwrap().waits.insert(wait.subject.clone(), wait.clone());
    }

    fn waits_no_more(&self, subject: &Subject) {
        self.0.lock().unwrap().waits.remove(subject).expect("only who waited waits no more");
    }

    fn kept(&self, policy: &Arc<str>, format: &StateFormat, subject: &Subject, data: &[u8], expires: Timestamp) {
        let key = (Arc::clone(policy), format.clone(), subject.clone());
        self.0.lock().unwrap().kept.insert(key, (data.to_vec(), expires));
    }

    fn forgot(&self, policy: &Arc<str>, format: &StateFormat, subject: &Subject) {
        let key = (Arc::clone(policy), format.clone(), subject.clone());
        self.0.lock().unwrap().kept.remove(&key).expect("only what was kept is forgotten");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ban(u8, u8, u64),
    Unban(u8, u8),
    Wait(u8, u64),
    Unwait(u8),
    Keep { policy: bool, other_format: bool, subject: u8, ttl: Option<u64> },
    Forget { policy: bool, other_format: bool, subject: u8 },
    Pass(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..12_u8, 0..3_u8);
    prop_oneof![
        4 => (place(), 1..20_u64).prop_map(|((last, width), seconds)| Step::Ban(last, width, seconds)),
        1 => place().prop_map(|(last, width)| Step::Unban(last, width)),
        4 => (0..12_u8, 1..20_u64).prop_map(|(subject, seconds)| Step::Wait(subject, seconds)),
        1 => (0..12_u8).prop_map(Step::Unwait),
        6 => (any::<bool>(), any::<bool>(), 0..12_u8, proptest::option::of(0..20_u64)).prop_map(
            |(policy, other_format, subject, ttl)| Step::Keep { policy, other_format, subject, ttl }
        ),
        2 => (any::<bool>(), any::<bool>(), 0..12_u8)
            .prop_map(|(policy, other_format, subject)| Step::Forget { policy, other_format, subject }),
        3 => (1..15_u64).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

fn network(last: u8, width: u8) -> IpNet {
    let prefix = [32, 30, 24][usize::from(width)];
    IpNet::new(ip(&format!("203.0.113.{last}")), prefix).unwrap().trunc()
}

fn subject(of: u8) -> Subject {
    match of % 3 {
        0 => Subject::Id(client(&format!("id-{of}"))),
        1 => Subject::Source(network(of, 0)),
        _ => Subject::Pair(client("id"), network(of, 0)),
    }
}

fn cause(because: u64) -> Cause {
    Cause { by: By::Policy("ban".into()), reason: Reason::new("test", &because.to_string()).unwrap() }
}

struct Recorded {
    store: MemoryStore,
    recording: Arc<Recording>,
    clock: VirtualClock,
    tables: [Arc<dyn Table>; 2],
}

impl Recorded {
    /// So small that room has to be made.
    fn new() -> Self {
        let recording: Arc<Recording> = Arc::default();
        let capacity = Capacity { states: 6, waits: 5, bans: 5 };
        let store = MemoryStore::with_recorder(capacity, Some(Arc::clone(&recording) as _));
        let formats = ["a/1", "b/1"].map(StateFormat::new);
        let tables = ["one", "other"].map(|policy| store.table(policy, &formats));
        Self { store, recording, clock: VirtualClock::new(Timestamp::from_millis(1_000)), tables }
    }

    fn step(&self, step: &Step) {
        let now = self.clock.now();
        let keep = |policy: bool, other_format: bool, of: u8, keep: Keep| {
            let table = &self.tables[usize::from(policy)];
            table.hold(&subject(of), &self.clock, &mut |_, held| held.keep(usize::from(other_format), keep.clone()));
        };
        match *step {
            Step::Ban(last, width, seconds) => {
                let until = now.after(Duration::from_secs(seconds));
                self.store.ban(network(last, width), until, now, &cause(seconds));
            }
            Step::Unban(last, width) => drop(self.store.unban_within(&[network(last, width)], now)),
            Step::Wait(of, seconds) => {
                self.store.wait(&subject(of), now.after(Duration::from_secs(seconds)), now, &cause(seconds));
            }
            Step::Unwait(of) => drop(self.store.unwait(&subject(of), now)),
            Step::Keep { policy, other_format, subject, ttl } => {
                keep(policy, other_format, subject, put(&[subject], ttl.map(Duration::from_secs)));
            }
            Step::Forget { policy, other_format, subject } => keep(policy, other_format, subject, Keep::Forget),
            Step::Pass(seconds) => self.clock.advance(Duration::from_secs(seconds)),
            Step::Sweep => self.store.sweep(now),
        }
    }
}

type Holds = (BTreeSet<String>, BTreeSet<String>, BTreeMap<KeptKey, (Vec<u8>, Timestamp)>);

/// What a store holds, in a form that can be compared.
fn holds(store: &MemoryStore, now: Timestamp) -> Holds {
    let bans = store.bans(None, usize::MAX, now).into_iter().map(|ban| format!("{ban:?}")).collect();
    let waits = store.waits(None, usize::MAX, now).into_iter().map(|wait| format!("{wait:?}")).collect();
    let mut kept = BTreeMap::new();
    store.each_kept(now, |policy, format, entries| {
        for KeptEntry { subject, data, expires } in entries {
            kept.insert((Arc::clone(policy), format.clone(), subject), (data.to_vec(), expires));
        }
    });
    (bans, waits, kept)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rule_36_what_was_told_less_what_has_expired_is_what_the_store_holds(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let recorded = Recorded::new();
        for step in &steps {
            recorded.step(step);
            let now = recorded.clock.now();
            let mirror = recorded.recording.0.lock().unwrap();
            let bans = mirror.bans.values().filter(|ban| now < ban.until).map(|ban| format!("{ban:?}")).collect();
            let waits = mirror.waits.values().filter(|wait| now < wait.until).map(|wait| format!("{wait:?}")).collect();
            let kept = mirror.kept.iter().filter(|(_, (_, expires))| now < *expires);
            let kept = kept.map(|(key, kept)| (key.clone(), kept.clone())).collect();
            prop_assert_eq!(holds(&recorded.store, now), (bans, waits, kept), "after {:?}", step);
        }
    }

    #[test]
    fn rule_36_a_store_filled_from_what_was_told_holds_the_same_and_tells_nothing(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let recorded = Recorded::new();
        steps.iter().for_each(|step| recorded.step(step));
        let now = recorded.clock.now();
        let mirror = std::mem::take(&mut *recorded.recording.0.lock().unwrap());
        let again: Arc<Recording> = Arc::default();
        let capacity = Capacity { states: 6, waits: 5, bans: 5 };
        let store = MemoryStore::with_recorder(capacity, Some(Arc::clone(&again) as _));
        store.restore_bans(mirror.bans.into_values(), now);
        store.restore_waits(mirror.waits.into_values(), now);
        for ((policy, format, subject), (data, expires)) in mirror.kept {
            let entry = KeptEntry { subject, data: StateBytes::from_slice(&data), expires };
            store.restore_kept(&policy, &format, [entry], now);
        }
        prop_assert_eq!(holds(&store, now), holds(&recorded.store, now));
        let told = again.0.lock().unwrap();
        prop_assert!(told.bans.is_empty() && told.waits.is_empty() && told.kept.is_empty());
    }
}
