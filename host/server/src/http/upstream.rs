//! The service behind us: where it is, and how its failures are told apart. It
//! must not know the pool that its connections wait in, nor what is forwarded.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use tokio::net::TcpStream;

use super::options::HttpOptions;
use super::reply::{Reply, Status};
use super::tunnel::Tunnels;

/// The upstream that requests are forwarded to. Its connections are pooled per worker.
#[derive(Debug)]
pub struct Upstream {
    id: u64,
    host: String,
    port: u16,
    authority: String,
    prefix: String,
    options: HttpOptions,
    tunnels: Tunnels,
}

/// Why a text isn't the URL of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamUrlError {
    /// It can't be read as a URL.
    #[error("not a URL")]
    Malformed,
    /// Only `http://` is spoken to the upstream.
    #[error("the scheme must be http")]
    Scheme,
    /// A user or password in it would be sent nowhere.
    #[error("a user in the URL isn't supported")]
    UserInfo,
    /// A query can't be joined with that of requests.
    #[error("a query in the URL isn't supported")]
    Query,
}

impl Upstream {
    /// An upstream at `url`, as `http://host[:port][/prefix]`.
    ///
    /// # Errors
    /// If the URL isn't one of those.
    pub fn new(url: &str, options: &HttpOptions) -> Result<Self, UpstreamUrlError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let uri: Uri = url.parse().map_err(|_| UpstreamUrlError::Malformed)?;
        let authority = uri.authority().ok_or(UpstreamUrlError::Malformed)?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(_) => return Err(UpstreamUrlError::Scheme),
            None => return Err(UpstreamUrlError::Malformed),
        }
        if authority.as_str().contains('@') {
            return Err(UpstreamUrlError::UserInfo);
        }
        if uri.query().is_some() {
            return Err(UpstreamUrlError::Query);
        }
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            options: options.clone(),
            tunnels: Tunnels::default(),
        })
    }

    /// The same, with its tunnels in this register: one for the whole server,
    /// so that what was opened through a replaced upstream can still be closed.
    #[must_use]
    pub fn with_tunnels(self, tunnels: Tunnels) -> Self {
        Self { tunnels, ..self }
    }

    /// The register of the tunnels open through it.
    #[must_use]
    pub const fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// `host[:port]` as given.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) const fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// The target as the upstream is to see it: the path alone, behind the prefix.
    pub(super) fn target(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if self.prefix.is_empty() || path == "*" {
            return match uri.scheme() {
                None => None,
                Some(_) => Some(Uri::from(uri.path_and_query()?.clone())),
            };
        }
        format!("{}{path}", self.prefix).parse().ok()
    }

    /// A fresh connection.
    pub(super) async fn connect(&self) -> Result<TcpStream, UpstreamError> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(self.options.connect_timeout, connecting)
            .await
            .map_err(|_| UpstreamError::ConnectTimeout)?
            .map_err(UpstreamError::Connect)?;
        stream.set_nodelay(true).map_err(UpstreamError::Connect)?;
        Ok(stream)
    }
}

/// How forwarding a request failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made.
    #[error("can't connect to the upstream: {0}")]
    Connect(#[source] io::Error),
    /// No connection came about in time.
    #[error("connecting to the upstream took too long")]
    ConnectTimeout,
    /// The upstream has the request and doesn't answer.
    #[error("the upstream took too long to answer")]
    HeadTimeout,
    /// The connection broke off before an answer; the upstream may have acted on the request.
    #[error("the upstream closed the connection: {0}")]
    Closed(#[source] hyper::Error),
    /// A fresh connection was closed before anything could be sent on it.
    #[error("the upstream closes connections at once")]
    Refused,
    /// What came isn't an answer to the request.
    #[error("the upstream's answer makes no sense")]
    BadReply,
    /// All connections to the upstream are taken, and the queue is full or slow.
    #[error("too many requests at once for the upstream")]
    Overloaded,
    /// It is the client's body that failed, and the client's fault.
    #[error("the client's body failed: {0:?}")]
    ClientBody(ClientBodyFault),
}

/// How a client's body failed while it was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientBodyFault {
    /// The client sent nothing for too long.
    Stalled,
    /// The client broke off, or what it sent isn't a body.
    Broken,
}

impl UpstreamError {
    /// The status that the client is told.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Connect(_) | Self::Closed(_) | Self::Refused | Self::BadReply => Status::BadGateway,
            Self::ConnectTimeout | Self::HeadTimeout => Status::GatewayTimeout,
            Self::Overloaded => Status::ServiceUnavailable,
            Self::ClientBody(ClientBodyFault::Stalled) => Status::RequestTimeout,
            Self::ClientBody(ClientBodyFault::Broken) => Status::BadRequest,
        }
    }

    /// What the client is told.
    pub const fn reply(&self) -> Reply {
        let reply = Reply::new(self.status());
        match self {
            Self::ClientBody(_) => reply.close(),
            Self::Overloaded => reply.retry_after(1),
            Self::Connect(_)
            | Self::Closed(_)
            | Self::Refused
            | Self::BadReply
            | Self::ConnectTimeout
            | Self::HeadTimeout => reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |url: &str| Upstream::new(url, &HttpOptions::default());
        for (url, expected) in [
            ("example.com", UpstreamUrlError::Malformed),
            ("/path", UpstreamUrlError::Malformed),
            ("https://example.com", UpstreamUrlError::Scheme),
            ("http://user@example.com", UpstreamUrlError::UserInfo),
            ("http://example.com/?a", UpstreamUrlError::Query),
        ] {
            assert_eq!(parse(url).unwrap_err(), expected, "{url}");
        }
        let upstream = parse("http://[::1]:8080/app/").unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port, upstream.prefix.as_str()), ("::1", 8080, "/app"));
        assert_eq!(parse("http://example.com").unwrap().port, 80);
    }

    #[test]
    fn a_prefix_goes_before_every_path_but_the_asterisk() {
        let upstream = Upstream::new("http://h/app/", &HttpOptions::default()).unwrap();
        for (target, expected) in [("/", "/app/"), ("/x?y=/z", "/app/x?y=/z")] {
            assert_eq!(upstream.target(&target.parse().unwrap()).unwrap().to_string(), expected);
        }
        assert_eq!(upstream.target(&"*".parse().unwrap()), None);
        let plain = Upstream::new("http://h", &HttpOptions::default()).unwrap();
        assert_eq!(plain.target(&"/x".parse().unwrap()), None, "unchanged");
    }
}
