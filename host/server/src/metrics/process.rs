//! What the system knows of this process, under the names that every exporter
//! uses. What can't be read is left out.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The process, looked at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) max_files: Option<u64>,
}

impl Process {
    pub(super) fn look() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let nanoseconds = u32::try_from(cpu.tv_nsec).unwrap_or_default();
        let seconds = u32::try_from(cpu.tv_sec).unwrap_or(u32::MAX);
        Self {
            cpu_seconds: f64::from(seconds) + f64::from(nanoseconds) / 1e9,
            resident_bytes: resident_kib().map(|kib| kib << 10),
            threads: entries("/proc/self/task"),
            // One of them is the folder that is being read.
            open_files: entries("/proc/self/fd").map(|open| open.saturating_sub(1)),
            max_files: getrlimit(Resource::Nofile).current,
        }
    }
}

fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

fn entries(folder: &str) -> Option<u64> {
    Some(fs::read_dir(folder).ok()?.count() as u64)
}
