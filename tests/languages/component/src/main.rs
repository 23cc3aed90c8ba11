//! What a plugin in C needs beside a compiler, as `wit-bindgen c` and `wasm-tools component
//! new` do it:
//!
//! - `bindings WIT WORLD FOLDER` writes the C bindings of a world into a folder;
//! - `new MODULE COMPONENT` makes a component of a linked module.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;
use wit_component::ComponentEncoder;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bindings", wit, world, folder] => bindings(wit.as_ref(), world, folder.as_ref()),
        ["new", module, component] => new(module.as_ref(), component.as_ref()),
        _ => bail!("usage: portcullis-component bindings WIT WORLD FOLDER | new MODULE COMPONENT"),
    }
}

fn bindings(wit: &Path, world: &str, folder: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    for (name, bytes) in files.iter() {
        let file = folder.join(name);
        fs::write(&file, bytes).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn new(module: &Path, component: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("reading {}", module.display()))?;
    let encoded = ComponentEncoder::default().module(&bytes)?.validate(true).encode()?;
    fs::write(component, encoded).with_context(|| format!("writing {}", component.display()))
}
