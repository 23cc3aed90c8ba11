//! HTTP/2 by prior knowledge, through hyper's own client.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod http_support;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use http_support::{Backend, DEADLINE, SHORT, World, hasty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::http::HttpOptions;

type Sender = http2::SendRequest<Full<Bytes>>;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("in time") })
}

async fn connect(world: &World) -> (Sender, tokio::task::JoinHandle<hyper::Result<()>>) {
    let stream = tokio::net::TcpStream::connect(world.address()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn request(path: &str, body: &'static [u8]) -> Request<Full<Bytes>> {
    Request::builder()
        .method(if body.is_empty() { "GET" } else { "POST" })
        .uri(format!("http://example.com{path}"))
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(body)))
        .unwrap()
}

#[test]
fn requests_share_a_connection_and_reach_the_upstream_as_http_1_1() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    run(async {
        let (mut sender, _connection) = connect(&world).await;
        let (one, two) =
            (sender.send_request(request("/1?a", b"")), sender.clone().send_request(request("/2", b"hello")));
        let (one, two) = tokio::try_join!(one, two).unwrap();
        assert_eq!((one.status().as_u16(), one.version()), (200, Version::HTTP_2));
        let seen = String::from_utf8(one.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert!(seen.starts_with("GET /1?a HTTP/1.1\r\n") && seen.contains("host: example.com\r\n"), "{seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n") && seen.contains("te: trailers\r\n"), "{seen}");
        let seen = String::from_utf8(two.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert!(seen.contains("content-length: 5\r\n") && seen.ends_with("\nhello"), "{seen}");
    });
}

#[test]
fn a_cookie_in_pieces_reaches_the_upstream_whole() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    run(async {
        let (mut sender, _connection) = connect(&world).await;
        let mut crumbs = request("/", b"");
        for crumb in ["a=1", "b=2", "c=3"] {
            crumbs.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        let seen = sender.send_request(crumbs).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&seen).contains("\r\ncookie: a=1; b=2; c=3\r\n"), "{seen:?}");
    });
}

#[test]
fn a_large_body_comes_and_goes_whole() {
    let backend = Backend::new(|_, mut wire| {
        while let Some(request) = wire.try_read_message() {
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len()));
            wire.send(request.body);
        }
    });
    let world = World::new(&backend.url, HttpOptions::default());
    let large: &'static [u8] =
        (0..3_000_000_u32).map(|at| at.to_le_bytes()[(at % 3) as usize]).collect::<Vec<_>>().leak();
    run(async {
        let (mut sender, _connection) = connect(&world).await;
        let reply = sender.send_request(request("/", large)).await.unwrap();
        assert_eq!(reply.headers()["content-length"], "3000000");
        assert!(reply.into_body().collect().await.unwrap().to_bytes() == large);
    });
}

/// The windows as they are announced: 256 KiB for a connection, 64 KiB for a stream.
#[test]
fn a_client_may_send_little_ahead_of_being_read() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    let mut client = world.connect();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let (mut stream, mut connection) = (None, None);
    while stream.is_none() || connection.is_none() {
        let head = client.read_exact(9);
        let payload = client.read_exact(usize::from(head[1]) << 8 | usize::from(head[2]));
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        match head[3] {
            4 => stream = stream.or(payload.chunks(6).find(|pair| pair[..2] == [0, 4]).map(|pair| number(&pair[2..]))),
            8 => connection = Some(65_535 + number(&payload)),
            _ => {}
        }
    }
    assert_eq!((stream, connection), (Some(64 * 1024), Some(256 * 1024)));
}

#[test]
fn trailers_come_through() {
    let backend = Backend::new(|_, mut wire| {
        wire.read_message();
        wire.send(
            "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n",
        );
    });
    let world = World::new(&backend.url, HttpOptions::default());
    run(async {
        let (mut sender, _connection) = connect(&world).await;
        let response = sender.send_request(request("/", b"")).await.unwrap();
        assert!(!response.headers().contains_key("transfer-encoding"));
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "2");
        assert_eq!(body.to_bytes(), "ok");
    });
}

#[test]
fn a_host_that_contradicts_the_authority_is_400() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions::default());
    run(async {
        let (mut sender, _connection) = connect(&world).await;
        let mut contradicting = request("/", b"");
        contradicting.headers_mut().insert("host", "other".parse().unwrap());
        assert_eq!(sender.send_request(contradicting).await.unwrap().status(), 400);
    });
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_drain_lets_streams_end_and_then_closes() {
    let (arrived, arrival) = http_support::news();
    let (release, released) = http_support::news::<()>();
    let (arrived, released) = (std::sync::Mutex::new(arrived), std::sync::Mutex::new(released));
    let backend = Backend::new(move |_, mut wire| {
        wire.read_message();
        arrived.lock().unwrap().send(()).unwrap();
        released.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let world = World::new(&backend.url, HttpOptions::default());
    run(async {
        let (mut sender, connection) = connect(&world).await;
        let answer = tokio::spawn(sender.send_request(request("/", b"")));
        let arrival = tokio::task::spawn_blocking(move || arrival.recv_timeout(DEADLINE).unwrap());
        arrival.await.unwrap();
        world.handle.drain(DEADLINE);
        release.send(()).unwrap();
        let body = answer.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "ok");
        connection.await.unwrap().unwrap();
    });
    world.handle.join().unwrap();
}

#[test]
fn an_idle_connection_is_closed_with_a_goodbye() {
    let backend = Backend::echo();
    let options = HttpOptions { idle_timeout: Duration::from_secs(1), linger_timeout: DEADLINE, ..hasty() };
    let world = World::new(&backend.url, options);
    run(async {
        let (mut sender, connection) = connect(&world).await;
        sender.send_request(request("/", b"")).await.unwrap().into_body().collect().await.unwrap();
        connection.await.unwrap().unwrap();
    });
}

#[test]
fn heads_too_large_are_refused() {
    let backend = Backend::echo();
    let world = World::new(&backend.url, HttpOptions { max_header_bytes: 10_000, ..HttpOptions::default() });
    run(async {
        let (mut sender, _connection) = connect(&world).await;
        let mut large = request("/", b"");
        large.headers_mut().insert("x", "y".repeat(12_000).parse().unwrap());
        let refused = sender.send_request(large).await;
        assert!(refused.map_or(true, |response| response.status() == 431));
    });
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_client_that_takes_nothing_of_its_streams_is_cut() {
    let backend = Backend::new(|_, mut wire| {
        wire.read_message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        let chunk = vec![b'x'; 1 << 20];
        while std::io::Write::write_all(&mut wire.stream, &chunk).is_ok() {}
    });
    let options = HttpOptions { connect_timeout: SHORT, response_head_timeout: Duration::from_secs(1), ..hasty() };
    let world = World::new(&backend.url, options);
    run(async {
        let (mut sender, connection) = connect(&world).await;
        let _unread = sender.send_request(request("/", b"")).await.unwrap();
        // hyper goes on reading the socket, so that only the stream stands still.
        let _ = connection.await.unwrap();
    });
}

#[test]
fn a_stream_that_nobody_takes_is_cut_though_others_move() {
    let (said, heard) = http_support::news();
    let said = std::sync::Mutex::new(said);
    let backend = Backend::new(move |_, mut wire| {
        while let Some(request) = wire.try_read_message() {
            if request.head.starts_with("GET /unread") {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
                let chunk = vec![b'x'; 1 << 20];
                while std::io::Write::write_all(&mut wire.stream, &chunk).is_ok() {}
                said.lock().unwrap().send(()).unwrap();
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    // What would hit the other streams of a slow machine is set wide.
    let wide = Duration::from_secs(1);
    let options = HttpOptions {
        idle_timeout: DEADLINE,
        body_idle_timeout: wide,
        response_idle_timeout: wide,
        response_head_timeout: wide,
        connect_timeout: wide,
        ..hasty()
    };
    let world = World::new(&backend.url, options);
    run(async {
        let (mut sender, _connection) = connect(&world).await;
        let unread = sender.send_request(request("/unread", b"")).await.unwrap();
        let mut freed = false;
        while !freed {
            let reply = sender.send_request(request("/", b"")).await.unwrap();
            assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "ok");
            freed = heard.try_recv().is_ok();
        }
        assert!(unread.into_body().collect().await.is_err(), "cut, and not ended");
        assert_eq!(sender.send_request(request("/", b"")).await.unwrap().status(), 200);
    });
}
