//! The door of the administration over TCP: a token, and the same gate before it
//! that guards every login. A stranger learns nothing but 401, 429 or 423,
//! whatever is asked for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, CONNECTION};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use ipnet::IpNet;
use parking_lot::Mutex;
use portcullis_domain::{Refusal, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::token::{TOKEN_BYTES_MAX, Token};
use crate::gatekeeper::Shut;
use crate::running::Running;

/// Sources whose token was right a moment ago, at most.
const KNOWN_MAX: usize = 1024;

/// Lets whoever shows the token in.
pub(super) struct Guard {
    running: Arc<Running>,
    /// SHA-256 of the token: what is compared has one length, and is no secret itself.
    token: [u8; 32],
    known: Mutex<Known>,
}

impl Guard {
    pub(super) fn new(running: Arc<Running>, token: &Token) -> Self {
        let token = Sha256::digest(token.expose()).into();
        Self { running, token, known: Mutex::default() }
    }

    /// Whether a request may go on.
    ///
    /// A token that was right a moment ago from there is no attempt, as for
    /// clients (rule 8): who asks every second costs nothing and hides no
    /// failures of others. A wrong one ends that.
    pub(super) async fn check<B>(&self, request: &Request<B>, peer: SocketAddr) -> Result<(), Box<Response>> {
        let gatekeeper = &self.running.gatekeeper;
        let admitted = gatekeeper.admit_operator(request, peer.ip()).await.map_err(refused)?;
        let Some(shown) = bearer(request.headers()) else { return Err(shut(Problem::new(StatusCode::UNAUTHORIZED))) };
        let right = || bool::from(Sha256::digest(shown)[..].ct_eq(&self.token));
        let network = admitted.source().network();
        if self.known.lock().knows(network, self.now()) {
            if right() {
                self.running.counters.verified.bump();
                return Ok(());
            }
            self.known.lock().forget(network);
        }
        match gatekeeper.knock(&admitted, request, peer.ip(), shown, right).await {
            Ok(()) => {
                let lasting = gatekeeper.gate().ruleset().limits.verified_for;
                self.known.lock().remember(network, lasting, self.now());
                Ok(())
            }
            Err(Shut::Refused(refusal)) => Err(refused(refusal)),
            Err(Shut::Wrong) => Err(shut(Problem::new(StatusCode::UNAUTHORIZED))),
            Err(Shut::Denied) => Err(shut(Problem::new(StatusCode::SERVICE_UNAVAILABLE))),
        }
    }

    fn now(&self) -> Timestamp {
        self.running.gatekeeper.gate().clock().now()
    }
}

/// The token that a request shows, if it shows one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.as_bytes();
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    let token = token.trim_ascii();
    let fits = (1..=TOKEN_BYTES_MAX).contains(&token.len());
    (scheme.eq_ignore_ascii_case(b"Bearer ") && fits).then_some(token)
}

fn refused(refusal: Refusal) -> Box<Response> {
    let status = match refusal {
        Refusal::Banned(_) => StatusCode::LOCKED,
        Refusal::Waiting(_) | Refusal::Busy => StatusCode::TOO_MANY_REQUESTS,
    };
    shut(Problem::new(status).retry_after(refusal.retry_after_seconds()))
}

/// A stranger's connection is somebody else's place.
fn shut(problem: Problem) -> Box<Response> {
    let mut response = problem.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Box::new(response)
}

/// From where the token was right, and until when that counts.
#[derive(Debug, Default)]
struct Known(HashMap<IpNet, Timestamp>);

impl Known {
    fn knows(&self, network: IpNet, now: Timestamp) -> bool {
        self.0.get(&network).is_some_and(|until| now < *until)
    }

    fn remember(&mut self, network: IpNet, lasting: Duration, now: Timestamp) {
        if lasting.is_zero() {
            return;
        }
        if self.0.len() >= KNOWN_MAX {
            self.0.retain(|_, until| now < *until);
        }
        if self.0.len() >= KNOWN_MAX {
            // Nobody has so many operators: whoever is left out makes an attempt.
            self.0.clear();
        }
        self.0.insert(network, now.after(lasting));
    }

    fn forget(&mut self, network: IpNet) {
        self.0.remove(&network);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        bearer(&headers).map(|token| String::from_utf8(token.to_vec()).unwrap())
    }

    #[test]
    fn a_token_is_shown_in_one_way() {
        assert_eq!(shown(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(shown(&["bearer  abc "]).as_deref(), Some("abc"));
        let long = format!("Bearer {}", "x".repeat(1025));
        for none in [&[][..], &["abc"], &["Basic abc"], &["Bearer "], &["Bearer a", "Bearer a"], &[&long]] {
            assert_eq!(shown(none), None, "{none:?}");
        }
    }

    #[test]
    fn who_is_known_is_bounded_in_time_and_number() {
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let network = |n: u32| IpNet::from(std::net::IpAddr::from(std::net::Ipv4Addr::from(n)));
        let mut known = Known::default();
        known.remember(network(1), Duration::from_secs(10), at(0));
        assert!(known.knows(network(1), at(9)) && !known.knows(network(1), at(10)) && !known.knows(network(2), at(1)));
        known.forget(network(1));
        assert!(!known.knows(network(1), at(1)));
        known.remember(network(1), Duration::ZERO, at(0));
        assert!(!known.knows(network(1), at(0)));
        for n in 0..5000 {
            known.remember(network(n), Duration::from_secs(10), at(0));
            assert!(known.0.len() <= KNOWN_MAX && known.knows(network(n), at(1)));
        }
    }
}
