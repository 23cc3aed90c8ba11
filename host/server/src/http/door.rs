//! What a connection meets before its first request: at a plain address
//! nothing, at an [`Entrance`] the door that is in force there when it comes. It
//! must not know where doors come from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::header::{HOST, LOCATION};
use http::{HeaderValue, Request, Response};
use portcullis_domain::source::Source;

use super::body::Body;
use super::reply::{Form, Reply, Status};
use crate::tls::{Names, Tls};

/// Longest target that a redirect repeats, in bytes.
const REDIRECTED_BYTES_MAX: usize = 8 * 1024;

/// What a listener does with a connection before its first request.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// Each connection begins with a PROXY header, and only trusted peers may make one.
    pub proxy_protocol: bool,
    /// Then comes TLS.
    pub tls: Option<Arc<Tls>>,
    /// What a banned source gets.
    pub banned: Banned,
    /// Requests aren't answered but sent elsewhere.
    pub redirect: Option<Redirect>,
}

/// In the words of the log: `https, PROXY protocol required`.
impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, clients) = match &self.tls {
            None => ("http", ""),
            Some(tls) => match tls.clients() {
                None => ("https", ""),
                Some(clients) if clients.required() => ("https", ", client certificate required"),
                Some(_) => ("https", ", client certificate optional"),
            },
        };
        let proxy = if self.proxy_protocol { ", PROXY protocol required" } else { "" };
        let redirect = if self.redirect.is_some() { ", redirects to https" } else { "" };
        write!(f, "{scheme}{clients}{proxy}{redirect}")
    }
}

/// What a banned source gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Banned {
    /// A 423 for each request.
    #[default]
    Reply,
    /// Its connection is closed before anything is paid for it.
    Close,
}

/// Addresses that share a door, which can be exchanged for connections from then on.
#[derive(Debug)]
pub struct Entrance {
    addresses: Vec<SocketAddr>,
    door: ArcSwapOption<Door>,
}

impl Entrance {
    /// One at `addresses`, without a door yet: whoever comes is sent away.
    #[must_use]
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, door: ArcSwapOption::empty() }
    }

    /// Where it is, as it was asked for.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Puts a door in force.
    pub fn set(&self, door: Arc<Door>) {
        self.door.store(Some(door));
    }

    /// The door in force.
    #[must_use]
    pub fn door(&self) -> Option<Arc<Door>> {
        self.door.load_full()
    }
}

/// What is known of a peer before it has said anything.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// As what it counts.
    pub source: Source,
    /// Its word about others is believed.
    pub trusted: bool,
    /// It is banned.
    pub banned: bool,
}

impl Standing {
    /// Nothing.
    #[must_use]
    pub fn unknown(peer: IpAddr) -> Self {
        Self { source: Source::new(peer, 64), trusted: false, banned: false }
    }
}

/// Sends requests to https at the host that they name.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The port there.
    pub port: u16,
    /// Hosts to which anybody is sent; `None`: any that a request names.
    pub hosts: Option<Arc<Names<()>>>,
}

impl Redirect {
    /// The answer to a request whose head has been checked.
    pub(crate) fn answer<B>(&self, request: &Request<B>, form: Form) -> Response<Body> {
        match self.location(request) {
            Ok(location) => {
                let mut response = Reply::new(Status::PermanentRedirect).into_response(form);
                response.headers_mut().insert(LOCATION, location);
                response
            }
            Err(status) => Reply::new(status).into_response(form),
        }
    }

    fn location<B>(&self, request: &Request<B>) -> Result<HeaderValue, Status> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).ok_or(Status::BadRequest)?;
        let host = without_port(host);
        let known = self.hosts.as_ref().is_none_or(|hosts| hosts.find(host.trim_matches(['[', ']'])).is_some());
        if !known {
            // A cache between us could keep a redirect to anywhere for others.
            return Err(Status::MisdirectedRequest);
        }
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        if !target.starts_with('/') || target.len() > REDIRECTED_BYTES_MAX {
            return Err(Status::BadRequest);
        }
        let location = match self.port {
            443 => format!("https://{host}{target}"),
            port => format!("https://{host}:{port}{target}"),
        };
        HeaderValue::try_from(location).map_err(|_| Status::BadRequest)
    }
}

/// `[::1]:80` without `:80`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method, StatusCode};

    fn redirected(redirect: &Redirect, host: &str, target: &str) -> (StatusCode, Option<String>) {
        let request = Request::builder().uri(target).header(HOST, host).body(()).unwrap();
        let response = redirect.answer(&request, Form::of(&Method::GET, &HeaderMap::new()));
        let location = response.headers().get(LOCATION).map(|location| location.to_str().unwrap().to_owned());
        (response.status(), location)
    }

    #[test]
    fn a_request_is_sent_to_the_same_target_at_https_and_nowhere_else() {
        let mut hosts = Names::default();
        ["example.org", "*.example.org", "::1", "192.0.2.1"].into_iter().for_each(|name| hosts.insert(name, ()));
        let redirect = Redirect { port: 443, hosts: Some(Arc::new(hosts)) };
        for (host, target, location) in [
            ("example.org", "/a?b=//c", "https://example.org/a?b=//c"),
            ("www.EXAMPLE.org:80", "/", "https://www.EXAMPLE.org/"),
            ("192.0.2.1:8080", "//evil.example/x", "https://192.0.2.1//evil.example/x"),
            ("[::1]:80", "/", "https://[::1]/"),
        ] {
            let expected = (StatusCode::PERMANENT_REDIRECT, Some(location.to_owned()));
            assert_eq!(redirected(&redirect, host, target), expected, "{host}");
        }
        for host in ["evil.example", "example.org.evil.example", "[::2]", "192.0.2.2"] {
            assert_eq!(redirected(&redirect, host, "/"), (StatusCode::MISDIRECTED_REQUEST, None), "{host}");
        }
        let long = format!("/{}", "x".repeat(REDIRECTED_BYTES_MAX));
        assert_eq!(redirected(&redirect, "example.org", &long), (StatusCode::BAD_REQUEST, None));
        assert_eq!(redirected(&redirect, "example.org", "*"), (StatusCode::BAD_REQUEST, None));
        let anywhere = Redirect { port: 8443, hosts: None };
        let (_, location) = redirected(&anywhere, "h:80", "/");
        assert_eq!(location.as_deref(), Some("https://h:8443/"));
    }
}
