//! The tables of what becomes of headers.

use super::*;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

const STRANGER: Hop<'_> = Hop {
    peer: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7)),
    secure: false,
    peer_trusted: false,
    user: None,
    strip_authorization: false,
    websocket: false,
};

const PROXY: Hop<'_> = Hop { peer_trusted: true, ..STRANGER };

/// What a request of a stranger with only a Host looks like upstream.
const OURS: [&str; 5] = [
    "forwarded: for=203.0.113.7;host=h;proto=http",
    "host: h",
    "x-forwarded-for: 203.0.113.7",
    "x-forwarded-host: h",
    "x-forwarded-proto: http",
];

fn upstream(hop: &Hop<'_>, given: &[(&str, &str)]) -> Vec<String> {
    let mut headers = map(&[&[("host", "h")], given].concat());
    to_upstream(&mut headers, hop);
    lines(&headers)
}

#[test]
fn what_a_stranger_says_about_itself_is_gone() {
    for given in [
        &[][..],
        &[("x-forwarded-for", "1.1.1.1")],
        &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")],
        &[("X_Forwarded_For", "1.1.1.1")],
        &[("x-forwarded_for", "1.1.1.1"), ("x_forwarded-user", "admin"), ("X_REAL_IP", "1.1.1.1")],
        &[("x-forwarded-user", "admin"), ("x-forwarded-user", "root")],
        &[("x-forwarded-proto", "https"), ("x-forwarded-host", "evil"), ("x-forwarded-port", "443")],
        &[("forwarded", "for=1.1.1.1")],
        &[("x-real-ip", "1.1.1.1")],
        &[("connection", "x-forwarded-for, host, forwarded"), ("x-forwarded-for", "1.1.1.1")],
        &[("connection", "close, x-secret"), ("x-secret", "1"), ("keep-alive", "5"), ("proxy-connection", "x")],
        &[("connection", "x-a"), ("connection", "x-b"), ("x-a", "1"), ("x-b", "2")],
        &[("te", "gzip"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"), ("http2-settings", "x")],
        &[("connection", "upgrade, http2-settings"), ("upgrade", "websocket")],
        &[("expect", "100-continue"), ("proxy-authorization", "Basic x")],
        &[("connection", "bad name, ,,")],
    ] {
        assert_eq!(upstream(&STRANGER, given), OURS, "{given:?}");
    }
}

#[test]
fn what_is_meant_for_the_upstream_stays() {
    for (given, line) in [
        (("authorization", "Basic x"), "authorization: Basic x"),
        (("cookie", "a=b"), "cookie: a=b"),
        (("content-length", "5"), "content-length: 5"),
        (("trailer", "x-sum"), "trailer: x-sum"),
        (("x_custom", "1"), "x_custom: 1"),
        (("x-forwardedish", "1"), "x-forwardedish: 1"),
    ] {
        assert!(upstream(&STRANGER, &[given]).contains(&line.to_owned()), "{line}");
    }
}

#[test]
fn connection_takes_away_nothing_that_was_judged_by() {
    for name in [
        "accept",
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "origin",
        "sec-websocket-key",
        "user-agent",
    ] {
        let seen = upstream(&STRANGER, &[("connection", name), (name, "5")]);
        assert!(seen.contains(&format!("{name}: 5")), "{name}");
    }
    let named = upstream(&STRANGER, &[("connection", "Authorization, Host, X-Hop"), ("x-hop", "1")]);
    assert_eq!(named, OURS);
}

#[test]
fn trailers_cant_say_what_headers_cant() {
    let mut trailers = map(&[
        ("x-forwarded-for", "1"),
        ("x_forwarded-user", "admin"),
        ("forwarded", "for=1"),
        ("x_real_ip", "1"),
        ("authorization", "Basic x"),
        ("host", "h"),
        ("content-length", "1"),
        ("content_type", "x"),
        ("transfer_encoding", "chunked"),
        ("connection", "x"),
        ("proxy_authorization", "x"),
        ("te", "x"),
        ("cookie", "a"),
        ("x-sum", "1"),
        ("x-sum", "2"),
        ("grpc-status", "0"),
    ]);
    trailers_to_upstream(&mut trailers);
    assert_eq!(lines(&trailers), ["grpc-status: 0", "x-sum: 1", "x-sum: 2"]);
}

#[test]
fn the_pieces_of_a_cookie_become_one_line() {
    for (given, joined) in [
        (
            &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")][..],
            &["cookie: a=1; b=2; c=3", "x: y"][..],
        ),
        (&[("cookie", "a=1")], &["cookie: a=1"]),
        (&[], &[]),
    ] {
        let mut headers = map(given);
        join_cookies(&mut headers);
        assert_eq!(lines(&headers), joined);
    }
}

#[test]
fn a_trusted_proxys_word_is_kept_and_appended_to() {
    let seen = upstream(
        &PROXY,
        &[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2,"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public"),
            ("forwarded", "for=1.1.1.1"),
            ("x_forwarded_for", "9.9.9.9"),
            ("x-forwarded-user", "admin"),
            ("connection", "x-forwarded-for, x-forwarded-proto, forwarded"),
        ],
    );
    assert_eq!(
        seen,
        [
            "forwarded: for=1.1.1.1, for=203.0.113.7;host=h;proto=http",
            "host: h",
            "x-forwarded-for: 1.1.1.1, 2.2.2.2, 203.0.113.7",
            "x-forwarded-host: public",
            "x-forwarded-proto: https",
        ]
    );
    assert_eq!(upstream(&PROXY, &[]), OURS);
}

#[test]
fn addresses_and_hosts_are_quoted_as_rfc_7239_wants() {
    for (peer, host, forwarded, forwarded_for) in [
        ("2001:db8::1", "h", "for=\"[2001:db8::1]\";host=h;proto=http", "2001:db8::1"),
        ("::ffff:192.0.2.1", "h:80", "for=192.0.2.1;host=\"h:80\";proto=http", "192.0.2.1"),
        ("192.0.2.1", "[::1]:80", "for=192.0.2.1;host=\"[::1]:80\";proto=http", "192.0.2.1"),
    ] {
        let mut headers = map(&[("host", host)]);
        to_upstream(&mut headers, &Hop { peer: peer.parse().unwrap(), ..STRANGER });
        assert_eq!(headers[FORWARDED], forwarded);
        assert_eq!(headers[X_FORWARDED_FOR], forwarded_for);
    }
}

#[test]
fn the_user_is_the_one_we_know_and_secrets_end_here() {
    let hop = Hop { user: Some("ann"), strip_authorization: true, ..STRANGER };
    let seen = upstream(&hop, &[("x-forwarded-user", "admin"), ("authorization", "Basic x")]);
    assert!(seen.contains(&"x-forwarded-user: ann".to_owned()));
    assert!(!seen.iter().any(|line| line.contains("admin") || line.contains("Basic")));
    let unsendable = Hop { user: Some("ann\r\nx: y"), ..STRANGER };
    assert_eq!(upstream(&unsendable, &[("x-forwarded-user", "admin")]), OURS);
}

#[test]
fn trailers_and_websockets_are_asked_for_anew() {
    let trailers = upstream(&STRANGER, &[("te", "trailers, deflate;q=0.5"), ("connection", "te")]);
    assert!(trailers.contains(&"te: trailers".to_owned()) && trailers.contains(&"connection: te".to_owned()));
    let hop = Hop { websocket: true, ..STRANGER };
    let websocket = upstream(&hop, &[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]);
    assert!(websocket.contains(&"upgrade: websocket".to_owned()));
    assert!(websocket.contains(&"connection: upgrade".to_owned()));
}

#[test]
fn responses_lose_what_was_meant_for_us() {
    for (given, websocket, expected) in [
        (
            &[("connection", "close, x-hop"), ("x-hop", "1"), ("keep-alive", "1"), ("etag", "e")][..],
            false,
            &["etag: e"][..],
        ),
        (&[("transfer-encoding", "chunked"), ("content-length", "5")], false, &[]),
        (&[("content-length", "5")], false, &["content-length: 5"]),
        (&[("upgrade", "h2c"), ("trailer", "x-sum")], false, &["trailer: x-sum"]),
        (&[("upgrade", "websocket"), ("connection", "upgrade")], true, &["connection: upgrade", "upgrade: websocket"]),
    ] {
        let mut headers = map(given);
        to_client(&mut headers, websocket);
        assert_eq!(lines(&headers), expected);
    }
}
