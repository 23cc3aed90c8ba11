//! The output of a command, such as `journalctl --follow`: started, read,
//! started again when it ends, and ended with us.
//!
//! It must not know what lines mean. The command runs in a process group of its
//! own, by way of [`run`], so that it goes when this process does.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use memchr::memchr;
use parking_lot::Mutex;
use portcullis_harness::logs::{LINE_BYTES_MAX, Line};
use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};

/// Read from a command at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that may wait to be judged; beyond that the command waits.
const CHUNKS_AHEAD: usize = 4;
/// Until a command that has ended is started again, the first time ...
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// ... and after it has ended again and again.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// One that ran for so long has run well.
const RAN_WELL: Duration = Duration::from_secs(60);
/// How long a command may take to end when it is told to.
const END_TIME_MAX: Duration = Duration::from_secs(2);
/// So much of what a command says about its end is told.
const LAST_WORDS_BYTES_MAX: usize = 400;

/// The command line's hidden command that runs another one: `run`.
pub const RUN: &str = "watched-command";

/// Runs a command in the place of this process, so that it ends when the server
/// does, however that comes.
///
/// # Errors
/// If there is no such command, or nobody waits for it any more.
pub fn run(command: &[String], server: u32) -> io::Result<std::convert::Infallible> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let parent = getppid().map(Pid::as_raw_pid);
    if parent.and_then(|parent| u32::try_from(parent).ok()) != Some(server) {
        // It ended before it could be noticed.
        return Err(io::Error::other("the server has ended"));
    }
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Err(Command::new(program).args(arguments).exec())
}

/// A running command.
pub(super) struct Running {
    child: Child,
    chunks: Receiver<Vec<u8>>,
    last_words: Arc<Mutex<Vec<u8>>>,
    began: Instant,
    lines: LineCutter,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// If the system doesn't.
    pub(super) fn start(command: &[String]) -> io::Result<Self> {
        // What runs, whatever is at its path by now.
        let mut starting = Command::new("/proc/self/exe");
        starting.arg(RUN).arg(std::process::id().to_string()).arg("--").args(command).process_group(0);
        let child = starting.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, chunks) = bounded(CHUNKS_AHEAD);
        let (last_words, lines) = (Arc::default(), LineCutter::default());
        let mut running = Self { child, chunks, last_words, began: Instant::now(), lines };
        match running.listen(sender) {
            Ok(()) => Ok(running),
            // It would run on with nobody to hear it, beside the next one.
            Err(error) => {
                let _how_is_no_matter = running.end();
                Err(error)
            }
        }
    }

    /// Threads that take in what it says.
    fn listen(&mut self, sender: Sender<Vec<u8>>) -> io::Result<()> {
        if let Some(mut stdout) = self.child.stdout.take() {
            let read = move || {
                let mut buffer = vec![0; CHUNK_BYTES];
                // Nobody listens any more, or there is nothing more to hear.
                while let Ok(read @ 1..) = read(&mut stdout, &mut buffer) {
                    if sender.send(buffer[..read].to_vec()).is_err() {
                        return;
                    }
                }
            };
            std::thread::Builder::new().name("watch-output".to_owned()).spawn(read)?;
        }
        if let Some(mut stderr) = self.child.stderr.take() {
            let words = Arc::clone(&self.last_words);
            let read = move || {
                let mut buffer = vec![0; LAST_WORDS_BYTES_MAX];
                while let Ok(read @ 1..) = read(&mut stderr, &mut buffer) {
                    let mut words = words.lock();
                    words.extend_from_slice(&buffer[..read]);
                    let surplus = words.len().saturating_sub(LAST_WORDS_BYTES_MAX);
                    words.drain(..surplus);
                }
            };
            std::thread::Builder::new().name("watch-errors".to_owned()).spawn(read)?;
        }
        Ok(())
    }

    /// Waits for output, for so long at most: `None` if the command has ended,
    /// else how many lines were given out.
    pub(super) fn read(&mut self, patience: Duration, take: impl FnMut(Line<'_>)) -> Option<()> {
        match self.chunks.recv_timeout(patience) {
            Ok(chunk) => {
                self.lines.cut(&chunk, take);
                Some(())
            }
            Err(error) => error.is_timeout().then_some(()),
        }
    }

    /// Whether it has run for so long that the next start needn't wait.
    pub(super) fn ran_well(&self) -> bool {
        self.began.elapsed() >= RAN_WELL
    }

    /// Ends it, if it hasn't ended, and says how it ended.
    pub(super) fn end(mut self) -> String {
        let told = self.tell(Signal::TERM);
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if began.elapsed() < END_TIME_MAX => std::thread::park_timeout(Duration::from_millis(5)),
                Ok(None) => {
                    self.tell(Signal::KILL);
                    break self.child.wait();
                }
                Ok(Some(status)) => break Ok(status),
                Err(error) => break Err(error),
            }
        };
        // What is left of its group.
        if told {
            self.tell(Signal::KILL);
        }
        let words = String::from_utf8_lossy(&self.last_words.lock()).into_owned();
        let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        if last.is_empty() { status } else { format!("{status}: {last}") }
    }

    fn tell(&self, signal: Signal) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| kill_process_group(pid, signal).is_ok())
    }
}

fn read(from: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// How long to wait before a command is started again.
#[derive(Debug)]
pub(super) struct BackOff(Duration);

impl Default for BackOff {
    fn default() -> Self {
        Self(BACK_OFF_MIN)
    }
}

impl BackOff {
    /// The next wait, twice that of the time before unless the command `ran_well`.
    pub(super) fn next(&mut self, ran_well: bool) -> Duration {
        if ran_well {
            self.0 = BACK_OFF_MIN;
        }
        let wait = self.0;
        self.0 = (wait * 2).min(BACK_OFF_MAX);
        wait
    }
}

/// Cuts chunks into lines. What has no end is kept until it has one; of a line
/// that is too long nothing is kept.
#[derive(Debug, Default)]
struct LineCutter {
    begun: Vec<u8>,
    too_long: bool,
}

impl LineCutter {
    fn cut(&mut self, mut chunk: &[u8], mut take: impl FnMut(Line<'_>)) {
        while let Some(newline) = memchr(b'\n', chunk) {
            let (rest, after) = (&chunk[..newline], &chunk[newline + 1..]);
            chunk = after;
            if std::mem::take(&mut self.too_long) || self.begun.len() + rest.len() > LINE_BYTES_MAX {
                take(Line::TooLong);
            } else if self.begun.is_empty() {
                take(Line::Whole(rest));
            } else {
                self.begun.extend_from_slice(rest);
                take(Line::Whole(&self.begun));
            }
            self.begun.clear();
        }
        if self.too_long || self.begun.len() + chunk.len() > LINE_BYTES_MAX {
            self.too_long = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_that_ends_again_and_again_is_started_ever_later_and_at_least_once_a_minute() {
        let mut back_off = BackOff::default();
        let waits: Vec<u64> = (0..8).map(|_| back_off.next(false).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!([back_off.next(true).as_secs(), back_off.next(false).as_secs()], [1, 2]);
    }

    #[test]
    fn of_a_line_that_is_too_long_nothing_is_kept() {
        let mut cutter = LineCutter::default();
        let mut lines = Vec::new();
        for _ in 0..1000 {
            cutter.cut(&[b'x'; 8192], |line| lines.push(line == Line::TooLong));
            assert!(cutter.begun.capacity() <= 2 * LINE_BYTES_MAX);
        }
        cutter.cut(b"\nshort\n", |line| lines.push(line == Line::TooLong));
        assert_eq!(lines, [true, false]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_come(
            text in prop::collection::vec(prop::sample::select(b"ab\n\r\0".to_vec()), 0..100),
            step in 1_usize..9,
        ) {
            let mut cutter = LineCutter::default();
            let mut found = Vec::new();
            for chunk in text.chunks(step) {
                cutter.cut(chunk, |line| if let Line::Whole(line) = line { found.push(line.to_vec()) });
            }
            let mut wanted: Vec<_> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
            let unfinished = wanted.pop().unwrap_or_default();
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(cutter.begun, unfinished);
        }
    }
}
