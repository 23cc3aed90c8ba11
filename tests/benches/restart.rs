//! How long a server with a large state takes from the start of its process to
//! its first answer.
//!
//! `cargo bench -p portcullis-tests --bench restart [-- MILLIONS [ROUNDS]]`
//!
//! The state holds a million active bans and a million counters of failures (or
//! as many millions as given), written into a file that the program itself has
//! made; the file is in the system's cache, as after a restart of the process.
//! Compiled plugins are cached. Each round ends with a look at bans and counters
//! at random.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken benchmark stops")]

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_tests::{Portcullis, Server, free_port};
use rusqlite::Connection;

const STATE: &str = "[state]\nstore = \"sqlite:state.sqlite\"\n";

fn main() {
    // cargo passes `--bench`; what are numbers is ours.
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<u32>().ok());
    let (millions, rounds) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(9));
    let many = millions * 1_000_000;
    let server = Portcullis::with_config(STATE).start();
    for n in 0..3 {
        assert_eq!(server.get("/").from("203.0.113.1").basic(&format!("id-{n}"), "x").send().status, 401);
    }
    let again = server.again();
    let state = server.folder().join("state.sqlite");
    assert!(server.stop().status.success());
    fill(&state, many);
    println!("{many} bans and {many} counters in {} MiB", fs::metadata(&state).unwrap().len() >> 20);
    let mut took = Vec::new();
    let mut again = again;
    for _ in 0..rounds {
        let port = free_port();
        let began = Instant::now();
        let server = again.on_port(port).start();
        assert_eq!(server.get("/").from("203.0.113.2").send().status, 401);
        took.push(began.elapsed());
        let (cpu, queued) = scheduled(server.id());
        look(&server, many);
        again = server.again();
        let stopped = server.stop();
        let taken = stopped.log.iter().find(|line| line.contains("taken over in")).unwrap();
        let (took, taken) = (took.last().unwrap().as_millis(), taken.rsplit_once(' ').unwrap().0);
        let taken = taken.rsplit_once(' ').unwrap().1;
        println!("{took:>6} ms, the state in {taken} ms of them; CPU {cpu:.0} ms, queued for one {queued:.0} ms");
    }
    took.sort_unstable();
    let ms = |took: &Duration| took.as_secs_f64() * 1000.0;
    let (least, median, most) = (ms(&took[0]), ms(&took[took.len() / 2]), ms(&took[took.len() - 1]));
    println!("from start to first answer: median {median:.0} ms ({least:.0} to {most:.0}), {rounds} rounds");
}

/// Milliseconds that the threads that are there now, and the process's first
/// one, have been on a CPU, and were kept from one by others.
fn scheduled(process: u32) -> (f64, f64) {
    let mut sums = (0.0, 0.0);
    for task in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        let mut nanos = stat.split_whitespace().map(|word| word.parse::<f64>().unwrap() / 1e6);
        sums.0 += nanos.next().unwrap();
        sums.1 += nanos.next().unwrap();
    }
    sums
}

/// Bans of 10.0.0.0/8 and counters of 11.0.0.0/8, the latter as the one that is there.
fn fill(state: &Path, many: u32) {
    let mut file = Connection::open(state).unwrap();
    let filling = file.transaction().unwrap();
    let latest: i64 = filling.query_row("SELECT latest FROM file", [], |row| row.get(0)).unwrap();
    let find = "SELECT kept.format, data FROM kept JOIN formats ON formats.id = kept.format WHERE policy = 'ban'";
    let (format, data): (i64, Vec<u8>) = filling.query_row(find, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut ban = filling
        .prepare("INSERT INTO bans VALUES (?1, ?2, ?3, 'ban', 'max-failed-login', 'Maximum of 5 login attempts reached.', 0)")
        .unwrap();
    let mut keep = filling.prepare("INSERT INTO kept VALUES (?1, ?2, ?3, 9007199254740991, 0)").unwrap();
    for n in 0..many {
        // Ends come in no order of the networks.
        let until = latest + 3_600_000 + i64::from(n.wrapping_mul(2_654_435_761) % 86_400_000);
        ban.execute((format!("{}/32", address(10, n)), latest, until)).unwrap();
        keep.execute((format, format!("source:{}/32", address(11, n)), &data)).unwrap();
    }
    drop((ban, keep));
    filling.commit().unwrap();
}

fn address(first: u32, n: u32) -> String {
    format!("{first}.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)
}

fn look(server: &Server, many: u32) {
    for _ in 0..100 {
        let n = u32::try_from(RandomState::new().hash_one(0) % u64::from(many)).unwrap();
        assert_eq!(server.get("/").from(&address(10, n)).send().status, 423, "ban {n}");
        if n % 7 == 0 {
            let counted = address(11, n);
            for failure in 0..2 {
                let guess = server.get("/").from(&counted).basic(&format!("{counted}-{failure}"), "x");
                assert!(matches!(guess.send().status, 401 | 423), "counter {n}");
            }
            assert_eq!(server.get("/").from(&counted).send().status, 423, "counter {n} and two more failures");
        }
    }
}
