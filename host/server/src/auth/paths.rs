//! Which paths are guarded and which are logins, however they are written
//! (rules 5 and 7).
//!
//! Upstreams disagree on what a path means: whether `%2F` and `\` separate
//! segments, whether `;params` count, whether `//` is one slash, how often one
//! decodes. A path matches if it does in *any* of these readings, so that
//! nothing gets around the gate by being read in another way behind it: letter
//! case doesn't count, nor do the dots and spaces that Windows cuts off, and the
//! last segment may have an extension (Rails' and Spring's formats). A path too
//! long to be tried in all its readings matches; the transport refuses it anyway.
//! It must not know where the paths come from.

use std::borrow::Cow;
use std::ops::ControlFlow;

use crate::http::path::{DECODINGS_MAX, decode, is_plain, is_too_intricate};

/// Guarded paths: each with all that lies below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    folded: Vec<Vec<Vec<u8>>>,
    written: Vec<String>,
}

/// Paths whose POST is a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPaths(Vec<Vec<Vec<u8>>>);

impl Protected {
    /// Guards these paths and all below them.
    #[must_use]
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        let written: Vec<String> = paths.into_iter().map(str::to_owned).collect();
        Self { folded: written.iter().map(|path| segments(path)).collect(), written }
    }

    /// Whether a request's path, as received and without its query, is guarded.
    #[must_use]
    pub fn guards(&self, path: &str) -> bool {
        if self.folded.iter().any(Vec::is_empty) {
            return true;
        }
        any_reading(path, |read| self.folded.iter().any(|prefix| begins_with(read, prefix)))
    }

    /// Whether a path lies there beyond doubt: as it is written in the
    /// configuration, and in every reading. What guards errs on the side of
    /// asking; what proves that a service has asked has to err on the other.
    #[must_use]
    pub fn surely_guards(&self, path: &str) -> bool {
        self.written.iter().any(|written| {
            let Some(rest) = path.strip_prefix(written.as_str()) else { return false };
            let whole = written.ends_with('/') || rest.is_empty() || rest.starts_with('/');
            let wanted = || written.split('/').filter(|segment| !segment.is_empty()).map(str::as_bytes);
            let within = |read: &[&[u8]]| {
                let mut read = read.iter();
                wanted().all(|wanted| read.next().is_some_and(|read| *read == wanted))
            };
            whole && (wanted().next().is_none() || !any_reading(path, |read| !within(read)))
        })
    }
}

impl LoginPaths {
    /// These paths, with and without a slash at the end.
    #[must_use]
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        Self(paths.into_iter().map(segments).collect())
    }

    /// Whether a request's path, as received and without its query, is one of
    /// them. What comes after a segment with an extension (`/login.php/x`) is
    /// an argument of the script and doesn't count.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        !self.0.is_empty() && any_reading(path, |read| self.0.iter().any(|wanted| is_login(read, wanted)))
    }

    /// Whether a path is one of them beyond doubt: in every reading, but for
    /// letter case, an extension and parameters at its end (`;jsessionid=x`).
    #[must_use]
    pub fn surely_contains(&self, path: &str) -> bool {
        let at_end = |params: &str| !params.contains(['/', '\\', '%']);
        let path = path.split_once(';').filter(|(_, params)| at_end(params)).map_or(path, |(path, _)| path);
        path.starts_with('/')
            && !path.contains("//")
            && !any_reading(path, |read| !self.0.iter().any(|wanted| is_login(read, wanted)))
    }
}

fn is_login(read: &[&[u8]], wanted: &[Vec<u8>]) -> bool {
    let script = || wanted.len().checked_sub(1).is_some_and(|last| read[last].contains(&b'.'));
    begins_with(read, wanted) && (read.len() == wanted.len() || script())
}

/// Whether the first segments are these; the last of them may have an extension.
fn begins_with(read: &[&[u8]], wanted: &[Vec<u8>]) -> bool {
    let Some((last, before)) = wanted.split_last() else { return true };
    read.len() >= wanted.len()
        && read.iter().zip(before).all(|(read, wanted)| same(read, wanted, false))
        && same(read[before.len()], last, true)
}

/// Whether a segment is this folded one.
fn same(read: &[u8], wanted: &[u8], or_extended: bool) -> bool {
    let read = fold(read);
    read.strip_prefix(wanted).is_some_and(|rest| {
        let cut_off = rest.iter().all(|byte| matches!(byte, b'.' | b' '));
        cut_off || or_extended && rest.first() == Some(&b'.')
    })
}

/// Without letter case, each character for itself: a segment may go on, and
/// what comes after a sigma would change it. What isn't text has no case.
fn fold(segment: &[u8]) -> Cow<'_, [u8]> {
    if segment.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(segment);
    }
    let Ok(text) = str::from_utf8(segment) else { return Cow::Owned(segment.to_ascii_lowercase()) };
    let folded: String = text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    Cow::Owned(folded.into_bytes())
}

/// The segments of an operator's path: plain, since the configuration takes no other.
fn segments(path: &str) -> Vec<Vec<u8>> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.map(|segment| fold(segment.as_bytes()).into_owned()).collect()
}

/// One way in which an upstream may read a path.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Encoded slashes separate segments.
    encoded_slash_splits: bool,
    /// Backslashes are slashes.
    backslash_splits: bool,
    /// `;` and what follows it is no part of a segment; a decoded `?`, `#` or
    /// NUL ends the path.
    strips_params: bool,
    /// `//` is one slash before dot segments are removed, and not only after.
    merges_first: bool,
    /// Dot segments are removed.
    removes_dots: bool,
}

/// Whether `matches` takes the segments of some reading of `path`.
fn any_reading(path: &str, matches: impl Fn(&[&[u8]]) -> bool) -> bool {
    let path = path.as_bytes();
    if is_plain(path) {
        let plain: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty()).collect();
        return matches(&plain);
    }
    if is_too_intricate(path) {
        return true;
    }
    let (bits, decodings) = differences(path);
    let mut stack = Vec::new();
    (0..1_u8 << 5).filter(|chosen| chosen & !bits == 0).any(|chosen| {
        let reading = Reading::of(chosen);
        (0..=decodings).any(|decodings| read(path, reading, decodings, &mut stack, &matches))
    })
}

impl Reading {
    fn of(bits: u8) -> Self {
        let has = |bit: u8| bits & (1 << bit) != 0;
        Self {
            encoded_slash_splits: has(0),
            backslash_splits: has(1),
            strips_params: has(2),
            merges_first: has(3),
            removes_dots: has(4),
        }
    }
}

/// In which bits of a [`Reading`] readings of this path can differ, and how
/// often it can be decoded: the others aren't tried.
fn differences(path: &[u8]) -> (u8, usize) {
    let mut bits = 0;
    let mut decodings = 0;
    let separators = |text: &[u8]| text.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count();
    let written = separators(path);
    let mut before = path.len();
    for times in 0..=DECODINGS_MAX {
        let text = decode(path, times);
        if text.len() != before {
            (before, decodings) = (text.len(), times);
        }
        let holds = |bytes: &[u8]| text.iter().any(|byte| bytes.contains(byte));
        let found = [
            separators(&text) != written,
            holds(b"\\"),
            holds(b";?#\0"),
            text.windows(2).any(|pair| pair == b".."),
            holds(b"."),
        ];
        bits |= found.iter().rev().fold(0, |bits, &found| bits << 1 | u8::from(found));
    }
    (bits, decodings)
}

fn read(
    path: &[u8],
    reading: Reading,
    decodings: usize,
    stack: &mut Vec<Vec<u8>>,
    matches: &impl Fn(&[&[u8]]) -> bool,
) -> bool {
    stack.clear();
    if reading.encoded_slash_splits {
        let decoded = decode(path, decodings);
        let _ = split(&decoded, reading).try_for_each(|segment| push(segment.to_vec(), reading, stack));
    } else {
        let _ =
            split(path, reading).try_for_each(|segment| push(decode(segment, decodings).into_owned(), reading, stack));
    }
    let segments: Vec<&[u8]> = stack.iter().filter(|segment| !segment.is_empty()).map(Vec::as_slice).collect();
    matches(&segments)
}

fn split(path: &[u8], reading: Reading) -> impl Iterator<Item = &[u8]> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    path.split(move |&byte| byte == b'/' || (byte == b'\\' && reading.backslash_splits))
}

/// Adds a decoded segment as the reading has it; `..` takes the last one away.
/// Breaks where the path ends early.
fn push(mut segment: Vec<u8>, reading: Reading, stack: &mut Vec<Vec<u8>>) -> ControlFlow<()> {
    let mut flow = ControlFlow::Continue(());
    if reading.strips_params {
        if let Some(end) = segment.iter().position(|byte| matches!(byte, b'?' | b'#' | 0)) {
            segment.truncate(end);
            flow = ControlFlow::Break(());
        }
        if let Some(params) = segment.iter().position(|&byte| byte == b';') {
            segment.truncate(params);
        }
    }
    let is_dots = reading.removes_dots && matches!(&segment[..], b"." | b"..");
    if is_dots && segment.len() == 2 {
        stack.pop();
    } else if !(is_dots || segment.is_empty() && reading.merges_first) {
        stack.push(segment);
    }
    flow
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn protects_by_whole_segments() {
        let protected = Protected::new(["/admin", "/api/v1/"]);
        for path in
            ["/admin", "/admin/", "/admin/x", "/api/v1", "/api/v1/x", "/ADMIN/x", "/admin.json", "/Api/V1.json/x"]
        {
            assert!(protected.guards(path), "{path}");
        }
        for path in ["/", "/administrator", "/public/admin", "/api", "/api/v10", "/adminx.html", "/apis/v1"] {
            assert!(!protected.guards(path), "{path}");
        }
        assert!(Protected::new(["/"]).guards("anything"));
        assert!(!Protected::new([]).guards("/"));
    }

    #[test]
    fn nothing_gets_around_protect_by_spelling() {
        let protected = Protected::new(["/admin"]);
        for path in [
            "//admin",
            "/./admin",
            "/x/../admin",
            "/%61dmin",
            "/%2561dmin",
            "/x/%2e%2e/admin",
            "/x/..%2fadmin",
            "/x%2f..%2fadmin",
            "/admin;v=1/x",
            "/;/admin",
            "/..;/admin",
            "/x/..;/admin",
            "\\admin",
            "/x\\..\\admin",
            "/a%2fb/../admin",
            "/a\\b/../admin",
            "/a//../admin",
            "/x/%252e%252e/admin",
            "/admin%2fx",
            "/admin%5cx",
            "/admin/../x",
            "/admin/..%2fx",
            "/../../admin",
            "/admin%3bx",
            "admin",
            "/.//admin",
            "/%2e/admin",
            "/x/.%2e/admin",
            "/admin%3fx",
            "/x/../admin%00/../y",
            "/%41dmin",
            "/admin./x",
            "/admin%20",
            "/adm%C4%B1n",
        ] {
            assert!(protected.guards(path), "{path}");
        }
        assert!(Protected::new(["/ä"]).guards("/%C3%A4/x") && Protected::new(["/ä"]).guards("/%C3%84"));
        assert!(Protected::new(["/ΟΔΟΣ"]).guards("/οδος.html") && Protected::new(["/Admin"]).guards("/admin"));
        for path in ["/x%2fadmin", "/x/./admin", "/%41dminx", "/x;/admin", "/adm%69nx", "/x%"] {
            assert!(!protected.guards(path), "{path}");
        }
    }

    #[test]
    fn login_paths_are_exact_however_they_are_written() {
        let logins = LoginPaths::new(["/login", "/api/session/"]);
        for path in [
            "/login",
            "/login/",
            "//login",
            "/%6cogin",
            "/x/../login",
            "/login;jsessionid=1",
            "/api//session",
            "/LOGIN",
            "/Lo%67in",
            "/login.json",
            "/login.json/x",
            "/api/session.",
        ] {
            assert!(logins.contains(path), "{path}");
        }
        for path in ["/", "/login/x", "/logins", "/x/login", "/api.json/session", "/loginx.json", "/.login"] {
            assert!(!logins.contains(path), "{path}");
        }
        let script = LoginPaths::new(["/login.php"]);
        for path in ["/login.php", "/login.php/", "/login.php/x/y", "/Login.PHP/x", "/login.php;a/x", "/login.php%2fx"]
        {
            assert!(script.contains(path), "{path}");
        }
        assert!(!script.contains("/login") && !script.contains("/login.html") && !script.contains("/x/login.php"));
        let root = LoginPaths::new(["/"]);
        assert!(root.contains("/") && !root.contains("/x") && !root.contains("/x.y/z"));
        assert!(!LoginPaths::new([]).contains("/login"));
    }

    #[test]
    fn rule_6_what_proves_something_is_written_as_it_is_configured_and_read_in_one_way() {
        let protected = Protected::new(["/api", "/Files/v1", "/tree/"]);
        for path in
            ["/api", "/api/", "/api/x.json", "/api/a%20b", "/api/x/../y", "/api//x", "/Files/v1/x", "/tree/", "/tree/x"]
        {
            assert!(protected.surely_guards(path), "{path}");
        }
        for path in [
            "/API/x",
            "/api.json",
            "/api.x/y",
            "/api;v=1/x",
            "/%61pi/x",
            "//api/x",
            "/x/../api",
            "/public%2f..%2fapi",
            "/api/../public",
            "/api/..%2fpublic",
            "/api/..;/public",
            "/api/%252e%252e/public",
            "/api\\..\\public",
            "/apix",
            "/files/v1/x",
            "/tree",
            "api/x",
            "",
        ] {
            assert!(!protected.surely_guards(path), "{path}");
        }
        assert!(!protected.surely_guards(&format!("/api/{}", "x;/".repeat(200))), "too intricate to be read");
        assert!(Protected::new(["/"]).surely_guards("/x/../%2fy") && !Protected::new([]).surely_guards("/"));

        let logins = LoginPaths::new(["/login", "/script.php"]);
        for path in ["/login", "/login/", "/Login", "/login.json", "/login;jsessionid=1", "/script.php/x/y"] {
            assert!(logins.surely_contains(path), "{path}");
        }
        for path in
            ["//login", "/x/../login", "/x;/../login", "/%6cogin", "/login;x/../y", "/x%2f..%2flogin", "/login/x"]
        {
            assert!(!logins.surely_contains(path), "{path}");
        }
        assert!(!logins.surely_contains(&format!("/comment{}", "/;".repeat(200))));
    }

    #[test]
    fn a_path_too_long_to_be_tried_in_every_reading_matches() {
        let padded = |padding: &str| format!("/x{padding}");
        assert!(!Protected::new(["/admin"]).guards(&padded(&"%41".repeat(600))));
        assert!(Protected::new(["/admin"]).guards(&padded(&"%41".repeat(700))));
        assert!(LoginPaths::new(["/login"]).contains(&padded(&"/;".repeat(200))));
        assert!(!LoginPaths::new(["/login"]).contains(&padded(&"/a".repeat(2000))));
        assert!(!LoginPaths::new([]).contains(&padded(&"/;".repeat(200))));
    }

    #[test]
    fn readings_that_cant_differ_arent_tried() {
        for (path, bits, decodings) in [
            ("/a%20b", 0, 1),
            ("/a%2520b", 0, 2),
            ("//a", 0, 0),
            ("/a%20b.txt", 0b10000, 1),
            ("/a/../b", 0b11000, 0),
            ("/a;b", 0b00100, 0),
            ("/a%2fb", 0b00001, 1),
            ("/a%255cb", 0b00011, 2),
            ("/%", 0, 0),
        ] {
            assert_eq!(differences(path.as_bytes()), (bits, decodings), "{path}");
        }
    }

    /// Other spellings of the segments of a path that some upstream takes for the same.
    fn spelling() -> impl Strategy<Value = String> {
        let letter = |c: char| {
            let hex = u32::from(c);
            prop_oneof![Just(c.to_string()), Just(format!("%{hex:02x}")), Just(format!("%25{hex:02X}"))]
        };
        let word = |word: &'static str| word.chars().map(letter).collect::<Vec<_>>().prop_map(|parts| parts.concat());
        let separator =
            prop_oneof![Just("/"), Just("//"), Just("/./"), Just("/%2e/"), Just("/x/../"), Just("/;a/x/..;/../")];
        (separator.clone(), word("admin"), prop_oneof![Just(""), Just(";v=1")], separator, word("panel"))
            .prop_map(|(a, b, c, d, e)| format!("{a}{b}{c}{d}{e}"))
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_guarded_path_is_guarded(path in spelling()) {
            prop_assert!(Protected::new(["/admin/panel"]).guards(&path), "{}", path);
            prop_assert!(LoginPaths::new(["/admin/panel"]).contains(&path), "{}", path);
        }

        #[test]
        fn what_is_guarded_as_written_stays_guarded(tail in "[ -~]{0,30}") {
            let path = format!("/admin/{tail}");
            prop_assert!(Protected::new(["/admin"]).guards(&path), "{}", path);
        }

        #[test]
        fn a_plain_path_has_one_reading(path in "(/[a-z]{1,3}){1,4}") {
            let naive = path == "/a" || path.starts_with("/a/");
            prop_assert_eq!(Protected::new(["/a"]).guards(&path), naive);
        }
    }
}
