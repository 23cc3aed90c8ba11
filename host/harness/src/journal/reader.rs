//! Reads journals: a folder, one segment of it, or frames in memory; forwards or
//! backwards.
//!
//! What can't be read is left out and told of ([`Findings`]): behind a damaged
//! place it goes on with the next segment. One segment at a time is in memory.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::record::Record;
use super::segment::{self, Ending, HEADER_BYTES, HeaderError};

/// Damaged places that are told of one by one; all are counted.
const DAMAGES_MAX: usize = 100;

/// Where a record stands. Later ones have later places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Number of the segment; 0 in memory.
    pub segment: u64,
    /// Bytes before it.
    pub offset: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.segment, self.offset)
    }
}

impl std::str::FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text
            .split_once('.')
            .and_then(|(segment, offset)| Some(Self { segment: segment.parse().ok()?, offset: offset.parse().ok()? }));
        parts.ok_or("a place in the journal is written as in 12.4096")
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A record kept for later, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands.
    pub place: Place,
    payload: Box<[u8]>,
}

impl Stored {
    /// The record.
    ///
    /// # Errors
    /// None for one that a reader has given out.
    pub fn record(&self) -> Result<Record<'_>, minicbor::decode::Error> {
        minicbor::decode(&self.payload)
    }
}

impl Serialize for Stored {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Placed { place: self.place, record: &self.record().map_err(serde::ser::Error::custom)? }.serialize(to)
    }
}

/// A record with its place.
#[derive(Debug, Serialize)]
pub struct Placed<'r, 'a> {
    /// Where it stands.
    pub place: Place,
    /// The record.
    #[serde(flatten)]
    pub record: &'r Record<'a>,
}

/// A record that is being read.
#[derive(Clone, Copy, Debug)]
pub struct Read<'b> {
    /// Where it stands.
    pub place: Place,
    payload: &'b [u8],
}

impl Read<'_> {
    /// The same, to be kept.
    #[must_use]
    pub fn stored(&self) -> Stored {
        Stored { place: self.place, payload: self.payload.into() }
    }

    /// Bytes that it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.payload.len()
    }
}

/// A place where a journal can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file.
    pub segment: String,
    /// Bytes before it.
    pub offset: u64,
    /// Bytes that were skipped.
    pub skipped: u64,
    /// Why.
    pub why: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { segment, offset, skipped, why } = self;
        write!(f, "{segment}: {why} at byte {offset}: {skipped} bytes skipped")
    }
}

/// What was met while reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Segments that were read.
    pub segments: u64,
    /// Records that were given out.
    pub records: u64,
    /// Records of a kind that this program doesn't know: a later one wrote them.
    pub unknown: u64,
    /// Bytes of frames that aren't there as a whole, at the ends of segments:
    /// being written, or what a crash left behind.
    pub torn_bytes: u64,
    /// Damaged places, the first of them.
    pub damages: Vec<Damage>,
    /// How many there are.
    pub damaged: u64,
    /// Whether all there is has been read.
    pub to_the_end: bool,
}

impl Findings {
    fn damage(&mut self, segment: &str, offset: u64, skipped: usize, why: &str) {
        self.damaged += 1;
        if self.damages.len() < DAMAGES_MAX {
            let skipped = u64::try_from(skipped).unwrap_or(u64::MAX);
            self.damages.push(Damage { segment: segment.to_owned(), offset, skipped, why: why.to_owned() });
        }
    }
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can't be read.
    #[error("{path}: {error}")]
    Io {
        /// What.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The folder holds no segment.
    #[error("{path}: no journal: there is no file such as {} in it", segment::file_name(1))]
    Empty {
        /// The folder.
        path: String,
    },
    /// The file is no segment.
    #[error("{path}: {error}")]
    Header {
        /// The file.
        path: String,
        /// Why.
        error: HeaderError,
    },
}

/// Frames that follow one another.
#[derive(Clone, Debug)]
enum Page {
    File(PathBuf),
    Memory { frames: Arc<[u8]>, offset: u64 },
}

/// What can be read, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Reader(Vec<Page>);

/// In which order records are given out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    OldestFirst,
    NewestFirst,
}

impl Reader {
    /// The segments of a folder, or the one segment that is named.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let name = || path.display().to_string();
        let io = |error| OpenError::Io { path: name(), error };
        if !path.metadata().map_err(io)?.is_dir() {
            segment::load(path).map_err(|error| OpenError::Header { path: name(), error })?;
            return Ok(Self(vec![Page::File(path.to_owned())]));
        }
        let segments = segment::list(path).map_err(io)?;
        if segments.is_empty() {
            return Err(OpenError::Empty { path: name() });
        }
        Ok(Self(segments.into_iter().map(|(_, path)| Page::File(path)).collect()))
    }

    /// Frames in memory, the oldest first, each with the bytes before it.
    pub fn of_memory(frames: impl IntoIterator<Item = (u64, Arc<[u8]>)>) -> Self {
        Self(frames.into_iter().map(|(offset, frames)| Page::Memory { frames, offset }).collect())
    }

    /// Whether `path` is a journal or a segment of one, going by its first bytes.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        use std::io::Read as _;
        let Ok(found) = path.metadata() else { return false };
        if found.is_dir() {
            return segment::list(path).is_ok_and(|segments| !segments.is_empty());
        }
        let mut magic = [0; segment::MAGIC.len()];
        // A pipe is opened but once.
        found.is_file()
            && std::fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
            && magic == segment::MAGIC
    }

    /// Gives out every record, the oldest first, until `each` has had enough.
    pub fn forward(&self, mut each: impl FnMut(Read<'_>, &Record<'_>) -> ControlFlow<()>) -> Findings {
        self.walk(Direction::OldestFirst, None, &mut each)
    }

    /// The same, the newest first, and those before `before` alone.
    pub fn backward(
        &self,
        before: Option<Place>,
        mut each: impl FnMut(Read<'_>, &Record<'_>) -> ControlFlow<()>,
    ) -> Findings {
        self.walk(Direction::NewestFirst, before, &mut each)
    }

    fn walk(
        &self,
        direction: Direction,
        before: Option<Place>,
        each: &mut dyn FnMut(Read<'_>, &Record<'_>) -> ControlFlow<()>,
    ) -> Findings {
        let mut findings = Findings::default();
        let mut pages: Vec<&Page> = self.0.iter().collect();
        if direction == Direction::NewestFirst {
            pages.reverse();
        }
        for page in pages {
            if page.walk(direction, before, &mut findings, each).is_break() {
                return findings;
            }
        }
        findings.to_the_end = true;
        findings
    }
}

impl Page {
    fn walk(
        &self,
        direction: Direction,
        before: Option<Place>,
        findings: &mut Findings,
        each: &mut dyn FnMut(Read<'_>, &Record<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Memory { frames, offset } => {
                let begin = Place { segment: 0, offset: *offset };
                give_out("memory", frames, begin, direction, before, findings, each)
            }
            Self::File(path) => {
                let in_name = path.file_name().and_then(|name| segment::number_in(name.to_str()?));
                if let (Some(before), Some(number)) = (before, in_name)
                    && number > before.segment
                {
                    return ControlFlow::Continue(());
                }
                let name = path.display().to_string();
                match segment::load(path) {
                    Ok((header, bytes)) => {
                        findings.segments += 1;
                        let begin = Place { segment: header.number, offset: HEADER_BYTES as u64 };
                        give_out(&name, &bytes[HEADER_BYTES..], begin, direction, before, findings, each)
                    }
                    // Its time had come since the folder was looked at.
                    Err(HeaderError::Io(error)) if error.kind() == io::ErrorKind::NotFound => ControlFlow::Continue(()),
                    Err(error) => {
                        findings.damage(&name, 0, file_size(path), &error.to_string());
                        ControlFlow::Continue(())
                    }
                }
            }
        }
    }
}

fn file_size(path: &Path) -> usize {
    path.metadata().map_or(0, |found| usize::try_from(found.len()).unwrap_or(usize::MAX))
}

/// Gives out the records of some frames, which begin at that place.
fn give_out(
    name: &str,
    frames: &[u8],
    begin: Place,
    direction: Direction,
    before: Option<Place>,
    findings: &mut Findings,
    each: &mut dyn FnMut(Read<'_>, &Record<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let place = |at: usize| Place { offset: begin.offset.saturating_add(at as u64), ..begin };
    let mut found = Vec::new();
    let (end, ending) = segment::walk(frames, |at, payload| found.push((at, payload)));
    match ending {
        Ending::Whole => {}
        Ending::Torn(bytes) => findings.torn_bytes += bytes as u64,
        Ending::Damaged(bytes) => findings.damage(name, place(end).offset, bytes, "a damaged frame"),
    }
    if direction == Direction::NewestFirst {
        found.reverse();
    }
    for (at, payload) in found {
        let read = Read { place: place(at), payload };
        if before.is_some_and(|before| read.place >= before) {
            continue;
        }
        match minicbor::decode::<Record<'_>>(payload) {
            Ok(record) => {
                findings.records += 1;
                each(read, &record)?;
            }
            Err(_) => findings.unknown += 1,
        }
    }
    ControlFlow::Continue(())
}
