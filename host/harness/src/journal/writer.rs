//! Writes a journal: segments in a folder that is this process's alone, within
//! the bounds that the operator gave it.
//!
//! It knows frames and nothing of what is in them; whoever calls it brings the
//! time, and does so from a thread that may wait for the disk.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_domain::Timestamp;

use super::segment::{self, Ending, HEADER_BYTES, Header, HeaderError};

/// Largest segment, in bytes.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// Smallest, where the whole journal may be only little larger.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// A journal is of at least so many segments, by size and by age.
const SEGMENTS: u32 = 8;
/// Shortest time that a segment is written to, however short the journal's.
const SEGMENT_AGE_MIN: Duration = Duration::from_secs(1);
/// Held by the process that writes.
const LOCK: &str = "lock";

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all segments.
    pub bytes_max: u64,
    /// Time since the oldest event.
    pub age_max: Duration,
}

impl Bounds {
    fn segment_bytes(&self) -> u64 {
        (self.bytes_max / u64::from(SEGMENTS)).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    }

    fn segment_age(&self) -> Duration {
        (self.age_max / SEGMENTS).max(SEGMENT_AGE_MIN)
    }
}

/// Why a folder can't hold a journal.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The system says no.
    #[error("{path}: {error}")]
    Io {
        /// Which file or folder.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It isn't ours.
    #[error("{path} belongs to user {owner} and the server runs as user {user}: give it a folder of its own")]
    Owner {
        /// The folder.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Others can get at it.
    #[error("{path} is open to others, its mode is {mode:03o}: it tells who logs in from where; use chmod 700")]
    Mode {
        /// The folder.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// Another process writes there.
    #[error("{path} is in use by another process: each server needs a folder of its own")]
    InUse {
        /// The folder.
        path: String,
    },
}

/// What was found amiss in a folder, and what became of it; for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healed {
    /// A segment ended in the middle of a frame, and was cut there.
    Cut {
        /// The segment.
        path: PathBuf,
        /// So many bytes.
        bytes: u64,
    },
    /// A segment is damaged from some byte on. It stays as it is, and another
    /// one was begun.
    Left {
        /// The segment.
        path: PathBuf,
        /// Where and why.
        why: String,
    },
}

impl std::fmt::Display for Healed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cut { path, bytes } => {
                write!(f, "{}: cut at the last whole record, {bytes} bytes behind it were torn", path.display())
            }
            Self::Left { path, why } => write!(f, "{}: {why}; it stays as it is", path.display()),
        }
    }
}

/// A segment of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was begun.
    pub began: Timestamp,
}

/// Writes to a folder, which nobody else does meanwhile.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    bounds: Bounds,
    /// Held as long as it is open.
    lock: Option<File>,
    /// The oldest first; the last one is being written to if it is open.
    segments: Vec<Segment>,
    open: Option<File>,
    next: u64,
}

impl Writer {
    /// Takes the folder, which is made if it isn't there, and heals what a crash
    /// left behind.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(folder: &Path, bounds: Bounds) -> Result<(Self, Vec<Healed>), FolderError> {
        let lock = take(folder)?;
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |error| FolderError::Io { path, error }
        };
        let (mut segments, mut healed, mut open, mut next) = (Vec::new(), Vec::new(), None, 1);
        let listed = segment::list(folder).map_err(io(folder))?;
        let last = listed.len().saturating_sub(1);
        for (nth, (number, path)) in listed.into_iter().enumerate() {
            next = number.saturating_add(1);
            let bytes = path.metadata().map_err(io(&path))?.len();
            let mut found = Segment { number, path, bytes, began: Timestamp::default() };
            match segment::header(&found.path) {
                Ok(header) => found.began = header.began,
                Err(HeaderError::Damaged) if nth == last && bytes <= HEADER_BYTES as u64 => {
                    // Begun, and never written to.
                    std::fs::remove_file(&found.path).map_err(io(&found.path))?;
                    healed.push(Healed::Cut { path: found.path, bytes });
                    continue;
                }
                Err(error) => {
                    // Its number tells its place, and its neighbours its age.
                    found.began = segments.last().map_or_else(Timestamp::default, |before: &Segment| before.began);
                    healed.push(Healed::Left { path: found.path.clone(), why: error.to_string() });
                    segments.push(found);
                    continue;
                }
            }
            if nth == last {
                open = heal(&mut found, &mut healed).map_err(io(&found.path))?;
            }
            segments.push(found);
        }
        let writer = Self { folder: folder.to_owned(), bounds, lock: Some(lock), segments, open, next };
        Ok((writer, healed))
    }

    /// Appends frames. A segment that they begin opens with `opening`, frames
    /// too, so that it can be read without those before it.
    ///
    /// # Errors
    /// If the disk doesn't take them; how many of their bytes it has taken
    /// before that, in whole frames, is said.
    pub fn append(&mut self, frames: &[u8], opening: &[u8], now: Timestamp) -> Result<(), Incomplete> {
        let mut written = 0;
        while written < frames.len() {
            let result = self.room(opening, now).and_then(|room| {
                let some = &frames[written..written + whole_frames(&frames[written..], room)];
                self.write(some)?;
                Ok(some.len())
            });
            match result {
                Ok(bytes) => written += bytes,
                Err(error) => return Err(Incomplete { written, error }),
            }
        }
        self.keep_to_bounds(now);
        Ok(())
    }

    /// Drops what is too old, and ends a segment whose time is over.
    pub fn tick(&mut self, now: Timestamp) {
        let over = self.segments.last().is_some_and(|last| self.is_over(last, now));
        if over {
            self.end_segment();
        }
        self.keep_to_bounds(now);
    }

    /// Whether the files are still where they were made: a folder can be
    /// removed or replaced while its files are open.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let same = |file: &File, path: &Path| {
            let (Ok(open), Ok(there)) = (file.metadata(), path.metadata()) else { return false };
            (open.dev(), open.ino()) == (there.dev(), there.ino())
        };
        self.lock.as_ref().is_some_and(|lock| same(lock, &self.folder.join(LOCK)))
            && match (&self.open, self.segments.last()) {
                (Some(file), Some(last)) => same(file, &last.path),
                (None, _) | (_, None) => true,
            }
    }

    /// Takes the folder anew, where it isn't what it was any more; segments are
    /// numbered on.
    ///
    /// # Errors
    /// [`FolderError`]; to be tried again then.
    pub fn take_anew(&mut self) -> Result<Vec<Healed>, FolderError> {
        // It may be the same file after all, and be locked by ourselves.
        (self.lock, self.open) = (None, None);
        let (writer, healed) = Self::open(&self.folder, self.bounds)?;
        *self = Self { next: writer.next.max(self.next), ..writer };
        Ok(healed)
    }

    /// The segments, the oldest first.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Bytes that fit into the open segment; if need be another one is begun.
    fn room(&mut self, opening: &[u8], now: Timestamp) -> io::Result<u64> {
        let full = self.bounds.segment_bytes();
        let ends = self.segments.last().is_some_and(|last| last.bytes >= full || self.is_over(last, now));
        if self.open.is_none() || ends {
            self.end_segment();
            self.begin_segment(now)?;
            self.write(opening)?;
        }
        let bytes = self.segments.last().map_or(0, |last| last.bytes);
        Ok(full.saturating_sub(bytes))
    }

    fn is_over(&self, segment: &Segment, now: Timestamp) -> bool {
        now.since(segment.began) >= self.bounds.segment_age()
    }

    fn begin_segment(&mut self, now: Timestamp) -> io::Result<()> {
        let header = Header { number: self.next, began: now };
        let path = self.folder.join(segment::file_name(self.next));
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        // What can't be begun leaves nothing behind.
        if let Err(error) = file.write_all(&header.to_bytes()) {
            let _gone_or_not = std::fs::remove_file(&path);
            return Err(error);
        }
        let bytes = HEADER_BYTES as u64;
        self.segments.push(Segment { number: self.next, path, bytes, began: now });
        self.next = self.next.saturating_add(1);
        self.open = Some(file);
        Ok(())
    }

    /// From here on the disk has it whatever happens to the machine, if it can.
    fn end_segment(&mut self) {
        if let Some(file) = self.open.take() {
            let _its_writer_has_no_say = file.sync_data();
        }
    }

    /// Writes all of it or, as far as anyone who reads can tell, nothing.
    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let (Some(file), Some(last)) = (&mut self.open, self.segments.last_mut()) else {
            return Err(io::Error::other("no segment is open"));
        };
        if let Err(error) = file.write_all(frames) {
            // Half a frame would hide those behind it.
            if file.set_len(last.bytes).is_err() {
                self.open = None;
            }
            return Err(error);
        }
        last.bytes += frames.len() as u64;
        Ok(())
    }

    fn keep_to_bounds(&mut self, now: Timestamp) {
        let mut bytes = self.bytes();
        while let [oldest, rest @ ..] = &self.segments[..] {
            let is_open = rest.is_empty() && self.open.is_some();
            let too_old = now.since(oldest.began) >= self.bounds.age_max;
            if is_open || !(too_old || bytes > self.bounds.bytes_max) {
                return;
            }
            let gone = std::fs::remove_file(&oldest.path);
            if gone.is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                return;
            }
            bytes -= oldest.bytes;
            self.segments.remove(0);
        }
    }
}

/// Frames that the disk didn't take, or not all of them.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Incomplete {
    /// Bytes of whole frames that it took.
    pub written: usize,
    /// Why not the others.
    pub error: io::Error,
}

/// Bytes of whole frames at the beginning that fit into so many bytes; of the
/// first frame in any case, since no segment is too small for one.
fn whole_frames(frames: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut end = 0;
    while let Some(bytes) = segment::frame_bytes(&frames[end..]) {
        if end > 0 && end + bytes > room {
            break;
        }
        end += bytes;
    }
    // What is no frame is written as it stands: it came from memory.
    if end == 0 { frames.len() } else { end }
}

/// Makes the folder if it isn't there, and takes it for this process.
fn take(folder: &Path) -> Result<File, FolderError> {
    let path = folder.display().to_string();
    let io = |error| FolderError::Io { path: path.clone(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    let found = folder.metadata().map_err(io)?;
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return Err(FolderError::Owner { path, owner: found.uid(), user });
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FolderError::Mode { path, mode });
    }
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
    let lock = lock.map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse { path }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Cuts the newest segment behind its last whole frame and opens it for more;
/// one that is damaged elsewhere stays as it is.
fn heal(found: &mut Segment, healed: &mut Vec<Healed>) -> io::Result<Option<File>> {
    let bytes = match segment::load(&found.path) {
        Ok((_, bytes)) => bytes,
        Err(HeaderError::Io(error)) => return Err(error),
        Err(error) => {
            healed.push(Healed::Left { path: found.path.clone(), why: error.to_string() });
            return Ok(None);
        }
    };
    let (end, ending) = segment::walk(&bytes[HEADER_BYTES..], |_, _| {});
    let whole = (HEADER_BYTES + end) as u64;
    match ending {
        Ending::Damaged(skipped) => {
            let why = format!("a damaged record at byte {whole}, {skipped} bytes can't be read");
            healed.push(Healed::Left { path: found.path.clone(), why });
            return Ok(None);
        }
        Ending::Whole | Ending::Torn(_) => {}
    }
    let file = OpenOptions::new().append(true).open(&found.path)?;
    if let Ending::Torn(bytes) = ending {
        file.set_len(whole)?;
        healed.push(Healed::Cut { path: found.path.clone(), bytes: bytes as u64 });
    }
    found.bytes = whole;
    Ok(Some(file))
}
