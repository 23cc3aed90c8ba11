//! What is wrong with a configuration: every mistake, with its place.
//!
//! It must not know what keys there are.

use std::fmt;
use std::path::PathBuf;

/// Most mistakes that are written out; the rest is counted.
const MISTAKES_SHOWN_MAX: usize = 50;
/// Longest value that a message repeats, in characters.
const FOUND_CHARS_MAX: usize = 60;

/// Where a mistake stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, from 1, and the column for errors of syntax.
    Line {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: Option<usize>,
    },
    /// An option of the command line, such as `--listen`.
    Option(&'static str),
    /// Something that isn't there.
    Nowhere,
}

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
    /// Two settings that don't go together.
    #[error("{why}")]
    Conflict {
        /// Why not, and what to do.
        why: String,
    },
}

fn near(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!(" (did you mean {nearest}?)")).unwrap_or_default()
}

/// One mistake and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// The full key, such as `auth.mode`; empty for errors of syntax.
    pub key: String,
    /// What is wrong.
    pub cause: Cause,
}

/// All that is wrong with one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The name under which the file was given; empty without one.
    pub file: String,
    /// In the order of the file.
    pub list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().take(MISTAKES_SHOWN_MAX).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &mistake.place {
                Place::Line { line, column: Some(column) } => write!(f, "{}:{line}:{column}: ", self.file)?,
                Place::Line { line, column: None } => write!(f, "{}:{line}: ", self.file)?,
                Place::Option(option) => write!(f, "{option}: ")?,
                Place::Nowhere if self.file.is_empty() => {}
                Place::Nowhere => write!(f, "{}: ", self.file)?,
            }
            if !mistake.key.is_empty() {
                write!(f, "{}: ", mistake.key)?;
            }
            mistake.cause.fmt(f)?;
        }
        let hidden = self.list.len().saturating_sub(MISTAKES_SHOWN_MAX);
        if hidden > 0 {
            write!(f, "\n… and {hidden} more")?;
        }
        Ok(())
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is larger than any configuration.
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
    /// What it says is wrong.
    #[error("{0}")]
    Wrong(Mistakes),
}

impl ConfigError {
    /// The mistakes, where the file could be read at all.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Wrong(mistakes) => &mistakes.list,
            Self::Read { .. } | Self::TooLarge { .. } | Self::NotUtf8 { .. } => &[],
        }
    }
}

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

/// `text` as a message shows it: quoted, short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The candidate that looks most like `text`, if one is near enough to be meant.
pub(super) fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let near = |candidate: &'c str| (strsim::jaro_winkler(&text.to_lowercase(), candidate), candidate);
    let best = candidates.into_iter().map(near).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then_some(best.1)
}
