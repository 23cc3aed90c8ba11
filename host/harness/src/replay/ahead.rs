//! Lines are read and parsed on a thread of their own, some way ahead of the
//! judging. It judges nothing and keeps no more than a few batches.

use std::io::{self, Read};
use std::sync::mpsc::SyncSender;

use super::report::LineCounts;
use crate::logs::{Entry, Line, Lines, Parsed, Parser};

/// Batches that may wait to be judged.
pub(super) const BATCHES_AHEAD: usize = 4;
/// A batch is full with so many entries ...
const BATCH_ENTRIES: usize = 2048;
/// ... or with lines of so many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// So much of an unknown line is kept, in bytes.
const UNKNOWN_BYTES_MAX: usize = 400;

/// Lines that were read one after another.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What kinds of lines they were.
    pub(super) lines: LineCounts,
    /// Those that tell of events.
    pub(super) entries: Vec<Entry<'static>>,
    /// Those of no known kind, with their number in the log: the first ones.
    pub(super) unknown: Vec<(u64, Vec<u8>)>,
    bytes: usize,
}

/// What became of a log.
pub(super) struct Ahead {
    /// Knows the format for the next log.
    pub(super) parser: Parser,
    /// Lines that were read.
    pub(super) lines: u64,
    /// Whether it was read to its end.
    pub(super) ended: io::Result<()>,
}

/// Reads a log to its end, or until nobody listens any more. Of lines of no
/// known kind at most `unknown_max` are handed over.
pub(super) fn read<R: Read>(
    mut lines: Lines<R>,
    mut parser: Parser,
    mut unknown_max: usize,
    batches: &SyncSender<Batch>,
) -> Ahead {
    let (mut number, mut batch) = (0, Batch::default());
    let ended = loop {
        match lines.next_line() {
            Ok(Some(line)) => {
                number += 1;
                batch.add(&mut parser, line, number, &mut unknown_max);
                if batch.is_full() && batches.send(std::mem::take(&mut batch)).is_err() {
                    return Ahead { parser, lines: number, ended: Ok(()) };
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // Whoever doesn't listen any more doesn't miss it.
    let _ = batches.send(batch);
    Ahead { parser, lines: number, ended }
}

impl Batch {
    fn add(&mut self, parser: &mut Parser, line: Line<'_>, number: u64, unknown_max: &mut usize) {
        self.lines.lines += 1;
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong => {
                self.lines.missed += 1;
                self.lines.too_long += 1;
                return self.unknown(b"", number, unknown_max);
            }
        };
        self.bytes += line.len();
        match parser.parse(line) {
            Parsed::Entry(entry) => {
                if entry.offence {
                    self.lines.matched += 1;
                } else {
                    self.lines.missed += 1;
                }
                self.entries.push(entry.into_owned());
            }
            Parsed::Other => self.lines.missed += 1,
            Parsed::Empty => self.lines.ignored += 1,
            Parsed::Unknown => {
                self.lines.missed += 1;
                self.unknown(line, number, unknown_max);
            }
        }
    }

    fn unknown(&mut self, line: &[u8], number: u64, unknown_max: &mut usize) {
        self.lines.unknown += 1;
        if *unknown_max > 0 {
            *unknown_max -= 1;
            self.unknown.push((number, line[..line.len().min(UNKNOWN_BYTES_MAX)].to_vec()));
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_ENTRIES || self.bytes >= BATCH_BYTES
    }
}
