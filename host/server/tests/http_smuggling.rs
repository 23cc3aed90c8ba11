//! No request may hide in another: what two readers could read in two ways is
//! refused, or brought to one reading, and the connection ends there.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod http_support;

use http_support::{Backend, World};
use portcullis::http::HttpOptions;

/// What would be served if it were seen as a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    for (what, request) in [
        ("differing lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 6\r\n\r\n"),
        ("a signed length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n"),
        ("a negative length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"),
        ("a hexadecimal length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\n"),
        ("an empty length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n"),
        ("a length beyond 64 bits", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        ("chunked not last", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        (
            "chunked undone",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        ),
        ("chunked disguised", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("chunked in quotes", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
        ("another coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("chunked twice", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ("chunked in 1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (
            "a length, then chunks",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "chunks, then a length",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "chunks, then what is no length",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n",
        ),
        ("a space before the colon", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\n"),
        ("a tab before the colon", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding\t: chunked\r\n\r\n"),
        ("a folded line", "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n"),
        ("a folded first line", "GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
        ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n"),
        ("a NUL in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n"),
        ("a NUL in a name", "GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n"),
        ("a line without a colon", "GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n"),
        ("a space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("an unknown version", "GET / HTTP/1.2\r\nHost: h\r\n\r\n"),
        ("HTTP/2 without its preface", "GET / HTTP/2.0\r\nHost: h\r\n\r\n"),
        ("no Host", "GET / HTTP/1.1\r\n\r\n"),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
        ("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        ("a path in Host", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n"),
        ("a user in Host", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"),
        ("a user in the target", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("another scheme", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("an authority as the target", "GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("an asterisk for GET", "GET * HTTP/1.1\r\nHost: h\r\n\r\n"),
    ] {
        let mut client = world.connect();
        client.send(format!("{request}{HIDDEN}"));
        let said = client.read_to_end();
        assert!(said.starts_with("HTTP/1.1 400 "), "{what}: {said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{what}: {said}");
        assert_eq!(backend.count(), 0, "{what} reached the upstream");
    }
}

#[test]
fn bodies_that_are_no_chunks_are_refused_and_never_completed_upstream() {
    let backend = Backend::new(|_, mut wire| {
        // Only a body that ends is answered.
        if wire.try_read_message().is_some() {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let world = World::new(&backend.url, HttpOptions::default());
    for (what, body) in [
        ("a size that is none", "x\r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("a size ended by LF alone", "5\nhello\r\n0\r\n\r\n"),
        ("an extension with LF", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("data longer than its size", "4\r\nhello\r\n0\r\n\r\n"),
        ("data ended by LF alone", "5\r\nhello\n0\r\n\r\n"),
    ] {
        let mut client = world.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}{HIDDEN}"));
        let said = client.read_to_end();
        assert!(said.starts_with("HTTP/1.1 400 "), "{what}: {said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{what}: {said}");
    }
}

#[test]
fn a_refusal_is_told_with_what_was_asked_for() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    for (request, status, method, path) in [
        ("GET /a?b HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400, "GET", "/a"),
        ("PUT /a/..%2f../b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "PUT", "/a/..%2f../b"),
        ("GET http://u@h/x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "GET", "/x"),
        (
            "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "POST",
            "/x",
        ),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 405, "CONNECT", "h:443"),
    ] {
        assert_eq!(world.ask(request).status(), status);
        let told = world.front.refused.lock().unwrap().pop();
        assert_eq!(told, Some(Some((method.to_owned(), path.to_owned()))), "{request}");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn connect_isnt_done_here() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    let mut client = world.connect();
    client.send(format!("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n{HIDDEN}"));
    let said = client.read_to_end();
    assert!(said.starts_with("HTTP/1.1 405 "), "{said}");
    assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    assert_eq!(backend.count(), 0);
}

#[test]
fn an_absolute_target_overrides_the_host_and_goes_on_as_a_path() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    let seen = world.ask("GET http://real:81/a?b HTTP/1.1\r\nHost: false\r\n\r\n").text();
    assert!(seen.starts_with("GET /a?b HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: real:81\r\n") && !seen.contains("false"), "{seen}");
    let seen = world.ask("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").text();
    assert!(seen.starts_with("OPTIONS * HTTP/1.1\r\n"), "{seen}");
}

/// RFC 9112 2.2 lets LF end a line. What goes on is written anew with CRLF, so
/// that the upstream can't read it differently.
#[test]
fn lines_ended_by_lf_alone_go_on_with_both() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    let seen = world.ask("GET / HTTP/1.1\nHost: h\nX: 1\n\n").text();
    assert!(seen.contains("\r\nx: 1\r\n"), "{seen:?}");
}
