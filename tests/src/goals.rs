//! The goals of `benches/goals.tsv`: what benchmarks found is told where
//! `tests/bench` can set it beside them.

use std::env;
use std::fs;
use std::io::Write as _;

/// Least, middle and most of some figures.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        Self { min: sorted[0], median: sorted[sorted.len() / 2], max: sorted[sorted.len() - 1] }
    }

    /// `1.23 (1.20 to 1.31)`, with so many digits.
    #[must_use]
    pub fn show(self, digits: usize) -> String {
        let Self { min, median, max } = self;
        format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
    }
}

/// Adds a figure to the file that `PORTCULLIS_GOALS` names, if it names one.
///
/// # Panics
/// If there is no goal of that name, or the file can't be written.
pub fn report_goal(name: &str, found: Spread) {
    let goals = include_str!("../benches/goals.tsv");
    assert!(goals.lines().any(|line| line.split('\t').next() == Some(name)), "there is no goal {name}");
    if let Some(file) = env::var_os("PORTCULLIS_GOALS") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{name}\t{}\t{}\t{}", found.median, found.min, found.max).unwrap();
    }
}
