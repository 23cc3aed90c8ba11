//! Bans a source for ever longer when it comes again, and forgets that step by step.
//!
//! - `max_failed_login` failures in a row, however far apart, ban the source. A success
//!   sets that count back, and after a ban it starts again: all as the bundle's `ban`.
//! - Of the bans that are remembered, the first lasts `first_ban_time`, and each further
//!   one `factor` times as long, but never longer than `longest_ban_time`.
//! - One remembered ban is forgotten for each whole `forget_after` since the last ban's
//!   end: at exactly its end + `forget_after` one is, a millisecond earlier none is. So
//!   after one `forget_after` the next ban is as long as the last one was, and after two
//!   it is shorter.
//! - Nothing but the next ban begins this time anew: not failures below the limit, not
//!   successes, not what is refused. Who shares an address with others can't keep their
//!   bans from being forgotten without being banned, and can't hasten it by logging in.
//! - No more bans are remembered than it takes to reach `longest_ban_time`, so that a
//!   year of bans isn't remembered for a year longer than a week of them.
//! - A ban that is ordered while the last one should still run (its failures were under
//!   way when it began, or the operator's `max_ban` is shorter) repeats its length: a
//!   burst at one instant counts once.
//!
//! Time is counted from what is ordered. Where `max_ban` cuts bans, set
//! `longest_ban_time` to it.

use portcullis_sdk::ban::*;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
#[settings(validate = in_order)]
pub struct Settings {
    /// Failed logins in a row that ban the source; 0 turns the policy off.
    #[setting(default = 5)]
    pub max_failed_login: u32,
    /// Seconds that the first ban lasts, fractions count; 0 turns the policy off.
    #[setting(default = 600.0)]
    pub first_ban_time: Seconds,
    /// How many times as long as the one before each further ban lasts, 1.1 to 100.
    #[setting(default = 2.0, check = growth)]
    pub factor: f64,
    /// Seconds that a ban lasts at most, fractions count.
    #[setting(default = 604800.0)]
    pub longest_ban_time: Seconds,
    /// Seconds since the end of the last ban that forget one ban, and again as many the next.
    #[setting(default = 86400.0, check = some_time)]
    pub forget_after: Seconds,
}

fn growth(factor: &f64) -> Result<(), String> {
    if (1.1..=100.0).contains(factor) { Ok(()) } else { Err("a number from 1.1 to 100".to_owned()) }
}

fn some_time(time: &Seconds) -> Result<(), String> {
    if time.is_zero() { Err("more than 0 seconds".to_owned()) } else { Ok(()) }
}

fn in_order(settings: &Settings, problems: &mut Problems) {
    let (first, longest) = (settings.first_ban_time, settings.longest_ban_time);
    if longest < first {
        let message = format!("found {longest}, expected at least first_ban_time, which is {first}");
        problems.add("longest_ban_time", message);
    }
}

impl Settings {
    fn off(&self) -> bool {
        self.max_failed_login == 0 || self.first_ban_time.is_zero()
    }

    /// How long the ban after so many others lasts; and how many of those matter, since
    /// more make it no longer. `factor` is large enough to get there soon.
    fn ban_after(&self, bans: u32) -> (u32, Seconds) {
        let longest = self.longest_ban_time.duration().as_secs_f64();
        let mut time = self.first_ban_time.duration().as_secs_f64();
        let mut steps = 0;
        while steps < bans && time < longest {
            time *= self.factor;
            steps += 1;
        }
        (steps, Seconds::from_secs(time.min(longest)).unwrap_or(self.longest_ban_time))
    }
}

/// What is kept for a source.
#[derive(Clone, Debug, Default, PartialEq, State)]
#[state(format = "repeated-bans/1")]
pub struct History {
    /// Failures since the last success or ban.
    pub failures: u32,
    /// Bans remembered when the last one began, itself included.
    pub bans: u32,
    /// When the last ban ends, in milliseconds since the Unix epoch.
    pub ban_end_ms: u64,
}

impl History {
    /// Bans that aren't forgotten yet.
    fn remembered(&self, settings: &Settings, at_ms: u64) -> u32 {
        let forgotten = at_ms.saturating_sub(self.ban_end_ms) / settings.forget_after.as_ms();
        self.bans.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    /// From when on nothing is left of the bans.
    fn forgotten_ms(&self, settings: &Settings) -> u64 {
        let lasting = settings.forget_after.as_ms().saturating_mul(self.bans.into());
        self.ban_end_ms.saturating_add(lasting)
    }
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, history: &mut Option<History>) -> Verdict {
    if settings.off() {
        *history = None;
        return pass();
    }
    let at_ms = attempt.at_ms;
    let mut now = history.take().unwrap_or_default();
    let bans = now.remembered(settings, at_ms);
    if bans == 0 {
        // Of forgotten bans nothing is left, not even when they were.
        now = History { failures: now.failures, ..History::default() };
    }
    if attempt.succeeded() {
        now.failures = 0;
        return if bans == 0 { pass() } else { keep_until_forgotten(settings, at_ms, pass(), now, history) };
    }
    now.failures = now.failures.saturating_add(1);
    if now.failures < settings.max_failed_login {
        // As long as the bundle's ban keeps its count: until the host needs the room.
        *history = Some(now);
        return pass();
    }
    let still_running = at_ms < now.ban_end_ms;
    let (steps, time) = settings.ban_after(if still_running { bans.saturating_sub(1) } else { bans });
    let number = steps.saturating_add(1);
    now = History { failures: 0, bans: number, ban_end_ms: at_ms.saturating_add(time.as_ms()) };
    let limit = settings.max_failed_login;
    let text = format!("Maximum of {limit} login attempts reached, step {number}.");
    keep_until_forgotten(settings, at_ms, ban(time).because("doubling-ban", text), now, history)
}

fn keep_until_forgotten(
    settings: &Settings,
    at_ms: u64,
    verdict: Verdict,
    now: History,
    history: &mut Option<History>,
) -> Verdict {
    let left = now.forgotten_ms(settings).saturating_sub(at_ms);
    *history = Some(now);
    verdict.keep_for(Duration::from_millis(left))
}

export!(name = "doubling-ban", judge);

#[cfg(test)]
mod tests;
