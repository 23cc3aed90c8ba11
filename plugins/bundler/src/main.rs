//! Builds the plugins that are checked in, and verifies that what is checked in is
//! what their sources say. It knows nothing of the host.
//!
//! `build` compiles the guests, makes components of them, checks each one and writes
//! them with `bundle.toml`: sizes, digests and the toolchain. `verify` compares the
//! files with `bundle.toml`, and then with a fresh build by that very toolchain. `module`
//! compiles anyone's policy in Rust with the toolchain that there is.

mod component;
mod debian;
mod guests;
mod manifest;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::guests::{GUESTS, Guest};
use crate::manifest::{Entry, Manifest, sha256};
use crate::toolchain::Toolchain;

const USAGE: &str = "usage: portcullis-bundler build [--upgrade] | verify | module FOLDER

build    rebuild every checked-in plugin and bundle.toml
         --upgrade takes the newest toolchain instead of the one that bundle.toml names
verify   compare the checked-in plugins with bundle.toml and with a fresh build
module   what `cargo build --release --target wasm32-unknown-unknown` does in FOLDER,
         also where rustup can't add that target";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["build"] => build(false),
        ["build", "--upgrade"] => build(true),
        ["verify"] => verify(),
        ["module", folder] => module(Path::new(folder)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn build(upgrade: bool) -> Result<()> {
    let workspace = workspace()?;
    let named = if upgrade { None } else { Manifest::read(&workspace).ok() };
    let toolchain = Toolchain::discover(&workspace, named.as_ref().map(|named| &named.toolchain))?;
    println!("toolchain: {}", toolchain.summary());
    let built = compile(&workspace, &toolchain, &workspace.join("target/guests"))?;
    // Rustup's toolchain can't leave out the texts of panics. What it makes is good to
    // use; `verify` and the tests keep it from being checked in when it is too large.
    let local = !upgrade && toolchain.keeps_panic_texts();
    for (guest, component) in &built {
        match component::check_size(component, guest) {
            Err(why) if local => println!("warning: {why}: built for use here only"),
            checked => checked?,
        }
    }
    let mut entries = Vec::with_capacity(built.len());
    for (guest, component) in built {
        let path = guest.path(&workspace);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("can't make {folder:?}"))?;
        }
        std::fs::write(&path, &component).with_context(|| format!("can't write {path:?}"))?;
        let entry = Entry::of(guest, &component);
        println!("{:>7} bytes  {}  {}", entry.size, entry.sha256, entry.file);
        entries.push(entry);
    }
    Manifest { toolchain: toolchain.names(), plugins: entries }.write(&workspace)
}

fn module(folder: &Path) -> Result<()> {
    let workspace = workspace()?;
    let folder = folder.canonicalize().with_context(|| format!("{folder:?}"))?;
    let named = Manifest::read(&workspace).ok();
    let toolchain = Toolchain::discover(&workspace, named.as_ref().map(|named| &named.toolchain))?;
    println!("toolchain: {}", toolchain.summary());
    toolchain.compile_package(&workspace, &folder)
}

fn verify() -> Result<()> {
    let workspace = workspace()?;
    let manifest = Manifest::read(&workspace)?;
    check_files(&workspace, &manifest)?;
    println!("digests: {} files are what bundle.toml says", manifest.plugins.len());
    let toolchain = match Toolchain::exactly(&workspace, &manifest.toolchain) {
        Ok(toolchain) => toolchain,
        Err(why) => {
            println!("not verified: toolchain not available ({why:#})");
            return Ok(());
        }
    };
    // From nothing: what an earlier build left behind proves nothing.
    let target = workspace.join("target/guests-verify");
    if target.exists() {
        std::fs::remove_dir_all(&target).with_context(|| format!("can't clear {target:?}"))?;
    }
    let mut differing = Vec::new();
    for (guest, component) in compile(&workspace, &toolchain, &target)? {
        let rebuilt = Entry::of(guest, &component);
        if !manifest.plugins.contains(&rebuilt) {
            differing.push(rebuilt.file);
        }
    }
    if !differing.is_empty() {
        bail!("built from the sources, these differ: {}", differing.join(", "));
    }
    println!("verified: a fresh build by {} gives the same bytes", toolchain.summary());
    Ok(())
}

/// The files against `bundle.toml`, which must list exactly the plugins that there are.
fn check_files(workspace: &Path, manifest: &Manifest) -> Result<()> {
    for guest in GUESTS {
        if !manifest.plugins.iter().any(|entry| entry.file == guest.file) {
            bail!("bundle.toml doesn't list {}", guest.file);
        }
    }
    for entry in &manifest.plugins {
        let Some(guest) = GUESTS.iter().find(|guest| guest.file == entry.file) else {
            bail!("bundle.toml lists {}, which is no plugin of ours", entry.file);
        };
        let path = workspace.join("plugins").join(&entry.file);
        let bytes = std::fs::read(&path).with_context(|| format!("can't read {path:?}"))?;
        let found = sha256(&bytes);
        if found != entry.sha256 {
            bail!("{} has digest {found}, bundle.toml says {}", entry.file, entry.sha256);
        }
        component::check_size(&bytes, guest)?;
        component::check(&bytes, guest).with_context(|| entry.file.clone())?;
    }
    Ok(())
}

/// Compiles every guest and makes checked components of them.
fn compile(workspace: &Path, toolchain: &Toolchain, target: &Path) -> Result<Vec<(&'static Guest, Vec<u8>)>> {
    let modules = toolchain.compile(workspace, target, GUESTS)?;
    GUESTS
        .iter()
        .map(|guest| {
            let path = modules.join(guest.module());
            let module = std::fs::read(&path).with_context(|| format!("can't read {path:?}"))?;
            let component = component::encode(&module).with_context(|| format!("encoding {}", guest.file))?;
            component::check(&component, guest).with_context(|| guest.file.to_owned())?;
            Ok((guest, component))
        })
        .collect()
}

/// The folder that holds `plugins/bundler`, from the current one upwards.
fn workspace() -> Result<PathBuf> {
    let start = std::env::current_dir().context("no current folder")?;
    let root = start.ancestors().find(|folder| folder.join("plugins/bundler/Cargo.toml").is_file());
    root.map(Path::to_owned).context("run this inside the workspace: no plugins/bundler above")
}
