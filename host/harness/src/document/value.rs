//! Single values that every document writes alike, into types that can't be wrong.
//!
//! Some aren't here since the documents differ: a configuration counts a year as
//! 365 days, knows GiB and takes white space for a text; a scenario refuses
//! years, names bounds in bytes and wants more than white space in a name. It
//! must not know what keys there are, nor where a value stands.

use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::DeValue;

use super::mistake::{Wrong, nearest};

/// What one value becomes, or what is expected instead.
pub type Parsed<T> = Result<T, Wrong>;

/// A name out of a fixed set.
pub fn choice<T: Copy>(value: &DeValue<'_>, choices: &[(&'static str, T)]) -> Parsed<T> {
    let found = value.as_str();
    if let Some((_, choice)) = choices.iter().find(|(name, _)| found == Some(name)) {
        return Ok(*choice);
    }
    let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
    let (last, first) = names.split_last().map_or(("nothing", &[][..]), |(last, first)| (last.as_str(), first));
    let expected = if first.is_empty() { last.to_owned() } else { format!("{} or {last}", first.join(", ")) };
    let near = found.and_then(|found| nearest(found, choices.iter().map(|(name, _)| *name)));
    Err(Wrong { expected, nearest: near.map(|near| format!("{near:?}")) })
}

/// Yes or no.
pub fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| Wrong::expected("true or false"))
}

/// A whole number as TOML writes it, if it fits.
pub fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A whole number within bounds, both ends included.
pub fn count<N: TryFrom<i64> + PartialOrd + Display>(value: &DeValue<'_>, least: N, most: N) -> Parsed<N> {
    let number = integer(value).and_then(|number| N::try_from(number).ok());
    number
        .filter(|number| (&least..=&most).contains(&number))
        .ok_or_else(|| Wrong::expected(format!("a whole number from {least} to {most}")))
}

/// A final HTTP status.
pub fn status(value: &DeValue<'_>, least: u16) -> Parsed<u16> {
    count(value, least, 599).map_err(|_| Wrong::expected(format!("a status from {least} to 599")))
}

/// A network, or one address as a network of its own; `form` says what one looks like.
pub fn network(value: &DeValue<'_>, form: &'static str) -> Parsed<IpNet> {
    let text = value.as_str().ok_or_else(|| Wrong::expected(form))?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network = text.parse::<IpNet>().map_err(|_| Wrong::expected(form))?;
    if network.trunc() != network {
        return Err(Wrong::expected(format!("the network's own address, \"{}\"", network.trunc())));
    }
    Ok(network)
}
