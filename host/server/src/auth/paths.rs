//! Which paths are guarded and which are logins, however they are written
//! (rules 5 and 7).
//!
//! Upstreams disagree on what a path means: whether `%2F` and `\` separate
//! segments, whether `;params` count, whether `//` is one slash, how often one
//! decodes. A path matches if it does in *any* of these readings, so that
//! nothing gets around the gate by being read in another way behind it.
//! Letter case counts. It must not know where the paths come from.

use std::borrow::Cow;
use std::ops::ControlFlow;

/// How often a path is decoded at most: an upstream behind a decoding proxy decodes twice.
const DECODINGS_MAX: usize = 2;

/// Guarded paths: each with all that lies below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected(Vec<Vec<Vec<u8>>>);

/// Paths whose POST is a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPaths(Vec<Vec<Vec<u8>>>);

impl Protected {
    /// Guards these paths and all below them.
    #[must_use]
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        Self(paths.into_iter().map(segments).collect())
    }

    /// Whether a request's path, as received and without its query, is guarded.
    #[must_use]
    pub fn guards(&self, path: &str) -> bool {
        if self.0.iter().any(Vec::is_empty) {
            return true;
        }
        let below = |read: &[&[u8]], prefix: &[Vec<u8>]| {
            read.len() >= prefix.len() && read.iter().zip(prefix).all(|(read, wanted)| read == wanted)
        };
        any_reading(path, |read| self.0.iter().any(|prefix| below(read, prefix)))
    }
}

impl LoginPaths {
    /// These paths, with and without a slash at the end.
    #[must_use]
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        Self(paths.into_iter().map(segments).collect())
    }

    /// Whether a request's path, as received and without its query, is one of them.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        !self.0.is_empty() && any_reading(path, |read| self.0.iter().any(|wanted| wanted == read))
    }
}

/// The segments of an operator's path: plain, since the configuration takes no other.
fn segments(path: &str) -> Vec<Vec<u8>> {
    path.split('/').filter(|segment| !segment.is_empty()).map(|segment| segment.as_bytes().to_vec()).collect()
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
    let mut stack = Vec::new();
    (0..1_u8 << 5).any(|bits| {
        let has = |bit: u8| bits & (1 << bit) != 0;
        let reading = Reading {
            encoded_slash_splits: has(0),
            backslash_splits: has(1),
            strips_params: has(2),
            merges_first: has(3),
            removes_dots: has(4),
        };
        (0..=DECODINGS_MAX).any(|decodings| read(path, reading, decodings, &mut stack, &matches))
    })
}

/// No character and no segment that upstreams read differently.
fn is_plain(path: &[u8]) -> bool {
    let dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    path.first() == Some(&b'/')
        && !path.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
        && !path.windows(2).any(|pair| pair == b"//")
        && !path.split(|&byte| byte == b'/').any(dots)
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

/// Percent-decodes that often; a `%` without two hex digits stays.
fn decode(bytes: &[u8], times: usize) -> Cow<'_, [u8]> {
    let mut decoded = Cow::Borrowed(bytes);
    for _ in 0..times {
        if !decoded.contains(&b'%') {
            break;
        }
        decoded = Cow::Owned(percent_encoding::percent_decode(&decoded).collect());
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn protects_by_whole_segments() {
        let protected = Protected::new(["/admin", "/api/v1/"]);
        for path in ["/admin", "/admin/", "/admin/x", "/api/v1", "/api/v1/x"] {
            assert!(protected.guards(path), "{path}");
        }
        for path in ["/", "/administrator", "/public/admin", "/api", "/api/v10", "/Admin"] {
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
        ] {
            assert!(protected.guards(path), "{path}");
        }
        assert!(Protected::new(["/ä"]).guards("/%C3%A4/x") && Protected::new(["/ä"]).guards("/%c3%a4"));
        for path in ["/x%2fadmin", "/x/./admin", "/%41dmin", "/x;/admin", "/adm%69nx", "/x%"] {
            assert!(!protected.guards(path), "{path}");
        }
    }

    #[test]
    fn login_paths_are_exact_however_they_are_written() {
        let logins = LoginPaths::new(["/login", "/api/session/"]);
        for path in ["/login", "/login/", "//login", "/%6cogin", "/x/../login", "/login;jsessionid=1", "/api//session"]
        {
            assert!(logins.contains(path), "{path}");
        }
        for path in ["/", "/login/x", "/logins", "/x/login", "/Login"] {
            assert!(!logins.contains(path), "{path}");
        }
        assert!(!LoginPaths::new([]).contains("/login"));
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
