//! Makes a client auth id wait after each failed login, as the RPort server does.
//!
//! It keeps nothing: every failure orders the same wait, and the host sees to it that
//! a success doesn't shorten a running one.

use portcullis_sdk::wait::*;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Seconds that a client auth id waits after a failed login, fractions count; 0 turns the policy off.
    #[setting(default = 2.0)]
    pub client_login_wait: Seconds,
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt) -> Verdict {
    if attempt.succeeded() || settings.client_login_wait.is_zero() {
        return pass();
    }
    wait(settings.client_login_wait).because("failed-login", "Failed login attempt.")
}

export!(name = "wait", judge);

#[cfg(test)]
mod tests;
