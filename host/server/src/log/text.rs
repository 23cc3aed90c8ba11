//! Lines for eyes and fail2ban, in RPort's wording (rules 25 to 28).
//!
//! An address in brackets stands exactly where we put it: every byte of a
//! stranger or a plugin goes through `escape`.

use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::escape::{Words, escape, escape_controls};
use super::line::{Because, Line, NotEnforced, Operational};
use super::{shown, time};

/// Appends the line without its newline.
pub(super) fn write(into: &mut Vec<u8>, at: Timestamp, line: &Line<'_>) {
    time::write(into, at);
    into.push(b' ');
    into.extend_from_slice(line.level().name().as_bytes());
    into.push(b' ');
    match line {
        Line::Access(access) => {
            escape(into, access.method.as_bytes(), Words::Name);
            into.push(b' ');
            escape(into, access.path.as_bytes(), Words::Path);
            print(into, format_args!(" {} ", access.status));
            write_duration(into, access.duration);
            print(into, format_args!(" ({})", shown(access.source)));
        }
        Line::FailedLogin(failed) => {
            into.extend_from_slice(b"Failed login attempt for client auth id \"");
            escape(into, failed.client_id.as_bytes(), Words::Name);
            into.extend_from_slice(b"\", forcing to wait for ");
            write_seconds(into, failed.wait);
            print(into, format_args!(" ({})", shown(failed.source)));
        }
        Line::Banned(banned) => {
            escape(into, banned.reason.as_bytes(), Words::Sentence);
            print(into, format_args!(" Visitor ({}) banned. Ban expiry: ", shown(banned.source)));
            time::write(into, banned.until);
        }
        Line::Refused(refused) => {
            print(into, format_args!("Refused with {}, ", refused.status));
            escape(into, refused.why.as_bytes(), Words::Name);
            print(into, format_args!(" ({})", shown(refused.source)));
        }
        Line::Suppressed(suppressed) => {
            let (count, seconds) = (suppressed.count, suppressed.seconds);
            print(into, format_args!("Refused {count} more requests within {seconds} s"));
        }
        Line::Closed(closed) => {
            into.extend_from_slice(b"Closed, ");
            escape(into, closed.why.as_bytes(), Words::Sentence);
            print(into, format_args!(" ({})", shown(closed.source)));
        }
        Line::ClosedSuppressed(suppressed) => {
            let (count, seconds) = (suppressed.count, suppressed.seconds);
            print(into, format_args!("Closed {count} more connections within {seconds} s"));
        }
        Line::NotEnforced(order) => write_not_enforced(into, order),
        Line::NotEnforcedSuppressed(suppressed) => {
            let (count, seconds) = (suppressed.count, suppressed.seconds);
            print(into, format_args!("Not enforced: {count} more orders within {seconds} s"));
        }
        Line::Plugin(message) => {
            into.extend_from_slice(b"Policy ");
            escape(into, message.policy.as_bytes(), Words::Name);
            into.extend_from_slice(b" says: ");
            escape(into, message.text.as_bytes(), Words::Sentence);
        }
        Line::Operational(operational) => write_operational(into, operational),
    }
}

fn write_not_enforced(into: &mut Vec<u8>, order: &NotEnforced<'_>) {
    into.extend_from_slice(b"Policy ");
    escape(into, order.policy.as_bytes(), Words::Name);
    into.extend_from_slice(match order.because {
        Because::Shadow => b" in shadow would ".as_slice(),
        Because::Cap => b" over its cap doesn't ",
    });
    match order.client_id {
        None => print(into, format_args!("ban {} for ", shown(order.source))),
        Some(id) => {
            into.extend_from_slice(b"make \"");
            escape(into, id.as_bytes(), Words::Name);
            print(into, format_args!("\" from {} wait for ", shown(order.source)));
        }
    }
    write_seconds(into, order.duration);
    into.extend_from_slice(b": ");
    escape(into, order.reason.as_bytes(), Words::Sentence);
}

fn write_operational(into: &mut Vec<u8>, operational: &Operational<'_>) {
    if operational.foreign {
        escape(into, operational.target.as_bytes(), Words::Name);
        into.extend_from_slice(b": ");
        escape(into, operational.text.as_bytes(), Words::Sentence);
    } else {
        escape_controls(into, operational.text);
    }
    for (name, value) in operational.fields {
        print(into, format_args!(" {name}="));
        escape(into, value.as_bytes(), Words::Name);
    }
}

fn print(into: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing to a Vec can't fail.
    let _ = into.write_fmt(arguments);
}

/// A whole number and `us`, `ms` or `s` (rule 26), with four digits at least kept.
fn write_duration(into: &mut Vec<u8>, duration: Duration) {
    let micros = duration.as_micros();
    match micros {
        0..10_000 => print(into, format_args!("{micros}us")),
        10_000..10_000_000 => print(into, format_args!("{}ms", micros / 1_000)),
        _ => print(into, format_args!("{}s", micros / 1_000_000)),
    }
}

/// Seconds with as many decimals as it takes, at most three: `2s`, `2.5s`.
/// Rounded up, as nothing ends early.
fn write_seconds(into: &mut Vec<u8>, duration: Duration) {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    let (whole, fraction) = (millis / 1000, millis % 1000);
    let decimals = format!("{fraction:03}");
    let decimals = decimals.trim_end_matches('0');
    let point = if decimals.is_empty() { "" } else { "." };
    print(into, format_args!("{whole}{point}{decimals}s"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(duration: Duration) -> String {
        let mut into = Vec::new();
        write_seconds(&mut into, duration);
        String::from_utf8(into).unwrap()
    }

    fn whole(duration: Duration) -> String {
        let mut into = Vec::new();
        write_duration(&mut into, duration);
        String::from_utf8(into).unwrap()
    }

    #[test]
    fn a_wait_is_in_seconds_with_no_more_decimals_than_it_takes() {
        assert_eq!(seconds(Duration::from_secs(2)), "2s");
        assert_eq!(seconds(Duration::from_millis(2_500)), "2.5s");
        assert_eq!(seconds(Duration::from_millis(2_005)), "2.005s");
        assert_eq!(seconds(Duration::from_secs(3600)), "3600s");
        assert_eq!(seconds(Duration::ZERO), "0s");
        assert_eq!(seconds(Duration::from_micros(1)), "0.001s");
    }

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        assert_eq!(whole(Duration::ZERO), "0us");
        assert_eq!(whole(Duration::from_micros(9_999)), "9999us");
        assert_eq!(whole(Duration::from_micros(10_000)), "10ms");
        assert_eq!(whole(Duration::from_millis(9_999)), "9999ms");
        assert_eq!(whole(Duration::from_secs(10)), "10s");
    }
}
