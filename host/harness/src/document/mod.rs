//! Documents that people write in TOML: read key by key, every mistake found,
//! each with its line, what stands there and what may.
//!
//! Scenario files and the server's configuration are read by this. It must not
//! know what keys either has: a reader brings its own table of them. Policies
//! ([`policy`]) and their settings ([`setting`]) are written the same in both.

pub mod mistake;
pub mod policy;
pub mod reader;
pub mod setting;
pub mod value;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use mistake::DocumentError;

/// The text of a document of at most `bytes_max` bytes.
///
/// # Errors
/// Every [`DocumentError`] but [`DocumentError::Wrong`].
pub fn read_file<M>(path: &Path, bytes_max: u64) -> Result<String, DocumentError<M>> {
    let read = |error| DocumentError::Read { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    File::open(path).map_err(read)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > bytes_max {
        return Err(DocumentError::TooLarge { path: path.to_owned(), bytes_max });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid_up_to = error.utf8_error().valid_up_to();
        DocumentError::NotUtf8 { path: path.to_owned(), valid_up_to }
    })
}
