//! Reads a TOML document key by key and collects every mistake on the way.
//!
//! Defaults come from [`KEYS`]; what is left unread at the end is an unknown
//! key. It must not know what the keys mean.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS};
use super::mistake::{Cause, Mistake, Place, Wrong, nearest, shown};
use super::parse::Parsed;

/// One table of the document; `None` stands for one that isn't there.
#[derive(Clone, Copy)]
pub(super) struct Section<'t> {
    pub(super) table: Option<&'t DeTable<'t>>,
    /// The policy whose table it is, put for `NAME` in messages.
    pub(super) policy: Option<&'t str>,
}

/// The document being read, and what was found wrong with it so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    pub(super) mistakes: Vec<Mistake>,
    /// Paths of [`KEYS`] that were asked for: a test compares.
    pub(super) asked: BTreeSet<&'static str>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, mistakes: Vec::new(), asked: BTreeSet::new() }
    }

    /// The line on which `offset` lies, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    /// The same with the column in characters, from 1.
    pub(super) fn place(&self, span: Option<Range<usize>>) -> Place {
        let Some(span) = span else { return Place::Nowhere };
        let start = self.text.floor_char_boundary(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let column = self.text[line_start..start].chars().count() + 1;
        Place::Line { line: self.line(start), column: Some(column) }
    }

    pub(super) fn mistake(&mut self, place: Place, key: impl Into<String>, cause: Cause) {
        self.mistakes.push(Mistake { place, key: key.into(), cause });
    }

    /// Whether nothing was found wrong with `key` or what it holds.
    pub(super) fn clean(&self, key: &str) -> bool {
        self.mistakes.iter().all(|mistake| mistake.key != key)
    }

    pub(super) fn wrong(&mut self, span: &Range<usize>, key: impl Into<String>, value: &DeValue<'_>, wrong: Wrong) {
        let place = Place::Line { line: self.line(span.start), column: None };
        let Wrong { expected, nearest } = wrong;
        self.mistake(place, key, Cause::Value { found: found(value), expected, nearest });
    }

    /// The value at `path` of [`KEYS`], its default where it is left out, and
    /// the default too where it is wrong: reading goes on to find the rest.
    pub(super) fn get<T>(
        &mut self,
        section: Section<'t>,
        path: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> T {
        match self.maybe(section, path, &parse) {
            Some(value) => value,
            None => default_of(path, |value| parse(value).ok()),
        }
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
                self.wrong(&found.span(), full(path, section.policy), found.get_ref(), wrong);
                None
            }
        }
    }

    /// The list at `path`, each wrong element reported for itself; a single
    /// value counts as a list of one.
    pub(super) fn list<T>(
        &mut self,
        section: Section<'t>,
        path: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Vec<T> {
        let list_of = |value: &DeValue<'_>| value.as_array()?.iter().map(|one| parse(one.get_ref()).ok()).collect();
        self.maybe_list(section, path, &parse).unwrap_or_else(|| default_of(path, list_of))
    }

    /// The same without a default: `None` where it is left out.
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
                Err(wrong) => {
                    self.wrong(&element.span(), full(path, section.policy), element.get_ref(), wrong);
                }
            }
        }
        Some(list)
    }

    /// The unparsed value at `path`.
    pub(super) fn raw(&mut self, section: Section<'t>, path: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.insert(path);
        section.table?.get(last(path))
    }

    /// The table called `name` within `table`, `None` if it isn't there or is no table.
    pub(super) fn table(&mut self, table: &'t DeTable<'t>, name: &str, key: &str) -> Option<&'t DeTable<'t>> {
        let found = table.get(name)?;
        let inner = found.get_ref().as_table();
        if inner.is_none() {
            self.wrong(&found.span(), key, found.get_ref(), Wrong::expected(format!("a table, [{key}]")));
        }
        inner
    }

    /// Reports every key of `section` that [`KEYS`] doesn't hold under `prefix`.
    pub(super) fn refuse_unknown(&mut self, section: Section<'t>, prefix: &str) {
        let Some(table) = section.table else { return };
        let known = || KEYS.iter().filter_map(|key| key.path.strip_prefix(prefix)?.split('.').next());
        for (name, _) in table.iter() {
            if known().any(|known| known == name.get_ref()) {
                continue;
            }
            let here = nearest(name.get_ref(), known()).map(|near| full(&format!("{prefix}{near}"), section.policy));
            let elsewhere = || KEYS.iter().find(|key| last(key.path) == name.get_ref()).map(|key| key.path.to_owned());
            let key = full(&format!("{prefix}{}", name.get_ref()), section.policy);
            let place = Place::Line { line: self.line(name.span().start), column: None };
            self.mistake(place, key, Cause::UnknownKey { nearest: here.or_else(elsewhere) });
        }
    }
}

/// The default of `path`, which [`KEYS`] must have and which must be well formed.
fn default_of<T>(path: &'static str, parse: impl Fn(&DeValue<'_>) -> Option<T>) -> T {
    let default = keys::find(path).and_then(|key| key.default);
    let value = default.and_then(|text| DeValue::parse(text).ok());
    // Every start reads every default, so a wrong one can't get past any test.
    value.and_then(|value| parse(value.get_ref())).expect("KEYS holds a default that its own parser takes")
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
