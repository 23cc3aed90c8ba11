//! Pairs of id and secret that succeeded from a source a moment ago (rule 8).
//!
//! An owner at work is let through whatever strangers do to the id. What is
//! kept is a keyed hash whose key never leaves this process: from a dump of the
//! map alone no secret can be guessed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hmac::{Hmac, Mac};
use ipnet::IpNet;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::event::ClientId;
use crate::maps::{BoundedMap, Shards};
use crate::sync::AtomicU64;
use crate::time::Timestamp;

/// Pairs that a gate remembers at most.
const CAPACITY: usize = 100_000;

type Tag = [u8; 32];

/// Recently verified pairs. Bounded: of too many the least recently used go,
/// and their owners' next request is an attempt again.
pub struct VerifiedPairs {
    /// Keyed once: cloning it is cheaper than keying it anew.
    keyed: Hmac<Sha256>,
    pairs: Shards<BoundedMap<(ClientId, IpNet), Tag>>,
    /// Counts the times that everything was forgotten.
    era: AtomicU64,
}

/// The era in which a check of a secret began. What was checked against older
/// credentials isn't remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era(u64);

impl VerifiedPairs {
    /// Nothing remembered yet; `key` is random and of this process alone.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self::with_capacity(key, CAPACITY)
    }

    /// The same for so many pairs at most.
    #[must_use]
    pub fn with_capacity(key: [u8; 32], pairs: usize) -> Self {
        // HMAC's key is one block of its hash, a shorter one padded with zeros (RFC 2104).
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(&key);
        Self { keyed: Hmac::new(&block.into()), pairs: Shards::new(pairs, BoundedMap::new), era: AtomicU64::new(0) }
    }

    /// Whether this very pair succeeded from here within its time. Any other
    /// secret for that id from that source forgets the pair.
    #[must_use]
    pub fn recognises(&self, id: &ClientId, source: IpNet, secret: &[u8], now: Timestamp) -> bool {
        let key = (id.clone(), source);
        let mut pairs = self.pairs.of(&key).lock();
        let Some(known) = pairs.get(&key, now) else { return false };
        let same = bool::from(known.ct_eq(&self.tag(id, source, secret)));
        if !same {
            pairs.remove(&key);
        }
        same
    }

    /// The present era: take it before a secret is checked.
    #[must_use]
    pub fn era(&self) -> Era {
        Era(self.era.load(Ordering::SeqCst))
    }

    /// Remembers a pair that has just succeeded, for that long, unless
    /// everything has been forgotten since the check began.
    pub fn remember(&self, id: &ClientId, source: IpNet, secret: &[u8], now: Timestamp, lasting: Duration, era: Era) {
        if lasting.is_zero() {
            return;
        }
        let key = (id.clone(), source);
        let tag = self.tag(id, source, secret);
        let mut pairs = self.pairs.of(&key).lock();
        // Under the lock that `forget_all` takes after it has begun the next era.
        if era == self.era() {
            pairs.insert(key, tag, now.after(lasting), now);
        }
    }

    /// Forgets the pair of that id and source.
    pub fn forget(&self, id: &ClientId, source: IpNet) {
        let key = (id.clone(), source);
        self.pairs.of(&key).lock().remove(&key);
    }

    /// Forgets every pair: the credentials have changed.
    pub fn forget_all(&self) {
        self.era.fetch_add(1, Ordering::SeqCst);
        for shard in self.pairs.iter() {
            shard.lock().clear();
        }
    }

    fn tag(&self, id: &ClientId, source: IpNet, secret: &[u8]) -> Tag {
        let mut mac = self.keyed.clone();
        let id = id.as_str().as_bytes();
        // The length keeps id and secret from running into each other.
        mac.update(&(id.len() as u64).to_le_bytes());
        mac.update(id);
        mac.update(source.to_string().as_bytes());
        mac.update(b"\0");
        mac.update(secret);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn pairs() -> (VerifiedPairs, ClientId, IpNet) {
        (VerifiedPairs::new([7; 32]), ClientId::new("abc").unwrap(), "203.0.113.7/32".parse().unwrap())
    }

    const FIVE_MINUTES: Duration = Duration::from_secs(300);

    #[test]
    fn rule_8_a_pair_is_recognised_from_its_source_for_its_time() {
        let (pairs, id, source) = pairs();
        pairs.remember(&id, source, b"secret", at(0), FIVE_MINUTES, pairs.era());
        assert!(pairs.recognises(&id, source, b"secret", at(299)));
        assert!(!pairs.recognises(&id, "203.0.113.8/32".parse().unwrap(), b"secret", at(299)));
        assert!(!pairs.recognises(&id, source, b"secret", at(300)), "using it doesn't renew it");
    }

    #[test]
    fn rule_8_another_secret_drops_the_pair() {
        let (pairs, id, source) = pairs();
        pairs.remember(&id, source, b"secret", at(0), FIVE_MINUTES, pairs.era());
        assert!(!pairs.recognises(&id, source, b"guess", at(1)));
        assert!(!pairs.recognises(&id, source, b"secret", at(1)));
    }

    #[test]
    fn rule_8_changed_credentials_forget_all_even_what_was_being_checked() {
        let (pairs, id, source) = pairs();
        let era = pairs.era();
        pairs.remember(&id, source, b"secret", at(0), FIVE_MINUTES, era);
        pairs.forget_all();
        assert!(!pairs.recognises(&id, source, b"secret", at(1)));
        pairs.remember(&id, source, b"secret", at(1), FIVE_MINUTES, era);
        assert!(!pairs.recognises(&id, source, b"secret", at(1)), "checked against the old credentials");
    }

    #[test]
    fn zero_turns_it_off() {
        let (pairs, id, source) = pairs();
        pairs.remember(&id, source, b"secret", at(0), Duration::ZERO, pairs.era());
        assert!(!pairs.recognises(&id, source, b"secret", at(0)));
    }
}
