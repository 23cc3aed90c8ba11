//! Reads a scenario file key by key and collects every mistake on the way.
//!
//! What is left unread at the end is an unknown key. What makes no sense
//! together is the business of the values themselves.

mod document;
mod sections;
mod settings;
mod steps;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::mistake::{Mistakes, ScenarioError};
use super::model::Scenario;

/// Largest scenario file, in bytes.
pub const SCENARIO_BYTES_MAX: u64 = 1 << 20;

impl Scenario {
    /// Reads a file; paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ScenarioError`], with every mistake there is.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let text = read_file(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Self::parse(&text, &path.display().to_string(), folder)?)
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

fn read_file(path: &Path) -> Result<String, ScenarioError> {
    let owned = || -> PathBuf { path.to_owned() };
    let read = |error| ScenarioError::Read { path: owned(), error };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(SCENARIO_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > SCENARIO_BYTES_MAX {
        return Err(ScenarioError::TooLarge { path: owned(), bytes_max: SCENARIO_BYTES_MAX });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid_up_to = error.utf8_error().valid_up_to();
        ScenarioError::NotUtf8 { path: owned(), valid_up_to }
    })
}

#[cfg(test)]
mod tests;
