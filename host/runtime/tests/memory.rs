//! What the host itself takes: a reload leaves nothing behind, and what a guest
//! only pretends to have is never copied. One test, since both look at the
//! memory of the whole process.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up fails")]

mod common;

use common::{bans, configured, plugin, policy};
use portcullis_domain::Kind;
use portcullis_domain::event::Outcome;
use portcullis_runtime::{Limits, OnFailure, Runtime, RuntimeConfig, Settings};

const MIB: usize = 1 << 20;
/// Reloads after which the allocator and the pool of instances have what they need.
const WARM_UP: usize = 300;
/// Enough that what each leaves behind is told from an allocator's whims.
const RELOADS: usize = 10 * WARM_UP;
/// Bytes for each reload: less than any part of a plugin takes.
const GROWTH_MAX: usize = 1 << 10;

/// A field of `/proc/self/status`, in bytes.
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    let kib: usize = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap_or_default();
    kib * 1024
}

#[test]
fn the_host_takes_no_more_than_it_needs() {
    let aliased = plugin("aliased-list");
    drop(configured("always-bans"));
    let before = status("VmHWM");
    assert!(before > MIB, "this test needs /proc");
    for _ in 0..10 {
        assert!(aliased.configure(Kind::Ban, &Settings::new(), &Limits::default()).is_err());
    }
    let grown = status("VmHWM").saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes for a list of 62 MiB");

    let grown = grown_by_reloads();
    assert!(grown < RELOADS * GROWTH_MAX, "{grown} bytes after {RELOADS} reloads");
}

/// Loads a plugin again and again as a change of its file would, from the cache of
/// compiled code, lets it judge and drops it.
fn grown_by_reloads() -> usize {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let (runtime, notices) = Runtime::new(&RuntimeConfig { cache: Some(cache), ..RuntimeConfig::default() }).unwrap();
    assert_eq!(notices, []);
    let component = portcullis_guests::component("always-bans");
    let reload = || {
        let plugin = runtime.load(&component, "always-bans").unwrap();
        let configured = plugin.configure(Kind::Ban, &Settings::new(), &Limits::default()).unwrap();
        assert!(bans(&policy(configured, OnFailure::Deny).attempt(Outcome::Failure)));
    };
    (0..WARM_UP).for_each(|_| reload());
    let before = status("VmRSS");
    (0..RELOADS).for_each(|_| reload());
    status("VmRSS").saturating_sub(before)
}
