//! What is asked of whom, and what has to come of it.

use super::contender::Which;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds of a scenario that a goal is about.
    pub(crate) rounds: usize,
    /// Rounds of the others.
    pub(crate) rounds_aside: usize,
    /// Seconds of a turn.
    pub(crate) seconds: u32,
}

impl Effort {
    pub(crate) const FULL: Self = Self { rounds: 9, rounds_aside: 5, seconds: 2 };
    pub(crate) const QUICK: Self = Self { rounds: 3, rounds_aside: 1, seconds: 1 };
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

/// What a gate must be seen to do before it is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing: all are let through.
    Lets,
    /// The client is banned, and stays so.
    Bans,
    /// A second 404 bans its source.
    BansScanners,
    /// A fifth failed login bans its source.
    BansGuessers,
}

/// Something that a goal is about.
#[derive(Clone, Copy)]
pub(crate) struct Goal {
    /// Its name in `tests/benches/goals.tsv`.
    pub(crate) name: &'static str,
    /// Who is set against whom.
    pub(crate) ours: Which,
    pub(crate) theirs: Which,
    pub(crate) figure: Figure,
}

#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// CPU time per request, ours by theirs.
    Cpu,
    /// What is done in a second of CPU time, ours by theirs.
    PerCpu,
    /// The 99th percentile of the time to answer, ours by theirs.
    P99,
}

/// One table.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) client: Client,
    pub(crate) source: Source,
    pub(crate) gate: Gate,
    /// Whether answers are other than 2xx and 3xx: all of them, or none.
    pub(crate) refused: bool,
    /// Bytes that an answer has to bring.
    pub(crate) bytes: f64,
    /// Calls of policies for a request, at least and at most.
    pub(crate) judged: (f64, f64),
    pub(crate) contenders: &'static [Which],
    pub(crate) goals: &'static [Goal],
}

use Which::{
    CaddyAsks, CaddyPlain, Floor, FloorAnswers, HaproxyAsks, HaproxyPlain, HaproxyRules, NginxAsks, NginxAuthRequest,
    NginxDeny, NginxPlain, NginxTrivial, Portcullis, PortcullisLogs, PortcullisOff, PortcullisTwo,
};

const ALL: &[Which] = &[Portcullis, PortcullisOff, HaproxyRules, HaproxyPlain, NginxPlain, NginxAuthRequest, Floor];
const GATES: &[Which] = &[Portcullis, PortcullisOff, HaproxyRules, NginxPlain];
const CROWD: &[Which] = &[Portcullis, PortcullisOff, HaproxyRules, NginxPlain, Floor];
const ASKING: &[Which] =
    &[Portcullis, NginxPlain, NginxTrivial, NginxAsks, HaproxyPlain, HaproxyAsks, CaddyPlain, CaddyAsks];
const RULES: &[Which] = &[Portcullis, PortcullisOff, HaproxyRules];

const fn wrk(script: Option<&'static str>) -> Client {
    Client::Wrk { script, connections: 64 }
}

const fn against(name: &'static str, theirs: Which, figure: Figure) -> Goal {
    Goal { name, ours: Portcullis, theirs, figure }
}

/// 200s, one call of the scanner each, no goal.
const fn scenario(name: &'static str, path: &'static str, client: Client, contenders: &'static [Which]) -> Scenario {
    Scenario {
        name,
        path,
        client,
        source: Source::Forwarded,
        gate: Gate::Lets,
        refused: false,
        bytes: 0.0,
        judged: (1.0, 1.0),
        contenders,
        goals: &[],
    }
}

const MEGABYTE: f64 = 1e6;

/// Every scenario.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        goals: &[
            against("proxied-haproxy", HaproxyRules, Figure::Cpu),
            against("proxied-nginx", NginxPlain, Figure::Cpu),
            against("policies-on-off", PortcullisOff, Figure::Cpu),
            against("p99-haproxy", HaproxyRules, Figure::P99),
        ],
        ..scenario("200s from 1,000 sources", "/", wrk(Some("xff200.lua")), ALL)
    },
    Scenario { source: Source::Peer, ..scenario("200s from one source", "/", wrk(None), ALL) },
    Scenario {
        source: Source::Peer,
        gate: Gate::Bans,
        refused: true,
        judged: (0.0, 0.0),
        goals: &[
            against("refusal-haproxy", HaproxyRules, Figure::Cpu),
            Goal { ours: PortcullisLogs, ..against("refusal-logged", HaproxyRules, Figure::Cpu) },
        ],
        ..scenario(
            "refusals of a banned source",
            "/",
            wrk(None),
            &[Portcullis, PortcullisLogs, HaproxyRules, NginxDeny, FloorAnswers],
        )
    },
    Scenario {
        gate: Gate::BansScanners,
        refused: true,
        judged: (0.6, 1.0),
        goals: &[against("scanners-haproxy", HaproxyRules, Figure::Cpu)],
        ..scenario("404 scanners", "/", wrk(Some("xff404.lua")), RULES)
    },
    Scenario {
        gate: Gate::BansGuessers,
        refused: true,
        judged: (3.0, 3.0),
        ..scenario("logins that fail", "/", wrk(Some("login-fails.lua")), RULES)
    },
    Scenario { judged: (3.0, 3.0), ..scenario("logins that succeed", "/", wrk(Some("login-succeeds.lua")), RULES) },
    scenario(
        "200s from 1,000 sources, 1,000 connections",
        "/",
        Client::Wrk { script: Some("xff200.lua"), connections: 1000 },
        CROWD,
    ),
    Scenario { source: Source::Peer, ..scenario("a connection for each request", "/", wrk(Some("close.lua")), GATES) },
    Scenario { source: Source::Peer, ..scenario("other proxies that ask", "/", wrk(None), ASKING) },
    Scenario { source: Source::Peer, ..scenario("HTTP/2 clients", "/", Client::H2load, GATES) },
    scenario("200s from 1,000 sources, one core and two", "/", wrk(Some("xff200.lua")), &[Portcullis, PortcullisTwo]),
    Scenario {
        source: Source::Peer,
        bytes: MEGABYTE,
        goals: &[against("bodies-down-nginx", NginxPlain, Figure::PerCpu)],
        ..scenario("1 MB down", "/megabyte", wrk(None), GATES)
    },
    Scenario {
        source: Source::Peer,
        goals: &[against("bodies-up-nginx", NginxPlain, Figure::PerCpu)],
        ..scenario("1 MB up", "/sink", wrk(Some("upload.lua")), GATES)
    },
];
