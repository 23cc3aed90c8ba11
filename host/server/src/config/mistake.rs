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
    /// What a plugin says, or what was found in it.
    #[error("{}", printable(why))]
    Plugin {
        /// Possibly in its own words.
        why: String,
    },
}

/// What can be shown on a terminal: a plugin's words can be anything, and
/// neither move the cursor nor begin a line that looks like ours.
#[must_use]
pub fn printable(text: &str) -> String {
    let harmless = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect()
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

/// One line about a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Ours and the operator's words.
    pub ours: String,
    /// A plugin's words, which a text log has to encode (rule 28).
    pub plugins: Option<String>,
}

impl Mistakes {
    /// Line by line, a plugin's words apart from ours.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let line = |mistake: &Mistake| {
            let place = self.place(mistake);
            if let Cause::Plugin { why } = &mistake.cause {
                return Told { ours: place.trim_end_matches([':', ' ']).to_owned(), plugins: Some(why.clone()) };
            }
            Told { ours: format!("{place}{}", mistake.cause), plugins: None }
        };
        let more = self.more().map(|ours| Told { ours, plugins: None });
        self.list.iter().take(MISTAKES_SHOWN_MAX).map(line).chain(more).collect()
    }

    fn more(&self) -> Option<String> {
        let hidden = self.list.len().saturating_sub(MISTAKES_SHOWN_MAX);
        (hidden > 0).then(|| format!("… and {hidden} more"))
    }

    /// File, line and key, each with a colon and a space behind it.
    fn place(&self, mistake: &Mistake) -> String {
        let place = match &mistake.place {
            Place::Line { line, column: Some(column) } => format!("{}:{line}:{column}: ", self.file),
            Place::Line { line, column: None } => format!("{}:{line}: ", self.file),
            Place::Option(option) => format!("{option}: "),
            Place::Nowhere if self.file.is_empty() => String::new(),
            Place::Nowhere => format!("{}: ", self.file),
        };
        if mistake.key.is_empty() { place } else { format!("{place}{}: ", mistake.key) }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |mistake: &Mistake| format!("{}{}", self.place(mistake), mistake.cause);
        let lines: Vec<_> = self.list.iter().take(MISTAKES_SHOWN_MAX).map(line).chain(self.more()).collect();
        f.write_str(&lines.join("\n"))
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
