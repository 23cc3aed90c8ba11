//! Programs: the one under test, and those that people use beside it.

use std::env;
use std::fs;
use std::io::Write as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

/// What the program is made of: where one of these is newer, it is built anew.
const SOURCES: [&str; 10] = [
    "Cargo.lock",
    "host/domain/src",
    "host/harness/src",
    "host/runtime/src",
    "host/server/src",
    "plugins/bundle",
    "plugins/examples/languages",
    "plugins/sdk",
    "plugins/templates",
    "wit",
];
/// Programs by the Debian package that brings them.
const PACKAGES: [(&str, &str); 16] = [
    ("caddy", "caddy"),
    ("curl", "curl"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("fail2ban-regex", "fail2ban"),
    ("h2load", "nghttp2-client"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nginx", "nginx"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("strip", "binutils"),
    ("taskset", "util-linux"),
    ("testssl", "testssl.sh"),
    ("unshare", "util-linux"),
    ("wrk", "wrk"),
];

/// The repository's folder.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A file of `tests/peers`.
#[must_use]
pub fn peer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// The program under test: what `PORTCULLIS_BIN` names, else the one in the
/// target folder that this test is in, built first if it is missing or old.
///
/// # Panics
/// If it doesn't build.
#[must_use]
pub fn portcullis() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| built("PORTCULLIS_BIN", "portcullis", &SOURCES));
    &PROGRAM
}

/// What a proxy on the same transport costs at least, for benchmarks: what
/// `PORTCULLIS_FLOOR` names, else found or built as [`portcullis`] is.
///
/// # Panics
/// If it doesn't build.
#[must_use]
pub fn floor() -> &'static Path {
    static PROGRAM: LazyLock<PathBuf> =
        LazyLock::new(|| built("PORTCULLIS_FLOOR", "portcullis-floor", &["Cargo.lock", "tests/floor"]));
    &PROGRAM
}

/// What the variable names, else the program of that name (and package), made of those sources.
fn built(variable: &str, name: &str, sources: &[&str]) -> PathBuf {
    if let Some(named) = env::var_os(variable) {
        return named.into();
    }
    let program = folder_of_builds().join(name);
    if is_missing_or_old(&program, sources) {
        build(name);
    }
    assert!(program.exists(), "{} isn't there after a build", program.display());
    program
}

/// Where cargo puts programs: this test is one folder below.
pub(crate) fn folder_of_builds() -> PathBuf {
    env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().to_owned()
}

fn is_missing_or_old(program: &Path, sources: &[&str]) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    let Some(built) = changed(program) else { return true };
    sources.iter().any(|source| newest(&repository().join(source)) > built)
}

fn newest(path: &Path) -> SystemTime {
    let own = fs::metadata(path).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let below = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| newest(&entry.path()));
    below.max().map_or(own, |below| below.max(own))
}

fn build(name: &str) {
    let folder = folder_of_builds();
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap();
    let profile = if profile == "debug" { "dev" } else { profile };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(repository())
        .args(["build", "--package", name, "--bin", name, "--profile", profile, "--target-dir"])
        .arg(folder.parent().unwrap())
        .status()
        .unwrap();
    assert!(built.success(), "{name} doesn't build");
}

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to the standard output.
    pub stdout: String,
    /// What it wrote to the standard error.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Panics
/// If it can't be started.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Whether a program of others is there. If not, the test that asks can only
/// return: it is named in the file that `PORTCULLIS_SKIPPED` names, so that
/// nobody takes it for passed. With `CI=true` nothing may be missing.
///
/// # Panics
/// With `CI=true`, if it is missing.
#[must_use]
#[track_caller]
pub fn require(program: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = env::split_paths(&folders).collect();
    folders.push("/usr/sbin".into());
    if folders.iter().any(|folder| folder.join(program).is_file()) {
        return true;
    }
    let package = PACKAGES.iter().find(|(known, _)| *known == program).map_or(program, |(_, package)| package);
    skip(&format!("{program} is missing (apt-get install {package})"));
    false
}

/// The test that calls it can't be had here and is to return: it is named as skipped, and why.
///
/// # Panics
/// With `CI=true`, where nothing may be skipped.
#[track_caller]
pub fn skip(why: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "{why}");
    let place = Location::caller();
    let thread = std::thread::current();
    let test = match thread.name() {
        Some(name) if name != "main" => name.to_owned(),
        Some(_) | None => format!("{}:{}", place.file(), place.line()),
    };
    println!("SKIPPED: {test}: {why}");
    if let Some(file) = env::var_os("PORTCULLIS_SKIPPED") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}
