//! Access logs in the Common and the Combined Log Format, as Apache and nginx
//! write them.

use memchr::memchr;

use super::field::{address, first_word, is_method, last_word, status, without_query};
use super::time::Calendar;
use super::{Answered, Entry, Parsed, Text, What};

/// Bytes of ` [10/Oct/2000:13:55:36 -0700] `.
const STAMP_BYTES: usize = 30;

/// `IP IDENT USER [TIME] "REQUEST" STATUS SIZE`, and for the combined format
/// `"REFERER" "USER AGENT"` and whatever is added after that.
pub(super) fn parse<'l>(calendar: &mut Calendar, line: &'l [u8], combined: bool) -> Parsed<'l> {
    read(calendar, line, combined).unwrap_or(Parsed::Unknown)
}

fn read<'l>(calendar: &mut Calendar, line: &'l [u8], combined: bool) -> Option<Parsed<'l>> {
    let (ip, rest) = first_word(line)?;
    let from = address(ip)?;
    let (_ident, rest) = first_word(rest)?;
    // The user can hold anything but a bare quote, which is why the time is found
    // from the request's opening one. Apache writes an empty user as `""`.
    let begin = if rest.starts_with(b"\"\" [") { 2 } else { 0 };
    let quote = begin + bare_quote(&rest[begin..])?;
    let (user, stamp) = rest[..quote].split_at_checked(quote.checked_sub(STAMP_BYTES)?)?;
    let stamp = stamp.strip_prefix(b" [")?.strip_suffix(b"] ")?;
    let at = calendar.common(stamp)?;
    let (request, rest) = quoted(&rest[quote..])?;
    let (status_word, rest) = first_word(rest.strip_prefix(b" ")?)?;
    let status = status(status_word)?;
    let (size, rest) = rest.split_at(memchr(b' ', rest).unwrap_or(rest.len()));
    if size != b"-" && (size.is_empty() || !size.iter().all(u8::is_ascii_digit)) {
        return None;
    }
    let (mut referer, mut user_agent) = (None, None);
    if combined {
        let (first, rest) = quoted(rest.strip_prefix(b" ")?)?;
        let (second, rest) = quoted(rest.strip_prefix(b" ")?)?;
        if !matches!(rest, [] | [b' ', ..]) {
            return None;
        }
        (referer, user_agent) = (said(first), said(second));
    } else if !rest.is_empty() {
        return None;
    }
    let Some((method, path)) = method_and_path(request) else { return Some(Parsed::Other) };
    let client = said(user).filter(|_| user != b"\"\"");
    let answered =
        Answered { referer, user_agent, ..Answered::new(Text::backslash(method), Text::backslash(path), status) };
    let what = if status == 401 && client.is_some() { What::FailedRequest(answered) } else { What::Request(answered) };
    Some(Parsed::Entry(Entry { at, from, client, what, offence: matches!(status, 401 | 404), facts: None }))
}

/// A field of which `-` says that there is nothing.
fn said(field: &[u8]) -> Option<Text<'_>> {
    (!matches!(field, b"" | b"-")).then(|| Text::backslash(field))
}

/// What stands between the quote at the beginning and the next that no
/// backslash belongs to, and what stands after it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let quote = bare_quote(text)?;
    Some((&text[..quote], &text[quote + 1..]))
}

/// Where the first quote is that no backslash belongs to: of the backslashes
/// before a quote each second one is itself meant.
fn bare_quote(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + memchr(b'"', &text[from..])?;
        let backslashes = text[from..quote].iter().rev().take_while(|&&byte| byte == b'\\').count();
        if backslashes % 2 == 0 {
            return Some(quote);
        }
        from = quote + 1;
    }
}

/// Of `GET /a?b HTTP/1.1` the method and `/a`; none of what is no request, such
/// as the first bytes of a TLS handshake.
fn method_and_path(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let (method, target) = first_word(request)?;
    let target = match last_word(target) {
        Some((target, protocol)) if protocol.starts_with(b"HTTP/") => target,
        Some(_) | None => target,
    };
    let path = without_query(without_authority(target));
    (is_method(method) && !target.is_empty()).then_some((method, path))
}

/// A proxy is asked for `http://host/path`.
fn without_authority(target: &[u8]) -> &[u8] {
    let rest = target.strip_prefix(b"http://").or_else(|| target.strip_prefix(b"https://"));
    match rest {
        Some(rest) => memchr(b'/', rest).map_or(b"/", |slash| &rest[slash..]),
        None => target,
    }
}
