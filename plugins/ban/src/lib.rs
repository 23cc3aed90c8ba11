//! Bans a source after too many failed logins in a row, however far apart they are.
//! A success sets the count back, and after a ban it starts again.

use portcullis_sdk::ban::*;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Failed logins in a row that ban the source; 0 turns the policy off.
    #[setting(default = 5)]
    pub max_failed_login: u32,
    /// Seconds that a ban lasts, fractions count; 0 turns the policy off.
    #[setting(default = 3600.0)]
    pub ban_time: Seconds,
}

impl Settings {
    fn off(&self) -> bool {
        self.max_failed_login == 0 || self.ban_time.is_zero()
    }
}

/// What is kept for a source.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "failures-in-a-row/1")]
pub struct Failures {
    /// Since the last success or ban.
    pub count: u32,
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, failures: &mut Option<Failures>) -> Verdict {
    let before = failures.take().map_or(0, |kept| kept.count);
    if attempt.succeeded() || settings.off() {
        return pass();
    }
    let count = before.saturating_add(1);
    let limit = settings.max_failed_login;
    if count < limit {
        *failures = Some(Failures { count });
        return pass();
    }
    ban(settings.ban_time).because("max-failed-login", format!("Maximum of {limit} login attempts reached."))
}

export!(name = "ban", judge);

#[cfg(test)]
mod tests;
