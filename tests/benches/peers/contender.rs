//! Servers under test: started for one scenario, seen to do what it is about,
//! measured in turns, ended.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use portcullis_tests::{Nginx, Portcullis, Request, Server, eventually, floor, free_port, peer, repository};
use tempfile::TempDir;

use super::measure::{cpu_us, pin, resident_mib};
use super::scenario::{Client, Gate, Scenario, Source};

const POLICIES_OFF: &str =
    "[policy.wait]\nenabled = false\n[policy.ban]\nenabled = false\n[policy.scanner]\nenabled = false\n";

/// Who can be asked. To add one: its name here and in [`Which::name`], how it is
/// started in [`start`], and the scenarios that it has a part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The three default policies.
    Portcullis,
    /// The same with a worker on each of two cores.
    PortcullisTwo,
    /// The same with a line in a log file for each request.
    PortcullisLogs,
    /// All policies off.
    PortcullisOff,
    /// The scanner and login rules in stick tables.
    HaproxyRules,
    /// A proxy and nothing else.
    HaproxyPlain,
    /// A proxy and nothing else.
    NginxPlain,
    /// Asks a trivial service about each request.
    NginxAuthRequest,
    /// The same with the service's own time counted.
    NginxTrivial,
    /// Asks Portcullis about each request, which reads its log.
    NginxAsks,
    /// A proxy and nothing else.
    CaddyPlain,
    /// Asks Portcullis about each request, which reads its log.
    CaddyAsks,
    /// Asks Portcullis about each request, and would report what counts.
    HaproxyAsks,
    /// A list of networks that are refused.
    NginxDeny,
    /// hyper on both sides and nothing between: what our transport could cost at least.
    Floor,
    /// hyper that answers by itself: what a refusal could cost at least.
    FloorAnswers,
}

impl Which {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Portcullis => "Portcullis, three policies",
            Self::PortcullisTwo => "Portcullis, two workers on two cores",
            Self::PortcullisLogs => "Portcullis, access log on",
            Self::PortcullisOff => "Portcullis, policies off",
            Self::HaproxyRules => "HAProxy, rules in stick tables",
            Self::HaproxyPlain => "HAProxy, plain proxy",
            Self::NginxPlain => "nginx, plain proxy",
            Self::NginxAuthRequest => "nginx, auth_request (the service asked not counted)",
            Self::NginxTrivial => "nginx, auth_request to a trivial service, both counted",
            Self::NginxAsks => "nginx, auth_request to Portcullis, log watched, both counted",
            Self::CaddyPlain => "Caddy, plain proxy",
            Self::CaddyAsks => "Caddy, forward_auth to Portcullis, log watched, both counted",
            Self::HaproxyAsks => "HAProxy, Lua to Portcullis, both counted",
            Self::NginxDeny => "nginx, deny list",
            Self::Floor => "bare hyper proxy",
            Self::FloorAnswers => "bare hyper, answers by itself",
        }
    }

    /// Whether what the scenario asks of a gate is asked of it.
    const fn is_gate(self) -> bool {
        matches!(self, Self::Portcullis | Self::PortcullisTwo | Self::PortcullisLogs | Self::HaproxyRules)
    }

    /// Whether policies are called, and counted.
    const fn has_policies(self) -> bool {
        matches!(self, Self::Portcullis | Self::PortcullisTwo | Self::PortcullisLogs)
    }

    /// Where it runs.
    const fn cpus(self) -> &'static str {
        if matches!(self, Self::PortcullisTwo) { "0,1" } else { "0" }
    }
}

/// One measured turn.
pub(crate) struct Turn {
    pub(crate) requests_per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) resident_mib: f64,
    /// Calls of policies for a request, of what can tell.
    pub(crate) judged: Option<f64>,
}

/// A server under test.
pub(crate) struct Contender {
    pub(crate) which: Which,
    pub(crate) turns: Vec<Turn>,
    runs: usize,
    running: Running,
}

/// Everything of it that runs: all of it is measured.
struct Running {
    address: SocketAddr,
    server: Option<Box<Server>>,
    /// Portcullis, where somebody else is in front and asks it.
    asked: Option<Box<Server>>,
    /// A service that is asked and knows nothing.
    trivial: Option<Nginx>,
    others: Vec<Other>,
}

/// A program of others, in a folder of its own.
struct Other {
    child: Child,
    _folder: TempDir,
}

impl Contender {
    pub(crate) fn start(which: Which, scenario: &Scenario, backend: &Nginx) -> Self {
        let running = start(which, scenario, backend);
        for process in running.processes() {
            pin(which.cpus(), process);
        }
        let contender = Self { which, turns: Vec::new(), runs: 0, running };
        contender.prove(scenario.gate);
        contender
    }

    /// It does what the scenario is about, or there is nothing to be measured.
    fn prove(&self, gate: Gate) {
        let statuses = |asked: usize, method: &str, path: &str| -> Vec<u16> {
            let request = Request::new(self.running.address, method, path).from("198.51.100.77");
            // An id for each, so that none of them has to wait.
            let form = |id| request.clone().form(&format!("username=probe-{id}&password=guess"));
            let send = |id| if method == "POST" { form(id).send() } else { request.send() };
            (0..asked).map(|id| send(id).status).collect()
        };
        let is_gate = self.which.is_gate();
        match gate {
            Gate::Lets => {}
            Gate::Bans => {
                eventually("the client is banned", || (statuses(1, "GET", "/nf/x") == [423]).then_some(()));
            }
            Gate::BansScanners => {
                let expected = if is_gate { [404, 404, 423] } else { [404; 3] };
                assert_eq!(statuses(3, "GET", "/nf/x"), expected, "{:?}", self.which);
            }
            Gate::BansGuessers => {
                let last = if is_gate { 423 } else { 401 };
                let expected = [401, 401, 401, 401, 401, last];
                assert_eq!(statuses(6, "POST", "/login"), expected, "{:?}", self.which);
            }
        }
    }

    pub(crate) fn warm_up(&mut self, scenario: &Scenario) {
        self.turn(scenario, 1);
        self.turns.clear();
    }

    /// Lets the client loose on it, and believes nothing that it didn't see.
    pub(crate) fn turn(&mut self, scenario: &Scenario, seconds: u32) {
        let url = format!("http://{}{}", self.running.address, scenario.path);
        let (judged_before, checks_before) = (self.judged(), self.running.checks());
        let before = self.running.cpu_us();
        let loaded = scenario.client.run(&url, seconds, self.runs);
        let cpu_us = self.running.cpu_us() - before;
        let asked = self.running.checks().zip(checks_before).map(|(after, before)| after - before);
        let missed = asked.map_or(0.0, |asked| 1.0 - asked / loaded.requests);
        assert!(missed <= 0.001, "{}, {:?}: {missed} of the requests weren't asked about", scenario.name, self.which);
        let judged = self.judged().zip(judged_before).map(|(after, before)| (after - before) / loaded.requests);
        self.runs += 1;
        let (name, which) = (scenario.name, self.which);
        let refused = if scenario.refused { loaded.requests } else { 0.0 };
        assert!(loaded.refused == refused, "{name}, {which:?}: {} refused, not {refused}", loaded.refused);
        let bytes = loaded.bytes / loaded.requests;
        // Those under way when the client stopped are counted with what came of them.
        assert!(bytes >= scenario.bytes * 0.95, "{name}, {which:?}: {bytes} bytes an answer");
        if let Some(judged) = judged {
            let (least, most) = if which.has_policies() { scenario.judged } else { (0.0, 0.0) };
            // What was on its way when the client stopped was judged, too.
            let fits = judged >= least * 0.999 && judged <= most * 1.05 + 0.01;
            assert!(fits, "{name}, {which:?}: {judged} calls of policies a request, not {least} to {most}");
        }
        self.turns.push(Turn {
            requests_per_second: loaded.requests / loaded.seconds,
            cpu_us: cpu_us / loaded.requests,
            p50_us: loaded.p50_us,
            p99_us: loaded.p99_us,
            resident_mib: self.running.resident_mib(),
            judged,
        });
    }

    /// Calls of policies so far.
    fn judged(&self) -> Option<f64> {
        let metrics = self.running.server.as_ref()?.administration("/metrics");
        let calls = metrics.lines().filter(|line| line.starts_with("portcullis_policy_calls_total{"));
        Some(calls.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum())
    }
}

impl Running {
    fn processes(&self) -> impl Iterator<Item = u32> {
        let own = self.server.as_ref().map(|server| server.id());
        let asked = self.asked.as_ref().map(|server| server.id());
        let trivial = self.trivial.as_ref().map(Nginx::id);
        let others = self.others.iter().map(|other| other.child.id());
        own.into_iter().chain(asked).chain(trivial).chain(others)
    }

    /// Requests that a proxy has asked about and that passed.
    fn checks(&self) -> Option<f64> {
        let metrics = self.asked.as_ref()?.administration("/metrics");
        let passed = "portcullis_checks_total{answer=\"passed\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(passed)).map(|count| count.parse().unwrap())
    }

    fn cpu_us(&self) -> f64 {
        self.processes().map(cpu_us).sum()
    }

    fn resident_mib(&self) -> f64 {
        self.processes().map(resident_mib).sum()
    }
}

fn start(which: Which, scenario: &Scenario, backend: &Nginx) -> Running {
    let h2 = matches!(scenario.client, Client::H2load);
    match which {
        Which::Portcullis => own("", 1, scenario, backend),
        Which::PortcullisTwo => own("", 2, scenario, backend),
        Which::PortcullisLogs => own_with_log(scenario, backend),
        Which::PortcullisOff => own(POLICIES_OFF, 1, scenario, backend),
        Which::HaproxyPlain => haproxy(8201, backend),
        Which::HaproxyRules if h2 => haproxy(8212, backend),
        Which::HaproxyRules if scenario.source == Source::Forwarded => haproxy(8203, backend),
        Which::HaproxyRules => haproxy(8202, backend),
        Which::NginxPlain if h2 => nginx(8112, backend),
        Which::NginxPlain => nginx(8102, backend),
        Which::NginxAuthRequest => nginx(8104, backend),
        Which::NginxTrivial => {
            let (trivial, folder) = (Nginx::start(), tempfile::tempdir().unwrap());
            let asked = Asked { address: service(&trivial), log: folder.path().join("unused.log") };
            Running { trivial: Some(trivial), ..nginx_asking(8103, backend, &asked, folder) }
        }
        Which::NginxAsks => asks("report", |asked, folder| nginx_asking(8105, backend, asked, folder)),
        Which::CaddyPlain => {
            let folder = tempfile::tempdir().unwrap();
            let asked = Asked { address: service(backend), log: folder.path().join("unused.log") };
            caddy(8301, backend, &asked, folder)
        }
        Which::CaddyAsks => asks("caddy", |asked, folder| caddy(8302, backend, asked, folder)),
        Which::HaproxyAsks => asks("", |asked, folder| haproxy_asking(backend, asked, folder)),
        Which::NginxDeny => nginx(8106, backend),
        Which::Floor => bare(Some(backend)),
        Which::FloorAnswers => bare(None),
    }
}

fn config(policies: &str, workers: u32, log: &str, scenario: &Scenario) -> String {
    let trusted = if scenario.source == Source::Forwarded { "[\"127.0.0.1\"]" } else { "[]" };
    format!(
        "[source]\ntrusted_proxies = {trusted}\n[listen]\nworkers = {workers}\n\
         [auth]\nlogin_paths = [\"/login\", \"/login-right\"]\nsuccess_statuses = [303]\n[log]\n{log}\n{policies}"
    )
}

fn own(policies: &str, workers: u32, scenario: &Scenario, backend: &Nginx) -> Running {
    let config = |level: &str| config(policies, workers, &format!("level = \"{level}\""), scenario);
    let server = Portcullis::with_config(&config("info")).upstream(&backend.url()).start();
    // The others write no line for each request either.
    server.configure(&config("error"));
    server.swapped(1);
    running(server)
}

fn own_with_log(scenario: &Scenario, backend: &Nginx) -> Running {
    let config = config("", 1, "file = \"portcullis.log\"", scenario);
    running(Portcullis::with_config(&config).upstream(&backend.url()).start())
}

fn running(server: Server) -> Running {
    let server = Some(Box::new(server));
    Running { address: server.as_ref().unwrap().address(), server, asked: None, trivial: None, others: Vec::new() }
}

/// Who is asked, and where the answers are logged.
struct Asked {
    address: String,
    log: PathBuf,
}

/// Portcullis behind the word of a proxy, whose log it watches if that has a format.
fn asks(format: &str, proxy: impl FnOnce(&Asked, TempDir) -> Running) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("portcullis.log");
    let watch =
        if format.is_empty() { String::new() } else { format!("[[watch]]\npath = {log:?}\nformat = {format:?}\n") };
    let config = |level: &str| {
        format!(
            "[source]\nnever_ban = []\n[listen]\nworkers = 1\n[decide]\naddress = [\"127.0.0.1:0\"]\n\
             [log]\nlevel = {level:?}\n{watch}"
        )
    };
    let server = Portcullis::with_config(&config("info")).start();
    let asked = Asked { address: server.decide_address().to_string(), log };
    server.configure(&config("error"));
    server.swapped(1);
    Running { asked: Some(Box::new(server)), ..proxy(&asked, folder) }
}

fn nginx_asking(port: u16, backend: &Nginx, asked: &Asked, folder: TempDir) -> Running {
    let (config, port) = asking("nginx-asks.conf", port, backend, asked, &folder);
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(config).arg("-e").arg(folder.path().join("nginx.err"));
    started(command, folder, port)
}

fn caddy(port: u16, backend: &Nginx, asked: &Asked, folder: TempDir) -> Running {
    let (config, port) = asking("Caddyfile", port, backend, asked, &folder);
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config).env("GOMAXPROCS", "1");
    command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
    started(command, folder, port)
}

fn haproxy_asking(backend: &Nginx, asked: &Asked, folder: TempDir) -> Running {
    let (config, port) = asking("haproxy-asks.cfg", 8204, backend, asked, &folder);
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config).current_dir(folder.path()).env("PORTCULLIS_DECIDE", &asked.address);
    started(command, folder, port)
}

/// As [`configured`], with who is asked and the log put in.
fn asking(name: &str, port: u16, backend: &Nginx, asked: &Asked, folder: &TempDir) -> (PathBuf, u16) {
    let mut text = fs::read_to_string(peer(name)).unwrap();
    let script = repository().join("host/server/proxies/portcullis.lua");
    for (placeholder, here) in [
        ("127.0.0.1:9000", &service(backend)),
        ("127.0.0.1:8090", &asked.address),
        ("portcullis.log", &asked.log.display().to_string()),
        ("portcullis.lua", &script.display().to_string()),
    ] {
        text = text.replace(placeholder, here);
    }
    let mut wanted = 0;
    for placeholder in [8103, 8105, 8204, 8301, 8302] {
        let free = free_port();
        text = text.replace(&format!("127.0.0.1:{placeholder}"), &format!("127.0.0.1:{free}"));
        if placeholder == port {
            wanted = free;
        }
    }
    let config = folder.path().join(name);
    fs::write(&config, text).unwrap();
    (config, wanted)
}

fn haproxy(port: u16, backend: &Nginx) -> Running {
    let (folder, config, port) = configured("haproxy.cfg", port, backend);
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config).current_dir(folder.path());
    started(command, folder, port)
}

fn nginx(port: u16, backend: &Nginx) -> Running {
    let (folder, config, port) = configured("nginx-front.conf", port, backend);
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(config).arg("-e").arg(folder.path().join("nginx.err"));
    started(command, folder, port)
}

fn bare(backend: Option<&Nginx>) -> Running {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new(floor());
    command.arg(port.to_string()).args(backend.map(service));
    started(command, folder, port)
}

/// The address of the service behind.
fn service(backend: &Nginx) -> String {
    backend.url().trim_start_matches("http://").to_owned()
}

/// A peer's configuration with free ports and the service behind put in; the
/// port that stands for `port` now.
fn configured(name: &str, port: u16, backend: &Nginx) -> (TempDir, PathBuf, u16) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = fs::read_to_string(peer(name)).unwrap();
    text = text.replace("127.0.0.1:9000", &service(backend));
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

fn started(mut command: Command, folder: TempDir, port: u16) -> Running {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it listens", || {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{command:?} ended: {status}");
        }
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    let others = vec![Other { child, _folder: folder }];
    Running { address: ([127, 0, 0, 1], port).into(), server: None, asked: None, trivial: None, others }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Asked, so that it takes its workers along.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
