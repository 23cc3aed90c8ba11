//! Clients: wrk and h2load on CPU 1, and what they say.

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
    /// Half of the answers took no longer, in microseconds.
    pub(crate) p50_us: f64,
    /// Of a hundred answers 99 took no longer, in microseconds.
    pub(crate) p99_us: f64,
}

impl Client {
    pub(crate) fn run(self, url: &str, seconds: u32) -> Loaded {
        match self {
            Self::Wrk { script, connections } => wrk(url, seconds, script, connections),
            Self::H2load => h2load(url, seconds),
        }
    }
}

fn wrk(url: &str, seconds: u32, script: Option<&str>, connections: u32) -> Loaded {
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "wrk", "-t1", "--latency", "--timeout", "10s"]);
    command.args([format!("-c{connections}"), format!("-d{seconds}s")]);
    if let Some(script) = script {
        command.arg("-s").arg(peer(script));
    }
    let text = ran(command.arg(url));
    assert!(!text.contains("Socket errors"), "{text}");
    let answered = line(&text, " requests in ");
    let mut words = answered.split_whitespace();
    let requests = words.next().unwrap().parse().unwrap();
    let seconds = time_us(words.nth(2).unwrap().trim_end_matches(',')) / 1e6;
    let refused = text.lines().find_map(|line| line.trim().strip_prefix("Non-2xx or 3xx responses: "));
    let percentile = |percent: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(percent));
        time_us(line.unwrap_or_else(|| panic!("{text}")).trim())
    };
    Loaded {
        requests,
        seconds,
        refused: refused.map_or(0.0, |count| count.trim().parse().unwrap()),
        p50_us: percentile("50%"),
        p99_us: percentile("99%"),
    }
}

fn h2load(url: &str, seconds: u32) -> Loaded {
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "h2load", "-t1", "-c16", "-m8"]).arg(format!("-D{seconds}"));
    let text = ran(command.arg(url));
    let counts = line(&text, "status codes: ");
    let count = |what: &str| -> f64 {
        let before = counts.split(what).next().unwrap();
        before.split_whitespace().last().unwrap().trim_start_matches(", ").parse().unwrap()
    };
    let (good, moved, bad, worse) = (count(" 2xx"), count(" 3xx"), count(" 4xx"), count(" 5xx"));
    // It tells of least, most and mean; half of them is near the mean, and 99 % near the most.
    let times = line(&text, "time for request:");
    let mut times = times.split_whitespace().skip(3).map(time_us);
    let (_least, most, mean) = (times.next().unwrap(), times.next().unwrap(), times.next().unwrap());
    Loaded {
        requests: good + moved + bad + worse,
        seconds: f64::from(seconds),
        refused: bad + worse,
        p50_us: mean,
        p99_us: most,
    }
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
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        other => panic!("{other:?} of {text:?} is no unit of time"),
    };
    number.parse::<f64>().unwrap() * factor
}
