//! What every document says about policies in the same words.
//!
//! The words for [`OnFailure`] are each document's own: it names its default first.

use portcullis_domain::{Kind, SubjectBy};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Cause, Wrong, nearest, shown};
use super::reader::Reader;
use super::value::{self, Parsed};

/// Kinds by name, which are also the names of the policies that are always there.
pub const KINDS: [(&str, Kind); 3] = [("wait", Kind::Wait), ("ban", Kind::Ban), ("scanner", Kind::Scanner)];

/// What happens when a policy's plugin fails (rule 21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The event is denied.
    Deny,
    /// As if the plugin had said pass.
    Allow,
    /// The bundle's plugin of that kind steps in.
    Bundle,
}

/// The table of the policy called `name`, whose name stands on that line.
pub fn table<'t>(
    reader: &mut Reader<'t>,
    name: &str,
    line: usize,
    value: &'t Spanned<DeValue<'t>>,
) -> Option<&'t DeTable<'t>> {
    let key = format!("policy.{name}");
    if !fits(name) {
        let expected = "a name of 1 to 32 characters out of a-z, 0-9 and -".to_owned();
        reader.mistake(line, key, Cause::Value { found: shown(name), expected, nearest: None });
        return None;
    }
    // `[policy]` itself holds nothing but tables: most likely a key of one of them.
    let near = nearest(name, KINDS.map(|(name, _)| name)).filter(|near| *near != name);
    let wrong = Wrong { expected: format!("a table, [{key}]"), nearest: near.map(|near| format!("policy.{near}")) };
    reader.as_table(value, &key, wrong)
}

fn fits(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// What it judges; `fixed` where the policy's name says so.
pub fn kind(value: &DeValue<'_>, fixed: Option<Kind>) -> Parsed<Kind> {
    let kind = value::choice(value, &KINDS)?;
    match fixed {
        Some(fixed) if fixed != kind => {
            Err(Wrong::expected(format!("\"{fixed}\": another kind is a policy under a name of its own")))
        }
        Some(_) | None => Ok(kind),
    }
}

/// Whom it keeps state about.
pub fn subject(value: &DeValue<'_>) -> Parsed<SubjectBy> {
    value::choice(value, &[("id", SubjectBy::Id), ("source", SubjectBy::Source), ("pair", SubjectBy::Pair)])
}
