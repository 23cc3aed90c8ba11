//! A request goes to the upstream and its answer comes back, whatever shape
//! they have and wherever either side stops.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod http_support;

use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use http_support::{Backend, DEADLINE, SHORT, World, hasty, news};
use portcullis::http::{Body, HttpOptions};

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn defaults() -> HttpOptions {
    HttpOptions::default()
}

#[test]
fn one_upstream_connection_serves_request_after_request() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, defaults());
    for _ in 0..3 {
        let mut client = world.connect();
        for _ in 0..3 {
            client.send(GET);
            let reply = client.read_message();
            assert_eq!(reply.status(), 200);
            let seen = reply.text();
            assert!(
                seen.starts_with("GET /x HTTP/1.1\r\n") && seen.contains("x-forwarded-for: 127.0.0.1\r\n"),
                "{seen}"
            );
            assert!(seen.contains("x-forwarded-user: ann\r\n"), "{seen}");
        }
    }
    assert_eq!(backend.count(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, defaults());
    let mut client = world.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.read_message().text().starts_with("GET /1 "));
    assert!(client.read_message().text().starts_with("GET /2 "));
}

#[test]
fn the_urls_path_goes_before_the_requests() {
    let backend = Backend::echo();
    let world = World::new(&format!("{}/app/", backend.url), defaults());
    assert!(world.ask(GET).text().starts_with("GET /app/x HTTP/1.1\r\n"));
}

#[test]
fn an_http_1_0_client_is_served_and_its_upstream_speaks_1_1() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, defaults());
    let mut client = world.connect();
    client.send("GET /x HTTP/1.0\r\n\r\n");
    let said = client.read_to_end();
    assert!(said.starts_with("HTTP/1.0 200 OK\r\n") && said.contains("GET /x HTTP/1.1\r\n"), "{said}");
    assert!(said.contains(&format!("host: {}\r\n", &backend.url["http://".len()..])), "{said}");
}

/// The worker is held up while the upstream closes its idle connection and a
/// request arrives, in either order: it then finds the connection closed, or
/// closing with the request on its way to it.
#[test]
fn a_connection_that_the_upstream_had_closed_costs_nobody_an_error() {
    for request_first in [true, false] {
        let (close, told) = news::<()>();
        let (closed, closing) = news();
        let (told, closed) = (Mutex::new(told), Mutex::new(closed));
        let backend = Backend::new(move |number, mut wire| {
            wire.read_message();
            wire.send(OK);
            if number == 0 {
                told.lock().unwrap().recv_timeout(DEADLINE).unwrap();
                drop(wire);
                closed.lock().unwrap().send(()).unwrap();
            } else {
                wire.read_to_end();
            }
        });
        let (held, hold) = news();
        let (release, released) = news::<()>();
        let held = Mutex::new((held, released));
        let world = World::answering(&backend.url, defaults(), move |request| {
            (request.uri().path() == "/hold").then(|| {
                let held = held.lock().unwrap();
                held.0.send(()).unwrap();
                held.1.recv_timeout(DEADLINE).unwrap();
                http::Response::new(Body::empty())
            })
        });
        let mut client = world.connect();
        client.send(GET);
        assert_eq!(client.read_message().status(), 200);
        let mut holder = world.connect();
        holder.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
        hold.recv_timeout(DEADLINE).unwrap();

        let post = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
        let upstream_closes = || {
            close.send(()).unwrap();
            closing.recv_timeout(DEADLINE).unwrap();
        };
        if request_first {
            client.send(post);
            upstream_closes();
        } else {
            upstream_closes();
            client.send(post);
        }
        release.send(()).unwrap();
        assert_eq!(client.read_message().status(), 200, "request first: {request_first}");
        assert_eq!(backend.count(), 2);
    }
}

#[test]
fn a_request_that_may_have_been_seen_is_never_sent_again() {
    let backend = Backend::new(|number, mut wire| {
        wire.read_message();
        if number == 0 {
            wire.send(OK);
            wire.read_message();
        }
    });
    let world = World::new(&backend.url, defaults());
    assert_eq!(world.ask(GET).status(), 200);
    assert_eq!(world.ask(GET).status(), 502);
    assert_eq!(backend.count(), 1);
}

#[test]
fn answers_without_a_body_keep_the_connection_in_step() {
    let backend = Backend::new(|_, mut wire| {
        while let Some(request) = wire.try_read_message() {
            wire.send(match request.head.split(' ').nth(1).unwrap() {
                "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: e\r\n\r\n",
                "/hints" => "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                _ => OK,
            });
        }
    });
    let world = World::new(&backend.url, defaults());
    let mut client = world.connect();
    for (method, path, status) in
        [("HEAD", "/head", 200), ("GET", "/204", 204), ("GET", "/304", 304), ("GET", "/hints", 200)]
    {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let head = client.read_head();
        assert_eq!(head.status(), status, "{path}");
        if path == "/hints" {
            assert_eq!(client.read_exact(2), b"ok");
        }
        client.send(GET);
        assert_eq!(client.read_message().text(), "ok", "after {path}");
    }
    assert_eq!(backend.count(), 1);
}

#[test]
fn when_the_client_goes_the_upstreams_request_goes_too() {
    let (arrived, arrival) = news();
    let (said, heard) = news();
    let (arrived, said) = (Mutex::new(arrived), Mutex::new(said));
    let backend = Backend::new(move |_, mut wire| {
        wire.read_head();
        arrived.lock().unwrap().send(()).unwrap();
        said.lock().unwrap().send(wire.read_to_end()).unwrap();
    });
    let world = World::new(&backend.url, defaults());
    let mut client = world.connect();
    client.send(GET);
    arrival.recv_timeout(DEADLINE).unwrap();
    drop(client);
    assert_eq!(heard.recv_timeout(DEADLINE).unwrap(), "");
}

#[test]
fn what_the_upstream_fails_at_is_told_as_502_or_504() {
    let patient = HttpOptions { body_idle_timeout: DEADLINE, ..hasty() };
    for (what, answer, status) in [
        ("nothing", None, 504),
        ("closed", Some(""), 502),
        ("half a head", Some("HTTP/1.1 200 OK\r\nconte"), 502),
        ("no HTTP", Some("SSH-2.0-OpenSSH_9.2\r\n\r\n"), 502),
        ("lengths that differ", Some("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"), 502),
        ("an unasked 101", Some("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), 502),
        ("another coding", Some("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 502),
    ] {
        let backend = Backend::new(move |_, mut wire| {
            wire.read_head();
            match answer {
                Some(answer) => wire.send(answer),
                None => drop(wire.read_to_end()),
            }
        });
        let hasty = HttpOptions { response_head_timeout: SHORT, ..patient.clone() };
        let world = World::new(&backend.url, if answer.is_some() { patient.clone() } else { hasty });
        assert_eq!(world.ask(GET).status(), status, "{what}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(World::new(&format!("http://{nobody}"), patient).ask(GET).status(), 502);
}

#[test]
fn requests_beyond_the_bound_wait_and_then_are_503() {
    let (arrived, arrival) = news();
    let (release, released) = news::<()>();
    let (arrived, released) = (Mutex::new(arrived), Mutex::new(released));
    let backend = Backend::new(move |_, mut wire| {
        while wire.try_read_message().is_some() {
            arrived.lock().unwrap().send(()).unwrap();
            let _ = released.lock().unwrap().recv_timeout(DEADLINE);
            wire.send(OK);
        }
    });
    let options =
        HttpOptions { upstream_connections: 1, upstream_wait_timeout: Duration::from_millis(60), ..defaults() };
    let world = World::new(&backend.url, options);
    let mut first = world.connect();
    first.send(GET);
    arrival.recv_timeout(DEADLINE).unwrap();
    let reply = world.ask(GET);
    assert_eq!((reply.status(), reply.header("retry-after")), (503, Some("1")));
    release.send(()).unwrap();
    assert_eq!(first.read_message().status(), 200);
    release.send(()).unwrap();
    assert_eq!(world.ask(GET).status(), 200, "the place is free again");
    assert_eq!(backend.count(), 1);
}
