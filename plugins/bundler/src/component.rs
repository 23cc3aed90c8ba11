//! From a core module to a component, and what a component of ours must be: it
//! exports its kinds and `plugin`, and imports no function but the host's `log`.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{Resolve, World, WorldItem, WorldKey};

use crate::guests::Guest;

const PACKAGE: &str = "portcullis:policy";
const VERSION: &str = "0.1.0";

pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().module(module)?.validate(true).encode()
}

pub(crate) fn check(component: &[u8], guest: &Guest) -> Result<()> {
    if component.len() > guest.size_max {
        bail!("{} bytes, more than {}", component.len(), guest.size_max);
    }
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("not a component");
    };
    let world = &resolve.worlds[world];
    check_imports(&resolve, world)?;
    let expected: BTreeSet<String> =
        guest.kinds.iter().chain(&["plugin"]).map(|name| interface(name)).collect();
    let exported: BTreeSet<String> =
        world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
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
