//! What a configured policy wants to be asked about. The host may skip the rest.

use std::ops::RangeInclusive;

use crate::bindings::types;

/// Which events and facts a policy needs. The default, [`Interest::everything`],
/// is every event and no attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interest {
    statuses: Vec<(u16, u16)>,
    attributes: Vec<String>,
}

impl Interest {
    /// Every event of the kind, without attributes.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Scanner only: judge requests answered with one of these HTTP statuses, both
    /// ends included, and with those named before. Without any: every request.
    #[must_use]
    pub fn statuses(mut self, range: RangeInclusive<u16>) -> Self {
        self.statuses.push((*range.start(), *range.end()));
        self
    }

    /// Hand over this attribute, such as `user-agent`, where the host has it.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>) -> Self {
        self.attributes.push(name.into());
        self
    }
}

impl From<Interest> for types::Interest {
    fn from(interest: Interest) -> Self {
        Self {
            statuses: interest.statuses.into_iter().map(|(first, last)| types::StatusRange { first, last }).collect(),
            attributes: interest.attributes,
        }
    }
}
