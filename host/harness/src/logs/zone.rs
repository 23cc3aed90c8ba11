//! The zone of stamps that name none, and clocks that show an hour twice.

use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use portcullis_domain::Timestamp;

/// No zone changes its offset more often than at every quarter of an hour.
const QUARTER_MS: u64 = 15 * 60 * 1000;

/// What a log's clock is set to.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone {
    /// None for UTC.
    zone: Option<TimeZone>,
    /// The quarter of an hour that was asked about last, and its offset.
    last: Option<(u64, i64)>,
}

impl Zone {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone: Some(zone).filter(|zone| *zone != TimeZone::UTC), last: None }
    }

    /// The instant at which the clock shows `civil_ms`, both as milliseconds
    /// since 1970. In an hour that it shows twice the one nearer to `now`, the
    /// first if nobody has said what time it is; one that it leaps over is meant
    /// as if it hadn't.
    pub(super) fn utc(&mut self, civil_ms: u64, now: Option<Timestamp>) -> Option<u64> {
        let Some(zone) = &self.zone else { return Some(civil_ms) };
        let quarter = civil_ms / QUARTER_MS;
        if let Some((known, offset_ms)) = self.last
            && known == quarter
        {
            return civil_ms.checked_add_signed(-offset_ms);
        }
        let begin = jiff::Timestamp::from_millisecond(i64::try_from(quarter * QUARTER_MS).ok()?).ok()?;
        let civil = Offset::UTC.to_datetime(begin);
        match zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Gap { before: offset, .. } => {
                let offset_ms = millis(offset);
                self.last = Some((quarter, offset_ms));
                civil_ms.checked_add_signed(-offset_ms)
            }
            AmbiguousOffset::Fold { before, after } => {
                let first = civil_ms.checked_add_signed(-millis(before))?;
                let second = civil_ms.checked_add_signed(-millis(after))?;
                let nearer = |now: Timestamp| now.as_millis().abs_diff(second) < now.as_millis().abs_diff(first);
                Some(if now.is_some_and(nearer) { second } else { first })
            }
        }
    }
}

fn millis(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u64 {
        u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[test]
    fn clocks_go_by_their_zone_and_an_hour_that_is_there_twice_by_what_time_it_is() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let mut zone = Zone::new(berlin);
        let now = |text: &str| Some(Timestamp::from_millis(at(text)));
        for (clock, now, meant) in [
            ("2026-01-05T12:00:00Z", None, "2026-01-05T11:00:00Z"),
            ("2026-07-05T12:00:00Z", None, "2026-07-05T10:00:00Z"),
            ("2026-07-05T12:00:01Z", None, "2026-07-05T10:00:01Z"),
            // It leaps from 2 to 3.
            ("2026-03-29T01:59:59Z", None, "2026-03-29T00:59:59Z"),
            ("2026-03-29T02:30:00Z", None, "2026-03-29T01:30:00Z"),
            ("2026-03-29T03:00:00Z", None, "2026-03-29T01:00:00Z"),
            // It goes back from 3 to 2.
            ("2026-10-25T02:30:00Z", None, "2026-10-25T00:30:00Z"),
            ("2026-10-25T02:30:00Z", now("2026-10-25T00:30:01Z"), "2026-10-25T00:30:00Z"),
            ("2026-10-25T02:30:00Z", now("2026-10-25T01:30:01Z"), "2026-10-25T01:30:00Z"),
            ("2026-10-25T03:00:00Z", now("2026-10-25T02:00:01Z"), "2026-10-25T02:00:00Z"),
        ] {
            assert_eq!(zone.utc(at(clock), now), Some(at(meant)), "{clock}");
        }
        let mut east = Zone::new(TimeZone::fixed(Offset::constant(2)));
        assert_eq!(east.utc(3_600_000, None), None, "before 1970");
        assert_eq!(Zone::new(TimeZone::UTC).utc(5, None), Some(5));
    }
}
