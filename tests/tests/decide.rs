//! What another proxy is told about requests that it holds, and what comes of
//! its reports (rules 39 and 40).

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::process::Command;

use portcullis_tests::{Connection, Portcullis, Ran, Reply, Request, Server, eventually, portcullis, run};
use serde_json::{Value, json};

/// A service behind another proxy checks the secrets, and nothing else is behind us.
const DECIDE: &str =
    "[decide]\naddress = [\"127.0.0.1:0\"]\n[auth]\nlogin_paths = [\"/login\"]\nsuccess_statuses = [303]\n";

fn start() -> Server {
    with("")
}

fn with(more: &str) -> Server {
    Portcullis::with_config(&format!("{DECIDE}{more}")).start()
}

fn check(server: &Server) -> Request {
    Request::new(server.decide_address(), "GET", "/check")
}

/// About a GET of that client.
fn about(server: &Server, client: &str) -> Request {
    check(server).header("X-Forwarded-For", client)
}

fn report(server: &Server, kind: &str, body: &str) -> Reply {
    Request::new(server.decide_address(), "POST", "/report").body(kind, body.as_bytes()).send()
}

/// So many events, all of which are taken.
#[track_caller]
fn take(server: &Server, events: &[Value]) -> Value {
    let body: Vec<String> = events.iter().map(Value::to_string).collect();
    let reply = report(server, "application/x-ndjson", &body.join("\n"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_str(reply.text()).unwrap()
}

fn not_found(source: &str) -> Value {
    json!({"source": source, "path": "/.env", "status": 404})
}

fn failure(source: &str, client: &str) -> Value {
    json!({"source": source, "client": client, "outcome": "failure", "path": "/", "status": 401})
}

fn operate(server: &Server, arguments: &[&str]) -> Ran {
    run(Command::new(portcullis()).args(arguments).arg("--socket").arg(server.admin_socket()))
}

#[test]
fn rule_40_a_ban_a_wait_and_who_is_neither() {
    let server = start();
    let passes = about(&server, "203.0.113.7").send();
    assert_eq!((passes.status, passes.header("x-portcullis-source")), (200, Some("203.0.113.7")));
    take(&server, &[not_found("203.0.113.7"), not_found("203.0.113.7"), failure("203.0.113.8", "abc")]);

    let banned = about(&server, "203.0.113.7").send();
    assert_eq!(banned.status, 423);
    assert!((3590..=3600).contains(&banned.retry_after()), "{banned:?}");
    let json = about(&server, "203.0.113.7").header("Accept", "application/json").send();
    assert_eq!(json.text(), "{\"status\":423,\"error\":\"Locked\"}\n");

    // Who waits is the id, wherever it comes from, and it may ask for all but logins.
    let waiting = about(&server, "192.0.2.1").basic("ABC", "right").send();
    assert!(waiting.status == 429 && (1..=2).contains(&waiting.retry_after()), "{waiting:?}");
    assert_eq!(about(&server, "192.0.2.1").basic("other", "x").send().status, 200);
    assert_eq!(about(&server, "203.0.113.8").send().status, 200);
    // The same ban at our own gate: the state is one.
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 423);
    eventually("the wait is over", || {
        (about(&server, "192.0.2.1").basic("abc", "right").send().status == 200).then_some(())
    });
    let stopped = server.stop();
    assert_eq!(stopped.total("checks_banned"), 2);
    assert_eq!(stopped.total("refused_banned"), 3);
    assert_eq!((stopped.total("reported_judged"), stopped.total("attempts_failed")), (3, 1));
    assert_eq!(stopped.total("checks_malformed"), 0);
}

#[test]
fn rule_40_a_post_to_a_login_path_waits_by_what_is_known_of_it() {
    let server = with("[policy.wait]\nsubject = \"source\"\nsettings = { client_login_wait = 600 }\n");
    take(&server, &[failure("203.0.113.7", "abc")]);
    let asks = |method: &str, uri: &str| {
        about(&server, "203.0.113.7").header("X-Forwarded-Method", method).header("X-Forwarded-Uri", uri).send().status
    };
    assert_eq!(asks("POST", "/login?next=%2F"), 429);
    assert_eq!(asks("POST", "/Login/"), 429, "in any way in which a service may read it");
    assert_eq!(asks("GET", "/login"), 200);
    assert_eq!(asks("POST", "/other"), 200);
    assert_eq!(about(&server, "203.0.113.7").basic("other", "x").send().status, 429);
    assert_eq!(about(&server, "203.0.113.9").basic("abc", "x").send().status, 200);
    // As Envoy asks: by the request's own method and path, behind a prefix.
    let envoy = |method: &str, path: &str| {
        Request::new(server.decide_address(), method, path).header("X-Forwarded-For", "203.0.113.7").send().status
    };
    assert_eq!(envoy("POST", "/check/login"), 429);
    assert_eq!(envoy("POST", "/check/other"), 200);
    assert_eq!(envoy("HEAD", "/check/login"), 200);
    // As nginx asks.
    let nginx = |method: &str, uri: &str| {
        Request::new(server.decide_address(), "GET", "/auth_request")
            .header("X-Real-IP", "203.0.113.7")
            .header("X-Original-Method", method)
            .header("X-Original-URI", uri)
            .send()
    };
    let refused = nginx("POST", "/login");
    assert_eq!((refused.status, refused.header("x-portcullis-status")), (403, Some("429")));
    assert!((590..=600).contains(&refused.retry_after()), "{refused:?}");
    assert_eq!(nginx("GET", "/login").status, 200);
}

#[test]
fn rule_40_an_id_of_a_form_is_taken_from_the_header_that_is_named_for_it_and_no_other() {
    let wait = "[policy.wait]\nsettings = { client_login_wait = 600 }\n";
    let server = Portcullis::with_config(&format!(
        "{}{wait}",
        DECIDE.replacen("[decide]\n", "[decide]\nid_header = \"X-Login-Id\"\n", 1)
    ))
    .start();
    take(&server, &[failure("203.0.113.7", "abc")]);
    let asks = |id: &str| about(&server, "192.0.2.1").header("X-Login-Id", id).send().status;
    assert_eq!([asks("abc"), asks("other"), asks("")], [429, 200, 200]);
    assert_eq!(about(&server, "192.0.2.1").header("X-Login-Id", "other").basic("abc", "x").send().status, 400);
    // A proxy that sets it beside a client's own, instead of in its place.
    let twice = |one: &str, other: &str| {
        about(&server, "192.0.2.1").header("X-Login-Id", one).header("X-Login-Id", other).send().status
    };
    assert_eq!([twice("other", "abc"), twice("", "abc"), twice("other", "other")], [400; 3]);
    let without = with(wait);
    take(&without, &[failure("203.0.113.7", "abc")]);
    assert_eq!(about(&without, "192.0.2.1").header("X-Login-Id", "abc").send().status, 200);
    // Whose login a POST to a login path with credentials is, nobody could say (rule 7).
    let login = |method: &str, path: &str, id: &str| {
        let asks = about(&without, "192.0.2.1").header("X-Forwarded-Method", method).header("X-Forwarded-Uri", path);
        asks.basic(id, "x").send().status
    };
    assert_eq!([login("POST", "/login", "other"), login("post", "/Login?x", "other")], [400; 2]);
    assert_eq!(
        [login("GET", "/login", "other"), login("POST", "/", "other"), login("POST", "/", "abc")],
        [200, 200, 429]
    );
}

#[test]
fn rule_40_what_a_client_says_of_itself_changes_nothing() {
    let server = with("\n[source]\ntrusted_proxies = [\"10.0.0.0/8\"]\n");
    take(&server, &[not_found("203.0.113.7"), not_found("203.0.113.7")]);
    for spoofed in [
        "198.51.100.1, 203.0.113.7",
        "127.0.0.1, 203.0.113.7",
        "10.0.0.1, 203.0.113.7",
        "unknown, 203.0.113.7",
        "203.0.113.7, 10.0.0.1",
        "198.51.100.1, 203.0.113.7, 10.0.0.1, 10.0.0.2",
    ] {
        assert_eq!(about(&server, spoofed).send().status, 423, "{spoofed}");
    }
    // Another's ban isn't had by claiming to be them, nor one's own lost by other headers.
    assert_eq!(about(&server, "203.0.113.7, 198.51.100.1").send().status, 200);
    for (name, value) in [
        ("X-Real-IP", "198.51.100.1"),
        ("Forwarded", "for=198.51.100.1"),
        ("X-Original-URI", "/"),
        ("X-Client-IP", "198.51.100.1"),
        ("True-Client-IP", "198.51.100.1"),
        ("X_Forwarded_For", "198.51.100.1"),
    ] {
        assert_eq!(about(&server, "203.0.113.7").header(name, value).send().status, 423, "{name}");
        assert_eq!(about(&server, "198.51.100.1").header(name, "203.0.113.7").send().status, 200, "{name}");
    }
    // A client's query comes along where a proxy rewrites the path alone.
    let asks = Request::new(server.decide_address(), "GET", "/check?source=198.51.100.1&x=/auth_request");
    assert_eq!(asks.header("X-Forwarded-For", "203.0.113.7").send().status, 423);
}

#[test]
fn rule_40_a_proxy_that_names_nobody_is_told_what_is_missing() {
    let server = start();
    for request in [check(&server), about(&server, ""), about(&server, "203.0.113.7, unknown")] {
        let reply = request.send();
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("X-Forwarded-For has to end with the client's address"), "{}", reply.text());
    }
    let nginx = Request::new(server.decide_address(), "GET", "/auth_request").header("X-Forwarded-For", "203.0.113.7");
    let reply = nginx.send();
    assert_eq!((reply.status, reply.header("x-portcullis-status")), (403, Some("400")));
    assert!(reply.text().contains("X-Real-IP has to be the client's address"), "{}", reply.text());
    server.logged("Refused with 400, no-client-named (127.0.0.1)");
    // The proxy itself is never judged for it.
    let two = about(&server, "203.0.113.7").header("Authorization", "Basic x").send();
    assert_eq!(two.status, 400, "credentials that can be read in two ways");
    assert_eq!(Request::new(server.decide_address(), "GET", "/other").send().status, 404);
    assert_eq!(Request::new(server.decide_address(), "GET", "/report").send().status, 405);
    let stopped = server.stop();
    assert_eq!((stopped.total("bans"), stopped.total("checks_malformed")), (0, 5));
}

#[test]
fn rule_40_only_trusted_peers_may_ask_and_report() {
    let config = DECIDE.replacen("[decide]\n", "[decide]\ntrusted = [\"127.0.0.2\"]\n", 1);
    let server = Portcullis::with_config(&config).start();
    let reply = about(&server, "203.0.113.7").send();
    assert_eq!((reply.status, reply.text()), (403, "403 Forbidden\n"));
    for _ in 0..3 {
        let body = not_found("203.0.113.7").to_string();
        let reply = report(&server, "application/json", &body);
        assert_eq!(reply.status, 403);
    }
    let line = server.logged("Refused with 403, not-in-decide.trusted (127.0.0.1)");
    assert!(line.contains(" info "), "{line}");
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 404, "nothing came of it");
    // It is put in force at once.
    server.configure(&DECIDE.replacen("[decide]\n", "[decide]\ntrusted = [\"127.0.0.0/8\"]\n", 1));
    server.swapped(1);
    assert_eq!(about(&server, "203.0.113.7").send().status, 200);
    assert_eq!(server.stop().total("askers_untrusted"), 4);
}

#[test]
fn rule_39_a_report_is_judged_by_the_same_policies_and_explained_by_who_reported_it() {
    let server = start();
    let taken = take(&server, &(0..7).map(|n| failure("203.0.113.7", &format!("id{n}"))).collect::<Vec<_>>());
    assert_eq!(taken, json!({"events": 7, "judged": 5, "banned": 2, "rejected": 0}));
    server.logged("Maximum of 5 login attempts reached. Visitor (203.0.113.7) banned.");
    let explained = operate(&server, &["explain", "203.0.113.7"]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
    assert!(explained.stdout.contains("127.0.0.1"), "by whom: {}", explained.stdout);
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 423);
    let unbanned = operate(&server, &["unban", "203.0.113.7"]);
    assert_eq!(unbanned.code, Some(0), "{unbanned:?}");
    assert_eq!(about(&server, "203.0.113.7").send().status, 200);

    // A success resets the count, and who is known is no scanner.
    let success = json!({"source": "203.0.113.9", "client": "abc", "outcome": "success"});
    let mut events: Vec<Value> = (0..4).map(|_| failure("203.0.113.9", "abc")).collect();
    events.push(success);
    events.extend((0..4).map(|_| failure("203.0.113.9", "abc")));
    assert_eq!(take(&server, &events)["judged"], 9);
    assert_eq!(about(&server, "203.0.113.9").send().status, 200);
}

#[test]
fn rule_39_a_name_that_a_request_gave_spares_no_scanner() {
    let by_file = "[decide]\naddress = [\"127.0.0.1:0\"]\n[auth]\nmode = \"file\"\n";
    for server in [start(), Portcullis::with_config(by_file).start()] {
        let named = json!({"source": "203.0.113.7", "client": "x", "path": "/.env", "status": 404});
        take(&server, &[named.clone(), named]);
        assert_eq!(about(&server, "203.0.113.7").send().status, 423);
    }
}

#[test]
fn rule_6_no_answer_that_needs_no_credentials_resets_what_failures_have_counted() {
    let server = with("protect = [\"/api\"]\n[policy.wait]\nenabled = false\n");
    let basic = |method: &str, path: &str, status: u16| json!({"source": "203.0.113.7", "client": "x", "method": method, "path": path, "status": status});
    let unasked = [
        basic("OPTIONS", "/api/x", 204),
        basic("TRACE", "/api/x", 200),
        basic("GET", "/API/x", 200),
        basic("GET", "/api.json", 200),
        basic("GET", "/public/..%2fapi/x", 200),
        basic("GET", "/api/../public", 200),
        basic("GET", "/%61pi", 200),
        basic("GET", &format!("/{}", "a;/".repeat(300)), 200),
        json!({"source": "203.0.113.7", "method": "POST", "path": "/notes/..%2flogin", "status": 303}),
    ];
    let guess = basic("GET", "/api/x", 401);
    for _ in 0..4 {
        take(&server, &[std::slice::from_ref(&guess), &unasked].concat());
    }
    assert_eq!(about(&server, "203.0.113.7").send().status, 200);
    take(&server, std::slice::from_ref(&guess));
    assert_eq!(about(&server, "203.0.113.7").send().status, 423);
    // Where it is demanded it counts, and a path below may be written in any way that stays there.
    let elsewhere = |mut event: Value| {
        event["source"] = "203.0.113.8".into();
        event
    };
    let events = [(); 4].map(|()| elsewhere(guess.clone()));
    for right in [basic("GET", "/api/a%20b.json", 200), basic("DELETE", "/api", 204)] {
        take(&server, &events);
        take(&server, &[elsewhere(right)]);
    }
    take(&server, &events);
    assert_eq!(about(&server, "203.0.113.8").send().status, 200);
}

#[test]
fn no_web_page_reports_wherever_it_believes_us_to_be() {
    let server = start();
    let event = not_found("203.0.113.7").to_string();
    for origin in ["http://attacker.example", "null", "http://127.0.0.1:8090"] {
        let page = Request::new(server.decide_address(), "POST", "/report").header("Origin", origin);
        assert_eq!(page.body("application/json", event.as_bytes()).send().status, 403, "{origin}");
    }
    server.logged("Refused with 403, report-by-a-web-page (127.0.0.1)");
    take(&server, &[not_found("203.0.113.7")]);
    assert_eq!(about(&server, "203.0.113.7").header("Origin", "http://example.org").send().status, 200, "one hit");
}

#[test]
fn rule_39_what_a_login_is_stands_in_one_place_for_requests_that_were_answered_elsewhere() {
    let server = with("protect = [\"/api\"]\n");
    let answered = |source: &str, client: &str, method: &str, path: &str, status: u16| json!({"source": source, "client": client, "method": method, "path": path, "status": status});
    // By form: nobody knows of whom. By Basic credentials: whoever the proxy names.
    let form = |status| answered("203.0.113.7", "", "POST", "/login?x", status);
    let basic = |path, status| answered("203.0.113.8", "abc", "GET", path, status);
    take(&server, &[form(401), form(403), form(401), form(401), form(200), form(404)]);
    take(&server, &[basic("/", 401), basic("/", 403), basic("/", 200), basic("/api/x", 500), basic("/", 401)]);
    take(&server, &[answered("203.0.113.9", "", "GET", "/login", 401), answered("203.0.113.9", "", "GET", "/", 401)]);
    let totals = || {
        let status: Value = serde_json::from_str(&server.administration("/v1/status")).unwrap();
        ["attempts_failed", "attempts_succeeded"].map(|name| status["totals"][name].as_u64().unwrap())
    };
    assert_eq!(totals(), [7, 0]);
    // A success resets: of a form by what is said to be one, of Basic where the service demands it.
    take(&server, &[form(303), basic("/api/x", 200)]);
    assert_eq!(totals(), [7, 2]);
    take(&server, &[form(401), basic("/", 401), basic("/", 401), basic("/", 401)]);
    for client in ["203.0.113.7", "203.0.113.8", "203.0.113.9"] {
        assert_eq!(about(&server, client).send().status, 200, "{client}");
    }
    take(&server, &[form(401), form(401), form(401), form(401)]);
    assert_eq!(about(&server, "203.0.113.7").send().status, 423);
}

#[test]
fn a_report_is_taken_line_by_line_and_says_which_line_is_none() {
    let server = start();
    let lines = [
        not_found("203.0.113.7").to_string(),
        String::new(),
        "{\"source\":\"203.0.113.7\",\"status\":4O4}".to_owned(),
        "{\"source\":\"not an address\",\"status\":404}\r".to_owned(),
        "x".repeat(20_000),
        format!("{}\r", not_found("203.0.113.7")),
    ];
    let reply = report(&server, "application/x-ndjson", &lines.join("\n"));
    assert_eq!(reply.status, 400);
    let taken: Value = serde_json::from_str(reply.text()).unwrap();
    let counts = ["events", "judged", "banned", "rejected"].map(|name| taken[name].as_u64().unwrap());
    assert_eq!(counts, [5, 2, 0, 3], "{taken}");
    let errors: Vec<(u64, &str)> = taken["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["line"].as_u64().unwrap(), error["error"].as_str().unwrap()))
        .collect();
    assert_eq!([errors[0].0, errors[1].0, errors[2].0], [3, 4, 5]);
    assert!(errors[1].1.starts_with("source: expected an address"), "{errors:?}");
    assert_eq!(errors[2].1, "longer than 16384 bytes");
    assert_eq!(about(&server, "203.0.113.7").send().status, 423, "what is right is taken all the same");

    for (kind, body, status) in [
        ("application/json", "{\n \"source\": \"192.0.2.1\",\n \"status\": 404\n}\n", 200),
        ("application/json", "", 400),
        ("application/json", "{\"source\":\"192.0.2.1\",\"status\":404}{\"source\":\"192.0.2.1\",\"status\":404}", 400),
        ("application/x-ndjson", "", 200),
        ("text/plain", "{\"source\":\"192.0.2.1\",\"status\":404}", 415),
        ("application/x-www-form-urlencoded", "{\"source\":\"192.0.2.1\",\"status\":404}", 415),
    ] {
        let reply = report(&server, kind, body);
        assert_eq!(reply.status, status, "{kind} {body:?}: {}", reply.text());
    }
    let late = json!({"source": "192.0.2.1", "status": 404, "at": "2020-01-01T00:00:00Z"});
    let reply = report(&server, "application/json", &late.to_string());
    assert!(reply.status == 400 && reply.text().contains("more than 24 h ago"), "{}", reply.text());
    assert_eq!(about(&server, "192.0.2.1").send().status, 200, "one hit alone has counted");
}

#[test]
fn a_report_is_bounded_in_bytes_and_in_events_and_says_how_far_it_was_read() {
    let config = DECIDE.replacen("[decide]\n", "[decide]\nmax_report = \"2MiB\"\n", 1);
    let server = Portcullis::with_config(&config).start();
    let line = format!("{}\n", json!({"source": "203.0.113.7", "status": 200}));
    let reply = report(&server, "application/x-ndjson", &line.repeat(10_001));
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("more than 10000 events: nothing after line 10000 was taken"), "{}", reply.text());
    let reply = report(&server, "application/x-ndjson", &line.repeat(2 * 1024 * 1024 / line.len() + 1));
    assert_eq!(reply.status, 413, "announced");
    // Unannounced, in chunks.
    let mut connection = Connection::open(server.decide_address());
    connection.send(
        b"POST /report HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let blank = " ".repeat(1 << 20);
    for chunk in [line.as_str(), &blank, &blank] {
        connection.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
    }
    let reply = connection.read(false).unwrap();
    assert_eq!(reply.status, 413);
    let taken: Value = serde_json::from_str(reply.text()).unwrap();
    assert_eq!((&taken["judged"], &taken["events"]), (&1.into(), &1.into()), "{taken}");
    assert!(taken["stopped"].as_str().unwrap().contains("nothing after line 1 was taken"), "{taken}");
}

#[test]
fn checks_go_on_over_one_connection_and_while_the_gateway_is_full() {
    let server = with("[listen]\nmax_connections = 40\n");
    let _strangers: Vec<Connection> = (0..40).map(|_| Connection::open(server.address())).collect();
    let mut kept = Connection::open(server.decide_address());
    for _ in 0..50 {
        assert_eq!(kept.exchange(&about(&server, "203.0.113.7")).status, 200);
    }
    // A body that comes along isn't waited for.
    let about = about(&server, "203.0.113.7").header("Content-Length", "1000000");
    assert_eq!(about.send().status, 200);
    let status: Value = serde_json::from_str(&server.administration("/v1/status")).unwrap();
    assert_eq!(status["asked_on"], json!([server.decide_address().to_string()]));
    let metrics = server.administration("/metrics");
    assert!(metrics.contains("portcullis_checks_total{answer=\"passed\"} 51"), "{metrics}");
}

#[test]
fn what_is_reported_counts_for_the_guards_the_journal_and_what_survives() {
    let folder = "[journal]\ndir = \"journal\"\n[state]\nstore = \"sqlite:state.sqlite\"\n";
    let guards = "[guard]\nmax_bans_per_minute = 1\nmax_new_bans = 0\n\n[source]\nnever_ban = [\"198.51.100.0/24\"]\n";
    let with = |policies: &str| format!("{DECIDE}{folder}{guards}{policies}");
    let server = Portcullis::with_config(&with("")).start();
    // Never banned, and over the cap.
    take(&server, &[not_found("198.51.100.7"), not_found("198.51.100.7")]);
    take(&server, &[not_found("203.0.113.7"), not_found("203.0.113.7")]);
    take(&server, &[not_found("203.0.113.8"), not_found("203.0.113.8")]);
    let statuses = ["198.51.100.7", "203.0.113.7", "203.0.113.8"].map(|client| about(&server, client).send().status);
    assert_eq!(statuses, [200, 423, 200]);
    server.logged("policy scanner: more bans in a minute than guard.max_bans_per_minute allows");
    // A change is looked at over what was reported, too.
    take(&server, &(0..3).map(|n| failure("203.0.113.9", &format!("id{n}"))).collect::<Vec<_>>());
    server.configure(&with("[policy.ban]\nsettings = { max_failed_login = 3 }\n"));
    server.hang_up();
    let why = eventually("it is refused", || server.reasons().into_iter().find(|why| why.contains("203.0.113.9")));
    assert!(why.contains("ban"), "{why}");
    assert_eq!(about(&server, "203.0.113.9").send().status, 200);
    // The journal says who reported, and judges again to the same end.
    let events = operate(&server, &["events", "--json"]);
    let reported = events.stdout.lines().filter(|line| line.contains("\"report\"")).count();
    assert!(events.code == Some(0) && reported >= 9, "{events:?}");
    let journal = server.folder().join("journal");
    let again = server.again();
    server.configure(&with(""));
    assert!(server.stop().status.success());
    let replayed = run(Command::new(portcullis()).arg("replay").arg(&journal));
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    // As after any ban.
    let server = again.start();
    assert_eq!(about(&server, "203.0.113.7").send().status, 423);
    assert_eq!(about(&server, "203.0.113.9").send().status, 200);
}
