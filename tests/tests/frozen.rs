//! Components of released versions of the interface load and judge for ever,
//! and the text of a released version is never edited.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_harness::domain::{ClientId, Enforced, Judged, Kind};
use portcullis_harness::runtime::{Mode, RuntimeConfig};
use portcullis_harness::{Login, Plan, PolicyPlan, Reaction, Shelf, Visit, World};
use portcullis_tests::repository;
use sha2::{Digest as _, Sha256};

/// Released versions, with the digest of the list of digests of their files.
/// A line here never changes.
const RELEASED: [(&str, &str); 1] = [("0.1.0", "ac6463f1b3adba002b6f5ba4aeac0bdfea0f66e162a9bf9c05140e0c94a61c83")];

fn folder(version: &str) -> PathBuf {
    repository().join("tests/frozen").join(version)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn nothing_that_was_released_has_changed() {
    let frozen: Vec<_> = fs::read_dir(repository().join("tests/frozen")).unwrap().map(Result::unwrap).collect();
    let folders = frozen.iter().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(folders, RELEASED.len(), "each folder is pinned here");
    for (version, pinned) in RELEASED {
        let sums = fs::read_to_string(folder(version).join("SHA256SUMS")).unwrap();
        assert_eq!(digest(sums.as_bytes()), pinned, "{version}: SHA256SUMS was edited");
        let listed: BTreeMap<_, _> =
            sums.lines().map(|line| line.split_once("  ").unwrap()).map(|(sum, name)| (name, sum)).collect();
        assert_eq!(listed.keys().copied().collect::<Vec<_>>(), ["ban.wasm", "policy.wit", "scanner.wasm", "wait.wasm"]);
        for (name, sum) in listed {
            assert_eq!(digest(&fs::read(folder(version).join(name)).unwrap()), sum, "{version}/{name} was edited");
        }
    }
}

#[test]
fn the_interface_in_use_is_the_released_one_to_the_letter() {
    let current = fs::read_to_string(repository().join("wit/policy.wit")).unwrap();
    let version = current.lines().find_map(|line| line.strip_prefix("package portcullis:policy@")?.strip_suffix(';'));
    let version = version.unwrap();
    if RELEASED.iter().any(|(released, _)| *released == version) {
        let released = fs::read_to_string(folder(version).join("policy.wit")).unwrap();
        assert_eq!(current, released, "{version} is released: what is new needs a new version (plugins/INTERFACE.md)");
    }
}

fn world(version: &str, kind: Kind) -> World {
    let (mut shelf, _) = Shelf::new(&RuntimeConfig::default()).unwrap();
    let plugin = shelf.plugin(&format!("{kind}.wasm"), &folder(version)).unwrap();
    World::open(Plan::default().policy(PolicyPlan::new(kind.name(), kind, plugin)), Mode::Pooled).unwrap()
}

fn ordered(reaction: Reaction) -> Option<(Duration, String)> {
    let Reaction::Judged(Judged { mut orders, denied: false, judged_by: 1, .. }) = reaction else {
        panic!("{reaction:?}");
    };
    let order = orders.pop()?;
    let duration = match order.enforced {
        Enforced::Wait { duration, .. } | Enforced::Ban { duration, .. } => duration,
        Enforced::Spared | Enforced::LogOnly { .. } => panic!("spared"),
    };
    Some((duration, order.reason.text().to_owned()))
}

#[test]
fn components_of_each_released_version_judge_as_on_the_day_of_their_release() {
    let (client, from) = (ClientId::new("abc").unwrap(), "203.0.113.7".parse().unwrap());
    for (version, _) in RELEASED {
        let wait = world(version, Kind::Wait);
        let waits = ordered(wait.login(&Login::failed(&client, from))).map(|(duration, _)| duration);
        assert_eq!(waits, Some(Duration::from_secs(2)), "{version}");

        let ban = world(version, Kind::Ban);
        let bans: Vec<_> = (0..5).map(|_| ordered(ban.login(&Login::failed(&client, from)))).collect();
        let text = "Maximum of 5 login attempts reached.".to_owned();
        assert_eq!(bans, [None, None, None, None, Some((Duration::from_secs(3600), text))], "{version}");

        let scanner = world(version, Kind::Scanner);
        let hits = [0, 1].map(|_| ordered(scanner.request(&Visit::new(from, "/.env", 404))));
        assert!(hits[0].is_none(), "{version}");
        assert_eq!(hits[1].as_ref().map(|(duration, _)| *duration), Some(Duration::from_secs(3600)), "{version}");
    }
}
