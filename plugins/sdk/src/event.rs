//! What a policy is asked about: a finished login attempt or an answered request.
//! Plain values; nothing in here knows how they came over the wire.

use std::net::IpAddr;

use crate::bindings::types;

pub use types::{Attribute, Outcome};

/// One finished login attempt, judged by `wait` and `ban` policies.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// When the outcome was known, in milliseconds since the Unix epoch on the
    /// host's clock. For one subject it never decreases. Less than 2^53.
    pub at_ms: u64,
    /// The full client address. An IPv4-mapped IPv6 address arrives as IPv4.
    pub source: IpAddr,
    /// Who tried, at most 256 bytes; absent where a login carries no id.
    pub client_auth_id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether such an id exists, where the host can tell.
    pub client_known: Option<bool>,
    /// Failures only: equal values mean the same wrong secret for the same id again.
    pub secret_fingerprint: Option<u32>,
    /// The facts that [`Interest`](crate::Interest) asked for and the host has.
    pub attributes: Vec<Attribute>,
}

impl Attempt {
    /// The secret was right.
    pub fn succeeded(&self) -> bool {
        self.outcome == Outcome::Success
    }

    /// The secret was wrong, or the id unknown.
    pub fn failed(&self) -> bool {
        self.outcome == Outcome::Failure
    }

    /// The value of one attribute, such as `user-agent`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }
}

/// One answered request, judged by `scanner` policies.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// When the status was known, in milliseconds since the Unix epoch on the
    /// host's clock. For one subject it never decreases. Less than 2^53.
    pub at_ms: u64,
    /// The full client address. An IPv4-mapped IPv6 address arrives as IPv4.
    pub source: IpAddr,
    /// Who, only if this request's own credentials were verified.
    pub client_auth_id: Option<String>,
    /// The method, such as `GET`.
    pub method: String,
    /// As received, percent-encoding kept, without query; cut at 2048 bytes.
    pub path: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The facts that [`Interest`](crate::Interest) asked for and the host has.
    pub attributes: Vec<Attribute>,
}

impl Request {
    /// The request came from a client whose credentials were verified.
    pub fn authenticated(&self) -> bool {
        self.client_auth_id.is_some()
    }

    /// The value of one attribute, such as `user-agent`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }
}

fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value.as_str())
}
