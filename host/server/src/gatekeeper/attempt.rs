//! Logins: by the own credentials (rule 5), or by the upstream's answer (rules 6 to 8).
//!
//! An attempt that has been given its turn is judged to its end even if the
//! client hangs up (rule 12): it runs in a task of its own.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use portcullis_domain::turnstile::{QUEUE_TIME_MAX, TURN_TIME_MAX};
use portcullis_domain::{Admission, ClientId, Finished, Gate, Judged, Outcome, Passage, Refusal};

use super::{
    Answer, Authentication, FileAuthentication, Forwarded, Front, Post, Refused, UpstreamAuthentication, Visit,
};
use crate::auth::{BasicError, FormFields, LOGIN_BODY_BYTES_MAX, Presented, Secret, query_names_login, read_login};
use crate::http::{Body, CollectError, Connection, Reply, Status, read_bounded, resend};
use crate::log::{FailedLogin, Line};

/// Who wants to log in.
struct Login {
    client_id: ClientId,
    /// Absent where a login form shows none; then there is nothing to verify.
    secret: Option<Secret>,
    /// It came as a form, not as Basic credentials.
    by_form: bool,
}

impl Login {
    fn secret(&self) -> Option<&[u8]> {
        self.secret.as_ref().map(Secret::expose)
    }
}

/// Methods that many a service answers before it looks at credentials.
const UNASKED_METHODS: [&str; 2] = ["OPTIONS", "TRACE"];

/// How the own credentials answered.
enum Checked {
    Right,
    Wrong,
    /// A policy couldn't judge and that is to be a 503 (rule 21).
    Denied,
    /// Too many secrets are being checked: no attempt.
    Overloaded,
}

impl Post {
    /// Rule 5: the paths that are guarded need credentials that we check ourselves.
    pub(super) async fn answer_by_file(
        self: &Arc<Self>,
        front: &Front,
        file: &FileAuthentication,
        request: Request<Body>,
        connection: &Arc<Connection>,
        visit: &Visit,
    ) -> Answer {
        let path = visit.facts.path();
        // Rule 9: without an upstream there is `/` and nothing else.
        let guarded = if front.upstream.is_some() { file.protected.guards(path) } else { path == "/" };
        let presented = Presented::read(request.headers());
        let (client_id, strip) = if let (true, Some(client_id)) = (guarded, &visit.certified) {
            // The handshake has proved who it is: credentials aren't looked at (rule 41).
            self.counters.certified.bump();
            (Some(client_id.clone()), true)
        } else if guarded {
            match Box::pin(self.authenticate(file, presented, visit)).await {
                Ok(client_id) => (Some(client_id), true),
                Err(answer) => return *answer,
            }
        } else {
            // Basic credentials are ours and go no further; another scheme is
            // the affair of the service behind.
            (None, !matches!(presented, Ok(Presented::Nothing | Presented::NotBasic)))
        };
        let response = match (&front.upstream, &client_id) {
            (None, Some(client_id)) => greeting(visit, client_id),
            (_, client_id) => {
                self.forward(front, request, connection, visit, client_id.as_ref(), strip).await.into_response()
            }
        };
        Answer::Reply { response, client_id }
    }

    /// Whose credentials these are, if they are right; else what to answer.
    async fn authenticate(
        self: &Arc<Self>,
        file: &FileAuthentication,
        presented: Result<Presented, BasicError>,
        visit: &Visit,
    ) -> Result<ClientId, Box<Answer>> {
        let refuse = |why| Box::new(Answer::Refused(why));
        let credentials = match presented {
            Ok(Presented::Basic(credentials)) => credentials,
            Ok(Presented::Nothing | Presented::NotBasic) => return Err(Box::new(Answer::reply(file.challenge(visit)))),
            Err(_) => return Err(refuse(Refused::Malformed("credentials"))),
        };
        let client_id = file.id_case.client_id(&credentials.id).map_err(|_| refuse(Refused::Malformed("id")))?;
        let login = Login { client_id, secret: Some(credentials.secret), by_form: false };
        let client_id = login.client_id.clone();
        match self.pass(visit, &login).await.map_err(|refusal| refuse(Refused::ByGate(refusal)))? {
            Passage::Verified(_) => self.counters.verified.bump(),
            Passage::Turn(admission) => {
                let attempt = Arc::clone(self).check(visit.clone(), login, admission);
                // The task is waited for, but not ended, by whoever waits.
                match tokio::spawn(attempt).await {
                    Ok(Checked::Right) => {}
                    Ok(Checked::Wrong) => return Err(Box::new(Answer::reply(file.challenge(visit)))),
                    Ok(Checked::Denied) => return Err(Box::new(Answer::reply(unavailable(visit)))),
                    Ok(Checked::Overloaded) | Err(_) => return Err(refuse(Refused::Overloaded)),
                }
            }
        }
        Ok(client_id)
    }

    /// Checks a secret by the own credentials and has the attempt judged.
    async fn check(self: Arc<Self>, visit: Visit, login: Login, admission: Admission) -> Checked {
        // Loaded only now: what is checked after the turn has come is checked
        // against credentials at least as new as its era.
        let front = self.front.load_full();
        let (Authentication::File(file), Some(secret)) = (&front.authentication, &login.secret) else {
            return Checked::Overloaded;
        };
        let id = login.client_id.as_str();
        let Ok(checked) = self.hashing.check(&file.credentials, id, secret).await else {
            return Checked::Overloaded;
        };
        let judged = self
            .judge(&front, &visit, &login, checked.outcome, Some(checked.known), |gate, finished| {
                gate.judge_attempt(admission, finished)
            })
            .await;
        match checked.outcome {
            _ if judged.denied => Checked::Denied,
            Outcome::Success => Checked::Right,
            Outcome::Failure => Checked::Wrong,
        }
    }

    /// Rule 6: whoever shows credentials is let through one at a time, and the
    /// upstream's answer says whether they were right.
    pub(super) async fn answer_by_upstream(
        self: &Arc<Self>,
        front: &Arc<Front>,
        by_upstream: &UpstreamAuthentication,
        request: Request<Body>,
        connection: &Arc<Connection>,
        visit: &Visit,
    ) -> Answer {
        let Ok(presented) = Presented::read(request.headers()) else {
            return Answer::Refused(Refused::Malformed("credentials"));
        };
        let by_form = request.method().as_str().eq_ignore_ascii_case(Method::POST.as_str())
            && by_upstream.login_paths.contains(visit.facts.path());
        if matches!(presented, Presented::Nothing | Presented::NotBasic) && !by_form {
            let forwarded = self.forward(front, request, connection, visit, None, false).await;
            return Answer::reply(forwarded.into_response());
        }
        // Apart: what logins need would take its room in every request.
        Box::pin(self.answer_login(front, by_upstream, (presented, by_form), request, connection, visit)).await
    }

    async fn answer_login(
        self: &Arc<Self>,
        front: &Arc<Front>,
        by_upstream: &UpstreamAuthentication,
        (presented, by_form): (Presented, bool),
        request: Request<Body>,
        connection: &Arc<Connection>,
        visit: &Visit,
    ) -> Answer {
        let (login, request) = match self.login_of(front, by_upstream, (presented, by_form), request, visit).await {
            Ok(login) => login,
            Err(answer) => return *answer,
        };
        match self.pass(visit, &login).await {
            Err(refusal) => Answer::Refused(Refused::ByGate(refusal)),
            Ok(Passage::Verified(recognised)) => {
                self.counters.verified.bump();
                let forwarded = self.forward(front, request, connection, visit, None, false).await;
                if forwarded.status() == Some(StatusCode::UNAUTHORIZED) {
                    // Whatever let the pair be verified, this was a wrong secret (rule 8).
                    let judged = self
                        .judge(front, visit, &login, Outcome::Failure, None, |gate, finished| {
                            gate.judge_refuted(recognised, finished)
                        })
                        .await;
                    return forwarded.unless_denied(&judged, visit, None);
                }
                Answer::Reply { response: forwarded.into_response(), client_id: Some(login.client_id) }
            }
            Ok(Passage::Turn(admission)) => {
                let attempt = Arc::clone(self).ask_upstream(
                    Arc::clone(front),
                    request,
                    Arc::clone(connection),
                    visit.clone(),
                    login,
                    admission,
                );
                // The task is waited for, but not ended, by whoever waits.
                tokio::spawn(attempt).await.unwrap_or_else(|_| Answer::reply(unavailable(visit)))
            }
        }
    }

    /// Lets the upstream check an attempt, and has it judged by what it says.
    async fn ask_upstream(
        self: Arc<Self>,
        front: Arc<Front>,
        request: Request<Body>,
        connection: Arc<Connection>,
        visit: Visit,
        mut login: Login,
        mut admission: Admission,
    ) -> Answer {
        let Authentication::Upstream(by_upstream) = &front.authentication else {
            return Answer::reply(unavailable(&visit));
        };
        let forwarded = {
            let mut forwarding = pin!(self.forward(&front, request, &connection, &visit, None, false));
            match tokio::time::timeout(TURN_TIME_MAX, &mut forwarding).await {
                Ok(forwarded) => forwarded,
                // Whoever sends slowly, or asks for something slow, locks nobody out.
                Err(_) => {
                    admission.yield_id();
                    forwarding.await
                }
            }
        };
        let (method, path) = (visit.facts.method(), visit.facts.path());
        let ended = |status| by_upstream.outcome(status, method, path, login.by_form);
        let Some(outcome) = forwarded.status().and_then(ended) else {
            // Dropping the admission makes it no attempt.
            return Answer::reply(forwarded.into_response());
        };
        if !front.verifies_as(&self.front.load()) {
            // Somebody else checks secrets by now: nothing is verified by what was.
            login.secret = None;
        }
        let judged = self
            .judge(&front, &visit, &login, outcome, None, |gate, finished| gate.judge_attempt(admission, finished))
            .await;
        let client_id = (outcome == Outcome::Success).then_some(login.client_id);
        forwarded.unless_denied(&judged, &visit, client_id)
    }

    /// What login a request is: by Basic credentials, or by a form whose body
    /// has been read then.
    async fn login_of(
        &self,
        front: &Front,
        by_upstream: &UpstreamAuthentication,
        (presented, by_form): (Presented, bool),
        request: Request<Body>,
        visit: &Visit,
    ) -> Result<(Login, Request<Body>), Box<Answer>> {
        let refuse = |why| Box::new(Answer::Refused(Refused::Malformed(why)));
        let to_id = |id: &str| by_upstream.id_case.client_id(id).map_err(|_| refuse("id"));
        match presented {
            // Whose attempt would it be?
            Presented::Basic(_) if by_form => Err(refuse("two ids")),
            Presented::Basic(credentials) => {
                let client_id = to_id(&credentials.id)?;
                Ok((Login { client_id, secret: Some(credentials.secret), by_form }, request))
            }
            Presented::Nothing | Presented::NotBasic => {
                let fields = FormFields { id: &by_upstream.id_field, secret: &by_upstream.secret_field };
                if query_names_login(request.uri().query(), fields) {
                    // Many a service takes the query's word before the body's.
                    return Err(refuse("login in query"));
                }
                let (mut parts, body) = request.into_parts();
                let bytes = read_bounded(body, LOGIN_BODY_BYTES_MAX, front.login_body_time)
                    .await
                    .map_err(|error| Box::new(body_reply(error, visit)))?;
                let login = read_login(&parts.headers, &bytes, fields).map_err(|error| match error.status() {
                    415 => own_reply(Status::UnsupportedMediaType, visit),
                    413 => own_reply(Status::ContentTooLarge, visit),
                    _ => refuse("login body"),
                })?;
                let client_id = to_id(&login.id)?;
                let body = resend(&mut parts.headers, bytes);
                let login = Login { client_id, secret: login.secret, by_form };
                Ok((login, Request::from_parts(parts, body)))
            }
        }
    }

    async fn pass(&self, visit: &Visit, login: &Login) -> Result<Passage, Refusal> {
        let passing = self.gate.pass(&visit.admitted, Some(&login.client_id), login.secret());
        // Polled before the timer is armed: who needn't queue pays nothing for it.
        tokio::time::timeout(QUEUE_TIME_MAX, passing).await.unwrap_or(Err(Refusal::Busy))
    }

    /// Has a finished attempt judged `by` the gate, and tells what came of it
    /// once that is durable.
    async fn judge(
        &self,
        front: &Front,
        visit: &Visit,
        login: &Login,
        outcome: Outcome,
        client_known: Option<bool>,
        by: impl FnOnce(&Gate, &Finished<'_>) -> Judged,
    ) -> Judged {
        let id = login.client_id.as_str();
        let fingerprint = login.secret().filter(|_| outcome == Outcome::Failure);
        let attributes = visit.facts.for_attempts();
        let finished = Finished {
            outcome,
            secret: login.secret(),
            client_known,
            secret_fingerprint: fingerprint.map(|secret| self.fingerprints.of(id, secret)),
            attributes: &attributes,
        };
        let judged = by(&self.gate, &finished);
        self.counters.attempt_judged.add(u64::from(judged.judged_by));
        self.settle(&judged).await;
        let source = visit.admitted.source();
        match outcome {
            Outcome::Success => self.counters.attempts_succeeded.bump(),
            Outcome::Failure => {
                self.counters.attempts_failed.bump();
                let wait = judged.longest_wait();
                self.log.write(&Line::FailedLogin(FailedLogin { source: source.address(), client_id: id, wait }));
            }
        }
        self.tell_orders(front, source, &judged);
        judged
    }
}

impl Answer {
    /// A reply to somebody unknown.
    fn reply(response: Response<Body>) -> Self {
        Self::Reply { response, client_id: None }
    }
}

impl Forwarded {
    /// The upstream's answer, unless a policy that can't judge wants a 503 (rule 21).
    fn unless_denied(self, judged: &Judged, visit: &Visit, client_id: Option<ClientId>) -> Answer {
        if judged.denied {
            return Answer::reply(unavailable(visit));
        }
        Answer::Reply { response: self.into_response(), client_id }
    }
}

impl FileAuthentication {
    fn challenge(&self, visit: &Visit) -> Response<Body> {
        Reply::new(Status::Unauthorized).www_authenticate(self.challenge.clone()).into_response(visit.form)
    }
}

impl UpstreamAuthentication {
    /// Rule 6: on a login path success is what the operator says it is, since
    /// many a form answers 200 or 302 to a wrong secret. Basic credentials were
    /// right only where the service is known beyond doubt to look at them: a
    /// public page answers 200 to any, and whoever could have that taken for a
    /// success would never be banned.
    pub(super) fn outcome(&self, status: StatusCode, method: &str, path: &str, by_form: bool) -> Option<Outcome> {
        let success = if by_form {
            self.success_statuses.contains(&status.as_u16()) && self.login_paths.surely_contains(path)
        } else {
            (status.is_success() || status.is_redirection())
                && !UNASKED_METHODS.iter().any(|unasked| method.eq_ignore_ascii_case(unasked))
                && self.guarded.surely_guards(path)
        };
        match (self.failure_statuses.contains(&status.as_u16()), success) {
            (true, _) => Some(Outcome::Failure),
            (false, true) => Some(Outcome::Success),
            (false, false) => None,
        }
    }
}

fn own_reply(status: Status, visit: &Visit) -> Box<Answer> {
    Box::new(Answer::reply(Reply::new(status).into_response(visit.form)))
}

fn unavailable(visit: &Visit) -> Response<Body> {
    Reply::new(Status::ServiceUnavailable).into_response(visit.form)
}

fn body_reply(error: CollectError, visit: &Visit) -> Answer {
    let status = match error {
        CollectError::TooLarge => Status::ContentTooLarge,
        CollectError::Timeout => Status::RequestTimeout,
        CollectError::Broken => return Answer::Refused(Refused::Malformed("body")),
    };
    Answer::reply(Reply::new(status).close().into_response(visit.form))
}

/// Rule 9: what a known client gets where there is no service behind.
fn greeting(visit: &Visit, client_id: &ClientId) -> Response<Body> {
    let json = serde_json::json!({ "client_auth_id": client_id.as_str() });
    Reply::new(Status::Ok).json(Bytes::from(format!("{json}\n"))).into_response(visit.form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{IdCase, LoginPaths, Protected};

    #[test]
    fn rule_6_the_upstreams_status_decides_and_success_on_a_login_path_is_explicit() {
        let by_upstream = UpstreamAuthentication {
            guarded: Protected::new(["/private"]),
            login_paths: LoginPaths::new(["/login"]),
            id_field: "username".into(),
            secret_field: "password".into(),
            id_case: IdCase::Fold,
            failure_statuses: vec![401, 403],
            success_statuses: vec![303],
        };
        let outcome = |status: u16, by_form| {
            let path = if by_form { "/login" } else { "/private/x" };
            by_upstream.outcome(StatusCode::from_u16(status).unwrap(), "POST", path, by_form)
        };
        for (status, basic, form) in [
            (200, Some(Outcome::Success), None),
            (204, Some(Outcome::Success), None),
            (302, Some(Outcome::Success), None),
            (303, Some(Outcome::Success), Some(Outcome::Success)),
            (401, Some(Outcome::Failure), Some(Outcome::Failure)),
            (403, Some(Outcome::Failure), Some(Outcome::Failure)),
            (404, None, None),
            (429, None, None),
            (500, None, None),
            (101, None, None),
        ] {
            assert_eq!((outcome(status, false), outcome(status, true)), (basic, form), "{status}");
        }
        let public = |status| by_upstream.outcome(status, "GET", "/public", false);
        assert_eq!(public(StatusCode::OK), None, "a public page says nothing about credentials");
        assert_eq!(public(StatusCode::UNAUTHORIZED), Some(Outcome::Failure));
        // What a service may have answered without a look at them proves nothing, and fails as ever.
        for (method, path) in
            [("OPTIONS", "/private"), ("trace", "/private"), ("GET", "/Private"), ("GET", "/x/../private")]
        {
            let asked = |status| by_upstream.outcome(status, method, path, false);
            assert_eq!(asked(StatusCode::OK), None, "{method} {path}");
            assert_eq!(asked(StatusCode::UNAUTHORIZED), Some(Outcome::Failure), "{method} {path}");
        }
        assert_eq!(by_upstream.outcome(StatusCode::SEE_OTHER, "POST", "/note/../login", true), None);
        assert_eq!(by_upstream.outcome(StatusCode::FORBIDDEN, "POST", "/note/../login", true), Some(Outcome::Failure));
    }
}
