//! The repository's own order: which crate may know which, a test for every
//! rule and every guest, and nothing of anyone's machine in it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::{repository, run};

/// What git tracks or would, by path from the repository's folder.
fn files() -> Vec<String> {
    let mut git = Command::new("git");
    git.current_dir(repository()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let ran = run(&mut git);
    if ran.code != Some(0) {
        // An unpacked archive: everything but what builds leave behind.
        return walk(repository()).into_iter().filter(|file| !file.starts_with("target")).collect();
    }
    ran.stdout.lines().filter(|file| repository().join(file).is_file()).map(str::to_owned).collect()
}

fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_name() == "target" || entry.file_name() == ".git" {
            continue;
        }
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

fn read(file: &str) -> String {
    String::from_utf8_lossy(&fs::read(repository().join(file)).unwrap()).into_owned()
}

fn sources() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|file| file.ends_with(".rs")).map(|file| (file.clone(), read(&file)))
}

/// The packages of the workspace: their folders, and the names that they depend
/// on, for tests and builds (`dev`) or for themselves.
struct Package {
    folder: String,
    own: BTreeSet<String>,
    dev: BTreeSet<String>,
}

fn packages() -> BTreeMap<String, Package> {
    let manifests = files().into_iter().filter(|file| file.ends_with("/Cargo.toml"));
    let names = |table: Option<&toml::Value>| {
        table.and_then(toml::Value::as_table).map(|table| table.keys().cloned().collect()).unwrap_or_default()
    };
    manifests
        .filter_map(|file| {
            let manifest: toml::Table = read(&file).parse().unwrap();
            let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
            let mut own: BTreeSet<String> = names(manifest.get("dependencies"));
            own.extend(names(manifest.get("build-dependencies")));
            let dev = names(manifest.get("dev-dependencies"));
            let folder = file.strip_suffix("/Cargo.toml").unwrap().to_owned();
            Some((name, Package { folder, own, dev }))
        })
        .collect()
}

#[test]
fn crates_know_only_those_below_them() {
    let packages = packages();
    let hosts = ["portcullis-domain", "portcullis-runtime", "portcullis-harness", "portcullis"];
    for (rank, name) in hosts.iter().enumerate() {
        let Some(package) = packages.get(*name) else { continue };
        for above in &hosts[rank..] {
            assert!(!package.own.contains(*above), "{name} depends on {above}");
        }
        let foreign = |other: &&String| other.starts_with("portcullis-") && !hosts.contains(&other.as_str());
        let foreign: Vec<_> = package.own.iter().filter(foreign).collect();
        assert!(foreign.is_empty(), "{name} depends on {foreign:?}: host and plugins share nothing but wit/");
    }
    for (name, package) in packages.iter().filter(|(_, package)| package.folder.starts_with("plugins/")) {
        for host in hosts {
            assert!(!package.own.contains(host), "{name} depends on {host}: host and plugins share nothing but wit/");
        }
    }
    assert!(packages.contains_key("portcullis-domain") && packages.contains_key("portcullis-sdk"));
}

#[test]
fn only_the_runtime_names_wasmtime() {
    for (name, package) in packages() {
        let named = package.own.iter().chain(&package.dev).any(|other| other.starts_with("wasmtime"));
        assert!(!named || name == "portcullis-runtime", "{name} depends on wasmtime");
    }
    let elsewhere = |file: &str| !file.starts_with("host/runtime/") && file != "tests/tests/structure.rs";
    for (file, text) in sources().filter(|(file, _)| elsewhere(file)) {
        let named = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("wasmtime::"));
        assert!(!named, "{file} names wasmtime");
    }
}

#[test]
fn the_domain_knows_no_files_sockets_or_runtimes() {
    let known = &packages()["portcullis-domain"].own;
    for stranger in ["tokio", "hyper", "hyper-util", "http", "wasmtime", "notify", "rustix", "socket2", "tracing"] {
        assert!(!known.contains(stranger), "the domain depends on {stranger}");
    }
    let banned = [
        "tokio::",
        "hyper::",
        "wasmtime::",
        "std::fs",
        "std::process",
        "std::env",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "SystemTime",
        "Instant::now",
    ];
    for (file, text) in sources().filter(|(file, _)| file.starts_with("host/domain/src/")) {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in banned {
                assert!(!line.contains(word), "{file}:{}: {word}", number + 1);
            }
        }
    }
}

#[test]
fn unsafe_is_where_it_has_to_be_and_nowhere_else() {
    // Loading compiled code; and what guests' glue has to be.
    let allowed = |file: &str| {
        file == "host/runtime/src/cache.rs" || file.starts_with("plugins/sdk/") || file == "tests/tests/structure.rs"
    };
    for (file, text) in sources().filter(|(file, _)| !allowed(file)) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(words.into_iter().all(|word| word != "unsafe"), "{file}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn every_rule_is_named_by_a_test() {
    let rules = read("host/domain/RULES.md");
    let numbers: BTreeSet<u32> = rules.lines().filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect();
    assert!(numbers.len() >= 31 && numbers.iter().copied().eq(1..=numbers.len().try_into().unwrap()), "{numbers:?}");
    let mut tested = BTreeSet::new();
    for (_, text) in sources() {
        for name in text.split("fn rule_").skip(1) {
            tested.extend(name.split('_').next().and_then(|number| number.parse::<u32>().ok()));
        }
    }
    let untested: Vec<_> = numbers.difference(&tested).collect();
    assert!(untested.is_empty(), "no test named rule_N_… for {untested:?}");
    let unknown: Vec<_> = tested.difference(&numbers).collect();
    assert!(unknown.is_empty(), "tests of rules that there aren't: {unknown:?}");
}

#[test]
fn every_guest_that_misbehaves_meets_the_real_server() {
    let tests: String = sources().filter(|(file, _)| file.starts_with("tests/tests/")).map(|(_, text)| text).collect();
    for guest in portcullis_guests::names() {
        assert!(tests.contains(&format!("\"{guest}\"")), "no test of the guest {guest}");
    }
}

#[test]
fn nothing_of_anyones_machine_is_in_the_files() {
    // Put together, so that this file doesn't hold them.
    let folders: Vec<String> = ["home", "root", "work", "Users"].iter().map(|folder| format!("/{folder}/")).collect();
    // One of a word or two, as `/src`, can be anything.
    let own = repository();
    let own = Some(own.to_str().unwrap().to_owned()).filter(|_| own.components().count() > 2);
    for file in files() {
        let bytes = fs::read(repository().join(&file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let holds_own = own.as_ref().is_some_and(|own| text.contains(own));
        assert!(!holds_own, "{file} holds this repository's own path");
        for folder in &folders {
            for (place, _) in text.match_indices(folder.as_str()) {
                // A path of a URL or a longer one's middle is nobody's folder.
                let before = text[..place].chars().next_back();
                let absolute = before.is_none_or(|c| c.is_whitespace() || "\"'`=(:,<\0".contains(c));
                assert!(!absolute, "{file} holds {:?}", text[place..].chars().take(40).collect::<String>());
            }
        }
    }
}

#[test]
fn the_top_level_holds_what_belongs_there() {
    let allowed = [
        ".cargo",
        ".ci",
        ".gitignore",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "clippy.toml",
        "deny.toml",
        "host",
        "plugins",
        "rustfmt.toml",
        "tests",
        "wit",
    ];
    for file in files() {
        let top = file.split('/').next().unwrap();
        assert!(allowed.contains(&top) || top.starts_with("LICENSE-"), "{file} at the top level");
    }
}
