//! From a core module to a component, and what a component of ours must be: it
//! exports its kinds and `plugin`, and imports no function but the host's `log`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{Resolve, World, WorldItem, WorldKey};

use crate::guests::Guest;

const PACKAGE: &str = "portcullis:policy";
const VERSION: &str = "0.1.0";

pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    // The interface's types travel in custom sections of the module.
    let module = without_custom_sections(module, |name| !name.starts_with(b"component-type"))?;
    let component = ComponentEncoder::default().module(&module)?.validate(true).encode()?;
    without_custom_sections(&component, |_| true)
}

/// Drops custom sections by name: they hold names for debuggers and tools. Modules and
/// components are cut into sections alike.
fn without_custom_sections(binary: &[u8], drop: fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    const PREAMBLE_BYTES: usize = 8;
    const CUSTOM: u8 = 0;
    let (preamble, mut rest) = binary.split_at_checked(PREAMBLE_BYTES).context("shorter than its preamble")?;
    let mut kept = preamble.to_owned();
    while let [id, after_id @ ..] = rest {
        let (size, after_size) = leb128(after_id).context("a section without its size")?;
        let head_bytes = rest.len() - after_size.len();
        let (section, after) = rest.split_at_checked(head_bytes + size).context("a section is cut short")?;
        let (_, name) = section.get(head_bytes..).and_then(leb128).filter(|_| *id == CUSTOM).unwrap_or_default();
        if *id != CUSTOM || !drop(name) {
            kept.extend_from_slice(section);
        }
        rest = after;
    }
    Ok(kept)
}

/// An unsigned number and what follows it.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// Whether it is small enough to be checked in.
pub(crate) fn check_size(component: &[u8], guest: &Guest) -> Result<()> {
    if component.len() > guest.size_max {
        bail!("{} has {} bytes, where {} may be checked in", guest.file, component.len(), guest.size_max);
    }
    Ok(())
}

/// Traces of where crates came from: they differ between machines, and so would the
/// bytes of what is the same source.
const TRACES: [&str; 2] = ["registry/src", "index.crates"];

fn check_traces(component: &[u8]) -> Result<()> {
    for trace in TRACES {
        if component.windows(trace.len()).any(|window| window == trace.as_bytes()) {
            bail!("it holds {trace:?}: a path of the machine that built it");
        }
    }
    Ok(())
}

/// Whether it is a plugin as promised, of whatever size.
pub(crate) fn check(component: &[u8], guest: &Guest) -> Result<()> {
    check_traces(component)?;
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("not a component");
    };
    let world = &resolve.worlds[world];
    check_imports(&resolve, world)?;
    let expected: BTreeSet<String> = guest.kinds.iter().chain(&["plugin"]).map(|name| interface(name)).collect();
    let exported: BTreeSet<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    if exported != expected {
        bail!("exports {exported:?}, expected {expected:?}");
    }
    Ok(())
}

fn check_imports(resolve: &Resolve, world: &World) -> Result<()> {
    for (key, item) in &world.imports {
        let name = resolve.name_world_key(key);
        let functions: Vec<&str> = match (key, item) {
            (WorldKey::Interface(_), WorldItem::Interface { id, .. }) => {
                resolve.interfaces[*id].functions.keys().map(String::as_str).collect()
            }
            _ => bail!("imports {name}, which is no interface"),
        };
        let allowed = if name == interface("types") {
            functions.is_empty()
        } else {
            name == interface("log") && functions == ["log"]
        };
        if !allowed {
            bail!("imports {name} with {functions:?}; only log is offered");
        }
    }
    Ok(())
}

fn interface(name: &str) -> String {
    format!("{PACKAGE}/{name}@{VERSION}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::GUESTS;

    #[test]
    fn custom_sections_are_dropped_by_name_and_nothing_else() {
        let module = b"\0asm\x01\0\0\0\0\x03\x01ax\x01\x01\0\0\x03\x01by";
        let kept = without_custom_sections(module, |name| name.starts_with(b"a")).unwrap();
        assert_eq!(kept, b"\0asm\x01\0\0\0\x01\x01\0\0\x03\x01by");
        assert!(without_custom_sections(b"\0asm\x01\0\0\0\x01\x7f", |_| true).is_err());
    }

    #[test]
    fn what_is_checked_in_is_what_a_plugin_may_be() {
        let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for guest in GUESTS {
            let component = std::fs::read(guest.path(&workspace)).unwrap();
            check(&component, guest).unwrap();
            check_size(&component, guest).unwrap();
            // The same file under a promise that it doesn't keep.
            let other = Guest { kinds: &["wait", "scanner"], ..*guest };
            assert!(check(&component, &other).is_err());
            let smaller = Guest { size_max: component.len() - 1, ..*guest };
            assert!(check_size(&component, &smaller).is_err());
        }
    }

    #[test]
    fn a_trace_of_where_crates_came_from_is_refused() {
        for text in ["/cargo/registry/src/mirror-1/borsh-1.8.1", "/x/index.crates.io-1/borsh-1.8.1"] {
            let refused = check(text.as_bytes(), &GUESTS[0]).unwrap_err();
            assert!(refused.to_string().contains("a path of the machine"), "{refused}");
        }
        check_traces(b"/crates/borsh-1.8.1/src/de/mod.rs").unwrap();
    }

    #[test]
    fn an_import_beside_log_is_refused() {
        let wit = "package portcullis:policy@0.1.0; interface clock { now: func() -> u64; } \
                   world w { import clock; }";
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", wit).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        let refused = check_imports(&resolve, &resolve.worlds[world]).unwrap_err();
        assert!(refused.to_string().contains("clock"));
    }
}
