//! Hot swap: a changed configuration, plugin or credentials file is loaded and
//! tried off the request path and put in force at once; a bad one is refused
//! with the reason, and what ran goes on running.

mod preflight;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use portcullis_domain::{Ban, Timestamp};

use crate::config::{Config, ConfigError, Overrides, Told, restart_required};
use crate::gatekeeper::Gatekeeper;
use crate::http::Entrance;
use crate::journal::Journal;
use crate::log::Log;
use crate::running::InForce;
use crate::setup::{Setup, SetupError, Workshop, hang};
use crate::watch::Watches;

pub use preflight::{NewlyBanned, PREFLIGHT_AGE_MAX, PREFLIGHT_EVENTS_MAX, PreflightError, PreflightReport};
pub use watch::Stamps;
use watch::Watch;

/// Files are looked at this often even where the system tells of no change, as
/// on network file systems.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Why a change wasn't put in force.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// Something that it names is.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// It would newly ban more than `guard.max_new_bans` allows (rule 38).
    #[error("guard.max_new_bans allows {max} newly banned and none that logged in: {report}")]
    NewBans {
        /// How many are allowed.
        max: u32,
        /// Who would be.
        report: Box<PreflightReport>,
    },
    /// Nobody can say whom it would newly ban.
    #[error("guard.max_new_bans: {0}")]
    Preflight(#[from] PreflightError),
}

impl SwapError {
    fn tell(&self) {
        for Told { ours, plugins } in self.told() {
            match plugins {
                None => tracing::error!("not put in force: {ours}"),
                // As a field they are encoded (rule 28).
                Some(why) => tracing::error!(why, "not put in force: {ours}"),
            }
        }
        tracing::error!("what ran before goes on running");
    }

    /// Its lines for the log, a plugin's words apart from ours.
    fn told(&self) -> Vec<Told> {
        match self {
            Self::Config(ConfigError::Wrong(mistakes))
            | Self::Setup(SetupError::Policies(mistakes) | SetupError::Listeners(mistakes)) => mistakes.told(),
            Self::NewBans { max, report } => report.told(*max),
            Self::Config(_) | Self::Setup(_) | Self::Preflight(_) => {
                self.to_string().lines().map(|line| Told { ours: line.to_owned(), plugins: None }).collect()
            }
        }
    }
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
    /// What the process started with: keys that take effect only then are
    /// compared with this.
    pub started: Config,
    /// What the files looked like before they were last read.
    pub seen: Stamps,
    /// Whom to tell.
    pub gatekeeper: Gatekeeper,
    /// Where doors are put in force.
    pub entrances: Vec<Arc<Entrance>>,
    /// The log, whose level can change.
    pub log: Log,
    /// What is in force, for those who look at it.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// Told what is in force.
    pub journal: Journal,
    /// Logs that are watched.
    pub watches: Watches,
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// Time from the end of loading to the change being in force.
    pub took: Duration,
    /// Names of the policies that run something else than before.
    pub changed: Vec<String>,
    /// What the operator should hear.
    pub warnings: Vec<String>,
    /// Whom it would have newly banned lately, where that was looked at.
    pub preflight: Option<PreflightReport>,
}

/// A change that wasn't put in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotSwapped {
    /// Why, line by line. A plugin's words are made printable and no more.
    pub why: String,
    /// Whom it would newly ban, if that is why.
    pub preflight: Option<Box<PreflightReport>>,
}

impl NotSwapped {
    fn because(why: &str) -> Self {
        Self { why: why.to_owned(), preflight: None }
    }
}

impl From<SwapError> for NotSwapped {
    fn from(error: SwapError) -> Self {
        let why = error.to_string();
        match error {
            SwapError::NewBans { report, .. } => Self { why, preflight: Some(report) },
            SwapError::Config(_) | SwapError::Setup(_) | SwapError::Preflight(_) => Self { why, preflight: None },
        }
    }
}

/// Somebody wants everything loaded anew and to hear what came of it.
struct Request {
    /// Even if it would newly ban more than allowed.
    force: bool,
    answer: tokio::sync::oneshot::Sender<Result<Swapped, NotSwapped>>,
}

/// Has everything loaded anew, from any thread.
#[derive(Clone)]
pub struct SwapRequests {
    bell: Bell,
    requests: Sender<Request>,
}

/// Requests that wait at once.
const REQUESTS_MAX: usize = 16;

impl SwapRequests {
    /// Has everything loaded anew and put in force, whether it looks changed or
    /// not, and waits for it.
    ///
    /// # Errors
    /// [`NotSwapped`]; what ran goes on running.
    pub async fn reload(&self, force: bool) -> Result<Swapped, NotSwapped> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let full = |_| NotSwapped::because("too many reloads are under way");
        self.requests.try_send(Request { force, answer }).map_err(full)?;
        self.bell.reload();
        answered.await.unwrap_or_else(|_| Err(NotSwapped::because("the server is ending")))
    }
}

/// What wakes a [`Swapper`].
enum Wake {
    /// Something may have changed.
    Look,
    /// End.
    Stop,
}

/// What a [`Swapper`] is to do.
#[derive(Debug, PartialEq, Eq)]
enum Todo {
    /// See whether anything has changed.
    Look,
    /// Load everything anew whether it looks changed or not (SIGHUP).
    Reload,
    /// End.
    Stop,
}

/// Tells a [`Swapper`]. Never waits, and no reload gets lost.
#[derive(Clone)]
struct Bell {
    /// Apart from the channel: what doesn't fit there is only another look.
    reload: Arc<AtomicBool>,
    wake: Sender<Wake>,
}

impl Bell {
    fn new() -> (Self, Receiver<Wake>) {
        // One is enough: a notice that doesn't fit says nothing that the one before it doesn't.
        let (wake, hears) = bounded(1);
        (Self { reload: Arc::default(), wake }, hears)
    }

    fn look(&self) {
        let _full_means_it_is_about_to = self.wake.try_send(Wake::Look);
    }

    fn reload(&self) {
        self.reload.store(true, Ordering::SeqCst);
        self.look();
    }

    fn next(&self, hears: &Receiver<Wake>) -> Todo {
        match hears.recv_timeout(LOOK_INTERVAL) {
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => Todo::Stop,
            Ok(Wake::Look) | Err(RecvTimeoutError::Timeout) if self.reload.swap(false, Ordering::SeqCst) => {
                Todo::Reload
            }
            Ok(Wake::Look) | Err(RecvTimeoutError::Timeout) => Todo::Look,
        }
    }
}

/// The thread that swaps. Dropped, it ends.
pub struct SwapThread {
    bell: Bell,
    requests: Sender<Request>,
    thread: Option<std::thread::JoinHandle<Swapper>>,
}

impl SwapThread {
    /// Begins to watch.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(swapper: Swapper) -> std::io::Result<Self> {
        let (bell, hears) = Bell::new();
        let its_own = bell.clone();
        let (requests, asked) = bounded(REQUESTS_MAX);
        let thread =
            std::thread::Builder::new().name("swap".to_owned()).spawn(move || swapper.run(&its_own, &hears, &asked))?;
        Ok(Self { bell, requests, thread: Some(thread) })
    }

    /// For those who want to hear what came of it.
    #[must_use]
    pub fn requests(&self) -> SwapRequests {
        SwapRequests { bell: self.bell.clone(), requests: self.requests.clone() }
    }

    /// Has everything loaded anew, as at SIGHUP; also what changes while
    /// something else is being loaded.
    pub fn reload(&self) {
        self.bell.reload();
    }

    /// Ends it and hands back what was in force last.
    #[must_use]
    pub fn stop(mut self) -> Option<Swapper> {
        self.end()
    }

    fn end(&mut self) -> Option<Swapper> {
        let thread = self.thread.take()?;
        let _gone_already = self.bell.wake.send(Wake::Stop);
        thread.join().ok()
    }
}

impl Drop for SwapThread {
    fn drop(&mut self) {
        self.end();
    }
}

impl Swapper {
    fn run(mut self, bell: &Bell, hears: &Receiver<Wake>, asked: &Receiver<Request>) -> Self {
        let mut watch = self.watch(bell);
        loop {
            match bell.next(hears) {
                Todo::Stop => return self,
                Todo::Look if !watch.has_changed() => continue,
                Todo::Look | Todo::Reload => {}
            }
            watch.let_settle();
            let requests: Vec<Request> = asked.try_iter().collect();
            let swapped = self.swap(requests.iter().any(|request| request.force));
            match &swapped {
                Ok(_) => self.gatekeeper.counters().swaps.bump(),
                Err(error) => {
                    self.gatekeeper.counters().swaps_refused.bump();
                    error.tell();
                }
            }
            let answer = swapped.map_err(NotSwapped::from);
            for request in requests {
                let _nobody_waits_any_more = request.answer.send(answer.clone());
            }
            watch = self.watch(bell);
        }
    }

    /// Watches what was read last, whether it was put in force or refused:
    /// repairing it makes a difference.
    fn watch(&self, bell: &Bell) -> Watch {
        let bell = bell.clone();
        Watch::over(self.seen.clone(), move || bell.look())
    }

    /// Loads, tries and puts in force; with `force` even what would newly ban
    /// more than allowed.
    ///
    /// # Errors
    /// [`SwapError`]; nothing has changed then.
    pub fn swap(&mut self, force: bool) -> Result<Swapped, SwapError> {
        let mut seen = Stamps::default();
        let prepared = self.prepare(&mut seen);
        self.seen = seen;
        let setup = prepared?;
        let preflight = self.preflight(&setup, force)?;
        let loaded = Instant::now();
        let gate = self.gatekeeper.gate();
        self.journal.in_force(gate.clock().now(), &setup.policies);
        let lifted = gate.swap(setup.ruleset(&**gate.store()));
        if setup.config.auth.verified_for < self.setup.config.auth.verified_for {
            // Who was verified for longer than anyone may be now isn't any more.
            gate.unverify_all();
        }
        self.gatekeeper.swap(setup.front());
        hang(&setup.doors, &self.entrances);
        let (config, before) = (&setup.config, &self.setup.config);
        if (&config.watches, config.auth.id_case) != (&before.watches, before.auth.id_case) {
            self.watches.set(&config.watches, config.auth.id_case);
        }
        // Told at the more talkative of both levels: a change of level is told too.
        self.log.set_level(self.setup.config.log.level.max(setup.config.log.level));
        let took = loaded.elapsed();
        for key in restart_required(&self.started, &setup.config) {
            tracing::warn!("{key} has changed and takes effect at the next start");
        }
        for warning in &setup.warnings {
            tracing::warn!("{warning}");
        }
        tell_lifted(&lifted);
        let changed: Vec<_> = setup.policies.iter().filter(|policy| !self.runs(policy)).collect();
        for policy in &changed {
            let before = self.setup.judges().find(|known| known.name() == policy.config.name);
            let same = before
                .is_some_and(|before| before.primary().plugin().digest() == policy.judge.primary().plugin().digest());
            policy.announce(if same { "is set anew:" } else { "is now" });
        }
        let changed = changed.into_iter().map(|policy| policy.config.name.clone()).collect();
        tracing::info!("configuration put in force in {} us", took.as_micros());
        self.log.set_level(setup.config.log.level);
        self.in_force.store(Arc::new(InForce::of(&setup, jiff::Timestamp::now())));
        let warnings = setup.warnings.clone();
        self.setup = setup;
        Ok(Swapped { took, changed, warnings, preflight })
    }

    /// Rule 38: whom the change would newly ban of those who came lately.
    fn preflight(&self, setup: &Setup, force: bool) -> Result<Option<PreflightReport>, SwapError> {
        let needed = || preflight::is_needed(&self.setup, setup);
        let Some(max) = setup.config.guard.max_new_bans.filter(|_| needed()) else { return Ok(None) };
        if force {
            tracing::warn!("preflight: left out, by force");
            return Ok(None);
        }
        let now = self.gatekeeper.gate().clock().now();
        let age = u64::try_from(PREFLIGHT_AGE_MAX.as_millis()).unwrap_or(u64::MAX);
        let since = Timestamp::from_millis(now.as_millis().saturating_sub(age));
        let entries = self.journal.entries(since, PREFLIGHT_EVENTS_MAX);
        let report = preflight::run(&self.setup, setup, &self.workshop.runtime, &entries, now)?;
        if report.is_within(max) {
            report.tell();
            return Ok(Some(report));
        }
        Err(SwapError::NewBans { max, report: Box::new(report) })
    }

    /// Loads and tries. Each file's stamp is taken before the file is read.
    fn prepare(&self, seen: &mut Stamps) -> Result<Setup, SwapError> {
        seen.take(&self.config_file);
        let config = Config::load(self.config_file.as_deref(), &self.overrides)?;
        seen.take(config.files());
        let name = self.config_file.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        Ok(Setup::prepare(config, &name, &self.workshop, Some(&self.setup))?)
    }

    fn runs(&self, policy: &crate::setup::LoadedPolicy) -> bool {
        self.setup.judges().any(|known| Arc::ptr_eq(known, &policy.judge))
    }
}

/// Bans told of one by one; the rest is a number.
const LIFTED_TOLD_MAX: usize = 20;

/// Tells of bans that were lifted since their networks are never banned now.
pub(crate) fn tell_lifted(lifted: &[Ban]) {
    for ban in lifted.iter().take(LIFTED_TOLD_MAX) {
        tracing::info!("the ban of {} is lifted: it is never banned now", ban.network);
    }
    if lifted.len() > LIFTED_TOLD_MAX {
        tracing::info!("{} bans in all are lifted, of networks that are never banned now", lifted.len());
    }
}

#[cfg(test)]
mod tests;
