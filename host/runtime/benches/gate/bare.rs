//! The same functions of the same guests, called with wasmtime alone: no limits,
//! no deadline, no pool, nothing looked up and nothing kept. What a call costs at
//! least.

use portcullis_domain::{Kind, Outcome};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store};

#[allow(missing_docs, unreachable_pub, unused_variables, dead_code, reason = "generated")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "bundle-policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::exports::portcullis::policy::{ban, plugin, scanner};
use bindings::portcullis::policy::log;
use bindings::portcullis::policy::types::{self as wire, Attempt, IpAddress, Request};

struct Nobody;

impl log::Host for Nobody {
    fn log(&mut self, _: log::Level, _: String) {}
}

enum Guest {
    Ban(ban::Guest),
    Scanner(scanner::Guest),
}

/// An instance of the bundle's plugin of a kind.
pub(crate) struct Bare {
    store: Store<Nobody>,
    guest: Guest,
}

impl Bare {
    pub(crate) fn new(kind: Kind) -> Self {
        let mut config = Config::new();
        config.concurrency_support(false);
        let engine = Engine::new(&config).unwrap();
        let bytes: &[u8] = match kind {
            Kind::Ban => include_bytes!("../../../../plugins/bundle/ban.wasm"),
            Kind::Scanner => include_bytes!("../../../../plugins/bundle/scanner.wasm"),
            Kind::Wait => panic!("not measured"),
        };
        let component = Component::new(&engine, bytes).unwrap();
        let mut linker = Linker::new(&engine);
        log::add_to_linker::<_, HasSelf<Nobody>>(&mut linker, |nobody| nobody).unwrap();
        let mut store = Store::new(&engine, Nobody);
        let pre = linker.instantiate_pre(&component).unwrap();
        let instance = pre.instantiate(&mut store).unwrap();
        let plugin = plugin::GuestIndices::new(&pre).unwrap().load(&mut store, &instance).unwrap();
        let described = plugin.call_describe(&mut store).unwrap();
        let defaults: Vec<_> = described.settings.iter().filter_map(default).collect();
        assert!(plugin.call_configure(&mut store, &defaults).unwrap().is_ok(), "the defaults are refused");
        let guest = match kind {
            Kind::Ban => Guest::Ban(ban::GuestIndices::new(&pre).unwrap().load(&mut store, &instance).unwrap()),
            Kind::Scanner | Kind::Wait => {
                Guest::Scanner(scanner::GuestIndices::new(&pre).unwrap().load(&mut store, &instance).unwrap())
            }
        };
        Self { store, guest }
    }

    /// Judges a request that was answered with 200, or a login with that outcome.
    pub(crate) fn judge(&mut self, n: u32, outcome: Outcome, state: Option<&[u8]>) {
        let (at, source) = (1_767_614_400_000, IpAddress::Ipv4(0x0a00_0000 | n));
        let judged = match &self.guest {
            Guest::Ban(guest) => {
                let attempt = Attempt {
                    at,
                    source,
                    client_auth_id: Some("client-1"),
                    outcome: match outcome {
                        Outcome::Failure => wire::Outcome::Failure,
                        Outcome::Success => wire::Outcome::Success,
                    },
                    client_known: Some(true),
                    secret_fingerprint: (outcome == Outcome::Failure).then_some(7),
                    attributes: &[],
                };
                guest.call_judge(&mut self.store, attempt, state)
            }
            Guest::Scanner(guest) => {
                let request = Request {
                    at,
                    source,
                    client_auth_id: None,
                    method: "GET",
                    path: "/api/v1/things",
                    status: 200,
                    attributes: &[],
                };
                guest.call_judge(&mut self.store, request, state)
            }
        };
        std::hint::black_box(judged.unwrap().unwrap());
    }
}

/// A setting's default, for the bundle's types of settings.
fn default(spec: &wire::SettingSpec) -> Option<wire::Setting<'_>> {
    let value = match spec.default_value.as_ref()? {
        wire::SettingValueResult::Boolean(value) => wire::SettingValueParam::Boolean(*value),
        wire::SettingValueResult::Integer(value) => wire::SettingValueParam::Integer(*value),
        wire::SettingValueResult::Number(value) => wire::SettingValueParam::Number(*value),
        wire::SettingValueResult::Text(text) => wire::SettingValueParam::Text(text),
        wire::SettingValueResult::Integers(list) => wire::SettingValueParam::Integers(list),
        wire::SettingValueResult::Numbers(list) => wire::SettingValueParam::Numbers(list),
        wire::SettingValueResult::Texts(texts) if texts.is_empty() => wire::SettingValueParam::Texts(&[]),
        wire::SettingValueResult::Texts(_) | wire::SettingValueResult::Json(_) => panic!("{}: a new type", spec.name),
    };
    Some(wire::Setting { name: &spec.name, value })
}
