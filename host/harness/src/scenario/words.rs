//! What happened and what was expected, in words.
//!
//! Whatever a file or a plugin says stays on one line and is quoted.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use portcullis_domain::{Enforced, Judged, Keep, Order, Outcome, Refusal, Subject, Verdict};
use portcullis_runtime::{LogLevel, Rung};

use super::model::{Action, Expect, Expected, ExpectedOrder, KeptBytes, Ordered, Step, Sum, Times, Ttl};
use super::report::{Happened, HiddenState, Problem, Report, StepReport};
use crate::document::mistake::escaped;
use crate::observed::{Call, Told};
use crate::world::{Reaction, RestartKeeps};

/// Longest text of others that is repeated, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// Most bytes of a state that are written out.
const STATE_BYTES_SHOWN_MAX: usize = 64;

/// As files write it: in days and smaller units, since how long a month is is a
/// matter of opinion.
pub(super) fn duration(duration: Duration) -> String {
    const DAY_SECONDS: u64 = 24 * 3600;
    let days = duration.as_secs() / DAY_SECONDS;
    let rest = duration - Duration::from_secs(days * DAY_SECONDS);
    match (days, rest.is_zero()) {
        (0, _) => humantime::format_duration(rest).to_string(),
        (days, true) => format!("{days}d"),
        (days, false) => format!("{days}d {}", humantime::format_duration(rest)),
    }
}

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(TEXT_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "ok" } else { "FAILED" };
        write!(f, "{} ... {verdict}", escaped(&self.name))?;
        for line in self.details() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl Report {
    /// All that came otherwise, line by line; what belongs to a line above is
    /// indented. No line holds a control character.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let steps = self.steps.iter().filter(|step| !step.passed()).flat_map(|step| step.details(&self.file));
        let hidden = self.hidden.iter().flat_map(|hidden| hidden.details(&self.file));
        steps.chain(hidden).collect()
    }
}

impl StepReport {
    /// Which step it is, and what happens in it.
    #[must_use]
    pub fn title(&self) -> String {
        let note = self.step.note.as_ref().map(|note| format!(" ({})", escaped(note))).unwrap_or_default();
        format!("step {}, at {}: {}{note}", self.number, duration(self.at), self.step)
    }

    /// What came, in sums.
    #[must_use]
    pub fn came(&self) -> String {
        let sums: Vec<_> = self.sums.iter().map(|(sum, count)| format!("{} {count}", sum.name())).collect();
        sums.join(", ")
    }

    fn details(&self, file: &str) -> Vec<String> {
        let mut lines = vec![format!("{}:{}: {}", escaped(file), self.step.line, self.title())];
        lines.extend(self.problems.iter().map(|problem| format!("  {problem}")));
        if self.problems_more > 0 {
            lines.push(format!("  … and {} more about events", self.problems_more));
        }
        if !self.sums.is_empty() {
            lines.push(format!("  came in all: {}", self.came()));
        }
        let details = self.event.iter().flat_map(|event| event.told_after(&self.problems));
        lines.extend(details.map(|line| format!("  {line}")));
        lines
    }
}

impl Happened {
    /// The event with every call of a policy, line by line.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        self.told_after(&[])
    }

    /// The same below these problems, which have told a part of it.
    fn told_after(&self, problems: &[Problem]) -> Vec<String> {
        let about = |n: u32, last: u32| (n..=last).contains(&self.n);
        let known =
            problems.iter().any(|problem| matches!(problem, Problem::Event { n, last, .. } if about(*n, *last)));
        let came = if known { String::new() } else { format!(" {}, answered {}", self.reaction, self.reply) };
        let mut lines = vec![format!("event {}, at {}:{came}", self.n, duration(self.at))];
        for call in &self.calls {
            lines.push(format!(
                "  policy {} judged {}: {}",
                escaped(&call.policy),
                subject(&call.subject),
                answer(call)
            ));
            lines.push(format!("    kept before: {}", state(call.before.as_deref())));
            lines.push(format!("    kept after:  {}{}", state(call.after().as_deref()), keeps(call)));
        }
        if self.calls_more > 0 {
            lines.push(format!("  … and {} calls more", self.calls_more));
        }
        let failures =
            problems.iter().any(|problem| matches!(problem, Problem::Failed { n, last, .. } if about(*n, *last)));
        let told = self.told.iter().filter(|told| !(failures && matches!(told, Told::Failed { .. })));
        lines.extend(told.map(|told| format!("  {told}")));
        lines
    }
}

impl HiddenState {
    fn details(&self, file: &str) -> Vec<String> {
        let Self { step, line, n, policy, .. } = self;
        let said = |call: &Option<Call>| match call {
            None => "it wasn't asked".to_owned(),
            Some(call) => format!("{}; kept after: {}{}", answer(call), state(call.after().as_deref()), keeps(call)),
        };
        vec![
            format!(
                "{}:{line}: step {step}, event {n}: policy {} has hidden state: for {} a fresh instance answers differently",
                escaped(file),
                escaped(policy),
                subject(&self.subject)
            ),
            format!("  an instance that has judged before: {}", said(&self.pooled)),
            format!("  a fresh instance:                   {}", said(&self.fresh)),
        ]
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action)?;
        match self.times {
            Times::Repeat { count: 1, .. } => Ok(()),
            Times::Repeat { count, every: Duration::ZERO } => write!(f, ", {count} times"),
            Times::Repeat { count, every } => write!(f, ", {count} times, one every {}", duration(every)),
            Times::Parallel { count, takes } => write!(f, ", {count} at once, each taking {}", duration(takes)),
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("time passes"),
            Self::Attempt(attempt) => {
                let outcome = match attempt.outcome {
                    Outcome::Failure => "fails",
                    Outcome::Success => "succeeds",
                };
                match &attempt.client {
                    Some(client) => write!(f, "a login of {} ", quoted(client.text()))?,
                    None => f.write_str("a login without an id ")?,
                }
                write!(f, "from {} {outcome}", escaped(attempt.from.text()))
            }
            Self::Request(request) => {
                let (method, path) = (escaped(&request.method), quoted(request.path.text()));
                write!(f, "{method} {path} from {}", escaped(request.from.text()))?;
                if let Some(client) = &request.client {
                    write!(f, " by {}", quoted(client.text()))?;
                }
                write!(f, " is answered {}", request.status)
            }
            Self::Restart(RestartKeeps::State) => f.write_str("the host restarts and keeps its state"),
            Self::Restart(RestartKeeps::Nothing) => f.write_str("the host restarts and loses its state"),
            Self::Swap(swap) => write!(f, "policy {} is replaced", escaped(&swap.policy)),
        }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { n, last, expected, came, reply } => {
                write!(f, "{}: expected {expected}, came {came}, answered {reply}", events(*n, *last))
            }
            Self::Failed { n, last, policy, rung, failure } => {
                let (policy, failure) = (escaped(policy), escaped(&failure.to_string()));
                let (events, rung) = (events(*n, *last), rung_name(*rung));
                write!(f, "{events}: the plugin of policy {policy} failed ({rung}): {failure}")
            }
            Self::Sound { policy } => {
                write!(f, "failing: expected the plugin of policy {} to fail, it didn't", escaped(policy))
            }
            Self::Sum { sum, expected, came } => write!(f, "total.{}: expected {expected}, came {came}", sum.name()),
            Self::Kept { policy, subject: who, expected, came } => {
                let (policy, came) = (escaped(policy), state(came.as_deref()));
                write!(f, "kept.{policy}: expected {expected} for {}, kept is {came}", subject(who))
            }
            Self::Ttl { policy, subject: who, expected, came } => {
                let came = came.map_or_else(|| "nothing is kept".to_owned(), |came| format!("kept {came}"));
                write!(f, "kept.{}.ttl: expected {expected} for {}, {came}", escaped(policy), subject(who))
            }
            Self::Past { at, now } => {
                let (at, now) = (duration(*at), duration(*now));
                write!(f, "at: {at} is in the past, it is {now} since the start already")
            }
            Self::Broken { why } => f.write_str(&escaped(why)),
        }
    }
}

impl Display for Expect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.what, self.reply) {
            (Expected::Sound, Some(reply)) => write!(f, "the reply {reply}"),
            (what, Some(reply)) => write!(f, "{what}, answered {reply}"),
            (what, None) => write!(f, "{what}"),
        }
    }
}

impl Display for Expected {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Sound => f.write_str("anything but a failed plugin"),
            Self::Pass => f.write_str("a pass"),
            Self::Verified => f.write_str("a verified pair"),
            Self::Denied => f.write_str("a denial"),
            Self::Orders(orders) => {
                let orders: Vec<_> = orders.iter().map(ToString::to_string).collect();
                f.write_str(&orders.join(" and "))
            }
            Self::Refused { status, retry_after } => {
                write!(f, "a refusal with {status}")?;
                retry_after.map_or(Ok(()), |after| write!(f, " and Retry-After {}", after.as_secs()))
            }
        }
    }
}

impl Display for ExpectedOrder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.what {
            Ordered::Wait(time) => write!(f, "a wait of {}", duration(time))?,
            Ordered::Ban { duration: time, network: None } => write!(f, "a ban of {}", duration(time))?,
            Ordered::Ban { duration: time, network: Some(network) } => {
                write!(f, "a ban of {network} for {}", duration(time))?;
            }
            Ordered::Spared => f.write_str("a ban that isn't enforced")?,
        }
        if let Some(by) = &self.by {
            write!(f, " by {}", escaped(by))?;
        }
        match (&self.reason, &self.text) {
            (None, None) => Ok(()),
            (Some(code), None) => write!(f, " because {}", quoted(code)),
            (None, Some(text)) => write!(f, " because {}", quoted(text)),
            (Some(code), Some(text)) => write!(f, " because {}, {}", quoted(code), quoted(text)),
        }
    }
}

impl Display for Reaction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => {
                let why = match refusal {
                    Refusal::Banned(left) => format!("the source is banned for another {}", duration(*left)),
                    Refusal::Waiting(left) => format!("it has to wait for another {}", duration(*left)),
                    Refusal::Busy => "too many queue".to_owned(),
                };
                let after = refusal.retry_after_seconds();
                write!(f, "a refusal with {} and Retry-After {after} ({why})", self.reply(0))
            }
            Self::Verified => f.write_str("a verified pair"),
            Self::Judged(Judged { orders, denied, .. }) => {
                let mut came: Vec<_> = orders.iter().map(order).collect();
                if *denied {
                    came.push("a denial".to_owned());
                }
                if came.is_empty() {
                    came.push("a pass".to_owned());
                }
                f.write_str(&came.join(" and "))
            }
        }
    }
}

fn order(order: &Order) -> String {
    let what = match &order.enforced {
        Enforced::Wait { duration: time, .. } => format!("a wait of {}", duration(*time)),
        Enforced::Ban { duration: time, network, .. } => format!("a ban of {network} for {}", duration(*time)),
        Enforced::Spared | Enforced::LogOnly { .. } => "a ban that isn't enforced".to_owned(),
    };
    let (code, text) = (quoted(order.reason.code()), quoted(order.reason.text()));
    format!("{what} by {} because {code}, {text}", escaped(&order.policy))
}

fn answer(call: &Call) -> String {
    match &call.answer {
        Err(_denied) => "nobody could judge".to_owned(),
        Ok(judgement) => match &judgement.verdict {
            Verdict::Pass => "pass".to_owned(),
            Verdict::Wait(order) => {
                let time = duration(order.duration);
                format!("wait {time} because {}, {}", quoted(order.reason.code()), quoted(order.reason.text()))
            }
            Verdict::Ban(order) => {
                let time = duration(order.duration);
                let bits = order.prefix_length.map(|bits| format!(" on {bits} bits")).unwrap_or_default();
                let (code, text) = (quoted(order.reason.code()), quoted(order.reason.text()));
                format!("ban {time}{bits} because {code}, {text}")
            }
        },
    }
}

/// What the policy said about keeping.
fn keeps(call: &Call) -> String {
    match call.answer.as_ref().map(|judgement| &judgement.keep) {
        Err(_) => String::new(),
        Ok(Keep::Unchanged) => " (unchanged)".to_owned(),
        Ok(Keep::Forget) => " (forgotten)".to_owned(),
        Ok(Keep::Put(kept)) => match kept.ttl {
            Some(ttl) => format!(" (put, for {})", duration(ttl)),
            None => " (put)".to_owned(),
        },
    }
}

/// Bytes in hexadecimal, and as text where they can be read so.
fn state(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "nothing".to_owned() };
    let shown = &bytes[..bytes.len().min(STATE_BYTES_SHOWN_MAX)];
    let hex: Vec<_> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String =
        shown.iter().map(|&byte| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '.' }).collect();
    let more = if shown.len() < bytes.len() { format!(" … of {} bytes", bytes.len()) } else { String::new() };
    format!("{} |{text}|{more}", hex.join(" "))
}

impl Display for KeptBytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Exactly(bytes) => f.write_str(&state(Some(bytes))),
            Self::Long(bytes) => write!(f, "{bytes} bytes"),
            Self::Something => f.write_str("something"),
        }
    }
}

impl Display for Ttl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("until the room is needed"),
            Self::Remaining(time) => write!(f, "for another {}", duration(*time)),
        }
    }
}

impl Display for Told {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { policy, rung, failure } => {
                let failure = escaped(&failure.to_string());
                write!(f, "policy {} failed ({}): {failure}", escaped(policy), rung_name(*rung))
            }
            Self::Log { policy, level, message } => {
                let level = match level {
                    LogLevel::Debug => "debug",
                    LogLevel::Info => "info",
                    LogLevel::Warn => "warn",
                };
                write!(f, "policy {} logged ({level}): {}", escaped(policy), quoted(message))
            }
        }
    }
}

/// Those in a row that came to the same.
fn events(n: u32, last: u32) -> String {
    if n == last { format!("event {n}") } else { format!("events {n} to {last}") }
}

const fn rung_name(rung: Rung) -> &'static str {
    match rung {
        Rung::First => "at first",
        Rung::Fresh => "on a fresh instance",
        Rung::Bundle => "the bundle's plugin",
    }
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Id(id) => format!("id {}", quoted(id.as_str())),
        Subject::Source(network) => format!("source {network}"),
        Subject::Pair(id, network) => format!("id {} from {network}", quoted(id.as_str())),
    }
}

impl Display for Sum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
