//! From domain to wire and back, and what of an answer makes no sense.
//!
//! Knows both worlds' types and no engine, store or instance.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_domain::event::{ATTRIBUTE_BYTES_MAX, Attribute, METHOD_BYTES_MAX, PATH_BYTES_MAX, cut};
use portcullis_domain::{
    Attempt, BanOrder, ClientId, Interest, Keep, KeptState, Outcome, Reason, Request, StateBytes, Timestamp, Verdict,
    WaitOrder,
};
use smallvec::SmallVec;

use crate::bindings::portcullis::policy::types as wire;
use crate::failure::{Cause, Failure};

/// Most attribute names that a plugin may ask for.
const ATTRIBUTES_MAX: usize = 32;
/// Most status ranges that a plugin may ask for.
const STATUS_RANGES_MAX: usize = 64;
/// Longest attribute name, in bytes.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;

/// The wanted ones of an event's attributes.
pub(crate) type WireAttributes<'a> = SmallVec<[wire::Attribute<'a>; 4]>;

/// What an answer comes to: the verdict, and what to keep.
pub(crate) type Answer = (Verdict, Keep);

/// Those attributes that were asked for, cut to their bound.
pub(crate) fn attributes<'a>(given: &'a [Attribute<'a>], interest: &Interest) -> WireAttributes<'a> {
    if interest.attributes.is_empty() {
        return WireAttributes::new();
    }
    let wanted = |given: &&Attribute<'_>| interest.attributes.iter().any(|name| name == given.name);
    given
        .iter()
        .filter(wanted)
        .map(|given| wire::Attribute { name: given.name, value: cut(given.value, ATTRIBUTE_BYTES_MAX) })
        .collect()
}

pub(crate) fn attempt<'a>(
    at: Timestamp,
    attempt: &Attempt<'a>,
    attributes: &'a [wire::Attribute<'a>],
) -> wire::Attempt<'a> {
    wire::Attempt {
        at: at.as_millis(),
        source: address(attempt.source.address()),
        client_auth_id: attempt.client_id.map(ClientId::as_str),
        outcome: match attempt.outcome {
            Outcome::Failure => wire::Outcome::Failure,
            Outcome::Success => wire::Outcome::Success,
        },
        client_known: attempt.client_known,
        secret_fingerprint: attempt.secret_fingerprint,
        attributes,
    }
}

pub(crate) fn request<'a>(
    at: Timestamp,
    request: &Request<'a>,
    attributes: &'a [wire::Attribute<'a>],
) -> wire::Request<'a> {
    wire::Request {
        at: at.as_millis(),
        source: address(request.source.address()),
        client_auth_id: request.client_id.map(ClientId::as_str),
        method: cut(request.method, METHOD_BYTES_MAX),
        path: cut(request.path, PATH_BYTES_MAX),
        status: request.status,
        attributes,
    }
}

/// Network byte order, most significant part first; IPv4-mapped IPv6 is IPv4.
fn address(address: IpAddr) -> wire::IpAddress {
    match address.to_canonical() {
        IpAddr::V4(v4) => wire::IpAddress::Ipv4(v4.to_bits()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments().map(u32::from);
            wire::IpAddress::Ipv6((a << 16 | b, c << 16 | d, e << 16 | f, g << 16 | h))
        }
    }
}

pub(crate) fn wait_judgement(answer: wire::WaitJudgement, state_bytes_max: usize) -> Result<Answer, Failure> {
    let verdict = match answer.verdict {
        wire::WaitVerdict::Pass => Verdict::Pass,
        wire::WaitVerdict::Wait(order) => {
            Verdict::Wait(WaitOrder { duration: duration(order.duration), reason: reason(&order.reason)? })
        }
    };
    Ok((verdict, keep(answer.keep, state_bytes_max)?))
}

pub(crate) fn ban_judgement(answer: wire::BanJudgement, state_bytes_max: usize) -> Result<Answer, Failure> {
    let verdict = match answer.verdict {
        wire::BanVerdict::Pass => Verdict::Pass,
        wire::BanVerdict::Ban(order) => Verdict::Ban(BanOrder {
            duration: duration(order.duration),
            prefix_length: order.prefix_length,
            reason: reason(&order.reason)?,
        }),
    };
    Ok((verdict, keep(answer.keep, state_bytes_max)?))
}

/// The interface's numbers end below 2^53; what is over is cut, and what is
/// enforced is the gate's to clamp.
const fn duration(millis: u64) -> Duration {
    let most = Timestamp::MAX.as_millis();
    Duration::from_millis(if millis > most { most } else { millis })
}

fn reason(reason: &wire::Reason) -> Result<Reason, Failure> {
    Reason::new(&reason.code, &reason.text).ok_or_else(|| {
        let code = cut(&reason.code, 64);
        Failure::new(Cause::Nonsense, &format!("the reason code {code:?} isn't 1 to 32 of a-z, 0-9 and -"))
    })
}

fn keep(keep: wire::Keep, state_bytes_max: usize) -> Result<Keep, Failure> {
    match keep {
        wire::Keep::Unchanged => Ok(Keep::Unchanged),
        wire::Keep::Forget => Ok(Keep::Forget),
        wire::Keep::Put(kept) => {
            let bytes = kept.data.len();
            if bytes > state_bytes_max {
                let detail = format!("a state of {bytes} bytes, where {state_bytes_max} are allowed");
                return Err(Failure::new(Cause::Nonsense, &detail));
            }
            Ok(Keep::Put(KeptState { data: StateBytes::from_vec(kept.data), ttl: kept.ttl.map(duration) }))
        }
    }
}

/// What a plugin wants to see, or why that makes no sense.
pub(crate) fn interest(interest: wire::Interest) -> Result<Interest, Failure> {
    let nonsense = |detail: String| Err(Failure::new(Cause::Nonsense, &detail));
    if interest.attributes.len() > ATTRIBUTES_MAX || interest.statuses.len() > STATUS_RANGES_MAX {
        return nonsense(format!(
            "interest in {} attributes and {} ranges of statuses, where {ATTRIBUTES_MAX} and {STATUS_RANGES_MAX} are allowed",
            interest.attributes.len(),
            interest.statuses.len(),
        ));
    }
    if let Some(name) = interest.attributes.iter().find(|name| name.len() > ATTRIBUTE_NAME_BYTES_MAX) {
        return nonsense(format!("interest in an attribute whose name has {} bytes", name.len()));
    }
    if let Some(range) = interest.statuses.iter().find(|range| range.first > range.last) {
        return nonsense(format!("interest in the statuses {} to {}", range.first, range.last));
    }
    Ok(Interest {
        statuses: interest.statuses.iter().map(|range| range.first..=range.last).collect(),
        attributes: interest.attributes,
    })
}
