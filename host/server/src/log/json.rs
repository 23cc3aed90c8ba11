//! Lines for machines: one JSON object each, with what the text leaves out.

use std::io::Write as _;

use jiff::Timestamp;

use super::line::{Because, Line};
use super::{shown, time};

/// Appends the line without its newline.
pub(super) fn write(into: &mut Vec<u8>, at: Timestamp, line: &Line<'_>) {
    into.extend_from_slice(br#"{"time":""#);
    time::write(into, at);
    into.extend_from_slice(br#"","level":""#);
    into.extend_from_slice(line.level().name().as_bytes());
    into.push(b'"');
    match line {
        Line::Access(access) => {
            text(into, "kind", "access");
            text(into, "method", access.method);
            text(into, "path", access.path);
            number(into, "status", u64::from(access.status));
            number(into, "duration_us", u64::try_from(access.duration.as_micros()).unwrap_or(u64::MAX));
            if let Some(bytes) = access.bytes {
                number(into, "bytes", bytes);
            }
            if let Some(client_id) = access.client_id {
                text(into, "client_id", client_id);
            }
            text(into, "source", &shown(access.source).to_string());
        }
        Line::FailedLogin(failed) => {
            text(into, "kind", "failed-login");
            text(into, "client_id", failed.client_id);
            number(into, "wait_ms", u64::try_from(failed.wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
            text(into, "source", &shown(failed.source).to_string());
        }
        Line::Banned(banned) => {
            text(into, "kind", "banned");
            text(into, "reason", banned.reason);
            text(into, "code", banned.code);
            text(into, "policy", banned.policy);
            text(into, "source", &shown(banned.source).to_string());
            into.extend_from_slice(br#","until":""#);
            time::write(into, banned.until);
            into.push(b'"');
        }
        Line::Refused(refused) => {
            text(into, "kind", "refused");
            number(into, "status", u64::from(refused.status));
            text(into, "why", refused.why);
            text(into, "source", &shown(refused.source).to_string());
        }
        Line::Suppressed(suppressed) => {
            text(into, "kind", "refusals-suppressed");
            number(into, "count", suppressed.count);
            number(into, "seconds", suppressed.seconds);
        }
        Line::Closed(closed) => {
            text(into, "kind", "closed");
            text(into, "why", closed.why);
            text(into, "source", &shown(closed.source).to_string());
        }
        Line::ClosedSuppressed(suppressed) => {
            text(into, "kind", "closed-suppressed");
            number(into, "count", suppressed.count);
            number(into, "seconds", suppressed.seconds);
        }
        Line::NotEnforced(order) => {
            text(into, "kind", "not-enforced");
            text(
                into,
                "because",
                match order.because {
                    Because::Shadow => "shadow",
                    Because::Cap => "cap",
                },
            );
            text(into, "policy", order.policy);
            if let Some(client_id) = order.client_id {
                text(into, "client_id", client_id);
            }
            text(into, "order", if order.client_id.is_some() { "wait" } else { "ban" });
            number(
                into,
                "duration_ms",
                u64::try_from(order.duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
            );
            text(into, "reason", order.reason);
            text(into, "code", order.code);
            text(into, "source", &shown(order.source).to_string());
        }
        Line::NotEnforcedSuppressed(suppressed) => {
            text(into, "kind", "not-enforced-suppressed");
            number(into, "count", suppressed.count);
            number(into, "seconds", suppressed.seconds);
        }
        Line::Plugin(message) => {
            text(into, "kind", "plugin");
            text(into, "policy", message.policy);
            text(into, "message", message.text);
        }
        Line::Operational(operational) => {
            text(into, "kind", "server");
            text(into, "target", operational.target);
            text(into, "message", operational.text);
            if !operational.fields.is_empty() {
                into.extend_from_slice(br#","fields":{"#);
                for (index, (name, value)) in operational.fields.iter().enumerate() {
                    if index > 0 {
                        into.push(b',');
                    }
                    quoted(into, name);
                    into.push(b':');
                    quoted(into, value);
                }
                into.push(b'}');
            }
        }
    }
    into.push(b'}');
}

fn text(into: &mut Vec<u8>, name: &str, value: &str) {
    let _ = write!(into, ",\"{name}\":");
    quoted(into, value);
}

fn number(into: &mut Vec<u8>, name: &str, value: u64) {
    let _ = write!(into, ",\"{name}\":{value}");
}

fn quoted(into: &mut Vec<u8>, value: &str) {
    // Writing a string to a Vec can't fail.
    let _ = serde_json::to_writer(into, value);
}
