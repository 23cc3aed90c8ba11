//! Debian's `rustc-web`, unpacked under `target/`: its packages conflict with others
//! when installed, but run from any folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::manifest::{Package, sha256};
use crate::toolchain::output;

/// The compiler, its cargo, the standard library for the host and as source, and the
/// shared libraries that they need.
const PACKAGES: [&str; 11] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "libstd-rust-web-1.96",
    "libstd-rust-web-dev",
    "libllvm22",
    "libgit2-1.5",
    "libmbedcrypto7",
    "libmbedx509-1",
    "libmbedtls14",
    "libhttp-parser2.9",
];

/// Variables of the calling cargo that must not reach another one.
const FOREIGN: [&str; 9] = [
    "CARGO",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_RUSTFLAGS",
];

/// Whether this machine can run Debian's compiler at all.
pub(crate) fn possible() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64")) && Command::new("apt-get").arg("--version").output().is_ok()
}

/// The packages that apt offers now.
pub(crate) fn newest(workspace: &Path) -> Result<(PathBuf, Vec<Package>)> {
    let wanted: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    let downloads = download(workspace, &wanted)?;
    let packages = downloads.iter().map(|(package, _)| package.clone()).collect::<Vec<_>>();
    let prefix = prefix(workspace, &packages);
    if !prefix.is_dir() {
        unpack(&downloads, &prefix)?;
    }
    Ok((prefix, packages))
}

/// These very packages, from an earlier unpacking or from apt.
pub(crate) fn exactly(workspace: &Path, packages: &[Package]) -> Result<PathBuf> {
    let prefix = prefix(workspace, packages);
    if prefix.is_dir() {
        return Ok(prefix);
    }
    if !possible() {
        bail!("Debian's packages run on x86_64 Linux with apt-get only");
    }
    let wanted: Vec<String> = packages.iter().map(|package| format!("{}={}", package.name, package.version)).collect();
    let downloads = download(workspace, &wanted)?;
    let found: Vec<&Package> = downloads.iter().map(|(package, _)| package).collect();
    if let Some(other) = packages.iter().find(|package| !found.contains(package)) {
        bail!("apt's {} {} is not the file that bundle.toml names", other.name, other.version);
    }
    unpack(&downloads, &prefix)?;
    Ok(prefix)
}

/// One folder per set of packages, so that a cached one is never the wrong one.
fn prefix(workspace: &Path, packages: &[Package]) -> PathBuf {
    let mut digests: Vec<&str> = packages.iter().map(|package| package.sha256.as_str()).collect();
    digests.sort_unstable();
    let key: String = sha256(digests.concat().as_bytes()).chars().take(16).collect();
    cache(workspace).join(key)
}

fn cache(workspace: &Path) -> PathBuf {
    workspace.join("target/guest-toolchain")
}

/// Downloads packages; apt checks them against Debian's signed lists.
fn download(workspace: &Path, wanted: &[String]) -> Result<Vec<(Package, PathBuf)>> {
    let folder = cache(workspace).join("download");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("can't clear {folder:?}"))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("can't make {folder:?}"))?;
    println!("downloading {} Debian packages", wanted.len());
    let mut apt = Command::new("apt-get");
    apt.current_dir(&folder).args(["--quiet", "download"]).args(wanted);
    output(&mut apt).context("apt-get download (are the lists fresh? `apt-get update`)")?;
    let mut downloads = Vec::new();
    for file in std::fs::read_dir(&folder)? {
        let path = file?.path();
        let field = |name: &str| output(Command::new("dpkg-deb").arg("--field").arg(&path).arg(name));
        let package =
            Package { name: field("Package")?, version: field("Version")?, sha256: sha256(&std::fs::read(&path)?) };
        downloads.push((package, path));
    }
    downloads.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    Ok(downloads)
}

/// Unpacks beside the prefix and renames, so that a prefix is whole or not there.
fn unpack(downloads: &[(Package, PathBuf)], prefix: &Path) -> Result<()> {
    let partial = prefix.with_extension("partial");
    if partial.exists() {
        std::fs::remove_dir_all(&partial).with_context(|| format!("can't clear {partial:?}"))?;
    }
    std::fs::create_dir_all(&partial).with_context(|| format!("can't make {partial:?}"))?;
    for (package, path) in downloads {
        println!("unpacking {} {}", package.name, package.version);
        output(Command::new("dpkg-deb").arg("--extract").arg(path).arg(&partial))?;
    }
    std::fs::rename(&partial, prefix).with_context(|| format!("can't make {prefix:?}"))
}

/// A program of the prefix, with its libraries and without the caller's cargo.
pub(crate) fn command(prefix: &Path, program: &str) -> Command {
    let mut command = Command::new(prefix.join("usr/bin").join(program));
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.env("LD_LIBRARY_PATH", prefix.join("usr/lib/x86_64-linux-gnu"));
    command
}

/// The linker that comes with rustup's compiler: Debian's compiler brings none.
pub(crate) fn linker() -> Result<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let linker = Path::new(&sysroot).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    if !linker.is_file() {
        bail!("no rust-lld in {sysroot}");
    }
    Ok(linker)
}
