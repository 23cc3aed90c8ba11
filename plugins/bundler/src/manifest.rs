//! `plugins/bundle/bundle.toml`: which bytes are checked in, and what made them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::guests::Guest;

const HEAD: &str = "# Made by `cargo run -p portcullis-bundler -- build`; not to be edited.
# `cargo run -p portcullis-bundler -- verify` compares it with the files and with a
# fresh build.

";

/// The whole file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) toolchain: Names,
    #[serde(rename = "plugin")]
    pub(crate) plugins: Vec<Entry>,
}

/// The toolchain by everything that its output depends on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Names {
    /// `rustup` or `debian`.
    pub(crate) route: String,
    /// `rustc --version`.
    pub(crate) rustc: String,
    /// Whose linker it is; absent where rustc brings its linker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) linker: Option<String>,
    /// Debian packages that make up the toolchain.
    #[serde(default, rename = "package", skip_serializing_if = "Vec::is_empty")]
    pub(crate) packages: Vec<Package>,
}

/// One Debian package.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Of the .deb file.
    pub(crate) sha256: String,
}

/// One checked-in component.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// From `plugins/`.
    pub(crate) file: String,
    /// The crate that it is built from.
    pub(crate) package: String,
    /// Bytes.
    pub(crate) size: usize,
    pub(crate) sha256: String,
}

impl Entry {
    pub(crate) fn of(guest: &Guest, component: &[u8]) -> Self {
        Self {
            file: guest.file.to_owned(),
            package: guest.package.to_owned(),
            size: component.len(),
            sha256: sha256(component),
        }
    }
}

impl Manifest {
    pub(crate) fn read(workspace: &Path) -> Result<Self> {
        let path = path(workspace);
        let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {path:?}"))?;
        toml::from_str(&text).with_context(|| format!("{path:?}"))
    }

    pub(crate) fn write(&self, workspace: &Path) -> Result<()> {
        let path = path(workspace);
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        std::fs::write(&path, text).with_context(|| format!("can't write {path:?}"))
    }
}

fn path(workspace: &Path) -> PathBuf {
    workspace.join("plugins/bundle/bundle.toml")
}

/// Lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
