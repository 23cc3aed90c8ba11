//! A real wrk at full load, until told to stop.

use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

/// A running wrk.
pub struct Load {
    child: Option<Child>,
}

/// What wrk says at its end.
#[derive(Debug)]
pub struct Loaded {
    /// Requests that were answered.
    pub requests: u64,
    /// Its complaints: socket errors, and statuses other than 2xx and 3xx.
    pub complaints: Vec<String>,
}

impl Load {
    /// Lets it loose on a URL, with so many connections.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(url: &str, connections: u32) -> Self {
        let child = Command::new("wrk")
            .args(["--threads", "1", "--duration", "7200s", "--timeout", "60s", "--connections"])
            .arg(connections.to_string())
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child: Some(child) }
    }

    /// Stops it and asks what it has seen.
    ///
    /// # Panics
    /// If it has ended by itself, or doesn't end.
    #[must_use]
    pub fn stop(mut self) -> Loaded {
        let mut child = self.child.take().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "wrk has ended by itself");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        eventually("wrk ends", || child.try_wait().unwrap());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let requests = text.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
        let complains = |line: &&str| line.contains("Socket errors") || line.contains("Non-2xx");
        Loaded {
            requests: requests.unwrap_or_else(|| panic!("wrk says nothing: {text}")),
            complaints: text.lines().filter(complains).map(str::to_owned).collect(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ended_already = child.kill();
            let _ = child.wait();
        }
    }
}
