//! `portcullis replay JOURNAL`: every judgement once more, or the journal's
//! events through other policies.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use portcullis_domain::{Kind, Timestamp};
use portcullis_harness::journal::record::{Keep, Verdict, What};
use portcullis_harness::journal::rejudge::{Difference, Now, Rejudged, last_plan, rejudge};
use portcullis_harness::journal::value::Digest;
use portcullis_harness::journal::{Findings, Reader, entries};
use portcullis_harness::replay::{Replay, Shown};
use portcullis_harness::{Failing, Plan, Shelf};
use portcullis_runtime::{Plugin, read_plugin};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{FormatName, LIMIT, ReplayArgs, Replayed, harness, shown_time};
use crate::cli::Failed;
use crate::config::printable;

/// What stands for the format of a log.
pub(super) const FORMAT: &str = "journal";

/// Whether a journal is meant, which stands alone.
pub(super) fn is_meant(args: &ReplayArgs) -> Result<bool, Failed> {
    if !args.logs.iter().any(|path| Reader::is_one(path)) {
        return Ok(false);
    }
    let of_logs = [
        (args.logs.len() > 1, "one journal, and no logs beside it"),
        (args.format != FormatName::Auto || args.regex.is_some(), "--format and --regex are for logs"),
        (args.missed, "--missed is for logs"),
    ];
    match of_logs.iter().find(|(given, _)| *given) {
        None => Ok(true),
        Some((_, why)) => Err(Failed::Usage(format!("replay of a journal: {why}"))),
    }
}

/// Every judgement once more.
pub(super) fn judge_again(args: &ReplayArgs) -> Result<(), Failed> {
    let path = path(args);
    let reader = open(path)?;
    let mut at_hand = AtHand::new(args)?;
    let rows = rows(args);
    let began = Instant::now();
    let rejudged = rejudge(&reader, &mut |digest, origin| at_hand.find(digest, origin), rows);
    let took = began.elapsed();
    warn(&rejudged.findings);
    if args.json {
        crate::cli::written(write_json(&rejudged))?;
    } else {
        let mut text = as_text(path, &rejudged);
        let _ = writeln!(text, "[processed in {:.2} sec]", took.as_secs_f64());
        crate::cli::print(&text)?;
    }
    match rejudged.different {
        0 => Ok(()),
        1 => Err(Failed::No("1 judgement comes to something else".to_owned())),
        different => Err(Failed::No(format!("{different} judgements come to something else"))),
    }
}

/// The journal's events through the policies that were in force last, or those
/// that are given, and through others.
pub(super) fn compare(
    args: &ReplayArgs,
    base: Option<Plan>,
    against: impl FnOnce(&mut Shelf) -> Result<Plan, Failed>,
    shown: Shown,
) -> Result<Replayed, Failed> {
    let reader = open(path(args))?;
    let mut at_hand = AtHand::new(args)?;
    let base = match base {
        Some(base) => base,
        None => last_plan(&reader, &mut |digest, origin| at_hand.find(digest, origin)).map_err(|why| {
            let why = printable(&why);
            Failed::Usage(format!("{why}; --config FILE or --plugin PLUGIN.wasm says what to compare with"))
        })?,
    };
    let against = against(&mut at_hand.shelf)?;
    let mut replay = Replay::new(base, Some(against), None, shown).map_err(|error| Failed::Usage(error.to_string()))?;
    let began = Instant::now();
    let findings = entries(&reader, Timestamp::default(), |entry| {
        replay.entry(entry);
        ControlFlow::Continue(())
    });
    warn(&findings);
    let took = began.elapsed();
    Ok(Replayed { report: replay.finish(), format: Some(FORMAT), took, other: args.against.clone() })
}

fn path(args: &ReplayArgs) -> &Path {
    args.logs.first().map_or(Path::new(""), |path| path)
}

fn open(path: &Path) -> Result<Reader, Failed> {
    Reader::open(path).map_err(|error| Failed::No(error.to_string()))
}

fn rows(args: &ReplayArgs) -> usize {
    match args.limit {
        Some(0) => usize::MAX,
        Some(limit) => limit,
        None => LIMIT,
    }
}

/// Plugins that can be had: those that are named, the bundle's, and what still
/// lies where it came from. All of them go by their digest.
struct AtHand {
    shelf: Shelf,
    plugins: Vec<Arc<Plugin>>,
}

impl AtHand {
    fn new(args: &ReplayArgs) -> Result<Self, Failed> {
        let mut shelf = harness::shelf()?;
        let mut plugins = Vec::new();
        if let Some(config) = &args.config {
            for policy in harness::plan(config, &shelf)?.policies {
                plugins.push(policy.plugin);
                if let Failing::Bundle { plugin, .. } = policy.on_failure {
                    plugins.push(plugin);
                }
            }
        }
        if let Some(name) = &args.plugin {
            plugins.push(harness::plugin(&mut shelf, name)?);
        }
        Ok(Self { shelf, plugins })
    }

    fn find(&mut self, digest: Digest, origin: &str) -> Option<Arc<Plugin>> {
        let is_it = |plugin: &&Arc<Plugin>| *plugin.digest() == digest.0;
        if let Some(found) = self.plugins.iter().find(is_it) {
            return Some(Arc::clone(found));
        }
        let bundled = Kind::ALL.into_iter().filter_map(|kind| self.shelf.bundle(kind).ok());
        let found = bundled.collect::<Vec<_>>().iter().find(is_it).map(Arc::clone).or_else(|| {
            let bytes = read_plugin(Path::new(origin)).ok()?;
            let same = <[u8; 32]>::from(Sha256::digest(&bytes)) == digest.0;
            same.then(|| self.shelf.runtime().load(&bytes, origin).ok())?
        })?;
        self.plugins.push(Arc::clone(&found));
        Some(found)
    }
}

/// What of it couldn't be read.
fn warn(findings: &Findings) {
    for damage in &findings.damages {
        eprintln!("portcullis: warning: {}", printable(&damage.to_string()));
    }
    let more = findings.damaged.saturating_sub(u64::try_from(findings.damages.len()).unwrap_or(u64::MAX));
    if more > 0 {
        eprintln!("portcullis: warning: {more} more damaged places");
    }
    if findings.unknown > 0 {
        eprintln!("portcullis: warning: {} records of a later version of portcullis, left out", findings.unknown);
    }
}

fn write_json(rejudged: &impl Serialize) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, rejudged)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn as_text(path: &Path, rejudged: &Rejudged) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{words}");
    };
    let Rejudged { judgements, equal, different, unavailable, not_reproducible, findings, .. } = rejudged;
    line(format_args!(
        "Journal {}: {} records in {} segments",
        printable(&path.display().to_string()),
        findings.records,
        findings.segments
    ));
    line(format_args!("Judgements: {judgements}"));
    let whys = [
        (*equal, "come to the same again"),
        (*different, "come to something else"),
        (*unavailable, "by plugins that aren't at hand or can't be set up"),
        (not_reproducible.nobody_asked, "where nobody had been asked"),
        (not_reproducible.denied, "where nobody could judge"),
        (not_reproducible.withheld, "by what isn't written down, since it may be a secret"),
    ];
    for (count, what) in whys.iter().filter(|(count, what)| *count > 0 || what.starts_with("come")) {
        line(format_args!("{count:>8} {what}"));
    }
    if !rejudged.missing.is_empty() {
        line(format_args!("\nNot at hand (--plugin or --config names more plugins):"));
    }
    for missing in &rejudged.missing {
        line(format_args!(
            "  {} ({}): {}: {} judgements",
            printable(&missing.origin),
            &missing.plugin.to_string()[..12],
            printable(&missing.why),
            missing.judgements
        ));
    }
    if !rejudged.differences.is_empty() {
        line(format_args!("\nSomething else:"));
    }
    for difference in &rejudged.differences {
        line(format_args!("  {}", printable(&differs(difference))));
    }
    let shown = u64::try_from(rejudged.differences.len()).unwrap_or(u64::MAX);
    if *different > shown {
        line(format_args!("  and {} more (--limit 0 shows all)", different - shown));
    }
    text
}

fn differs(difference: &Difference) -> String {
    let Difference { record, now } = difference;
    let Ok(record) = record.record() else { return String::new() };
    let What::Judged(judged) = &record.what else { return String::new() };
    let who = judged.client.map(|client| format!(" client {client}")).unwrap_or_default();
    let then = as_now(judged.verdict.as_ref(), judged.keep.as_ref());
    format!(
        "{}  {}{who}  policy {}: was {then}, now {}",
        shown_time(record.time.0),
        judged.source,
        judged.policy,
        of_now(now)
    )
}

fn as_now(verdict: Option<&Verdict<'_>>, keep: Option<&Keep<'_>>) -> String {
    of_now(&Now {
        verdict: verdict.and_then(|verdict| serde_json::to_value(verdict).ok()),
        keep: keep.and_then(|keep| serde_json::to_value(keep).ok()),
    })
}

fn of_now(now: &Now) -> String {
    match (&now.verdict, &now.keep) {
        (Some(verdict), Some(keep)) => format!("{verdict} keeping {keep}"),
        _ => "a failure of the plugin".to_owned(),
    }
}
