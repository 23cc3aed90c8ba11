//! Recorded traffic through policies, as fast as the machine goes: one thread
//! reads and parses ahead, the others judge.
//!
//! A [`Replay`] is fed lines, or whole logs, and puts each event through the
//! gate of one [`World`](crate::World), or of two for a comparison; at the end
//! it has a [`Report`]. Time is that of the log. `LOGS.md` beside this crate's
//! manifest says what is made of which line.

mod ahead;
mod clock;
mod lanes;
mod play;
mod report;
mod tally;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use portcullis_domain::{ClientId, Outcome as LoginOutcome, Timestamp};

use crate::logs::{Entry, Format, Input, InputError, Parser, SAMPLE_LINES, What};
use crate::plan::Plan;
use crate::world::{OpenError, World};
use ahead::{BATCHES_AHEAD, Batch};
use clock::{JUMP_LINES, LATE_MS_MAX, LogClock, is_back_from};
use lanes::{Flying, Landed, Lanes};
use play::{Occurrence, Player};
use tally::{Banned, Tally, count};

pub use report::{
    Against, Ban, BannedOtherwise, EventCounts, LineCounts, Misplaced, NewlyBanned, Outcome, PolicyFailures,
    RefusedCounts, Report, TimesBack, UnknownLine, Wait,
};

/// Events after which memory of what has expired is given back.
const EVENTS_PER_SWEEP: usize = 1 << 16;
/// So many events are judged at once, if there are as many.
const DUE_MIN: usize = 8192;
/// How full a map may be before it matters which entry was touched last.
const FULL: f64 = 0.9;

/// Most lines of no known kind that are kept.
pub const UNKNOWN_MAX: usize = 10_000;

/// How much of what is found is kept to be shown; everything is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Bans, those who had to wait, and networks of a comparison: so many of each.
    pub rows: usize,
    /// Lines of no known kind, at most [`UNKNOWN_MAX`].
    pub unknown: usize,
}

/// Why a log couldn't be replayed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It couldn't be read.
    #[error("{0}")]
    Input(#[from] InputError),
    /// Its first lines fit no format, and none was named.
    #[error("{name}: the first lines fit no known format; say which it is")]
    Format {
        /// The log.
        name: String,
    },
}

/// Traffic on its way through one world or two.
pub struct Replay {
    player: Player,
    lanes: Lanes,
    base: Tally,
    against: Option<Tally>,
    /// Events whose time is believed, to be judged.
    due: Vec<Occurrence>,
    /// Events that are being judged.
    flying: Option<Flying>,
    since_sweep: usize,
    parser: Option<Parser>,
    clock: LogClock,
    /// Events after a jump ahead, until there are enough to believe it.
    held: Vec<Entry<'static>>,
    far_ahead: u64,
    lines: LineCounts,
    events: EventCounts,
    span: Option<(Timestamp, Timestamp)>,
    /// Time of the last event of this log that was judged, as its line has it.
    last: Option<Timestamp>,
    /// The log before it that had any, and time of its last.
    before: Option<(Arc<str>, Timestamp)>,
    misplaced: Vec<Misplaced>,
    unknown: Vec<UnknownLine>,
    unknown_max: usize,
    shown_max: usize,
}

impl Replay {
    /// Policies that traffic can be put through, and others for a comparison.
    /// Without a format the first log that has lines decides.
    ///
    /// # Errors
    /// [`OpenError`] if a plugin refuses its settings or can't run.
    pub fn new(plan: Plan, against: Option<Plan>, format: Option<Format>, shown: Shown) -> Result<Self, OpenError> {
        let (stage, base) = Tally::open(plan, shown.rows, false)?;
        let against = against.map(|plan| Tally::open(plan, shown.rows, true)).transpose()?;
        let (against_stage, against) = against.unzip();
        let player = Player { base: stage, against: against_stage };
        Ok(Self {
            lanes: Lanes::start(&player),
            player,
            base,
            against,
            due: Vec::new(),
            flying: None,
            since_sweep: 0,
            parser: format.map(Parser::new),
            clock: LogClock::default(),
            held: Vec::new(),
            far_ahead: 0,
            lines: LineCounts::default(),
            events: EventCounts::default(),
            span: None,
            last: None,
            before: None,
            misplaced: Vec::new(),
            unknown: Vec::new(),
            unknown_max: shown.unknown.min(UNKNOWN_MAX),
            shown_max: shown.rows,
        })
    }

    /// The format, once it is known.
    #[must_use]
    pub fn format(&self) -> Option<&Format> {
        self.parser.as_ref().map(Parser::format)
    }

    /// Replays a log to its end.
    ///
    /// # Errors
    /// [`ReplayError`]; the lines before it have been judged, and the replay
    /// can go on with another log.
    pub fn read(&mut self, input: Input) -> Result<(), ReplayError> {
        let name = input.name().to_owned();
        let written = input.written();
        let mut lines = input.into_lines();
        let log: Arc<str> = name.as_str().into();
        let parser = match self.parser.take() {
            Some(parser) => parser,
            None => {
                match Format::detect(lines.sample(SAMPLE_LINES)) {
                    Some(format) => Parser::new(format),
                    None => {
                        // What can't be read says more than what fits nothing.
                        if let Some(error) = lines.take_failed() {
                            return Err(InputError::new(&name, 0, error).into());
                        }
                        return match lines.next_line() {
                            Ok(None) => Ok(()),
                            Ok(Some(_)) | Err(_) => Err(ReplayError::Format { name }),
                        };
                    }
                }
            }
        };
        let mut parser = parser;
        if let Some(written) = written {
            parser.set_now(written);
        }
        let room = self.unknown_max.saturating_sub(self.unknown.len());
        let (batches, ahead) = sync_channel(BATCHES_AHEAD);
        let read = thread::scope(|scope| {
            let mut began = false;
            let reading = scope.spawn(move || ahead::read(lines, parser, room, &batches));
            for batch in ahead {
                if let Some(first) = batch.entries.first().filter(|_| !began) {
                    began = true;
                    self.begins(&log, first.at);
                }
                self.batch(batch, &log);
            }
            let held = self.held.last().map(|held| held.at);
            if let Some(last) = held.filter(|_| began).or(self.last.take()) {
                self.before = Some((Arc::clone(&log), last));
            }
            reading.join()
        });
        // A thread that panicked has said so; the panic goes on here.
        let read = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.parser = Some(read.parser);
        read.ended.map_err(|error| InputError::new(&name, read.lines, error).into())
    }

    /// Notes it if a log begins before the one before it ended.
    fn begins(&mut self, log: &Arc<str>, begins: Timestamp) {
        let Some((after, ended)) = self.before.clone() else { return };
        if begins.as_millis().saturating_add(LATE_MS_MAX) < ended.as_millis() {
            self.misplaced.push(Misplaced { log: Arc::clone(log), begins, after, ended });
        }
    }

    fn batch(&mut self, batch: Batch, log: &Arc<str>) {
        self.lines.add(&batch.lines);
        let unknown = batch.unknown.into_iter();
        self.unknown.extend(unknown.map(|(number, text)| UnknownLine { log: Arc::clone(log), number, text }));
        for entry in batch.entries {
            self.take(entry);
        }
        if self.due.len() >= DUE_MIN {
            self.judge_due();
        }
    }

    /// Puts one event through the gate.
    pub fn entry(&mut self, entry: &Entry<'_>) {
        self.take(entry.clone().into_owned());
        self.settle();
    }

    fn take(&mut self, entry: Entry<'static>) {
        let events = &mut self.events;
        match &entry.what {
            What::Request(_) => events.requests += 1,
            What::Login(LoginOutcome::Success) => events.successful_logins += 1,
            What::Login(LoginOutcome::Failure) => events.failed_logins += 1,
            What::FailedRequest(_) => {
                events.requests += 1;
                events.failed_logins += 1;
            }
        }
        self.timed(entry);
    }

    /// Has an event judged when its time is believed.
    fn timed(&mut self, entry: Entry<'static>) {
        let jump = self.clock.is_jump(entry.at);
        // The log goes on where it was before those that wait, or nearer to it.
        if !jump || self.held.first().is_some_and(|first| is_back_from(entry.at, first.at)) {
            self.far_ahead += count(self.held.len());
            self.held.clear();
        }
        if !jump {
            return self.believe(entry);
        }
        self.held.push(entry);
        if self.held.len() >= JUMP_LINES {
            let mut held = std::mem::take(&mut self.held).into_iter();
            if let Some(first) = held.next() {
                self.believe(first);
            }
            // From there another may be a jump of its own; there is one less each time.
            held.for_each(|next| self.timed(next));
        }
    }

    fn believe(&mut self, entry: Entry<'static>) {
        let Some(at) = self.clock.at(entry.at) else { return };
        self.last = Some(entry.at);
        let (first, last) = self.span.unwrap_or((entry.at, entry.at));
        self.span = Some((first.min(entry.at), last.max(entry.at)));
        let client = match entry.client.as_ref().map(|id| ClientId::new(&id.decoded())) {
            None => None,
            Some(Ok(client)) => Some(client),
            Some(Err(_too_long)) => {
                self.events.ids_too_long += 1;
                return;
            }
        };
        self.due.push(Occurrence { entry, client, at });
    }

    /// Has what is due judged, and notes what came of what was judged before.
    fn judge_due(&mut self) {
        let events = std::mem::take(&mut self.due);
        self.since_sweep += events.len();
        let prepared = self.lanes.prepare(events, self.goes_by_order());
        let landed = self.flying.take().map(|flying| self.lanes.land(flying));
        // Nothing is being judged at this moment.
        if self.since_sweep >= EVENTS_PER_SWEEP {
            self.since_sweep = 0;
            self.player.worlds().for_each(World::sweep);
        }
        self.flying = Some(self.lanes.begin(&self.player, prepared));
        if let Some(landed) = landed {
            self.note(landed);
        }
    }

    /// Until all that is due has been judged and noted.
    fn settle(&mut self) {
        self.judge_due();
        if let Some(flying) = self.flying.take() {
            let landed = self.lanes.land(flying);
            self.note(landed);
        }
    }

    fn note(&mut self, landed: Landed) {
        let (base, against) = (&mut self.base, &mut self.against);
        landed.each(|occurrence, done| {
            base.note(occurrence, done.base);
            if let Some((tally, came)) = against.as_mut().zip(done.against) {
                tally.note(occurrence, came);
            }
        });
    }

    /// Whether what becomes of an event can depend on others that have nothing
    /// in common with it: those are judged one after another.
    fn goes_by_order(&self) -> bool {
        let capped = |world: &World| world.plan().limits.max_bans_per_minute.is_some();
        self.base.has_failures()
            || self.against.as_ref().is_some_and(Tally::has_failures)
            || self.player.worlds().any(|world| capped(world) || world.fullness() > FULL)
    }

    /// What came of it all.
    #[must_use]
    pub fn finish(mut self) -> Report {
        // Nothing comes after them that speaks against them.
        std::mem::take(&mut self.held).into_iter().for_each(|held| self.believe(held));
        self.settle();
        let (outcome, banned) = self.base.finish();
        let against = self.against.map(|against| {
            let (outcome, others) = against.finish();
            let newly: Vec<_> = only_in(&others, &banned);
            let no_longer: Vec<_> = only_in(&banned, &others);
            let (mut longer, mut shorter) = otherwise(&banned, &others);
            let (banned_longer_networks, banned_shorter_networks) = (count(longer.len()), count(shorter.len()));
            longer.truncate(self.shown_max);
            shorter.truncate(self.shown_max);
            Against {
                outcome,
                newly_banned_networks: count(newly.len()),
                newly_banned_logged_in: count(newly.iter().filter(|banned| banned.logins_after > 0).count()),
                no_longer_banned_networks: count(no_longer.len()),
                newly_banned: newly
                    .into_iter()
                    .take(self.shown_max)
                    .map(|banned| NewlyBanned {
                        ban: banned.first.clone(),
                        logins_after: banned.logins_after,
                        logins_while_banned: banned.logins_while_banned,
                    })
                    .collect(),
                no_longer_banned: no_longer
                    .into_iter()
                    .take(self.shown_max)
                    .map(|banned| banned.first.clone())
                    .collect(),
                banned_longer: longer.into_iter().map(BannedOtherwise::from).collect(),
                banned_longer_networks,
                banned_shorter: shorter.into_iter().map(BannedOtherwise::from).collect(),
                banned_shorter_networks,
            }
        });
        Report {
            lines: self.lines,
            events: self.events,
            times_back: self.clock.back,
            far_ahead: self.far_ahead,
            misplaced: self.misplaced,
            span: self.span,
            outcome,
            against,
            unknown: self.unknown,
        }
    }
}

type BannedNetworks = std::collections::HashMap<ipnet::IpNet, Banned>;

/// What is in one and not in the other, by the time of the first ban.
fn only_in<'a>(one: &'a BannedNetworks, other: &BannedNetworks) -> Vec<&'a Banned> {
    let only = one.iter().filter(|(network, _)| !other.contains_key(network));
    let mut only: Vec<_> = only.map(|(_, banned)| banned).collect();
    only.sort_by_key(|banned| (banned.first.at, banned.first.network));
    only
}

type Pairs<'a> = Vec<(&'a Banned, &'a Banned)>;

/// What is in both: banned for longer by the others, and for less time; by the
/// time of the first ban.
fn otherwise<'a>(ours: &'a BannedNetworks, others: &'a BannedNetworks) -> (Pairs<'a>, Pairs<'a>) {
    let both = ours.iter().filter_map(|(network, ours)| Some((ours, others.get(network)?)));
    let mut differing: Pairs<'a> = both.filter(|(ours, others)| ours.total != others.total).collect();
    differing.sort_by_key(|(ours, _)| (ours.first.at, ours.first.network));
    differing.into_iter().partition(|(ours, others)| others.total > ours.total)
}

impl From<(&Banned, &Banned)> for BannedOtherwise {
    fn from((ours, others): (&Banned, &Banned)) -> Self {
        Self { ban: ours.first.clone(), total: ours.total, total_against: others.total }
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("lines", &self.lines).field("events", &self.events).finish_non_exhaustive()
    }
}
