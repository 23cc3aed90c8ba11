//! Reads a scenario file key by key and collects every mistake on the way.
//!
//! What is left unread at the end is an unknown key. What makes no sense
//! together is the business of the values themselves.

mod document;
mod sections;
mod steps;

use std::path::Path;

use super::mistake::{Mistakes, ScenarioError};
use super::model::Scenario;
use crate::document::read_file;

/// Largest scenario file, in bytes.
pub const SCENARIO_BYTES_MAX: u64 = 1 << 20;

impl Scenario {
    /// Reads a file; paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ScenarioError`], with every mistake there is.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = read_file(path, SCENARIO_BYTES_MAX)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &path.display().to_string(), folder).map_err(ScenarioError::Wrong)
    }

    /// Reads `text` as the file of that name whose relative paths start at `folder`.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn parse(text: &str, file: &str, folder: &Path) -> Result<Self, Mistakes> {
        let named = |scenario| Self { file: file.to_owned(), folder: folder.to_owned(), ..scenario };
        let wrong = |list| Mistakes { file: file.to_owned(), list };
        sections::read(text).map(|(scenario, _)| named(scenario)).map_err(wrong)
    }
}

#[cfg(test)]
mod tests;
