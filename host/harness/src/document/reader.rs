//! The document being read: its tables, its lines, and what is wrong with it.
//!
//! Defaults come from the reader's table of keys; what that doesn't hold is an
//! unknown key. It must not know what the keys mean.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::mistake::{Cause, Mistake, Place, Wrong, nearest, shown};
use super::value::Parsed;

/// Most errors of syntax that are reported: later ones mostly follow from earlier ones.
const SYNTAX_ERRORS_MAX: usize = 5;

/// A key that there is.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The tables and the name; `NAME` stands for a policy's name.
    pub path: &'static str,
    /// The default as TOML; `None` where leaving it out has a meaning of its own.
    pub default: Option<&'static str>,
}

/// One table of the document.
#[derive(Clone, Copy, Debug)]
pub struct Section<'t> {
    /// `None` stands for one that isn't there.
    pub table: Option<&'t DeTable<'t>>,
    /// Its line, for what is missing in it; 0 where it has none.
    pub line: usize,
    /// Its path among the keys, empty for the document itself.
    pub path: &'static str,
    /// The policy that stands for `NAME` in messages.
    pub policy: Option<&'t str>,
}

impl<'t> Section<'t> {
    /// One that isn't there.
    #[must_use]
    pub const fn absent(path: &'static str, policy: Option<&'t str>) -> Self {
        Self { table: None, line: 0, path, policy }
    }
}

/// The document, and what was found wrong with it so far.
#[derive(Debug)]
pub struct Reader<'t> {
    line_starts: Vec<usize>,
    text: &'t str,
    keys: Vec<Known>,
    /// What was found wrong.
    pub mistakes: Vec<Mistake>,
    /// Paths that were asked for: tests compare them with the keys.
    pub asked: BTreeSet<&'static str>,
}

impl<'t> Reader<'t> {
    /// Reads `text`, in which there may be these keys.
    pub fn new(text: &'t str, keys: impl IntoIterator<Item = Known>) -> Self {
        let line_starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect();
        let keys = keys.into_iter().collect();
        Self { line_starts, text, keys, mistakes: Vec::new(), asked: BTreeSet::new() }
    }

    /// The line on which the byte at `offset` lies, from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset.min(self.text.len())) + 1
    }

    /// The same with the column in characters, from 1.
    fn place(&self, span: Option<Range<usize>>) -> Place {
        let Some(span) = span else { return Place::Nowhere };
        let start = self.text.floor_char_boundary(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let column = self.text[line_start..start].chars().count() + 1;
        Place::Line { line: self.line(start), column: Some(column) }
    }

    /// What the parser of TOML found wrong.
    pub fn syntax(&mut self, errors: &[Error]) {
        for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
            self.mistake(self.place(error.span()), "", Cause::Syntax { reason: error.message().replace('\n', "; ") });
        }
    }

    /// One mistake more.
    pub fn mistake(&mut self, place: impl Into<Place>, key: impl Into<String>, cause: Cause) {
        self.mistakes.push(Mistake::new(place, key, cause));
    }

    /// A value that can't be what its key needs.
    pub fn wrong(&mut self, value: &Spanned<DeValue<'_>>, key: &str, wrong: Wrong) {
        let Wrong { expected, nearest } = wrong;
        let line = self.line(value.span().start);
        self.mistake(line, key, Cause::Value { found: found(value.get_ref()), expected, nearest });
    }

    /// Whether nothing was found wrong with `key` or what it holds.
    #[must_use]
    pub fn clean(&self, key: &str) -> bool {
        self.mistakes.iter().all(|mistake| mistake.key != key)
    }

    /// The table itself, every key in it that isn't known reported.
    pub fn section(
        &mut self,
        table: impl Into<Option<&'t DeTable<'t>>>,
        line: usize,
        path: &'static str,
        policy: Option<&'t str>,
    ) -> Section<'t> {
        let section = Section { table: table.into(), line, path, policy };
        self.refuse_unknown(section);
        section
    }

    /// The value at `path`, its default where it is left out, and the default
    /// too where it is wrong: reading goes on to find the rest.
    pub fn get<T>(&mut self, section: Section<'t>, path: &'static str, parse: impl Fn(&DeValue<'_>) -> Parsed<T>) -> T {
        self.maybe(section, path, &parse).unwrap_or_else(|| self.default_of(path, |value| parse(value).ok()))
    }

    /// The value at `path`, `None` where it is left out or wrong.
    pub fn maybe<T>(
        &mut self,
        section: Section<'t>,
        path: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<T> {
        let found = self.raw(section, path)?;
        parse(found.get_ref()).map_err(|wrong| self.wrong(found, &full(path, section.policy), wrong)).ok()
    }

    /// The list at `path`, each wrong element reported for itself; a single
    /// value counts as a list of one.
    pub fn list<T>(
        &mut self,
        section: Section<'t>,
        path: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Vec<T> {
        let list_of = |value: &DeValue<'_>| value.as_array()?.iter().map(|one| parse(one.get_ref()).ok()).collect();
        self.maybe_list(section, path, &parse).unwrap_or_else(|| self.default_of(path, list_of))
    }

    /// The same without a default: `None` where it is left out.
    pub fn maybe_list<T>(
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

    /// The unparsed value at `path`.
    pub fn raw(&mut self, section: Section<'t>, path: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.insert(path);
        section.table?.get(last(path))
    }

    /// The table that `value` has to be.
    pub fn as_table(&mut self, value: &'t Spanned<DeValue<'t>>, key: &str, wrong: Wrong) -> Option<&'t DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong(value, key, wrong);
        }
        table
    }

    /// The line of the value at `path`, else that of the table.
    #[must_use]
    pub fn line_of(&self, section: Section<'t>, path: &str) -> Option<usize> {
        let value = section.table.and_then(|table| table.get(last(path)));
        value.map(|value| self.line(value.span().start)).or((section.line > 0).then_some(section.line))
    }

    /// The default of `path`, which the keys must have and which must be well formed.
    fn default_of<T>(&self, path: &'static str, parse: impl Fn(&DeValue<'_>) -> Option<T>) -> T {
        let default = self.keys.iter().find(|key| key.path == path).and_then(|key| key.default);
        let value = default.and_then(|text| DeValue::parse(text).ok());
        // Every file that leaves a key out reads its default, so a wrong one can't get past any test.
        value.and_then(|value| parse(value.get_ref())).expect("KEYS holds a default that its own parser takes")
    }

    fn refuse_unknown(&mut self, section: Section<'t>) {
        let prefix = if section.path.is_empty() { String::new() } else { format!("{}.", section.path) };
        let known = self.keys.iter().filter_map(|key| key.path.strip_prefix(&prefix)?.split('.').next());
        let known: Vec<&'static str> = known.collect();
        for (name, _) in section.table.into_iter().flat_map(DeTable::iter) {
            if known.iter().any(|known| known == name.get_ref()) {
                continue;
            }
            let here = nearest(name.get_ref(), known.iter().copied());
            let here = here.map(|near| full(&format!("{prefix}{near}"), section.policy));
            let nearest = here.or_else(|| self.elsewhere(name.get_ref()));
            let key = full(&format!("{prefix}{}", name.get_ref()), section.policy);
            self.mistake(self.line(name.span().start), key, Cause::UnknownKey { nearest });
        }
    }

    /// The first key of that name, whatever table it belongs to.
    #[must_use]
    pub fn elsewhere(&self, name: &str) -> Option<String> {
        self.keys.iter().find(|key| last(key.path) == name).map(|key| key.path.to_owned())
    }
}

/// The last part of a key's path.
#[must_use]
pub fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The path with the policy's name put in.
#[must_use]
pub fn full(path: &str, policy: Option<&str>) -> String {
    policy.map_or_else(|| path.to_owned(), |name| path.replacen("NAME", name, 1))
}

/// A value as a message shows it.
fn found(value: &DeValue<'_>) -> String {
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
