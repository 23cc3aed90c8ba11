//! What goes through the gate comes out whole: WebSockets, HTTP/2, uploads,
//! trailers; and nothing is lost at the end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use portcullis_tests::{Answer, Backend, Connection, Latch, Portcullis, Request, Server, eventually, require, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A service that says back what it hears on WebSockets, and fails whoever shows
/// credentials. It has a thread of its own, which ends with the test's process.
fn echo() -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream));
            }
        });
    });
    told.recv().unwrap()
}

async fn converse(mut stream: TcpStream) -> Option<()> {
    let mut first = [0; 4096];
    let length = stream.peek(&mut first).await.ok()?;
    if !first[..length].starts_with(b"GET /socket") {
        stream.read_exact(&mut first[..length]).await.ok()?;
        return stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.ok();
    }
    let (mut answers, mut words) = accept_async(stream).await.ok()?.split();
    while let Some(Ok(message)) = words.next().await {
        if message.is_close() {
            break;
        }
        answers.send(message).await.ok()?;
    }
    answers.close().await.ok()
}

async fn open(server: &Server, source: &str) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{}/socket", server.address()).into_client_request().unwrap();
    request.headers_mut().insert("X-Forwarded-For", source.parse().unwrap());
    let stream = TcpStream::connect(server.address()).await.unwrap();
    Ok(client_async(request, stream).await?.0)
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), message);
}

/// Has a source banned, on connections of its own.
fn ban(server: &Server, source: &str) {
    for n in 0..5 {
        server.get("/").from(source).basic(&format!("{source}-{n}"), "x").send();
    }
    server.logged(&format!("Visitor ({source}) banned."));
}

#[test]
fn a_websocket_goes_through_and_carries_large_messages_both_ways() {
    runtime().block_on(async {
        let server = Portcullis::new().upstream(&echo()).start();
        let mut socket = open(&server, "203.0.113.7").await.unwrap();
        say(&mut socket, Message::text("hello")).await;
        say(&mut socket, Message::binary(vec![7; 1 << 20])).await;
        socket.close(None).await.unwrap();
        while let Some(message) = socket.next().await {
            assert!(message.unwrap().is_close());
        }
        drop(server);
    });
}

#[test]
fn rule_15_an_open_tunnel_outlives_a_ban_unless_tunnels_are_to_be_closed() {
    let runtime = runtime();
    let upstream = echo();
    for close in [false, true] {
        let config = format!("[gate]\nclose_tunnels = {close}\n");
        let server = Portcullis::with_config(&config).upstream(&upstream).start();
        let mut of_banned = runtime.block_on(open(&server, "203.0.113.7")).unwrap();
        let mut of_other = runtime.block_on(open(&server, "203.0.113.8")).unwrap();
        runtime.block_on(say(&mut of_banned, Message::text("one")));
        ban(&server, "203.0.113.7");
        runtime.block_on(say(&mut of_other, Message::text("two")));
        if close {
            let end = runtime.block_on(of_banned.next());
            assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        } else {
            runtime.block_on(say(&mut of_banned, Message::text("three")));
        }
        let Err(Error::Http(refusal)) = runtime.block_on(open(&server, "203.0.113.7")) else {
            panic!("a banned source opens a tunnel");
        };
        assert_eq!(refusal.status(), 423);
    }
}

#[test]
fn rule_14_a_101_counts_once() {
    runtime().block_on(async {
        let config = "[policy.scanner]\nsettings = { statuses = [101], maxretry = 2 }\n";
        let server = Portcullis::with_config(config).upstream(&echo()).start();
        let mut first = open(&server, "203.0.113.7").await.unwrap();
        say(&mut first, Message::text("hello")).await;
        let mut second = open(&server, "203.0.113.7").await.unwrap();
        say(&mut second, Message::text("hello")).await;
        assert!(matches!(open(&server, "203.0.113.7").await, Err(Error::Http(reply)) if reply.status() == 423));
        let stopped = server.stop();
        assert_eq!(stopped.total("scanner_judged"), 2);
    });
}

fn curl(arguments: &[&str]) -> String {
    let ran = run(Command::new("curl").args(["--silent", "--show-error", "--max-time", "60"]).args(arguments));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}

#[test]
fn rule_15_a_ban_holds_on_a_kept_http_2_connection() {
    let server = Portcullis::new().start();
    let statuses = runtime().block_on(async {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let mut statuses = Vec::new();
        for path in ["/a", "/b", "/c", "/"] {
            let request =
                http::Request::get(server.url(path)).header("x-forwarded-for", "203.0.113.7").body(()).unwrap();
            let (reply, _) = client.send_request(request, true).unwrap();
            statuses.push(reply.await.unwrap().status().as_u16());
        }
        statuses
    });
    assert_eq!(statuses, [404, 404, 423, 423]);
}

#[test]
fn curl_uploads_with_expect_and_in_chunks_by_either_version() {
    if !require("curl") {
        return;
    }
    let backend = Backend::start(|request| Answer::status(200).body(&request.body.len().to_string()));
    let server = Portcullis::new().upstream(&backend.url()).start();
    let upload = server.folder().join("upload");
    std::fs::write(&upload, vec![b'u'; 3 << 20]).unwrap();
    let upload = format!("@{}", upload.display());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for header in ["Expect: 100-continue", "Transfer-Encoding: chunked", "Expect:"] {
            if version != "--http1.1" && header.starts_with("Transfer") {
                continue;
            }
            let url = server.url("/upload");
            let text = curl(&[version, "--header", header, "--data-binary", &upload, &url]);
            assert_eq!(text, (3 << 20).to_string(), "{version} {header}");
        }
    }
    assert!(backend.received().iter().all(|received| received.body.iter().all(|byte| *byte == b'u')));
}

#[test]
fn curl_sees_a_login_body_refused_before_it_sends_it() {
    if !require("curl") {
        return;
    }
    let backend = Backend::start(|_| Answer::status(200));
    let config = "[auth]\nlogin_paths = [\"/login\"]\nsuccess_statuses = [200]\n";
    let server = Portcullis::with_config(config).upstream(&backend.url()).start();
    let upload = server.folder().join("upload");
    std::fs::write(&upload, vec![b'u'; 1 << 20]).unwrap();
    let upload = format!("@{}", upload.display());
    let write = ["--output", "/dev/null", "--write-out", "%{http_code} %{size_upload}"];
    let mut arguments = vec!["--expect100-timeout", "60", "--header", "Expect: 100-continue", "--data-binary", &upload];
    arguments.extend(write);
    let url = server.url("/login");
    arguments.push(&url);
    assert_eq!(curl(&arguments), "413 0");
    assert!(backend.received().is_empty());
}

#[test]
fn curl_asks_for_a_head_alone() {
    if !require("curl") {
        return;
    }
    let backend = Backend::start(|_| Answer::status(200).body("twelve bytes"));
    let server = Portcullis::new().upstream(&backend.url()).start();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let head = curl(&[version, "--head", &server.url("/")]).to_ascii_lowercase();
        assert!(head.contains(" 200") && head.contains("content-length: 12"), "{head}");
    }
    assert!(backend.received().iter().all(|received| received.method == "HEAD"));
    let own = Portcullis::new().start();
    let head = curl(&["--head", &own.url("/x")]).to_ascii_lowercase();
    assert!(head.contains(" 404") && head.contains("content-length: 14"), "{head}");
}

#[test]
fn trailers_go_through_both_ways() {
    let reply =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n";
    let backend = Backend::start(move |_| Answer::Raw(reply.as_bytes().to_vec()));
    let server = Portcullis::new().upstream(&backend.url()).start();
    let mut connection = server.connect();
    connection.send(
        b"POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Mine\r\n\r\n\
          3\r\nabc\r\n0\r\nX-Mine: 7\r\n\r\n",
    );
    let reply = connection.read(false).unwrap();
    assert_eq!((reply.text(), reply.header("x-sum")), ("hello", Some("42")));
    let received = backend.received().swap_remove(0);
    assert_eq!((received.body.as_slice(), received.header("x-mine")), (b"abc".as_slice(), Some("7")));
}

/// Before it may come requests on the same connection, and its bytes may come with theirs.
#[test]
fn a_request_with_a_length_and_chunks_is_refused_wherever_it_stands_and_ends_the_connection() {
    let backend = Backend::start(|request| Answer::status(200).body(std::str::from_utf8(&request.body).unwrap()));
    let server = Portcullis::new().upstream(&backend.url()).start();
    let length = "Content-Length: 3\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let post = |path: &str, fields: &str, body: &str| format!("POST {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}");
    let chunks = "5;a=b\r\nhello\r\n3\r\n, y\r\n0\r\nX: y\r\n\r\n";
    // The second is what a length of 3 would hide.
    let hiding = format!("0\r\n\r\n{}", post("/hidden", length, "abc"));
    for fields in [[length, chunked], [chunked, length]] {
        let both = post("/both", &fields.concat(), &hiding);
        for before in [
            vec![],
            vec![(post("/sized", length, "abc"), "abc")],
            vec![(post("/chunked", chunked, chunks), "hello, y"), (post("/sized", length, "abc"), "abc")],
            vec![(post("/sized", length, "abc"), "abc"), (post("/chunked", chunked, chunks), "hello, y")],
        ] {
            for pipelined in [false, true] {
                let mut connection = server.connect();
                let first: String = before.iter().map(|(request, _)| request.as_str()).collect();
                if pipelined {
                    connection.send(format!("{first}{both}").as_bytes());
                }
                for (request, said) in &before {
                    if !pipelined {
                        connection.send(request.as_bytes());
                    }
                    let reply = connection.read(false).unwrap();
                    assert_eq!((reply.status, reply.text()), (200, *said), "{request}");
                }
                if !pipelined {
                    connection.send(both.as_bytes());
                }
                let reply = connection.read(false).unwrap();
                assert_eq!((reply.status, reply.text()), (400, "400 Bad Request\n"), "{first}{both}");
                assert_eq!(reply.header("connection"), Some("close"));
                connection.expect_closed();
            }
        }
    }
    let targets: Vec<_> = backend.received().into_iter().map(|received| received.target).collect();
    assert_eq!(targets.len(), 20);
    assert!(targets.iter().all(|target| target == "/sized" || target == "/chunked"), "{targets:?}");
}

#[test]
fn requests_under_way_at_the_end_are_answered_and_the_server_exits_with_0() {
    let door = Arc::new(Latch::default());
    let at_the_door = Arc::clone(&door);
    let backend = Backend::start(move |_| {
        at_the_door.pass();
        Answer::status(200).body(&"whole".repeat(100_000))
    });
    let server = Portcullis::new().upstream(&backend.url()).start();
    let pending: Vec<_> = (0..50).map(|_| server.get("/").start()).collect();
    eventually("all are under way", || (backend.received().len() == 50).then_some(()));
    server.terminate();
    server.logged("ending: requests under way have 30 s");
    eventually("nobody listens", || Connection::try_open(server.address()).is_err().then_some(()));
    door.open();
    for pending in pending {
        let reply = pending.finish();
        assert_eq!((reply.status, reply.body.len()), (200, 500_000));
    }
    let stopped = server.wait();
    assert_eq!((stopped.status.code(), stopped.total("requests")), (Some(0), 50));
}

/// Asks again and again until the server is gone. A connection may end before a
/// byte of the reply has come: a kept one that was closed while idle (every
/// client asks anew then: RFC 9112, 9.3.1), or one that the kernel had taken and
/// nobody accepted any more. Such a request never reached the server, which the
/// test makes sure of by its count.
fn ask_until_gone(address: SocketAddr, keep: bool, answered: &AtomicU64) {
    let request = Request::new(address, "GET", "/");
    while let Ok(mut connection) = Connection::try_open(address) {
        loop {
            match connection.try_exchange(&request) {
                Ok(reply) => {
                    assert_eq!((reply.status, reply.text()), (200, "ok"));
                    answered.fetch_add(1, Ordering::SeqCst);
                    if !keep || reply.header("connection") == Some("close") {
                        break;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
                Err(error) => panic!("half a reply: {error}"),
            }
        }
    }
}

#[test]
fn under_full_load_the_end_fails_no_request_that_the_server_has_taken() {
    let backend = Backend::start(|_| Answer::status(200).body("ok"));
    let server = Portcullis::new().upstream(&backend.url()).start();
    let answered = AtomicU64::new(0);
    let address = server.address();
    let stopped = std::thread::scope(|scope| {
        for n in 0..8 {
            let answered = &answered;
            scope.spawn(move || ask_until_gone(address, n < 6, answered));
        }
        eventually("there is load", || (answered.load(Ordering::SeqCst) > 500).then_some(()));
        server.stop()
    });
    assert_eq!(stopped.status.code(), Some(0));
    assert_eq!(stopped.total("requests"), answered.load(Ordering::SeqCst));
}
