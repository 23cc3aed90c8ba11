//! The administration of a running server: its socket, TCP with a token, health
//! on an address of its own, and the commands that speak to them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use portcullis_tests::{
    Answer, Backend, Connection, DEADLINE, Latch, Portcullis, Ran, Reply, Request, Server, eventually, portcullis,
    repository, run, skip,
};
use serde_json::{Value, json};

const TOKEN: &str = "correct-horse-battery-staple";

/// Runs a command against that server's socket.
fn operate(server: &Server, arguments: &[&str]) -> Ran {
    let (command, rest) = arguments.split_first().unwrap();
    run(Command::new(portcullis()).arg(command).arg("--socket").arg(server.admin_socket()).args(rest))
}

/// What it says when all goes well.
#[track_caller]
fn said(server: &Server, arguments: &[&str]) -> String {
    let ran = operate(server, arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{arguments:?}: {ran:?}");
    ran.stdout
}

/// The same, for machines.
#[track_caller]
fn told(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&said(server, &[arguments, &["--json"]].concat())).unwrap()
}

/// What it says when it can't.
#[track_caller]
fn refused(server: &Server, code: i32, arguments: &[&str]) -> String {
    let ran = operate(server, arguments);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{arguments:?}: {ran:?}");
    ran.stderr
}

/// A server that is administered over TCP too; `rest` is more of its configuration.
fn with_token(rest: &str) -> Portcullis {
    let admin = "[admin]\nsocket = \"admin.sock\"\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\n\
                 health_address = \"127.0.0.1:0\"\n";
    Portcullis::with_config(&format!("{admin}{rest}")).file("token", format!("{TOKEN}\n"))
}

fn bearer(request: Request, token: &str) -> Request {
    request.header("Authorization", &format!("Bearer {token}"))
}

/// Asks with the right token.
#[track_caller]
fn ask(address: SocketAddr, method: &str, target: &str, body: Option<&Value>) -> Reply {
    let request = bearer(Request::new(address, method, target), TOKEN);
    match body {
        Some(body) => request.body("application/json", body.to_string().as_bytes()).send(),
        None => request.send(),
    }
}

/// It is a problem of that status, and says these words.
#[track_caller]
fn is_problem(reply: &Reply, status: u16, words: &str) {
    assert_eq!((reply.status, reply.header("content-type")), (status, Some("application/problem+json")), "{reply:?}");
    let problem: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string());
    assert!(reply.text().contains(words), "{words:?} isn't in {}", reply.text());
}

#[test]
fn the_socket_is_its_users_alone_and_goes_with_the_server() {
    let server = Portcullis::new().client("abc:right").start();
    let socket = server.admin_socket();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let status = told(&server, &["status"]);
    assert_eq!(status["pid"].as_u64(), Some(u64::from(server.id())));
    assert_eq!(status["ready"], json!({"ready": true, "reasons": []}));
    let config = server.folder().join("portcullis.toml");
    let found = run(Command::new(portcullis()).args(["status", "--config"]).arg(config));
    assert_eq!(found.code, Some(0), "where the configuration says: {found:?}");
    let _stopped = server.stop();
    assert!(!socket.exists());
}

#[test]
fn a_socket_of_a_dead_process_is_replaced_and_that_of_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let config = format!("[admin]\nsocket = {path:?}\n");
    let killed = Portcullis::with_config(&config).start();
    let second = Portcullis::with_config(&config).fail_to_start();
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(second.stderr.contains("admin.socket") && second.stderr.contains("a running server"), "{second:?}");
    drop(killed);
    assert!(path.exists(), "nobody was there to remove it");
    let third = Portcullis::with_config(&config).start();
    let found = run(Command::new(portcullis()).args(["status", "--socket"]).arg(&path));
    assert_eq!(found.code, Some(0), "{found:?}");
    drop(third);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    let fourth = Portcullis::with_config(&config).fail_to_start();
    assert!(fourth.code == Some(2) && fourth.stderr.contains("no socket"), "{fourth:?}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn who_is_banned_by_hand_is_refused_until_it_is_lifted() {
    let server = Portcullis::new().client("abc:right").start();
    let status_of = |client: &str| server.get("/").from(client).send().status;
    assert_eq!(said(&server, &["bans"]), "Nobody is banned.\n");
    let banned = told(&server, &["ban", "203.0.113.7", "--for", "90s", "--reason", "tried\x1b[31m me"]);
    assert_eq!((&banned["network"], &banned["changed"]), (&json!("203.0.113.7/32"), &json!(true)));
    let turned_away = server.get("/").from("203.0.113.7").send();
    assert!(turned_away.status == 423 && (60..=90).contains(&turned_away.retry_after()), "{turned_away:?}");
    assert_eq!(status_of("203.0.113.8"), 401);
    let list = said(&server, &["bans"]);
    assert!(list.contains("203.0.113.7 ") && list.contains("by hand"), "{list}");
    assert!(list.contains("tried\u{fffd}[31m me"), "nothing moves the terminal's cursor: {list:?}");
    assert_eq!(told(&server, &["bans"])[0]["reason"]["text"], "tried\x1b[31m me");
    assert!(said(&server, &["ban", "203.0.113.7", "--for", "1s"]).contains("for longer"));
    said(&server, &["ban", "203.0.113.0/24"]);
    assert_eq!(status_of("203.0.113.8"), 423);
    let lifted = said(&server, &["unban", "203.0.113.7"]);
    assert!(lifted.contains("still banned: 203.0.113.0/24 holds"), "{lifted}");
    let held = refused(&server, 1, &["unban", "203.0.113.7"]);
    assert!(held.contains("203.0.113.0/24") && held.contains("only be lifted as a whole"), "{held}");
    assert_eq!(told(&server, &["unban", "203.0.113.0/24"])["lifted"], 1);
    assert_eq!((status_of("203.0.113.7"), status_of("203.0.113.8")), (401, 401));
    assert!(refused(&server, 1, &["unban", "203.0.113.7"]).contains("isn't banned"));
    server.logged("by hand: 203.0.113.7/32 is banned until");
    server.logged("reason=tried%1B%5B31m%20me");
}

#[test]
fn an_ipv6_address_stands_for_its_network_and_all_can_be_lifted() {
    let server = Portcullis::new().start();
    assert_eq!(told(&server, &["ban", "2001:db8:1:2::7"])["network"], "2001:db8:1:2::/64");
    assert_eq!(server.get("/").from("2001:db8:1:2::8").send().status, 423);
    said(&server, &["ban", "2001:db8:9::/48"]);
    said(&server, &["ban", "198.51.100.1"]);
    assert_eq!(told(&server, &["bans", "2001:db8::/32"]).as_array().unwrap().len(), 2);
    assert_eq!(told(&server, &["bans", "198.51.100.1"]).as_array().unwrap().len(), 1);
    assert_eq!(told(&server, &["unban", "2001:db8:1:2::99"])["lifted"], 1);
    assert_eq!(told(&server, &["unban", "--all"])["lifted"], 2);
    assert_eq!(said(&server, &["bans"]), "Nobody is banned.\n");
}

#[test]
fn what_would_be_a_slip_of_the_finger_is_refused_and_says_what_would_be_right() {
    let server =
        Portcullis::with_config("[source]\ntrusted_proxies = [\"127.0.0.0/8\"]\nnever_ban = [\"192.0.2.0/24\"]\n")
            .start();
    assert!(refused(&server, 1, &["ban", "192.0.2.7"]).contains("192.0.2.0/24"));
    assert!(refused(&server, 1, &["ban", "127.0.0.1"]).contains("trusted_proxies"));
    assert!(refused(&server, 2, &["ban", "0.0.0.0/0"]).contains("wider than /8"));
    assert!(refused(&server, 2, &["ban", "everyone"]).contains("expected a network"));
    assert!(refused(&server, 2, &["ban", "203.0.113.7", "--for", "ever"]).contains("such as 90s"));
    assert!(refused(&server, 2, &["unban"]).contains("<NETWORK>"));
    assert!(refused(&server, 1, &["status", "bam"]).contains("there are wait, ban, scanner"));
    assert_eq!(told(&server, &["bans"]), json!([]));
}

#[test]
fn bans_come_page_by_page_and_none_is_missed() {
    let server = with_token("").start();
    let address = server.admin_address();
    for n in 1..=7 {
        let body = json!({"network": format!("203.0.113.{n}"), "duration": format!("{}m", 10 + n % 3)});
        assert_eq!(ask(address, "POST", "/v1/bans", Some(&body)).status, 200);
    }
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    let mut target = "/v1/bans?limit=3".to_owned();
    loop {
        let page: Value = serde_json::from_slice(&ask(address, "GET", &target, None).body).unwrap();
        let bans = page["bans"].as_array().unwrap();
        sizes.push(bans.len());
        seen.extend(bans.iter().map(|ban| (ban["until"].as_str().unwrap().to_owned(), ban["network"].to_string())));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/bans?limit=3&cursor={next}");
    }
    assert_eq!(sizes, [3, 3, 1]);
    assert!(
        seen.is_sorted()
            && seen.iter().map(|(_, network)| network).collect::<std::collections::BTreeSet<_>>().len() == 7
    );
    assert_eq!(told(&server, &["bans", "--limit", "5"]).as_array().unwrap().len(), 5);
    assert!(said(&server, &["bans", "--limit", "5"]).ends_with("and more (--limit 0 shows all)\n"));
}

#[test]
fn a_wait_is_seen_and_ended_by_id_or_source() {
    let server =
        Portcullis::with_config("[policy.wait]\nsettings = { client_login_wait = 600 }\n").client("abc:right").start();
    let login = |id: &str, secret: &str| server.get("/").from("203.0.113.7").basic(id, secret).send().status;
    assert_eq!((login("abc", "wrong"), login("abc", "right")), (401, 429));
    assert_eq!(login("\u{202e}x", "wrong"), 401);
    let waits = said(&server, &["waits"]);
    assert!(waits.contains("abc ") && waits.contains("\u{fffd}x ") && waits.contains("anywhere"), "{waits}");
    let json = operate(&server, &["waits", "--json"]).stdout;
    assert!(json.contains("\\u202ex") && !json.contains('\u{202e}'), "{json}");
    assert!(said(&server, &["unwait", "abc"]).contains("One wait"));
    assert_eq!(login("abc", "right"), 200);
    assert!(refused(&server, 1, &["unwait", "abc"]).contains("nobody like that waits"));
    assert!(refused(&server, 2, &["unwait"]).contains("ID"));
    assert_eq!(told(&server, &["waits"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_reload_says_what_came_of_it() {
    let server = Portcullis::new().client("abc:right").start();
    server.configure("[policy.ban]\nsettings = { max_failed_login = 2 }\n");
    let reloaded = told(&server, &["reload"]);
    // It may have been put in force by itself a moment before.
    assert!(reloaded["changed"] == json!(["ban"]) || reloaded["changed"] == json!([]), "{reloaded}");
    let settings = &told(&server, &["status", "ban"])["settings"];
    assert_eq!(settings["max_failed_login"], 2);
    server.configure("[policy.ban]\nsettings = { max_failed_logins = 2 }\n[gate]\nmax_bam = \"1h\"\n");
    let why = refused(&server, 1, &["reload"]);
    assert!(why.contains("what ran before goes on running"), "{why}");
    assert!(why.contains(":4: gate.max_bam"), "{why}");
    assert_eq!(told(&server, &["status", "ban"])["settings"]["max_failed_login"], 2);
}

#[test]
fn without_a_server_a_command_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    for command in [&["status"][..], &["bans"], &["waits"], &["ban", "203.0.113.7"], &["unban", "--all"], &["reload"]] {
        let ran = run(Command::new(portcullis()).args(command).arg("--socket").arg(&path));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains("there is no socket") && ran.stderr.contains("Is it running"), "{ran:?}");
    }
    let ran = run(Command::new(portcullis()).args(["status", "--url", "http://127.0.0.1:1"]));
    assert!(ran.code == Some(2) && ran.stderr.contains("--token-file"), "{ran:?}");
}

#[test]
fn a_stranger_over_tcp_learns_nothing_but_401_429_or_423() {
    let server = with_token("[policy.wait]\nsettings = { client_login_wait = 600 }\n").start();
    let address = server.admin_address();
    let strange = [
        ("GET", "/v1/status"),
        ("GET", "/nowhere"),
        ("GET", "/healthz"),
        ("DELETE", "/v1/status"),
        ("BREW", "/"),
        ("POST", "/v1/bans"),
        ("OPTIONS", "/v1/bans"),
        ("GET", "/v1/bans?limit=0"),
    ];
    for (method, target) in strange {
        let reply = Request::new(address, method, target).from("203.0.113.1").body("text/plain", &[0; 9]).send();
        is_problem(&reply, 401, "");
        assert_eq!(reply.text(), "{\"status\":401,\"title\":\"Unauthorized\"}", "{method} {target}");
        assert_eq!(reply.header("allow"), None);
    }
    // Nobody tried anything, so nobody waits. A wrong token is a failed login …
    for wrong in ["wrong", &TOKEN[1..], &format!("{TOKEN}x")] {
        assert_eq!(
            bearer(Request::new(address, "GET", "/v1/status"), wrong)
                .from(&format!("203.0.113.{}", wrong.len()))
                .send()
                .status,
            401
        );
    }
    server.logged_times(3, "Failed login attempt for client auth id \"\", forcing to wait for 600s (203.0.113.");
    // … after which even the right one waits.
    let waiting = bearer(Request::new(address, "GET", "/v1/status"), TOKEN).from("203.0.113.5").send();
    is_problem(&waiting, 429, "");
    assert!((500..=600).contains(&waiting.retry_after()), "{waiting:?}");
    assert_eq!(bearer(Request::new(address, "GET", "/v1/status"), TOKEN).from("203.0.113.99").send().status, 200);
    let waits = told(&server, &["waits"]);
    assert!(
        waits.as_array().unwrap().iter().any(|wait| wait["source"] == "203.0.113.5/32" && wait["id"].is_null()),
        "{waits}"
    );
}

#[test]
fn five_wrong_tokens_ban_whoever_shows_them_whatever_they_say_of_themselves() {
    let no_wait = "[source]\n[policy.wait]\nsettings = { client_login_wait = 0 }\n";
    let server = with_token(no_wait).start();
    let address = server.admin_address();
    for n in 0..5 {
        let spoofed = format!("198.51.100.{n}");
        let reply = bearer(Request::new(address, "GET", "/v1/status"), "wrong").from(&spoofed).send();
        assert_eq!(reply.status, 401);
    }
    let banned = bearer(Request::new(address, "GET", "/v1/status"), TOKEN).from("198.51.100.9").send();
    is_problem(&banned, 423, "");
    assert!(banned.retry_after() > 3500);
    assert_eq!(server.get("/").send().status, 423, "the gateway's door is shut as well");
    server.logged("Maximum of 5 login attempts reached. Visitor (127.0.0.1) banned.");
    // The socket is never gated.
    assert_eq!(told(&server, &["bans"])[0]["policy"], "ban");
    said(&server, &["unban", "127.0.0.1"]);
    assert_eq!(ask(address, "GET", "/v1/status", None).status, 200);
}

#[test]
fn a_right_token_resets_the_count_and_asking_often_is_one_attempt() {
    let server = with_token("[policy.wait]\nsettings = { client_login_wait = 0 }\n").start();
    let address = server.admin_address();
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(bearer(Request::new(address, "GET", "/healthz"), "wrong").send().status, 401);
        }
        for _ in 0..30 {
            assert_eq!(ask(address, "GET", "/healthz", None).status, 200);
        }
    }
    let totals = &told(&server, &["status"])["totals"];
    assert_eq!((&totals["attempts_failed"], &totals["attempts_succeeded"]), (&json!(12), &json!(3)));
    assert_eq!(totals["verified"], 87);
}

#[test]
fn the_command_line_speaks_over_tcp_with_the_token() {
    let server = with_token("[policy.wait]\nsettings = { client_login_wait = 600 }\n").start();
    let token = server.folder().join("token");
    let url = format!("http://{}", server.admin_address());
    let status = |token: &Path| {
        run(Command::new(portcullis()).args(["status", "--json", "--url", &url, "--token-file"]).arg(token))
    };
    let right = status(&token);
    assert_eq!(right.code, Some(0), "{right:?}");
    server.replace("other", "another-token-of-some-length");
    let wrong = status(&server.folder().join("other"));
    assert!(wrong.code == Some(1) && wrong.stderr.contains("doesn't take this token"), "{wrong:?}");
    let waiting = status(&token);
    assert!(waiting.code == Some(1) && waiting.stderr.contains("try again in"), "{waiting:?}");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let open = status(&token);
    assert!(open.code == Some(2) && open.stderr.contains("chmod 600"), "{open:?}");
}

#[test]
fn a_token_that_others_can_read_or_guess_is_none() {
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"token\"\n";
    let short = Portcullis::with_config(admin).file("token", "short").fail_to_start();
    assert!(short.code == Some(2) && short.stderr.contains("admin.token_file"), "{short:?}");
    assert!(short.stderr.contains("16"), "{short:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, TOKEN).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let open = Portcullis::with_config(&format!("[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = {path:?}\n"));
    let open = open.fail_to_start();
    assert!(open.code == Some(2) && open.stderr.contains("others can read it"), "{open:?}");
}

#[test]
fn whatever_is_wrong_with_a_request_is_a_problem_that_says_what() {
    let server = with_token("").start();
    let address = server.admin_address();
    let post =
        |kind: &str, body: &[u8]| bearer(Request::new(address, "POST", "/v1/bans"), TOKEN).body(kind, body).send();
    let json = "application/json";
    is_problem(&ask(address, "GET", "/v1/nothing", None), 404, "/v1/openapi.json");
    let wrong_method = ask(address, "PATCH", "/v1/bans", None);
    is_problem(&wrong_method, 405, "PATCH");
    assert_eq!(wrong_method.header("allow"), Some("GET,HEAD,POST,DELETE"));
    is_problem(&ask(address, "GET", "/v1/bans?limits=3", None), 400, "unknown field `limits`, expected one of `limit`");
    is_problem(&ask(address, "GET", "/v1/bans?limit=0", None), 400, "expected 1 to 1000");
    is_problem(&ask(address, "GET", "/v1/bans?limit=many", None), 400, "invalid digit");
    is_problem(&ask(address, "GET", "/v1/bans?cursor=xyz", None), 400, "next");
    is_problem(&ask(address, "GET", "/v1/status?x=1", None), 400, "no query parameters");
    is_problem(&ask(address, "DELETE", "/v1/bans", None), 400, "all=true");
    is_problem(&ask(address, "DELETE", "/v1/waits", None), 400, "id=ID");
    is_problem(&ask(address, "DELETE", "/v1/bans/203.0.113.7", None), 404, "isn't banned");
    is_problem(&ask(address, "DELETE", "/v1/bans/203.0.113.0/24", None), 404, "203.0.113.0/24 isn't banned");
    is_problem(&ask(address, "GET", "/v1/policies/bam", None), 404, "there are wait, ban, scanner");
    is_problem(&post(json, b"{\"network\""), 400, "EOF while parsing");
    is_problem(
        &post(json, b"{\"network\":\"203.0.113.7\",\"for\":\"1h\"}"),
        400,
        "unknown field `for`, expected one of",
    );
    is_problem(&post(json, b"{}"), 400, "missing field `network`");
    is_problem(&post("text/plain", b"{}"), 415, "application/json");
    is_problem(&post(json, &vec![b' '; (64 << 10) + 1]), 413, "65536");
    let chunked = bearer(Request::new(address, "POST", "/v1/bans"), TOKEN).header("Transfer-Encoding", "chunked");
    let mut chunk = b"10001\r\n".to_vec();
    chunk.extend_from_slice(&[b' '; 0x1_0001]);
    chunk.extend_from_slice(b"\r\n0\r\n\r\n");
    is_problem(&chunked.body(json, &chunk).send(), 413, "65536");
    assert_eq!(told(&server, &["bans"]), json!([]));
    let document: Value = serde_json::from_slice(&ask(address, "GET", "/v1/openapi.json", None).body).unwrap();
    let checked_in = fs::read(repository().join("host/server/openapi.json")).unwrap();
    assert_eq!(document, serde_json::from_slice::<Value>(&checked_in).unwrap());
}

#[test]
fn health_needs_no_token_on_its_own_address_and_there_is_nothing_else() {
    let server = with_token("").start();
    let address = server.health_address();
    let get = |target: &str| Request::new(address, "GET", target).send();
    assert_eq!((get("/healthz").status, get("/healthz").text()), (200, "ok\n"));
    assert_eq!(get("/readyz").text(), "{\"ready\":true,\"reasons\":[]}");
    assert!(get("/metrics").text().contains("# TYPE portcullis_requests_total counter"));
    for target in ["/v1/status", "/v1/openapi.json", "/", "/v1/bans"] {
        is_problem(&get(target), 404, "");
    }
    is_problem(&Request::new(address, "POST", "/healthz").send(), 405, "POST");
    assert_eq!(ask(server.admin_address(), "GET", "/readyz", None).status, 200);
}

#[test]
fn a_server_that_is_ending_isnt_ready_and_says_so() {
    let door = Arc::new(Latch::default());
    let at_the_door = Arc::clone(&door);
    let backend = Backend::start(move |_| {
        at_the_door.pass();
        Answer::status(200)
    });
    let server = with_token("").upstream(&backend.url()).start();
    let address = server.health_address();
    let pending = server.get("/").start();
    eventually("it is under way", || (backend.received().len() == 1).then_some(()));
    assert_eq!(Request::new(address, "GET", "/readyz").send().status, 200);
    server.terminate();
    server.logged("ending: requests under way");
    let ending = Request::new(address, "GET", "/readyz").send();
    assert_eq!((ending.status, ending.text()), (503, "{\"ready\":false,\"reasons\":[\"the server is ending\"]}"));
    assert_eq!(Request::new(address, "GET", "/healthz").send().status, 200);
    let status = said(&server, &["status"]);
    assert!(status.contains("ready       NO\n            the server is ending\n"), "{status}");
    door.open();
    assert_eq!(pending.finish().status, 200);
    assert!(server.wait().status.success());
}

#[test]
fn whoever_reads_nothing_is_in_nobodys_way() {
    let server = Portcullis::new().start();
    let mut greedy: Vec<UnixStream> = Vec::new();
    for _ in 0..8 {
        let mut stream = UnixStream::connect(server.admin_socket()).unwrap();
        stream.set_nonblocking(true).unwrap();
        // As much as the kernel takes, and no byte of the answers is read.
        let request = b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
        for _ in 0..100_000 {
            if stream.write(request).is_err() {
                break;
            }
        }
        greedy.push(stream);
    }
    for _ in 0..20 {
        said(&server, &["status"]);
    }
    drop(greedy);
}

#[test]
fn one_address_takes_not_all_connections() {
    let server = with_token("").start();
    let address = server.admin_address();
    let kept: Vec<_> = (0..16).map(|_| Connection::open(address)).collect();
    // What is over the cap is closed at once; those before it are served.
    let mut one_more = std::net::TcpStream::connect(address).unwrap();
    one_more.set_read_timeout(Some(DEADLINE)).unwrap();
    let closed = one_more.read(&mut [0; 1]);
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    for mut connection in kept {
        let reply = connection.exchange(&bearer(Request::new(address, "GET", "/healthz"), TOKEN));
        assert_eq!(reply.status, 200);
    }
    said(&server, &["status"]);
}

/// What varies from run to run, in as many characters.
fn steady(text: &str) -> String {
    let pid = regex::Regex::new(r"process \d+, serving for [\w ]+").unwrap();
    let address = regex::Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d").unwrap();
    let digest = regex::Regex::new(r"\b[0-9a-f]{12,64}\b").unwrap();
    let text = pid.replace_all(text, "process PID, serving for A WHILE");
    let text = address.replace_all(&text, "127.0.0.1:PORT");
    let text = time.replace_all(&text, "YYYY-MM-DD HH:MM:SS");
    digest.replace_all(&text, |found: &regex::Captures<'_>| "D".repeat(found[0].len())).into_owned()
}

#[test]
fn status_and_explain_look_as_they_were_looked_at() {
    // What is left of these looks the same for half an hour.
    let lasting =
        "[policy.wait]\nsettings = { client_login_wait = 3000 }\n[policy.scanner]\nsettings = { bantime = 131400 }\n";
    let server = Portcullis::with_config(lasting).client("abc:right").start();
    for id in ["a", "b", "c"] {
        assert_eq!(server.get("/").from("203.0.113.9").basic(id, "wrong").send().status, 401);
    }
    assert_eq!(server.get("/").from("203.0.113.9").basic("abc", "right").send().status, 200);
    assert_eq!(server.get("/").from("203.0.113.10").basic("d", "wrong").send().status, 401);
    for path in ["/.env", "/wp-login.php", "/again"] {
        let _answered = server.get(path).from("203.0.113.8").send();
    }
    said(&server, &["ban", "2001:db8::1", "--for", "36h 30m", "--reason", "a scanner of ours"]);
    for columns in ["80", "160"] {
        let mut text = String::new();
        let looked_at: [&[&str]; 7] = [
            &["status"],
            &["status", "ban"],
            &["status", "scanner"],
            &["bans"],
            &["explain", "203.0.113.8"],
            &["explain", "2001:db8::1"],
            &["explain", "a"],
        ];
        for arguments in looked_at {
            let (command, rest) = arguments.split_first().unwrap();
            let mut program = Command::new(portcullis());
            program.arg(command).arg("--socket").arg(server.admin_socket()).args(rest).env("COLUMNS", columns);
            let ran = run(&mut program);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            text.push_str(&format!("$ portcullis {}\n{}\n", arguments.join(" "), steady(&ran.stdout)));
            let widest = ran.stdout.lines().map(|line| line.chars().count()).max().unwrap();
            // Events are lines of a log, which are never cut.
            let fits = *command == "explain" || widest <= columns.parse().unwrap();
            assert!(fits, "{widest} columns: {}", ran.stdout);
        }
        let file = repository().join(format!("tests/admin/status-{columns}.txt"));
        if std::env::var_os("PORTCULLIS_WRITE_DOCS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap_or_default(), text, "{columns} columns: {}", file.display());
    }
}

#[test]
fn schemathesis_finds_no_5xx_and_no_undocumented_answer() {
    let set_up = run(&mut Command::new(repository().join("tests/admin/set-up")));
    if set_up.code == Some(3) {
        return skip(set_up.stderr.lines().last().unwrap_or_default());
    }
    assert_eq!(set_up.code, Some(0), "{set_up:?}");
    // It shows wrong tokens too, and is to see what is behind the door all the same.
    let patient =
        "[policy.wait]\nsettings = { client_login_wait = 0 }\n[policy.ban]\nsettings = { max_failed_login = 0 }\n";
    let server = with_token(patient).client("abc:right").start();
    let mut schemathesis = Command::new(set_up.stdout.trim());
    schemathesis.current_dir(server.folder()).arg("run").arg(repository().join("host/server/openapi.json"));
    schemathesis.args(["--url", &format!("http://{}", server.admin_address())]);
    schemathesis.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    // It never ends by itself.
    schemathesis.args(["--exclude-path", "/v1/events/follow"]);
    // What a schema allows can still be no ban's cursor, no policy's name and no duration.
    schemathesis.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    schemathesis.args(["--suppress-health-check", "filter_too_much"]);
    schemathesis.args(["--seed", "1", "--max-examples", "30", "--continue-on-failure", "--no-color"]);
    let ran = run(&mut schemathesis);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    let turned_away = ran.stdout.lines().any(|line| line.contains("Rate limited"));
    assert!(!turned_away, "it was turned away: {}", ran.stdout);
}
