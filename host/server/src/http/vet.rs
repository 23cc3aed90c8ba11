//! What a request's head must be before anybody else sees it: one host, one
//! reading of its length, a target that names a resource and doesn't lead above
//! the root however it is read. It must not know what the request is about.
//!
//! hyper has already answered 400 to conflicting or malformed lengths, chunked
//! that isn't last, folded lines, spaces before colons and control characters.
//! Of a request with both Content-Length and Transfer-Encoding, in either
//! order, hyper keeps the chunked framing alone and removes the length, as RFC
//! 9112 6.3 allows; but whoever sends both may mean to smuggle a request past
//! somebody before us, so it is refused, as the RFC allows too. Since the head
//! doesn't tell any more, that is seen in the bytes before ([`super::framing`]).

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use super::reply::{Reply, Status};
use super::{headers, path};

/// Checks a head and brings it to one form: the target a path (or `*`), the
/// host in the Host header. Whether it came with two lengths it doesn't tell
/// itself.
pub(super) fn vet<B>(request: &mut Request<B>, two_lengths: bool) -> Result<(), Reply> {
    if two_lengths {
        return Err(Reply::new(Status::BadRequest).close());
    }
    if *request.method() == Method::CONNECT {
        return Err(Reply::new(Status::MethodNotAllowed).close());
    }
    let checked = match request.version() {
        Version::HTTP_2 => {
            headers::join_cookies(request.headers_mut());
            host_of_h2(request)
        }
        _ => host_of_h1(request),
    };
    if checked.is_some() && target_is_sound(request) && chunked_alone(request.headers()) {
        Ok(())
    } else {
        Err(Reply::new(Status::BadRequest).close())
    }
}

/// RFC 9112 3.2: exactly one valid Host, which a target in absolute form overrides.
fn host_of_h1<B>(request: &mut Request<B>) -> Option<()> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if valid_host(host.as_bytes()) => {}
        (None, None) if request.version() == Version::HTTP_10 => {}
        _ => return None,
    }
    if request.uri().scheme().is_some() || request.uri().authority().is_some() {
        override_host(request)?;
    }
    Some(())
}

/// RFC 9113 8.3.1: the authority, with which a Host, if there is one, must agree.
fn host_of_h2<B>(request: &mut Request<B>) -> Option<()> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (host, None) => host,
        _ => return None,
    };
    let Some(authority) = request.uri().authority() else {
        return valid_host(host?.as_bytes()).then_some(());
    };
    if host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes())) {
        return None;
    }
    override_host(request)
}

/// What is refused keeps its target: it is told with it.
fn override_host<B>(request: &mut Request<B>) -> Option<()> {
    let uri = request.uri();
    let scheme = uri.scheme()?;
    if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
        return None;
    }
    let host = header_of(uri.authority()?)?;
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    request.headers_mut().insert(HOST, host);
    *request.uri_mut() = Uri::from(path);
    Some(())
}

fn header_of(authority: &Authority) -> Option<HeaderValue> {
    let text = authority.as_str();
    if !valid_host(text.as_bytes()) {
        return None;
    }
    HeaderValue::from_str(text).ok()
}

/// `uri-host [":" port]` of RFC 9110 7.2, without user information and not empty.
fn valid_host(host: &[u8]) -> bool {
    let (name, rest) = match host.strip_prefix(b"[") {
        Some(inner) => {
            let Some(end) = inner.iter().position(|&byte| byte == b']') else { return false };
            let address = std::str::from_utf8(&inner[..end]).ok();
            if address.and_then(|text| text.parse::<std::net::Ipv6Addr>().ok()).is_none() {
                return false;
            }
            (&inner[..end], &inner[end + 1..])
        }
        None => host.split_at(host.iter().position(|&byte| byte == b':').unwrap_or(host.len())),
    };
    let in_brackets = host.first() == Some(&b'[');
    let name_is_valid = in_brackets || !name.is_empty() && name.iter().all(|&byte| in_reg_name(byte));
    let port_is_valid = match rest {
        [] => true,
        [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    name_is_valid && port_is_valid
}

const fn in_reg_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

fn target_is_sound<B>(request: &Request<B>) -> bool {
    match request.uri().path() {
        "*" => *request.method() == Method::OPTIONS,
        path => {
            let bytes = path.as_bytes();
            path.starts_with('/') && !path::is_too_intricate(bytes) && !path::climbs(bytes)
        }
    }
}

/// Another transfer coding before chunked would reach the upstream with its
/// label removed: there is one that is understood.
fn chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["example.com", "example.com:8080", "127.0.0.1", "[::1]", "[2001:db8::1]:443", "a_b", "host:"] {
            assert!(valid_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a b",
            "user@host",
            "a/b",
            "host:80x",
            "host:123456",
            "[::1",
            "[::1]x",
            "[zz]",
            "[]",
            "a,b@c",
            "a:b:c",
            "::1",
            "a\\b",
            "a#b",
            "a?b",
            "a\"b",
            "a<b>",
        ] {
            assert!(!valid_host(bad.as_bytes()), "{bad}");
        }
    }

    fn vetted(version: Version, method: &str, target: &str, host: &[&str]) -> Result<(String, String), ()> {
        let mut request = Request::builder().version(version).method(method).uri(target);
        for host in host {
            request = request.header(HOST, *host);
        }
        let mut request = request.body(()).unwrap();
        vet(&mut request, false).map_err(|_| ())?;
        let host = request.headers().get(HOST).map_or("", |host| host.to_str().unwrap());
        Ok((request.uri().to_string(), host.to_owned()))
    }

    #[test]
    fn targets_and_hosts_come_out_in_one_form() {
        let ok = |target: &str, host: &str| Ok((target.to_owned(), host.to_owned()));
        let intricate = format!("/{}", "%61".repeat(700));
        let h1 = Version::HTTP_11;
        let h2 = Version::HTTP_2;
        for (version, method, target, hosts, expected) in [
            (h1, "GET", "/a?b", &["h"][..], ok("/a?b", "h")),
            (h1, "GET", "/a", &[], Err(())),
            (Version::HTTP_10, "GET", "/a", &[], ok("/a", "")),
            (h1, "GET", "/a", &["h", "h"], Err(())),
            (h1, "GET", "http://other/a", &["h"], ok("/a", "other")),
            (h1, "GET", "http://other", &["h"], ok("/", "other")),
            (h1, "GET", "http://other/a", &[], Err(())),
            (h1, "GET", "http://user@other/a", &["other"], Err(())),
            (h1, "GET", "ftp://other/a", &["other"], Err(())),
            (h1, "GET", "other:80", &["other"], Err(())),
            (h1, "CONNECT", "other:80", &["other"], Err(())),
            (h1, "OPTIONS", "*", &["h"], ok("*", "h")),
            (h1, "GET", "*", &["h"], Err(())),
            (h2, "GET", "http://h/a", &[], ok("/a", "h")),
            (h2, "GET", "http://h/a", &["h"], ok("/a", "h")),
            (h2, "GET", "http://h/a", &["other"], Err(())),
            (h2, "GET", "/a", &["h"], ok("/a", "h")),
            (h2, "GET", "/a", &[], Err(())),
            (h1, "GET", "/a/..%2f../b", &["h"], Err(())),
            (h2, "GET", "http://h/../b", &[], Err(())),
            (h1, "GET", intricate.as_str(), &["h"], Err(())),
            (h1, "GET", "/a/../b?/../..", &["h"], ok("/a/../b?/../..", "h")),
        ] {
            assert_eq!(vetted(version, method, target, hosts), expected, "{version:?} {method} {target} {hosts:?}");
        }
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        for (values, allowed) in [
            (&[][..], true),
            (&["chunked"][..], true),
            (&["Chunked"], true),
            (&["gzip, chunked"], false),
            (&["chunked, chunked"], false),
            (&["identity", "chunked"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(chunked_alone(&headers), allowed, "{values:?}");
        }
    }
}
