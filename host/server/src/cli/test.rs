//! `portcullis test`: scenarios against a plugin or a whole configuration.

mod human;
mod json;
mod junit;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use portcullis_harness::Shelf;
use portcullis_harness::runtime::Plugin;
use portcullis_harness::scenario::{Report, SCENARIO_BYTES_MAX, Scenario, UnderTest};

use super::{Failed, harness};

/// How deep folders of scenarios are looked through: links can go in circles.
const DEPTH_MAX: usize = 32;
/// Where scenarios are unless they are named.
const FOLDER: &str = "scenarios";

#[derive(Args)]
pub(super) struct TestArgs {
    /// The plugin under test: a file, bundle:wait, bundle:ban or bundle:scanner, or bundle for all three
    #[arg(value_name = "PLUGIN.wasm", required_unless_present = "config")]
    plugin: Option<String>,
    /// Scenario files, and folders of them; without any the folder `scenarios` beside the plugin or here
    #[arg(value_name = "SCENARIO|FOLDER")]
    scenarios: Vec<PathBuf>,
    /// Configuration file (TOML) whose policies and bounds are under test, instead of a plugin
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How results are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Format,
    /// Where results are written, instead of the standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only scenarios with this text in their name or their file's
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Show steps that passed, too
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people
    #[default]
    Human,
    /// For machines
    Json,
    /// For continuous integration
    Junit,
}

/// What became of one file.
struct Tested {
    file: String,
    outcome: Outcome,
    took: Duration,
    /// A plugin is under test and none of its policies runs it.
    without_plugin: bool,
}

enum Outcome {
    /// It ran.
    Ran(Report),
    /// It can't be read, or doesn't fit what is under test: why, line by line.
    Unreadable(String),
}

impl Tested {
    fn name(&self) -> &str {
        match &self.outcome {
            Outcome::Ran(report) => &report.name,
            Outcome::Unreadable(_) => &self.file,
        }
    }
}

/// All of them, counted.
#[derive(Clone, Copy, Default)]
struct Summary {
    passed: usize,
    failed: usize,
    unreadable: usize,
    steps: usize,
    events: u64,
    took: Duration,
}

impl Summary {
    fn of(tested: &[Tested]) -> Self {
        let mut summary = Self::default();
        for one in tested {
            summary.took += one.took;
            match &one.outcome {
                Outcome::Unreadable(_) => summary.unreadable += 1,
                Outcome::Ran(report) => {
                    if report.passed() {
                        summary.passed += 1;
                    } else {
                        summary.failed += 1;
                    }
                    summary.steps += report.steps.len();
                    summary.events += report.events();
                }
            }
        }
        summary
    }

    /// Events of a step that is repeated count each.
    #[expect(clippy::cast_precision_loss, reason = "nobody counts so many steps")]
    fn steps_per_second(&self) -> f64 {
        let steps = self.events.max(self.steps as u64);
        steps as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

pub(super) fn test(args: &TestArgs) -> Result<(), Failed> {
    let mut shelf = harness::shelf()?;
    let (under_test, named) = under_test(args, &mut shelf)?;
    let files = files(args, &named)?;
    let mut tested = Vec::new();
    for file in &files {
        tested.extend(test_one(file, &under_test, &mut shelf, args.filter.as_deref()));
    }
    if tested.is_empty() {
        let text = args.filter.as_deref().unwrap_or_default();
        return Err(Failed::Usage(format!("no scenario of {} has {text:?} in its name or its file's", files.len())));
    }
    if let UnderTest::Plugin(plugin) = &under_test {
        never_ran(args.plugin.as_deref().unwrap_or_default(), plugin, &tested)?;
    }
    let summary = Summary::of(&tested);
    let text = match args.format {
        Format::Human => human::text(&tested, &summary, args.verbose),
        Format::Json => json::text(&tested, &summary),
        Format::Junit => junit::text(&tested, &summary)?,
    };
    write(&text, args.output.as_deref())?;
    let unreadable = tested.iter().filter_map(|tested| match &tested.outcome {
        Outcome::Unreadable(why) => Some(why.as_str()),
        Outcome::Ran(_) => None,
    });
    let unreadable: Vec<_> = unreadable.collect();
    if !unreadable.is_empty() {
        return Err(Failed::Usage(unreadable.join("\n")));
    }
    // What failed has been said.
    if summary.failed > 0 { Err(Failed::No(String::new())) } else { Ok(()) }
}

/// What proves nothing about the plugin under test isn't told as its results.
fn never_ran(name: &str, plugin: &Plugin, tested: &[Tested]) -> Result<(), Failed> {
    // What can't be read might have run it, and is an error anyway.
    if tested.iter().any(|one| !one.without_plugin) {
        return Ok(());
    }
    let kinds: Vec<_> = plugin.kinds().iter().map(|kind| kind.name()).collect();
    let why = format!(
        "{name}: it is in no policy of any scenario, and so never ran: it judges as {}, and stands for policies of that kind that name no plugin",
        kinds.join(" and ")
    );
    Err(Failed::Usage(why))
}

/// What is under test, and the scenarios that are named: beside --config the
/// first name is a scenario's too.
fn under_test(args: &TestArgs, shelf: &mut Shelf) -> Result<(UnderTest, Vec<PathBuf>), Failed> {
    let first = args.plugin.as_deref();
    if let Some(config) = &args.config {
        if let Some(plugin) = first.filter(|first| first.ends_with(".wasm") || first.starts_with("bundle:")) {
            return Err(Failed::Usage(format!("either --config or a plugin ({plugin}) is under test")));
        }
        let plan = harness::plan(config, shelf)?;
        let named = first.map(PathBuf::from).into_iter().chain(args.scenarios.iter().cloned()).collect();
        return Ok((UnderTest::Setup(Box::new(plan)), named));
    }
    let named = args.scenarios.clone();
    match first {
        None | Some("bundle") => Ok((UnderTest::Bundle, named)),
        Some(scenario) if scenario.ends_with(".toml") || Path::new(scenario).is_dir() => {
            let why = "no plugin; what is under test comes before the scenarios: portcullis test PLUGIN.wasm";
            Err(Failed::Usage(format!("{scenario}: {why} {scenario}, or bundle for what is part of the program")))
        }
        Some(plugin) => {
            let plugin = harness::plugin(shelf, plugin)?;
            Ok((UnderTest::Plugin(plugin), named))
        }
    }
}

/// The files that are named, those of folders sorted.
fn files(args: &TestArgs, named: &[PathBuf]) -> Result<Vec<PathBuf>, Failed> {
    let usual;
    let named = if named.is_empty() {
        usual = [usual_folder(args)?];
        &usual[..]
    } else {
        named
    };
    let mut files = Vec::new();
    // A file counts once, by whatever names it is reached.
    let mut known = HashSet::new();
    for path in named {
        let wrong = |error: io::Error| Failed::Usage(format!("{}: {error}", path.display()));
        let mut found = Vec::new();
        if fs::metadata(path).map_err(wrong)?.is_dir() {
            walk(path, 0, &mut found).map_err(wrong)?;
            if found.is_empty() {
                return Err(Failed::Usage(format!("{}: there is no .toml file below it", path.display())));
            }
        } else {
            found.push(path.clone());
        }
        for file in found {
            // A pipe that is named has no other name.
            if known.insert(fs::canonicalize(&file).unwrap_or_else(|_| file.clone())) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn usual_folder(args: &TestArgs) -> Result<PathBuf, Failed> {
    let file = args.config.as_deref().or(args.plugin.as_deref().map(Path::new));
    let beside = file.and_then(Path::parent).map(|folder| folder.join(FOLDER));
    let here = PathBuf::from(FOLDER);
    let mut folders = beside.into_iter().chain([here]);
    folders.find(|folder| folder.is_dir()).ok_or_else(|| {
        let why =
            "no scenarios: name files or folders, or put them into a folder `scenarios` beside the plugin or here";
        Failed::Usage(why.to_owned())
    })
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth < DEPTH_MAX {
                walk(&path, depth + 1, files)?;
            }
        // Reading anything but a file might never end.
        } else if path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// `None` if the filter leaves it out.
fn test_one(path: &Path, under_test: &UnderTest, shelf: &mut Shelf, filter: Option<&str>) -> Option<Tested> {
    let file = path.display().to_string();
    let unreadable = |why: String| {
        let outcome = Outcome::Unreadable(why);
        Some(Tested { file: file.clone(), outcome, took: Duration::ZERO, without_plugin: false })
    };
    let scenario = match Scenario::load(path) {
        Ok(scenario) => scenario,
        Err(_) if filter.is_some_and(|text| !file.contains(text) && !names(path, text)) => return None,
        Err(error) => return unreadable(error.to_string()),
    };
    if filter.is_some_and(|text| !scenario.name.contains(text) && !file.contains(text)) {
        return None;
    }
    let bound = match scenario.bind(under_test, shelf) {
        Ok(bound) => bound,
        Err(mistakes) => return unreadable(mistakes.to_string()),
    };
    let without_plugin = matches!(under_test, UnderTest::Plugin(plugin) if !bound.runs(plugin));
    let begin = Instant::now();
    match bound.run() {
        Ok(report) => Some(Tested { file, outcome: Outcome::Ran(report), took: begin.elapsed(), without_plugin }),
        Err(error) => unreadable(format!("{file}: {error}")),
    }
}

/// Whether a file that can't be read as a scenario seems to have `text` in its name.
fn names(path: &Path, text: &str) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SCENARIO_BYTES_MAX).read_to_end(&mut bytes));
    let said = String::from_utf8_lossy(&bytes);
    let mut lines = said.lines().map(str::trim_start);
    read.is_ok() && lines.any(|line| line.starts_with("name") && line.contains(text))
}

fn write(text: &str, output: Option<&Path>) -> Result<(), Failed> {
    match output {
        Some(path) => fs::write(path, text).map_err(|error| Failed::Usage(format!("{}: {error}", path.display()))),
        None => super::print(text),
    }
}
