//! When working hours are, and which limit holds.

use super::*;
use portcullis_sdk::SettingValue::{Integer, Number, Text, Texts};
use portcullis_sdk::testing::{self, attempt, defaults, settings, try_settings};
use proptest::prelude::*;

const SOURCE: &str = "203.0.113.7";
/// Midnight before Monday, 2026-01-05, in UTC.
const MONDAY: u64 = 1_767_571_200;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn hours(from: &str, to: &str, days: &[&str], utc_offset_minutes: i64) -> Settings {
    settings(&[
        ("from", Text(from.to_owned())),
        ("to", Text(to.to_owned())),
        ("days", Texts(days.iter().map(|day| (*day).to_owned()).collect())),
        ("utc_offset_minutes", Integer(utc_offset_minutes)),
    ])
}

fn errors(values: &[(&str, SettingValue)]) -> Vec<String> {
    let errors = try_settings::<Settings>(values).unwrap_err();
    errors.into_iter().map(|error| format!("{}: {}", error.name, error.message)).collect()
}

/// After how many failures at that time a ban comes, if within ten.
fn limit_at(settings: Settings, secs: u64) -> Option<usize> {
    let mut host = testing::ban(judge, settings);
    (1..=10).find(|_| !host.judge(attempt(SOURCE).failed().at_secs(secs)).is_pass())
}

#[test]
fn by_default_five_failures_ban_from_eight_to_six_and_two_at_other_times() {
    for (secs, limit) in [
        (MONDAY + 8 * HOUR - 1, 2),
        (MONDAY + 8 * HOUR, 5),
        (MONDAY + 18 * HOUR - 1, 5),
        (MONDAY + 18 * HOUR, 2),
        (MONDAY + 4 * DAY + 12 * HOUR, 5),
        (MONDAY + 5 * DAY + 12 * HOUR, 2),
        (MONDAY + 6 * DAY + 12 * HOUR, 2),
    ] {
        assert_eq!(limit_at(defaults(), secs), Some(limit), "{secs}");
    }
}

#[test]
fn the_very_first_millisecond_is_inside_and_the_very_last_outside() {
    let works = |ms: u64| defaults::<Settings>().works_at(ms);
    let (from, to) = ((MONDAY + 8 * HOUR) * 1000, (MONDAY + 18 * HOUR) * 1000);
    assert_eq!([works(from - 1), works(from), works(to - 1), works(to)], [false, true, true, false]);
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins() {
    let night = hours("22:00", "06:00", &["fri"], 0);
    let friday = MONDAY + 4 * DAY;
    for (secs, works) in [
        (friday + 5 * HOUR, false),
        (friday + 22 * HOUR - 1, false),
        (friday + 22 * HOUR, true),
        (friday + DAY, true),
        (friday + DAY + 6 * HOUR - 1, true),
        (friday + DAY + 6 * HOUR, false),
        (friday + DAY + 22 * HOUR, false),
    ] {
        assert_eq!(night.works_at(secs * 1000), works, "{}", secs - friday);
    }
}

#[test]
fn from_sunday_to_monday_is_a_night_like_any_other() {
    let night = hours("22:00", "06:00", &["sun"], 0);
    assert!(night.works_at((MONDAY + 5 * HOUR) * 1000));
    assert!(!night.works_at((MONDAY + DAY + 5 * HOUR) * 1000));
}

#[test]
fn a_whole_day_and_an_evening_up_to_midnight() {
    let whole = hours("00:00", "24:00", &["mon"], 0);
    for (secs, works) in [(MONDAY - 1, false), (MONDAY, true), (MONDAY + DAY - 1, true), (MONDAY + DAY, false)] {
        assert_eq!(whole.works_at(secs * 1000), works);
    }
    for to in ["00:00", "24:00"] {
        let evening = hours("18:00", to, &["mon"], 0);
        assert!(evening.works_at((MONDAY + DAY) * 1000 - 1));
        assert!(!evening.works_at((MONDAY + DAY) * 1000));
    }
}

#[test]
fn hours_and_days_are_local() {
    // Monday 08:00 in Tokyo is Sunday 23:00 in UTC; in New York in winter it is 13:00.
    let tokyo = hours("08:00", "18:00", &["mon"], 9 * 60);
    assert!(tokyo.works_at((MONDAY - HOUR) * 1000));
    assert!(!tokyo.works_at((MONDAY - HOUR) * 1000 - 1));
    let new_york = hours("08:00", "18:00", &["mon"], -5 * 60);
    assert!(new_york.works_at((MONDAY + 13 * HOUR) * 1000));
    assert!(!new_york.works_at((MONDAY + 13 * HOUR) * 1000 - 1));
}

#[test]
fn on_no_day_all_time_is_outside_and_the_epoch_is_a_thursday() {
    assert_eq!(limit_at(hours("08:00", "18:00", &[], 0), MONDAY + 12 * HOUR), Some(2));
    assert!(hours("00:00", "24:00", &["thu"], 0).works_at(0));
    assert!(hours("00:00", "24:00", &["wed"], -1).works_at(0));
}

#[test]
fn mistakes_of_the_afternoon_do_not_make_one_after_six_a_ban() {
    let mut host = testing::ban(judge, defaults());
    let six = MONDAY + 18 * HOUR;
    for secs in [six - 3, six - 2, six - 1, six] {
        assert!(host.judge(attempt(SOURCE).failed().at_secs(secs)).is_pass());
    }
    let verdict = host.judge(attempt(SOURCE).failed().at_secs(six + 1));
    assert_eq!(verdict.order().unwrap().reason.text, "Maximum of 2 login attempts outside working hours reached.");
    assert_eq!(host.state(SOURCE), None);
}

#[test]
fn failures_of_the_night_count_in_the_morning_by_the_common_limit() {
    let mut host = testing::ban(judge, defaults());
    let eight = MONDAY + 8 * HOUR;
    for secs in [eight - 1, eight, eight + 1, eight + 2] {
        assert!(host.judge(attempt(SOURCE).failed().at_secs(secs)).is_pass());
    }
    let verdict = host.judge(attempt(SOURCE).failed().at_secs(eight + 3));
    assert_eq!(verdict.order().unwrap().reason.text, "Maximum of 5 login attempts reached.");
}

#[test]
fn a_success_sets_both_counts_back() {
    let mut host = testing::ban(judge, defaults());
    for _ in 0..9 {
        assert!(host.judge(attempt(SOURCE).failed().at_secs(MONDAY)).is_pass());
        assert!(host.judge(attempt(SOURCE).succeeded().at_secs(MONDAY)).is_pass());
        assert_eq!(host.state(SOURCE), None);
    }
}

#[test]
fn zero_of_a_limit_leaves_the_other_and_of_the_ban_time_none() {
    let set = |name, value| settings::<Settings>(&[(name, value)]);
    let (day, night) = (MONDAY + 12 * HOUR, MONDAY);
    assert_eq!(limit_at(set("max_failed_login_outside", Integer(0)), night), Some(5));
    assert_eq!(limit_at(set("max_failed_login", Integer(0)), day), None);
    assert_eq!(limit_at(set("max_failed_login", Integer(0)), night), Some(2));
    for time in [day, night] {
        assert_eq!(limit_at(set("ban_time", Number(0.0)), time), None);
    }
}

#[test]
fn wrong_settings_are_refused_with_what_was_found_and_expected() {
    let text = |text: &str| Text(text.to_owned());
    for wrong in ["8:00", "08.00", "24:01", "12:60", "-1:00", "", "08:00 ", "0٣:00"] {
        let told = errors(&[("from", text(wrong))]);
        assert_eq!(told.len(), 1);
        assert!(told[0].ends_with("expected a time of day from \"00:00\" to \"24:00\""), "{told:?}");
    }
    assert_eq!(
        errors(&[("days", Texts(vec!["mon".to_owned(), "Tuesday".to_owned()]))]),
        ["days: found [\"mon\", \"Tuesday\"], expected a list of mon, tue, wed, thu, fri, sat and sun"]
    );
    assert_eq!(
        errors(&[("utc_offset_minutes", Integer(841))]),
        ["utc_offset_minutes: found 841, expected -720 to 840"]
    );
    assert_eq!(
        errors(&[("max_failed_login_outside", Integer(6))]),
        ["max_failed_login_outside: found 6, expected at most max_failed_login, which is 5"]
    );
    assert_eq!(
        errors(&[("to", text("08:00"))]),
        ["to: found the same as from, expected another time; a whole day is 00:00 to 24:00"]
    );
    assert_eq!(errors(&[("from", text("24:00"))]).len(), 1);
}

proptest! {
    /// The reference goes through the week minute by minute.
    #[test]
    fn hours_are_those_that_a_calendar_shows(
        from in 0_u64..1440, length in 1_u64..1440, day in 0_usize..7, offset in -720_i64..=840,
        minute in 0_u64..7 * 1440, ms in 0_u64..60_000,
    ) {
        let to = (from + length) % 1440;
        let clock = |minutes: u64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let set = hours(&clock(from), &clock(to), &[DAYS[day]], offset);
        let begin = u64::try_from(day).unwrap() * 1440 + from;
        let inside = (begin..begin + length).any(|inside| inside % (7 * 1440) == minute);
        let utc_ms = i64::try_from((MONDAY / 60 + 7 * 1440 + minute) * 60_000 + ms).unwrap() - offset * 60_000;
        prop_assert_eq!(set.works_at(u64::try_from(utc_ms).unwrap()), inside);
    }

    #[test]
    fn no_state_and_no_time_stops_it(count: u32, outside: u32, at_ms: u64, offset in -720_i64..=840) {
        let set: Settings = settings(&[("utc_offset_minutes", Integer(offset))]);
        let mut failures = Some(Failures { count, outside });
        let _ = judge(&set, &attempt(SOURCE).at_ms(at_ms).into(), &mut failures);
    }
}
