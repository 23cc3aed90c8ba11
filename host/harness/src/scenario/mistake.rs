//! What is wrong with a scenario file: every mistake, with its line.
//!
//! It must not know what keys there are.

use std::fmt;
use std::path::PathBuf;

/// Most mistakes that are written out; the rest is counted.
const MISTAKES_SHOWN_MAX: usize = 50;
/// Longest value that a message repeats, in characters.
const FOUND_CHARS_MAX: usize = 60;

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The file isn't TOML.
    #[error("{reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// There is no such key.
    #[error("there is no such key{}", near(nearest.as_deref()))]
    UnknownKey {
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A value of the wrong type or form.
    #[error("found {found}, expected {expected}{}", near(nearest.as_deref()))]
    Value {
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: String,
        /// The right value that looks most like it.
        nearest: Option<String>,
    },
    /// A key that is needed here is missing.
    #[error("missing; expected {expected}")]
    Missing {
        /// What has to stand there.
        expected: String,
    },
    /// Keys that don't go together.
    #[error("{why}")]
    Conflict {
        /// Why not, and what to do.
        why: String,
    },
    /// What a plugin says, or what was found in it: possibly in its own words.
    #[error("{}", escaped(why))]
    Plugin {
        /// As it came.
        why: String,
    },
}

fn near(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(" (did you mean {nearest}?)")).unwrap_or_default()
}

/// One mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; `None` for something that isn't there.
    pub line: Option<usize>,
    /// The key, such as `step.expect`; empty for errors of syntax.
    pub key: String,
    /// What is wrong.
    pub cause: Cause,
}

/// All that is wrong with one scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The name under which the file was given.
    pub file: String,
    /// In the order of the file.
    pub list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, key, cause }) in self.list.iter().take(MISTAKES_SHOWN_MAX).enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}:", escaped(&self.file))?;
            if let Some(line) = line {
                write!(f, "{line}:")?;
            }
            if !key.is_empty() {
                write!(f, " {}:", escaped(key))?;
            }
            write!(f, " {cause}")?;
        }
        match self.list.len().saturating_sub(MISTAKES_SHOWN_MAX) {
            0 => Ok(()),
            hidden => write!(f, "\n… and {hidden} more"),
        }
    }
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is larger than any scenario.
    #[error("{}: larger than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is taken.
        bytes_max: u64,
    },
    /// The file isn't UTF-8.
    #[error("{}: not UTF-8 at byte {valid_up_to}", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Bytes before the first wrong one.
        valid_up_to: usize,
    },
    /// What it says is wrong, or doesn't fit what is under test.
    #[error("{0}")]
    Wrong(#[from] Mistakes),
}

impl std::error::Error for Mistakes {}

/// What a parser of one value says; the reader adds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) expected: String,
    pub(super) nearest: Option<String>,
}

impl Wrong {
    pub(super) fn expected(expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), nearest: None }
    }
}

/// `text` as a message shows it: quoted, short, and on one line.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Others' words on one line: what moves a cursor or begins a line is written
/// as Rust writes it in a text, the rest stays.
pub(super) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        // U+2028 and its like begin a line for some; direction marks hide what follows.
        if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            line.extend(c.escape_unicode());
        } else {
            line.push(c);
        }
    }
    line
}

/// The candidate that looks most like `text`, if one is near enough to be meant.
pub(super) fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let near = |candidate: &'c str| (strsim::jaro_winkler(&text.to_lowercase(), candidate), candidate);
    let best = candidates.into_iter().map(near).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then_some(best.1)
}
