//! What a scenario says: events in virtual time and what they have to come to.
//!
//! Files and tests written in Rust make the same values. Whether they make
//! sense is said by [`Step::problems`]; both ask it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_domain::event::CLIENT_ID_BYTES_MAX;
use portcullis_domain::{ClientId, Kind, Outcome, StateBytes, SubjectBy, Timestamp};

use crate::document::mistake::{Cause, shown};
use crate::document::policy::OnFailure;
use crate::document::setting::Setting;
use crate::world::{Login, RestartKeeps, Visit};

/// Most repetitions of one step.
pub const REPEAT_MAX: u32 = 100_000;
/// Most attempts at the same instant.
pub const PARALLEL_MAX: u32 = 10_000;
/// Most events of one scenario.
pub const EVENTS_MAX: u64 = 1_000_000;

/// One scenario, as its file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it shows.
    pub name: String,
    /// Why it matters.
    pub doc: Option<String>,
    /// When it begins, if not at [`Plan`](crate::Plan)'s usual time.
    pub start: Option<Timestamp>,
    /// The operator's bounds, those that it names.
    pub gate: GateSpec,
    /// The policies that it names.
    pub policies: Vec<PolicySpec>,
    /// What happens.
    pub steps: Vec<Step>,
    /// The file, as it was named; messages begin with it.
    pub file: String,
    /// Where relative paths to plugins start.
    pub folder: PathBuf,
}

/// The operator's bounds that a scenario names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateSpec {
    /// Bits of an IPv6 address that subjects and bans go by.
    pub ipv6_prefix: Option<u8>,
    /// Networks that are never banned.
    pub never_ban: Option<Vec<IpNet>>,
    /// Proxies, which are never banned either.
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// Attempts of one source that may be under way at once.
    pub max_inflight_attempts: Option<usize>,
    /// Longest wait that is enforced.
    pub max_wait: Option<Duration>,
    /// Longest ban that is enforced.
    pub max_ban: Option<Duration>,
    /// How long a verified pair counts.
    pub verified_for: Option<Duration>,
}

/// A policy that a scenario names. What it leaves out is that of the
/// configuration under test, if there is one, else the default.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySpec {
    /// Its name, unique.
    pub name: String,
    /// Its line.
    pub line: usize,
    /// What it judges.
    pub kind: Option<Kind>,
    /// What runs: `bundle:ban` and the like, or a path.
    pub plugin: Option<Named>,
    /// Settings of the plugin.
    pub settings: Vec<Setting>,
    /// Whom it keeps state about.
    pub subject: Option<SubjectBy>,
    /// What happens when the plugin fails.
    pub on_failure: Option<OnFailure>,
    /// Time of one call.
    pub deadline: Option<Duration>,
    /// Memory of one instance, in bytes.
    pub memory_bytes: Option<usize>,
    /// State kept for one subject, in bytes.
    pub state_bytes: Option<usize>,
}

/// A name and the line on which it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Its line.
    pub line: usize,
}

/// One step: time passes, then something happens, then it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its line, from 1.
    pub line: usize,
    /// Said in the report.
    pub note: Option<String>,
    /// When.
    pub when: When,
    /// What happens.
    pub action: Action,
    /// How often.
    pub times: Times,
    /// What each event comes to; `None`: anything but a failed plugin.
    pub expect: Option<Expect>,
    /// Policies whose plugin has to fail.
    pub failing: Vec<String>,
    /// Sums over the step's events.
    pub total: Vec<(Sum, u64)>,
    /// What policies keep afterwards.
    pub kept: Vec<Kept>,
}

/// When a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after the step before.
    After(Duration),
    /// So long after the start.
    At(Duration),
}

/// What happens in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Only time passes.
    Nothing,
    /// A login attempt.
    Attempt(Attempt),
    /// An answered request.
    Request(Request),
    /// The host restarts.
    Restart(RestartKeeps),
    /// A policy is replaced.
    Swap(Swap),
}

impl Action {
    /// Whether its events differ by their number.
    fn is_counted(&self) -> bool {
        let counted = |list: [Option<&Counted>; 3]| list.into_iter().flatten().any(Counted::is_counted);
        match self {
            Self::Attempt(attempt) => counted([attempt.client.as_ref(), Some(&attempt.from), attempt.secret.as_ref()]),
            Self::Request(request) => counted([request.client.as_ref(), Some(&request.from), Some(&request.path)]),
            Self::Nothing | Self::Restart(_) | Self::Swap(_) => false,
        }
    }
}

/// How often an event happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// One after the other.
    Repeat {
        /// How many, at least 1.
        count: u32,
        /// Time between two.
        every: Duration,
    },
    /// All at the same instant; only attempts.
    Parallel {
        /// How many, at least 1.
        count: u32,
        /// How long the check of a secret takes.
        takes: Duration,
    },
}

impl Times {
    /// Once.
    pub const ONCE: Self = Self::Repeat { count: 1, every: Duration::ZERO };

    /// How many.
    #[must_use]
    pub const fn count(self) -> u32 {
        match self {
            Self::Repeat { count, .. } | Self::Parallel { count, .. } => count,
        }
    }
}

/// Text in which `{n}` stands for the number of the event within its step, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted(String);

impl Counted {
    /// Takes the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// With the number put in.
    #[must_use]
    pub fn fill(&self, n: u32) -> Cow<'_, str> {
        if self.is_counted() { self.0.replace("{n}", &n.to_string()).into() } else { self.0.as_str().into() }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    fn is_counted(&self) -> bool {
        self.0.contains("{n}")
    }
}

/// A login attempt that is going to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who; absent for a login without an id.
    pub client: Option<Counted>,
    /// From where.
    pub from: Counted,
    /// How the check of the secret ends.
    pub outcome: Outcome,
    /// The secret that is presented.
    pub secret: Option<Counted>,
    /// Whether such an id exists, where the host can tell.
    pub known: Option<bool>,
    /// Facts by lower-case name.
    pub attributes: Vec<(String, String)>,
}

/// A request that is going to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// From where.
    pub from: Counted,
    /// Who, if its own credentials are right.
    pub client: Option<Counted>,
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: Counted,
    /// The status of the reply.
    pub status: u16,
    /// Facts by lower-case name.
    pub attributes: Vec<(String, String)>,
}

/// A policy's plugin or settings are replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    /// The policy's name.
    pub policy: String,
    /// What runs from now on; `None`: the same.
    pub plugin: Option<Named>,
    /// All its settings from now on; `None`: the same.
    pub settings: Option<Vec<Setting>>,
}

/// What an event comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// What the gate makes of it.
    pub what: Expected,
    /// What the client is answered.
    pub reply: Option<u16>,
}

/// What the gate makes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever, a failed plugin included.
    Any,
    /// Whatever, but no failed plugin.
    Sound,
    /// Judged, and nothing was ordered.
    Pass,
    /// A verified pair: no attempt.
    Verified,
    /// Some policy couldn't judge and its `on_failure` is deny.
    Denied,
    /// Exactly these orders.
    Orders(Vec<ExpectedOrder>),
    /// No policy was asked.
    Refused {
        /// 423 or 429.
        status: u16,
        /// What `Retry-After` says, in whole seconds.
        retry_after: Option<Duration>,
    },
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedOrder {
    /// What is ordered.
    pub what: Ordered,
    /// The policy that orders.
    pub by: Option<String>,
    /// The reason's code.
    pub reason: Option<String>,
    /// The reason's whole text.
    pub text: Option<String>,
}

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// A wait of that length.
    Wait(Duration),
    /// A ban.
    Ban {
        /// How long.
        duration: Duration,
        /// What is banned.
        network: Option<IpNet>,
    },
    /// A ban that isn't enforced, since the source may never be banned.
    Spared,
}

impl From<Expected> for Expect {
    fn from(what: Expected) -> Self {
        Self { what, reply: None }
    }
}

impl From<Ordered> for ExpectedOrder {
    fn from(what: Ordered) -> Self {
        Self { what, by: None, reason: None, text: None }
    }
}

/// What is summed over a step's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sum {
    /// Events that policies judged.
    Checked,
    /// Events that were refused.
    Refused,
    /// Events that were judged without any order.
    Passed,
    /// Waits ordered.
    Waits,
    /// Bans ordered and in force.
    Bans,
    /// Bans ordered and not enforced.
    Spared,
    /// Logins of verified pairs.
    Verified,
    /// Events denied since a plugin failed.
    Denied,
}

impl Sum {
    /// Every sum.
    pub const ALL: [Self; 8] = [
        Self::Checked,
        Self::Refused,
        Self::Passed,
        Self::Waits,
        Self::Bans,
        Self::Spared,
        Self::Verified,
        Self::Denied,
    ];

    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Refused => "refused",
            Self::Passed => "passed",
            Self::Waits => "waits",
            Self::Bans => "bans",
            Self::Spared => "spared",
            Self::Verified => "verified",
            Self::Denied => "denied",
        }
    }
}

/// What a policy keeps for a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The policy's name.
    pub policy: String,
    /// Its line.
    pub line: usize,
    /// Whose state; `None`: that of the step's last event.
    pub of: Option<Whose>,
    /// What is kept.
    pub what: KeptBytes,
    /// How long from now on.
    pub ttl: Option<Ttl>,
}

/// Whose state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// The client auth id.
    pub client: Option<ClientId>,
    /// The source.
    pub from: Option<IpAddr>,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptBytes {
    /// Nothing.
    Nothing,
    /// These bytes.
    Exactly(StateBytes),
    /// So many bytes.
    Long(usize),
    /// Something.
    Something,
}

/// How long a state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Until the room is needed.
    None,
    /// So long.
    Remaining(Duration),
}

/// What is wrong with an event: the key and why.
pub(super) type EventProblem = (&'static str, Cause);

impl Attempt {
    /// A wrong secret, without any more being known about it; `{n}` in either
    /// text is counted.
    #[must_use]
    pub fn failure(client: &str, from: &str) -> Self {
        let (client, from) = (Some(Counted::new(client)), Counted::new(from));
        Self { client, from, outcome: Outcome::Failure, secret: None, known: None, attributes: Vec::new() }
    }

    /// A right secret, without any more being known about it.
    #[must_use]
    pub fn success(client: &str, from: &str) -> Self {
        Self { outcome: Outcome::Success, ..Self::failure(client, from) }
    }

    /// The same with the secret that is presented.
    #[must_use]
    pub fn secret(self, secret: &str) -> Self {
        Self { secret: Some(Counted::new(secret)), ..self }
    }

    /// The login of that number.
    ///
    /// # Errors
    /// The key that makes no sense with that number.
    pub(super) fn login(&self, n: u32) -> Result<Login, EventProblem> {
        Ok(Login {
            client: client(self.client.as_ref(), n, "step.attempt.client")?,
            from: address(&self.from, n, "step.attempt.from")?,
            outcome: self.outcome,
            secret: self.secret.as_ref().map(|secret| secret.fill(n).into_owned()),
            fingerprint: None,
            known: self.known,
            attributes: self.attributes.clone(),
        })
    }
}

impl Request {
    /// A GET by nobody in particular, and the status that it is answered with;
    /// `{n}` in either text is counted.
    #[must_use]
    pub fn get(from: &str, path: &str, status: u16) -> Self {
        let (from, path) = (Counted::new(from), Counted::new(path));
        Self { from, client: None, method: "GET".to_owned(), path, status, attributes: Vec::new() }
    }

    /// The same by a client whose own credentials are right.
    #[must_use]
    pub fn by(self, client: &str) -> Self {
        Self { client: Some(Counted::new(client)), ..self }
    }

    /// The request of that number.
    ///
    /// # Errors
    /// The key that makes no sense with that number.
    pub(super) fn visit(&self, n: u32) -> Result<Visit, EventProblem> {
        Ok(Visit {
            from: address(&self.from, n, "step.request.from")?,
            client: client(self.client.as_ref(), n, "step.request.client")?,
            method: self.method.clone(),
            path: self.path.fill(n).into_owned(),
            status: self.status,
            attributes: self.attributes.clone(),
        })
    }
}

fn client(client: Option<&Counted>, n: u32, key: &'static str) -> Result<Option<ClientId>, EventProblem> {
    let Some(client) = client else { return Ok(None) };
    let id = client.fill(n);
    let wrong = |_| value(key, &id, n, client, &format!("at most {CLIENT_ID_BYTES_MAX} bytes"));
    ClientId::new(&id).map(Some).map_err(wrong)
}

fn address(from: &Counted, n: u32, key: &'static str) -> Result<IpAddr, EventProblem> {
    let text = from.fill(n);
    let wrong = |_| value(key, &text, n, from, r#"an address such as "203.0.113.7" or "2001:db8::1""#);
    text.parse().map_err(wrong)
}

fn value(key: &'static str, found: &str, n: u32, counted: &Counted, expected: &str) -> EventProblem {
    let of = if counted.is_counted() { format!(" for n = {n}") } else { String::new() };
    (key, Cause::Value { found: format!("{}{of}", shown(found)), expected: expected.to_owned(), nearest: None })
}

impl Step {
    /// A step in which nothing happens, right after the one before.
    #[must_use]
    pub const fn new(line: usize) -> Self {
        Self {
            line,
            note: None,
            when: When::After(Duration::ZERO),
            action: Action::Nothing,
            times: Times::ONCE,
            expect: None,
            failing: Vec::new(),
            total: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Whether it is an event that the gate sees.
    #[must_use]
    pub const fn has_event(&self) -> bool {
        match self.action {
            Action::Attempt(_) | Action::Request(_) => true,
            Action::Nothing | Action::Restart(_) | Action::Swap(_) => false,
        }
    }

    /// What makes no sense in it, by key.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, Cause)> {
        let mut problems = Vec::new();
        let mut conflict = |key, why: &str| problems.push((key, Cause::Conflict { why: why.to_owned() }));
        if !self.has_event() {
            if self.expect.is_some() {
                conflict("step.expect", "there is no attempt or request in this step that could come to anything");
            }
            if !self.total.is_empty() {
                conflict("step.total", "there is no attempt or request in this step that could be counted");
            }
            if !self.failing.is_empty() {
                conflict("step.failing", "there is no attempt or request in this step that a plugin could fail at");
            }
            if self.times != Times::ONCE {
                conflict("step.repeat", "there is no attempt or request in this step that could be repeated");
            }
            if self.kept.iter().any(|kept| kept.of.is_none()) {
                conflict(
                    "step.kept",
                    "there is no event in this step, so say whose state: of = { from = \"203.0.113.7\" }",
                );
            }
        }
        if let Some(Expect { what: Expected::Orders(orders), .. }) = &self.expect
            && orders.is_empty()
        {
            conflict("step.expect", "no order at all is expected; where none may come, say \"pass\"");
        }
        if let (Times::Parallel { .. }, Action::Request(_)) = (self.times, &self.action) {
            conflict("step.parallel", "only attempts queue for their turn; say repeat for requests");
        }
        let numbers = if self.action.is_counted() { 1..=self.times.count() } else { 1..=1 };
        problems.extend(numbers.into_iter().find_map(|n| match &self.action {
            Action::Attempt(attempt) => attempt.login(n).err(),
            Action::Request(request) => request.visit(n).err(),
            Action::Nothing | Action::Restart(_) | Action::Swap(_) => None,
        }));
        problems
    }
}
