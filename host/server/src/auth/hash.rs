//! One stored secret: plain, bcrypt or argon2id, with bounds on what checking
//! it may cost.
//!
//! It must not know ids or files.

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use subtle::ConstantTimeEq as _;

use super::ProcessKey;

/// Dearest bcrypt cost that is taken: some four seconds of a core.
const BCRYPT_COST_MAX: u32 = 16;
/// Most memory that one argon2 check may take.
const ARGON2_MEMORY_KIB_MAX: u32 = 256 << 10;
/// Most passes over that memory, together in KiB: some seconds of a core.
const ARGON2_WORK_KIB_MAX: u64 = 4 << 20;
/// Most lanes; they are computed one after the other.
const ARGON2_LANES_MAX: u32 = 64;

/// A secret as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Stored {
    /// An HMAC of a plain secret, under the process's key.
    Plain([u8; 32]),
    /// A bcrypt hash.
    Bcrypt(String),
    /// An argon2id hash.
    Argon2(String),
}

/// Why a stored secret isn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// `$apr1$` or `$1$`.
    #[error("an MD5 hash ($apr1$ or $1$), which is broken; set the password anew with htpasswd -B")]
    Md5,
    /// `{SHA}` or `{SSHA}`.
    #[error("a SHA-1 hash ({{SHA}}), which is broken; set the password anew with htpasswd -B")]
    Sha1,
    /// `$5$` or `$6$`.
    #[error("a hash of crypt ($5$ or $6$), which isn't supported; set the password anew with htpasswd -B")]
    ShaCrypt,
    /// `$2x$` or `$2$`.
    #[error("a bcrypt hash of a broken version; $2a$, $2b$ and $2y$ are taken; set the password anew with htpasswd -B")]
    BcryptVersion,
    /// argon2i or argon2d.
    #[error("an argon2 hash of another variant; only argon2id is taken")]
    Argon2Variant,
    /// No hash at all.
    #[error("a plain password or crypt hash; use htpasswd -B, or a JSON file for plain passwords")]
    NoHash,
    /// A hash that can't be read.
    #[error("a malformed hash")]
    Malformed,
    /// A hash that takes too long to check.
    #[error("a hash too dear to check: at most bcrypt cost 16, argon2 m=262144 and m×t=4194304")]
    TooDear,
}

impl Stored {
    /// A plain secret; only its HMAC is kept.
    pub(super) fn plain(key: &ProcessKey, secret: &[u8]) -> Self {
        Self::Plain(key.mac("secret", &[secret]))
    }

    /// A hash as htpasswd and argon2 write it.
    pub(super) fn hash(text: &str) -> Result<Self, HashError> {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if starts(&["$2a$", "$2b$", "$2y$"]) {
            let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Malformed)?;
            if !(4..=BCRYPT_COST_MAX).contains(&parts.get_cost()) {
                return Err(HashError::TooDear);
            }
            return Ok(Self::Bcrypt(text.to_owned()));
        }
        if starts(&["$argon2id$"]) {
            return argon2_bounds(text).map(|_| Self::Argon2(text.to_owned()));
        }
        Err(if starts(&["$argon2"]) {
            HashError::Argon2Variant
        } else if starts(&["$2$", "$2x$"]) {
            HashError::BcryptVersion
        } else if starts(&["$apr1$", "$1$"]) {
            HashError::Md5
        } else if starts(&["{SHA}", "{SSHA}"]) {
            HashError::Sha1
        } else if starts(&["$5$", "$6$"]) {
            HashError::ShaCrypt
        } else {
            HashError::NoHash
        })
    }

    /// Whether a text looks as if a hash was meant.
    pub(super) fn looks_hashed(text: &str) -> bool {
        !matches!(Self::hash(text), Err(HashError::NoHash))
    }

    /// What one check costs, roughly in nanoseconds of a core; zero for plain ones.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Bcrypt(hash) => {
                let cost = hash.parse::<bcrypt::HashParts>().map_or(0, |parts| parts.get_cost());
                55_000 << cost.min(BCRYPT_COST_MAX)
            }
            Self::Argon2(hash) => argon2_bounds(hash).unwrap_or(0) * 650,
        }
    }

    /// Whether that is the secret, in a time that doesn't depend on how wrong it is.
    pub(super) fn matches(&self, key: &ProcessKey, secret: &[u8]) -> bool {
        match self {
            Self::Plain(kept) => kept.ct_eq(&key.mac("secret", &[secret])).into(),
            // As htpasswd and Apache do, what is beyond 72 bytes doesn't count.
            Self::Bcrypt(hash) => bcrypt::verify(secret, hash).unwrap_or(false),
            Self::Argon2(hash) => {
                let parsed = PasswordHash::new(hash);
                parsed.is_ok_and(|parsed| Argon2::default().verify_password(secret, &parsed).is_ok())
            }
        }
    }
}

/// The work of checking an argon2id hash, in KiB times passes.
fn argon2_bounds(text: &str) -> Result<u64, HashError> {
    let hash = PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
    let params = argon2::Params::try_from(&hash).map_err(|_| HashError::Malformed)?;
    if hash.salt.is_none() || hash.hash.is_none() || hash.version.is_some_and(|version| version != 0x13) {
        return Err(HashError::Malformed);
    }
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    let bounded =
        params.m_cost() <= ARGON2_MEMORY_KIB_MAX && params.p_cost() <= ARGON2_LANES_MAX && work <= ARGON2_WORK_KIB_MAX;
    bounded.then_some(work).ok_or(HashError::TooDear)
}
