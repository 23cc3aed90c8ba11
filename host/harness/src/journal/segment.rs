//! A segment: one file of a journal, a header and then one frame after the
//! other, each with its length and checksum before it.
//!
//! It knows bytes and nothing of what is in a frame, and keeps no file open.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use portcullis_domain::Timestamp;

use super::record::Record;

/// How a segment begins.
pub const MAGIC: [u8; 8] = *b"PCJOURNL";
/// The version of the format. Fields of records are added without a new one.
pub const VERSION: u32 = 1;
/// Bytes of a header: magic, version, number, time of its beginning, checksum.
pub const HEADER_BYTES: usize = 32;
/// Bytes before the payload of a frame: its length, and the checksum of both.
pub const FRAME_HEAD_BYTES: usize = 8;
/// Longest payload of a frame, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Largest segment that is read; those that are written are far smaller.
pub const SEGMENT_BYTES_READ_MAX: u64 = 64 << 20;

const EXTENSION: &str = ".journal";
const NUMBER_DIGITS: usize = 12;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its place among the others; that of the first is 1.
    pub number: u64,
    /// When it was begun.
    pub began: Timestamp,
}

/// Why a file is no segment.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Something else altogether.
    #[error("not a segment of a journal: it doesn't begin with {}", MAGIC.escape_ascii())]
    NotOne,
    /// Written by another version of the program.
    #[error("written in version {found} of the format, where this program reads version {VERSION}")]
    Version {
        /// The version that it names.
        found: u32,
    },
    /// Its header is damaged.
    #[error("its header is damaged: the checksum differs")]
    Damaged,
    /// Nobody writes segments that large.
    #[error("{bytes} bytes, where a segment has at most {SEGMENT_BYTES_READ_MAX}")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
}

impl Header {
    /// As it is written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.began.as_millis().to_le_bytes());
        let sum = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// From the first bytes of a file.
    ///
    /// # Errors
    /// [`HeaderError`]; a header that is cut off is damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        if !bytes.starts_with(&MAGIC) {
            let cut_off = bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes);
            return Err(if cut_off { HeaderError::Damaged } else { HeaderError::NotOne });
        }
        let (Some(version), Some(number), Some(began), Some(sum)) =
            (four(bytes, 8), eight(bytes, 12), eight(bytes, 20), four(bytes, 28))
        else {
            return Err(HeaderError::Damaged);
        };
        if version != VERSION {
            return Err(HeaderError::Version { found: version });
        }
        if crc32fast::hash(&bytes[..28]) != sum {
            return Err(HeaderError::Damaged);
        }
        Ok(Self { number, began: Timestamp::from_millis(began) })
    }
}

/// The name of the segment of that number.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:0NUMBER_DIGITS$}{EXTENSION}")
}

/// The number in a name, if it is one of a segment.
#[must_use]
pub fn number_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let all = digits.len() >= NUMBER_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all)
}

/// The segments in a folder, the oldest first; whatever else is there is left alone.
///
/// # Errors
/// If the folder can't be read.
pub fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(number_in) {
            found.push((number, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Appends a record as a frame; nothing is appended if it is too long for one.
#[must_use]
pub fn append(frames: &mut Vec<u8>, record: &Record<'_>) -> bool {
    let begin = frames.len();
    frames.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    // Writing to memory can't fail.
    let written = minicbor::encode(record, &mut *frames).is_ok();
    let payload = frames.len() - begin - FRAME_HEAD_BYTES;
    let Some(length) = u32::try_from(payload).ok().filter(|_| written && payload <= PAYLOAD_BYTES_MAX) else {
        frames.truncate(begin);
        return false;
    };
    let length = length.to_le_bytes();
    let sum = checksum(&length, &frames[begin + FRAME_HEAD_BYTES..]);
    frames[begin..begin + 4].copy_from_slice(&length);
    frames[begin + 4..begin + FRAME_HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    true
}

fn checksum(length: &[u8; 4], payload: &[u8]) -> u32 {
    let mut sum = Hasher::new();
    sum.update(length);
    sum.update(payload);
    sum.finalize()
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A frame, and how many bytes it takes.
    Whole(&'a [u8], usize),
    /// Nothing more.
    End,
    /// The beginning of a frame that isn't there as a whole, as a crash leaves
    /// it: nothing else stands behind it.
    Torn,
    /// No frame, and more behind it.
    Damaged,
}

/// The frame at the beginning of `bytes`, which go on to the end of the segment.
#[must_use]
pub fn frame(bytes: &[u8]) -> Frame<'_> {
    if bytes.is_empty() {
        return Frame::End;
    }
    let (Some(length), Some(sum)) = (four(bytes, 0), four(bytes, 4)) else { return Frame::Torn };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 || length > PAYLOAD_BYTES_MAX {
        // What a file system had made room for when the machine went down.
        let only_zeros = bytes.iter().all(|&byte| byte == 0);
        return if only_zeros { Frame::Torn } else { Frame::Damaged };
    }
    let whole = FRAME_HEAD_BYTES + length;
    let Some(payload) = bytes.get(FRAME_HEAD_BYTES..whole) else { return Frame::Torn };
    let mut head = [0; 4];
    head.copy_from_slice(&bytes[..4]);
    if checksum(&head, payload) == sum {
        Frame::Whole(payload, whole)
    } else if bytes.len() == whole {
        Frame::Torn
    } else {
        Frame::Damaged
    }
}

/// How many bytes the frame at the beginning takes, going by its length alone:
/// for frames that never left memory.
#[must_use]
pub fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let length = usize::try_from(four(bytes, 0)?).ok()?;
    FRAME_HEAD_BYTES.checked_add(length).filter(|&whole| length > 0 && whole <= bytes.len())
}

/// How far a segment is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// To its end.
    Whole,
    /// It ends in the middle of a frame: so many bytes are none.
    Torn(usize),
    /// Something in it is damaged, and so many bytes can't be told apart.
    Damaged(usize),
}

/// Walks through the frames in `bytes`, each with its offset in them; says where
/// they end and how.
pub fn walk<'a>(bytes: &'a [u8], mut each: impl FnMut(usize, &'a [u8])) -> (usize, Ending) {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        match frame(rest) {
            Frame::Whole(payload, length) => {
                each(at, payload);
                at += length;
            }
            Frame::End => return (at, Ending::Whole),
            Frame::Torn => return (at, Ending::Torn(rest.len())),
            Frame::Damaged => return (at, Ending::Damaged(rest.len())),
        }
    }
}

/// A segment's header.
///
/// # Errors
/// [`HeaderError`].
pub fn header(path: &Path) -> Result<Header, HeaderError> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    std::fs::File::open(path)?.take(HEADER_BYTES as u64).read_to_end(&mut bytes)?;
    Header::read(&bytes)
}

/// A segment's header and all of its bytes, the header's included.
///
/// # Errors
/// [`HeaderError`].
pub fn load(path: &Path) -> Result<(Header, Vec<u8>), HeaderError> {
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > SEGMENT_BYTES_READ_MAX {
        return Err(HeaderError::TooLarge { bytes: size });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(SEGMENT_BYTES_READ_MAX).read_to_end(&mut bytes)?;
    Ok((Header::read(&bytes)?, bytes))
}

fn four(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn eight(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
