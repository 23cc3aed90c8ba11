//! For an author's native tests: events in one line, and a small host that keeps the
//! state between them. It exists natively only, and panics where a test is wrong.

#![expect(clippy::panic, reason = "a wrong test is told by a panic, like a failed assertion")]

use std::collections::HashMap;
use std::net::IpAddr;

use crate::bindings::types::{Keep, Setting};
use crate::event::{Attempt, Attribute, Outcome, Request};
use crate::glue;
use crate::policy::{BanKind, Kind, Policy, ScannerKind, WaitKind};
use crate::settings::{SettingError, SettingValue, Settings};
use crate::verdict::Verdict;

/// A failed attempt without an id, at time 0, from this address.
pub fn attempt(source: &str) -> AttemptBuilder {
    AttemptBuilder(Attempt {
        at_ms: 0,
        source: parse(source),
        client_auth_id: None,
        outcome: Outcome::Failure,
        client_known: None,
        secret_fingerprint: None,
        attributes: Vec::new(),
    })
}

/// A `GET /` answered with 200, without an id, at time 0, from this address.
pub fn request(source: &str) -> RequestBuilder {
    RequestBuilder(Request {
        at_ms: 0,
        source: parse(source),
        client_auth_id: None,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        status: 200,
        attributes: Vec::new(),
    })
}

fn parse(source: &str) -> IpAddr {
    source.parse().unwrap_or_else(|_| panic!("{source:?} is no IP address"))
}

fn attribute(name: &str, value: &str) -> Attribute {
    Attribute { name: name.to_owned(), value: value.to_owned() }
}

/// See [`attempt`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AttemptBuilder(Attempt);

impl AttemptBuilder {
    /// Who tries.
    pub fn id(mut self, id: &str) -> Self {
        self.0.client_auth_id = Some(id.to_owned());
        self
    }

    /// The secret is wrong.
    pub fn failed(mut self) -> Self {
        self.0.outcome = Outcome::Failure;
        self
    }

    /// The secret is right.
    pub fn succeeded(mut self) -> Self {
        self.0.outcome = Outcome::Success;
        self
    }

    /// Whether such an id exists.
    pub fn known(mut self, known: bool) -> Self {
        self.0.client_known = Some(known);
        self
    }

    /// The keyed hash of id and secret.
    pub fn fingerprint(mut self, fingerprint: u32) -> Self {
        self.0.secret_fingerprint = Some(fingerprint);
        self
    }

    /// One more attribute.
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.0.attributes.push(attribute(name, value));
        self
    }

    /// When, in seconds.
    pub fn at_secs(self, secs: u64) -> Self {
        self.at_ms(secs * 1000)
    }

    /// When, in milliseconds.
    pub fn at_ms(mut self, at_ms: u64) -> Self {
        self.0.at_ms = at_ms;
        self
    }
}

impl From<AttemptBuilder> for Attempt {
    fn from(builder: AttemptBuilder) -> Self {
        builder.0
    }
}

/// See [`request`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RequestBuilder(Request);

impl RequestBuilder {
    /// Whose credentials were verified.
    pub fn id(mut self, id: &str) -> Self {
        self.0.client_auth_id = Some(id.to_owned());
        self
    }

    /// The method.
    pub fn method(mut self, method: &str) -> Self {
        self.0.method = method.to_owned();
        self
    }

    /// The path, without query.
    pub fn path(mut self, path: &str) -> Self {
        self.0.path = path.to_owned();
        self
    }

    /// The status of the answer.
    pub fn status(mut self, status: u16) -> Self {
        self.0.status = status;
        self
    }

    /// One more attribute.
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.0.attributes.push(attribute(name, value));
        self
    }

    /// When, in seconds.
    pub fn at_secs(self, secs: u64) -> Self {
        self.at_ms(secs * 1000)
    }

    /// When, in milliseconds.
    pub fn at_ms(mut self, at_ms: u64) -> Self {
        self.0.at_ms = at_ms;
        self
    }
}

impl From<RequestBuilder> for Request {
    fn from(builder: RequestBuilder) -> Self {
        builder.0
    }
}

/// Settings as a host would configure them: the defaults, and these instead.
///
/// # Errors
/// What `configure` would answer.
pub fn try_settings<S: Settings>(values: &[(&str, SettingValue)]) -> Result<S, Vec<SettingError>> {
    let mut settings: Vec<Setting> = S::specs()
        .into_iter()
        .filter_map(|spec| Some(Setting { name: spec.name, value: spec.default_value? }))
        .collect();
    for (name, value) in values {
        settings.retain(|setting| setting.name != *name);
        settings.push(Setting { name: (*name).to_owned(), value: value.clone() });
    }
    S::from_values(settings)
}

/// As [`try_settings`], for settings that are right.
pub fn settings<S: Settings>(values: &[(&str, SettingValue)]) -> S {
    try_settings(values).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The defaults; panics where a setting has none.
pub fn defaults<S: Settings>() -> S {
    settings(&[])
}

/// A host for a `wait` policy; its subject is the id, or the source where there is none.
pub fn wait<Shape, P: Policy<WaitKind, Shape>>(policy: P, settings: P::Settings) -> Host<WaitKind, Shape, P> {
    Host::new(policy, settings, |attempt| {
        let source = || attempt.source.to_string();
        (attempt.client_auth_id.clone().unwrap_or_else(source), attempt.at_ms)
    })
}

/// A host for a `ban` policy; its subject is the source.
pub fn ban<Shape, P: Policy<BanKind, Shape>>(policy: P, settings: P::Settings) -> Host<BanKind, Shape, P> {
    Host::new(policy, settings, |attempt| (attempt.source.to_string(), attempt.at_ms))
}

/// A host for a `scanner` policy; its subject is the source.
pub fn scanner<Shape, P: Policy<ScannerKind, Shape>>(policy: P, settings: P::Settings) -> Host<ScannerKind, Shape, P> {
    Host::new(policy, settings, |request| (request.source.to_string(), request.at_ms))
}

/// Runs one policy over a history and keeps its state as the real host does: as bytes,
/// for as long as the policy asked. It enforces nothing.
#[derive(Debug)]
pub struct Host<K: Kind, Shape, P: Policy<K, Shape>> {
    policy: P,
    settings: P::Settings,
    /// The subject of an event, and its time in milliseconds.
    subject: fn(&K::Event) -> (String, u64),
    states: HashMap<String, Kept>,
}

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    /// From this millisecond on it is gone.
    end_ms: Option<u64>,
}

impl<K: Kind, Shape, P: Policy<K, Shape>> Host<K, Shape, P> {
    fn new(policy: P, settings: P::Settings, subject: fn(&K::Event) -> (String, u64)) -> Self {
        Self { policy, settings, subject, states: HashMap::new() }
    }

    /// Judges one event; panics if the policy returns an error.
    pub fn judge(&mut self, event: impl Into<K::Event>) -> Verdict<K::Order> {
        self.try_judge(event).unwrap_or_else(|why| panic!("the policy failed: {why}"))
    }

    /// Judges one event.
    ///
    /// # Errors
    /// What the policy returned; nothing is kept then.
    pub fn try_judge(&mut self, event: impl Into<K::Event>) -> Result<Verdict<K::Order>, String> {
        let event = event.into();
        let (subject, at_ms) = (self.subject)(&event);
        if self.states.get(&subject).and_then(|kept| kept.end_ms).is_some_and(|end| end <= at_ms) {
            self.states.remove(&subject);
        }
        let before = self.states.get(&subject).map(|kept| kept.bytes.as_slice());
        let (verdict, keep) = glue::judge(&self.policy, &self.settings, &event, before)?;
        match keep {
            Keep::Unchanged => {}
            Keep::Forget => {
                self.states.remove(&subject);
            }
            Keep::Put(kept) => {
                let end_ms = kept.ttl.map(|ttl| at_ms.saturating_add(ttl));
                self.states.insert(subject, Kept { bytes: kept.data, end_ms });
            }
        }
        Ok(verdict)
    }

    /// The bytes kept for a subject.
    pub fn state(&self, subject: &str) -> Option<&[u8]> {
        self.states.get(subject).map(|kept| kept.bytes.as_slice())
    }

    /// Puts bytes in the place of a subject's state.
    pub fn put_state(&mut self, subject: &str, bytes: &[u8]) {
        self.states.insert(subject.to_owned(), Kept { bytes: bytes.to_owned(), end_ms: None });
    }
}
