//! Watched logs: which, in what format, and on what clock.
//!
//! It must not open any of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};
use portcullis_domain::Outcome;
use portcullis_harness::document::mistake::{Cause, Wrong, nearest};
use portcullis_harness::document::reader::{Reader, Section};
use portcullis_harness::document::value::{self, Parsed};
use portcullis_harness::logs::{Format, Parser, Pattern, PatternOptions};
use toml::de::{DeTable, DeValue};

use super::parse;

/// Most watches, each of which has a thread.
const WATCHES_MAX: usize = 32;
/// Longest name, in bytes: it is a label of metrics.
const NAME_BYTES_MAX: usize = 32;
/// The name of the format that is a regular expression.
const REGEX: &str = "regex";

/// Where a log that nobody has followed before is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With its first line.
    Beginning,
    /// Behind its last one.
    End,
}

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Its name, `[a-z0-9-]{1,32}`, unique: its places are kept under it.
    pub name: String,
    /// What is read.
    pub watched: Watched,
    /// What the lines look like.
    pub format: WatchFormat,
    /// The zone of times that name none: `local`, `UTC`, `+02:00` or a name.
    pub time_zone: String,
    /// Age from which an event isn't judged any more.
    pub max_lateness: Duration,
    /// Where a log is begun that nobody has read before.
    pub begin: Begin,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Logs by their paths, absolute or from where the server runs, in which `*`,
    /// `**`, `?` and `[…]` stand for names.
    Logs(Vec<String>),
    /// The standard output of a command: the program and its arguments.
    Command(Vec<String>),
}

/// What lines look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchFormat {
    /// One that needs nothing said about it, by its name.
    Known(&'static str),
    /// A regular expression.
    Pattern {
        /// The expression.
        regex: String,
        /// What else is said about it.
        options: PatternOptions,
    },
}

impl WatchConfig {
    /// What reads its lines.
    ///
    /// # Errors
    /// What is wrong with it; nothing, if it was read from a configuration.
    pub fn parser(&self) -> Result<Parser, String> {
        let format = self.format.format()?;
        let zone = zone(&self.time_zone).ok_or_else(|| format!("there is no time zone {}", self.time_zone))?;
        let parser = Parser::new(format).in_zone(zone);
        Ok(match self.watched {
            Watched::Logs(_) => parser,
            Watched::Command(_) => parser.bare(),
        })
    }
}

impl WatchFormat {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &str {
        match self {
            Self::Known(name) => name,
            Self::Pattern { .. } => REGEX,
        }
    }

    fn format(&self) -> Result<Format, String> {
        match self {
            Self::Known(name) => {
                let known = Format::KNOWN.into_iter().find(|format| format.name() == *name);
                known.ok_or_else(|| format!("there is no format {name}"))
            }
            Self::Pattern { regex, options } => {
                let pattern = Pattern::new(regex, options.clone()).map_err(|error| error.to_string())?;
                Ok(Format::Pattern(Arc::new(pattern)))
            }
        }
    }
}

/// Every `[[watch]]`, in its order.
pub(super) fn read<'t>(reader: &mut Reader<'t>, root: &'t DeTable<'t>, base: &Path) -> Vec<WatchConfig> {
    let mut watches: Vec<WatchConfig> = Vec::new();
    let Some(value) = root.get("watch") else {
        // All keys are asked for once, whether there is a watch or not.
        let mistakes = reader.mistakes.len();
        read_watch(reader, Section::absent("watch", None), base);
        reader.mistakes.truncate(mistakes);
        return watches;
    };
    let tables = match value.get_ref().as_array() {
        Some(tables) => tables,
        None => {
            reader.wrong(value, "watch", Wrong::expected("tables, each begun by [[watch]]"));
            return watches;
        }
    };
    for (number, table) in tables.iter().enumerate() {
        let line = reader.line(table.span().start);
        if number == WATCHES_MAX {
            reader.mistake(line, "watch", conflict(&format!("more than {WATCHES_MAX} watches")));
            break;
        }
        let Some(table) = reader.as_table(table, "watch", Wrong::expected("tables, each begun by [[watch]]")) else {
            continue;
        };
        let section = reader.section(table, line, "watch", None);
        let Some(watch) = read_watch(reader, section, base) else { continue };
        if watches.iter().any(|known| known.name == watch.name) {
            let why = format!("there is another watch called \"{}\": give this one a name of its own", watch.name);
            reader.mistake(reader.line_of(section, "watch.name"), "watch.name", conflict(&why));
        }
        watches.push(watch);
    }
    watches
}

fn read_watch<'t>(reader: &mut Reader<'t>, section: Section<'t>, base: &Path) -> Option<WatchConfig> {
    let mistakes = reader.mistakes.len();
    let name = reader.maybe(section, "watch.name", name_of);
    let paths = reader.maybe_list(section, "watch.path", |value| path_of(value, base));
    let command = reader.maybe_list(section, "watch.command", argument);
    let format_name = reader.maybe(section, "watch.format", format_of);
    let regex = reader.maybe(section, "watch.regex", parse::text);
    let time_format = reader.maybe(section, "watch.time_format", parse::text);
    let outcome = reader.maybe(section, "watch.outcome", |value| {
        value::choice(value, &[("failure", Outcome::Failure), ("success", Outcome::Success)])
    });
    let time_zone = reader.get(section, "watch.time_zone", zone_of);
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3660 * 24 * 3600));
    let max_lateness = reader.get(section, "watch.max_lateness", |value| parse::duration(value, least, most));
    let begin = reader.get(section, "watch.begin", |value| {
        value::choice(value, &[("end", Begin::End), ("beginning", Begin::Beginning)])
    });
    // What was found wrong isn't missing.
    let line = Some(section.line).filter(|line| *line > 0);
    let clean = reader.mistakes.len() == mistakes;
    let watched = match (paths, command) {
        (Some(paths), None) if !paths.is_empty() => Some(Watched::Logs(paths)),
        (None, Some(command)) if !command.is_empty() => Some(Watched::Command(command)),
        (Some(_), Some(_)) => {
            let why = "a watch has either path or command: write two watches";
            reader.mistake(reader.line_of(section, "watch.command"), "watch.command", conflict(why));
            None
        }
        (None | Some(_), None | Some(_)) => {
            if clean {
                let expected = "a log, such as \"/var/log/rport/rportd.log\", or a command".to_owned();
                reader.mistake(line, "watch.path", Cause::Missing { expected });
            }
            None
        }
    };
    let options = PatternOptions { time_format, outcome };
    let format = match (format_name, regex) {
        (Some(REGEX) | None, Some(regex)) => Some(WatchFormat::Pattern { regex, options }),
        (Some(REGEX), None) => {
            let expected = "the expression that a whole line matches".to_owned();
            reader.mistake(line, "watch.regex", Cause::Missing { expected });
            None
        }
        (Some(name), None) => {
            for (key, given) in
                [("watch.time_format", options.time_format.is_some()), ("watch.outcome", options.outcome.is_some())]
            {
                if given {
                    let why = "only used with format = \"regex\"";
                    reader.mistake(reader.line_of(section, key), key, conflict(why));
                }
            }
            Some(WatchFormat::Known(name))
        }
        (Some(_), Some(_)) => {
            let why = "only used with format = \"regex\"";
            reader.mistake(reader.line_of(section, "watch.regex"), "watch.regex", conflict(why));
            None
        }
        (None, None) => {
            if clean {
                reader.mistake(line, "watch.format", Cause::Missing { expected: formats() });
            }
            None
        }
    };
    let (watched, format) = (watched?, format?);
    if let Err(why) = format.format() {
        reader.mistake(reader.line_of(section, "watch.regex"), "watch.regex", conflict(&why));
    }
    let name = name.unwrap_or_else(|| format.name().to_owned());
    Some(WatchConfig { name, watched, format, time_zone, max_lateness, begin })
}

fn conflict(why: &str) -> Cause {
    Cause::Conflict { why: why.to_owned() }
}

/// The names of all formats, as a message lists them.
fn formats() -> String {
    let known = Format::KNOWN.map(|format| format!("\"{}\"", format.name())).join(", ");
    format!("{known} or \"{REGEX}\"")
}

fn format_of(value: &DeValue<'_>) -> Parsed<&'static str> {
    let names = || Format::KNOWN.iter().map(Format::name).chain([REGEX]);
    let found = value.as_str();
    names().find(|name| found == Some(name)).ok_or_else(|| {
        let near = found.and_then(|found| nearest(found, names()));
        Wrong { expected: formats(), nearest: near.map(|near| format!("\"{near}\"")) }
    })
}

fn name_of(value: &DeValue<'_>) -> Parsed<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let name = value.as_str().filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain));
    let form = || Wrong::expected(format!("a name of at most {NAME_BYTES_MAX} of a-z, 0-9 and -"));
    name.map(str::to_owned).ok_or_else(form)
}

/// A path or pattern; a relative one begins at the folder of the configuration.
fn path_of(value: &DeValue<'_>, base: &Path) -> Parsed<String> {
    const FORM: &str = "a file path, in which *, **, ? and [ab] may stand for names";
    let text = parse::text(value).map_err(|_| Wrong::expected(FORM))?;
    glob::Pattern::new(&text).map_err(|error| Wrong::expected(format!("{FORM} ({})", error.msg)))?;
    if Path::new(&text).is_absolute() || base.as_os_str().is_empty() {
        return Ok(text);
    }
    // The folder's own name means itself.
    let base = glob::Pattern::escape(&base.to_string_lossy());
    let joined: PathBuf = Path::new(&base).join(text);
    joined.into_os_string().into_string().map_err(|_| Wrong::expected(FORM))
}

fn argument(value: &DeValue<'_>) -> Parsed<String> {
    let text = value.as_str().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| Wrong::expected("a list of texts: the program and its arguments"))
}

fn zone_of(value: &DeValue<'_>) -> Parsed<String> {
    const FORM: &str = r#""local", "UTC", an offset such as "+02:00" or a name such as "Europe/Berlin""#;
    let text = parse::text(value).map_err(|_| Wrong::expected(FORM))?;
    zone(&text).map(|_| text).ok_or_else(|| Wrong::expected(FORM))
}

/// The zone of that name.
fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "local" => Some(TimeZone::try_system().unwrap_or(TimeZone::UTC)),
        "UTC" => Some(TimeZone::UTC),
        _ => match name.as_bytes() {
            [sign @ (b'+' | b'-'), rest @ ..] => {
                let (hours, minutes) = std::str::from_utf8(rest).ok()?.split_once(':')?;
                let number = |text: &str, below: i32| {
                    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                    digits.then(|| text.parse::<i32>().ok()).flatten().filter(|number| *number < below)
                };
                let seconds = number(hours, 24)? * 3600 + number(minutes, 60)? * 60;
                let seconds = if *sign == b'-' { -seconds } else { seconds };
                Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?))
            }
            _ => TimeZone::get(name).ok(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_by_name_and_by_offset() {
        for name in ["local", "UTC", "+02:00", "-03:30"] {
            assert!(zone(name).is_some(), "{name}");
        }
        for name in ["", "+2:00", "+02", "+24:00", "Nowhere/Atall", "utc+1"] {
            assert!(zone(name).is_none(), "{name}");
        }
    }
}
