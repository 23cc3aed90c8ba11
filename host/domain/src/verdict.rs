//! What a policy answers: a verdict, and what to keep for the subject.

use std::time::Duration;

use smallvec::SmallVec;

use crate::event::cut;

/// Longest text of a reason, in bytes; the rest is cut.
pub const REASON_TEXT_BYTES_MAX: usize = 200;
/// Longest code of a reason, in bytes.
pub const REASON_CODE_BYTES_MAX: usize = 32;

/// State bytes; small ones are kept in place.
pub type StateBytes = SmallVec<[u8; 24]>;

/// Why, for operators; never shown to clients. Its text is what the plugin
/// said and so is encoded wherever it is written (rule 28).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    code: Box<str>,
    text: Box<str>,
}

impl Reason {
    /// A reason with a stable `code` of `[a-z0-9-]{1,32}`, and one line of text
    /// that is cut at [`REASON_TEXT_BYTES_MAX`] bytes.
    ///
    /// `None` if the code isn't of that form.
    #[must_use]
    pub fn new(code: &str, text: &str) -> Option<Self> {
        let fits = (1..=REASON_CODE_BYTES_MAX).contains(&code.len());
        let stable = code.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let line = text.split(['\n', '\r']).next().unwrap_or_default();
        (fits && stable).then(|| Self { code: code.into(), text: cut(line, REASON_TEXT_BYTES_MAX).into() })
    }

    /// Short and stable: a label for metrics.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// One line for operators.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Let the subject wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitOrder {
    /// How long, as the plugin asked; the gate clamps it.
    pub duration: Duration,
    /// Why.
    pub reason: Reason,
}

/// Ban the event's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanOrder {
    /// How long, as the plugin asked; the gate clamps it.
    pub duration: Duration,
    /// Bits of the source that are banned, as the plugin asked; the gate clamps it.
    pub prefix_length: Option<u8>,
    /// Why.
    pub reason: Reason,
}

/// What the policy says about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to enforce.
    Pass,
    /// Only `wait` policies can say this.
    Wait(WaitOrder),
    /// Only `ban` and `scanner` policies can say this.
    Ban(BanOrder),
}

/// A state to keep for the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The policy's own bytes.
    pub data: StateBytes,
    /// From the event's time; absent: until the room is needed.
    pub ttl: Option<Duration>,
}

/// What becomes of the subject's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It stays as it is, its remaining time too.
    Unchanged,
    /// Nothing is kept any more.
    Forget,
    /// This is kept from now on.
    Put(Kept),
}
