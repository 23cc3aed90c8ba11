//! Rings when something happens to a log: the system tells of changes in its
//! folder, and now and then one looks anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;

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
    folders: BTreeSet<PathBuf>,
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
        Self { ear, hears, ringer, watcher: watcher.ok(), folders: BTreeSet::new() }
    }

    /// What rings it from elsewhere.
    pub(super) fn ringer(&self) -> Ringer {
        self.ringer.clone()
    }

    /// Listens to what happens to these: names under which files are known, each
    /// with the log that it belongs to, and folders beside theirs.
    pub(super) fn listen(&mut self, names: BTreeMap<PathBuf, PathBuf>, more: impl IntoIterator<Item = PathBuf>) {
        let of_names = names.keys().filter_map(|name| name.parent()).map(Path::to_path_buf);
        let folders: BTreeSet<PathBuf> = of_names.chain(more).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&folders) {
                let _not_watched_any_more = watcher.unwatch(gone);
            }
            let mut watched: BTreeSet<PathBuf> = self.folders.intersection(&folders).cloned().collect();
            for new in folders.difference(&self.folders) {
                match watcher.watch(new, RecursiveMode::NonRecursive) {
                    Ok(()) => {
                        watched.insert(new.clone());
                    }
                    // One that isn't there is tried again.
                    Err(error) => tracing::debug!("{} is looked at once a second only: {error}", new.display()),
                }
            }
            self.folders = watched;
        }
        *self.ear.names.lock() = names;
    }

    /// Waits until something is heard, for so long at most.
    pub(super) fn wait(&self, patience: Duration) -> Heard {
        let timed_out = self.hears.recv_timeout(patience).is_err();
        let mut heard = std::mem::take(&mut *self.ear.heard.lock());
        heard.all |= timed_out;
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
