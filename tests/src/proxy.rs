//! Real proxies in front of a real service, by the very files that
//! `host/server/proxies` has for those who run them.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::client::Request;
use crate::program::{peer, repository};
use crate::wait::{eventually, free_port};

/// How many ports are tried: another may take one between our look and the program's.
const PORTS_TRIED_MAX: u32 = 5;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx with auth_request.
    Nginx,
    /// Caddy with forward_auth.
    Caddy,
    /// HAProxy with Lua.
    Haproxy,
}

impl Kind {
    /// The program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
        }
    }
}

/// A folder for logs and such, known before anything runs.
pub struct ProxyFolder(TempDir);

impl ProxyFolder {
    /// A new one.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where a proxy writes what Portcullis watches.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.path().join("portcullis.log")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for ProxyFolder {
    fn default() -> Self {
        Self::new()
    }
}

/// A running program of others. Dropped, it is told to end and waited for.
struct Process(Child);

impl Process {
    /// Runs it until it listens there; none if it ends instead.
    fn start(command: &mut Command, port: u16) -> Option<Self> {
        let mut process = Self(command.stdin(Stdio::null()).spawn().unwrap());
        let up = eventually("it listens or ends", || {
            if process.0.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
        });
        up.then_some(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A running proxy, with a service behind it that knows `alice:right`.
pub struct Proxy {
    _proxy: Process,
    _service: Process,
    folder: ProxyFolder,
    port: u16,
}

impl Proxy {
    /// Starts both. The proxy asks Portcullis there.
    ///
    /// # Panics
    /// If one doesn't come up.
    #[must_use]
    pub fn start(kind: Kind, folder: ProxyFolder, portcullis: SocketAddr) -> Self {
        Self::start_otherwise(kind, folder, portcullis, &[], &[])
    }

    /// The same with words of its configuration replaced by others, and with
    /// these variables in its environment.
    ///
    /// # Panics
    /// If one doesn't come up, or a word isn't there.
    #[must_use]
    pub fn start_otherwise(
        kind: Kind,
        folder: ProxyFolder,
        portcullis: SocketAddr,
        words: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Self {
        let (service, behind) = tries(|port| service(&folder, port));
        let (proxy, port) = tries(|port| {
            let addresses = Addresses { portcullis, service: behind, port };
            let mut command = proxy(kind, &folder, addresses, words);
            Process::start(command.envs(environment.iter().copied()), port)
        });
        Self { _proxy: proxy, _service: service, folder, port }
    }

    /// A request of that client, of 127.0.0.0/8, to the proxy.
    pub fn request(&self, client: &str, method: &str, target: &str) -> Request {
        let client: IpAddr = client.parse().unwrap();
        Request::new(([127, 0, 0, 1], self.port).into(), method, target).via(client)
    }

    /// A GET.
    pub fn get(&self, client: &str, target: &str) -> Request {
        self.request(client, "GET", target)
    }

    /// The folder it writes to.
    #[must_use]
    pub const fn folder(&self) -> &ProxyFolder {
        &self.folder
    }

    /// What it has written about errors, and to where Portcullis watches, to be shown.
    #[must_use]
    pub fn told(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        ["proxy.err", "proxy.out", "portcullis.log"].map(|name| format!("{name}:\n{}\n", read(name))).concat()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.told());
        }
    }
}

fn tries(start: impl Fn(u16) -> Option<Process>) -> (Process, u16) {
    let started = (0..PORTS_TRIED_MAX).find_map(|_| {
        let port = free_port();
        Some((start(port)?, port))
    });
    started.expect("it doesn't come up")
}

fn nginx(folder: &ProxyFolder, file: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn service(folder: &ProxyFolder, port: u16) -> Option<Process> {
    let path = folder.path();
    let config = fs::read_to_string(peer("nginx-service.conf")).unwrap();
    let config = config.replace("127.0.0.1:9000", &format!("127.0.0.1:{port}"));
    let config = config.replace("root .;", &format!("root {};", path.display()));
    let config = config.replace("service.htpasswd", &path.join("service.htpasswd").display().to_string());
    let file = path.join("service.conf");
    fs::write(&file, as_this_user(&config)).unwrap();
    fs::write(path.join("service.htpasswd"), "alice:{PLAIN}right\n").unwrap();
    fs::write(path.join("page"), "a page\n").unwrap();
    Process::start(nginx(folder, &file).arg("-e").arg(path.join("service.err")), port)
}

/// Only root can say which user its workers are.
fn as_this_user(config: &str) -> String {
    if rustix::process::geteuid().is_root() { config.to_owned() } else { config.replace(" user root;", "") }
}

/// Who is where.
#[derive(Clone, Copy)]
struct Addresses {
    portcullis: SocketAddr,
    service: u16,
    port: u16,
}

fn proxy(kind: Kind, folder: &ProxyFolder, addresses: Addresses, words: &[(&str, &str)]) -> Command {
    let Addresses { portcullis, service, port } = addresses;
    let path = folder.path();
    let ours = |name: &str| repository().join("host/server/proxies").join(name);
    let read = |name: &str| {
        let mut text = fs::read_to_string(ours(name)).unwrap();
        for (word, other) in words {
            assert!(text.contains(word), "{name} has no {word:?}");
            text = text.replace(word, other);
        }
        text.replace("127.0.0.1:8090", &portcullis.to_string())
            .replace("127.0.0.1:3000", &format!("127.0.0.1:{service}"))
    };
    // No test is about these, and a busy machine takes its time.
    let patient = |text: String, times: &[(&str, &str)]| {
        times.iter().fold(text, |text, (short, long)| {
            assert!(text.contains(short), "no {short:?} in {text}");
            text.replace(short, long)
        })
    };
    let out = || fs::File::options().create(true).append(true).open(path.join("proxy.out")).unwrap();
    match kind {
        Kind::Nginx => {
            let site = read("nginx.conf").replace("listen 80;", &format!("listen 127.0.0.1:{port};"));
            let site = patient(
                site,
                &[("connect_timeout    1s", "connect_timeout 60s"), ("read_timeout       2s", "read_timeout 60s")],
            );
            fs::write(path.join("site.conf"), site.replace("/var/log/nginx/", &format!("{}/", path.display())))
                .unwrap();
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary: String = temporary.iter().map(|name| format!("{name}_temp_path p-{name};\n")).collect();
            let config = format!(
                "daemon off; worker_processes 1; pid proxy.pid; error_log proxy.err notice; user root;\n\
                 events {{}}\nhttp {{\n{temporary}include site.conf;\n}}\n"
            );
            let file = path.join("proxy.conf");
            fs::write(&file, as_this_user(&config)).unwrap();
            let mut command = nginx(folder, &file);
            command.arg("-e").arg(path.join("proxy.err"));
            command
        }
        Kind::Caddy => {
            let site = read("Caddyfile").replace(":80 {", &format!("http://:{port} {{\n\tbind 127.0.0.1"));
            let site = site.replace("/var/log/caddy/", &format!("{}/", path.display()));
            let file = path.join("Caddyfile");
            fs::write(&file, format!("{{\n\tadmin off\n\tauto_https off\n}}\n{site}")).unwrap();
            let mut command = Command::new("caddy");
            command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(&file);
            command
                .env("HOME", path)
                .env("XDG_DATA_HOME", path)
                .env("XDG_CONFIG_HOME", path)
                .stdout(out())
                .stderr(out());
            command
        }
        Kind::Haproxy => {
            let config = read("haproxy.cfg").replace("bind :80", &format!("bind 127.0.0.1:{port}"));
            let script = path.join("portcullis.lua");
            let text = fs::read_to_string(ours("portcullis.lua")).unwrap();
            fs::write(&script, patient(text, &[("local patience = 1000", "local patience = 60000")])).unwrap();
            let config = config.replace("/etc/haproxy/portcullis.lua", &script.display().to_string());
            let file = path.join("haproxy.cfg");
            fs::write(&file, config).unwrap();
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(&file).stdout(out()).stderr(out());
            command.env("PORTCULLIS_DECIDE", portcullis.to_string());
            command
        }
    }
}
