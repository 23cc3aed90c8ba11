use std::fs;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use portcullis_domain::{Ban, By, Cause, ClientId, Origin, Outcome, Reason, Source, Subject, VirtualClock, Wait};
use portcullis_harness::journal::record::What;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;

const START: Timestamp = Timestamp::from_millis(1_767_614_400_000);

fn config(dir: Option<&Path>) -> config::Journal {
    let (max_size, max_age) = (1 << 24, Duration::from_secs(24 * 3600));
    config::Journal { dir: dir.map(Path::to_owned), max_size, max_age }
}

fn start(dir: Option<&Path>) -> Journal {
    Journal::start(&config(dir), Arc::new(VirtualClock::new(START))).unwrap()
}

fn happens(journal: &Journal, second: u64) {
    let source = Source::new(IpAddr::from([203, 0, 113, 7]), 64);
    let id = ClientId::new("abc").unwrap();
    let attempt = Attempt {
        source,
        client_id: Some(&id),
        outcome: Outcome::Failure,
        client_known: None,
        secret_fingerprint: None,
        attributes: &[],
    };
    journal.unjudged(START.after(Duration::from_secs(second)), &attempt, Origin::Gateway);
}

/// Seconds of the events that can be read.
fn events(reader: &Reader) -> Vec<u64> {
    let mut seconds = Vec::new();
    reader.forward(|_, record| {
        if matches!(record.what, What::Unjudged(_)) {
            seconds.push(record.time.0.since(START).as_secs());
        }
        ControlFlow::Continue(())
    });
    seconds
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn without_a_folder_the_newest_are_in_memory_at_once() {
    let journal = start(None);
    for second in 0..100 {
        happens(&journal, second);
        assert_eq!(events(&journal.reader()).last(), Some(&second));
    }
    assert_eq!(events(&journal.reader()), (0..100).collect::<Vec<_>>());
    eventually("all are counted", || journal.counts().written == 101);
    assert_eq!(journal.counts().dropped, 0);
    let entries = journal.entries(START.after(Duration::from_secs(97)), 2);
    assert_eq!(entries.iter().map(|entry| entry.at.since(START).as_secs()).collect::<Vec<_>>(), [98, 99]);
}

#[test]
fn what_is_told_is_on_the_disk_when_somebody_reads_or_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let journal = start(Some(&folder));
    for second in 0..10 {
        happens(&journal, second);
    }
    assert_eq!(events(&journal.reader()), (0..10).collect::<Vec<_>>());
    assert_eq!(events(&Reader::open(&folder).unwrap()), (0..10).collect::<Vec<_>>());
    happens(&journal, 10);
    journal.close();
    happens(&journal, 11);
    assert_eq!(journal.counts().dropped, 1, "what comes afterwards is counted");
    let reader = Reader::open(&folder).unwrap();
    assert_eq!(events(&reader), (0..11).collect::<Vec<_>>());
    let mut lives = Vec::new();
    reader.forward(|_, record| {
        if let What::Process(process) = record.what {
            lives.push(process.process);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(lives, [Life::Started, Life::Ended]);
    start(Some(&folder));
}

#[test]
fn a_folder_that_another_holds_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let _first = start(Some(&folder));
    let error = Journal::start(&config(Some(&folder)), Arc::new(VirtualClock::new(START))).err().unwrap().to_string();
    assert!(error.starts_with("journal.dir: ") && error.contains("is in use by another process"), "{error}");
}

#[test]
fn a_folder_that_is_removed_is_made_again_and_one_that_cannot_be_is_told_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let journal = start(Some(&folder));
    happens(&journal, 0);
    assert_eq!(events(&journal.reader()), [0]);
    // At once: it would be made again in between.
    let other = folder.with_extension("other");
    fs::write(&other, "in the way").unwrap();
    renameat_with(CWD, &other, CWD, &folder, RenameFlags::EXCHANGE).unwrap();
    eventually("it fails", || journal.counts().failing.is_some());
    happens(&journal, 1);
    assert_eq!(events(&journal.reader()), [0, 1], "memory has them");
    eventually("what is missing is counted", || journal.counts().dropped == 1);
    fs::remove_file(&folder).unwrap();
    eventually("it goes on by itself", || journal.counts().failing.is_none());
    happens(&journal, 2);
    assert_eq!(events(&journal.reader()), [2]);
    assert_eq!(events(&Reader::open(&folder).unwrap()), [2]);
}

#[test]
fn acts_are_written_too() {
    let journal = start(None);
    let cause = Arc::new(Cause { by: By::Operator, reason: Reason::new("by-hand", "noise").unwrap() });
    let (since, until) = (START, START.after(Duration::from_secs(60)));
    let network = "203.0.113.0/24".parse().unwrap();
    journal.acted(START, &Act::Ban(&Ban { network, since, until, cause: Arc::clone(&cause) }));
    let subject = Subject::Id(ClientId::new("abc").unwrap());
    journal.acted(START, &Act::Unwait(&Wait { subject, since, until, cause }));
    journal.acted(START, &Act::Trust { policy: "ban" });
    let mut json = Vec::new();
    journal.reader().forward(|_, record| {
        json.push(serde_json::to_value(record).unwrap());
        ControlFlow::Continue(())
    });
    let acts: Vec<_> = json.iter().filter(|record| record["kind"] == "act").collect();
    assert_eq!(acts[0]["subject"]["source"], "203.0.113.0/24");
    assert_eq!((&acts[0]["act"], &acts[0]["reason"]["text"]), (&"ban".into(), &"noise".into()));
    assert_eq!((&acts[1]["act"], &acts[1]["subject"]["client"]), (&"unwait".into(), &"abc".into()));
    assert_eq!((&acts[2]["act"], &acts[2]["policy"]), (&"trust".into(), &"ban".into()));
}

#[tokio::test]
async fn who_follows_gets_what_comes_from_then_on() {
    let journal = start(None);
    happens(&journal, 0);
    assert!(journal.0.shared.queue.settle());
    let mut following = journal.subscribe().unwrap();
    happens(&journal, 1);
    let Some(Followed::Frames(frames)) = following.next().await else { panic!("frames") };
    assert_eq!(events(&Reader::of_memory([(0, frames)])), [1]);
    journal.close();
    drop(journal);
    while following.next().await.is_some() {}
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let queue = queue::Queue::default();
    let long = "x".repeat(900_000);
    let record = Record::process(START, Life::Started, &long);
    let fits = queue::WAITING_BYTES_MAX / 900_000;
    assert_eq!((0..20).filter(|_| queue.put(&record)).count(), fits);
    let taken = queue.take(Vec::new());
    assert_eq!(taken.records, u64::try_from(fits).unwrap());
    assert!(queue.put(&record), "there is room again");
}
