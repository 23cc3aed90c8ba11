//! An event is put through the gate of one world or of two.

use std::sync::Arc;

use portcullis_domain::event::{METHOD_BYTES_MAX, PATH_BYTES_MAX, cut};
use portcullis_domain::{
    Admitted, Attribute, ClientId, Judged, Order, Outcome as LoginOutcome, Refusal, Request, Source, Timestamp,
};

use crate::logs::{Answered, Entry, What};
use crate::world::{Login, Reaction, World};

/// What is the same for all worlds about one event.
#[derive(Clone, Debug)]
pub(super) struct Occurrence {
    pub(super) entry: Entry<'static>,
    pub(super) client: Option<ClientId>,
    /// The world's time.
    pub(super) at: Timestamp,
}

/// What one world made of an event.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// It was turned away.
    pub(super) refused: Option<Refusal>,
    /// Times that nobody could judge, so that it was denied.
    pub(super) denied: u64,
    /// What was ordered.
    pub(super) orders: Vec<Order>,
}

/// What each world made of an event.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) base: Came,
    pub(super) against: Option<Came>,
}

/// One world or two, for one thread.
pub(super) struct Player {
    pub(super) base: Stage,
    pub(super) against: Option<Stage>,
}

impl Player {
    /// The same worlds, for another thread.
    pub(super) fn beside(&self) -> Self {
        Self { base: self.base.beside(), against: self.against.as_ref().map(Stage::beside) }
    }

    pub(super) fn play(&self, occurrence: &Occurrence) -> Done {
        Done {
            base: self.base.play(occurrence),
            against: self.against.as_ref().map(|against| against.play(occurrence)),
        }
    }

    /// Each world that there is.
    pub(super) fn worlds(&self) -> impl Iterator<Item = &World> {
        std::iter::once(&self.base).chain(&self.against).map(|stage| &stage.world)
    }
}

/// A world, and what its policies want to see.
pub(super) struct Stage {
    pub(super) world: World,
    attempt_attributes: Arc<[String]>,
    request_attributes: Arc<[String]>,
}

impl Stage {
    pub(super) fn new(world: World) -> Self {
        let ruleset = world.gate().ruleset();
        let attempt_attributes = ruleset.attempt_attributes().into();
        let request_attributes = ruleset.request_attributes().into();
        drop(ruleset);
        Self { world, attempt_attributes, request_attributes }
    }

    fn beside(&self) -> Self {
        Self {
            world: self.world.beside(),
            attempt_attributes: Arc::clone(&self.attempt_attributes),
            request_attributes: Arc::clone(&self.request_attributes),
        }
    }

    /// Puts one event through the gate, as in service.
    fn play(&self, occurrence: &Occurrence) -> Came {
        self.world.advance_to(occurrence.at);
        let mut came = Came::default();
        match &occurrence.entry.what {
            What::Request(answered) => self.request(occurrence, answered, &mut came),
            What::Login(outcome) => self.login(occurrence, *outcome, None, &mut came),
            What::FailedRequest(answered) => self.login(occurrence, LoginOutcome::Failure, Some(answered), &mut came),
        }
        came
    }

    fn request(&self, occurrence: &Occurrence, answered: &Answered<'_>, came: &mut Came) {
        match self.world.gate().admit(self.world.source(occurrence.entry.from)) {
            Ok(admitted) => came.judged(self.judge_request(&admitted, occurrence, answered)),
            Err(refusal) => came.refused = Some(refusal),
        }
    }

    fn judge_request(&self, admitted: &Admitted, occurrence: &Occurrence, answered: &Answered<'_>) -> Judged {
        let (method, path) = (answered.method.decoded(), answered.path.decoded());
        let entry = &occurrence.entry;
        let facts = entry.attributes(Some(answered), &self.request_attributes);
        let attributes: Vec<_> = facts.iter().map(|(name, value)| Attribute { name, value }).collect();
        // Of a request that failed to log in nobody knows whose it is.
        let verified = !matches!(occurrence.entry.what, What::FailedRequest(_));
        let request = Request {
            source: admitted.source(),
            client_id: occurrence.client.as_ref().filter(|_| verified),
            method: cut(&method, METHOD_BYTES_MAX),
            path: cut(&path, PATH_BYTES_MAX),
            status: answered.status,
            attributes: &attributes,
        };
        self.world.gate().judge_request(admitted, &request)
    }

    /// A login, and the request that it came with, if the log tells of it: what
    /// the login brings about doesn't keep that one from being judged (rule 14).
    fn login(&self, occurrence: &Occurrence, outcome: LoginOutcome, with: Option<&Answered<'_>>, came: &mut Came) {
        let entry = &occurrence.entry;
        let facts = entry.facts.as_ref();
        let login = Login {
            client: occurrence.client.clone(),
            from: occurrence.entry.from,
            outcome,
            secret: None,
            fingerprint: facts.and_then(|facts| facts.fingerprint),
            known: facts.and_then(|facts| facts.known),
            attributes: entry.attributes(with, &self.attempt_attributes),
        };
        // The request is admitted before its login is judged; without one the
        // login's own admission is enough.
        let source: Source = self.world.source(occurrence.entry.from);
        let request = with.and_then(|answered| Some((self.world.gate().admit(source).ok()?, answered)));
        match self.world.login(&login) {
            Reaction::Refused(refusal) => {
                came.refused = Some(refusal);
                return;
            }
            Reaction::Judged(judged) => came.judged(judged),
            Reaction::Verified => {}
        }
        if let Some((admitted, answered)) = request {
            came.judged(self.judge_request(&admitted, occurrence, answered));
        }
    }
}

impl Came {
    fn judged(&mut self, judged: Judged) {
        self.denied += u64::from(judged.denied);
        if self.orders.is_empty() {
            self.orders = judged.orders;
        } else {
            self.orders.extend(judged.orders);
        }
    }
}
