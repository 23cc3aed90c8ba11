//! Bans a source that fails with many different client auth ids within a time window:
//! one guess for each of a list of accounts, where counting per account sees nothing.
//!
//! - What counts is how many different ids a source has failed with: `max_ids` within
//!   `findtime` ban it. How often each is tried doesn't matter. The window slides by the
//!   last failure of each id: a failure at t and one at exactly t + `findtime` are within
//!   it, one a millisecond later isn't.
//! - A success takes its own id off the list, whenever it comes: who mistypes and then
//!   gets in lives there. It takes off no other id, so an account of one's own is no help.
//! - Failures without an id, such as those of bearer tokens, aren't looked at.
//! - Ids count whether they exist or not: what is on a sprayer's list isn't known either.
//! - A ban takes the list with it.
//!
//! Ids are kept as hashes of 64 bits, so that no id is in the state and 60 of them fit.
//! Who constructs two ids with one hash has them counted as one, but can't choose which
//! accounts there are; nobody is banned for another's hash.

use portcullis_sdk::ban::*;

/// Keeps the state of one source below 1 KiB: 4 bytes, and 16 for each id.
const IDS_MAX: u32 = 60;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Different client auth ids failed with within `findtime` that ban the source, at most 60; 0 turns the policy off.
    #[setting(default = 5, check = within_bound)]
    pub max_ids: u32,
    /// Seconds between the failures of the first and the last of them at most, fractions count.
    #[setting(default = 3600.0)]
    pub findtime: Seconds,
    /// Seconds that a ban lasts, fractions count; 0 turns the policy off.
    #[setting(default = 86400.0)]
    pub ban_time: Seconds,
}

fn within_bound(ids: &u32) -> Result<(), String> {
    if *ids <= IDS_MAX { Ok(()) } else { Err(format!("at most {IDS_MAX}")) }
}

impl Settings {
    fn off(&self) -> bool {
        self.max_ids == 0 || self.ban_time.is_zero()
    }
}

/// What is kept for a source.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "ids-in-window/1")]
pub struct Tried {
    /// Each id once, the one that failed last at the end; always fewer than would ban.
    pub ids: Vec<Id>,
}

/// An id that failed.
#[derive(Clone, Debug, PartialEq, State)]
#[state(part)]
pub struct Id {
    /// Of its bytes.
    pub hash: u64,
    /// The last time, in milliseconds since the Unix epoch.
    pub failed_ms: u64,
}

/// FNV-1a of 64 bits.
fn hash(id: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    id.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, tried: &mut Option<Tried>) -> Verdict {
    if settings.off() {
        *tried = None;
        return pass();
    }
    let Some(id) = &attempt.client_auth_id else { return pass() };
    let hash = hash(id);
    if attempt.succeeded() {
        return forgive(settings, attempt.at_ms, hash, tried);
    }
    let findtime_ms = settings.findtime.as_ms();
    let mut ids = tried.take().map_or_else(Vec::new, |kept| kept.ids);
    ids.retain(|other| other.hash != hash && attempt.at_ms.saturating_sub(other.failed_ms) <= findtime_ms);
    ids.push(Id { hash, failed_ms: attempt.at_ms });
    let limit = settings.max_ids;
    if u32::try_from(ids.len()).is_ok_and(|count| count < limit) {
        return keep(settings, attempt.at_ms, ids, tried);
    }
    let findtime = settings.findtime;
    ban(settings.ban_time).because("spraying", format!("Failed with {limit} ids within {findtime}."))
}

/// The id got in: it isn't one of those that are only tried.
fn forgive(settings: &Settings, at_ms: u64, hash: u64, tried: &mut Option<Tried>) -> Verdict {
    let Some(Tried { ids }) = tried else { return pass() };
    let before = ids.len();
    ids.retain(|other| other.hash != hash);
    if ids.len() == before {
        return pass();
    }
    let ids = std::mem::take(ids);
    keep(settings, at_ms, ids, tried)
}

/// For as long as the youngest of them counts.
fn keep(settings: &Settings, at_ms: u64, ids: Vec<Id>, tried: &mut Option<Tried>) -> Verdict {
    let Some(Id { failed_ms, .. }) = ids.last() else {
        *tried = None;
        return pass();
    };
    // A failure at exactly `findtime` must still find it.
    let end_ms = failed_ms.saturating_add(settings.findtime.as_ms()).saturating_add(1);
    *tried = Some(Tried { ids });
    pass().keep_for(Duration::from_millis(end_ms.saturating_sub(at_ms)))
}

export!(name = "spraying", judge);

#[cfg(test)]
mod tests;
