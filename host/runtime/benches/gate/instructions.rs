//! Instructions under callgrind, against those that are checked in.
//!
//! A processor's clock drifts and is shared with others; how many instructions a
//! piece of code takes doesn't. What is left are the seeds of hashes and the
//! compiler: some tenths of a percent, and whatever another compiler does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::thread;

use crate::cases::{CASES, Case, EVENTS, OPTION};

/// How far a case may be off before it is told.
const TOLERATED: f64 = 0.05;
/// Functions with less than this part of a case are written as one.
const PART_WRITTEN: f64 = 0.004;
/// Functions that are named where a case has changed.
const CHANGES_SHOWN: usize = 8;
const RENEW: &str = "cargo bench -p portcullis-runtime --profile count --bench gate -- --instructions --renew";

/// Instructions of an event, by function; guests' compiled code has no name.
type Counts = BTreeMap<String, f64>;

fn baseline() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gate/instructions.tsv")
}

/// Counts all cases and sets them against the file; ends the program with 1 where
/// one is off. With `renew` the file is written instead.
pub(crate) fn compare(renew: bool) {
    let built_by = built_by();
    let mut counted: Vec<(&Case, Counts)> = Vec::new();
    // A valgrind keeps one core busy.
    for some in CASES.chunks(thread::available_parallelism().map_or(1, usize::from)) {
        let counting: Vec<_> = some.iter().map(|case| (case, thread::spawn(|| counts(case.name)))).collect();
        counted.extend(counting.into_iter().map(|(case, counting)| (case, counting.join().unwrap())));
    }
    if renew {
        return fs::write(baseline(), written(&built_by, &counted)).unwrap();
    }
    let text = fs::read_to_string(baseline()).unwrap();
    let mut off = false;
    let baseline_of = text.lines().find_map(|line| line.strip_prefix("compiler\t")).unwrap();
    println!("{:<14} {:>8} {:>8} {:>7}", "instructions", "before", "now", "");
    for (case, counts) in &counted {
        let before = known(&text, case.name);
        let (was, is): (f64, f64) = (before.values().sum(), counts.values().sum());
        let change = is / was - 1.0;
        let verdict = if change > TOLERATED {
            "GREW"
        } else if change < -TOLERATED {
            "FELL"
        } else {
            ""
        };
        println!("{:<14} {was:>8.1} {is:>8.1} {:>+6.1}% {verdict:<4} {}", case.name, change * 100.0, case.does);
        if !verdict.is_empty() {
            off = true;
            changes(&before, counts).into_iter().for_each(|line| println!("    {line}"));
        }
    }
    if off && baseline_of != built_by {
        println!("That is no failure: the counts were taken with {baseline_of}, and this is {built_by}.");
    } else if off {
        println!("More than {} % off. If that is as it should be: {RENEW}", TOLERATED * 100.0);
        exit(1);
    }
}

/// The compiler, and what it compiles for: others make other instructions.
fn built_by() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = String::from_utf8(Command::new(rustc).arg("-V").output().unwrap().stdout).unwrap();
    format!("{} for {}", told.trim(), std::env::consts::ARCH)
}

/// Runs one case under callgrind.
fn counts(case: &str) -> Counts {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("callgrind");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*measured_under_callgrind*"]);
    command
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", file.display()));
    command.arg(std::env::current_exe().unwrap()).args([OPTION, case]).stdin(Stdio::null());
    let ran = command.output().unwrap_or_else(|error| panic!("valgrind: {error}"));
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    let mut counts = own(&fs::read_to_string(file).unwrap());
    counts.values_mut().for_each(|count| *count /= f64::from(EVENTS));
    assert!(counts.values().sum::<f64>() > 1.0, "nothing was counted of {case}");
    counts
}

/// What callgrind counted in each function itself, without those that it calls.
fn own(text: &str) -> Counts {
    let (mut counts, mut function, mut of_call) = (Counts::new(), String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = plain(name);
        } else if line.starts_with("calls=") {
            of_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            // A line of the source and what was counted there; after a call it is the callee's.
            let count = line.split(' ').nth(1).and_then(|count| count.parse::<f64>().ok());
            if let Some(count) = count.filter(|_| !of_call) {
                *counts.entry(function.clone()).or_default() += count;
            }
            of_call = false;
        }
    }
    counts
}

/// A function's name without what changes from build to build.
fn plain(name: &str) -> String {
    if name.starts_with("0x") || name.starts_with("???") {
        return "(compiled guest)".to_owned();
    }
    let name = name.split('\'').next().unwrap_or(name);
    match name.rsplit_once("::h") {
        Some((plain, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            plain.to_owned()
        }
        Some(_) | None => name.to_owned(),
    }
}

fn written(built_by: &str, counted: &[(&Case, Counts)]) -> String {
    let mut text = format!(
        "# Instructions of an event, by case and function, of the bench `gate`. Written anew by:\n# {RENEW}\ncompiler\t{built_by}\n"
    );
    for (case, counts) in counted {
        let all: f64 = counts.values().sum();
        let (large, small): (Vec<_>, Vec<_>) = counts.iter().partition(|(_, count)| **count >= all * PART_WRITTEN);
        let mut large = large;
        large.sort_by(|one, other| other.1.total_cmp(one.1));
        for (function, count) in large {
            writeln!(text, "{}\t{count:.1}\t{function}", case.name).unwrap();
        }
        writeln!(text, "{}\t{:.1}\t(others)", case.name, small.iter().map(|(_, count)| **count).sum::<f64>()).unwrap();
    }
    text
}

fn known(text: &str, case: &str) -> Counts {
    let of_case = text.lines().filter_map(|line| line.strip_prefix(case)?.strip_prefix('\t')?.split_once('\t'));
    of_case.map(|(count, function)| (function.to_owned(), count.parse().unwrap())).collect()
}

/// The functions that have changed most, first that which grew most.
fn changes(before: &Counts, now: &Counts) -> Vec<String> {
    let mut now = now.clone();
    // What was one of many then has no count of its own to be set against.
    let all: f64 = now.values().sum();
    let others: f64 = now
        .iter()
        .filter(|(name, count)| !before.contains_key(*name) && **count < all * PART_WRITTEN)
        .map(|(_, count)| count)
        .sum();
    now.retain(|name, count| before.contains_key(name) || *count >= all * PART_WRITTEN);
    now.insert("(others)".to_owned(), others);
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let of = |counts: &Counts, name: &String| counts.get(name).copied().unwrap_or_default();
    let mut changed: Vec<(f64, &String)> =
        names.into_iter().map(|name| (of(&now, name) - of(before, name), name)).collect();
    changed.sort_by(|one, other| other.0.abs().total_cmp(&one.0.abs()));
    changed.truncate(CHANGES_SHOWN);
    changed.retain(|(change, _)| change.abs() >= 0.5);
    changed.sort_by(|one, other| other.0.total_cmp(&one.0));
    changed.into_iter().map(|(change, name)| format!("{change:>+8.1}  {name}")).collect()
}
