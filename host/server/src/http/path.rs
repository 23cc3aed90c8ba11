//! In how many ways a request's path may be read by those behind us. It must
//! not know what paths stand for.

use std::borrow::Cow;
use std::ops::ControlFlow;

/// How often a path is decoded at most: an upstream behind a decoding proxy decodes twice.
pub(crate) const DECODINGS_MAX: usize = 2;

/// Longest path that is tried in all its readings: each of them costs its
/// length, and a stranger pays nothing for writing it.
const INTRICATE_BYTES_MAX: usize = 2048;
const INTRICATE_SEGMENTS_MAX: usize = 128;

/// No character and no segment that upstreams read differently.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    let dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    path.first() == Some(&b'/')
        && !path.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
        && !path.windows(2).any(|pair| pair == b"//")
        && !path.split(|&byte| byte == b'/').any(dots)
}

/// Whether a path isn't plain and is longer than one that is tried in all its readings.
pub(crate) fn is_too_intricate(path: &[u8]) -> bool {
    let slashes = || path.iter().filter(|&&byte| byte == b'/').count();
    (path.len() > INTRICATE_BYTES_MAX || path.len() > INTRICATE_SEGMENTS_MAX && slashes() > INTRICATE_SEGMENTS_MAX)
        && !is_plain(path)
}

/// Percent-decodes that often; a `%` without two hex digits stays.
pub(crate) fn decode(bytes: &[u8], times: usize) -> Cow<'_, [u8]> {
    let mut decoded = Cow::Borrowed(bytes);
    for _ in 0..times {
        if !decoded.contains(&b'%') {
            break;
        }
        decoded = Cow::Owned(percent_encoding::percent_decode(&decoded).collect());
    }
    decoded
}

/// Whether in some reading `..` leads above the root: behind a prefix it would
/// lead out of that, and anywhere else it is meant for nobody.
pub(super) fn climbs(path: &[u8]) -> bool {
    let climbing = |text: &[u8]| text.windows(2).any(|pair| pair == b"..");
    let decoded = path.contains(&b'%');
    if !climbing(path) && !decoded {
        return false;
    }
    let decodings = if decoded { DECODINGS_MAX } else { 0 };
    (0..=decodings).any(|times| {
        let whole = decode(path, times);
        // The readings in which empty segments count never climb higher than those in which they don't.
        climbing(&whole)
            && [(false, false), (false, true), (true, false), (true, true)].into_iter().any(|(backslash, params)| {
                let is_separator = |&byte: &u8| byte == b'/' || backslash && byte == b'\\';
                let apart = path.split(is_separator).map(|segment| decode(segment, times));
                let together = whole.split(is_separator).map(Cow::Borrowed);
                leads_above(apart, params) || leads_above(together, params)
            })
    })
}

fn leads_above<'p>(mut segments: impl Iterator<Item = Cow<'p, [u8]>>, strips_params: bool) -> bool {
    let mut depth = 0_usize;
    let above = segments.try_for_each(|segment| {
        let ends = |byte: &u8| matches!(byte, b'?' | b'#' | 0);
        let is_last = strips_params && segment.iter().any(ends);
        let end = |byte: &u8| strips_params && (*byte == b';' || ends(byte));
        let segment = segment.split(end).next().unwrap_or_default();
        match segment {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return ControlFlow::Break(true),
            },
            _ => depth += 1,
        }
        if is_last { ControlFlow::Break(false) } else { ControlFlow::Continue(()) }
    });
    above == ControlFlow::Break(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_above_the_root_in_some_reading() {
        for path in [
            "/..",
            "/../x",
            "/a/../../b",
            "/./../x",
            "//..",
            "/a//../../b",
            "/%2e%2e/x",
            "/.%2E/x",
            "/..%2fx",
            "/a%2f../../x",
            "/a/..%2f..%2fx",
            "/%252e%252e/x",
            "/..;a/x",
            "/..%3Bx/y",
            "/..%00/x",
            "/..\\x",
            "/a\\..\\..",
            "/a\\b/../..",
            "/..%5cx",
        ] {
            assert!(climbs(path.as_bytes()), "{path}");
        }
        for path in [
            "/",
            "*",
            "/a/..",
            "/a/b/../..",
            "/a/../b/..",
            "/...",
            "/..a",
            "/a..b",
            "/x%20y",
            "/%2e",
            "/a/%2e%2e/b",
            "/a;x/..",
            "/a\\..",
            "/%C3%A4..",
            "/a/b%2f../..",
        ] {
            assert!(!climbs(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn only_long_paths_that_arent_plain_are_too_intricate() {
        let long = "/a".repeat(2000);
        for (path, intricate) in [
            (long.clone(), false),
            (format!("{long}%20"), true),
            (format!("/{}", "%41".repeat(682)), false),
            (format!("/{}", "%41".repeat(683)), true),
            (format!("{};", "/a".repeat(128)), false),
            (format!("{};", "/a".repeat(129)), true),
        ] {
            assert_eq!(is_too_intricate(path.as_bytes()), intricate, "{} bytes", path.len());
        }
    }
}
