//! Every key of the configuration file, with its type, default and meaning.
//!
//! The defaults here *are* the defaults: the reader takes them from this table
//! when a file leaves a key out, so documents generated from it can't lie. It
//! must not know how a key is read.

/// One key of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Section and name; `policy.NAME.kind` stands for the key of any policy.
    pub path: &'static str,
    /// What may be written there, in words.
    pub kind: &'static str,
    /// The default as TOML; `None` where leaving it out has a meaning of its own.
    pub default: Option<&'static str>,
    /// What it does: one line, with the unit or what leaving it out means.
    pub doc: &'static str,
    /// Whether a change takes effect only at the next start.
    pub restart: bool,
}

const fn key(path: &'static str, kind: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default: Some(default), doc, restart: false }
}

const fn open(path: &'static str, kind: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default: None, doc, restart: false }
}

const fn at_start(key: Key) -> Key {
    Key { restart: true, ..key }
}

const DURATION: &str = "duration";
const SIZE: &str = "size";
const NETWORKS: &str = "list of networks";
const COUNT: &str = "whole number";
const STATUSES: &str = "list of HTTP statuses";
const PATHS: &str = "list of paths";
const TEXT: &str = "text";
const PATH: &str = "file path";
const SWITCH: &str = "true or false";

/// Every key there is, in the order in which documents list them.
pub const KEYS: &[Key] = &[
    at_start(open(
        "listen.address",
        "list of address:port",
        "Where clients connect in clear text; left out: 127.0.0.1:8080, or nowhere if there is a [[listener]], or a \
         [[watch]] or decide.address and neither upstream.url nor auth.file: then logs alone are watched, and other \
         proxies answered.",
    )),
    at_start(open("listen.workers", COUNT, "Threads that serve connections; left out: one per core.")),
    at_start(key(
        "listen.max_connections",
        COUNT,
        "10000",
        "Connections open at once, over all workers; more are answered 503 and closed.",
    )),
    at_start(key("listen.header_timeout", DURATION, r#""10s""#, "Time a client has to send a request's head.")),
    at_start(key(
        "listen.handshake_timeout",
        DURATION,
        r#""10s""#,
        "At a [[listener]]: time a client has for the PROXY header and the TLS handshake together.",
    )),
    at_start(key(
        "listen.max_handshakes",
        COUNT,
        "1024",
        "PROXY headers and TLS handshakes waited for at once, shared out among the workers, at least 128 to each if so many are allowed; for one more the oldest is closed.",
    )),
    at_start(key(
        "listen.max_handshakes_per_source",
        COUNT,
        "64",
        "Of these, TLS handshakes of one source, shared out among the workers, at least 16 to each if so many are allowed; for one more its oldest is closed.",
    )),
    at_start(key("listen.idle_timeout", DURATION, r#""75s""#, "Time a connection may stay open without a request.")),
    key("listen.body_timeout", DURATION, r#""10s""#, "Time a client has to send a login body."),
    at_start(key("listen.max_header_bytes", SIZE, r#""32KiB""#, "Longest head of a request.")),
    at_start(key("listen.drain_timeout", DURATION, r#""30s""#, "Time that requests have to finish at shutdown.")),
    at_start(open("listener.address", "list of address:port", "Where clients connect; needed.")),
    key(
        "listener.proxy_protocol",
        r#""off" or "require""#,
        r#""off""#,
        "Whether each connection has to begin with a PROXY header, version 1 or 2; then only source.trusted_proxies may connect.",
    ),
    open(
        "listener.redirect",
        r#""https""#,
        "Requests are answered 308, to https at the same host; left out: they are served.",
    ),
    key("listener.redirect_port", "port", "443", "Port to which redirect sends."),
    open(
        "listener.banned",
        r#""close" or "reply""#,
        "What a banned source gets: its connection closed before the TLS handshake, or a 423 after it; left out: close with TLS, else reply.",
    ),
    open(
        "listener.client_ca",
        PATH,
        "TLS: PEM file with those who vouch for client certificates; left out: none are asked for.",
    ),
    open("listener.client_crl", PATH, "TLS: PEM file with lists of client certificates that have been revoked."),
    key(
        "listener.client_certificate",
        r#""optional" or "required""#,
        r#""required""#,
        "With client_ca: whether a client without a certificate is let in.",
    ),
    key(
        "listener.client_id",
        r#""cn", "dns", "email" or "uri""#,
        r#""cn""#,
        "Field of a client certificate that is the client auth id: the subject's common name, or the alternative name of that type.",
    ),
    open(
        "listener.certificate",
        "tables",
        "Begun by [[listener.certificate]]: with any the listener speaks TLS; the first is the default.",
    ),
    open(
        "listener.certificate.file",
        PATH,
        "PEM file with the server's certificate, followed by those that lead to its CA; needed.",
    ),
    open("listener.certificate.key", PATH, "PEM file with its private key, not encrypted; left out: in the same file."),
    open(
        "listener.certificate.names",
        "list of names",
        "Names (SNI) for which it is shown, such as \"example.org\" or \"*.example.org\"; left out: those in the certificate.",
    ),
    key(
        "source.trusted_proxies",
        NETWORKS,
        "[]",
        "Peers whose X-Forwarded-For and PROXY headers are believed; never banned.",
    ),
    key("source.ipv6_prefix", "1 to 128", "64", "Bits of an IPv6 address that subjects and bans go by."),
    key("source.never_ban", NETWORKS, "[]", "Networks that are never banned."),
    open(
        "upstream.url",
        "URL",
        "The service behind, as http://host[:port][/prefix]; left out: the server answers by itself.",
    ),
    key("upstream.connect_timeout", DURATION, r#""5s""#, "Time to connect to the service."),
    key("upstream.response_timeout", DURATION, r#""60s""#, "Time until the head of the service's response is there."),
    key("upstream.max_connections", COUNT, "10000", "Connections to the service open at once, tunnels included."),
    at_start(key(
        "decide.address",
        "list of address:port",
        "[]",
        "Where other proxies ask about requests and report what came of them; none: nowhere.",
    )),
    key(
        "decide.trusted",
        NETWORKS,
        r#"["127.0.0.0/8", "::1"]"#,
        "Peers that may ask and report there; what they report can ban anyone.",
    ),
    open(
        "decide.id_header",
        "header",
        "Header in which a proxy names the client auth id of a login form; only if every proxy that asks sets or \
         removes it; left out: ids are known from Basic credentials alone.",
    ),
    key("decide.max_report", SIZE, r#""1MiB""#, "Longest body of one report."),
    open(
        "auth.mode",
        r#""file" or "upstream""#,
        "Who checks secrets; left out: file where credentials are given, else upstream where there is a URL or other \
         proxies ask, else file.",
    ),
    open("auth.file", PATH, "Credentials: JSON of id and password, or htpasswd with bcrypt or argon2id."),
    open(
        "auth.protect",
        PATHS,
        "File mode: paths that need credentials, with all below them; left out: [\"/\"]. Upstream mode: paths where the \
         service demands Basic credentials; only there a 2xx or 3xx answer means that they were right; left out: none.",
    ),
    key("auth.realm", TEXT, r#""portcullis""#, "File mode: the realm that a 401 names."),
    key(
        "auth.verified_for",
        DURATION,
        r#""5m""#,
        "How long a pair of id and secret counts as verified for its source; 0s: never.",
    ),
    key("auth.login_paths", PATHS, "[]", "Upstream mode: paths whose POST is a login."),
    key(
        "auth.id_field",
        TEXT,
        r#""username""#,
        "Upstream mode: field of the login body that holds the client auth id.",
    ),
    key("auth.secret_field", TEXT, r#""password""#, "Upstream mode: field of the login body that holds the secret."),
    open(
        "auth.id_case",
        r#""fold" or "keep""#,
        "Whether Abc and abc are one id; left out: fold in upstream mode, keep in file mode.",
    ),
    key(
        "auth.failure_statuses",
        STATUSES,
        "[401, 403]",
        "Upstream mode: statuses that mean a failed login, on login paths and in answer to Basic credentials. Where a 403 only says that somebody may not, leave it out.",
    ),
    key(
        "auth.success_statuses",
        STATUSES,
        "[]",
        "Upstream mode: statuses that mean a successful login on login paths, which need them; for Basic see auth.protect.",
    ),
    at_start(open("auth.hashing_threads", COUNT, "Threads that check hashed secrets; left out: half the cores.")),
    key("gate.max_inflight_attempts", COUNT, "4", "Attempts of one source that may be under way at once."),
    key("gate.max_wait", DURATION, r#""1h""#, "Longest wait that is enforced."),
    key("gate.max_ban", DURATION, r#""1y""#, "Longest ban that is enforced; a year is 365 days."),
    key("gate.close_tunnels", SWITCH, "false", "Whether a ban also closes open tunnels of the source."),
    key("policy.NAME.enabled", SWITCH, "true", "Whether the policy is in use."),
    open(
        "policy.NAME.kind",
        r#""wait", "ban" or "scanner""#,
        "What it judges; given for policy.wait, policy.ban and policy.scanner, needed for others.",
    ),
    open(
        "policy.NAME.plugin",
        "bundle:NAME or file path",
        "What runs; the bundle's for policy.wait, policy.ban and policy.scanner, needed for others.",
    ),
    open("policy.NAME.settings", "table", "Settings of the plugin; what is left out has the plugin's default."),
    open(
        "policy.NAME.subject",
        r#""id", "source" or "pair""#,
        "Whom it keeps state about; left out: id for wait, source for ban and scanner.",
    ),
    key(
        "policy.NAME.on_failure",
        r#""bundle", "deny" or "allow""#,
        r#""bundle""#,
        "What happens when the plugin fails.",
    ),
    open("policy.NAME.fallback_settings", "table", "Settings of the bundle's plugin when it steps in."),
    key("policy.NAME.limits.deadline", DURATION, r#""20ms""#, "Time of one call."),
    key("policy.NAME.limits.memory", SIZE, r#""64MiB""#, "Memory of one instance, all memories and tables together."),
    key("policy.NAME.limits.state", SIZE, r#""1KiB""#, "State kept for one subject."),
    key(
        "policy.NAME.mode",
        r#""enforce" or "shadow""#,
        r#""enforce""#,
        "Whether its orders are enforced; in shadow it judges with its own state, within its limits, and what it would do is only compared.",
    ),
    open(
        "watch.name",
        TEXT,
        "A [[watch]] reads logs. Its name, of a-z, 0-9 and -, for status, metrics and the place that it is kept at; left out: its format.",
    ),
    open(
        "watch.path",
        "list of file paths",
        "Logs to read; *, **, ? and [ab] stand for names, and files that turn up later are read, too. Rotated logs are found by themselves.",
    ),
    open(
        "watch.command",
        "list of texts",
        "Instead of logs: a program and its arguments, whose standard output is read; started again when it ends.",
    ),
    open(
        "watch.format",
        "name of a format",
        "What lines look like: \"rportd\", \"sshd\", \"common\", \"combined\", \"caddy\", \"portcullis\", \"portcullis-json\", \"report\" or \"regex\". Needed, unless there is a regex.",
    ),
    open(
        "watch.regex",
        TEXT,
        "For format regex: the expression that a whole line matches, with the groups time and ip, and of client, method, path, status and outcome those that there are.",
    ),
    open(
        "watch.time_format",
        TEXT,
        "For format regex: how the group time is written, as in strptime; left out: Unix seconds or RFC 3339.",
    ),
    open(
        "watch.outcome",
        r#""failure" or "success""#,
        "For format regex: every line that matches is a login that ended so.",
    ),
    key(
        "watch.time_zone",
        TEXT,
        r#""local""#,
        "The zone of times that name none: local, UTC, an offset such as +02:00, or a name such as Europe/Berlin.",
    ),
    key(
        "watch.max_lateness",
        DURATION,
        r#""1h""#,
        "Age from which an event isn't judged any more, as after a long time without the server.",
    ),
    key(
        "watch.begin",
        r#""end" or "beginning""#,
        r#""end""#,
        "Where logs are begun that are there when the watch is new; those that turn up later are read from their beginning.",
    ),
    open(
        "guard.max_bans_per_minute",
        COUNT,
        "Bans of one policy that are enforced in any minute; more are only logged, until it keeps to that again or is trusted by hand; left out: no cap.",
    ),
    open(
        "guard.max_new_bans",
        COUNT,
        "Sources that a changed policy may newly ban among those recorded in the last day; a change that would ban more, or one that logged in, is refused unless forced; left out: no check.",
    ),
    at_start(open(
        "firewall.backend",
        r#""nftables""#,
        "What keeps banned sources out in the kernel, before any service of this machine; needs CAP_NET_ADMIN; left out: nothing does.",
    )),
    at_start(key(
        "firewall.ports",
        "list of ports",
        "[]",
        "Ports that banned sources don't reach; empty: all packets from them are meant, whatever the protocol.",
    )),
    at_start(open(
        "firewall.protocols",
        r#"list of "tcp" and "udp""#,
        "Whose ports firewall.ports are; left out: [\"tcp\"].",
    )),
    at_start(key(
        "firewall.action",
        r#""drop" or "reject""#,
        r#""drop""#,
        "What becomes of their packets: nothing comes back, or a reset or an ICMP error does.",
    )),
    at_start(key(
        "firewall.priority",
        "-500 to 500",
        "-10",
        "When our chain at the hook input is asked: before chains of a higher priority; most filters have 0.",
    )),
    at_start(key(
        "firewall.on_stop",
        r#""keep" or "remove""#,
        r#""keep""#,
        "What becomes of the table when the server ends: kept, each ban in it ends in its time, and a restart leaves no gap.",
    )),
    at_start(key(
        "state.store",
        r#""memory" or "sqlite:PATH""#,
        r#""memory""#,
        "Where waits, bans, kept state and totals live; in memory a restart forgets them.",
    )),
    at_start(open(
        "journal.dir",
        PATH,
        "Folder for the journal of attempts, verdicts and acts, private to the server's user; left out: only the newest events are kept, in memory.",
    )),
    at_start(key(
        "journal.max_size",
        SIZE,
        r#""256MiB""#,
        "Size of the journal; its oldest segment goes when it is larger.",
    )),
    at_start(key("journal.max_age", DURATION, r#""30d""#, "How long events stay in the journal.")),
    at_start(open(
        "admin.socket",
        PATH,
        "Unix socket for the administration, for the server's user alone; left out: portcullis/admin.sock in the \
         folder for run-time files; \"\": none.",
    )),
    at_start(open("admin.address", "address:port", "TCP address for the administration; needs admin.token_file.")),
    at_start(open(
        "admin.token_file",
        PATH,
        "File with the token that the administration over TCP takes, of at least 16 bytes.",
    )),
    at_start(open(
        "admin.health_address",
        "address:port",
        "TCP address for /healthz, /readyz and /metrics alone, without a token.",
    )),
    at_start(open(
        "service.user",
        TEXT,
        "User to become, if started as root, once listen.address is bound; everything else is opened by that user; left out: none.",
    )),
    key(
        "log.level",
        r#""error", "warn", "info", "debug" or "trace""#,
        r#""info""#,
        "The least important lines that are written.",
    ),
    at_start(key("log.format", r#""text" or "json""#, r#""text""#, "How lines are written.")),
    at_start(open("log.file", PATH, "Where lines go; left out: standard error.")),
    at_start(open(
        "plugins.cache",
        PATH,
        "Folder for compiled plugins, private to the server's user; left out: none is kept.",
    )),
];
