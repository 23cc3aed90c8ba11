//! How far a log has been read, as it is kept: which file, known again by what
//! it begins with, and where in it.
//!
//! It must not know who keeps it, nor how a log is read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// So much of a file's beginning tells it from others.
pub(super) const HEAD_BYTES_MAX: usize = 1024;
/// Bytes of the digest that are kept.
const DIGEST_BYTES: usize = 16;

/// How far one path has been followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The files that have been at the path, the oldest first.
    pub(super) generations: Vec<Reached>,
}

/// How far one file has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// The file system's and the file's own number.
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) head: Print,
    /// Where the first line begins that hasn't been judged.
    pub(super) offset: u64,
    /// Lines before that.
    pub(super) line: u64,
    /// When it was written to last, in nanoseconds since 1970.
    pub(super) modified: u64,
    /// Where it was.
    pub(super) path: String,
    /// Nothing more comes of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) done: bool,
}

impl Reached {
    /// Which file it is.
    pub(super) const fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

impl Place {
    /// As text, to be kept.
    pub(super) fn to_text(&self) -> String {
        // Numbers and text always have a form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From what was kept; none if nobody has written that.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// What a file begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Print {
    /// Length of the beginning that is meant.
    bytes: u64,
    /// The first bytes of its SHA-256, hexadecimal.
    sha256: String,
}

impl Print {
    pub(super) fn of(head: &[u8]) -> Self {
        let digest = Sha256::digest(head);
        let sha256 = digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Self { bytes: u64::try_from(head.len()).unwrap_or(u64::MAX), sha256 }
    }

    /// Length of the beginning that is meant; of an empty file nothing can be known again.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is as long as one can be, so that hardly two files have the same.
    pub(super) const fn is_whole(&self) -> bool {
        self.bytes >= HEAD_BYTES_MAX as u64
    }

    /// Whether a file begins so. An empty beginning is anybody's.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        let length = usize::try_from(self.bytes).unwrap_or(usize::MAX).min(HEAD_BYTES_MAX);
        let head = read_head(file, length)?;
        Ok(head.len() == length && Self::of(&head) == *self)
    }
}

/// A file's beginning, at most so long.
pub(super) fn read_head(file: &File, length: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; length.min(HEAD_BYTES_MAX)];
    let mut read = 0;
    while read < head.len() {
        match file.read_at(&mut head[read..], u64::try_from(read).unwrap_or(u64::MAX)) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(read);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_known_again_by_what_it_begins_with_however_it_grows() {
        let mut file = tempfile::tempfile().unwrap();
        let print = Print::of(b"first line\n");
        assert!(!print.fits(&file).unwrap());
        file.write_all(b"first li").unwrap();
        assert!(!print.fits(&file).unwrap(), "it is shorter");
        file.write_all(b"ne\nsecond\n").unwrap();
        assert!(print.fits(&file).unwrap());
        assert!(!Print::of(b"other line\n").fits(&file).unwrap());
        assert!(Print::of(b"").fits(&file).unwrap(), "anybody's");
    }

    #[test]
    fn a_place_is_the_same_after_it_was_kept() {
        let head = Print::of(b"x");
        let path = "/var/log/ä \"b\".log".to_owned();
        let reached = Reached { device: 1, inode: u64::MAX, head, offset: 5, line: 2, modified: 7, path, done: false };
        let place = Place { generations: vec![Reached { done: true, ..reached.clone() }, reached] };
        assert_eq!(Place::from_text(&place.to_text()), Some(place));
        assert_eq!(Place::from_text("{"), None);
    }
}
