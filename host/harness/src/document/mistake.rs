//! What is wrong with a document: every mistake, with its place.
//!
//! It must not know what keys there are. How a list of mistakes is written out
//! is the reader's business: the server tells its log and a terminal, where a
//! plugin's words stand apart, a scenario's stand within a report.

use std::path::PathBuf;

/// Most mistakes that are written out; the rest is counted.
pub const MISTAKES_SHOWN_MAX: usize = 50;
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

impl From<usize> for Place {
    fn from(line: usize) -> Self {
        Self::Line { line, column: None }
    }
}

impl From<Option<usize>> for Place {
    fn from(line: Option<usize>) -> Self {
        line.map_or(Self::Nowhere, Self::from)
    }
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
    /// Where.
    pub place: Place,
    /// The full key, such as `auth.mode`; empty for errors of syntax.
    pub key: String,
    /// What is wrong.
    pub cause: Cause,
}

impl Mistake {
    /// One about `key`.
    pub fn new(place: impl Into<Place>, key: impl Into<String>, cause: Cause) -> Self {
        Self { place: place.into(), key: key.into(), cause }
    }

    /// Its line, if it has one.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        match self.place {
            Place::Line { line, .. } => Some(line),
            Place::Option(_) | Place::Nowhere => None,
        }
    }
}

/// In the order of the file; what has no line comes last.
pub fn sort(mistakes: &mut [Mistake]) {
    mistakes.sort_by_key(|mistake| mistake.line().unwrap_or(usize::MAX));
}

/// A last line about the mistakes that aren't written out, if there are any.
#[must_use]
pub fn more(mistakes: &[Mistake]) -> Option<String> {
    let hidden = mistakes.len().saturating_sub(MISTAKES_SHOWN_MAX);
    (hidden > 0).then(|| format!("… and {hidden} more"))
}

/// Why there is nothing of what a document should have said; `M` are its mistakes.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError<M> {
    /// The file can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is larger than any such document.
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
    Wrong(M),
}

impl<M: AsRef<[Mistake]>> DocumentError<M> {
    /// The mistakes, where the file could be read at all.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Wrong(mistakes) => mistakes.as_ref(),
            Self::Read { .. } | Self::TooLarge { .. } | Self::NotUtf8 { .. } => &[],
        }
    }
}

/// What a parser of one value says; the reader adds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What may stand there.
    pub expected: String,
    /// The right value that looks most like what stands there.
    pub nearest: Option<String>,
}

impl Wrong {
    /// Nothing looks like it.
    pub fn expected(expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), nearest: None }
    }
}

/// `text` as a message shows it: quoted, short, and on one line.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(FOUND_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Whether a character can be shown on a terminal as it is: it moves no cursor,
/// begins no line, and turns no text around to make it look like other text.
#[must_use]
pub fn is_harmless(c: char) -> bool {
    // U+2028 and its like begin a line for some; direction marks hide what follows.
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !turns && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// Others' words on one line: what does harm there is written as Rust writes
/// it in a text, the rest stays.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) {
            line.push(c);
        } else {
            line.extend(c.escape_unicode());
        }
    }
    line
}

/// The candidate that looks most like `text`, if one is near enough to be meant.
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let near = |candidate: &'c str| (strsim::jaro_winkler(&text.to_lowercase(), candidate), candidate);
    let best = candidates.into_iter().map(near).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then_some(best.1)
}
