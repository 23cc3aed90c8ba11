//! Clients: wrk and h2load on CPU 1, and what they say.

use std::fs;
use std::process::Command;

use portcullis_tests::peer;

use super::scenario::Client;

/// What a client saw.
pub(crate) struct Loaded {
    /// Requests that were answered.
    pub(crate) requests: f64,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// Of these, answered with something else than 2xx or 3xx.
    pub(crate) refused: f64,
    /// Bytes of all answers.
    pub(crate) bytes: f64,
    /// Half of the answers took no longer, in microseconds.
    pub(crate) p50_us: f64,
    /// Of a hundred answers 99 took no longer, in microseconds.
    pub(crate) p99_us: f64,
}

impl Client {
    /// Loads the URL; `turn` is another each time, so that scripts send others than before.
    pub(crate) fn run(self, url: &str, seconds: u32, turn: usize) -> Loaded {
        match self {
            Self::Wrk { script, connections } => wrk(url, seconds, script, connections, turn),
            Self::H2load => h2load(url, seconds),
        }
    }
}

fn wrk(url: &str, seconds: u32, script: Option<&str>, connections: u32, turn: usize) -> Loaded {
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "wrk", "-t1", "--latency", "--timeout", "10s"]);
    command.args([format!("-c{connections}"), format!("-d{seconds}s")]);
    if let Some(script) = script {
        command.arg("-s").arg(peer(script)).arg(url).arg("--").arg(turn.to_string());
    } else {
        command.arg(url);
    }
    let text = ran(&mut command);
    assert!(!text.contains("Socket errors"), "{command:?}: {text}");
    let answered = line(&text, " requests in ");
    let mut words = answered.split_whitespace();
    let requests = words.next().unwrap().parse().unwrap();
    let seconds = time_us(words.nth(2).unwrap().trim_end_matches(',')) / 1e6;
    let bytes = bytes(words.next().unwrap());
    let refused = text.lines().find_map(|line| line.trim().strip_prefix("Non-2xx or 3xx responses: "));
    let percentile = |percent: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(percent));
        time_us(line.unwrap_or_else(|| panic!("{text}")).trim())
    };
    Loaded {
        requests,
        seconds,
        bytes,
        refused: refused.map_or(0.0, |count| count.trim().parse().unwrap()),
        p50_us: percentile("50%"),
        p99_us: percentile("99%"),
    }
}

fn h2load(url: &str, seconds: u32) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("requests");
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "h2load", "-t1", "-c16", "-m8"]).arg(format!("-D{seconds}"));
    let text = ran(command.arg(format!("--log-file={}", log.display())).arg(url));
    let counts = line(&text, "requests: ");
    assert!(counts.contains(" 0 failed, 0 errored, 0 timeout"), "{text}");
    // Of each request: when it began, its status and the microseconds that it took.
    let log = fs::read_to_string(&log).unwrap();
    let (mut times, mut refused) = (Vec::new(), 0.0);
    for line in log.lines() {
        let mut columns = line.split('\t').skip(1);
        let status: u32 = columns.next().unwrap().parse().unwrap();
        refused += f64::from(u8::from(!(200..400).contains(&status)));
        times.push(columns.next().unwrap().parse::<f64>().unwrap());
    }
    times.sort_by(f64::total_cmp);
    let seconds = f64::from(seconds);
    let at = |percent: usize| times[times.len() * percent / 100];
    Loaded { requests: times.len() as f64, seconds, refused, bytes: 0.0, p50_us: at(50), p99_us: at(99) }
}

fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn line<'text>(text: &'text str, part: &str) -> &'text str {
    text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part:?} in {text}"))
}

/// `123.45us`, `1.23ms`, `2.00s`, `1.50m`.
fn time_us(text: &str) -> f64 {
    let (number, unit) = split(text);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        other => panic!("{other:?} of {text:?} is no unit of time"),
    };
    number * factor
}

/// `500B`, `12.34MB`; of 1,024 each.
fn bytes(text: &str) -> f64 {
    let (number, unit) = split(text);
    let power = ["B", "KB", "MB", "GB", "TB"].iter().position(|known| *known == unit);
    number
        * 1024_f64.powi(power.unwrap_or_else(|| panic!("{unit:?} of {text:?} is no unit of size")).try_into().unwrap())
}

fn split(text: &str) -> (f64, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number.parse().unwrap(), unit)
}
