//! The real program, from its configuration to its end.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process};
use tempfile::TempDir;

use crate::client::{Connection, Request};
use crate::program::{Ran, folder_of_builds, portcullis, run};
use crate::wait::eventually;

const CONFIG: &str = "portcullis.toml";
const SOCKET: &str = "admin.sock";
const LISTENING: &str = "listening on ";

/// A server in the making: a folder with a configuration and what it names.
#[must_use = "nothing runs until it is started"]
pub struct Portcullis {
    folder: Arc<TempDir>,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    /// What starts it, with its arguments; nothing: the test itself.
    starter: Vec<String>,
    /// Where it listens, if not on a port that the system chooses.
    port: u16,
    /// Only its configuration says where it listens, which may be nowhere.
    only_watches: bool,
}

impl Portcullis {
    /// With this configuration. Where it doesn't say otherwise, loopback peers
    /// are trusted proxies, so that [`Request::from`] can name any client, and
    /// compiled plugins are shared between tests.
    pub fn with_config(config: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let (options, environment, starter) = (Vec::new(), Vec::new(), Vec::new());
        let server = Self { folder, options, environment, starter, port: 0, only_watches: false };
        fs::write(server.folder.path().join(CONFIG), whole(config)).unwrap();
        server
    }

    /// With the default configuration.
    pub fn new() -> Self {
        Self::with_config("")
    }

    /// With this file beside the configuration.
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// With a folder of that name beside the configuration.
    pub fn folder(self, name: &str) -> Self {
        fs::create_dir(self.folder.path().join(name)).unwrap();
        self
    }

    /// With a client that may log in, as `id:password`.
    pub fn client(self, client: &str) -> Self {
        self.option("--client", client)
    }

    /// In front of that service.
    pub fn upstream(self, url: &str) -> Self {
        self.option("--upstream", url)
    }

    /// With this in its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With its folder and all that is in it belonging to that user.
    ///
    /// # Panics
    /// If this process may not give them away.
    pub fn owned_by(self, user: u32) -> Self {
        let folder = self.folder.path();
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.chain([folder.to_owned()]).for_each(|path| chown(path, Some(user), Some(user)).unwrap());
        self
    }

    /// Started by that program, which has to become the server in the end.
    pub fn started_by(mut self, starter: &[&str]) -> Self {
        self.starter = starter.iter().map(|&part| part.to_owned()).collect();
        self
    }

    /// Where the log won't say where it listens.
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Without an address to listen on: it watches logs and is up when it is administered.
    pub fn only_watching(mut self) -> Self {
        self.only_watches = true;
        self
    }

    fn option(mut self, name: &str, value: &str) -> Self {
        self.options.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `portcullis check` on it.
    #[must_use]
    pub fn check(&self) -> Ran {
        run(Command::new(portcullis()).arg("check").arg("--config").arg(self.folder.path().join(CONFIG)))
    }

    fn command(&self) -> Command {
        let mut command = match self.starter.split_first() {
            None => Command::new(portcullis()),
            Some((starter, arguments)) => {
                let mut command = Command::new(starter);
                command.args(arguments).arg(portcullis());
                command
            }
        };
        command.arg("serve").arg("--config").arg(self.folder.path().join(CONFIG));
        if !self.only_watches {
            command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        }
        command.args(&self.options).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs one that isn't expected to come up, to its end.
    #[must_use]
    pub fn fail_to_start(&self) -> Ran {
        run(&mut self.command())
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// If it doesn't come up.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Server {
        let mut child = self.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in lines.split(b'\n').map_while(Result::ok) {
                into.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let address = ([127, 0, 0, 1], 0).into();
        let Self { folder, options, environment, starter, only_watches, .. } = self;
        let mut server =
            Server { child, address, folder, options, environment, starter, only_watches, log, reader: Some(reader) };
        if only_watches {
            eventually("the server is administered", || {
                assert!(server.is_running(), "the server ended: {}", server.log().join("\n"));
                UnixStream::connect(server.admin_socket()).ok()
            });
            return server;
        }
        if self.port != 0 {
            server.address.set_port(self.port);
            eventually("the server listens", || Connection::try_open(server.address).ok());
            return server;
        }
        // A file can be the log's place: then the line is there.
        let logged = server.folder.path().join("portcullis.log");
        server.address = eventually("the server listens", || {
            let line = server.log().into_iter().chain(lines_of(&logged)).find_map(|line| {
                let (_, address) = line.rsplit_once(LISTENING)?;
                address.trim_end_matches(['"', '}']).parse().ok()
            });
            if line.is_none() && server.child.try_wait().unwrap().is_some() {
                panic!("the server ended: {}", server.log().join("\n"));
            }
            line
        });
        server
    }
}

impl Default for Portcullis {
    fn default() -> Self {
        Self::new()
    }
}

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

/// What tests have in common, added where the configuration doesn't say otherwise.
fn whole(config: &str) -> String {
    let mut whole = config.to_owned();
    if !config.contains("[source]") {
        whole.push_str("\n[source]\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    }
    if !config.contains("[plugins]") {
        whole.push_str(&format!("\n[plugins]\ncache = {:?}\n", cache()));
    }
    if !config.contains("[admin]") {
        // In the configuration's own folder: many servers run at once.
        whole.push_str(&format!("\n[admin]\nsocket = {SOCKET:?}\n"));
    }
    whole
}

/// One for all tests: compiling takes most of a start.
fn cache() -> PathBuf {
    let cache = folder_of_builds().join("e2e-plugin-cache");
    if let Err(error) = fs::DirBuilder::new().mode(0o700).create(&cache) {
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{}: {error}", cache.display());
    }
    cache
}

/// A running server. Dropped, it is killed.
pub struct Server {
    child: Child,
    address: SocketAddr,
    folder: Arc<TempDir>,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    starter: Vec<String>,
    only_watches: bool,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its listeners are that do this, in the words of its log, in their
    /// order, once there are so many.
    ///
    /// # Panics
    /// If there aren't.
    #[must_use]
    #[track_caller]
    pub fn listeners<const N: usize>(&self, what: &str) -> [SocketAddr; N] {
        let address = |line: String| {
            let (address, found) = line.rsplit_once(LISTENING)?.1.split_once(", ")?;
            (found == what).then(|| address.parse().unwrap())
        };
        eventually(&format!("{N} listeners: {what}"), || {
            let found: Vec<_> = self.log_with(LISTENING).into_iter().filter_map(address).collect();
            found.try_into().ok()
        })
    }

    /// The only one of these.
    ///
    /// # Panics
    /// If there are more, or none.
    #[must_use]
    #[track_caller]
    pub fn listener(&self, what: &str) -> SocketAddr {
        let [address] = self.listeners(what);
        address
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Where its administration takes a token.
    ///
    /// # Panics
    /// If it doesn't.
    #[must_use]
    #[track_caller]
    pub fn admin_address(&self) -> SocketAddr {
        self.address_after("administered with a token on ")
    }

    /// Where other proxies ask it.
    ///
    /// # Panics
    /// If they can't.
    #[must_use]
    #[track_caller]
    pub fn decide_address(&self) -> SocketAddr {
        self.address_after("other proxies ask on ")
    }

    /// Where it tells of its health.
    ///
    /// # Panics
    /// If it doesn't.
    #[must_use]
    #[track_caller]
    pub fn health_address(&self) -> SocketAddr {
        self.address_after("health and metrics on ")
    }

    #[track_caller]
    fn address_after(&self, words: &str) -> SocketAddr {
        let line = self.logged(words);
        line.rsplit_once(words).unwrap().1.parse().unwrap()
    }

    /// The socket of its administration, if its configuration doesn't name another.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The same in the making once more, with all that is in its folder.
    pub fn again(&self) -> Portcullis {
        let (options, environment) = (self.options.clone(), self.environment.clone());
        let (folder, starter) = (Arc::clone(&self.folder), self.starter.clone());
        Portcullis { folder, options, environment, starter, port: 0, only_watches: self.only_watches }
    }

    /// Any request.
    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    /// A GET.
    pub fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    /// A POST.
    pub fn post(&self, target: &str) -> Request {
        self.request("POST", target)
    }

    /// A connection that is kept.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Puts a file beside the configuration, or another in its place, by renaming.
    ///
    /// # Panics
    /// If it can't.
    pub fn replace(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let (new, path) = (self.folder.path().join(".new"), self.folder.path().join(name));
        fs::write(&new, bytes).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Puts another configuration in the place of the present one.
    pub fn configure(&self, config: &str) {
        self.replace(CONFIG, whole(config));
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The lines of the log so far that hold `part`.
    #[must_use]
    pub fn log_with(&self, part: &str) -> Vec<String> {
        self.log().into_iter().filter(|line| line.contains(part)).collect()
    }

    /// Waits until the log holds `part`, and hands over the first such line.
    ///
    /// # Panics
    /// If it doesn't come.
    #[track_caller]
    pub fn logged(&self, part: &str) -> String {
        self.logged_times(1, part).swap_remove(0)
    }

    /// Waits until so many lines of the log hold `part`.
    ///
    /// # Panics
    /// If they don't come.
    #[track_caller]
    pub fn logged_times(&self, times: usize, part: &str) -> Vec<String> {
        eventually(&format!("{times} lines of the log with {part:?}"), || {
            let lines = self.log_with(part);
            (lines.len() >= times).then_some(lines)
        })
    }

    /// Why changes weren't put in force so far, each reason in its own words.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.log().into_iter().filter_map(|line| Some(decoded(line.split_once("not put in force: ")?.1)));
        reasons.collect()
    }

    /// How often a new configuration has been put in force.
    #[must_use]
    pub fn swaps(&self) -> usize {
        self.log_with("configuration put in force").len()
    }

    /// Waits until a configuration has been put in force for the `times`th time.
    #[track_caller]
    pub fn swapped(&self, times: usize) {
        self.logged_times(times, "configuration put in force");
    }

    /// Has it load everything anew.
    ///
    /// # Panics
    /// If it has ended.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// Lets it have so many descriptors open and no more; those that are open stay.
    ///
    /// # Panics
    /// If it has ended.
    pub fn limit_descriptors(&self, most: u64) {
        let limit = Rlimit { current: Some(most), maximum: getrlimit(Resource::Nofile).maximum };
        rustix::process::prlimit(Some(self.pid()), Resource::Nofile, limit).unwrap();
    }

    /// Memory of the process that is in use, in bytes.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let kib: Option<u64> =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB")?.trim().parse().ok());
        1024 * kib.unwrap_or_else(|| panic!("no VmRSS: {status}"))
    }

    /// What the administration answers to a GET: the body.
    ///
    /// # Panics
    /// If it doesn't answer.
    #[must_use]
    #[track_caller]
    pub fn administration(&self, target: &str) -> String {
        let mut stream = UnixStream::connect(self.admin_socket()).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        body.to_owned()
    }

    /// Tells it to end, and doesn't wait.
    ///
    /// # Panics
    /// If it has ended.
    pub fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Whether it runs.
    ///
    /// # Panics
    /// If nobody can tell.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Tells it to end and waits until it has.
    ///
    /// # Panics
    /// If it doesn't end.
    #[must_use]
    pub fn stop(self) -> Stopped {
        self.terminate();
        self.wait()
    }

    /// Kills it, as a crash would, and waits until it has ended.
    ///
    /// # Panics
    /// If it has ended by itself.
    #[must_use]
    pub fn kill(mut self) -> Stopped {
        assert!(self.is_running(), "it has ended by itself: {}", self.log().join("\n"));
        self.signal(Signal::KILL);
        self.wait()
    }

    /// Stops all of its threads where they are.
    ///
    /// # Panics
    /// If it has ended.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.id());
        eventually("the server stands still", || {
            let stat = fs::read_to_string(&stat).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T').then_some(())
        });
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it has ended.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it doesn't end.
    #[must_use]
    pub fn wait(mut self) -> Stopped {
        let status = eventually("the server ends", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        Stopped { status, log: self.log() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let last = log.len().saturating_sub(80);
            eprintln!("the server's log (last lines):\n{}", log[last..].join("\n"));
        }
    }
}

/// As it was before the log's encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(format!("%{}", part.get(..2).unwrap_or_default()).as_bytes()),
        }
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A server that has ended.
#[derive(Debug)]
pub struct Stopped {
    /// How.
    pub status: ExitStatus,
    /// All of its log.
    pub log: Vec<String>,
}

impl Stopped {
    /// One number of the totals that it writes at its end.
    ///
    /// # Panics
    /// If there is no such number.
    #[must_use]
    #[track_caller]
    pub fn total(&self, name: &str) -> u64 {
        self.number(" totals: ", name)
    }

    /// One number of what it writes about a policy at its end.
    ///
    /// # Panics
    /// If there is no such number.
    #[must_use]
    #[track_caller]
    pub fn of_policy(&self, policy: &str, name: &str) -> u64 {
        self.number(&format!(" policy {policy}: calls="), name)
    }

    #[track_caller]
    fn number(&self, part: &str, name: &str) -> u64 {
        let line = self.log.iter().rfind(|line| line.contains(part));
        let word = line.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')));
        word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line:?}"))
    }
}
