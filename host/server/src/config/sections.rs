//! The sections of the file, key by key, into [`Config`].
//!
//! Whether settings go together is the business of `check`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use portcullis_domain::SourceRules;
use portcullis_harness::document::mistake::{self, Cause, Mistake, Wrong};
use portcullis_harness::document::reader::{Known, Reader, Section};
use portcullis_harness::document::value::{self, Parsed};
use toml::de::{DeTable, DeValue};

use super::check::{self, Overrides};
use super::firewall;
use super::{
    Admin, Auth, Config, Decide, Gate, Guard, Journal, KEYS, Listen, LogConfig, Mode, Plugins, Service, State,
    Upstream, UpstreamUrl, listener, parse, policy, watch,
};
use crate::auth::IdCase;
use crate::log::{Format, Level};

const SECTIONS: [&str; 17] = [
    "listen", "listener", "source", "upstream", "decide", "auth", "gate", "policy", "watch", "guard", "firewall",
    "state", "journal", "admin", "service", "log", "plugins",
];
const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The configuration and the keys that were asked for, or all mistakes in the
/// order of the file.
pub(super) fn read(
    text: &str,
    base: &Path,
    overrides: &Overrides,
) -> Result<(Config, BTreeSet<&'static str>), Vec<Mistake>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::new(text, KEYS.iter().map(|key| Known { path: key.path, default: key.default }));
    reader.syntax(&errors);
    if !errors.is_empty() {
        return Err(reader.mistakes);
    }
    let config = read_sections(&mut reader, root.get_ref(), base, overrides);
    if reader.mistakes.is_empty() {
        return Ok((config, reader.asked));
    }
    mistake::sort(&mut reader.mistakes);
    Err(reader.mistakes)
}

fn read_sections<'t>(reader: &mut Reader<'t>, root: &'t DeTable<'t>, base: &Path, overrides: &Overrides) -> Config {
    for (name, _) in root.iter().filter(|(name, _)| !SECTIONS.contains(&name.get_ref().as_ref())) {
        let near = mistake::nearest(name.get_ref(), SECTIONS).map(|near| format!("[{near}]"));
        let nearest = near.or_else(|| reader.elsewhere(name.get_ref()));
        let line = reader.line(name.span().start);
        reader.mistake(line, name.get_ref().as_ref(), Cause::UnknownKey { nearest });
    }
    let section = |reader: &mut Reader<'t>, name: &'static str| {
        let table = table(reader, root, name, name);
        reader.section(table, 0, name, None)
    };
    let listen = section(reader, "listen");
    let source = section(reader, "source");
    let upstream = section(reader, "upstream");
    let decide = section(reader, "decide");
    let auth = section(reader, "auth");
    let gate = section(reader, "gate");
    let guard = section(reader, "guard");
    let firewall = section(reader, "firewall");
    let state = section(reader, "state");
    let journal = section(reader, "journal");
    let admin = section(reader, "admin");
    let service = section(reader, "service");
    let log = section(reader, "log");
    let plugins = section(reader, "plugins");

    let upstream_config = read_upstream(reader, upstream, overrides);
    let decide_config = read_decide(reader, decide);
    let others_check = upstream_config.is_some() || !decide_config.address.is_empty();
    let listeners = listener::read(reader, root, base);
    let watches = watch::read(reader, root, base);
    let auth_config = read_auth(reader, auth, base, overrides, others_check);
    // Whoever begins a listener of another kind doesn't want one in clear text beside it unasked, nor does whoever
    // watches logs or is asked, and serves nothing.
    let has_events_elsewhere = !watches.is_empty() || !decide_config.address.is_empty();
    let serves = upstream_config.is_some() || auth_config.file.is_some() || !auth_config.clients.is_empty();
    let has_others = root.get("listener").is_some_and(|value| value.get_ref().is_array());
    let config = Config {
        listen: read_listen(reader, listen, overrides, has_others || !serves && has_events_elsewhere),
        listeners,
        source: read_source(reader, source),
        auth: auth_config,
        upstream: upstream_config,
        decide: decide_config,
        gate: read_gate(reader, gate),
        policies: policy::read(reader, root, base),
        watches,
        guard: read_guard(reader, guard),
        firewall: firewall::read(reader, firewall),
        state: State { store: reader.get(state, "state.store", |value| parse::store(value, base)) },
        journal: read_journal(reader, journal, base),
        admin: read_admin(reader, admin, base),
        service: Service { user: reader.maybe(service, "service.user", parse::text) },
        log: read_log(reader, log, base),
        plugins: Plugins {
            cache: reader.maybe(plugins, "plugins.cache", parse::file_path).map(|path| base.join(path)),
        },
    };
    check::check(reader, &config, check::Sections { source, decide, auth, admin }, overrides);
    listener::check(reader, &config);
    config
}

/// The table called `name` within `within`, whose full key is `key`.
pub(super) fn table<'t>(
    reader: &mut Reader<'t>,
    within: &'t DeTable<'t>,
    name: &str,
    key: &str,
) -> Option<&'t DeTable<'t>> {
    reader.as_table(within.get(name)?, key, Wrong::expected(format!("a table, [{key}]")))
}

fn within(least: Duration, most: Duration) -> impl Fn(&DeValue<'_>) -> Parsed<Duration> {
    move |value| parse::duration(value, least, most)
}

fn counted(least: usize, most: usize) -> impl Fn(&DeValue<'_>) -> Parsed<usize> {
    move |value| value::count(value, least, most)
}

fn threads(value: &DeValue<'_>) -> Parsed<NonZeroUsize> {
    value::count(value, 1, 1024).and_then(|n| NonZeroUsize::new(n).ok_or_else(|| Wrong::expected("at least 1")))
}

/// Where clients connect if nobody says otherwise.
const USUAL_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

fn read_listen<'t>(reader: &mut Reader<'t>, section: Section<'t>, overrides: &Overrides, has_others: bool) -> Listen {
    let address = reader.maybe_list(section, "listen.address", parse::socket_address);
    let address = address.unwrap_or_else(|| if has_others { Vec::new() } else { vec![USUAL_ADDRESS] });
    let given = overrides.listen();
    Listen {
        address: if given.is_empty() { address } else { given.to_vec() },
        workers: reader.maybe(section, "listen.workers", threads),
        max_connections: reader.get(section, "listen.max_connections", counted(1, 10_000_000)),
        header_timeout: reader.get(section, "listen.header_timeout", within(MS, DAY)),
        handshake_timeout: reader.get(section, "listen.handshake_timeout", within(MS, DAY)),
        max_handshakes: reader.get(section, "listen.max_handshakes", counted(1, 1_000_000)),
        max_handshakes_per_source: reader.get(section, "listen.max_handshakes_per_source", counted(1, 1_000_000)),
        idle_timeout: reader.get(section, "listen.idle_timeout", within(MS, DAY)),
        body_timeout: reader.get(section, "listen.body_timeout", within(MS, DAY)),
        // hyper takes no less than 8 KiB.
        max_header_bytes: reader.get(section, "listen.max_header_bytes", |value| {
            let bytes = parse::size(value, 8 << 10, 1 << 20)?;
            usize::try_from(bytes).map_err(|_| Wrong::expected("a smaller size"))
        }),
        drain_timeout: reader.get(section, "listen.drain_timeout", within(Duration::ZERO, DAY)),
    }
}

fn read_source<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> SourceRules {
    SourceRules {
        trusted_proxies: reader.list(section, "source.trusted_proxies", parse::network),
        ipv6_prefix: reader.get(section, "source.ipv6_prefix", |value| value::count(value, 1, 128)),
        never_ban: reader.list(section, "source.never_ban", parse::network),
    }
}

fn read_upstream<'t>(reader: &mut Reader<'t>, section: Section<'t>, overrides: &Overrides) -> Option<Upstream> {
    let url = reader.maybe(section, "upstream.url", |value| {
        let text = value.as_str().unwrap_or_default();
        UpstreamUrl::parse(text).map_err(|error| Wrong::expected(error.to_string()))
    });
    let connect_timeout = reader.get(section, "upstream.connect_timeout", within(MS, DAY));
    let response_timeout = reader.get(section, "upstream.response_timeout", within(MS, DAY));
    let max_connections = reader.get(section, "upstream.max_connections", counted(1, 1_000_000));
    let url = overrides.upstream().cloned().or(url)?;
    Some(Upstream { url, connect_timeout, response_timeout, max_connections })
}

fn read_decide<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Decide {
    Decide {
        address: reader.list(section, "decide.address", parse::socket_address),
        trusted: reader.list(section, "decide.trusted", parse::network),
        id_header: reader.maybe(section, "decide.id_header", parse::header_name),
        max_report: reader.get(section, "decide.max_report", |value| {
            let bytes = parse::size(value, 1 << 10, 64 << 20)?;
            usize::try_from(bytes).map_err(|_| Wrong::expected("a smaller size"))
        }),
    }
}

fn read_auth<'t>(
    reader: &mut Reader<'t>,
    section: Section<'t>,
    base: &Path,
    overrides: &Overrides,
    others_check: bool,
) -> Auth {
    let modes = [("file", Mode::File), ("upstream", Mode::Upstream)];
    let given = reader.maybe(section, "auth.mode", |value| value::choice(value, &modes));
    let file = reader.maybe(section, "auth.file", parse::file_path).map(|path| base.join(path));
    let clients = overrides.clients().to_vec();
    // Rule 10.
    let mode = given.unwrap_or(if file.is_some() || !clients.is_empty() || !others_check {
        Mode::File
    } else {
        Mode::Upstream
    });
    let cases = [("fold", IdCase::Fold), ("keep", IdCase::Keep)];
    let protect = reader.maybe_list(section, "auth.protect", parse::request_path);
    let id_case = reader.maybe(section, "auth.id_case", |value| value::choice(value, &cases));
    Auth {
        mode,
        file,
        clients,
        // Which paths a service guards only the operator knows; without a service all are ours to guard.
        protect: protect.unwrap_or_else(|| match mode {
            Mode::File => vec!["/".to_owned()],
            Mode::Upstream => Vec::new(),
        }),
        realm: reader.get(section, "auth.realm", parse::realm),
        verified_for: reader.get(section, "auth.verified_for", within(Duration::ZERO, 366 * DAY)),
        login_paths: reader.list(section, "auth.login_paths", parse::request_path),
        id_field: reader.get(section, "auth.id_field", parse::text),
        secret_field: reader.get(section, "auth.secret_field", parse::text),
        id_case: id_case.unwrap_or(match mode {
            Mode::File => IdCase::Keep,
            Mode::Upstream => IdCase::Fold,
        }),
        failure_statuses: reader.list(section, "auth.failure_statuses", parse::status),
        success_statuses: reader.list(section, "auth.success_statuses", parse::status),
        hashing_threads: reader.maybe(section, "auth.hashing_threads", threads),
    }
}

fn read_gate<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Gate {
    Gate {
        max_inflight_attempts: reader.get(section, "gate.max_inflight_attempts", counted(1, 10_000)),
        max_wait: reader.get(section, "gate.max_wait", within(MS, 3660 * DAY)),
        max_ban: reader.get(section, "gate.max_ban", within(MS, 36600 * DAY)),
        close_tunnels: reader.get(section, "gate.close_tunnels", value::boolean),
    }
}

fn read_guard<'t>(reader: &mut Reader<'t>, section: Section<'t>) -> Guard {
    let bans = |value: &DeValue<'_>| value::count(value, 0, u32::MAX);
    Guard {
        max_bans_per_minute: reader.maybe(section, "guard.max_bans_per_minute", bans),
        max_new_bans: reader.maybe(section, "guard.max_new_bans", bans),
    }
}

fn read_journal<'t>(reader: &mut Reader<'t>, section: Section<'t>, base: &Path) -> Journal {
    Journal {
        dir: reader.maybe(section, "journal.dir", parse::file_path).map(|path| base.join(path)),
        max_size: reader.get(section, "journal.max_size", |value| parse::size(value, 1 << 20, 1 << 40)),
        max_age: reader.get(section, "journal.max_age", within(Duration::from_secs(60), 3660 * DAY)),
    }
}

fn read_admin<'t>(reader: &mut Reader<'t>, section: Section<'t>, base: &Path) -> Admin {
    Admin {
        socket: reader.maybe(section, "admin.socket", |value| parse::socket_path(value, base)).unwrap_or_default(),
        address: reader.maybe(section, "admin.address", parse::socket_address),
        token_file: reader.maybe(section, "admin.token_file", parse::file_path).map(|path| base.join(path)),
        health_address: reader.maybe(section, "admin.health_address", parse::socket_address),
    }
}

fn read_log<'t>(reader: &mut Reader<'t>, section: Section<'t>, base: &Path) -> LogConfig {
    let levels = Level::ALL.map(|level| (level.name(), level));
    let formats = [("text", Format::Text), ("json", Format::Json)];
    LogConfig {
        level: reader.get(section, "log.level", |value| value::choice(value, &levels)),
        format: reader.get(section, "log.format", |value| value::choice(value, &formats)),
        file: reader.maybe(section, "log.file", parse::file_path).map(|path| base.join(path)),
    }
}
