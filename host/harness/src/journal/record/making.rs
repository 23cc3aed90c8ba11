//! How records are made: from what the gate's witness hears, and from what is
//! in force.

use portcullis_domain::{self as domain, Attempt, Event, Testimony, Timestamp};
use portcullis_runtime::{Configured, PolicyJudge, SettingValue};

use super::{
    About, Act, Answered, Attribute, Deed, Enforced, InForce, Judged, Keep, Kind, Life, Mode, Origin, Outcome, Policy,
    Process, Reason, Record, Runs, Seen, Setting, Subject, SubjectBy, Unjudged, Value, Verdict, What,
};
use crate::journal::value::{Address, Bytes, Digest, Fingerprint, Network, Time};

/// Attributes whose value can be a secret: of these only the name is written.
const WITHHELD: [&str; 2] = ["query", "referer"];

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
            origin: seen_by(testimony.origin),
        };
        Self { time: Time(dated.at), what: What::Judged(judged) }
    }

    /// An attempt that no policy judged.
    #[must_use]
    pub fn unjudged(at: Timestamp, attempt: &'a Attempt<'a>, origin: domain::Origin<'a>) -> Self {
        let event = Event::Attempt(attempt);
        let (seen, _) = Seen::of(&event);
        let (source, client) = (Address(attempt.source.address()), client(&event));
        Self { time: Time(at), what: What::Unjudged(Unjudged { source, client, seen, origin: seen_by(origin) }) }
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

/// The gateway itself needs no word.
const fn seen_by(origin: domain::Origin<'_>) -> Option<Origin<'_>> {
    match origin {
        domain::Origin::Gateway => None,
        domain::Origin::Log { name, line } => Some(Origin::Log { name, line }),
        domain::Origin::Report { by } => Some(Origin::Report { by: Address(by) }),
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
