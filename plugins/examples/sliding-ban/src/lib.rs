//! Bans a source after too many failed logins within a time window; a success changes
//! nothing.
//!
//! - Each failure counts, whoever it is for. `max_failed_login` of them within
//!   `findtime` ban the source; the window slides: a failure at t and one at exactly
//!   t + `findtime` both count, one a millisecond later doesn't (as rule 30 has it for
//!   scanners).
//! - A success doesn't set the count back. So nobody guesses for ever by logging in with
//!   an account of their own now and then, which the bundle's `ban` lets them.
//! - A failure is forgotten `findtime` after it, so a few mistakes a day never add up.
//! - A ban takes all failures with it: the count starts again.

use portcullis_sdk::ban::*;

/// Keeps the state of one source below 1 KiB: 4 bytes, and 8 for each failure.
const LIMIT_MAX: u32 = 100;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Failed logins within `findtime` that ban the source, at most 100; 0 turns the policy off.
    #[setting(default = 5, check = within_bound)]
    pub max_failed_login: u32,
    /// Seconds between the first and the last of them at most, fractions count.
    #[setting(default = 600.0)]
    pub findtime: Seconds,
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

/// What is kept for a source.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "failures-in-window/1")]
pub struct Failures {
    /// When they were, in milliseconds since the Unix epoch, oldest first; always fewer
    /// than would ban.
    pub at_ms: Vec<u64>,
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, failures: &mut Option<Failures>) -> Verdict {
    if settings.off() {
        *failures = None;
        return pass();
    }
    if attempt.succeeded() {
        return pass();
    }
    let findtime_ms = settings.findtime.as_ms();
    let mut at_ms = failures.take().map_or_else(Vec::new, |kept| kept.at_ms);
    at_ms.retain(|failure| attempt.at_ms.saturating_sub(*failure) <= findtime_ms);
    at_ms.push(attempt.at_ms);
    let limit = settings.max_failed_login;
    if u32::try_from(at_ms.len()).is_ok_and(|count| count < limit) {
        *failures = Some(Failures { at_ms });
        // A failure at exactly `findtime` must still find this one.
        return pass().keep_for(settings.findtime.duration() + Duration::from_millis(1));
    }
    let findtime = settings.findtime;
    ban(settings.ban_time).because("sliding-ban", format!("{limit} failed logins within {findtime}."))
}

export!(name = "sliding-ban", judge);

#[cfg(test)]
mod tests;
