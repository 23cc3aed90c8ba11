//! Why is somebody banned, or made to wait? The chain of events that led there,
//! from the one that found no state to the one that the order came with.
//!
//! One walk through the journal, from its newest record backwards, as far as is
//! needed; what is kept meanwhile is bounded.

use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnet::IpNet;
use portcullis_domain::Timestamp;
use serde::Serialize;

use super::reader::{Findings, Read, Reader, Stored};
use super::record::{Enforced, Judged, Keep, Record, What};
use super::value::{Network, Time};

/// Orders of bans, and as many of waits, that are looked for beyond those in force.
const ORDERS_MAX: usize = 8;
/// Events of one chain that are kept, the newest and the first of them.
const CHAIN_MAX: usize = 100;
/// Acts by hand that are kept, the newest.
const ACTS_MAX: usize = 50;
/// The newest events of whom it is about that are kept.
const NEWEST_MAX: usize = 20;
/// Things in force that are explained.
const IN_FORCE_MAX: usize = 32;

/// Whom it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// A source.
    Address(IpAddr),
    /// All sources of a network.
    Network(IpNet),
    /// A client auth id.
    Client(String),
}

impl Whom {
    /// From what people type: an address, a network, else a client auth id.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::Address(address.to_canonical());
        }
        text.parse::<IpNet>().map_or_else(|_| Self::Client(text.to_owned()), |network| Self::Network(network.trunc()))
    }

    /// Whether a ban or a state of that network is about it.
    fn is_in(&self, network: IpNet) -> bool {
        match self {
            Self::Address(address) => network.contains(address),
            Self::Network(own) => network.contains(own) || own.contains(&network),
            Self::Client(_) => false,
        }
    }

    fn is(&self, source: Option<IpAddr>, client: Option<&str>) -> bool {
        match self {
            Self::Client(own) => client == Some(own),
            Self::Address(own) => source == Some(*own),
            Self::Network(own) => source.is_some_and(|source| own.contains(&source)),
        }
    }
}

/// What is in force now and has to be explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum InForceNow {
    /// A ban.
    Banned {
        /// Which network.
        network: Network,
        /// When the order came that decides its end.
        since: Time,
        /// When it ends.
        until: Time,
    },
    /// A wait.
    Waits {
        /// Who, if it goes by that.
        client: Option<String>,
        /// From where, if it goes by that.
        source: Option<Network>,
        /// When it ends.
        until: Time,
    },
}

impl InForceNow {
    /// Whether that order is the one that decides it.
    fn is_by(&self, time: Timestamp, judged: &Judged<'_>, enforced: &Enforced) -> bool {
        match (self, enforced) {
            (Self::Banned { network, since, until }, Enforced::Ban { network: by, until: to, .. }) => {
                network == by && until == to && since.0 == time
            }
            (Self::Waits { client, source, until }, Enforced::Wait { until: to, decides: true }) => {
                until == to
                    && client.as_deref() == judged.subject.client()
                    && source.map(|source| source.0) == judged.subject.network()
            }
            (Self::Banned { .. } | Self::Waits { .. }, _) => false,
        }
    }

    /// Whether that was done by hand.
    fn is_by_hand(&self, time: Timestamp, network: Option<IpNet>) -> bool {
        match self {
            Self::Banned { network: banned, since, .. } => since.0 == time && network == Some(banned.0),
            Self::Waits { .. } => false,
        }
    }
}

/// An order, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Which of what is in force it explains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explains: Option<usize>,
    /// The events of one policy about one subject, the oldest first; with the
    /// last one the order came.
    pub chain: Vec<Stored>,
    /// Events in its middle that aren't shown.
    pub left_out: u64,
    /// Whether the first of them found no state: there was nothing before it.
    pub from_the_beginning: bool,
    /// Somewhere between them records are missing: a state was found that none
    /// of them had left.
    pub gaps: bool,
}

/// What a journal says about somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Orders, the newest first: those of what is in force, and some before them.
    pub orders: Vec<Explained>,
    /// What was done by hand, the newest first.
    pub acts: Vec<Stored>,
    /// Their newest events, the newest first, as far as had to be looked.
    pub newest: Vec<Stored>,
    /// What of it all can't be explained: its record is missing.
    pub unexplained: Vec<usize>,
    /// What was met while reading.
    pub findings: Findings,
}

/// An order whose chain is being walked back.
struct Open {
    explains: Option<usize>,
    policy: String,
    /// The subject, as it is written.
    subject: Vec<u8>,
    /// The newest first.
    chain: Vec<Stored>,
    left_out: u64,
    /// What the event after the one that is looked for had found.
    found: Option<Vec<u8>>,
    gaps: bool,
    /// Its first event is found.
    done: bool,
}

/// What the journal behind `reader` says about `whom`, for whom `in_force` is in
/// force now.
#[must_use]
pub fn explain(reader: &Reader, whom: &Whom, in_force: &[InForceNow]) -> Explanation {
    let in_force = &in_force[..in_force.len().min(IN_FORCE_MAX)];
    let mut search = Search {
        whom,
        in_force,
        open: Vec::new(),
        explained: vec![false; in_force.len()],
        bans: 0,
        waits: 0,
        acts: Vec::new(),
        newest: Vec::new(),
    };
    let findings = reader.backward(None, |read, record| search.see(read, record));
    search.finish(findings)
}

struct Search<'s> {
    whom: &'s Whom,
    in_force: &'s [InForceNow],
    open: Vec<Open>,
    explained: Vec<bool>,
    bans: usize,
    waits: usize,
    acts: Vec<Stored>,
    newest: Vec<Stored>,
}

impl Search<'_> {
    fn see(&mut self, read: Read<'_>, record: &Record<'_>) -> ControlFlow<()> {
        match &record.what {
            What::Judged(judged) => self.judged(read, record, judged),
            What::Unjudged(_) => self.note(read, record),
            What::Act(act) => {
                let network = act.about.as_ref().and_then(|about| about.subject.network());
                if network.is_some_and(|network| self.whom.is_in(network)) || self.whom.is(None, record.client()) {
                    for (nth, now) in self.in_force.iter().enumerate() {
                        self.explained[nth] |= now.is_by_hand(record.time.0, network);
                    }
                    if self.acts.len() < ACTS_MAX {
                        self.acts.push(read.stored());
                    }
                }
            }
            What::InForce(_) | What::Process(_) => {}
        }
        if self.has_enough() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn judged(&mut self, read: Read<'_>, record: &Record<'_>, judged: &Judged<'_>) {
        self.walk_back(read, judged);
        self.note(read, record);
        let Some(enforced) = &judged.enforced else { return };
        let explains = self.in_force.iter().position(|now| now.is_by(record.time.0, judged, enforced));
        let hit = match enforced {
            Enforced::Ban { network, .. } | Enforced::LogOnly { network, .. } => self.whom.is_in(network.0),
            Enforced::Wait { .. } => judged.subject.network().is_some_and(|network| self.whom.is_in(network)),
            Enforced::Spared => false,
        };
        if explains.is_none() && !hit && !self.whom.is(record.source(), judged.subject.client().or(judged.client)) {
            return;
        }
        let is_wait = matches!(enforced, Enforced::Wait { .. });
        let count = if is_wait { &mut self.waits } else { &mut self.bans };
        if explains.is_none() {
            if *count >= ORDERS_MAX {
                return;
            }
            *count += 1;
        }
        if let Some(nth) = explains {
            self.explained[nth] = true;
        }
        let before = judged.before.map(|before| before.0.to_vec());
        self.open.push(Open {
            explains,
            policy: judged.policy.to_owned(),
            subject: encoded(judged),
            chain: vec![read.stored()],
            left_out: 0,
            done: before.is_none(),
            found: before,
            gaps: false,
        });
    }

    /// An older event of the same policy and subject belongs to the chain.
    fn walk_back(&mut self, read: Read<'_>, judged: &Judged<'_>) {
        let mut of_subject = None;
        for open in self.open.iter_mut().filter(|open| !open.done && open.policy == judged.policy) {
            if *of_subject.get_or_insert_with(|| encoded(judged)) != open.subject {
                continue;
            }
            let before = judged.before.map(|before| before.0);
            let left = match judged.keep {
                Some(Keep::Put { data, .. }) => Some(data.0),
                Some(Keep::Unchanged) | None => before,
                Some(Keep::Forget) => None,
            };
            open.gaps |= left != open.found.as_deref();
            open.found = before.map(<[u8]>::to_vec);
            if open.chain.len() >= CHAIN_MAX {
                // The oldest one so far makes room: in the end it is the first that counts.
                open.chain.pop();
                open.left_out += 1;
            }
            open.chain.push(read.stored());
            open.done = before.is_none();
        }
    }

    fn note(&mut self, read: Read<'_>, record: &Record<'_>) {
        if self.newest.len() < NEWEST_MAX && self.whom.is(record.source(), record.client()) {
            self.newest.push(read.stored());
        }
    }

    /// Whether nothing older can add anything: with something in force, once
    /// that is explained; else with enough orders.
    fn has_enough(&self) -> bool {
        let chains_done = self.open.iter().all(|open| open.done);
        let orders = self.bans >= ORDERS_MAX && self.waits >= ORDERS_MAX;
        let explained = !self.in_force.is_empty() && self.explained.iter().all(|explained| *explained);
        chains_done && (explained || orders)
    }

    fn finish(self, findings: Findings) -> Explanation {
        let close = |open: Open| {
            let mut chain = open.chain;
            chain.reverse();
            let Open { explains, left_out, gaps, done, .. } = open;
            Explained { explains, chain, left_out, from_the_beginning: done, gaps }
        };
        let unexplained = self.explained.iter().enumerate().filter(|(_, explained)| !**explained);
        Explanation {
            unexplained: unexplained.map(|(nth, _)| nth).collect(),
            orders: self.open.into_iter().map(close).collect(),
            acts: self.acts,
            newest: self.newest,
            findings,
        }
    }
}

/// A record's subject as bytes that are the same for the same subject.
fn encoded(judged: &Judged<'_>) -> Vec<u8> {
    // Writing to memory can't fail.
    minicbor::to_vec(&judged.subject).unwrap_or_default()
}
