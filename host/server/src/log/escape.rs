//! Rule 28: what strangers and plugins say, so that no line can be forged and
//! no address be injected for fail2ban to ban.
//!
//! It must not know lines.

/// Whose words they are, and so what stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// An id or a method: nothing beyond the plain characters.
    Name,
    /// A path as received: its own percent-encoding stays.
    Path,
    /// A reason or a message of a plugin: spaces stay.
    Sentence,
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `text`, every byte that isn't plain written as `%XX`.
pub(super) fn escape(into: &mut Vec<u8>, text: &[u8], words: Words) {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let stays = match byte {
            b'%' => {
                words == Words::Path && matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
            }
            b' ' => words == Words::Sentence,
            _ => is_plain(byte),
        };
        if stays {
            into.push(byte);
        } else {
            into.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        rest = after;
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'@' | b':' | b'+' | b'=' | b',')
}

/// Appends our own words: only control characters are written as `%XX`, so
/// that a line stays a line.
pub(super) fn escape_controls(into: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        let mut utf8 = [0; 4];
        let bytes = c.encode_utf8(&mut utf8).as_bytes();
        // U+2028 and U+2029 end lines for some readers.
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            bytes
                .iter()
                .for_each(|&byte| into.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]));
        } else {
            into.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &str, words: Words) -> String {
        let mut into = Vec::new();
        escape(&mut into, text.as_bytes(), words);
        String::from_utf8(into).unwrap()
    }

    #[test]
    fn every_byte_that_is_not_plain_is_encoded() {
        assert_eq!(escaped("x 404 1s (8.8.8.8)", Words::Name), "x%20404%201s%20%288.8.8.8%29");
        assert_eq!(escaped("a\"\\\n\u{e4}'%41", Words::Name), "a%22%5C%0A%C3%A4%27%2541");
        assert_eq!(escaped("AZaz09-._~/@:+=,", Words::Name), "AZaz09-._~/@:+=,");
    }

    #[test]
    fn a_path_keeps_its_own_encoding_and_a_sentence_its_spaces() {
        assert_eq!(escaped("/a%20b%zz%4", Words::Path), "/a%20b%25zz%254");
        assert_eq!(escaped("/a b", Words::Path), "/a%20b");
        assert_eq!(escaped("Maximum of 5 (five) 5%41.", Words::Sentence), "Maximum of 5 %28five%29 5%2541.");
    }

    #[test]
    fn our_own_words_stay_on_their_line() {
        let mut into = Vec::new();
        escape_controls(&mut into, "two\nlines (ä)\u{1b}[31m\u{2028}");
        assert_eq!(String::from_utf8(into).unwrap(), "two%0Alines (ä)%1B[31m%E2%80%A8");
    }

    proptest! {
        #[test]
        fn a_name_can_be_decoded_again(text in ".{0,40}") {
            let decoded: Vec<u8> = percent_encoding::percent_decode(escaped(&text, Words::Name).as_bytes()).collect();
            prop_assert_eq!(decoded, text.as_bytes());
        }

        #[test]
        fn nothing_but_plain_bytes_comes_out(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            for (words, also) in [(Words::Name, &b"%"[..]), (Words::Path, b"%"), (Words::Sentence, b"% ")] {
                let mut into = Vec::new();
                escape(&mut into, &text, words);
                prop_assert!(into.iter().all(|&byte| is_plain(byte) || also.contains(&byte)));
            }
        }
    }
}
