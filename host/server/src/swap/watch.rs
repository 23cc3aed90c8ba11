//! Which files have changed since they were read, and who tells of it.
//!
//! It must not know what the files mean, nor what becomes of a change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// After a change, how long nothing may change before it is taken: a file that
/// is being copied is let finish.
const SETTLE_TIME: Duration = Duration::from_millis(50);
/// How long a file that never settles is waited for.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(2);

/// What tells one state of a file from another; `None`: it isn't there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// What files looked like before they were read. Taken afterwards, a change
/// made while they were being read would be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<PathBuf, Stamp>);

impl Stamps {
    /// Looks at files that are about to be read. The first look at each counts.
    pub fn take<P: Into<PathBuf>>(&mut self, files: impl IntoIterator<Item = P>) {
        for path in files {
            let path = path.into();
            let now = stamp(&path);
            self.0.entry(path).or_insert(now);
        }
    }

    /// Whether any of them looks otherwise by now.
    #[must_use]
    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, known)| stamp(path) != *known)
    }
}

/// The files that count, and whoever tells when they change.
pub(super) struct Watch {
    stamps: Stamps,
    /// Tells as long as it lives.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches the files, and tells at once of what changed since their stamps
    /// were taken. It is their folders that are watched: a file that is replaced
    /// by renaming is another file under the same name.
    pub(super) fn over(stamps: Stamps, tell: impl Fn() + Clone + Send + 'static) -> Self {
        let names = Names::of(stamps.0.keys());
        let folders = names.folders();
        let tell_of = tell.clone();
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| names.are_hit_by(&event)) {
                tell_of();
            }
        };
        let watcher = notify::recommended_watcher(on_event).map(|mut watcher| {
            for folder in &folders {
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    tracing::debug!("{} is looked at now and then only: {error}", folder.display());
                }
            }
            watcher
        });
        if let Err(error) = &watcher {
            tracing::debug!("files are looked at now and then only: {error}");
        }
        // Events come from here on; what was before them has to be looked for.
        if stamps.have_changed() {
            tell();
        }
        Self { stamps, _watcher: watcher.ok() }
    }

    pub(super) fn has_changed(&self) -> bool {
        self.stamps.have_changed()
    }

    /// Waits until the files have stopped changing.
    pub(super) fn let_settle(&self) {
        let look = || self.stamps.0.keys().map(|path| stamp(path)).collect::<Vec<_>>();
        let began = Instant::now();
        let mut seen = look();
        while began.elapsed() < SETTLE_TIME_MAX {
            std::thread::park_timeout(SETTLE_TIME);
            let now = look();
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

/// The names under which events can be about the files: their own, and those
/// that symbolic links lead to.
struct Names(BTreeSet<PathBuf>);

impl Names {
    fn of<'p>(files: impl Iterator<Item = &'p PathBuf>) -> Self {
        let both = files.flat_map(|path| [std::path::absolute(path), fs::canonicalize(path)]);
        Self(both.filter_map(Result::ok).collect())
    }

    fn folders(&self) -> BTreeSet<PathBuf> {
        self.0.iter().filter_map(|path| path.parent()).map(Path::to_path_buf).collect()
    }

    /// Whether an event can have changed one of them. Folders hold other files
    /// too, such as a log that is written all the time: those cost one look.
    fn are_hit_by(&self, event: &notify::Event) -> bool {
        // Reading a file is no change, and our own reading would never end.
        if event.kind.is_access() {
            return false;
        }
        event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| self.can_be_changed_by(path))
    }

    fn can_be_changed_by(&self, path: &Path) -> bool {
        // A link or a folder can be a step on the way to a file, as Kubernetes
        // mounts its volumes; and what is gone can have been one.
        self.0.contains(path) || fs::symlink_metadata(path).map_or(true, |of| !of.is_file())
    }
}

fn stamp(path: &Path) -> Stamp {
    let of = fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use crossbeam_channel::{Receiver, bounded};
    use notify::event::{AccessKind, DataChange, Event, EventKind, ModifyKind};

    use super::*;

    /// Far longer than the system takes to tell.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn stamps(files: &[&Path]) -> Stamps {
        let mut stamps = Stamps::default();
        stamps.take(files.iter().copied());
        stamps
    }

    fn watch(stamps: Stamps) -> (Watch, Receiver<()>) {
        let (tells, told) = bounded(1);
        let watch = Watch::over(stamps, move || {
            let _full_means_told = tells.try_send(());
        });
        (watch, told)
    }

    /// Waits for a notice after which the files do look otherwise: one change
    /// can come as several events, and the first may come before its end.
    #[track_caller]
    fn assert_told(watch: &Watch, told: &Receiver<()>) {
        let until = Instant::now() + DEADLINE;
        loop {
            told.recv_deadline(until).expect("a notice in time");
            if watch.has_changed() {
                return;
            }
        }
    }

    fn replace(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[test]
    fn changes_replacements_removals_and_new_files_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::write(&one, "1").unwrap();
        let files = [one.as_path(), &other];
        let steps: [&dyn Fn(); 4] =
            [&|| fs::write(&one, "12").unwrap(), &|| replace(&one, "3"), &|| fs::remove_file(&one).unwrap(), &|| {
                fs::write(&other, "").unwrap()
            }];
        for change in steps {
            let (watch, told) = watch(stamps(&files));
            assert!(!watch.has_changed());
            change();
            assert_told(&watch, &told);
        }
    }

    #[test]
    fn a_change_made_while_the_files_were_read_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "1").unwrap();
        let mut taken = stamps(&[&file]);
        replace(&file, "2");
        taken.take([&file]);
        let (watch, told) = watch(taken);
        assert!(watch.has_changed(), "the first look counts");
        assert_eq!(told.try_recv(), Ok(()));
    }

    #[test]
    fn the_target_of_a_link_and_a_folder_that_is_a_link_are_watched() {
        let folder = tempfile::tempdir().unwrap();
        // As Kubernetes mounts a ConfigMap.
        let mount = folder.path().join("mount");
        for (version, text) in [("..1", "1"), ("..2", "2")] {
            fs::create_dir_all(mount.join(version)).unwrap();
            fs::write(mount.join(version).join("file"), text).unwrap();
        }
        symlink("..1", mount.join("..data")).unwrap();
        symlink("..data/file", mount.join("file")).unwrap();
        let file = mount.join("file");
        let (first, told) = watch(stamps(&[&file]));
        symlink("..2", mount.join("..new")).unwrap();
        fs::rename(mount.join("..new"), mount.join("..data")).unwrap();
        assert_told(&first, &told);

        let (second, told) = watch(stamps(&[&file]));
        fs::write(mount.join("..2/file"), "in place").unwrap();
        assert_told(&second, &told);
    }

    #[test]
    fn another_file_in_the_folder_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("file"), folder.path().join("x.log"));
        fs::write(&log, "a line").unwrap();
        let names = Names::of([file.clone()].iter());
        let about = |kind: EventKind, path: &Path| names.are_hit_by(&Event::new(kind).add_path(path.to_owned()));
        let modified = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(!about(modified, &log));
        assert!(about(modified, &file));
        assert!(about(modified, &folder.path().join("./file")));
        assert!(about(modified, &folder.path().join("gone")));
        assert!(!about(EventKind::Access(AccessKind::Any), &file));
        assert!(names.are_hit_by(&Event::new(EventKind::Other)), "who knows what about");
    }

    #[test]
    fn a_folder_that_is_not_there_keeps_no_other_from_being_watched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "1").unwrap();
        let (watch, told) = watch(stamps(&[&folder.path().join("a/nowhere"), &file]));
        replace(&file, "2");
        assert_told(&watch, &told);
    }
}
