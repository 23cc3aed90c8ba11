//! From a file's bytes to a plugin that can be configured, or to a refusal
//! that says what to do about it.
//!
//! Knows no policy: one plugin can serve several of them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::event::cut;
use portcullis_domain::{Kind, StateFormat};
use sha2::{Digest as _, Sha256};
use wasmtime::component::types::{ComponentInstance, ComponentItem};
use wasmtime::component::{Component, HasSelf, Linker, ResourceType};

use crate::bindings::exports::portcullis::policy as exports;
use crate::bindings::portcullis::policy::{log, types as wire};
use crate::cache::Cache;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::inspect::{self, INTERFACE_VERSION};
use crate::instance::{Exports, Guarded, Instance, Prepared, StandIn};
use crate::limits::{Limits, PLUGIN_BYTES_MAX};
use crate::settings::{SettingKind, SettingSpec, SettingValue};

/// CPU time of the first instantiation and of `describe`, in which an
/// interpreter may have to come up.
const DESCRIBE_DEADLINE: Duration = Duration::from_millis(200);
/// Longest name, version and setting name, in bytes.
const WORD_BYTES_MAX: usize = 64;
/// Longest name of a state format, in bytes.
const STATE_FORMAT_BYTES_MAX: usize = 128;
/// Longest text of documentation, in bytes; the rest is cut.
const DOC_BYTES_MAX: usize = 2048;
/// Most settings of a plugin.
const SETTINGS_MAX: usize = 128;

/// Why a file is no plugin for this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nobody writes a policy that large.
    #[error("{bytes} bytes, where a plugin has at most {PLUGIN_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Something else altogether.
    #[error("not WebAssembly: it doesn't begin with `\\0asm`")]
    NotWasm,
    /// The rest is missing, as after a broken download.
    #[error("cut short after {bytes} bytes: copy it again, and rename it into place when it is whole")]
    Truncated {
        /// Its size.
        bytes: usize,
    },
    /// WebAssembly, but without the layer that an interface needs.
    #[error(
        "a core module, where a component is needed: wrap it with `wasm-tools component new`, \
         after `wasm-tools component embed` with the interface's WIT"
    )]
    CoreModule,
    /// Not valid WebAssembly.
    #[error("not a valid component: {reason}")]
    Malformed {
        /// Where and why, in the validator's words.
        reason: String,
    },
    /// A component, but not a policy.
    #[error(
        "no policy: it has to export `portcullis:policy/plugin` and one of `wait`, `ban` and `scanner` at version {INTERFACE_VERSION}, and exports {}",
        list(exports)
    )]
    NoPolicy {
        /// What it exports.
        exports: Vec<String>,
    },
    /// A policy for another host.
    #[error("made for version {found} of portcullis:policy, where this host speaks {INTERFACE_VERSION}")]
    Version {
        /// The version that it names.
        found: String,
    },
    /// It wants what no plugin gets.
    #[error("imports `{import}`, which a plugin doesn't get. {remedy}")]
    Import {
        /// The first such import.
        import: String,
        /// What removes it.
        remedy: &'static str,
    },
    /// The names are right and the types are not.
    #[error("its interface is not that of portcullis:policy@{INTERFACE_VERSION}: {reason}")]
    Interface {
        /// Which part, in the linker's words.
        reason: String,
    },
    /// It failed before it had judged anything.
    #[error("it could not describe itself: {0}")]
    Describe(Failure),
    /// What it says about itself makes no sense.
    #[error("its description makes no sense: {reason}")]
    Description {
        /// Which part.
        reason: String,
    },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// What it is for.
    pub doc: String,
    /// How it writes its state.
    pub state_format: StateFormat,
    /// What can be set.
    pub settings: Vec<SettingSpec>,
}

/// A loaded plugin. It holds code and no instance; policies make those.
pub struct Plugin {
    prepared: Prepared,
    description: Description,
    kinds: Vec<Kind>,
    imports: Vec<String>,
    origin: String,
    size: usize,
    digest: [u8; 32],
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("origin", &self.origin)
            .field("digest", &self.digest_hex())
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(crate) fn load(
        engine: &Engine,
        cache: Option<&Cache>,
        bytes: &[u8],
        origin: &str,
    ) -> Result<Arc<Self>, LoadError> {
        let shape = inspect::inspect(bytes)?;
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let component = match cache {
            Some(cache) => cache.compile(engine, bytes, digest),
            None => Component::from_binary(engine.wasmtime(), bytes),
        };
        let component = component.map_err(|error| LoadError::Malformed { reason: said(&error) })?;
        let prepared = prepare(engine, &component).map_err(|error| LoadError::Interface { reason: said(&error) })?;
        let limits = Limits { deadline: DESCRIBE_DEADLINE, ..Limits::default() };
        let mut instance = Instance::start(&prepared, &limits).map_err(LoadError::Describe)?;
        for kind in &shape.kinds {
            instance.check(&prepared, *kind).map_err(|failure| LoadError::Interface { reason: failure.detail })?;
        }
        let description = description(instance.describe().map_err(LoadError::Describe)?)?;
        Ok(Arc::new(Self {
            prepared,
            description,
            kinds: shape.kinds,
            imports: shape.imports,
            origin: origin.to_owned(),
            size: bytes.len(),
            digest,
        }))
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// What it says about itself.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The kinds that it can be configured as.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// What it imports, by name; what the host only stands in for included.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Where it came from: a file's name, or `bundle`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The size of its file, in bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The SHA-256 of its file.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The SHA-256 of its file, as people compare it.
    #[must_use]
    pub fn digest_hex(&self) -> String {
        hex(&self.digest)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn said(error: &wasmtime::Error) -> String {
    cut(&format!("{error:#}"), 512).to_owned()
}

/// Links `log`, and traps for what is stood in for.
fn prepare(engine: &Engine, component: &Component) -> wasmtime::Result<Prepared> {
    let mut linker = Linker::<Guarded>::new(engine.wasmtime());
    log::add_to_linker::<_, HasSelf<crate::log::CallLog>>(&mut linker, |guarded| &mut guarded.log)?;
    let ty = component.component_type();
    for (name, import) in ty.imports(engine.wasmtime()) {
        // `inspect` has refused whatever isn't the interface's own or stood in for.
        if let ComponentItem::ComponentInstance(instance) = import.ty
            && inspect::is_stood_in_for(name)
        {
            stand_in(engine, &mut linker, name, &instance)?;
        }
    }
    let pre = linker.instantiate_pre(component)?;
    let has = |interface: &str| {
        let name = format!("portcullis:policy/{interface}@{INTERFACE_VERSION}");
        component.get_export_index(None, &name).is_some()
    };
    let exports = Exports {
        plugin: exports::plugin::GuestIndices::new(&pre)?,
        wait: has("wait").then(|| exports::wait::GuestIndices::new(&pre)).transpose()?,
        ban: has("ban").then(|| exports::ban::GuestIndices::new(&pre)).transpose()?,
        scanner: has("scanner").then(|| exports::scanner::GuestIndices::new(&pre)).transpose()?,
    };
    Ok(Prepared { pre, exports, metered: engine.is_metered() })
}

/// Gives an imported interface functions that trap when they are called.
fn stand_in(
    engine: &Engine,
    linker: &mut Linker<Guarded>,
    interface: &str,
    instance: &ComponentInstance,
) -> wasmtime::Result<()> {
    let mut linked = linker.instance(interface)?;
    for (name, export) in instance.exports(engine.wasmtime()) {
        match export.ty {
            ComponentItem::ComponentFunc(_) => {
                let import = format!("{interface}#{name}");
                linked
                    .func_new(name, move |_, _, _, _| Err(wasmtime::Error::new(StandIn { import: import.clone() })))?;
            }
            ComponentItem::Resource(_) => linked.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?,
            ComponentItem::Type(_)
            | ComponentItem::CoreFunc(_)
            | ComponentItem::Module(_)
            | ComponentItem::Component(_)
            | ComponentItem::ComponentInstance(_) => {}
        }
    }
    Ok(())
}

/// Takes a description in, bounded and checked.
fn description(said: wire::Description) -> Result<Description, LoadError> {
    let nonsense = |reason: String| Err(LoadError::Description { reason });
    let is_word = |text: &str, bytes_max: usize| {
        (1..=bytes_max).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    for (what, text, bytes_max) in [
        ("name", &said.name, WORD_BYTES_MAX),
        ("version", &said.version, WORD_BYTES_MAX),
        ("state-format", &said.state_format, STATE_FORMAT_BYTES_MAX),
    ] {
        if !is_word(text, bytes_max) {
            return nonsense(format!("{what} has to be one word of at most {bytes_max} bytes"));
        }
    }
    if said.settings.len() > SETTINGS_MAX {
        return nonsense(format!("{} settings, where {SETTINGS_MAX} are allowed", said.settings.len()));
    }
    let mut settings: Vec<SettingSpec> = Vec::with_capacity(said.settings.len());
    for spec in said.settings {
        if !is_word(&spec.name, WORD_BYTES_MAX) {
            return nonsense(format!("a setting's name has to be one word of at most {WORD_BYTES_MAX} bytes"));
        }
        if settings.iter().any(|other| other.name == spec.name) {
            return nonsense(format!("the setting {} is declared twice", spec.name));
        }
        let kind = SettingKind::from(spec.kind);
        let default = spec.default_value.map(SettingValue::from);
        if let Some(default) = &default
            && default.kind() != kind
        {
            return nonsense(format!("the setting {} is {kind}, and its default {}", spec.name, default.kind()));
        }
        settings.push(SettingSpec { name: spec.name, kind, default, doc: cut(&spec.doc, DOC_BYTES_MAX).to_owned() });
    }
    Ok(Description {
        name: said.name,
        version: said.version,
        doc: cut(&said.doc, DOC_BYTES_MAX).to_owned(),
        state_format: StateFormat::new(&said.state_format),
        settings,
    })
}
