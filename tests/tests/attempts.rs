//! Who may pass, and what an attempt is, where the server checks secrets itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Instant;

use portcullis_tests::{Answer, Backend, Portcullis, Reply, Server};

const CLIENT: &str = "alice:wonderland";

fn own() -> Server {
    Portcullis::new().client(CLIENT).start()
}

fn statuses<'r>(replies: impl IntoIterator<Item = &'r Reply>, status: u16) -> usize {
    replies.into_iter().filter(|reply| reply.status == status).count()
}

#[test]
fn rule_12_a_thousand_guesses_at_one_id_get_one_look_at_the_secret_per_two_seconds() {
    let server = own();
    let began = Instant::now();
    let pending: Vec<_> = (0..1000)
        .map(|n| server.get("/").from(&format!("198.51.{}.{}", n / 250, n % 250 + 1)).basic("alice", "x").start())
        .collect();
    let replies: Vec<_> = pending.into_iter().map(portcullis_tests::Pending::finish).collect();
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
    let server = own();
    let pending: Vec<_> =
        (0..1000).map(|n| server.get("/").from("203.0.113.7").basic(&format!("id-{n}"), "x").start()).collect();
    let replies: Vec<_> = pending.into_iter().map(portcullis_tests::Pending::finish).collect();
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
    assert_eq!((refused.status, refused.retry_after()), (423, 3600));
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
