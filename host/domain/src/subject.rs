//! Whom state is kept about, and who waits.

use std::hash::{Hash, Hasher};

use ipnet::IpNet;

use crate::event::{ClientId, Event};
use crate::judge::SubjectBy;

/// Whom state is kept about, and who waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Looked up for every event: a word or two instead of the bytes of an address one by one.
impl Hash for Subject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Id(id) => id.hash(state),
            Self::Source(network) => hash_network(network, state),
            Self::Pair(id, network) => {
                id.hash(state);
                hash_network(network, state);
            }
        }
    }
}

/// Hashes a network by its bits.
pub(crate) fn hash_network(network: &IpNet, state: &mut impl Hasher) {
    match network {
        IpNet::V4(v4) => state.write_u64(u64::from(v4.addr().to_bits()) << 8 | u64::from(v4.prefix_len())),
        IpNet::V6(v6) => {
            state.write_u128(v6.addr().to_bits());
            state.write_u8(v6.prefix_len());
        }
    }
}
