use std::fs;
use std::path::Path;

use portcullis_domain::PolicyMode;
use portcullis_harness::Failing;
use portcullis_runtime::{Plugin, RuntimeConfig, Silent};

use super::*;
use crate::config::Overrides;

const OWN_BAN: &str = "[policy.ban]\nplugin = \"own.wasm\"\n";

fn workshop(workers: usize) -> Workshop {
    let (runtime, _) = Runtime::new(&RuntimeConfig::default()).unwrap();
    let key = ProcessKey::generate().unwrap();
    Workshop { runtime, reporter: Arc::new(Silent), key, workers, tunnels: Tunnels::default() }
}

fn prepare(text: &str, folder: &Path, workshop: &Workshop, before: Option<&Setup>) -> Result<Setup, SetupError> {
    let config = Config::parse(text, "p.toml", folder, &Overrides::default()).unwrap();
    Setup::prepare(config, "p.toml", workshop, before)
}

fn put(folder: &Path, guest: &str) {
    fs::write(folder.join("own.wasm"), portcullis_guests::component(guest)).unwrap();
}

fn policy<'s>(setup: &'s Setup, name: &str) -> &'s LoadedPolicy {
    setup.policies.iter().find(|policy| policy.config.name == name).unwrap()
}

fn plugin<'s>(setup: &'s Setup, name: &str) -> &'s Arc<Plugin> {
    policy(setup, name).judge.primary().plugin()
}

#[test]
fn what_has_not_changed_is_taken_over_and_nothing_is_compiled_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, workshop) = (folder.path(), workshop(1));
    put(folder, "always-bans");
    let first = prepare(OWN_BAN, folder, &workshop, None).unwrap();
    put(folder, "always-bans");
    let same = prepare(OWN_BAN, folder, &workshop, Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&policy(&first, "ban").judge, &policy(&same, "ban").judge));

    let other_limits =
        prepare(&format!("{OWN_BAN}limits.deadline = \"30ms\"\n"), folder, &workshop, Some(&same)).unwrap();
    assert!(!Arc::ptr_eq(&policy(&same, "ban").judge, &policy(&other_limits, "ban").judge));
    assert!(Arc::ptr_eq(plugin(&same, "ban"), plugin(&other_limits, "ban")));
    assert!(Arc::ptr_eq(&policy(&same, "wait").judge, &policy(&other_limits, "wait").judge));

    // Another policy of the same file, and the file under another policy's name.
    let also = "[policy.also]\nkind = \"ban\"\nplugin = \"own.wasm\"\n";
    let two = prepare(&format!("{OWN_BAN}{also}"), folder, &workshop, Some(&other_limits)).unwrap();
    assert!(Arc::ptr_eq(plugin(&other_limits, "ban"), plugin(&two, "ban")));
    assert!(Arc::ptr_eq(plugin(&two, "ban"), plugin(&two, "also")));
    let moved = prepare(also, folder, &workshop, Some(&other_limits)).unwrap();
    assert!(Arc::ptr_eq(plugin(&other_limits, "ban"), plugin(&moved, "also")));
}

#[test]
fn rule_21_the_bundle_is_known_by_what_it_is_and_asked_about_at_every_load() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, workshop) = (folder.path(), workshop(1));
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/bundle/ban.wasm");
    fs::copy(bundled, folder.join("own.wasm")).unwrap();
    let also = format!("{OWN_BAN}[policy.also]\nkind = \"ban\"\nplugin = \"other.wasm\"\n");
    fs::write(folder.join("other.wasm"), portcullis_guests::component("traps-always")).unwrap();
    let first = prepare(&also, folder, &workshop, None).unwrap();
    assert!(matches!(policy(&first, "ban").on_failure, Failing::Deny));
    assert!(matches!(policy(&first, "also").on_failure, Failing::BundleRunsAlready));
    // Nothing about `also` itself has changed.
    put(folder, "always-bans");
    let second = prepare(&also, folder, &workshop, Some(&first)).unwrap();
    assert!(matches!(policy(&second, "ban").on_failure, Failing::Bundle { .. }));
    assert!(matches!(policy(&second, "also").on_failure, Failing::Bundle { .. }));
    assert!(!Arc::ptr_eq(&policy(&first, "also").judge, &policy(&second, "also").judge));
}

#[test]
fn rule_32_a_policy_in_shadow_doesnt_count_as_running_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, workshop) = (folder.path(), workshop(1));
    put(folder, "traps-always");
    let both =
        |mode: &str| format!("[policy.ban]\nmode = \"{mode}\"\n[policy.own]\nkind = \"ban\"\nplugin = \"own.wasm\"\n");
    let enforced = prepare(&both("enforce"), folder, &workshop, None).unwrap();
    assert!(matches!(policy(&enforced, "own").on_failure, Failing::BundleRunsAlready));
    let in_shadow = prepare(&both("shadow"), folder, &workshop, Some(&enforced)).unwrap();
    assert!(matches!(policy(&in_shadow, "own").on_failure, Failing::Bundle { .. }));
    // The other way around, too: what enforces steps in for what is tried.
    let tried = both("enforce").replace("plugin", "mode = \"shadow\"\nplugin");
    let tried = prepare(&tried, folder, &workshop, Some(&enforced)).unwrap();
    assert!(matches!(policy(&tried, "own").on_failure, Failing::BundleRunsAlready));
}

#[test]
fn rule_32_a_plan_for_virtual_time_has_the_mode() {
    let (runtime, _) = Runtime::new(&RuntimeConfig::default()).unwrap();
    let config =
        Config::parse("[policy.ban]\nmode = \"shadow\"\n", "p.toml", Path::new(""), &Overrides::default()).unwrap();
    let plan = plan(&config, "p.toml", &runtime).unwrap();
    let modes: Vec<_> = plan.policies.iter().map(|policy| (policy.name.as_str(), policy.mode)).collect();
    let (enforce, shadow) = (PolicyMode::Enforce, PolicyMode::Shadow);
    assert_eq!(modes, [("wait", enforce), ("ban", shadow), ("scanner", enforce)]);
    let world = portcullis_harness::World::open(plan, portcullis_runtime::Mode::Pooled).unwrap();
    let (id, from) = (portcullis_domain::ClientId::new("abc").unwrap(), "203.0.113.7".parse().unwrap());
    for _ in 0..5 {
        world.login(&portcullis_harness::Login::failed(&id, from));
        world.advance(std::time::Duration::from_secs(3));
    }
    assert!(world.gate().admit(world.source(from)).is_ok(), "nothing is enforced");
}

#[test]
fn other_bytes_are_another_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, workshop) = (folder.path(), workshop(1));
    put(folder, "always-bans");
    let first = prepare(OWN_BAN, folder, &workshop, None).unwrap();
    put(folder, "counts-failures");
    let second = prepare(OWN_BAN, folder, &workshop, Some(&first)).unwrap();
    assert_ne!(plugin(&first, "ban").digest(), plugin(&second, "ban").digest());
    put(folder, "truncated");
    assert!(matches!(prepare(OWN_BAN, folder, &workshop, Some(&second)), Err(SetupError::Policies(_))));
}

#[test]
fn rule_28_a_plugins_words_are_kept_apart_from_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, workshop) = (folder.path(), workshop(1));
    let told = |guest: &str| {
        put(folder, guest);
        match prepare(OWN_BAN, folder, &workshop, None) {
            Err(SetupError::Policies(mistakes)) => mistakes.told(),
            _ => panic!("{guest} is taken"),
        }
    };
    let refused = told("refuses-settings");
    assert_eq!(refused[0].ours, "p.toml: policy.ban.settings", "a name that the plugin chose isn't the operator's");
    assert_eq!(refused[0].plugins.as_deref(), Some("wait: too short"));
    assert!(told("imports-sockets")[0].plugins.as_ref().is_some_and(|why| why.contains("wasi:sockets")));
    let [cut_short] = &told("truncated")[..] else { panic!("more than one mistake") };
    assert!(cut_short.ours.contains("own.wasm: cut short after") && cut_short.plugins.is_none(), "{cut_short:?}");
}

#[test]
fn the_upstream_is_kept_unless_something_about_it_changes() {
    let workshop = workshop(4);
    let folder = Path::new("");
    let upstream = "[upstream]\nurl = \"http://127.0.0.1:3000\"\nmax_connections = 100\n";
    let prepare = |text: &str, before: Option<&Setup>| prepare(&format!("{upstream}{text}"), folder, &workshop, before);
    let same = |one: &Setup, other: &Setup| match (&one.upstream, &other.upstream) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => panic!("there is one"),
    };
    let first = prepare("", None).unwrap();
    let other = "[listen]\nworkers = 9\nidle_timeout = \"9s\"\nmax_header_bytes = \"9KiB\"\n[gate]\nmax_wait = \"9m\"";
    assert!(same(&first, &prepare(other, Some(&first)).unwrap()));
    let slower = prepare("response_timeout = \"9s\"\n[listen]\nworkers = 9\n", Some(&first)).unwrap();
    assert!(!same(&first, &slower));
    // The workers that run share its connections, not those of the next start.
    assert_eq!(http_options(&slower.config, workshop.workers).upstream_connections, 25);
}

#[test]
fn many_workers_share_handshakes_but_each_has_room_for_some() {
    for (text, workers, of_a_worker, of_a_source) in [
        ("", 2, 512, 32),
        ("", 64, 128, 16),
        ("max_handshakes = 100\nmax_handshakes_per_source = 3", 64, 100, 3),
        ("max_handshakes = 100000\nmax_handshakes_per_source = 6400", 64, 1563, 100),
    ] {
        let text = format!("[listen]\n{text}\n");
        let config = Config::parse(&text, "p.toml", Path::new(""), &Overrides::default()).unwrap();
        let options = http_options(&config, workers);
        assert_eq!((options.handshakes, options.handshakes_of_a_source), (of_a_worker, of_a_source), "{text}");
    }
}
