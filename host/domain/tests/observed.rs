//! Events that were seen elsewhere (rule 39).

mod kit;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{World, ban_for, bans_at, bans_status, capped, checked, client, put, request, seconds, waits, world};
use portcullis_domain::event::Dated;
use portcullis_domain::*;

const HOUR: Duration = Duration::from_secs(3600);
const SOURCE: &str = "203.0.113.7";

/// Seen in a log, so long ago.
fn seen(world: &World, ago: Duration) -> Sighting<'static> {
    let now = world.clock.now().as_millis();
    let at = Timestamp::from_millis(now - ago.as_secs() * 1000);
    Sighting { at, origin: Origin::Log { name: "rportd.log", line: 7 } }
}

fn failed(world: &World, ago: Duration, id: &str) -> Observed {
    let finished = Finished { secret: None, ..checked("wrong") };
    world.gate.observe_attempt(&seen(world, ago), world.source(SOURCE), Some(&client(id)), &finished)
}

fn requested(world: &World, ago: Duration, status: u16) -> Observed {
    world.gate.observe_request(&seen(world, ago), &request(world.source(SOURCE), status))
}

fn has_banned(observed: &Observed) -> bool {
    matches!(observed, Observed::Judged(judged) if judged.has_banned())
}

/// Two requests within so long ban for an hour; what is kept lasts as long.
fn two_within(window: Duration) -> Policy {
    let verdict = move |dated: &Dated<'_>, state: Option<&[u8]>| {
        Ok(match state {
            Some(_) => (ban_for(HOUR, None), Keep::Forget),
            None => (Verdict::Pass, put(&dated.at.as_millis().to_be_bytes(), Some(window))),
        })
    };
    Policy::new("scanner", Kind::Scanner, SubjectBy::Source, kit::judge("hits/1", verdict))
}

#[test]
fn rule_39_what_was_seen_elsewhere_counts_with_what_came_to_the_gate() {
    let world = world(vec![bans_at(5, HOUR)]);
    for _ in 0..2 {
        world.fail(SOURCE, "abc");
        assert!(!has_banned(&failed(&world, Duration::ZERO, "abc")));
    }
    assert!(has_banned(&failed(&world, Duration::ZERO, "abc")));
    assert_eq!(world.login(SOURCE, "abc", "right").refused(), Refusal::Banned(HOUR));
}

#[test]
fn rule_39_it_is_judged_although_its_id_waits_and_takes_no_turn() {
    let world = world(vec![waits(seconds(2)), bans_at(3, HOUR)]);
    let source = world.source(SOURCE);
    let admitted = world.gate.admit(source).unwrap();
    let id = client("abc");
    let mut passing = std::pin::pin!(world.gate.pass(&admitted, Some(&id), None));
    let std::task::Poll::Ready(Ok(Passage::Turn(turn))) = kit::poll_once(&mut passing) else {
        panic!("nobody else is under way");
    };
    for _ in 0..2 {
        assert!(!has_banned(&failed(&world, Duration::ZERO, "abc")));
    }
    assert_eq!(world.login("198.51.100.1", "abc", "right").refused(), Refusal::Waiting(seconds(2)));
    assert!(has_banned(&failed(&world, Duration::ZERO, "abc")));
    drop(turn);
}

#[test]
fn rule_39_it_verifies_nobody() {
    let world = world(vec![]);
    let finished = checked("right");
    world.gate.observe_attempt(&seen(&world, Duration::ZERO), world.source(SOURCE), Some(&client("abc")), &finished);
    assert!(matches!(world.login(SOURCE, "abc", "right"), kit::Ended::Judged(_)), "the secret is checked");
}

#[test]
fn rule_39_its_time_is_the_one_it_was_seen_at() {
    let within = |first: u64, second: u64| {
        let world = world(vec![two_within(seconds(20))]);
        requested(&world, seconds(first), 404);
        has_banned(&requested(&world, seconds(second), 404))
    };
    assert!(within(300, 281), "19 s apart");
    assert!(!within(300, 280), "20 s apart, though read at once");
}

#[test]
fn rule_39_it_is_never_later_than_the_gates_clock() {
    let world = world(vec![bans_status(404, HOUR)]);
    let ahead = Sighting { at: world.clock.now().after(HOUR), ..seen(&world, Duration::ZERO) };
    let judged = world.gate.observe_request(&ahead, &request(world.source(SOURCE), 404));
    assert!(has_banned(&judged));
    assert_eq!(world.request(SOURCE, 200).unwrap_err(), Refusal::Banned(HOUR));
}

#[test]
fn rule_39_a_subjects_time_never_goes_back() {
    let times: Arc<Mutex<Vec<u64>>> = Arc::default();
    let told = Arc::clone(&times);
    let notes = move |dated: &Dated<'_>, _: Option<&[u8]>| {
        told.lock().unwrap().push(dated.at.as_millis());
        Ok((Verdict::Pass, put(&[1], None)))
    };
    let world = world(vec![Policy::new("scanner", Kind::Scanner, SubjectBy::Source, kit::judge("a/1", notes))]);
    let now = world.clock.now().as_millis();
    requested(&world, seconds(60), 404);
    world.request(SOURCE, 404).unwrap();
    requested(&world, seconds(30), 404);
    assert_eq!(*times.lock().unwrap(), [now - 60_000, now, now]);
}

#[test]
fn rule_39_an_event_from_a_source_that_was_banned_then_brings_nothing_new() {
    let world = world(vec![bans_status(404, seconds(60))]);
    assert!(has_banned(&requested(&world, seconds(100), 404)));
    assert_eq!(requested(&world, seconds(99), 404), Observed::Banned);
    assert!(has_banned(&requested(&world, seconds(40), 404)), "that ban was over by then");
    assert_eq!(world.request(SOURCE, 200).unwrap_err(), Refusal::Banned(seconds(20)));
}

#[test]
fn rule_39_an_order_can_be_over_when_it_comes() {
    let world = world(vec![bans_status(404, seconds(60)), waits(seconds(2))]);
    assert!(has_banned(&requested(&world, seconds(60), 404)));
    failed(&world, Duration::ZERO, "abc");
    assert!(world.request(SOURCE, 200).is_ok());
    assert!(world.gate.store().bans(None, 10, world.clock.now()).is_empty());
}

#[test]
fn rule_39_what_late_events_need_isnt_swept_away_before_them() {
    let world = world(vec![two_within(seconds(20))]);
    requested(&world, seconds(300), 404);
    world.gate.sweep();
    assert!(has_banned(&requested(&world, seconds(290), 404)));
    // And once nothing late comes any more, it goes.
    world.gate.unban("203.0.113.7/32".parse().unwrap());
    requested(&world, seconds(100), 404);
    world.gate.sweep();
    assert_eq!(world.gate.store().sizes().tables[0].states, 1);
    world.gate.sweep();
    assert_eq!(world.gate.store().sizes().tables[0].states, 0);
}

#[test]
fn rule_39_the_cap_counts_by_the_gates_own_minutes() {
    let world = capped(1, vec![bans_status(404, HOUR)]);
    assert!(has_banned(&requested(&world, seconds(300), 404)));
    let other = request(world.source("203.0.113.8"), 404);
    let judged = world.gate.observe_request(&seen(&world, seconds(100)), &other);
    assert!(!has_banned(&judged), "both came within this minute: {judged:?}");
}

#[test]
fn rule_39_who_saw_it_is_heard_by_the_witness() {
    #[derive(Default)]
    struct Hears(Mutex<Vec<String>>);
    impl Witness for Hears {
        fn judged(&self, testimony: &Testimony<'_>) {
            self.0.lock().unwrap().push(format!("{:?}", testimony.origin));
        }
        fn unjudged(&self, _: Timestamp, _: &Attempt<'_>, origin: Origin<'_>) {
            self.0.lock().unwrap().push(format!("{origin:?}"));
        }
        fn acted(&self, _: Timestamp, _: &Act<'_>) {}
    }
    let hears: Arc<Hears> = Arc::default();
    let world = world(vec![bans_status(404, HOUR)]).witnessed_by(Arc::clone(&hears) as _);
    failed(&world, Duration::ZERO, "abc");
    requested(&world, Duration::ZERO, 404);
    world.request("203.0.113.9", 404).unwrap();
    let log = "Log { name: \"rportd.log\", line: 7 }";
    assert_eq!(*hears.0.lock().unwrap(), [log, log, "Gateway"]);
}
