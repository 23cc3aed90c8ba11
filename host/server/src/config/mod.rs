//! The configuration: one TOML file and the command line, read into types that
//! can't be wrong.
//!
//! Every key has a default, and no file at all is a working configuration.
//! Mistakes are reported all at once. It must not know plugins (their settings
//! stay generic values), open sockets or read credentials.

mod check;
mod firewall;
mod keys;
mod listener;
mod mistake;
mod parse;
mod policy;
mod restart;
mod sections;
mod upstream_url;
mod watch;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use portcullis_domain::{Limits, SourceRules};
pub use portcullis_harness::document::mistake::{Cause, Mistake, Place};
pub use portcullis_harness::document::policy::OnFailure;
use portcullis_harness::document::read_file;
pub use portcullis_harness::document::setting::Setting;
pub use portcullis_runtime::{PluginSource, SettingValue};

use crate::auth::{Client, IdCase};
use crate::log::{Format, Level};

pub use check::{Override, Overrides};
pub use firewall::{Firewall, FirewallAction, FirewallProtocol, OnStop};
pub use keys::{KEYS, Key};
pub use listener::{CertificateFiles, ClientFiles, Listener};
pub use mistake::{ConfigError, Mistakes, Told, printable};
pub use parse::parse_duration;
pub use policy::{PluginLimits, PolicyConfig};
pub use restart::restart_required;
pub use upstream_url::{UpstreamUrl, UrlError};
pub use watch::{Begin, WatchConfig, WatchFormat, Watched};

/// Largest configuration file that is read.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What the operator wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where and how clients connect.
    pub listen: Listen,
    /// Listeners that do more than speak HTTP.
    pub listeners: Vec<Listener>,
    /// Who is it (rules 1 to 4).
    pub source: SourceRules,
    /// The service behind; without one the server answers by itself (rule 9).
    pub upstream: Option<Upstream>,
    /// What other proxies may ask and report.
    pub decide: Decide,
    /// What an attempt is and who checks secrets.
    pub auth: Auth,
    /// The operator's bounds on what policies may order.
    pub gate: Gate,
    /// The policies in use: the bundle's three first, then the operator's by name.
    pub policies: Vec<PolicyConfig>,
    /// Logs that are watched.
    pub watches: Vec<WatchConfig>,
    /// What keeps a change from banning everyone.
    pub guard: Guard,
    /// Bans in the kernel as well, if so.
    pub firewall: Option<Firewall>,
    /// What survives a restart.
    pub state: State,
    /// What is written down about events.
    pub journal: Journal,
    /// How the server is administered.
    pub admin: Admin,
    /// The server as a service of the system.
    pub service: Service,
    /// Where the log goes.
    pub log: LogConfig,
    /// How plugins are run.
    pub plugins: Plugins,
}

/// Where and how clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// For HTTP in clear text; with none there is a listener, or there are watches and nothing is served.
    pub address: Vec<SocketAddr>,
    /// Threads that serve connections; `None`: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Connections open at once.
    pub max_connections: usize,
    /// Time for a request's head.
    pub header_timeout: Duration,
    /// Time for the PROXY header and the TLS handshake.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once.
    pub max_handshakes: usize,
    /// Of these, those of one source.
    pub max_handshakes_per_source: usize,
    /// Time a connection may stay open without a request.
    pub idle_timeout: Duration,
    /// Time for a login body.
    pub body_timeout: Duration,
    /// Longest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// Time that requests have to finish at shutdown.
    pub drain_timeout: Duration,
}

/// The service behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it is.
    pub url: UpstreamUrl,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time until the response's head is there.
    pub response_timeout: Duration,
    /// Connections open at once.
    pub max_connections: usize,
}

/// What other proxies may ask and report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decide {
    /// Where; none: nowhere.
    pub address: Vec<SocketAddr>,
    /// Peers that may.
    pub trusted: Vec<IpNet>,
    /// The header in which they name who logs in by a form.
    pub id_header: Option<HeaderName>,
    /// Longest body of one report, in bytes.
    pub max_report: usize,
}

/// Who checks secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The server, by its credentials.
    File,
    /// The service behind, by the status of its answer.
    Upstream,
}

/// What an attempt is and who checks secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Who checks secrets.
    pub mode: Mode,
    /// The credentials file (file mode).
    pub file: Option<PathBuf>,
    /// Clients given on the command line (file mode).
    pub clients: Vec<Client>,
    /// Paths that need credentials, with all below them: the server asks for
    /// them (file mode) or the service behind does (upstream mode).
    pub protect: Vec<String>,
    /// The realm that a 401 names: printable ASCII without quotes (file mode).
    pub realm: String,
    /// How long a verified pair counts; zero: never.
    pub verified_for: Duration,
    /// Paths whose POST is a login (upstream mode).
    pub login_paths: Vec<String>,
    /// Field of a login body that holds the client auth id.
    pub id_field: String,
    /// Field of a login body that holds the secret.
    pub secret_field: String,
    /// Whether Abc and abc are one id.
    pub id_case: IdCase,
    /// Statuses that mean a failed login on a login path (upstream mode).
    pub failure_statuses: Vec<u16>,
    /// Statuses that mean a successful login on a login path (upstream mode).
    pub success_statuses: Vec<u16>,
    /// Threads that check hashed secrets; `None`: half the cores.
    pub hashing_threads: Option<NonZeroUsize>,
}

impl Auth {
    /// File mode without any credentials: nobody can log in, and the start says so (rule 10).
    #[must_use]
    pub fn has_no_clients(&self) -> bool {
        self.mode == Mode::File && self.file.is_none() && self.clients.is_empty()
    }
}

/// The operator's bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Attempts of one source that may be under way at once.
    pub max_inflight_attempts: usize,
    /// Longest wait that is enforced.
    pub max_wait: Duration,
    /// Longest ban that is enforced.
    pub max_ban: Duration,
    /// Whether a ban also closes open tunnels of the source.
    pub close_tunnels: bool,
}

/// What keeps a change from banning everyone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Bans of one policy that are enforced in a minute; `None`: all.
    pub max_bans_per_minute: Option<u32>,
    /// Sources that a changed policy may newly ban in the recent journal; `None`: any number.
    pub max_new_bans: Option<u32>,
}

/// What survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where waits, bans, kept state and totals live.
    pub store: StoreKind,
}

/// Where waits, bans, kept state and totals live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory alone: a restart forgets them.
    Memory,
    /// In memory, and in this SQLite file.
    Sqlite(PathBuf),
}

/// What is written down about events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Folder of its segments; `None`: only the newest events are kept, in memory.
    pub dir: Option<PathBuf>,
    /// Size at which the oldest segment goes, in bytes.
    pub max_size: u64,
    /// How long events stay.
    pub max_age: Duration,
}

/// How the server is administered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// The Unix socket.
    pub socket: AdminSocket,
    /// A TCP address; then there is a token.
    pub address: Option<SocketAddr>,
    /// File with the token for TCP.
    pub token_file: Option<PathBuf>,
    /// A TCP address for health and metrics alone.
    pub health_address: Option<SocketAddr>,
}

/// The Unix socket of the administration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminSocket {
    /// Where run-time files of this user go, if that can be used.
    #[default]
    Usual,
    /// None.
    Off,
    /// There.
    At(PathBuf),
}

/// The server as a service of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// User to become once everything is open, if started as root.
    pub user: Option<String>,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important lines that are written.
    pub level: Level,
    /// How lines are written.
    pub format: Format,
    /// `None`: standard error.
    pub file: Option<PathBuf>,
}

/// How plugins are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    /// Folder for compiled plugins; `None`: none is kept.
    pub cache: Option<PathBuf>,
}

impl Config {
    /// Reads the file, if there is one, and puts the command line over it.
    /// Relative paths in the file are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`], with every mistake there is.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::parse("", "", Path::new(""), overrides);
        };
        let text = read_file(path, CONFIG_BYTES_MAX)?;
        let base = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &path.display().to_string(), base, overrides)
    }

    /// Reads `text` as the file called `name` whose relative paths start at `base`.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`], with every mistake there is.
    pub fn parse(text: &str, name: &str, base: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        sections::read(text, base, overrides)
            .map(|(config, _)| config)
            .map_err(|list| ConfigError::Wrong(Mistakes { file: name.to_owned(), list }))
    }

    /// Whether nobody can connect: logs alone are watched.
    #[must_use]
    pub fn listens_nowhere(&self) -> bool {
        self.listen.address.is_empty() && self.listeners.is_empty()
    }

    /// The files that it names and that are read to put it in force, besides
    /// the configuration itself.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let plugins = self.policies.iter().filter_map(|policy| match &policy.plugin {
            PluginSource::File(path) => Some(path.clone()),
            PluginSource::Bundle(_) => None,
        });
        let listeners = self.listeners.iter().flat_map(Listener::files);
        plugins.chain(self.auth.file.clone()).chain(listeners).collect()
    }

    /// The operator's bounds, as the gate takes them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            max_inflight_attempts: self.gate.max_inflight_attempts,
            max_wait: self.gate.max_wait,
            max_ban: self.gate.max_ban,
            verified_for: self.auth.verified_for,
            max_bans_per_minute: self.guard.max_bans_per_minute,
        }
    }
}

/// The reference of all keys as a Markdown table, for the documents.
#[must_use]
pub fn reference() -> String {
    let mut table = String::from("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in KEYS {
        let default = key.default.map(|default| format!("`{default}`")).unwrap_or_default();
        let restart = if key.restart { " Takes effect at the next start." } else { "" };
        table.push_str(&format!("| `{}` | {} | {default} | {}{restart} |\n", key.path, key.kind, key.doc));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_table_is_read_and_no_other() {
        let (_, asked) = sections::read("", Path::new(""), &Overrides::default()).unwrap();
        let known: std::collections::BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
        assert_eq!(asked, known);
    }
}
