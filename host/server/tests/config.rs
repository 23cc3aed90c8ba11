//! Configuration files as operators write them, and what they are told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in its helpers too")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use portcullis::auth::IdCase;
use portcullis::config::{
    Cause, Config, ConfigError, FirewallAction, FirewallProtocol, KEYS, Mistake, Mistakes, Mode, OnFailure, OnStop,
    Override, Overrides, Place, PluginSource, SettingValue, printable, reference, restart_required,
};
use portcullis::http::Banned;
use portcullis::log::{Format, Level};
use portcullis::tls::ClientField;
use portcullis_domain::{Kind, Limits, SourceRules, SubjectBy};

fn load_with(text: &str, options: &[(Override, &str)]) -> Result<Config, ConfigError> {
    let overrides = Overrides::parse(options.iter().copied()).unwrap();
    Config::parse(text, "p.toml", Path::new("etc"), &overrides)
}

fn load(text: &str) -> Config {
    load_with(text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str) -> String {
    load_with(text, &[]).unwrap_err().to_string()
}

#[track_caller]
fn assert_refused(text: &str, expected: &str) {
    assert_eq!(refused(text), expected);
}

#[test]
fn no_file_at_all_is_a_working_configuration() {
    let config = Config::load(None, &Overrides::default()).unwrap();
    assert_eq!(config, load(""));
    assert_eq!(config.listen.address, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.source, SourceRules::default());
    assert_eq!(config.limits(), Limits::default());
    assert_eq!(config.upstream, None);
    assert_eq!((config.auth.mode, config.auth.id_case), (Mode::File, IdCase::Keep));
    assert!(config.auth.has_no_clients());
    assert_eq!(config.auth.protect, ["/"]);
    assert_eq!((config.log.level, config.log.format, config.log.file), (Level::Info, Format::Text, None));
    let policies: Vec<_> =
        config.policies.iter().map(|policy| (policy.name.as_str(), policy.kind, policy.subject)).collect();
    let expected = [
        ("wait", Kind::Wait, SubjectBy::Id),
        ("ban", Kind::Ban, SubjectBy::Source),
        ("scanner", Kind::Scanner, SubjectBy::Source),
    ];
    assert_eq!(policies, expected);
    for policy in &config.policies {
        assert_eq!(policy.plugin, PluginSource::Bundle(policy.kind));
        assert_eq!((policy.on_failure, policy.settings.len()), (OnFailure::Bundle, 0));
        assert_eq!(policy.limits.deadline, Duration::from_millis(20));
        assert_eq!((policy.limits.memory_bytes, policy.limits.state_bytes), (64 << 20, 1 << 10));
    }
}

#[test]
fn the_sample_loads_and_shows_true_defaults() {
    let text = include_str!("../portcullis.sample.toml");
    let config = load(text);
    assert_eq!(config.upstream.unwrap().url.to_string(), "http://127.0.0.1:3000");
    let mut shown = BTreeSet::new();
    let mut section = String::new();
    for line in text.lines() {
        let (line, commented_out) = line.strip_prefix("# ").map_or((line, false), |line| (line, true));
        let header = line.split("  ").next().unwrap_or_default().trim();
        let header = header
            .strip_prefix("[[")
            .and_then(|line| line.strip_suffix("]]"))
            .or(header.strip_prefix('[').and_then(|line| line.strip_suffix(']')));
        if let Some(name) = header {
            shown.extend(KEYS.iter().find(|key| key.path == name).map(|key| key.path));
            section = if name.starts_with("policy.") { "policy.NAME".to_owned() } else { name.to_owned() };
        }
        let Some((name, value)) = line.split_once(" = ") else { continue };
        let Some(key) = KEYS.iter().find(|key| key.path == format!("{section}.{name}")) else { continue };
        shown.insert(key.path);
        if let Some(default) = key.default.filter(|_| commented_out) {
            let value = value.split("  #").next().unwrap_or_default().trim();
            assert_eq!(value, default, "{}", key.path);
        }
    }
    let known: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
    let elsewhere =
        ["limits.deadline", "limits.memory", "limits.state", "enabled"].map(|name| format!("policy.NAME.{name}"));
    let missing: Vec<_> = known.difference(&shown).collect();
    assert!(missing.iter().all(|path| elsewhere.iter().any(|known| known == *path)), "{missing:?}");
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let text = r#"
[listen]
adress = ["127.0.0.1:80"]
workers = "many"
header_timeout = 10
[source]
trusted_proxies = ["10.0.0.1/8", "example", "::1"]
[auth]
mode = "fil"
failure_statuses = [401, 999]
[policies]
[policy.ban]
on_failur = "deny"
limits = { memory = "64MB" }
"#;
    let expected = [
        r#"p.toml:3: listen.adress: there is no such key (did you mean listen.address?)"#,
        r#"p.toml:4: listen.workers: found "many", expected a whole number from 1 to 1024"#,
        r#"p.toml:5: listen.header_timeout: found 10, expected a duration such as "20ms", "5m" or "2h30m", with its unit and in quotes"#,
        r#"p.toml:7: source.trusted_proxies: found "10.0.0.1/8", expected the network's own address, "10.0.0.0/8""#,
        r#"p.toml:7: source.trusted_proxies: found "example", expected a network such as "10.0.0.0/8" or an address"#,
        r#"p.toml:9: auth.mode: found "fil", expected "file" or "upstream" (did you mean "file"?)"#,
        r#"p.toml:10: auth.failure_statuses: found 999, expected a status from 200 to 599"#,
        r#"p.toml:11: policies: there is no such key (did you mean [policy]?)"#,
        r#"p.toml:13: policy.ban.on_failur: there is no such key (did you mean policy.ban.on_failure?)"#,
        r#"p.toml:14: policy.ban.limits.memory: found "64MB", expected a size such as "512B", "1KiB" or "64MiB""#,
    ];
    assert_refused(text, &expected.join("\n"));
}

#[test]
fn a_key_in_the_wrong_section_is_led_to_the_right_one() {
    assert_refused("level = \"info\"\n", "p.toml:1: level: there is no such key (did you mean log.level?)");
    assert_refused(
        "[gate]\nipv6_prefix = 56",
        "p.toml:2: gate.ipv6_prefix: there is no such key (did you mean source.ipv6_prefix?)",
    );
}

#[test]
fn errors_of_syntax_have_line_and_column() {
    let error = load_with("[listen]\naddress = [\"a\"\n[log]\n", &[]).unwrap_err();
    assert!(error.to_string().starts_with("p.toml:"), "{error}");
    assert!(matches!(error.mistakes(), [first, ..] if matches!(first.cause, Cause::Syntax { .. })));
    let error = load_with("a = 1\nb = = 2\n", &[]).unwrap_err().to_string();
    assert!(error.starts_with("p.toml:2:5: "), "{error}");
    let error = load_with("a = 1\na = 2\n", &[]).unwrap_err().to_string();
    assert!(error.starts_with("p.toml:2:1: duplicate key"), "{error}");
}

#[test]
fn the_mode_follows_from_what_is_given() {
    let upstream = "[upstream]\nurl = \"http://app\"\n";
    let mode = |text: &str, options: &[(Override, &str)]| load_with(text, options).unwrap().auth.mode;
    assert_eq!(mode("", &[]), Mode::File);
    assert_eq!(mode(upstream, &[]), Mode::Upstream);
    assert_eq!(mode("", &[(Override::Upstream, "http://app")]), Mode::Upstream);
    assert_eq!(mode(upstream, &[(Override::Client, "a:b")]), Mode::File);
    assert_eq!(mode(&format!("{upstream}[auth]\nfile = \"c\""), &[]), Mode::File);
    assert_eq!(load(upstream).auth.id_case, IdCase::Fold);
    assert!(!load_with("", &[(Override::Client, "a:b")]).unwrap().auth.has_no_clients());
}

#[test]
fn the_guarded_paths_are_those_of_the_server_or_of_the_service() {
    let upstream = "[upstream]\nurl = \"http://app\"\n[auth]\n";
    assert_eq!(load("").auth.protect, ["/"]);
    assert!(load(upstream).auth.protect.is_empty(), "which ones the service guards only the operator knows");
    assert_eq!(load(&format!("{upstream}protect = [\"/admin\", \"/api\"]")).auth.protect, ["/admin", "/api"]);
    assert!(load(&format!("{upstream}protect = []")).auth.protect.is_empty());
    assert!(refused("[auth]\nprotect = []").contains("nothing is guarded"));
    assert!(refused(&format!("{upstream}protect = \"admin\"")).starts_with("p.toml:4: auth.protect: found"));
    assert_eq!(load(upstream).auth.failure_statuses, [401, 403]);
}

#[test]
fn a_year_is_365_days() {
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(load("").gate.max_ban, 365 * day);
    for (text, expected) in [
        ("1y", 365 * day),
        ("2 years", 730 * day),
        ("1year 1day", 366 * day),
        ("1y1d", 366 * day),
        ("1h 1yr", 365 * day + Duration::from_secs(3600)),
        ("1.5h", Duration::from_secs(5400)),
    ] {
        assert_eq!(load(&format!("[gate]\nmax_ban = \"{text}\"")).gate.max_ban, expected, "{text}");
    }
    for text in ["y", "1.5y", "1", "", "1y 2", "-1y", "99999999999999999999y", "1yy"] {
        assert!(refused(&format!("[gate]\nmax_ban = \"{text}\"")).contains("expected a duration"), "{text}");
    }
}

#[test]
fn the_files_of_a_configuration_are_its_plugins_and_its_credentials() {
    let config = load("[policy.ban]\nplugin = \"own.wasm\"\n[auth]\nfile = \"c.json\"\n[log]\nfile = \"x.log\"");
    assert_eq!(config.files(), [Path::new("etc/own.wasm"), Path::new("etc/c.json")]);
    assert!(load("").files().is_empty());
}

#[test]
fn the_command_line_goes_over_the_file() {
    let text = "[listen]\naddress = \"127.0.0.1:1\"\n[upstream]\nurl = \"http://one\"\nconnect_timeout = \"1s\"\n";
    let options =
        [(Override::Listen, "[::1]:2"), (Override::Listen, "127.0.0.1:3"), (Override::Upstream, "http://two:8/x/")];
    let config = load_with(text, &options).unwrap();
    assert_eq!(config.listen.address, ["[::1]:2".parse().unwrap(), "127.0.0.1:3".parse().unwrap()]);
    let upstream = config.upstream.unwrap();
    assert_eq!(
        (upstream.url.to_string().as_str(), upstream.connect_timeout),
        ("http://two:8/x", Duration::from_secs(1))
    );
    let wrong = [(Override::Listen, "80"), (Override::Upstream, "https://app"), (Override::Client, "secret")];
    let told = Overrides::parse(wrong).unwrap_err().to_string();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[0], "--listen: found \"80\", expected an address and port such as 127.0.0.1:8080");
    assert!(
        lines[1].starts_with("--upstream: found \"https://app\"")
            && lines[1].contains("TLS to the upstream isn't there yet")
    );
    assert_eq!(lines[2], "--client: found no colon, expected ID:PASSWORD");
}

#[test]
fn settings_that_do_not_go_together_are_explained() {
    let no_url = "[auth]\nmode = \"upstream\"";
    assert_refused(
        no_url,
        "p.toml:2: auth.mode: mode \"upstream\" needs upstream.url: the service behind checks the secrets (or \
         decide.address: a service behind another proxy does)",
    );
    let upstream = "[upstream]\nurl = \"http://app\"\n[auth]\n";
    let told = refused(&format!("{upstream}login_paths = [\"/login\"]"));
    assert!(
        told.starts_with("p.toml:4: auth.login_paths: login_paths need auth.success_statuses: many login forms"),
        "{told}"
    );
    let told = refused(&format!("{upstream}success_statuses = [200, 401]"));
    assert_eq!(told, "p.toml:4: auth.success_statuses: 401 can't mean both: also in auth.failure_statuses");
    assert!(refused(&format!("{upstream}mode = \"upstream\"\nfile = \"c\"")).contains("only used in file mode"));
    assert!(refused("[auth]\nlogin_paths = [\"/login\"]").contains("only used in upstream mode"));
    let options = [(Override::Client, "a:b")];
    let told = load_with(&format!("{upstream}mode = \"upstream\""), &options).unwrap_err().to_string();
    assert!(told.starts_with("--client: only used in file mode"), "{told}");
    assert!(refused("[listen]\naddress = []").contains("at least one address"));
    let told = refused("[source]\ntrusted_proxies = [\"0.0.0.0/0\"]");
    assert_eq!(told, "p.toml:2: source.trusted_proxies: a network of all addresses: nobody would ever be banned");
    assert!(refused("[upstream]\nurl = \"https://app\"").contains("TLS to the upstream isn't there yet"));
}

#[test]
fn rule_28_a_plugins_words_forge_no_line_on_a_terminal_and_are_handed_to_the_log_apart() {
    let why = "no\np.toml:1: x\u{1b}[2J\u{2028}y";
    assert_eq!(printable(why), "no\u{fffd}p.toml:1: x\u{fffd}[2J\u{fffd}y");
    let mistake = |line, cause| Mistake { place: Place::Line { line, column: None }, key: "policy.ban".into(), cause };
    let list =
        vec![mistake(2, Cause::Plugin { why: why.to_owned() }), mistake(3, Cause::Conflict { why: "ours".to_owned() })];
    let mistakes = Mistakes { file: "p.toml".to_owned(), list };
    let shown = mistakes.to_string();
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        [&format!("p.toml:2: policy.ban: {}", printable(why)), "p.toml:3: policy.ban: ours"]
    );
    let told: Vec<_> = mistakes.told().into_iter().map(|line| (line.ours, line.plugins)).collect();
    let expected = [("p.toml:2: policy.ban", Some(why)), ("p.toml:3: policy.ban: ours", None)];
    assert_eq!(told, expected.map(|(ours, plugins)| (ours.to_owned(), plugins.map(str::to_owned))));
}

#[test]
fn one_mistake_is_not_reported_as_two() {
    let text = "[upstream]\nurl = \"http://app\"\n[auth]\nlogin_paths = [\"/login\"]\nsuccess_statuses = [\"ok\"]";
    assert_eq!(refused(text).lines().count(), 1, "{}", refused(text));
    assert_eq!(refused("[auth]\nmode = \"upstream\"\n[upstream]\nurl = \"app\"").lines().count(), 1);
    assert_eq!(refused("[listen]\naddress = [\"x\"]").lines().count(), 1);
}

#[test]
fn the_bundles_policies_can_be_overridden_or_switched_off() {
    let config = load(
        "[policy.wait]\nenabled = false\n[policy.ban]\nplugin = \"own.wasm\"\nsubject = \"pair\"\nsettings = { x = 1 }\n",
    );
    let names: Vec<_> = config.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["ban", "scanner"]);
    assert_eq!(config.policies[0].plugin, PluginSource::File("etc/own.wasm".into()));
    assert_eq!(config.policies[0].subject, SubjectBy::Pair);
    assert!(
        refused("[policy.wait]\nkind = \"ban\"")
            .contains("expected \"wait\": another kind is a policy under a name of its own")
    );
    assert!(refused("[policy.wait]\nplugin = \"bundle:ban\"").contains("\"bundle:wait\""));
}

#[test]
fn a_policy_of_ones_own_says_its_kind_and_plugin() {
    let config = load(
        "[policy.slow-ban]\nkind = \"ban\"\nplugin = \"bundle:ban\"\nlimits.deadline = \"5ms\"\non_failure = \"deny\"",
    );
    let policy = config.policies.last().unwrap();
    assert_eq!((policy.name.as_str(), policy.kind), ("slow-ban", Kind::Ban));
    assert_eq!((policy.limits.deadline, policy.on_failure), (Duration::from_millis(5), OnFailure::Deny));
    assert_eq!(policy.limits.memory_bytes, 64 << 20);
    let expected = "p.toml:1: policy.x.kind: missing; expected \"wait\", \"ban\" or \"scanner\"\n\
                    p.toml:1: policy.x.plugin: missing; expected \"bundle:ban\" or a file path";
    assert_refused("[policy.x]", expected);
    assert!(refused("[policy.Slow_Ban]\n").contains("a name of 1 to 32 characters out of a-z, 0-9 and -"));
    assert!(refused("[policy]\nenabled = true\n").contains("expected a table"));
    let told = refused("[policy.x]\nkind = \"ban\"\nplugin = \"bundle:scaner\"");
    assert!(told.ends_with("(did you mean \"bundle:scanner\"?)"), "{told}");
}

#[test]
fn settings_keep_their_types_and_lines() {
    let text = "[policy.ban.settings]\na = true\nb = 5\nc = 2.5\nd = \"x\"\ne = []\nf = [1, 2]\ng = [1, 2.5]\nh = [\"x\"]\n\
                i = { k = [1, \"x\"] }\nj = [1, \"x\"]\nl = 0x1f\n";
    let settings = &load(text).policies[1].settings;
    let of = |name: &str| settings.iter().find(|setting| setting.name == name).unwrap();
    let expected = [
        ("a", SettingValue::Boolean(true)),
        ("b", SettingValue::Integer(5)),
        ("c", SettingValue::Number(2.5)),
        ("d", SettingValue::Text("x".to_owned())),
        ("e", SettingValue::Texts(vec![])),
        ("f", SettingValue::Integers(vec![1, 2])),
        ("g", SettingValue::Numbers(vec![1.0, 2.5])),
        ("h", SettingValue::Texts(vec!["x".to_owned()])),
        ("i", SettingValue::Json(r#"{"k":[1,"x"]}"#.to_owned())),
        ("j", SettingValue::Json(r#"[1,"x"]"#.to_owned())),
        ("l", SettingValue::Integer(31)),
    ];
    for (index, (name, value)) in expected.into_iter().enumerate() {
        assert_eq!((&of(name).value, of(name).line.0), (&value, index + 2), "{name}");
    }
    assert!(
        refused("[policy.ban]\nsettings = { x = nan }")
            .contains("policy.ban.settings.x: found nan, expected a finite number")
    );
    assert!(refused("[policy.ban]\nsettings = { x = 2026-11-22 }").contains("times as text"));
}

const LISTENERS: &str = r#"
[source]
trusted_proxies = ["10.0.0.1"]
[[listener]]
address = "0.0.0.0:443"
client_ca = "ca.pem"
client_certificate = "optional"
client_id = "email"
[[listener.certificate]]
file = "a.pem"
[[listener.certificate]]
file = "/b.pem"
key = "b.key"
names = ["B.example", "*.b.example"]
[[listener]]
address = ["0.0.0.0:80", "[::]:80"]
redirect = "https"
proxy_protocol = "require"
banned = "close"
"#;

#[test]
fn listeners_are_read_and_take_the_place_of_the_usual_address() {
    let config = load(LISTENERS);
    assert!(config.listen.address.is_empty());
    let [tls, redirect] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
    assert_eq!(tls.address, ["0.0.0.0:443".parse().unwrap()]);
    assert_eq!((tls.proxy_protocol, tls.redirect_port, tls.banned), (false, None, Banned::Close));
    let files: Vec<_> = tls.certificates.iter().map(|one| (one.file.as_path(), one.key.as_deref())).collect();
    assert_eq!(files, [(Path::new("etc/a.pem"), None), (Path::new("/b.pem"), Some(Path::new("etc/b.key")))]);
    assert_eq!(tls.certificates[1].names, ["b.example", "*.b.example"]);
    let clients = tls.clients.as_ref().unwrap();
    assert_eq!(
        (clients.ca.as_path(), clients.required, clients.field),
        (Path::new("etc/ca.pem"), false, ClientField::Email)
    );
    assert_eq!((redirect.address.len(), redirect.redirect_port, redirect.banned), (2, Some(443), Banned::Close));
    assert!(redirect.proxy_protocol && redirect.certificates.is_empty());
    let files: BTreeSet<_> = config.files().into_iter().collect();
    let expected = ["etc/a.pem", "/b.pem", "etc/b.key", "etc/ca.pem"].map(Into::into);
    assert_eq!(files, BTreeSet::from(expected), "all of them are watched");
    let plain = load("[[listener]]\naddress = \"127.0.0.1:80\"");
    assert_eq!(plain.listeners[0].banned, Banned::Reply);
}

#[test]
fn mistakes_of_listeners_have_their_lines() {
    let text = r#"
[[listener]]
adress = "0.0.0.0:443"
[[listener]]
address = "0.0.0.0:443"
redirect = "http"
client_id = "san"
[[listener.certificate]]
key = "a.key"
names = ["a b"]
[[listener]]
address = "0.0.0.0:443"
proxy_protocol = "require"
redirect_port = 444
client_certificate = "optional"
[[listener]]
address = "0.0.0.0:80"
redirect = "https"
[[listener.certificate]]
file = "a.pem"
"#;
    let expected = [
        r#"p.toml:2: listener.address: missing; expected an address and port such as "0.0.0.0:443", or a list of these"#,
        r#"p.toml:3: listener.adress: there is no such key (did you mean listener.address?)"#,
        r#"p.toml:4: listener.client_ca: missing; expected the file with the certificates of those who vouch for clients"#,
        r#"p.toml:6: listener.redirect: found "http", expected "https" (did you mean "https"?)"#,
        r#"p.toml:7: listener.client_id: found "san", expected "cn", "dns", "email" or "uri""#,
        r#"p.toml:8: listener.certificate.file: missing; expected the PEM file with the certificate, followed by those that lead to its CA"#,
        r#"p.toml:10: listener.certificate.names: found "a b", expected a name such as "example.org" or "*.example.org""#,
        r#"p.toml:11: listener.address: 0.0.0.0:443 is listened on already, by another listener or listen.address"#,
        r#"p.toml:11: listener.proxy_protocol: nobody could connect: list the proxies that send the header in source.trusted_proxies"#,
        r#"p.toml:14: listener.redirect_port: only used with redirect = "https""#,
        r#"p.toml:15: listener.client_certificate: only used with TLS, which needs a [[listener.certificate]]"#,
        r#"p.toml:18: listener.redirect: a listener with certificates speaks https already"#,
    ];
    assert_refused(text, &expected.join("\n"));
    assert_refused(
        "[listener]\naddress = \"a\"",
        "p.toml:1: listener: found a table, expected tables, each begun by [[listener]]",
    );
}

#[test]
fn moving_a_setting_in_the_file_is_no_change() {
    assert_eq!(load("[policy.ban]\nsettings = { x = 1 }"), load("\n\n[policy.ban.settings]\nx = 1"));
}

#[test]
fn a_reload_names_the_keys_that_need_a_restart() {
    let changed = [
        ("listen.address", "[listen]\naddress = \"127.0.0.1:1\""),
        ("listen.workers", "[listen]\nworkers = 3"),
        ("listen.max_connections", "[listen]\nmax_connections = 3"),
        ("listen.header_timeout", "[listen]\nheader_timeout = \"3s\""),
        ("listen.handshake_timeout", "[listen]\nhandshake_timeout = \"3s\""),
        ("listen.max_handshakes", "[listen]\nmax_handshakes = 3"),
        ("listen.max_handshakes_per_source", "[listen]\nmax_handshakes_per_source = 3"),
        ("listener.address", "[listen]\naddress = \"127.0.0.1:8080\"\n[[listener]]\naddress = \"127.0.0.1:1\""),
        ("listen.idle_timeout", "[listen]\nidle_timeout = \"3s\""),
        ("listen.max_header_bytes", "[listen]\nmax_header_bytes = \"9KiB\""),
        ("listen.drain_timeout", "[listen]\ndrain_timeout = \"3s\""),
        (
            "decide.address",
            "[listen]\naddress = [\"127.0.0.1:8080\"]\n[decide]\naddress = [\"127.0.0.1:1\"]\n[auth]\nmode = \"file\"",
        ),
        ("auth.hashing_threads", "[auth]\nhashing_threads = 3"),
        ("firewall.backend", "[firewall]\nbackend = \"nftables\""),
        ("log.format", "[log]\nformat = \"json\""),
        ("log.file", "[log]\nfile = \"x\""),
        ("state.store", "[state]\nstore = \"sqlite:x\""),
        ("journal.dir", "[journal]\ndir = \"x\""),
        ("journal.max_size", "[journal]\nmax_size = \"9MiB\""),
        ("journal.max_age", "[journal]\nmax_age = \"3d\""),
        ("admin.socket", "[admin]\nsocket = \"x\""),
        ("admin.health_address", "[admin]\nhealth_address = \"127.0.0.1:1\""),
        ("service.user", "[service]\nuser = \"x\""),
        ("plugins.cache", "[plugins]\ncache = \"x\""),
    ];
    for (key, text) in changed {
        assert_eq!(restart_required(&load(""), &load(text)), [key]);
    }
    // These two go together.
    let admin = "[admin]\naddress = \"127.0.0.1:1\"\ntoken_file = \"x\"";
    let both = restart_required(&load(""), &load(admin));
    assert_eq!(both, ["admin.address", "admin.token_file"]);
    let firewall = |keys: &str| load(&format!("[firewall]\nbackend = \"nftables\"\n{keys}"));
    let other = "ports = [80]\nprotocols = [\"udp\"]\naction = \"reject\"\npriority = 5\non_stop = \"remove\"";
    let firewall = restart_required(&firewall(""), &firewall(other));
    let keys = ["firewall.ports", "firewall.protocols", "firewall.action", "firewall.priority", "firewall.on_stop"];
    assert_eq!(firewall, keys);
    let marked: BTreeSet<_> = KEYS.iter().filter(|key| key.restart).map(|key| key.path).collect();
    assert_eq!(marked, changed.into_iter().map(|(key, _)| key).chain(both).chain(firewall).collect());
    assert!(restart_required(&load(""), &load("[log]\nlevel = \"warn\"\n[gate]\nmax_ban = \"1y\"")).is_empty());
}

#[test]
fn a_firewall_is_what_its_section_says_and_nothing_without_a_backend() {
    assert_eq!(load("[firewall]").firewall, None);
    let firewall = load("[firewall]\nbackend = \"nftables\"").firewall.unwrap();
    assert_eq!((firewall.ports, firewall.priority, firewall.on_stop), (vec![], -10, OnStop::Keep));
    assert_eq!((firewall.action, firewall.protocols), (FirewallAction::Drop, vec![FirewallProtocol::Tcp]));
    let wrong = refused("[firewall]\nports = [80]");
    assert!(wrong.contains("firewall.backend: \"nftables\" is needed"), "{wrong}");
    let wrong = refused("[firewall]\nbackend = \"pf\"\nports = [0, 65536]\npriority = 9999");
    assert!(wrong.contains("firewall.backend: found \"pf\", expected \"nftables\""), "{wrong}");
    assert!(wrong.contains("firewall.ports: found 0") && wrong.contains("firewall.ports: found 65536"), "{wrong}");
    assert!(wrong.contains("firewall.priority: found 9999"), "{wrong}");
    let wrong = refused("[firewall]\nbackend = \"nftables\"\nprotocols = [\"udp\"]");
    assert!(wrong.contains("firewall.protocols: only used with firewall.ports"), "{wrong}");
    let wrong = refused("[firewall]\nbackend = \"nftables\"\nports = 80\nprotocols = []");
    assert!(wrong.contains("firewall.protocols: at least one is needed"), "{wrong}");
}

#[test]
fn the_reference_names_every_key() {
    let reference = reference();
    assert!(KEYS.iter().all(|key| reference.contains(&format!("| `{}` | {} |", key.path, key.kind))));
    assert_eq!(reference.lines().count(), KEYS.len() + 2);
}

#[test]
fn files_that_are_none_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let none = Overrides::default();
    let path = folder.path().join("p.toml");
    assert!(matches!(Config::load(Some(&path), &none), Err(ConfigError::Read { .. })));
    std::fs::write(&path, b"a = \"\xff\"").unwrap();
    assert!(matches!(Config::load(Some(&path), &none), Err(ConfigError::NotUtf8 { valid_up_to: 5, .. })));
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(Config::load(Some(&path), &none), Err(ConfigError::TooLarge { .. })));
    std::fs::write(&path, "[auth]\nfile = \"clients.json\"").unwrap();
    assert_eq!(Config::load(Some(&path), &none).unwrap().auth.file, Some(folder.path().join("clients.json")));
}

#[test]
fn rule_10_where_other_proxies_ask_services_behind_them_check_secrets() {
    let config = load(
        "[decide]\naddress = [\"127.0.0.1:8090\"]\n[auth]\nlogin_paths = [\"/login\"]\nsuccess_statuses = [303]\n",
    );
    assert_eq!((config.auth.mode, config.auth.id_case), (Mode::Upstream, IdCase::Fold));
    assert!(config.upstream.is_none() && !config.auth.has_no_clients() && config.listen.address.is_empty());
    let (v4, v6) = ("127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap());
    assert_eq!(config.decide.trusted, [v4, v6]);
    assert_eq!((config.decide.max_report, config.decide.id_header), (1 << 20, None));
    assert_eq!(load("").decide.address, []);
}

#[test]
fn who_may_ask_is_neither_everyone_nor_strangers_at_the_gateway() {
    assert_refused(
        "[listen]\naddress = [\"127.0.0.1:8080\"]\n[decide]\naddress = [\"127.0.0.1:8080\"]\ntrusted = [\"10.0.0.0/8\", \"::/0\"]\nid_header = \"X Login\"\n",
        "p.toml:4: decide.address: 127.0.0.1:8080 is where clients connect: strangers would ask, and proxies be answered as \
         strangers\n\
         p.toml:5: decide.trusted: a network of all addresses: anyone could have anyone banned\n\
         p.toml:6: decide.id_header: found \"X Login\", expected the name of a header such as \"X-Login-Id\"",
    );
    for taken in ["Authorization", "x-forwarded-for", "X-Real-IP", "X-Original-URI"] {
        let found = refused(&format!("[decide]\nid_header = \"{taken}\"\n"));
        assert!(found.contains("a header of its own such as \"X-Login-Id\": this one says something else"), "{found}");
    }
    assert!(
        refused("[listen]\naddress = [\"0.0.0.0:80\"]\n[decide]\naddress = [\"127.0.0.1:80\"]\n").contains("p.toml:4")
    );
    load("[listen]\naddress = [\"127.0.0.1:0\"]\n[decide]\naddress = [\"127.0.0.1:0\"]\n");
}
