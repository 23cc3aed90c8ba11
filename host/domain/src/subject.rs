//! Whom state is kept about, and who waits.

use ipnet::IpNet;

use crate::event::{ClientId, Event};
use crate::judge::SubjectBy;

/// Whom state is kept about, and who waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A client auth id, from wherever.
    Id(ClientId),
    /// A source, whoever.
    Source(IpNet),
    /// A client auth id from one source.
    Pair(ClientId, IpNet),
}

impl Subject {
    /// The subject of an event (rule 18): without an id it is the source.
    #[must_use]
    pub fn of(by: SubjectBy, event: &Event<'_>) -> Self {
        let network = event.source().network();
        match (by, event.client_id()) {
            (SubjectBy::Id, Some(id)) => Self::Id(id.clone()),
            (SubjectBy::Pair, Some(id)) => Self::Pair(id.clone(), network),
            (SubjectBy::Source, _) | (SubjectBy::Id | SubjectBy::Pair, None) => Self::Source(network),
        }
    }
}
