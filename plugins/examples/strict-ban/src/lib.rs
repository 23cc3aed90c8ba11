//! Bans a source on its second failed login, whether or not it succeeded in between:
//! for services whose users paste their secrets and never mistype them.

use portcullis_sdk::ban::*;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Failed logins, in any order, that ban the source; at least 1.
    #[setting(default = 2, check = at_least_one)]
    pub limit: u32,
    /// Seconds that a ban lasts.
    #[setting(default = 86400.0)]
    pub ban_time: Seconds,
    /// Seconds after the last failed login when a source is forgotten.
    #[setting(default = 604800.0)]
    pub memory: Seconds,
}

fn at_least_one(limit: &u32) -> Result<(), String> {
    if *limit > 0 { Ok(()) } else { Err("at least 1".to_owned()) }
}

/// What is kept for a source.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "failures-ever/1")]
pub struct Failures {
    /// Since the last ban.
    pub count: u32,
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, failures: &mut Option<Failures>) -> Verdict {
    if attempt.succeeded() {
        return pass();
    }
    let count = failures.take().map_or(0, |kept| kept.count).saturating_add(1);
    if count < settings.limit {
        *failures = Some(Failures { count });
        return pass().keep_for(settings.memory);
    }
    ban(settings.ban_time).because("strict-ban", format!("Failed login number {count}."))
}

export!(name = "strict-ban", judge);

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_sdk::testing::{self, attempt, defaults};

    #[test]
    fn the_second_failure_bans_though_a_success_came_between() {
        let mut host = testing::ban(judge, defaults());
        assert!(host.judge(attempt("203.0.113.7").failed()).is_pass());
        assert!(host.judge(attempt("203.0.113.7").succeeded()).is_pass());
        let verdict = host.judge(attempt("203.0.113.7").failed());
        assert_eq!(verdict.order().unwrap().reason.text, "Failed login number 2.");
    }

    #[test]
    fn a_week_after_the_failure_it_is_forgotten() {
        let mut host = testing::ban(judge, defaults());
        assert!(host.judge(attempt("203.0.113.7").failed()).is_pass());
        assert!(host.judge(attempt("203.0.113.7").failed().at_secs(604_800)).is_pass());
    }
}
