//! Hot swap: a changed configuration, plugin or credentials file is loaded and
//! tried off the request path and put in force at once; a bad one is refused
//! with the reason, and what ran goes on running.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::config::{Config, ConfigError, Overrides, restart_required};
use crate::gatekeeper::Gatekeeper;
use crate::log::Log;
use crate::setup::{Setup, SetupError, Workshop};

/// Files are looked at this often even where the system tells of no change, as
/// on network file systems.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// After a change, how long nothing may change before it is taken: a file that
/// is being copied is let finish.
const SETTLE_TIME: Duration = Duration::from_millis(50);
/// How long a file that never settles is waited for.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(2);

/// Why a change wasn't put in force.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Something that it names is.
    #[error("{0}")]
    Setup(#[from] SetupError),
}

/// Puts changes in force. Lives on a thread of its own.
pub struct Swapper {
    /// Where the configuration comes from.
    pub config_file: Option<PathBuf>,
    /// What the command line puts over it.
    pub overrides: Overrides,
    /// What setups are made with.
    pub workshop: Workshop,
    /// What is in force.
    pub setup: Setup,
    /// Whom to tell.
    pub gatekeeper: Gatekeeper,
    /// The log, whose level can change.
    pub log: Log,
}

/// What a [`Swapper`] can be told.
enum Told {
    /// Something may have changed.
    Look,
    /// Load everything anew whether it looks changed or not (SIGHUP).
    Reload,
    /// End.
    Stop,
}

/// The thread that swaps. Dropped, it ends.
pub struct SwapThread {
    told: Sender<Told>,
    thread: Option<std::thread::JoinHandle<Swapper>>,
}

impl SwapThread {
    /// Begins to watch.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(swapper: Swapper) -> std::io::Result<Self> {
        // Two are enough: a notice that doesn't fit says nothing that the one before it doesn't.
        let (told, hears) = bounded(2);
        let notices = told.clone();
        let thread =
            std::thread::Builder::new().name("swap".to_owned()).spawn(move || swapper.run(&hears, &notices))?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// Has everything loaded anew, as at SIGHUP.
    pub fn reload(&self) {
        let _full_means_it_is_about_to = self.told.try_send(Told::Reload);
    }

    /// Ends it and hands back what was in force last.
    #[must_use]
    pub fn stop(mut self) -> Option<Swapper> {
        self.end()
    }

    fn end(&mut self) -> Option<Swapper> {
        let thread = self.thread.take()?;
        let _gone_already = self.told.send(Told::Stop);
        thread.join().ok()
    }
}

impl Drop for SwapThread {
    fn drop(&mut self) {
        self.end();
    }
}

impl Swapper {
    fn run(mut self, hears: &Receiver<Told>, notices: &Sender<Told>) -> Self {
        let mut watch = Watch::over(self.files(), notices);
        loop {
            let told = match hears.recv_timeout(LOOK_INTERVAL) {
                Ok(told) => told,
                Err(RecvTimeoutError::Timeout) => Told::Look,
                Err(RecvTimeoutError::Disconnected) => Told::Stop,
            };
            match told {
                Told::Stop => return self,
                Told::Look if !watch.has_changed() => continue,
                Told::Look | Told::Reload => {}
            }
            watch.let_settle();
            match self.swap() {
                Ok(()) => {}
                Err(error) => {
                    for line in error.to_string().lines() {
                        tracing::error!("not put in force: {line}");
                    }
                    tracing::error!("what ran before goes on running");
                }
            }
            watch = Watch::over(self.files(), notices);
        }
    }

    /// Loads, tries and puts in force.
    ///
    /// # Errors
    /// [`SwapError`]; nothing has changed then.
    pub fn swap(&mut self) -> Result<(), SwapError> {
        let config = Config::load(self.config_file.as_deref(), &self.overrides)?;
        let name = self.config_file.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let setup = Setup::prepare(config, &name, &self.workshop, Some(&self.setup))?;
        let loaded = Instant::now();
        self.gatekeeper.gate().swap(setup.ruleset(&**self.gatekeeper.gate().store()));
        self.gatekeeper.swap(setup.front());
        // Told at the more talkative of both levels: a change of level is told too.
        self.log.set_level(self.setup.config.log.level.max(setup.config.log.level));
        let took = loaded.elapsed();
        for key in restart_required(&self.setup.config, &setup.config) {
            tracing::warn!("{key} has changed and takes effect at the next start");
        }
        for warning in &setup.warnings {
            tracing::warn!("{warning}");
        }
        for policy in setup.policies.iter().filter(|policy| !self.runs(policy)) {
            let plugin = policy.judge.primary().plugin();
            let version = &plugin.description().version;
            tracing::info!(
                "policy {} is now {} {version} ({})",
                policy.config.name,
                plugin.origin(),
                &plugin.digest_hex()[..12]
            );
        }
        tracing::info!("configuration put in force in {} us", took.as_micros());
        self.log.set_level(setup.config.log.level);
        self.setup = setup;
        Ok(())
    }

    fn runs(&self, policy: &crate::setup::LoadedPolicy) -> bool {
        self.setup.judges().any(|known| Arc::ptr_eq(known, &policy.judge))
    }

    fn files(&self) -> Vec<PathBuf> {
        self.config_file.iter().cloned().chain(self.setup.files()).collect()
    }
}

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The files in force, and whoever tells when they change.
struct Watch {
    stamps: BTreeMap<PathBuf, Stamp>,
    /// Tells as long as it lives.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches the folders that `files` are in: a file that is replaced by
    /// renaming is another file under the same name.
    fn over(files: Vec<PathBuf>, notices: &Sender<Told>) -> Self {
        let stamps: BTreeMap<_, _> = files.into_iter().map(|path| (path.clone(), stamp(&path))).collect();
        let notices = notices.clone();
        let tell = move |event: notify::Result<notify::Event>| {
            // Reading a file is no change, and our own reading would never end.
            if !matches!(&event, Ok(event) if event.kind.is_access()) {
                let _full_means_told = notices.try_send(Told::Look);
            }
        };
        let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
            let folders: std::collections::BTreeSet<_> = stamps.keys().map(|path| folder_of(path)).collect();
            for folder in folders {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::debug!("files are looked at every {} s only: {error}", LOOK_INTERVAL.as_secs());
        }
        Self { stamps, _watcher: watcher.ok() }
    }

    fn has_changed(&self) -> bool {
        self.stamps.iter().any(|(path, known)| stamp(path) != *known)
    }

    /// Waits until the files have stopped changing.
    fn let_settle(&self) {
        let stamps = || self.stamps.keys().map(|path| stamp(path)).collect::<Vec<_>>();
        let began = Instant::now();
        let mut seen = stamps();
        while began.elapsed() < SETTLE_TIME_MAX {
            std::thread::park_timeout(SETTLE_TIME);
            let now = stamps();
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn stamp(path: &Path) -> Stamp {
    let of = fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
}
