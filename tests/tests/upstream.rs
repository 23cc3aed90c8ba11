//! Who it is behind a proxy, and what an attempt is, where the service behind checks secrets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_tests::{Answer, Backend, Latch, Portcullis, Received, Server, eventually, free_port};

const LOGIN: &str =
    "[auth]\nprotect = [\"/\"]\nlogin_paths = [\"/login\"]\nsuccess_statuses = [200]\n[policy.ban]\nenabled = false\n";

/// A service that knows one secret, by form or by Basic credentials (`abc:right`).
fn service() -> Backend {
    Backend::start(|request: &Received| {
        let form = String::from_utf8_lossy(&request.body).contains("password=right");
        let basic = request.header("authorization") == Some("Basic YWJjOnJpZ2h0");
        Answer::status(if form || basic { 200 } else { 401 })
    })
}

fn in_front_of(backend: &Backend) -> Server {
    Portcullis::with_config(LOGIN).upstream(&backend.url()).start()
}

#[test]
fn rule_2_behind_a_trusted_proxy_the_ban_hits_the_real_client() {
    let server = Portcullis::new().start();
    for _ in 0..2 {
        // What the client itself wrote stands to the left, and isn't believed.
        assert_eq!(server.get("/x").from("192.0.2.1, 203.0.113.7").send().status, 404);
    }
    server.logged("Visitor (203.0.113.7) banned.");
    assert_eq!(server.get("/x").from("203.0.113.7").send().status, 423);
    assert_eq!(server.get("/x").from("192.0.2.1").from("203.0.113.7, 127.0.0.9").send().status, 423);
    assert_eq!(server.get("/x").from("192.0.2.1").send().status, 404);
    assert_eq!(server.get("/x").from("203.0.113.7, 203.0.113.8").send().status, 404);
    assert_eq!(server.get("/x").send().status, 404, "the proxy itself isn't banned");
}

#[test]
fn rule_2_an_entry_that_makes_no_sense_ends_the_walk_at_the_last_trusted_hop() {
    let server = Portcullis::new().start();
    for _ in 0..4 {
        assert_eq!(
            server.get("/x").from("203.0.113.7, nonsense, 127.0.0.9").send().status,
            404,
            "a proxy is never banned"
        );
    }
    server.logged("GET /x 404");
    assert!(server.log_with("GET /x 404").iter().all(|line| line.ends_with("(127.0.0.9)")), "{:?}", server.log());
}

#[test]
fn rule_2_from_anyone_else_the_header_changes_nothing_and_one_warning_says_so() {
    let server = Portcullis::with_config("[source]\ntrusted_proxies = []\n").start();
    let statuses: Vec<_> = (1..=4).map(|n| server.get("/x").from(&format!("203.0.113.{n}")).send().status).collect();
    assert_eq!(statuses, [404, 404, 423, 423]);
    server.logged("Visitor (127.0.0.1) banned.");
    let stopped = server.stop();
    let told = |part: &str| stopped.log.iter().filter(|line| line.contains(part)).count();
    assert_eq!(told("warn X-Forwarded-For from a peer that isn't in source.trusted_proxies changes nothing"), 1);
    assert_eq!(told("a loopback or private address was banned"), 1);
}

#[test]
fn rule_6_basic_credentials_are_an_attempt_and_the_services_status_decides() {
    let backend = service();
    let server = in_front_of(&backend);
    assert_eq!(server.get("/").send().status, 401, "the service's own affair");
    assert_eq!(server.get("/").basic("abc", "wrong").send().status, 401);
    assert_eq!(server.get("/").basic("abc", "right").send().status, 429);
    assert_eq!(backend.received().len(), 2, "the secret isn't checked while the id waits");
    let passed = eventually("the wait is over", || {
        Some(server.get("/").basic("abc", "right").send()).filter(|reply| reply.status != 429)
    });
    assert_eq!(passed.status, 200);
    let stopped = server.stop();
    assert_eq!((stopped.total("attempts_failed"), stopped.total("attempts_succeeded")), (1, 1));
}

#[test]
fn rule_6_no_answer_and_answers_that_say_nothing_are_no_attempts() {
    let door = Arc::new(Latch::default());
    let at_the_door = Arc::clone(&door);
    let backend = Backend::start(move |request| match request.target.as_str() {
        "/hangs-up" => Answer::HangUp,
        "/late" => {
            at_the_door.pass();
            Answer::status(401)
        }
        "/nonsense" => Answer::Raw(b"what?\r\n\r\n".to_vec()),
        path => Answer::status(path[1..].parse().unwrap()),
    });
    let config = "[upstream]\nurl = \"{URL}\"\nresponse_timeout = \"1s\"\n".replace("{URL}", &backend.url());
    let server = Portcullis::with_config(&config).start();
    for (path, status) in [
        ("/hangs-up", 502),
        ("/nonsense", 502),
        ("/late", 504),
        ("/500", 500),
        ("/503", 503),
        ("/404", 404),
        ("/429", 429),
    ] {
        let reply = server.get(path).from("203.0.113.7").basic("abc", "x").send();
        assert_eq!(reply.status, status, "{path}");
    }
    door.open();
    let nobody = Portcullis::new().upstream(&format!("http://127.0.0.1:{}", free_port())).start();
    assert_eq!(nobody.get("/").basic("abc", "x").send().status, 502);
    assert_eq!(nobody.stop().total("attempts_failed"), 0);
    let stopped = server.stop();
    assert_eq!((stopped.total("attempts_failed"), stopped.total("attempts_succeeded")), (0, 0));
    assert_eq!(stopped.total("upstream_failed"), 3);
}

#[test]
fn rule_6_on_a_login_path_only_the_named_statuses_are_a_success() {
    let backend = Backend::start(|request| {
        let answer = if String::from_utf8_lossy(&request.body).contains("right") { 200 } else { 302 };
        Answer::status(answer)
    });
    let server = in_front_of(&backend);
    assert_eq!(server.post("/login").form("username=abc&password=wrong").send().status, 302);
    assert_eq!(server.post("/login").form("username=abc&password=right").send().status, 200);
    assert_eq!(server.get("/login").send().status, 302, "a GET is no login");
    let stopped = server.stop();
    assert_eq!((stopped.total("attempts_failed"), stopped.total("attempts_succeeded")), (0, 1));
}

#[test]
fn rule_7_a_login_path_is_one_however_it_is_spelt() {
    let backend = service();
    let server = in_front_of(&backend);
    let spellings = [
        "/login",
        "//login",
        "/%6Cogin",
        "/%6cogin",
        "/x/../login",
        "/./login",
        "/login/",
        "/login;x=1",
        "/x/%2e%2e/login",
        "///x/..//login",
        "/login?x=1",
        "/;x/login",
    ];
    for (n, path) in spellings.into_iter().enumerate() {
        let form = format!("username=id-{n}&password=wrong");
        assert_eq!(server.post(path).form(&form).send().status, 401, "{path}");
        assert_eq!(server.post("/login").form(&form).send().status, 429, "{path} is no login");
    }
    assert_eq!(server.stop().total("attempts_failed"), spellings.len() as u64);
}

#[test]
fn rule_7_abc_in_capitals_is_the_same_id_unless_the_operator_says_otherwise() {
    let backend = service();
    let server = in_front_of(&backend);
    for id in ["abc", "Abc", "aBC", "ABC"] {
        let expected = if id == "abc" { 401 } else { 429 };
        let reply = server.post("/login").form(&format!("username={id}&password=wrong")).send();
        assert_eq!(reply.status, expected, "{id}");
    }
    let keep = LOGIN.replace("[auth]\n", "[auth]\nid_case = \"keep\"\n");
    let server = Portcullis::with_config(&keep).upstream(&backend.url()).start();
    for id in ["abc", "Abc"] {
        assert_eq!(server.post("/login").form(&format!("username={id}&password=wrong")).send().status, 401, "{id}");
    }
}

#[test]
fn rule_7_a_login_body_that_could_hide_an_id_never_reaches_the_service() {
    let backend = service();
    let server = in_front_of(&backend);
    let login = || server.post("/login");
    let json = |text: &str| login().body("application/json", text.as_bytes());
    let form = "username=abc&password=wrong";
    for (what, request, status) in [
        ("two ids", login().form("username=abc&username=def&password=x"), 400),
        ("two ids, one encoded", login().form("username=abc&user%6Eame=def&password=x"), 400),
        ("two ids in JSON", json(r#"{"username":"abc","username":"def","password":"x"}"#), 400),
        ("an id and Basic credentials", login().form(form).basic("def", "x"), 400),
        ("an id in the query", server.post("/login?username=def").form(form), 400),
        ("an id in the query, encoded", server.post("/login?user%6Eame=def").form(form), 400),
        ("no id", login().form("password=x"), 400),
        ("no form", login().form(""), 400),
        ("half a JSON", json(r#"{"username":"abc""#), 400),
        ("an id too long", login().form(&format!("username={}&password=x", "a".repeat(257))), 400),
        ("gzip", login().header("Content-Encoding", "gzip").form(form), 415),
        ("another type", login().body("text/plain", form.as_bytes()), 415),
        ("a multipart", login().body("multipart/form-data; boundary=x", b"--x--"), 415),
        ("too much", login().form(&format!("username=abc&password={}", "x".repeat(65 << 10))), 413),
    ] {
        assert_eq!(request.from("203.0.113.7").send().status, status, "{what}");
    }
    assert!(backend.received().is_empty());
    assert_eq!(login().form(form).from("203.0.113.7").send().status, 401);
    assert_eq!(json(r#"{"username":"ABC","password":"x"}"#).from("203.0.113.7").send().status, 429);
    assert_eq!(backend.received()[0].body, form.as_bytes(), "what was read goes on as it was");
    assert_eq!(server.stop().total("attempts_failed"), 1);
}

#[test]
fn rule_7_a_login_body_that_does_not_come_in_time_is_a_408_and_no_attempt() {
    let backend = service();
    let config = format!("{LOGIN}[listen]\nbody_timeout = \"1s\"\n");
    let server = Portcullis::with_config(&config).upstream(&backend.url()).start();
    let mut connection = server.connect();
    connection.send(
        b"POST /login HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n\
          Content-Length: 27\r\n\r\nusername=abc",
    );
    assert_eq!(connection.read(false).unwrap().status, 408);
    assert!(backend.received().is_empty());
    assert_eq!(server.post("/login").form("username=abc&password=right").send().status, 200);
}

#[test]
fn rule_8_the_service_still_checks_a_verified_pair_and_its_401_ends_it() {
    let knows = Arc::new(AtomicBool::new(true));
    let known = Arc::clone(&knows);
    let backend = Backend::start(move |_| Answer::status(if known.load(Ordering::SeqCst) { 200 } else { 401 }));
    let server = in_front_of(&backend);
    let owner = server.get("/").from("203.0.113.7").basic("abc", "right");
    assert_eq!((owner.send().status, owner.send().status), (200, 200));
    assert_eq!(backend.received().len(), 2);
    knows.store(false, Ordering::SeqCst);
    assert_eq!(owner.send().status, 401, "a failed attempt, and it is verified no longer");
    assert_eq!(owner.send().status, 429);
    let stopped = server.stop();
    let counted = (stopped.total("attempts_succeeded"), stopped.total("verified"), stopped.total("attempts_failed"));
    assert_eq!(counted, (1, 2, 1));
}

#[test]
fn rule_6_a_public_page_makes_no_guess_right() {
    let backend = Backend::start(|request: &Received| {
        Answer::status(if request.target.starts_with("/public") { 200 } else { 401 })
    });
    let config = "[auth]\nprotect = [\"/private\"]\nlogin_paths = [\"/login\"]\nsuccess_statuses = [303]\n[policy.wait]\nenabled = false\n";
    let server = Portcullis::with_config(config).upstream(&backend.url()).start();
    let from = |request: portcullis_tests::Request| request.from("203.0.113.7");
    for n in 0..5 {
        let guess = format!("guess-{n}");
        assert_eq!(from(server.get("/public")).basic("victim", &guess).send().status, 200);
        let form = format!("username=victim&password={guess}");
        let status = if n % 2 == 0 {
            from(server.post("/login")).form(&form).send().status
        } else {
            from(server.get("/private")).basic("victim", &guess).send().status
        };
        assert_eq!(status, 401);
    }
    assert_eq!(from(server.get("/public")).send().status, 423, "five failures in a row, whatever a public page said");
    assert_eq!(server.stop().total("attempts_succeeded"), 0);
}

#[test]
fn rule_6_an_answer_that_may_have_needed_no_credentials_makes_no_guess_right() {
    let public = ["/Private/x", "/private.json", "/%70rivate/x", "/private/%2e%2e/public"];
    let backend = Backend::start(move |request: &Received| {
        let unasked = request.method == "OPTIONS" || public.contains(&request.target.as_str());
        Answer::status(if unasked { 200 } else { 401 })
    });
    let config = "[auth]\nprotect = [\"/private\"]\n[policy.wait]\nenabled = false\n";
    let server = Portcullis::with_config(config).upstream(&backend.url()).start();
    let guess = |request: portcullis_tests::Request| request.from("203.0.113.7").basic("victim", "guess").send().status;
    for _ in 0..4 {
        assert_eq!(guess(server.get("/private/x")), 401);
        assert_eq!(guess(server.request("OPTIONS", "/private/x")), 200);
        for target in public {
            assert_eq!(guess(server.get(target)), 200, "{target}");
        }
    }
    assert_eq!(guess(server.get("/private/x")), 401);
    assert_eq!(guess(server.get("/private/x")), 423, "five failures in a row");
    let stopped = server.stop();
    assert_eq!((stopped.total("attempts_succeeded"), stopped.total("verified")), (0, 0));
}

#[test]
fn rule_14_a_scanner_that_sends_and_hangs_up_is_judged_all_the_same() {
    let backend = Backend::start(|_| Answer::status(404));
    let server = Portcullis::new().upstream(&backend.url()).start();
    for _ in 0..2 {
        server.get("/.env").from("203.0.113.7").start().hang_up();
    }
    server.logged("Visitor (203.0.113.7) banned.");
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 423);
}

#[test]
fn rule_8_a_login_by_form_is_verified_like_one_by_basic_credentials() {
    let backend = service();
    let server = in_front_of(&backend);
    let owner = server.post("/login").from("203.0.113.7").form("username=abc&password=right");
    assert_eq!(owner.send().status, 200);
    assert_eq!(server.post("/login").from("203.0.113.8").form("username=abc&password=x").send().status, 401);
    assert_eq!(owner.send().status, 200);
    assert_eq!(server.post("/login").from("203.0.113.9").form("username=abc&password=right").send().status, 429);
}

#[test]
fn rule_13_what_an_attempt_leads_to_is_in_force_before_the_services_answer_goes_on() {
    let served = Arc::new(Mutex::new(0));
    let count = Arc::clone(&served);
    let backend = Backend::start(move |_| {
        *count.lock().unwrap() += 1;
        Answer::status(401).body("the service's own words")
    });
    let server = Portcullis::new().upstream(&backend.url()).start();
    let mut connection = server.connect();
    for n in 0..5 {
        let reply = connection.exchange(&server.get("/").from("203.0.113.7").basic(&format!("id-{n}"), "x"));
        assert_eq!((reply.status, reply.text()), (401, "the service's own words"));
    }
    let reply = connection.exchange(&server.get("/").from("203.0.113.7"));
    assert_eq!((reply.status, *served.lock().unwrap()), (423, 5));
}
