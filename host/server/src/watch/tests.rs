//! Logs on a real file system, through all that happens to them.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_harness::logs::Line;
use proptest::prelude::*;
use tempfile::TempDir;

use super::files::{LOGS_MAX, Logs};
use super::follow::{Followed, Tiding};
use super::generation::{BUFFER_BYTES, Generation};
use super::known::Others;
use super::place::{Place, Reached};
use super::places::Places;
use crate::config::Begin;

/// A folder with a log that somebody writes.
struct Written {
    folder: TempDir,
    writer: File,
    /// When it was written to, as the file system has it: the present goes by
    /// too fast for its clock.
    clock: SystemTime,
    rotations: u32,
}

impl Written {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let writer = append(&folder.path().join("x.log"));
        Self { folder, writer, clock: SystemTime::now(), rotations: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("x.log")
    }

    fn write(&mut self, text: impl AsRef<[u8]>) {
        self.writer.write_all(text.as_ref()).unwrap();
        let now = self.now();
        self.writer.set_modified(now).unwrap();
    }

    fn now(&mut self) -> SystemTime {
        self.clock += Duration::from_millis(10);
        self.clock
    }

    /// Makes room for another rotated file, as logrotate does.
    fn shift(&mut self) -> PathBuf {
        let numbered = |number: u32| self.folder.path().join(format!("x.log.{number}"));
        for number in (1..=self.rotations).rev() {
            fs::rename(numbered(number), numbered(number + 1)).unwrap();
        }
        let first = numbered(1);
        self.rotations += 1;
        first
    }

    /// The log is renamed; whoever writes still has it open.
    fn rename(&mut self) {
        let to = self.shift();
        fs::rename(self.path(), to).unwrap();
    }

    /// Whoever writes begins another file.
    fn reopen(&mut self) {
        self.writer = append(&self.path());
    }

    fn copy_and_truncate(&mut self) {
        let to = self.shift();
        fs::copy(self.path(), &to).unwrap();
        let now = self.now();
        File::options().append(true).open(to).unwrap().set_modified(now).unwrap();
        self.writer.set_len(0).unwrap();
    }
}

/// There is no other log.
struct Nobody;

impl Others for Nobody {
    fn owns(&self, _: (u64, u64)) -> bool {
        false
    }

    fn reached(&self, _: &Generation) -> Option<Reached> {
        None
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// Looks, and reads all there is.
fn read(log: &mut Followed) -> Vec<String> {
    log.look(&Nobody);
    read_on(log)
}

fn read_on(log: &mut Followed) -> Vec<String> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut lines = Vec::new();
    while let Some((file, bytes)) = log.fill(&mut buffer) {
        let mut unread = &buffer[..bytes];
        while let Some((_, line)) = log.next(file, &mut unread) {
            lines.push(match line {
                Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
                Line::TooLong => "TOO LONG".to_owned(),
            });
        }
    }
    lines
}

/// Another process goes on where this one was.
fn again(log: Followed, path: &Path) -> Followed {
    let kept = log.place().to_text();
    drop(log);
    Followed::resume(path.to_owned(), Place::from_text(&kept).unwrap(), &Nobody)
}

fn from_beginning(written: &Written) -> Followed {
    Followed::new(written.path(), Begin::Beginning, &Nobody)
}

#[test]
fn a_log_that_grows_gives_each_line_when_its_end_is_there() {
    let mut written = Written::new();
    written.write("one\ntwo");
    let mut log = from_beginning(&written);
    assert_eq!(read(&mut log), ["one"]);
    written.write(" and more");
    assert!(read(&mut log).is_empty());
    written.write(b" of it\n\nthree\r\n\xff\n");
    assert_eq!(read(&mut log), ["two and more of it", "", "three\r", "\u{fffd}"]);
    written.write(b"\xc3(\n");
    assert_eq!(read(&mut log), ["\u{fffd}("]);
    assert_eq!(log.place().generations[0].line, 6);
    log.look(&Nobody);
    assert_eq!(log.unread(), 0);
}

#[test]
fn a_log_is_begun_behind_its_last_whole_line_or_with_its_first() {
    let mut written = Written::new();
    written.write("one\ntwo\nthr");
    let mut log = Followed::new(written.path(), Begin::End, &Nobody);
    assert!(read(&mut log).is_empty());
    written.write("ee\n");
    assert_eq!(read(&mut log), ["three"]);
    assert_eq!(log.place().generations[0].line, 3);
    assert_eq!(read(&mut from_beginning(&written)), ["one", "two", "three"]);
}

#[test]
fn lines_of_megabytes_are_passed_over_whenever_they_end() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    written.write("a\n");
    assert_eq!(read(&mut log), ["a"]);
    for _ in 0..5 {
        written.write(vec![b'x'; 700_000]);
        assert!(read(&mut log).is_empty());
    }
    let mut resumed = again(from_beginning(&written), &written.path());
    written.write("\nb\n");
    assert_eq!(read(&mut log), ["TOO LONG", "b"]);
    assert_eq!(read(&mut resumed), ["a", "TOO LONG", "b"]);
    assert_eq!(log.place().generations[0].line, 3);
    written.write([&vec![b'y'; 2 << 20][..], b"\nc\n"].concat());
    assert_eq!(read(&mut log), ["TOO LONG", "c"]);
}

#[test]
fn a_log_that_is_renamed_is_read_to_its_end_even_if_its_writer_is_late() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    written.write("one\n");
    assert_eq!(read(&mut log), ["one"]);
    written.write("two\n");
    written.rename();
    assert_eq!(read(&mut log), ["two"]);
    written.write("three\n");
    assert_eq!(read(&mut log), ["three"]);
    let mut old = append(&written.folder.path().join("x.log.1"));
    written.reopen();
    written.write("five\n");
    old.write_all(b"four\n").unwrap();
    assert_eq!(read(&mut log), ["four", "five"]);
    assert_eq!(log.place().generations.len(), 2);
}

#[test]
fn two_renames_between_two_looks_lose_nothing() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    written.write("one\n");
    assert_eq!(read(&mut log), ["one"]);
    for (rest, next) in [("two\n", "three\n"), ("four\n", "five\n"), ("six\n", "seven\n")] {
        written.write(rest);
        written.rename();
        written.reopen();
        written.write(next);
    }
    assert_eq!(read(&mut log), ["two", "three", "four", "five", "six", "seven"]);
}

#[test]
fn of_a_log_that_was_copied_and_cut_the_rest_is_read_in_the_copy() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    written.write("one\n");
    assert_eq!(read(&mut log), ["one"]);
    written.write("two\n");
    written.copy_and_truncate();
    written.write("3\n");
    assert_eq!(read(&mut log), ["two", "3"]);
    assert!(log.take_tidings().iter().any(|tiding| matches!(tiding, Tiding::Cut)));
    // It has grown beyond where it was by the time somebody looks.
    written.write("four\n");
    written.copy_and_truncate();
    written.write("five and as much as before\n");
    assert_eq!(read(&mut log), ["four", "five and as much as before"]);
}

#[test]
fn what_is_cut_without_a_copy_is_told_of() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    written.write("one\n");
    assert_eq!(read(&mut log), ["one"]);
    written.write("two\n");
    log.look(&Nobody);
    written.writer.set_len(0).unwrap();
    written.write("3\n");
    log.take_tidings();
    assert_eq!(read(&mut log), ["3"]);
    let lost = |tiding: &Tiding| matches!(tiding, Tiding::Lost { bytes: Some(4) });
    let tidings = log.take_tidings();
    assert!(tidings.iter().any(lost), "{tidings:?}");
    // All of it had been read this time.
    written.writer.set_len(0).unwrap();
    written.write("four\n");
    assert_eq!(read(&mut log), ["four"]);
    assert!(!log.take_tidings().iter().any(|tiding| matches!(tiding, Tiding::Lost { .. })));
}

#[test]
fn a_writer_that_goes_on_where_it_was_leaves_a_hole_and_its_line_is_read() {
    let written = Written::new();
    fs::write(written.path(), vec![b'x'; 600_000]).unwrap();
    let mut log = Followed::new(written.path(), Begin::End, &Nobody);
    assert!(read(&mut log).is_empty());
    let mut writer = File::options().write(true).open(written.path()).unwrap();
    std::io::Seek::seek(&mut writer, std::io::SeekFrom::Start(600_000)).unwrap();
    writer.set_len(0).unwrap();
    writer.write_all(b"after the hole\n").unwrap();
    assert_eq!(read(&mut log), ["after the hole"]);
}

#[test]
fn a_log_that_appears_later_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/x.log");
    let mut log = Followed::new(path.clone(), Begin::End, &Nobody);
    assert!(read(&mut log).is_empty() && log.take_tidings().is_empty());
    fs::create_dir(folder.path().join("later")).unwrap();
    fs::write(&path, "one\n").unwrap();
    assert_eq!(read(&mut log), ["one"]);
    fs::remove_file(&path).unwrap();
    assert!(read(&mut log).is_empty());
    fs::write(&path, "two\n").unwrap();
    assert_eq!(read(&mut log), ["two"]);
}

#[test]
fn a_link_is_followed_to_where_it_leads_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("current.log");
    fs::write(folder.path().join("a"), "one\n").unwrap();
    symlink("a", &path).unwrap();
    let mut log = Followed::new(path.clone(), Begin::Beginning, &Nobody);
    assert_eq!(read(&mut log), ["one"]);
    append(&folder.path().join("a")).write_all(b"two\n").unwrap();
    fs::write(folder.path().join("b"), "three\n").unwrap();
    symlink("b", folder.path().join("new")).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    assert_eq!(read(&mut log), ["two", "three"]);
    // A file takes the place of the link.
    fs::write(folder.path().join("new"), "four\n").unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    let mut log = again(log, &path);
    assert_eq!(read(&mut log), ["four"]);
}

#[test]
fn a_log_that_was_edited_goes_on_where_it_was() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    written.write("one\n");
    assert_eq!(read(&mut log), ["one"]);
    fs::copy(written.path(), written.folder.path().join("new")).unwrap();
    fs::rename(written.folder.path().join("new"), written.path()).unwrap();
    written.reopen();
    written.write("two\n");
    assert_eq!(read(&mut log), ["two"]);
}

#[test]
fn what_is_no_file_is_told_of_once_and_read_when_it_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    fs::create_dir(&path).unwrap();
    let mut log = Followed::new(path.clone(), Begin::Beginning, &Nobody);
    let unreadable =
        |tidings: Vec<Tiding>| tidings.iter().filter(|tiding| matches!(tiding, Tiding::Unreadable(_))).count();
    assert_eq!((read(&mut log).len(), unreadable(log.take_tidings())), (0, 1));
    assert_eq!((read(&mut log).len(), unreadable(log.take_tidings()), log.is_unreadable()), (0, 0, true));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "one\n").unwrap();
    assert_eq!(read(&mut log), ["one"]);
    assert!(!log.is_unreadable());
}

#[test]
fn a_restart_goes_on_whatever_was_rotated_meanwhile() {
    type Rotation = fn(&mut Written);
    let rename: Rotation = |written| {
        written.rename();
        written.reopen();
    };
    let copy: Rotation = Written::copy_and_truncate;
    for rotations in [
        &[][..],
        &[rename],
        &[copy],
        &[rename, rename],
        &[copy, copy],
        &[rename, copy],
        &[copy, rename],
        &[copy, rename, copy, rename, rename],
    ] {
        let mut written = Written::new();
        let mut log = from_beginning(&written);
        written.write("zero\n");
        assert_eq!(read(&mut log), ["zero"]);
        let kept = log.place().to_text();
        drop(log);
        let mut wanted = Vec::new();
        for (number, rotate) in rotations.iter().enumerate() {
            written.write(format!("before {number}\n"));
            rotate(&mut written);
            written.write(format!("after {number}\n"));
            wanted.extend([format!("before {number}"), format!("after {number}")]);
        }
        written.write("last\n");
        wanted.push("last".to_owned());
        let mut log = Followed::resume(written.path(), Place::from_text(&kept).unwrap(), &Nobody);
        assert_eq!(read(&mut log), wanted, "{} rotations", rotations.len());
        assert!(read(&mut again(log, &written.path())).is_empty());
    }
}

#[test]
fn what_cannot_be_found_after_a_restart_is_told_of_and_what_is_there_is_read() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    written.write("one\n");
    assert_eq!(read(&mut log), ["one"]);
    fs::remove_file(written.path()).unwrap();
    written.reopen();
    written.write("two\n");
    let mut log = again(log, &written.path());
    assert_eq!(read(&mut log), ["two"]);
    assert!(log.take_tidings().iter().any(|tiding| matches!(tiding, Tiding::Lost { bytes: None })));
}

#[test]
fn no_more_files_stay_open_than_may_be() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    for number in 0..40 {
        written.write(format!("{number}\n"));
        assert_eq!(read(&mut log), [number.to_string()]);
        written.rename();
        written.reopen();
    }
    read(&mut log);
    assert!(log.open_paths().count() <= 17, "{}", log.open_paths().count());
    assert!(log.place().generations.len() <= 25);
}

fn logs(folder: &Path, patterns: &[&str], begin: Begin, places: &Places) -> Logs {
    let patterns = patterns.iter().map(|pattern| folder.join(pattern).display().to_string()).collect();
    Logs::new(&Arc::from("x"), patterns, begin, places.clone())
}

fn read_all(logs: &mut Logs) -> Vec<String> {
    logs.discover();
    let mut lines = Vec::new();
    for path in logs.logs.keys().cloned().collect::<Vec<_>>() {
        let mut log = logs.logs.remove(&path).unwrap();
        logs.look(&mut log);
        lines.extend(read_on(&mut log.followed));
        logs.places.step().reached(&Arc::from("x"), &log.key, log.followed.place().to_text().into());
        logs.logs.insert(path, log);
    }
    lines
}

/// All that is renamed has been so for a long time.
fn age(logs: &mut Logs) {
    logs.logs.values_mut().for_each(|log| log.followed.age(Duration::from_secs(3600)));
}

#[test]
fn patterns_find_new_logs_and_no_rotated_or_compressed_ones() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.log"), "a1\n").unwrap();
    fs::write(at("a.log.1"), "a0\n").unwrap();
    fs::write(at("z.log.gz"), "z0\n").unwrap();
    fs::write(at("y.log"), b"\x1f\x8b0\n").unwrap();
    let places = Places::new(None);
    let mut all = logs(folder.path(), &["*.log*", "b/?.log"], Begin::End, &places);
    assert!(read_all(&mut all).is_empty());
    append(&at("a.log")).write_all(b"a2\n").unwrap();
    fs::create_dir(at("b")).unwrap();
    fs::write(at("b/b.log"), "b1\n").unwrap();
    fs::write(at("c.log"), "c1\n").unwrap();
    assert_eq!(read_all(&mut all), ["a2", "b1", "c1"]);
    fs::rename(at("a.log"), at("a.log.1")).unwrap();
    fs::write(at("a.log"), "a3\n").unwrap();
    assert_eq!(read_all(&mut all), ["a3"]);

    // One that has turned up between two processes is new, too.
    append(&at("c.log")).write_all(b"c2\n").unwrap();
    fs::write(at("d.log"), "d1\n").unwrap();
    let mut all = logs(folder.path(), &["*.log*", "b/?.log"], Begin::End, &places);
    assert_eq!(read_all(&mut all), ["c2", "d1"]);
}

#[test]
fn of_more_logs_than_may_be_followed_the_newest_are() {
    let folder = tempfile::tempdir().unwrap();
    let began = SystemTime::now() - Duration::from_secs(3600);
    for number in 0..LOGS_MAX + 10 {
        let file = append(&folder.path().join(format!("{}-{number}.log", "x".repeat(number % 7))));
        file.set_modified(began + Duration::from_secs(number as u64)).unwrap();
    }
    let mut all = logs(folder.path(), &["*.log"], Begin::End, &Places::new(None));
    assert!(read_all(&mut all).is_empty());
    assert_eq!(all.logs.len(), LOGS_MAX);
    assert!(!all.logs.contains_key(&folder.path().join("xx-9.log")));
    fs::write(folder.path().join("new.log"), "one\n").unwrap();
    assert_eq!(read_all(&mut all), ["one"]);
    assert_eq!(all.logs.len(), LOGS_MAX);
}

#[test]
fn a_file_that_a_pattern_finds_under_its_next_name_is_no_new_one() {
    for (next_name, aged, restarted) in [
        ("x.log.1", false, false),
        ("x.log.1", true, false),
        ("x.log.1", false, true),
        ("x-old.log", false, false),
        ("x-old.log", true, false),
        ("x-old.log", false, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let places = Places::new(None);
        let begin = || logs(folder.path(), &["*.log*"], Begin::Beginning, &places);
        fs::write(at("x.log"), "one\n").unwrap();
        let mut all = begin();
        assert_eq!(read_all(&mut all), ["one"]);
        append(&at("x.log")).write_all(b"two\n").unwrap();
        fs::rename(at("x.log"), at(next_name)).unwrap();
        if restarted {
            all = begin();
        }
        // Somebody looks before there is another at the path.
        assert_eq!(read_all(&mut all), ["two"], "{next_name} {aged} {restarted}");
        if aged {
            age(&mut all);
        }
        assert!(read_all(&mut all).is_empty(), "{next_name} {aged} {restarted}");
        append(&at(next_name)).write_all(b"three\n").unwrap();
        assert_eq!(read_all(&mut all), ["three"], "{next_name} {aged} {restarted}");
        fs::write(at("x.log"), "four\n").unwrap();
        assert_eq!(read_all(&mut all), ["four"], "{next_name} {aged} {restarted}");
        age(&mut all);
        assert!(read_all(&mut all).is_empty());
        assert!(read_all(&mut all).is_empty());
        assert!(read_all(&mut begin()).is_empty(), "{next_name} {aged} {restarted}");
    }
}

#[test]
fn a_file_that_a_link_led_to_is_no_new_one_when_the_link_moves_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let lead_to = |name: &str| {
        symlink(name, at("link")).unwrap();
        fs::rename(at("link"), at("current.log")).unwrap();
    };
    fs::write(at("d-app.log"), "one\n").unwrap();
    lead_to("d-app.log");
    let places = Places::new(None);
    let mut all = logs(folder.path(), &["*.log"], Begin::Beginning, &places);
    assert_eq!(read_all(&mut all), ["one"]);
    for (name, line) in [("c-app.log", "two"), ("b-app.log", "three")] {
        fs::write(at(name), format!("{line}\n")).unwrap();
        lead_to(name);
        assert_eq!(read_all(&mut all), [line]);
        for _ in 0..3 {
            age(&mut all);
            assert!(read_all(&mut all).is_empty(), "{name}");
        }
    }
    append(&at("d-app.log")).write_all(b"four\n").unwrap();
    assert_eq!(read_all(&mut all), ["four"]);
    assert!(read_all(&mut logs(folder.path(), &["*.log"], Begin::Beginning, &places)).is_empty());
}

#[test]
fn a_copy_under_another_name_is_no_new_log_and_what_was_cut_is_read_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("x.log"), "one\n").unwrap();
    let mut all = logs(folder.path(), &["*.log"], Begin::Beginning, &Places::new(None));
    assert_eq!(read_all(&mut all), ["one"]);
    append(&at("x.log")).write_all(b"two\n").unwrap();
    fs::copy(at("x.log"), at("a.log")).unwrap();
    assert_eq!(read_all(&mut all), ["two"]);
    append(&at("x.log")).write_all(b"three\n").unwrap();
    fs::copy(at("x.log"), at("x-old.log")).unwrap();
    File::options().append(true).open(at("x.log")).unwrap().set_len(0).unwrap();
    append(&at("x.log")).write_all(b"four\n").unwrap();
    let mut lines = read_all(&mut all);
    lines.sort();
    assert_eq!(lines, ["four", "three"]);
    for _ in 0..3 {
        age(&mut all);
        assert!(read_all(&mut all).is_empty());
    }
    // It is a log of its own from there on.
    append(&at("a.log")).write_all(b"five\n").unwrap();
    assert_eq!(read_all(&mut all), ["five"]);
}

#[test]
fn a_file_that_was_renamed_long_ago_is_let_go_of_only_when_it_has_been_read() {
    let mut written = Written::new();
    let mut log = from_beginning(&written);
    written.write("one\n");
    assert_eq!(read(&mut log), ["one"]);
    written.write("two\n");
    written.rename();
    written.reopen();
    written.write("three\n");
    log.look(&Nobody);
    log.age(Duration::from_secs(3600));
    // Something else was read meanwhile.
    assert_eq!(read(&mut log), ["two", "three"]);
    log.age(Duration::from_secs(3600));
    assert!(read(&mut log).is_empty());
    assert_eq!(log.open_paths().count(), 1);
}

#[test]
fn a_log_that_is_gone_is_closed_though_its_last_line_has_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    fs::write(&path, "one\ntw").unwrap();
    let mut all = logs(folder.path(), &["*.log"], Begin::Beginning, &Places::new(None));
    assert_eq!(read_all(&mut all), ["one"]);
    append(&path).write_all(b"o\nthr").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(read_all(&mut all), ["two"]);
    assert_eq!(all.logs.len(), 1, "its writer may have it open");
    age(&mut all);
    assert!(read_all(&mut all).is_empty());
    assert_eq!(all.logs.len(), 0);
}

#[test]
fn a_file_that_can_be_looked_at_no_more_does_not_keep_the_log_from_going_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    // What can be opened, and fails once the process is gone.
    let mut process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    symlink(format!("/proc/{}/comm", process.id()), &path).unwrap();
    let mut log = Followed::new(path.clone(), Begin::Beginning, &Nobody);
    process.kill().unwrap();
    process.wait().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "one\n").unwrap();
    assert_eq!(read(&mut log), ["one"]);
    assert!(log.take_tidings().iter().any(|tiding| matches!(tiding, Tiding::Lost { bytes: None })));
}

#[test]
fn places_of_files_that_are_gone_are_forgotten_when_they_are_many() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places::new(None);
    for number in 0..4 * LOGS_MAX {
        places.step().reached(&Arc::from("x"), &format!("/nowhere/{number}").into(), "{\"generations\":[]}".into());
    }
    let path = folder.path().join("x.log");
    fs::write(&path, "one\n").unwrap();
    let mut all = logs(folder.path(), &["*.log"], Begin::Beginning, &places);
    assert_eq!(read_all(&mut all), ["one"]);
    assert!(read_all(&mut all).is_empty());
    let kept = places.of("x");
    assert_eq!(kept.len(), 2 * LOGS_MAX);
    assert!(kept.iter().any(|(file, _)| **file == *path.to_string_lossy()));
    assert!(read_all(&mut logs(folder.path(), &["*.log"], Begin::Beginning, &places)).is_empty());
}

/// What can happen to a log.
#[derive(Clone, Debug)]
enum Happens {
    Line,
    HalfLine,
    LongLine,
    Rename,
    Reopen,
    CopyAndTruncate,
    Look,
    ReadSome,
    Restart,
}

fn happenings() -> impl Strategy<Value = Vec<Happens>> {
    use Happens::{CopyAndTruncate, HalfLine, Line, LongLine, Look, ReadSome, Rename, Reopen, Restart};
    let one = prop_oneof![
        6 => Just(Line), 2 => Just(HalfLine), 1 => Just(LongLine), 2 => Just(Rename), 3 => Just(Reopen),
        2 => Just(CopyAndTruncate), 3 => Just(Look), 2 => Just(ReadSome), 2 => Just(Restart),
    ];
    prop::collection::vec(one, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_to_a_log_each_line_is_read_once(happenings in happenings()) {
        let mut written = Written::new();
        let mut log = from_beginning(&written);
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        let (mut half, mut away) = (String::new(), false);
        for (number, happens) in happenings.iter().enumerate() {
            match happens {
                Happens::Line => {
                    let line = format!("{half}line {number}");
                    written.write(format!("line {number}\n"));
                    wanted.push(line);
                    half.clear();
                }
                Happens::HalfLine => {
                    written.write(format!("half {number} "));
                    half.push_str(&format!("half {number} "));
                }
                Happens::LongLine => {
                    // A file is known by what it begins with.
                    written.write([format!("long {number} ").as_bytes(), &[b'x'; 140_000], b"\n"].concat());
                    wanted.push("TOO LONG".to_owned());
                    half.clear();
                }
                // As logrotate does, nobody renames what isn't there, and none cuts a line in two.
                Happens::Rename if !away => {
                    written.rename();
                    away = true;
                }
                Happens::Reopen if away && half.is_empty() => {
                    written.reopen();
                    away = false;
                }
                Happens::CopyAndTruncate if !away && half.is_empty() => written.copy_and_truncate(),
                Happens::Rename | Happens::Reopen | Happens::CopyAndTruncate => {}
                Happens::Look => found.extend(read(&mut log)),
                Happens::ReadSome => found.extend(read_on(&mut log)),
                Happens::Restart => log = again(log, &written.path()),
            }
        }
        if away {
            written.write("end\n");
            wanted.push(format!("{half}end"));
            written.reopen();
        }
        found.extend(read(&mut log));
        found.extend(read(&mut log));
        wanted.sort();
        found.sort();
        prop_assert_eq!(found, wanted);
    }
}
