//! Time stamps of fixed width, read without a calendar for each line: the date
//! of the line before is nearly always that of this one.

use portcullis_domain::Timestamp;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// The first moment, in UTC, that no stamp with a year of four digits names.
const YEAR_10000_MS: u64 = 253_402_300_800_000;

/// A time of a log, unless it is one that can't be written out again.
pub(super) fn plausible(millis: u64) -> Option<Timestamp> {
    (millis < YEAR_10000_MS).then(|| Timestamp::from_millis(millis))
}

/// Milliseconds since the Unix epoch at which a day began, by the bytes that
/// named it last.
#[derive(Clone, Debug, Default)]
pub(super) struct DateCache {
    text: [u8; 11],
    midnight_ms: u64,
}

impl DateCache {
    /// `2021/04/16 10:22:26`, in UTC.
    pub(super) fn slashed(&mut self, stamp: &[u8]) -> Option<Timestamp> {
        let (date, clock) = stamp.split_at_checked(11)?;
        let midnight = self.midnight(date, |date| match date {
            [y @ .., b'/', m1, m2, b'/', d1, d2, b' '] => days(number(y)?, number(&[*m1, *m2])?, number(&[*d1, *d2])?),
            _ => None,
        })?;
        Some(Timestamp::from_millis(midnight + seconds(clock)? * 1000))
    }

    /// `2026-11-22T12:00:00.123Z`.
    pub(super) fn rfc_3339_millis(&mut self, stamp: &[u8]) -> Option<Timestamp> {
        let (date, clock) = stamp.split_at_checked(11)?;
        let (clock, fraction) = clock.split_at_checked(8)?;
        let [b'.', millis @ .., b'Z'] = fraction else { return None };
        let midnight = self.midnight(date, |date| match date {
            [y @ .., b'-', m1, m2, b'-', d1, d2, b'T'] => days(number(y)?, number(&[*m1, *m2])?, number(&[*d1, *d2])?),
            _ => None,
        })?;
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
        let local = midnight + seconds(clock)? * 1000;
        let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
        if hours > 23 || minutes > 59 {
            return None;
        }
        let offset = u64::from(hours * 60 + minutes) * 60_000;
        // East of Greenwich it is earlier in UTC.
        match sign {
            b'+' => local.checked_sub(offset).map(Timestamp::from_millis),
            b'-' => plausible(local + offset),
            _ => None,
        }
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
        let mut cache = DateCache::default();
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
        let mut cache = DateCache::default();
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

    proptest! {
        #[test]
        fn every_day_is_that_of_a_calendar(second in 0_i64..253_402_300_799) {
            let text = jiff::Timestamp::from_second(second).unwrap().to_string();
            let slashed = text.replace('-', "/").replace('T', " ").replace('Z', "");
            let mut cache = DateCache::default();
            let read = cache.slashed(slashed.as_bytes()).unwrap().as_millis();
            prop_assert_eq!(i64::try_from(read).unwrap(), second * 1000);
            // The second time from the cache.
            prop_assert_eq!(cache.slashed(slashed.as_bytes()).unwrap().as_millis(), read);
        }
    }
}
