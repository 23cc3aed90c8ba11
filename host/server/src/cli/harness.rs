//! What the commands for policy authors have in common: plugins at hand, and a
//! configuration as a plan for virtual time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_harness::document::mistake::nearest;
use portcullis_harness::document::setting::{Setting, parse_setting, to_plugin};
use portcullis_harness::{Plan, Shelf};
use portcullis_runtime::{Plugin, PluginSource, RuntimeConfig, Settings};

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
pub(super) fn cache_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    // The runtime makes the folder itself, with the mode that it needs, but not those above.
    std::fs::create_dir_all(&caches).ok()?;
    Some(caches.join("portcullis"))
}

/// Plugins of more bytes take seconds to compile: a whole language is in them.
const LARGE_PLUGIN_BYTES: u64 = 4 << 20;

/// Says so before a file is loaded that may take long: else it looks as if
/// nothing happened.
pub(super) fn tell_if_large(source: &PluginSource) {
    let PluginSource::File(path) = source else { return };
    let Ok(bytes) = std::fs::metadata(path).map(|file| file.len()) else { return };
    if bytes > LARGE_PLUGIN_BYTES {
        let (path, mib) = (path.display().to_string(), bytes >> 20);
        eprintln!(
            "portcullis: loading {} ({mib} MiB); if it isn't in the cache, compiling it takes a while",
            printable(&path)
        );
    }
}

/// The plugin of that name. One that can't be read or loaded is a mistake in what
/// was asked for, whatever the command: it didn't run, and so there is no answer.
pub(super) fn plugin(shelf: &mut Shelf, name: &str) -> Result<Arc<Plugin>, Failed> {
    tell_if_large(&PluginSource::parse(name, Path::new("")));
    shelf.plugin(name, Path::new("")).map_err(|error| Failed::Usage(error.to_string()))
}

/// Settings given as `NAME=VALUE`, each once, for plugins that have them: a name
/// that none has is a slip, and what is measured then isn't what was meant.
pub(super) fn settings<'p>(
    given: &[String],
    plugins: impl Iterator<Item = &'p Plugin> + Clone,
) -> Result<Settings, Failed> {
    let mut settings: Vec<Setting> = Vec::with_capacity(given.len());
    for text in given {
        let setting = parse_setting(text).map_err(Failed::Usage)?;
        let name = &setting.name;
        let mut known =
            plugins.clone().flat_map(|plugin| &plugin.description().settings).map(|spec| spec.name.as_str());
        if !known.clone().any(|known| known == name) {
            let hint = match nearest(name, known.clone()) {
                Some(near) => format!(" (did you mean {near}?)"),
                None if known.next().is_none() => ": there are no settings".to_owned(),
                None => String::new(),
            };
            return Err(Failed::Usage(format!("--set {name}: no plugin here has this setting{hint}")));
        }
        if settings.iter().any(|before| before.name == *name) {
            return Err(Failed::Usage(format!("--set {name}: it is given more than once")));
        }
        settings.push(setting);
    }
    Ok(to_plugin(&settings))
}

/// The configuration file's policies and bounds.
pub(super) fn plan(config: &Path, shelf: &Shelf) -> Result<Plan, Failed> {
    let name = config.display().to_string();
    let config = Config::load(Some(config), &Overrides::default())?;
    Ok(crate::setup::plan(&config, &name, shelf.runtime())?)
}
