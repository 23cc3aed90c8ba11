//! How long the program takes from the start of its process to its first answer,
//! with the three default policies: their plugins compiled before, and not.
//!
//! `cargo bench -p portcullis-tests --bench start [-- --quick] [ROUNDS]`
//!
//! Nothing is kept from before but what was compiled; how long a large state takes
//! is what `--bench restart` measures. The program is in the system's cache.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken benchmark stops")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_tests::{DEADLINE, Spread, free_port, portcullis, report_goal};

const ROUNDS: usize = 21;
const ROUNDS_QUICK: usize = 7;
/// Between two tries to connect: short beside what is measured.
const RETRY: Duration = Duration::from_micros(200);

/// Dropped, it is killed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    // cargo passes `--bench`.
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(if quick { ROUNDS_QUICK } else { ROUNDS });
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("portcullis.toml");
    fs::write(&config, "[plugins]\ncache = \"cache\"\n[admin]\nsocket = \"admin.sock\"\n").unwrap();
    let cache = folder.path().join("cache");
    first_answer(&config);
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        warm.push(first_answer(&config));
        fs::remove_dir_all(&cache).unwrap();
        cold.push(first_answer(&config));
    }
    println!("| {rounds} rounds | ms from start to first answer |\n| --- | --- |");
    for (name, goal, took) in [("compiled cache warm", "start-warm", warm), ("cold", "start-cold", cold)] {
        let found = Spread::of(took.iter().map(|took| took.as_secs_f64() * 1000.0));
        println!("| {name} | {} |", found.show(1));
        report_goal(goal, found);
    }
}

fn first_answer(config: &Path) -> Duration {
    let port = free_port();
    let mut command = Command::new(portcullis());
    command.arg("serve").arg("--config").arg(config).arg("--listen").arg(format!("127.0.0.1:{port}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let _running = Running(command.spawn().unwrap());
    let mut connection = loop {
        if let Ok(connection) = TcpStream::connect(("127.0.0.1", port)) {
            break connection;
        }
        assert!(began.elapsed() < DEADLINE, "it doesn't listen");
        std::thread::sleep(RETRY);
    };
    connection.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let took = began.elapsed();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    took
}
