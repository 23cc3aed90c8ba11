//! What a journal holds, record by record; `JOURNAL.md` beside this crate's
//! manifest tells it in words.
//!
//! A record borrows all of its text, from the event when it is written and from
//! the segment when it is read. Fields go by number: what a later version adds
//! is skipped by an earlier one, and a number is never given to anything else.

mod making;

use minicbor::{Decode, Encode};
use serde::Serialize;

use super::value::{Address, Bytes, Digest, Fingerprint, Network, Time};

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
    /// Who saw it; absent where the gateway did.
    #[b(17)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin<'a>>,
}

/// Who saw an event that didn't pass the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin<'a> {
    /// A line of a log.
    #[n(0)]
    #[cbor(map)]
    Log {
        /// The file, or the command whose output it is.
        #[b(0)]
        name: &'a str,
        /// The line's number, from 1.
        #[n(1)]
        line: u64,
    },
    /// Somebody who reports what happened behind them.
    #[n(1)]
    #[cbor(map)]
    Report {
        /// Their address.
        #[n(0)]
        by: Address,
    },
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
    /// Who saw it; absent where the gateway did.
    #[b(3)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin<'a>>,
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
