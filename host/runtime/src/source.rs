//! Where a plugin's bytes come from: a file, or the bundle by name.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_domain::Kind;

use crate::limits::PLUGIN_BYTES_MAX;
use crate::load::{LoadError, Plugin};
use crate::runtime::Runtime;

/// What a name such as `bundle:ban` begins with.
const BUNDLE: &str = "bundle:";

/// Where a plugin is to be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginSource {
    /// The plugin of that kind which is part of the program.
    Bundle(Kind),
    /// A component in a file.
    File(PathBuf),
}

impl PluginSource {
    /// `bundle:wait`, `bundle:ban` and `bundle:scanner`; anything else is a
    /// path, relative to `base`.
    #[must_use]
    pub fn parse(name: &str, base: &Path) -> Self {
        let bundled = name.strip_prefix(BUNDLE).and_then(|name| Kind::ALL.into_iter().find(|kind| kind.name() == name));
        bundled.map_or_else(|| Self::File(base.join(name)), Self::Bundle)
    }
}

impl fmt::Display for PluginSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(kind) => write!(f, "{BUNDLE}{kind}"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A plugin's file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// So large that it isn't read to its end.
    #[error("{bytes} bytes, where a plugin has at most {PLUGIN_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// There is no such file, and its name is like one of the bundle.
    #[error(
        "there is neither such a file nor such a plugin in the bundle, which has bundle:wait, bundle:ban and bundle:scanner"
    )]
    NotInBundle,
}

/// Why a plugin can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Its file can't be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// It can't be loaded.
    #[error("{0}")]
    Load(#[from] LoadError),
}

/// Reads a plugin's file; one that is far too large isn't read to its end.
///
/// # Errors
/// [`ReadError`].
pub fn read_plugin(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let like_bundle = |error: &io::Error| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        error.kind() == io::ErrorKind::NotFound && name.starts_with(BUNDLE.as_bytes())
    };
    let file = File::open(path).map_err(|error| match like_bundle(&error) {
        true => ReadError::NotInBundle,
        false => error.into(),
    })?;
    let size = file.metadata()?.len();
    if size > PLUGIN_BYTES_MAX as u64 {
        return Err(ReadError::TooLarge { bytes: size });
    }
    file.take(PLUGIN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Runtime {
    /// The plugin at `source`, which is also the name that it goes by in messages.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn load_from(&self, source: &PluginSource) -> Result<Arc<Plugin>, SourceError> {
        match source {
            PluginSource::Bundle(kind) => Ok(self.bundle(*kind)?),
            PluginSource::File(path) => Ok(self.load(&read_plugin(path)?, &source.to_string())?),
        }
    }
}
