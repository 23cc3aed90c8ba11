//! The default policies as native functions and as the components that are
//! checked in: over any history, and over any bytes as state, both give the
//! same verdicts and keep the same bytes; and a component never traps on them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::Duration;

use portcullis_domain::event::{Attempt, Dated, Request};
use portcullis_domain::{ClientId, Event, Keep, Kind, Outcome, Source, Timestamp, Verdict};
use portcullis_runtime::{Limits, Probe, Runtime, RuntimeConfig, SettingValue, Settings};
use portcullis_sdk::SettingValue as Native;
use portcullis_sdk::testing;
use proptest::prelude::*;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new(&RuntimeConfig::default()).unwrap().0);

/// What was ordered: milliseconds, bits, code and text.
type Ordered = Option<(u128, Option<u8>, String, String)>;

/// A component with what is kept for its subjects.
struct Component {
    probe: Probe,
    states: HashMap<String, (Vec<u8>, Option<Timestamp>)>,
}

impl Component {
    fn new(kind: Kind, settings: &[(&str, SettingValue)]) -> Self {
        let settings: Settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let plugin = RUNTIME.bundle(kind).unwrap();
        Self {
            probe: plugin.configure(kind, &settings, &Limits::default()).unwrap().probe().unwrap(),
            states: HashMap::new(),
        }
    }

    fn judge(&mut self, subject: &str, dated: &Dated<'_>) -> Ordered {
        self.states.retain(|_, (_, end)| end.is_none_or(|end| dated.at < end));
        let state = self.states.get(subject).map(|(bytes, _)| bytes.as_slice());
        let (verdict, keep) = self.probe.judge(dated, state).unwrap().unwrap();
        match keep {
            Keep::Unchanged => {}
            Keep::Forget => drop(self.states.remove(subject)),
            Keep::Put(kept) => {
                let end = kept.ttl.map(|ttl| dated.at.after(ttl));
                self.states.insert(subject.to_owned(), (kept.data.to_vec(), end));
            }
        }
        match verdict {
            Verdict::Pass => None,
            Verdict::Wait(order) => {
                Some((order.duration.as_millis(), None, order.reason.code().into(), order.reason.text().into()))
            }
            Verdict::Ban(order) => Some((
                order.duration.as_millis(),
                order.prefix_length,
                order.reason.code().into(),
                order.reason.text().into(),
            )),
        }
    }

    fn state(&self, subject: &str) -> Option<&[u8]> {
        self.states.get(subject).map(|(bytes, _)| bytes.as_slice())
    }
}

/// One event of a history.
#[derive(Clone, Debug)]
struct Happened {
    after: Duration,
    from: u8,
    client: Option<u8>,
    success: bool,
    status: u16,
    path: String,
    /// Bytes that are put in the place of the subject's state before.
    disturbed: Option<Vec<u8>>,
}

fn happened() -> impl Strategy<Value = Happened> {
    let after = prop_oneof![0..100_u64, 0..30_000_u64, Just(20_000), Just(20_001), 0..1_u64 << 40];
    let status = prop_oneof![3 => Just(404_u16), 1 => 100..600_u16];
    let disturbed = prop::option::weighted(0.1, prop::collection::vec(any::<u8>(), 0..40));
    (after, 0..3_u8, prop::option::of(0..2_u8), prop::bool::weighted(0.15), status, "/(x|icons/y|%2e)?", disturbed)
        .prop_map(|(after, from, client, success, status, path, disturbed)| Happened {
            after: Duration::from_millis(after),
            from,
            client,
            success,
            status,
            path,
            disturbed,
        })
}

fn history() -> impl Strategy<Value = Vec<Happened>> {
    prop::collection::vec(happened(), 1..60)
}

fn seconds() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.0005), 0.0..100.0_f64, 0.0..1e9_f64]
}

fn address(from: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, from))
}

fn id(client: Option<u8>) -> Option<String> {
    client.map(|client| format!("client-{client}"))
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() }
}

/// Plays a history of attempts to both and compares after each.
macro_rules! attempts_alike {
    ($native:expr, $component:expr, $history:expr, $by_source:expr, $ordered:expr) => {{
        let (mut native, mut component) = ($native, $component);
        let mut at = Timestamp::from_millis(1_700_000_000_000);
        for (step, event) in $history.iter().enumerate() {
            at = at.after(event.after);
            let (source, client) = (address(event.from), id(event.client));
            let subject = client.clone().filter(|_| !$by_source).unwrap_or_else(|| source.to_string());
            if let Some(bytes) = &event.disturbed {
                native.put_state(&subject, bytes);
                component.states.insert(subject.clone(), (bytes.clone(), None));
            }
            let mut tried = testing::attempt(&source.to_string()).at_ms(at.as_millis());
            tried = if event.success { tried.succeeded() } else { tried.failed() };
            if let Some(client) = &client {
                tried = tried.id(client);
            }
            let client_id = client.as_deref().map(|id| ClientId::new(id).unwrap());
            let attempt = Attempt {
                source: Source::new(source, 64),
                client_id: client_id.as_ref(),
                outcome: if event.success { Outcome::Success } else { Outcome::Failure },
                client_known: None,
                secret_fingerprint: None,
                attributes: &[],
            };
            let said: Ordered = native.judge(tried).order().map($ordered);
            let answered = component.judge(&subject, &Dated { at, event: Event::Attempt(&attempt) });
            prop_assert_eq!(said, answered, "step {}", step);
            prop_assert_eq!(native.state(&subject), component.state(&subject), "step {}", step);
        }
    }};
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn wait_is_the_same_natively_and_as_a_component(wait in seconds(), history in history()) {
        let settings = testing::settings(&[("client_login_wait", Native::Number(wait))]);
        let component = Component::new(Kind::Wait, &[("client_login_wait", SettingValue::Number(wait))]);
        attempts_alike!(testing::wait(portcullis_wait::judge, settings), component, history, false, |order| {
            (millis(order.duration), None, order.reason.code.clone(), order.reason.text.clone())
        });
    }

    #[test]
    fn ban_is_the_same_natively_and_as_a_component(limit in 0..6_i64, time in seconds(), history in history()) {
        let native = [("max_failed_login", Native::Integer(limit)), ("ban_time", Native::Number(time))];
        let component = [("max_failed_login", SettingValue::Integer(limit)), ("ban_time", SettingValue::Number(time))];
        let native = testing::ban(portcullis_ban::judge, testing::settings(&native));
        attempts_alike!(native, Component::new(Kind::Ban, &component), history, true, |order| {
            (millis(order.duration), order.prefix_length, order.reason.code.clone(), order.reason.text.clone())
        });
    }

    #[test]
    fn scanner_is_the_same_natively_and_as_a_component(
        maxretry in 0..5_i64, findtime in seconds(), bantime in seconds(), history in history(),
    ) {
        let ignored = vec!["/icons/*".to_owned()];
        let native = [
            ("maxretry", Native::Integer(maxretry)),
            ("findtime", Native::Number(findtime)),
            ("bantime", Native::Number(bantime)),
            ("ignore_paths", Native::Texts(ignored.clone())),
        ];
        let component = [
            ("maxretry", SettingValue::Integer(maxretry)),
            ("findtime", SettingValue::Number(findtime)),
            ("bantime", SettingValue::Number(bantime)),
            ("ignore_paths", SettingValue::Texts(ignored)),
        ];
        let mut native = testing::scanner(portcullis_scanner::judge, testing::settings(&native));
        let mut component = Component::new(Kind::Scanner, &component);
        let mut at = Timestamp::from_millis(1_700_000_000_000);
        for (step, event) in history.iter().enumerate() {
            at = at.after(event.after);
            let (source, client) = (address(event.from), id(event.client));
            let subject = source.to_string();
            if let Some(bytes) = &event.disturbed {
                native.put_state(&subject, bytes);
                component.states.insert(subject.clone(), (bytes.clone(), None));
            }
            let mut asked = testing::request(&subject).path(&event.path).status(event.status).at_ms(at.as_millis());
            if let Some(client) = &client {
                asked = asked.id(client);
            }
            let client_id = client.as_deref().map(|id| ClientId::new(id).unwrap());
            let request = Request {
                source: Source::new(source, 64),
                client_id: client_id.as_ref(),
                method: "GET",
                path: &event.path,
                status: event.status,
                attributes: &[],
            };
            let said: Ordered = native.judge(asked).order().map(|order| {
                (millis(order.duration), order.prefix_length, order.reason.code.clone(), order.reason.text.clone())
            });
            let answered = component.judge(&subject, &Dated { at, event: Event::Request(&request) });
            prop_assert_eq!(said, answered, "step {}", step);
            prop_assert_eq!(native.state(&subject), component.state(&subject), "step {}", step);
        }
    }
}

/// As an order goes over the wire: whole milliseconds, never fewer than asked for.
fn millis(duration: Duration) -> u128 {
    duration.as_nanos().div_ceil(1_000_000)
}
