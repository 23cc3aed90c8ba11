//! What the commands for policy authors have in common: plugins at hand, and a
//! configuration as a plan for virtual time.

use std::path::{Path, PathBuf};

use portcullis_harness::document::setting::{parse_setting, to_plugin};
use portcullis_harness::{Plan, Shelf};
use portcullis_runtime::{RuntimeConfig, Settings};

use super::Failed;
use crate::config::{Config, Overrides, printable};

/// A shelf that keeps compiled plugins in the user's cache folder: a Python
/// guest takes many seconds to compile.
pub(super) fn shelf() -> Result<Shelf, Failed> {
    shelf_with(RuntimeConfig::default())
}

/// The same for a runtime that is special in another way.
pub(super) fn shelf_with(config: RuntimeConfig) -> Result<Shelf, Failed> {
    let (shelf, notices) =
        Shelf::new(&RuntimeConfig { cache: cache_folder(), ..config }).map_err(anyhow::Error::from)?;
    for notice in notices {
        eprintln!("portcullis: warning: {}", printable(&notice.to_string()));
    }
    Ok(shelf)
}

/// `$XDG_CACHE_HOME/portcullis`, else `~/.cache/portcullis`; none without a home.
fn cache_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    // The runtime makes the folder itself, with the mode that it needs, but not those above.
    std::fs::create_dir_all(&caches).ok()?;
    Some(caches.join("portcullis"))
}

/// Settings given as `NAME=VALUE`.
pub(super) fn settings(given: &[String]) -> Result<Settings, Failed> {
    let settings = given.iter().map(|text| parse_setting(text)).collect::<Result<Vec<_>, _>>();
    settings.map(|settings| to_plugin(&settings)).map_err(Failed::Usage)
}

/// The configuration file's policies and bounds.
pub(super) fn plan(config: &Path, shelf: &Shelf) -> Result<Plan, Failed> {
    let name = config.display().to_string();
    let config = Config::load(Some(config), &Overrides::default())?;
    Ok(crate::setup::plan(&config, &name, shelf.runtime())?)
}
