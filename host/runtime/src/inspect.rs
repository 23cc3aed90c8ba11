//! What a file is, told from its outermost layer and before anything of it is
//! compiled: a component, what it imports and what it exports.
//!
//! Runs nothing and knows no engine.

use wasmparser::{Chunk, Encoding, Parser, Payload};

use portcullis_domain::Kind;
use portcullis_domain::event::cut;

use crate::limits::PLUGIN_BYTES_MAX;
use crate::load::LoadError;

/// The version of the interface that this host speaks.
pub const INTERFACE_VERSION: &str = "0.1.0";
/// The package of the interface.
const PACKAGE: &str = "portcullis:policy/";
/// What may stand behind an import that exists but does nothing. Language
/// toolchains leave these behind whether a program needs them or not.
const STOOD_IN_FOR: [&str; 5] = ["wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:filesystem/"];
/// Most imports and exports of a plugin: those of a whole WASI world are some forty.
const NAMES_MAX: usize = 200;
/// Longest name that is shown, in bytes.
const NAME_BYTES_MAX: usize = 120;

/// What a component asks for and offers, and the kinds among that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) imports: Vec<String>,
    pub(crate) kinds: Vec<Kind>,
}

/// Whether an import is one that the host stands in for with a trap.
pub(crate) fn is_stood_in_for(import: &str) -> bool {
    STOOD_IN_FOR.iter().any(|package| import.starts_with(package))
}

/// Looks at the file from outside.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Shape, LoadError> {
    if bytes.len() > PLUGIN_BYTES_MAX {
        return Err(LoadError::TooLarge { bytes: bytes.len() });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(if !bytes.is_empty() && b"\0asm".starts_with(bytes) {
            LoadError::Truncated { bytes: bytes.len() }
        } else {
            LoadError::NotWasm
        });
    }
    let (imports, exports) = names(bytes)?;
    check_version(imports.iter().chain(&exports))?;
    let kinds = kinds(&exports)?;
    if let Some(import) = imports.iter().find(|import| !is_known(import)) {
        return Err(LoadError::Import { import: import.clone(), remedy: remedy(import) });
    }
    Ok(Shape { imports, kinds })
}

/// The names of the outermost imports and exports.
#[expect(clippy::wildcard_enum_match_arm, reason = "other sections neither ask for nor offer anything")]
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), LoadError> {
    let malformed = |error: wasmparser::BinaryReaderError| LoadError::Malformed { reason: error.to_string() };
    let truncated = || LoadError::Truncated { bytes: bytes.len() };
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut parser = Parser::new(0);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (consumed, payload) = match parser.parse(rest, false).map_err(malformed)? {
            Chunk::NeedMoreData(_) => return Err(truncated()),
            Chunk::Parsed { consumed, payload } => (consumed, payload),
        };
        rest = rest.get(consumed..).ok_or_else(truncated)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } => return Err(LoadError::CoreModule),
            Payload::ComponentImportSection(section) => {
                for import in section {
                    imports.push(import.map_err(malformed)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
            }
            // What is nested is the compiler's to read.
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                rest = rest.get(unchecked_range.len()..).ok_or_else(truncated)?;
            }
            _ => {}
        }
        let found = imports.len().max(exports.len());
        if found > NAMES_MAX {
            return Err(LoadError::Malformed {
                reason: format!("more than {NAMES_MAX} imports or exports, where a policy has a few"),
            });
        }
    }
    let shorten = |names: Vec<String>| names.iter().map(|name| cut(name, NAME_BYTES_MAX).to_owned()).collect();
    Ok((shorten(imports), shorten(exports)))
}

/// A plugin made for another version gets told so, whatever else is wrong with it.
fn check_version<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), LoadError> {
    let other = names.find_map(|name| {
        let (_, version) = name.strip_prefix(PACKAGE)?.split_once('@')?;
        (version != INTERFACE_VERSION).then(|| version.to_owned())
    });
    other.map_or(Ok(()), |found| Err(LoadError::Version { found }))
}

fn kinds(exports: &[String]) -> Result<Vec<Kind>, LoadError> {
    let has = |interface: &str| exports.contains(&format!("{PACKAGE}{interface}@{INTERFACE_VERSION}"));
    let kinds: Vec<_> = Kind::ALL.into_iter().filter(|kind| has(kind.name())).collect();
    if kinds.is_empty() || !has("plugin") {
        return Err(LoadError::NoPolicy { exports: exports.to_vec() });
    }
    Ok(kinds)
}

fn is_known(import: &str) -> bool {
    let own = import.strip_prefix(PACKAGE).and_then(|rest| rest.strip_suffix(INTERFACE_VERSION));
    matches!(own, Some("types@" | "log@")) || is_stood_in_for(import)
}

/// What removes an import, by the toolchain that leaves it behind.
fn remedy(import: &str) -> &'static str {
    if import.starts_with("wasi:http/") {
        "JavaScript: `jco componentize --disable http --disable fetch-event`; \
         Python: `componentize-py componentize --stub-wasi`"
    } else if import.starts_with("wasi:") {
        "Python: `componentize-py componentize --stub-wasi`; JavaScript: `jco componentize --disable all`; \
         Rust: build for `wasm32-unknown-unknown`; C: link with `-nostdlib`"
    } else {
        "a policy may import nothing but `portcullis:policy/log`: what it needs to know comes with the event"
    }
}
