//! A keyed hash of id and secret: tells policies that the same wrong secret
//! came again, without telling them the secret.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Random bytes of this process; with its end they are gone.
#[derive(Clone)]
pub struct ProcessKey([u8; 32]);

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes from the operating system: {0}")]
pub struct KeyError(getrandom::Error);

impl std::fmt::Debug for ProcessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcessKey(…)")
    }
}

impl ProcessKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError`] without randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(KeyError)?;
        Ok(Self(bytes))
    }

    /// A key of given bytes, for tests that need the same one twice.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself, for a gate's own hashes.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The HMAC-SHA-256 of parts, told apart from one another and by purpose.
    pub(super) fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        for part in [purpose.as_bytes()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Makes fingerprints under one key.
#[derive(Clone, Debug)]
pub struct Fingerprints(ProcessKey);

impl Fingerprints {
    /// Under that key.
    #[must_use]
    pub const fn new(key: ProcessKey) -> Self {
        Self(key)
    }

    /// The fingerprint of a secret presented for an id.
    #[must_use]
    pub fn of(&self, id: &str, secret: &[u8]) -> u32 {
        let [a, b, c, d, ..] = self.0.mac("fingerprint", &[id.as_bytes(), secret]);
        u32::from_be_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differs_by_id_secret_and_key_and_by_nothing_else() {
        let one = Fingerprints::new(ProcessKey::from_bytes([1; 32]));
        let two = Fingerprints::new(ProcessKey::from_bytes([2; 32]));
        assert_eq!(one.of("a", b"secret"), one.of("a", b"secret"));
        assert_ne!(one.of("a", b"secret"), one.of("b", b"secret"));
        assert_ne!(one.of("a", b"bc"), one.of("ab", b"c"));
        assert_ne!(one.of("a", b"secret"), two.of("a", b"secret"));
    }
}
