//! Text and numbers that only scenarios write, or write in a way of their own,
//! into types that can't be wrong.
//!
//! It must not know what keys there are, nor where a value stands.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;
use portcullis_domain::{StateBytes, Timestamp};
use toml::de::DeValue;

use super::words;
use crate::document::mistake::Wrong;
use crate::document::value::{self, Parsed};

const DURATION: &str = r#"a duration such as "20ms", "3s" or "59m59s", with its unit and in quotes"#;

/// Something that can only be said and not denied.
pub(super) fn yes(value: &DeValue<'_>) -> Parsed<()> {
    value.as_bool().filter(|yes| *yes).map(drop).ok_or_else(|| Wrong::expected("true"))
}

/// Any text.
pub(super) fn text(value: &DeValue<'_>) -> Parsed<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| Wrong::expected("text in quotes"))
}

/// Text that names something.
pub(super) fn name(value: &DeValue<'_>) -> Parsed<String> {
    let text = value.as_str().filter(|text| !text.trim().is_empty() && !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| Wrong::expected("text, not empty, on one line"))
}

/// A duration such as `20ms` or `2h30m`. Months and years aren't taken: how
/// long they are is a matter of opinion.
pub(super) fn duration(value: &DeValue<'_>) -> Parsed<Duration> {
    let text = value.as_str().ok_or_else(|| Wrong::expected(DURATION))?;
    let words = text.split(|c: char| !c.is_alphabetic());
    if words.into_iter().any(|word| word == "M" || word.starts_with("mon") || word.starts_with('y')) {
        return Err(Wrong::expected("a duration in days and smaller units, such as \"365d\" for a year"));
    }
    humantime::parse_duration(text).map_err(|_| Wrong::expected(DURATION))
}

/// Within bounds, both ends included.
pub(super) fn duration_within(value: &DeValue<'_>, least: Duration, most: Duration) -> Parsed<Duration> {
    let duration = duration(value)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (words::duration(least), words::duration(most));
    Err(Wrong::expected(format!("a duration from {least} to {most}")))
}

pub(super) fn whole_seconds(value: &DeValue<'_>) -> Parsed<Duration> {
    let duration = duration(value)?;
    let whole = duration.subsec_nanos() == 0;
    whole.then_some(duration).ok_or_else(|| Wrong::expected("a duration of whole seconds, as Retry-After says it"))
}

/// A size in bytes such as `64MiB`, `1KiB` or `512B`, within bounds.
pub(super) fn size(value: &DeValue<'_>, least: usize, most: usize) -> Parsed<usize> {
    const UNITS: [(&str, usize); 3] = [("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    let parsed = value.as_str().and_then(|text| {
        let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
        text.strip_suffix(unit)?.trim_end().parse::<usize>().ok()?.checked_mul(*factor)
    });
    parsed.filter(|bytes| (least..=most).contains(bytes)).ok_or_else(|| {
        Wrong::expected(format!("a size from {least} to {most} bytes, such as \"512B\", \"1KiB\" or \"64MiB\""))
    })
}

/// An instant in UTC, quoted or as TOML writes it.
pub(super) fn instant(value: &DeValue<'_>) -> Parsed<Timestamp> {
    let text = value.as_datetime().map(ToString::to_string).or_else(|| value.as_str().map(str::to_owned));
    let since = text.and_then(|text| humantime::parse_rfc3339(&text).ok()?.duration_since(UNIX_EPOCH).ok());
    let millis = since.and_then(|since| u64::try_from(since.as_millis()).ok());
    millis.map(Timestamp::from_millis).ok_or_else(|| Wrong::expected("a time in UTC such as \"2026-01-05T12:00:00Z\""))
}

pub(super) fn address(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let address = value.as_str().and_then(|text| text.parse().ok());
    address.ok_or_else(|| Wrong::expected(r#"an address such as "203.0.113.7" or "2001:db8::1""#))
}

/// A network, or one address as a network of its own.
pub(super) fn network(value: &DeValue<'_>) -> Parsed<IpNet> {
    value::network(value, r#"a network such as "203.0.113.0/24" or an address"#)
}

/// A final HTTP status.
pub(super) fn status(value: &DeValue<'_>) -> Parsed<u16> {
    value::status(value, 100)
}

/// The statuses of refusals.
pub(super) fn refusal(value: &DeValue<'_>) -> Parsed<u16> {
    status(value).ok().filter(|status| matches!(status, 423 | 429)).ok_or_else(|| Wrong::expected("423 or 429"))
}

/// Bytes as pairs of hexadecimal digits; white space between them doesn't count.
pub(super) fn hex(value: &DeValue<'_>) -> Parsed<StateBytes> {
    let wrong = || Wrong::expected("pairs of hexadecimal digits, such as \"01000000\"");
    let text = value.as_str().ok_or_else(wrong)?;
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let (pairs, rest) = digits.as_deref().ok_or_else(wrong)?.as_chunks::<2>();
    if rest.is_empty() { Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect()) } else { Err(wrong()) }
}
