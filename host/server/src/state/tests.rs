//! The keeper on real files. Where it matters what is written when, the writer
//! is driven by hand instead of by its thread.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use portcullis_domain::{By, Capacity, Cause, ClientId, Keep, KeptEntry, KeptState, Reason, Store as _, VirtualClock};
use rusqlite::Connection;
use tempfile::TempDir;

use super::noted::{Owed, Wake};
use super::*;

const START: u64 = 1_700_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis((START + seconds) * 1000)
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn address(n: u32) -> IpNet {
    IpNet::new((0x0a00_0000 + n).to_be_bytes().into(), 32).unwrap()
}

fn id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

fn by_policy(text: &str) -> Cause {
    Cause { by: By::Policy("ban".into()), reason: Reason::new("max-failed-login", text).unwrap() }
}

fn by_hand() -> Cause {
    Cause { by: By::Operator, reason: Reason::new("by-hand", "it was them").unwrap() }
}

/// A folder with a file in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state.sqlite")
    }

    fn wrong(&self) -> String {
        let Err(error) = Keeper::open(&self.path()).map(|_| ()) else { panic!("it opens") };
        error.to_string()
    }

    fn sql(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    fn number(&self, query: &str) -> i64 {
        Connection::open(self.path()).unwrap().query_row(query, [], |row| row.get(0)).unwrap()
    }
}

/// Bans, waits, and kept states with policy and format.
type All = (Vec<Ban>, Vec<Wait>, Vec<(String, String, KeptEntry)>);

/// A store and what keeps it, with a clock of its own.
struct Kept {
    store: Arc<MemoryStore>,
    keeper: Keeper,
    clock: Arc<VirtualClock>,
    totals: Arc<Mutex<Totals>>,
    restored: Totals,
}

impl Kept {
    fn made(path: &Path, now: Timestamp) -> Self {
        let keeper = Keeper::open(path).unwrap();
        let recorder: Arc<dyn Recorder> = Arc::new(keeper.clone());
        let store = Arc::new(MemoryStore::with_recorder(Capacity::default(), Some(recorder)));
        let (clock, totals) = (Arc::new(VirtualClock::new(now)), Arc::default());
        Self { store, keeper, clock, totals, restored: Totals::new() }
    }

    /// With its thread.
    fn start(path: &Path, now: Timestamp) -> Self {
        let mut kept = Self::made(path, now);
        let totals = Arc::clone(&kept.totals);
        let restored = kept.keeper.restore(&kept.store, Arc::clone(&kept.clock) as _, move || totals.lock().clone());
        kept.restored = restored.unwrap();
        kept.totals.lock().clone_from(&kept.restored);
        kept
    }

    /// With a writer that is driven by hand.
    fn by_hand(path: &Path, now: Timestamp) -> (Self, Writer) {
        let kept = Self::made(path, now);
        let totals = Arc::clone(&kept.totals);
        let writer = kept.keeper.writer(&kept.store, Arc::clone(&kept.clock) as _, move || totals.lock().clone());
        let writer = writer.unwrap().unwrap();
        kept.totals.lock().clone_from(&writer.known.totals);
        (kept, writer)
    }

    fn ban(&self, network: IpNet, until: Timestamp) {
        self.store.ban(network, until, self.clock.now(), &by_policy("Maximum of 5 login attempts reached."));
    }

    fn keep(&self, policy: &str, subject: &Subject, keep: Keep) {
        let table = self.store.table(policy, &[StateFormat::new("f/1")]);
        table.hold(subject, &*self.clock, &mut |_, held| held.keep(0, keep.clone()));
    }

    fn put(&self, policy: &str, subject: &Subject, data: &[u8], ttl: Option<Duration>) {
        self.keep(policy, subject, Keep::Put(KeptState { data: StateBytes::from_slice(data), ttl }));
    }

    /// Everything that it holds, in an order of its own.
    fn all(&self) -> All {
        let now = self.clock.now();
        let mut kept = Vec::new();
        self.store.each_kept(now, |policy, format, entries| {
            let name = (policy.to_string(), format.as_str().to_owned());
            kept.extend(entries.into_iter().map(|entry| (name.0.clone(), name.1.clone(), entry)));
        });
        kept.sort_by(|one, other| (&one.0, &one.1, &one.2.subject).cmp(&(&other.0, &other.1, &other.2.subject)));
        (self.store.bans(None, usize::MAX, now), self.store.waits(None, usize::MAX, now), kept)
    }
}

fn subjects() -> [Subject; 4] {
    [
        Subject::Id(id("alice smith:\u{0}é")),
        Subject::Source(net("2001:db8::/64")),
        Subject::Pair(id("source:x y"), net("203.0.113.7/32")),
        Subject::Id(id("")),
    ]
}

#[test]
fn everything_is_there_after_a_restart() {
    let place = Place::new();
    let kept = Kept::start(&place.path(), at(0));
    kept.ban(net("203.0.113.7/32"), at(3600));
    kept.clock.set(at(1));
    kept.ban(net("203.0.113.7/32"), at(7200));
    kept.store.ban(net("2001:db8::/32"), at(60), at(1), &by_hand());
    for (n, subject) in (0u8..).zip(&subjects()) {
        let cause = Cause { by: By::Policy("wait".into()), reason: Reason::new("failed", "it failed").unwrap() };
        kept.store.wait(subject, at(10 + u64::from(n)), at(1), &cause);
        kept.put("ban", subject, &[n; 40], None);
        kept.put("scanner", subject, &[], Some(Duration::from_secs(20)));
    }
    kept.totals.lock().insert("requests".to_owned(), 12);
    let before = kept.all();
    kept.keeper.close();
    assert_eq!((before.0.len(), before.1.len(), before.2.len()), (2, 4, 8));
    drop(kept);
    assert!(!place.path().with_extension("sqlite-wal").exists(), "closed in one piece");

    let kept = Kept::start(&place.path(), at(5));
    assert_eq!(kept.all(), before);
    let ban = &kept.store.bans_on("203.0.113.7".parse().unwrap(), at(5))[0];
    assert_eq!((ban.since, ban.until), (at(1), at(7200)));
    assert_eq!(kept.restored, Totals::from([("requests".to_owned(), 12)]));
    assert_eq!(kept.keeper.latest(), at(1), "the clock goes on from there");
}

#[test]
fn what_is_lifted_forgotten_or_over_stays_so() {
    let place = Place::new();
    let kept = Kept::start(&place.path(), at(0));
    let [one, two, three, _] = subjects();
    for network in ["192.0.2.1/32", "192.0.2.2/32", "198.51.100.0/24"] {
        kept.ban(net(network), at(3600));
    }
    kept.ban(net("192.0.2.9/32"), at(10));
    for subject in [&one, &two] {
        kept.store.wait(subject, at(3600), at(0), &by_hand());
    }
    kept.store.wait(&three, at(10), at(0), &by_hand());
    for subject in [&one, &two] {
        kept.put("ban", subject, b"count", None);
    }
    kept.put("ban", &three, b"short", Some(Duration::from_secs(10)));
    // Written first, and taken back only then.
    drop(kept);
    let kept = Kept::start(&place.path(), at(1));
    kept.store.unban_within(&[net("192.0.2.0/24")], at(1));
    kept.ban(net("192.0.2.9/32"), at(10));
    kept.store.unwait(&one, at(1));
    kept.keep("ban", &one, Keep::Forget);
    drop(kept);

    let (kept, writer) = Kept::by_hand(&place.path(), at(10));
    let (bans, waits, states) = kept.all();
    assert_eq!(bans.iter().map(|ban| ban.network).collect::<Vec<_>>(), [net("198.51.100.0/24")]);
    assert_eq!(waits.iter().map(|wait| &wait.subject).collect::<Vec<_>>(), [&two]);
    assert_eq!(states.iter().map(|(_, _, entry)| &entry.subject).collect::<Vec<_>>(), [&two]);
    let rows = |table: &str| place.number(&format!("SELECT count(*) FROM {table}"));
    assert_eq!((rows("bans"), rows("waits"), rows("kept")), (2, 2, 2), "what is over is still in the file");
    writer.sweep(at(10)).unwrap();
    assert_eq!((rows("bans"), rows("waits"), rows("kept")), (1, 1, 1));
}

#[tokio::test]
async fn a_ban_is_on_the_disk_when_it_is_settled() {
    let place = Place::new();
    let kept = Kept::start(&place.path(), at(0));
    assert!(kept.keeper.settled().await, "nothing to wait for");
    for n in 0..20 {
        kept.ban(address(n), at(3600));
        while !kept.keeper.settled().await {}
        assert_eq!(place.number("SELECT count(*) FROM bans"), i64::from(n) + 1);
    }
    kept.store.unban_within(&[address(3)], at(1));
    while !kept.keeper.settled().await {}
    assert_eq!(place.number("SELECT count(*) FROM bans"), 19);
    let health = kept.keeper.health();
    assert!(health.commits >= 21 && health.failing.is_none(), "{health:?}");
}

#[tokio::test]
async fn a_disk_that_does_not_answer_holds_a_reply_for_so_long_and_is_told_of() {
    let place = Place::new();
    let kept = Kept::start(&place.path(), at(0));
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    kept.ban(address(1), at(3600));
    let began = Instant::now();
    assert!(!kept.keeper.settled().await);
    let took = began.elapsed();
    assert!(took >= SETTLE_TIME_MAX && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(kept.keeper.health().unsettled_replies, 1);
    other.execute_batch("ROLLBACK").unwrap();
    while !kept.keeper.settled().await {}
    assert_eq!(place.number("SELECT count(*) FROM bans"), 1);
}

/// What the writer finds when the disk is full.
fn fill(writer: &Writer) {
    let pages: i64 = writer.file.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    writer.file.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
}

fn make_room(writer: &Writer) {
    writer.file.connection.pragma_update_and_check(None, "max_page_count", 1 << 30, |_| Ok(())).unwrap();
}

#[tokio::test]
async fn a_full_disk_loses_nothing_once_there_is_room_again() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    writer.turn();
    fill(&writer);
    (0..500).for_each(|n| kept.ban(address(n), at(3600)));
    let subject = Subject::Source(address(1));
    kept.put("ban", &subject, &[1; 1000], None);
    writer.turn();
    let health = kept.keeper.health();
    assert!(health.failing.as_deref().is_some_and(|why| why.contains("full")), "{health:?}");
    assert_eq!((health.pending, health.unsettled_replies), (501, 0));
    let began = Instant::now();
    assert!(!kept.keeper.settled().await, "nobody waits for a disk that is known to be full");
    assert!(began.elapsed() < SETTLE_TIME_MAX);
    assert_eq!(kept.store.banned_until("10.0.0.7".parse().unwrap(), at(1)), Some(at(3600)), "in force all the same");

    // What changes meanwhile holds over what waits.
    kept.store.unban_within(&[address(7)], at(1));
    kept.put("ban", &subject, b"newer", None);
    writer.turn();
    make_room(&writer);
    writer.turn();
    assert!(kept.keeper.settled().await);
    let health = kept.keeper.health();
    assert_eq!((health.failing, health.pending, health.lag), (None, 0, Duration::ZERO));
    let before = kept.all();
    drop((kept, writer));
    let kept = Kept::start(&place.path(), at(0));
    assert_eq!((kept.all().0.len(), &kept.all()), (499, &before));
}

#[tokio::test]
async fn what_no_longer_fits_is_written_anew_from_the_memory() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    let subject = |n: u32| Subject::Pair(id(&format!("id {n}")), address(n));
    for n in 0..10_000 {
        kept.ban(address(n), at(3600));
        kept.store.wait(&subject(n), at(3600), at(0), &by_hand());
        kept.put("ban", &subject(n), b"old", None);
    }
    writer.turn();
    // All that follows is dropped, and owed.
    kept.keeper.0.shared.owe(Owed::ALL);
    for n in 0..5_000 {
        kept.store.unban_within(&[address(n)], at(0));
        kept.store.unwait(&subject(n), at(0));
        kept.keep("ban", &subject(n), Keep::Forget);
    }
    for n in 9_000..20_000 {
        kept.ban(address(n), at(7200));
        kept.put("ban", &subject(n), b"new", None);
    }
    let health = kept.keeper.health();
    assert_eq!(health.pending, 0, "nothing is kept twice");
    assert!(!health.lag.is_zero());
    // It fails at first, and half-way.
    fill(&writer);
    writer.turn();
    assert!(kept.keeper.health().failing.is_some() && !kept.keeper.settled().await);
    make_room(&writer);
    writer.turn();
    assert!(kept.keeper.settled().await);
    let before = kept.all();
    assert_eq!((before.0.len(), before.1.len(), before.2.len()), (15_000, 5_000, 15_000));
    drop((kept, writer));
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    assert_eq!(kept.all(), before, "what is gone from the memory is gone from the file");
    // Passes are told apart after a restart too.
    kept.store.unban_within(&[address(5_000)], at(0));
    kept.keeper.0.shared.owe(Owed { bans: true, others: false });
    writer.turn();
    assert_eq!(place.number("SELECT count(*) FROM bans"), 14_999);
}

#[test]
fn more_than_may_wait_is_dropped_and_owed() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    for n in 0..260_000 {
        kept.put("ban", &Subject::Source(address(n)), b"1", None);
    }
    assert!(kept.keeper.health().pending < 250_001, "{:?}", kept.keeper.health());
    kept.ban(address(1), at(3600));
    writer.turn();
    assert_eq!(place.number("SELECT count(*) FROM kept"), 260_000);
    assert_eq!(place.number("SELECT count(*) FROM bans"), 1);
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    kept.ban(address(1), at(3600));
    kept.totals.lock().insert("bans".to_owned(), 1);
    writer.turn();
    fs::rename(place.path(), place.path().with_extension("aside")).unwrap();
    writer.look_for_file();
    kept.ban(address(2), at(3600));
    writer.turn();
    assert!(kept.keeper.settled().await, "{:?}", kept.keeper.health());
    assert_eq!(place.number("SELECT count(*) FROM bans"), 2);
    assert_eq!(place.number("SELECT number FROM totals"), 1);
    let aside = Connection::open(place.path().with_extension("aside")).unwrap();
    assert_eq!(aside.query_row("SELECT count(*) FROM bans", [], |row| row.get::<_, i64>(0)).unwrap(), 1, "whole");

    fs::remove_file(place.path()).unwrap();
    fs::write(place.path(), "somebody else's").unwrap();
    writer.look_for_file();
    assert!(kept.keeper.health().failing.unwrap().contains("another file is at"));
    assert_eq!(fs::read(place.path()).unwrap(), b"somebody else's");
}

#[test]
fn totals_are_written_even_if_nothing_else_changes() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    writer.turn();
    let commits = kept.keeper.health().commits;
    writer.turn();
    assert_eq!(kept.keeper.health().commits, commits, "nothing to write, nothing written");
    kept.totals.lock().insert("requests".to_owned(), 7);
    kept.clock.set(at(9));
    writer.turn();
    assert_eq!(place.number("SELECT number FROM totals WHERE name = 'requests'"), 7);
    drop((kept, writer));
    assert_eq!(Keeper::open(&place.path()).unwrap().latest(), at(9));
}

#[test]
fn the_log_is_moved_into_the_file_when_it_has_grown() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    for n in 0..10_000 {
        kept.put("ban", &Subject::Source(address(n)), &[7; 200], None);
    }
    writer.turn();
    assert!(writer.file.bytes().1 > 4 << 20);
    let reader = Connection::open(place.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM bans").unwrap();
    kept.put("ban", &Subject::Source(address(1)), b"", None);
    writer.turn();
    writer.paces = Paces::default();
    let (most, began) = (writer.paces.log_bytes_max, Instant::now());
    writer.move_log().unwrap();
    assert!(began.elapsed() < file::BUSY_TIMEOUT, "nobody who reads is waited for");
    assert_eq!(writer.paces.log_bytes_max, most * 2, "somebody reads");
    reader.execute_batch("COMMIT").unwrap();
    writer.paces = Paces::default();
    writer.move_log().unwrap();
    assert_eq!(writer.file.bytes().1, 0);
}

#[test]
fn the_log_is_bounded_though_there_is_always_more_to_write() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    for n in 0..100_000 {
        kept.put("ban", &Subject::Source(address(n)), &[7; 200], None);
    }
    writer.turn();
    let bytes = writer.file.bytes().1;
    assert!(bytes < 40 << 20, "{bytes}");
}

#[test]
fn it_is_the_servers_alone() {
    let place = Place::new();
    let kept = Kept::start(&place.path(), at(0));
    let second = place.wrong();
    assert!(second.contains("another process has it"), "{second}");
    for file in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm"] {
        let mode = fs::metadata(place.0.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    drop(kept);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).unwrap();
    drop(Kept::start(&place.path(), at(0)));
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["state.sqlite"], "nothing is left beside it");
}

#[test]
fn a_file_that_can_not_be_right_is_refused_and_left_as_it_is() {
    let whole = Place::new();
    let kept = Kept::start(&whole.path(), at(0));
    (0..3000).for_each(|n| kept.ban(address(n), at(3600)));
    (0..3000).for_each(|n| kept.put("ban", &Subject::Source(address(n)), b"count", None));
    drop(kept);
    let bytes = fs::read(whole.path()).unwrap();
    let mut garbled = bytes.clone();
    garbled[8192..200_000].fill(0xa5);
    let mut no_header = bytes.clone();
    no_header[..16].fill(b'x');
    let half = bytes.len() / 2 / 4096 * 4096;
    for (what, damaged, says) in [
        ("empty", &b""[..], "is empty"),
        ("garbage", b"garbage, and more of it", "isn't a SQLite file"),
        ("another's header", &no_header, "isn't a SQLite file"),
        ("cut in its header", &bytes[..50], "cut short"),
        ("cut after its first page", &bytes[..4096], "is damaged"),
        ("cut in the middle", &bytes[..half], "is damaged"),
        ("cut by a page", &bytes[..bytes.len() - 4096], "is damaged"),
        ("cut within a page", &bytes[..half + 700], "is damaged"),
        ("overwritten", &garbled, "is damaged"),
    ] {
        let place = Place::new();
        fs::write(place.path(), damaged).unwrap();
        let store = Arc::new(MemoryStore::default());
        let opened = Keeper::open(&place.path())
            .and_then(|keeper| keeper.restore(&store, Arc::new(VirtualClock::new(at(0))), Totals::new));
        let Err(error) = opened else { panic!("{what}: it is taken") };
        let error = error.to_string();
        assert!(error.contains(says) && error.contains("move it aside"), "{what}: {error}");
        assert!(error.contains("state.sqlite"), "{what}: {error}");
        assert_eq!(fs::read(place.path()).unwrap(), damaged, "{what}: left as it is");
    }
}

#[test]
fn rows_that_nobody_has_written_so_are_damage() {
    for damage in [
        "INSERT INTO bans VALUES ('nonsense', 0, 9e15, NULL, 'a', '', 0)",
        "INSERT INTO bans VALUES ('203.0.113.7/24', 0, 9e15, NULL, 'a', '', 0)",
        "INSERT INTO bans VALUES ('203.0.113.7/32', -1, 9e15, NULL, 'a', '', 0)",
        "INSERT INTO bans VALUES ('203.0.113.7/32', 0, 9e15, NULL, 'No Code', '', 0)",
        "INSERT INTO waits VALUES ('who:x', 0, 9e15, NULL, 'a', '', 0)",
        "INSERT INTO formats VALUES (1, 'ban', 'f/1'); INSERT INTO kept VALUES (1, 'who:x', x'', 9e15, 0)",
        "INSERT INTO totals VALUES ('requests', -1)",
        "UPDATE file SET latest = -1",
    ] {
        let place = Place::new();
        drop(Kept::start(&place.path(), at(0)));
        place.sql(&damage.replace("9e15", "9000000000000000"));
        let store = Arc::new(MemoryStore::default());
        let opened = Keeper::open(&place.path())
            .and_then(|keeper| keeper.restore(&store, Arc::new(VirtualClock::new(at(0))), Totals::new));
        assert!(opened.is_err_and(|error| error.to_string().contains("is damaged")), "{damage}");
    }
}

#[test]
fn what_is_not_ours_or_newer_is_refused() {
    let place = Place::new();
    place.sql("CREATE TABLE t (a)");
    assert!(place.wrong().contains("another program's SQLite file"), "{}", place.wrong());

    let place = Place::new();
    drop(Kept::start(&place.path(), at(0)));
    place.sql("PRAGMA user_version = 7");
    let newer = place.wrong();
    assert!(newer.contains("is of version 7, and this program writes version 2: start the newer program"), "{newer}");

    let place = Place::new();
    fs::write(place.path().with_extension("sqlite-wal"), "left behind").unwrap();
    let orphan = place.wrong();
    assert!(orphan.contains("isn't there, but") && orphan.contains("state.sqlite-wal"), "{orphan}");
    assert!(!place.path().exists());

    let nowhere = Keeper::open(&place.0.path().join("no/state.sqlite")).map(|_| ()).unwrap_err().to_string();
    assert!(nowhere.contains("make the folder"), "{nowhere}");
}

#[test]
fn a_process_that_is_killed_while_it_makes_the_file_is_in_nobodys_way() {
    let place = Place::new();
    fs::write(place.path().with_extension("sqlite.new"), "half a file").unwrap();
    fs::write(place.path().with_extension("sqlite.new-journal"), "half a journal").unwrap();
    let kept = Kept::start(&place.path(), at(0));
    kept.ban(address(1), at(3600));
    drop(kept);
    assert_eq!(Kept::start(&place.path(), at(0)).all().0.len(), 1);
}

/// As somebody does who reads lines: each is counted, and so is how far they are.
fn read_line(kept: &Kept, line: u32) {
    let (watch, file) = (Arc::from("rportd"), Arc::from("/x.log"));
    let step = kept.keeper.step();
    kept.put("ban", &Subject::Source(address(1)), line.to_string().as_bytes(), None);
    kept.totals.lock().insert("lines".to_owned(), line.into());
    assert!(step.reached(&watch, &file, line.to_string().into()));
}

/// The count, how far they are, and the total, as they are in the file at one moment.
fn as_in_the_file(reader: &Connection) -> Option<(u32, u32, u32)> {
    let all = "SELECT CAST(CAST(data AS TEXT) AS INTEGER), CAST(place AS INTEGER), number FROM kept, watched, totals";
    reader.query_row(all, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).ok()
}

/// Says that it is enough when it goes, be it by a panic.
struct Ending<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn how_far_a_log_was_read_is_in_the_file_together_with_what_came_of_it_at_every_moment() {
    const STATES: usize = 20;
    let place = Place::new();
    let kept = Kept::start(&place.path(), at(0));
    let reader = Connection::open(place.path()).unwrap();
    let enough = std::sync::atomic::AtomicBool::new(false);
    let lines = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut line = 0;
            while !enough.load(std::sync::atomic::Ordering::Relaxed) {
                line += 1;
                read_line(&kept, line);
                if line % 16 == 0 {
                    // It is in a hurry, and there is more than one piece of it.
                    kept.ban(address(line), at(3600));
                    kept.store.wait(&Subject::Source(address(line)), at(3600), at(0), &by_hand());
                    kept.keeper.let_follow();
                }
            }
            line
        });
        // Whatever comes, the reading ends.
        let reading_ends = Ending(&enough);
        let mut seen = BTreeSet::new();
        while seen.len() < STATES {
            if let Some((count, line, total)) = as_in_the_file(&reader) {
                assert_eq!((count, total), (line, line));
                seen.insert(line);
            }
        }
        drop(reading_ends);
        reading.join().unwrap()
    });
    drop(kept);
    let kept = Kept::start(&place.path(), at(0));
    assert_eq!(kept.keeper.places("rportd"), [(Arc::from("/x.log"), Arc::from(lines.to_string()))]);
    assert_eq!(kept.keeper.places("sshd"), []);
}

#[test]
fn a_place_that_is_forgotten_stays_so() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    read_line(&kept, 1);
    writer.turn();
    kept.keeper.step().forget(&Arc::from("rportd"), &Arc::from("/x.log"));
    assert_eq!(kept.keeper.places("rportd"), []);
    // Nor is it lost that it was, where all is written anew.
    kept.keeper.0.shared.owe(Owed::ALL);
    writer.turn();
    writer.turn();
    assert_eq!(place.number("SELECT count(*) FROM watched"), 0);
}

#[test]
fn of_a_memory_that_is_written_anew_the_places_come_last() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    let reader = Connection::open(place.path()).unwrap();
    read_line(&kept, 1);
    writer.turn();
    assert_eq!(as_in_the_file(&reader), Some((1, 1, 1)));
    kept.keeper.0.shared.owe(Owed { bans: false, others: true });
    read_line(&kept, 2);
    assert!(kept.keeper.0.shared.take(true, Totals::new).changes.places.is_empty(), "its effects are owed");
    writer.turn();
    assert_eq!(as_in_the_file(&reader), Some((2, 2, 2)));

    // Somebody has moved the file away: what is new holds all places.
    fs::rename(place.path(), place.path().with_extension("away")).unwrap();
    writer.look_for_file();
    writer.turn();
    let reader = Connection::open(place.path()).unwrap();
    assert_eq!(as_in_the_file(&reader), Some((2, 2, 2)));
}

#[test]
fn who_reads_faster_than_can_be_written_waits_and_not_for_ever() {
    let place = Place::new();
    let (kept, mut writer) = Kept::by_hand(&place.path(), at(0));
    let fill = || (0..5000).for_each(|n| kept.put("ban", &Subject::Source(address(n)), b"x", None));
    kept.keeper.let_follow();
    fill();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| kept.keeper.let_follow());
        let soon = Instant::now() + Duration::from_secs(60);
        assert_eq!(kept.keeper.0.shared.wait(soon, false), Wake::Look);
        assert!(Instant::now() < soon, "the writer is woken");
        // It would take more for as long as there is any, and do nothing else.
        assert!(!kept.keeper.0.shared.is_urgent(), "and by no ban");
        assert!(!waiting.is_finished());
        writer.turn();
        waiting.join().unwrap();
    });
    assert_eq!(kept.keeper.health().pending, 0);
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    fill();
    let began = Instant::now();
    kept.keeper.let_follow();
    assert!(began.elapsed() >= FOLLOW_TIME_MAX);
}

#[test]
fn a_file_of_version_2_is_taken_over() {
    let place = Place::new();
    drop(Kept::start(&place.path(), at(0)));
    place.sql(include_str!("rows-2.sql"));
    let kept = Kept::start(&place.path(), at(0));
    let wanted = [(Arc::from("/var/log/auth.log"), Arc::from(r#"{"generations":[]}"#))];
    assert_eq!(kept.keeper.places("sshd"), wanted);
}

/// A file of each version that was ever released is read by this program. To
/// make version 3: write `version-3.sql`, put it into `MIGRATIONS`, and leave
/// what is here as it is.
#[test]
fn a_file_of_version_1_is_brought_up_to_date() {
    let place = Place::new();
    let old = Connection::open(place.path()).unwrap();
    schema::prepare_empty(&old).unwrap();
    old.execute_batch(include_str!("version-1.sql")).unwrap();
    old.execute_batch(include_str!("rows-1.sql")).unwrap();
    old.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(old);
    let kept = Kept::start(&place.path(), at(0));
    let (bans, waits, states) = kept.all();
    assert_eq!(
        bans,
        [
            Ban {
                network: net("203.0.113.7/32"),
                since: at(0),
                until: at(3600),
                cause: Arc::new(by_policy("Maximum of 5 login attempts reached.")),
            },
            Ban { network: net("2001:db8::/32"), since: at(0), until: at(86400), cause: Arc::new(by_hand()) },
        ]
    );
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].subject, Subject::Id(id("alice")));
    let subjects: Vec<_> =
        states.iter().map(|(policy, format, entry)| (policy.as_str(), format.as_str(), entry)).collect();
    let entry = |subject, data: &[u8], expires| KeptEntry { subject, data: StateBytes::from_slice(data), expires };
    assert_eq!(
        subjects,
        [
            (
                "ban",
                "failures-in-a-row/1",
                &entry(Subject::Source(net("198.51.100.1/32")), &[4, 0, 0, 0], Timestamp::MAX)
            ),
            ("scanner", "hits/1", &entry(Subject::Pair(id("bob"), net("198.51.100.1/32")), &[1], at(20))),
        ]
    );
    assert_eq!((kept.restored["requests"], kept.keeper.latest()), (42, at(0)));
    drop(kept);
    let fresh = Place::new();
    drop(Kept::start(&fresh.path(), at(0)));
    let schema = |place: &Place| -> Vec<Option<String>> {
        let connection = Connection::open(place.path()).unwrap();
        let mut sql = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY name").unwrap();
        sql.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(schema(&place), schema(&fresh), "the same whether it was made or brought up to date");
}
