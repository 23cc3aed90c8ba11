//! What survives restarts, kills, full disks and damaged files, on the real program.
//!
//! `PORTCULLIS_KILLS=200 cargo test -p portcullis-tests --test state -- killed` kills 200 times instead of 20.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portcullis_tests::{Connection, Portcullis, Request, Server, Stopped, eventually, run};
use rusqlite::Connection as Sqlite;

const STATE: &str = "[state]\nstore = \"sqlite:state.sqlite\"\n";
/// Waits that outlast a restart.
const LONG_WAITS: &str = "[policy.wait]\nsettings = { client_login_wait = 600 }\n";
/// How far the file may be behind in all but bans.
const LAG_MAX: Duration = Duration::from_millis(100);

fn kept() -> Portcullis {
    Portcullis::with_config(&format!("{STATE}{LONG_WAITS}")).client("alice:wonderland")
}

fn state_of(server: &Server) -> PathBuf {
    server.folder().join("state.sqlite")
}

/// Lets a source fail so many times, each time as somebody else.
fn fail(server: &Server, source: &str, times: usize) -> Vec<u16> {
    static CALLS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut connection = server.connect();
    let guess = |n: usize| server.get("/").from(source).basic(&format!("{source}-{call}-{n}"), "x");
    (0..times).map(|n| connection.exchange(&guess(n)).status).collect()
}

fn status(server: &Server, source: &str) -> u16 {
    server.get("/").from(source).send().status
}

#[test]
fn a_restart_keeps_bans_waits_counts_and_totals() {
    let server = kept().start();
    assert_eq!(fail(&server, "203.0.113.7", 4), [401; 4]);
    assert_eq!(fail(&server, "203.0.113.8", 5), [401; 5]);
    assert_eq!(server.get("/").from("203.0.113.9").basic("alice", "wrong").send().status, 401);
    assert_eq!(server.get("/.env").from("203.0.113.10").send().status, 404);
    let again = server.again();
    let first = server.stop();
    assert!(first.status.success());
    assert_eq!(first.total("attempts_failed"), 10);

    let server = again.start();
    server.logged("holds 1 bans, 10 waits and 3 kept states");
    let banned = server.get("/").from("203.0.113.8").send();
    assert_eq!(banned.status, 423);
    assert!((3400..=3600).contains(&banned.retry_after()), "{banned:?}");
    let waiting = server.get("/").from("203.0.113.9").basic("alice", "wonderland").send();
    assert_eq!(waiting.status, 429);
    assert!((500..=600).contains(&waiting.retry_after()), "{waiting:?}");
    assert_eq!(fail(&server, "203.0.113.7", 2), [401, 423], "the fifth failure bans");
    assert_eq!(server.stop().total("attempts_failed"), 11, "totals go on");
}

/// What strangers have seen of a server.
#[derive(Default)]
struct Seen {
    /// Sources that were refused with 423.
    banned: BTreeSet<String>,
    /// Sources whose failures were answered: how many, and when the last was.
    failed: BTreeMap<String, (u32, Instant)>,
    failures: u32,
}

/// One of several strangers that come from ever new sources until nobody
/// answers. Every second source fails until it is banned, the others are left
/// with one to four failures.
fn besiege(address: SocketAddr, round: usize, stranger: usize, seen: &Mutex<Seen>) {
    let Ok(mut connection) = Connection::try_open(address) else { return };
    for n in 0..64 * 256 {
        let source = format!("10.{round}.{}.{}", stranger * 64 + n / 256, n % 256);
        let failures = if n % 2 == 0 { 5 } else { 1 + (n / 2) % 4 };
        for failure in 0..failures {
            let guess = Request::new(address, "GET", "/").from(&source).basic(&format!("{source}-{failure}"), "x");
            let Ok(reply) = connection.try_exchange(&guess) else { return };
            assert_eq!(reply.status, 401, "failure {failure} of {source}");
            let mut seen = seen.lock().unwrap();
            let count = seen.failed.get(&source).map_or(0, |(count, _)| *count);
            seen.failed.insert(source.clone(), (count + 1, Instant::now()));
            seen.failures += 1;
        }
        if failures == 5 {
            let Ok(reply) = connection.try_exchange(&Request::new(address, "GET", "/").from(&source)) else { return };
            assert_eq!(reply.status, 423, "{source} is banned");
            seen.lock().unwrap().banned.insert(source);
        }
    }
}

/// Lets strangers besiege a server until `end` has ended it, and says what they saw.
fn siege<T>(server: Server, round: usize, end: impl FnOnce(Server, &Mutex<Seen>) -> T) -> (T, Seen) {
    let seen = Mutex::default();
    let address = server.address();
    let ended = std::thread::scope(|scope| {
        (0..4).for_each(|stranger| {
            drop(scope.spawn({
                let seen = &seen;
                move || besiege(address, round, stranger, seen)
            }))
        });
        end(server, &seen)
    });
    (ended, seen.into_inner().unwrap())
}

/// Sources whose ban stands in the log.
fn logged_bans(stopped: &Stopped) -> BTreeSet<String> {
    let banned = stopped.log.iter().filter(|line| line.contains(" banned. Ban expiry: "));
    banned.map(|line| line.split_once("Visitor (").unwrap().1.split_once(')').unwrap().0.to_owned()).collect()
}

/// The server has said itself that the disk was too slow for its promises.
fn was_slow(stopped: &Stopped) -> bool {
    stopped.log.iter().any(|line| line.contains(" has left before its ban ") || line.contains(" ms behind, where "))
}

/// A number that nobody knows beforehand, below that one.
fn any_below(end: u64) -> u64 {
    RandomState::new().hash_one(0) % end
}

/// A copy of the state as it lies there.
fn copy(state: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("state.sqlite");
    fs::copy(state, &to).unwrap();
    let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    if log(state).exists() {
        fs::copy(log(state), log(&to)).unwrap();
    }
    (folder, to)
}

/// A total as it lies there.
fn total_in(state: &Path, name: &str) -> u64 {
    let (_folder, copy) = copy(state);
    let find = "SELECT number FROM totals WHERE name = ?1";
    let total = Sqlite::open(copy).unwrap().query_row(find, [name], |row| row.get::<_, i64>(0));
    total.unwrap_or_default().try_into().unwrap()
}

/// What is known about a server that is killed again and again.
#[derive(Default)]
struct Kills {
    bans: BTreeSet<String>,
    /// Failed logins that the file holds, and those made since.
    failures: u64,
    made: u64,
    /// Times that the server has said itself that the disk was too slow.
    slow: usize,
}

impl Kills {
    /// Kills it under load, starts it again, and looks at what it still knows.
    fn round(&mut self, round: usize, server: Server) -> Server {
        let (again, state) = (server.again(), state_of(&server));
        let moment = u32::try_from(50 + any_below(1200)).unwrap();
        let ((stopped, killed), seen) = siege(server, round % 256, |server, seen| {
            eventually("enough has happened", || (seen.lock().unwrap().failures >= moment).then_some(()));
            let killed = Instant::now();
            (server.kill(), killed)
        });
        let old = |last: &Instant, lag| killed.saturating_duration_since(*last) > lag;
        let due = |lag| -> u64 {
            seen.failed.values().filter(|(_, last)| old(last, lag)).map(|(count, _)| u64::from(*count)).sum()
        };
        let counted = total_in(&state, "attempts_failed") - self.failures;
        let (least, most) = (self.made + due(LAG_MAX), self.made + u64::from(seen.failures) + 4);
        // The first commit that takes too long is told of when it is over: killed
        // before that, nobody was.
        let stalled = (self.made + due(10 * LAG_MAX)..least).contains(&counted);
        let slow = was_slow(&stopped) || stalled;
        self.slow += usize::from(slow);
        assert!(counted <= most && (counted >= least || slow), "round {round}: {counted}, not {least} to {most}");
        (self.failures, self.made) = (self.failures + counted, 0);

        let server = again.start();
        let seen_bans: BTreeSet<_> = seen.banned.iter().cloned().chain(logged_bans(&stopped)).collect();
        let lost: Vec<_> = seen_bans.iter().filter(|source| status(&server, source) != 423).collect();
        assert!(lost.is_empty() || was_slow(&stopped), "round {round}: {lost:?} of {} bans", seen_bans.len());
        let one = usize::try_from(any_below(self.bans.len().max(1) as u64)).unwrap();
        let one = self.bans.iter().nth(one);
        assert!(one.is_none_or(|source| status(&server, source) == 423), "round {round}: {one:?} of a round before");
        self.bans.extend(seen_bans);

        let left = seen.failed.iter().filter(|(source, (_, last))| old(last, LAG_MAX) && !self.bans.contains(*source));
        let left: Vec<_> = left.map(|(source, (count, _))| (source, usize::try_from(*count).unwrap())).collect();
        for &(source, count) in left.iter().rev().take(30) {
            let waits = server.get("/").from("203.0.113.1").basic(&format!("{source}-0"), "x").send().status;
            let mut statuses = fail(&server, source, 5 - count);
            statuses.push(status(&server, source));
            let all: Vec<u16> = std::iter::repeat_n(401, 5 - count).chain([423]).collect();
            let known = (waits, &statuses) == (429, &all);
            assert!(known || slow, "round {round}: {source} failed {count} times; now {waits} and {statuses:?}");
            self.made += u64::try_from(5 - count).unwrap();
        }
        server
    }
}

#[test]
fn killed_at_any_moment_under_load_it_has_kept_every_ban_that_was_seen_and_all_but_the_last_100_ms() {
    let rounds = std::env::var("PORTCULLIS_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20);
    let mut kills = Kills::default();
    let mut server = kept().start();
    let mut killed = 0;
    // A round on a disk that was too slow proves nothing and is made up for.
    while killed < rounds + kills.slow && killed < 4 * rounds {
        server = kills.round(killed, server);
        killed += 1;
    }
    println!("killed {killed} times, {} of them on a slow disk; {} bans are kept", kills.slow, kills.bans.len());
    assert!(killed - kills.slow >= rounds / 2, "the disk was too slow {} times of {killed}", kills.slow);
    assert!(server.stop().status.success());
}

#[test]
fn told_to_end_under_load_it_loses_nothing() {
    let server = kept().start();
    let (again, folder) = (server.again(), server.folder().to_owned());
    let (stopped, seen) = siege(server, 0, |server, seen| {
        eventually("enough has happened", || (seen.lock().unwrap().failures >= 500).then_some(()));
        server.stop()
    });
    assert!(stopped.status.success());
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!files.iter().any(|file| file.to_string_lossy().contains("-wal")), "in one piece: {files:?}");
    let server = again.start();
    for source in seen.banned.iter().chain(&logged_bans(&stopped)) {
        assert_eq!(status(&server, source), 423, "{source}");
    }
    for (source, (count, _)) in seen.failed.iter().filter(|(_, (count, _))| *count < 4).take(50) {
        let left = 5 - usize::try_from(*count).unwrap();
        assert_eq!(fail(&server, source, left).len(), left);
        assert_eq!(status(&server, source), 423, "{source} had failed {count} times");
    }
    let (before, after) = (stopped.total("attempts_failed"), server.stop().total("attempts_failed"));
    assert!(before >= u64::from(seen.failures) && after >= before, "{before} and {after}");
}

/// What strangers were told of bans was true of a disk that lost power at that
/// moment: what had been written is there, and the log's end is torn.
#[test]
fn a_copy_of_any_moment_with_a_torn_end_opens_and_holds_every_ban_that_was_seen() {
    let server = kept().start();
    let (state, mut copies) = (state_of(&server), Vec::new());
    let (stopped, _) = siege(server, 0, |server, seen| {
        for moment in (1..=8).map(|n| n * 120) {
            eventually("enough has happened", || (seen.lock().unwrap().failures >= moment).then_some(()));
            server.freeze();
            let seen: BTreeSet<_> = seen.lock().unwrap().banned.clone();
            copies.push((copy(&state), seen));
            server.thaw();
        }
        server.stop()
    });
    assert!(stopped.status.success());
    for (n, ((folder, state), seen)) in copies.into_iter().enumerate() {
        let torn: Vec<u8> = (0..any_below(9000)).map(|_| u8::try_from(any_below(256)).unwrap()).collect();
        let log = fs::File::options().append(true).create(true).open(folder.path().join("state.sqlite-wal"));
        log.unwrap().write_all(&torn).unwrap();
        let server = kept().file("state.sqlite", fs::read(&state).unwrap());
        let server = server.file("state.sqlite-wal", fs::read(folder.path().join("state.sqlite-wal")).unwrap()).start();
        let lost: Vec<_> = seen.iter().filter(|source| status(&server, source) != 423).collect();
        assert!(lost.is_empty() || was_slow(&stopped), "copy {n}: {lost:?} of {} bans", seen.len());
        assert!(server.stop().status.success());
    }
}

/// A disk of two megabytes, or a bound on the size of files where there is no
/// such disk to be had.
enum Small {
    Disk(PathBuf),
    Files,
}

impl Small {
    fn disk(at: &Path) -> Self {
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"]).arg(at));
        if mounted.code == Some(0) { Self::Disk(at.to_owned()) } else { Self::Files }
    }

    fn fill(&self, server: &Server) {
        match self {
            Self::Disk(disk) => {
                let mut ballast = fs::File::create(disk.join("ballast")).unwrap();
                while ballast.write_all(&[7; 512]).is_ok() {}
            }
            Self::Files => bound_files(server, "1"),
        }
    }

    fn make_room(&self, server: &Server) {
        match self {
            Self::Disk(disk) => fs::remove_file(disk.join("ballast")).unwrap(),
            Self::Files => bound_files(server, "unlimited"),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Self::Disk(disk) = self {
            let _ended_already = run(Command::new("umount").arg("--lazy").arg(disk));
        }
    }
}

fn bound_files(server: &Server, bytes: &str) {
    let pid = server.id().to_string();
    let ran = run(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

fn on_a_full_disk(small: &Small, at: &Path) {
    let state = at.join("state.sqlite");
    let config = format!("{LONG_WAITS}[state]\nstore = \"sqlite:{}\"\n", state.display());
    let server = Portcullis::with_config(&config).start();
    assert_eq!(fail(&server, "203.0.113.1", 5), [401; 5]);
    small.fill(&server);
    let sources: Vec<_> = (2..60).map(|n| format!("203.0.113.{n}")).collect();
    for source in &sources {
        assert_eq!(fail(&server, source, 6), [401, 401, 401, 401, 401, 423], "in force all the same");
    }
    assert_eq!(fail(&server, "203.0.113.100", 4), [401; 4]);
    let told = server.logged("can't be written");
    assert!(told.contains(&state.display().to_string()) && told.contains(" error "), "{told}");
    server.logged("a reply has left before its ban was on the disk");
    assert_eq!(server.log_with("can't be written (").len(), 1, "told once");

    small.make_room(&server);
    server.logged("is written again");
    // Whatever waited is written with the first that can be.
    assert_eq!(fail(&server, "203.0.113.101", 6), [401, 401, 401, 401, 401, 423]);
    eventually("all of it is on the disk", || {
        let status: serde_json::Value = serde_json::from_str(&server.administration("/v1/status")).unwrap();
        (status["state"]["pending"] == 0).then_some(())
    });
    let again = server.again();
    let killed = server.kill();
    assert!(killed.log.iter().any(|line| line.contains("is written again")));
    let server = again.start();
    for source in sources.iter().map(String::as_str).chain(["203.0.113.1", "203.0.113.101"]) {
        assert_eq!(status(&server, source), 423, "{source}");
    }
    assert_eq!(fail(&server, "203.0.113.100", 2), [401, 423]);
    assert!(server.stop().status.success());
}

#[test]
fn on_a_full_disk_everything_goes_on_in_memory_and_writing_resumes_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    on_a_full_disk(&Small::disk(folder.path()), folder.path());
}

#[test]
fn on_a_disk_that_fails_everything_goes_on_in_memory_and_writing_resumes_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    on_a_full_disk(&Small::Files, folder.path());
}

#[test]
fn a_damaged_file_is_refused_with_what_to_do_and_left_as_it_is() {
    let server = kept().start();
    assert_eq!(fail(&server, "203.0.113.8", 5), [401; 5]);
    let (again, state) = (server.again(), state_of(&server));
    assert!(server.stop().status.success());
    let whole = fs::read(&state).unwrap();
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o600);
    for (damaged, says) in [
        (&whole[..whole.len() - 4096], "is damaged"),
        (&whole[..whole.len() / 2], "is damaged"),
        (&whole[..50], "is damaged"),
        (b"garbage", "isn't a state of Portcullis"),
        (b"", "is empty"),
    ] {
        fs::write(&state, damaged).unwrap();
        let ran = again.fail_to_start();
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        for part in [says, "state.store: ", "state.sqlite: ", "move it aside", "it is left as it is"] {
            assert!(ran.stderr.contains(part), "{part:?}: {}", ran.stderr);
        }
        assert_eq!(fs::read(&state).unwrap(), damaged, "left as it is");
    }
    fs::write(&state, &whole).unwrap();
    let server = again.start();
    assert_eq!(status(&server, "203.0.113.8"), 423);
}

#[test]
fn one_state_is_kept_by_one_process() {
    let server = kept().start();
    let second = server.again().fail_to_start();
    assert_eq!(second.code, Some(2));
    assert!(second.stderr.contains("another process has it"), "{}", second.stderr);
    assert_eq!(fail(&server, "203.0.113.8", 6), [401, 401, 401, 401, 401, 423], "the first doesn't mind");
}

#[test]
fn a_wall_clock_that_was_set_back_ends_no_ban_late_and_none_early() {
    let server = kept().start();
    assert_eq!(fail(&server, "203.0.113.8", 5), [401; 5]);
    assert_eq!(fail(&server, "203.0.113.9", 5), [401; 5]);
    let (again, state) = (server.again(), state_of(&server));
    assert!(server.stop().status.success());
    // As if it had run for 50 minutes more, and the wall clock been set back by as much since.
    let ahead = 50 * 60 * 1000;
    let file = Sqlite::open(&state).unwrap();
    file.execute("UPDATE file SET latest = latest + ?1", [ahead]).unwrap();
    file.execute("UPDATE bans SET until = until - 3000000 WHERE network = '203.0.113.9/32'", []).unwrap();
    drop(file);
    let server = again.start();
    server.logged("before what is kept in the state");
    let banned = server.get("/").from("203.0.113.8").send();
    assert_eq!(banned.status, 423);
    assert!((500..=600).contains(&banned.retry_after()), "ten minutes of the hour are left: {banned:?}");
    assert_ne!(status(&server, "203.0.113.9"), 423, "its time was over before the clock was set back");
}
