//! Journals written, torn, damaged, and read again.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use minicbor::{Decode, Encode};
use portcullis_domain::{Outcome as LoginOutcome, Timestamp};
use proptest::prelude::*;

use super::record::*;
use super::segment::{self, Ending, Frame, HEADER_BYTES, Header};
use super::value::{Address, Bytes, Digest, Fingerprint, Network, Time};
use super::writer::{Bounds, FolderError, Healed};
use super::*;
use crate::logs::What as Happened;

const BOUNDS: Bounds = Bounds { bytes_max: 1 << 30, age_max: Duration::from_secs(24 * 3600) };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_767_614_400_000 + seconds * 1000)
}

pub(super) fn judged(seconds: u64, event: u64, policy: &'static str) -> Record<'static> {
    let reason = Reason { code: "max-failed-login", text: "Maximum of 5 login attempts reached." };
    let network = Network("203.0.113.7/32".parse().unwrap());
    let judged = Judged {
        event,
        source: Address("203.0.113.7".parse().unwrap()),
        client: Some("abc"),
        seen: Seen::Attempt { outcome: Outcome::Failure, known: Some(true), fingerprint: Some(Fingerprint(7)) },
        attributes: vec![
            Attribute { name: "user-agent", value: Some("curl") },
            Attribute { name: "query", value: None },
        ],
        policy,
        policy_kind: Kind::Ban,
        mode: Mode::Enforce,
        subject: Subject::Source(network),
        plugin: Some(Digest([1; 32])),
        settings: Some(Digest([2; 32])),
        answered: Answered::Own,
        state_format: "failures-in-a-row/1",
        before: Some(Bytes(&[4])),
        keep: Some(Keep::Put { data: Bytes(&[5, 6]), ttl_ms: Some(9) }),
        verdict: Some(Verdict::Ban { duration_ms: 3_600_000, prefix_length: Some(24), reason }),
        enforced: Some(Enforced::Ban { network, until: Time(at(3600)), decides: true }),
        origin: Some(Origin::Log { name: "rportd.log", line: 1 << 40 }),
    };
    Record { time: Time(at(seconds)), what: What::Judged(judged) }
}

/// One of each kind.
fn all_kinds() -> Vec<Record<'static>> {
    let pair = Subject::Pair { client: "abc", source: Network("2001:db8::/64".parse().unwrap()) };
    let reason = Reason { code: "by-hand", text: "" };
    let runs = Runs {
        plugin: "ban",
        version: "0.1.0",
        origin: "bundle:ban",
        digest: Digest([1; 32]),
        settings: vec![
            Setting { name: "a", value: Value::Boolean(true) },
            Setting { name: "b", value: Value::Integer(-1) },
            Setting { name: "c", value: Value::Number(0.5) },
            Setting { name: "d", value: Value::Text("x") },
            Setting { name: "e", value: Value::Integers(vec![1, 2]) },
            Setting { name: "f", value: Value::Numbers(vec![]) },
            Setting { name: "g", value: Value::Texts(vec!["y", "z"]) },
            Setting { name: "h", value: Value::Json("{}") },
        ],
        settings_digest: Digest([2; 32]),
        state_format: "failures-in-a-row/1",
        deadline_us: 20_000,
        memory_bytes: 64 << 20,
        state_bytes: 1024,
    };
    let policy = Policy {
        name: "ban",
        kind: Kind::Ban,
        mode: Mode::Shadow,
        subject: SubjectBy::Source,
        stand_in: Some(runs.clone()),
        runs,
    };
    let request = Seen::Request { method: "GET", path: "/x", status: 404 };
    let origin = Some(Origin::Report { by: Address("10.0.0.2".parse().unwrap()) });
    let unjudged = Unjudged { source: Address("::1".parse().unwrap()), client: None, seen: request, origin };
    let about = About { subject: pair, since: Time(at(1)), until: Time(at(2)), reason };
    let act = Act { act: Deed::Unwait, about: Some(about), policy: None };
    vec![
        Record::process(at(0), Life::Started, "0.1.0"),
        Record::in_force(at(0), vec![policy], true),
        judged(1, 0, "ban"),
        Record { time: Time(at(2)), what: What::Unjudged(unjudged) },
        Record { time: Time(at(3)), what: What::Act(act) },
    ]
}

fn frames(records: &[Record<'_>]) -> Vec<u8> {
    let mut frames = Vec::new();
    assert!(records.iter().all(|record| segment::append(&mut frames, record)));
    frames
}

fn write(folder: &Path, records: &[Record<'_>]) {
    let (mut writer, healed) = Writer::open(folder, BOUNDS).unwrap();
    assert_eq!(healed, []);
    writer.append(&frames(records), &[], at(0)).unwrap();
}

/// Time and policy of what can be read, and what was found.
fn read(path: &Path) -> (Vec<u64>, Findings) {
    let mut seconds = Vec::new();
    let findings = Reader::open(path).unwrap().forward(|_, record| {
        seconds.push((record.time.0.as_millis() - at(0).as_millis()) / 1000);
        ControlFlow::Continue(())
    });
    (seconds, findings)
}

fn first_segment(folder: &Path) -> std::path::PathBuf {
    folder.join(segment::file_name(1))
}

#[test]
fn what_is_written_is_read_again_forwards_and_backwards() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("a/journal");
    let records = all_kinds();
    write(&folder, &records);
    let reader = Reader::open(&folder).unwrap();
    let (mut nth, mut places) = (0, Vec::new());
    let findings = reader.forward(|read, record| {
        assert_eq!(record, &records[nth]);
        assert_eq!(read.stored().record().unwrap(), records[nth]);
        places.push(read.place);
        nth += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((nth, findings.records, findings.segments, findings.to_the_end), (5, 5, 1, true));
    assert!(places.is_sorted());
    assert_eq!(places[0].to_string().parse(), Ok(places[0]));
    let mut back = Vec::new();
    reader.backward(Some(places[4]), |read, _| {
        back.push(read.place);
        if back.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!(back, [places[3], places[2], places[1]]);
    assert!(Reader::is_one(&folder) && Reader::is_one(&first_segment(&folder)));
    assert!(!Reader::is_one(folder.parent().unwrap()) && !Reader::is_one(&folder.join("lock")));
}

#[test]
fn folder_and_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    write(&folder, &all_kinds());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&first_segment(&folder)), mode(&folder.join("lock"))), (0o700, 0o600, 0o600));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    let error = Writer::open(&folder, BOUNDS).unwrap_err();
    assert!(matches!(error, FolderError::Mode { mode: 0o750, .. }), "{error}");
}

#[test]
fn one_process_writes_to_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let (first, _) = Writer::open(&folder, BOUNDS).unwrap();
    let error = Writer::open(&folder, BOUNDS).unwrap_err();
    assert!(error.to_string().ends_with("is in use by another process: each server needs a folder of its own"));
    drop(first);
    Writer::open(&folder, BOUNDS).unwrap();
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_what_was_whole_stays() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let records: Vec<_> = (0..3).map(|n| judged(n, n, "ban")).collect();
    write(&folder, &records);
    let path = first_segment(&folder);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..=3).map(|count| HEADER_BYTES + frames(&records[..count]).len()).collect();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (mut writer, healed) = Writer::open(&folder, BOUNDS).unwrap();
        let kept = ends.iter().filter(|&&end| end <= length).count().saturating_sub(1);
        let torn = !ends.contains(&length);
        assert_eq!(matches!(healed[..], [Healed::Cut { .. }]), torn, "{length}: {healed:?}");
        writer.append(&frames(&[judged(9, 9, "ban")]), &[], at(0)).unwrap();
        let (seconds, findings) = read(&folder);
        assert_eq!(seconds, (0..kept as u64).chain([9]).collect::<Vec<_>>(), "{length}");
        assert_eq!((findings.damaged, findings.torn_bytes), (0, 0), "{length}");
        drop(writer);
        for (_, path) in segment::list(&folder).unwrap() {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn zeros_behind_the_last_record_are_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    write(&folder, &all_kinds());
    let path = first_segment(&folder);
    let mut bytes = fs::read(&path).unwrap();
    let whole = bytes.len();
    bytes.resize(whole + 4096, 0);
    fs::write(&path, bytes).unwrap();
    assert_eq!(read(&folder).1.torn_bytes, 4096);
    let (_, healed) = Writer::open(&folder, BOUNDS).unwrap();
    assert_eq!(healed, [Healed::Cut { path: path.clone(), bytes: 4096 }]);
    assert_eq!(fs::read(&path).unwrap().len(), whole);
}

#[test]
fn behind_a_damaged_record_it_goes_on_with_the_next_segment() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    write(&folder, &[judged(0, 0, "ban"), judged(1, 1, "ban"), judged(2, 2, "ban")]);
    let path = first_segment(&folder);
    let mut bytes = fs::read(&path).unwrap();
    let second = HEADER_BYTES + frames(&[judged(0, 0, "ban")]).len();
    bytes[second + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (mut writer, healed) = Writer::open(&folder, BOUNDS).unwrap();
    assert!(
        matches!(&healed[..], [Healed::Left { why, .. }] if why.starts_with(&format!("a damaged record at byte {second}")))
    );
    writer.append(&frames(&[judged(7, 7, "ban")]), &frames(&[judged(6, 6, "ban")]), at(0)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes, "evidence stays as it is");
    let (seconds, findings) = read(&folder);
    assert_eq!(seconds, [0, 6, 7]);
    let skipped = (bytes.len() - second) as u64;
    assert_eq!(
        (findings.damaged, findings.damages[0].offset, findings.damages[0].skipped),
        (1, second as u64, skipped)
    );
    let said = findings.damages[0].to_string();
    assert!(
        said.ends_with(&format!("000000000001.journal: a damaged frame at byte {second}: {skipped} bytes skipped"))
    );
}

#[test]
fn what_is_no_segment_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    write(&folder, &[judged(0, 0, "ban")]);
    let mut later = Header { number: 2, began: at(0) }.to_bytes();
    later[8] = 2;
    fs::write(folder.join(segment::file_name(2)), later).unwrap();
    fs::write(folder.join(segment::file_name(3)), "something else").unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let (seconds, findings) = read(&folder);
    assert_eq!((seconds, findings.damaged), (vec![0], 2));
    let why: Vec<_> = findings.damages.iter().map(|damage| damage.why.as_str()).collect();
    assert_eq!(why[0], "written in version 2 of the format, where this program reads version 1");
    assert_eq!(why[1], "not a segment of a journal: it doesn't begin with PCJOURNL");
    let (mut writer, healed) = Writer::open(&folder, BOUNDS).unwrap();
    assert_eq!(healed.len(), 2);
    writer.append(&frames(&[judged(4, 4, "ban")]), &[], at(0)).unwrap();
    assert_eq!(read(&folder).0, [0, 4]);
    let error = Reader::open(&folder.join("notes.txt")).unwrap_err().to_string();
    assert!(error.ends_with("notes.txt: not a segment of a journal: it doesn't begin with PCJOURNL"), "{error}");
    assert!(matches!(Reader::open(folder.parent().unwrap()), Err(OpenError::Empty { .. })));
}

#[test]
fn the_oldest_segments_go_by_size_and_each_begins_with_what_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let bounds = Bounds { bytes_max: 1 << 20, ..BOUNDS };
    let (mut writer, _) = Writer::open(&folder, bounds).unwrap();
    let opening = frames(&[Record::process(at(0), Life::Started, "0.1.0")]);
    for n in 0..20_000 {
        writer.append(&frames(&[judged(n, n, "ban")]), &opening, at(0)).unwrap();
    }
    let on_disk: u64 = segment::list(&folder).unwrap().iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
    assert_eq!(on_disk, writer.bytes());
    assert!(on_disk <= 1 << 20 && on_disk > 1 << 19, "{on_disk}");
    let (seconds, _) = read(&folder);
    assert_eq!(seconds.last(), Some(&19_999));
    assert!(seconds[0] == 0 && seconds[1] > 1000, "the first record left is that of the segment's opening");
    for (_, path) in segment::list(&folder).unwrap() {
        assert_eq!(read(&path).0[0], 0);
    }
}

#[test]
fn nothing_stays_longer_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let bounds = Bounds { age_max: Duration::from_secs(800), ..BOUNDS };
    let (mut writer, _) = Writer::open(&folder, bounds).unwrap();
    for second in (0..2000).step_by(10) {
        writer.append(&frames(&[judged(second, second, "ban")]), &[], at(second)).unwrap();
        let (seconds, _) = read(&folder);
        assert!(seconds[0] + 800 > second, "{second}: {}", seconds[0]);
        assert!(seconds[0] <= second.saturating_sub(690), "{second}: {}", seconds[0]);
    }
    // Without any event, too.
    writer.tick(at(5000));
    writer.tick(at(5000));
    assert_eq!(segment::list(&folder).unwrap(), []);
    writer.append(&frames(&[judged(5001, 1, "ban")]), &[], at(5001)).unwrap();
    assert_eq!(read(&folder).0, [5001]);
}

#[test]
fn a_folder_that_is_gone_is_noticed_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("journal");
    let (mut writer, _) = Writer::open(&folder, BOUNDS).unwrap();
    writer.append(&frames(&[judged(0, 0, "ban")]), &[], at(0)).unwrap();
    assert!(writer.is_there());
    fs::remove_file(first_segment(&folder)).unwrap();
    assert!(!writer.is_there());
    assert_eq!(writer.take_anew().unwrap(), []);
    writer.append(&frames(&[judged(1, 1, "ban")]), &[], at(0)).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(!writer.is_there());
    fs::write(&folder, "in the way").unwrap();
    assert!(matches!(writer.take_anew(), Err(FolderError::Io { .. })));
    assert!(writer.append(&frames(&[judged(2, 2, "ban")]), &[], at(0)).is_err());
    fs::remove_file(&folder).unwrap();
    writer.take_anew().unwrap();
    writer.append(&frames(&[judged(3, 3, "ban")]), &[], at(0)).unwrap();
    assert!(writer.is_there());
    assert_eq!(read(&folder).0, [3]);
    assert_eq!(writer.segments()[0].number, 3, "numbers go on");
}

/// A record as a later version may write it: with a field more.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Later<'a> {
    #[n(0)]
    time: Time,
    #[b(1)]
    what: LaterWhat<'a>,
    #[b(77)]
    more: Vec<&'a str>,
}

#[derive(Encode, Decode)]
enum LaterWhat<'a> {
    #[n(4)]
    Process(#[b(0)] LaterProcess<'a>),
    #[n(99)]
    Unheard(#[b(0)] Vec<&'a str>),
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct LaterProcess<'a> {
    #[n(0)]
    process: Life,
    #[b(1)]
    version: &'a str,
    #[b(50)]
    nested: Vec<Vec<&'a str>>,
}

#[test]
fn fields_and_kinds_of_a_later_version_are_skipped() {
    let process = LaterProcess { process: Life::Ended, version: "9.0.0", nested: vec![vec!["a", "b"], vec![]] };
    let known = Later { time: Time(at(5)), what: LaterWhat::Process(process), more: vec!["c"] };
    let bytes = minicbor::to_vec(&known).unwrap();
    assert_eq!(minicbor::decode::<Record<'_>>(&bytes).unwrap(), Record::process(at(5), Life::Ended, "9.0.0"));
    let unheard = Later { time: Time(at(5)), what: LaterWhat::Unheard(vec!["d"]), more: vec![] };
    let mut bytes = Vec::new();
    for payload in [minicbor::to_vec(&unheard).unwrap(), minicbor::to_vec(&known).unwrap()] {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let sum = crc32fast::hash(&[&length[..], &payload].concat());
        bytes.extend([&length[..], &sum.to_le_bytes(), &payload].concat());
    }
    let mut read = 0;
    let findings = Reader::of_memory([(0, bytes.into())]).forward(|_, record| {
        assert_eq!(record.time.0, at(5));
        read += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((read, findings.records, findings.unknown, findings.damaged), (1, 1, 1, 0));
}

#[test]
fn json_is_what_people_write() {
    let json = serde_json::to_value(judged(0, 3, "ban")).unwrap();
    assert_eq!(json["time"], "2026-01-05T12:00:00.000Z");
    assert_eq!(
        (&json["kind"], &json["source"], &json["client"]),
        (&"judged".into(), &"203.0.113.7".into(), &"abc".into())
    );
    assert_eq!(json["attempt"], serde_json::json!({"outcome": "failure", "known": true, "fingerprint": "00000007"}));
    assert_eq!(json["subject"], serde_json::json!({"source": "203.0.113.7/32"}));
    assert_eq!((&json["before"], &json["plugin"]), (&"04".into(), &"01".repeat(32).into()));
    assert_eq!(json["keep"], serde_json::json!({"put": {"data": "0506", "ttl_ms": 9}}));
    assert_eq!(json["attributes"][1], serde_json::json!({"name": "query", "value": null}));
    assert_eq!(json["enforced"]["ban"]["until"], "2026-01-05T13:00:00.000Z");
    let json = serde_json::to_value(&all_kinds()[1]).unwrap();
    assert_eq!(
        (&json["kind"], &json["policies"][0]["runs"]["settings"][1]["value"]),
        (&"in-force".into(), &(-1).into())
    );
}

#[test]
fn an_event_that_several_policies_judged_is_one() {
    let mut numbers = Vec::new();
    let started = || Record::process(at(3), Life::Started, "0.1.0");
    let records = [
        judged(0, 0, "wait"),
        judged(0, 0, "ban"),
        judged(1, 1, "wait"),
        judged(2, 1, "ban"),
        started(),
        judged(4, 0, "wait"),
    ];
    let reader = Reader::of_memory([(0, frames(&records).into())]);
    entries(&reader, Timestamp::default(), |entry| {
        numbers.push((entry.at.as_millis() - at(0).as_millis()) / 1000);
        assert_eq!(entry.what, Happened::Login(LoginOutcome::Failure));
        let facts = entry.facts.as_ref().unwrap();
        assert_eq!((facts.known, facts.fingerprint), (Some(true), Some(7)));
        assert_eq!(facts.attributes, [("user-agent".to_owned(), "curl".to_owned())]);
        ControlFlow::Continue(())
    });
    assert_eq!(numbers, [0, 1, 4]);
    let newest = |since, max| {
        let newest = newest_entries(&reader, since, max);
        newest.iter().map(|entry| (entry.at.as_millis() - at(0).as_millis()) / 1000).collect::<Vec<_>>()
    };
    assert_eq!(newest(Timestamp::default(), 2), [2, 4]);
    assert_eq!(newest(at(4), 2), [4]);
}

#[test]
fn what_is_too_long_for_a_frame_is_refused_whole() {
    let long = "x".repeat(segment::PAYLOAD_BYTES_MAX);
    let mut frames = vec![1, 2, 3];
    assert!(!segment::append(&mut frames, &Record::process(at(0), Life::Started, &long)));
    assert_eq!(frames, [1, 2, 3]);
}

proptest! {
    #[test]
    fn hostile_bytes_are_no_records_and_stop_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (end, ending) = segment::walk(&bytes, |_, _| {});
        let rest = match ending { Ending::Whole => 0, Ending::Torn(rest) | Ending::Damaged(rest) => rest };
        prop_assert_eq!(end + rest, bytes.len());
        let _ = minicbor::decode::<Record<'_>>(&bytes);
        let _ = Header::read(&bytes);
    }

    #[test]
    fn a_flipped_bit_is_never_a_record(nth in 0..2000_usize, bit in 0..8_u8) {
        let mut bytes = frames(&[judged(0, 0, "ban"), judged(1, 1, "ban")]);
        let nth = nth % bytes.len();
        let first = frames(&[judged(0, 0, "ban")]).len();
        bytes[nth] ^= 1 << bit;
        let mut whole = Vec::new();
        segment::walk(&bytes, |at, payload| whole.push((at, payload.to_vec())));
        let original = frames(&[judged(0, 0, "ban")]);
        if nth < first {
            prop_assert!(whole.is_empty());
        } else {
            prop_assert_eq!(whole.len(), 1);
            prop_assert_eq!(&whole[0].1[..], &original[segment::FRAME_HEAD_BYTES..]);
        }
        let frame = segment::frame(&bytes);
        prop_assert!(nth >= first || !matches!(frame, Frame::Whole(..)));
    }

    #[test]
    fn records_with_hostile_payloads_panic_nowhere(mut payload in proptest::collection::vec(any::<u8>(), 1..600), cut in 0..600_usize) {
        // A valid record with foreign bytes in the middle of it.
        let valid = frames(&[judged(0, 0, "ban")]);
        let valid = &valid[segment::FRAME_HEAD_BYTES..];
        let cut = cut % valid.len();
        payload.splice(0..0, valid[..cut].iter().copied());
        if let Ok(record) = minicbor::decode::<Record<'_>>(&payload) {
            let _ = serde_json::to_string(&record);
        }
    }
}
