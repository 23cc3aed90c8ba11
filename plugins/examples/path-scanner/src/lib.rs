//! Bans a source on its first request for a path that only scanners ask for.
//!
//! It keeps nothing. A request is a hit if it carries no verified credentials, its status
//! is among `statuses` (any, where that is empty), and one of `patterns` matches its path
//! in one of its readings; or if its path is too long to be seen whole.
//!
//! # How a pattern matches
//! A pattern names a path and everything below it: `/.env` matches `/.env` and `/.env/x`,
//! and neither `/.env.bak` nor `/app/.env`. A `*` stands for any bytes, none and slashes
//! among them, wherever it is:
//!
//! | pattern | matches | doesn't match |
//! | --- | --- | --- |
//! | `/wp-login.php` | `/wp-login.php`, `/wp-login.php/x` | `/blog/wp-login.php` |
//! | `*/wp-login.php` | `/wp-login.php`, `/blog/wp-login.php` | `/my-wp-login.php` |
//! | `*.php` | `/a.php`, `/a/b.php`, `/a.php/x` | `/a.php5`, `/a.phpx/b` |
//! | `/.env*` | `/.env`, `/.env.bak`, `/.env/x` | `/x/.env` |
//! | `/wp-*/*.php` | `/wp-a/b.php`, `/wp-a/b/c.php/d` | `/wp-a.php` |
//!
//! Letters of ASCII match in either case. Patterns are written decoded, without a query.
//!
//! # How a path is read
//! As any server behind might take it, and then some:
//!
//! 1. `%XX` is decoded until there is none left: `%2e`, `%2E`, `%252e` and `%2%65` are all
//!    a dot. Control bytes and spaces that come out are dropped (`/.env%00`), and `\` is `/`.
//! 2. The path counts in whole, and up to its first `?` or `#`, if decoding brought one.
//! 3. Of both, empty segments and `.` go, and of each segment what follows a `;`:
//!    `//.env`, `/./.env` and `/.env;x=1` are `/.env`.
//! 4. And of both of these, `..` counts as it is, and as the way up: `/x/../.env` is
//!    `/.env`, and so is `/../.env`.
//!
//! It is a hit if any of these four readings matches. What isn't understood: overlong
//! UTF-8 (`%c0%ae`), `%uXXXX`, letters of other scripts in another case, and dots or spaces
//! at the end of names, which Windows ignores.
//!
//! The host cuts paths at 2048 bytes, and much padding would hide what comes after. So a
//! path that is cut is a hit, unless `ban_too_long` is off. A path counts as cut from 2045
//! bytes on, since the host doesn't cut a character in two.
//!
//! Mind what a first hit is worth: who gets a visitor's browser to load such a path, by a
//! link or an image on another site, gets that visitor banned. Keep `ban_time` short where
//! visitors matter, and name only paths that the service doesn't have.

use portcullis_sdk::scanner::*;

/// Together with the length of a path they bound the time of one call.
const PATTERNS_MAX: usize = 100;
const PATTERN_BYTES_MAX: usize = 64;

/// The host cuts at 2048 bytes, and up to three earlier where a character would be cut.
const CUT_BYTES: usize = 2048 - 3;

/// What the operator can set.
#[derive(Clone, Debug, Settings)]
pub struct Settings {
    /// Paths that ban the source, each with everything below it; `*` stands for anything; an empty list bans for none.
    #[setting(default = ["*/.env", "*/.git", "*/wp-login.php", "*/xmlrpc.php"], check = path_patterns)]
    pub patterns: Vec<String>,
    /// HTTP statuses of answers that can be a hit; an empty list stands for every status.
    #[setting(default = [], check = http_statuses)]
    pub statuses: Vec<u16>,
    /// Whether a path of 2045 bytes or more, which can't be seen whole, is a hit.
    #[setting(default = true)]
    pub ban_too_long: bool,
    /// Seconds that a ban lasts, fractions count; 0 turns the policy off.
    #[setting(default = 86400.0)]
    pub ban_time: Seconds,
}

fn path_patterns(patterns: &[String]) -> Result<(), String> {
    if patterns.len() > PATTERNS_MAX {
        return Err(format!("at most {PATTERNS_MAX} patterns"));
    }
    for pattern in patterns {
        if let Err(expected) = path_pattern(pattern) {
            return Err(format!("patterns {expected}, which \"{pattern}\" isn't"));
        }
    }
    Ok(())
}

/// What can't match anything is a mistake, and so is what matches everything.
fn path_pattern(pattern: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte > b' ' && byte != 0x7f && !b"%?#;\\".contains(&byte);
    let dots = |segment: &str| segment == "." || segment == "..";
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err("of at most 64 bytes");
    }
    if !pattern.starts_with(['/', '*']) {
        return Err("that start with / or *");
    }
    if !pattern.bytes().all(plain) {
        return Err("without spaces and any of % ? # ; \\ (written decoded, without a query)");
    }
    if pattern.bytes().all(|byte| byte == b'*' || byte == b'/') {
        return Err("that don't match everything");
    }
    if pattern.ends_with('/') {
        return Err("without a / at the end (what is below is matched anyway)");
    }
    if pattern.contains("//") || pattern.split('/').any(dots) {
        return Err("without // and segments of dots (those never come to be matched)");
    }
    Ok(())
}

fn http_statuses(statuses: &[u16]) -> Result<(), String> {
    if statuses.iter().all(|status| (100..600).contains(status)) {
        return Ok(());
    }
    Err("HTTP statuses from 100 to 599".to_owned())
}

impl Settings {
    fn pattern_of(&self, path: &str) -> Option<&str> {
        let readings = readings(path);
        // Mostly they are all the same.
        let new = |index: &usize| !readings[..*index].contains(&readings[*index]);
        let mut readings = (0..readings.len()).filter(new).map(|index| &readings[index]);
        readings.find_map(|reading| self.patterns.iter().find(|pattern| matches(pattern, reading)).map(String::as_str))
    }
}

/// A policy that is interested in some statuses only is spared the others.
fn interest(settings: &Settings) -> Interest {
    settings.statuses.iter().fold(Interest::everything(), |interest, status| interest.statuses(*status..=*status))
}

/// Judges one request.
pub fn judge(settings: &Settings, request: &Request) -> Verdict {
    let counts = settings.statuses.is_empty() || settings.statuses.contains(&request.status);
    if settings.ban_time.is_zero() || settings.patterns.is_empty() || request.authenticated() || !counts {
        return pass();
    }
    if let Some(pattern) = settings.pattern_of(&request.path) {
        return ban(settings.ban_time).because("path-scanner", format!("Asked for {pattern}."));
    }
    if settings.ban_too_long && request.path.len() >= CUT_BYTES {
        return ban(settings.ban_time).because("path-too-long", "Asked for a path too long to be seen whole.");
    }
    pass()
}

/// The path in each way that a server might take it.
fn readings(path: &str) -> [Vec<u8>; 4] {
    let whole = decoded(path);
    let end = whole.iter().position(|byte| b"?#".contains(byte)).unwrap_or(whole.len());
    let (whole, start) = (whole.as_slice(), &whole[..end]);
    [segments(whole, false), segments(whole, true), segments(start, false), segments(start, true)]
}

/// Without escapes, control bytes and spaces, and with slashes one way only.
fn decoded(path: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        push_plain(&mut bytes, byte);
        // What comes out may be the end of another escape: `%252e` is `%2e` is a dot.
        while let [.., b'%', high, low] = bytes[..]
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            bytes.truncate(bytes.len() - 3);
            push_plain(&mut bytes, high << 4 | low);
        }
    }
    bytes
}

fn push_plain(bytes: &mut Vec<u8>, byte: u8) {
    match byte {
        0..=b' ' | 0x7f => {}
        b'\\' => bytes.push(b'/'),
        _ => bytes.push(byte),
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The path anew, of the segments that mean anything; none of it climbs above the root.
fn segments(path: &[u8], up: bool) -> Vec<u8> {
    let mut anew = Vec::with_capacity(path.len() + 1);
    for segment in path.split(|byte| *byte == b'/') {
        let end = segment.iter().position(|byte| *byte == b';').unwrap_or(segment.len());
        match &segment[..end] {
            b"" | b"." => {}
            b".." if up => {
                let parent = anew.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                anew.truncate(parent);
            }
            name => {
                anew.push(b'/');
                anew.extend_from_slice(name);
            }
        }
    }
    anew
}

/// Whether the pattern matches the path or one above it. What is between stars is looked
/// for from left to right, which finds a match if there is one.
fn matches(pattern: &str, path: &[u8]) -> bool {
    let mut pieces = pattern.split('*').map(str::as_bytes);
    let first = pieces.next().unwrap_or_default();
    let Some((start, mut rest)) = path.split_at_checked(first.len()) else { return false };
    if !start.eq_ignore_ascii_case(first) {
        return false;
    }
    let Some(last) = pieces.next_back() else {
        // No star.
        return ends_a_segment(rest, 0);
    };
    for piece in pieces {
        let Some(end) = find(rest, piece, |_, _| true) else { return false };
        rest = &rest[end..];
    }
    last.is_empty() || find(rest, last, ends_a_segment).is_some()
}

fn ends_a_segment(path: &[u8], end: usize) -> bool {
    path.get(end).is_none_or(|byte| *byte == b'/')
}

/// Where the first occurrence of the piece ends that ends as it should. By Knuth, Morris
/// and Pratt: whatever path a stranger sends, it takes a step or two for each byte.
fn find(text: &[u8], piece: &[u8], good: fn(&[u8], usize) -> bool) -> Option<usize> {
    if piece.is_empty() {
        // Two stars in a row.
        return Some(0);
    }
    // How much of the piece's start is matched still, where so much of it was matched and
    // doesn't go on.
    let mut shorter = vec![0; piece.len()];
    let longer = |shorter: &[usize], mut matched: usize, byte: u8| {
        while matched > 0 && !piece.get(matched).is_some_and(|next| next.eq_ignore_ascii_case(&byte)) {
            matched = shorter[matched - 1];
        }
        matched + usize::from(piece[matched].eq_ignore_ascii_case(&byte))
    };
    for index in 1..piece.len() {
        shorter[index] = longer(&shorter, shorter[index - 1], piece[index]);
    }
    let mut matched = 0;
    for (index, byte) in text.iter().enumerate() {
        matched = longer(&shorter, matched, *byte);
        if matched == piece.len() && good(text, index + 1) {
            return Some(index + 1);
        }
    }
    None
}

export!(name = "path-scanner", judge, interest = interest);

#[cfg(test)]
mod tests;
