//! TLS at the program's own listeners: which certificate, which version, which
//! protocol, who is the client; what becomes of all that when files change; and
//! that nobody who says nothing keeps others out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use portcullis_tests::{
    Answer, Authority, Backend, Pair, Portcullis, Reply, Request, Server, TlsClient, TlsVersion, connect_from,
    eventually, require, run,
};
use rcgen::SanType;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A listener with one certificate, and what goes before and after it.
const HTTPS: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener.certificate]]\nfile = \"a.pem\"\n";
/// Nobody is a trusted proxy: peers are who they are.
const STRANGERS: &str = "[source]\ntrusted_proxies = [\"127.0.0.2\"]\n";

/// A service that says who it was told the client is.
fn service() -> Backend {
    Backend::start(|request| match request.target.as_str() {
        "/404" => Answer::status(404),
        _ => Answer::status(200).body(&format!(
            "user={} proto={} for={} forwarded={} authorization={}",
            request.header("x-forwarded-user").unwrap_or("-"),
            request.header("x-forwarded-proto").unwrap_or("-"),
            request.header("x-forwarded-for").unwrap_or("-"),
            request.header("forwarded").unwrap_or("-").rsplit(';').next().unwrap(),
            request.header("authorization").unwrap_or("-"),
        )),
    })
}

fn with(config: &str, authority: &Authority, names: &[&str]) -> Portcullis {
    Portcullis::with_config(config).file("a.pem", authority.server(names).in_one())
}

fn https(server: &Server) -> SocketAddr {
    server.listener("https")
}

/// A GET on a connection of its own.
#[track_caller]
fn get(client: &TlsClient, address: SocketAddr, target: &str) -> Reply {
    client.connect(address).exchange(&Request::new(address, "GET", target))
}

fn metric(server: &Server, name: &str) -> f64 {
    let text = server.administration("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
}

#[test]
fn the_certificate_is_chosen_by_name_and_the_first_is_for_the_rest() {
    let authority = Authority::new("ours");
    let (first, second) = (authority.server(&["a.example", "*.a.example"]), authority.server(&["b.example"]));
    let config = format!(
        "{HTTPS}[[listener.certificate]]\nfile = \"b.pem\"\nkey = \"b.key\"\n\
         [[listener.certificate]]\nfile = \"b.pem\"\nkey = \"b.key\"\nnames = [\"c.example\"]\n"
    );
    let server = Portcullis::with_config(&config)
        .file("a.pem", first.in_one())
        .file("b.pem", &second.certificate)
        .file("b.key", &second.key)
        .client("ann:x")
        .start();
    let client = TlsClient::new(&authority, "a.example");
    for (name, pair) in
        [("a.example", &first), ("www.a.example", &first), ("b.example", &second), ("B.example", &second)]
    {
        assert_eq!(client.clone().named(name).connect(https(&server)).shown(), pair.der(), "{name}");
    }
    // What clients of other names get they wouldn't believe: it is looked at with a tool that believes all.
    if !require("openssl") {
        return;
    }
    for (name, subject) in [("c.example", "b.example"), ("d.example", "a.example"), ("a.b.a.example", "a.example")] {
        let shown = s_client(https(&server), &["-servername", name]);
        assert!(shown.contains(&format!("DNS:{subject}")), "{name}: {shown}");
    }
    assert!(s_client(https(&server), &["-noservername"]).contains("DNS:a.example"));
}

/// What `openssl s_client` says, with the certificate in words.
fn s_client(address: SocketAddr, options: &[&str]) -> String {
    let script = format!(
        "openssl s_client -connect {address} {} </dev/null 2>&1 | tee /dev/stderr | openssl x509 -noout -ext subjectAltName 2>&1",
        options.join(" ")
    );
    let ran = run(Command::new("sh").args(["-c", &script]));
    format!("{}{}", ran.stdout, ran.stderr)
}

#[test]
fn both_versions_and_both_protocols_reach_the_service_as_https() {
    let authority = Authority::new("ours");
    let backend = service();
    let server = with(&format!("{STRANGERS}{HTTPS}"), &authority, &["a.example"]).upstream(&backend.url()).start();
    let client = TlsClient::new(&authority, "a.example");
    for version in [TlsVersion::V12, TlsVersion::V13] {
        for offered in [&["http/1.1"][..], &[]] {
            let mut connection = client.clone().version(version).alpn(offered).connect(https(&server));
            assert_eq!((connection.version(), connection.protocol().as_deref()), (version, offered.first().copied()));
            let spoofed = Request::new(https(&server), "GET", "/").header("X-Forwarded-Proto", "gopher");
            for _ in 0..2 {
                let reply = connection.exchange(&spoofed);
                let expected = "user=- proto=https for=127.0.0.1 forwarded=proto=https authorization=-";
                assert_eq!((reply.status, reply.text()), (200, expected));
            }
        }
        let both = client.clone().version(version).alpn(&["h2", "http/1.1"]).connect(https(&server));
        assert_eq!(both.protocol().as_deref(), Some("h2"));
        let refused = client.clone().version(version).alpn(&["spdy/1"]).try_connect(https(&server));
        assert!(refused.is_err(), "no protocol in common");
    }
    // Whoever is refused hears of it before it is counted.
    let status = eventually("those without a protocol are counted", || {
        let status: serde_json::Value = serde_json::from_str(&server.administration("/v1/status")).unwrap();
        (status["totals"]["handshakes_incompatible"] == 2).then_some(status)
    });
    let [certificate] = &status["tls"]["certificates"].as_array().unwrap()[..] else { panic!("{status}") };
    assert!(certificate["names"][0] == "a.example" && certificate["file"].as_str().unwrap().ends_with("/a.pem"));
    let plain = server.get("/").send();
    assert!(plain.text().contains("proto=http "), "{}", plain.text());
    if !require("curl") {
        return;
    }
    std::fs::write(server.folder().join("ca.pem"), &authority.pem).unwrap();
    for (options, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let url = format!("https://a.example:{}/", https(&server).port());
        let mut curl = Command::new("curl");
        curl.args(["-sS", options, "-w", " %{http_version}", "--resolve"]);
        curl.arg(format!("a.example:{}:127.0.0.1", https(&server).port()));
        let ran = run(curl.arg("--cacert").arg(server.folder().join("ca.pem")).arg(url));
        assert!(ran.stdout.contains("proto=https") && ran.stdout.ends_with(&format!(" {version}")), "{ran:?}");
    }
}

#[test]
fn bodies_pass_whole_in_both_directions() {
    let authority = Authority::new("ours");
    let backend = Backend::start(|request| {
        let sum = request.body.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        Answer::Reply(200, vec![("X-Sum".to_owned(), sum.to_string())], request.body.clone())
    });
    let server = with(HTTPS, &authority, &["a.example"]).upstream(&backend.url()).start();
    let body: Vec<u8> =
        (0..3_000_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let mut connection = TlsClient::new(&authority, "a.example").version(version).connect(https(&server));
        for _ in 0..2 {
            let request = Request::new(https(&server), "POST", "/").body("application/octet-stream", &body);
            let reply = connection.exchange(&request);
            assert!(reply.status == 200 && reply.body == body, "{version:?}: {} bytes", reply.body.len());
        }
    }
}

#[test]
fn rule_42_requests_are_sent_to_https_at_the_host_that_they_name() {
    let authority = Authority::new("ours");
    let config = format!(
        "{STRANGERS}{HTTPS}[[listener]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n[policy.scanner]\n\
         settings = {{ statuses = [308], maxretry = 20 }}\n"
    );
    let server = with(&config, &authority, &["a.example", "*.b.example"]).client("ann:x").start();
    let address = server.listener("http, redirects to https");
    let ask = |method: &str, target: &str, host: &str| {
        let reply = Request::new(address, method, target).header("Host", host).basic("ann", "wrong").send();
        (reply.status, reply.header("location").map(str::to_owned))
    };
    for (method, target, host, location) in [
        ("GET", "/a/b?c=d", "a.example", "https://a.example/a/b?c=d"),
        ("POST", "/", "www.b.example:80", "https://www.b.example/"),
        ("HEAD", "//evil.example/", "A.EXAMPLE", "https://A.EXAMPLE//evil.example/"),
    ] {
        assert_eq!(ask(method, target, host), (308, Some(location.to_owned())), "{method} {host}");
    }
    assert_eq!(ask("GET", "/", "evil.example"), (421, None));
    assert_eq!(ask("GET", "/", "evil.example/a.example"), (400, None));
    assert_eq!(ask("GET", &format!("/{}", "x".repeat(9000)), "a.example"), (400, None));
    // Five wrong passwords would have been a ban, had anybody looked at them; twenty redirects are one here.
    let mut connection = portcullis_tests::Connection::open(address);
    let request = Request::new(address, "GET", "/").header("Host", "a.example").basic("ann", "wrong");
    let statuses: Vec<_> = (0..18).map(|_| connection.exchange(&request).status).collect();
    assert_eq!((statuses[0], statuses[16], statuses[17]), (308, 308, 423), "{statuses:?}");
    assert_eq!(server.stop().total("attempts_failed"), 0);
    // Nobody is named where certificates name nobody.
    let nameless = with(&config, &authority, &[]).client("ann:x").start();
    let address = nameless.listener("http, redirects to https");
    assert_eq!(Request::new(address, "GET", "/").header("Host", "evil.example").send().status, 421);
}

#[test]
fn rule_41_a_certificate_is_who_its_owner_is() {
    let (authority, clients, others) = (Authority::new("ours"), Authority::new("clients"), Authority::new("others"));
    let backend = service();
    let config = format!(
        "{STRANGERS}[auth]\nfile = \"clients.json\"\nprotect = [\"/private\"]\n\
         [policy.wait]\nsettings = {{ client_login_wait = 600 }}\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nclient_ca = \"ca.pem\"\nclient_certificate = \"optional\"\n\
         [[listener.certificate]]\nfile = \"a.pem\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nclient_ca = \"ca.pem\"\nclient_crl = \"crl.pem\"\nclient_id = \"email\"\n\
         [[listener.certificate]]\nfile = \"a.pem\"\n"
    );
    let server = with(&config, &authority, &["a.example"])
        .file("clients.json", r#"{"ann": "right", "bob": "right"}"#)
        .file("ca.pem", &clients.pem)
        .file("crl.pem", clients.revokes(&[7]))
        .upstream(&backend.url())
        .start();
    let (optional, required) =
        (server.listener("https, client certificate optional"), server.listener("https, client certificate required"));
    let client = TlsClient::new(&authority, "a.example");
    let ann = client.clone().certificate(&clients.client("ann", Vec::new()));
    // A stranger locks ann out by her password; by her certificate she goes on, with whatever beside it.
    let guess = |from: u8| {
        let request = Request::new(optional, "GET", "/private").basic("ann", "wrong");
        client.clone().from(IpAddr::from([127, 0, 7, from])).connect(optional).exchange(&request).status
    };
    assert_eq!((guess(1), guess(2)), (401, 429));
    for target in ["/private", "/public"] {
        let said = get(&ann, optional, target);
        assert!(said.status == 200 && said.text().starts_with("user=ann "), "{target}: {said:?}");
    }
    let mut connection = ann.connect(optional);
    let beside = Request::new(optional, "GET", "/private").basic("bob", "wrong").header("X-Forwarded-User", "root");
    let said = connection.exchange(&beside);
    assert!(said.text().starts_with("user=ann ") && said.text().ends_with("authorization=-"), "{}", said.text());
    // Authenticated clients' 404s are no scan.
    assert!((0..4).all(|_| connection.exchange(&Request::new(optional, "GET", "/404")).status == 404));
    // Without a certificate one is as anyone; one that nobody vouches for lets nobody in.
    assert_eq!(get(&client, optional, "/private").status, 401);
    assert!(get(&client, optional, "/public").text().starts_with("user=- "));
    for pair in [
        others.client("ann", Vec::new()),
        clients.client_until("ann", Vec::new(), -1, 1),
        clients.client("", Vec::new()),
    ] {
        for version in [TlsVersion::V12, TlsVersion::V13] {
            let got = client.clone().version(version).certificate(&pair).try_get(optional, "/public");
            assert!(got.is_err(), "{got:?}");
        }
    }
    let email = |address: &str| SanType::Rfc822Name(address.try_into().unwrap());
    let by_mail = clients.client("nobody", vec![email("eve@a.example")]);
    assert!(get(&client.clone().certificate(&by_mail), required, "/private").text().starts_with("user=eve@a.example "));
    let two = clients.client("nobody", vec![email("eve@a.example"), email("adam@a.example")]);
    let revoked = clients.client_until("nobody", vec![email("eve@a.example")], 365, 7);
    for pair in [two, revoked, clients.client("eve@a.example", Vec::new())] {
        let got = client.clone().certificate(&pair).try_get(required, "/public");
        assert!(got.is_err(), "{got:?}");
    }
    assert!(client.try_get(required, "/public").is_err());
    let refused = || metric(&server, "portcullis_handshakes_total{result=\"certificate\"}");
    eventually("they are counted", || (refused() >= 10.0).then_some(()));
    let stopped = server.stop();
    assert_eq!((stopped.total("attempts_failed"), stopped.total("attempts_succeeded")), (1, 0));
    assert_eq!(stopped.total("certified"), 3);
}

#[test]
fn rule_41_in_upstream_mode_the_service_hears_of_the_certificate_and_logins_stay_attempts() {
    let (authority, clients) = (Authority::new("ours"), Authority::new("clients"));
    let backend = Backend::start(|request| {
        let user = request.header("x-forwarded-user").unwrap_or("-").to_owned();
        Answer::status(if request.header("authorization").is_some() { 401 } else { 200 }).body(&user)
    });
    let config = format!(
        "{STRANGERS}[[listener]]\naddress = \"127.0.0.1:0\"\nclient_ca = \"ca.pem\"\n\
         [[listener.certificate]]\nfile = \"a.pem\"\n"
    );
    let server =
        with(&config, &authority, &["a.example"]).file("ca.pem", &clients.pem).upstream(&backend.url()).start();
    let address = server.listener("https, client certificate required");
    let client = TlsClient::new(&authority, "a.example").certificate(&clients.client("Ann", Vec::new()));
    let mut connection = client.connect(address);
    let reply = connection.exchange(&Request::new(address, "GET", "/"));
    assert_eq!((reply.status, reply.text()), (200, "ann"), "folded, as ids are in this mode");
    let guess = Request::new(address, "GET", "/").basic("bob", "guess");
    let replies: Vec<_> = (0..2).map(|_| connection.exchange(&guess)).collect();
    assert_eq!((replies[0].status, replies[0].text(), replies[1].status), (401, "ann", 429), "bob waits");
    assert_eq!(server.stop().total("attempts_failed"), 1);
}

#[test]
fn rule_41_whoever_came_by_what_is_believed_no_more_has_to_come_again() {
    let (authority, old, new) = (Authority::new("ours"), Authority::new("old"), Authority::new("new"));
    let config =
        "[[listener]]\naddress = \"127.0.0.1:0\"\nclient_ca = \"ca.pem\"\n[[listener.certificate]]\nfile = \"a.pem\"\n";
    let server = with(config, &authority, &["a.example"]).file("ca.pem", &old.pem).client("ann:x").start();
    let address = server.listener("https, client certificate required");
    let (by_old, by_new) = (old.client("ann", Vec::new()), new.client("ann", Vec::new()));
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let client = TlsClient::new(&authority, "a.example").version(version);
        let (by_old, by_new) = (client.clone().certificate(&by_old), client.certificate(&by_new));
        let request = Request::new(address, "GET", "/");
        let swaps = server.swaps();
        server.replace("ca.pem", &old.pem);
        server.swapped(swaps + 1);
        let mut before = by_old.connect(address);
        assert_eq!(before.exchange(&request).status, 200);
        let mut resumed = by_old.connect(address);
        assert!(resumed.exchange(&request).status == 200 && resumed.is_resumed());
        server.replace("a.pem", authority.server(&["a.example"]).in_one());
        server.swapped(swaps + 2);
        // Another certificate of ours is no reason: sessions and connections go on.
        assert_eq!(before.exchange(&request).status, 200);
        let mut resumed = by_old.connect(address);
        assert!(resumed.exchange(&request).status == 200 && resumed.is_resumed());
        server.replace("ca.pem", &new.pem);
        server.swapped(swaps + 3);
        assert_eq!(before.exchange(&request).status, 421);
        before.expect_closed();
        assert!(by_old.try_get(address, "/").is_err(), "{version:?}: no session outlives it");
        assert_eq!(by_new.try_get(address, "/").unwrap(), 200);
    }
}

#[test]
fn rule_41_whoever_came_before_certificates_were_asked_for_has_to_come_again() {
    let (authority, clients) = (Authority::new("ours"), Authority::new("clients"));
    let server = with(HTTPS, &authority, &["a.example"]).file("ca.pem", &clients.pem).client("ann:x").start();
    let address = https(&server);
    let client = TlsClient::new(&authority, "a.example");
    let request = Request::new(address, "GET", "/").basic("ann", "x");
    let mut before = client.connect(address);
    assert_eq!(before.exchange(&request).status, 200);
    server.configure(&HTTPS.replace("[[listener.certificate]]", "client_ca = \"ca.pem\"\n[[listener.certificate]]"));
    server.swapped(1);
    assert_eq!(before.exchange(&request).status, 421);
    before.expect_closed();
    assert!(client.try_get(address, "/").is_err(), "no session outlives it");
    let certified = client.clone().certificate(&clients.client("ann", Vec::new()));
    let mut by_certificate = certified.connect(address);
    assert_eq!(by_certificate.exchange(&request).status, 200);
    // And the other way around.
    server.configure(HTTPS);
    server.swapped(2);
    assert_eq!(by_certificate.exchange(&request).status, 421);
    by_certificate.expect_closed();
    assert_eq!(get(&client, address, "/").status, 401);
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    let authority = Authority::new("ours");
    let server = with(HTTPS, &authority, &["a.example"]).client("ann:x").start();
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let client = TlsClient::new(&authority, "a.example").version(version);
        let resumed: Vec<_> = (0..3)
            .map(|_| {
                let mut connection = client.connect(https(&server));
                // What resumes the next comes with what follows the handshake.
                let request = Request::new(https(&server), "GET", "/").basic("ann", "x");
                assert_eq!(connection.exchange(&request).status, 200);
                connection.is_resumed()
            })
            .collect();
        assert_eq!(resumed, [false, true, true], "{version:?}");
    }
    assert_eq!(metric(&server, "portcullis_handshakes_total{result=\"resumed\"}"), 4.0);
    assert_eq!(metric(&server, "portcullis_handshakes_total{result=\"full\"}"), 2.0);
}

/// Clients that make a new connection for each request, until told to stop.
struct Swarm {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Swarm {
    fn start(client: &TlsClient, address: SocketAddr) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let one = |kept: bool| {
            let (client, stop, done) = (client.clone(), Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                let request = Request::new(address, "GET", "/").basic("ann", "x");
                let mut connection = client.connect(address);
                while !stop.load(Ordering::Relaxed) {
                    if !kept {
                        match client.try_connect(address) {
                            Ok(another) => connection = another,
                            Err(error) => failures.push(error.to_string()),
                        }
                    }
                    match connection.try_exchange(&request) {
                        Ok(reply) if reply.status == 200 => {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        other => failures.push(format!("{other:?}")),
                    }
                }
                failures
            })
        };
        let threads = [false, false, true].into_iter().map(one).collect();
        Self { stop, done, threads }
    }

    /// Waits until so many more requests were answered.
    fn goes_on(&self, more: usize) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("requests are answered", || (self.done.load(Ordering::Relaxed) >= before + more).then_some(()));
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

#[test]
fn certificates_change_under_load_and_no_request_fails() {
    let authority = Authority::new("ours");
    let server = with(HTTPS, &authority, &["a.example"]).client("ann:x").start();
    let address = https(&server);
    let client = TlsClient::new(&authority, "a.example");
    let swarm = Swarm::start(&client, address);
    let mut pair = authority.server(&["a.example"]);
    for round in 1..=10 {
        pair = authority.server(&["a.example"]);
        server.replace("a.pem", pair.in_one());
        if round % 2 == 0 {
            server.hang_up();
        }
        eventually("the new certificate is shown", || {
            (client.try_connect(address).ok()?.shown() == pair.der()).then_some(())
        });
        swarm.goes_on(50);
    }
    // One that isn't right is told, and the last right one stays.
    let other = authority.server(&["a.example"]);
    for (bytes, why) in [
        (Pair { key: other.key.clone(), ..pair.clone() }.in_one(), "isn't the key of the certificate in"),
        (pair.certificate.clone(), "no private key in it"),
        (pair.key.clone(), "no certificate in it"),
        ("nonsense".to_owned(), "no certificate in it"),
        (pair.in_one().replace("BEGIN CERT", "BEGIN CARE"), "not PEM"),
    ] {
        let before = server.reasons().len();
        server.replace("a.pem", bytes);
        eventually("it is refused", || server.reasons()[before..].iter().any(|line| line.contains(why)).then_some(()));
        assert_eq!(client.connect(address).shown(), pair.der());
        swarm.goes_on(20);
    }
    server.replace("a.pem", other.in_one());
    eventually("the next is shown", || (client.try_connect(address).ok()?.shown() == other.der()).then_some(()));
    swarm.goes_on(20);
    assert_eq!(swarm.end(), Vec::<String>::new());
}

/// Connections that say nothing, or begin a handshake and go no further.
fn half_open(address: SocketAddr, from: impl Fn(u16) -> IpAddr) -> Vec<TcpStream> {
    let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 40]].concat();
    let open = |number: u16| {
        let mut stream = connect_from(from(number), address).unwrap();
        if number.is_multiple_of(2) {
            stream.write_all(&hello).unwrap();
        }
        stream
    };
    (0..1000).map(open).collect()
}

#[test]
fn a_thousand_half_open_handshakes_keep_nobody_out() {
    let began = Instant::now();
    // Both thousands are open here to the end.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let authority = Authority::new("ours");
    let config = format!(
        "[listen]\nworkers = 2\nmax_connections = 1500\nmax_handshakes = 500\nhandshake_timeout = \"1h\"\n{STRANGERS}{HTTPS}"
    );
    let server = with(&config, &authority, &["a.example"]).client("ann:x").start();
    let address = https(&server);
    let client = TlsClient::new(&authority, "a.example");
    let under_way = || metric(&server, "portcullis_handshakes_under_way");
    // Of one source: its own bound holds.
    let stranger = IpAddr::from([127, 66, 0, 1]);
    let of_one = half_open(address, |_| stranger);
    eventually("all but its last are gone", || (under_way() <= 64.0).then_some(()));
    let swarm = Swarm::start(&client, address);
    swarm.goes_on(100);
    assert_eq!(swarm.end(), Vec::<String>::new());
    // And of a thousand sources.
    let of_many = half_open(address, |number| IpAddr::V4(Ipv4Addr::from(u32::from(number) + 0x7f43_0001)));
    eventually("all but the last are gone", || (under_way() <= 500.0).then_some(()));
    let swarm = Swarm::start(&client, address);
    swarm.goes_on(100);
    assert_eq!(swarm.end(), Vec::<String>::new());
    let crowded = || metric(&server, "portcullis_handshakes_total{result=\"crowded\"}");
    eventually("they are counted", || (crowded() >= 1400.0).then_some(()));
    drop((of_one, of_many));
    eventually("nothing is left of them", || (under_way() == 0.0).then_some(()));
    let windows = usize::try_from(began.elapsed().as_secs() / 10).unwrap() + 2;
    assert!(server.log_with("Closed, ").len() <= 20 * windows, "the log is bounded");
}

#[test]
fn handshakes_that_begin_and_stall_keep_nobody_out_who_takes_his_time() {
    let authority = Authority::new("ours");
    let config = format!("[listen]\nworkers = 1\nmax_handshakes = 20\nhandshake_timeout = \"1h\"\n{STRANGERS}{HTTPS}");
    let server = with(&config, &authority, &["a.example"]).client("ann:x").start();
    let client = TlsClient::new(&authority, "a.example");
    let open = |number: u8| connect_from(IpAddr::from([127, 68, 0, number]), https(&server)).unwrap();
    let stall = |number| {
        let mut stream = open(number);
        stream.write_all(&client.hello()).unwrap();
        // It has been answered, so it has begun.
        stream.read_exact(&mut [0]).unwrap();
        stream
    };
    let _stalled: Vec<_> = (1..=40).map(stall).collect();
    let slow = open(100);
    let _silent: Vec<_> = (101..=105).map(open).collect();
    let crowded = || metric(&server, "portcullis_handshakes_total{result=\"crowded\"}");
    eventually("each has made room for another", || (crowded() >= 26.0).then_some(()));
    assert!(client.over(slow).is_ok());
}

#[test]
fn a_handshake_that_takes_too_long_is_closed() {
    let authority = Authority::new("ours");
    // Enough for a whole handshake on a busy machine.
    let config = format!("[listen]\nhandshake_timeout = \"2s\"\n{HTTPS}");
    let server = with(&config, &authority, &["a.example"]).client("ann:x").start();
    let mut silent = portcullis_tests::Connection::open(https(&server));
    // A byte now and then is no handshake, whatever they would add up to: a ClientHello of 8 KiB in one record.
    let mut slow = TcpStream::connect(https(&server)).unwrap();
    slow.write_all(&[0x16, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc, 3, 3]).unwrap();
    let mut sent = 0;
    let closed = eventually("it is closed", || {
        sent += 1;
        // One a millisecond would be done before the deadline, too.
        if sent >= 8000 { None } else { slow.write_all(&[7]).err().map(|error| error.kind()) }
    });
    assert!(matches!(closed, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{closed}");
    silent.expect_closed();
    server.logged_times(2, "Closed, timeout (127.0.0.1)");
    assert!(server.log_with("Closed, not-tls").is_empty());
    // Once it is over, the clock for heads and idleness begins: one that comes later is closed before.
    let mut connection = TlsClient::new(&authority, "a.example").connect(https(&server));
    portcullis_tests::Connection::open(https(&server)).expect_closed();
    assert_eq!(connection.exchange(&Request::new(https(&server), "GET", "/").basic("ann", "x")).status, 200);
}

#[test]
fn what_is_not_tls_is_closed_and_counted() {
    let authority = Authority::new("ours");
    let server = with(&format!("{STRANGERS}{HTTPS}"), &authority, &["a.example"]).client("ann:x").start();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..], &[0; 100], b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"] {
        let mut connection = portcullis_tests::Connection::open(https(&server));
        connection.send(bytes);
        connection.expect_closed();
    }
    let closed = || metric(&server, "portcullis_handshakes_total{result=\"not-tls\"}");
    eventually("they are counted", || (closed() == 3.0).then_some(()));
    server.logged_times(3, "Closed, not-tls (127.0.0.1)");
}

#[test]
fn a_banned_source_is_closed_before_the_handshake_or_told_after_it() {
    let authority = Authority::new("ours");
    let config = format!(
        "{STRANGERS}{HTTPS}[[listener]]\naddress = \"127.0.0.1:0\"\nbanned = \"reply\"\n[[listener.certificate]]\n\
         file = \"a.pem\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nbanned = \"close\"\n"
    );
    let server = with(&config, &authority, &["a.example"]).client("ann:x").start();
    let [closing, replying] = server.listeners("https");
    let plain = server.listener("http");
    let client = TlsClient::new(&authority, "a.example").from(IpAddr::from([127, 0, 0, 9]));
    let mut kept = client.connect(closing);
    let scan = Request::new(closing, "GET", "/nothing");
    let statuses = [(); 3].map(|()| kept.exchange(&scan).status);
    assert_eq!(statuses, [404, 404, 423], "a connection that is there is told");
    let begun = metric(&server, "portcullis_handshakes_total{result=\"full\"}");
    assert!(client.try_connect(closing).is_err());
    let mut at_plain = portcullis_tests::Connection::over(connect_from([127, 0, 0, 9].into(), plain).unwrap());
    at_plain.expect_closed();
    let closed = || metric(&server, "portcullis_connections_closed_total{why=\"banned\"}");
    eventually("they are counted", || (closed() == 2.0).then_some(()));
    assert_eq!(metric(&server, "portcullis_handshakes_total{result=\"full\"}"), begun, "no handshake was paid for");
    server.logged_times(2, "Closed, banned (127.0.0.9)");
    let reply = get(&client, replying, "/");
    assert!(reply.status == 423 && reply.retry_after() > 3000);
    // Everyone else is let in.
    assert_eq!(get(&TlsClient::new(&authority, "a.example"), closing, "/").status, 401);
}

#[test]
fn check_says_what_is_wrong_with_certificates_and_what_soon_will_be() {
    let authority = Authority::new("ours");
    let (soon, over, other) = (
        authority.server_until(&["a.example"], 3),
        authority.server_until(&["b.example"], -1),
        authority.server(&["c"]),
    );
    let config = format!("{HTTPS}[[listener.certificate]]\nfile = \"b.pem\"\n");
    let good = Portcullis::with_config(&config).file("a.pem", soon.in_one()).file("b.pem", over.in_one());
    let checked = good.check();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("127.0.0.1:0, https") && checked.stdout.contains("a.pem for a.example until "));
    assert!(checked.stderr.contains("a.pem: the certificate expires soon, on "), "{}", checked.stderr);
    assert!(checked.stderr.contains("b.pem: THE CERTIFICATE HAS EXPIRED, on "), "{}", checked.stderr);
    let keyed = format!("{HTTPS}key = \"b.key\"\n[[listener.certificate]]\nfile = \"none.pem\"\n");
    let bad = Portcullis::with_config(&keyed).file("a.pem", &soon.certificate).file("b.key", &other.key);
    for ran in [bad.check(), bad.fail_to_start()] {
        let lines: Vec<_> = ran.stderr.lines().filter(|line| line.contains("listener.certificate")).collect();
        assert_eq!(lines.len(), 2, "{ran:?}");
        assert!(
            lines[0].contains("portcullis.toml:3: listener.certificate.key: ") && lines[0].contains("isn't the key of")
        );
        assert!(lines[1].contains(":6: listener.certificate.file: ") && lines[1].contains("none.pem: No such file"));
    }
}

/// As [`Authority::server`], but by openssl: RSA, which the test's own means can't make.
fn rsa(folder: &std::path::Path, name: &str) -> String {
    let script = format!(
        "cd {} && openssl req -x509 -newkey rsa:2048 -nodes -keyout r.key -out r.pem -days 30 -subj /CN={name} \
         -addext subjectAltName=DNS:{name} 2>/dev/null && cat r.pem r.key",
        folder.display()
    );
    let ran = run(Command::new("sh").args(["-c", &script]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}

#[test]
fn nothing_weak_is_offered() {
    if !require("openssl") {
        return;
    }
    let authority = Authority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{HTTPS}[[listener.certificate]]\nfile = \"rsa.pem\"\n");
    let server = with(&config, &authority, &["a.example"]).file("rsa.pem", rsa(folder.path(), "a.example")).start();
    let handshake = |options: &str| {
        let options: Vec<_> = ["-servername", "a.example"].into_iter().chain(options.split(' ')).collect();
        let said = s_client(https(&server), &options);
        let cipher = said.lines().find_map(|line| line.strip_prefix("New, ")?.split_once("Cipher is ")).map(|of| of.1);
        cipher.filter(|cipher| *cipher != "(NONE)").map(str::to_owned)
    };
    for (options, cipher) in [
        ("-tls1_3", "TLS_AES_256_GCM_SHA384"),
        ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
        ("-tls1_2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("-tls1_2 -sigalgs RSA-PSS+SHA256", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("-tls1_2 -cipher ECDHE+AESGCM+aRSA", "ECDHE-RSA-AES256-GCM-SHA384"),
    ] {
        assert_eq!(handshake(options).as_deref(), Some(cipher), "{options}");
    }
    for options in [
        "-tls1 -cipher ALL@SECLEVEL=0",
        "-tls1_1 -cipher ALL@SECLEVEL=0",
        "-tls1_2 -cipher AES256-GCM-SHA384",
        "-tls1_2 -cipher ECDHE-RSA-AES256-SHA384",
        "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA",
        "-tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384",
        "-tls1_2 -cipher aNULL@SECLEVEL=0",
        "-tls1_2 -cipher 3DES@SECLEVEL=0",
        "-tls1_2 -sigalgs RSA+SHA1@SECLEVEL=0",
        "-tls1_3 -ciphersuites TLS_AES_128_CCM_8_SHA256",
    ] {
        assert_eq!(handshake(options), None, "{options}");
    }
}

/// What testssl.sh says against certificates that nobody but a test has.
const OF_TESTS: [&str; 10] = [
    "engine_problem",
    // It can't always try that; a test of our own does.
    "sessionresumption_ticket",
    "cert_chain_of_trust",
    "cert_notAfter",
    "cert_revocation",
    "cert_trust",
    "cert_expirationStatus",
    "cert_crlDistributionPoints",
    "cert_ocspURL",
    "DNS_CAArecord",
];

#[test]
fn testssl_finds_nothing_weak() {
    if !require("testssl") || !require("openssl") {
        return;
    }
    let authority = Authority::new("ours");
    let folder = tempfile::tempdir().unwrap();
    let config =
        format!("{STRANGERS}never_ban = [\"127.0.0.1\"]\n{HTTPS}[[listener.certificate]]\nfile = \"rsa.pem\"\n");
    let server = with(&config, &authority, &["localhost"])
        .file("rsa.pem", rsa(folder.path(), "localhost"))
        .client("a:b")
        .start();
    let report = folder.path().join("report.json");
    // Versions, ciphers, forward secrecy, server's order and defaults, and all weaknesses with a name.
    let mut testssl = Command::new("timeout");
    testssl.args(["1200", "testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "min"]);
    testssl.args(["--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--vulnerable"]);
    testssl.arg("--jsonfile").arg(&report).arg(format!("localhost:{}", https(&server).port()));
    let ran = run(testssl.env("HEADER_MAXSLEEP", "60"));
    assert_ne!(ran.code, Some(124), "it came to no end");
    let findings: serde_json::Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let findings = findings.as_array().unwrap();
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let of_tests = |finding: &&serde_json::Value| {
        let id = text(finding, "id");
        OF_TESTS.iter().any(|known| id.starts_with(known))
    };
    let weak: Vec<_> = findings
        .iter()
        .filter(|finding| !of_tests(finding))
        // A warning is what it couldn't try.
        .filter(|finding| !matches!(text(finding, "severity").as_str(), "OK" | "INFO" | "DEBUG" | "WARN"))
        .map(|finding| format!("{}: {}: {}", text(finding, "severity"), text(finding, "id"), text(finding, "finding")))
        .collect();
    assert_eq!(weak, Vec::<String>::new(), "{}", ran.stdout);
    let said =
        |id: &str| findings.iter().find(|finding| text(finding, "id") == id).map(|finding| text(finding, "finding"));
    for (id, finding) in [
        ("TLS1_2", "offered"),
        ("TLS1_1", "not offered"),
        ("heartbleed", "not vulnerable"),
        ("ROBOT", "not vulnerable"),
        ("SWEET32", "not vulnerable"),
        ("FREAK", "not vulnerable"),
        ("LOGJAM", "not vulnerable"),
    ] {
        let found = said(id).unwrap_or_else(|| panic!("nothing about {id}: {}", ran.stdout));
        assert!(found.starts_with(finding), "{id}: {found}");
    }
}
