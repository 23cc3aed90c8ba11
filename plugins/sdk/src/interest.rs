//! What a configured policy wants to be asked about. The host may skip the rest.

use std::ops::RangeInclusive;

use crate::bindings::types;

/// Which events and facts a policy needs. The default, [`Interest::everything`],
/// is every event and no attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Interest(types::Interest);

impl Default for Interest {
    fn default() -> Self {
        Self(types::Interest { statuses: Vec::new(), attributes: Vec::new() })
    }
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
        self.0.statuses.push(types::StatusRange { first: *range.start(), last: *range.end() });
        self
    }

    /// Hand over this attribute, such as `user-agent`, where the host has it.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>) -> Self {
        self.0.attributes.push(name.into());
        self
    }
}

impl From<Interest> for types::Interest {
    fn from(interest: Interest) -> Self {
        interest.0
    }
}
