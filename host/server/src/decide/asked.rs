//! What a proxy says of a request that it holds, in the headers of its kind.
//!
//! One family of headers is read and never another: a client's own header of a
//! family that its proxy doesn't set would reach us as the client wrote it.

use std::borrow::Cow;

use http::header::HeaderName;
use http::{HeaderValue, Request};
use portcullis_domain::{Source, SourceRules};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

/// Which headers a proxy sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `X-Forwarded-For`, `-Method` and `-Uri`: Caddy's forward_auth, Traefik's
    /// ForwardAuth, our Lua for HAProxy. Envoy's ext_authz asks with the
    /// request's own method and path instead, after a prefix.
    Forwarded,
    /// `X-Real-IP`, `X-Original-Method` and `X-Original-URI`, as is usual with
    /// nginx's auth_request.
    Original,
}

/// The head of the request that asks, and how to read it.
pub(super) struct Head<'r> {
    pub(super) family: Family,
    client: http::header::GetAll<'r, HeaderValue>,
    method: Cow<'r, str>,
    uri: Option<Cow<'r, str>>,
}

impl<'r> Head<'r> {
    pub(super) fn forwarded<B>(request: &'r Request<B>) -> Self {
        // Envoy appends the path to its prefix; then no header says more.
        let appended = request.uri().path().strip_prefix("/check").filter(|rest| !rest.is_empty());
        let (method, uri) = match appended {
            Some(path) => (Cow::Borrowed(request.method().as_str()), Some(Cow::Borrowed(path))),
            None => said(request, &X_FORWARDED_METHOD, &X_FORWARDED_URI),
        };
        let client = request.headers().get_all(X_FORWARDED_FOR);
        Self { family: Family::Forwarded, client, method, uri }
    }

    pub(super) fn original<B>(request: &'r Request<B>) -> Self {
        let (method, uri) = said(request, &X_ORIGINAL_METHOD, &X_ORIGINAL_URI);
        let client = request.headers().get_all(X_REAL_IP);
        Self { family: Family::Original, client, method, uri }
    }

    /// Who it is, if the proxy names somebody.
    pub(super) fn source(&self, rules: &SourceRules) -> Option<Source> {
        rules.of_forwarded(self.client.iter().map(HeaderValue::as_bytes))
    }

    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// Without the query.
    pub(super) fn path(&self) -> Option<&str> {
        self.uri.as_deref().map(|uri| uri.split_once('?').map_or(uri, |(path, _)| path))
    }
}

impl Family {
    pub(super) const fn names_nobody(self) -> &'static str {
        match self {
            Self::Forwarded => {
                "400 Bad Request: X-Forwarded-For has to end with the client's address, as the proxy knows it\n"
            }
            Self::Original => "400 Bad Request: X-Real-IP has to be the client's address\n",
        }
    }
}

/// The last value of each: what a proxy appends is its own. What isn't UTF-8
/// is still a path.
fn said<'r, B>(request: &'r Request<B>, method: &HeaderName, uri: &HeaderName) -> (Cow<'r, str>, Option<Cow<'r, str>>) {
    let last = |name: &HeaderName| {
        let value = request.headers().get_all(name).iter().next_back();
        value.map(|value| String::from_utf8_lossy(value.as_bytes()))
    };
    (last(method).unwrap_or_else(|| Cow::Borrowed(request.method().as_str())), last(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method("GET").uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn read(head: &Head<'_>) -> (Option<String>, String, Option<String>) {
        let source = head.source(&SourceRules::default()).map(|source| source.to_string());
        (source, head.method().to_owned(), head.path().map(str::to_owned))
    }

    const BOTH: [(&str, &str); 6] = [
        ("X-Forwarded-For", "8.8.8.8, 203.0.113.7"),
        ("X-Forwarded-Method", "POST"),
        ("X-Forwarded-Uri", "/login?next=/"),
        ("X-Real-IP", "192.0.2.1"),
        ("X-Original-Method", "PUT"),
        ("X-Original-URI", "/other"),
    ];

    #[test]
    fn one_family_is_read_and_the_others_headers_change_nothing() {
        let asks = request("/check?client=8.8.8.8", &BOTH);
        let own = (Some("203.0.113.7".to_owned()), "POST".to_owned(), Some("/login".to_owned()));
        assert_eq!(read(&Head::forwarded(&asks)), own);
        let other = (Some("192.0.2.1".to_owned()), "PUT".to_owned(), Some("/other".to_owned()));
        assert_eq!(read(&Head::original(&asks)), other);
        let bare = request("/check", &[]);
        assert_eq!(read(&Head::forwarded(&bare)), (None, "GET".to_owned(), None));
        assert_eq!(read(&Head::original(&bare)), (None, "GET".to_owned(), None));
    }

    #[test]
    fn a_path_after_the_prefix_is_the_requests_own() {
        let asks = request("/check/login?a=b", &BOTH);
        let read = read(&Head::forwarded(&asks));
        assert_eq!((read.1.as_str(), read.2.as_deref()), ("GET", Some("/login")));
    }
}
