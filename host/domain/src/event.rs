//! What is judged: finished login attempts and answered requests.
//!
//! Everything here is bounded when it is made (rule 23), so that no later
//! stage has to ask how long a stranger's text may be.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::source::Source;
use crate::time::Timestamp;

/// Longest client auth id, in bytes. A longer one is a bad request (rule 23).
pub const CLIENT_ID_BYTES_MAX: usize = 256;
/// Longest path that a policy sees, in bytes; the rest is cut (rule 23).
pub const PATH_BYTES_MAX: usize = 2048;
/// Longest attribute value that a policy sees, in bytes; the rest is cut (rule 23).
pub const ATTRIBUTE_BYTES_MAX: usize = 512;
/// Longest method that a policy sees, in bytes; the rest is cut.
pub const METHOD_BYTES_MAX: usize = 64;

/// A client auth id as the host normalised it, at most [`CLIENT_ID_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

/// A client auth id was longer than [`CLIENT_ID_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a client auth id of {bytes} bytes, where at most {CLIENT_ID_BYTES_MAX} are taken")]
pub struct IdTooLong {
    /// Its length in bytes.
    pub bytes: usize,
}

impl ClientId {
    /// Takes an id as it stands.
    ///
    /// # Errors
    /// [`IdTooLong`] above [`CLIENT_ID_BYTES_MAX`] bytes.
    pub fn new(id: &str) -> Result<Self, IdTooLong> {
        if id.len() > CLIENT_ID_BYTES_MAX {
            return Err(IdTooLong { bytes: id.len() });
        }
        Ok(Self(id.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a login attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The secret was wrong, or there is no such id.
    Failure,
    /// The secret was right.
    Success,
}

/// A fact by name, for policies that asked for it in their interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Lower-case name, such as `user-agent`.
    pub name: &'a str,
    /// At most [`ATTRIBUTE_BYTES_MAX`] bytes.
    pub value: &'a str,
}

/// One finished login attempt. The time is given beside it, since it is taken
/// while the subject is held (rule 16).
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// From where.
    pub source: Source,
    /// Who; absent where a login carries no id.
    pub client_id: Option<&'a ClientId>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether such an id exists, where the host can tell.
    pub client_known: Option<bool>,
    /// Failures only: a keyed hash of id and secret.
    pub secret_fingerprint: Option<u32>,
    /// What policies asked for, by name.
    pub attributes: &'a [Attribute<'a>],
}

/// One answered request, its status known and nothing of the reply sent yet.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// From where.
    pub source: Source,
    /// Who, only if this request's own credentials were verified.
    pub client_id: Option<&'a ClientId>,
    /// As received, at most [`METHOD_BYTES_MAX`] bytes.
    pub method: &'a str,
    /// As received, without the query, at most [`PATH_BYTES_MAX`] bytes.
    pub path: &'a str,
    /// The status of the reply.
    pub status: u16,
    /// What policies asked for, by name.
    pub attributes: &'a [Attribute<'a>],
}

/// What a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// For `wait` and `ban` policies.
    Attempt(&'a Attempt<'a>),
    /// For `scanner` policies.
    Request(&'a Request<'a>),
}

impl Event<'_> {
    /// From where it came.
    #[must_use]
    pub const fn source(&self) -> Source {
        match self {
            Self::Attempt(attempt) => attempt.source,
            Self::Request(request) => request.source,
        }
    }

    /// Who, if known.
    #[must_use]
    pub const fn client_id(&self) -> Option<&ClientId> {
        match self {
            Self::Attempt(attempt) => attempt.client_id,
            Self::Request(request) => request.client_id,
        }
    }
}

/// An event with its time, as a judge gets it.
#[derive(Clone, Copy, Debug)]
pub struct Dated<'a> {
    /// When; for one subject it never decreases.
    pub at: Timestamp,
    /// What.
    pub event: Event<'a>,
}

/// The longest prefix of `text` of at most `bytes_max` bytes that ends on a character.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
