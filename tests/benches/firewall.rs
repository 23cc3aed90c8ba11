//! From a line in a log to the element that keeps its source out, beside a real
//! fail2ban with its nftables action, in one run.
//!
//! `cargo bench -p portcullis-tests --bench firewall [-- ROUNDS]`
//!
//! Both watch a log of their own in rportd's format, in one network namespace,
//! and ban after two 404 lines within 20 s, for an hour. What is measured begins
//! when the line is in the log (`write` has returned) and ends when the kernel
//! tells of the element; fail2ban's rule is there before. fail2ban uses inotify
//! where python3-pyinotify is installed, else it polls; its first line says.
//! Then 100,000 bans are put in force by servers that are started on what a killed
//! one has left.
//! ROUNDS (300) single offenders for Portcullis, a tenth for fail2ban.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken benchmark stops")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use portcullis_tests::{
    Elements, Network, Portcullis, Server, Spread, eventually, peer, report_goal, require, rportd_time,
};
use tempfile::TempDir;

/// Ordinary lines ahead of the offender.
const AHEAD: usize = 100_000;
const AHEAD_ROUNDS: usize = 5;
/// Scanners at once.
const AT_ONCE: usize = 2_000;
/// Bans that a restart puts in force, and how often.
const MANY: u32 = 100_000;
const RESTARTS: usize = 5;

fn main() {
    // cargo passes `--bench`; what is a number is ours.
    let rounds = std::env::args().find_map(|arg| arg.parse::<usize>().ok()).unwrap_or(300);
    if !require("fail2ban-server") {
        return;
    }
    let Some(network) = Network::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    // One after the other: each is gone before the next begins.
    let ours = measure(&network, &Ours::start(&network, folder.path()), rounds);
    let fail2ban = measure(&network, &Fail2ban::start(&network), (rounds / 10).max(3));
    println!("{:<44} {:>20} {:>20}", "", "portcullis", "fail2ban");
    let row = |name: &str, figure: fn(&Figures) -> String| {
        println!("{name:<44} {:>20} {:>20}", figure(&ours), figure(&fail2ban));
    };
    row("one offender, median", |figures| ms(quantile(&figures.one, 0.5)));
    row("... 99th percentile", |figures| format!("{} of {}", ms(quantile(&figures.one, 0.99)), figures.one.len()));
    row("... longest", |figures| ms(quantile(&figures.one, 1.0)));
    row("100,000 ordinary lines ahead, median", |figures| ms(quantile(&figures.ahead, 0.5)));
    row("... longest", |figures| format!("{} of {}", ms(quantile(&figures.ahead, 1.0)), figures.ahead.len()));
    row("2,000 scanners at once, the last", |figures| ms(figures.at_once));
    let restarts = restarts(&network);
    println!("100,000 bans put in force at a start: {} ms", Spread::of(restarts.iter().copied()).show(0));
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let p99 = Spread { median: millis(quantile(&ours.one, 0.99)), ..Spread::of(ours.one.iter().copied().map(millis)) };
    report_goal("firewall-one", p99);
    report_goal("firewall-ahead", Spread::of(ours.ahead.iter().copied().map(millis)));
    report_goal("firewall-at-once", Spread::of([millis(ours.at_once)].into_iter()));
    report_goal("firewall-restart", Spread::of(restarts.into_iter()));
}

/// Milliseconds in which a server puts many bans in force that is started on
/// what another has left, which was killed.
fn restarts(network: &Network) -> Vec<f64> {
    let config = "[firewall]\nbackend = \"nftables\"\n[state]\nstore = \"sqlite:state.sqlite\"\n";
    let server = network.inside.within(|| Portcullis::with_config(config).start());
    let mut again = server.again();
    let state = server.folder().join("state.sqlite");
    assert!(server.stop().status.success());
    fill(&state);
    let mut took = Vec::new();
    for _ in 0..=RESTARTS {
        let server = network.inside.within(|| again.start());
        let line = server.logged("put in force in ");
        assert!(line.contains(&format!("holds {MANY} bans")), "{line}");
        let millis = line.split("put in force in ").nth(1).and_then(|rest| rest.strip_suffix(" ms"));
        took.push(millis.unwrap().parse::<f64>().unwrap());
        again = server.again();
        let _killed = server.kill();
    }
    // The first found nothing that had to go.
    took.split_off(1)
}

/// Bans of 10.0.0.0/8 for hours, into a file that the program has made.
fn fill(state: &Path) {
    let mut file = rusqlite::Connection::open(state).unwrap();
    let filling = file.transaction().unwrap();
    let latest: i64 = filling.query_row("SELECT latest FROM file", [], |row| row.get(0)).unwrap();
    let insert =
        "INSERT INTO bans VALUES (?1, ?2, ?3, 'ban', 'max-failed-login', 'Maximum of 5 login attempts reached.', 0)";
    let mut ban = filling.prepare(insert).unwrap();
    for n in 0..MANY {
        let until = latest + 3_600_000 + i64::from(n.wrapping_mul(2_654_435_761) % 86_400_000);
        ban.execute((format!("{}/32", Ipv4Addr::from(10 << 24 | n)), latest, until)).unwrap();
    }
    drop(ban);
    filling.commit().unwrap();
}

struct Figures {
    one: Vec<Duration>,
    ahead: Vec<Duration>,
    at_once: Duration,
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    sorted[place - 1]
}

/// Who watches a log and bans.
trait Contender {
    fn log(&self) -> &Path;
}

fn measure(network: &Network, contender: &dyn Contender, rounds: usize) -> Figures {
    let elements = Elements::listen(&network.inside);
    let mut log = File::options().append(true).open(contender.log()).unwrap();
    let mut offenders = (0_u32..).map(|n| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + n));
    let mut took = |lines: String, offenders: &[Ipv4Addr]| {
        log.write_all(lines.as_bytes()).unwrap();
        let written = Instant::now();
        elements.all(offenders).saturating_duration_since(written)
    };
    // Whoever is first pays for what is made once.
    for first in offenders.by_ref().take(2) {
        took(offence(first), &[first]);
    }
    let one = offenders.by_ref().take(rounds).map(|one| took(offence(one), &[one])).collect();
    let ahead = offenders.by_ref().take(AHEAD_ROUNDS).map(|one| took(ordinary(AHEAD) + &offence(one), &[one]));
    let ahead = ahead.collect();
    let many: Vec<_> = offenders.take(AT_ONCE).collect();
    let at_once = took(many.iter().map(|one| offence(*one)).collect(), &many);
    Figures { one, ahead, at_once }
}

/// Two 404 lines of that source.
fn offence(source: Ipv4Addr) -> String {
    let now = rportd_time(SystemTime::now());
    format!("{now} info: client-listener: GET /.env 404 92µs ({source})\n").repeat(2)
}

/// Lines that tell of no offence.
fn ordinary(lines: usize) -> String {
    let now = rportd_time(SystemTime::now());
    let mut text = String::new();
    for n in 0..lines {
        let _ = match n % 3 {
            0 => writeln!(text, "{now} info: client-listener: client#{n}: Open box-{n} (192.0.2.200)"),
            1 => writeln!(text, "{now} info: api-listener: GET /api/v1/clients 200 {}ms 512B (192.0.2.201)", n % 90),
            _ => writeln!(text, "{now} debug: client-listener: ping box-{n}: {}ms ok", n % 4040),
        };
    }
    text
}

struct Ours {
    log: PathBuf,
    _server: Server,
}

impl Ours {
    fn start(network: &Network, folder: &Path) -> Self {
        let log = folder.join("ours.log");
        fs::write(&log, "").unwrap();
        let config = format!(
            "[firewall]\nbackend = \"nftables\"\n[state]\nstore = \"sqlite:state.sqlite\"\n\
             [[watch]]\nname = \"rportd\"\npath = {log:?}\nformat = \"rportd\"\ntime_zone = \"UTC\"\n"
        );
        let server = network.inside.within(|| Portcullis::with_config(&config).start());
        Self { log, _server: server }
    }
}

impl Contender for Ours {
    fn log(&self) -> &Path {
        &self.log
    }
}

struct Fail2ban {
    folder: TempDir,
    log: PathBuf,
    server: Child,
}

impl Fail2ban {
    fn start(network: &Network) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let log = path("theirs.log");
        fs::write(&log, "").unwrap();
        fs::create_dir(path("filter.d")).unwrap();
        fs::copy(peer("fail2ban-rport-scanners.conf"), path("filter.d/rportd.conf")).unwrap();
        std::os::unix::fs::symlink("/etc/fail2ban/action.d", path("action.d")).unwrap();
        let own = path("fail2ban.log");
        let daemon = format!(
            "[Definition]\nloglevel = INFO\nlogtarget = {}\nsyslogsocket = auto\nsocket = {}\npidfile = {}\n\
             dbfile = None\nallowipv6 = auto\n",
            own.display(),
            path("socket").display(),
            path("pid").display()
        );
        fs::write(path("fail2ban.conf"), daemon).unwrap();
        let jail = format!(
            "[rportd]\nenabled = true\nfilter = rportd\nlogpath = {}\nbackend = auto\nusedns = no\nmaxretry = 2\n\
             findtime = 20\nbantime = 3600\naction = nftables[name=rportd, type=allports, protocol=tcp]\n",
            log.display()
        );
        fs::write(path("jail.conf"), jail).unwrap();
        let mut command = Command::new("fail2ban-server");
        command.arg("-f").arg("-c").arg(folder.path()).arg("-s").arg(path("socket")).arg("-p").arg(path("pid"));
        command.env("TZ", "UTC").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = network.inside.within(|| command.spawn().unwrap());
        let says = |what: &str| fs::read_to_string(&own).ok().filter(|text| text.contains(what));
        let started = eventually("fail2ban watches", || says("Jail 'rportd' started"));
        let uses =
            started.lines().find_map(|line| line.split_once("Jail 'rportd' uses ")).map_or("?", |(_, uses)| uses);
        println!("fail2ban uses {uses}");
        Self { folder, log, server }
    }
}

impl Contender for Fail2ban {
    fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Fail2ban {
    fn drop(&mut self) {
        let _ends_with_us = self.server.kill();
        let _ = self.server.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.folder.path().join("fail2ban.log")).unwrap_or_default());
        }
    }
}
