//! A journal as recorded traffic: its events in the shape that logs have, for a
//! replay through other policies.
//!
//! What the journal doesn't hold can't be replayed: requests that every policy
//! let pass without keeping anything, and what was refused.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use portcullis_domain::{Outcome as LoginOutcome, Timestamp};

use super::reader::{Findings, Reader};
use super::record::{Outcome, Record, Seen, What};
use crate::logs::{Answered, Entry, Facts, Text, What as Happened};

/// Numbers of events that are remembered: records of one event stand close together.
const NUMBERS_MAX: usize = 256;

/// Tells which record is the first of its event.
#[derive(Default)]
struct Firsts(VecDeque<u64>);

impl Firsts {
    fn is_first(&mut self, record: &Record<'_>) -> bool {
        match &record.what {
            What::Judged(judged) => {
                if self.0.contains(&judged.event) {
                    return false;
                }
                if self.0.len() == NUMBERS_MAX {
                    self.0.pop_front();
                }
                self.0.push_back(judged.event);
                true
            }
            What::Unjudged(_) => true,
            // Another run of the server numbers its events anew.
            What::Process(_) => {
                self.0.clear();
                false
            }
            What::Act(_) | What::InForce(_) => false,
        }
    }
}

/// Gives out each event once, in the order in which they were judged, until
/// `each` has had enough.
pub fn entries(reader: &Reader, since: Timestamp, mut each: impl FnMut(&Entry<'_>) -> ControlFlow<()>) -> Findings {
    let mut firsts = Firsts::default();
    reader.forward(|_, record| {
        if !firsts.is_first(record) || record.time.0 < since {
            return ControlFlow::Continue(());
        }
        entry(record).map_or(ControlFlow::Continue(()), |entry| each(&entry))
    })
}

/// The newest events since then, at most so many, the oldest first.
#[must_use]
pub fn newest_entries(reader: &Reader, since: Timestamp, entries_max: usize) -> Vec<Entry<'static>> {
    let mut firsts = Firsts::default();
    let mut newest = Vec::new();
    let mut old = 0;
    reader.backward(None, |_, record| {
        if record.time.0 < since {
            old += 1;
            // Threads write a little out of order, but not by that much.
            return if old > NUMBERS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        if firsts.is_first(record)
            && let Some(entry) = entry(record)
        {
            if newest.len() >= entries_max {
                return ControlFlow::Break(());
            }
            newest.push(entry.into_owned());
        }
        ControlFlow::Continue(())
    });
    newest.reverse();
    newest
}

/// The event of a record, if it is about one.
fn entry<'a>(record: &Record<'a>) -> Option<Entry<'a>> {
    let (source, client, seen, attributes) = match &record.what {
        What::Judged(judged) => (judged.source, judged.client, &judged.seen, &judged.attributes[..]),
        What::Unjudged(unjudged) => (unjudged.source, unjudged.client, &unjudged.seen, &[][..]),
        What::Act(_) | What::InForce(_) | What::Process(_) => return None,
    };
    let client = client.filter(|client| !client.is_empty()).map(text);
    let attributes = attributes.iter();
    let attributes = attributes.filter_map(|fact| Some((fact.name.to_owned(), fact.value?.to_owned()))).collect();
    let (what, facts, offence) = match seen {
        Seen::Attempt { outcome, known, fingerprint } => {
            let fingerprint = fingerprint.map(|fingerprint| fingerprint.0);
            let offence = *outcome == Outcome::Failure;
            (Happened::Login(LoginOutcome::from(*outcome)), Facts { known: *known, fingerprint, attributes }, offence)
        }
        Seen::Request { method, path, status } => {
            let answered = Answered {
                method: text(method),
                path: text(path),
                status: *status,
                referer: None,
                user_agent: None,
                vouched: true,
            };
            (Happened::Request(answered), Facts { attributes, ..Facts::default() }, *status == 404)
        }
    };
    let facts = (facts != Facts::default()).then(|| Box::new(facts));
    Some(Entry { at: record.time.0, from: source.0, client, what, offence, facts })
}

fn text(text: &str) -> Text<'_> {
    Text::of(Cow::Borrowed(text))
}
