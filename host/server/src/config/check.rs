//! What the command line puts over the file, and whether all settings go together.

use std::net::SocketAddr;
use std::path::Path;

use ipnet::IpNet;
use portcullis_harness::document::mistake::{Cause, Mistake, Place, shown};
use portcullis_harness::document::reader::{Reader, Section};

use super::{Config, Mode, UpstreamUrl, Watched};
use crate::auth::Client;

/// What the command line says; it goes over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    listen: Vec<SocketAddr>,
    upstream: Option<UpstreamUrl>,
    clients: Vec<Client>,
}

/// One option of the command line that overrides the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// `--listen ADDRESS:PORT`; several add up.
    Listen,
    /// `--upstream URL`.
    Upstream,
    /// `--client ID:PASSWORD`; several add up.
    Client,
}

impl Override {
    /// The option as it is written.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Listen => "--listen",
            Self::Upstream => "--upstream",
            Self::Client => "--client",
        }
    }
}

impl Overrides {
    /// Takes the texts of the command line.
    ///
    /// # Errors
    /// Every option that is wrong. Secrets aren't repeated.
    pub fn parse<'a>(options: impl IntoIterator<Item = (Override, &'a str)>) -> Result<Self, super::Mistakes> {
        let mut overrides = Self::default();
        let mut list = Vec::new();
        for (option, text) in options {
            let wrong = match option {
                Override::Listen => match text.parse() {
                    Ok(address) => {
                        overrides.listen.push(address);
                        None
                    }
                    Err(_) => Some((shown(text), "an address and port such as 127.0.0.1:8080".to_owned())),
                },
                Override::Upstream => match UpstreamUrl::parse(text) {
                    Ok(url) => {
                        overrides.upstream = Some(url);
                        None
                    }
                    Err(error) => Some((shown(text), error.to_string())),
                },
                Override::Client => match Client::parse(text) {
                    Ok(client) => {
                        overrides.clients.push(client);
                        None
                    }
                    Err(error) => Some((error.to_string(), "ID:PASSWORD".to_owned())),
                },
            };
            if let Some((found, expected)) = wrong {
                let cause = Cause::Value { found, expected, nearest: None };
                list.push(Mistake { place: Place::Option(option.option()), key: String::new(), cause });
            }
        }
        if list.is_empty() { Ok(overrides) } else { Err(super::Mistakes { file: String::new(), list }) }
    }

    pub(super) fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    pub(super) fn upstream(&self) -> Option<&UpstreamUrl> {
        self.upstream.as_ref()
    }

    pub(super) fn clients(&self) -> &[Client] {
        &self.clients
    }
}

/// The sections whose keys are looked at together.
pub(super) struct Sections<'t> {
    pub(super) source: Section<'t>,
    pub(super) decide: Section<'t>,
    pub(super) auth: Section<'t>,
    pub(super) admin: Section<'t>,
}

/// Reports settings that don't go together. Keys already found wrong are left
/// out, so that one mistake isn't reported as two.
pub(super) fn check<'t>(reader: &mut Reader<'t>, config: &Config, sections: Sections<'t>, overrides: &Overrides) {
    let Sections { source, decide, auth, admin } = sections;
    if config.listens_nowhere()
        && config.watches.is_empty()
        && config.decide.address.is_empty()
        && reader.clean("listen.address")
        && reader.clean("listener.address")
        && reader.clean("watch")
    {
        let why = "at least one address is needed where there is no [[watch]] and no decide.address";
        reader.mistake(Place::Nowhere, "listen.address", conflict(why));
    }
    if config.listens_nowhere() && config.upstream.is_some() && reader.clean("listen.address") {
        let why = "at least one address is needed in front of upstream.url";
        reader.mistake(Place::Nowhere, "listen.address", conflict(why));
    }
    for watch in &config.watches {
        let own = |path: &String| config.log.file.as_ref().is_some_and(|file| file.as_path() == Path::new(path));
        if matches!(&watch.watched, Watched::Logs(paths) if paths.iter().any(own)) {
            let why = "it is this server's own log: every login in it has been judged already";
            reader.mistake(Place::Nowhere, "watch.path", conflict(why));
        }
    }
    let everyone = |networks: &[IpNet]| networks.iter().any(|network| network.prefix_len() == 0);
    for (networks, key) in
        [(&config.source.trusted_proxies, "source.trusted_proxies"), (&config.source.never_ban, "source.never_ban")]
    {
        if everyone(networks) {
            conflict_at(reader, source, key, "a network of all addresses: nobody would ever be banned");
        }
    }
    if config.auth.failure_statuses.is_empty() && reader.clean("auth.failure_statuses") {
        conflict_at(reader, auth, "auth.failure_statuses", "at least one status is needed, else no login ever fails");
    }
    if everyone(&config.decide.trusted) {
        let why = "a network of all addresses: anyone could have anyone banned";
        conflict_at(reader, decide, "decide.trusted", why);
    }
    let behind_doors = config.listeners.iter().flat_map(|listener| listener.address.iter().copied());
    let strangers: Vec<_> = config.listen.address.iter().copied().chain(behind_doors).collect();
    let shared = config.decide.address.iter().find(|address| overlaps(&strangers, **address));
    if let Some(shared) = shared.filter(|_| reader.clean("decide.address")) {
        let why =
            format!("{shared} is where clients connect: strangers would ask, and proxies be answered as strangers");
        conflict_at(reader, decide, "decide.address", &why);
    }
    check_admin(reader, config, admin);
    if !reader.clean("auth.mode") {
        return;
    }
    match config.auth.mode {
        Mode::File => check_file_mode(reader, config, auth),
        Mode::Upstream => check_upstream_mode(reader, config, auth, overrides),
    }
}

/// Whether a connection to that address could come to one of these.
fn overlaps(listened: &[SocketAddr], address: SocketAddr) -> bool {
    let either =
        |one: &SocketAddr| one.ip() == address.ip() || one.ip().is_unspecified() || address.ip().is_unspecified();
    listened.iter().any(|one| one.port() == address.port() && address.port() != 0 && either(one))
}

fn check_admin<'t>(reader: &mut Reader<'t>, config: &Config, admin: Section<'t>) {
    let clean = reader.clean("admin.address") && reader.clean("admin.token_file");
    match (&config.admin.address, &config.admin.token_file) {
        (Some(_), None) if clean => {
            conflict_at(
                reader,
                admin,
                "admin.address",
                "needs admin.token_file: over TCP nobody is let in without a token",
            );
        }
        (None, Some(_)) if clean => {
            conflict_at(reader, admin, "admin.token_file", "only used with admin.address");
        }
        _ => {}
    }
}

fn check_file_mode<'t>(reader: &mut Reader<'t>, config: &Config, auth: Section<'t>) {
    if config.auth.protect.is_empty() && reader.clean("auth.protect") {
        conflict_at(reader, auth, "auth.protect", "in file mode at least one path is needed, else nothing is guarded");
    }
    let why = "only used in upstream mode, and the mode here is file: nothing would count these logins";
    if !config.auth.login_paths.is_empty() {
        conflict_at(reader, auth, "auth.login_paths", why);
    }
}

fn check_upstream_mode<'t>(reader: &mut Reader<'t>, config: &Config, auth: Section<'t>, overrides: &Overrides) {
    if config.upstream.is_none() && config.decide.address.is_empty() && reader.clean("upstream.url") {
        let why = "mode \"upstream\" needs upstream.url: the service behind checks the secrets (or decide.address: a \
                   service behind another proxy does)";
        conflict_at(reader, auth, "auth.mode", why);
    }
    if config.auth.file.is_some() {
        conflict_at(reader, auth, "auth.file", "only used in file mode, and auth.mode is \"upstream\"");
    }
    if !overrides.clients().is_empty() {
        let place = Place::Option(Override::Client.option());
        reader.mistake(place, "", conflict("only used in file mode, and auth.mode is \"upstream\""));
    }
    let clean = reader.clean("auth.login_paths") && reader.clean("auth.success_statuses");
    if clean && !config.auth.login_paths.is_empty() && config.auth.success_statuses.is_empty() {
        let why = "login_paths need auth.success_statuses: many login forms answer 200 or 302 on failure too, so say which \
                   statuses only a successful login gets";
        conflict_at(reader, auth, "auth.login_paths", why);
    }
    if config.auth.id_field == config.auth.secret_field {
        conflict_at(reader, auth, "auth.secret_field", "the same as auth.id_field");
    }
    let both: Vec<String> = (config.auth.success_statuses.iter())
        .filter(|status| config.auth.failure_statuses.contains(status))
        .map(u16::to_string)
        .collect();
    if !both.is_empty() {
        let why = format!("{} can't mean both: also in auth.failure_statuses", both.join(", "));
        conflict_at(reader, auth, "auth.success_statuses", &why);
    }
}

fn conflict(why: &str) -> Cause {
    Cause::Conflict { why: why.to_owned() }
}

/// At the key's line if it is there.
fn conflict_at(reader: &mut Reader<'_>, section: Section<'_>, key: &'static str, why: &str) {
    reader.mistake(reader.line_of(section, key), key, conflict(why));
}
