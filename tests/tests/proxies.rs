//! Portcullis behind the word of real proxies, by the files of
//! `host/server/proxies`: wait, ban and scanner hold for the true client, and
//! what a client says of itself changes nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;

use portcullis_tests::{
    Portcullis, Proxy, ProxyFolder, ProxyKind, Request, Server, eventually, portcullis, require, run,
};

const HEADERS_OF_CLIENTS: [(&str, &str); 12] = [
    ("X-Forwarded-For", "127.0.0.99"),
    ("X-Real-IP", "127.0.0.99"),
    ("X-Forwarded-Method", "HEAD"),
    ("X-Forwarded-Uri", "/"),
    ("X-Original-Method", "HEAD"),
    ("X-Original-URI", "/"),
    ("Forwarded", "for=127.0.0.99"),
    ("X-Portcullis-Source", "127.0.0.99"),
    ("X-Portcullis-Status", "200"),
    ("X-Login-Id", "somebody"),
    ("X-Client-IP", "127.0.0.99"),
    ("Client-IP", "127.0.0.99"),
];

/// Portcullis with a proxy that asks it.
struct Rig {
    proxy: Proxy,
    server: Server,
    kind: ProxyKind,
}

/// What is the same for all; `policies` are those that a test is about.
fn config(kind: ProxyKind, folder: &ProxyFolder, policies: &str) -> String {
    let (asking, watching) = match kind {
        ProxyKind::Nginx => ("", format!("[[watch]]\npath = {:?}\nformat = \"report\"\n", folder.log())),
        ProxyKind::Caddy => ("", format!("[[watch]]\npath = {:?}\nformat = \"caddy\"\n", folder.log())),
        ProxyKind::Haproxy => ("id_header = \"X-Login-Id\"\n", String::new()),
    };
    format!(
        "[source]\nnever_ban = []\n[decide]\naddress = [\"127.0.0.1:0\"]\n{asking}\
         [auth]\nlogin_paths = [\"/login\"]\nsuccess_statuses = [303]\nprotect = [\"/api\"]\n{policies}\n{watching}"
    )
}

/// Long enough for a test to see it, and to see that it isn't over.
const WAITS: &str = "[policy.wait]\nsettings = { client_login_wait = 600 }\n";
const NO_WAIT: &str = "[policy.wait]\nenabled = false\n";

impl Rig {
    fn start(kind: ProxyKind, policies: &str) -> Option<Self> {
        if !require("nginx") || !require(kind.program()) {
            return None;
        }
        let folder = ProxyFolder::new();
        let server = Portcullis::with_config(&config(kind, &folder, policies)).start();
        let proxy = Proxy::start(kind, folder, server.decide_address());
        Some(Self { proxy, server, kind })
    }

    fn get(&self, client: &str, target: &str) -> Request {
        self.proxy.get(client, target)
    }

    /// Outcomes that come back by a log are there a moment later.
    #[track_caller]
    fn comes_to(&self, request: &Request, status: u16) {
        let mut seen = 0;
        eventually(&format!("{:?} answers {status}", self.kind), || {
            seen = request.send().status;
            (seen == status).then_some(())
        });
        assert_eq!(seen, status);
    }

    /// What Portcullis has judged so far, by a word of its status.
    fn total(&self, name: &str) -> u64 {
        let status: serde_json::Value = serde_json::from_str(&self.server.administration("/v1/status")).unwrap();
        status["totals"][name].as_u64().unwrap()
    }

    #[track_caller]
    fn judged(&self, name: &str, times: u64) {
        eventually(&format!("{name} is {times}"), || (self.total(name) == times).then_some(()));
    }

    fn explained(&self, source: &str) -> String {
        let mut explain = Command::new(portcullis());
        explain.args(["explain", source, "--socket"]).arg(self.server.admin_socket());
        let ran = run(&mut explain);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout
    }
}

fn scanner(kind: ProxyKind) {
    let Some(rig) = Rig::start(kind, WAITS) else { return };
    assert_eq!(rig.get("127.0.0.11", "/").send().status, 200);
    for _ in 0..2 {
        assert_eq!(rig.get("127.0.0.11", "/nf/x").send().status, 404);
    }
    rig.comes_to(&rig.get("127.0.0.11", "/"), 423);
    let banned = rig.get("127.0.0.11", "/other").send();
    assert_eq!(banned.status, 423);
    assert!((3000..=3600).contains(&banned.retry_after()), "{banned:?}");
    assert_eq!(banned.text(), "423 Locked\n");
    assert_eq!(rig.get("127.0.0.12", "/").send().status, 200, "others aren't");
    // A name that anybody can give, to a service that doesn't look at it, spares nobody.
    for _ in 0..2 {
        assert_eq!(rig.get("127.0.0.14", "/open/.env").basic("x", "y").send().status, 404);
    }
    rig.comes_to(&rig.get("127.0.0.14", "/"), 423);
    rig.server.logged("2 hits within 20s. Visitor (127.0.0.11) banned.");
    let explained = rig.explained("127.0.0.11");
    let origin = match kind {
        ProxyKind::Nginx | ProxyKind::Caddy => rig.proxy.folder().log().display().to_string(),
        ProxyKind::Haproxy => "127.0.0.1".to_owned(),
    };
    assert!(explained.contains(&origin), "{explained}");
}

fn spoofing(kind: ProxyKind) {
    let Some(rig) = Rig::start(kind, WAITS) else { return };
    let spoofed = |client: &str, target: &str| {
        HEADERS_OF_CLIENTS.iter().fold(rig.get(client, target), |request, (name, value)| request.header(name, value))
    };
    for _ in 0..2 {
        assert_eq!(spoofed("127.0.0.11", "/nf/x").send().status, 404);
    }
    // It hits who it was, and not whom they named.
    rig.comes_to(&rig.get("127.0.0.11", "/"), 423);
    assert_eq!(spoofed("127.0.0.11", "/").send().status, 423);
    for (name, value) in HEADERS_OF_CLIENTS {
        assert_eq!(rig.get("127.0.0.11", "/").header(name, value).send().status, 423, "{name}");
    }
    assert_eq!(rig.get("127.0.0.99", "/").send().status, 200);
    // Nobody is kept out by claiming to be somebody who is banned.
    let claims = |name: &str| rig.get("127.0.0.99", "/").header(name, "127.0.0.11").send().status;
    for name in ["X-Forwarded-For", "X-Real-IP", "X-Portcullis-Source"] {
        assert_eq!(claims(name), 200, "{name}");
    }
    // What can't be in a log as it is hides nobody.
    let strange = "/nf/\"}\\u0022%22%0a{\"source\":\"127.0.0.99\",\"status\":404}";
    for _ in 0..2 {
        let request =
            rig.get("127.0.0.13", strange).header("User-Agent", "\"},{\"source\":\"127.0.0.99\" \u{e4}\u{1f600}");
        assert_eq!(request.send().status, 404);
    }
    rig.comes_to(&rig.get("127.0.0.13", "/"), 423);
    assert_eq!(rig.get("127.0.0.99", "/").send().status, 200);
}

fn waits(kind: ProxyKind) {
    let Some(rig) = Rig::start(kind, WAITS) else { return };
    let login = |client: &str, id: &str, secret: &str| rig.get(client, "/api/x").basic(id, secret);
    assert_eq!(login("127.0.0.11", "alice", "right").send().status, 200);
    assert_eq!(login("127.0.0.12", "bob", "wrong").send().status, 401);
    // Tried again before that is judged it would be one failure more.
    rig.judged("attempts_failed", 1);
    assert_eq!(login("127.0.0.12", "bob", "wrong").send().status, 429);
    let waiting = login("127.0.0.12", "bob", "right").send();
    assert_eq!(waiting.status, 429);
    assert!((500..=600).contains(&waiting.retry_after()), "{waiting:?}");
    assert_eq!(rig.get("127.0.0.12", "/").send().status, 200, "all but logins go on");
    // Caddy's log doesn't say who it was: then it is the source that waits.
    let elsewhere = login("127.0.0.13", "bob", "wrong").send().status;
    assert_eq!(elsewhere, if kind == ProxyKind::Caddy { 401 } else { 429 });
    assert_eq!(login("127.0.0.14", "alice", "right").send().status, 200);
    assert_eq!(rig.total("refused_banned"), 0);
}

fn bans(kind: ProxyKind) {
    let Some(rig) = Rig::start(kind, NO_WAIT) else { return };
    let login = |client: &str, secret: &str| rig.get(client, "/api/x").basic("alice", secret).send().status;
    for n in 1..=5 {
        assert_eq!(login("127.0.0.11", "wrong"), 401);
        // Before the fifth is judged a sixth could pass.
        rig.judged("attempts_failed", n);
    }
    rig.comes_to(&rig.get("127.0.0.11", "/"), 423);
    assert_eq!(login("127.0.0.11", "right"), 423);
    assert_eq!(login("127.0.0.12", "right"), 200);
    rig.server.logged("Maximum of 5 login attempts reached. Visitor (127.0.0.11) banned.");
    // A form's failures count as well, and where they are told of, successes reset them.
    let form = |query: &str| {
        let request = rig.proxy.request("127.0.0.13", "POST", &format!("/login{query}"));
        request.form("username=carol&password=x").send().status
    };
    for n in 6..=9 {
        assert_eq!(form(""), 401);
        rig.judged("attempts_failed", n);
    }
    let succeeded = rig.total("attempts_succeeded");
    assert_eq!(form("?right"), 303);
    rig.judged("attempts_succeeded", succeeded + 1);
    for n in 10..=14 {
        assert_eq!(form(""), 401);
        rig.judged("attempts_failed", n);
    }
    rig.comes_to(&rig.get("127.0.0.13", "/"), 423);
    assert_eq!(rig.get("127.0.0.12", "/").send().status, 200);
}

#[test]
fn nginx_a_scanner_is_banned_and_nobody_else() {
    scanner(ProxyKind::Nginx);
}

#[test]
fn nginx_what_a_client_says_of_itself_changes_nothing() {
    spoofing(ProxyKind::Nginx);
}

#[test]
fn nginx_who_failed_has_to_wait() {
    waits(ProxyKind::Nginx);
}

#[test]
fn nginx_five_failures_in_a_row_ban() {
    bans(ProxyKind::Nginx);
}

#[test]
fn caddy_a_scanner_is_banned_and_nobody_else() {
    scanner(ProxyKind::Caddy);
}

#[test]
fn caddy_what_a_client_says_of_itself_changes_nothing() {
    spoofing(ProxyKind::Caddy);
}

#[test]
fn caddy_who_failed_has_to_wait() {
    waits(ProxyKind::Caddy);
}

#[test]
fn caddy_five_failures_in_a_row_ban() {
    bans(ProxyKind::Caddy);
}

#[test]
fn haproxy_a_scanner_is_banned_and_nobody_else() {
    scanner(ProxyKind::Haproxy);
}

#[test]
fn haproxy_what_a_client_says_of_itself_changes_nothing() {
    spoofing(ProxyKind::Haproxy);
}

#[test]
fn haproxy_who_failed_has_to_wait() {
    waits(ProxyKind::Haproxy);
}

#[test]
fn haproxy_five_failures_in_a_row_ban() {
    bans(ProxyKind::Haproxy);
}

#[test]
fn haproxy_the_id_of_a_form_waits_too_and_outcomes_count_before_the_reply_leaves() {
    let Some(rig) = Rig::start(ProxyKind::Haproxy, WAITS) else { return };
    let form = |client: &str, id: &str, query: &str| {
        let request = rig.proxy.request(client, "POST", &format!("/login{query}"));
        request.form(&format!("username={id}&password=x")).send().status
    };
    assert_eq!(form("127.0.0.11", "carol%40example.org", ""), 401);
    assert_eq!(form("127.0.0.12", "carol@example.org", "?right"), 429, "at once, from anywhere");
    assert_eq!(form("127.0.0.12", "dave", "?right"), 303);
    rig.server.logged("Failed login attempt for client auth id \"carol@example.org\"");
    // The second 404 is answered 404, the next request 423 (rule 14).
    let statuses: Vec<u16> = (0..3).map(|_| rig.get("127.0.0.13", "/nf/").send().status).collect();
    assert_eq!(statuses, [404, 404, 423]);
}

/// A form's login at HAProxy.
fn form(rig: &Rig, client: &str, query: &str, body: &str) -> u16 {
    rig.proxy.request(client, "POST", &format!("/login{query}")).form(body).send().status
}

#[test]
fn haproxy_what_clients_say_writes_no_header_and_no_request_to_portcullis() {
    let Some(rig) = Rig::start(ProxyKind::Haproxy, WAITS) else { return };
    let event = "{\"source\":\"127.0.0.99\",\"status\":404}\n".repeat(2);
    let request = format!(
        "x\r\nX-Forwarded-For: 127.0.0.98\r\n\r\nPOST /report HTTP/1.1\r\nHost: x\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{event}",
        event.len()
    );
    let encoded: String = request.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for id in [&encoded, "x%0d%0aX-Forwarded-For:%20127.0.0.99", "x%0ay", "x%00", "x%7f"] {
        let body = format!("username={id}&password=x");
        assert_eq!(form(&rig, "127.0.0.11", "", &body), 400, "{id}");
    }
    assert_eq!(rig.get("127.0.0.99", "/").send().status, 200);
    assert_eq!(["reported_judged", "attempts_failed"].map(|name| rig.total(name)), [0, 0]);
    // HAProxy's client copies as many values as there are, whether it has room for them or not.
    for many in [2, 20, 60, 90] {
        let asks = (0..many).fold(rig.get("127.0.0.11", "/"), |asks, _| asks.header("Authorization", "Basic eDp5"));
        assert_eq!(asks.send().status, 400, "{many}");
    }
    assert_eq!(rig.get("127.0.0.11", "/").send().status, 200);
}

#[test]
fn haproxy_no_other_id_of_a_form_dodges_the_wait_of_one() {
    let Some(rig) = Rig::start(ProxyKind::Haproxy, WAITS) else { return };
    assert_eq!(form(&rig, "127.0.0.11", "", "username=m%C3%BCller&password=x"), 401);
    let right = |body: &str| form(&rig, "127.0.0.12", "?right", body);
    assert_eq!(right("username=m%C3%BCller&password=x"), 429, "an id outside ASCII waits as others do");
    for body in [
        "username=dave&username=m%C3%BCller",
        "username=m%C3%BCller&user%6eame=dave",
        "user%6Eame=dave&username=m%C3%BCller",
        "username=dave&USERNAME=m%C3%BCller",
        "username=dave&username[]=m%C3%BCller",
        "username=dave&username%00x=m%C3%BCller",
        "username=dave;username=m%C3%BCller",
        "username=m%C3%BCller;x=dave",
        "username=dave&%u0075sername=m%C3%BCller",
        "usernames=m%C3%BCller",
        "username",
        "",
    ] {
        assert_eq!(right(body), 400, "{body}");
    }
    assert_eq!(form(&rig, "127.0.0.12", "?username=m%C3%BCller", "username=dave"), 400);
    let whole = rig.proxy.request("127.0.0.12", "POST", "/login?right").form("username=dave");
    assert_eq!(whole.basic("m\u{fc}ller", "x").send().status, 400);
    let typed = |kind: &str, body: &[u8]| {
        rig.proxy.request("127.0.0.12", "POST", "/login?right").body(kind, body).send().status
    };
    assert_eq!(typed("application/json", b"{\"username\":\"m\xc3\xbcller\"}"), 415);
    assert_eq!(typed("application/x-www-form-urlencoded", &b"a=b&".repeat(5000)), 413, "more than HAProxy holds");
    assert_eq!(right("a=b&user%6eame=dave&password=x"), 303, "however it is encoded");
    assert_eq!(typed("application/x-www-form-urlencoded; charset=UTF-8", b"username=dave"), 303);
}

#[test]
fn haproxy_basic_credentials_that_are_right_reset_the_count_where_they_are_demanded() {
    let Some(rig) = Rig::start(ProxyKind::Haproxy, NO_WAIT) else { return };
    let login = |target: &str, secret: &str| rig.get("127.0.0.11", target).basic("alice", secret).send().status;
    for _ in 0..2 {
        for _ in 0..4 {
            assert_eq!(login("/api/x", "wrong"), 401);
        }
        assert_eq!(login("/api/x", "right"), 200);
    }
    assert_eq!(rig.total("attempts_succeeded"), 2);
    for _ in 0..4 {
        assert_eq!(login("/api/x", "wrong"), 401);
        // What is public, or only looks as if it weren't, resets nothing.
        assert_eq!(login("/", "right"), 200);
        assert_eq!(login("/api/../", "right"), 200);
    }
    assert_eq!(login("/api/x", "wrong"), 401);
    assert_eq!(login("/api/x", "right"), 423);
}

#[test]
fn haproxy_refuses_while_nobody_answers_unless_told_otherwise() {
    let Some(rig) = Rig::start(ProxyKind::Haproxy, WAITS) else { return };
    assert_eq!(rig.get("127.0.0.11", "/").send().status, 200);
    let config = config(ProxyKind::Haproxy, &ProxyFolder::new(), WAITS);
    let (asks, told) = (rig.server.decide_address(), [("PORTCULLIS_UNASKED", "pass")]);
    let open = Proxy::start_otherwise(ProxyKind::Haproxy, ProxyFolder::new(), asks, &[], &told);
    // Who isn't trusted is told 403: nothing was asked.
    rig.server.configure(&config.replacen("[decide]\n", "[decide]\ntrusted = [\"192.0.2.1\"]\n", 1));
    rig.comes_to(&rig.get("127.0.0.11", "/"), 503);
    assert_eq!(open.get("127.0.0.11", "/").send().status, 200);
    assert!(rig.server.stop().status.success());
    assert_eq!(rig.proxy.get("127.0.0.11", "/").send().status, 503);
    assert_eq!(open.get("127.0.0.11", "/").send().status, 200);
}

#[test]
fn nginx_writes_the_services_own_refusals_to_the_log_and_not_those_of_portcullis() {
    if !require("nginx") {
        return;
    }
    let server = Portcullis::with_config(&config(ProxyKind::Haproxy, &ProxyFolder::new(), WAITS)).start();
    let words = [("proxy_set_header Host $host;", "proxy_set_header Host $host; proxy_intercept_errors on;")];
    let proxy = Proxy::start_otherwise(ProxyKind::Nginx, ProxyFolder::new(), server.decide_address(), &words, &[]);
    let login = |client: &str| proxy.request(client, "POST", "/login?forbidden").form("username=x").send().status;
    assert_eq!(login("127.0.0.11"), 403);
    let banned = run(Command::new(portcullis())
        .args(["ban", "127.0.0.12", "--for", "1h", "--socket"])
        .arg(server.admin_socket()));
    assert_eq!(banned.code, Some(0), "{banned:?}");
    assert_eq!(login("127.0.0.12"), 423);
    assert_eq!(login("127.0.0.13"), 403);
    let log = proxy.folder().log();
    let lines = eventually("both are written", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    for (line, client) in lines.lines().zip(["127.0.0.11", "127.0.0.13"]) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["source"], &event["status"]), (&client.into(), &"403".into()), "{line}");
        assert_eq!((&event["method"], &event["path"]), (&"POST".into(), &"/login?forbidden".into()), "{line}");
    }
}
