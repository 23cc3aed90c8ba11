//! Makes a client auth id wait at one source, longer with each failed login.
//!
//! It goes by the pair: configure it with `subject = "pair"`. Then what a stranger does
//! elsewhere never makes the owner of an id wait, as it does where a wait goes by the id.
//!
//! - The first failure of a pair makes it wait for `first_wait`, each further one `factor`
//!   times as long as the one before, but never longer than `longest_wait`.
//! - A success of the pair starts it anew, and so does time: a failure at exactly
//!   `forget_after` since the end of the last wait is still a further one, a millisecond
//!   later it is the first again.
//! - What is refused during a wait isn't counted and makes nothing longer.
//! - Attempts without an id go by their source alone.
//!
//! Where others share the owner's source, they can make the owner wait there, for
//! `longest_wait` at most: keep that short.

use portcullis_sdk::wait::*;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
#[settings(validate = in_order)]
pub struct Settings {
    /// Seconds that a pair waits after its first failed login, fractions count; 0 turns the policy off.
    #[setting(default = 1.0)]
    pub first_wait: Seconds,
    /// How many times as long as the one before each further wait lasts, 1.1 to 100.
    #[setting(default = 2.0, check = growth)]
    pub factor: f64,
    /// Seconds that a wait lasts at most, fractions count.
    #[setting(default = 300.0)]
    pub longest_wait: Seconds,
    /// Seconds without a failed login since the end of the last wait that start anew.
    #[setting(default = 3600.0)]
    pub forget_after: Seconds,
}

fn growth(factor: &f64) -> Result<(), String> {
    if (1.1..=100.0).contains(factor) { Ok(()) } else { Err("a number from 1.1 to 100".to_owned()) }
}

fn in_order(settings: &Settings, problems: &mut Problems) {
    let (first, longest) = (settings.first_wait, settings.longest_wait);
    if longest < first {
        let message = format!("found {longest}, expected at least first_wait, which is {first}");
        problems.add("longest_wait", message);
    }
}

impl Settings {
    /// How long the wait after so many others is; and how many of those matter, since
    /// more make it no longer. `factor` is large enough to get there soon.
    fn wait_after(&self, waits: u32) -> (u32, Seconds) {
        let longest = self.longest_wait.duration().as_secs_f64();
        let mut time = self.first_wait.duration().as_secs_f64();
        let mut steps = 0;
        while steps < waits && time < longest {
            time *= self.factor;
            steps += 1;
        }
        (steps, Seconds::from_secs(time.min(longest)).unwrap_or(self.longest_wait))
    }
}

/// What is kept for a pair.
#[derive(Clone, Debug, PartialEq, State)]
#[state(format = "growing-waits/1")]
pub struct Waits {
    /// Failures since the last success, as far as they matter.
    pub count: u32,
    /// When the last wait ends, in milliseconds since the Unix epoch.
    pub end_ms: u64,
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, waits: &mut Option<Waits>) -> Verdict {
    let before = waits.take();
    if attempt.succeeded() || settings.first_wait.is_zero() {
        return pass();
    }
    let forget_ms = settings.forget_after.as_ms();
    let before = before.filter(|last| attempt.at_ms.saturating_sub(last.end_ms) <= forget_ms);
    let (steps, time) = settings.wait_after(before.map_or(0, |last| last.count));
    let count = steps.saturating_add(1);
    *waits = Some(Waits { count, end_ms: attempt.at_ms.saturating_add(time.as_ms()) });
    // A failure at exactly `forget_after` must still find it.
    let lasting = time.as_ms().saturating_add(forget_ms).saturating_add(1);
    wait(time)
        .because("pair-wait", format!("Failed login attempt, step {count}."))
        .keep_for(Duration::from_millis(lasting))
}

export!(name = "pair-wait", judge);

#[cfg(test)]
mod tests;
