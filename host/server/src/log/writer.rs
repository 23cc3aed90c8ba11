//! The one thread that writes, and the bounded queue before it (rule 29).
//!
//! It must not know what a line says.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select_biased};
use jiff::Timestamp;

use super::line::{Line, Operational, format_line};
use super::{Format, Level, LogError, Target};

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 8192;
/// Bytes that may wait to be written.
const QUEUE_BYTES: usize = 16 << 20;
/// Bytes that are written at once.
const BATCH_BYTES: usize = 64 << 10;
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
    lines: Option<Sender<Box<[u8]>>>,
    orders: Sender<Order>,
    counts: Arc<Counts>,
    path: Option<PathBuf>,
    /// Nothing is ever sent: it closes when the writing thread ends.
    ended: Receiver<()>,
}

#[derive(Default)]
struct Counts {
    waiting_bytes: AtomicU64,
    dropped: AtomicU64,
    unwritten: AtomicU64,
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
        let (lines, queue) = bounded(QUEUE_LINES);
        let (orders, ordered) = bounded(4);
        let counts = Arc::new(Counts::default());
        let mut sink = Sink {
            out,
            path: path.clone(),
            format,
            counts: Arc::clone(&counts),
            batch: Vec::new(),
            batch_lines: 0,
            told: (0, 0),
        };
        let thread = std::thread::Builder::new().name("log".to_owned());
        let (running, ended) = bounded(0);
        let run = move || {
            sink.run(&queue, &ordered);
            drop(running);
        };
        thread.spawn(run).map_err(LogError::Thread)?;
        Ok(Self { lines: Some(lines), orders, counts, path, ended })
    }

    /// Queues one line, its newline included, or counts it as dropped.
    pub(super) fn queue(&self, line: &[u8]) {
        let bytes = line.len() as u64;
        let waiting = self.counts.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = waiting + bytes <= QUEUE_BYTES as u64;
        let sent = fits && self.lines.as_ref().is_some_and(|lines| lines.try_send(line.into()).is_ok());
        if !sent {
            self.counts.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
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
        let sent = self.orders.send_timeout(order(done), PATIENCE);
        sent.map_err(|error| if error.is_timeout() { LogError::Stalled } else { LogError::Closed })?;
        reply.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => LogError::Stalled,
            RecvTimeoutError::Disconnected => LogError::Closed,
        })
    }

    /// Lines dropped, and lines that couldn't be written.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.counts.dropped.load(Ordering::Relaxed), self.counts.unwritten.load(Ordering::Relaxed))
    }
}

/// The last handle waits until everything is written, but not for ever.
impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.lines.take());
        // Either way there is nobody left to tell.
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

/// What the writing thread holds.
struct Sink {
    out: Box<dyn Write + Send>,
    path: Option<PathBuf>,
    format: Format,
    counts: Arc<Counts>,
    batch: Vec<u8>,
    batch_lines: u64,
    /// Dropped and unwritten lines that the log already tells of.
    told: (u64, u64),
}

impl Sink {
    fn run(&mut self, queue: &Receiver<Box<[u8]>>, ordered: &Receiver<Order>) {
        loop {
            select_biased! {
                recv(ordered) -> order => match order {
                    Ok(order) => self.obey(order, queue),
                    // Handles are gone; what is queued is still written.
                    Err(_) => break,
                },
                recv(queue) -> line => match line {
                    Ok(line) => {
                        self.take(&line);
                        self.drain(queue, BATCH_BYTES);
                        self.write();
                    }
                    Err(_) => break,
                },
            }
        }
        self.drain(queue, usize::MAX);
        self.write();
    }

    fn obey(&mut self, order: Order, queue: &Receiver<Box<[u8]>>) {
        // What was queued before the order goes out before it is obeyed; later
        // lines can't hold it up for ever.
        for _ in 0..=QUEUE_LINES {
            let Ok(line) = queue.try_recv() else { break };
            self.take(&line);
            if self.batch.len() >= BATCH_BYTES {
                self.write();
            }
        }
        self.write();
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

    fn drain(&mut self, queue: &Receiver<Box<[u8]>>, bytes_max: usize) {
        while self.batch.len() < bytes_max {
            let Ok(line) = queue.try_recv() else { break };
            self.take(&line);
            if self.batch.len() >= BATCH_BYTES && bytes_max > BATCH_BYTES {
                self.write();
            }
        }
    }

    fn take(&mut self, line: &[u8]) {
        self.counts.waiting_bytes.fetch_sub(line.len() as u64, Ordering::Relaxed);
        self.batch.extend_from_slice(line);
        self.batch_lines += 1;
    }

    fn write(&mut self) {
        if !self.batch.is_empty() {
            let written = self.out.write_all(&self.batch).and_then(|()| self.out.flush());
            if written.is_err() {
                self.counts.unwritten.fetch_add(self.batch_lines, Ordering::Relaxed);
            }
            self.batch.clear();
            self.batch_lines = 0;
            if written.is_err() {
                return;
            }
        }
        self.tell();
    }

    /// Says what is missing from the log, once there is room again.
    fn tell(&mut self) {
        let dropped = self.counts.dropped.load(Ordering::Relaxed);
        let unwritten = self.counts.unwritten.load(Ordering::Relaxed);
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
