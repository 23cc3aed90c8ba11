//! The fields that several formats share: addresses, statuses, words.

use std::net::{IpAddr, Ipv4Addr};

use memchr::{memchr, memrchr};

/// Longest address there is: an IPv6 one that ends in an IPv4 one.
const ADDRESS_BYTES_MAX: usize = 45;

/// `HEAD (ADDRESS)`: the address at the very end of a line, and what stands
/// before it.
pub(super) fn address_at_end(line: &[u8]) -> Option<(&[u8], IpAddr)> {
    let inner = line.strip_suffix(b")")?;
    let from = inner.len().saturating_sub(ADDRESS_BYTES_MAX + 1);
    let open = from + memrchr(b'(', &inner[from..])?;
    let head = inner[..open].strip_suffix(b" ")?;
    Some((head, address(&inner[open + 1..])?))
}

/// An address and nothing else.
pub(super) fn address(text: &[u8]) -> Option<IpAddr> {
    if let Some(v4) = v4(text) {
        return Some(IpAddr::V4(v4));
    }
    if text.len() > ADDRESS_BYTES_MAX {
        return None;
    }
    let v6: std::net::Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(IpAddr::V6(v6).to_canonical())
}

/// Four numbers without leading zeros: `010.0.0.1` is another address to some.
fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    if text.len() > 15 {
        return None;
    }
    let mut octets = [0_u8; 4];
    let (mut index, mut digits, mut value) = (0_usize, 0_u8, 0_u16);
    for &byte in text {
        match byte {
            b'0'..=b'9' => {
                if digits > 0 && value == 0 {
                    return None;
                }
                value = value * 10 + u16::from(byte - b'0');
                digits += 1;
                if value > 255 {
                    return None;
                }
            }
            b'.' => {
                if digits == 0 || index == 3 {
                    return None;
                }
                octets[index] = u8::try_from(value).ok()?;
                (index, digits, value) = (index + 1, 0, 0);
            }
            _ => return None,
        }
    }
    if digits == 0 || index != 3 {
        return None;
    }
    octets[3] = u8::try_from(value).ok()?;
    Some(Ipv4Addr::from(octets))
}

/// The first word, and what stands after the space.
pub(super) fn first_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr(b' ', text)?;
    Some((&text[..space], &text[space + 1..]))
}

/// What stands before the last space, and the last word.
pub(super) fn last_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memrchr(b' ', text)?;
    Some((&text[..space], &text[space + 1..]))
}

/// Three digits, the first of them not 0.
pub(super) fn status(text: &[u8]) -> Option<u16> {
    match text {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
        }
        _ => None,
    }
}

/// A method as HTTP has it: one word of token characters.
pub(super) fn is_method(text: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(token)
}

/// A duration as Go and we write it: `21µs`, `1.5ms`, `1m2s`.
pub(super) fn is_duration(text: &[u8]) -> bool {
    let part = |byte: &u8| byte.is_ascii_digit() || b".nu\xc2\xb5\xce\xbcmsh".contains(byte);
    matches!(text, [b'0'..=b'9', .., b's']) && text.iter().all(part)
}

/// A path up to its query.
pub(super) fn without_query(path: &[u8]) -> &[u8] {
    memchr(b'?', path).map_or(path, |query| &path[..query])
}

/// An access line's fields as RPort and we order them:
/// `METHOD PATH STATUS DURATION [SIZE]`, with whatever is in the path.
pub(super) struct Access<'l> {
    pub(super) method: &'l [u8],
    pub(super) path: &'l [u8],
    pub(super) status: u16,
}

/// Reads them from the end, where no stranger writes.
pub(super) fn access(head: &[u8]) -> Option<Access<'_>> {
    let (mut head, mut word) = last_word(head)?;
    if let Some(size) = word.strip_suffix(b"B")
        && !size.is_empty()
        && size.iter().all(u8::is_ascii_digit)
    {
        (head, word) = last_word(head)?;
    }
    if !is_duration(word) {
        return None;
    }
    let (head, word) = last_word(head)?;
    let status = status(word)?;
    let (method, path) = first_word(head)?;
    let path_like = matches!(path, [] | [b'/' | b'*', ..]);
    (path_like && is_method(method)).then_some(Access { method, path: without_query(path), status })
}

/// `Failed login attempt for client auth id "ID", forcing to wait for 2s`: the id.
pub(super) fn failed_login(head: &[u8]) -> Option<&[u8]> {
    let rest = head.strip_prefix(b"Failed login attempt for client auth id \"")?;
    let (rest, wait) = last_word(rest)?;
    is_duration(wait).then_some(())?;
    rest.strip_suffix(b"\", forcing to wait for")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_whole_and_unambiguous() {
        for text in ["203.0.113.7", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::ffff:203.0.113.7"] {
            let parsed: IpAddr = text.parse().unwrap();
            assert_eq!(address(text.as_bytes()), Some(parsed.to_canonical()), "{text}");
        }
        for text in ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 ", "1..3.4", "::1%eth0", "a.b.c.d"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn addresses_are_read_as_the_standard_library_does(text in "[0-9.]{0,16}") {
            prop_assert_eq!(v4(text.as_bytes()), text.parse::<Ipv4Addr>().ok());
        }
    }
}
