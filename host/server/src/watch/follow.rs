//! One log, followed through whatever becomes of its file: it grows, is renamed
//! and begun anew, copied and cut short, or isn't there for a while.
//!
//! Each line is given out once, and none that has no end: half a line can say
//! something else than the whole. It must not know what lines mean.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memchr::memchr;
use portcullis_harness::logs::Line;

use super::generation::Generation;
use super::known::{Others, furthest};
use super::place::{Place, Reached};
use super::siblings;
use crate::config::Begin;

/// How long a file that was renamed is looked at after its last line: whoever
/// writes may not know yet.
const LEFT_TIME: Duration = Duration::from_secs(10);
/// Files of one log that are open at once.
const GENERATIONS_MAX: usize = 16;
/// Files that have been read to their end and are remembered.
const DONE_MAX: usize = 8;

/// Something about a log that its operator may want to hear.
#[derive(Debug)]
pub(super) enum Tiding {
    /// It is read from that line on.
    Opened {
        /// Lines before it.
        line: u64,
    },
    /// It was renamed or removed, and another is at its path.
    Rotated,
    /// It was cut short; the rest of it was found in a copy, or had been read.
    Cut,
    /// Bytes that hadn't been read are gone.
    Lost {
        /// How many at least; none if nobody knows.
        bytes: Option<u64>,
    },
    /// It ended in the middle of a line, which is left out.
    Unfinished,
    /// It can't be read.
    Unreadable(io::Error),
}

/// One log.
#[derive(Debug)]
pub(super) struct Followed {
    path: PathBuf,
    /// The oldest first; the last one is at the path unless it has been left.
    generations: VecDeque<Generation>,
    done: VecDeque<Reached>,
    /// Why it couldn't be read the last time.
    unreadable: Option<io::ErrorKind>,
    tidings: Vec<Tiding>,
}

impl Followed {
    /// A log that nobody has followed before, at least not under this name.
    pub(super) fn new(path: PathBuf, begin: Begin, others: &impl Others) -> Self {
        let mut followed = Self::empty(path);
        let opened = Generation::open(&followed.path).and_then(|generation| match others.reached(&generation) {
            // A copy of what is open, whose lines are read there.
            Some(reached) if reached.identity() != generation.identity() && !reached.done => generation.at_its_end(),
            Some(reached) => Ok(generation.going_on(&reached)),
            None if begin == Begin::End => generation.at_its_end(),
            None => Ok(generation),
        });
        match opened {
            Ok(generation) => {
                followed.tidings.push(Tiding::Opened { line: generation.line() });
                followed.generations.push_back(generation);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => followed.fail(error),
        }
        followed
    }

    /// A log that was followed so far, whatever has become of it meanwhile.
    pub(super) fn resume(path: PathBuf, place: Place, others: &impl Others) -> Self {
        let mut followed = Self::empty(path);
        let mut after = None;
        for reached in place.generations {
            after = Some(reached.modified);
            if reached.done {
                followed.remember(reached);
                continue;
            }
            let found = siblings::find(&reached, &followed.path, &followed.folders(&reached));
            match found.map(|path| Generation::open(&path)) {
                // Another log's by now, under the name that it has got.
                Some(Ok(generation)) if others.owns(generation.identity()) => followed.remember(reached),
                Some(Ok(generation)) => {
                    let is_it = |further: &Reached| {
                        further.identity() == generation.identity() && further.offset > reached.offset
                    };
                    let further = others.reached(&generation).filter(is_it);
                    let generation = generation.going_on(&further.unwrap_or(reached));
                    after = Some(generation.modified());
                    followed.generations.push_back(generation);
                }
                Some(Err(error)) => followed.fail(error),
                None => {
                    followed.tidings.push(Tiding::Lost { bytes: None });
                    followed.remember(reached);
                }
            }
        }
        // The last one may have been empty, and written to and cut meanwhile.
        followed.find_what_was_never_seen(others);
        let at_path = fs::metadata(&followed.path).ok().map(|found| (found.dev(), found.ino()));
        for generation in &mut followed.generations {
            generation.left = at_path != Some(generation.identity());
        }
        if followed.live().is_none() {
            followed.open_what_followed(after.unwrap_or_default(), others);
        } else if let Some(live) = followed.generations.back() {
            followed.tidings.push(Tiding::Opened { line: live.line() });
        }
        followed
    }

    fn empty(path: PathBuf) -> Self {
        let (generations, done, tidings) = (VecDeque::new(), VecDeque::new(), Vec::new());
        Self { path, generations, done, unreadable: None, tidings }
    }

    /// What there is to tell.
    pub(super) fn take_tidings(&mut self) -> Vec<Tiding> {
        std::mem::take(&mut self.tidings)
    }

    /// Bytes that haven't been given out, as of the last look.
    pub(super) fn unread(&self) -> u64 {
        self.generations.iter().map(Generation::unread).sum()
    }

    /// Whether it can't be read at the moment.
    pub(super) const fn is_unreadable(&self) -> bool {
        self.unreadable.is_some()
    }

    /// Whether a file is one of its own.
    pub(super) fn owns(&self, identity: (u64, u64)) -> bool {
        self.generations.iter().any(|generation| generation.identity() == identity)
    }

    /// Files that are open: where events of the system can be about them.
    pub(super) fn open_paths(&self) -> impl Iterator<Item = &Path> {
        self.generations.iter().map(|generation| generation.path.as_path())
    }

    /// How far it has been read.
    pub(super) fn place(&self) -> Place {
        let done = self.done.iter().map(|reached| Reached { done: true, ..reached.clone() });
        Place { generations: done.chain(self.generations.iter().map(Generation::reached)).collect() }
    }

    /// Whether nothing more is to be expected of it: all is read, and whoever
    /// writes knows by now that its files have been renamed.
    pub(super) fn is_over(&self) -> bool {
        let is_over = |generation: &Generation| !generation.left || generation.idle_since.elapsed() >= LEFT_TIME;
        self.generations.iter().all(|generation| generation.is_drained() && is_over(generation))
    }

    /// Looks what has become of it, beside the other logs.
    pub(super) fn look(&mut self, others: &impl Others) {
        if let Err(error) = self.try_look(others) {
            self.fail(error);
        }
    }

    fn try_look(&mut self, others: &impl Others) -> io::Result<()> {
        let mut index = 0;
        while let Some(generation) = self.generations.get_mut(index) {
            match generation.is_cut() {
                Ok(false) => index += 1,
                Ok(true) => {
                    self.cut(index, others);
                    // Others come in their turn.
                    break;
                }
                // Its file system has gone from under it. What is at the path may
                // be it again.
                Err(error) => {
                    let gone = self.generations.remove(index).map(|generation| generation.reached());
                    gone.into_iter().for_each(|reached| self.remember(reached));
                    self.tidings.push(Tiding::Lost { bytes: None });
                    self.fail(error);
                }
            }
        }
        self.find_what_was_never_seen(others);
        let found = match fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.leave_all();
                self.unreadable = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.live().is_some_and(|live| live.identity() == found) || others.owns(found) {
            self.unreadable = None;
            return Ok(());
        }
        self.leave_all();
        if let Some(index) = self.generations.iter().position(|generation| generation.identity() == found) {
            // It has come back.
            if let Some(mut generation) = self.generations.remove(index) {
                generation.left = false;
                self.generations.push_back(generation);
            }
            self.unreadable = None;
            return Ok(());
        }
        if !self.replace()? {
            let after = self.generations.back().map_or(0, Generation::modified);
            self.open_what_followed(after, others);
        }
        Ok(())
    }

    /// Reads the next lines into the buffer, of the oldest file that has any:
    /// which file, and how many bytes. Once there are none, files are let go of
    /// that have been left, and never before they have been read.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Option<(usize, usize)> {
        let mut index = 0;
        while let Some(generation) = self.generations.get_mut(index) {
            let error = match generation.fill(buffer) {
                Ok(read) if memchr(b'\n', &buffer[..read]).is_some() => {
                    generation.idle_since = Instant::now();
                    return Some((index, read));
                }
                // A line that is too long is passed over meanwhile.
                Ok(read) if generation.pass_over(&buffer[..read]) => continue,
                Ok(read) => {
                    generation.drained(read);
                    None
                }
                Err(error) => {
                    generation.give_up();
                    Some(error)
                }
            };
            if let Some(error) = error {
                self.fail(error);
            }
            index += 1;
        }
        self.retire();
        None
    }

    /// Lines right before the one that comes next, so far as they are still there.
    pub(super) fn lines_before(&self, take: impl FnMut(&[u8])) {
        if let Some(generation) = self.generations.front() {
            generation.lines_before(take);
        }
    }

    /// The next whole line of what was read, with its number.
    pub(super) fn next<'b>(&mut self, file: usize, unread: &mut &'b [u8]) -> Option<(u64, Line<'b>)> {
        let generation = self.generations.get_mut(file)?;
        let line = generation.next(unread)?;
        Some((generation.line(), line))
    }

    /// The file at the path, if it is open.
    fn live(&self) -> Option<&Generation> {
        self.generations.back().filter(|generation| !generation.left)
    }

    fn leave_all(&mut self) {
        for generation in self.generations.iter_mut().filter(|generation| !generation.left) {
            generation.left = true;
            generation.idle_since = Instant::now();
            generation.find_path();
        }
    }

    /// What was read of a file isn't there any more: the rest of it is in a copy.
    fn cut(&mut self, index: usize, others: &impl Others) {
        let Some(generation) = self.generations.remove(index) else { return };
        let (reached, unread, left) = (generation.reached(), generation.unread(), generation.left);
        let mut after = reached.modified;
        let mut found = Vec::new();
        let copy = siblings::find(&reached, Path::new(""), &self.folders(&reached));
        match copy.map(|path| Generation::open(&path)) {
            Some(Ok(copy)) => {
                after = copy.modified();
                found.push(copy.going_on(&reached));
                self.tidings.push(Tiding::Cut);
            }
            Some(Err(_)) | None if unread > 0 => self.tidings.push(Tiding::Lost { bytes: Some(unread) }),
            Some(Err(_)) | None => self.tidings.push(Tiding::Cut),
        }
        self.remember(reached);
        if !left {
            let path = self.path.clone();
            found.extend(self.later(&path, after, generation.identity(), &found, others));
        }
        for generation in &mut found {
            generation.left = true;
        }
        match generation.anew() {
            Ok(anew) => found.push(anew),
            Err(error) => self.fail(error),
        }
        for (place, generation) in found.into_iter().enumerate() {
            self.generations.insert(index + place, generation);
        }
    }

    /// A log that was empty may have been written to, copied and cut since.
    fn find_what_was_never_seen(&mut self, others: &impl Others) {
        let path = self.path.clone();
        for left in self.generations.iter_mut().filter(|generation| generation.left) {
            let _nothing_is_cut_that_was_renamed = left.take_was_empty();
        }
        let Some(live) = self.generations.back_mut().filter(|live| !live.left) else { return };
        let identity = live.identity();
        // What was written to at that very time was there before.
        let Some(after) = live.take_was_empty().map(|after| after + 1) else { return };
        let own = self.generations.pop_back();
        let mut found = self.later(&path, after, identity, &[], others);
        found.iter_mut().for_each(|generation| generation.left = true);
        self.generations.extend(found.into_iter().chain(own));
    }

    /// Whether the file at the path is a copy of the one before, which is gone:
    /// somebody has edited it. It goes on where that one was left.
    fn replace(&mut self) -> io::Result<bool> {
        let Some(last) = self.generations.back().filter(|last| last.is_removed() && last.print().bytes() > 0) else {
            return Ok(false);
        };
        let reached = last.reached();
        let (file, found) = super::generation::open(&self.path)?;
        if found.len() < reached.offset || !reached.head.fits(&file)? {
            return Ok(false);
        }
        let generation = Generation::open(&self.path)?.going_on(&reached);
        self.generations.pop_back();
        self.remember(reached);
        self.generations.push_back(generation);
        self.tidings.push(Tiding::Rotated);
        Ok(true)
    }

    /// Opens what is at the path now, and what was there since that time.
    fn open_what_followed(&mut self, after: u64, others: &impl Others) {
        let path = self.path.clone();
        let rotated = !self.generations.is_empty() || !self.done.is_empty();
        if rotated {
            let mut between = self.later(&path, after, (0, 0), &[], others);
            between.iter_mut().for_each(|generation| generation.left = true);
            self.generations.extend(between);
        }
        match Generation::open(&path) {
            Ok(generation) => {
                self.unreadable = None;
                // One that was here before, or that has been read under another name. A
                // new log that begins with the same line is new.
                let before = furthest(&generation, self.done.iter().cloned()).or_else(|| others.reached(&generation));
                let is_it = |reached: &Reached| {
                    reached.identity() == generation.identity() || reached.head.is_whole() && reached.done
                };
                let generation = match before.filter(is_it) {
                    Some(reached) => generation.going_on(&reached),
                    None => generation,
                };
                let line = generation.line();
                self.tidings.push(if rotated { Tiding::Rotated } else { Tiding::Opened { line } });
                self.generations.push_back(generation);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.fail(error),
        }
    }

    /// Files that were at the path after that time and nobody has read.
    fn later(
        &self,
        path: &Path,
        after: u64,
        own: (u64, u64),
        found: &[Generation],
        others: &impl Others,
    ) -> Vec<Generation> {
        let knows = |file: &File, metadata: &Metadata| {
            let identity = (metadata.dev(), metadata.ino());
            let is_copy_of = |print: &super::place::Print| print.bytes() > 0 && print.fits(file).unwrap_or(true);
            identity == own
                || self.owns(identity)
                || others.owns(identity)
                || found.iter().any(|generation| generation.identity() == identity)
                || self.generations.iter().any(|generation| is_copy_of(generation.print()))
                || self.done.iter().any(|reached| is_copy_of(&reached.head))
        };
        let paths = siblings::later(path, after, knows);
        let opened = paths.iter().filter_map(|path| Generation::open(path).ok());
        let unread = |generation: Generation| match others.reached(&generation) {
            Some(reached) => generation.going_on(&reached),
            None => generation,
        };
        opened.map(unread).collect()
    }

    /// Folders in which it can be now: that of its path, and the one it was in,
    /// where the path is a link.
    fn folders(&self, reached: &Reached) -> Vec<PathBuf> {
        let folder = |path: &Path| path.parent().map(Path::to_path_buf);
        let real = fs::canonicalize(&self.path).ok();
        let all = [folder(&self.path), folder(Path::new(&reached.path)), real.as_deref().and_then(folder)];
        let mut folders: Vec<PathBuf> = all.into_iter().flatten().collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Lets go of files that have been left and of which nothing more comes.
    fn retire(&mut self) {
        let too_many = self.generations.len().saturating_sub(GENERATIONS_MAX);
        let mut index = 0;
        let mut passed = 0;
        // The last one stays until there is another.
        while index + 1 < self.generations.len() {
            let generation = &self.generations[index];
            let is_one_too_many = passed < too_many && generation.unread() == 0;
            let is_idle = generation.is_drained() && generation.idle_since.elapsed() >= LEFT_TIME;
            let over = generation.left && (is_one_too_many || is_idle);
            passed += 1;
            if !over {
                index += 1;
                continue;
            }
            if generation.unread() > 0 {
                self.tidings.push(Tiding::Unfinished);
            }
            if let Some(generation) = self.generations.remove(index) {
                self.remember(generation.reached());
            }
        }
    }

    /// As if so much time had passed since the last line.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        for generation in &mut self.generations {
            generation.idle_since = generation.idle_since.checked_sub(by).unwrap_or(generation.idle_since);
        }
    }

    fn remember(&mut self, reached: Reached) {
        self.done.push_back(reached);
        if self.done.len() > DONE_MAX {
            self.done.pop_front();
        }
    }

    /// Tells of a failure once, until it is over or another one comes.
    fn fail(&mut self, error: io::Error) {
        if self.unreadable.replace(error.kind()) != Some(error.kind()) {
            self.tidings.push(Tiding::Unreadable(error));
        }
    }
}
