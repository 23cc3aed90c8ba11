//! Small texts without `format!`, whose machinery is a tenth of a guest. Of use where
//! the size of a plugin matters; elsewhere `format!` reads better.

/// Several texts in a row.
pub fn joined(parts: &[&str]) -> String {
    let mut text = String::new();
    for part in parts {
        text.push_str(part);
    }
    text
}

/// A number in decimal.
pub fn integer(value: i64) -> String {
    let mut text = String::new();
    push_integer(&mut text, value);
    text
}

pub(crate) fn push_integer(text: &mut String, value: i64) {
    if value < 0 {
        text.push('-');
    }
    push_digits(text, value.unsigned_abs(), 1);
}

/// A number of thousandths, as a number with as many decimals as it needs.
pub(crate) fn push_thousandths(text: &mut String, value: u64) {
    push_digits(text, value / 1000, 1);
    let (mut rest, mut digits) = (value % 1000, 3);
    if rest > 0 {
        while rest % 10 == 0 {
            rest /= 10;
            digits -= 1;
        }
        text.push('.');
        push_digits(text, rest, digits);
    }
}

/// Decimal digits, at least so many.
fn push_digits(text: &mut String, value: u64, digits_min: u32) {
    let mut digits = digits_min;
    while digits < u64::MAX.ilog10() + 1 && value >= 10_u64.pow(digits) {
        digits += 1;
    }
    for place in (0..digits).rev() {
        // A digit is below ten.
        let digit = u8::try_from(value / 10_u64.pow(place) % 10).unwrap_or_default();
        text.push(char::from(b'0' + digit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        for value in [0, 7, 10, -1, 99, 100, 12_345, i64::MIN, i64::MAX] {
            assert_eq!(integer(value), value.to_string());
        }
        for (thousandths, expected) in
            [(0, "0"), (20_000, "20"), (1_500, "1.5"), (50, "0.05"), (1, "0.001"), (u64::MAX, "18446744073709551.615")]
        {
            let mut text = String::new();
            push_thousandths(&mut text, thousandths);
            assert_eq!(text, expected);
        }
    }
}
