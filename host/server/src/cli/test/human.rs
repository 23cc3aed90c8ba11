//! Results for people: a line for each scenario, and what failed in it.

use std::fmt::Write as _;

use portcullis_harness::scenario::Report;

use super::{Outcome, Summary, Tested};
use crate::config::printable;

pub(super) fn text(tested: &[Tested], summary: &Summary, verbose: bool) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{}", printable(line));
    };
    for one in tested {
        let millis = one.took.as_secs_f64() * 1e3;
        match &one.outcome {
            Outcome::Unreadable(why) => {
                line(&format!("UNREADABLE  {}", one.file));
                why.lines().for_each(|why| line(&format!("        {why}")));
            }
            Outcome::Ran(report) => {
                let verdict = if report.passed() { "ok    " } else { "FAILED" };
                line(&format!("{verdict}  {} ({}, {millis:.1} ms)", one.name(), one.file));
                if one.without_plugin {
                    line("        the plugin under test is in none of its policies");
                }
                if verbose {
                    passed(report).iter().for_each(|step| line(&format!("        {step}")));
                }
                report.details().iter().for_each(|detail| line(&format!("        {detail}")));
            }
        }
    }
    line("");
    line(&last(summary));
    text
}

/// The steps that passed, and what they came to.
fn passed(report: &Report) -> Vec<String> {
    let steps = report.steps.iter().filter(|step| step.passed());
    let said = steps.flat_map(|step| {
        let event = step.event.iter().flat_map(|event| event.details()).map(|line| format!("  {line}"));
        let came = if step.sums.is_empty() { String::new() } else { format!("; came in all: {}", step.came()) };
        [format!("{}{came}", step.title())].into_iter().chain(event).collect::<Vec<_>>()
    });
    said.collect()
}

fn last(summary: &Summary) -> String {
    let Summary { passed, failed, unreadable, steps, events, took } = summary;
    let verdict = if failed + unreadable == 0 { "ok" } else { "FAILED" };
    let unreadable = if *unreadable > 0 { format!(", {unreadable} unreadable") } else { String::new() };
    let seconds = took.as_secs_f64();
    let per_second = summary.steps_per_second();
    format!(
        "{verdict}: {passed} passed, {failed} failed{unreadable}; {steps} steps, {events} events in {seconds:.3} s, {per_second:.0} a second"
    )
}
