//! Where plugins come from: one engine, one cache, and the bundle.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use portcullis_domain::Kind;

use crate::bundle;
use crate::cache::Cache;
use crate::engine::{Engine, EngineError};
use crate::load::{LoadError, Plugin};
use crate::notice::Notice;

/// How the runtime is to come up.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// Where compiled code is kept; none: plugins are compiled at each start.
    pub cache: Option<PathBuf>,
    /// Whether the fuel that guests use is counted, which makes every call
    /// slower: for measuring, see [`Probe::fuel_used`](crate::Probe::fuel_used).
    pub metered: bool,
}

/// Loads plugins. One is enough for a program; whatever it loaded works on
/// without it.
pub struct Runtime {
    engine: Engine,
    cache: Option<Cache>,
    bundle: [OnceLock<Arc<Plugin>>; Kind::ALL.len()],
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

impl Runtime {
    /// Comes up, and says what isn't as it was meant to be.
    ///
    /// # Errors
    /// [`EngineError`] if nothing can run on this machine.
    pub fn new(config: &RuntimeConfig) -> Result<(Self, Vec<Notice>), EngineError> {
        let (engine, notice) = Engine::new(config.metered)?;
        let mut notices: Vec<_> = notice.into_iter().collect();
        let cache = config.cache.as_ref().and_then(|folder| {
            Cache::open(folder)
                .map_err(|error| {
                    notices.push(Notice::NoCache { folder: folder.clone(), reason: error.to_string() });
                })
                .ok()
        });
        Ok((Self { engine, cache, bundle: Default::default() }, notices))
    }

    /// Makes a plugin of a file's bytes; `origin` is the name that it goes by
    /// in messages.
    ///
    /// # Errors
    /// [`LoadError`], which says what to do about it.
    pub fn load(&self, bytes: &[u8], origin: &str) -> Result<Arc<Plugin>, LoadError> {
        Plugin::load(&self.engine, self.cache.as_ref(), bytes, origin)
    }

    /// The default plugin of that kind, which is part of the program. Loaded
    /// when first asked for.
    ///
    /// # Errors
    /// [`LoadError`], if the program was built with a broken one.
    pub fn bundle(&self, kind: Kind) -> Result<Arc<Plugin>, LoadError> {
        let slot = match kind {
            Kind::Wait => &self.bundle[0],
            Kind::Ban => &self.bundle[1],
            Kind::Scanner => &self.bundle[2],
        };
        if let Some(plugin) = slot.get() {
            return Ok(Arc::clone(plugin));
        }
        let plugin = self.load(bundle::component(kind), bundle::ORIGIN)?;
        Ok(Arc::clone(slot.get_or_init(|| plugin)))
    }
}
