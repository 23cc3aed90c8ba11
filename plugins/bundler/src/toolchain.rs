//! The compilers that can build guests: rustup's with the wasm target, or Debian's
//! `rustc-web` with its own standard-library source. Their bytes differ, so a bundle
//! names the one that made it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::guests::Guest;
use crate::manifest::{Names, Package};

const TARGET: &str = "wasm32-unknown-unknown";

/// A toolchain that is there to be used.
#[derive(Debug)]
pub(crate) enum Toolchain {
    Rustup { rustc: String },
    Debian { rustc: String, linker: PathBuf, linker_version: String, prefix: PathBuf, packages: Vec<Package> },
}

impl Toolchain {
    /// The one that `named` names if it can be had, else the best that is there.
    pub(crate) fn discover(workspace: &Path, named: Option<&Names>) -> Result<Self> {
        if let Some(named) = named {
            match Self::exactly(workspace, named) {
                Ok(toolchain) => return Ok(toolchain),
                Err(why) => println!("the bundle's toolchain can't be had ({why:#})"),
            }
        }
        if let Ok(rustup) = Self::rustup() {
            return Ok(rustup);
        }
        if !debian::possible() {
            bail!("rustc has no target {TARGET}; add it with `rustup target add {TARGET}`");
        }
        let (prefix, packages) = debian::newest(workspace).with_context(|| {
            format!("rustc has no target {TARGET} (`rustup target add {TARGET}`), and Debian's compiler can't be had")
        })?;
        Self::debian(prefix, packages)
    }

    /// The very toolchain that a bundle names.
    pub(crate) fn exactly(workspace: &Path, named: &Names) -> Result<Self> {
        let toolchain = match named.route.as_str() {
            "rustup" => Self::rustup()?,
            "debian" => Self::debian(debian::exactly(workspace, &named.packages)?, named.packages.clone())?,
            other => bail!("bundle.toml names the unknown route {other:?}"),
        };
        let found = toolchain.names();
        if found != *named {
            bail!(
                "found {}, bundle.toml names {}{}",
                toolchain.summary(),
                named.rustc,
                named.linker.as_ref().map(|linker| format!(" with {linker}")).unwrap_or_default(),
            );
        }
        Ok(toolchain)
    }

    fn rustup() -> Result<Self> {
        let libraries = output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?;
        if !Path::new(&libraries).is_dir() {
            bail!("rustc has no target {TARGET}");
        }
        Ok(Self::Rustup { rustc: output(Command::new("rustc").arg("--version"))? })
    }

    fn debian(prefix: PathBuf, packages: Vec<Package>) -> Result<Self> {
        let rustc = output(debian::command(&prefix, "rustc").arg("--version"))?;
        let linker = debian::linker()?;
        // Its own version line names a path of the machine that built it.
        let linker_version = format!("rust-lld of {}", output(Command::new("rustc").arg("--version"))?);
        Ok(Self::Debian { rustc, linker, linker_version, prefix, packages })
    }

    /// As `bundle.toml` names it.
    pub(crate) fn names(&self) -> Names {
        match self {
            Self::Rustup { rustc } => {
                Names { route: "rustup".to_owned(), rustc: rustc.clone(), linker: None, packages: Vec::new() }
            }
            Self::Debian { rustc, linker_version, packages, .. } => Names {
                route: "debian".to_owned(),
                rustc: rustc.clone(),
                linker: Some(linker_version.clone()),
                packages: packages.clone(),
            },
        }
    }

    /// Whether plugins carry what no host could show, and are the larger for it.
    pub(crate) fn keeps_panic_texts(&self) -> bool {
        match self {
            Self::Rustup { .. } => true,
            // It builds the standard library along.
            Self::Debian { .. } => false,
        }
    }

    /// For people.
    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Rustup { rustc } => rustc.clone(),
            Self::Debian { rustc, linker_version, .. } => {
                format!("{rustc} of Debian with {linker_version}")
            }
        }
    }

    /// Compiles the guests' core modules and returns the folder that holds them.
    pub(crate) fn compile(&self, workspace: &Path, target: &Path, guests: &[Guest]) -> Result<PathBuf> {
        let cargo_home = cargo_home()?;
        let known = registries(&cargo_home)?;
        self.compile_with(workspace, target, guests, &cargo_home, &known)?;
        let met = registries(&cargo_home)?;
        if met != known {
            // The first build unpacked sources to a folder that it couldn't remap yet.
            self.compile_with(workspace, target, guests, &cargo_home, &met)?;
        }
        Ok(target.join(TARGET).join("guest"))
    }

    fn compile_with(
        &self,
        workspace: &Path,
        target: &Path,
        guests: &[Guest],
        cargo_home: &Path,
        registries: &[PathBuf],
    ) -> Result<()> {
        let mut remaps = vec![(workspace.to_owned(), "/portcullis"), (cargo_home.to_owned(), "/cargo")];
        // Of several that fit, rustc takes the last.
        remaps.extend(registries.iter().map(|folder| (folder.clone(), "/crates")));
        let mut command = self.cargo(workspace, remaps)?;
        command.current_dir(workspace).env("CARGO_TARGET_DIR", target).args(["--locked", "--profile", "guest"]);
        for guest in guests {
            command.args(["-p", guest.package]);
        }
        run(&mut command)
    }

    /// Compiles the package in a folder, as `cargo build --release --target …` does there.
    pub(crate) fn compile_package(&self, workspace: &Path, folder: &Path) -> Result<()> {
        // Nothing of the folder: cargo would build the standard library anew for each.
        let mut command = self.cargo(workspace, vec![(cargo_home()?, "/cargo")])?;
        command.current_dir(folder).arg("--release");
        run(&mut command)
    }

    /// `cargo build` for guests.
    fn cargo(&self, workspace: &Path, mut remaps: Vec<(PathBuf, &str)>) -> Result<Command> {
        let mut command = match self {
            Self::Rustup { .. } => {
                let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
                remaps.push((sysroot.into(), "/rust"));
                Command::new("cargo")
            }
            Self::Debian { linker, prefix, .. } => {
                remaps.push((prefix.clone(), "/rust"));
                // Cargo names what lies below the workspace from there.
                if let Ok(relative) = prefix.strip_prefix(workspace) {
                    remaps.push((relative.to_owned(), "/rust"));
                }
                let mut command = debian::command(prefix, "cargo");
                command
                    .env("RUSTC", prefix.join("usr/bin/rustc"))
                    // Debian ships no wasm standard library: it is built along.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                command
            }
        };
        command.env("CARGO_ENCODED_RUSTFLAGS", self.flags(&remaps)).args(["build", "--lib", "--target", TARGET]);
        Ok(command)
    }

    /// A small stack keeps instances cheap; remapped paths keep the machine out of the
    /// bytes.
    fn flags(&self, remaps: &[(PathBuf, &str)]) -> OsString {
        let mut flags = OsString::from("-Clink-arg=-zstack-size=65536");
        if !self.keeps_panic_texts() {
            // Nobody could read them: a panic is a trap either way.
            flags.push("\u{1f}-Zunstable-options\u{1f}-Cpanic=immediate-abort");
            // What is left of panics are the places in the sources that they'd name.
            flags.push("\u{1f}-Zlocation-detail=none");
        }
        for (from, to) in remaps {
            // Cargo's separator of encoded flags, so that paths may hold spaces.
            flags.push("\u{1f}--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
        flags
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().context("can't run cargo")?;
    if !status.success() {
        bail!("compiling failed");
    }
    Ok(())
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = std::env::home_dir().context("no home folder; set CARGO_HOME")?;
    Ok(home.join(".cargo"))
}

/// Where cargo unpacks the sources of crates. A folder's name says which registry they
/// came from, and a mirror's differs: neither is anything of the plugins'.
fn registries(cargo_home: &Path) -> Result<Vec<PathBuf>> {
    let sources = cargo_home.join("registry/src");
    if !sources.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(&sources).with_context(|| format!("can't read {sources:?}"))?;
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    folders.sort();
    Ok(folders)
}

/// What a program printed, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("can't run {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}
