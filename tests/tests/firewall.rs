//! Bans in the kernel: real packets between network namespaces of the test's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use portcullis_tests::{
    Network, Portcullis, Ran, Server, capabilities_of, eventually, portcullis, require, rportd_time, run, skip,
};
use rusqlite::Connection;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

const NFTABLES: &str = "[firewall]\nbackend = \"nftables\"\n";
/// A scanner, a neighbour in its network, and one of another network.
const SCANNER: &str = "203.0.113.7";
const NEIGHBOUR: &str = "203.0.113.8";
const OTHER: &str = "198.51.100.7";
const SCANNER_V6: &str = "2001:db8:5::7";
const NEIGHBOUR_V6: &str = "2001:db8:5:1::7";

/// Runs a command of the operator's.
fn operate(server: &Server, arguments: &[&str]) -> Ran {
    let (command, rest) = arguments.split_first().unwrap();
    run(Command::new(portcullis()).arg(command).arg("--socket").arg(server.admin_socket()).args(rest))
}

#[track_caller]
fn said(server: &Server, arguments: &[&str]) -> String {
    let ran = operate(server, arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    ran.stdout
}

/// Starts a server where the services are.
fn start(network: &Network, config: &str) -> Server {
    network.inside.within(|| Portcullis::with_config(config).start())
}

fn start_again(network: &Network, server: Portcullis) -> Server {
    network.inside.within(|| server.start())
}

/// Waits until nothing of that source reaches the port any more. What a ban
/// ordered is in force a millisecond or two after it.
#[track_caller]
fn shut_out(network: &Network, source: &str, port: u16) {
    eventually(&format!("{source} is shut out"), || (!network.reaches(source, port)).then_some(()));
}

#[track_caller]
fn let_in(network: &Network, source: &str, port: u16) {
    eventually(&format!("{source} is let in"), || network.reaches(source, port).then_some(()));
}

#[test]
fn a_banned_sources_next_syn_is_dropped_while_others_connect_and_unban_and_expiry_let_it_in() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let server = start(&network, NFTABLES);
    for source in [SCANNER, NEIGHBOUR, OTHER, SCANNER_V6, NEIGHBOUR_V6] {
        let_in(&network, source, service.port());
    }
    let mut before = network.connect(SCANNER, service.port()).unwrap();
    said(&server, &["ban", SCANNER, "--for", "1h"]);
    said(&server, &["ban", SCANNER_V6, "--for", "1h"]);
    shut_out(&network, SCANNER, service.port());
    shut_out(&network, SCANNER_V6, service.port());
    // The whole /64, and nobody else.
    shut_out(&network, "2001:db8:5::8", service.port());
    for source in [NEIGHBOUR, OTHER, NEIGHBOUR_V6] {
        assert!(network.reaches(source, service.port()), "{source}");
    }
    // What was open before is as dead.
    let stopped = network.stopped();
    before.write_all(b"anyone?").unwrap();
    eventually("packets of an established connection are stopped", || (network.stopped() > stopped).then_some(()));
    let status = said(&server, &["status"]);
    assert!(status.contains("nftables, 2 networks kept out"), "{status}");
    eventually("what is stopped is counted", || {
        (!said(&server, &["status"]).contains("so far: 0\nready")).then_some(())
    });
    said(&server, &["unban", SCANNER]);
    let_in(&network, SCANNER, service.port());
    assert!(!network.reaches(SCANNER_V6, service.port()));
    said(&server, &["unban", SCANNER_V6]);
    let_in(&network, SCANNER_V6, service.port());
    // By its end.
    said(&server, &["ban", SCANNER, "--for", "10s"]);
    shut_out(&network, SCANNER, service.port());
    let_in(&network, SCANNER, service.port());
    let metrics = server.administration("/metrics");
    assert!(metrics.contains("portcullis_firewall_failing 0"), "{metrics}");
}

#[test]
fn a_wide_ban_that_ends_earlier_leaves_the_narrow_one_in_force() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let server = start(&network, NFTABLES);
    said(&server, &["ban", SCANNER, "--for", "1h"]);
    said(&server, &["ban", "203.0.113.0/24", "--for", "10s"]);
    shut_out(&network, NEIGHBOUR, service.port());
    assert!(network.reaches(OTHER, service.port()));
    let_in(&network, NEIGHBOUR, service.port());
    assert!(!network.reaches(SCANNER, service.port()));
}

#[test]
fn who_comes_to_be_never_banned_is_let_in_within_a_wider_ban() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let server = start(&network, NFTABLES);
    said(&server, &["ban", "203.0.113.0/24"]);
    shut_out(&network, NEIGHBOUR, service.port());
    server.configure(&format!("{NFTABLES}[source]\nnever_ban = [\"{NEIGHBOUR}\"]\n"));
    let_in(&network, NEIGHBOUR, service.port());
    assert!(!network.reaches(SCANNER, service.port()));
}

#[test]
fn only_the_named_ports_are_shut_and_reject_says_so() {
    let Some(network) = Network::new() else { return };
    let (service, other) = (network.service(), network.service());
    let port = service.port();
    let server = start(&network, &format!("{NFTABLES}ports = [{port}]\naction = \"reject\"\n"));
    said(&server, &["ban", SCANNER]);
    said(&server, &["ban", SCANNER_V6]);
    let_in(&network, SCANNER_V6, other.port());
    for source in [SCANNER, SCANNER_V6] {
        let refused = eventually("a connection is refused", || network.connect(source, port).err());
        assert_eq!(refused, rustix::io::Errno::CONNREFUSED, "{source}");
        assert!(network.reaches(source, other.port()), "{source}");
    }
    let table = network.inside.nft("list table inet portcullis");
    assert!(table.contains("reject with tcp reset") && table.contains(&format!("elements = {{ {port} }}")), "{table}");
}

/// A firewall that an operator has, with a set that looks like ours.
const FOREIGN: &str = "
    add table inet filter
    add chain inet filter input { type filter hook input priority 0; policy accept; }
    add set inet filter v4_32 { type ipv4_addr; flags timeout; }
    add element inet filter v4_32 { 192.0.2.77 }
    add rule inet filter input tcp dport 1 drop
    add table ip portcullis
    add chain ip portcullis input
    add table inet portcullis-2
";

#[test]
fn foreign_tables_stay_as_they_are_whatever_happens_to_ours() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    network.inside.nft(FOREIGN);
    let before = network.inside.nft("list ruleset");
    let server = start(&network, &format!("{NFTABLES}on_stop = \"remove\"\n"));
    said(&server, &["ban", SCANNER]);
    said(&server, &["ban", "203.0.113.0/24"]);
    shut_out(&network, SCANNER, service.port());
    said(&server, &["unban", SCANNER]);
    // Somebody removes our table, and it is made anew.
    network.inside.nft("delete table inet portcullis");
    shut_out(&network, NEIGHBOUR, service.port());
    let again = server.again();
    assert!(server.kill().status.code().is_none());
    let server = start_again(&network, again);
    let during = network.inside.nft("list ruleset");
    assert_ne!(during, before);
    assert!(server.stop().status.success());
    assert_eq!(network.inside.nft("list ruleset"), before, "with ours removed, all is as it was");
}

#[test]
fn a_flushed_ruleset_is_noticed_and_mended_and_the_log_says_who_did_it() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let server = start(&network, NFTABLES);
    said(&server, &["ban", SCANNER]);
    shut_out(&network, SCANNER, service.port());
    network.inside.nft("flush ruleset");
    server.logged("firewall: nft (process ");
    shut_out(&network, SCANNER, service.port());
    // A rule, an element: all of it is ours.
    whole(&network);
    network.inside.nft("flush chain inet portcullis input");
    whole(&network);
    network.inside.nft("add element inet portcullis v4_32 { 198.51.100.7 }");
    let_in(&network, OTHER, service.port());
    shut_out(&network, SCANNER, service.port());
    eventually("all three are counted", || {
        let status: serde_json::Value = serde_json::from_str(&said(&server, &["status", "--json"])).unwrap();
        (status["firewall"]["mended"].as_u64().unwrap() >= 3).then_some(())
    });
}

/// Waits until the table's rules are there.
#[track_caller]
fn whole(network: &Network) {
    let has_rules = || network.inside.nft("list ruleset").contains("ip saddr @v4_32 goto banned").then_some(());
    eventually("the table is whole", has_rules);
}

#[test]
fn two_thousand_at_once_are_all_in_force() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let server = start(&network, NFTABLES);
    let socket = server.admin_socket();
    std::thread::scope(|scope| {
        for worker in 0..8_u32 {
            let socket = &socket;
            scope.spawn(move || (0..250).for_each(|n| ban_by_http(socket, &format!("10.1.{worker}.{n}"))));
        }
    });
    eventually("2000 networks are kept out", || {
        said(&server, &["status"]).contains("nftables, 2000 networks").then_some(())
    });
    for source in ["10.1.0.0", "10.1.3.100", "10.1.7.249"] {
        assert!(!network.reaches(source, service.port()), "{source}");
    }
    assert!(network.reaches("10.1.8.1", service.port()));
    let table = network.inside.nft("list set inet portcullis v4_32");
    // Whichever of them was behind: an hour, but for the moment that it was.
    assert_eq!(table.matches("timeout 1h").count() + table.matches("timeout 59m5").count(), 2000);
}

fn ban_by_http(socket: &Path, network: &str) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let body = format!("{{\"network\":\"{network}\"}}");
    let head = "POST /v1/bans HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 20"), "{reply}");
}

#[test]
fn a_restart_with_100_000_bans_lets_nobody_through_for_a_moment() {
    const MANY: u32 = 100_000;
    const BANNED: &str = "10.0.1.7";
    let Some(network) = Network::new() else { return };
    let config = format!("{NFTABLES}[state]\nstore = \"sqlite:state.sqlite\"\n");
    let server = start(&network, &config);
    let again = server.again();
    let state = server.folder().join("state.sqlite");
    assert!(server.stop().status.success());
    fill(&state, MANY);
    let server = start_again(&network, again);
    put_in_force(&server, MANY);
    let service = network.inside.within(|| std::net::UdpSocket::bind((Network::SERVER_V4, 0)).unwrap());
    service.set_read_timeout(Some(portcullis_tests::DEADLINE)).unwrap();
    let port = service.local_addr().unwrap().port();
    let sender = network.datagrams_from(BANNED);
    let other = network.datagrams_from("198.51.100.9");
    other.send_to(b"other", (Network::SERVER_V4, port)).unwrap();
    let mut datagram = [0; 8];
    let length = service.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"other", "whoever isn't banned gets through");
    service.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (probing, sent, through) = (AtomicBool::new(true), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _until_the_end_however_that_comes = Ends(&probing);
        scope.spawn(|| {
            while probing.load(Ordering::Relaxed) {
                // Nothing comes back; a full queue on the way is no matter.
                if sender.send_to(b"probe", (Network::SERVER_V4, port)).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            let mut datagram = [0; 8];
            while probing.load(Ordering::Relaxed) {
                if let Ok(length) = service.recv(&mut datagram)
                    && &datagram[..length] == b"probe"
                {
                    through.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        // In order, and as a crash would; each time the start replaces what was there.
        let again = server.again();
        let stopped = server.stop();
        assert!(stopped.status.success(), "{:?}", stopped.log);
        let server = start_again(&network, again);
        put_in_force(&server, MANY);
        let again = server.again();
        assert!(server.kill().status.code().is_none());
        let server = start_again(&network, again);
        put_in_force(&server, MANY);
        // Made anew while it serves, too.
        network.inside.nft("add element inet portcullis v4_32 { 198.51.100.77 }");
        server.logged("firewall: nft (process ");
        eventually("it is mended", || {
            let found = network
                .inside
                .within(|| run(Command::new("nft").arg("get element inet portcullis v4_32 { 198.51.100.77 }")));
            (found.code != Some(0)).then_some(())
        });
    });
    assert!(sent.load(Ordering::Relaxed) > 1000, "it was tried all the time");
    assert_eq!(through.load(Ordering::Relaxed), 0, "of {}", sent.load(Ordering::Relaxed));
}

/// Says so when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The start's line says so, and how long that took; how long it may take at most
/// is for when nothing else runs.
#[track_caller]
fn put_in_force(server: &Server, many: u32) {
    let line = server.logged("firewall: the table inet portcullis holds ");
    assert!(line.contains(&format!("holds {many} bans, put in force in ")), "{line}");
    println!("{line}");
}

/// Bans of 10.0.0.0/8 for hours, into a file that the program has made.
fn fill(state: &Path, many: u32) {
    let mut file = Connection::open(state).unwrap();
    let filling = file.transaction().unwrap();
    let latest: i64 = filling.query_row("SELECT latest FROM file", [], |row| row.get(0)).unwrap();
    let insert =
        "INSERT INTO bans VALUES (?1, ?2, ?3, 'ban', 'max-failed-login', 'Maximum of 5 login attempts reached.', 0)";
    let mut ban = filling.prepare(insert).unwrap();
    for n in 0..many {
        let until = latest + 3_600_000 + i64::from(n.wrapping_mul(2_654_435_761) % 86_400_000);
        ban.execute((format!("10.{}.{}.{}/32", n >> 16 & 255, n >> 8 & 255, n & 255), latest, until)).unwrap();
    }
    drop(ban);
    filling.commit().unwrap();
}

/// A service that nobody has changed: it writes its log in rportd's format, and
/// that is all.
struct Rportd {
    log: File,
}

impl Rportd {
    fn start(folder: &Path) -> Self {
        Self { log: File::options().create(true).append(true).open(folder.join("rportd.log")).unwrap() }
    }

    fn writes(&mut self, message: &str) {
        writeln!(self.log, "{} info: client-listener: {message}", rportd_time(SystemTime::now())).unwrap();
    }

    fn answers_404(&mut self, path: &str, source: &str) {
        self.writes(&format!("GET {path} 404 92µs ({source})"));
    }

    fn refuses_login(&mut self, id: &str, source: &str) {
        self.writes(&format!("Failed login attempt for client auth id \"{id}\", forcing to wait for 2s ({source})"));
    }
}

/// The configuration of a server that reads such a service's log.
fn watching(more: &str) -> String {
    format!(
        "{NFTABLES}[[watch]]\nname = \"rportd\"\npath = \"rportd.log\"\nformat = \"rportd\"\ntime_zone = \"UTC\"\n{more}"
    )
}

/// A server that guards such a service from beside it, and the service.
fn beside_rportd(network: &Network, more: &str) -> (Server, Rportd) {
    let server = Portcullis::with_config(&watching(more)).file("rportd.log", "");
    let server = start_again(network, server);
    // It is read from its end on, wherever that is by then.
    eventually("the log is followed", || {
        let status: serde_json::Value = serde_json::from_str(&server.administration("/v1/status")).unwrap();
        (status["watches"][0]["sources"] == 1).then_some(())
    });
    let rportd = Rportd::start(server.folder());
    (server, rportd)
}

#[test]
fn two_404_lines_of_a_watched_log_and_the_scanners_next_syn_is_dropped_while_others_connect() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let (server, mut rportd) = beside_rportd(&network, "");
    for source in [SCANNER, NEIGHBOUR, SCANNER_V6, NEIGHBOUR_V6] {
        let_in(&network, source, service.port());
    }
    // One alone bans nobody.
    rportd.answers_404("/favicon.ico", NEIGHBOUR);
    rportd.answers_404("/favicon.ico", OTHER);
    for source in [SCANNER, SCANNER_V6] {
        rportd.answers_404("/.env", source);
        rportd.answers_404("/.git/HEAD", source);
        shut_out(&network, source, service.port());
    }
    for source in [NEIGHBOUR, OTHER, NEIGHBOUR_V6] {
        rportd.writes(&format!("client#7: Open box ({source})"));
    }
    assert!(network.reaches(OTHER, service.port()) && network.reaches(NEIGHBOUR_V6, service.port()));
    said(&server, &["unban", SCANNER]);
    let_in(&network, SCANNER, service.port());
    assert!(!network.reaches(SCANNER_V6, service.port()));
}

#[test]
fn five_failed_logins_of_a_watched_log_shut_their_source_out_until_the_ban_ends() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let (server, mut rportd) = beside_rportd(&network, "[policy.ban]\nsettings = { ban_time = 10 }\n");
    for n in 0..5 {
        assert!(server.log_with("Maximum of").is_empty());
        rportd.refuses_login(&format!("box-{n}"), SCANNER);
        rportd.refuses_login(&format!("box-{n}"), &format!("198.51.100.{n}"));
    }
    shut_out(&network, SCANNER, service.port());
    assert!(network.reaches(NEIGHBOUR, service.port()) && network.reaches("198.51.100.3", service.port()));
    // It ends by itself.
    let_in(&network, SCANNER, service.port());
    eventually("the gate's ban is over", || (!said(&server, &["bans"]).contains(SCANNER)).then_some(()));
    // Or by hand, long before that.
    server.configure(&watching(""));
    server.swapped(1);
    for _ in 0..5 {
        rportd.refuses_login("box", SCANNER);
    }
    shut_out(&network, SCANNER, service.port());
    said(&server, &["unban", SCANNER]);
    let_in(&network, SCANNER, service.port());
}

#[test]
fn one_server_alone_keeps_the_table_and_one_that_cant_listen_doesnt_touch_it() {
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let elsewhere = network.inside.within(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = elsewhere.local_addr().unwrap().port();
    let failed = network.inside.within(|| Portcullis::with_config(NFTABLES).on_port(port).fail_to_start());
    assert!(failed.code != Some(0) && failed.stderr.contains(&format!("127.0.0.1:{port}")), "{failed:?}");
    assert_eq!(network.inside.nft("list ruleset"), "");
    let server = start(&network, NFTABLES);
    said(&server, &["ban", SCANNER]);
    shut_out(&network, SCANNER, service.port());
    let second = Portcullis::with_config(NFTABLES);
    let failed = network.inside.within(|| second.fail_to_start());
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.stderr.contains("another server in this network namespace keeps the table"), "{failed:?}");
    assert!(!network.reaches(SCANNER, service.port()));
    // Checking takes nothing from anybody.
    let checked = network.inside.within(|| second.check());
    assert!(checked.code == Some(0) && !checked.stderr.contains("firewall"), "{checked:?}");
    // However the first ends, the next may.
    assert!(server.kill().status.code().is_none());
    let second = network.inside.within(|| second.start());
    let_in(&network, SCANNER, service.port());
    assert!(second.stop().status.success());
}

/// As in a container with a user namespace of its own, where CAP_NET_ADMIN is
/// one over its network and not over the machine.
#[test]
fn in_a_user_namespace_of_its_own_bans_are_in_force_as_well() {
    const OF_ITS_OWN: [&str; 3] = ["--user", "--map-root-user", "--net"];
    if !["unshare", "nsenter", "ip", "nft"].into_iter().all(require) {
        return;
    }
    let tried = run(Command::new("unshare").args(OF_ITS_OWN).arg("true"));
    if tried.code != Some(0) {
        return skip(&format!("user namespaces can't be made here: {}", tried.stderr.trim_end()));
    }
    let starter = [&["unshare"], &OF_ITS_OWN[..], &["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]].concat();
    let server = Portcullis::with_config(NFTABLES).started_by(&starter).start();
    said(&server, &["ban", SCANNER]);
    let process = server.id().to_string();
    let table = || {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &process, "--user", "--preserve-credentials", "--net"]);
        run(enter.args(["nft", "list", "set", "inet", "portcullis", "v4_32"]))
    };
    let found = eventually("it is kept out", || {
        let found = table();
        found.stdout.contains(SCANNER).then_some(found)
    });
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(server.administration("/metrics").contains("portcullis_firewall_failing 0"));
    assert!(server.stop().status.success());
}

#[test]
fn without_the_right_to_it_the_start_fails_and_says_what_is_missing() {
    let Some(network) = Network::new() else { return };
    let [failed, checked] = network.inside.within(|| {
        // Of this thread, and of what it starts.
        remove_capability_from_bounding_set(CapabilitySet::NET_ADMIN).unwrap();
        let server = Portcullis::with_config(NFTABLES);
        [server.fail_to_start(), server.check()]
    });
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.stderr.contains("the capability CAP_NET_ADMIN is missing"), "{failed:?}");
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stderr.contains("wouldn't start: firewall.backend: the capability CAP_NET_ADMIN"), "{checked:?}");
    assert!(checked.stdout.contains("nftables: all packets of banned sources"), "{checked:?}");
    assert_eq!(network.inside.nft("list ruleset"), "");
    let checked = network.inside.within(|| Portcullis::with_config(NFTABLES).check());
    assert!(!checked.stderr.contains("CAP_NET_ADMIN"), "{checked:?}");
}

#[test]
fn as_another_user_one_thread_alone_keeps_the_one_right() {
    const NOBODY: u32 = 65534;
    const NET_ADMIN: u64 = 1 << 12;
    let Some(network) = Network::new() else { return };
    let service = network.service();
    let config = format!("{NFTABLES}[service]\nuser = \"nobody\"\n[plugins]\ncache = \"cache\"\n");
    let server = network.inside.within(|| Portcullis::with_config(&config).owned_by(NOBODY).start());
    // A thread has its name before it lays down what it needn't have.
    eventually("one thread alone has a right, and it is the one it needs", || {
        let mut threads = capabilities_of(server.id());
        threads.retain(|(_, capabilities)| *capabilities != 0);
        (threads == [("firewall".to_owned(), NET_ADMIN)]).then_some(())
    });
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    said(&server, &["ban", SCANNER]);
    shut_out(&network, SCANNER, service.port());
    network.inside.nft("flush ruleset");
    server.logged("firewall: nft (process ");
    shut_out(&network, SCANNER, service.port());
    assert!(server.stop().status.success());
    assert!(!network.reaches(SCANNER, service.port()), "the table stays over a restart");
}
