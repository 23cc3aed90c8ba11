//! The one thread that writes, and the bounded queue before it (rule 29).
//!
//! It must not know what a line says.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;
use memchr::{memchr_iter, memrchr};
use parking_lot::{Condvar, Mutex};

use super::line::{Line, Operational, format_line};
use super::{Format, Level, LogError, Target};

/// Lines that may wait to be written.
const QUEUE_LINES: u64 = 8192;
/// Bytes that may wait to be written.
const QUEUE_BYTES: usize = 16 << 20;
/// Bytes that are written at once.
const BATCH_BYTES: usize = 64 << 10;
/// After it has written, the thread lets so much time go by before it looks
/// again: to be woken for each line would cost more than all else about a line.
const LINGER: Duration = Duration::from_millis(2);
/// A queue that has grown larger isn't kept for the next lines.
const SPARE_BYTES_MAX: usize = 1 << 20;
/// Longest wait for the writing thread: a reader that hangs can't hold up the end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Mode of a file that the log makes.
const FILE_MODE: u32 = 0o640;

enum Order {
    Reopen(Sender<io::Result<()>>),
    Flush(Sender<()>),
}

/// The queue's end for those who write lines.
pub(super) struct Writer {
    shared: Arc<Shared>,
    path: Option<PathBuf>,
    /// Nothing is ever sent: it closes when the writing thread ends.
    ended: Receiver<()>,
}

/// What those who write lines and the thread have in common.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// The thread waits here.
    work: Condvar,
    dropped: AtomicU64,
    unwritten: AtomicU64,
}

/// What waits to be written or done.
#[derive(Default)]
struct Queue {
    /// Whole lines.
    bytes: Vec<u8>,
    lines: u64,
    orders: Vec<Order>,
    /// The thread waits for the next line.
    idle: bool,
    /// The handles are gone, or the thread is.
    closed: bool,
}

impl Writer {
    pub(super) fn start(format: Format, target: Target) -> Result<Self, LogError> {
        let (out, path): (Box<dyn Write + Send>, _) = match target {
            Target::Stderr => (Box::new(io::stderr()), None),
            Target::File(path) => {
                let open = |error| LogError::Open { path: path.clone(), error };
                (Box::new(open_file(&path).map_err(open)?), Some(path))
            }
            Target::Writer(out) => (out, None),
        };
        let shared = Arc::new(Shared::default());
        let mut sink = Sink { out, path: path.clone(), format, shared: Arc::clone(&shared), told: (0, 0) };
        let thread = std::thread::Builder::new().name("log".to_owned());
        let (running, ended) = bounded(0);
        let run = move || {
            sink.run();
            drop(running);
        };
        thread.spawn(run).map_err(LogError::Thread)?;
        Ok(Self { shared, path, ended })
    }

    /// Queues one line, its newline included, or counts it as dropped.
    pub(super) fn queue(&self, line: &[u8]) {
        let mut queue = self.shared.queue.lock();
        if queue.closed || queue.lines >= QUEUE_LINES || queue.bytes.len() + line.len() > QUEUE_BYTES {
            drop(queue);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes.extend_from_slice(line);
        queue.lines += 1;
        let wake = std::mem::take(&mut queue.idle);
        drop(queue);
        if wake {
            self.shared.work.notify_one();
        }
    }

    pub(super) fn reopen(&self) -> Result<(), LogError> {
        let Some(path) = &self.path else { return self.flush() };
        let result = self.order(Order::Reopen)?;
        result.map_err(|error| LogError::Open { path: path.clone(), error })
    }

    pub(super) fn flush(&self) -> Result<(), LogError> {
        self.order(Order::Flush)
    }

    fn order<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> Result<T, LogError> {
        let (done, reply) = bounded(1);
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            return Err(LogError::Closed);
        }
        queue.orders.push(order(done));
        drop(queue);
        self.shared.work.notify_one();
        reply.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => LogError::Stalled,
            RecvTimeoutError::Disconnected => LogError::Closed,
        })
    }

    /// Lines dropped, and lines that couldn't be written.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.shared.dropped.load(Ordering::Relaxed), self.shared.unwritten.load(Ordering::Relaxed))
    }
}

/// The last handle waits until everything is written, but not for ever.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.work.notify_one();
        // Either way there is nobody left to tell.
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

impl Shared {
    /// Waits until something is to be done, and takes it. `spare` is a buffer to
    /// go on with.
    fn take(&self, mut spare: Vec<u8>) -> Queue {
        spare.clear();
        if spare.capacity() > SPARE_BYTES_MAX {
            spare = Vec::new();
        }
        let mut queue = self.queue.lock();
        queue.idle = true;
        self.work.wait_while(&mut queue, |queue| !queue.is_pressing() && queue.bytes.is_empty());
        let closed = queue.closed;
        std::mem::replace(&mut *queue, Queue { bytes: spare, closed, ..Queue::default() })
    }

    /// Lets lines gather for a moment, unless something is pressing.
    fn linger(&self) {
        let until = Instant::now() + LINGER;
        let _timed_out = self.work.wait_while_until(&mut self.queue.lock(), |queue| !queue.is_pressing(), until);
    }
}

impl Queue {
    /// Somebody waits for the thread.
    fn is_pressing(&self) -> bool {
        self.closed || !self.orders.is_empty()
    }
}

/// Whole lines, in batches of about [`BATCH_BYTES`].
fn batches(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let within = &lines[..lines.len().min(BATCH_BYTES)];
        let end = match memrchr(b'\n', within) {
            Some(newline) => newline + 1,
            // One line longer than that.
            None => memchr::memchr(b'\n', lines).map_or(lines.len(), |newline| newline + 1),
        };
        let (batch, rest) = lines.split_at(end);
        lines = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

/// What the writing thread holds.
struct Sink {
    out: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    format: Format,
    shared: Arc<Shared>,
    /// Dropped and unwritten lines that the log already tells of.
    told: (u64, u64),
}

impl Sink {
    fn run(&mut self) {
        let mut spare = Vec::new();
        loop {
            let taken = self.shared.take(spare);
            self.write(&taken.bytes);
            // What was queued before an order has gone out before it is obeyed.
            taken.orders.into_iter().for_each(|order| self.obey(order));
            if taken.closed {
                return;
            }
            spare = taken.bytes;
            self.shared.linger();
        }
    }

    fn obey(&mut self, order: Order) {
        // Whoever gave the order may have gone.
        match order {
            Order::Flush(done) => drop(done.send(())),
            Order::Reopen(done) => drop(done.send(self.reopen())),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.out = Box::new(open_file(path)?);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut all_written = true;
        for batch in batches(bytes) {
            if self.out.write_all(batch).and_then(|()| self.out.flush()).is_err() {
                let lines = memchr_iter(b'\n', batch).count();
                self.shared.unwritten.fetch_add(lines as u64, Ordering::Relaxed);
                all_written = false;
            }
        }
        if all_written {
            self.tell();
        }
    }

    /// Says what is missing from the log, once there is room again.
    fn tell(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let unwritten = self.shared.unwritten.load(Ordering::Relaxed);
        if (dropped, unwritten) == self.told {
            return;
        }
        let fields =
            [("dropped", (dropped - self.told.0).to_string()), ("unwritten", (unwritten - self.told.1).to_string())];
        let text = "lines are missing from the log here";
        let line = Operational { level: Level::Warn, target: "portcullis::log", text, foreign: false, fields: &fields };
        let mut bytes = Vec::new();
        format_line(&mut bytes, self.format, Timestamp::now(), &Line::Operational(line));
        if self.out.write_all(&bytes).and_then(|()| self.out.flush()).is_ok() {
            self.told = (dropped, unwritten);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is written to.
    #[derive(Clone, Default)]
    struct Counting(Arc<AtomicU64>);

    impl Write for Counting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_gather_and_are_written_together() {
        let counting = Counting::default();
        let writer = Writer::start(Format::Text, Target::Writer(Box::new(counting.clone()))).unwrap();
        let began = Instant::now();
        for line in 0..20 {
            writer.queue(b"a line\n");
            // As quick as a thread can be that is woken for each.
            while counting.0.load(Ordering::Relaxed) <= line {
                std::thread::yield_now();
            }
        }
        let moments = began.elapsed().as_nanos() / LINGER.as_nanos();
        let writes = u128::from(counting.0.load(Ordering::Relaxed));
        assert!(writes <= moments + 2, "{writes} writes in {moments} moments");
        assert_eq!(writer.counts(), (0, 0));
    }

    #[test]
    fn batches_end_with_a_line() {
        let long = [vec![b'x'; BATCH_BYTES + 10], b"\nnext\n".to_vec()].concat();
        let many = b"0123456789\n".repeat(20_000);
        for lines in [&long[..], &many, b"one\n", b""] {
            let batches: Vec<_> = batches(lines).collect();
            assert_eq!(batches.concat(), lines);
            assert!(batches.iter().all(|batch| batch.ends_with(b"\n")), "{}", batches.len());
        }
        assert_eq!(batches(&many).count(), many.len().div_ceil(BATCH_BYTES / 11 * 11));
        assert_eq!(batches(&long).count(), 2);
    }
}
