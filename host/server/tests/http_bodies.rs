//! Bodies and trailers pass as they come or are read whole, within their
//! bounds, and one that doesn't end never looks as if it did.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod http_support;

use std::net::Shutdown;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http_support::{Backend, DEADLINE, World, hasty, news};
use portcullis::http::{Form, HttpOptions, Reply, Status};

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn defaults() -> HttpOptions {
    HttpOptions::default()
}

#[test]
fn a_length_that_is_zero_stays_and_one_that_isnt_there_isnt_made_up() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, defaults());
    let with = world.ask("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").text();
    assert!(with.contains("content-length: 0\r\n"), "{with}");
    assert!(!world.ask(GET).text().contains("content-length"));
}

#[test]
fn bodies_stream_both_ways_before_they_end() {
    let backend = Backend::new(|_, mut wire| {
        wire.read_head();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..2 {
            assert_eq!(wire.read_exact(10), b"5\r\nhello\r\n");
            wire.send("5\r\nhello\r\n");
        }
        assert_eq!(wire.read_exact(5), b"0\r\n\r\n");
        wire.send("0\r\n\r\n");
    });
    let world = World::new(&backend.url, defaults());
    let mut client = world.connect();
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.read_head().header("transfer-encoding"), Some("chunked"));
    for _ in 0..2 {
        client.send("5\r\nhello\r\n");
        assert_eq!(client.read_exact(10), b"5\r\nhello\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_exact(5), b"0\r\n\r\n");
}

#[test]
fn trailers_go_both_ways() {
    let (said, heard) = news();
    let said = Mutex::new(said);
    let backend = Backend::new(move |_, mut wire| {
        said.lock().unwrap().send(wire.read_message()).unwrap();
        wire.send(
            "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n",
        );
    });
    let world = World::new(&backend.url, defaults());
    let reply = world.ask(
        "POST /x HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: te\r\nTrailer: x-up\r\n\
         Trailer: x-forwarded-for, x_forwarded_user, authorization, content-length\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-up: 1\r\nX-Forwarded-For: 1.1.1.1\r\n\
         X_Forwarded_User: admin\r\nAuthorization: Basic x\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!((reply.text().as_str(), reply.trailers.as_str()), ("ok", "x-sum: 2\r\n"));
    let request = heard.recv_timeout(DEADLINE).unwrap();
    assert_eq!((request.body.as_slice(), request.trailers.as_str()), (&b"hi"[..], "x-up: 1\r\n"));
    assert_eq!(request.header("te"), Some("trailers"));
}

#[test]
fn trailers_of_which_nothing_may_go_on_are_none() {
    let (said, heard) = news();
    let said = Mutex::new(said);
    let backend = Backend::new(move |_, mut wire| {
        said.lock().unwrap().send(wire.read_message()).unwrap();
        wire.send(OK);
    });
    let world = World::new(&backend.url, defaults());
    let reply = world.ask(
        "POST /x HTTP/1.1\r\nHost: h\r\nTrailer: host\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nHost: evil\r\n\r\n",
    );
    assert_eq!(reply.status(), 200);
    let request = heard.recv_timeout(DEADLINE).unwrap();
    assert_eq!((request.body.as_slice(), request.trailers.as_str()), (&b"hi"[..], ""));
}

#[test]
fn a_client_that_expects_100_is_told_so_when_the_body_is_wanted() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, defaults());
    let mut client = world.connect();
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.read_head().head, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    let seen = client.read_message().text();
    assert!(seen.ends_with("\r\n\r\n\nhello") && !seen.contains("expect"), "{seen}");
}

#[test]
fn a_refusal_sends_no_100() {
    let world = World::answering("http://127.0.0.1:9", defaults(), |request| {
        Some(Reply::new(Status::Locked).retry_after(7).into_response(Form::of(request.method(), request.headers())))
    });
    let mut client = world.connect();
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let reply = client.read_message();
    assert_eq!((reply.status(), reply.header("retry-after")), (423, Some("7")));
}

#[test]
fn a_reply_to_an_upload_under_way_arrives_whole() {
    let world = World::answering("http://127.0.0.1:9", defaults(), |request| {
        let reply = Reply::new(Status::ContentTooLarge).close();
        Some(reply.into_response(Form::of(request.method(), request.headers())))
    });
    let mut client = world.connect();
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n");
    let reply = client.read_message();
    assert_eq!((reply.status(), reply.text().as_str()), (413, "413 Content Too Large\n"));
    // What a client that hasn't looked yet goes on sending is taken. Refused by
    // a reset, it could take the reply with it.
    for _ in 0..50 {
        std::io::Write::write_all(&mut client.stream, "x".repeat(10_000).as_bytes()).unwrap();
    }
    client.expect_closed();
}

#[test]
fn an_upload_that_stalls_is_408_and_one_that_breaks_off_never_looks_complete() {
    let (said, heard) = news();
    let said = Mutex::new(said);
    let backend = Backend::new(move |_, mut wire| {
        let complete = wire.read_head().header("content-length").is_some() && wire.read_to_end().len() == 5;
        said.lock().unwrap().send(complete).unwrap();
    });
    let options = HttpOptions { response_head_timeout: DEADLINE, ..hasty() };
    let world = World::new(&backend.url, options);
    let mut client = world.connect();
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
    assert_eq!(client.read_message().status(), 408);
    client.expect_closed();
    assert!(!heard.recv_timeout(DEADLINE).unwrap());

    let mut client = world.connect();
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel");
    client.stream.shutdown(Shutdown::Both).unwrap();
    assert!(!heard.recv_timeout(DEADLINE).unwrap());
}

/// Slow as a whole and never still: each piece is sent when the one before has arrived.
#[test]
fn a_slow_upload_outlasts_the_wait_for_the_answer() {
    let (took, taken) = news();
    let took = Mutex::new(took);
    let backend = Backend::new(move |_, mut wire| {
        wire.read_head();
        while wire.read_exact(3) == b"1\r\n" {
            wire.read_exact(3);
            took.lock().unwrap().send(()).unwrap();
        }
        wire.send(OK);
    });
    let patience = Duration::from_secs(1);
    let world = World::new(&backend.url, HttpOptions { response_head_timeout: patience, ..defaults() });
    let mut client = world.connect();
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let begun = Instant::now();
    while begun.elapsed() < patience + patience / 2 {
        client.send("1\r\nx\r\n");
        taken.recv_timeout(DEADLINE).unwrap();
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_message().status(), 200);
}

#[test]
fn an_answer_that_stalls_or_breaks_off_never_looks_complete() {
    for stalls in [true, false] {
        for framing in ["content-length: 5\r\n\r\nhel", "transfer-encoding: chunked\r\n\r\n5\r\nhel"] {
            let backend = Backend::new(move |_, mut wire| {
                wire.read_head();
                wire.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
                if stalls {
                    wire.read_to_end();
                }
            });
            let world = World::new(&backend.url, hasty());
            let mut client = world.connect();
            client.send(GET);
            let said = client.read_to_end();
            assert!(said.starts_with("HTTP/1.1 200") && !said.ends_with("0\r\n\r\n"), "{said}");
        }
    }
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    let backend = Backend::new(|_, mut wire| {
        wire.read_head();
        wire.send("HTTP/1.1 200 OK\r\n\r\nhello");
    });
    let world = World::new(&backend.url, defaults());
    assert_eq!(world.ask(GET).text(), "hello");
}

#[test]
fn a_large_body_arrives_as_it_was_sent_both_ways() {
    let backend = Backend::new(|_, mut wire| {
        while let Some(request) = wire.try_read_message() {
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len()));
            wire.send(request.body);
        }
    });
    let world = World::new(&backend.url, defaults());
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[(at % 3) as usize]).collect();
    let mut client = world.connect();
    for _ in 0..2 {
        client.send(format!("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert!(client.read_message().body == body);
    }
}

#[test]
fn a_body_that_was_read_is_sent_on_with_its_length() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, defaults());
    for framed in [
        "Content-Length: 6\r\n\r\nid=ann",
        "Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n3\r\nid=\r\n3\r\nann\r\n0\r\nx: y\r\n\r\n",
    ] {
        let seen = world.ask(format!("POST /login HTTP/1.1\r\nHost: h\r\n{framed}")).text();
        assert!(seen.contains("content-length: 6\r\n") && seen.ends_with("\nid=ann"), "{seen}");
        assert!(!seen.contains("trailer") && !seen.contains("transfer-encoding"), "{seen}");
    }
}

#[test]
fn a_body_that_is_to_be_read_is_bounded_in_size_and_time() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, defaults());
    for (what, status, request) in [
        ("announced", 413, "Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"),
        ("in pieces", 413, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n"),
        ("stalled", 408, "Content-Length: 5\r\n\r\nhel"),
        ("no chunks", 400, "Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ] {
        let mut client = world.connect();
        client.send(format!("POST /login HTTP/1.1\r\nHost: h\r\n{request}"));
        assert_eq!(client.read_message().status(), status, "{what}");
    }
    assert_eq!(backend.count(), 0);
}
