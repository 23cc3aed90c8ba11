//! Watched logs: each line that a format knows becomes an event for the gate,
//! wherever the log is rotated to, and each once (rule 39).
//!
//! A watch has a thread of its own. What its lines bring about, and how far they
//! have been read, are committed together ([`Keeper::step`]): whatever ends the
//! process, a line counts once. It must not know HTTP.
//!
//! [`Keeper::step`]: crate::state::Keeper::step

mod bell;
mod command;
mod counts;
mod files;
mod follow;
mod generation;
mod judging;
mod known;
mod place;
mod places;
mod reading;
mod siblings;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::auth::IdCase;
use crate::config::{WatchConfig, Watched};
use crate::gatekeeper::Gatekeeper;
use crate::state::Keeper;

use bell::{Bell, Ringer};
use files::Logs;
use judging::Judging;
use places::Places;
use reading::Reading;

pub use command::{RUN, run};
pub use counts::{Count, Counts};
pub use files::{LOGS_MAX, problems};

/// All watches. Clones are the same; when the last is gone, they end.
#[derive(Clone)]
pub struct Watches(Arc<Inner>);

struct Inner {
    gatekeeper: Gatekeeper,
    places: Places,
    running: Mutex<BTreeMap<Arc<str>, Watch>>,
}

/// One watch that runs.
struct Watch {
    config: WatchConfig,
    id_case: IdCase,
    counts: Arc<Counts>,
    ringer: Ringer,
    thread: Option<JoinHandle<()>>,
}

/// A watch, as it does.
#[derive(Clone)]
pub struct WatchStatus {
    /// What it was told to do.
    pub config: WatchConfig,
    /// What it has counted.
    pub counts: Arc<Counts>,
}

impl Watches {
    /// None yet. Without a keeper places are forgotten when the process ends.
    #[must_use]
    pub fn new(gatekeeper: Gatekeeper, keeper: Option<Keeper>) -> Self {
        let places = Places::new(keeper);
        Self(Arc::new(Inner { gatekeeper, places, running: Mutex::default() }))
    }

    /// Lets these run and no others. Those that have not changed go on; those that
    /// have go on from where they were.
    pub fn set(&self, configs: &[WatchConfig], id_case: IdCase) {
        let mut running = self.0.running.lock();
        let keeps = |watch: &Watch| watch.id_case == id_case && configs.contains(&watch.config);
        let over: Vec<Arc<str>> =
            running.iter().filter(|(_, watch)| !keeps(watch)).map(|(name, _)| Arc::clone(name)).collect();
        let ended: Vec<Watch> = over.iter().filter_map(|name| running.remove(name)).collect();
        // All at once, and then they are waited for.
        ended.iter().for_each(|watch| watch.ringer.stop());
        drop(ended);
        for config in configs {
            let name: Arc<str> = config.name.as_str().into();
            if running.contains_key(&name) {
                continue;
            }
            match self.0.start(&name, config, id_case) {
                Ok(watch) => {
                    running.insert(name, watch);
                }
                Err(error) => tracing::error!("watch {name} can't be started: {error}"),
            }
        }
    }

    /// How they do.
    #[must_use]
    pub fn status(&self) -> Vec<WatchStatus> {
        let running = self.0.running.lock();
        let status = |watch: &Watch| WatchStatus { config: watch.config.clone(), counts: Arc::clone(&watch.counts) };
        running.values().map(status).collect()
    }

    /// Ends all of them.
    pub fn close(&self) {
        self.set(&[], IdCase::Keep);
    }
}

impl Inner {
    fn start(&self, name: &Arc<str>, config: &WatchConfig, id_case: IdCase) -> io::Result<Watch> {
        let counts = Arc::new(Counts::default());
        let bell = Bell::new();
        let ringer = bell.ringer();
        let parser = config.parser().map_err(io::Error::other)?;
        let judging = Judging::new(name, parser, config.max_lateness, id_case, self.gatekeeper.clone(), &counts);
        let reading = Reading {
            name: Arc::clone(name),
            judging,
            places: self.places.clone(),
            counts: Arc::clone(&counts),
            ringer: ringer.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("watch-{name}"));
        let thread = match config.watched.clone() {
            Watched::Logs(patterns) => {
                let logs = Logs::new(name, patterns, config.begin, self.places.clone());
                thread.spawn(move || reading.follow(logs, bell))?
            }
            Watched::Command(command) => thread.spawn(move || reading.listen(&command))?,
        };
        Ok(Watch { config: config.clone(), id_case, counts, ringer, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ringer.stop();
        if let Some(thread) = self.thread.take() {
            let _panicked_and_said_so = thread.join();
        }
    }
}
