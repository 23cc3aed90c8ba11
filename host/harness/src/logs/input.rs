//! How logs come in: plain, gzip or zstd, told apart by their first bytes, and
//! cut into lines of bounded length.

use std::collections::VecDeque;
use std::io::{self, BufReader, Cursor, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use memchr::memchr;
use portcullis_domain::Timestamp;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Longest line that is looked at, in bytes without its newline; of a longer
/// one it is only told that it was there.
pub const LINE_BYTES_MAX: usize = 128 << 10;
/// Read at once.
const BUFFER_BYTES: usize = 512 << 10;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Compressions that aren't read, with the program that does.
const FOREIGN: [(&[u8], &str, &str); 2] = [(b"\xfd7zXZ\0", "xz", "xzcat"), (b"BZh", "bzip2", "bzcat")];
/// What stands behind the first four bytes of a bzip2 log, so that a text that
/// begins with BZh isn't taken for one: a block, or the end.
const BZIP2_BLOCKS: [&[u8]; 2] = [&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
/// Bytes at the beginning that tell how a log is compressed.
const MAGIC_BYTES: usize = 10;

/// One log: a name for messages, and its bytes without compression.
pub struct Input {
    name: String,
    written: Option<Timestamp>,
    reader: Box<dyn Read + Send>,
}

/// A log that couldn't be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A compressed log stops in the middle.
    #[error("{name}: the compressed data ends too early, after line {lines}")]
    Truncated {
        /// The log.
        name: String,
        /// Whole lines of it that were read.
        lines: u64,
    },
    /// It is compressed in a way that isn't read.
    #[error("{name}: {compression} isn't read; use `{program} FILE | portcullis replay -`")]
    Foreign {
        /// The log.
        name: String,
        /// How it is compressed.
        compression: &'static str,
        /// What reads it.
        program: &'static str,
    },
    /// Anything else that can happen to one who reads.
    #[error("{name}: {error} (after line {lines})")]
    Io {
        /// The log.
        name: String,
        /// Whole lines of it that were read.
        lines: u64,
        /// Why.
        error: io::Error,
    },
}

impl InputError {
    /// What went wrong with the log of that name after so many lines.
    #[must_use]
    pub fn new(name: &str, lines: u64, error: io::Error) -> Self {
        let name = name.to_owned();
        if error.kind() == ErrorKind::UnexpectedEof {
            Self::Truncated { name, lines }
        } else {
            Self::Io { name, lines, error }
        }
    }
}

impl Input {
    /// A log from its bytes, which are decompressed if they begin as gzip's or
    /// zstd's do.
    ///
    /// # Errors
    /// [`InputError`] if not even the first bytes can be read, or they are those
    /// of a compression that isn't.
    pub fn new(name: &str, mut reader: impl Read + Send + 'static) -> Result<Self, InputError> {
        let mut first = Vec::with_capacity(MAGIC_BYTES);
        let read = reader.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut first);
        read.map_err(|error| InputError::new(name, 0, error))?;
        if let Some((compression, program)) = foreign(&first) {
            return Err(InputError::Foreign { name: name.to_owned(), compression, program });
        }
        let (gzip, zstd) = (first.starts_with(GZIP), first.starts_with(ZSTD));
        let whole = Cursor::new(first).chain(reader);
        let reader: Box<dyn Read + Send> = if gzip {
            Box::new(Gzip::new(BufReader::with_capacity(BUFFER_BYTES, whole)))
        } else if zstd {
            Box::new(Zstd::new(BufReader::with_capacity(BUFFER_BYTES, whole)))
        } else {
            Box::new(whole)
        };
        Ok(Self { name: name.to_owned(), written: None, reader })
    }

    /// The same, written to for the last time then: stamps that leave out the
    /// year are read by it.
    #[must_use]
    pub fn written_at(self, written: Timestamp) -> Self {
        Self { written: Some(written), ..self }
    }

    /// When it was written to for the last time, if that is known.
    #[must_use]
    pub const fn written(&self) -> Option<Timestamp> {
        self.written
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its lines.
    #[must_use]
    pub fn into_lines(self) -> Lines<Box<dyn Read + Send>> {
        Lines::new(self.reader)
    }
}

/// A compression that isn't read, by the first bytes of a log.
fn foreign(first: &[u8]) -> Option<(&'static str, &'static str)> {
    let (_, compression, program) = FOREIGN.into_iter().find(|(magic, _, _)| first.starts_with(magic))?;
    let block = first.get(4..);
    (compression != "bzip2" || BZIP2_BLOCKS.into_iter().any(|known| block == Some(known)))
        .then_some((compression, program))
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One line without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'b> {
    /// All of it.
    Whole(&'b [u8]),
    /// It was longer than [`LINE_BYTES_MAX`].
    TooLong,
}

/// Cuts bytes into lines, in one buffer of constant size.
pub struct Lines<R> {
    reader: R,
    buffer: Box<[u8]>,
    /// What is read and not yet given out.
    filled: std::ops::Range<usize>,
    at_end: bool,
    /// Lines of the sample that are yet to be given out; none for a line that was too long.
    sampled: VecDeque<Option<Vec<u8>>>,
    /// The one of these that was given out last.
    given: Vec<u8>,
    /// What ended the sample; told of when its lines are given out.
    failed: Option<io::Error>,
}

impl<R: Read> Lines<R> {
    /// The lines of what `reader` reads.
    #[must_use]
    pub fn new(reader: R) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        let (sampled, given) = (VecDeque::new(), Vec::new());
        Self { reader, buffer, filled: 0..0, at_end: false, sampled, given, failed: None }
    }

    /// Looks at the first lines, at most so many, before any is given out;
    /// nothing is used up. Those that are too long are left out. What goes wrong
    /// is kept for [`next_line`](Self::next_line), behind the lines before it.
    pub fn sample(&mut self, lines: usize) -> impl Iterator<Item = &[u8]> + Clone {
        while self.sampled.len() < lines && self.failed.is_none() {
            let line = match self.read_line() {
                Ok(Some(Line::Whole(line))) => Some(line.to_vec()),
                Ok(Some(Line::TooLong)) => None,
                Ok(None) => break,
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            };
            self.sampled.push_back(line);
        }
        self.sampled.iter().filter_map(Option::as_deref)
    }

    /// Takes the error that ended the sample, for one who has no use for its lines.
    pub fn take_failed(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// The next line; none at the end. The last one needs no newline.
    ///
    /// # Errors
    /// As the reader's; what was read of the line before that is lost.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        match self.sampled.pop_front() {
            Some(Some(line)) => {
                self.given = line;
                Ok(Some(Line::Whole(&self.given)))
            }
            Some(None) => Ok(Some(Line::TooLong)),
            None => self.failed.take().map_or_else(|| self.read_line(), Err),
        }
    }

    fn read_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.filled.clone()];
            if let Some(newline) = memchr(b'\n', &unread[searched..]) {
                let line = self.filled.start..self.filled.start + searched + newline;
                self.filled.start = line.end + 1;
                return Ok(Some(self.bounded(line)));
            }
            searched = unread.len();
            if searched > LINE_BYTES_MAX {
                return self.skip_line().map(|()| Some(Line::TooLong));
            }
            if self.at_end {
                let line = self.filled.clone();
                self.filled.start = line.end;
                return Ok((!line.is_empty()).then(|| self.bounded(line)));
            }
            self.fill()?;
        }
    }

    fn bounded(&self, line: std::ops::Range<usize>) -> Line<'_> {
        if line.len() > LINE_BYTES_MAX { Line::TooLong } else { Line::Whole(&self.buffer[line]) }
    }

    /// Drops everything up to the next newline.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            if let Some(newline) = memchr(b'\n', &self.buffer[self.filled.clone()]) {
                self.filled.start += newline + 1;
                return Ok(());
            }
            self.filled = 0..0;
            if self.at_end {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Reads once, behind what is there.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        loop {
            match self.reader.read(&mut self.buffer[self.filled.end..]) {
                Ok(read) => {
                    self.filled.end += read;
                    self.at_end = read == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R> std::fmt::Debug for Lines<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("filled", &self.filled).field("at_end", &self.at_end).finish_non_exhaustive()
    }
}

/// A gzip stream of one member after the other, and of zeros behind the last:
/// tapes and some programs fill up with these, and zcat reads it, too.
struct Gzip<R> {
    at: Member<R>,
}

/// Where in such a stream a reader is.
enum Member<R> {
    /// Before a member, or at the end.
    Between(R),
    Within(GzDecoder<R>),
    /// Something went wrong: there is nothing more to read.
    Failed,
}

impl<R: io::BufRead> Gzip<R> {
    const fn new(reader: R) -> Self {
        Self { at: Member::Between(reader) }
    }
}

impl<R: io::BufRead> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.at, Member::Failed) {
                Member::Between(mut reader) => match reader.fill_buf()?.first() {
                    None => {
                        self.at = Member::Between(reader);
                        return Ok(0);
                    }
                    Some(0) => {
                        only_zeros(&mut reader)?;
                        self.at = Member::Between(reader);
                        return Ok(0);
                    }
                    Some(_) => self.at = Member::Within(GzDecoder::new(reader)),
                },
                Member::Within(mut decoder) => match decoder.read(into) {
                    Ok(0) => self.at = Member::Between(decoder.into_inner()),
                    read => {
                        self.at = Member::Within(decoder);
                        return read;
                    }
                },
                Member::Failed => return Ok(0),
            }
        }
    }
}

/// Reads to the end.
fn only_zeros(reader: &mut impl io::BufRead) -> io::Result<()> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|&byte| byte != 0) {
            return Err(io::Error::new(ErrorKind::InvalidData, "broken gzip data: something stands behind the end"));
        }
        let read = bytes.len();
        reader.consume(read);
    }
}

/// A zstd stream of one frame after the other. A window of more than 100 MiB
/// is refused by the decoder, so memory is bounded.
struct Zstd<R> {
    reader: R,
    frame: FrameDecoder,
    within: bool,
}

impl<R: io::BufRead> Zstd<R> {
    fn new(reader: R) -> Self {
        Self { reader, frame: FrameDecoder::new(), within: false }
    }

    /// Goes on to the next frame that has content; false at the end.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while !self.reader.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.reader) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut self.reader.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped < length.into() {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(false)
    }

    /// The decoder wraps the end of its input in errors of many kinds.
    fn failed(&mut self, error: FrameDecoderError) -> io::Error {
        match self.reader.fill_buf() {
            Ok([]) => ErrorKind::UnexpectedEof.into(),
            Ok(_) => io::Error::new(ErrorKind::InvalidData, format!("broken zstd data: {error}")),
            Err(error) => error,
        }
    }
}

impl<R: io::BufRead> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within {
                if !self.begin_frame()? {
                    return Ok(0);
                }
                self.within = true;
            }
            if self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let strategy = BlockDecodingStrategy::UptoBytes(into.len());
                if let Err(error) = self.frame.decode_blocks(&mut self.reader, strategy) {
                    return Err(self.failed(error));
                }
            }
            let read = self.frame.read(into)?;
            if read > 0 {
                return Ok(read);
            }
            if self.frame.is_finished() {
                self.within = false;
                if self
                    .frame
                    .get_checksum_from_data()
                    .is_some_and(|sum| self.frame.get_calculated_checksum() != Some(sum))
                {
                    return Err(io::Error::new(ErrorKind::InvalidData, "broken zstd data: the checksum differs"));
                }
            }
        }
    }
}
