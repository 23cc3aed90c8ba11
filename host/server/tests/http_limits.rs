//! Whoever is slow, idle, large or too many is sent away in time, and nobody else.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod http_support;

use std::time::{Duration, Instant};

use http_support::{Backend, DEADLINE, SHORT, World, hasty};
use portcullis::http::{ConnectionCap, HttpOptions, Refusal, ServeOptions, serve};

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn slow_heads_are_cut_however_they_begin() {
    let backend = Backend::echo();
    let options = HttpOptions { header_timeout: SHORT, idle_timeout: DEADLINE, ..hasty() };
    let world = World::new(&backend.url, options);
    for begin in ["", "G", "GET / HTTP/1.1\r\nHo", "PRI * HT", "P"] {
        let begun = Instant::now();
        let mut client = world.connect();
        client.send(begin);
        client.expect_closed();
        assert!(begun.elapsed() >= SHORT, "{begin:?} was cut early");
        assert!(begun.elapsed() < DEADLINE / 2, "{begin:?} was cut late");
    }
}

#[test]
fn a_slow_second_head_is_cut_too_and_drops_of_bytes_dont_help() {
    let backend = Backend::echo();
    let options = HttpOptions { header_timeout: Duration::from_secs(1), idle_timeout: DEADLINE * 2, ..hasty() };
    let world = World::new(&backend.url, options);
    let mut client = world.connect();
    client.send(GET);
    assert_eq!(client.read_message().status(), 200);
    let mut writer = client.stream.try_clone().unwrap();
    let (close, closed) = http_support::news::<()>();
    let drip = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, b"GET / HTTP/1.1\r\nX: ").unwrap();
        // The pace is what is tested: some drops within the timeout, and nowhere near a head that is too large.
        while closed.recv_timeout(Duration::from_millis(5)).is_err() {
            let _ = std::io::Write::write_all(&mut writer, b"x");
        }
    });
    client.expect_closed();
    close.send(()).unwrap();
    drip.join().unwrap();
}

#[test]
fn an_idle_connection_is_closed_and_one_at_work_isnt() {
    let (arrived, arrival) = http_support::news();
    let (release, released) = http_support::news::<()>();
    let (arrived, released) = (std::sync::Mutex::new(arrived), std::sync::Mutex::new(released));
    let backend = Backend::new(move |_, mut wire| {
        while let Some(request) = wire.try_read_message() {
            if request.head.starts_with("GET /slow ") {
                arrived.lock().unwrap().send(()).unwrap();
                released.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let options = HttpOptions { response_head_timeout: DEADLINE, idle_timeout: Duration::from_secs(1), ..hasty() };
    let world = World::new(&backend.url, options);
    let mut at_work = world.connect();
    at_work.send(GET.replace("/x", "/slow"));
    arrival.recv_timeout(DEADLINE).unwrap();
    // One that came later has idled for too long: the other has waited for longer than one may idle.
    let mut idle = world.connect();
    idle.send(GET);
    assert_eq!(idle.read_message().status(), 200);
    idle.expect_closed();
    release.send(()).unwrap();
    assert_eq!(at_work.read_message().status(), 200);
    at_work.expect_closed();
}

#[test]
fn a_client_that_takes_nothing_is_cut_and_its_upstream_freed() {
    let (said, heard) = http_support::news();
    let said = std::sync::Mutex::new(said);
    let backend = Backend::new(move |_, mut wire| {
        wire.read_message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        let chunk = vec![b'x'; 1 << 20];
        while std::io::Write::write_all(&mut wire.stream, &chunk).is_ok() {}
        said.lock().unwrap().send(()).unwrap();
    });
    let world = World::new(&backend.url, HttpOptions { response_idle_timeout: DEADLINE * 2, ..hasty() });
    let mut client = world.connect();
    client.send(GET);
    heard.recv_timeout(DEADLINE).unwrap();
}

#[test]
fn heads_too_large_or_too_many_lines_are_431() {
    let backend = Backend::echo();
    let options = HttpOptions { max_header_bytes: 10_000, max_headers: 20, ..HttpOptions::default() };
    let world = World::new(&backend.url, options);
    let large = "x".repeat(9_000);
    assert_eq!(world.ask(format!("GET / HTTP/1.1\r\nHost: h\r\nX: {large}\r\n\r\n")).status(), 200);
    for head in [
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {large}{large}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(20)),
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {large}{large}{large}"),
    ] {
        let mut client = world.connect();
        client.send(&head);
        let said = client.read_to_end();
        assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    }
    assert_eq!(backend.count(), 1);
}

#[test]
fn connections_over_the_cap_are_503_and_a_reserved_place_stays_free() {
    let backend = Backend::echo();
    let options = HttpOptions { max_connections: 3, ..HttpOptions::default() };
    let mut serving = ServeOptions::new(vec!["127.0.0.1:0".parse().unwrap()], options.clone());
    let admin_cap = serving.cap.reserve(1);
    serving.workers = 2;
    let world = World::new(&backend.url, options);
    let handle = serve(serving.clone(), world.front.clone()).unwrap();
    let connect = || http_support::Wire::new(std::net::TcpStream::connect(handle.addresses()[0]).unwrap());

    let mut first = connect();
    let mut second = connect();
    for client in [&mut first, &mut second] {
        client.send(GET);
        assert_eq!(client.read_message().status(), 200);
    }
    let mut third = connect();
    assert_eq!(third.read_message().status(), 503);
    third.expect_closed();
    assert_eq!(*world.front.refusals.lock().unwrap(), [Refusal::TooManyConnections]);
    assert_eq!(*world.front.refused.lock().unwrap(), [None]);

    serving.cap = admin_cap;
    serving.workers = 1;
    let admin = serve(serving, world.front.clone()).unwrap();
    let mut operator = http_support::Wire::new(std::net::TcpStream::connect(admin.addresses()[0]).unwrap());
    operator.send(GET);
    assert_eq!(operator.read_message().status(), 200);

    drop(first);
    http_support::eventually("the place is given back", || handle.connections() == 1);
    let mut fourth = connect();
    fourth.send(GET);
    assert_eq!(fourth.read_message().status(), 200);
}

#[test]
fn every_worker_serves_its_share_and_one_port() {
    let backend = Backend::echo();
    let mut serving = ServeOptions::new(vec!["127.0.0.1:0".parse().unwrap()], HttpOptions::default());
    serving.workers = 4;
    serving.cap = ConnectionCap::new(100);
    let world = World::new(&backend.url, HttpOptions::default());
    let handle = serve(serving, world.front.clone()).unwrap();
    for _ in 0..40 {
        let mut client = http_support::Wire::new(std::net::TcpStream::connect(handle.addresses()[0]).unwrap());
        client.send(GET);
        assert_eq!(client.read_message().status(), 200);
    }
    // A pool per worker: 40 connections all landing on one worker of four doesn't happen.
    assert!(backend.count() > 1);
}
