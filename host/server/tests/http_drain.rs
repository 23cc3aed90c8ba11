//! At the end requests under way are answered, and nothing else is waited for.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod http_support;

use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http_support::{Backend, DEADLINE, World, eventually, news};
use portcullis::http::HttpOptions;

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_request_under_way_is_answered_and_idle_connections_closed() {
    let (arrived, arrival) = news();
    let (release, released) = news::<()>();
    let (arrived, released) = (Mutex::new(arrived), Mutex::new(released));
    let backend = Backend::new(move |_, mut wire| {
        while let Some(request) = wire.try_read_message() {
            if request.head.contains("/slow") {
                arrived.lock().unwrap().send(()).unwrap();
                released.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let world = World::new(&backend.url, HttpOptions::default());
    let address = world.address();
    let mut idle = world.connect();
    idle.send(GET);
    assert_eq!(idle.read_message().status(), 200);
    let mut silent = world.connect();
    let mut busy = world.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    arrival.recv_timeout(DEADLINE).unwrap();

    world.handle.drain(DEADLINE);
    idle.expect_closed();
    silent.expect_closed();
    eventually("nobody listens", || TcpStream::connect(address).is_err());
    release.send(()).unwrap();
    let reply = busy.read_message();
    assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"));
    assert_eq!(reply.header("connection"), Some("close"));
    busy.expect_closed();
    world.handle.join().unwrap();
}

#[test]
fn what_isnt_done_in_time_is_cut() {
    let (arrived, arrival) = news();
    let arrived = Mutex::new(arrived);
    let backend = Backend::new(move |_, mut wire| {
        wire.read_message();
        arrived.lock().unwrap().send(()).unwrap();
        wire.read_to_end();
    });
    let world = World::new(&backend.url, HttpOptions::default());
    let mut client = world.connect();
    client.send(GET);
    arrival.recv_timeout(DEADLINE).unwrap();
    let begun = Instant::now();
    world.handle.drain(Duration::from_millis(50));
    world.handle.join().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50) && begun.elapsed() < DEADLINE);
    client.expect_closed();
}

#[test]
fn tunnels_arent_waited_for() {
    let backend = Backend::new(|_, mut wire| {
        wire.read_head();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        wire.read_to_end();
    });
    let world = World::new(&backend.url, HttpOptions::default());
    let mut client = world.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.read_head().status(), 101);
    eventually("it is open", || world.front.upstream.tunnels().count() == 1);
    let begun = Instant::now();
    world.handle.drain(DEADLINE * 3);
    world.handle.join().unwrap();
    assert!(begun.elapsed() < DEADLINE);
    client.expect_closed();
}
