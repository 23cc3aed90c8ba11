//! Words of strangers, as bytes until somebody needs them.

use std::borrow::Cow;

/// How the writer of a log encoded a stranger's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// Not at all.
    Plain,
    /// Apache's and nginx's backslashes: `\"`, `\\`, `\n`, `\x22`.
    Backslash,
    /// OpenSSH's, by strnvis: `\\`, `\n`, `\303`.
    Vis,
    /// Our own for ids and methods: every byte that isn't plain as `%XX`.
    Percent,
    /// Our own for paths: the client's own `%XX` stayed as it was.
    PercentPath,
}

/// A field that a stranger chose. Its bytes are those of the line; they are
/// decoded when they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'l> {
    bytes: Cow<'l, [u8]>,
    coding: Coding,
}

impl<'l> Text<'l> {
    pub(super) const fn plain(bytes: &'l [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), coding: Coding::Plain }
    }

    pub(super) const fn backslash(bytes: &'l [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), coding: Coding::Backslash }
    }

    pub(super) const fn vis(bytes: &'l [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), coding: Coding::Vis }
    }

    pub(super) const fn percent(bytes: &'l [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), coding: Coding::Percent }
    }

    pub(super) const fn percent_path(bytes: &'l [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), coding: Coding::PercentPath }
    }

    pub(crate) fn of(text: Cow<'l, str>) -> Self {
        let bytes = match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self { bytes, coding: Coding::Plain }
    }

    /// The same, of no line any more.
    #[must_use]
    pub fn into_owned(self) -> Text<'static> {
        Text { bytes: Cow::Owned(self.bytes.into_owned()), coding: self.coding }
    }

    /// The words; what isn't UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn decoded(&self) -> Cow<'_, str> {
        let escape = match self.coding {
            Coding::Plain => None,
            Coding::Backslash | Coding::Vis => Some(b'\\'),
            Coding::Percent | Coding::PercentPath => Some(b'%'),
        };
        // Seldom is there anything to undo.
        if escape.is_none_or(|escape| memchr::memchr(escape, &self.bytes).is_none()) {
            return String::from_utf8_lossy(&self.bytes);
        }
        let bytes = match self.coding {
            Coding::Plain | Coding::Backslash => undo_backslashes(&self.bytes),
            Coding::Vis => undo_vis(&self.bytes),
            Coding::Percent => undo_percent(&self.bytes, |_, _| true),
            Coding::PercentPath => undo_percent(&self.bytes, was_ours),
        };
        Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn undo_backslashes(mut rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let (decoded, left) = match (byte, after) {
            (b'\\', [b'x', high, low, left @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, left),
                _ => (byte, after),
            },
            (b'\\', [b'n', left @ ..]) => (b'\n', left),
            (b'\\', [b'r', left @ ..]) => (b'\r', left),
            (b'\\', [b't', left @ ..]) => (b'\t', left),
            (b'\\', [quoted @ (b'"' | b'\\'), left @ ..]) => (*quoted, left),
            _ => (byte, after),
        };
        bytes.push(decoded);
        rest = left;
    }
    bytes
}

fn undo_vis(mut rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let (decoded, left) = match (byte, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', left @ ..]) => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), left)
            }
            (b'\\', [letter, left @ ..]) => match letter {
                b'\\' => (b'\\', left),
                b'n' => (b'\n', left),
                b'r' => (b'\r', left),
                b't' => (b'\t', left),
                b'b' => (8, left),
                b'a' => (7, left),
                b'v' => (11, left),
                b'f' => (12, left),
                b'0' => (0, left),
                _ => (byte, after),
            },
            _ => (byte, after),
        };
        bytes.push(decoded);
        rest = left;
    }
    bytes
}

/// Undoes `%XX` with upper-case digits, as ours are, where `ours` says of the
/// byte and what follows that it is one of them.
fn undo_percent(mut rest: &[u8], ours: impl Fn(u8, &[u8]) -> bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let decoded = match (byte, after) {
            (b'%', [high, low, left @ ..]) if !high.is_ascii_lowercase() && !low.is_ascii_lowercase() => {
                match (hex(*high), hex(*low)) {
                    (Some(high), Some(low)) => Some((high << 4 | low, left)).filter(|(byte, left)| ours(*byte, left)),
                    _ => None,
                }
            }
            _ => None,
        };
        let (byte, left) = decoded.unwrap_or((byte, after));
        bytes.push(byte);
        rest = left;
    }
    bytes
}

/// Whether we may have written that byte of a path as `%XX`. The client's own
/// encoding stayed, and the two can't always be told apart: what a path can
/// hold unencoded is taken for ours, everything else for the client's.
fn was_ours(byte: u8, after: &[u8]) -> bool {
    match byte {
        b'%' => !matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
        b'!' | b'"' | b'$' | b'&'..=b'*' | b';' | b'<' | b'>' | b'[' | b'\\' | b']' | b'^' | b'`' | b'{'..=b'}' => true,
        _ => byte >= 0x80,
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_are_undone() {
        assert_eq!(Text::backslash(br#"a\"b\\c\x22\n\xzz\q"#).decoded(), "a\"b\\c\"\n\\xzz\\q");
        assert_eq!(Text::backslash(b"\\").decoded(), "\\");
        assert_eq!(Text::backslash(br"\xe2\x82\xac").decoded(), "\u{20ac}");
    }

    #[test]
    fn what_openssh_wrote_by_strnvis_is_undone() {
        assert_eq!(Text::vis(br"a\\b\n\303\244\400\q\0").decoded(), "a\\b\n\u{e4}\\400\\q\0");
        assert_eq!(Text::vis(b"\\").decoded(), "\\");
    }

    #[test]
    fn our_own_encoding_is_undone() {
        assert_eq!(Text::percent(b"x%20404%201s%20%288.8.8.8%29").decoded(), "x 404 1s (8.8.8.8)");
        assert_eq!(Text::percent(b"a%22%5C%0A%C3%A4%27%2541").decoded(), "a\"\\\n\u{e4}'%41");
        assert_eq!(Text::percent(b"%2").decoded(), "%2");
        assert_eq!(Text::percent(b"%ff").decoded(), "%ff", "ours are in upper case");
    }

    #[test]
    fn a_path_keeps_the_clients_own_encoding() {
        assert_eq!(Text::percent_path(b"/%2E%2e/a%2Fb%20c%0A").decoded(), "/%2E%2e/a%2Fb%20c%0A");
        assert_eq!(Text::percent_path(b"/a%21%28b%29%C3%A4").decoded(), "/a!(b)\u{e4}");
        assert_eq!(Text::percent_path(b"/a%25zz%254").decoded(), "/a%zz%4");
        assert_eq!(Text::percent_path(b"/a%2541").decoded(), "/a%2541");
    }
}
