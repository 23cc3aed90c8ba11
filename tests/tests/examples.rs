//! Every example policy that is checked in passes its own scenarios.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::process::Command;

use portcullis_tests::{portcullis, repository, run};

/// Folders that are no policy of Rust, or one that is there to fail.
const OTHERS: [&str; 3] = ["bundle", "hidden-state", "languages"];

fn examples() -> Vec<String> {
    let folders = fs::read_dir(repository().join("plugins/examples")).unwrap().map(Result::unwrap);
    let folders = folders.filter(|entry| entry.path().is_dir());
    let names = folders.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !OTHERS.contains(&name.as_str())).collect();
    names.sort_unstable();
    names
}

#[test]
fn each_passes_its_own_scenarios() {
    let examples = examples();
    assert!(examples.len() >= 9, "{examples:?}");
    for name in examples {
        let (plugin, scenarios) =
            (format!("plugins/examples/bundle/{name}.wasm"), format!("plugins/examples/{name}/scenarios"));
        let files = fs::read_dir(repository().join(&scenarios)).unwrap().count();
        assert!(files >= 2, "{name} has {files} scenarios");
        let ran = run(Command::new(portcullis()).current_dir(repository()).args(["test", &plugin, &scenarios]));
        assert_eq!(ran.code, Some(0), "{name}: {}{}", ran.stdout, ran.stderr);
        let last = ran.stdout.lines().last().unwrap();
        assert!(last.starts_with(&format!("ok: {files} passed, 0 failed; ")), "{name}: {last}");
    }
}

#[test]
fn a_guest_that_counts_in_a_static_is_found_out_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "name = \"five failures ban\"\n[policy.ban]\n\
        [[step]]\nattempt = { client = \"abc\", from = \"203.0.113.7\", outcome = \"failure\" }\n\
        [[step]]\nattempt = { client = \"abc\", from = \"203.0.113.7\", outcome = \"failure\" }\nrepeat = 5\n";
    let file = folder.path().join("count.toml");
    fs::write(&file, scenario).unwrap();
    let plugin = repository().join("plugins/examples/bundle/hidden-state.wasm");
    let ran = run(Command::new(portcullis()).arg("test").arg(plugin).arg(&file));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("hidden state") && ran.stdout.contains("step 2"), "{}", ran.stdout);
}
