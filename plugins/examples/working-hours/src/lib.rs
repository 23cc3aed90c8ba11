//! Bans a source after too many failed logins in a row, and after fewer outside working
//! hours, when nobody is expected.
//!
//! - Any failures in a row, however far apart, count towards `max_failed_login`; those that
//!   came outside working hours count towards `max_failed_login_outside`, too. Who reaches
//!   either limit is banned for `ban_time`; the second one only by a failure outside. So
//!   three mistakes of the afternoon don't make the one after six a ban.
//! - A success sets both counts back, and after a ban both start again.
//! - Working hours begin at `from`, at its very first millisecond, and end right before
//!   `to`: with 08:00 and 18:00, 18:00:00.000 is outside.
//! - Where `from` is later than `to`, they go across midnight and belong to the day on
//!   which they begin: 22:00 to 06:00 on `fri` ends on Saturday at six.
//! - Times are local by a fixed `utc_offset_minutes`. A plugin has no clock and no time
//!   zones, so daylight saving time isn't known: change the offset twice a year, or leave
//!   an hour's room at either end.

use portcullis_sdk::ban::*;
use portcullis_sdk::{FromSetting, SettingType, SettingValue};

const MINUTES_PER_DAY: i64 = 24 * 60;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
#[settings(validate = together)]
pub struct Settings {
    /// Failed logins in a row that ban the source at any time; 0 sets no such limit.
    #[setting(default = 5)]
    pub max_failed_login: u32,
    /// Failed logins outside working hours, in a row, that ban the source; 0 sets no such limit.
    #[setting(default = 2)]
    pub max_failed_login_outside: u32,
    /// Seconds that a ban lasts, fractions count; 0 turns the policy off.
    #[setting(default = 3600.0)]
    pub ban_time: Seconds,
    /// Local time at which working hours begin, as HH:MM.
    #[setting(default = "08:00")]
    pub from: TimeOfDay,
    /// Local time at which they are over, as HH:MM, up to 24:00; earlier than `from`: on the next day.
    #[setting(default = "18:00")]
    pub to: TimeOfDay,
    /// Days on which working hours begin: mon, tue, wed, thu, fri, sat, sun; on no day, all time is outside.
    #[setting(default = ["mon", "tue", "wed", "thu", "fri"])]
    pub days: Days,
    /// Minutes by which local time is ahead of UTC, -720 to 840; daylight saving time isn't known.
    #[setting(default = 0, check = offset)]
    pub utc_offset_minutes: i64,
}

/// A time of day in minutes since midnight.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct TimeOfDay(i64);

impl FromSetting for TimeOfDay {
    type Default = &'static str;
    const KIND: SettingType = SettingType::Text;
    const EXPECTED: &'static str = "a time of day from \"00:00\" to \"24:00\"";

    fn default_value(default: &'static str) -> SettingValue {
        SettingValue::Text(default.to_owned())
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Text(text) = value else { return None };
        let [h, i, b':', m, n] = text.as_bytes() else { return None };
        let number = |tens: &u8, ones: &u8| {
            let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
            digits.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        };
        let (hours, minutes) = (number(h, i)?, number(m, n)?);
        let time = hours * 60 + minutes;
        (minutes < 60 && time <= MINUTES_PER_DAY).then_some(Self(time))
    }
}

/// Days of the week.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Days([bool; 7]);

/// Monday first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    /// The day that is so many days after 1970-01-01, which was a Thursday.
    fn contains(self, since_1970: i64) -> bool {
        let day = usize::try_from((since_1970 + 3).rem_euclid(7)).unwrap_or_default();
        self.0.get(day).is_some_and(|works| *works)
    }
}

impl FromSetting for Days {
    type Default = &'static [&'static str];
    const KIND: SettingType = SettingType::Texts;
    const EXPECTED: &'static str = "a list of mon, tue, wed, thu, fri, sat and sun";

    fn default_value(default: &'static [&'static str]) -> SettingValue {
        <Vec<String> as FromSetting>::default_value(default)
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Texts(names) = value else { return None };
        let mut days = [false; 7];
        for name in names {
            let day = DAYS.iter().position(|day| day == name)?;
            days[day] = true;
        }
        Some(Self(days))
    }
}

fn offset(minutes: &i64) -> Result<(), String> {
    if (-720..=840).contains(minutes) { Ok(()) } else { Err("-720 to 840".to_owned()) }
}

fn together(settings: &Settings, problems: &mut Problems) {
    let (limit, outside) = (settings.max_failed_login, settings.max_failed_login_outside);
    if limit > 0 && outside > limit {
        let message = format!("found {outside}, expected at most max_failed_login, which is {limit}");
        problems.add("max_failed_login_outside", message);
    }
    if settings.from == TimeOfDay(MINUTES_PER_DAY) {
        problems.add("from", "found 24:00, expected 23:59 or earlier; the day begins at 00:00");
    } else if settings.from == settings.to {
        problems.add("to", "found the same as from, expected another time; a whole day is 00:00 to 24:00");
    }
}

impl Settings {
    fn off(&self) -> bool {
        self.ban_time.is_zero() || (self.max_failed_login == 0 && self.max_failed_login_outside == 0)
    }

    fn works_at(&self, at_ms: u64) -> bool {
        let minutes = i64::try_from(at_ms / 60_000).unwrap_or(i64::MAX).saturating_add(self.utc_offset_minutes);
        let (day, time) = (minutes.div_euclid(MINUTES_PER_DAY), TimeOfDay(minutes.rem_euclid(MINUTES_PER_DAY)));
        let (begun, over) = (time >= self.from, time >= self.to);
        if self.from < self.to {
            return begun && !over && self.days.contains(day);
        }
        // In the morning it is yesterday's that aren't over.
        begun && self.days.contains(day) || !over && self.days.contains(day.saturating_sub(1))
    }
}

/// What is kept for a source: since the last success or ban.
#[derive(Clone, Debug, Default, PartialEq, State)]
#[state(format = "failures-by-hours/1")]
pub struct Failures {
    /// All of them.
    pub count: u32,
    /// Those outside working hours.
    pub outside: u32,
}

/// Judges one attempt.
pub fn judge(settings: &Settings, attempt: &Attempt, failures: &mut Option<Failures>) -> Verdict {
    let before = failures.take().unwrap_or_default();
    if attempt.succeeded() || settings.off() {
        return pass();
    }
    let works = settings.works_at(attempt.at_ms);
    let count = before.count.saturating_add(1);
    let outside = before.outside.saturating_add((!works).into());
    let reached = |count: u32, limit: u32| limit > 0 && count >= limit;
    if !works && reached(outside, settings.max_failed_login_outside) {
        let limit = settings.max_failed_login_outside;
        let text = format!("Maximum of {limit} login attempts outside working hours reached.");
        return ban(settings.ban_time).because("outside-working-hours", text);
    }
    if reached(count, settings.max_failed_login) {
        let limit = settings.max_failed_login;
        return ban(settings.ban_time)
            .because("max-failed-login", format!("Maximum of {limit} login attempts reached."));
    }
    *failures = Some(Failures { count, outside });
    pass()
}

export!(name = "working-hours", judge);

#[cfg(test)]
mod tests;
