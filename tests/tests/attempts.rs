//! Who may pass, and what an attempt is, where the server checks secrets itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_tests::{Answer, Backend, Latch, Pending, Portcullis, Reply, Server, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CLIENT: &str = "alice:wonderland";

/// A thousand connections of one test, and as many of another beside it.
fn raise_limit() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
}

fn own() -> Server {
    Portcullis::new().client(CLIENT).start()
}

fn statuses<'r>(replies: impl IntoIterator<Item = &'r Reply>, status: u16) -> usize {
    replies.into_iter().filter(|reply| reply.status == status).count()
}

#[test]
fn rule_12_a_thousand_guesses_at_one_id_get_one_look_at_the_secret_per_two_seconds() {
    raise_limit();
    let server = own();
    let began = Instant::now();
    let pending: Vec<_> = (0..1000)
        .map(|n| server.get("/").from(&format!("198.51.{}.{}", n / 250, n % 250 + 1)).basic("alice", "x").start())
        .collect();
    let replies: Vec<_> = pending.into_iter().map(Pending::finish).collect();
    let looks_max = began.elapsed().as_millis() / 2000 + 1;
    let failed = statuses(&replies, 401);
    assert!((1..=looks_max).contains(&(failed as u128)), "{failed} looks where {looks_max} were due");
    assert_eq!(statuses(&replies, 429), 1000 - failed);
    for waiting in replies.iter().filter(|reply| reply.status == 429) {
        assert!((1..=2).contains(&waiting.retry_after()), "{waiting:?}");
    }
    let stopped = server.stop();
    assert_eq!(stopped.total("attempts_failed"), failed as u64);
    assert_eq!(stopped.total("refused_waiting") + stopped.total("refused_busy"), 1000 - failed as u64);
}

#[test]
fn rule_12_a_thousand_guesses_of_one_source_overshoot_the_ban_by_no_more_than_its_turns() {
    raise_limit();
    let server = own();
    let pending: Vec<_> =
        (0..1000).map(|n| server.get("/").from("203.0.113.7").basic(&format!("id-{n}"), "x").start()).collect();
    let replies: Vec<_> = pending.into_iter().map(Pending::finish).collect();
    let failed = statuses(&replies, 401);
    assert!((5..=9).contains(&failed), "{failed} looks at secrets");
    assert_eq!(statuses(&replies, 423) + statuses(&replies, 429), 1000 - failed);
    let next = server.get("/").from("203.0.113.7").send();
    assert_eq!(next.status, 423);
    assert!((3000..=3600).contains(&next.retry_after()), "{next:?}");
    assert_eq!(server.get("/").from("203.0.113.8").basic("alice", "wonderland").send().status, 200);
    assert_eq!(server.stop().total("attempts_failed"), failed as u64);
}

#[test]
fn rule_13_the_fifth_failure_is_answered_401_and_the_next_request_423() {
    let server = own();
    for n in 0..5 {
        assert_eq!(server.get("/").from("203.0.113.7").basic(&format!("id-{n}"), "x").send().status, 401);
    }
    let refused = server.get("/").from("203.0.113.7").basic("alice", "wonderland").send();
    assert!(refused.status == 423 && (3500..=3600).contains(&refused.retry_after()), "{refused:?}");
    server.logged("Maximum of 5 login attempts reached. Visitor (203.0.113.7) banned. Ban expiry: ");
}

#[test]
fn rule_14_the_second_404_is_answered_404_and_the_next_request_423() {
    let backend = Backend::start(|_| Answer::status(404).body("not here"));
    let server = Portcullis::new().upstream(&backend.url()).start();
    for _ in 0..2 {
        let reply = server.get("/.env").from("203.0.113.7").send();
        assert_eq!((reply.status, reply.text()), (404, "not here"));
    }
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 423);
    assert_eq!(server.get("/").from("203.0.113.8").send().status, 404);
    assert_eq!(backend.received().len(), 3);
}

#[test]
fn rule_12_four_attempts_of_one_source_at_once_and_one_of_an_id() {
    let door = Arc::new(Latch::default());
    let at_the_door = Arc::clone(&door);
    let backend = Backend::start(move |_| {
        at_the_door.pass();
        Answer::status(401)
    });
    let server = Portcullis::new().upstream(&backend.url()).start();
    let guess = |source: &str, id: &str| server.get("/").from(source).basic(id, "x").start();
    let mut pending: Vec<_> = (0..6).map(|n| guess("203.0.113.7", &format!("id-{n}"))).collect();
    eventually("four are under way", || (backend.received().len() == 4).then_some(()));
    // Whoever would be too many has had its chance when a later one is through.
    pending.push(guess("203.0.113.8", "id-8"));
    eventually("another source's is under way", || (backend.received().len() == 5).then_some(()));
    pending.push(guess("203.0.113.9", "id-8"));
    pending.push(guess("203.0.113.9", "id-9"));
    eventually("another id's is under way", || (backend.received().len() == 6).then_some(()));
    door.open();
    let mut statuses: Vec<_> = pending.into_iter().map(|pending| pending.finish().status).collect();
    // The first source's fifth failure bans it, and its sixth attempt may meet that; id-8 waits.
    let sixth = statuses.iter().position(|status| *status == 423).map(|place| statuses.swap_remove(place));
    let waits = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(waits, 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 8 - usize::from(sixth.is_some()));
}

#[test]
fn rule_12_an_attempt_whose_client_hangs_up_is_judged_all_the_same() {
    let door = Arc::new(Latch::default());
    let at_the_door = Arc::clone(&door);
    let backend = Backend::start(move |_| {
        at_the_door.pass();
        Answer::status(401)
    });
    let server = Portcullis::new().upstream(&backend.url()).start();
    let pending = server.get("/").from("203.0.113.7").basic("abc", "x").start();
    eventually("it is under way", || (backend.received().len() == 1).then_some(()));
    pending.hang_up();
    door.open();
    server.logged("Failed login attempt for client auth id \"abc\", forcing to wait for 2s (203.0.113.7)");
    assert_eq!(server.get("/").from("203.0.113.8").basic("abc", "x").send().status, 429);
    assert_eq!(server.stop().total("attempts_failed"), 1);
}

#[test]
fn rule_5_guarded_paths_need_credentials_and_asking_for_them_is_no_attempt() {
    let backend = Backend::start(|_| Answer::status(200));
    let server = Portcullis::with_config("[auth]\nprotect = [\"/admin\"]\nrealm = \"the gate\"\n")
        .client(CLIENT)
        .upstream(&backend.url())
        .start();
    let asked = server.get("/admin/x").send();
    assert_eq!(asked.status, 401);
    assert_eq!(asked.header("www-authenticate"), Some("Basic realm=\"the gate\", charset=\"UTF-8\""));
    for malformed in ["Basic", "Basic !!!", "Basic YWxpY2U=", "Basic YWxpY2U6d29uZGVybGFuZA== x"] {
        let reply = server.get("/admin").header("Authorization", malformed).send();
        assert_eq!(reply.status, 400, "{malformed}");
    }
    assert!(backend.received().is_empty());

    assert_eq!(server.get("/open").header("X-Forwarded-User", "root").send().status, 200);
    assert_eq!(backend.received()[0].header("x-forwarded-user"), None);

    let known = server.get("/admin").header("X-Forwarded-User", "root").basic("alice", "wonderland").send();
    assert_eq!(known.status, 200);
    let received = backend.received().swap_remove(1);
    assert_eq!((received.header("authorization"), received.header("x-forwarded-user")), (None, Some("alice")));
    let users = received.headers.iter().filter(|(name, _)| name == "x-forwarded-user").count();
    assert_eq!(users, 1);

    let stopped = server.stop();
    assert_eq!((stopped.total("attempts_failed"), stopped.total("attempts_succeeded")), (0, 1));
}

#[test]
fn rule_5_a_guarded_path_is_guarded_however_it_is_spelt() {
    let backend = Backend::start(|_| Answer::status(200));
    let server =
        Portcullis::with_config("[auth]\nprotect = [\"/admin\"]\n").client(CLIENT).upstream(&backend.url()).start();
    for path in ["//admin", "/%61dmin", "/x/../admin", "/./admin/", "/admin;x=1", "/x/%2e%2e/admin", "/admin?x"] {
        assert_eq!(server.get(path).send().status, 401, "{path}");
    }
    assert_eq!(server.get("/administrator").send().status, 200);
}

#[test]
fn rule_9_without_an_upstream_the_root_is_guarded_and_all_else_404() {
    let server = own();
    let known = server.get("/").basic("alice", "wonderland").send();
    assert_eq!((known.status, known.header("content-type")), (200, Some("application/json")));
    assert_eq!(known.text().trim_end(), r#"{"client_auth_id":"alice"}"#);
    assert_eq!(server.get("/").send().status, 401);
    assert_eq!(server.get("/x").from("203.0.113.7").send().status, 404);
    assert_eq!(server.get("/x").from("203.0.113.8").basic("alice", "wonderland").send().status, 404);
    assert_eq!(server.get("/x").from("203.0.113.9").basic("alice", "wrong").send().status, 404);
    assert_eq!(server.stop().total("attempts_failed"), 0);
}

#[test]
fn rule_10_the_mode_follows_from_what_is_given_and_no_clients_at_all_is_said_loudly() {
    let server = Portcullis::new().start();
    server.logged("NOBODY CAN LOG IN");
    assert_eq!(server.get("/").basic("alice", "wonderland").send().status, 401);

    let secrets = |config: &str| {
        let checked = Portcullis::with_config(config).file("clients.json", r#"{"alice":"wonderland"}"#).check();
        assert_eq!(checked.code, Some(0), "{checked:?}");
        checked.stdout.lines().find(|line| line.starts_with("secrets")).unwrap().to_owned()
    };
    let upstream = "[upstream]\nurl = \"http://127.0.0.1:9\"\n";
    assert!(secrets("").contains("against no file"));
    assert!(secrets(upstream).contains("by the upstream"));
    assert!(secrets("[auth]\nfile = \"clients.json\"\n").contains("clients.json"));
    assert!(secrets(&format!("{upstream}[auth]\nfile = \"clients.json\"\n")).contains("clients.json"));
}

#[test]
fn rule_11_a_banned_source_is_refused_before_anything_else_is_read() {
    let server = own();
    for _ in 0..2 {
        assert_eq!(server.get("/x").from("203.0.113.7").send().status, 404);
    }
    // Credentials that make no sense, and a body that never comes.
    let request = "POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.7\r\nAuthorization: Basic !!!\r\n\
                   Content-Length: 1000000\r\n\r\n";
    let mut connection = server.connect();
    connection.send(request.as_bytes());
    let reply = connection.read(false).unwrap();
    assert!(reply.status == 423 && (3500..=3600).contains(&reply.retry_after()), "{reply:?}");
}

#[test]
fn rule_11_while_an_id_waits_no_secret_is_checked_no_policy_asked_and_nothing_extended() {
    let server = own();
    assert_eq!(server.get("/").from("203.0.113.7").basic("alice", "x").send().status, 401);
    let right = server.get("/").from("203.0.113.8").basic("alice", "wonderland");
    let first = right.send();
    assert_eq!(first.status, 429);
    assert!((1..=2).contains(&first.retry_after()));
    // Asked without a break: a wait that were extended would never end.
    let passed = eventually("the wait is over", || Some(right.send()).filter(|reply| reply.status != 429));
    assert_eq!(passed.status, 200);
    let stopped = server.stop();
    assert_eq!((stopped.total("attempts_failed"), stopped.total("attempts_succeeded")), (1, 1));
    assert_eq!(stopped.total("attempt_judged"), 4, "two attempts, a wait and a ban policy");
}

#[test]
fn rule_8_a_stranger_who_guesses_cannot_lock_out_an_owner_at_work() {
    let server = own();
    let owner = server.get("/").from("203.0.113.7").basic("alice", "wonderland");
    assert_eq!(owner.send().status, 200);
    assert_eq!(server.get("/").from("198.51.100.1").basic("alice", "x").send().status, 401);
    assert_eq!(owner.send().status, 200);
    let elsewhere = server.get("/").from("203.0.113.8").basic("alice", "wonderland").send();
    assert_eq!(elsewhere.status, 429, "the pair is verified for its source alone");
    let stopped = server.stop();
    assert_eq!((stopped.total("verified"), stopped.total("attempts_succeeded")), (1, 1));
}

#[test]
fn rule_8_another_secret_from_the_same_source_ends_it() {
    let server = own();
    let owner = server.get("/").from("203.0.113.7").basic("alice", "wonderland");
    assert_eq!(owner.send().status, 200);
    assert_eq!(server.get("/").from("203.0.113.7").basic("alice", "x").send().status, 401);
    assert_eq!(owner.send().status, 429);
}

#[test]
fn rule_14_our_own_401_is_judged_and_a_malformed_request_is_not() {
    let server =
        Portcullis::with_config("[policy.scanner]\nsettings = { statuses = [400, 401, 429], maxretry = 2 }\n").start();
    for _ in 0..4 {
        let malformed = server.get("/").from("203.0.113.7").header("Authorization", "Basic !!!").send();
        assert_eq!(malformed.status, 400);
    }
    for _ in 0..2 {
        assert_eq!(server.get("/").from("203.0.113.7").send().status, 401);
    }
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 423);
}

#[test]
fn rule_15_a_ban_holds_on_a_kept_connection() {
    let server = own();
    let mut connection = server.connect();
    let request = server.get("/x").from("203.0.113.7");
    let statuses: Vec<_> = (0..4).map(|_| connection.exchange(&request).status).collect();
    assert_eq!(statuses, [404, 404, 423, 423]);
}

#[test]
fn rule_18_a_wait_by_source_and_by_pair() {
    let by = |subject: &str| {
        Portcullis::with_config(&format!("[policy.wait]\nsubject = \"{subject}\"\n")).client(CLIENT).start()
    };
    let status = |server: &Server, source: &str, id: &str| server.get("/").from(source).basic(id, "x").send().status;
    let server = by("source");
    assert_eq!(status(&server, "203.0.113.7", "alice"), 401);
    assert_eq!(status(&server, "203.0.113.7", "bob"), 429);
    assert_eq!(status(&server, "203.0.113.8", "alice"), 401);
    let server = by("pair");
    assert_eq!(status(&server, "203.0.113.7", "alice"), 401);
    assert_eq!(status(&server, "203.0.113.7", "bob"), 401);
    assert_eq!(status(&server, "203.0.113.8", "alice"), 401);
    assert_eq!(status(&server, "203.0.113.8", "alice"), 429);
}

#[test]
fn rule_18_a_ban_counted_by_id_hits_the_source_of_the_last_failure() {
    let config =
        "[policy.wait]\nenabled = false\n[policy.ban]\nsubject = \"id\"\nsettings = { max_failed_login = 2 }\n";
    let server = Portcullis::with_config(config).client(CLIENT).start();
    let guess = |source: &str| server.get("/").from(source).basic("alice", "x").send().status;
    assert_eq!((guess("203.0.113.7"), guess("203.0.113.8")), (401, 401));
    assert_eq!((guess("203.0.113.7"), guess("203.0.113.8")), (401, 423));
}

#[test]
fn rule_24_a_refusal_is_short_text_or_json_and_says_nothing_about_why() {
    let server = own();
    let wrong = |id: &str, source: &str| server.get("/").from(source).basic(id, "x").send();
    let without_date = |reply: Reply| {
        let headers: Vec<_> = reply.headers.into_iter().filter(|(name, _)| name != "date").collect();
        (reply.status, headers, reply.body)
    };
    let known = without_date(wrong("alice", "203.0.113.1"));
    assert_eq!(known, without_date(wrong("nobody", "203.0.113.2")), "known and unknown ids look alike");
    assert_eq!(String::from_utf8(known.2).unwrap(), "401 Unauthorized\n");

    let (waiting, unknown_waiting) = (wrong("alice", "203.0.113.3"), wrong("nobody", "203.0.113.3"));
    assert_eq!((waiting.text(), unknown_waiting.text()), ("429 Too Many Requests\n", "429 Too Many Requests\n"));
    assert_eq!(waiting.retry_after().max(2), unknown_waiting.retry_after().max(2));

    for _ in 0..2 {
        assert_eq!(server.get("/x").from("203.0.113.7").send().text(), "404 Not Found\n");
    }
    let banned = server.get("/x").from("203.0.113.7").send();
    assert_eq!((banned.status, banned.text()), (423, "423 Locked\n"));
    let banned = server.get("/x").from("203.0.113.7").header("Accept", "application/json").send();
    assert_eq!(banned.text(), "{\"status\":423,\"error\":\"Locked\"}\n");
    assert_eq!(banned.header("content-type"), Some("application/json"));
}

#[test]
fn rule_30_hits_21_seconds_apart_do_not_ban_and_hits_within_20_do() {
    let server = own();
    let scan = |source: &str| server.get("/x").from(source).send().status;
    assert_eq!(scan("203.0.113.7"), 404);
    let began = Instant::now();
    assert_eq!((scan("203.0.113.8"), scan("203.0.113.8"), scan("203.0.113.8")), (404, 404, 423));
    server.logged("2 hits within 20s. Visitor (203.0.113.8) banned.");
    eventually("21 s have passed", || (began.elapsed() >= Duration::from_secs(21)).then_some(()));
    assert_eq!(scan("203.0.113.7"), 404);
    assert_eq!(scan("203.0.113.7"), 404, "the first hit is forgotten");
    assert_eq!(scan("203.0.113.7"), 423, "the second and the third are within 20 s");
}

#[test]
fn rule_30_ignored_paths_and_an_authenticated_clients_requests_are_no_hits() {
    let backend = Backend::start(|_| Answer::status(404));
    let config =
        "[policy.scanner]\nsettings = { ignore_paths = [\"/robots.txt\"] }\n[auth]\nprotect = [\"/private\"]\n";
    let server = Portcullis::with_config(config).client(CLIENT).upstream(&backend.url()).start();
    for _ in 0..4 {
        assert_eq!(server.get("/robots.txt").from("203.0.113.7").send().status, 404);
        let known = server.get("/private").from("203.0.113.7").basic("alice", "wonderland").send();
        assert_eq!(known.status, 404);
    }
    assert_eq!(server.get("/x").from("203.0.113.7").send().status, 404);
    assert_eq!(server.get("/x").from("203.0.113.7").send().status, 404);
    assert_eq!(server.get("/robots.txt").from("203.0.113.7").send().status, 423);
}

/// Lets a source fail so many times, each time as somebody else.
fn fail(server: &Server, source: &str, times: usize) -> Vec<u16> {
    let mut connection = server.connect();
    let guess = |n: usize| server.get("/").from(source).basic(&format!("{source}-{n}"), "x");
    (0..times).map(|n| connection.exchange(&guess(n)).status).collect()
}

#[test]
fn rule_31_a_success_resets_the_count_and_there_is_no_window() {
    let server = Portcullis::with_config("[policy.wait]\nenabled = false\n").client(CLIENT).start();
    assert_eq!(fail(&server, "203.0.113.7", 4), [401; 4]);
    assert_eq!(server.get("/").from("203.0.113.7").basic("alice", "wonderland").send().status, 200);
    assert_eq!(fail(&server, "203.0.113.7", 6), [401, 401, 401, 401, 401, 423]);
}

#[test]
fn rule_31_at_the_limit_the_count_starts_again() {
    let config = "[policy.wait]\nenabled = false\n[policy.ban]\nsettings = { ban_time = 3, max_failed_login = 3 }\n";
    let server = Portcullis::with_config(config).start();
    assert_eq!(fail(&server, "203.0.113.7", 4)[..3], [401; 3]);
    eventually("the ban is over", || (server.get("/").from("203.0.113.7").send().status == 401).then_some(()));
    assert_eq!(fail(&server, "203.0.113.7", 2), [401; 2]);
    assert_eq!(server.get("/").from("203.0.113.7").send().status, 401);
    assert_eq!(fail(&server, "203.0.113.7", 1), [401]);
    server.logged_times(2, "Maximum of 3 login attempts reached. Visitor (203.0.113.7) banned.");
}

#[test]
fn rule_31_zero_turns_the_ban_off() {
    for settings in ["max_failed_login = 0", "ban_time = 0"] {
        let config = format!("[policy.wait]\nenabled = false\n[policy.ban]\nsettings = {{ {settings} }}\n");
        let server = Portcullis::with_config(&config).start();
        assert_eq!(fail(&server, "203.0.113.7", 30), [401; 30], "{settings}");
    }
}

#[test]
fn rule_31_fractions_of_a_second_count() {
    let server = Portcullis::with_config("[policy.wait]\nsettings = { client_login_wait = 1000.7 }\n").start();
    assert_eq!(server.get("/").from("203.0.113.7").basic("abc", "x").send().status, 401);
    server.logged("for client auth id \"abc\", forcing to wait for 1000.7s (203.0.113.7)");
    let waiting = server.get("/").from("203.0.113.7").basic("abc", "x").send();
    assert!(waiting.status == 429 && (900..=1001).contains(&waiting.retry_after()), "{waiting:?}");
}
