//! `portcullis component`: a plugin of a core module, as compilers leave it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use wit_component::ComponentEncoder;

use super::{Failed, harness};
use crate::config::printable;

/// A module and a component begin with these, and differ in the four bytes after them.
const MAGIC: &[u8] = b"\0asm";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

#[derive(Args)]
#[command(after_help = "Exit codes: 0 done; 1 no plugin can be made of it; 2 usage.")]
pub(super) struct ComponentArgs {
    /// The module, such as target/wasm32-unknown-unknown/release/policy.wasm
    #[arg(value_name = "MODULE.wasm")]
    module: PathBuf,
    /// The plugin to write; a running server takes it over
    #[arg(short, long, value_name = "PLUGIN.wasm")]
    output: PathBuf,
}

pub(super) fn component(args: &ComponentArgs) -> Result<(), Failed> {
    let no = |why: String| Failed::No(format!("{}: {}", args.module.display(), printable(&why)));
    let module = fs::read(&args.module).map_err(|error| no(error.to_string()))?;
    if module.starts_with(COMPONENT) {
        return Err(no("it is a component already".to_owned()));
    }
    if !module.starts_with(MAGIC) {
        return Err(no("it is no WebAssembly module".to_owned()));
    }
    let component = encode(&module).map_err(|error| no(with_hint(format!("{error:#}"))))?;
    // Whatever is no plugin isn't written: it might be in the place of one that is in use.
    let plugin = harness::shelf()?.runtime().load(&component, &args.output.display().to_string());
    let plugin = plugin.map_err(|error| no(format!("what is made of it is no plugin: {error}")))?;
    replace(&args.output, &component)?;
    let kinds: Vec<_> = plugin.kinds().iter().map(|kind| kind.name()).collect();
    super::print(&format!(
        "{}: {} {}, judges as {}, {} bytes\n",
        printable(&args.output.display().to_string()),
        printable(&plugin.description().name),
        printable(&plugin.description().version),
        kinds.join(", "),
        component.len()
    ))
}

fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    ComponentEncoder::default().module(module)?.validate(true).encode()
}

/// The mistake that is made most: a call of the C library that needs a system.
fn with_hint(why: String) -> String {
    if !why.contains("wasi_") {
        return why;
    }
    format!("it calls a system, such as for printf, files or the time, and plugins have none: {why}")
}

/// By renaming: whoever reads it gets the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let shown = path.display();
    let mut name = OsString::from(".");
    name.push(path.file_name().with_context(|| format!("{shown} names no file"))?);
    name.push(format!(".partial-{}", std::process::id()));
    let partial = path.with_file_name(name);
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // It may not be there; why it couldn't be written is said.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("can't write {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_of(bytes: &[u8]) -> Failed {
        let folder = tempfile::tempdir().unwrap();
        let (module, output) = (folder.path().join("module.wasm"), folder.path().join("plugin.wasm"));
        fs::write(&module, bytes).unwrap();
        fs::write(&output, "in use").unwrap();
        let failed = component(&ComponentArgs { module, output: output.clone() }).unwrap_err();
        assert_eq!(fs::read(output).unwrap(), b"in use");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
        failed
    }

    #[test]
    fn what_is_no_plugin_isnt_written() {
        for (bytes, why) in [
            (&b"hello"[..], "no WebAssembly module"),
            (COMPONENT, "a component already"),
            (b"\0asm\x01\0\0\0", "no plugin"),
            (b"\0asm\x01\0\0\0\x07", "module.wasm: "),
            (
                b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x1c\x01\x16wasi_snapshot_preview1\x01f\0\0",
                "plugins have none",
            ),
        ] {
            let failed = made_of(bytes).to_string();
            assert!(failed.contains(why), "{failed}");
        }
    }

    #[test]
    fn a_file_that_cant_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("taken/full")).unwrap();
        assert!(replace(&folder.path().join("taken"), b"").is_err());
        assert!(replace(&folder.path().join("nowhere/plugin.wasm"), b"").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
