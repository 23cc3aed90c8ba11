//! Lines become events for the gate, each at its own time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_domain::{Origin, Outcome, Timestamp};
use portcullis_harness::logs::{Entry, Line, Parsed, Parser, What};

use super::counts::Counts;
use crate::auth::IdCase;
use crate::gatekeeper::{Gatekeeper, Sighted};
use crate::seldom::Seldom;

/// How far a line may be ahead of the clock and is taken for one of now: clocks differ.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Judges the lines of one watch.
pub(super) struct Judging {
    name: Arc<str>,
    parser: Parser,
    max_lateness: Duration,
    id_case: IdCase,
    gatekeeper: Gatekeeper,
    counts: Arc<Counts>,
    late: Seldom,
    ahead: Seldom,
    now: Now,
}

/// Clocks that differ by less don't differ: they are read one after the other, each
/// in whole milliseconds.
const APART_MIN: Duration = Duration::from_millis(100);

/// What time it is, on the clock of those who write logs and on the gate's: that
/// one doesn't follow when the other is set.
#[derive(Clone, Copy, Default)]
struct Now {
    wall: Timestamp,
    gate: Timestamp,
}

impl Now {
    /// The time of a line, on the gate's clock.
    fn on_the_gates_clock(self, at: Timestamp) -> Timestamp {
        let Self { wall, gate } = self;
        // A millisecond less would put a line of the second in which a ban ended
        // before its end.
        if wall.since(gate).max(gate.since(wall)) < APART_MIN {
            return at.min(gate);
        }
        let age_ms = u64::try_from(wall.since(at).as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(gate.as_millis().saturating_sub(age_ms))
    }
}

impl Judging {
    pub(super) fn new(
        name: &Arc<str>,
        parser: Parser,
        max_lateness: Duration,
        id_case: IdCase,
        gatekeeper: Gatekeeper,
        counts: &Arc<Counts>,
    ) -> Self {
        Self {
            name: Arc::clone(name),
            parser,
            max_lateness,
            id_case,
            gatekeeper,
            counts: Arc::clone(counts),
            late: Seldom::default(),
            ahead: Seldom::default(),
            now: Now::default(),
        }
    }

    /// Looks at the clocks, for the lines that follow.
    pub(super) fn set_now(&mut self) {
        self.now = Now { wall: wall_time(), gate: self.gatekeeper.gate().clock().now() };
        self.parser.set_now(self.now.wall);
    }

    /// Whether what is made of a line depends on those before it.
    pub(super) const fn remembers(&self) -> bool {
        self.parser.remembers()
    }

    /// A line that has been judged by an earlier process, for the parser to remember.
    pub(super) fn recall(&mut self, line: &[u8]) {
        let _judged_already = self.parser.parse(line);
    }

    /// Judges one line of that log, with its number.
    pub(super) fn line(&mut self, line: Line<'_>, log: &str, number: u64) {
        self.gatekeeper.counters().watched_lines.bump();
        let Line::Whole(line) = line else { return self.counts.unknown.bump() };
        match self.parser.parse(line) {
            Parsed::Entry(entry) => {
                self.counts.events.bump();
                let telling = Telling {
                    name: &self.name,
                    counts: &self.counts,
                    late: &self.late,
                    ahead: &self.ahead,
                    max_lateness: self.max_lateness,
                    now: self.now,
                };
                let Some(at) = telling.time_of(&entry) else { return };
                self.gatekeeper.counters().watched_events.bump();
                let entry = Entry { at, ..entry };
                if self.gatekeeper.observe(&entry, Origin::Log { name: log, line: number }, self.id_case)
                    == Sighted::Banned
                {
                    self.counts.banned.bump();
                }
            }
            Parsed::Other | Parsed::Empty => self.counts.others.bump(),
            Parsed::Unknown => self.counts.unknown.bump(),
        }
    }
}

/// What is needed to say when something happened, and to tell if nobody believes it.
struct Telling<'j> {
    name: &'j str,
    counts: &'j Counts,
    late: &'j Seldom,
    ahead: &'j Seldom,
    max_lateness: Duration,
    now: Now,
}

impl Telling<'_> {
    /// The time of an event on the gate's clock; none if it is too old, or not
    /// yet to come.
    fn time_of(&self, entry: &Entry<'_>) -> Option<Timestamp> {
        match &entry.what {
            What::Request(_) => self.counts.requests.bump(),
            What::Login(Outcome::Success) => self.counts.successful_logins.bump(),
            What::Login(Outcome::Failure) => self.counts.failed_logins.bump(),
            What::FailedRequest(_) => {
                self.counts.requests.bump();
                self.counts.failed_logins.bump();
            }
        }
        let wall = self.now.wall;
        let (age, ahead) = (wall.since(entry.at), entry.at.since(wall));
        self.counts.behind_ms.set(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        if age > self.max_lateness {
            self.counts.late.bump();
            if let Some(times) = self.late.tell() {
                tracing::warn!(
                    "watch {}: a line is {} s old, older than watch.max_lateness, and isn't judged ({times} so far); if it \
                     was just written, watch.time_zone isn't that of its clock",
                    self.name,
                    age.as_secs()
                );
            }
            return None;
        }
        if ahead > AHEAD_MAX {
            self.counts.ahead.bump();
            if let Some(times) = self.ahead.tell() {
                tracing::warn!(
                    "watch {}: a line is {} s ahead of the clock and isn't judged ({times} so far); one of the clocks is \
                     wrong, or watch.time_zone isn't that of the log's",
                    self.name,
                    ahead.as_secs()
                );
            }
            return None;
        }
        Some(self.now.on_the_gates_clock(entry.at))
    }
}

/// The time that those who write logs see.
fn wall_time() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64, ms: u64) -> Timestamp {
        Timestamp::from_millis(second * 1000 + ms)
    }

    #[test]
    fn a_line_is_at_its_own_time_although_two_clocks_are_read_one_after_the_other() {
        for (wall, gate) in [(at(60, 598), at(60, 597)), (at(60, 597), at(60, 598)), (at(60, 0), at(60, 0))] {
            assert_eq!(Now { wall, gate }.on_the_gates_clock(at(60, 0)), at(60, 0));
        }
    }

    #[test]
    fn a_line_is_as_old_on_the_gates_clock_when_the_other_was_set() {
        for gate in [at(50, 500), at(7200, 500)] {
            let now = Now { wall: at(60, 500), gate };
            assert_eq!(now.on_the_gates_clock(at(58, 500)), Timestamp::from_millis(gate.as_millis() - 2000));
            assert_eq!(now.on_the_gates_clock(at(61, 0)), gate, "ahead is now");
        }
        let now = Now { wall: at(60, 598), gate: at(60, 597) };
        assert_eq!(now.on_the_gates_clock(at(61, 0)), at(60, 597), "ahead is now");
    }
}
