//! {{doc}}

use portcullis_sdk::ban::*;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Failed logins in a row that ban the source, at least 1.
    #[setting(default = 5, check = at_least_one)]
    pub max_failed_login: u32,
    /// Seconds that a ban lasts, fractions count.
    #[setting(default = 3600.0)]
    pub ban_time: Seconds,
    /// Seconds after the last failed login when the count is forgotten, fractions count.
    #[setting(default = 86400.0)]
    pub forget_after: Seconds,
}

fn at_least_one(count: &u32) -> Result<(), String> {
    if *count > 0 { Ok(()) } else { Err("at least 1".to_owned()) }
}

/// What the host keeps for a source. Whoever changes the fields changes the format's name, too.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "{{name}}/1")]
pub struct Failures {
    /// Since the last success or ban.
    pub count: u32,
}

/// Judges one attempt. What is left in `failures` is kept until the source's next one.
pub fn judge(settings: &Settings, attempt: &Attempt, failures: &mut Option<Failures>) -> Verdict {
    if attempt.succeeded() {
        *failures = None;
        return pass();
    }
    let count = failures.take().map_or(0, |kept| kept.count).saturating_add(1);
    if count < settings.max_failed_login {
        *failures = Some(Failures { count });
        return pass().keep_for(settings.forget_after);
    }
    ban(settings.ban_time).because("too-many-failures", format!("{count} failed logins in a row."))
}

export!(name = "{{name}}", judge);

#[cfg(test)]
mod tests;
