//! How fast recorded traffic goes through the bundle's policies, beside
//! fail2ban-regex, which only counts lines, on the same log in the same run.
//!
//! `cargo bench -p portcullis-tests --bench replay [-- --quick] [SCALE [ROUNDS]]`
//!
//! The log is made up by the kit: 16,900 lines times the scale, for both; with
//! --quick fail2ban-regex has a quarter of that. The programs run alone and in
//! turn, once on CPU 1 and replay once on all there are, since it
//! reads on a thread of its own. Lines per second are by the wall clock from
//! start to end of the process, compiling the plugins included; CPU time is the
//! kernel's, of all threads; the peak of resident memory is the kernel's, too,
//! as last seen before the process ended, at most 2 ms before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken benchmark stops")]

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_tests::{LINES, RportdLog, Spread, peer, portcullis, report_goal, require};

/// One run of one program.
struct Run {
    lines_per_second: f64,
    cpu_us_per_line: f64,
    peak_mib: f64,
}

struct Contender {
    name: &'static str,
    runs: Vec<Run>,
}

fn main() {
    if !(require("fail2ban-regex") && require("taskset")) {
        return;
    }
    // cargo passes `--bench`; what are numbers is ours.
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (scale, rounds) = if quick { (40, 3) } else { (100, 9) };
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<u64>().ok());
    let (scale, rounds) = (numbers.next().unwrap_or(scale), numbers.next().unwrap_or(rounds));
    let scale_fail2ban = if quick { scale.div_ceil(4) } else { scale };
    let folder = tempfile::tempdir().unwrap();
    let (log, quiet) = (folder.path().join("rportd.log"), folder.path().join("quiet.log"));
    RportdLog { scale, ..RportdLog::default() }.write(&mut BufWriter::new(File::create(&log).unwrap())).unwrap();
    let quiet_lines = without_logins(&log, &quiet);
    let short = folder.path().join("short.log");
    let write_short = RportdLog { scale: scale_fail2ban, ..RportdLog::default() };
    write_short.write(&mut BufWriter::new(File::create(&short).unwrap())).unwrap();
    let mut ours = Contender { name: "portcullis replay", runs: Vec::new() };
    let mut one_core = Contender { name: "... on one core", runs: Vec::new() };
    let mut without = Contender { name: "... without logins", runs: Vec::new() };
    let mut fail2ban = Contender { name: "fail2ban-regex", runs: Vec::new() };
    for _ in 0..rounds {
        ours.runs.push(measured(Command::new(portcullis()).arg("replay").arg(&log), LINES * scale));
        one_core
            .runs
            .push(measured(&mut on_one_core(Command::new(portcullis()).arg("replay").arg(&log)), LINES * scale));
        without
            .runs
            .push(measured(&mut on_one_core(Command::new(portcullis()).arg("replay").arg(&quiet)), quiet_lines));
        let filter = peer("fail2ban-rport-scanners.conf");
        let mut command = Command::new("fail2ban-regex");
        let command = command.args(["--usedns", "no"]).arg(&short).arg(filter);
        fail2ban.runs.push(measured(&mut on_one_core(command), LINES * scale_fail2ban));
    }
    println!("{} lines, {rounds} rounds, medians (least to most)", LINES * scale);
    println!("\n| | lines/s | CPU-µs per line | peak MiB |\n| --- | --- | --- | --- |");
    for contender in [&ours, &one_core, &without, &fail2ban] {
        println!(
            "| {} | {} | {} | {} |",
            contender.name,
            contender.spread(|run| run.lines_per_second).show(0),
            contender.spread(|run| run.cpu_us_per_line).show(3),
            contender.spread(|run| run.peak_mib).show(1)
        );
    }
    println!(
        "\nTimes fail2ban-regex: {} by lines/s; on one core {} by lines/s and {} by CPU time",
        ours.times(&fail2ban, |run| run.lines_per_second).show(1),
        one_core.times(&fail2ban, |run| run.lines_per_second).show(1),
        one_core.times(&fail2ban, |run| 1.0 / run.cpu_us_per_line).show(1),
    );
    report_goal("replay", one_core.times(&fail2ban, |run| run.lines_per_second));
}

impl Contender {
    fn spread(&self, figure: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(figure))
    }

    /// Round by round.
    fn times(&self, other: &Self, figure: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.runs.iter().zip(&other.runs).map(|(own, other)| figure(own) / figure(other)))
    }
}

/// The same log without lines of logins, to tell what these cost; its lines.
fn without_logins(log: &Path, into: &Path) -> u64 {
    let mut file = BufWriter::new(File::create(into).unwrap());
    let text = fs::read_to_string(log).unwrap();
    let kept = text.lines().filter(|line| !line.contains(": Open "));
    let lines = kept.map(|line| writeln!(file, "{line}").unwrap()).count();
    file.flush().unwrap();
    lines.try_into().unwrap()
}

fn on_one_core(command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", "1"]).arg(command.get_program()).args(command.get_args());
    pinned
}

fn measured(command: &mut Command, lines: u64) -> Run {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let process = format!("/proc/{}", child.id());
    let (mut cpu_ns, mut peak_kib) = (0, 0);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        cpu_ns = cpu_ns.max(cpu_ns_of(&process));
        let text = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak_kib = peak_kib.max(peak.unwrap_or(0_u32));
        std::thread::sleep(Duration::from_millis(2));
    };
    let seconds = began.elapsed().as_secs_f64();
    assert!(status.success(), "{command:?}: {status}");
    Run {
        lines_per_second: lines as f64 / seconds,
        cpu_us_per_line: cpu_ns as f64 / 1000.0 / lines as f64,
        peak_mib: f64::from(peak_kib) / 1024.0,
    }
}

/// CPU time of all threads so far; they live nearly as long as the process in both programs.
fn cpu_ns_of(process: &str) -> u64 {
    let tasks = fs::read_dir(format!("{process}/task")).into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of).sum()
}
