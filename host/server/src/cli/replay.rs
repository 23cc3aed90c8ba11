//! `portcullis replay`: recorded traffic through policies, and who would have
//! waited or been banned.

mod journal;
mod json;
mod text;

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use portcullis_domain::{Outcome, Timestamp};
use portcullis_harness::logs::{Format, Input, InputError, Pattern, PatternOptions};
use portcullis_harness::replay::{Misplaced, Replay, Report, Shown, UNKNOWN_MAX};
use portcullis_harness::runtime::Settings;
use portcullis_harness::{Failing, Plan, Shelf};

use super::{Failed, harness};
use crate::config::{Config, Overrides, printable};

/// Rows of each table, unless said otherwise.
const LIMIT: usize = 50;

#[derive(Args)]
pub(super) struct ReplayArgs {
    /// Logs, the oldest first; - is the standard input. Or a journal: journal.dir of a server, or one segment of it
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// Configuration file (TOML) whose policies judge; without it the bundle's three
    #[arg(long, value_name = "FILE", conflicts_with = "plugin")]
    config: Option<PathBuf>,
    /// A plugin instead of the bundle's of its kinds: a file or bundle:scanner and the like; for a journal, one that
    /// its judgements can be by
    #[arg(long, value_name = "PLUGIN.wasm")]
    plugin: Option<String>,
    /// Other policies for a comparison, a plugin or a configuration file (.toml)
    #[arg(long, value_name = "OTHER")]
    against: Option<String>,
    /// What the lines look like; auto goes by the first ones
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: FormatName,
    /// For --format regex: an expression that a whole line matches, with the groups time and ip, and of client,
    /// method, path, status and outcome those that there are: (?<ip>\S+) ...
    #[arg(long, value_name = "EXPRESSION")]
    regex: Option<String>,
    /// For --format regex: how the group time is written, as in strptime; without it Unix seconds or RFC 3339
    #[arg(long, value_name = "FORMAT", requires = "regex")]
    time_format: Option<String>,
    /// For --format regex: every line that matches is a login that ended so
    #[arg(long, value_enum, value_name = "OUTCOME", requires = "regex")]
    outcome: Option<OutcomeName>,
    /// Rows of each table, 0 for all; 50 unless given, for JSON all
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Show the missed lines that are of no known kind, too long ones included; not those that are of a known kind
    /// and no offence
    #[arg(long)]
    missed: bool,
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum FormatName {
    #[default]
    Auto,
    Rportd,
    Common,
    Combined,
    Portcullis,
    PortcullisJson,
    Sshd,
    Caddy,
    Report,
    Regex,
}

#[derive(Clone, Copy, ValueEnum)]
enum OutcomeName {
    Failure,
    Success,
}

/// A report and what there is to say about how it came about.
struct Replayed {
    report: Report,
    /// The format's name; none if there was nothing to go by.
    format: Option<&'static str>,
    /// From the first byte read to the last.
    took: Duration,
    /// What the comparison is with.
    other: Option<String>,
}

pub(super) fn replay(args: &ReplayArgs) -> Result<(), Failed> {
    let is_journal = journal::is_meant(args)?;
    if is_journal && args.against.is_none() {
        return journal::judge_again(args);
    }
    let rows = match args.limit {
        Some(0) => usize::MAX,
        Some(limit) => limit,
        None if args.json => usize::MAX,
        None => LIMIT,
    };
    let shown = Shown { rows, unknown: if args.missed { rows.min(UNKNOWN_MAX) } else { 0 } };
    let (replayed, ended) = if is_journal { compare_journal(args, shown)? } else { of_logs(args, shown)? };
    for misplaced in &replayed.report.misplaced {
        eprintln!("portcullis: warning: {}", printable(&out_of_order(misplaced)));
    }
    if args.json {
        let error = ended.as_ref().err().map(ToString::to_string);
        super::written(write_json(&json::of(&replayed, error.as_deref())))?;
    } else {
        super::print(&text::of(&replayed))?;
    }
    ended
}

fn of_logs(args: &ReplayArgs, shown: Shown) -> Result<(Replayed, Result<(), Failed>), Failed> {
    let format = format(args)?;
    let mut shelf = harness::shelf()?;
    let plan = plan(args.config.as_deref(), args.plugin.as_deref(), &mut shelf)?;
    let against = args.against.as_deref().map(|other| other_plan(other, &mut shelf)).transpose()?;
    let replay = Replay::new(plan, against, format, shown).map_err(|error| Failed::Usage(error.to_string()))?;
    run(args, replay)
}

fn compare_journal(args: &ReplayArgs, shown: Shown) -> Result<(Replayed, Result<(), Failed>), Failed> {
    let named = args.config.is_some() || args.plugin.is_some();
    let mut shelf = harness::shelf()?;
    let base = named.then(|| plan(args.config.as_deref(), args.plugin.as_deref(), &mut shelf)).transpose()?;
    let other = args.against.clone().unwrap_or_default();
    let replayed = journal::compare(args, base, |shelf| other_plan(&other, shelf), shown)?;
    Ok((replayed, Ok(())))
}

/// What `--against` names: a configuration, or a plugin.
fn other_plan(other: &str, shelf: &mut Shelf) -> Result<Plan, Failed> {
    if is_config(other) { harness::plan(Path::new(other), shelf) } else { plan(None, Some(other), shelf) }
}

fn write_json(report: &json::Report<'_>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, report)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Reads all logs; a log that can't be read ends it, with what was read so far.
fn run(args: &ReplayArgs, mut replay: Replay) -> Result<(Replayed, Result<(), Failed>), Failed> {
    // All of them first: a wrong name is known before the first is read.
    let logs = args.logs.iter().map(|path| Log::find(path)).collect::<Result<Vec<_>, _>>()?;
    let bar = bar(&logs);
    let began = Instant::now();
    let mut ended = Ok(());
    for log in logs {
        let input = match log.path {
            Some(path) => match File::open(path) {
                Ok(file) => Input::new(&log.name, bar.wrap_read(file)),
                Err(error) => Err(InputError::new(&log.name, 0, error)),
            },
            None => Input::new(&log.name, bar.wrap_read(io::stdin())),
        };
        let read = match input {
            Ok(input) => replay.read(input.written_at(log.written)).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = read {
            ended = Err(Failed::No(error));
            break;
        }
    }
    let took = began.elapsed();
    bar.finish_and_clear();
    let format = replay.format().map(Format::name);
    let other = args.against.clone();
    Ok((Replayed { report: replay.finish(), format, took, other }, ended))
}

/// A log that is about to be read.
struct Log<'a> {
    name: String,
    /// None for the standard input.
    path: Option<&'a Path>,
    bytes: u64,
    /// When it was written to for the last time; of a stream now.
    written: Timestamp,
}

impl<'a> Log<'a> {
    /// Looks whether it can be read; it isn't kept open, since there may be more
    /// of them than files may be open at once.
    fn find(path: &'a Path) -> Result<Self, Failed> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            let written = instant(SystemTime::now());
            return Ok(Self { name: "standard input".to_owned(), path: None, bytes: 0, written });
        }
        let found = fs::metadata(path).and_then(|found| {
            // A pipe is opened but once: whoever writes into it would take the first reader's end for its own.
            if found.is_file() {
                File::open(path)?;
            }
            Ok((found.len(), found.modified()?))
        });
        let (bytes, modified) = found.map_err(|error| Failed::No(InputError::new(&name, 0, error).to_string()))?;
        Ok(Self { name, path: Some(path), bytes, written: instant(modified) })
    }
}

fn instant(time: SystemTime) -> Timestamp {
    let millis = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// How far it has come, by bytes as they are on disk; only on a terminal.
fn bar(logs: &[Log<'_>]) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(logs.iter().map(|log| log.bytes).sum());
    let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

fn is_config(other: &str) -> bool {
    Path::new(other).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

/// The configuration's policies; or those of a server without one, the
/// bundle's, with a plugin in the place of those of its kinds.
fn plan(config: Option<&Path>, plugin: Option<&str>, shelf: &mut Shelf) -> Result<Plan, Failed> {
    if let Some(config) = config {
        return harness::plan(config, shelf);
    }
    let mut plan = crate::setup::plan(&Config::load(None, &Overrides::default())?, "", shelf.runtime())?;
    let Some(name) = plugin else { return Ok(plan) };
    let plugin = harness::plugin(shelf, name)?;
    for policy in plan.policies.iter_mut().filter(|policy| plugin.kinds().contains(&policy.kind)) {
        let bundle = shelf.bundle(policy.kind).map_err(|error| Failed::Usage(error.to_string()))?;
        policy.plugin = Arc::clone(&plugin);
        policy.settings = Settings::new();
        policy.on_failure = Failing::Bundle { plugin: bundle, settings: Settings::new() };
    }
    Ok(plan)
}

/// None if the first lines are to decide.
fn format(args: &ReplayArgs) -> Result<Option<Format>, Failed> {
    let pattern = match &args.regex {
        Some(expression) => {
            let outcome = args.outcome.map(|outcome| match outcome {
                OutcomeName::Failure => Outcome::Failure,
                OutcomeName::Success => Outcome::Success,
            });
            let options = PatternOptions { time_format: args.time_format.clone(), outcome };
            Some(Pattern::new(expression, options).map_err(|error| Failed::Usage(error.to_string()))?)
        }
        None => None,
    };
    match (args.format, pattern) {
        (FormatName::Auto | FormatName::Regex, Some(pattern)) => Ok(Some(Format::Pattern(Arc::new(pattern)))),
        (FormatName::Regex, None) => Err(Failed::Usage("--format regex needs --regex EXPRESSION".to_owned())),
        (_, Some(_)) => Err(Failed::Usage("--regex goes with --format regex alone".to_owned())),
        (FormatName::Auto, None) => Ok(None),
        (FormatName::Rportd, None) => Ok(Some(Format::Rportd)),
        (FormatName::Common, None) => Ok(Some(Format::Common)),
        (FormatName::Combined, None) => Ok(Some(Format::Combined)),
        (FormatName::Portcullis, None) => Ok(Some(Format::Portcullis)),
        (FormatName::PortcullisJson, None) => Ok(Some(Format::PortcullisJson)),
        (FormatName::Sshd, None) => Ok(Some(Format::Sshd)),
        (FormatName::Caddy, None) => Ok(Some(Format::Caddy)),
        (FormatName::Report, None) => Ok(Some(Format::Report)),
    }
}

/// What there is to say of a log that comes too late in the row.
fn out_of_order(misplaced: &Misplaced) -> String {
    let Misplaced { log, begins, after, ended } = misplaced;
    format!(
        "{log} begins at {}, before {after} ended at {}: lines of it are left out; name the oldest log first",
        shown_time(*begins),
        shown_time(*ended)
    )
}

/// RFC 3339 in UTC, without what is zero of a second.
fn shown_time(at: portcullis_domain::Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| at.to_string(), |at| at.to_string())
}

/// A stranger's bytes for a terminal.
fn shown_bytes(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}
