//! What the host itself takes: a reload leaves nothing behind, and what a guest
//! only pretends to have is never copied. One test, since both look at the
//! memory of the whole process.

mod common;

use common::{bans, configured, denying, plugin};
use portcullis_domain::Kind;
use portcullis_domain::event::Outcome;
use portcullis_runtime::{Limits, Settings};

const MIB: usize = 1 << 20;

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

    let reload = || assert!(bans(&denying("always-bans").attempt(Outcome::Failure)));
    (0..30).for_each(|_| reload());
    let before = status("VmRSS");
    (0..60).for_each(|_| reload());
    let grown = status("VmRSS").saturating_sub(before);
    assert!(grown < 3 * MIB, "{grown} bytes after 60 reloads");
}
