//! What a policy must not do: it counts in a variable of its own instead of in the
//! state that the host keeps. So its verdicts depend on which instance is asked, and a
//! check of purity, which asks a fresh instance each time, must refuse it.

use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_sdk::ban::*;

static FAILURES: AtomicU32 = AtomicU32::new(0);

/// Judges one attempt: every third failure that this instance sees is banned.
pub fn judge(_: &NoSettings, attempt: &Attempt) -> Verdict {
    if attempt.failed() && (FAILURES.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(3) {
        return ban(Duration::from_secs(60)).because("hidden-state", "I have seen three failures.");
    }
    pass()
}

export!(name = "hidden-state", judge);

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_sdk::testing::{self, attempt};

    #[test]
    fn its_verdict_depends_on_what_the_host_cannot_see() {
        let mut host = testing::ban(judge, NoSettings);
        let passes: Vec<bool> = (0..3).map(|_| host.judge(attempt("203.0.113.7").failed()).is_pass()).collect();
        assert_eq!(passes, [true, true, false]);
        assert_eq!(host.state("203.0.113.7"), None);
    }
}
