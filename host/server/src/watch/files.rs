//! Which logs there are: paths and patterns, looked at again and again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::follow::Followed;
use super::generation::open;
use super::known::Known;
use super::place::Place;
use super::places::Places;
use super::siblings;
use crate::config::{Begin, Watched};

/// Logs of one watch that are followed at once; of more, those that were
/// written to last.
pub const LOGS_MAX: usize = 256;
/// Paths that the patterns of a watch may lead to.
const PATHS_MAX: usize = 16_384;

/// Places that a watch keeps though nothing is at their paths any more: a file can
/// be known again by one under its next name.
const PLACES_MAX: usize = 2 * LOGS_MAX;

/// Under this name stands that a watch has been here before.
const HERE_BEFORE: &str = "";

/// One log and the name that its place is kept under.
pub(super) struct Log {
    pub(super) followed: Followed,
    pub(super) key: Arc<str>,
}

/// The logs of one watch.
pub(super) struct Logs {
    watch: Arc<str>,
    patterns: Vec<String>,
    begin: Begin,
    pub(super) places: Places,
    pub(super) logs: BTreeMap<PathBuf, Log>,
    too_many: bool,
}

impl Logs {
    /// Those of a watch. None is open yet.
    pub(super) fn new(watch: &Arc<str>, patterns: Vec<String>, begin: Begin, places: Places) -> Self {
        let logs = BTreeMap::new();
        Self { watch: Arc::clone(watch), patterns, begin, places, logs, too_many: false }
    }

    /// Looks which logs there are, and opens those that are new; which these are.
    pub(super) fn discover(&mut self) -> Vec<PathBuf> {
        let wanted = self.wanted();
        let here_before = self.places.of(&self.watch);
        let was_here = here_before.iter().any(|(file, _)| &**file == HERE_BEFORE);
        // What has turned up meanwhile is new from its first line on.
        let begin = if was_here { Begin::Beginning } else { self.begin };
        // What has become of those that are open, so that none of their files is
        // taken for a new one under its new name.
        if self.logs.len() != wanted.len() || wanted.iter().any(|path| !self.logs.contains_key(path)) {
            for path in self.logs.keys().cloned().collect::<Vec<_>>() {
                let Some(mut log) = self.logs.remove(&path) else { continue };
                self.look(&mut log);
                self.logs.insert(path, log);
            }
        }
        // One that isn't wanted any more is read to its end.
        self.logs.retain(|path, log| wanted.contains(path) || !log.followed.is_over());
        if here_before.len() > PLACES_MAX {
            self.forget(&here_before);
        }
        let mut new = Vec::new();
        for path in wanted {
            if self.logs.contains_key(&path) || self.is_known(&path) {
                continue;
            }
            let key: Arc<str> = path.to_string_lossy().into();
            let kept = here_before.iter().find(|(file, _)| *file == key);
            let place = kept.and_then(|(_, place)| Place::from_text(place));
            let others = Known::new(&self.watch, &self.logs, &self.places, &key);
            let followed = match place {
                Some(place) => Followed::resume(path.clone(), place, &others),
                None => Followed::new(path.clone(), begin, &others),
            };
            // From now on it is known where it was begun.
            let text = followed.place().to_text();
            if !self.places.step().reached(&self.watch, &key, text.into()) {
                tracing::warn!("watch {}: too many logs have been read for the place in {key} to be kept", self.watch);
            }
            self.logs.insert(path.clone(), Log { followed, key });
            new.push(path);
        }
        if !was_here {
            self.places.step().reached(&self.watch, &HERE_BEFORE.into(), "here before".into());
        }
        new
    }

    /// Forgets places of files that are gone, those first that were written to first.
    fn forget(&self, kept: &[(Arc<str>, Arc<str>)]) {
        let is_gone = |file: &str| {
            let path = Path::new(file);
            let missing = || fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            file != HERE_BEFORE && !self.logs.contains_key(path) && missing()
        };
        let modified = |text: &str| {
            let place = Place::from_text(text).unwrap_or_default();
            place.generations.iter().map(|reached| reached.modified).max().unwrap_or_default()
        };
        let gone = kept.iter().filter(|(file, _)| is_gone(file));
        let mut gone: Vec<_> = gone.map(|(file, text)| (modified(text), file)).collect();
        gone.sort();
        for (_, file) in gone.into_iter().take(kept.len().saturating_sub(PLACES_MAX)) {
            self.places.step().forget(&self.watch, file);
        }
    }

    /// Looks what has become of one of them, which has been taken out.
    pub(super) fn look(&self, log: &mut Log) {
        log.followed.look(&Known::new(&self.watch, &self.logs, &self.places, &log.key));
    }

    /// Whether the file at a path is open as another log's already.
    fn is_known(&self, path: &Path) -> bool {
        let Ok(found) = fs::metadata(path) else { return false };
        self.logs.values().any(|log| log.followed.owns((found.dev(), found.ino())))
    }

    /// The paths that there should be logs at.
    fn wanted(&mut self) -> Vec<PathBuf> {
        let (plain, patterns): (Vec<_>, Vec<_>) = self.patterns.iter().partition(|pattern| !is_pattern(pattern));
        let mut wanted: Vec<PathBuf> = plain.into_iter().map(|path| PathBuf::from(unescaped(path))).collect();
        let mut found = Vec::new();
        for pattern in patterns {
            let paths = glob::glob(pattern).into_iter().flatten().filter_map(Result::ok);
            for path in paths.take(PATHS_MAX) {
                let Ok(metadata) = fs::metadata(&path) else { continue };
                if metadata.is_file() && !wanted.contains(&path) {
                    found.push((metadata.mtime(), metadata.mtime_nsec(), path));
                }
            }
        }
        found.sort();
        found.dedup();
        let names: Vec<PathBuf> = found.iter().map(|(_, _, path)| path.clone()).chain(wanted.iter().cloned()).collect();
        let is_rotated = |path: &Path| names.iter().any(|base| is_rotated_of(base, path));
        // The newest first.
        let fresh = found.into_iter().rev().map(|(_, _, path)| path);
        let fresh =
            fresh.filter(|path| !is_rotated(path) && (self.logs.contains_key(path) || !siblings::is_compressed(path)));
        wanted.extend(fresh);
        wanted.dedup();
        if wanted.len() > LOGS_MAX {
            if !std::mem::replace(&mut self.too_many, true) {
                tracing::warn!(
                    "watch {}: {} logs match, and the {LOGS_MAX} that were written to last are read",
                    self.watch,
                    wanted.len()
                );
            }
            wanted.truncate(LOGS_MAX);
        }
        wanted
    }

    /// The names under which their files can be heard of, each with its log.
    pub(super) fn names(&self) -> BTreeMap<PathBuf, PathBuf> {
        let mut names = BTreeMap::new();
        for (path, log) in &self.logs {
            let own = [std::path::absolute(path).ok(), fs::canonicalize(path).ok()];
            let open = log.followed.open_paths().map(|open| Some(open.to_path_buf()));
            for name in own.into_iter().chain(open).flatten() {
                names.insert(name, path.clone());
            }
        }
        names
    }

    /// Folders in which new logs can turn up.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.patterns.iter().filter_map(|pattern| {
            let folder =
                Path::new(pattern).ancestors().skip(1).find(|folder| !is_pattern(&folder.to_string_lossy()))?;
            Some(PathBuf::from(unescaped(&folder.to_string_lossy())))
        })
    }
}

/// What may keep a watch from reading what it should, as far as that can be
/// seen from here and by this user.
#[must_use]
pub fn problems(watched: &Watched) -> Vec<String> {
    let patterns = match watched {
        Watched::Logs(patterns) => patterns,
        Watched::Command(command) => return command_problems(command),
    };
    let mut problems = Vec::new();
    for pattern in patterns {
        if !is_pattern(pattern) {
            let path = unescaped(pattern);
            match open(Path::new(&path)) {
                Ok(_) if siblings::is_compressed(Path::new(&path)) => {
                    problems.push(format!("watch.path: {path} is compressed, and only plain logs can be followed"));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    problems.push(format!("watch.path: {path} isn't there yet; it is read once it is"));
                }
                Err(error) => problems.push(format!("watch.path: {path} can't be read by this user: {error}")),
            }
            continue;
        }
        let mut found = 0_usize;
        for path in glob::glob(pattern).into_iter().flatten().filter_map(Result::ok).take(PATHS_MAX) {
            match open(&path) {
                Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                    problems.push(format!("watch.path: {} can't be read by this user: {error}", path.display()));
                }
                Ok(_) => found += 1,
                Err(_) => {}
            }
        }
        if found == 0 {
            problems.push(format!("watch.path: nothing that can be read matches {pattern} yet"));
        }
    }
    problems
}

fn command_problems(command: &[String]) -> Vec<String> {
    let Some((program, arguments)) = command.split_first() else { return Vec::new() };
    let is_there = |folder: PathBuf| folder.join(program).is_file();
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = if program.contains('/') {
        Path::new(program).is_file()
    } else {
        std::env::split_paths(&folders).any(is_there)
    };
    let mut problems = Vec::new();
    if !found {
        problems.push(format!("watch.command: there is no program {program}"));
    }
    let says = |words: &[&str]| arguments.iter().any(|argument| words.iter().any(|word| argument.starts_with(word)));
    if program.ends_with("journalctl") && !says(&["-n", "--lines", "--since", "-S", "--cursor", "-c", "--after-cursor"])
    {
        problems.push(
            "watch.command: journalctl shows the last ten lines again each time it is started, and they would count \
             again: add --lines=0"
                .to_owned(),
        );
    }
    problems
}

/// Whether a path stands for many.
pub(super) fn is_pattern(path: &str) -> bool {
    let mut rest = path.chars();
    while let Some(char) = rest.next() {
        match char {
            '*' | '?' => return true,
            '[' => {
                // `[*]` is how a star is written that means itself.
                let escaped = rest.as_str().strip_prefix(['*', '?', '[', ']']).and_then(|rest| rest.strip_prefix(']'));
                match escaped {
                    Some(after) => rest = after.chars(),
                    None => return true,
                }
            }
            _ => {}
        }
    }
    false
}

/// A path that is no pattern, as it is.
fn unescaped(path: &str) -> String {
    ["*", "?", "[", "]"].into_iter().fold(path.to_owned(), |path, char| path.replace(&format!("[{char}]"), char))
}

fn is_rotated_of(base: &Path, path: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    base.parent() == path.parent() && siblings::is_rotated(&name(base), &name(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_that_mean_themselves_are_no_patterns() {
        for (path, pattern) in [("/a/b.log", false), ("/a/*.log", true), ("/a/[*].log", false), ("/[[]x[]]/b", false)] {
            assert_eq!(is_pattern(path), pattern, "{path}");
            assert!(!is_pattern(&glob::Pattern::escape(path)), "{path}");
            assert_eq!(unescaped(&glob::Pattern::escape("/a[*]?")), "/a[*]?");
        }
        assert!(is_pattern("/a/[ab].log") && is_pattern("/a/?"));
    }
}
