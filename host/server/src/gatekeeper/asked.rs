//! Requests that another proxy holds: whether they may pass (rule 40).

use std::net::IpAddr;

use http::{HeaderMap, Method, Response, StatusCode};
use portcullis_domain::source::Decided;
use portcullis_domain::{Inquiry, Refusal, Source};

use super::{Authentication, Front, Gatekeeper, Post, Refused};
use crate::auth::Presented;
use crate::http::{Body, Form};
use crate::log::Refused as RefusedLine;

/// What another proxy says of a request that it holds.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// From where it came, by the proxy's word.
    pub source: Source,
    /// Its method.
    pub method: &'a str,
    /// Its path without the query, if the proxy says it.
    pub path: Option<&'a str>,
    /// Its headers, as far as the proxy hands them on.
    pub headers: &'a HeaderMap,
    /// In which form a refusal is wanted.
    pub form: Form,
}

impl Gatekeeper {
    /// Whether it may pass at this moment.
    ///
    /// # Errors
    /// The refusal, counted and logged as any other.
    pub async fn look(&self, front: &Front, asked: &Asked<'_>) -> Result<(), Response<Body>> {
        let post = &self.post;
        let refused = match post.look(front, asked) {
            Ok(()) => {
                post.counters.checks_passed.bump();
                return Ok(());
            }
            Err(refused) => refused,
        };
        match refused {
            Refused::ByGate(Refusal::Banned(_)) => post.counters.checks_banned.bump(),
            Refused::ByGate(_) => post.counters.checks_waiting.bump(),
            Refused::Malformed(_) | Refused::Overloaded | Refused::Misdirected => post.counters.checks_malformed.bump(),
        }
        let decided = Decided { source: asked.source, peer_trusted: true, header_ignored: false };
        Err(post.turn_away(&decided, asked.form, refused).await)
    }

    /// A peer that asked was refused: logged at a limited rate.
    pub fn note_refused(&self, peer: IpAddr, status: StatusCode, why: &str) {
        self.post.log.refused(&RefusedLine { source: peer, status: status.as_u16(), why });
    }

    /// Waits until bans that are in force are durable too, unless the disk takes
    /// too long.
    pub async fn settled(&self) {
        if let Some(keeper) = &self.post.keeper {
            keeper.settled().await;
        }
    }
}

impl Post {
    fn look(&self, front: &Front, asked: &Asked<'_>) -> Result<(), Refused> {
        // First of all (rule 11): of who is banned nothing else is looked at.
        self.gate.look(asked.source, Inquiry::Request).map_err(Refused::ByGate)?;
        let is_login = front.is_login(asked.method, asked.path);
        let named = match &front.asking.id_header {
            Some(name) => {
                let mut values = asked.headers.get_all(name).iter();
                let named = values.next();
                if values.next().is_some() {
                    return Err(Refused::Malformed("two ids"));
                }
                named
            }
            None => None,
        };
        let id_case = front.id_case();
        let id = |text: &str| id_case.client_id(text).map_err(|_| Refused::Malformed("id"));
        let id = match (Presented::read(asked.headers), named) {
            (Err(_), _) => return Err(Refused::Malformed("credentials")),
            // Whose attempt would it be (rule 7)? A login path has an id of its
            // own, whether the proxy knows it or not.
            (Ok(Presented::Basic(_)), Some(_)) => return Err(Refused::Malformed("two ids")),
            (Ok(Presented::Basic(_)), None) if is_login => return Err(Refused::Malformed("two ids")),
            (Ok(Presented::Basic(credentials)), None) => Some(id(&credentials.id)?),
            (Ok(Presented::Nothing | Presented::NotBasic), Some(value)) => {
                let text = str::from_utf8(value.as_bytes()).map_err(|_| Refused::Malformed("id"))?;
                if text.is_empty() { None } else { Some(id(text)?) }
            }
            (Ok(Presented::Nothing | Presented::NotBasic), None) => None,
        };
        if id.is_none() && !is_login {
            return Ok(());
        }
        self.gate.look(asked.source, Inquiry::Login(id.as_ref())).map_err(Refused::ByGate)
    }
}

impl Front {
    /// A POST to a login path (rule 6).
    fn is_login(&self, method: &str, path: Option<&str>) -> bool {
        match (&self.authentication, path) {
            (Authentication::Upstream(by_upstream), Some(path)) => {
                method.eq_ignore_ascii_case(Method::POST.as_str()) && by_upstream.login_paths.contains(path)
            }
            (Authentication::Upstream(_), None) | (Authentication::File(_), _) => false,
        }
    }
}
