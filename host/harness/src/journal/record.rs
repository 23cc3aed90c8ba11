//! What a journal holds, record by record; `JOURNAL.md` beside this crate's
//! manifest tells it in words.
//!
//! A record borrows all of its text, from the event when it is written and from
//! the segment when it is read. Fields go by number: what a later version adds
//! is skipped by an earlier one, and a number is never given to anything else.

use minicbor::{Decode, Encode};
use portcullis_domain::{self as domain, Attempt, Event, Testimony, Timestamp};
use portcullis_runtime::{Configured, PolicyJudge, SettingValue};
use serde::Serialize;

use super::value::{Address, Bytes, Digest, Fingerprint, Network, Time};

/// Attributes whose value can be a secret: of these only the name is written.
const WITHHELD: [&str; 2] = ["query", "referer"];

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Record<'a> {
    /// When: for what was judged, the time that the policy was given.
    #[n(0)]
    pub time: Time,
    /// What.
    #[b(1)]
    #[serde(flatten)]
    pub what: What<'a>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "most are of the large kind, and none is kept")]
pub enum What<'a> {
    /// A policy judged an event.
    #[n(0)]
    Judged(#[b(0)] Judged<'a>),
    /// An attempt was finished while no policy was there to judge it.
    #[n(1)]
    Unjudged(#[b(0)] Unjudged<'a>),
    /// Something was done by hand, or by a change of the configuration.
    #[n(2)]
    Act(#[b(0)] Act<'a>),
    /// These policies are in force from now on.
    #[n(3)]
    InForce(#[b(0)] InForce<'a>),
    /// The server started or ended.
    #[n(4)]
    Process(#[b(0)] Process<'a>),
}

/// One policy's judgement of one event.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Judged<'a> {
    /// Number of the event in this run of the server: the same for all policies that judged it.
    #[n(0)]
    pub event: u64,
    /// From where.
    #[n(1)]
    pub source: Address,
    /// Who, if known.
    #[b(2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// What was judged.
    #[b(3)]
    #[serde(flatten)]
    pub seen: Seen<'a>,
    /// Facts about it that policies asked for.
    #[b(4)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute<'a>>,
    /// The policy's name.
    #[b(5)]
    pub policy: &'a str,
    /// Its kind.
    #[n(6)]
    pub policy_kind: Kind,
    /// Whether its orders are put in force.
    #[n(7)]
    pub mode: Mode,
    /// Whom it keeps state about.
    #[b(8)]
    pub subject: Subject<'a>,
    /// Which plugin answered.
    #[n(9)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Digest>,
    /// With which settings.
    #[n(10)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Digest>,
    /// Who answered.
    #[n(11)]
    pub answered: Answered,
    /// How the state is written.
    #[b(12)]
    pub state_format: &'a str,
    /// What was kept for the subject before.
    #[b(13)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Bytes<'a>>,
    /// What becomes of it; absent where nobody could judge.
    #[b(14)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep<'a>>,
    /// What was answered; absent where nobody could judge.
    #[b(15)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict<'a>>,
    /// What the verdict came to; absent for a pass and for a policy in shadow mode.
    #[b(16)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforced: Option<Enforced>,
}

/// An attempt that no policy judged.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Unjudged<'a> {
    /// From where.
    #[n(0)]
    pub source: Address,
    /// Who, if known.
    #[b(1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// The attempt.
    #[b(2)]
    #[serde(flatten)]
    pub seen: Seen<'a>,
}

/// What was judged.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen<'a> {
    /// A finished login attempt.
    #[n(0)]
    #[cbor(map)]
    Attempt {
        /// How it ended.
        #[n(0)]
        outcome: Outcome,
        /// Whether such an id exists, where the host can tell.
        #[n(1)]
        #[serde(skip_serializing_if = "Option::is_none")]
        known: Option<bool>,
        /// Failures: a hash of id and secret, keyed by a key of that run of the
        /// server, which is written nowhere.
        #[n(2)]
        #[serde(skip_serializing_if = "Option::is_none")]
        fingerprint: Option<Fingerprint>,
    },
    /// An answered request.
    #[n(1)]
    #[cbor(map)]
    Request {
        /// The method.
        #[b(0)]
        method: &'a str,
        /// The path without the query.
        #[b(1)]
        path: &'a str,
        /// The status of the reply.
        #[n(2)]
        status: u16,
    },
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The secret was wrong, or there is no such id.
    #[n(0)]
    Failure,
    /// The secret was right.
    #[n(1)]
    Success,
}

/// A fact by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Attribute<'a> {
    /// Its name.
    #[b(0)]
    pub name: &'a str,
    /// Its value; absent where that can be a secret.
    #[b(1)]
    pub value: Option<&'a str>,
}

/// The kinds of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// May order a wait.
    #[n(0)]
    Wait,
    /// Judges attempts; may order a ban.
    #[n(1)]
    Ban,
    /// Judges requests; may order a ban.
    #[n(2)]
    Scanner,
}

/// Whether what a policy orders is put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It is.
    #[n(0)]
    Enforce,
    /// It isn't.
    #[n(1)]
    Shadow,
}

/// Whom state is kept about, and who waits.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject<'a> {
    /// A client auth id.
    #[n(0)]
    Client(#[b(0)] &'a str),
    /// A source.
    #[n(1)]
    Source(#[n(0)] Network),
    /// A client auth id from one source.
    #[n(2)]
    #[cbor(map)]
    Pair {
        /// Who.
        #[b(0)]
        client: &'a str,
        /// From where.
        #[n(1)]
        source: Network,
    },
}

/// Who answered for a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    /// Its own plugin.
    #[n(0)]
    Own,
    /// The one that steps in when that fails.
    #[n(1)]
    StandIn,
    /// Nobody was asked, and so it passed.
    #[n(2)]
    Nobody,
    /// Nobody could judge, and so the event was denied.
    #[n(3)]
    Denied,
}

/// What becomes of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep<'a> {
    /// It stays.
    #[n(0)]
    Unchanged,
    /// It goes.
    #[n(1)]
    Forget,
    /// This takes its place.
    #[n(2)]
    #[cbor(map)]
    Put {
        /// The state.
        #[b(0)]
        data: Bytes<'a>,
        /// For so long; absent: until the room is needed.
        #[n(1)]
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
    },
}

/// What a policy answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict<'a> {
    /// Nothing to enforce.
    #[n(0)]
    Pass,
    /// Let the subject wait.
    #[n(1)]
    #[cbor(map)]
    Wait {
        /// As asked for, unclamped.
        #[n(0)]
        duration_ms: u64,
        /// Why.
        #[b(1)]
        reason: Reason<'a>,
    },
    /// Ban the source.
    #[n(2)]
    #[cbor(map)]
    Ban {
        /// As asked for, unclamped.
        #[n(0)]
        duration_ms: u64,
        /// Bits of the source, as asked for, unclamped.
        #[n(1)]
        #[serde(skip_serializing_if = "Option::is_none")]
        prefix_length: Option<u8>,
        /// Why.
        #[b(2)]
        reason: Reason<'a>,
    },
}

impl<'a> Verdict<'a> {
    /// Why; a pass has no reason.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason<'a>> {
        match self {
            Self::Pass => None,
            Self::Wait { reason, .. } | Self::Ban { reason, .. } => Some(*reason),
        }
    }
}

/// Why, in a plugin's or an operator's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Reason<'a> {
    /// Short and stable.
    #[b(0)]
    pub code: &'a str,
    /// One line.
    #[b(1)]
    pub text: &'a str,
}

/// What an order came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforced {
    /// The subject waits.
    #[n(0)]
    #[cbor(map)]
    Wait {
        /// Until then, all orders counted.
        #[n(0)]
        until: Time,
        /// Whether this order is the one that decides that.
        #[n(1)]
        decides: bool,
    },
    /// The network is banned.
    #[n(1)]
    #[cbor(map)]
    Ban {
        /// Which.
        #[n(0)]
        network: Network,
        /// Until then, all orders counted.
        #[n(1)]
        until: Time,
        /// Whether this order is the one that decides that.
        #[n(2)]
        decides: bool,
    },
    /// Nothing is: the source is never banned.
    #[n(2)]
    Spared,
    /// Nothing is: the policy has ordered more bans in a minute than it may.
    #[n(3)]
    #[cbor(map)]
    LogOnly {
        /// Which network it would have banned.
        #[n(0)]
        network: Network,
        /// For so long, clamped.
        #[n(1)]
        duration_ms: u64,
    },
}

/// Something that was done by hand, or by a change of the configuration.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Act<'a> {
    /// What.
    #[n(0)]
    pub act: Deed,
    /// The ban or wait that it is about; absent if it is about none.
    #[b(1)]
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub about: Option<About<'a>>,
    /// The policy that had ordered that, or that it is about; absent: the operator.
    #[b(2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<&'a str>,
}

/// A ban or a wait.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct About<'a> {
    /// Whom it hits.
    #[b(0)]
    pub subject: Subject<'a>,
    /// Since when it is in force.
    #[n(1)]
    pub since: Time,
    /// Until when.
    #[n(2)]
    pub until: Time,
    /// Why.
    #[b(3)]
    pub reason: Reason<'a>,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// A network was banned by hand.
    #[n(0)]
    Ban,
    /// Its ban was lifted by hand.
    #[n(1)]
    Unban,
    /// Its ban was lifted, since it is never banned now.
    #[n(2)]
    NeverBan,
    /// A wait was ended by hand.
    #[n(3)]
    Unwait,
    /// A policy that had ordered too many bans is trusted again.
    #[n(4)]
    Trust,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct InForce<'a> {
    /// The policies.
    #[b(0)]
    pub policies: Vec<Policy<'a>>,
    /// Said before: each segment begins with what is in force.
    #[n(1)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// A policy and what it runs.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Policy<'a> {
    /// Its name.
    #[b(0)]
    pub name: &'a str,
    /// Its kind.
    #[n(1)]
    pub kind: Kind,
    /// Whether its orders are put in force.
    #[n(2)]
    pub mode: Mode,
    /// Whom it keeps state about.
    #[n(3)]
    pub subject: SubjectBy,
    /// What judges.
    #[b(4)]
    pub runs: Runs<'a>,
    /// What judges when that fails, if anything.
    #[b(5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<Runs<'a>>,
}

/// Whom a policy keeps state about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectBy {
    /// The client auth id.
    #[n(0)]
    Id,
    /// The source.
    #[n(1)]
    Source,
    /// Both together.
    #[n(2)]
    Pair,
}

/// A plugin with settings and limits.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Runs<'a> {
    /// The plugin's own name.
    #[b(0)]
    pub plugin: &'a str,
    /// Its own version.
    #[b(1)]
    pub version: &'a str,
    /// Where it came from.
    #[b(2)]
    pub origin: &'a str,
    /// SHA-256 of the plugin.
    #[n(3)]
    pub digest: Digest,
    /// Its settings, all of them.
    #[b(4)]
    pub settings: Vec<Setting<'a>>,
    /// SHA-256 of these.
    #[n(5)]
    pub settings_digest: Digest,
    /// How it writes its state.
    #[b(6)]
    pub state_format: &'a str,
    /// CPU time of a call, in microseconds.
    #[n(7)]
    pub deadline_us: u64,
    /// Bytes of one instance.
    #[n(8)]
    pub memory_bytes: u64,
    /// Bytes of state kept for one subject.
    #[n(9)]
    pub state_bytes: u64,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Setting<'a> {
    /// Its name.
    #[b(0)]
    pub name: &'a str,
    /// Its value.
    #[b(1)]
    pub value: Value<'a>,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Encode, Decode, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// True or false.
    #[n(0)]
    Boolean(#[n(0)] bool),
    /// A whole number.
    #[n(1)]
    Integer(#[n(0)] i64),
    /// A number.
    #[n(2)]
    Number(#[n(0)] f64),
    /// Text.
    #[n(3)]
    Text(#[b(0)] &'a str),
    /// Whole numbers.
    #[n(4)]
    Integers(#[n(0)] Vec<i64>),
    /// Numbers.
    #[n(5)]
    Numbers(#[n(0)] Vec<f64>),
    /// Texts.
    #[n(6)]
    Texts(#[b(0)] Vec<&'a str>),
    /// Anything nested, as JSON text.
    #[n(7)]
    Json(#[b(0)] &'a str),
}

/// The server started or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Process<'a> {
    /// Which of the two.
    #[n(0)]
    pub process: Life,
    /// The server's version.
    #[b(1)]
    pub version: &'a str,
}

/// What becomes of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// It started.
    #[n(0)]
    Started,
    /// It ended in order. Where this is missing before the next start, it didn't.
    #[n(1)]
    Ended,
}

impl<'a> Record<'a> {
    /// One policy's judgement of one event.
    #[must_use]
    pub fn judged(testimony: &Testimony<'a>) -> Self {
        let dated = testimony.dated;
        let (seen, attributes) = Seen::of(&dated.event);
        let judgement = testimony.answer.ok();
        let judged = Judged {
            event: testimony.event,
            source: Address(dated.event.source().address()),
            client: client(&dated.event),
            seen,
            attributes,
            policy: testimony.policy,
            policy_kind: testimony.kind.into(),
            mode: testimony.mode.into(),
            subject: testimony.subject.into(),
            plugin: testimony.provenance.map(|from| Digest(from.plugin)),
            settings: testimony.provenance.map(|from| Digest(from.settings)),
            answered: judgement.map_or(Answered::Denied, |judgement| judgement.answered.into()),
            state_format: testimony.format.as_str(),
            before: testimony.before.map(Bytes),
            keep: judgement.map(|judgement| (&judgement.keep).into()),
            verdict: judgement.map(|judgement| (&judgement.verdict).into()),
            enforced: testimony.order.map(|order| (&order.enforced).into()),
        };
        Self { time: Time(dated.at), what: What::Judged(judged) }
    }

    /// An attempt that no policy judged.
    #[must_use]
    pub fn unjudged(at: Timestamp, attempt: &'a Attempt<'a>) -> Self {
        let event = Event::Attempt(attempt);
        let (seen, _) = Seen::of(&event);
        let (source, client) = (Address(attempt.source.address()), client(&event));
        Self { time: Time(at), what: What::Unjudged(Unjudged { source, client, seen }) }
    }

    /// Something that was done by hand.
    #[must_use]
    pub fn acted(at: Timestamp, act: &domain::Act<'a>) -> Self {
        let of_ban = |ban: &'a domain::Ban| About {
            subject: source(ban.network),
            since: Time(ban.since),
            until: Time(ban.until),
            reason: (&ban.cause.reason).into(),
        };
        let of_wait = |wait: &'a domain::Wait| About {
            subject: (&wait.subject).into(),
            since: Time(wait.since),
            until: Time(wait.until),
            reason: (&wait.cause.reason).into(),
        };
        let (act, about, policy) = match *act {
            domain::Act::Ban(ban) => (Deed::Ban, Some(of_ban(ban)), by(&ban.cause)),
            domain::Act::Unban(ban) => (Deed::Unban, Some(of_ban(ban)), by(&ban.cause)),
            domain::Act::NeverBan(ban) => (Deed::NeverBan, Some(of_ban(ban)), by(&ban.cause)),
            domain::Act::Unwait(wait) => (Deed::Unwait, Some(of_wait(wait)), by(&wait.cause)),
            domain::Act::Trust { policy } => (Deed::Trust, None, Some(policy)),
        };
        Self { time: Time(at), what: What::Act(Act { act, about, policy }) }
    }

    /// The policies in force.
    #[must_use]
    pub const fn in_force(at: Timestamp, policies: Vec<Policy<'a>>, again: bool) -> Self {
        Self { time: Time(at), what: What::InForce(InForce { policies, again }) }
    }

    /// What becomes of the process, which is of that version.
    #[must_use]
    pub const fn process(at: Timestamp, process: Life, version: &'a str) -> Self {
        Self { time: Time(at), what: What::Process(Process { process, version }) }
    }

    /// From where what happened came, if it is an event.
    #[must_use]
    pub fn source(&self) -> Option<std::net::IpAddr> {
        match &self.what {
            What::Judged(judged) => Some(judged.source.0),
            What::Unjudged(unjudged) => Some(unjudged.source.0),
            What::Act(_) | What::InForce(_) | What::Process(_) => None,
        }
    }

    /// Who it was, if it is an event and that is known.
    #[must_use]
    pub fn client(&self) -> Option<&'a str> {
        match &self.what {
            What::Judged(judged) => judged.client,
            What::Unjudged(unjudged) => unjudged.client,
            What::Act(act) => act.about.as_ref().and_then(|about| about.subject.client()),
            What::InForce(_) | What::Process(_) => None,
        }
    }
}

impl<'a> Policy<'a> {
    /// A policy in force, by what judges for it.
    #[must_use]
    pub fn new(
        kind: domain::Kind,
        mode: domain::PolicyMode,
        subject: domain::SubjectBy,
        judge: &'a PolicyJudge,
    ) -> Self {
        Self {
            name: judge.name(),
            kind: kind.into(),
            mode: mode.into(),
            subject: subject.into(),
            runs: judge.primary().into(),
            stand_in: judge.stand_in().map(Runs::from),
        }
    }
}

impl<'a> From<&'a Configured> for Runs<'a> {
    fn from(runs: &'a Configured) -> Self {
        let (plugin, provenance, limits) = (runs.plugin(), runs.provenance(), runs.limits());
        let bytes = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        Self {
            plugin: &plugin.description().name,
            version: &plugin.description().version,
            origin: plugin.origin(),
            digest: Digest(provenance.plugin),
            settings: runs.settings().iter().map(|(name, value)| Setting { name, value: value.into() }).collect(),
            settings_digest: Digest(provenance.settings),
            state_format: runs.state_format().as_str(),
            deadline_us: u64::try_from(limits.deadline.as_micros()).unwrap_or(u64::MAX),
            memory_bytes: bytes(limits.memory_bytes),
            state_bytes: bytes(limits.state_bytes),
        }
    }
}

impl<'a> Seen<'a> {
    fn of(event: &Event<'a>) -> (Self, Vec<Attribute<'a>>) {
        let (seen, attributes) = match *event {
            Event::Attempt(attempt) => (
                Self::Attempt {
                    outcome: attempt.outcome.into(),
                    known: attempt.client_known,
                    fingerprint: attempt.secret_fingerprint.map(Fingerprint),
                },
                attempt.attributes,
            ),
            Event::Request(request) => (
                Self::Request { method: request.method, path: request.path, status: request.status },
                request.attributes,
            ),
        };
        let written = |attribute: &domain::Attribute<'a>| Attribute {
            name: attribute.name,
            value: Some(attribute.value).filter(|_| !WITHHELD.contains(&attribute.name)),
        };
        (seen, attributes.iter().map(written).collect())
    }
}

fn by(cause: &domain::Cause) -> Option<&str> {
    match &cause.by {
        domain::By::Policy(policy) => Some(policy),
        domain::By::Operator => None,
    }
}

fn client<'a>(event: &Event<'a>) -> Option<&'a str> {
    match *event {
        Event::Attempt(attempt) => attempt.client_id,
        Event::Request(request) => request.client_id,
    }
    .map(domain::ClientId::as_str)
}

const fn source<'a>(network: ipnet::IpNet) -> Subject<'a> {
    Subject::Source(Network(network))
}

impl<'a> Subject<'a> {
    /// The client auth id in it.
    #[must_use]
    pub const fn client(&self) -> Option<&'a str> {
        match self {
            Self::Client(client) | Self::Pair { client, .. } => Some(client),
            Self::Source(_) => None,
        }
    }

    /// The network in it.
    #[must_use]
    pub const fn network(&self) -> Option<ipnet::IpNet> {
        match self {
            Self::Source(network) | Self::Pair { source: network, .. } => Some(network.0),
            Self::Client(_) => None,
        }
    }
}

impl<'a> From<&'a domain::Subject> for Subject<'a> {
    fn from(subject: &'a domain::Subject) -> Self {
        match subject {
            domain::Subject::Id(id) => Self::Client(id.as_str()),
            domain::Subject::Source(network) => source(*network),
            domain::Subject::Pair(id, network) => Self::Pair { client: id.as_str(), source: Network(*network) },
        }
    }
}

impl<'a> From<&'a domain::Keep> for Keep<'a> {
    fn from(keep: &'a domain::Keep) -> Self {
        match keep {
            domain::Keep::Unchanged => Self::Unchanged,
            domain::Keep::Forget => Self::Forget,
            domain::Keep::Put(kept) => Self::Put { data: Bytes(&kept.data), ttl_ms: kept.ttl.map(millis) },
        }
    }
}

impl<'a> From<&'a domain::Verdict> for Verdict<'a> {
    fn from(verdict: &'a domain::Verdict) -> Self {
        match verdict {
            domain::Verdict::Pass => Self::Pass,
            domain::Verdict::Wait(order) => {
                Self::Wait { duration_ms: millis(order.duration), reason: (&order.reason).into() }
            }
            domain::Verdict::Ban(order) => Self::Ban {
                duration_ms: millis(order.duration),
                prefix_length: order.prefix_length,
                reason: (&order.reason).into(),
            },
        }
    }
}

impl<'a> From<&'a domain::Reason> for Reason<'a> {
    fn from(reason: &'a domain::Reason) -> Self {
        Self { code: reason.code(), text: reason.text() }
    }
}

impl From<&domain::Enforced> for Enforced {
    fn from(enforced: &domain::Enforced) -> Self {
        match enforced {
            domain::Enforced::Wait { placed, .. } => Self::Wait { until: Time(placed.until), decides: placed.changed },
            domain::Enforced::Ban { network, placed, .. } => {
                Self::Ban { network: Network(*network), until: Time(placed.until), decides: placed.changed }
            }
            domain::Enforced::Spared => Self::Spared,
            domain::Enforced::LogOnly { network, duration, .. } => {
                Self::LogOnly { network: Network(*network), duration_ms: millis(*duration) }
            }
        }
    }
}

impl<'a> From<&'a SettingValue> for Value<'a> {
    fn from(value: &'a SettingValue) -> Self {
        match value {
            SettingValue::Boolean(value) => Self::Boolean(*value),
            SettingValue::Integer(value) => Self::Integer(*value),
            SettingValue::Number(value) => Self::Number(*value),
            SettingValue::Text(text) => Self::Text(text),
            SettingValue::Integers(list) => Self::Integers(list.clone()),
            SettingValue::Numbers(list) => Self::Numbers(list.clone()),
            SettingValue::Texts(list) => Self::Texts(list.iter().map(String::as_str).collect()),
            SettingValue::Json(text) => Self::Json(text),
        }
    }
}

impl From<&Value<'_>> for SettingValue {
    fn from(value: &Value<'_>) -> Self {
        match value {
            Value::Boolean(value) => Self::Boolean(*value),
            Value::Integer(value) => Self::Integer(*value),
            Value::Number(value) => Self::Number(*value),
            Value::Text(text) => Self::Text((*text).to_owned()),
            Value::Integers(list) => Self::Integers(list.clone()),
            Value::Numbers(list) => Self::Numbers(list.clone()),
            Value::Texts(list) => Self::Texts(list.iter().map(|text| (*text).to_owned()).collect()),
            Value::Json(text) => Self::Json((*text).to_owned()),
        }
    }
}

/// The same words in the domain and here.
macro_rules! same {
    ($($ours:ident = $theirs:path { $($name:ident),* })*) => {
        $(
            impl From<$theirs> for $ours {
                fn from(from: $theirs) -> Self {
                    use $theirs as Theirs;
                    match from { $(Theirs::$name => Self::$name,)* }
                }
            }
        )*
    };
}

same! {
    Outcome = domain::Outcome { Failure, Success }
    Kind = domain::Kind { Wait, Ban, Scanner }
    Mode = domain::PolicyMode { Enforce, Shadow }
    Answered = domain::Answered { Own, StandIn, Nobody }
    SubjectBy = domain::SubjectBy { Id, Source, Pair }
}

/// And back.
macro_rules! back {
    ($($ours:ident = $theirs:path { $($name:ident),* })*) => {
        $(
            impl From<$ours> for $theirs {
                fn from(from: $ours) -> Self {
                    use $theirs as Theirs;
                    match from { $($ours::$name => Theirs::$name,)* }
                }
            }
        )*
    };
}

back! {
    Outcome = domain::Outcome { Failure, Success }
    Kind = domain::Kind { Wait, Ban, Scanner }
    SubjectBy = domain::SubjectBy { Id, Source, Pair }
}

/// Orders and times to live are whole milliseconds; what isn't is rounded up.
fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
