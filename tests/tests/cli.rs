//! What an operator sees of `check` and `inspect`, and what all commands have in common.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use portcullis_guests::component;
use portcullis_tests::{Portcullis, Ran, portcullis, repository, run};

fn inspect(arguments: &[&str]) -> Ran {
    run(Command::new(portcullis()).arg("inspect").args(arguments))
}

#[test]
fn check_reports_every_mistake_with_its_line_and_the_nearest_key() {
    let config = "[listen]\nadress = [\"127.0.0.1:0\"]\nworkers = \"many\"\n[auth]\nmode = \"fil\"\n\
                  [policy.ban]\nsettings = { max_failed_logins = 3 }\non_failure = \"bundel\"\n[gate]\nmax_wait = \"1 parsec\"\n";
    let checked = Portcullis::with_config(config).check();
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(checked.stdout.is_empty());
    let said: Vec<_> = checked.stderr.lines().collect();
    let says = |line: usize, parts: &[&str]| {
        let place = format!("portcullis.toml:{line}: ");
        let found = said.iter().any(|said| said.contains(&place) && parts.iter().all(|part| said.contains(part)));
        assert!(found, "nothing about line {line} with {parts:?} in {said:#?}");
    };
    says(2, &["listen.adress", "did you mean listen.address?"]);
    says(3, &["listen.workers", "many"]);
    says(5, &["auth.mode", "did you mean", "file"]);
    says(8, &["policy.ban.on_failure", "did you mean", "bundle"]);
    says(10, &["gate.max_wait", "1 parsec"]);
}

#[test]
fn check_reports_what_the_plugins_think_of_their_settings() {
    let config = "[policy.ban]\nsettings = { max_failed_logins = 3 }\n[policy.wait]\nsettings = { client_login_wait = \"soon\" }\n";
    let checked = Portcullis::with_config(config).check();
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(
        checked.stderr.contains("portcullis.toml:2: ") && checked.stderr.contains("max_failed_login?"),
        "{checked:?}"
    );
    assert!(
        checked.stderr.contains("portcullis.toml:4: ") && checked.stderr.contains("client_login_wait"),
        "{checked:?}"
    );
}

#[test]
fn check_says_what_would_run() {
    let config = "[upstream]\nurl = \"http://127.0.0.1:3000\"\n[policy.ban]\nsettings = { max_failed_login = 7 }\n";
    let checked = Portcullis::with_config(config).check();
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
    for part in [
        "127.0.0.1:8080",
        "127.0.0.1:3000",
        "by the upstream",
        "policy wait ",
        "policy scanner ",
        "ban 0.1.0",
        "max_failed_login = 7",
    ] {
        assert!(checked.stdout.contains(part), "{part} isn't in {}", checked.stdout);
    }
    let sample = repository().join("host/server/portcullis.sample.toml");
    let checked = run(Command::new(portcullis()).arg("check").arg("--config").arg(sample));
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn a_server_with_a_wrong_configuration_does_not_come_up() {
    let failed = Portcullis::with_config("[listen]\nport = 8080\n").fail_to_start();
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.stderr.contains("portcullis.toml:2: listen.port: there is no such key"), "{failed:?}");
    let failed = Portcullis::with_config("[auth]\nfile = \"nowhere.json\"\n").fail_to_start();
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.stderr.contains("nowhere.json"), "{failed:?}");
    let failed = Portcullis::new().client("no-password").fail_to_start();
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.stderr.contains("--client"), "{failed:?}");
}

#[test]
fn inspect_shows_what_a_plugin_is() {
    let shown = inspect(&["bundle:ban"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{shown:?}");
    for part in ["name ", "ban", "max_failed_login", "= 5", "portcullis:policy/log@0.1.0", "sha256"] {
        assert!(shown.stdout.contains(part), "{part} isn't in {}", shown.stdout);
    }
}

#[test]
fn inspect_shows_json_for_machines() {
    for (plugin, kind) in [("bundle:wait", "wait"), ("bundle:ban", "ban"), ("bundle:scanner", "scanner")] {
        let shown = inspect(&[plugin, "--json"]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let json: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!((json["name"].as_str(), json["kinds"][0].as_str()), (Some(kind), Some(kind)));
        assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
        assert!(json["size_bytes"].as_u64().unwrap() <= 32 << 10);
        assert!(!json["settings"].as_array().unwrap().is_empty());
    }
}

#[test]
fn what_there_isnt_is_wrong_usage() {
    assert_eq!(inspect(&[]).code, Some(2));
    assert_eq!(run(Command::new(portcullis()).arg("conjure")).code, Some(2));
}

/// A policy as a compiler for C leaves it: a module, with the interface's types in a section of its own.
fn module_of_a_policy() -> Vec<u8> {
    let object = fs::read(repository().join("plugins/templates/c/bindings/ban_policy_component_type.o")).unwrap();
    let name = b"\x19component-type:ban-policy";
    let at = object.windows(name.len()).position(|bytes| bytes == name).unwrap();
    // Before its name a section has 0 and its length, here one of two bytes.
    let length = usize::from(object[at - 2] & 0x7f) | usize::from(object[at - 1]) << 7;
    assert_eq!(object[at - 3], 0);
    [component("core-module"), object[at - 3..at + length].to_vec()].concat()
}

/// Each command that says something, with arguments with which it succeeds.
fn talkative(folder: &Path) -> Vec<Vec<String>> {
    let module = folder.join("module.wasm");
    fs::write(&module, module_of_a_policy()).unwrap();
    let (module, output) = (module.display().to_string(), folder.join("plugin.wasm").display().to_string());
    let commands: [&[&str]; 6] = [
        &["check"],
        &["inspect", "bundle:ban"],
        &["inspect", "bundle:ban", "--json"],
        &["component", &module, "-o", &output],
        &["bench", "bundle:ban", "--rounds", "1", "--calls", "100"],
        &["bench", "bundle:ban", "--rounds", "1", "--calls", "100", "--json"],
    ];
    commands.iter().map(|command| command.iter().map(|word| (*word).to_owned()).collect()).collect()
}

#[test]
fn a_disk_that_is_full_is_said_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    for command in talkative(folder.path()) {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(portcullis()).args(&command).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("portcullis: ") && said.contains("No space left on device"), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{command:?}: {said}");
    }
}

#[test]
fn whoever_stops_reading_has_seen_enough() {
    let folder = tempfile::tempdir().unwrap();
    for command in talkative(folder.path()) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(portcullis()).args(&command).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {said}");
    }
}

fn bench(arguments: &[&str]) -> Ran {
    run(Command::new(portcullis()).args(["bench", "--rounds", "1", "--calls", "100"]).args(arguments))
}

#[test]
fn bench_takes_only_settings_that_a_plugin_has_and_each_once() {
    let measured = bench(&["bundle:ban", "bundle:wait", "--set", "max_failed_login=3", "--set", "client_login_wait=1"]);
    assert_eq!(measured.code, Some(0), "{measured:?}");
    for (given, said) in [
        (
            &["max_failed_logins=3"][..],
            "--set max_failed_logins: no plugin here has this setting (did you mean max_failed_login?)",
        ),
        (&["findtime=3"], "--set findtime: no plugin here has this setting\n"),
        (&["max_failed_login=3", "'max_failed_login'=4"], "--set max_failed_login: it is given more than once"),
        (&["max_failed_login"], "expected NAME=VALUE"),
    ] {
        let set: Vec<_> = given.iter().flat_map(|given| ["--set", given]).collect();
        let refused = bench(&[&["bundle:ban"], &set[..]].concat());
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{given:?}: {refused:?}");
        assert!(refused.stderr.contains(said), "{given:?}: {refused:?}");
    }
}

#[test]
fn a_plugin_that_cant_be_had_is_wrong_usage_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("random.wasm"), component("random-bytes")).unwrap();
    fs::write(at("one.toml"), "name = \"one\"\n[[step]]\n").unwrap();
    fs::write(at("log"), "").unwrap();
    for (plugin, why) in [("nowhere.wasm", "No such file"), ("random.wasm", "not WebAssembly")] {
        let plugin = at(plugin);
        let (scenario, log) = (at("one.toml"), at("log"));
        let commands: [&[&str]; 4] = [
            &["inspect", &plugin],
            &["bench", &plugin],
            &["test", &plugin, &scenario],
            &["replay", "--plugin", &plugin, &log],
        ];
        for command in commands {
            let refused = run(Command::new(portcullis()).args(command));
            assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{command:?}: {refused:?}");
            let said = refused.stderr.contains(&format!("{plugin}: ")) && refused.stderr.contains(why);
            assert!(said, "{command:?}: {refused:?}");
        }
    }
}

#[test]
fn the_help_of_a_command_says_more_than_the_list_of_commands() {
    let help = |arguments: &[&str]| run(Command::new(portcullis()).args(arguments)).stdout;
    let list = help(&["--help"]);
    for (command, part) in [
        ("test", "fresh ones: a policy that answers differently has hidden state"),
        ("replay", "plain, gzip or zstd. Time is that of the log."),
        ("bench", "the same made-up events in turns"),
    ] {
        let long = help(&[command, "--help"]);
        // Wrapped for the terminal.
        let words = long.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(part) && words.contains("Exit codes: 0 "), "{part} isn't in {long}");
        assert!(!list.contains(part), "{list}");
    }
}

/// Every command, as the help lists them.
fn commands() -> Vec<String> {
    let help = run(Command::new(portcullis()).arg("--help")).stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    let names: Vec<_> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.len() > 8 && names.contains(&"serve".to_owned()), "{names:?}");
    names
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(Command::new(portcullis()).args(["completions", shell]));
        assert_eq!((script.code, script.stderr.as_str()), (Some(0), ""), "{shell}");
        for command in commands() {
            assert!(script.stdout.contains(&command), "{shell} doesn't know {command}");
        }
    }
    let script = run(Command::new(portcullis()).args(["completions", "bash"])).stdout;
    let mut asked = Command::new("bash");
    let words =
        "COMP_WORDS=(portcullis comp); COMP_CWORD=1; _portcullis portcullis comp portcullis; echo ${COMPREPLY[@]}";
    let completed = run(asked.args(["--norc", "-c", &format!("{script}\n{words}")]));
    assert_eq!(completed.stdout.split_whitespace().collect::<Vec<_>>(), ["component", "completions"], "{completed:?}");
    assert_eq!(run(Command::new(portcullis()).args(["completions", "dos"])).code, Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let written = run(Command::new(portcullis()).arg("man").arg(&pages));
    assert_eq!((written.code, written.stderr.as_str()), (Some(0), ""));
    let first = fs::read_to_string(pages.join("portcullis.1")).unwrap();
    for command in commands() {
        let page = fs::read_to_string(pages.join(format!("portcullis-{command}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{page}");
        assert!(first.contains(&format!("portcullis\\-{}", command.replace('-', "\\-"))), "{command} isn't in {first}");
    }
    assert_eq!(run(Command::new(portcullis()).arg("man")).stdout, first);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(run(Command::new(portcullis()).arg("man").arg(&file)).code, Some(1));
}
