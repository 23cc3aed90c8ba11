//! What the kernel says about a server: CPU time and memory, of its process and
//! all below it.

use std::fs;
use std::process::Command;

/// Puts a process on these CPUs, with all its threads and children.
pub(crate) fn pin(cpus: &str, process: u32) {
    for process in tree(process) {
        let pinned = Command::new("taskset").args(["-acp", cpus, &process.to_string()]).output().unwrap();
        assert!(pinned.status.success(), "{}", String::from_utf8_lossy(&pinned.stderr));
    }
}

/// CPU time of all threads so far, in microseconds.
pub(crate) fn cpu_us(process: u32) -> f64 {
    let of = |process: u32| {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
        let nanos = tasks.filter_map(|task| {
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<f64>().ok()
        });
        nanos.sum::<f64>()
    };
    tree(process).into_iter().map(of).sum::<f64>() / 1000.0
}

/// Resident memory, in MiB.
pub(crate) fn resident_mib(process: u32) -> f64 {
    let of = |process: u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default()
    };
    tree(process).into_iter().map(of).sum::<f64>() / 1024.0
}

fn tree(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let below = children.split_whitespace().flat_map(|child| tree(child.parse().unwrap()));
    std::iter::once(process).chain(below).collect()
}
