//! What becomes of headers on their way through: hop-by-hop ones end here, and
//! what we say about the client replaces what the client says about itself. It
//! must not know how the source was decided.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, DATE, EXPECT, FORWARDED, HOST,
    HeaderName, LOCATION, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE,
    USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What is to be told to the upstream about the client.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The TCP peer, or the client that it announced as such.
    pub peer: IpAddr,
    /// It came encrypted.
    pub secure: bool,
    /// The peer is a trusted proxy: what it says about the client is kept and appended to.
    pub peer_trusted: bool,
    /// Who the client is, if we know; its own claim is removed in any case. A
    /// name that no header can carry isn't sent.
    pub user: Option<&'a str>,
    /// The secret has been checked here and is no business of the upstream.
    pub strip_authorization: bool,
    /// The request goes on as a WebSocket's opening.
    pub websocket: bool,
}

/// Makes a client's headers those of the request to the upstream.
pub fn to_upstream(headers: &mut HeaderMap, hop: &Hop<'_>) {
    let trailers_wanted = wants_trailers(headers);
    drop_hop_by_hop(headers);
    headers.remove(EXPECT);
    headers.remove(PROXY_AUTHORIZATION);
    headers.remove(HTTP2_SETTINGS);
    drop_claims(headers, hop.peer_trusted);
    if hop.strip_authorization {
        headers.remove(AUTHORIZATION);
    }

    let peer = hop.peer.to_canonical();
    let scheme = if hop.secure { "https" } else { "http" };
    set_forwarded(headers, peer, scheme);
    set_forwarded_for(headers, peer);
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if let Some(user) = hop.user.and_then(|user| HeaderValue::from_bytes(user.as_bytes()).ok()) {
        headers.insert(X_FORWARDED_USER, user);
    }
    if hop.websocket {
        set_websocket(headers);
    } else if trailers_wanted {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Makes the upstream's headers those of the response to the client.
pub fn to_client(headers: &mut HeaderMap, websocket: bool) {
    // Of the two lengths the chunked one was read: the other must not be believed further on.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    drop_hop_by_hop(headers);
    headers.remove(PROXY_AUTHENTICATE);
    if websocket {
        set_websocket(headers);
    }
}

fn set_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Whether some value of a comma-separated list is `token`.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| tokens(value).any(|found| found.eq_ignore_ascii_case(token.as_bytes())))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(TE) && lists(headers, &TE, "trailers")
}

/// RFC 9110 7.6.1: Connection, what it names, and what was always meant for one hop.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: SmallVec<[HeaderName; 4]> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(tokens)
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| !is_for_all(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TE);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
}

/// Headers that Connection has no right to name, and that it would be a trick
/// to name: a client behind a trusted proxy could take away the proxy's word
/// about its address, and what the gate has judged by (who logs in, and how the
/// body is to be read) must reach the upstream as it was judged.
fn is_for_all(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 12] = [
        ACCEPT,
        AUTHORIZATION,
        CACHE_CONTROL,
        COOKIE,
        DATE,
        FORWARDED,
        HOST,
        LOCATION,
        ORIGIN,
        SET_COOKIE,
        USER_AGENT,
        WWW_AUTHENTICATE,
    ];
    NAMES.contains(name)
        || name.as_str().starts_with("content-")
        || name.as_str().starts_with("sec-")
        || is_claim(name.as_str())
}

/// Whether two names are the same to an application server that reads `_` as `-`.
fn same(expected: &[u8], found: &[u8]) -> bool {
    expected.len() == found.len() && expected.iter().zip(found).all(|(&e, &f)| e == f || e == b'-' && f == b'_')
}

/// What says who or where the client is, `_` for `-` included: many an
/// application server reads both as one.
fn is_claim(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-forwarded-";
    let name = name.as_bytes();
    name.first() == Some(&b'x')
        && (name.get(..PREFIX.len()).is_some_and(|start| same(PREFIX, start)) || same(b"x-real-ip", name))
}

/// Makes the trailers of a client's body those of the body to the upstream:
/// some upstreams merge them into the headers, where they would say what the
/// client may not (RFC 9110 6.5.1), after everything has been judged.
pub(super) fn trailers_to_upstream(trailers: &mut HeaderMap) {
    const NAMES: [&[u8]; 20] = [
        b"authorization",
        b"cache-control",
        b"connection",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"max-forwards",
        b"origin",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"user-agent",
    ];
    const CONTENT: &[u8] = b"content-";
    let dropped: SmallVec<[HeaderName; 4]> = trailers
        .keys()
        .filter(|name| {
            let found = name.as_str().as_bytes();
            is_claim(name.as_str())
                || found.get(..CONTENT.len()).is_some_and(|start| same(CONTENT, start))
                || NAMES.iter().any(|expected| same(expected, found))
        })
        .cloned()
        .collect();
    for name in dropped {
        trailers.remove(name);
    }
}

/// Joins the pieces into which HTTP/2 lets a Cookie be split (RFC 9113 8.2.3):
/// of several lines an HTTP/1.1 upstream may read the first alone.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(COOKIE).iter();
    if let (Some(_), Some(_)) = (pieces.next(), pieces.next()) {
        let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

fn drop_claims(headers: &mut HeaderMap, peer_trusted: bool) {
    let dropped: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| {
            is_claim(name.as_str()) && (!peer_trusted || **name == X_FORWARDED_USER || name.as_str().contains('_'))
        })
        .cloned()
        .collect();
    for name in dropped {
        headers.remove(name);
    }
    if !peer_trusted {
        headers.remove(FORWARDED);
    }
}

fn set_forwarded_for(headers: &mut HeaderMap, peer: IpAddr) {
    append(headers, X_FORWARDED_FOR, |text| {
        let _ = write!(text, "{peer}");
    });
}

/// RFC 7239.
fn set_forwarded(headers: &mut HeaderMap, peer: IpAddr, scheme: &str) {
    let host = headers.get(HOST).cloned();
    append(headers, FORWARDED, |text| {
        let _ = match peer {
            IpAddr::V4(v4) => write!(text, "for={v4}"),
            IpAddr::V6(v6) => write!(text, "for=\"[{v6}]\""),
        };
        // A host that was let through has no quote and no backslash in it.
        if let Some(host) = host.as_ref().and_then(|host| host.to_str().ok()) {
            let token = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
            let _ = if token { write!(text, ";host={host}") } else { write!(text, ";host=\"{host}\"") };
        }
        text.push_str(";proto=");
        text.push_str(scheme);
    });
}

/// Sets a list to what it holds, if anything, and one element more.
fn append(headers: &mut HeaderMap, name: HeaderName, element: impl FnOnce(&mut String)) {
    let mut text = String::with_capacity(64);
    for value in headers.get_all(&name) {
        // What isn't text says nothing about an address.
        let kept = value.to_str().unwrap_or("unknown").trim_matches([' ', '\t', ',']);
        if !kept.is_empty() {
            text.push_str(kept);
            text.push_str(", ");
        }
    }
    element(&mut text);
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    } else {
        headers.remove(name);
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
