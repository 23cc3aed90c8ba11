//! Whom a state is about and the state itself, as the tables keep them: there may
//! be millions, nearly all of them a source's and a few bytes long.

use std::hash::{Hash, Hasher};

use indexmap::Equivalent;
use ipnet::IpNet;

use crate::subject::Subject;
use crate::verdict::StateBytes;

/// A state format's number within one policy: two bytes an entry instead of a name.
pub(super) type FormatNumber = u16;

/// Longest state that needs no memory beside its entry.
const SMALL_BYTES_MAX: usize = 14;

/// A subject and a format.
#[derive(PartialEq, Eq)]
pub(super) enum Key {
    /// Needs no memory beside the entry.
    Source(IpNet, FormatNumber),
    /// Of an id or a pair.
    Other(Box<(Subject, FormatNumber)>),
}

/// A [`Key`] whose subject is borrowed, for look-ups.
pub(super) struct KeyRef<'a> {
    pub(super) subject: &'a Subject,
    pub(super) format: FormatNumber,
}

impl Key {
    pub(super) fn new(subject: &Subject, format: FormatNumber) -> Self {
        match subject {
            Subject::Source(network) => Self::Source(*network, format),
            Subject::Id(_) | Subject::Pair(..) => Self::Other(Box::new((subject.clone(), format))),
        }
    }

    pub(super) fn subject(&self) -> Subject {
        match self {
            Self::Source(network, _) => Subject::Source(*network),
            Self::Other(key) => key.0.clone(),
        }
    }

    pub(super) const fn format(&self) -> FormatNumber {
        match self {
            Self::Source(_, format) => *format,
            Self::Other(key) => key.1,
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Source(network, format) => {
                KeyRef { subject: &Subject::Source(*network), format: *format }.hash(state);
            }
            Self::Other(key) => KeyRef { subject: &key.0, format: key.1 }.hash(state),
        }
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.subject.hash(state);
        self.format.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        match (key, self.subject) {
            (Key::Source(network, format), Subject::Source(wanted)) => *format == self.format && network == wanted,
            (Key::Other(key), wanted) => key.1 == self.format && key.0 == *wanted,
            (Key::Source(..), Subject::Id(_) | Subject::Pair(..)) => false,
        }
    }
}

/// The bytes of a state.
pub(super) enum Data {
    Small {
        length: u8,
        bytes: [u8; SMALL_BYTES_MAX],
    },
    /// Apart twice: a pointer alone fits beside the small ones.
    Large(Box<Box<[u8]>>),
}

impl Data {
    pub(super) fn new(data: &[u8]) -> Self {
        let mut bytes = [0; SMALL_BYTES_MAX];
        match (bytes.get_mut(..data.len()), u8::try_from(data.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(data);
                Self::Small { length, bytes }
            }
            _ => Self::Large(Box::new(data.into())),
        }
    }

    pub(super) fn to_bytes(&self) -> StateBytes {
        StateBytes::from_slice(match self {
            Self::Small { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Large(bytes) => bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;
    use crate::event::ClientId;

    #[test]
    fn an_entry_is_small() {
        assert_eq!((size_of::<Key>(), size_of::<Data>()), (24, 16));
    }

    #[test]
    fn data_comes_out_as_it_went_in() {
        for length in [0, 1, SMALL_BYTES_MAX, SMALL_BYTES_MAX + 1, 255, 256, 70_000] {
            let data: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            assert_eq!(Data::new(&data).to_bytes().as_slice(), data);
        }
    }

    #[test]
    fn a_key_is_found_by_its_own_subject_and_format_alone() {
        let (id, network) = (ClientId::new("id").unwrap(), "203.0.113.7/32".parse().unwrap());
        let wide = Subject::Source("2001:db8::/64".parse().unwrap());
        let subjects = [Subject::Id(id.clone()), Subject::Pair(id, network), Subject::Source(network), wide];
        let hasher = foldhash::quality::RandomState::default();
        for (at, subject) in subjects.iter().enumerate() {
            let key = Key::new(subject, 1);
            assert_eq!((key.subject(), key.format()), (subject.clone(), 1));
            assert_eq!(hasher.hash_one(&key), hasher.hash_one(KeyRef { subject, format: 1 }));
            for (other, wanted) in subjects.iter().enumerate() {
                assert_eq!(KeyRef { subject: wanted, format: 1 }.equivalent(&key), at == other);
                assert!(!KeyRef { subject: wanted, format: 2 }.equivalent(&key));
            }
        }
    }
}
