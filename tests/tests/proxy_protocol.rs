//! The PROXY protocol at the program's own listeners: whoever a trusted proxy
//! announces is the client, nobody else can say so, and what isn't a header
//! closes the connection. With a real HAProxy in front, too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use portcullis_tests::{
    Answer, Authority, Backend, Connection, Portcullis, Reply, Request, Server, TlsClient, connect_from, eventually,
    free_port, require,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const WORDS: &str = "http, PROXY protocol required";
/// The proxies of these tests are at 127.0.0.1, and at 203.0.113.1 there is one before them.
const CONFIG: &str = "[source]\ntrusted_proxies = [\"127.0.0.1\", \"203.0.113.1\"]\n\
     [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = \"require\"\n";

/// A service that says whom it was told the client is.
fn service() -> Backend {
    Backend::start(|request| match request.target.as_str() {
        "/404" => Answer::status(404),
        _ => Answer::status(200).body(&format!(
            "for={} proto={} user={}",
            request.header("x-forwarded-for").unwrap_or("-"),
            request.header("x-forwarded-proto").unwrap_or("-"),
            request.header("x-forwarded-user").unwrap_or("-"),
        )),
    })
}

/// A header of version 2 for a client of IPv4, with these bytes behind its addresses.
fn v2(client: [u8; 4], tlvs: &[u8]) -> Vec<u8> {
    let rest = [&client[..], &[192, 0, 2, 1, 0x12, 0x67, 1, 187], tlvs].concat();
    [SIGNATURE, &[0x21, 0x11], &u16::try_from(rest.len()).unwrap().to_be_bytes(), &rest].concat()
}

fn v1(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let server = if client.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
    format!("PROXY {family} {client} {server} 4711 443\r\n").into_bytes()
}

/// A connection that begins with these bytes.
fn announced(address: SocketAddr, header: &[u8]) -> Connection {
    let mut connection = Connection::open(address);
    connection.send(header);
    connection
}

fn ask(address: SocketAddr, header: &[u8], request: Request) -> Reply {
    announced(address, header).exchange(&request)
}

fn get(address: SocketAddr) -> Request {
    Request::new(address, "GET", "/")
}

fn closed_total(server: &Server, why: &str) -> u64 {
    let text = server.administration("/metrics");
    let name = format!("portcullis_connections_closed_total{{why=\"{why}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[test]
fn rule_2_whoever_a_trusted_proxy_announces_is_the_client() {
    let backend = service();
    let server = Portcullis::with_config(CONFIG).upstream(&backend.url()).start();
    let address = server.listener(WORDS);
    for (header, client) in [
        (v1("203.0.113.7"), "203.0.113.7"),
        (v1("2001:db8::7"), "2001:db8::7"),
        (v2([203, 0, 113, 7], &[]), "203.0.113.7"),
        (v2([203, 0, 113, 7], &[0x20, 0, 5, 1, 0, 0, 0, 0, 4, 0, 0]), "203.0.113.7"),
    ] {
        let mut connection = announced(address, &header);
        for _ in 0..2 {
            let reply = connection.exchange(&get(address));
            assert_eq!(reply.text(), format!("for={client} proto=http user=-"), "{}", header.escape_ascii());
            // A client that isn't a trusted proxy can say what it likes of itself.
            let spoofed = connection.exchange(&get(address).from("198.51.100.1"));
            assert_eq!(spoofed.text(), reply.text());
        }
    }
    // One that is, says who is behind it.
    let behind = ask(address, &v1("203.0.113.1"), get(address).from("8.8.8.8, 198.51.100.1"));
    assert_eq!(behind.text(), "for=8.8.8.8, 198.51.100.1, 203.0.113.1 proto=http user=-");
    // The ban hits who was announced, on each next connection, and nobody else.
    let scan = |client: &str| ask(address, &v1(client), Request::new(address, "GET", "/404")).status;
    assert_eq!([(); 3].map(|()| scan("203.0.113.9")), [404, 404, 423]);
    assert_eq!(ask(address, &v2([203, 0, 113, 9], &[]), get(address)).status, 423);
    assert_eq!((scan("203.0.113.8"), server.get("/").send().status), (404, 200));
    server.logged("(203.0.113.9) banned");
}

#[test]
fn rule_2_a_proxy_that_speaks_for_itself_is_itself_and_never_banned() {
    let backend = service();
    let server = Portcullis::with_config(CONFIG).upstream(&backend.url()).start();
    let address = server.listener(WORDS);
    let local = [SIGNATURE, &[0x20, 0x00, 0, 0]].concat();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), local] {
        let mut connection = announced(address, &header);
        let spoofed = get(address).from("198.51.100.1").header("X-Forwarded-Proto", "https");
        assert_eq!(connection.exchange(&spoofed).text(), "for=127.0.0.1 proto=http user=-");
        let scan = Request::new(address, "GET", "/404").from("198.51.100.1");
        assert_eq!([(); 3].map(|()| connection.exchange(&scan).status), [404, 404, 404]);
    }
    // The port without the protocol believes the same peer's header.
    assert_eq!(server.get("/").from("198.51.100.1").send().status, 200);
    assert!(server.log_with("banned").is_empty());
}

#[test]
fn rule_2_nobody_but_a_trusted_proxy_may_come_and_what_is_no_header_is_closed() {
    let server = Portcullis::with_config(CONFIG).client("ann:x").start();
    let address = server.listener(WORDS);
    let whole = [v1("203.0.113.7"), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()].concat();
    let mut stranger = connect_from(IpAddr::from([127, 0, 0, 2]), address).unwrap();
    let _closed_already = stranger.write_all(&whole);
    Connection::over(stranger).expect_closed();
    eventually("it is counted", || (closed_total(&server, "untrusted") == 1).then_some(()));
    server.logged("Closed, untrusted proxy (127.0.0.2)");
    let corpus = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.256 192.0.2.1 4711 443\r\n".to_vec(),
        [b"PROXY ".as_slice(), &[b'x'; 200]].concat(),
        [SIGNATURE, &[0x31, 0x11, 0, 12], &[0; 12]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0, 4], &[0; 4]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; 3000]].concat(),
    ];
    for bytes in &corpus {
        announced(address, bytes).expect_closed();
    }
    let all = u64::try_from(corpus.len()).unwrap();
    eventually("they are counted", || (closed_total(&server, "malformed") == all).then_some(()));
    assert_eq!(closed_total(&server, "late"), 0);
    assert_eq!(server.stop().total("requests"), 0);
}

#[test]
fn a_header_that_does_not_come_in_time_closes_the_connection() {
    let config = format!("[listen]\nhandshake_timeout = \"400ms\"\n{CONFIG}");
    let server = Portcullis::with_config(&config).client("ann:x").start();
    let address = server.listener(WORDS);
    // With nothing, with a piece, and with an end that is none.
    let begun = [&b""[..], b"PROXY TCP4 203.0", &SIGNATURE[..7], b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n"];
    let mut connections = begun.map(|begun| announced(address, begun));
    connections.iter_mut().for_each(Connection::expect_closed);
    eventually("they are counted", || (closed_total(&server, "late") == 4).then_some(()));
    assert_eq!(closed_total(&server, "malformed"), 0);
    assert_eq!(server.stop().total("requests"), 0);
}

#[test]
fn the_header_comes_before_tls_and_a_banned_client_is_closed_between_the_two() {
    let authority = Authority::new("ours");
    let backend = service();
    let config = format!("{CONFIG}[[listener.certificate]]\nfile = \"a.pem\"\n");
    let server = Portcullis::with_config(&config)
        .file("a.pem", authority.server(&["a.example"]).in_one())
        .upstream(&backend.url())
        .start();
    let address = server.listener("https, PROXY protocol required");
    let client = TlsClient::new(&authority, "a.example");
    let connect = |header: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(header).unwrap();
        client.over(stream)
    };
    let header = v2([203, 0, 113, 7], &[]);
    let reply = connect(&header).unwrap().exchange(&get(address).from("198.51.100.1"));
    assert_eq!(reply.text(), "for=203.0.113.7 proto=https user=-");
    let mut connection = connect(&header).unwrap();
    let scan = Request::new(address, "GET", "/404");
    assert_eq!([(); 3].map(|()| connection.exchange(&scan).status), [404, 404, 423]);
    assert!(connect(&header).is_err());
    eventually("it is counted", || (closed_total(&server, "banned") == 1).then_some(()));
    assert!(connect(&v1("203.0.113.8")).is_ok());
    assert!(client.try_connect(address).is_err(), "TLS without the header");
}

#[test]
fn a_listener_takes_up_the_protocol_and_gives_it_up_while_it_runs() {
    let backend = service();
    let server = Portcullis::with_config(CONFIG).upstream(&backend.url()).start();
    let address = server.listener(WORDS);
    let mut before = announced(address, &v1("203.0.113.7"));
    assert_eq!(before.exchange(&get(address)).status, 200);
    server.configure(&CONFIG.replace("require", "off"));
    server.swapped(1);
    let plain = Connection::open(address).exchange(&get(address).from("203.0.113.8"));
    assert_eq!(plain.text(), "for=203.0.113.8, 127.0.0.1 proto=http user=-");
    assert_eq!(before.exchange(&get(address)).text(), "for=203.0.113.7 proto=http user=-", "what is there goes on");
    server.configure(CONFIG);
    server.swapped(2);
    announced(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect_closed();
}

/// A real HAProxy that hands TCP connections on.
struct Haproxy {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Haproxy {
    /// One in front of `to`, with these options of its `server` line.
    fn start(to: SocketAddr, options: &str) -> Self {
        (0..5).find_map(|_| Self::try_start(to, options)).unwrap_or_else(|| panic!("HAProxy doesn't come up"))
    }

    fn try_start(to: SocketAddr, options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n\
             listen l\n  bind {address}\n  server s {to} {options}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let mut child = haproxy(&file).spawn().unwrap();
        let up = eventually("HAProxy listens or ends", || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(address).is_ok().then_some(true)
        });
        up.then_some(Self { child, address, _folder: folder })
    }

    /// What is answered to a request from that address of the loopback.
    fn ask(&self, from: [u8; 4], request: &Request) -> Reply {
        Connection::over(connect_from(from.into(), self.address).unwrap()).exchange(request)
    }
}

fn haproxy(file: &Path) -> Command {
    let mut command = Command::new("haproxy");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-db").arg("-f").arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_haproxy_announces_its_clients_in_both_versions() {
    if !require("haproxy") {
        return;
    }
    let authority = Authority::new("ours");
    let backend = service();
    let config = format!(
        "{CONFIG}[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = \"require\"\n[[listener.certificate]]\n\
         file = \"a.pem\"\n"
    );
    let server = Portcullis::with_config(&config)
        .file("a.pem", authority.server(&["a.example"]).in_one())
        .upstream(&backend.url())
        .start();
    let (plain, tls) = (server.listener(WORDS), server.listener("https, PROXY protocol required"));
    for (number, options) in [(1, "send-proxy"), (2, "send-proxy-v2"), (3, "send-proxy-v2-ssl-cn")] {
        let front = Haproxy::start(plain, options);
        let client = [127, 0, 50, number];
        let shown = IpAddr::from(client);
        let spoofed = get(plain).from("198.51.100.1");
        assert_eq!(front.ask(client, &spoofed).text(), format!("for={shown} proto=http user=-"), "{options}");
        let scan = Request::new(plain, "GET", "/404").from("198.51.100.1");
        assert_eq!([(); 3].map(|()| front.ask(client, &scan).status), [404, 404, 423], "{options}");
        assert_eq!(front.ask([127, 0, 51, number], &get(plain)).status, 200, "{options}: a neighbour");
    }
    // TLS passes through it whole; its looks at our health, with a header of its own, are nobody's.
    let front = Haproxy::start(tls, "send-proxy-v2 check check-send-proxy inter 50ms");
    let client = TlsClient::new(&authority, "a.example");
    let reply = client.clone().from([127, 0, 52, 1].into()).connect(front.address).exchange(&get(tls));
    assert_eq!(reply.text(), "for=127.0.52.1 proto=https user=-");
    assert_eq!(closed_total(&server, "malformed") + closed_total(&server, "untrusted"), 0);
}
