//! `portcullis check`: would this configuration run, and what would it do?

use std::fmt::Write as _;
use std::sync::Arc;

use portcullis_domain::PolicyMode;
use portcullis_runtime::{Runtime, RuntimeConfig, Silent};

use super::{CheckArgs, Failed, harness};
use crate::auth::ProcessKey;
use crate::config::{self, Config, Mode, Overrides, SettingValue, Watched, printable};
use crate::firewall::Firewall;
use crate::http::Tunnels;
use crate::setup::{PreparedDoor, Setup, Workshop, workers};
use crate::watch;

pub(super) fn check(args: &CheckArgs) -> Result<(), Failed> {
    let config = Config::load(args.config.as_deref(), &Overrides::default())?;
    // Where the server keeps none, the user's own: what is tried again and again isn't compiled each time.
    let cache = config.plugins.cache.clone().or_else(harness::cache_folder);
    config.policies.iter().for_each(|policy| harness::tell_if_large(&policy.plugin));
    let runtime_config = RuntimeConfig { cache, ..RuntimeConfig::default() };
    let (runtime, notices) = Runtime::new(&runtime_config).map_err(anyhow::Error::from)?;
    let key = ProcessKey::generate().map_err(anyhow::Error::from)?;
    let (workers, tunnels) = (workers(&config), Tunnels::default());
    let workshop = Workshop { runtime, reporter: Arc::new(Silent), key, workers, tunnels };
    let name = args.config.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let setup = Setup::prepare(config, &name, &workshop, None)?;
    let problems = setup.config.watches.iter().flat_map(|watch| watch::problems(&watch.watched));
    for warning in notices.iter().map(ToString::to_string).chain(setup.warnings.iter().cloned()).chain(problems) {
        eprintln!("portcullis: warning: {}", printable(&warning));
    }
    if setup.config.firewall.is_some()
        && let Err(error) = Firewall::probe()
    {
        // Whoever checks needn't be whom the server runs as.
        eprintln!("portcullis: warning: as the user that checks, the server wouldn't start: {error}");
    }
    super::print(&summary(&setup))
}

fn summary(setup: &Setup) -> String {
    let config = &setup.config;
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14} {}", printable(&value));
    };
    let addresses: Vec<_> = config.listen.address.iter().map(ToString::to_string).collect();
    if !addresses.is_empty() {
        row("listens on", addresses.join(", "));
    }
    for PreparedDoor { addresses, door } in &setup.doors {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        row("listens on", format!("{}, {door}", addresses.join(", ")));
        for certificate in door.tls.iter().flat_map(|tls| tls.certificates()) {
            let (file, names) = (certificate.file().display(), certificate.names().join(", "));
            row("", format!("{file} for {names} until {}", certificate.not_after()));
        }
    }
    if config.listens_nowhere() {
        row("listens on", "nothing".to_owned());
    }
    for watch in &config.watches {
        let what = match &watch.watched {
            Watched::Logs(paths) => paths.join(", "),
            Watched::Command(command) => format!("the output of {}", command.join(" ")),
        };
        row(&format!("watch {}", watch.name), format!("{what}, as {}", watch.format.name()));
    }
    row("upstream", config.upstream.as_ref().map_or("none: answers by itself".to_owned(), |up| up.url.authority()));
    let secrets = match (config.auth.mode, &config.auth.file) {
        (Mode::Upstream, _) => "checked by the upstream".to_owned(),
        (Mode::File, Some(file)) => format!("checked by {}", file.display()),
        (Mode::File, None) => "checked against no file".to_owned(),
    };
    row("secrets", secrets);
    if let Some(firewall) = &config.firewall {
        row("firewall", kept_out(firewall));
    }
    for policy in &setup.policies {
        let plugin = policy.judge.primary().plugin();
        let description = plugin.description();
        let mode = match policy.config.mode {
            PolicyMode::Enforce => "",
            PolicyMode::Shadow => ", in shadow: nothing is enforced",
        };
        let (name, version, kind) = (&description.name, &description.version, policy.config.kind);
        row(
            &format!("policy {}", policy.config.name),
            format!("{name} {version} from {}, as {kind}{mode}", plugin.origin()),
        );
        for setting in &policy.config.settings {
            row("", format!("{} = {}", setting.name, shown(&setting.value)));
        }
    }
    text
}

/// From what banned sources are kept out.
fn kept_out(firewall: &config::Firewall) -> String {
    let ports: Vec<_> = firewall.ports.iter().map(u16::to_string).collect();
    let protocols: Vec<_> = firewall.protocols.iter().map(|protocol| protocol.name()).collect();
    if ports.is_empty() {
        return "nftables: all packets of banned sources".to_owned();
    }
    format!("nftables: packets of banned sources to {} port {}", protocols.join(" and "), ports.join(", "))
}

/// Nearly as it stands in the file.
fn shown(value: &SettingValue) -> String {
    match value {
        SettingValue::Boolean(boolean) => boolean.to_string(),
        SettingValue::Integer(integer) => integer.to_string(),
        SettingValue::Number(number) => number.to_string(),
        SettingValue::Text(text) => format!("{text:?}"),
        SettingValue::Integers(integers) => format!("{integers:?}"),
        SettingValue::Numbers(numbers) => format!("{numbers:?}"),
        SettingValue::Texts(texts) => format!("{texts:?}"),
        SettingValue::Json(json) => json.clone(),
    }
}
