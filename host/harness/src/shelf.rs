//! Plugins by name, each loaded once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use portcullis_domain::Kind;
use portcullis_runtime::{EngineError, Notice, Plugin, PluginSource, Runtime, RuntimeConfig, SourceError};

/// Loads plugins from files and from the bundle.
#[derive(Debug)]
pub struct Shelf {
    runtime: Runtime,
    loaded: HashMap<PluginSource, Arc<Plugin>>,
}

/// A plugin that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("{plugin}: {error}")]
pub struct ShelfError {
    /// Its name.
    pub plugin: PluginSource,
    /// Why.
    pub error: SourceError,
}

impl Shelf {
    /// An empty shelf, and what isn't as it was meant to be.
    ///
    /// # Errors
    /// [`EngineError`] if nothing can run on this machine.
    pub fn new(config: &RuntimeConfig) -> Result<(Self, Vec<Notice>), EngineError> {
        let (runtime, notices) = Runtime::new(config)?;
        Ok((Self { runtime, loaded: HashMap::new() }, notices))
    }

    /// What loads.
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The plugin of that name: `bundle:ban` and the like, or a path relative to `base`.
    ///
    /// # Errors
    /// [`ShelfError`].
    pub fn plugin(&mut self, name: &str, base: &Path) -> Result<Arc<Plugin>, ShelfError> {
        self.get(PluginSource::parse(name, base))
    }

    /// The default plugin of that kind.
    ///
    /// # Errors
    /// [`ShelfError`], if the program was built with a broken one.
    pub fn bundle(&mut self, kind: Kind) -> Result<Arc<Plugin>, ShelfError> {
        self.get(PluginSource::Bundle(kind))
    }

    fn get(&mut self, source: PluginSource) -> Result<Arc<Plugin>, ShelfError> {
        if let Some(known) = self.loaded.get(&source) {
            return Ok(Arc::clone(known));
        }
        match self.runtime.load_from(&source) {
            Ok(plugin) => {
                self.loaded.insert(source, Arc::clone(&plugin));
                Ok(plugin)
            }
            Err(error) => Err(ShelfError { plugin: source, error }),
        }
    }
}
