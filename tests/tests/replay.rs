//! `portcullis replay` on the real program: beside fail2ban, beside a rule of
//! a few lines, and against logs that mean no good.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use portcullis_tests::{LINES, Ran, RportdLog, SCANNER_LINES, peer, portcullis, require, run};
use serde_json::Value;

/// Findtime and bantime of the scanner rule, in seconds.
const FINDTIME: i64 = 20;
const BANTIME: i64 = 3600;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn generated(&self, log: RportdLog) -> PathBuf {
        let path = self.0.path().join("rportd.log");
        log.write(&mut BufWriter::new(File::create(&path).unwrap())).unwrap();
        path
    }
}

fn command(arguments: &[&str], log: &Path) -> Command {
    let mut command = Command::new(portcullis());
    command.arg("replay").args(arguments).arg(log);
    command
}

fn replay(arguments: &[&str], log: &Path) -> Ran {
    run(&mut command(arguments, log))
}

fn replay_json(arguments: &[&str], log: &Path) -> Value {
    let ran = replay(&[&["--json"], arguments].concat(), log);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// `N lines, N ignored, N matched, N missed` as replay and fail2ban-regex both say it.
fn counts(ran: &Ran) -> String {
    let line = ran.stdout.lines().find(|line| line.starts_with("Lines: ")).unwrap_or_else(|| panic!("{ran:?}"));
    line.split(" [").next().unwrap().to_owned()
}

fn at(second: u32, message: &str) -> String {
    format!("2021/04/16 10:{:02}:{:02} info: client-listener: {message}\n", second / 60, second % 60)
}

fn not_found(second: u32, ip: &str) -> String {
    at(second, &format!("GET /x 404 21µs ({ip})"))
}

fn sources(bans: &Value) -> Vec<String> {
    bans.as_array().unwrap().iter().map(|ban| ban["source"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_counts_as_fail2ban_regex_does() {
    if !require("fail2ban-regex") {
        return;
    }
    let folder = Folder::new();
    let fail2ban = |log: &Path, filter: &str| {
        counts(&run(Command::new("fail2ban-regex").args(["--usedns", "no"]).arg(log).arg(peer(filter))))
    };
    let log = folder.generated(RportdLog::default());
    let ours = counts(&replay(&[], &log));
    let missed = LINES - SCANNER_LINES;
    assert_eq!(ours, format!("Lines: {LINES} lines, 0 ignored, {SCANNER_LINES} matched, {missed} missed"));
    assert_eq!(fail2ban(&log, "fail2ban-rport-scanners.conf"), ours);
    let log = folder.generated(RportdLog { failed_logins: 300, seed: 8, scale: 1 });
    let ours = counts(&replay(&[], &log));
    assert!(ours.contains(&format!(" {} matched", SCANNER_LINES + 300)), "{ours}");
    assert_eq!(fail2ban(&log, "fail2ban-rport-client-connect.conf"), ours);
}

/// A 404 line: when, in seconds since the epoch, and from where.
type Hit = (i64, String);

/// What scanners did, read without any code of ours.
fn hits(log: &Path) -> Vec<Hit> {
    let text = fs::read_to_string(log).unwrap();
    let found = text.lines().filter(|line| line.contains(" 404 "));
    found.map(|line| (seconds(&line[..19]), line.rsplit(['(', ')']).nth(1).unwrap().to_owned())).collect()
}

/// `2021/03/01 00:00:00` or `2021-03-01T00:00:00Z` as seconds; the tests' logs are of March 2021 and days after it.
fn seconds(stamp: &str) -> i64 {
    let numbers: Vec<i64> =
        stamp.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
    let [year, month, day, hour, minute, second] = numbers[..] else { panic!("{stamp}") };
    assert_eq!((year, month), (2021, 3), "{stamp}");
    ((day * 24 + hour) * 60 + minute) * 60 + second
}

/// The rule, strictly: a second hit within the window, its end included, bans;
/// what comes from a banned source is ignored.
fn strictly(hits: &[Hit]) -> BTreeSet<Hit> {
    let mut last: HashMap<&str, i64> = HashMap::new();
    let mut banned: HashMap<&str, i64> = HashMap::new();
    let mut bans = BTreeSet::new();
    for (at, ip) in hits {
        if banned.get(ip.as_str()).is_some_and(|until| at < until) {
            continue;
        }
        if last.insert(ip, *at).is_some_and(|before| at - before <= FINDTIME) {
            bans.insert((*at, ip.clone()));
            banned.insert(ip, at + BANTIME);
            last.remove(ip.as_str());
        }
    }
    bans
}

fn our_bans(log: &Path) -> BTreeSet<Hit> {
    let report = replay_json(&[], log);
    let ban = |ban: &Value| (seconds(ban["time"].as_str().unwrap()), ban["source"].as_str().unwrap().to_owned());
    let bans = report["outcome"]["bans"].as_array().unwrap();
    assert_eq!(report["outcome"]["bans_ordered"].as_u64(), Some(bans.len() as u64), "none is left out");
    bans.iter().map(ban).collect()
}

#[test]
fn it_bans_as_a_strict_window_says() {
    let folder = Folder::new();
    for seed in 1..=3 {
        let log = folder.generated(RportdLog { seed, scale: 3, ..RportdLog::default() });
        let wanted = strictly(&hits(&log));
        assert!(wanted.len() > 200, "{}", wanted.len());
        assert_eq!(our_bans(&log), wanted, "seed {seed}");
        let rows = |arguments: &[&str]| replay(arguments, &log).stdout.matches("  scanner  for 1h  ").count();
        assert_eq!([rows(&[]), rows(&["--limit", "7"]), rows(&["--limit", "0"])], [50, 7, wanted.len()]);
    }
}

/// fail2ban's own counting with a log's times, one `SECONDS IP` per line of the
/// standard input; prints its bans.
const FAILURE_MANAGER: &str = r#"
import sys
from fail2ban.server.failmanager import FailManager, FailManagerEmpty
from fail2ban.server.ticket import FailTicket
manager, banned = FailManager(), {}
manager.setMaxRetry(2)
manager.setMaxTime(20)
for line in sys.stdin:
    at, ip = line.split()
    at = int(at)
    if at < banned.get(ip, 0):
        continue
    manager.addFailure(FailTicket(ip, at))
    try:
        manager.toBan(ip)
    except FailManagerEmpty:
        continue
    banned[ip] = at + 3600
    print(at, ip)
"#;

/// The python that fail2ban runs on.
fn fail2bans_python() -> String {
    let folders = std::env::var_os("PATH").unwrap();
    let script =
        std::env::split_paths(&folders).map(|folder| folder.join("fail2ban-regex")).find(|path| path.is_file());
    let text = fs::read_to_string(script.unwrap()).unwrap();
    text.lines().next().unwrap().trim_start_matches("#!").split(' ').next().unwrap().to_owned()
}

fn fail2bans(hits: &[Hit]) -> BTreeSet<Hit> {
    let mut python = Command::new(fail2bans_python());
    let mut child = python.args(["-c", FAILURE_MANAGER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = hits.iter().map(|(at, ip)| format!("{at} {ip}\n")).collect();
    let writing = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(at, ip)| (at.parse().unwrap(), ip.to_owned()))
        .collect()
}

/// Why one of the two banned where the other didn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Because {
    /// fail2ban estimates: of a first hit 21 to 39 s ago it counts the share of
    /// the window, 20/39 or more, rounded to a whole hit.
    EstimatedUp,
    /// The same the other way: it has known the source for longer, takes the
    /// window to have begun 20 s before its last hit, and rounds the share of
    /// exactly one half down to none.
    EstimatedDown,
    /// One of them ignored the hit, or the one before it, since an earlier
    /// difference had the source banned.
    BannedAlready,
}

#[test]
fn every_difference_to_fail2bans_counting_is_its_estimate() {
    if !require("fail2ban-regex") {
        return;
    }
    let folder = Folder::new();
    let log = folder.generated(RportdLog { scale: 10, seed: 3, failed_logins: 0 });
    let hits = hits(&log);
    let (ours, theirs) = (our_bans(&log), fail2bans(&hits));
    let mut of_source: HashMap<&str, Vec<i64>> = HashMap::new();
    hits.iter().for_each(|(at, ip)| of_source.entry(ip).or_default().push(*at));
    // Whether one of them had the source banned when it came or when its last hit did.
    let banned = |bans: &BTreeSet<Hit>, at: i64, ip: &str| {
        bans.iter().any(|(began, who)| who == ip && (*began < at && at - FINDTIME < began + BANTIME))
    };
    let mut explained: BTreeMap<Because, u32> = BTreeMap::new();
    for (at, ip) in ours.symmetric_difference(&theirs) {
        let before: Vec<i64> = of_source[ip.as_str()].iter().copied().filter(|hit| hit < at).collect();
        let gap = before.last().map(|last| at - last);
        let because = if theirs.contains(&(*at, ip.clone())) {
            match gap {
                Some(21..=39) => Because::EstimatedUp,
                _ if banned(&ours, *at, ip) => Because::BannedAlready,
                _ => panic!("fail2ban alone banned {ip} at {at}, hits before: {before:?}"),
            }
        } else {
            match gap {
                Some(20) if before.len() > 1 => Because::EstimatedDown,
                _ if banned(&theirs, *at, ip) => Because::BannedAlready,
                _ => panic!("we alone banned {ip} at {at}, hits before: {before:?}"),
            }
        };
        *explained.entry(because).or_default() += 1;
    }
    println!("{} bans of ours, {} of fail2ban's, differences: {explained:?}", ours.len(), theirs.len());
    assert!(explained.contains_key(&Because::EstimatedUp), "{explained:?}");
    assert!(ours.intersection(&theirs).count() > 500);
}

/// Some of what turns the direction of text around on a terminal.
const TURNING: &str = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}";

#[test]
fn nobody_that_a_stranger_names_is_banned() {
    let folder = Folder::new();
    let words = [
        " 404 1s (8.8.8.8)",
        "\u{202e}x\u{2066}\u{61c}\u{200f}",
        "x (8.8.8.8)",
        "\", forcing to wait for 2s (8.8.8.8)",
        "2021/04/16 10:00:00 info: client-listener: GET / 404 1s (8.8.8.8)",
        "8.8.8.8 - - [16/Apr/2021:10:00:00 +0000] \"GET / HTTP/1.1\" 404 1 \"-\" \"-\"",
        "\u{1b}[2J\r404 1s (8.8.8.8)",
        "\\\" 404 1 \\\"8.8.8.8",
    ];
    let mut rportd = Vec::new();
    let (mut combined, mut known) = (String::new(), String::new());
    for (n, word) in words.iter().enumerate() {
        for second in 0..3 {
            let ip = format!("203.0.113.{n}");
            rportd.extend(at(second, &format!("GET /{word} 404 21µs ({ip})")).bytes());
            rportd.extend(at(second, &format!("GET /{word}\0\u{fffd} 200 21µs ({ip})")).bytes());
            rportd.extend(at(second, &format!("client#1: Open {word} (198.51.100.1)")).bytes());
            rportd.extend(at(second, &format!("client#1: Close {word}")).bytes());
            let failed =
                format!("Failed login attempt for client auth id \"{word}\", forcing to wait for 2s (192.0.2.{n})");
            rportd.extend(at(second, &failed).bytes());
            rportd.extend(b"\xff\xfe\0 404 1s (8.8.8.8)\n");
            rportd.extend(format!("said: {word}\n").bytes());
            let coded = word.replace('\\', "\\x5c").replace('"', "\\x22").replace(['\u{1b}', '\r'], "\\x1b");
            for (log, user) in [(&mut combined, "-"), (&mut known, coded.as_str())] {
                log.push_str(&format!(
                    "{ip} - {user} [16/Apr/2021:10:00:0{second} +0000] \"GET /{coded} HTTP/1.1\" 404 1 \"{coded}\" \
                     \"{coded}\"\n"
                ));
            }
        }
    }
    for (name, text, wanted) in [
        ("rportd", rportd, words.len()),
        ("combined", combined.into_bytes(), words.len()),
        // A known client's requests are no hits.
        ("combined", known.into_bytes(), 0),
    ] {
        let log = folder.file(name, &text);
        let report = replay_json(&["--format", name, "--missed"], &log);
        let banned: BTreeSet<_> = sources(&report["outcome"]["bans"]).into_iter().collect();
        assert!(banned.iter().all(|ip| ip.starts_with("203.0.113.")), "{banned:?}");
        assert_eq!(banned.len(), wanted, "{name}: {report:#}");
        let shown = replay(&["--format", name, "--missed", "--limit", "0"], &log);
        assert_eq!(shown.code, Some(0));
        assert!(
            shown.stdout.chars().all(|c| c == '\n' || (!c.is_control() && !TURNING.contains(c))),
            "{:?}",
            shown.stdout
        );
    }
}

#[test]
fn long_lines_broken_text_and_nuls_end_in_counts() {
    let folder = Folder::new();
    let mut text = Vec::new();
    text.extend(not_found(0, "203.0.113.7").bytes());
    text.extend(vec![b'a'; 5 << 20]);
    text.extend(b" 404 1s (8.8.8.8)\n");
    text.extend(vec![0; 200_000]);
    text.push(b'\n');
    text.extend(vec![0xff; 1000]);
    text.push(b'\n');
    text.extend(b"2021/04/16 10:00:01 info: client-listener: GET /\xff\0\xfe 404 21\xc2\xb5s (203.0.113.7)\n");
    text.extend(b"\r\n\n");
    text.extend(not_found(2, "8.8.8.8").trim_end().bytes());
    let report = replay_json(&["--missed"], &folder.file("log", &text));
    let lines = &report["lines"];
    let wanted =
        serde_json::json!({ "lines": 8, "ignored": 2, "matched": 3, "missed": 3, "unknown": 3, "too_long": 2 });
    assert_eq!(*lines, wanted);
    assert_eq!(sources(&report["outcome"]["bans"]), ["203.0.113.7"]);
    assert_eq!(report["unknown"][0]["line"], 2);
    text.extend(format!("\n{}", at(3, "client#1: Open x (198.51.100.1)")).bytes());
    let shown = replay(&["--missed"], &folder.file("log", &text)).stdout;
    assert!(shown.contains("\nLines of no known kind: 3 of 4 missed\n"), "{shown}");
    assert!(shown.contains("Refused: 0 events of banned sources (0 of clients that were logged in), 0 of"), "{shown}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_truncated_log_is_an_error_with_what_was_read_counted() {
    let folder = Folder::new();
    let whole = fs::read(folder.generated(RportdLog::default())).unwrap();
    let packed = gzip(&whole);
    assert_eq!(
        counts(&replay(&[], &folder.file("whole.gz", &packed))),
        counts(&replay(&[], &folder.file("plain", &whole)))
    );
    let cut = folder.file("cut.gz", &packed[..packed.len() / 2]);
    let ran = replay(&[], &cut);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cut.gz: the compressed data ends too early, after line "), "{ran:?}");
    let lines: u64 = counts(&ran).split(' ').nth(1).unwrap().parse().unwrap();
    assert!((4_000..LINES).contains(&lines), "{lines}");
    let ran = replay(&["--json"], &cut);
    assert_eq!(ran.code, Some(1));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["lines"]["lines"].as_u64(), Some(lines));
    assert!(report["error"].as_str().unwrap().contains("too early"));
    let mut broken = packed.clone();
    broken[packed.len() / 2] ^= 0xff;
    let ran = replay(&[], &folder.file("broken.gz", broken));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("broken.gz: "), "{ran:?}");
}

#[test]
fn a_short_log_that_is_cut_or_begins_with_a_long_line_is_reported_without_a_named_format() {
    let folder = Folder::new();
    let text = [not_found(0, "203.0.113.7"), not_found(1, "203.0.113.7")].concat();
    let packed = gzip(text.as_bytes());
    let cut = folder.file("cut.gz", &packed[..packed.len() - 1]);
    let ran = replay(&["--json"], &cut);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cut.gz: the compressed data ends too early, after line 2"), "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(sources(&report["outcome"]["bans"]), ["203.0.113.7"]);
    let long = folder.file("long", [&vec![b'a'; 5 << 20][..], b"\n", text.as_bytes()].concat());
    let report = replay_json(&[], &long);
    assert_eq!((&report["format"], &report["lines"]["too_long"]), (&"rportd".into(), &1.into()));
    assert_eq!(sources(&report["outcome"]["bans"]), ["203.0.113.7"]);
}

/// The report, and the most memory that it took, in KiB.
fn replay_measured(log: &Path) -> (Value, u64) {
    let began = Instant::now();
    let mut child = command(&["--json"], log).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).unwrap();
        text
    });
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "it takes too long");
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak_kib = peak_kib.max(peak.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    (serde_json::from_slice(&reading.join().unwrap()).unwrap(), peak_kib)
}

#[test]
fn a_report_of_many_bans_takes_little_more_than_the_bans() {
    let folder = Folder::new();
    let hits = |n: u32| {
        let ip = format!("20.{}.{}.7", n >> 8, n & 255);
        [not_found(n / 100, &ip), not_found(n / 100, &ip)].concat()
    };
    let log = folder.file("log", (0..60_000).map(hits).collect::<String>());
    let (report, peak_kib) = replay_measured(&log);
    assert_eq!(report["outcome"]["bans"].as_array().unwrap().len(), 60_000);
    assert!((1..120 << 10).contains(&peak_kib), "{peak_kib} KiB");
}

#[test]
fn a_gigabyte_of_zeros_takes_neither_memory_nor_long() {
    let folder = Folder::new();
    let member = gzip(&vec![0; 64 << 20]);
    let mut bomb = gzip(not_found(0, "203.0.113.7").as_bytes());
    (0..16).for_each(|_| bomb.extend(&member));
    bomb.extend(gzip(format!("\n{}", not_found(1, "203.0.113.7")).as_bytes()));
    assert!(bomb.len() < 8 << 20);
    let log = folder.file("bomb.gz", bomb);
    let (report, peak_kib) = replay_measured(&log);
    assert!((1..128 << 10).contains(&peak_kib), "{peak_kib} KiB");
    assert_eq!((report["lines"]["lines"].as_u64(), report["lines"]["too_long"].as_u64()), (Some(3), Some(1)));
    assert_eq!(sources(&report["outcome"]["bans"]), ["203.0.113.7"]);
}

#[test]
fn policies_are_compared_on_the_same_traffic() {
    let folder = Folder::new();
    let other = folder.file("other.toml", "[policy.scanner]\nsettings = { findtime = 60.0, statuses = [404, 403] }\n");
    let text = [
        not_found(0, "203.0.113.7"),
        not_found(30, "203.0.113.7"),
        at(40, "client#1: Open x (203.0.113.7)"),
        not_found(50, "203.0.113.8"),
        not_found(55, "203.0.113.8"),
        not_found(60, "203.0.113.9"),
        not_found(119, "203.0.113.9"),
    ];
    let log = folder.file("log", text.concat());
    let report = replay_json(&["--against", other.to_str().unwrap()], &log);
    let against = &report["against"];
    assert_eq!(sources(&report["outcome"]["bans"]), ["203.0.113.8"]);
    assert_eq!(
        (against["newly_banned_networks"].as_u64(), against["newly_banned_logged_in"].as_u64()),
        (Some(2), Some(1))
    );
    assert_eq!(against["newly_banned"][0]["ban"]["source"], "203.0.113.7");
    assert_eq!(against["newly_banned"][0]["logins_while_banned"], 1);
    assert_eq!(against["no_longer_banned_networks"], 0);
    let turned = replay_json(&["--config", other.to_str().unwrap(), "--against", "bundle:scanner"], &log);
    assert_eq!(turned["against"]["no_longer_banned_networks"], 2);
    assert_eq!(turned["against"]["newly_banned_networks"], 0);
    let shown = replay(&["--against", other.to_str().unwrap(), "--limit", "1"], &log);
    for part in [
        "Newly banned: 2 networks, 1 of which logged in afterwards",
        "logged in 1 times afterwards, 1 while banned",
        "and 1 more (--limit 0 shows all)",
        "No longer banned: 0 networks",
    ] {
        assert!(shown.stdout.contains(part), "{part} isn't in {}", shown.stdout);
    }
}

#[test]
fn longer_bans_and_more_of_them_are_a_difference() {
    let folder = Folder::new();
    let bans_for = |name: &str, bantime: u32| {
        folder.file(name, format!("[policy.scanner]\nsettings = {{ bantime = {bantime}.0 }}\n"))
    };
    let (short, long) = (bans_for("short.toml", 600), bans_for("long.toml", 86_400));
    let hits = |second: u32| [not_found(second, "203.0.113.7"), not_found(second + 1, "203.0.113.7")].concat();
    let log = folder.file("log", [hits(0), hits(1000), hits(2000)].concat());
    let compared = |config: &Path, other: &Path| {
        let arguments = ["--config", config.to_str().unwrap(), "--against", other.to_str().unwrap()];
        (replay_json(&arguments, &log)["against"].clone(), replay(&arguments, &log).stdout)
    };
    let (against, text) = compared(&short, &long);
    assert_eq!((&against["banned_longer_networks"], &against["banned_shorter_networks"]), (&1.into(), &0.into()));
    let row = &against["banned_longer"][0];
    assert_eq!((&row["seconds"], &row["seconds_against"]), (&1800.0.into(), &86_400.0.into()));
    assert_eq!(row["ban"]["source"], "203.0.113.7");
    assert!(text.contains("\nBanned longer: 1 networks\n"), "{text}");
    assert!(text.contains("203.0.113.7      1day in all, before 30m\n"), "{text}");
    let (against, text) = compared(&long, &short);
    assert_eq!((&against["banned_longer_networks"], &against["banned_shorter_networks"]), (&0.into(), &1.into()));
    assert!(text.contains("\nBanned for less time: 1 networks\n"), "{text}");
    let (against, _) = compared(&long, &long);
    assert_eq!((&against["banned_longer_networks"], &against["banned_shorter_networks"]), (&0.into(), &0.into()));
}

#[test]
fn a_plugin_takes_the_place_of_the_bundles_and_its_failures_are_told() {
    let folder = Folder::new();
    let text: String = (0..3).map(|second| at(second, "GET /poison 404 21µs (203.0.113.7)")).collect();
    let log = folder.file("log", text);
    let traps = folder.file("traps.wasm", portcullis_guests::component("traps-on-one-path"));
    let report = replay_json(&["--plugin", traps.to_str().unwrap()], &log);
    let failures = report["outcome"]["failures"].as_array().unwrap();
    assert!(!failures.is_empty(), "{report:#}");
    assert_eq!(sources(&report["outcome"]["bans"]), ["203.0.113.7"], "the bundle stepped in");
}

#[test]
fn every_format_by_a_sample() {
    let folder = Folder::new();
    let access = |second: u32, user: &str, status: u32| {
        format!("203.0.113.7 - {user} [16/Apr/2021:10:00:{second:02} +0200] \"GET /x?y HTTP/1.1\" {status} 12")
    };
    let combined = |line: String| format!("{line} \"-\" \"curl/8\"");
    let ours = |second: u32, rest: &str| format!("2021-04-16T10:00:{second:02}.000Z info {rest} (203.0.113.7)");
    let json = |second: u32, rest: &str| {
        format!(
            "{{\"time\":\"2021-04-16T10:00:{second:02}.000Z\",\"level\":\"info\",{rest},\"source\":\"203.0.113.7\"}}"
        )
    };
    let caddy = |second: u64, status: u16| {
        format!(
            "{{\"ts\":{}.25,\"request\":{{\"remote_ip\":\"203.0.113.7\",\"method\":\"GET\",\"uri\":\"/x\"}},\
             \"user_id\":\"\",\"status\":{status}}}",
            1_764_080_400 + second
        )
    };
    let reported =
        |second: u64, rest: &str| format!("{{\"at\":{},\"source\":\"203.0.113.7\",{rest}}}", 1_764_080_400 + second);
    let failed = "Failed login attempt for client auth id \"a%20b\", forcing to wait for 2s";
    let samples = [
        ("rportd", vec![not_found(0, "203.0.113.7"), not_found(1, "203.0.113.7")], "scanner", 2),
        ("common", vec![access(0, "-", 404), access(1, "-", 404), access(2, "-", 200)], "scanner", 2),
        ("common", (0..5).map(|n| access(n * 10, "a", 401)).collect(), "ban", 5),
        ("combined", vec![combined(access(0, "-", 404)), combined(access(1, "-", 404))], "scanner", 2),
        ("portcullis", vec![ours(0, "GET /x 404 12us"), ours(1, "GET /x 404 12us")], "scanner", 2),
        ("portcullis", (0..5).map(|n| ours(n * 10, failed)).collect(), "ban", 5),
        (
            "portcullis-json",
            (0..2)
                .map(|n| {
                    json(n, "\"kind\":\"access\",\"method\":\"GET\",\"path\":\"/x\",\"status\":404,\"duration_us\":1")
                })
                .collect(),
            "scanner",
            2,
        ),
        (
            "portcullis-json",
            (0..5).map(|n| json(n * 10, "\"kind\":\"failed-login\",\"client_id\":\"a b\",\"wait_ms\":2000")).collect(),
            "ban",
            5,
        ),
        ("caddy", vec![caddy(0, 404), caddy(1, 404), caddy(2, 200)], "scanner", 2),
        ("report", (0..2).map(|n| reported(n, "\"path\":\"/x\",\"status\":404")).collect(), "scanner", 2),
        ("report", (0..5).map(|n| reported(n * 10, "\"client\":\"a b\",\"outcome\":\"failure\"")).collect(), "ban", 5),
    ];
    for (format, lines, policy, matched) in samples {
        let text: String = lines.iter().map(|line| format!("{}\n", line.trim_end())).collect();
        let log = folder.file("log", &text);
        for arguments in [&["--format", format][..], &[]] {
            let report = replay_json(arguments, &log);
            assert_eq!(report["format"], format);
            assert_eq!(report["lines"]["matched"].as_u64(), Some(matched), "{report:#}");
            assert_eq!(sources(&report["outcome"]["bans"]), ["203.0.113.7"], "{format}");
            assert_eq!(report["outcome"]["bans"][0]["policy"], policy, "{format}");
            if policy == "ban" && format != "common" {
                assert_eq!(report["outcome"]["waits"][0]["client"], "a b", "{format}");
            }
        }
    }
    let log = folder.file(
        "log",
        (0..5).map(|n| format!("{} bad a from 203.0.113.7\n", 1_618_560_000 + n * 10)).collect::<String>(),
    );
    let expression = r"(?<time>\d+) bad (?<client>\S+) from (?<ip>\S+)";
    let report = replay_json(&["--regex", expression, "--outcome", "failure"], &log);
    assert_eq!(report["outcome"]["bans"][0]["time"], "2021-04-16T08:00:40Z");
    let wrong = replay(&["--format", "regex", "--regex", "(?<ip>.*)"], &log);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("(?<time>…)"), "{wrong:?}");
}

#[test]
fn several_logs_and_the_standard_input_are_one_stream() {
    let folder = Folder::new();
    let first = folder.file("first", not_found(0, "203.0.113.7"));
    let mut replaying = command(&["--json"], &first);
    replaying.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = replaying.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&gzip(not_found(20, "203.0.113.7").as_bytes())).unwrap();
    let report: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(sources(&report["outcome"]["bans"]), ["203.0.113.7"]);
}

#[test]
fn logs_that_come_newest_first_are_warned_about() {
    let folder = Folder::new();
    let older = folder.file("older", [not_found(0, "203.0.113.7"), not_found(1, "203.0.113.7")].concat());
    let newer = folder.file("newer", [not_found(600, "203.0.113.8"), not_found(601, "203.0.113.8")].concat());
    let both = |arguments: &[&str], first: &Path, second: &Path| {
        let ran = run(command(arguments, first).arg(second));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    };
    let said = format!(
        "portcullis: warning: {} begins at 2021-04-16T10:00:00Z, before {} ended at 2021-04-16T10:10:01Z",
        older.display(),
        newer.display()
    );
    let ran = both(&[], &newer, &older);
    assert!(ran.stderr.starts_with(&said), "{ran:?}");
    let report: Value = serde_json::from_str(&both(&["--json"], &newer, &older).stdout).unwrap();
    let [misplaced] = &report["misplaced"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!(misplaced["log"].as_str(), older.to_str());
    assert_eq!(misplaced["after"].as_str(), newer.to_str());
    assert_eq!(both(&[], &older, &newer).stderr, "");
    let report: Value = serde_json::from_str(&both(&["--json"], &older, &newer).stdout).unwrap();
    assert_eq!(report["misplaced"], serde_json::json!([]));
    assert_eq!((&report["first"], &report["last"]), (&"2021-04-16T10:00:00Z".into(), &"2021-04-16T10:10:01Z".into()));
}

#[test]
fn there_may_be_more_logs_than_files_may_be_open() {
    let folder = Folder::new();
    let logs = (0..100).map(|n| folder.file(&n.to_string(), not_found(n, "203.0.113.7"))).collect::<Vec<_>>();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 64; exec \"$0\" replay \"$@\""]).arg(portcullis()).args(logs);
    let ran = run(&mut shell);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(counts(&ran), "Lines: 100 lines, 0 ignored, 100 matched, 0 missed");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let folder = Folder::new();
    let log = folder.file("log", "nonsense that fits nothing\n".repeat(20_000));
    let mut showing = command(&["--format", "rportd", "--missed", "--limit", "0"], &log);
    let mut child = showing.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn what_can_not_be_read_is_said_and_told_by_the_exit_code() {
    let folder = Folder::new();
    let empty = folder.file("empty", "");
    let ran = replay(&[], &empty);
    assert_eq!((ran.code, counts(&ran).as_str()), (Some(0), "Lines: 0 lines, 0 ignored, 0 matched, 0 missed"));
    for (arguments, log, code, said) in [
        (&[][..], Path::new("nowhere.log"), 1, "nowhere.log"),
        (&[], &folder.file("strange", "what\nis this\n"), 1, "no known format"),
        (&["--format", "apache"], &empty, 2, "apache"),
        (&["--format", "regex"], &empty, 2, "--regex"),
        (&["--regex", "(", "--format", "regex"], &empty, 2, "regular expression"),
        (&["--plugin", "nowhere.wasm"], &empty, 2, "nowhere.wasm"),
        (&["--config", "nowhere.toml"], &empty, 2, "nowhere.toml"),
    ] {
        let ran = replay(arguments, log);
        assert_eq!(ran.code, Some(code), "{arguments:?} {ran:?}");
        assert!(ran.stderr.contains(said), "{arguments:?} {ran:?}");
    }
    assert_eq!(run(Command::new(portcullis()).arg("replay")).code, Some(2));
}
