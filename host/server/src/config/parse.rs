//! Text and numbers that only a configuration has, or writes in a way of its
//! own, into types that can't be wrong.
//!
//! It must not know what keys there are, nor where a value stands.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use portcullis_harness::document::mistake::Wrong;
use portcullis_harness::document::value::{self, Parsed};
use toml::de::DeValue;

use super::{AdminSocket, StoreKind};

/// Longest path of a Unix socket that Linux takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Headers that say something else in what proxies ask, or in any request.
const TAKEN_HEADERS: [&str; 17] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "origin",
    "transfer-encoding",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-uri",
    "x-real-ip",
];

/// Text that isn't empty and holds no control characters.
pub(super) fn text(value: &DeValue<'_>) -> Parsed<String> {
    let text = value.as_str().filter(|text| !text.is_empty() && !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| Wrong::expected("text, not empty, on one line"))
}

/// A realm: text that stands between quotes in a header as it is.
pub(super) fn realm(value: &DeValue<'_>) -> Parsed<String> {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\');
    let realm = value.as_str().filter(|realm| !realm.is_empty() && realm.bytes().all(plain));
    realm.map(str::to_owned).ok_or_else(|| Wrong::expected("printable ASCII text without \" and \\"))
}

pub(super) fn file_path(value: &DeValue<'_>) -> Parsed<PathBuf> {
    text(value).map(PathBuf::from).map_err(|_| Wrong::expected("a file path"))
}

/// A duration such as `20ms`, `5m` or `2h30m`, within bounds.
pub(super) fn duration(value: &DeValue<'_>, least: Duration, most: Duration) -> Parsed<Duration> {
    const FORM: &str = r#"a duration such as "20ms", "5m" or "2h30m""#;
    let Some(text) = value.as_str() else {
        return Err(Wrong::expected(format!("{FORM}, with its unit and in quotes")));
    };
    let duration = parse_duration(text).ok_or_else(|| Wrong::expected(FORM))?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
    Err(Wrong::expected(format!("a duration from {least} to {most}")))
}

/// As humantime reads it, but a year is 365 days, as people count bans, and not
/// 365.25: its years are put as days before it sees them.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    const YEARS: [&str; 5] = ["y", "yr", "yrs", "year", "years"];
    let mut in_days = String::new();
    let mut rest = text;
    while let Some(number) = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && !c.is_whitespace()) {
        let (amount, after) = rest.split_at(number);
        let unit_bytes = after.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_bytes);
        if YEARS.contains(&unit) {
            let days = amount.trim().parse::<u64>().ok()?.checked_mul(365)?;
            in_days.push_str(&format!("{days}d "));
        } else {
            in_days.push_str(&format!("{amount}{unit} "));
        }
        rest = after;
    }
    in_days.push_str(rest);
    humantime::parse_duration(&in_days).ok()
}

/// A size in bytes such as `64MiB`, `1KiB` or `512B`, within bounds.
pub(super) fn size(value: &DeValue<'_>, least: u64, most: u64) -> Parsed<u64> {
    const FORM: &str = r#"a size such as "512B", "1KiB" or "64MiB""#;
    let bytes = value.as_str().and_then(parse_size).ok_or_else(|| Wrong::expected(FORM))?;
    if (least..=most).contains(&bytes) {
        return Ok(bytes);
    }
    Err(Wrong::expected(format!("a size from {} to {}", show_size(least), show_size(most))))
}

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn show_size(bytes: u64) -> String {
    let fits = |&&(_, factor): &&(&str, u64)| bytes >= factor && bytes.is_multiple_of(factor);
    let (name, factor) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / factor)
}

/// A network, or one address as a network of its own.
pub(super) fn network(value: &DeValue<'_>) -> Parsed<IpNet> {
    let network = value::network(value, r#"a network such as "10.0.0.0/8" or an address"#)?;
    canonical(network).ok_or_else(|| Wrong::expected("an IPv4 network written as IPv4, such as \"10.0.0.0/8\""))
}

/// Rule 3: a network of IPv4-mapped addresses is one of IPv4. `None` where a
/// network is wider than all of IPv4 and lies among the mapped addresses.
fn canonical(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = network else { return Some(network) };
    match v6.addr().to_ipv4_mapped() {
        Some(v4) => IpNet::new(IpAddr::V4(v4), v6.prefix_len().checked_sub(96)?).ok(),
        None => Some(network),
    }
}

/// Where state lives: `memory`, or `sqlite:` and a file path.
pub(super) fn store(value: &DeValue<'_>, base: &Path) -> Parsed<StoreKind> {
    const FORM: &str = r#""memory" or "sqlite:PATH", such as "sqlite:/var/lib/portcullis/state.sqlite""#;
    let text = text(value).map_err(|_| Wrong::expected(FORM))?;
    match text.split_once(':') {
        None if text == "memory" => Ok(StoreKind::Memory),
        Some(("sqlite", path)) if !path.is_empty() => Ok(StoreKind::Sqlite(base.join(path))),
        _ => Err(Wrong::expected(FORM)),
    }
}

/// The path of a Unix socket, which the system bounds; empty for none.
pub(super) fn socket_path(value: &DeValue<'_>, base: &Path) -> Parsed<AdminSocket> {
    if value.as_str() == Some("") {
        return Ok(AdminSocket::Off);
    }
    let path = base.join(file_path(value)?);
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(Wrong::expected(format!("a path of at most {SOCKET_PATH_BYTES_MAX} bytes, its folder included")));
    }
    Ok(AdminSocket::At(path))
}

pub(super) fn socket_address(value: &DeValue<'_>) -> Parsed<SocketAddr> {
    const FORM: &str = r#"an address and port such as "127.0.0.1:8080" or "[::]:8080""#;
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| Wrong::expected(FORM))
}

/// The name of a header, in lower case.
pub(super) fn header_name(value: &DeValue<'_>) -> Parsed<HeaderName> {
    const FORM: &str = r#"the name of a header such as "X-Login-Id""#;
    let name = value.as_str().and_then(|text| HeaderName::from_bytes(text.as_bytes()).ok());
    let name = name.ok_or_else(|| Wrong::expected(FORM))?;
    if TAKEN_HEADERS.contains(&name.as_str()) {
        return Err(Wrong::expected(r#"a header of its own such as "X-Login-Id": this one says something else"#));
    }
    Ok(name)
}

/// A final HTTP status.
pub(super) fn status(value: &DeValue<'_>) -> Parsed<u16> {
    value::status(value, 200)
}

/// A path of requests, for `protect` and `login_paths`.
pub(super) fn request_path(value: &DeValue<'_>) -> Parsed<String> {
    const FORM: &str = "a path that begins with / and has no query, spaces, %, dot segments or \\";
    let plain = |path: &&str| {
        path.starts_with('/')
            && !path.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '%' | '\\' | ';'))
            && !path.split('/').any(|segment| matches!(segment, "." | ".."))
    };
    value.as_str().filter(plain).map(str::to_owned).ok_or_else(|| Wrong::expected(FORM))
}
