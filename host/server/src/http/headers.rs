//! What becomes of headers on their way through: hop-by-hop ones end here, and
//! what we say about the client replaces what the client says about itself. It
//! must not know how the source was decided.

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

/// Which headers there are at all. One walk over the few that a message has costs
/// less than a look-up of each that it could have: what isn't there needn't be
/// removed. What has been removed since may still count as there.
#[derive(Default)]
struct Present {
    connection: bool,
    te: bool,
    transfer_encoding: bool,
    upgrade: bool,
    forwarded: bool,
    /// What says who or where the client is.
    claims: bool,
    /// Others that go no further.
    others: bool,
}

impl Present {
    fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => present.connection = true,
                "te" => present.te = true,
                "transfer-encoding" => present.transfer_encoding = true,
                "upgrade" => present.upgrade = true,
                "forwarded" => present.forwarded = true,
                "keep-alive"
                | "proxy-connection"
                | "expect"
                | "proxy-authorization"
                | "http2-settings"
                | "proxy-authenticate" => present.others = true,
                name => present.claims |= is_claim(name),
            }
        }
        present
    }
}

/// Makes a client's headers those of the request to the upstream.
pub fn to_upstream(headers: &mut HeaderMap, hop: &Hop<'_>) {
    let present = Present::of(headers);
    let trailers_wanted = present.te && lists(headers, &TE, "trailers");
    drop_hop_by_hop(headers, &present);
    if present.others {
        headers.remove(EXPECT);
        headers.remove(PROXY_AUTHORIZATION);
        headers.remove(HTTP2_SETTINGS);
    }
    if present.claims {
        drop_claims(headers, hop.peer_trusted);
    }
    if present.forwarded && !hop.peer_trusted {
        headers.remove(FORWARDED);
    }
    if hop.strip_authorization {
        headers.remove(AUTHORIZATION);
    }

    let peer = hop.peer.to_canonical();
    let scheme = if hop.secure { "https" } else { "http" };
    set_forwarded(headers, peer, scheme, present.forwarded);
    set_forwarded_for(headers, peer, present.claims);
    if !(present.claims && headers.contains_key(X_FORWARDED_PROTO)) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !(present.claims && headers.contains_key(X_FORWARDED_HOST))
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
    let present = Present::of(headers);
    // Of the two lengths the chunked one was read: the other must not be believed further on.
    if present.transfer_encoding {
        headers.remove(CONTENT_LENGTH);
    }
    drop_hop_by_hop(headers, &present);
    if present.others {
        headers.remove(PROXY_AUTHENTICATE);
    }
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

/// RFC 9110 7.6.1: Connection, what it names, and what was always meant for one hop.
fn drop_hop_by_hop(headers: &mut HeaderMap, present: &Present) {
    if present.connection {
        let named: SmallVec<[HeaderName; 4]> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(tokens)
            .filter(|token| !is_usual(token))
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| !is_for_all(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    if present.others {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
    }
    if present.te {
        headers.remove(TE);
    }
    if present.transfer_encoding {
        headers.remove(TRANSFER_ENCODING);
    }
    if present.upgrade {
        headers.remove(UPGRADE);
    }
}

/// What Connection mostly says: no header's name, or one that ends here anyway.
fn is_usual(token: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade", b"te"].iter().any(|usual| token.eq_ignore_ascii_case(usual))
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
}

/// A value in the making: mostly short enough to need no memory of its own.
type Text = SmallVec<[u8; 128]>;

fn set_forwarded_for(headers: &mut HeaderMap, peer: IpAddr, present: bool) {
    append(headers, X_FORWARDED_FOR, present, |text| push_address(text, peer));
}

/// RFC 7239.
fn set_forwarded(headers: &mut HeaderMap, peer: IpAddr, scheme: &str, present: bool) {
    let host = headers.get(HOST).cloned();
    append(headers, FORWARDED, present, |text| {
        let (before, after): (&[u8], &[u8]) = if peer.is_ipv4() { (b"for=", b"") } else { (b"for=\"[", b"]\"") };
        text.extend_from_slice(before);
        push_address(text, peer);
        text.extend_from_slice(after);
        // A host that was let through has no quote and no backslash in it.
        if let Some(host) = host.as_ref().filter(|host| host.to_str().is_ok()).map(HeaderValue::as_bytes) {
            let token = host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
            let (before, after): (&[u8], &[u8]) = if token { (b";host=", b"") } else { (b";host=\"", b"\"") };
            text.extend_from_slice(before);
            text.extend_from_slice(host);
            text.extend_from_slice(after);
        }
        text.extend_from_slice(b";proto=");
        text.extend_from_slice(scheme.as_bytes());
    });
}

/// As it displays itself; IPv4 without the machinery of formatting, which takes ten times as long.
fn push_address(text: &mut Text, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push(b'.');
                }
                if octet >= 100 {
                    text.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    text.push(b'0' + octet / 10 % 10);
                }
                text.push(b'0' + octet % 10);
            }
        }
        IpAddr::V6(v6) => text.extend_from_slice(v6.to_string().as_bytes()),
    }
}

/// Sets a list to what it holds, if it may hold anything, and one element more.
fn append(headers: &mut HeaderMap, name: HeaderName, present: bool, element: impl FnOnce(&mut Text)) {
    let mut text = Text::new();
    if present {
        for value in headers.get_all(&name) {
            // What isn't text says nothing about an address.
            let kept = value.to_str().unwrap_or("unknown").trim_matches([' ', '\t', ',']);
            if !kept.is_empty() {
                text.extend_from_slice(kept.as_bytes());
                text.extend_from_slice(b", ");
            }
        }
    }
    element(&mut text);
    if let Ok(value) = HeaderValue::from_bytes(&text) {
        headers.insert(name, value);
    } else {
        headers.remove(name);
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
