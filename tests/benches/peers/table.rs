//! A scenario's tables: each contender's figures, how Portcullis stands to each,
//! and what of it is a goal.

use portcullis_tests::{Spread, report_goal};

use super::contender::{Contender, Turn, Which};
use super::scenario::{Figure, Goal, Scenario};

/// A column of figures, and how many digits of them say something.
type Column = (&'static str, fn(&Turn) -> f64, usize);

const COLUMNS: [Column; 5] = [
    ("CPU-µs per request", |turn| turn.cpu_us, 2),
    ("requests/s", |turn| turn.requests_per_second, 0),
    ("p50 ms", |turn| turn.p50_us / 1000.0, 2),
    ("p99 ms", |turn| turn.p99_us / 1000.0, 2),
    ("RSS MiB", |turn| turn.resident_mib, 1),
];

pub(crate) fn print(scenario: &Scenario, contenders: &[Contender]) {
    println!("\n### {}\n", scenario.name);
    let names = COLUMNS.map(|(name, ..)| name).join(" | ");
    println!("| median (least to most) | {names} | policy calls per request |");
    println!("|{}", " --- |".repeat(COLUMNS.len() + 2));
    for contender in contenders {
        let figures = COLUMNS.map(|(_, figure, digits)| of(contender, figure).show(digits)).join(" | ");
        let judged: Option<Vec<f64>> = contender.turns.iter().map(|turn| turn.judged).collect();
        let judged = judged.map_or("-".to_owned(), |judged| Spread::of(judged.into_iter()).show(2));
        println!("| {} | {figures} | {judged} |", contender.which.name());
    }
    let Some(ours) = contenders.iter().find(|contender| contender.which == Which::Portcullis) else { return };
    println!("\n| Portcullis against | {names} |");
    println!("|{}", " --- |".repeat(COLUMNS.len() + 1));
    for other in contenders.iter().filter(|other| other.which != Which::Portcullis) {
        let ratios = COLUMNS.map(|(_, figure, _)| ratio(ours, other, figure).show(2)).join(" | ");
        println!("| {} | {ratios} |", other.which.name());
    }
    scenario.goals.iter().for_each(|goal| report(goal, contenders));
}

fn report(goal: &Goal, contenders: &[Contender]) {
    let find = |which| contenders.iter().find(|contender| contender.which == which).unwrap();
    let (ours, theirs) = (find(goal.ours), find(goal.theirs));
    report_goal(
        goal.name,
        match goal.figure {
            Figure::Cpu => ratio(ours, theirs, |turn| turn.cpu_us),
            Figure::PerCpu => ratio(ours, theirs, |turn| 1.0 / turn.cpu_us),
            Figure::P99 => ratio(ours, theirs, |turn| turn.p99_us),
        },
    );
}

fn of(contender: &Contender, figure: fn(&Turn) -> f64) -> Spread {
    Spread::of(contender.turns.iter().map(figure))
}

/// Round by round: what drifts from one to the next drifts for both.
fn ratio(ours: &Contender, other: &Contender, figure: fn(&Turn) -> f64) -> Spread {
    Spread::of(ours.turns.iter().zip(&other.turns).map(|(ours, other)| figure(ours) / figure(other)))
}
