//! What only a scenario asks of a document: messages with the examples of its keys.

use toml::de::DeValue;

use crate::document::mistake::{Cause, Wrong};
use crate::document::reader::{Known, Reader, Section, full, last};
use crate::document::value::Parsed;
use crate::scenario::keys::{self, KEYS};

/// A reader that knows a scenario's keys.
pub(super) fn open(text: &str) -> Reader<'_> {
    Reader::new(text, KEYS.iter().map(|key| Known { path: key.path, default: key.default }))
}

/// The value at `path`, which has to be there.
pub(super) fn need<'t, T>(
    reader: &mut Reader<'t>,
    section: Section<'t>,
    path: &'static str,
    parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
) -> Option<T> {
    if section.table.is_some() && reader.raw(section, path).is_none() {
        let expected = keys::find(path)
            .map_or_else(String::new, |key| format!("{}, such as {} = {}", key.kind, last(path), key.example));
        let line = (section.line > 0).then_some(section.line);
        reader.mistake(line, full(path, section.policy), Cause::Missing { expected });
    }
    reader.maybe(section, path, parse)
}

/// The table at `path`; where something else stands, that is a mistake.
pub(super) fn table<'t>(reader: &mut Reader<'t>, section: Section<'t>, path: &'static str) -> Option<Section<'t>> {
    let found = reader.raw(section, path)?;
    let example = keys::find(path).map(|key| format!(", such as {}", key.example)).unwrap_or_default();
    let wrong = Wrong::expected(format!("a table{example}"));
    let table = reader.as_table(found, &full(path, section.policy), wrong)?;
    let line = reader.line(found.span().start);
    Some(reader.section(table, line, path, section.policy))
}
