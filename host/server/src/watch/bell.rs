//! Rings when something happens to a log: the system tells of changes in its
//! folder, and now and then one looks anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;

/// How often logs are looked at even where the system tells of no change, as on
/// network file systems.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What was heard since the last look.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Something that may concern every log: a file is new, renamed or gone.
    pub(super) all: bool,
    /// Logs that have grown.
    pub(super) grown: BTreeSet<PathBuf>,
}

/// Wakes whoever reads logs. Clones ring the same.
#[derive(Clone, Debug)]
pub(super) struct Ringer {
    stop: Arc<AtomicBool>,
    wake: Sender<()>,
}

impl Ringer {
    /// Tells them to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether they are to end.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn ring(&self) {
        let _full_means_they_are_about_to_look = self.wake.try_send(());
    }
}

/// What the system tells is put here.
#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Heard>,
    /// Names under which logs are known: which log it is.
    names: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

/// Tells of changes.
pub(super) struct Bell {
    ear: Arc<Ear>,
    hears: Receiver<()>,
    ringer: Ringer,
    watcher: Option<RecommendedWatcher>,
    /// Watched folders, and which ones they were: another may have got the name.
    folders: BTreeMap<PathBuf, (u64, u64)>,
    interval: Duration,
    /// When everything was looked at last.
    all_at: Instant,
}

impl Bell {
    /// One that tells of nothing yet.
    pub(super) fn new() -> Self {
        let (wake, hears) = bounded(1);
        let ringer = Ringer { stop: Arc::default(), wake };
        let ear = Arc::new(Ear::default());
        let (listening, ringing) = (Arc::clone(&ear), ringer.clone());
        let on_event = move |event: notify::Result<Event>| {
            if listening.hear(event) {
                ringing.ring();
            }
        };
        let watcher = notify::recommended_watcher(on_event);
        if let Err(error) = &watcher {
            tracing::warn!("watched logs are looked at once a second only: {error}");
        }
        let (interval, all_at) = (LOOK_INTERVAL, Instant::now());
        Self { ear, hears, ringer, watcher: watcher.ok(), folders: BTreeMap::new(), interval, all_at }
    }

    /// What rings it from elsewhere.
    pub(super) fn ringer(&self) -> Ringer {
        self.ringer.clone()
    }

    /// Listens to what happens to these: names under which files are known, each
    /// with the log that it belongs to, and folders beside theirs.
    pub(super) fn listen(&mut self, names: BTreeMap<PathBuf, PathBuf>, more: impl IntoIterator<Item = PathBuf>) {
        let of_names = names.keys().filter_map(|name| name.parent()).map(Path::to_path_buf);
        let names_of_folders: BTreeSet<PathBuf> = of_names.chain(more).collect();
        if let Some(watcher) = &mut self.watcher {
            let which = |folder: &Path| fs::metadata(folder).ok().map(|found| (found.dev(), found.ino()));
            let folders: BTreeMap<PathBuf, (u64, u64)> =
                names_of_folders.into_iter().filter_map(|folder| Some((folder.clone(), which(&folder)?))).collect();
            self.folders.retain(|folder, known| {
                let stays = folders.get(folder) == Some(known);
                if !stays {
                    let _not_watched_any_more = watcher.unwatch(folder);
                }
                stays
            });
            for (new, known) in folders {
                if self.folders.contains_key(&new) {
                    continue;
                }
                match watcher.watch(&new, RecursiveMode::NonRecursive) {
                    Ok(()) => {
                        self.folders.insert(new, known);
                    }
                    // It is tried again.
                    Err(error) => tracing::debug!("{} is looked at once a second only: {error}", new.display()),
                }
            }
        }
        *self.ear.names.lock() = names;
    }

    /// Waits until something is heard, or until it is time to look at everything
    /// anyway, however much is heard of some; not at all if there is more to do.
    pub(super) fn wait(&mut self, more_to_do: bool) -> Heard {
        let due = self.interval.saturating_sub(self.all_at.elapsed());
        let timed_out = self.hears.recv_timeout(if more_to_do { Duration::ZERO } else { due }).is_err();
        let mut heard = std::mem::take(&mut *self.ear.heard.lock());
        heard.all |= timed_out || self.all_at.elapsed() >= self.interval;
        if heard.all {
            self.all_at = Instant::now();
        }
        heard
    }
}

impl Ear {
    /// Whether what has happened is any business of theirs.
    fn hear(&self, event: notify::Result<Event>) -> bool {
        let mut heard = self.heard.lock();
        match event {
            // Reading is no change, and their own reading would never end.
            Ok(event) if event.kind.is_access() => false,
            Ok(event) if is_growth(event.kind) && !event.need_rescan() => {
                let names = self.names.lock();
                let logs = event.paths.iter().filter_map(|path| names.get(path));
                let before = heard.grown.len();
                heard.grown.extend(logs.cloned());
                // One that is told of already has been rung for.
                heard.grown.len() > before
            }
            Ok(_) | Err(_) => !std::mem::replace(&mut heard.all, true),
        }
    }
}

const fn is_growth(kind: EventKind) -> bool {
    matches!(kind, EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for what is looked for, as long as it may take at most.
    fn hears(bell: &mut Bell, mut is_it: impl FnMut(&Heard) -> bool) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if is_it(&bell.wait(false)) {
                return true;
            }
        }
        false
    }

    #[test]
    fn everything_is_looked_at_in_time_however_often_one_log_grows() {
        let mut bell = Bell::new();
        bell.interval = Duration::from_millis(50);
        let ringer = bell.ringer();
        ringer.ring();
        let seen = hears(&mut bell, |heard| {
            ringer.ring();
            heard.all
        });
        assert!(seen);
    }

    #[test]
    fn a_folder_that_has_taken_the_place_of_another_is_listened_to() {
        let base = tempfile::tempdir().unwrap();
        let (folder, log) = (base.path().join("logs"), base.path().join("logs/x.log"));
        let mut bell = Bell::new();
        bell.interval = Duration::from_secs(3600);
        let names = || BTreeMap::from([(log.clone(), log.clone())]);
        fs::create_dir(&folder).unwrap();
        bell.listen(names(), []);
        fs::rename(&folder, base.path().join("old")).unwrap();
        fs::create_dir(&folder).unwrap();
        bell.listen(names(), []);
        let ringer = bell.ringer();
        // What was there before may have been told of.
        let heard = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::park_timeout(Duration::from_secs(8));
                ringer.stop();
            });
            fs::write(&log, "one\n").unwrap();
            let listening = bell.ringer();
            hears(&mut bell, |heard| heard.grown.contains(&log) || listening.is_over()) && !listening.is_over()
        });
        assert!(heard);
    }
}
