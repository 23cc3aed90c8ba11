//! Servers under test: started for one scenario, measured in turns, ended.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use portcullis_tests::{Nginx, Portcullis, Server, eventually, free_port, peer};
use tempfile::TempDir;

use super::floor;
use super::measure::{cpu_us, pin, resident_mib};
use super::scenario::{Client, Length, Scenario, Source, Which};

const POLICIES_OFF: &str =
    "[policy.wait]\nenabled = false\n[policy.ban]\nenabled = false\n[policy.scanner]\nenabled = false\n";

/// One measured turn.
pub(crate) struct Turn {
    pub(crate) requests_per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) resident_mib: f64,
    pub(crate) refused: f64,
}

/// A server under test.
pub(crate) struct Contender {
    pub(crate) which: Which,
    pub(crate) turns: Vec<Turn>,
    /// Requests that it was sent in all.
    pub(crate) requests: f64,
    url: String,
    running: Running,
}

enum Running {
    Own { server: Box<Server>, config: Box<dyn Fn(&str) -> String> },
    Other(Other),
}

/// A program of others, in a folder of its own.
struct Other {
    child: Child,
    _folder: TempDir,
}

impl Contender {
    pub(crate) fn start(which: Which, scenario: &Scenario, backend: &Nginx) -> Self {
        let (running, base) = match which {
            Which::Portcullis => own("", scenario, backend),
            Which::PortcullisOff => own(POLICIES_OFF, scenario, backend),
            Which::HaproxyPlain => haproxy(8201, backend),
            Which::HaproxyRules => haproxy(
                match (scenario.client, scenario.source) {
                    (Client::H2load, _) => 8212,
                    (Client::Wrk { .. }, Source::Peer) => 8202,
                    (Client::Wrk { .. }, Source::Forwarded) => 8203,
                },
                backend,
            ),
            Which::NginxPlain if matches!(scenario.client, Client::H2load) => nginx(8112, backend),
            Which::NginxPlain => nginx(8102, backend),
            Which::NginxAuthRequest => nginx(8104, backend),
            Which::NginxDeny => nginx(8106, backend),
            Which::Floor => hyper_floor(backend),
        };
        let contender =
            Self { which, turns: Vec::new(), requests: 0.0, url: format!("{base}{}", scenario.path), running };
        pin(0, contender.process());
        if scenario.banned {
            contender.ban(&base);
        }
        contender
    }

    /// The source is a scanner.
    fn ban(&self, base: &str) {
        eventually("the source is banned", || {
            let status = Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_code}"])
                .arg(format!("{base}/nf/x"))
                .output()
                .unwrap();
            (status.stdout == b"423").then_some(())
        });
    }

    fn process(&self) -> u32 {
        match &self.running {
            Running::Own { server, .. } => server.id(),
            Running::Other(other) => other.child.id(),
        }
    }

    pub(crate) fn turn(&mut self, scenario: &Scenario, length: Length) {
        self.requests += scenario.client.run(&self.url, length.warm_up).requests;
        let before = cpu_us(self.process());
        let loaded = scenario.client.run(&self.url, length.measured);
        let cpu_us = cpu_us(self.process()) - before;
        self.requests += loaded.requests;
        self.turns.push(Turn {
            requests_per_second: loaded.requests / loaded.seconds,
            cpu_us: cpu_us / loaded.requests,
            p50_us: loaded.p50_us,
            p99_us: loaded.p99_us,
            resident_mib: resident_mib(self.process()),
            refused: loaded.refused / loaded.requests,
        });
    }

    /// Ends it. Of Portcullis, the judge calls are told beside the requests.
    pub(crate) fn end(self) {
        let requests = self.requests;
        match self.running {
            Running::Own { server, config } => {
                // Only now may it log: the totals are told at info.
                server.configure(&config("info"));
                server.swapped(2);
                let stopped = server.stop();
                let [scanner, attempt] = ["scanner_judged", "attempt_judged"].map(|name| stopped.total(name));
                let refused = stopped.total("refused_banned") + stopped.total("refused_waiting");
                println!(
                    "  {:?}: {requests} requests answered; {scanner} calls of scanners, {attempt} of wait and ban, {refused} refused",
                    self.which
                );
            }
            Running::Other(other) => drop(other),
        }
    }
}

fn own(policies: &'static str, scenario: &Scenario, backend: &Nginx) -> (Running, String) {
    let trusted = if scenario.source == Source::Forwarded { "[\"127.0.0.1\"]" } else { "[]" };
    let config = move |level: &str| {
        format!(
            "[source]\ntrusted_proxies = {trusted}\n[listen]\nworkers = 1\n[auth]\nlogin_paths = [\"/login\", \"/login-right\"]\n\
             success_statuses = [303]\n[log]\nlevel = \"{level}\"\n{policies}"
        )
    };
    let server = Portcullis::with_config(&config("info")).upstream(&backend.url()).start();
    // Access lines cost the same with and without policies, and the others write none either.
    server.configure(&config("error"));
    server.swapped(1);
    let url = server.url("");
    (Running::Own { server: Box::new(server), config: Box::new(config) }, url)
}

fn haproxy(port: u16, backend: &Nginx) -> (Running, String) {
    let (folder, config, port) = configured("haproxy.cfg", port, backend);
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config).current_dir(folder.path());
    started(command, folder, port)
}

fn nginx(port: u16, backend: &Nginx) -> (Running, String) {
    let (folder, config, port) = configured("nginx-front.conf", port, backend);
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(config).arg("-e").arg(folder.path().join("nginx.err"));
    started(command, folder, port)
}

fn hyper_floor(backend: &Nginx) -> (Running, String) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(floor::OPTION).arg(port.to_string()).arg(backend.url().trim_start_matches("http://"));
    started(command, folder, port)
}

/// A peer's configuration with free ports and the service behind put in; the
/// port that stands for `port` now.
fn configured(name: &str, port: u16, backend: &Nginx) -> (TempDir, std::path::PathBuf, u16) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = fs::read_to_string(peer(name)).unwrap();
    text = text.replace("127.0.0.1:9000", backend.url().trim_start_matches("http://"));
    let mut wanted = 0;
    for placeholder in [8102, 8104, 8106, 8112, 8201, 8202, 8203, 8212] {
        let free = free_port();
        text = text.replace(&format!("127.0.0.1:{placeholder}"), &format!("127.0.0.1:{free}"));
        if placeholder == port {
            wanted = free;
        }
    }
    let config = folder.path().join(name);
    fs::write(&config, text).unwrap();
    (folder, config, wanted)
}

fn started(mut command: Command, folder: TempDir, port: u16) -> (Running, String) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    (Running::Other(Other { child, _folder: folder }), format!("http://127.0.0.1:{port}"))
}

impl Drop for Other {
    fn drop(&mut self) {
        // Asked, so that it takes its workers along.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
