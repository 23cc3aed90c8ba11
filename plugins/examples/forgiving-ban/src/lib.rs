//! Bans a source after too many different wrong secrets in a row; the same one again
//! doesn't count.
//!
//! As the bundle's `ban`, with one difference: a failure counts only if its id and secret
//! haven't failed from that source since the last success or ban. A machine that goes on
//! with an old secret behind an address that others share counts once and bans nobody;
//! who guesses has to change the secret or the id, and each of those counts.
//!
//! - `max_failed_login` failures that count, however far apart and whatever repetitions
//!   lie between them, ban the source. A success of anyone at the source sets the count
//!   back, and after a ban it starts again.
//! - Same is what has the same secret fingerprint. A failure without one always counts.
//! - The host's key for fingerprints is new with each start of it: after a restart that
//!   keeps the counts, the same wrong secret counts once more.
//!
//! A repetition tells nobody anything, but it does cost the host a check of the secret:
//! keep a `wait` policy beside it.

use portcullis_sdk::ban::*;

/// Keeps the state of one source below 1 KiB: 8 bytes, and 4 for each fingerprint.
const LIMIT_MAX: u32 = 200;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Failed logins in a row, the same wrong secret for the same id counted once, that ban the source, at most 200; 0 turns the policy off.
    #[setting(default = 5, check = within_bound)]
    pub max_failed_login: u32,
    /// Seconds that a ban lasts, fractions count; 0 turns the policy off.
    #[setting(default = 3600.0)]
    pub ban_time: Seconds,
}

fn within_bound(limit: &u32) -> Result<(), String> {
    if *limit <= LIMIT_MAX { Ok(()) } else { Err(format!("at most {LIMIT_MAX}")) }
}

impl Settings {
    fn off(&self) -> bool {
        self.max_failed_login == 0 || self.ban_time.is_zero()
    }
}

/// What is kept for a source: what counts since the last success or ban.
#[derive(Clone, Debug, Default, PartialEq, State)]
#[state(format = "different-failures/1")]
pub struct Failures {
    /// Failures without a fingerprint.
    pub unmarked: u32,
    /// The fingerprints of the others, each once.
    pub fingerprints: Vec<u32>,
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, failures: &mut Option<Failures>) -> Verdict {
    if attempt.succeeded() || settings.off() {
        *failures = None;
        return pass();
    }
    let mut now = failures.take().unwrap_or_default();
    match attempt.secret_fingerprint {
        Some(again) if now.fingerprints.contains(&again) => {
            *failures = Some(now);
            return pass();
        }
        Some(new) => now.fingerprints.push(new),
        None => now.unmarked = now.unmarked.saturating_add(1),
    }
    let different = u32::try_from(now.fingerprints.len()).unwrap_or(u32::MAX);
    let limit = settings.max_failed_login;
    if now.unmarked.saturating_add(different) < limit {
        *failures = Some(now);
        return pass();
    }
    ban(settings.ban_time).because("forgiving-ban", format!("Maximum of {limit} different login attempts reached."))
}

export!(name = "forgiving-ban", judge);

#[cfg(test)]
mod tests;
