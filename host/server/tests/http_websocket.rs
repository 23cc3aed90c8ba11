//! A WebSocket goes through as bytes both ways; nothing else changes protocols.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod http_support;

use std::time::{Duration, Instant};

use http_support::{Backend, DEADLINE, World, eventually, hasty};
use portcullis::http::{HttpOptions, Upstream};

const OPEN: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: y\r\n\r\n";

/// Agrees, greets in the same breath, and echoes.
fn echo() -> Backend {
    Backend::new(|_, mut wire| {
        let head = wire.read_head();
        assert_eq!((head.header("upgrade"), head.header("connection")), (Some("websocket"), Some("upgrade")));
        assert_eq!(head.header("sec-websocket-key"), Some("x"));
        wire.send(format!("{AGREED}hello"));
        let mut stream = wire.stream.try_clone().unwrap();
        let early = wire.read_exact(5);
        wire.send(early);
        let _ = std::io::copy(&mut wire.stream, &mut stream);
    })
}

#[test]
fn bytes_go_both_ways_and_those_right_after_the_heads_arrive() {
    let backend = echo();
    let world = World::new(&backend.url, HttpOptions::default());
    let mut client = world.connect();
    client.send(format!("{OPEN}early"));
    let head = client.read_head();
    assert_eq!((head.status(), head.header("upgrade")), (101, Some("websocket")));
    assert_eq!((head.header("connection"), head.header("sec-websocket-accept")), (Some("upgrade"), Some("y")));
    assert_eq!(client.read_exact(10), b"helloearly");
    for word in ["one", "two"] {
        client.send(word);
        assert_eq!(client.read_exact(3), word.as_bytes());
    }
    assert_eq!(world.front.upstream.tunnels().count(), 1);
    assert_eq!(world.handle.connections(), 1);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    client.expect_closed();
    eventually("the tunnel is gone", || world.front.upstream.tunnels().count() == 0);
    eventually("its connection is free", || world.handle.connections() == 0);
}

#[test]
fn the_tunnels_of_a_source_can_be_closed() {
    let backend = echo();
    let world = World::new(&backend.url, HttpOptions::default());
    let mut client = world.connect();
    client.send(format!("{OPEN}early"));
    client.read_head();
    client.read_exact(10);
    let tunnels = world.front.upstream.tunnels();
    assert_eq!(tunnels.close_tunnels(|source| source.address() != client.stream.local_addr().unwrap().ip()), 0);
    assert_eq!(tunnels.close_tunnels(|source| source.address() == client.stream.local_addr().unwrap().ip()), 1);
    client.expect_closed();
}

/// What a change of the upstream does: its tunnels stay in the register, and the next one uses it too.
#[test]
fn an_upstream_goes_on_with_the_register_of_another() {
    let backend = echo();
    let world = World::new(&backend.url, HttpOptions::default());
    let mut client = world.connect();
    client.send(format!("{OPEN}early"));
    client.read_head();
    client.read_exact(10);
    let register = world.front.upstream.tunnels().clone();
    let next = Upstream::new(&backend.url, &HttpOptions::default()).unwrap().with_tunnels(register);
    assert_eq!(next.tunnels().count(), 1);
    assert_eq!(next.tunnels().close_tunnels(|_| true), 1);
    client.expect_closed();
}

#[test]
fn an_idle_tunnel_is_closed_and_a_busy_one_outlives_the_other_timeouts() {
    let backend = echo();
    let idle = Duration::from_millis(1500);
    let other = Duration::from_secs(1);
    let options = HttpOptions {
        tunnel_idle_timeout: idle,
        header_timeout: other,
        idle_timeout: other,
        response_head_timeout: other,
        ..hasty()
    };
    let world = World::new(&backend.url, options);
    let mut client = world.connect();
    client.send(format!("{OPEN}early"));
    client.read_head();
    client.read_exact(10);
    // Busy without a pause, so that only a machine that stands still for as long as `idle` could see it idle.
    let opened = Instant::now();
    while opened.elapsed() < idle + idle / 4 {
        client.send("ping");
        assert_eq!(client.read_exact(4), b"ping");
    }
    let begun = Instant::now();
    client.expect_closed();
    assert!(begun.elapsed() < DEADLINE / 2, "somebody else closed it");
}

#[test]
fn an_upstream_that_doesnt_agree_answers_as_usual() {
    let backend = Backend::new(|_, mut wire| {
        while wire.try_read_message().is_some() {
            wire.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
        }
    });
    let world = World::new(&backend.url, HttpOptions::default());
    let mut client = world.connect();
    for _ in 0..2 {
        client.send(OPEN);
        let reply = client.read_message();
        assert_eq!((reply.status(), reply.text().as_str()), (403, "no"));
    }
    assert_eq!(backend.count(), 1);
}

#[test]
fn an_upstream_that_changes_to_something_else_is_502() {
    let backend = Backend::new(|_, mut wire| {
        wire.read_head();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    });
    let world = World::new(&backend.url, HttpOptions::default());
    assert_eq!(world.ask(OPEN).status(), 502);
}

#[test]
fn other_upgrades_are_taken_off_and_the_request_goes_on() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    for request in [
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    ] {
        let reply = world.ask(request);
        assert_eq!(reply.status(), 200);
        let seen = reply.text().to_lowercase();
        assert!(!seen.contains("upgrade") && !seen.contains("http2"), "{seen}");
    }
}
