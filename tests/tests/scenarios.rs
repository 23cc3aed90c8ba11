//! What a policy's author sees of `test`; and the bundle over all scenarios.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::{Ran, portcullis, repository, run};
use tempfile::TempDir;

const PASSES: &str = "name = \"one failure passes\"\n[policy.ban]\n[[step]]\nattempt = { client = \"abc\", from = \"203.0.113.7\", outcome = \"failure\" }\nexpect = \"pass\"\n";
const FAILS: &str = "name = \"one failure bans\"\n[policy.ban]\n[[step]]\nnote = \"a \\u001b[2J <b> ]]> \\u0000 &\"\nattempt = { client = \"<x>&\\u001b[31m\", from = \"203.0.113.7\", outcome = \"failure\" }\nexpect = { ban = \"1h\" }\n";
const UNREADABLE: &str = "name = \"x\"\n[[step]]\natempt = 1\n";

fn test(folder: &Path, arguments: &[&str]) -> Ran {
    run(Command::new(portcullis()).current_dir(folder).arg("test").args(arguments))
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn the_bundle_passes_every_scenario() {
    let ran = test(repository(), &["bundle", "tests/scenarios"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("ok: ") && last.contains(" 0 failed; "), "{last}");
}

#[test]
fn the_whole_default_setup_passes_what_names_no_policy() {
    let folder = folder(&[("portcullis.toml", "")]);
    let config = folder.path().join("portcullis.toml");
    let all = repository().join("tests/scenarios/bundle/all.toml");
    let ran = test(folder.path(), &["--config", config.to_str().unwrap(), all.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_scenario_goes_over_the_configuration_under_test() {
    let over = PASSES.replace("[policy.ban]", "[policy.mine]\nsettings = { max_failed_login = 2 }");
    let folder = folder(&[
        (
            "portcullis.toml",
            "[policy.mine]\nkind = \"ban\"\nplugin = \"bundle:ban\"\nsettings = { max_failed_login = 1 }\n",
        ),
        ("as-configured.toml", &FAILS.replace("[policy.ban]", "[policy.mine]")),
        ("over.toml", &over),
    ]);
    let ran = test(folder.path(), &["--config", "portcullis.toml", "as-configured.toml", "over.toml"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = test(folder.path(), &["--config", "nowhere.toml", "over.toml"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let ran = test(folder.path(), &["--config", "portcullis.toml", "bundle:ban", "over.toml"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("either --config or a plugin"), "{ran:?}");
}

#[test]
fn what_fails_is_told_with_its_line_and_without_a_strangers_control_characters() {
    let folder = folder(&[("a/fails.toml", FAILS), ("b/passes.toml", PASSES), ("b/notes.txt", "not a scenario")]);
    let ran = test(folder.path(), &["bundle:ban", "."]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran:?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("FAILED  one failure bans (./a/fails.toml, "), "{ran:?}");
    assert!(lines[1].trim_start().starts_with("./a/fails.toml:3: step 1, at 0s: a login of"), "{ran:?}");
    assert_eq!(lines[2].trim_start(), "event 1: expected a ban of 1h, came a pass, answered 401");
    assert!(ran.stdout.contains("\nok      one failure passes (./b/passes.toml, "), "{ran:?}");
    let last = lines.last().unwrap();
    assert!(
        last.starts_with("FAILED: 1 passed, 1 failed; 2 steps, 2 events in ") && last.ends_with(" a second"),
        "{last}"
    );
    assert!(!ran.stdout.contains(|c: char| c.is_control() && c != '\n'), "{ran:?}");
}

#[test]
fn results_for_machines() {
    let folder = folder(&[("a.toml", FAILS), ("b.toml", PASSES), ("c.toml", UNREADABLE)]);
    let ran = test(folder.path(), &["bundle:ban", "--format", "json", "."]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&json["passed"], &json["summary"]["failed"]), (&false.into(), &1.into()), "{json:#}");
    let statuses: Vec<_> = (0..3).map(|n| json["scenarios"][n]["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["failed", "passed", "unreadable"]);
    let step = &json["scenarios"][0]["steps"][0];
    assert_eq!((&step["line"], &step["problems"][0]["event"]), (&3.into(), &1.into()), "{step:#}");
    let call = &step["event"]["calls"][0];
    assert_eq!((&call["verdict"], &call["keep"], &call["after"]), (&"pass".into(), &"put".into(), &"01000000".into()));
    let mistake = json["scenarios"][2]["mistakes"][0].as_str().unwrap();
    assert_eq!(mistake, "./c.toml:3: step.atempt: there is no such key (did you mean step.attempt?)");

    let ran = test(folder.path(), &["bundle:ban", "."]);
    assert!(ran.stdout.contains(&format!("\nUNREADABLE  ./c.toml\n        {mistake}\n")), "{ran:?}");
    assert_eq!(ran.stderr, format!("portcullis: {mistake}\n"));

    let ran = test(folder.path(), &["bundle:ban", "--format", "junit", "--output", "report.xml", "."]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assert_eq!(ran.stderr, format!("portcullis: {mistake}\n"));
    let xml = fs::read_to_string(folder.path().join("report.xml")).unwrap();
    for part in [
        "tests=\"3\"",
        "failures=\"1\" ",
        "errors=\"1\"",
        "name=\"one failure bans\" classname=\"./a.toml\"",
        "expected a ban of 1h, came a pass",
        "&lt;b&gt; ]]&gt;",
        "&lt;x&gt;&amp;",
        "step.atempt: there is no such key",
    ] {
        assert!(xml.contains(part), "{part} isn't in {xml}");
    }
    assert!(!xml.contains("<b>") && !xml.contains(|c: char| c.is_control() && c != '\n'), "{xml}");
}

#[test]
fn scenarios_beside_the_plugin_or_here_are_found_by_themselves() {
    let plugin = repository().join("plugins/bundle/ban.wasm");
    let folder =
        folder(&[("plugin/scenarios/deep/down/a.toml", PASSES), ("here/scenarios/b.toml", FAILS), ("empty/x.md", "")]);
    let here = |name: &str| folder.path().join(name);
    fs::copy(plugin, here("plugin/ban.wasm")).unwrap();
    let ran = test(&here("empty"), &["../plugin/ban.wasm"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("deep/down/a.toml"), "{ran:?}");
    let ran = test(&here("here"), &["bundle:ban"]);
    assert!(ran.code == Some(1) && ran.stdout.contains("(scenarios/b.toml"), "{ran:?}");
    let ran = test(&here("empty"), &["bundle:ban"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("no scenarios: name files or folders"), "{ran:?}");
    let ran = test(&here("empty"), &["bundle:ban", "."]);
    assert!(ran.code == Some(2) && ran.stderr.contains(".: there is no .toml file below it"), "{ran:?}");
    let ran = test(&here("empty"), &["bundle:ban", "nowhere"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("nowhere: "), "{ran:?}");
    let ran = test(&here("here"), &["nowhere.wasm"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("nowhere.wasm: "), "{ran:?}");
    let ran = test(&here("here"), &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn some_of_them_and_more_about_them() {
    let folder = folder(&[("a.toml", FAILS), ("b.toml", PASSES)]);
    let ran = test(folder.path(), &["bundle:ban", "--filter", "failure passes", "--verbose", "."]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stdout
            .contains("step 1, at 0s: a login of \"abc\" from 203.0.113.7 fails; came in all: checked 1, passed 1"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("kept after:  01 00 00 00 |....| (put)") && !ran.stdout.contains("a.toml"), "{ran:?}");
    let ran = test(folder.path(), &["bundle:ban", "--filter", "a.toml", "."]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let ran = test(folder.path(), &["bundle:ban", "--filter", "zebra", "."]);
    assert!(ran.code == Some(2) && ran.stderr.contains("no scenario of 2 has \"zebra\" in its name"), "{ran:?}");
}

#[test]
fn a_policy_with_hidden_state_fails_with_the_step_named() {
    let text = PASSES.replace("expect = \"pass\"", "repeat = 4");
    let folder = folder(&[("a.toml", &text)]);
    let plugin = repository().join("plugins/examples/bundle/hidden-state.wasm");
    let ran = test(folder.path(), &[plugin.to_str().unwrap(), "a.toml"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let said = "a.toml:3: step 1, event 3: policy ban has hidden state: for source 203.0.113.7/32 a fresh instance answers differently";
    assert!(ran.stdout.contains(said), "{ran:?}");
}

#[test]
fn a_plugin_that_never_ran_has_passed_nothing() {
    let wait =
        PASSES.replace("[policy.ban]", "[policy.wait]").replace("expect = \"pass\"", "expect = { wait = \"2s\" }");
    let folder = folder(&[("ban.toml", PASSES), ("wait.toml", &wait)]);
    let ran = test(folder.path(), &["bundle:wait", "ban.toml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assert!(
        ran.stderr.contains("bundle:wait: it is in no policy of any scenario, and so never ran: it judges as wait"),
        "{ran:?}"
    );
    // One is enough; the others are told.
    let ran = test(folder.path(), &["bundle:wait", "."]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].contains("(./ban.toml") && lines[2].contains("(./wait.toml") && lines[3].is_empty(), "{ran:?}");
    assert_eq!(lines[1].trim_start(), "the plugin under test is in none of its policies");
    let ran = test(folder.path(), &["bundle", "ban.toml"]);
    assert!(ran.code == Some(0) && !ran.stdout.contains("under test"), "{ran:?}");
    // Named by the scenario, or once it is swapped in.
    let named = PASSES.replace("[policy.ban]", "[policy.ban]\nplugin = \"own.wasm\"");
    let swapped = format!(
        "{}[[step]]\nswap = {{ policy = \"ban\", plugin = \"own.wasm\" }}\n",
        PASSES.replace("[policy.ban]", "[policy.ban]\nplugin = \"bundle:ban\"")
    );
    for text in [named, swapped] {
        fs::copy(repository().join("plugins/examples/bundle/hidden-state.wasm"), folder.path().join("own.wasm"))
            .unwrap();
        fs::write(folder.path().join("own.toml"), text).unwrap();
        let ran = test(folder.path(), &["own.wasm", "own.toml"]);
        assert!(ran.code == Some(0) && !ran.stdout.contains("under test"), "{ran:?}");
    }
}

#[test]
fn a_file_that_is_filtered_out_is_not_in_the_way_and_none_counts_twice() {
    let folder = folder(&[("a.toml", PASSES), ("broken.toml", UNREADABLE), ("sub/other.toml", "name = \"zebra\"\n[[")]);
    let ran = test(folder.path(), &["bundle:ban", "--filter", "failure passes", "."]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    // What is asked for and can't be read is told, by its file's name or by its own.
    for filter in ["broken", "zebra"] {
        let ran = test(folder.path(), &["bundle:ban", "--filter", filter, "."]);
        assert!(ran.code == Some(2) && ran.stdout.contains("UNREADABLE  ./"), "{ran:?}");
        assert!(ran.stdout.contains(" 0 passed, 0 failed, 1 unreadable"), "{ran:?}");
    }
    std::os::unix::fs::symlink("a.toml", folder.path().join("link.toml")).unwrap();
    let ran = test(folder.path(), &["bundle:ban", "a.toml", "./a.toml", "sub/../a.toml", "link.toml"]);
    assert!(ran.code == Some(0) && ran.stdout.contains("ok: 1 passed, 0 failed; 1 steps"), "{ran:?}");
}

#[test]
fn only_files_are_taken_from_a_folder() {
    let folder = folder(&[("a.toml", PASSES)]);
    let made = run(Command::new("mkfifo").arg(folder.path().join("pipe.toml")));
    assert_eq!(made.code, Some(0), "{made:?}");
    // Whoever opened it would wait for ever.
    let mut limited = Command::new("timeout");
    limited.current_dir(folder.path()).arg("60").arg(portcullis()).args(["test", "bundle:ban", "."]);
    let ran = run(&mut limited);
    assert!(ran.code == Some(0) && ran.stdout.contains("ok: 1 passed"), "{ran:?}");
}

#[test]
fn a_name_that_is_no_plugins_is_told_with_what_was_meant() {
    let named = PASSES.replace("[policy.ban]", "[policy.ban]\nplugin = \"bundle:bam\"");
    let folder = folder(&[("a.toml", PASSES), ("named.toml", &named)]);
    let three = "bundle:bam: there is neither such a file nor such a plugin in the bundle, which has bundle:wait, bundle:ban and bundle:scanner";
    for arguments in [&["bundle:bam", "a.toml"][..], &["bundle", "named.toml"]] {
        let ran = test(folder.path(), arguments);
        assert!(ran.code == Some(2) && ran.stderr.contains(three), "{ran:?}");
    }
    let ran = run(Command::new(portcullis()).current_dir(folder.path()).args(["inspect", "bundle:bam"]));
    assert!(ran.code != Some(0) && ran.stderr.contains("bundle:wait, bundle:ban and bundle:scanner"), "{ran:?}");
    for forgotten in ["a.toml", "."] {
        let ran = test(folder.path(), &[forgotten]);
        assert!(
            ran.code == Some(2)
                && ran.stderr.contains(&format!("comes before the scenarios: portcullis test PLUGIN.wasm {forgotten}")),
            "{ran:?}"
        );
    }
}
