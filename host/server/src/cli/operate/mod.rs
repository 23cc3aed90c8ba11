//! Commands that look at a running server or have it do something, a file for
//! each. What they have in common: which server, tables for eyes, JSON for
//! machines.

mod bans;
mod events;
mod explain;
mod reload;
mod shadow;
mod status;
mod top;
mod waits;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::Failed;
use super::client::ServerArgs;
use crate::config::printable;

pub(super) use bans::{BanArgs, BansArgs, UnbanArgs, ban, bans, unban};
pub(super) use events::{EventsArgs, events};
pub(super) use explain::{ExplainArgs, explain};
pub(super) use reload::{ReloadArgs, reload};
pub(super) use shadow::{GuardArgs, ShadowArgs, guard, shadow};
pub(super) use status::{StatusArgs, status};
pub(super) use top::{TopArgs, top};
pub(super) use waits::{UnwaitArgs, WaitsArgs, unwait, waits};

/// What every one of these commands takes.
#[derive(Args, Clone, Debug)]
pub(super) struct Common {
    #[command(flatten)]
    server: ServerArgs,
    /// Print JSON for machines, as the server says it
    #[arg(long)]
    json: bool,
}

/// Narrowest width that tables are fitted to.
const WIDTH_MIN: u16 = 40;

/// The width to fit tables to: that of the terminal, or `COLUMNS`; none where
/// nobody looks.
fn width() -> Option<u16> {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<u16>().ok());
    let terminal = || {
        let looked_at = std::io::stdout().is_terminal();
        looked_at.then(ratatui::crossterm::terminal::size)?.ok().map(|(columns, _)| columns)
    };
    told.or_else(terminal).filter(|columns| *columns > 0).map(|columns| columns.max(WIDTH_MIN))
}

/// A table without lines, its columns two spaces apart.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().copied());
    match width() {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A table's lines, without what only fills them up.
fn lines(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// What the server said, for machines. What would do harm on a terminal stands
/// there as JSON writes it in a text: it means the same.
fn print_json(value: &Value) -> Result<(), Failed> {
    let mut text = String::new();
    for c in format!("{value:#}\n").chars() {
        match c {
            '\n' => text.push(c),
            c if printable(c.encode_utf8(&mut [0; 4])) == "\u{fffd}" && u32::from(c) < 0x1_0000 => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    super::print(&text)
}

/// A path with what is given of a query.
fn query<'a>(path: &str, parameters: impl IntoIterator<Item = &'a (&'a str, Option<&'a str>)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters.into_iter().filter_map(|(name, value)| Some((name, (*value)?))));
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// One part of a path, whatever is in it.
fn path_part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A time without fractions, as eyes want it.
fn short_time(time: &str) -> String {
    let time = time.split('.').next().unwrap_or_default();
    printable(&time.trim_end_matches('Z').replacen('T', " ", 1))
}

/// A duration in its two largest units.
fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 && !duration.is_zero() {
        return humantime::format_duration(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(0)))
            .to_string();
    }
    let whole = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_short() {
        assert_eq!(short_time("2026-11-22T14:16:34.178Z"), "2026-11-22 14:16:34");
        assert_eq!(short_time("2026-11-22T14:16:34Z"), "2026-11-22 14:16:34");
        for (millis, shown) in [(0, "0s"), (40, "40ms"), (61_500, "1m 1s"), (90_061_000, "1day 1h")] {
            assert_eq!(short_duration(Duration::from_millis(millis)), shown);
        }
    }
}
