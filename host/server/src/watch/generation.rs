//! One file that is or was at a log's path: its lines, from where it was left.
//!
//! A file is read by offset and nothing of it is kept between two looks but the
//! offset: a line whose end isn't there yet is read again when it is.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use memchr::{memchr, memchr_iter, memrchr};
use portcullis_harness::logs::{LINE_BYTES_MAX, Line};
use rustix::fs::OFlags;

use super::place::{HEAD_BYTES_MAX, Print, Reached, read_head};

/// Read at once: more than the longest line that is looked at.
pub(super) const BUFFER_BYTES: usize = 512 << 10;
/// So much of what was read before is read again by those who have to remember it.
const RECALLED_BYTES: usize = 256 << 10;
const _: () = assert!(BUFFER_BYTES > 2 * LINE_BYTES_MAX);

/// An open file.
#[derive(Debug)]
pub(super) struct Generation {
    file: File,
    device: u64,
    inode: u64,
    head: Vec<u8>,
    print: Print,
    offset: u64,
    line: u64,
    /// A line that is too long has been looked through up to there.
    skipped_to: Option<u64>,
    /// There was no whole line left up to there.
    drained_to: u64,
    modified: u64,
    size: u64,
    /// It had been written to last at that time, and there was nothing in it to
    /// know it by again.
    empty_since: Option<u64>,
    /// Where it was found.
    pub(super) path: PathBuf,
    /// The log's path doesn't lead to it any more.
    pub(super) left: bool,
    /// Since when nothing more came.
    pub(super) idle_since: Instant,
}

impl Generation {
    /// Opens a file to read it from its beginning.
    ///
    /// # Errors
    /// As the system's, and `InvalidInput` for what is no file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, found) = open(path)?;
        let head = read_head(&file, HEAD_BYTES_MAX)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            print: Print::of(&head),
            head,
            offset: 0,
            line: 0,
            skipped_to: None,
            drained_to: 0,
            modified: modified(&found),
            size: found.len(),
            empty_since: (found.len() == 0).then(|| modified(&found)),
            path: path.to_owned(),
            left: false,
            idle_since: Instant::now(),
            file,
        })
    }

    /// The same, from where it was left.
    pub(super) fn going_on(self, reached: &Reached) -> Self {
        let empty_since = (reached.head.bytes() == 0).then_some(reached.modified);
        Self { offset: reached.offset, line: reached.line, empty_since, ..self }
    }

    /// The same, behind its last whole line, and how many lines that are.
    ///
    /// # Errors
    /// As the system's.
    pub(super) fn at_its_end(mut self) -> io::Result<Self> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut at = 0;
        loop {
            let read = self.read_at(&mut buffer, at)?;
            if read == 0 {
                return Ok(self);
            }
            let bytes = &buffer[..read];
            if let Some(last) = memrchr(b'\n', bytes) {
                self.line += u64::try_from(memchr_iter(b'\n', bytes).count()).unwrap_or(u64::MAX);
                self.offset = at + length(last) + 1;
            }
            at += length(read);
        }
    }

    /// The same file from its beginning: what was in it is gone.
    pub(super) fn anew(self) -> io::Result<Self> {
        let head = read_head(&self.file, HEAD_BYTES_MAX)?;
        let found = self.file.metadata()?;
        Ok(Self {
            print: Print::of(&head),
            head,
            offset: 0,
            line: 0,
            skipped_to: None,
            drained_to: 0,
            modified: modified(&found),
            size: found.len(),
            empty_since: (found.len() == 0).then(|| modified(&found)),
            idle_since: Instant::now(),
            ..self
        })
    }

    /// Which file it is.
    pub(super) const fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// What it begins with.
    pub(super) const fn print(&self) -> &Print {
        &self.print
    }

    /// The number of the line that was given out last.
    pub(super) const fn line(&self) -> u64 {
        self.line
    }

    /// Whether what was read so far is this file, or if not whether this is a copy
    /// of it, and how far that is: the greater the better.
    pub(super) fn holds(&self, reached: &Reached) -> Option<(bool, u64)> {
        let holds = reached.head.bytes() > 0 && self.size >= reached.offset;
        let holds = holds && reached.head.fits(&self.file).unwrap_or(false);
        holds.then_some((reached.identity() == self.identity(), reached.offset))
    }

    /// Whether all whole lines have been given out that were there at the last look.
    pub(super) const fn is_drained(&self) -> bool {
        self.drained_to >= self.size
    }

    /// There was no whole line in the bytes that come next.
    pub(super) fn drained(&mut self, read: usize) {
        if self.empty_since.is_none() {
            self.drained_to = self.skipped_to.unwrap_or(self.offset) + length(read);
        }
    }

    /// What is left of it can't be read.
    pub(super) const fn give_up(&mut self) {
        self.drained_to = self.size;
    }

    /// Bytes that haven't been given out, as of the last look.
    pub(super) const fn unread(&self) -> u64 {
        self.size.saturating_sub(self.offset)
    }

    /// When it was written to last, in nanoseconds since 1970, as of the last look.
    pub(super) const fn modified(&self) -> u64 {
        self.modified
    }

    /// Whether nobody could open it any more.
    pub(super) fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() == 0)
    }

    /// Looks where it is by now: it has been renamed.
    pub(super) fn find_path(&mut self) {
        use std::os::fd::AsRawFd as _;
        let here = std::fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        if let Ok(path) = here.and_then(|path| path.canonicalize()) {
            self.path = path;
        }
    }

    /// How far it has been read.
    pub(super) fn reached(&self) -> Reached {
        Reached {
            device: self.device,
            inode: self.inode,
            head: self.print.clone(),
            offset: self.offset,
            line: self.line,
            modified: self.modified,
            path: self.path.to_string_lossy().into_owned(),
            done: false,
        }
    }

    /// Looks at the file: whether what has been read of it isn't there any more.
    ///
    /// # Errors
    /// As the system's.
    pub(super) fn is_cut(&mut self) -> io::Result<bool> {
        let found = self.file.metadata()?;
        if found.len() < self.offset.max(self.skipped_to.unwrap_or_default()) {
            return Ok(true);
        }
        if !self.begins_as_before()? {
            return Ok(true);
        }
        (self.size, self.modified) = (found.len(), modified(&found));
        Ok(false)
    }

    /// Whether it begins as it did; more of its beginning is remembered as it grows.
    fn begins_as_before(&mut self) -> io::Result<bool> {
        let mut head = [0; HEAD_BYTES_MAX];
        let read = self.read_at(&mut head, 0)?;
        let head = &head[..read];
        if !head.starts_with(&self.head) {
            return Ok(false);
        }
        if head.len() > self.head.len() {
            self.head = head.to_vec();
            self.print = Print::of(head);
        }
        Ok(true)
    }

    /// Whether it was empty at the look before and has been written to since: what
    /// was written may have been copied and cut again. When it was empty.
    pub(super) fn take_was_empty(&mut self) -> Option<u64> {
        let since = self.empty_since?;
        self.empty_since = self.head.is_empty().then_some(self.modified);
        (since != self.modified).then_some(since)
    }

    /// Reads what comes next, at most a whole buffer: how many bytes. Nothing is
    /// read that the file isn't known by.
    ///
    /// # Errors
    /// As the system's.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.empty_since.is_some() || !self.begins_as_before()? {
            // It has been cut, or may have been: the next look finds out.
            return Ok(0);
        }
        self.read_at(buffer, self.skipped_to.unwrap_or(self.offset))
    }

    /// Whole lines among the bytes right before the line that comes next.
    pub(super) fn lines_before(&self, take: impl FnMut(&[u8])) {
        let from = self.offset.saturating_sub(length(RECALLED_BYTES));
        let mut buffer = vec![0; usize::try_from(self.offset - from).unwrap_or_default()];
        let Ok(read) = self.read_at(&mut buffer, from) else { return };
        let mut lines = buffer[..read].split(|&byte| byte == b'\n');
        if from > 0 {
            // It may have begun before that.
            let _rest_of_a_line = lines.next();
        }
        lines.filter(|line| !line.is_empty()).for_each(take);
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// The next whole line of what was read. From then on it counts as read.
    pub(super) fn next<'b>(&mut self, unread: &mut &'b [u8]) -> Option<Line<'b>> {
        self.skip_hole(unread);
        let newline = memchr(b'\n', unread)?;
        let line = &unread[..newline];
        *unread = &unread[newline + 1..];
        let skipped = self.skipped_to.take();
        self.offset = skipped.unwrap_or(self.offset) + length(newline) + 1;
        self.line += 1;
        let too_long = skipped.is_some() || newline > LINE_BYTES_MAX;
        Some(if too_long { Line::TooLong } else { Line::Whole(line) })
    }

    /// Passes over what was read and holds no whole line, if it belongs to a
    /// line that is too long or to none. Whether there may be more behind it.
    pub(super) fn pass_over(&mut self, mut unread: &[u8]) -> bool {
        let read = unread.len();
        self.skip_hole(&mut unread);
        if !unread.is_empty() && (self.skipped_to.is_some() || unread.len() > LINE_BYTES_MAX) {
            self.skipped_to = Some(self.skipped_to.unwrap_or(self.offset) + length(unread.len()));
            return true;
        }
        unread.len() < read
    }

    /// Whoever writes on where a file was cut leaves a hole before the line.
    fn skip_hole(&mut self, unread: &mut &[u8]) {
        if self.skipped_to.is_none() {
            let hole = unread.iter().take_while(|&&byte| byte == 0).count();
            *unread = &unread[hole..];
            self.offset += length(hole);
        }
    }
}

/// Opens a file to read it; a pipe would be waited for.
pub(super) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok((file, found))
}

/// When a file was written to last, in nanoseconds since 1970.
pub(super) fn modified(found: &Metadata) -> u64 {
    let (seconds, nanos) = (found.mtime().max(0), found.mtime_nsec().max(0));
    u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000_000_000) + u64::try_from(nanos).unwrap_or_default()
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
