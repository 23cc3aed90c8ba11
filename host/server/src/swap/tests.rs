use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use parking_lot::Mutex;
use portcullis_domain::source::Source;
use portcullis_domain::{ClientId, Finished, Gate, MemoryStore, Outcome, Passage, Store, Timestamp};
use portcullis_runtime::{Runtime, RuntimeConfig, Silent};
use tempfile::TempDir;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::auth::{Fingerprints, HashPool, ProcessKey};
use crate::clock::HostClock;
use crate::counters::Counters;
use crate::http::{self, ServeOptions, Tunnels};
use crate::log::{Format, Level, Target};
use crate::setup::http_options;

const CONFIG: &str = "p.toml";
const OWN_BAN: &str = "[policy.ban]\nplugin = \"own.wasm\"\n";
/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the log wrote.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A swapper whose files lie in a folder of their own.
struct Place {
    folder: TempDir,
    paper: Paper,
    swapper: Swapper,
}

impl Place {
    fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config_file = folder.path().join(CONFIG);
        fs::write(&config_file, config).unwrap();
        fs::write(folder.path().join("own.wasm"), portcullis_guests::component("always-bans")).unwrap();
        let mut seen = Stamps::default();
        seen.take([&config_file]);
        let overrides = Overrides::default();
        let config = Config::load(Some(&config_file), &overrides).unwrap();
        seen.take(config.files());
        let (runtime, _) = Runtime::new(&RuntimeConfig::default()).unwrap();
        let key = ProcessKey::generate().unwrap();
        let reporter = Arc::new(Silent);
        let workshop = Workshop { runtime, reporter, key: key.clone(), workers: 1, tunnels: Tunnels::default() };
        let setup = Setup::prepare(config, CONFIG, &workshop, None).unwrap();
        let paper = Paper::default();
        let log = Log::start(Level::Info, Format::Text, Target::Writer(Box::new(paper.clone()))).unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let ruleset = setup.ruleset(&*store);
        let gate =
            Arc::new(Gate::new(store, Arc::new(HostClock::start(Timestamp::default())), ruleset, key.to_bytes()));
        let hashing = HashPool::start(std::num::NonZeroUsize::new(1)).unwrap();
        let counters = Arc::new(Counters::default());
        let fingerprints = Fingerprints::new(key);
        let gatekeeper = Gatekeeper::new(gate, setup.front(), hashing, fingerprints, log.clone(), counters, None);
        let started = setup.config.clone();
        let config_file = Some(config_file);
        let in_force = Arc::new(ArcSwap::from_pointee(InForce::of(&setup, jiff::Timestamp::now())));
        let journal = Journal::start(&started.journal, Arc::new(HostClock::start(Timestamp::default()))).unwrap();
        let entrances = Vec::new();
        let watches = crate::watch::Watches::new(gatekeeper.clone(), None);
        let swapper = Swapper {
            config_file,
            overrides,
            workshop,
            setup,
            started,
            seen,
            gatekeeper,
            entrances,
            log,
            in_force,
            journal,
            watches,
        };
        Self { folder, paper, swapper }
    }

    fn replace(&self, name: &str, bytes: impl AsRef<[u8]>) {
        replace(self.folder.path(), name, bytes);
    }

    /// Swaps, and hands over whether it was put in force and what the log says.
    fn swap(&mut self) -> (bool, String) {
        let subscriber = tracing_subscriber::registry().with(self.swapper.log.layer());
        let done = tracing::subscriber::with_default(subscriber, || {
            let done = self.swapper.swap(false);
            if let Err(error) = &done {
                error.tell();
            }
            done
        });
        self.swapper.log.flush().unwrap();
        (done.is_ok(), String::from_utf8(std::mem::take(&mut *self.paper.0.lock())).unwrap())
    }
}

fn replace(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, bytes).unwrap();
    fs::rename(new, folder.join(name)).unwrap();
}

#[test]
fn a_refused_configurations_files_are_watched_too() {
    let mut place = Place::with("");
    place.replace(CONFIG, "[policy.ban]\nplugin = \"late.wasm\"\n");
    let (in_force, log) = place.swap();
    assert!(
        !in_force && log.contains("not put in force: ") && log.contains("what ran before goes on running"),
        "{log}"
    );
    assert!(!place.swapper.seen.have_changed());
    place.replace("late.wasm", "not a plugin");
    assert!(place.swapper.seen.have_changed());
    assert!(!place.swap().0);
    place.replace("late.wasm", portcullis_guests::component("always-bans"));
    assert!(place.swapper.seen.have_changed());
    assert!(place.swap().0);
    assert!(!place.swapper.seen.have_changed());
}

#[test]
fn a_configuration_that_cannot_be_read_is_watched_until_it_can() {
    let mut place = Place::with("");
    fs::remove_file(place.folder.path().join(CONFIG)).unwrap();
    assert!(!place.swap().0);
    place.replace(CONFIG, "[gate]\nmax_wait = \"9m\"\n");
    assert!(place.swapper.seen.have_changed());
    assert!(place.swap().0);
}

#[test]
fn rule_28_a_plugins_words_reach_the_log_encoded() {
    let mut place = Place::with("");
    place.replace("own.wasm", portcullis_guests::component("refuses-settings"));
    place.replace(CONFIG, OWN_BAN);
    let (_, log) = place.swap();
    assert!(
        log.contains("not put in force: ") && log.contains("policy.ban.settings why=wait:%20too%20short\n"),
        "{log}"
    );
    place.replace("own.wasm", portcullis_guests::component("always-bans"));
    let (_, log) = place.swap();
    let expected = "own.wasm (";
    let line = log.lines().find(|line| line.contains("policy ban is now")).unwrap();
    assert!(line.contains(expected) && line.contains(" plugin=") && line.contains(" version="), "{line}");
    place.replace(CONFIG, "[policy.ban]\nplugni = 1\n");
    let (_, log) = place.swap();
    assert!(
        log.contains(".toml:2: policy.ban.plugni: there is no such key (did you mean policy.ban.plugin?)\n"),
        "{log}"
    );
}

#[test]
fn a_key_that_waits_for_the_next_start_is_named_until_it_is_reverted() {
    let mut place = Place::with("");
    let pending = "listen.idle_timeout has changed and takes effect at the next start";
    place.replace(CONFIG, "[listen]\nidle_timeout = \"9s\"\n");
    assert!(place.swap().1.contains(pending));
    place.replace(CONFIG, "[listen]\nidle_timeout = \"9s\"\n[gate]\nmax_wait = \"9m\"\n");
    assert!(place.swap().1.contains(pending), "still");
    place.replace(CONFIG, "[gate]\nmax_wait = \"9m\"\n");
    let (in_force, log) = place.swap();
    assert!(in_force && !log.contains("next start"), "{log}");
}

#[test]
fn who_was_verified_for_longer_than_is_allowed_now_is_not_any_more() {
    let mut place = Place::with("[auth]\nverified_for = \"5m\"\n");
    let gate = Arc::clone(place.swapper.gatekeeper.gate());
    let waiting = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let id = ClientId::new("alice").unwrap();
    let admitted = gate.admit(Source::new("203.0.113.7".parse().unwrap(), 64)).unwrap();
    let passage = || waiting.block_on(gate.pass(&admitted, Some(&id), Some(b"secret"))).unwrap();
    let log_in = || {
        let Passage::Turn(admission) = passage() else { panic!("verified already") };
        let outcome = Outcome::Success;
        let finished = Finished {
            outcome,
            secret: Some(b"secret"),
            client_known: None,
            secret_fingerprint: None,
            attributes: &[],
        };
        gate.judge_attempt(admission, &finished);
    };
    log_in();
    place.replace(CONFIG, "[auth]\nverified_for = \"5m\"\n[gate]\nmax_wait = \"9m\"\n");
    assert!(place.swap().0);
    assert!(matches!(passage(), Passage::Verified(_)), "another key");
    place.replace(CONFIG, "[auth]\nverified_for = \"1m\"\n");
    assert!(place.swap().0);
    log_in();
    place.replace(CONFIG, "[auth]\nverified_for = \"0s\"\n");
    assert!(place.swap().0);
    log_in();
}

#[test]
fn a_reload_is_never_lost_among_looks() {
    let (bell, hears) = Bell::new();
    bell.look();
    bell.look();
    bell.reload();
    assert_eq!(bell.next(&hears), Todo::Reload);
    bell.reload();
    bell.look();
    assert_eq!(bell.next(&hears), Todo::Reload);
    bell.look();
    assert_eq!(bell.next(&hears), Todo::Look, "each once");
}

/// The lines of a message's head, and its connection.
fn head(stream: TcpStream) -> (Vec<String>, TcpStream) {
    let mut reader = BufReader::new(stream);
    let lines = reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    (lines, reader.into_inner())
}

#[test]
fn rule_15_a_ban_finds_tunnels_through_an_upstream_that_was_replaced() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("[upstream]\nurl = \"http://{}\"\n", service.local_addr().unwrap());
    let mut place = Place::with(&url);
    let gatekeeper = place.swapper.gatekeeper.clone();
    let open = || gatekeeper.front().upstream.as_ref().map(|upstream| upstream.tunnels().count());
    let mut options =
        ServeOptions::new(vec!["127.0.0.1:0".parse().unwrap()], http_options(&place.swapper.setup.config, 1));
    options.workers = 1;
    let handle = http::serve(options, Arc::new(gatekeeper.clone())).unwrap();
    let mut client = TcpStream::connect(handle.addresses()[0]).unwrap();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    write!(client, "GET / HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n").unwrap();
    let (_, mut served) = head(service.accept().unwrap().0);
    write!(served, "HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n").unwrap();
    let (reply, client) = head(client);
    assert!(reply[0].starts_with("HTTP/1.1 101"), "{reply:?}");
    assert_eq!(open(), Some(1));

    place.replace(CONFIG, format!("{url}response_timeout = \"9s\"\n"));
    assert!(place.swap().0);
    assert_eq!(open(), Some(1), "the register is the same");
    place.replace(CONFIG, "");
    assert!(place.swap().0);
    assert_eq!(open(), None);
    place.replace(CONFIG, &url);
    assert!(place.swap().0);
    assert_eq!(open(), Some(1));
    drop((client, served));
    handle.drain(Duration::ZERO);
    handle.join().unwrap();
}

/// Longest wait that is in force, where it has become `expected`.
#[track_caller]
fn assert_comes_to(gatekeeper: &Gatekeeper, expected: Duration) {
    let until = Instant::now() + DEADLINE;
    while gatekeeper.gate().ruleset().limits.max_wait != expected {
        assert!(Instant::now() < until, "not put in force");
        std::thread::yield_now();
    }
}

#[test]
fn what_changed_before_the_thread_began_and_what_changes_later_is_put_in_force() {
    let Place { folder, swapper, .. } = Place::with("");
    let gatekeeper = swapper.gatekeeper.clone();
    // As if between the reading of the file and the first watch.
    replace(folder.path(), CONFIG, "[gate]\nmax_wait = \"9m\"\n");
    let thread = SwapThread::start(swapper).unwrap();
    assert_comes_to(&gatekeeper, Duration::from_secs(540));
    replace(folder.path(), CONFIG, "[gate]\nmax_wait = \"8m\"\n");
    assert_comes_to(&gatekeeper, Duration::from_secs(480));
    let ended = thread.stop().unwrap();
    assert_eq!(ended.setup.config.gate.max_wait, Duration::from_secs(480));
}
