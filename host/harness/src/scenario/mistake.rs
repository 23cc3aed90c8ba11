//! The mistakes of a scenario file, written out: others' words as they are in
//! reports, and lines without columns.

use std::fmt;

use crate::document::mistake::{DocumentError, MISTAKES_SHOWN_MAX, Mistake, escaped, more};

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
        for (index, mistake) in self.list.iter().take(MISTAKES_SHOWN_MAX).enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}:", escaped(&self.file))?;
            if let Some(line) = mistake.line() {
                write!(f, "{line}:")?;
            }
            if !mistake.key.is_empty() {
                write!(f, " {}:", escaped(&mistake.key))?;
            }
            write!(f, " {}", mistake.cause)?;
        }
        more(&self.list).map_or(Ok(()), |more| write!(f, "\n{more}"))
    }
}

impl std::error::Error for Mistakes {}

/// Why there is no scenario; its mistakes too are about what doesn't fit what
/// is under test.
pub type ScenarioError = DocumentError<Mistakes>;
