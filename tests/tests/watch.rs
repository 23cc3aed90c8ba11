//! Watched logs, on the real program: an unchanged writer of logs on one side,
//! bans on the other, and each line counted once whatever happens between.
//!
//! `PORTCULLIS_SOAK=60 cargo test --release -p portcullis-tests --test watch -- rotated` rotates and kills for a
//! minute under 50,000 lines a second instead of for five seconds under 5,000.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use portcullis_tests::{Portcullis, Ran, Server, eventually, portcullis, rportd_time, run};
use rusqlite::Connection as Sqlite;
use serde_json::Value;

const STATE: &str = "[state]\nstore = \"sqlite:state.sqlite\"\n";
const WATCH: &str = "[[watch]]\npath = \"rportd.log\"\nformat = \"rportd\"\ntime_zone = \"UTC\"\n";

fn watching(more: &str) -> Portcullis {
    Portcullis::with_config(&format!("{STATE}{WATCH}{more}")).only_watching()
}

/// A line of this moment.
fn rportd_line(rest: &str) -> String {
    format!("{} {rest}", rportd_time(SystemTime::now()))
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// As rportd writes it.
fn write(server: &Server, rest: &str) {
    writeln!(append(&server.folder().join("rportd.log")), "{}", rportd_line(rest)).unwrap();
}

fn scan(server: &Server, source: &str) {
    write(server, &format!("info: client-listener: GET /.env 404 21µs ({source})"));
}

fn fail(server: &Server, source: &str) {
    write(
        server,
        &format!(
            "info: client-listener: Failed login attempt for client auth id \"x\", forcing to wait for 2s ({source})"
        ),
    );
}

fn ask(server: &Server, arguments: &[&str]) -> Ran {
    run(Command::new(portcullis()).args(arguments).arg("--socket").arg(server.admin_socket()))
}

fn banned(server: &Server, source: &str) -> bool {
    let page: Value = serde_json::from_str(&ask(server, &["bans", "--json"]).stdout).unwrap();
    page.to_string().contains(&format!("\"{source}/"))
}

/// The only watch, as the administration tells of it.
fn watch(server: &Server) -> Value {
    status(server)["watches"][0].clone()
}

fn status(server: &Server) -> Value {
    serde_json::from_str(&server.administration("/v1/status")).unwrap()
}

/// Waits until so many lines have been read.
#[track_caller]
fn read(server: &Server, lines: u64) {
    eventually(&format!("{lines} lines are read"), || (watch(server)["lines"].as_u64() >= Some(lines)).then_some(()));
}

/// Waits until the log is open, so that what is written from now on is read.
#[track_caller]
fn opened(server: &Server) {
    eventually("the log is followed", || (watch(server)["sources"] == 1).then_some(()));
}

#[test]
fn two_404s_or_five_failed_logins_in_an_unchanged_log_ban_and_are_explained_by_line() {
    let server = watching("").start();
    opened(&server);
    scan(&server, "203.0.113.7");
    write(&server, "info: api-listener: GET /api/v1/status 200 1ms 20B (203.0.113.8)");
    scan(&server, "203.0.113.7");
    eventually("the scanner is banned", || banned(&server, "203.0.113.7").then_some(()));
    (0..4).for_each(|_| fail(&server, "203.0.113.9"));
    read(&server, 7);
    assert!(!banned(&server, "203.0.113.9"));
    fail(&server, "203.0.113.9");
    eventually("the guesser is banned", || banned(&server, "203.0.113.9").then_some(()));
    assert!(!banned(&server, "203.0.113.8"));

    let explained = ask(&server, &["explain", "203.0.113.9"]).stdout;
    for line in [4, 5, 6, 7, 8] {
        let place = format!("rportd.log:{line}");
        let named = explained.contains(&place) || explained.contains(&format!("rportd.log, line {line}"));
        assert!(named, "line {line}: {explained}");
    }
    server.logged("Maximum of 5 login attempts reached. Visitor (203.0.113.9) banned.");
    let status = ask(&server, &["status"]).stdout;
    assert!(status.contains("nowhere") && status.contains("rportd.log (rportd): 8 lines, 8 events"), "{status}");
    assert!(ask(&server, &["unban", "203.0.113.9"]).code == Some(0) && !banned(&server, "203.0.113.9"));
    let metrics = server.administration("/metrics");
    for line in [
        "portcullis_watch_lines_total{watch=\"rportd\",kind=\"event\"} 8",
        "portcullis_watch_events_total{watch=\"rportd\",what=\"failed-login\"} 5",
        "portcullis_watch_behind_bytes{watch=\"rportd\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(server.stop().status.success());
}

#[test]
fn a_restart_and_a_kill_count_each_line_once() {
    let mut server = watching("").start();
    opened(&server);
    (0..2).for_each(|_| fail(&server, "203.0.113.7"));
    read(&server, 2);
    for killed in [false, true] {
        let again = server.again();
        if killed {
            // What is not on the disk yet is read again.
            drop(server.kill());
        } else {
            assert!(server.stop().status.success());
        }
        let log = again_folder(&again);
        writeln!(append(&log), "{}", rportd_line("info: client-listener: Failed login attempt for client auth id \"x\", forcing to wait for 2s (203.0.113.7)")).unwrap();
        server = again.start();
        eventually("what was written meanwhile is read", || {
            (watch(&server)["behind_bytes"] == 0 && watch(&server)["lines"].as_u64() >= Some(1)).then_some(())
        });
        assert!(!banned(&server, "203.0.113.7"));
    }
    fail(&server, "203.0.113.7");
    eventually("the fifth failure bans", || banned(&server, "203.0.113.7").then_some(()));
    assert_eq!(server.stop().total("attempts_failed"), 5);
}

fn again_folder(again: &Portcullis) -> PathBuf {
    again.path().join("rportd.log")
}

#[test]
fn lines_that_are_too_old_or_ahead_of_the_clock_are_told_of_and_not_judged() {
    let server = watching("").start();
    opened(&server);
    let mut log = append(&server.folder().join("rportd.log"));
    for _ in 0..5 {
        writeln!(log, "2021/04/16 10:22:26 info: client-listener: GET /.env 404 21µs (203.0.113.7)").unwrap();
        writeln!(log, "2099/04/16 10:22:26 info: client-listener: GET /.env 404 21µs (203.0.113.8)").unwrap();
        writeln!(log, "no line of rportd's").unwrap();
    }
    read(&server, 15);
    let watch = watch(&server);
    assert_eq!((&watch["late"], &watch["ahead"], &watch["unknown"]), (&5.into(), &5.into(), &5.into()));
    assert!(!banned(&server, "203.0.113.7") && !banned(&server, "203.0.113.8"));
    server.logged_times(2, "isn't judged");
    assert_eq!(server.stop().log.iter().filter(|line| line.contains("isn't judged")).count(), 2, "each is told once");
}

#[test]
fn watches_are_added_altered_and_removed_without_a_restart_and_keep_their_places() {
    let server = watching("").start();
    opened(&server);
    scan(&server, "203.0.113.7");
    read(&server, 1);
    let other = "[[watch]]\nname = \"web\"\npath = \"access.log\"\nformat = \"common\"\n";
    server.configure(&format!("{STATE}{}{other}", WATCH.replace("time_zone", "max_lateness = \"2h\"\ntime_zone")));
    server.swapped(1);
    eventually("both run", || server.administration("/v1/status").contains("\"web\"").then_some(()));
    scan(&server, "203.0.113.7");
    eventually("it goes on where it was", || banned(&server, "203.0.113.7").then_some(()));
    eventually("it counts anew", || (watch(&server)["lines"] == 1).then_some(()));

    server.configure(&format!("{STATE}{other}"));
    server.swapped(2);
    eventually("one is gone", || (watch(&server)["name"] == "web").then_some(()));
    scan(&server, "203.0.113.8");
    scan(&server, "203.0.113.8");
    server.configure(&format!("{STATE}{WATCH}"));
    server.swapped(3);
    eventually("what came meanwhile is read", || banned(&server, "203.0.113.8").then_some(()));
    assert_eq!(watch(&server)["lines"], 2);
}

#[test]
fn the_output_of_a_command_is_read_and_the_command_started_again_and_ended_with_us() {
    let script = "echo $$ >> pids; exec tail -n 0 -F feed.log";
    let config = format!(
        "{STATE}[[watch]]\nformat = \"sshd\"\ncommand = [\"sh\", \"-c\", {:?}]\n",
        format!("cd \"$WHERE\" && touch feed.log && {script}")
    );
    let server = Portcullis::with_config(&config).only_watching();
    let folder = server.path().to_owned();
    let server = server.environment("WHERE", &folder.display().to_string()).start();
    let pids =
        || fs::read_to_string(folder.join("pids")).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let started = |times: usize| {
        eventually("the command runs", || {
            let pids = pids();
            let command = || fs::read_to_string(format!("/proc/{}/cmdline", pids.last()?)).ok();
            (pids.len() == times && command().is_some_and(|command| command.starts_with("tail")))
                .then(|| pids.last().unwrap().clone())
        })
    };
    let first = started(1);
    let mut feed = append(&folder.join("feed.log"));
    // Until it has opened the file nothing is heard of what is written into it.
    eventually("lines are read", || {
        writeln!(feed, "Server listening on 0.0.0.0 port 22.").unwrap();
        (watch(&server)["lines"].as_u64() > Some(0)).then_some(())
    });
    for port in 0..5 {
        writeln!(feed, "Failed password for invalid user x from 203.0.113.7 port {port} ssh2").unwrap();
    }
    eventually("five failures ban", || banned(&server, "203.0.113.7").then_some(()));
    assert_eq!(run(Command::new("kill").args(["-9", &first])).code, Some(0));
    let second = started(2);
    assert!(server.logged("the command has ended").contains("it is started again in 1 s"));
    let is_there = |pid: &str| {
        Path::new("/proc").join(pid).join("cmdline").metadata().is_ok()
            && fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    };
    assert!(is_there(&second));
    drop(server.kill());
    eventually("the command ends with the server", || (!is_there(&second)).then_some(()));
}

#[test]
fn check_tells_what_is_wrong_with_a_watch() {
    let check = |config: &str| {
        let ran = Portcullis::with_config(config).check();
        format!("{}{}", ran.stdout, ran.stderr)
    };
    let said = check("[[watch]]\npath = \"/proc/nothing.log\"\nformat = \"rportd\"\n");
    assert!(said.contains("listens on     nothing") && said.contains("/proc/nothing.log isn't there yet"), "{said}");
    let said = check("[[watch]]\npath = \"/proc\"\nformat = \"rportd\"\n");
    assert!(said.contains("/proc can't be read by this user"), "{said}");
    let said = check("[[watch]]\ncommand = [\"journalctl\", \"-f\"]\nformat = \"sshd\"\n");
    assert!(said.contains("--lines=0"), "{said}");
    let said = check(
        "[[watch]]\npath = \"/x\"\nformat = \"rprtd\"\n[[watch]]\nformat = \"sshd\"\n[[watch]]\npath = \"/x\"\ncommand = [\"x\"]\nformat = \"regex\"\n[[watch]]\npath = \"/x[\"\nformat = \"regex\"\nregex = \"(\"\ntime_zone = \"Mars\"\n",
    );
    for part in [
        "did you mean \"rportd\"?",
        "watch.path: missing",
        "either path or command",
        "watch.regex: missing",
        "watch.time_zone",
        "watch.path: found",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = check("[listen]\naddress = []\n");
    assert!(said.contains("at least one address"), "{said}");
}

/// Who failed how often.
type Failures = BTreeMap<String, u64>;

/// Writes lines and rotates them until told to stop: what was written.
fn write_and_rotate(folder: &Path, lines_per_second: usize, over: &AtomicBool) -> (Failures, u64) {
    const KEPT: u32 = 40;
    let path = folder.join("rportd.log");
    let numbered = |number: u32| folder.join(format!("rportd.log.{number}"));
    let (mut failures, mut lines, mut log) = (Failures::new(), 0_u64, append(&path));
    let (began, mut rotated, mut rotations) = (Instant::now(), Instant::now(), 0_u32);
    let pause = Duration::from_millis(10);
    while !over.load(Ordering::Relaxed) {
        let stamp = rportd_line("");
        let mut text = String::new();
        for _ in 0..lines_per_second / 100 {
            lines += 1;
            if lines % 10 > 0 {
                text.push_str(&format!(
                    "{stamp}info: api-listener: GET /api/v1/clients/{lines} 200 3ms 500B (198.51.100.4)\n"
                ));
                continue;
            }
            let source = format!("10.7.{}.{}", lines / 10 % 4, lines / 40 % 128);
            text.push_str(&format!(
                "{stamp}info: client-listener: Failed login attempt for client auth id \"{lines}\", forcing to wait for 2s ({source})\n"
            ));
            *failures.entry(source).or_default() += 1;
        }
        log.write_all(text.as_bytes()).unwrap();
        if rotated.elapsed() >= Duration::from_secs(1) {
            rotated = Instant::now();
            rotations += 1;
            let _no_so_many_yet = fs::remove_file(numbered(KEPT));
            for number in (1..KEPT).rev() {
                let _not_so_many_yet = fs::rename(numbered(number), numbered(number + 1));
            }
            if rotations % 2 == 0 {
                fs::rename(&path, numbered(1)).unwrap();
                log = append(&path);
            } else {
                fs::copy(&path, numbered(1)).unwrap();
                log.set_len(0).unwrap();
            }
        }
        let due = pause * u32::try_from(lines * 100 / lines_per_second as u64).unwrap() / 100 * 100;
        std::thread::park_timeout(due.saturating_sub(began.elapsed()).min(pause));
    }
    (failures, lines)
}

/// What the ban policy has counted, as it is in the state's file.
fn counted(state: &Path) -> Failures {
    let connection = Sqlite::open(state).unwrap();
    let mut kept = connection
        .prepare("SELECT subject, data FROM kept JOIN formats ON formats.id = kept.format WHERE policy = 'ban'")
        .unwrap();
    let rows = kept.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    let one = |(subject, data): (String, Vec<u8>)| {
        let source = subject.trim_start_matches("source:").trim_end_matches("/32").to_owned();
        (source, u64::from(u32::from_le_bytes(data.try_into().unwrap())))
    };
    rows.map(Result::unwrap).map(one).collect()
}

#[test]
fn a_log_rotated_both_ways_every_second_under_load_with_kills_in_between_counts_every_offence_once() {
    let soak: Option<u64> = std::env::var("PORTCULLIS_SOAK").ok().and_then(|seconds| seconds.parse().ok());
    let (seconds, lines_per_second) = soak.map_or((5, 5_000), |seconds| (seconds, 50_000));
    let quiet = "[log]\nlevel = \"warn\"\n[policy.wait]\nenabled = false\n[policy.scanner]\nenabled = false\n\
                 [policy.ban]\nsettings = { max_failed_login = 1000000000 }\n";
    let server = watching(&quiet.replace("[log]", "begin = \"beginning\"\n[log]")).start();
    let folder_kept = server.again();
    let folder = server.folder().to_owned();
    let over = AtomicBool::new(false);
    let (written, kills) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write_and_rotate(&folder, lines_per_second, &over));
        let (began, mut kills, mut server) = (Instant::now(), 0_u32, server);
        while began.elapsed() < Duration::from_secs(seconds) {
            // Not in step with the rotations.
            let until = Instant::now() + Duration::from_millis(400 + u64::from(kills * 137 % 900));
            eventually("it is time to kill", || (Instant::now() >= until).then_some(()));
            let again = server.again();
            drop(server.kill());
            kills += 1;
            server = again.start();
        }
        over.store(true, Ordering::Relaxed);
        let (written, lines) = writing.join().unwrap();
        eventually("all is read", || {
            let watch = watch(&server);
            // How far it is behind it knows as of its last look.
            let read = status(&server)["totals"]["watched_lines"].as_u64().unwrap();
            (watch["sources"] == 1 && read >= lines).then_some(())
        });
        let stopped = server.stop();
        assert_eq!(stopped.log.iter().filter(|line| line.contains("isn't to be found")).count(), 0);
        println!("{lines} lines, {kills} kills");
        ((written, lines), kills)
    });
    let ((failures, lines), state) = (written, folder.join("state.sqlite"));
    let wrong: Vec<_> = {
        let counted = counted(&state);
        failures
            .iter()
            .filter(|(source, count)| counted.get(*source) != Some(count))
            .map(|(source, count)| (source.clone(), *count, counted.get(source).copied()))
            .collect()
    };
    assert!(
        wrong.is_empty(),
        "after {kills} kills {} of {} sources: {:?}",
        wrong.len(),
        failures.len(),
        &wrong[..wrong.len().min(9)]
    );
    let total = |name: &str| -> u64 {
        let find = "SELECT number FROM totals WHERE name = ?1";
        Sqlite::open(&state).unwrap().query_row(find, [name], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
    };
    assert_eq!((total("watched_lines"), total("attempts_failed")), (lines, failures.values().sum()));
    drop(folder_kept);
}
