//! What the policies cost: the gateway with all three on against the same
//! gateway with all of them off, in turns within one run.
//!
//! `cargo bench -p portcullis-tests --bench policies [-- ROUNDS]`
//!
//! The server under test is alone on CPU 0 with one worker; wrk and nginx, the
//! service behind, are on CPU 1. wrk keeps 64 connections busy for 2 s after a
//! warm-up of 1 s. CPU time is the server's own, from the kernel's scheduler.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken benchmark stops")]

use std::fs;
use std::process::Command;

use portcullis_tests::{Nginx, Portcullis, Server, peer, require};

const ROUNDS: usize = 9;
const SOURCE: &str = "[source]\ntrusted_proxies = [\"127.0.0.1\"]\n[listen]\nworkers = 1\n";
const OFF: &str = "[policy.wait]\nenabled = false\n[policy.ban]\nenabled = false\n[policy.scanner]\nenabled = false\n";

/// One measured run.
struct Run {
    requests: f64,
    cpu_us: f64,
}

struct Contender {
    name: &'static str,
    policies: &'static str,
    server: Server,
    runs: Vec<Run>,
    requests_in_all: u64,
}

impl Contender {
    fn start(name: &'static str, policies: &'static str, nginx: &Nginx) -> Self {
        let server = Portcullis::with_config(&config(policies, "info")).upstream(&nginx.url()).start();
        pin(0, server.id());
        // Access lines cost the same with and without policies: they would only make the ratio look better.
        server.configure(&config(policies, "error"));
        server.swapped(1);
        Self { name, policies, server, runs: Vec::new(), requests_in_all: 0 }
    }

    fn run(&mut self) {
        self.requests_in_all += wrk(&self.server.url("/"), 1);
        let before = cpu_us(self.server.id());
        let requests = wrk(&self.server.url("/"), 2);
        let cpu_us = cpu_us(self.server.id()) - before;
        self.requests_in_all += requests;
        self.runs.push(Run { requests: requests as f64 / 2.0, cpu_us: cpu_us / requests as f64 });
    }

    fn row(&self) {
        let (rate, cpu) = (spread(&self.runs, |run| run.requests), spread(&self.runs, |run| run.cpu_us));
        println!("{:<14} {:>9.0} {:>8.2} {:>8.2} {:>8.2}", self.name, rate.median, cpu.min, cpu.median, cpu.max);
    }

    /// Ends it; says how many requests it was sent and how many a scanner judged.
    fn end(self) -> (u64, u64) {
        // Only now may it log: the totals are told at info.
        self.server.configure(&config(self.policies, "info"));
        self.server.swapped(2);
        let requests = self.requests_in_all;
        (requests, self.server.stop().total("scanner_judged"))
    }
}

fn main() {
    if !(require("wrk") && require("nginx") && require("taskset")) {
        return;
    }
    // cargo passes `--bench`; what is a number is ours.
    let rounds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(ROUNDS);
    let nginx = Nginx::start();
    pin(1, nginx.id());
    let mut on = Contender::start("policies on", "", &nginx);
    let mut off = Contender::start("policies off", OFF, &nginx);
    for round in 0..rounds {
        // Whoever goes first in a round goes second in the next.
        let (first, second) = if round % 2 == 0 { (&mut on, &mut off) } else { (&mut off, &mut on) };
        first.run();
        second.run();
    }
    println!("{:<14} {:>9} {:>8} {:>8} {:>8}", "", "req/s", "µs min", "median", "max");
    on.row();
    off.row();
    let pairs: Vec<f64> = on.runs.iter().zip(&off.runs).map(|(on, off)| on.cpu_us / off.cpu_us).collect();
    let ratio = spread(&pairs, |ratio| *ratio);
    println!(
        "CPU per request, on / off: median {:.3} ({:.3} to {:.3}), {rounds} rounds",
        ratio.median, ratio.min, ratio.max
    );
    let ((asked, judged), (_, judged_off)) = (on.end(), off.end());
    println!("policies on:  {asked} requests answered, {judged} judged");
    println!("policies off: {judged_off} judged");
}

fn config(policies: &str, level: &str) -> String {
    format!("{SOURCE}[log]\nlevel = \"{level}\"\n{policies}")
}

/// Puts a process on one CPU, with all its threads and children.
fn pin(cpu: u32, process: u32) {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().for_each(|child| pin(cpu, child.parse().unwrap()));
    let pinned = Command::new("taskset").args(["-acp", &cpu.to_string(), &process.to_string()]).output().unwrap();
    assert!(pinned.status.success(), "{}", String::from_utf8_lossy(&pinned.stderr));
}

/// Requests that were answered in so many seconds.
fn wrk(url: &str, seconds: u32) -> u64 {
    let ran = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "-c64", &format!("-d{seconds}s"), "-s"])
        .arg(peer("xff200.lua"))
        .arg(url)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let line = text.lines().find(|line| line.contains(" requests in ")).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// CPU time of all threads so far, in microseconds.
fn cpu_us(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanos = tasks.map(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        stat.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    });
    nanos.sum::<f64>() / 1000.0
}

struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

fn spread<T>(items: &[T], figure: impl Fn(&T) -> f64) -> Spread {
    let mut sorted: Vec<f64> = items.iter().map(figure).collect();
    sorted.sort_by(f64::total_cmp);
    Spread { min: sorted[0], median: sorted[sorted.len() / 2], max: sorted[sorted.len() - 1] }
}
