//! The thread of one watch: what happens, what is read of it, how far it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bell::{Bell, Heard, LOOK_INTERVAL, Ringer};
use super::command::{BackOff, Running};
use super::counts::Counts;
use super::files::Logs;
use super::follow::Tiding;
use super::generation::BUFFER_BYTES;
use super::judging::Judging;
use super::places::Places;
use crate::seldom::Seldom;

/// Lines that are judged in one step, and for how long at most: nothing is
/// written to the state's file meanwhile.
const STEP_LINES: usize = 256;
const STEP_TIME_MAX: Duration = Duration::from_millis(1);
/// How often a command that says nothing is looked at.
const COMMAND_INTERVAL: Duration = Duration::from_millis(200);

/// What one watch's thread has at hand.
pub(super) struct Reading {
    pub(super) name: Arc<str>,
    pub(super) judging: Judging,
    pub(super) places: Places,
    pub(super) counts: Arc<Counts>,
    pub(super) ringer: Ringer,
}

/// Why reading stopped for now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// There was nothing more.
    All,
    /// It took long, and files may have been rotated meanwhile.
    Some,
}

impl Reading {
    /// Follows logs until the bell's end.
    pub(super) fn follow(mut self, mut logs: Logs, mut bell: Bell) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut heard = Heard { all: true, ..Heard::default() };
        while !self.ringer.is_over() {
            if heard.all {
                self.discover(&mut logs);
                bell.listen(logs.names(), logs.folders());
            }
            let due: Vec<PathBuf> =
                if heard.all { logs.logs.keys().cloned().collect() } else { heard.grown.into_iter().collect() };
            let mut all = true;
            for path in due {
                all &= self.look(&mut logs, &path, &mut buffer) == Read::All;
            }
            self.count(&logs);
            // What was rotated since it was looked at has rung.
            heard = bell.wait(!all);
        }
    }

    fn discover(&mut self, logs: &mut Logs) {
        self.judging.set_now();
        for path in logs.discover() {
            let Some(log) = logs.logs.get(&path).filter(|_| self.judging.remembers()) else { continue };
            let judging = &mut self.judging;
            log.followed.lines_before(|line| judging.recall(line));
        }
    }

    /// Looks at one log and reads what is new in it.
    fn look(&mut self, logs: &mut Logs, path: &Path, buffer: &mut [u8]) -> Read {
        let Some(mut log) = logs.logs.remove(path) else { return Read::All };
        logs.look(&mut log);
        let began = Instant::now();
        let mut read = Read::All;
        while let Some((file, bytes)) = log.followed.fill(buffer) {
            let mut unread = &buffer[..bytes];
            loop {
                self.places.let_follow();
                self.judging.set_now();
                let step = self.places.step();
                let (step_began, mut lines) = (Instant::now(), 0);
                while lines < STEP_LINES && (lines == 0 || step_began.elapsed() < STEP_TIME_MAX) {
                    let Some((number, line)) = log.followed.next(file, &mut unread) else { break };
                    self.judging.line(line, &log.key, number);
                    lines += 1;
                }
                if lines == 0 {
                    break;
                }
                step.reached(&self.name, &log.key, log.followed.place().to_text().into());
            }
            if self.ringer.is_over() || began.elapsed() > LOOK_INTERVAL {
                read = Read::Some;
                break;
            }
        }
        for tiding in log.followed.take_tidings() {
            self.tell(&log.key, &tiding);
        }
        logs.logs.insert(path.to_owned(), log);
        read
    }

    fn count(&self, logs: &Logs) {
        let followed = || logs.logs.values().map(|log| &log.followed);
        let unread = followed().map(super::follow::Followed::unread).sum();
        self.counts.behind_bytes.set(unread);
        if unread == 0 {
            self.counts.behind_ms.set(0);
        }
        self.counts.sources.set(u64::try_from(logs.logs.len()).unwrap_or(u64::MAX));
        if followed().all(|followed| !followed.is_unreadable()) {
            self.counts.set_failing(None);
        }
    }

    /// Tells what has become of a log.
    fn tell(&self, log: &str, tiding: &Tiding) {
        let name = &self.name;
        match tiding {
            Tiding::Opened { line } => tracing::info!("watch {name}: {log} is read from line {} on", line + 1),
            Tiding::Rotated => tracing::debug!("watch {name}: {log} has been rotated"),
            Tiding::Cut => tracing::debug!("watch {name}: {log} has been cut and is read from its beginning"),
            Tiding::Lost { bytes } => {
                self.counts.lost.bump();
                let how_much = bytes.map_or_else(|| "what".to_owned(), |bytes| format!("{bytes} bytes that"));
                tracing::warn!(
                    "watch {name}: {how_much} hadn't been read of {log} when it was cut or moved away isn't to be found: \
                     no copy in its folder begins as it did"
                );
            }
            Tiding::Unfinished => {
                self.counts.unknown.bump();
                tracing::debug!("watch {name}: {log} ended in the middle of a line before it was rotated");
            }
            Tiding::Unreadable(error) => {
                self.counts.failures.bump();
                self.counts.set_failing(Some(format!("{log}: {error}")));
                tracing::error!("watch {name}: {log} can't be read: {error}; it is tried again once a second");
            }
        }
    }

    /// Reads the output of a command until it is to end; one that ends is
    /// started again.
    pub(super) fn listen(mut self, command: &[String]) {
        let mut back_off = BackOff::default();
        let told = Seldom::default();
        let mut number = 0;
        while !self.ringer.is_over() {
            let (how, ran_well) = match Running::start(command) {
                Err(error) => (format!("it can't be started: {error}"), false),
                Ok(mut running) => {
                    tracing::debug!("watch {}: {} is started", self.name, command.join(" "));
                    self.counts.sources.set(1);
                    while !self.ringer.is_over() {
                        self.places.let_follow();
                        let (judging, name) = (&mut self.judging, &command[0]);
                        let mut fresh = true;
                        let read = running.read(COMMAND_INTERVAL, |line| {
                            if std::mem::take(&mut fresh) {
                                judging.set_now();
                            }
                            number += 1;
                            judging.line(line, name, number);
                        });
                        if read.is_none() {
                            break;
                        }
                        self.counts.behind_ms.set(0);
                        if running.ran_well() {
                            self.counts.set_failing(None);
                        }
                    }
                    self.counts.sources.set(0);
                    let ran_well = running.ran_well();
                    (running.end(), ran_well)
                }
            };
            if self.ringer.is_over() {
                return;
            }
            let wait = back_off.next(ran_well);
            self.counts.failures.bump();
            self.counts.set_failing(Some(format!("{} has ended: {how}", command[0])));
            if let Some(times) = told.tell() {
                tracing::error!(
                    why = how,
                    "watch {}: the command has ended ({times} times so far); it is started again in {} s",
                    self.name,
                    wait.as_secs()
                );
            }
            let until = Instant::now() + wait;
            while !self.ringer.is_over() && Instant::now() < until {
                std::thread::park_timeout(COMMAND_INTERVAL);
            }
        }
    }
}
