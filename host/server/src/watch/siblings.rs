//! Other files in a log's folder: what it was before it was rotated, and copies
//! of it.
//!
//! It must not know how far anything has been read, but as it is told.

use std::ffi::OsString;
use std::fs::{self, DirEntry, File, Metadata};
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::generation::{modified, open};
use super::place::{Reached, read_head};

/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 4096;
/// How often a folder is looked through in which names change meanwhile.
const LOOKS_MAX: usize = 4;
/// Ends of the names of compressed files.
const COMPRESSED: [&str; 7] = [".gz", ".zst", ".xz", ".bz2", ".lz4", ".Z", ".zip"];
/// What compressed files begin with, as far as they are met as logs.
const MAGICS: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ", b"BZh9"];

/// Whether a name is one that a log of the name `base` gets when it is rotated:
/// `x.log.1`, `x.log-20261125`, `x.log.old`, `x-2026-11-25.log`, `x.1.log`.
pub(super) fn is_rotated(base: &str, name: &str) -> bool {
    if is_compressed_name(name) {
        return false;
    }
    let digits = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    if let Some(rest) = name.strip_prefix(base) {
        return matches!(rest, ".old" | ".bak" | ".prev" | "~")
            || rest.starts_with(['.', '-', '_']) && digits(rest) && rest.bytes().skip(1).all(is_of_a_date);
    }
    let Some((stem, extension)) = base.rsplit_once('.') else { return false };
    let between = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension)?.strip_suffix('.'));
    between.is_some_and(|between| {
        between.starts_with(['.', '-', '_']) && digits(between) && between.bytes().skip(1).all(is_of_a_date)
    })
}

/// A byte of a number, or of a date and time in any of the ways that rotated logs are named.
const fn is_of_a_date(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'+' | b'T' | b'Z' | b't' | b'z')
}

fn is_compressed_name(name: &str) -> bool {
    COMPRESSED.iter().any(|end| name.ends_with(end))
}

/// Whether a file is compressed, so that it can't be followed.
pub(super) fn is_compressed(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let head = || open(path).and_then(|(file, _)| read_head(&file, 8)).unwrap_or_default();
    is_compressed_name(&name) || MAGICS.iter().any(|magic| head().starts_with(magic))
}

/// Where the file is now that was read so far: at its path, under another name
/// in one of the folders, or the newest copy that holds all that was read.
pub(super) fn find(reached: &Reached, at: &Path, folders: &[PathBuf]) -> Option<PathBuf> {
    let is_it = |found: &Metadata| (found.dev(), found.ino()) == (reached.device, reached.inode);
    let before = Path::new(&reached.path);
    for path in [at, before] {
        if open(path).is_ok_and(|(file, found)| is_it(&found) && holds(&file, &found, reached)) {
            return Some(path.to_owned());
        }
    }
    let is_it = |found: &Option<(bool, PathBuf)>| found.as_ref().is_some_and(|(is_it, _)| *is_it);
    steadily(folders, || look_for(reached, folders), is_it).map(|(_, path)| path)
}

/// Whether it is the file itself or a copy, and where.
fn look_for(reached: &Reached, folders: &[PathBuf]) -> Option<(bool, PathBuf)> {
    let is_it = |found: &Metadata| (found.dev(), found.ino()) == (reached.device, reached.inode);
    let mut copies = Vec::new();
    for path in folders.iter().flat_map(|folder| paths(folder)) {
        let Ok(found) = fs::metadata(&path) else { continue };
        let it = is_it(&found);
        // Of an empty file there is no copy.
        if !it && (reached.head.bytes() == 0 || found.len() < reached.offset) {
            continue;
        }
        let Ok((file, found)) = open(&path) else { continue };
        if holds(&file, &found, reached) {
            if it {
                return Some((true, path));
            }
            copies.push((modified(&found), path));
        }
    }
    copies.into_iter().max().map(|(_, path)| (false, path))
}

/// Looks again while names change in the folders: who renames `x.1` to `x.2` between
/// a look at `x.2` and one at `x.1` has a file that nobody sees.
fn steadily<T>(folders: &[PathBuf], mut look: impl FnMut() -> T, is_all: impl Fn(&T) -> bool) -> T {
    let names = || -> Vec<Vec<(u64, OsString)>> {
        let of = |folder: &PathBuf| {
            let mut all: Vec<_> = entries(folder).map(|entry| (entry.ino(), entry.file_name())).collect();
            all.sort_unstable();
            all
        };
        folders.iter().map(of).collect()
    };
    let mut before = names();
    for _ in 1..LOOKS_MAX {
        let found = look();
        let after = names();
        if is_all(&found) || after == before {
            return found;
        }
        before = after;
    }
    look()
}

/// Whether all is in a file that was read so far.
fn holds(file: &File, found: &Metadata, reached: &Reached) -> bool {
    found.len() >= reached.offset && reached.head.fits(file).unwrap_or(false)
}

/// Files that were at the path after that time and are under other names now,
/// by when they were written to last. Those that `knows` knows are left out.
pub(super) fn later(path: &Path, after: u64, knows: impl Fn(&File, &Metadata) -> bool) -> Vec<PathBuf> {
    let (Some(folder), Some(base)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    steadily(&[folder.to_owned()], || look_for_later((path, folder, base), after, &knows), |_| false)
}

fn look_for_later(
    (path, folder, base): (&Path, &Path, &str),
    after: u64,
    knows: impl Fn(&File, &Metadata) -> bool,
) -> Vec<PathBuf> {
    let current = fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let mut found_later = Vec::new();
    for candidate in paths(folder) {
        let name = candidate.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| is_rotated(base, name)) {
            continue;
        }
        let Ok((file, found)) = open(&candidate) else { continue };
        let is_current = current == Some((found.dev(), found.ino()));
        if !is_current && modified(&found) >= after && !knows(&file, &found) && !is_compressed(&candidate) {
            found_later.push((modified(&found), candidate));
        }
    }
    found_later.sort();
    found_later.into_iter().map(|(_, path)| path).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::read_dir(folder).into_iter().flatten().take(ENTRIES_MAX).filter_map(Result::ok)
}

fn paths(folder: &Path) -> impl Iterator<Item = PathBuf> {
    entries(folder).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_looked_through_again_while_names_change_in_it_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        let looks = |changes: u64, found_at: u64| {
            let _there_already = fs::rename(folder.path().join("x.2"), folder.path().join("x.1"));
            fs::write(folder.path().join("x.1"), "").unwrap();
            let mut looks = 0;
            steadily(
                &folders,
                || {
                    looks += 1;
                    if looks <= changes {
                        let (from, to) = (folder.path().join("x.1"), folder.path().join("x.2"));
                        if looks.is_multiple_of(2) {
                            fs::rename(to, from).unwrap()
                        } else {
                            fs::rename(from, to).unwrap()
                        }
                    }
                    looks
                },
                |look| *look == found_at,
            )
        };
        assert_eq!(looks(0, 9), 1);
        assert_eq!(looks(2, 9), 3);
        assert_eq!(looks(2, 2), 2, "it has been found");
        assert_eq!(looks(99, 99), LOOKS_MAX as u64);
    }

    #[test]
    fn names_that_rotated_logs_get_and_others() {
        for (base, name) in [
            ("rportd.log", "rportd.log.1"),
            ("rportd.log", "rportd.log-20261125"),
            ("rportd.log", "rportd.log.old"),
            ("rportd.log", "rportd-2026-11-25T12-00-00.000.log"),
            ("rportd.log", "rportd.1.log"),
            ("auth", "auth.0"),
        ] {
            assert!(is_rotated(base, name), "{name}");
        }
        for (base, name) in [
            ("rportd.log", "rportd.log"),
            ("rportd.log", "rportd.log.1.gz"),
            ("rportd.log", "rportd-api.log"),
            ("rportd.log", "rportd-api2.log"),
            ("rportd.log", "rportd.log.d"),
            ("rportd.log", "rportd.logs1"),
            ("access.log", "access_ssl.log"),
            ("access.log", "other.log.1"),
            ("auth", "auth2"),
            ("a.log", "a.log.1.conf"),
        ] {
            assert!(!is_rotated(base, name), "{name}");
        }
    }
}
