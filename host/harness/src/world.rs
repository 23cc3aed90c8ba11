//! A gate in virtual time, with everything that can happen to it: logins, alone
//! or many at once, requests, time that passes, swaps and restarts.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use portcullis_domain::event::cut;
use portcullis_domain::event::{ATTRIBUTE_BYTES_MAX, METHOD_BYTES_MAX, PATH_BYTES_MAX};
use portcullis_domain::turnstile::{QUEUE_TIME_MAX, TURN_TIME_MAX};
use portcullis_domain::{
    Admission, Admitted, Attribute, ClientId, Clock as _, Finished, Gate, Judge, Judged, MemoryStore, Outcome, Passage,
    Policy, Refusal, Request, Ruleset, Source, StateBytes, StateFormat, Store, Subject, Timestamp, VirtualClock,
};
use portcullis_runtime::{ConfigureError, Mode, Reporter, Silent};
use sha2::Sha256;

use crate::observed::{Call, Journal, Observed, Told};
use crate::plan::{Plan, PolicyPlan};

/// Keys what is derived from secrets. Worlds hold no real secrets, and the same
/// scenario must give the same fingerprints everywhere.
const KEY: [u8; 32] = *b"a key for worlds without secrets";

/// A login attempt that is going to be made, and how the check of its secret ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who; absent for a login that carries no id.
    pub client: Option<ClientId>,
    /// From where.
    pub from: IpAddr,
    /// How the check ends if the gate lets it come to that.
    pub outcome: Outcome,
    /// The secret that is presented. With it a success makes a verified pair
    /// (rule 8) and a failure carries a fingerprint; left out, neither.
    pub secret: Option<String>,
    /// The fingerprint that a failure carries where no secret is given.
    pub fingerprint: Option<u32>,
    /// Whether such an id exists, where the host can tell.
    pub known: Option<bool>,
    /// Facts for policies that ask for them, by lower-case name.
    pub attributes: Vec<(String, String)>,
}

impl Login {
    /// A wrong secret, without any more being known about it.
    #[must_use]
    pub fn failed(client: &ClientId, from: IpAddr) -> Self {
        let client = Some(client.clone());
        Self {
            client,
            from,
            outcome: Outcome::Failure,
            secret: None,
            fingerprint: None,
            known: None,
            attributes: Vec::new(),
        }
    }

    /// A right secret, without any more being known about it.
    #[must_use]
    pub fn succeeded(client: &ClientId, from: IpAddr) -> Self {
        Self { outcome: Outcome::Success, ..Self::failed(client, from) }
    }
}

/// A request that is going to be made, and the status that it is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// From where.
    pub from: IpAddr,
    /// Who, if its own credentials are verified.
    pub client: Option<ClientId>,
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The status of the reply, if the gate lets it come to that.
    pub status: u16,
    /// Facts for policies that ask for them, by lower-case name.
    pub attributes: Vec<(String, String)>,
}

impl Visit {
    /// A GET by nobody in particular.
    #[must_use]
    pub fn new(from: IpAddr, path: &str, status: u16) -> Self {
        let (method, path) = ("GET".to_owned(), path.to_owned());
        Self { from, client: None, method, path, status, attributes: Vec::new() }
    }
}

/// What the gate made of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It was turned away and no policy was asked.
    Refused(Refusal),
    /// The pair succeeded from there a moment ago: no attempt (rule 8).
    Verified,
    /// The policies judged, and what they ordered is in force.
    Judged(Judged),
}

impl Reaction {
    /// What the client is answered when its event, let through, would have been
    /// answered with `status`.
    #[must_use]
    pub const fn reply(&self, status: u16) -> u16 {
        match self {
            Self::Refused(Refusal::Banned(_)) => 423,
            Self::Refused(Refusal::Waiting(_) | Refusal::Busy) => 429,
            Self::Judged(Judged { denied: true, .. }) => 503,
            Self::Judged(_) | Self::Verified => status,
        }
    }
}

/// What survives a restart of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartKeeps {
    /// Kept state, waits and bans, as with a store on disk.
    State,
    /// Nothing, as with a store in memory.
    Nothing,
}

/// A plugin can't serve its policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy}: {error}")]
pub struct OpenError {
    /// The policy's name.
    pub policy: String,
    /// Why.
    pub error: ConfigureError,
}

/// A gate in virtual time.
pub struct World {
    plan: Plan,
    mode: Mode,
    clock: Arc<VirtualClock>,
    store: Arc<MemoryStore>,
    journal: Option<Arc<Journal>>,
    reporter: Arc<dyn Reporter>,
    judges: Vec<Arc<dyn Judge>>,
    gate: Gate,
}

impl World {
    /// A world as planned, in which every call is noted down.
    ///
    /// # Errors
    /// [`OpenError`] if a plugin refuses its settings or can't run.
    pub fn open(plan: Plan, mode: Mode) -> Result<Self, OpenError> {
        let journal: Arc<Journal> = Arc::default();
        Self::begin(plan, mode, Some(Arc::clone(&journal)), journal)
    }

    /// A world in which nothing is noted down, for much traffic.
    ///
    /// # Errors
    /// As [`World::open`].
    pub fn open_unobserved(plan: Plan, mode: Mode) -> Result<Self, OpenError> {
        Self::open_reporting(plan, mode, Arc::new(Silent))
    }

    /// The same, but what policies have to tell is told, as by the server.
    ///
    /// # Errors
    /// As [`World::open`].
    pub fn open_reporting(plan: Plan, mode: Mode, reporter: Arc<dyn Reporter>) -> Result<Self, OpenError> {
        Self::begin(plan, mode, None, reporter)
    }

    fn begin(
        plan: Plan,
        mode: Mode,
        journal: Option<Arc<Journal>>,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, OpenError> {
        let clock = Arc::new(VirtualClock::new(plan.start));
        let store = Arc::new(MemoryStore::new(plan.capacity));
        let judges = judges(&plan.policies, mode, journal.as_ref(), &reporter)?;
        let gate = gate(&plan, &judges, &store, &clock);
        Ok(Self { plan, mode, clock, store, journal, reporter, judges, gate })
    }

    /// Another gate in front of what this one keeps, with the same instances of
    /// plugins and a clock of its own: for a thread of its own. What two of them
    /// judge at once must not be about the same subjects.
    #[must_use]
    pub(crate) fn beside(&self) -> Self {
        let clock = Arc::new(VirtualClock::new(self.now()));
        Self {
            plan: self.plan.clone(),
            mode: self.mode,
            gate: gate(&self.plan, &self.judges, &self.store, &clock),
            clock,
            store: Arc::clone(&self.store),
            journal: self.journal.clone(),
            reporter: Arc::clone(&self.reporter),
            judges: self.judges.clone(),
        }
    }

    /// The fullest of its maps, as a share of what it may hold.
    pub(crate) fn fullness(&self) -> f64 {
        let (sizes, capacity) = (self.store.sizes(), self.plan.capacity);
        let states = sizes.tables.iter().map(|table| table.states).max().unwrap_or_default();
        let shares = [(states, capacity.states), (sizes.waits, capacity.waits), (sizes.bans, capacity.bans)];
        #[expect(clippy::cast_precision_loss, reason = "a share, roughly")]
        let share = |(held, most): (usize, usize)| held as f64 / most.max(1) as f64;
        shares.map(share).into_iter().fold(0.0, f64::max)
    }

    /// What it was made of, swaps counted in.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The gate itself.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass.
    pub fn advance(&self, step: Duration) {
        self.clock.advance(step);
    }

    /// Lets time pass until then; an earlier instant changes nothing.
    pub fn advance_to(&self, instant: Timestamp) {
        self.clock.set(instant);
    }

    /// Gives back memory of what has expired; to be called now and then.
    pub fn sweep(&self) {
        self.gate.sweep();
    }

    /// One login, with nobody else under way.
    pub fn login(&self, login: &Login) -> Reaction {
        let source = self.source(login.from);
        let admitted = match self.gate.admit(source) {
            Ok(admitted) => admitted,
            Err(refusal) => return Reaction::Refused(refusal),
        };
        let secret = login.secret.as_deref().map(str::as_bytes);
        let mut passing = std::pin::pin!(self.gate.pass(&admitted, login.client.as_ref(), secret));
        match poll(passing.as_mut()) {
            Poll::Ready(Ok(Passage::Turn(admission))) => Reaction::Judged(self.finish(admission, login)),
            Poll::Ready(Ok(Passage::Verified(_))) => Reaction::Verified,
            Poll::Ready(Err(refusal)) => Reaction::Refused(refusal),
            // Nobody is under way whom it could have to wait for.
            Poll::Pending => Reaction::Refused(Refusal::Busy),
        }
    }

    /// Logins that all come at this instant, in that order, each check of a
    /// secret taking as long as `takes`; they queue as rule 12 says. The clock
    /// moves on to the end of the last.
    pub fn logins_at_once(&self, logins: &[Login], takes: Duration) -> Vec<Reaction> {
        Parallel::begin(self, logins, takes).run()
    }

    fn finish(&self, admission: Admission, login: &Login) -> Judged {
        let attributes = borrowed(&login.attributes);
        let secret = login.secret.as_deref().map(str::as_bytes);
        let failed = login.outcome == Outcome::Failure;
        let of_secret = secret.map(|secret| fingerprint(login.client.as_ref(), secret));
        self.gate.judge_attempt(
            admission,
            &Finished {
                outcome: login.outcome,
                secret,
                client_known: login.known,
                secret_fingerprint: of_secret.or(login.fingerprint).filter(|_| failed),
                attributes: &attributes,
            },
        )
    }

    /// One request.
    pub fn request(&self, visit: &Visit) -> Reaction {
        let admitted = match self.gate.admit(self.source(visit.from)) {
            Ok(admitted) => admitted,
            Err(refusal) => return Reaction::Refused(refusal),
        };
        let attributes = borrowed(&visit.attributes);
        Reaction::Judged(self.gate.judge_request(
            &admitted,
            &Request {
                source: admitted.source(),
                client_id: visit.client.as_ref(),
                method: cut(&visit.method, METHOD_BYTES_MAX),
                path: cut(&visit.path, PATH_BYTES_MAX),
                status: visit.status,
                attributes: &attributes,
            },
        ))
    }

    /// Puts other policies in force, as a reload does: a policy of the same name
    /// finds what was kept under the same format.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing has changed.
    pub fn swap(&mut self, policies: Vec<PolicyPlan>) -> Result<(), OpenError> {
        self.judges = judges(&policies, self.mode, self.journal.as_ref(), &self.reporter)?;
        self.plan.policies = policies;
        self.gate.swap(ruleset(&self.plan, &self.judges, &*self.store));
        Ok(())
    }

    /// The host restarts: instances, queues and verified pairs are gone.
    ///
    /// # Errors
    /// [`OpenError`], as at any start.
    pub fn restart(&mut self, keeps: RestartKeeps) -> Result<(), OpenError> {
        self.judges = judges(&self.plan.policies, self.mode, self.journal.as_ref(), &self.reporter)?;
        if keeps == RestartKeeps::Nothing {
            self.store = Arc::new(MemoryStore::new(self.plan.capacity));
        }
        self.gate = gate(&self.plan, &self.judges, &self.store, &self.clock);
        Ok(())
    }

    /// What the policy of that name keeps for a subject now, under its own format.
    #[must_use]
    pub fn kept(&self, policy: &str, subject: &Subject) -> Option<StateBytes> {
        let index = self.plan.policies.iter().position(|plan| plan.name == policy)?;
        let formats: &[StateFormat] = self.judges[index].formats();
        let mut kept = None;
        self.store.table(policy, formats).hold(subject, &*self.clock, &mut |_, held| kept = held.as_kept().read(0));
        kept
    }

    /// The source that an address counts as.
    #[must_use]
    pub fn source(&self, address: IpAddr) -> Source {
        Source::new(address, self.plan.source.ipv6_prefix)
    }

    /// The calls of policies since this was last asked.
    pub fn take_calls(&self) -> Vec<Call> {
        self.journal.as_ref().map(|journal| journal.take_calls()).unwrap_or_default()
    }

    /// What policies had to tell since this was last asked.
    pub fn take_told(&self) -> Vec<Told> {
        self.journal.as_ref().map(|journal| journal.take_told()).unwrap_or_default()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("plan", &self.plan).field("now", &self.now()).finish_non_exhaustive()
    }
}

fn judges(
    policies: &[PolicyPlan],
    mode: Mode,
    journal: Option<&Arc<Journal>>,
    reporter: &Arc<dyn Reporter>,
) -> Result<Vec<Arc<dyn Judge>>, OpenError> {
    let make = |plan: &PolicyPlan| {
        let judge = plan
            .judge(policies, mode, Arc::clone(reporter))
            .map_err(|error| OpenError { policy: plan.name.clone(), error })?;
        let judge: Arc<dyn Judge> = Arc::new(judge);
        Ok(match journal {
            None => judge,
            Some(journal) => Arc::new(Observed {
                policy: plan.name.as_str().into(),
                subject: plan.subject,
                judge,
                journal: Arc::clone(journal),
            }),
        })
    };
    policies.iter().map(make).collect()
}

fn ruleset(plan: &Plan, judges: &[Arc<dyn Judge>], store: &dyn Store) -> Ruleset {
    let policies = plan.policies.iter().zip(judges);
    let policies = policies
        .map(|(plan, judge)| Policy::new(&plan.name, plan.kind, plan.subject, Arc::clone(judge)).mode(plan.mode));
    Ruleset::new(plan.source.clone(), plan.limits.clone(), policies.collect(), store)
}

fn gate(plan: &Plan, judges: &[Arc<dyn Judge>], store: &Arc<MemoryStore>, clock: &Arc<VirtualClock>) -> Gate {
    let ruleset = ruleset(plan, judges, &**store);
    Gate::new(Arc::clone(store) as _, Arc::clone(clock) as _, ruleset, KEY)
}

fn borrowed(attributes: &[(String, String)]) -> Vec<Attribute<'_>> {
    attributes.iter().map(|(name, value)| Attribute { name, value: cut(value, ATTRIBUTE_BYTES_MAX) }).collect()
}

/// Equal for the same secret of the same id, as the server's.
fn fingerprint(client: Option<&ClientId>, secret: &[u8]) -> u32 {
    let id = client.map(ClientId::as_str).unwrap_or_default();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&KEY) else { return 0 };
    mac.update(&u64::try_from(id.len()).unwrap_or_default().to_be_bytes());
    mac.update(id.as_bytes());
    mac.update(secret);
    let digest: [u8; 32] = mac.finalize().into_bytes().into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

type Passing<'a> = Pin<Box<dyn Future<Output = Result<Passage, Refusal>> + 'a>>;

/// How far one of many logins has come.
enum Progress<'a> {
    /// It queues.
    Passing(Passing<'a>),
    /// Its secret is being checked since then.
    Checking { admission: Admission, since: Timestamp, yielded: bool },
    /// It is over.
    Done(Reaction),
}

/// Logins that came at the same instant.
struct Parallel<'a> {
    world: &'a World,
    logins: &'a [Login],
    takes: Duration,
    came: Timestamp,
    progress: Vec<Progress<'a>>,
}

impl<'a> Parallel<'a> {
    fn begin(world: &'a World, logins: &'a [Login], takes: Duration) -> Self {
        let gate = &world.gate;
        let come = |login: &'a Login| match gate.admit(world.source(login.from)) {
            Err(refusal) => Progress::Done(Reaction::Refused(refusal)),
            Ok(admitted) => Progress::Passing(Box::pin(pass(gate, admitted, login))),
        };
        Self { world, logins, takes, came: world.now(), progress: logins.iter().map(come).collect() }
    }

    fn run(mut self) -> Vec<Reaction> {
        loop {
            self.let_in();
            let Some(next) = self.next_instant() else { break };
            self.world.advance_to(next);
            self.finish_and_yield(next);
        }
        let reaction = |progress| match progress {
            Progress::Done(reaction) => reaction,
            Progress::Passing(_) | Progress::Checking { .. } => Reaction::Refused(Refusal::Busy),
        };
        self.progress.into_iter().map(reaction).collect()
    }

    /// Polls all that queue, in the order in which they came.
    fn let_in(&mut self) {
        let now = self.world.now();
        for progress in &mut self.progress {
            let Progress::Passing(passing) = progress else { continue };
            match poll(passing.as_mut()) {
                Poll::Pending if self.came.after(QUEUE_TIME_MAX) <= now => {
                    *progress = Progress::Done(Reaction::Refused(Refusal::Busy));
                }
                Poll::Pending => {}
                Poll::Ready(Ok(Passage::Turn(admission))) => {
                    *progress = Progress::Checking { admission, since: now, yielded: false };
                }
                Poll::Ready(Ok(Passage::Verified(_))) => *progress = Progress::Done(Reaction::Verified),
                Poll::Ready(Err(refusal)) => *progress = Progress::Done(Reaction::Refused(refusal)),
            }
        }
    }

    /// When something happens next; none when all is over.
    fn next_instant(&self) -> Option<Timestamp> {
        let next = |progress: &Progress<'_>| match progress {
            Progress::Done(_) => None,
            Progress::Passing(_) => Some(self.came.after(QUEUE_TIME_MAX)),
            Progress::Checking { since, yielded, .. } => {
                let end = since.after(self.takes);
                Some(if *yielded { end } else { end.min(since.after(TURN_TIME_MAX)) })
            }
        };
        self.progress.iter().filter_map(next).min()
    }

    /// The first check that is over is judged, alone: whoever it lets in comes
    /// before the next is.
    fn finish_and_yield(&mut self, now: Timestamp) {
        for (progress, login) in self.progress.iter_mut().zip(self.logins) {
            let Progress::Checking { admission, since, yielded } = progress else { continue };
            if since.after(self.takes) <= now {
                let Progress::Checking { admission, .. } =
                    std::mem::replace(progress, Progress::Done(Reaction::Verified))
                else {
                    continue;
                };
                *progress = Progress::Done(Reaction::Judged(self.world.finish(admission, login)));
                return;
            }
            if !*yielded && since.after(TURN_TIME_MAX) <= now {
                admission.yield_id();
                *yielded = true;
            }
        }
    }
}

async fn pass(gate: &Gate, admitted: Admitted, login: &Login) -> Result<Passage, Refusal> {
    gate.pass(&admitted, login.client.as_ref(), login.secret.as_deref().map(str::as_bytes)).await
}
