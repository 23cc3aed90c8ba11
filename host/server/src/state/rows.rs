//! How things are written in rows: readable for whoever opens the file with
//! `sqlite3`, and in exactly one way each.

use std::fmt::Write as _;
use std::sync::Arc;

use ipnet::IpNet;
use portcullis_domain::{By, Cause, ClientId, Reason, Subject, Timestamp};

/// Writes a subject over what is in `text`.
pub(super) fn write_subject(subject: &Subject, text: &mut String) {
    text.clear();
    let _never_fails = match subject {
        Subject::Id(id) => write!(text, "id:{id}"),
        Subject::Source(network) => write!(text, "source:{network}"),
        Subject::Pair(id, network) => write!(text, "pair:{network} {id}"),
    };
}

/// The subject that was written so.
pub(super) fn read_subject(text: &str) -> Option<Subject> {
    match text.split_once(':')? {
        ("id", id) => Some(Subject::Id(ClientId::new(id).ok()?)),
        ("source", network) => Some(Subject::Source(read_network(network)?)),
        ("pair", pair) => {
            let (network, id) = pair.split_once(' ')?;
            Some(Subject::Pair(ClientId::new(id).ok()?, read_network(network)?))
        }
        _ => None,
    }
}

/// The network that was written so; its host bits are zero.
pub(super) fn read_network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().filter(|network| network.trunc() == *network)
}

/// An instant as a number.
pub(super) fn write_time(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// The instant of that number.
pub(super) fn read_time(millis: i64) -> Option<Timestamp> {
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// The policy that ordered something; none: the operator.
pub(super) fn policy_of(cause: &Cause) -> Option<&str> {
    match &cause.by {
        By::Policy(name) => Some(name),
        By::Operator => None,
    }
}

/// Causes as they come in rows, most of them in the words of the one before.
#[derive(Default)]
pub(super) struct Causes(Option<Arc<Cause>>);

impl Causes {
    /// The cause of these three columns.
    pub(super) fn read(&mut self, policy: Option<&str>, code: &str, reason: &str) -> Option<Arc<Cause>> {
        let same = |last: &&Arc<Cause>| {
            policy_of(last) == policy && last.reason.code() == code && last.reason.text() == reason
        };
        if let Some(last) = self.0.as_ref().filter(same) {
            return Some(Arc::clone(last));
        }
        let by = policy.map_or(By::Operator, |name| By::Policy(name.into()));
        let cause = Arc::new(Cause { by, reason: Reason::new(code, reason)? });
        self.0 = Some(Arc::clone(&cause));
        Some(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<[u8; 4]>(), 0..=32u8).prop_map(|(octets, prefix)| IpNet::new(octets.into(), prefix));
        let v6 = (any::<[u8; 16]>(), 0..=128u8).prop_map(|(octets, prefix)| IpNet::new(octets.into(), prefix));
        prop_oneof![v4, v6].prop_map(|network| network.unwrap().trunc())
    }

    proptest! {
        #[test]
        fn every_subject_is_written_in_its_own_way(id in any::<String>(), network in network(), which in 0..3) {
            prop_assume!(id.len() <= 256);
            let id = ClientId::new(&id).unwrap();
            let subject = match which {
                0 => Subject::Id(id),
                1 => Subject::Source(network),
                _ => Subject::Pair(id, network),
            };
            let mut text = "what was there before".to_owned();
            write_subject(&subject, &mut text);
            prop_assert_eq!(read_subject(&text), Some(subject));
        }
    }

    #[test]
    fn what_nobody_writes_so_is_nothing() {
        for text in ["", "id", "ID:a", "source:203.0.113.7", "source:203.0.113.7/24", "pair:203.0.113.0/24", "pair:a b"]
        {
            assert_eq!(read_subject(text), None, "{text}");
        }
        assert_eq!(read_network("203.0.113.7/24"), None, "host bits");
        assert_eq!((read_time(-1), read_time(5)), (None, Some(Timestamp::from_millis(5))));
    }

    #[test]
    fn causes_in_the_same_words_are_one() {
        let mut causes = Causes::default();
        let one = causes.read(Some("ban"), "max-failed-login", "Maximum of 5 login attempts reached.").unwrap();
        let two = causes.read(Some("ban"), "max-failed-login", "Maximum of 5 login attempts reached.").unwrap();
        let operator = causes.read(None, "max-failed-login", "Maximum of 5 login attempts reached.").unwrap();
        assert!(Arc::ptr_eq(&one, &two) && one != operator && operator.by == By::Operator);
        assert_eq!(causes.read(None, "Not A Code", ""), None);
    }
}
