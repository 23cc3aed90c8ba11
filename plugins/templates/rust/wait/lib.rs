//! {{doc}}

use portcullis_sdk::wait::*;

/// More doublings than these are past any wait.
const DOUBLINGS_MAX: u8 = 32;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Seconds to wait after the first failed login, fractions count; 0 turns the policy off.
    #[setting(default = 1.0)]
    pub first_wait: Seconds,
    /// Seconds to wait at most, fractions count.
    #[setting(default = 60.0)]
    pub longest_wait: Seconds,
    /// Seconds after the last failed login when it starts again with `first_wait`, fractions count.
    #[setting(default = 900.0)]
    pub forget_after: Seconds,
}

/// What the host keeps for a client auth id. Whoever changes the fields changes the format's name, too.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "{{name}}/1")]
pub struct Failures {
    /// Since the last success.
    pub count: u8,
}

/// Judges one attempt. What is left in `failures` is kept until the id's next one.
pub fn judge(settings: &Settings, attempt: &Attempt, failures: &mut Option<Failures>) -> Verdict {
    if attempt.succeeded() || settings.first_wait.is_zero() {
        *failures = None;
        return pass();
    }
    let before = failures.take().map_or(0, |kept| kept.count).min(DOUBLINGS_MAX);
    let doubled = settings.first_wait.as_ms().saturating_mul(1 << before);
    let time = Duration::from_millis(doubled.min(settings.longest_wait.as_ms()));
    let count = before + 1;
    *failures = Some(Failures { count });
    wait(time).because("failed-login", format!("Failed login number {count}.")).keep_for(settings.forget_after)
}

export!(name = "{{name}}", judge);

#[cfg(test)]
mod tests;
