//! Compiled code on disk, so that a start or a reload takes no compiler.
//!
//! Compiled code is trusted code: the folder belongs to the user that the
//! program runs as and to nobody else, or there is no cache. A damaged or
//! foreign entry is compiled again and written anew; nothing here ever fails a
//! load.

use std::fs::{DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::process::{geteuid, getpid};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::engine::Engine;
use crate::load::hex;

/// Most files in the folder.
const ENTRIES_MAX: usize = 64;
/// Largest entry, in bytes: some ten times the largest plugin.
const ENTRY_BYTES_MAX: u64 = 1 << 30;
const EXTENSION: &str = ".compiled";
const DIGEST_BYTES: usize = 32;

/// An open folder that nobody else can write to.
pub(crate) struct Cache {
    folder: OwnedFd,
}

/// Why a folder isn't used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it belongs to user {owner} and not to {user}")]
    Owner { owner: u32, user: u32 },
    #[error("others can get at it: its mode is {mode:03o} and has to be 700")]
    Mode { mode: u32 },
}

impl From<rustix::io::Errno> for CacheError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl Cache {
    /// Opens the folder, which is made if it isn't there.
    pub(crate) fn open(folder: &Path) -> Result<Self, CacheError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(CWD, folder, flags, Mode::empty())?;
        let found = fstat(&opened)?;
        let user = geteuid().as_raw();
        if found.st_uid != user {
            return Err(CacheError::Owner { owner: found.st_uid, user });
        }
        let mode = found.st_mode & 0o777;
        if mode != 0o700 {
            return Err(CacheError::Mode { mode });
        }
        Ok(Self { folder: opened })
    }

    /// The component, from the folder if it is there and whole.
    pub(crate) fn compile(&self, engine: &Engine, wasm: &[u8], digest: [u8; 32]) -> wasmtime::Result<Component> {
        let name = entry_name(engine, &digest);
        if let Some(component) = self.load(engine, &name) {
            return Ok(component);
        }
        let compiled = engine.wasmtime().precompile_component(wasm)?;
        // Without room or rights the next start compiles again, and that is all.
        if self.write(&name, &compiled).is_ok() {
            let _ = self.prune();
        }
        deserialize(engine, &Intact(compiled))
    }

    fn load(&self, engine: &Engine, name: &str) -> Option<Component> {
        let intact = self.read(name).ok()??;
        deserialize(engine, &intact).ok()
    }

    /// An entry's code, if it is what was once written.
    fn read(&self, name: &str) -> io::Result<Option<Intact>> {
        let file = openat(&self.folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let found = fstat(&file)?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if !is_file || found.st_uid != geteuid().as_raw() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::from(file).take(ENTRY_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Intact::check(name, bytes))
    }

    /// Writes under another name and renames, so that an entry is whole or not there.
    fn write(&self, name: &str, compiled: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.{}", getpid().as_raw_nonzero());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, &*temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        let written = file
            .write_all(&seal(name, compiled))
            .and_then(|()| file.write_all(compiled))
            .and_then(|()| Ok(renameat(&self.folder, &*temporary, &self.folder, name)?));
        if written.is_err() {
            let _ = unlinkat(&self.folder, &*temporary, AtFlags::empty());
        }
        written
    }

    /// Keeps the newest entries. What isn't the cache's own is left alone,
    /// should someone have given it a folder that is used for more.
    fn prune(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_owned();
            if !is_entry(name.to_bytes()) {
                continue;
            }
            let found = rustix::fs::statat(&self.folder, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            entries.push((found.st_mtime, found.st_mtime_nsec, name));
        }
        entries.sort();
        let surplus = entries.len().saturating_sub(ENTRIES_MAX);
        for (_, _, name) in entries.iter().take(surplus) {
            unlinkat(&self.folder, &**name, AtFlags::empty())?;
        }
        Ok(())
    }
}

/// By what was compiled, and by the compiler's version and settings.
fn entry_name(engine: &Engine, digest: &[u8; 32]) -> String {
    let mut hasher = DefaultHasher::new();
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{:016x}{EXTENSION}", hex(digest), hasher.finish())
}

/// Whether a file is an entry, or what is left of one that was being written.
fn is_entry(name: &[u8]) -> bool {
    let is_ours = |(digest, rest): (&[u8], &[u8])| {
        let extension = rest.windows(EXTENSION.len()).any(|part| part == EXTENSION.as_bytes());
        digest.iter().all(u8::is_ascii_hexdigit) && rest.starts_with(b"-") && extension
    };
    name.split_at_checked(DIGEST_BYTES * 2).is_some_and(is_ours)
}

/// A digest over an entry's name and code: an entry is no good under another name.
fn seal(name: &str, compiled: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::new().chain_update(name).chain_update([0]).chain_update(compiled).finalize().into()
}

/// Code as the compiler made it, just now or once. Only this is ever loaded.
struct Intact(Vec<u8>);

impl Intact {
    fn check(name: &str, mut entry: Vec<u8>) -> Option<Self> {
        let (digest, compiled) = entry.split_at_checked(DIGEST_BYTES)?;
        if digest != seal(name, compiled) {
            return None;
        }
        entry.drain(..DIGEST_BYTES);
        Some(Self(entry))
    }
}

#[expect(unsafe_code, reason = "loading compiled code is trusting it, and this is where that is decided")]
fn deserialize(engine: &Engine, code: &Intact) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what `precompile_component` returned, either in
    // `compile` just now or to an earlier run: those come out of a folder that
    // only this user can write to (checked on the open folder, and for each
    // file), under a name that holds the engine's compatibility hash, and with
    // a digest that was verified when `Intact` was made. They are in memory of
    // our own, so nobody changes them in between. wasmtime itself rejects code
    // of another version or of other settings.
    unsafe { Component::deserialize(engine.wasmtime(), &code.0) }
}

#[cfg(test)]
mod tests;
