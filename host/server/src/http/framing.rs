//! Which of a client's HTTP/1 requests says its length in two ways, seen in its
//! bytes: hyper removes the Content-Length of a request that has a
//! Transfer-Encoding too, so that afterwards nobody can tell. It must not know
//! what else a request says, nor what becomes of it.
//!
//! This follows messages just as hyper reads them, so that heads are numbered
//! as the requests that hyper hands on are. It has to agree with hyper on what
//! hyper takes; what hyper refuses ends the connection, and no number matters
//! any more. So it is lenient where hyper isn't, and exact where hyper is odd.

use memchr::memchr;

/// A field that frames a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ContentLength,
    TransferEncoding,
}

impl Field {
    /// How its line begins: hyper refuses what has a space before the colon.
    const fn name(self) -> &'static [u8] {
        match self {
            Self::ContentLength => b"content-length:",
            Self::TransferEncoding => b"transfer-encoding:",
        }
    }
}

/// Where in the stream the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a request line, where empty lines mean nothing (RFC 9112 2.2).
    Start,
    /// Where a line begins that may be the head's last.
    HeadLine,
    /// In what may become this field's name and colon; so many of their bytes have come.
    Name(Field, usize),
    /// In the value of Content-Length.
    Length,
    /// In a line, or the rest of one, that says nothing of the framing.
    HeadRest,
    /// After the CR of a head's last line.
    HeadCr,
    /// Behind a head's end, where it is decided what follows.
    HeadEnd,
    /// In a body of which so many bytes are to come.
    Body(u64),
    /// In the digits of a chunk's size.
    Size(u64),
    /// Behind the digits of this size, before the line's end.
    SizeRest(u64),
    /// In a chunk of which so many bytes are to come, its CR and LF among them.
    Chunk(u64),
    /// Where a line of trailers begins that may be the last.
    TrailerLine,
    /// In a line of trailers, which CR and LF end: hyper takes an LF alone for a part of the line.
    TrailerRest,
    /// After the CR of a line of trailers.
    TrailerCr,
    /// After the CR of the last one.
    TrailersCr,
    /// Nothing more is looked at.
    Off,
}

/// Follows the messages of one HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Framing {
    at: At,
    /// Heads that have come to their end.
    heads: u64,
    /// What the head says that is coming.
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    pub(super) const fn new() -> Self {
        Self { at: At::Start, heads: 0, length: None, chunked: false }
    }

    /// Takes the next bytes of the stream, as they come. Says the number of the
    /// first head, counted from 1, that has both a Content-Length and a
    /// Transfer-Encoding, as soon as its end has come; from then on nothing is
    /// looked at: the connection ends with that request.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> Option<u64> {
        while let [first, rest @ ..] = bytes {
            (self.at, bytes) = match self.at {
                At::Start => match first {
                    b'\r' | b'\n' => (At::Start, rest),
                    _ => (At::HeadRest, rest),
                },
                At::HeadLine => head_lines(bytes),
                At::Name(field, come) => {
                    let name = &field.name()[come..];
                    let here = name.len().min(bytes.len());
                    if !bytes[..here].eq_ignore_ascii_case(&name[..here]) {
                        (At::HeadRest, bytes)
                    } else if here < name.len() {
                        (At::Name(field, come + here), &bytes[here..])
                    } else {
                        (self.field(field), &bytes[here..])
                    }
                }
                At::Length => {
                    if let digit @ b'0'..=b'9' = first {
                        let length = self.length.unwrap_or(0);
                        self.length = Some(length.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
                    }
                    (if *first == b'\n' { At::HeadLine } else { At::Length }, rest)
                }
                At::HeadRest => (At::HeadLine, behind(b'\n', bytes)?),
                At::HeadCr => (if *first == b'\n' { At::HeadEnd } else { At::Off }, rest),
                At::Body(0) => (At::Start, bytes),
                At::Body(left) => {
                    let (left, rest) = skip(left, bytes);
                    (At::Body(left), rest)
                }
                At::Size(size) => match char::from(*first).to_digit(16) {
                    Some(digit) => (At::Size(size.saturating_mul(16).saturating_add(u64::from(digit))), rest),
                    None => (At::SizeRest(size), bytes),
                },
                At::SizeRest(0) => (At::TrailerLine, behind(b'\n', bytes)?),
                At::SizeRest(size) => (At::Chunk(size.saturating_add(2)), behind(b'\n', bytes)?),
                At::Chunk(0) => (At::Size(0), bytes),
                At::Chunk(left) => {
                    let (left, rest) = skip(left, bytes);
                    (At::Chunk(left), rest)
                }
                At::TrailerLine if *first == b'\r' => (At::TrailersCr, rest),
                At::TrailerLine => (At::TrailerRest, rest),
                At::TrailerRest => (At::TrailerCr, behind(b'\r', bytes)?),
                At::TrailerCr => (if *first == b'\n' { At::TrailerLine } else { At::Off }, rest),
                At::TrailersCr => (if *first == b'\n' { At::Start } else { At::Off }, rest),
                At::HeadEnd | At::Off => return None,
            };
            if self.at == At::HeadEnd {
                self.heads += 1;
                self.at = match (self.length.take(), std::mem::take(&mut self.chunked)) {
                    (Some(_), true) => At::Off,
                    (None, true) => At::Size(0),
                    (Some(length), false) => At::Body(length),
                    (None, false) => At::Start,
                };
                if self.at == At::Off {
                    return Some(self.heads);
                }
            }
        }
        None
    }

    /// The name of this field has come.
    const fn field(&mut self, field: Field) -> At {
        match field {
            Field::ContentLength => {
                self.length = Some(0);
                At::Length
            }
            Field::TransferEncoding => {
                self.chunked = true;
                At::HeadRest
            }
        }
    }
}

/// Passes over a head's lines as long as they say nothing of the framing, which
/// is nearly all there are: in one go, since this is where the time goes.
fn head_lines(mut bytes: &[u8]) -> (At, &[u8]) {
    loop {
        match bytes {
            [] => return (At::HeadLine, bytes),
            [b'\r', rest @ ..] => return (At::HeadCr, rest),
            [b'\n', rest @ ..] => return (At::HeadEnd, rest),
            [b'c' | b'C', ..] if may_be(Field::ContentLength, bytes) => {
                return (At::Name(Field::ContentLength, 0), bytes);
            }
            [b't' | b'T', ..] if may_be(Field::TransferEncoding, bytes) => {
                return (At::Name(Field::TransferEncoding, 0), bytes);
            }
            _ => match behind(b'\n', bytes) {
                Some(rest) => bytes = rest,
                None => return (At::HeadRest, &[]),
            },
        }
    }
}

/// Whether a line that begins so may be this field's: the colon is where it is in that, or hasn't come.
fn may_be(field: Field, line: &[u8]) -> bool {
    line.get(field.name().len() - 1).is_none_or(|byte| *byte == b':')
}

/// What comes after the next `end`, if that has come.
fn behind(end: u8, bytes: &[u8]) -> Option<&[u8]> {
    memchr(end, bytes).map(|at| &bytes[at + 1..])
}

/// How many of `left` bytes are still to come after these, and what of these comes after them.
fn skip(left: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (left - here as u64, &bytes[here..])
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
