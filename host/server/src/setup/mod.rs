//! From a configuration to what can be put in force: policies with their
//! plugins loaded and tried, credentials read, the upstream at hand.
//!
//! Runs off the request path and changes nothing by itself: what is prepared
//! here is either taken whole or dropped.

mod doors;
mod plugins;
mod reports;
mod settings;

use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use portcullis_domain::{Policy, Ruleset, Store};
use portcullis_harness::Plan;
use portcullis_runtime::{LoadError, PolicyJudge, Reporter, Runtime, Silent};

use crate::auth::{Credentials, FileError, FileWarning, LoginPaths, ProcessKey, Protected};
use crate::config::{Auth, Config, Mistakes, Mode};
use crate::gatekeeper::{Asking, Authentication, FileAuthentication, Front, UpstreamAuthentication};
use crate::http::{HttpOptions, Tunnels, Upstream, UpstreamUrlError};

pub use doors::{PreparedDoor, entrances, hang};
pub use plugins::LoadedPolicy;
pub use reports::LogReporter;
pub use settings::setting_as_json;

/// Handshakes for which a worker has room at least, if that many are allowed in all.
const HANDSHAKES_OF_A_WORKER_MIN: usize = 128;
/// Of these, of one source: a browser opens half a dozen at once, an office more.
const HANDSHAKES_OF_A_SOURCE_MIN: usize = 16;

/// What setups are made with; it outlives all of them.
pub struct Workshop {
    /// Loads plugins.
    pub runtime: Runtime,
    /// Hears what policies have to tell.
    pub reporter: Arc<dyn Reporter>,
    /// Keys what is derived from secrets.
    pub key: ProcessKey,
    /// Threads that serve connections: those that run, whatever a later
    /// configuration says.
    pub workers: usize,
    /// The tunnels open through any upstream there was: a ban finds those of
    /// one that has been replaced too.
    pub tunnels: Tunnels,
}

/// A configuration, loaded and tried, ready to be put in force.
pub struct Setup {
    /// What it was made from.
    pub config: Config,
    /// Its policies, in their order.
    pub policies: Vec<LoadedPolicy>,
    /// Who may log in (file mode).
    credentials: Option<Arc<Credentials>>,
    upstream: Option<Arc<Upstream>>,
    tunnels: Tunnels,
    challenge: HeaderValue,
    /// What listeners do before the first request.
    pub doors: Vec<PreparedDoor>,
    /// What the operator should hear.
    pub warnings: Vec<String>,
}

/// Why a configuration can't be put in force.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Policies or their settings are wrong: all of it, by line.
    #[error("{0}")]
    Policies(Mistakes),
    /// Listeners can't be opened: certificates or keys are wrong, by line.
    #[error("{0}")]
    Listeners(Mistakes),
    /// The credentials file can't be taken.
    #[error("{0}")]
    Credentials(#[from] FileError),
    /// The upstream's URL can't be used.
    #[error("upstream.url: {0}")]
    Upstream(#[from] UpstreamUrlError),
    /// The program's own bundle is broken.
    #[error("the bundle: {0}")]
    Bundle(#[from] LoadError),
    /// The realm can't be sent in a header.
    #[error("auth.realm: not a text that a header can carry")]
    Realm,
}

impl Setup {
    /// Loads and tries everything that `config` names. What `before` already
    /// has and what hasn't changed since is taken over from there.
    ///
    /// # Errors
    /// Every mistake of the first part that has any.
    pub fn prepare(config: Config, file: &str, workshop: &Workshop, before: Option<&Self>) -> Result<Self, SetupError> {
        let before_policies = before.map_or(&[][..], |before| &before.policies);
        let policies = plugins::load(&config, &workshop.runtime, &workshop.reporter, before_policies)
            .map_err(|list| SetupError::Policies(Mistakes { file: file.to_owned(), list }))?;
        let mut warnings = Vec::new();
        let credentials = match config.auth.mode {
            Mode::File => Some(credentials(&config.auth, workshop, before, &mut warnings)?),
            Mode::Upstream => None,
        };
        let upstream = upstream(&config, workshop, before)?;
        let realm = &config.auth.realm;
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
            .map_err(|_| SetupError::Realm)?;
        let doors = doors::prepare(&config, before.map_or(&[][..], |before| &before.doors), &mut warnings)
            .map_err(|list| SetupError::Listeners(Mistakes { file: file.to_owned(), list }))?;
        let nobody = config.auth.has_no_clients() && !config.listens_nowhere();
        if nobody && config.listeners.iter().all(|listener| listener.clients.is_none()) {
            warnings.push(
                "NOBODY CAN LOG IN: there is neither auth.file nor --client, and no upstream.url that could check secrets"
                    .to_owned(),
            );
        }
        if !config.auth.clients.is_empty() {
            warnings.push(
                "--client puts a password into the process list, where every user of this machine can read it: for trials only"
                    .to_owned(),
            );
        }
        let tunnels = workshop.tunnels.clone();
        Ok(Self { config, policies, credentials, upstream, tunnels, challenge, doors, warnings })
    }

    /// The gate's part of it.
    #[must_use]
    pub fn ruleset(&self, store: &dyn Store) -> Ruleset {
        let bind = |policy: &LoadedPolicy| {
            let judge = Arc::clone(&policy.judge);
            let config = &policy.config;
            Policy::new(&config.name, config.kind, config.subject, judge).mode(config.mode)
        };
        let policies = self.policies.iter().map(bind).collect();
        Ruleset::new(self.config.source.clone(), self.config.limits(), policies, store)
    }

    /// The part that requests meet.
    #[must_use]
    pub fn front(&self) -> Front {
        let (auth, decide) = (&self.config.auth, &self.config.decide);
        let authentication = match &self.credentials {
            Some(credentials) => Authentication::File(FileAuthentication {
                credentials: Arc::clone(credentials),
                protected: Protected::new(auth.protect.iter().map(String::as_str)),
                challenge: self.challenge.clone(),
                id_case: auth.id_case,
            }),
            None => Authentication::Upstream(UpstreamAuthentication {
                guarded: Protected::new(auth.protect.iter().map(String::as_str)),
                login_paths: LoginPaths::new(auth.login_paths.iter().map(String::as_str)),
                id_field: auth.id_field.clone(),
                secret_field: auth.secret_field.clone(),
                id_case: auth.id_case,
                failure_statuses: auth.failure_statuses.clone(),
                success_statuses: auth.success_statuses.clone(),
            }),
        };
        Front {
            authentication,
            upstream: self.upstream.clone(),
            asking: Asking {
                trusted: decide.trusted.clone(),
                id_header: decide.id_header.clone(),
                max_report: decide.max_report,
            },
            login_body_time: self.config.listen.body_timeout,
            tunnels_to_close: self.config.gate.close_tunnels.then(|| self.tunnels.clone()),
        }
    }

    /// The gate's part of it for a world in virtual time.
    ///
    /// # Errors
    /// [`LoadError`] if the program's own bundle is broken.
    pub fn plan(&self, runtime: &Runtime) -> Result<Plan, LoadError> {
        planned(&self.config, &self.policies, runtime)
    }

    /// The judges of its policies, for their counters.
    pub fn judges(&self) -> impl Iterator<Item = &Arc<PolicyJudge>> {
        self.policies.iter().map(|policy| &policy.judge)
    }
}

/// The policies and bounds of `config` for a world in virtual time; plugins are
/// loaded and tried as for the server. `file` names the configuration in messages.
///
/// # Errors
/// [`SetupError::Policies`], with every mistake.
pub fn plan(config: &Config, file: &str, runtime: &Runtime) -> Result<Plan, SetupError> {
    let wrong = |list| SetupError::Policies(Mistakes { file: file.to_owned(), list });
    let reporter: Arc<dyn Reporter> = Arc::new(Silent);
    let policies = plugins::load(config, runtime, &reporter, &[]).map_err(wrong)?;
    Ok(planned(config, &policies, runtime)?)
}

fn planned(config: &Config, policies: &[LoadedPolicy], runtime: &Runtime) -> Result<Plan, LoadError> {
    let policies = policies.iter().map(|policy| policy.plan(runtime)).collect::<Result<_, _>>()?;
    Ok(Plan { policies, source: config.source.clone(), limits: config.limits(), ..Plan::default() })
}

/// Threads that serve connections: as configured, else one per core.
#[must_use]
pub fn workers(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    config.listen.workers.map_or_else(cores, usize::from)
}

/// The transport's bounds as configured, with so many workers to share
/// connections to the upstream.
#[must_use]
pub fn http_options(config: &Config, workers: usize) -> HttpOptions {
    let (listen, defaults) = (&config.listen, HttpOptions::default());
    let upstream = config.upstream.as_ref();
    HttpOptions {
        header_timeout: listen.header_timeout,
        handshake_timeout: listen.handshake_timeout,
        handshakes: shared(listen.max_handshakes, workers, HANDSHAKES_OF_A_WORKER_MIN),
        handshakes_of_a_source: shared(listen.max_handshakes_per_source, workers, HANDSHAKES_OF_A_SOURCE_MIN),
        idle_timeout: listen.idle_timeout,
        max_header_bytes: listen.max_header_bytes,
        max_connections: listen.max_connections,
        connect_timeout: upstream.map_or(defaults.connect_timeout, |upstream| upstream.connect_timeout),
        response_head_timeout: upstream.map_or(defaults.response_head_timeout, |upstream| upstream.response_timeout),
        upstream_connections: upstream
            .map_or(defaults.upstream_connections, |upstream| upstream.max_connections.div_ceil(workers.max(1))),
        ..defaults
    }
}

/// A worker's share of `most`: at least `floor`, or all where that is less. The
/// system deals connections out as it likes: on a machine with many cores plain
/// shares would leave a busy worker next to nothing.
fn shared(most: usize, workers: usize, floor: usize) -> usize {
    most.div_ceil(workers.max(1)).max(most.min(floor))
}

/// The credentials, or those of before if they are the same: then whoever was
/// verified stays so.
fn credentials(
    auth: &Auth,
    workshop: &Workshop,
    before: Option<&Setup>,
    warnings: &mut Vec<String>,
) -> Result<Arc<Credentials>, FileError> {
    let loaded = Credentials::load(auth.file.as_deref(), &auth.clients, auth.id_case, &workshop.key)?;
    let name = auth.file.as_deref().unwrap_or(Path::new("--client")).display().to_string();
    warnings.extend(loaded.warnings.iter().map(|warning: &FileWarning| format!("{name}: {warning}")));
    let known =
        before.and_then(|before| before.credentials.as_ref()).filter(|known| known.same_as(&loaded.credentials));
    Ok(known.map_or_else(|| Arc::new(loaded.credentials), Arc::clone))
}

/// The upstream, or that of before if nothing about it has changed: then its
/// connections go on. Nothing else in the configuration has a say in it.
fn upstream(
    config: &Config,
    workshop: &Workshop,
    before: Option<&Setup>,
) -> Result<Option<Arc<Upstream>>, UpstreamUrlError> {
    let Some(wanted) = &config.upstream else { return Ok(None) };
    if let Some(before) = before
        && before.config.upstream.as_ref() == Some(wanted)
    {
        return Ok(before.upstream.clone());
    }
    let url = format!("http://{}{}", wanted.url.authority(), wanted.url.prefix());
    let upstream = Upstream::new(&url, &http_options(config, workshop.workers))?;
    Ok(Some(Arc::new(upstream.with_tunnels(workshop.tunnels.clone()))))
}

#[cfg(test)]
mod tests;
