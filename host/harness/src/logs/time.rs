//! Time stamps of fixed width, read without a calendar for each line: the date
//! of the line before is nearly always that of this one.

use portcullis_domain::Timestamp;

use super::zone::Zone;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// The first moment, in UTC, that no stamp with a year of four digits names.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

/// A time of a log, unless it is one that can't be written out again.
pub(super) fn plausible(millis: u64) -> Option<Timestamp> {
    (millis < YEAR_10000_MS).then(|| Timestamp::from_millis(millis))
}

/// How far a stamp without a year may lie ahead of now: in which year it is goes by that.
const AHEAD_MAX_MS: u64 = DAY_MS;
/// Years that are tried for a day that not every year has.
const YEARS_TRIED: u32 = 9;

/// What is known about a log's time besides its stamps: the day that was named
/// last, the zone of stamps that name none, and what time it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Calendar {
    text: [u8; 11],
    /// Milliseconds since the Unix epoch at which the day began that was named so.
    midnight_ms: u64,
    /// The same of a day that was named without its year.
    yearless: ([u8; 7], u64),
    zone: Zone,
    now: Option<Timestamp>,
}

impl Calendar {
    pub(super) fn set_zone(&mut self, zone: Zone) {
        self.zone = zone;
    }

    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = Some(now);
    }

    /// What time it is, if somebody has said so.
    pub(super) const fn now(&self) -> Option<Timestamp> {
        self.now
    }

    /// The instant of a clock's reading in the log's zone, as milliseconds since
    /// 1970 on that clock.
    pub(super) fn instant(&mut self, civil_ms: u64) -> Option<Timestamp> {
        plausible(self.zone.utc(civil_ms, self.now)?)
    }

    /// `2021/04/16 10:22:26`, in the log's zone.
    pub(super) fn slashed(&mut self, stamp: &[u8]) -> Option<Timestamp> {
        let (date, clock) = stamp.split_at_checked(11)?;
        let midnight = self.midnight(date, |date| match date {
            [y @ .., b'/', m1, m2, b'/', d1, d2, b' '] => days(number(y)?, number(&[*m1, *m2])?, number(&[*d1, *d2])?),
            _ => None,
        })?;
        self.instant(midnight + seconds(clock)? * 1000)
    }

    /// `Apr 16 10:22:26`, as syslog has it: in the log's zone, and in the last
    /// year in which it isn't more than a day ahead of now. Nobody can say which
    /// that is as long as nobody has said what time it is.
    pub(super) fn yearless(&mut self, stamp: &[u8]) -> Option<Timestamp> {
        let now = self.now?;
        let (date, clock) = stamp.split_at_checked(7)?;
        let [m1, m2, m3, b' ', d1, d2, b' '] = date else { return None };
        let within_day = seconds(clock)? * 1000;
        let latest = now.as_millis().saturating_add(AHEAD_MAX_MS);
        let (known, midnight_ms) = self.yearless;
        if known == date {
            let read = self.instant(midnight_ms + within_day)?;
            // A year later the same day may be meant again.
            if (latest.saturating_sub(300 * DAY_MS)..=latest).contains(&read.as_millis()) {
                return Some(read);
            }
        }
        let (month, day) = (month(&[*m1, *m2, *m3])?, number(if *d1 == b' ' { &date[5..6] } else { &date[4..6] })?);
        debug_assert!(d2.is_ascii_digit(), "it was a number");
        let this_year = u32::try_from(now.as_millis() / (365 * DAY_MS)).ok()? + 1970;
        for year in (0..YEARS_TRIED).map_while(|ago| (this_year + 1).checked_sub(ago)) {
            let Some(days) = days(year, month, day) else { continue };
            match self.instant(days * DAY_MS + within_day) {
                Some(read) if read.as_millis() <= latest => {
                    self.yearless = (date.try_into().ok()?, days * DAY_MS);
                    return Some(read);
                }
                Some(_) | None => {}
            }
        }
        None
    }

    /// `2026-11-22T12:00:00`, with decimals or without, and `Z`, `+01:00` or `+0100`.
    pub(super) fn rfc_3339(&mut self, stamp: &[u8]) -> Option<Timestamp> {
        let (date, clock) = stamp.split_at_checked(11)?;
        let midnight = self.dashed(date)?;
        let (clock, rest) = clock.split_at_checked(8)?;
        let mut local = midnight + seconds(clock)? * 1000;
        let mut zone = rest;
        if let [b'.', decimals @ ..] = rest {
            let digits = decimals.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return None;
            }
            let digit = |place: usize| if place < digits { u64::from(decimals[place] - b'0') } else { 0 };
            local += digit(0) * 100 + digit(1) * 10 + digit(2);
            zone = &decimals[digits..];
        }
        match zone {
            b"Z" => plausible(local),
            [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => {
                offset_from(local, *sign, &[*h1, *h2], &[*m1, *m2])
            }
            _ => None,
        }
    }

    fn dashed(&mut self, date: &[u8]) -> Option<u64> {
        self.midnight(date, |date| match date {
            [y @ .., b'-', m1, m2, b'-', d1, d2, b'T'] => days(number(y)?, number(&[*m1, *m2])?, number(&[*d1, *d2])?),
            _ => None,
        })
    }

    /// `2026-11-22T12:00:00.123Z`.
    pub(super) fn rfc_3339_millis(&mut self, stamp: &[u8]) -> Option<Timestamp> {
        let (date, clock) = stamp.split_at_checked(11)?;
        let (clock, fraction) = clock.split_at_checked(8)?;
        let [b'.', millis @ .., b'Z'] = fraction else { return None };
        let midnight = self.dashed(date)?;
        let millis = if millis.len() == 3 { number(millis)? } else { return None };
        Some(Timestamp::from_millis(midnight + seconds(clock)? * 1000 + u64::from(millis)))
    }

    /// `10/Oct/2000:13:55:36 -0700`.
    pub(super) fn common(&mut self, stamp: &[u8]) -> Option<Timestamp> {
        let (date, rest) = stamp.split_at_checked(11)?;
        let [b':', clock @ .., b' ', sign, h1, h2, m1, m2] = rest else { return None };
        let midnight = self.midnight(date, |date| match date {
            [d1, d2, b'/', m1, m2, m3, b'/', year @ ..] => {
                days(number(year)?, month(&[*m1, *m2, *m3])?, number(&[*d1, *d2])?)
            }
            _ => None,
        })?;
        offset_from(midnight + seconds(clock)? * 1000, *sign, &[*h1, *h2], &[*m1, *m2])
    }

    fn midnight(&mut self, date: &[u8], days: impl Fn(&[u8]) -> Option<u64>) -> Option<u64> {
        if self.text == date {
            return Some(self.midnight_ms);
        }
        let midnight_ms = days(date)? * DAY_MS;
        self.text = date.try_into().ok()?;
        self.midnight_ms = midnight_ms;
        Some(midnight_ms)
    }
}

/// The instant of a clock's reading so many hours and minutes off UTC.
fn offset_from(local_ms: u64, sign: u8, hours: &[u8], minutes: &[u8]) -> Option<Timestamp> {
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = u64::from(hours * 60 + minutes) * 60_000;
    // East of Greenwich it is earlier in UTC.
    match sign {
        b'+' => local_ms.checked_sub(offset).map(Timestamp::from_millis),
        b'-' => plausible(local_ms + offset),
        _ => None,
    }
}

/// `13:55:36` as seconds since midnight; a leap second is the one before.
fn seconds(clock: &[u8]) -> Option<u64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = clock else { return None };
    let (hours, minutes, seconds) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    (hours < 24 && minutes < 60 && seconds < 61).then(|| u64::from(hours * 3600 + minutes * 60 + seconds.min(59)))
}

/// At most four decimal digits, and nothing else.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

fn month(name: &[u8; 3]) -> Option<u32> {
    const NAMES: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    (1..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, _)| number)
}

/// Days since 1970-01-01; none before it, and none for a day that there isn't.
fn days(year: u32, month: u32, day: u32) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = lengths.get(..usize::try_from(month).ok()?.checked_sub(1)?)?;
    let length = *lengths.get(before.len())?;
    if year < 1970 || !(1..=length).contains(&day) {
        return None;
    }
    let past = year - 1;
    // Leap days since the year 1; 477 of them were before 1970.
    let leap_days = past / 4 - past / 100 + past / 400 - 477;
    Some(u64::from((year - 1970) * 365 + leap_days + before.iter().sum::<u32>() + day - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jiff_says(text: &str) -> u64 {
        u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[test]
    fn the_three_stamps_are_read() {
        let mut cache = Calendar::default();
        let read = cache.slashed(b"2021/04/16 10:22:26").unwrap();
        assert_eq!(read.as_millis(), jiff_says("2021-04-16T10:22:26Z"));
        let read = cache.rfc_3339_millis(b"2026-11-22T12:00:00.123Z").unwrap();
        assert_eq!(read.as_millis(), jiff_says("2026-11-22T12:00:00.123Z"));
        let read = cache.common(b"10/Oct/2000:13:55:36 -0730").unwrap();
        assert_eq!(read.as_millis(), jiff_says("2000-10-10T13:55:36-07:30"));
        let read = cache.common(b"10/Oct/2000:13:55:36 +0200").unwrap();
        assert_eq!(read.as_millis(), jiff_says("2000-10-10T13:55:36+02:00"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let mut cache = Calendar::default();
        for stamp in ["2021/02/29 10:22:26", "2021/04/16 24:00:00", "2021/13/01 00:00:00", "2021/00/01 00:00:00"] {
            assert_eq!(cache.slashed(stamp.as_bytes()), None, "{stamp}");
        }
        for stamp in ["1969/12/31 23:59:59", "2021/04/16T10:22:26", "2021/04/16 10:22", "", "+021/04/16 10:22:26"] {
            assert_eq!(cache.slashed(stamp.as_bytes()), None, "{stamp}");
        }
        for stamp in [
            "10/Okt/2000:13:55:36 -0700",
            "10/Oct/2000:13:55:36 0700",
            "01/Jan/1970:00:00:00 +0100",
            "31/Dec/9999:23:59:59 -0001",
        ] {
            assert_eq!(cache.common(stamp.as_bytes()), None, "{stamp}");
        }
    }

    #[test]
    fn stamps_with_zones_and_decimals_are_read() {
        let mut calendar = Calendar::default();
        for (stamp, meant) in [
            ("2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z"),
            ("2026-11-22T12:00:00.5Z", "2026-11-22T12:00:00.5Z"),
            ("2026-11-22T12:00:00.123456+01:00", "2026-11-22T11:00:00.123Z"),
            ("2026-11-22T12:00:00-0330", "2026-11-22T15:30:00Z"),
        ] {
            let read = calendar.rfc_3339(stamp.as_bytes()).map(Timestamp::as_millis);
            assert_eq!(read, Some(jiff_says(meant)), "{stamp}");
        }
        for stamp in [
            "2026-11-22T12:00:00",
            "2026-11-22T12:00:00.Z",
            "2026-11-22T12:00:00.1234567890Z",
            "2026-11-22T12:00:00+24:00",
            "2026-11-22T12:00:00Z ",
            "2026-11-22 12:00:00Z",
        ] {
            assert_eq!(calendar.rfc_3339(stamp.as_bytes()), None, "{stamp}");
        }
    }

    #[test]
    fn a_stamp_without_a_year_is_in_the_last_one_that_it_can_be_in() {
        let mut calendar = Calendar::default();
        assert_eq!(calendar.yearless(b"Apr 16 10:22:26"), None, "nobody knows");
        for (now, stamp, meant) in [
            ("2026-11-22T12:00:00Z", "Nov 22 11:59:59", "2026-11-22T11:59:59Z"),
            ("2026-11-22T12:00:00Z", "Nov 23 11:00:00", "2026-11-23T11:00:00Z"),
            ("2026-11-22T12:00:00Z", "Nov 24 11:00:00", "2025-11-24T11:00:00Z"),
            ("2026-01-01T00:00:05Z", "Dec 31 23:59:59", "2025-12-31T23:59:59Z"),
            ("2026-12-31T23:59:59Z", "Jan  1 00:00:01", "2027-01-01T00:00:01Z"),
            ("2026-03-05T00:00:00Z", "Feb 29 00:00:01", "2024-02-29T00:00:01Z"),
            ("2028-03-05T00:00:00Z", "Feb 29 00:00:01", "2028-02-29T00:00:01Z"),
            ("2028-03-05T00:00:00Z", "Mar  4 00:00:01", "2028-03-04T00:00:01Z"),
        ] {
            calendar.set_now(Timestamp::from_millis(jiff_says(now)));
            for _the_second_time_from_memory in 0..2 {
                let read = calendar.yearless(stamp.as_bytes()).map(Timestamp::as_millis);
                assert_eq!(read, Some(jiff_says(meant)), "{stamp} at {now}");
            }
        }
        for stamp in ["Abr 16 10:22:26", "Apr 31 10:22:26", "Apr 16  0:22:26", "Apr16  10:22:26", "Apr 00 10:22:26"] {
            assert_eq!(calendar.yearless(stamp.as_bytes()), None, "{stamp}");
        }
    }

    proptest! {
        #[test]
        fn every_day_is_that_of_a_calendar(second in 0_i64..253_402_300_799) {
            let text = jiff::Timestamp::from_second(second).unwrap().to_string();
            let slashed = text.replace('-', "/").replace('T', " ").replace('Z', "");
            let mut cache = Calendar::default();
            let read = cache.slashed(slashed.as_bytes()).unwrap().as_millis();
            prop_assert_eq!(i64::try_from(read).unwrap(), second * 1000);
            // The second time from the cache.
            prop_assert_eq!(cache.slashed(slashed.as_bytes()).unwrap().as_millis(), read);
        }
    }
}
