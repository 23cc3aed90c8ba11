//! What the table stops is what the gate has banned, whatever has happened.

mod model;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_domain::{By, Capacity, Cause, Clock as _, MemoryStore, Reason, Store as _, Timestamp, VirtualClock};
use proptest::prelude::*;

use super::keep::{Followed, TableKeeper};
use super::noted::{Mend, Shared};
use super::{Hearing, Inner};
use crate::config::{Firewall, FirewallAction, FirewallProtocol, OnStop};
use model::{Model, Packet, State};

fn config() -> Firewall {
    Firewall {
        ports: Vec::new(),
        protocols: vec![FirewallProtocol::Tcp],
        action: FirewallAction::Drop,
        priority: -10,
        on_stop: OnStop::Keep,
    }
}

/// A store, a table that follows it, and a kernel that others can get at.
struct House {
    store: Arc<MemoryStore>,
    clock: Arc<VirtualClock>,
    shared: Arc<Shared>,
    kernel: Arc<Mutex<State>>,
    spared: Arc<Mutex<Vec<IpNet>>>,
    keeper: TableKeeper<Model>,
}

impl House {
    fn new(config: Firewall, capacity: usize, before: &[(IpNet, u64)]) -> Self {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(1_000_000)));
        let shared = Arc::new(Shared::default());
        let recorder = Arc::new(Hearing(Arc::clone(&shared)));
        let capacity = Capacity { bans: capacity, ..Capacity::default() };
        let store = Arc::new(MemoryStore::with_recorder(capacity, Some(recorder)));
        let kernel = Arc::new(Mutex::new(State::default()));
        let model = Model { state: Arc::clone(&kernel), clock: Arc::clone(&clock) };
        let spared = Arc::<Mutex<Vec<IpNet>>>::default();
        let its = Arc::clone(&spared);
        let followed = Followed {
            store: Arc::clone(&store) as _,
            clock: Arc::clone(&clock) as _,
            spared: Box::new(move || its.lock().unwrap().clone()),
        };
        let keeper = TableKeeper::new(model, config, Arc::clone(&shared), followed);
        let mut house = Self { store, clock, shared, kernel, spared, keeper };
        before.iter().for_each(|&(network, seconds)| house.ban(network, seconds));
        assert_eq!(house.keeper.begin().unwrap(), house.store.bans(None, usize::MAX, house.clock.now()).len());
        house
    }

    /// For that long and half a second, so that no ban ends when somebody looks.
    fn ban(&mut self, network: IpNet, seconds: u64) {
        let now = self.clock.now();
        let cause = Cause { by: By::Operator, reason: Reason::new("test", "").unwrap() };
        self.store.ban(network, now.after(Duration::from_millis(seconds * 1000 + 500)), now, &cause);
    }

    fn stops(&self, address: IpAddr) -> bool {
        self.kernel.lock().unwrap().stops(Packet::from(address), self.clock.now())
    }

    fn agrees(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            let spared = self.spared.lock().unwrap().iter().any(|network| network.contains(&address));
            let banned = !spared && self.store.banned_until(address, self.clock.now()).is_some();
            assert_eq!(self.stops(address), banned, "{address} at {}", self.clock.now());
        }
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_wide_ban_that_ends_earlier_leaves_the_narrow_one_in_force() {
    let mut house = House::new(config(), 100, &[]);
    house.ban(net("203.0.113.7/32"), 100);
    house.ban(net("203.0.113.0/24"), 10);
    house.keeper.turn();
    assert!(house.stops(ip("203.0.113.7")) && house.stops(ip("203.0.113.8")) && !house.stops(ip("203.0.114.7")));
    house.clock.advance(Duration::from_secs(11));
    assert!(house.stops(ip("203.0.113.7")) && !house.stops(ip("203.0.113.8")));
    house.clock.advance(Duration::from_secs(90));
    assert!(!house.stops(ip("203.0.113.7")));
}

#[test]
fn a_longer_ban_of_the_same_network_moves_its_end() {
    let mut house = House::new(config(), 100, &[(net("2001:db8::/64"), 5)]);
    house.ban(net("2001:db8::/64"), 50);
    house.keeper.turn();
    house.clock.advance(Duration::from_secs(40));
    assert!(house.stops(ip("2001:db8::1:2:3:4")));
    assert!(!house.stops(ip("2001:db8:0:1::1")));
}

#[test]
fn only_the_named_ports_are_closed_and_loopback_never_is() {
    let ports = Firewall { ports: vec![80, 443], ..config() };
    let house = House::new(ports, 100, &[(net("203.0.113.7/32"), 100), (net("127.0.0.1/32"), 100)]);
    let packet = Packet::from(ip("203.0.113.7"));
    let stops = |packet| house.kernel.lock().unwrap().stops(packet, house.clock.now());
    assert!(stops(packet) && stops(Packet { port: 80, ..packet }));
    assert!(!stops(Packet { port: 22, ..packet }) && !stops(Packet { protocol: 17, ..packet }));
    assert!(!stops(Packet { interface: 1, source: ip("127.0.0.1"), ..packet }));
    let all = House::new(config(), 100, &[(net("203.0.113.7/32"), 100), (net("127.0.0.1/32"), 100)]);
    let stops = |packet| all.kernel.lock().unwrap().stops(packet, all.clock.now());
    assert!(stops(Packet { port: 22, ..packet }) && stops(Packet { protocol: 1, ..packet }));
    assert!(!stops(Packet { interface: 1, source: ip("127.0.0.1"), ..packet }));
}

#[test]
fn who_is_never_banned_passes_within_a_wider_ban_once_it_is_said() {
    let mut house = House::new(config(), 100, &[(net("203.0.113.0/24"), 100), (net("2001:db8::/32"), 100)]);
    *house.spared.lock().unwrap() = vec![net("203.0.113.64/26"), net("203.0.113.7/32"), net("2001:db8:7::/48")];
    assert!(house.stops(ip("203.0.113.7")));
    house.keeper.hurry();
    house.keeper.turn();
    let let_in = ["203.0.113.7", "203.0.113.65", "2001:db8:7::1"];
    assert!(!let_in.iter().any(|address| house.stops(ip(address))));
    assert!(["203.0.113.8", "203.0.113.128", "2001:db8:8::1"].iter().all(|address| house.stops(ip(address))));
    // A width that comes later is looked up after them.
    house.ban(net("203.0.112.0/23"), 100);
    house.keeper.turn();
    assert!(!let_in.iter().any(|address| house.stops(ip(address))) && house.stops(ip("203.0.112.1")));
    house.spared.lock().unwrap().clear();
    house.keeper.hurry();
    house.keeper.turn();
    assert!(let_in.iter().all(|address| house.stops(ip(address))));
}

#[test]
fn what_a_table_of_before_held_is_replaced() {
    let mut house = House::new(config(), 100, &[(net("203.0.113.7/32"), 100), (net("203.0.0.0/16"), 100)]);
    house.store.unban_within(&[net("203.0.0.0/16")], house.clock.now());
    house.ban(net("198.51.100.7/32"), 100);
    // Another server begins on the table that this one has left, with a store that has only the last.
    house.keeper.begin().unwrap();
    assert!(!house.stops(ip("203.0.113.7")) && house.stops(ip("198.51.100.7")));
    let kernel = house.kernel.lock().unwrap();
    let sets: Vec<_> = kernel.table.as_ref().unwrap().sets.keys().collect();
    assert_eq!(sets, ["v4_32"], "sets that nothing is in are gone");
}

#[test]
fn a_table_of_another_shape_is_made_again() {
    let mut house = House::new(config(), 100, &[(net("203.0.113.7/32"), 100)]);
    {
        let mut kernel = house.kernel.lock().unwrap();
        let sets = &mut kernel.table.as_mut().unwrap().sets;
        let other = sets.remove("v4_32").unwrap();
        // A set of that name with keys of another length.
        sets.insert("v6_64".to_owned(), other);
    }
    house.ban(net("2001:db8::/64"), 100);
    house.shared.owe();
    house.keeper.hurry();
    house.keeper.turn();
    assert!(house.stops(ip("203.0.113.7")) && house.stops(ip("2001:db8::1")));
}

#[test]
fn refusals_are_told_and_tried_again_until_all_is_in_force() {
    let mut house = House::new(config(), 100, &[]);
    house.kernel.lock().unwrap().out_of_memory = 100;
    house.ban(net("203.0.113.7/32"), 100);
    house.keeper.turn();
    house.keeper.hurry();
    house.keeper.turn();
    assert!(!house.stops(ip("203.0.113.7")));
    assert!(house.shared.figures().failing.unwrap().contains("memory"));
    assert!(house.shared.waiting().0.is_some(), "it is behind meanwhile");
    house.kernel.lock().unwrap().out_of_memory = 0;
    house.keeper.hurry();
    house.keeper.turn();
    assert!(house.stops(ip("203.0.113.7")));
    assert_eq!((house.shared.figures().failing, house.shared.waiting()), (None, (None, 0)));
    assert!(house.kernel.lock().unwrap().listening, "it hears of others again");
}

#[test]
fn a_refusal_that_says_nothing_of_the_shape_removes_no_table() {
    let mut house = House::new(config(), 100, &[(net("203.0.113.7/32"), 100)]);
    house.kernel.lock().unwrap().out_of_memory = 1;
    house.shared.owe();
    house.keeper.hurry();
    house.keeper.turn();
    assert!(house.shared.figures().failing.unwrap().contains("memory"), "it isn't tried at once with more");
    assert!(house.stops(ip("203.0.113.7")));
}

#[test]
fn where_little_can_be_sent_at_once_the_table_is_made_in_parts() {
    let banned = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
    let before: Vec<_> = (0..10_000).map(|n| (IpNet::from(banned(n)), 100)).collect();
    let mut house = House::new(config(), 20_000, &before[..10]);
    house.kernel.lock().unwrap().room = Some(250_000);
    before.iter().for_each(|&(network, seconds)| house.ban(network, seconds));
    house.shared.owe();
    house.kernel.lock().unwrap().table = None;
    house.keeper.hurry();
    house.keeper.turn();
    assert_eq!(house.shared.figures().failing, None);
    assert!((0..10_000).all(|n| house.stops(banned(n))) && !house.stops(banned(10_000)));
    // So many changes at once have room; each takes an element out and puts one in.
    let transactions = house.shared.figures().transactions;
    before.iter().take(4096).for_each(|&(network, _)| house.ban(network, 200));
    house.keeper.turn();
    assert_eq!(house.shared.figures().transactions, transactions + 2);
    house.clock.advance(Duration::from_secs(150));
    assert!(house.stops(banned(4095)) && !house.stops(banned(4096)));
}

#[test]
fn what_is_to_be_mended_is_mended_before_the_end_however_soon_that_comes() {
    let mut house = House::new(config(), 100, &[(net("203.0.113.7/32"), 100)]);
    house.meddle(0);
    house.keeper.turn();
    assert!(house.stops(ip("203.0.113.7")));
    house.meddle(0);
    house.keeper.turn();
    assert!(!house.stops(ip("203.0.113.7")), "two that fight over it don't take all there is");
    house.shared.close();
    let House { keeper, kernel, clock, .. } = house;
    keeper.run();
    assert!(kernel.lock().unwrap().stops(Packet::from(ip("203.0.113.7")), clock.now()));
}

#[test]
fn a_thread_that_is_gone_is_known_and_so_is_one_that_hears_nothing() {
    let shared = Arc::new(Shared::default());
    let (running, ended) = crossbeam_channel::bounded(0);
    let ended = parking_lot::Mutex::new(Some(ended));
    let inner = Inner { shared: Arc::clone(&shared), starting: parking_lot::Mutex::default(), ended };
    let firewall = crate::firewall::Firewall(Arc::new(inner));
    assert_eq!(firewall.health().failing, None);
    shared.tell(|figures| figures.deaf = Some("deaf".to_owned()));
    assert_eq!(firewall.health().failing.unwrap(), "deaf");
    drop(running);
    assert!(firewall.health().failing.unwrap().contains("its thread has ended"));
    firewall.close();
    assert_eq!(firewall.health().failing.unwrap(), "deaf", "by order it isn't a failure");
}

#[derive(Clone, Debug)]
enum Step {
    Ban(u8, u8, u64),
    Unban(u8, u8),
    Pass(u64),
    Turn,
    Overflow,
    /// Somebody deletes the table, empties a set, takes an element out or puts one in.
    Stranger(u8),
    OutOfMemory,
    Sweep,
    /// Another network is never banned from now on, or none is.
    Spare(Option<(u8, u8)>),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..16_u8, 0..6_u8);
    prop_oneof![
        6 => (place(), 1..20_u64).prop_map(|((last, width), seconds)| Step::Ban(last, width, seconds)),
        2 => place().prop_map(|(last, width)| Step::Unban(last, width)),
        3 => (1..15_u64).prop_map(Step::Pass),
        6 => Just(Step::Turn),
        1 => Just(Step::Overflow),
        1 => (0..4_u8).prop_map(Step::Stranger),
        1 => Just(Step::OutOfMemory),
        1 => Just(Step::Sweep),
        1 => proptest::option::of(place()).prop_map(Step::Spare),
    ]
}

/// Networks of several widths that lie within one another.
fn network(last: u8, width: u8) -> IpNet {
    let (address, prefix): (IpAddr, u8) = match width {
        0 | 1 => ([203, 0, 113, last].into(), 32),
        2 => ([203, 0, 113, last & 0b1100].into(), 30),
        3 => ([203, 0, 113, 0].into(), 24),
        4 => ([0x2001, 0xdb8, 0, last.into(), 0, 0, 0, 0].into(), 64),
        _ => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0].into(), 48),
    };
    IpNet::new(address, prefix).unwrap()
}

fn addresses() -> impl Iterator<Item = IpAddr> {
    let v4 = (0..20).map(|last| IpAddr::from([203, 0, 113, last]));
    v4.chain((0..20).map(|net| IpAddr::from([0x2001, 0xdb8, 0, net, 1, 2, 3, 4])))
}

impl House {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Ban(last, width, seconds) => self.ban(network(last, width), seconds),
            Step::Unban(last, width) => drop(self.store.unban_within(&[network(last, width)], self.clock.now())),
            Step::Pass(seconds) => self.clock.advance(Duration::from_secs(seconds)),
            Step::Turn => {
                self.keeper.hurry();
                self.keeper.turn();
            }
            Step::Overflow => self.shared.owe(),
            Step::Stranger(what) => self.meddle(what),
            Step::OutOfMemory => self.kernel.lock().unwrap().out_of_memory = 1,
            Step::Sweep => self.store.sweep(self.clock.now()),
            Step::Spare(which) => {
                *self.spared.lock().unwrap() = which.map(|(last, width)| network(last, width)).into_iter().collect();
            }
        }
    }

    fn meddle(&mut self, what: u8) {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.generation += 1;
        let sets = kernel.table.iter_mut().flat_map(|table| table.sets.values_mut());
        match what {
            0 => kernel.table = None,
            1 => sets.for_each(|set| set.elements.clear()),
            2 => sets.for_each(|set| drop(set.elements.pop_first())),
            _ => kernel.table.iter_mut().for_each(|table| {
                if let Some(set) = table.sets.get_mut("v4_32") {
                    set.elements.insert(vec![203, 0, 113, 19], None);
                }
            }),
        }
        drop(kernel);
        self.shared.mend(Mend::Changed { name: "nft".to_owned(), pid: 1 });
    }
}

proptest! {
    #[test]
    fn the_table_stops_whom_the_gate_has_banned(
        steps in proptest::collection::vec(step(), 1..60),
        capacity in prop_oneof![Just(4_usize), Just(1000)],
    ) {
        let mut house = House::new(config(), capacity, &[(network(3, 0), 30), (network(0, 3), 10)]);
        for step in &steps {
            house.take(step);
            // A kernel without memory is tried again.
            if matches!(step, Step::Turn) && house.shared.figures().failing.is_none() {
                house.agrees(addresses());
            }
        }
        house.kernel.lock().unwrap().out_of_memory = 0;
        house.take(&Step::Turn);
        house.agrees(addresses());
        // What is in force ends by itself.
        for _ in 0..25 {
            house.clock.advance(Duration::from_secs(1));
            house.agrees(addresses());
        }
    }
}
