//! Who judges: the one trait between the gate and whatever runs policies.
//!
//! The gate knows nothing of plugins, sandboxes or what happens when one
//! fails; a judge answers, or it says that the event has to be denied.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::event::Dated;
use crate::verdict::{Keep, StateBytes, Verdict};

/// The three kinds of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Judges attempts; may order a wait.
    Wait,
    /// Judges attempts; may order a ban.
    Ban,
    /// Judges answered requests; may order a ban.
    Scanner,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Wait, Self::Ban, Self::Scanner];

    /// The kind's name in configuration, interface and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Ban => "ban",
            Self::Scanner => "scanner",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether what a policy orders is put in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyMode {
    /// It is.
    #[default]
    Enforce,
    /// The policy judges with its own kept state, and nothing is enforced.
    Shadow,
}

/// Whom a policy keeps state about (rule 18); for a wait it is also who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectBy {
    /// The client auth id; the source where an attempt has none.
    Id,
    /// The source, IPv6 grouped by the operator's prefix.
    Source,
    /// Both together; the source where an attempt has no id.
    Pair,
}

impl SubjectBy {
    /// What a kind goes by unless configured.
    #[must_use]
    pub const fn default_of(kind: Kind) -> Self {
        match kind {
            Kind::Wait => Self::Id,
            Kind::Ban | Kind::Scanner => Self::Source,
        }
    }
}

/// The name of a state's encoding. State written under one format is handed
/// only to plugins that name the same (rule 19).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateFormat(Arc<str>);

impl StateFormat {
    /// A format by its name, such as `failures-in-a-row/1`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a configured policy wants to see; the gate may skip the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Scanner only: statuses to judge, both ends included. Empty: every answered request.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Names of the attributes wanted.
    pub attributes: Vec<String>,
}

impl Interest {
    /// Whether a request answered with `status` is to be judged.
    #[must_use]
    pub fn wants_status(&self, status: u16) -> bool {
        self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(&status))
    }
}

/// The state kept for the one subject that is being judged.
///
/// A judge may speak several formats (its own, and that of a plugin that steps
/// in when its own fails); `format` is an index into [`Judge::formats`].
pub trait Kept {
    /// The bytes kept under that format, unless expired.
    fn read(&self, format: usize) -> Option<StateBytes>;
}

/// Who answered for a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Its own plugin.
    Own,
    /// The one that steps in when that fails (rule 21).
    StandIn,
    /// Nobody was asked, and so it passes: the event is of no interest, or the
    /// plugin fails and its operator wants that.
    Nobody,
}

/// Which code judges with which settings: the same pair answers the same to the
/// same event and state, on any machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Provenance {
    /// SHA-256 of the plugin.
    pub plugin: [u8; 32],
    /// SHA-256 of its settings, those left out filled in.
    pub settings: [u8; 32],
}

/// A verdict and what to keep, and in which format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What to enforce.
    pub verdict: Verdict,
    /// What becomes of the state.
    pub keep: Keep,
    /// The format of that state: an index into [`Judge::formats`].
    pub format: usize,
    /// Who says so.
    pub answered: Answered,
}

/// Nobody could judge, and the operator wants that to be a refusal (rule 21).
/// Nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

/// One policy's plugin with all that happens when it fails (rules 21 and 22).
///
/// A pure function of event and state: the gate may call it from any thread,
/// and never calls it twice at once for one subject.
pub trait Judge: Send + Sync {
    /// The state formats that it reads and writes, its own first.
    fn formats(&self) -> &[StateFormat];

    /// What it wants to see.
    fn interest(&self) -> &Interest;

    /// Which code answers, if there is any to be named.
    fn provenance(&self, answered: Answered) -> Option<Provenance> {
        let _ = answered;
        None
    }

    /// Judges one event.
    ///
    /// # Errors
    /// [`Denied`] if no plugin could judge and the policy's `on_failure` says so.
    fn judge(&self, dated: &Dated<'_>, kept: &dyn Kept) -> Result<Judgement, Denied>;
}
