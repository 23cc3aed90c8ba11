//! The life of a request, from its head to its reply: who is it, may it pass,
//! is it an attempt, what do the policies say (rules 5 to 15).
//!
//! It drives the gate and the transport and decides nothing that is theirs. It
//! must not know plugins or where the configuration comes from.

mod asked;
mod attempt;
mod facts;
mod finishing;
mod front;
mod observing;
mod operator;
mod told;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use http::header::HeaderName;
use http::{HeaderMap, Request, Response, StatusCode};
use portcullis_domain::event::{METHOD_BYTES_MAX, PATH_BYTES_MAX, cut};
use portcullis_domain::source::Decided;
use portcullis_domain::{Admitted, ClientId, Gate, Judged, Refusal, Request as JudgedRequest};

use crate::auth::{Fingerprints, HashPool};
use crate::counters::Counters;
use crate::http::proxy::{self, Forwarding};
use crate::http::{
    Body, Certified, Connection, Form, Refusal as TransportRefusal, RefusedRequest, Reply, Service, Standing, Status,
};
use crate::log::{Access, Line, Log, Refused as RefusedLine};
use crate::state::Keeper;

pub use asked::Asked;
use facts::Facts;
use finishing::Finishing;
pub use front::{Asking, Authentication, FileAuthentication, Front, UpstreamAuthentication};
pub use observing::Sighted;
pub use operator::Shut;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Answers requests by the gate's rules. Clones are the same gatekeeper.
#[derive(Clone)]
pub struct Gatekeeper {
    post: Arc<Post>,
}

/// What a gatekeeper has at hand.
struct Post {
    gate: Arc<Gate>,
    front: ArcSwap<Front>,
    hashing: HashPool,
    fingerprints: Fingerprints,
    log: Log,
    counters: Arc<Counters>,
    keeper: Option<Keeper>,
    forwarded_for_ignored: AtomicBool,
}

/// One request on its way: what is needed of it after it has gone to the upstream.
#[derive(Clone)]
struct Visit {
    admitted: Admitted,
    decided: Decided,
    form: Form,
    /// Whom the client's certificate names.
    certified: Option<ClientId>,
    facts: Facts,
    began: Instant,
}

/// What a visit came to.
enum Answer {
    /// The gate's business is done: judged by scanners before it leaves (rule 14).
    Reply {
        response: Response<Body>,
        /// Who, if this request's own credentials were verified.
        client_id: Option<ClientId>,
    },
    /// Turned away; no policy hears of it (rule 11).
    Refused(Refused),
}

/// Why a request is turned away.
#[derive(Clone, Copy)]
enum Refused {
    /// By the gate: 423 or 429.
    ByGate(Refusal),
    /// It can't be read in exactly one way: 400. What, for the log.
    Malformed(&'static str),
    /// Too many secrets are being checked: 503.
    Overloaded,
    /// The connection was let in by what isn't in force any more: 421.
    Misdirected,
}

impl Gatekeeper {
    /// A gatekeeper before `gate`.
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        front: Front,
        hashing: HashPool,
        fingerprints: Fingerprints,
        log: Log,
        counters: Arc<Counters>,
        keeper: Option<Keeper>,
    ) -> Self {
        let front = ArcSwap::from_pointee(front);
        let forwarded_for_ignored = AtomicBool::new(false);
        let post = Post { gate, front, hashing, fingerprints, log, counters, keeper, forwarded_for_ignored };
        Self { post: Arc::new(post) }
    }

    /// Puts another front in force, for requests from now on. If who may log in
    /// has changed, nobody is verified any longer (rule 8).
    pub fn swap(&self, front: Front) {
        let old = self.post.front.swap(Arc::new(front));
        if !old.verifies_as(&self.post.front.load()) {
            self.post.gate.unverify_all();
        }
    }

    /// What is in force.
    #[must_use]
    pub fn front(&self) -> Arc<Front> {
        self.post.front.load_full()
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.post.counters
    }

    /// The gate.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.post.gate
    }
}

impl Service for Gatekeeper {
    async fn call(&self, request: Request<Body>, connection: &Arc<Connection>) -> Response<Body> {
        let began = Instant::now();
        let post = &self.post;
        post.counters.requests.bump();
        let front = post.front.load_full();
        let decided = post.decide_of(request.headers(), connection);
        let form = Form::of(request.method(), request.headers());
        let admitted = post.gate.admit(decided.source).map_err(Refused::ByGate);
        let (admitted, certified) = match admitted.and_then(|admitted| Ok((admitted, certified(&front, connection)?))) {
            Ok(both) => both,
            Err(refused) => return post.turn_away(&decided, form, refused).await,
        };
        let facts = Facts::of(&request, &post.gate.ruleset());
        let visit = Visit { admitted, decided, form, certified, facts, began };
        Finishing::new(Arc::clone(post).receive(front, request, Arc::clone(connection), visit)).await
    }

    fn standing(&self, peer: IpAddr) -> Standing {
        let gate = &self.post.gate;
        let rules = &gate.ruleset().source;
        let source = rules.decide_for_itself(peer).source;
        Standing { source, trusted: rules.trusts(peer), banned: gate.admit(source).is_err() }
    }

    fn shook_hands(&self, resumed: bool) {
        let counters = &self.post.counters;
        if resumed { counters.handshakes_resumed.bump() } else { counters.handshakes_full.bump() }
    }

    fn refused(&self, refused: &RefusedRequest<'_>) {
        let post = &self.post;
        let counters = &post.counters;
        let (counter, status, why) = match refused.refusal {
            TransportRefusal::Banned => return post.shut_out(refused.peer.ip(), &counters.closed_banned, "banned"),
            TransportRefusal::NotAProxy => {
                return post.shut_out(refused.peer.ip(), &counters.proxy_headers_untrusted, "untrusted proxy");
            }
            TransportRefusal::NoProxyHeader => {
                return post.shut_out(refused.peer.ip(), &counters.proxy_headers_malformed, "no PROXY header");
            }
            TransportRefusal::SlowProxyHeader => {
                return post.shut_out(refused.peer.ip(), &counters.proxy_headers_late, "PROXY header late");
            }
            TransportRefusal::Handshake(failure) => {
                let why = failure.name();
                return post.shut_out(refused.peer.ip(), counters.handshakes_failed(failure), why);
            }
            TransportRefusal::BadRequest => (&counters.refused_malformed, StatusCode::BAD_REQUEST, "malformed"),
            TransportRefusal::MethodNotAllowed => {
                (&counters.refused_malformed, StatusCode::METHOD_NOT_ALLOWED, "method")
            }
            TransportRefusal::TooManyConnections => {
                counters.connections_refused.bump();
                (&counters.refused_overloaded, StatusCode::SERVICE_UNAVAILABLE, "connections")
            }
        };
        counter.bump();
        let empty = HeaderMap::new();
        let headers = refused.request.map_or(&empty, Request::headers);
        let source = match refused.connection {
            Some(connection) => post.decide_of(headers, connection).source,
            None => post.decide(headers, refused.peer.ip()).source,
        };
        post.log.refused(&RefusedLine { source: source.address(), status: status.as_u16(), why });
    }
}

/// Whom the client's certificate names, if there is one (rule 41).
fn certified(front: &Front, connection: &Connection) -> Result<Option<ClientId>, Refused> {
    match connection.certified() {
        Certified::Nobody => Ok(None),
        Certified::Client(name) => {
            front.id_case().client_id(name).map(Some).map_err(|_| Refused::Malformed("certificate"))
        }
        Certified::Outdated => {
            connection.close_gracefully();
            Err(Refused::Misdirected)
        }
    }
}

impl Post {
    /// From an admitted request to its reply.
    async fn receive(
        self: Arc<Self>,
        front: Arc<Front>,
        request: Request<Body>,
        connection: Arc<Connection>,
        visit: Visit,
    ) -> Response<Body> {
        match self.answer(&front, request, &connection, &visit).await {
            Answer::Reply { response, client_id } => {
                let client_id = client_id.as_ref().or(visit.certified.as_ref());
                self.send_off(&front, &visit, response, client_id).await
            }
            Answer::Refused(refused) => self.turn_away(&visit.decided, visit.form, refused).await,
        }
    }

    /// Rules 1 to 3: once, for everything.
    fn decide_of(&self, headers: &HeaderMap, connection: &Connection) -> Decided {
        let peer = connection.peer().ip();
        if connection.speaks_for_itself() {
            return self.gate.ruleset().source.decide_for_itself(peer);
        }
        self.decide(headers, peer)
    }

    /// The same where the peer is all that is known of the connection.
    fn decide(&self, headers: &HeaderMap, peer: IpAddr) -> Decided {
        let forwarded_for = headers.get_all(X_FORWARDED_FOR);
        let values = forwarded_for.iter().map(http::HeaderValue::as_bytes).collect::<smallvec::SmallVec<[_; 2]>>();
        let decided = self.gate.ruleset().source.decide(peer, values);
        if decided.header_ignored && !self.forwarded_for_ignored.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                peer = %decided.source,
                "X-Forwarded-For from a peer that isn't in source.trusted_proxies changes nothing; \
                 if that peer is your proxy or CDN, list it, or a ban will hit it and everyone behind it"
            );
        }
        decided
    }

    async fn answer(
        self: &Arc<Self>,
        front: &Arc<Front>,
        request: Request<Body>,
        connection: &Arc<Connection>,
        visit: &Visit,
    ) -> Answer {
        if let Some(redirect) = connection.redirect() {
            return Answer::Reply { response: redirect.answer(&request, visit.form), client_id: None };
        }
        match &front.authentication {
            Authentication::File(file) => self.answer_by_file(front, file, request, connection, visit).await,
            Authentication::Upstream(by_upstream) => {
                self.answer_by_upstream(front, by_upstream, request, connection, visit).await
            }
        }
    }

    /// Sends a request on; what comes back is the upstream's answer or a reply that says it failed.
    async fn forward(
        &self,
        front: &Front,
        request: Request<Body>,
        connection: &Arc<Connection>,
        visit: &Visit,
        client_id: Option<&ClientId>,
        strip_authorization: bool,
    ) -> Forwarded {
        let Some(upstream) = &front.upstream else {
            return Forwarded::Answered(Reply::new(Status::NotFound).into_response(visit.form));
        };
        let user = client_id.or(visit.certified.as_ref()).map(ClientId::as_str);
        let forwarding = Forwarding { decided: visit.decided, user, strip_authorization };
        let began = self.counters.upstream_times.begin();
        match proxy::forward(upstream, request, connection, forwarding).await {
            Ok(response) => {
                self.counters.upstream_times.end(began);
                Forwarded::Answered(response)
            }
            Err(error) => {
                let reply = error.reply();
                if reply.status().code().is_server_error() {
                    self.counters.upstream_failed.bump();
                    tracing::warn!(upstream = upstream.authority(), status = reply.status().code().as_u16(), "{error}");
                }
                Forwarded::Failed(reply.into_response(visit.form))
            }
        }
    }

    /// A ban is durable before anything that tells of it leaves, be it the reply
    /// that follows it, a refusal or a line of the log, unless the disk takes too
    /// long.
    async fn settle(&self, judged: &Judged) {
        if let Some(keeper) = self.keeper.as_ref().filter(|_| judged.has_banned()) {
            keeper.settled().await;
        }
    }

    /// The head of the reply is known: scanners judge, and what they order is in
    /// force when it leaves.
    async fn send_off(
        &self,
        front: &Front,
        visit: &Visit,
        mut response: Response<Body>,
        client_id: Option<&ClientId>,
    ) -> Response<Body> {
        let (method, path) = (visit.facts.method(), visit.facts.path());
        let attributes = visit.facts.for_requests();
        let request = JudgedRequest {
            source: visit.admitted.source(),
            client_id,
            method: cut(method, METHOD_BYTES_MAX),
            path: cut(path, PATH_BYTES_MAX),
            status: response.status().as_u16(),
            attributes: &attributes,
        };
        let judged = self.gate.judge_request(&visit.admitted, &request);
        self.counters.scanner_judged.add(u64::from(judged.judged_by));
        self.settle(&judged).await;
        self.tell_orders(front, visit.admitted.source(), &judged);
        if judged.denied {
            response = Reply::new(Status::ServiceUnavailable).into_response(visit.form);
        }
        self.log.write(&Line::Access(Access {
            source: visit.admitted.source().address(),
            method,
            path,
            status: response.status().as_u16(),
            duration: visit.began.elapsed(),
            bytes: http_body::Body::size_hint(response.body()).exact(),
            client_id: client_id.map(ClientId::as_str),
        }));
        response
    }
}

/// What forwarding came to.
enum Forwarded {
    /// The upstream's own answer.
    Answered(Response<Body>),
    /// A 4xx or 5xx of ours, because there was none: never an attempt.
    Failed(Response<Body>),
}

impl Forwarded {
    fn into_response(self) -> Response<Body> {
        match self {
            Self::Answered(response) | Self::Failed(response) => response,
        }
    }

    /// The status that the upstream gave.
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered(response) => Some(response.status()),
            Self::Failed(_) => None,
        }
    }
}

impl Refused {
    /// What the client is told, and in one word what the log is.
    fn reply(self) -> (Reply, &'static str) {
        let (status, why) = match self {
            Self::ByGate(Refusal::Banned(_)) => (Status::Locked, "banned"),
            Self::ByGate(Refusal::Waiting(_)) => (Status::TooManyRequests, "waiting"),
            Self::ByGate(Refusal::Busy) => (Status::TooManyRequests, "busy"),
            Self::Malformed(what) => (Status::BadRequest, what),
            Self::Overloaded => (Status::ServiceUnavailable, "overloaded"),
            Self::Misdirected => (Status::MisdirectedRequest, "outdated certificate"),
        };
        let reply = Reply::new(status);
        let reply = match self {
            Self::ByGate(refusal) => reply.retry_after(refusal.retry_after_seconds()),
            Self::Malformed(_) => reply,
            Self::Misdirected => reply.close(),
            Self::Overloaded => reply.retry_after(1),
        };
        (reply, why)
    }
}
