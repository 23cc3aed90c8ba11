//! Times as lines begin with them: RFC 3339 in UTC with milliseconds (rule 25).

use std::cell::RefCell;

use jiff::Timestamp;

/// Bytes of `2026-11-22T12:00:00`.
const SECOND_BYTES: usize = 19;

thread_local! {
    /// The second last written by this thread, since most lines share it.
    static SECOND: RefCell<(i64, [u8; SECOND_BYTES])> = const { RefCell::new((i64::MIN, [b'0'; SECOND_BYTES])) };
}

/// Appends `2026-11-22T12:00:00.123Z`.
pub(super) fn write(into: &mut Vec<u8>, at: Timestamp) {
    let millis = at.as_millisecond().clamp(0, 253_402_207_200_000);
    let (second, fraction) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    SECOND.with_borrow_mut(|(cached, text)| {
        if *cached != second {
            let formatted = Timestamp::from_second(second).unwrap_or_default().to_string();
            let bytes = formatted.as_bytes();
            text.copy_from_slice(&bytes[..SECOND_BYTES]);
            *cached = second;
        }
        into.extend_from_slice(text);
    });
    let digit = |value: i64| b"0123456789"[usize::try_from(value % 10).unwrap_or(0)];
    into.extend([b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction), b'Z']);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(millis: i64) -> String {
        let mut into = Vec::new();
        write(&mut into, Timestamp::from_millisecond(millis).unwrap());
        String::from_utf8(into).unwrap()
    }

    #[test]
    fn is_rfc_3339_in_utc_with_milliseconds() {
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(1_795_348_800_123), "2026-11-22T12:00:00.123Z");
        assert_eq!(written(1_795_348_800_007), "2026-11-22T12:00:00.007Z");
        assert_eq!(written(-1), "1970-01-01T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn means_the_instant_that_was_given(millis in 0_i64..253_402_207_200_000) {
            prop_assert_eq!(written(millis).parse::<Timestamp>().unwrap().as_millisecond(), millis);
        }
    }
}
