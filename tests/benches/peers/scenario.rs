//! What is asked of whom.

/// How long a turn takes, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Length {
    pub(crate) warm_up: u32,
    pub(crate) measured: u32,
}

impl Length {
    pub(crate) const FULL: Self = Self { warm_up: 1, measured: 2 };
    pub(crate) const QUICK: Self = Self { warm_up: 1, measured: 1 };
}

/// Who can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The three default policies.
    Portcullis,
    /// All policies off.
    PortcullisOff,
    /// The scanner and login rules in stick tables.
    HaproxyRules,
    /// A proxy and nothing else.
    HaproxyPlain,
    /// A proxy and nothing else.
    NginxPlain,
    /// Asks a trivial service about each request.
    NginxAuthRequest,
    /// A list of networks that are refused.
    NginxDeny,
    /// hyper on both sides and nothing between: what our transport could cost at least.
    Floor,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    /// wrk, with a script of `tests/peers` if there is one.
    Wrk { script: Option<&'static str>, connections: u32 },
    /// h2load: HTTP/2, 16 connections of 8 streams.
    H2load,
}

/// What the server has to see as the client's address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The peer's.
    Peer,
    /// That in X-Forwarded-For, set by the client as a proxy in front would.
    Forwarded,
}

/// One row of tables.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) client: Client,
    pub(crate) source: Source,
    /// The source is banned before anything is measured.
    pub(crate) banned: bool,
    pub(crate) contenders: &'static [Which],
}

use Which::{Floor, HaproxyPlain, HaproxyRules, NginxAuthRequest, NginxDeny, NginxPlain, Portcullis, PortcullisOff};

const ALL: &[Which] = &[Portcullis, PortcullisOff, HaproxyRules, HaproxyPlain, NginxPlain, NginxAuthRequest, Floor];
const GATES: &[Which] = &[Portcullis, PortcullisOff, HaproxyRules, NginxPlain];

const fn wrk(script: Option<&'static str>) -> Client {
    Client::Wrk { script, connections: 64 }
}

const fn scenario(name: &'static str, path: &'static str, client: Client, contenders: &'static [Which]) -> Scenario {
    Scenario { name, path, client, source: Source::Forwarded, banned: false, contenders }
}

/// Every scenario.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("200s from 1,000 sources", "/", wrk(Some("xff200.lua")), ALL),
    Scenario { source: Source::Peer, ..scenario("200s from one source", "/", wrk(None), ALL) },
    scenario(
        "200s from 1,000 sources, 1,000 connections",
        "/",
        Client::Wrk { script: Some("xff200.lua"), connections: 1000 },
        GATES,
    ),
    Scenario { source: Source::Peer, ..scenario("a connection for each request", "/", wrk(Some("close.lua")), GATES) },
    Scenario { source: Source::Peer, ..scenario("HTTP/2 clients", "/", Client::H2load, GATES) },
    Scenario {
        source: Source::Peer,
        banned: true,
        ..scenario("refusals of a banned source", "/", wrk(None), &[Portcullis, HaproxyRules, NginxDeny])
    },
    scenario("404 scanners", "/", wrk(Some("xff404.lua")), &[Portcullis, PortcullisOff, HaproxyRules]),
    scenario("logins that fail", "/", wrk(Some("login-fails.lua")), &[Portcullis, PortcullisOff, HaproxyRules]),
    scenario("logins that succeed", "/", wrk(Some("login-succeeds.lua")), &[Portcullis, PortcullisOff, HaproxyRules]),
    Scenario { source: Source::Peer, ..scenario("1 MB down", "/megabyte", wrk(None), GATES) },
    Scenario { source: Source::Peer, ..scenario("1 MB up", "/sink", wrk(Some("upload.lua")), GATES) },
];
