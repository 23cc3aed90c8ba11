//! The document being read: its tables, its lines, and what is wrong with it.
//!
//! It must not know what the keys mean.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::scenario::keys::{self, KEYS};
use crate::scenario::mistake::{Cause, Mistake, Wrong, nearest, shown};
use crate::scenario::parse::Parsed;

/// One table of the document.
#[derive(Clone, Copy)]
pub(super) struct Section<'t> {
    /// `None` stands for one that isn't there.
    pub(super) table: Option<&'t DeTable<'t>>,
    /// Its line; 0 for one that isn't there.
    pub(super) line: usize,
    /// Its path in [`KEYS`], empty for the document itself.
    pub(super) path: &'static str,
    /// The policy that stands for `NAME` in messages.
    pub(super) policy: Option<&'t str>,
}

/// The document, and what was found wrong with it so far.
pub(super) struct Document<'t> {
    line_starts: Vec<usize>,
    text: &'t str,
    pub(super) mistakes: Vec<Mistake>,
    /// Paths of [`KEYS`] that were asked for: a test compares.
    pub(super) asked: BTreeSet<&'static str>,
}

impl<'t> Document<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let line_starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { line_starts: line_starts.collect(), text, mistakes: Vec::new(), asked: BTreeSet::new() }
    }

    /// The line on which the byte at `offset` lies, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset.min(self.text.len())) + 1
    }

    pub(super) fn mistake(&mut self, line: Option<usize>, key: impl Into<String>, cause: Cause) {
        self.mistakes.push(Mistake { line, key: key.into(), cause });
    }

    /// The table itself, every key in it that isn't known reported.
    pub(super) fn section(
        &mut self,
        table: &'t DeTable<'t>,
        line: usize,
        path: &'static str,
        policy: Option<&'t str>,
    ) -> Section<'t> {
        let section = Section { table: Some(table), line, path, policy };
        self.refuse_unknown(section);
        section
    }

    /// The value at `path`, its default where it is left out, and the default
    /// too where it is wrong: reading goes on to find the rest.
    pub(super) fn get<T>(
        &mut self,
        section: Section<'t>,
        path: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> T {
        if let Some(value) = self.maybe(section, path, &parse) {
            return value;
        }
        let default = keys::find(path).and_then(|key| DeValue::parse(key.default?).ok());
        // Every file that leaves a key out reads its default, so a wrong one can't get past any test.
        default.and_then(|value| parse(value.get_ref()).ok()).expect("KEYS holds a default that its own parser takes")
    }

    /// The value at `path`, `None` where it is left out or wrong.
    pub(super) fn maybe<T>(
        &mut self,
        section: Section<'t>,
        path: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        let found = self.raw(section, path)?;
        match parse(found.get_ref()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(found, &full(path, section.policy), wrong);
                None
            }
        }
    }

    /// The value at `path`, which has to be there.
    pub(super) fn need<T>(
        &mut self,
        section: Section<'t>,
        path: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        if section.table.is_some() && self.raw(section, path).is_none() {
            let expected = keys::find(path)
                .map_or_else(String::new, |key| format!("{}, such as {} = {}", key.kind, last(path), key.example));
            let line = (section.line > 0).then_some(section.line);
            self.mistake(line, full(path, section.policy), Cause::Missing { expected });
        }
        self.maybe(section, path, parse)
    }

    /// The list at `path`, each wrong element reported for itself; a single
    /// value counts as a list of one.
    pub(super) fn maybe_list<T>(
        &mut self,
        section: Section<'t>,
        path: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<Vec<T>> {
        let found = self.raw(section, path)?;
        let elements = found.get_ref().as_array().map_or(std::slice::from_ref(found), |array| &array[..]);
        let mut list = Vec::with_capacity(elements.len());
        for element in elements {
            match parse(element.get_ref()) {
                Ok(value) => list.push(value),
                Err(wrong) => self.wrong(element, &full(path, section.policy), wrong),
            }
        }
        Some(list)
    }

    /// The table at `path`; where something else stands, that is a mistake.
    pub(super) fn table(&mut self, section: Section<'t>, path: &'static str) -> Option<Section<'t>> {
        let found = self.raw(section, path)?;
        let line = self.line(found.span().start);
        if let Some(table) = found.get_ref().as_table() {
            return Some(self.section(table, line, path, section.policy));
        }
        let example = keys::find(path).map(|key| format!(", such as {}", key.example)).unwrap_or_default();
        self.wrong(found, &full(path, section.policy), Wrong::expected(format!("a table{example}")));
        None
    }

    /// The unparsed value at `path`.
    pub(super) fn raw(&mut self, section: Section<'t>, path: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.extend(keys::find(path).map(|key| key.path));
        section.table?.get(last(path))
    }

    /// The line of the value at `path`, else that of the table.
    pub(super) fn line_of(&self, section: Section<'t>, path: &str) -> Option<usize> {
        let value = section.table.and_then(|table| table.get(last(path)));
        value.map(|value| self.line(value.span().start)).or((section.line > 0).then_some(section.line))
    }

    pub(super) fn wrong(&mut self, value: &Spanned<DeValue<'_>>, key: &str, wrong: Wrong) {
        let Wrong { expected, nearest } = wrong;
        let line = self.line(value.span().start);
        self.mistake(Some(line), key, Cause::Value { found: found(value.get_ref()), expected, nearest });
    }

    fn refuse_unknown(&mut self, section: Section<'t>) {
        let prefix = if section.path.is_empty() { String::new() } else { format!("{}.", section.path) };
        let known = || KEYS.iter().filter_map(|key| key.path.strip_prefix(&prefix)?.split('.').next());
        for (name, _) in section.table.into_iter().flat_map(DeTable::iter) {
            if known().any(|known| known == name.get_ref()) {
                continue;
            }
            let here = nearest(name.get_ref(), known()).map(|near| full(&format!("{prefix}{near}"), section.policy));
            let elsewhere = || KEYS.iter().find(|key| last(key.path) == name.get_ref()).map(|key| key.path.to_owned());
            let key = full(&format!("{prefix}{}", name.get_ref()), section.policy);
            let line = self.line(name.span().start);
            self.mistake(Some(line), key, Cause::UnknownKey { nearest: here.or_else(elsewhere) });
        }
    }
}

/// The last part of a key's path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The path with the policy's name put in.
pub(super) fn full(path: &str, policy: Option<&str>) -> String {
    policy.map_or_else(|| path.to_owned(), |name| path.replacen("NAME", name, 1))
}

/// A value as a message shows it.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => shown(text),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(array) => format!("a list of {}", array.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
