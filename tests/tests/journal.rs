//! The journal of the real program: what happened is in it, can be judged again
//! and explains every ban, whatever becomes of the process or its folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portcullis_harness::journal::explain::{InForceNow, Whom, explain};
use portcullis_harness::journal::record::{Enforced, Judged, What};
use portcullis_harness::journal::value::Time;
use portcullis_harness::journal::{Reader, segment};
use portcullis_tests::{Portcullis, Ran, Server, eventually, portcullis, repository, require, run};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;

/// A folder for a journal that outlives servers.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn journal(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn config(&self, max_failed_login: u32) -> String {
        format!("[journal]\ndir = {:?}\n[policy.ban.settings]\nmax_failed_login = {max_failed_login}\n", self.journal())
    }

    fn start(&self, max_failed_login: u32) -> Server {
        Portcullis::with_config(&self.config(max_failed_login)).client("owner:correct-horse-battery").start()
    }

    fn replay(&self, arguments: &[&str]) -> Ran {
        run(Command::new(portcullis()).arg("replay").arg(self.journal()).args(arguments))
    }

    fn replay_json(&self) -> Value {
        let ran = self.replay(&["--json"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

/// Lets a source fail so many times, each time as somebody else.
fn fail(server: &Server, source: &str, times: u32) {
    let mut connection = server.connect();
    for n in 0..times {
        let guess = server.get("/").from(source).basic(&format!("{source}-{n}"), &format!("wrong-password-{n}"));
        assert_eq!(connection.exchange(&guess).status, 401, "{source} {n}");
    }
}

fn scan(server: &Server, source: &str) {
    let mut connection = server.connect();
    for path in ["/wp-login.php", "/.env"] {
        assert_eq!(connection.exchange(&server.get(path).from(source)).status, 404);
    }
}

/// Many at once: of each ten sources some are banned for failed logins, some for
/// scanning, and some log in.
fn traffic(server: &Server, third: u8, failures: u32) {
    std::thread::scope(|scope| {
        for lane in 0..4_u8 {
            scope.spawn(move || {
                for nth in 0..10_u8 {
                    let source = format!("10.{third}.{lane}.{}", nth + 1);
                    match nth % 3 {
                        0 => fail(server, &source, failures),
                        1 => scan(server, &source),
                        _ => {
                            fail(server, &source, failures - 1);
                            let right = server.get("/").from(&source).basic("owner", "correct-horse-battery");
                            assert_eq!(right.send().status, 200);
                        }
                    }
                }
            });
        }
    });
}

type Bans = Vec<(IpAddr, String, InForceNow)>;

/// Every ban that was enforced, as the journal has it.
fn bans(journal: &Path) -> Bans {
    let mut bans = Vec::new();
    // There is none before the first write.
    let Ok(reader) = Reader::open(journal) else { return bans };
    let findings = reader.forward(|_, record| {
        if let What::Judged(Judged { source, policy, enforced: Some(Enforced::Ban { network, until, .. }), .. }) =
            &record.what
        {
            let now = InForceNow::Banned { network: *network, since: Time(record.time.0), until: *until };
            bans.push((source.0, (*policy).to_owned(), now));
        }
        ControlFlow::Continue(())
    });
    assert_eq!((findings.damaged, findings.unknown), (0, 0));
    bans
}

/// What the log says of bans, by address.
fn logged_bans(log: &[String]) -> usize {
    log.iter().filter(|line| line.contains(" banned. Ban expiry: ")).count()
}

#[test]
fn a_busy_run_with_a_swap_and_a_restart_agrees_when_judged_again_and_every_ban_is_explained() {
    let folder = Folder::new();
    let server = folder.start(3);
    traffic(&server, 1, 3);
    server.configure(&folder.config(2));
    server.swapped(1);
    traffic(&server, 2, 2);
    let first = server.stop();
    let server = folder.start(4);
    traffic(&server, 3, 4);
    let second = server.stop();
    assert_eq!(first.total("bans") + second.total("bans"), 84);

    let again = folder.replay_json();
    // Each attempt by two policies, each 404 by one: what was judged is what was counted.
    let judged = |name| first.total(name) + second.total(name);
    assert_eq!(again["different"], 0, "{again:#}");
    assert_eq!((&again["unavailable"], &again["findings"]["damaged"]), (&0.into(), &0.into()));
    assert_eq!(again["equal"], again["judgements"]);
    let attempts = judged("attempts_failed") + judged("attempts_succeeded");
    assert_eq!(again["judgements"], 2 * attempts + 72, "36 scanners were seen twice each");

    let bans = bans(&folder.journal());
    assert_eq!(bans.len(), 84);
    assert_eq!(bans.len(), logged_bans(&first.log) + logged_bans(&second.log));
    let reader = Reader::open(&folder.journal()).unwrap();
    let wanted = BTreeMap::from([(1, 3), (2, 2), (3, 4)]);
    for (source, policy, ban) in &bans {
        let explained = explain(&reader, &Whom::Address(*source), std::slice::from_ref(ban));
        assert_eq!(explained.unexplained, Vec::<usize>::new(), "{source}");
        let order = explained.orders.iter().find(|order| order.explains == Some(0)).unwrap();
        assert!(order.from_the_beginning && !order.gaps, "{source}: {order:?}");
        let IpAddr::V4(v4) = source else { panic!("{source}") };
        let events = if policy == "scanner" { 2 } else { wanted[&v4.octets()[1]] };
        assert_eq!(order.chain.len(), events, "{source} by {policy}");
        for stored in &order.chain {
            assert_eq!(stored.record().unwrap().source(), Some(*source));
        }
    }

    // With other policies it comes to something else, and that is shown.
    fs::write(folder.0.path().join("mild.toml"), "[policy.ban.settings]\nmax_failed_login = 100\n").unwrap();
    let mild = folder.0.path().join("mild.toml");
    let ran = folder.replay(&["--against", mild.to_str().unwrap(), "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let compared: Value = serde_json::from_str(&ran.stdout).unwrap();
    let no_longer = compared["against"]["no_longer_banned_networks"].as_u64();
    assert!(no_longer.is_some_and(|networks| networks > 0), "{compared:#}");
}

#[test]
fn no_secret_is_in_any_segment() {
    let folder = Folder::new();
    let server = folder.start(3);
    traffic(&server, 1, 3);
    let query = server.get("/?token=query-secret-1").from("10.9.9.9").header("Cookie", "session=cookie-secret-1");
    assert_eq!(query.send().status, 401);
    drop(server.stop());
    let mut written = Vec::new();
    for (_, path) in segment::list(&folder.journal()).unwrap() {
        written.extend(fs::read(path).unwrap());
    }
    let has = |secret: &str| written.windows(secret.len()).any(|window| window == secret.as_bytes());
    assert!(has("10.1.0.1-0"), "ids are");
    for secret in ["wrong-password", "correct-horse", "query-secret", "cookie-secret", "d3JvbmctcGFzc3dvcmQ"] {
        assert!(!has(secret), "{secret}");
    }
}

#[test]
fn a_folder_that_is_removed_while_it_runs_is_made_again_and_nobody_waits_for_it() {
    let folder = Folder::new();
    let server = folder.start(3);
    fail(&server, "203.0.113.1", 3);
    eventually("it is written", || (bans(&folder.journal()).len() == 1).then_some(()));
    let aside = |name: &str| folder.journal().with_extension(name);
    // Made again meanwhile it isn't empty.
    eventually("it is removed", || fs::remove_dir_all(folder.journal()).ok());
    server.logged("journal: its folder or a file of it was removed; it goes on in a new segment");
    fail(&server, "203.0.113.2", 3);
    // One that can't be made again is told, and guarding goes on.
    fs::write(aside("other"), "in the way").unwrap();
    renameat_with(CWD, aside("other"), CWD, folder.journal(), RenameFlags::EXCHANGE).unwrap();
    server.logged("events are kept in memory alone until it can be written to again");
    let dropped = || -> u64 {
        let metrics = server.administration("/metrics");
        let count = metrics.lines().find_map(|line| line.strip_prefix("portcullis_journal_dropped_total "));
        count.unwrap().parse().unwrap()
    };
    let before = dropped();
    fail(&server, "203.0.113.3", 3);
    assert_eq!(server.get("/").from("203.0.113.3").send().status, 423);
    eventually("what it can't keep is given up", || (dropped() >= before + 3).then_some(()));
    fs::remove_file(folder.journal()).unwrap();
    server.logged("journal: it can be written to again");
    fail(&server, "203.0.113.4", 3);
    let stopped = server.stop();
    assert_eq!(stopped.total("bans"), 4);
    let sources: Vec<_> = bans(&folder.journal()).into_iter().map(|(source, ..)| source.to_string()).collect();
    assert_eq!(sources, ["203.0.113.4"]);
    assert_eq!(folder.replay_json()["different"], 0, "each segment says what was in force");
}

#[test]
fn what_a_kill_left_behind_is_healed_at_the_next_start() {
    let folder = Folder::new();
    let server = folder.start(3);
    fail(&server, "203.0.113.1", 3);
    eventually("it is written", || (bans(&folder.journal()).len() == 1).then_some(()));
    drop(server);
    // As if it had been killed in the middle of a write.
    let (_, newest) = segment::list(&folder.journal()).unwrap().pop().unwrap();
    let whole = fs::read(&newest).unwrap();
    OpenOptions::new().append(true).open(&newest).unwrap().write_all(&whole[32..52]).unwrap();
    let server = folder.start(3);
    let said = server.logged("cut at the last whole record");
    assert!(said.contains("20 bytes behind it were torn"), "{said}");
    fail(&server, "203.0.113.2", 3);
    let second = folder.start_in_use();
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(
        second.stderr.contains("journal.dir: ") && second.stderr.contains("in use by another process"),
        "{second:?}"
    );
    drop(server.stop());
    assert_eq!(bans(&folder.journal()).len(), 2);
    let again = folder.replay_json();
    assert_eq!((&again["different"], &again["equal"]), (&0.into(), &12.into()));
}

impl Folder {
    /// A second server on the same journal.
    fn start_in_use(&self) -> Ran {
        Portcullis::with_config(&self.config(3)).client("owner:correct-horse-battery").fail_to_start()
    }
}

#[test]
fn judgements_by_a_plugin_that_is_not_at_hand_are_told_until_it_is_named() {
    let folder = Folder::new();
    let strict = fs::read(repository().join("plugins/examples/bundle/strict-ban.wasm")).unwrap();
    let config = format!("[journal]\ndir = {:?}\n[policy.ban]\nplugin = \"policy.wasm\"\n", folder.journal());
    let server = Portcullis::with_config(&config).file("policy.wasm", &strict).client("owner:x").start();
    fail(&server, "203.0.113.1", 2);
    drop(server.stop());
    // Its file went with the server's folder.
    let again = folder.replay_json();
    assert_eq!((&again["equal"], &again["unavailable"]), (&2.into(), &2.into()), "{again:#}");
    assert_eq!(again["missing"][0]["why"], "no plugin of this digest is at hand");
    let plugin = repository().join("plugins/examples/bundle/strict-ban.wasm");
    let ran = folder.replay(&["--plugin", plugin.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("4 come to the same again"), "{}", ran.stdout);
    let ran = folder.replay(&["--format", "combined"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.stderr, "portcullis: replay of a journal: --format and --regex are for logs\n");
}

/// Runs a command against that server's socket.
fn operate(server: &Server, arguments: &[&str]) -> Ran {
    let (command, rest) = arguments.split_first().unwrap();
    run(Command::new(portcullis()).arg(command).arg("--socket").arg(server.admin_socket()).args(rest))
}

#[test]
fn the_running_server_explains_and_lists_what_happened() {
    for config in [String::new(), Folder::new().config(3)] {
        let config =
            if config.is_empty() { "[policy.ban.settings]\nmax_failed_login = 3\n".to_owned() } else { config };
        // It is asked about after everything else.
        let config = config + "[policy.wait.settings]\nclient_login_wait = 600\n";
        let server = Portcullis::with_config(&config).client("owner:correct-horse-battery").start();
        fail(&server, "203.0.113.1", 3);
        scan(&server, "203.0.113.2");
        assert_eq!(operate(&server, &["ban", "198.51.100.0/24", "--reason", "noise"]).code, Some(0));

        let ran = operate(&server, &["explain", "203.0.113.1"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
        let lines: Vec<_> = ran.stdout.lines().collect();
        assert!(
            lines[0].starts_with("203.0.113.1 is banned until ") && lines[0].contains("by policy ban"),
            "{}",
            ran.stdout
        );
        for (nth, line) in lines[1..4].iter().enumerate() {
            assert!(line.contains(&format!("203.0.113.1 as 203.0.113.1-{nth}  failed login  ban: ")), "{}", ran.stdout);
        }
        assert!(lines[3].contains("ban for 1h of 203.0.113.1: Maximum of 3 login attempts reached."), "{}", ran.stdout);
        let ran = operate(&server, &["explain", "203.0.113.2"]);
        assert_eq!(ran.stdout.matches("404  scanner: ").count(), 2, "{}", ran.stdout);
        let ran = operate(&server, &["explain", "198.51.100.77"]);
        assert!(
            ran.stdout.contains("by hand: noise") && ran.stdout.contains("198.51.100.0/24 banned until"),
            "{}",
            ran.stdout
        );
        let ran = operate(&server, &["explain", "203.0.113.1-2"]);
        assert!(ran.stdout.contains("203.0.113.1-2 has to wait until"), "{}", ran.stdout);
        let ran = operate(&server, &["explain", "192.0.2.1"]);
        assert!(
            ran.stdout.starts_with("Nothing is in force for 192.0.2.1.\nThe journal knows nothing"),
            "{}",
            ran.stdout
        );

        let listed = |arguments: &[&str]| -> Vec<Value> {
            let ran = operate(&server, &[&["events", "--json", "--limit", "0"], arguments].concat());
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
            serde_json::from_str(&ran.stdout).unwrap()
        };
        assert_eq!(listed(&["--kind", "ban"]).len(), 3);
        assert_eq!(listed(&["--source", "203.0.113.1"]).len(), 6);
        assert_eq!(listed(&["--client", "203.0.113.1-1", "--policy", "wait"]).len(), 1);
        assert_eq!(listed(&["--kind", "act"])[0]["subject"]["source"], "198.51.100.0/24");
        assert_eq!(listed(&["--kind", "process"]).len(), 1);
        assert_eq!(listed(&["--since", "2020-01-01T00:00:00Z"]).len(), listed(&[]).len());
        let newest = operate(&server, &["events", "--limit", "1"]);
        assert!(newest.stdout.contains("by hand: 198.51.100.0/24 banned until"), "{}", newest.stdout);
        assert!(newest.stdout.ends_with("and more (--limit 0 shows all)\n"), "{}", newest.stdout);
        let wrong = operate(&server, &["events", "--kind", "nonsense"]);
        assert_eq!(wrong.code, Some(2), "{wrong:?}");
        assert!(wrong.stderr.contains("kind=nonsense: expected one of judged, wait, ban"), "{wrong:?}");
    }
}

#[test]
fn who_follows_sees_events_as_they_happen() {
    let server = Portcullis::new().client("owner:correct-horse-battery").start();
    let mut following = Command::new(portcullis())
        .args(["events", "--follow", "--json", "--kind", "wait", "--socket"])
        .arg(server.admin_socket())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let line = std::thread::scope(|scope| {
        // When it has begun to follow nobody can tell from outside: it goes on until it is heard.
        let server = &server;
        scope.spawn(move || {
            for n in 0.. {
                if stopped.try_recv().is_ok() {
                    return;
                }
                // Each by a source of its own: whoever is banned waits no more.
                let source = std::net::Ipv4Addr::from(0x0a00_0000_u32 + n);
                let guess = server.get("/").from(&source.to_string()).basic(&format!("follow-{n}"), "x");
                guess.send();
            }
        });
        let line = lines.next().unwrap().unwrap();
        stop.send(()).unwrap();
        line
    });
    following.kill().unwrap();
    following.wait().unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["kind"], &event["policy_kind"]), (&"judged".into(), &"wait".into()));
    assert!(event["client"].as_str().unwrap().starts_with("follow-"));
}

#[test]
fn the_whole_journal_can_be_downloaded() {
    if !require("curl") {
        return;
    }
    let folder = Folder::new();
    let server = folder.start(3);
    fail(&server, "203.0.113.1", 3);
    let get = |path: &str| {
        let url = format!("http://portcullis{path}");
        run(Command::new("curl").args(["-sS", "--unix-socket"]).arg(server.admin_socket()).arg(url)).stdout
    };
    let records = get("/v1/journal/records");
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.iter().filter(|record| record["kind"] == "judged").count(), 6);
    // A segment opens with what is in force, which counts as no event.
    assert_eq!((&records[0]["place"], &records[0]["again"]), (&"1.32".into(), &true.into()));
    let journal: Value = serde_json::from_str(&get("/v1/journal")).unwrap();
    assert_eq!(journal["journal"]["written"], records.len() - 1);
    assert_eq!(journal["segments"][0]["name"], "000000000001.journal");
    assert_eq!(journal["segments"][0]["bytes"], journal["journal"]["bytes"]);
}
