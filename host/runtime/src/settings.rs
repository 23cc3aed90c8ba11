//! A plugin's settings: what it declares, what the operator gives, and every
//! mistake between the two at once.
//!
//! Knows no file format: the server reads values from wherever it does.

use std::collections::BTreeMap;
use std::fmt;

use crate::bindings::portcullis::policy::types as wire;

/// Values by setting name.
pub type Settings = BTreeMap<String, SettingValue>;

/// The type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// Any finite number.
    Number,
    /// Text.
    Text,
    /// Whole numbers.
    Integers,
    /// Finite numbers.
    Numbers,
    /// Texts.
    Texts,
    /// Anything nested, as JSON text.
    Json,
}

impl fmt::Display for SettingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Integers => "a list of integers",
            Self::Numbers => "a list of numbers",
            Self::Texts => "a list of texts",
            Self::Json => "a nested value",
        })
    }
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any number; only finite ones reach a plugin.
    Number(f64),
    /// Text.
    Text(String),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Numbers; only finite ones reach a plugin.
    Numbers(Vec<f64>),
    /// Texts.
    Texts(Vec<String>),
    /// Anything nested, as JSON text.
    Json(String),
}

impl SettingValue {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> SettingKind {
        match self {
            Self::Boolean(_) => SettingKind::Boolean,
            Self::Integer(_) => SettingKind::Integer,
            Self::Number(_) => SettingKind::Number,
            Self::Text(_) => SettingKind::Text,
            Self::Integers(_) => SettingKind::Integers,
            Self::Numbers(_) => SettingKind::Numbers,
            Self::Texts(_) => SettingKind::Texts,
            Self::Json(_) => SettingKind::Json,
        }
    }

    /// The same value in the declared type, if it is one: a whole number is a
    /// number, and a list of nothing is a list of anything.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "beyond 2^53 a number is what was asked for")]
    fn as_kind(&self, kind: SettingKind) -> Option<Self> {
        let empty = match self {
            Self::Integers(list) => list.is_empty(),
            Self::Numbers(list) => list.is_empty(),
            Self::Texts(list) => list.is_empty(),
            Self::Boolean(_) | Self::Integer(_) | Self::Number(_) | Self::Text(_) | Self::Json(_) => false,
        };
        match (self, kind) {
            (Self::Integer(value), SettingKind::Number) => Some(Self::Number(*value as f64)),
            (Self::Integers(list), SettingKind::Numbers) => {
                Some(Self::Numbers(list.iter().map(|value| *value as f64).collect()))
            }
            (_, SettingKind::Integers) if empty => Some(Self::Integers(Vec::new())),
            (_, SettingKind::Numbers) if empty => Some(Self::Numbers(Vec::new())),
            (_, SettingKind::Texts) if empty => Some(Self::Texts(Vec::new())),
            _ => (self.kind() == kind).then(|| self.clone()),
        }
    }

    fn is_finite(&self) -> bool {
        match self {
            Self::Number(value) => value.is_finite(),
            Self::Numbers(list) => list.iter().all(|value| value.is_finite()),
            Self::Boolean(_)
            | Self::Integer(_)
            | Self::Text(_)
            | Self::Integers(_)
            | Self::Texts(_)
            | Self::Json(_) => true,
        }
    }
}

/// A setting as the plugin declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingSpec {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: SettingKind,
    /// Absent: the operator must set it.
    pub default: Option<SettingValue>,
    /// One line, with the unit.
    pub doc: String,
}

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingProblem {
    /// The plugin declares no such setting.
    #[error("{name}: the plugin has no such setting")]
    Unknown {
        /// As the operator wrote it.
        name: String,
    },
    /// It has no default and wasn't given.
    #[error("{name}: has to be set: {doc}")]
    Missing {
        /// Its name.
        name: String,
        /// What the plugin says about it.
        doc: String,
    },
    /// It is of another type.
    #[error("{name}: found {found}, expected {expected}")]
    Type {
        /// Its name.
        name: String,
        /// What the plugin declares.
        expected: SettingKind,
        /// What was given.
        found: SettingKind,
    },
    /// Infinity, or not a number.
    #[error("{name}: expected a finite number")]
    NotFinite {
        /// Its name.
        name: String,
    },
    /// The plugin itself refuses it.
    #[error("{name}: {message}")]
    Refused {
        /// The setting that the plugin names.
        name: String,
        /// The plugin's own words; encode them where they are written.
        message: String,
    },
}

impl SettingProblem {
    /// The setting that it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name }
            | Self::Missing { name, .. }
            | Self::Type { name, .. }
            | Self::NotFinite { name }
            | Self::Refused { name, .. } => name,
        }
    }
}

/// Every declared setting in its declared type, in the order of declaration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Complete(Vec<(String, SettingValue)>);

impl Complete {
    /// Fills in defaults and checks types.
    pub(crate) fn merge(specs: &[SettingSpec], given: &Settings) -> Result<Self, Vec<SettingProblem>> {
        let mut complete = Vec::with_capacity(specs.len());
        let mut problems: Vec<_> = given
            .keys()
            .filter(|name| !specs.iter().any(|spec| spec.name == **name))
            .map(|name| SettingProblem::Unknown { name: name.clone() })
            .collect();
        for spec in specs {
            match value_of(spec, given) {
                Ok(value) => complete.push((spec.name.clone(), value)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(Self(complete)) } else { Err(problems) }
    }

    /// Every setting with its value, in the order in which the plugin declares them.
    pub(crate) fn values(&self) -> &[(String, SettingValue)] {
        &self.0
    }

    /// Hands the settings to `configure` as the wire wants them.
    pub(crate) fn with_wire<R>(&self, use_it: impl FnOnce(&[wire::Setting<'_>]) -> R) -> R {
        let texts: Vec<Vec<&str>> = self
            .0
            .iter()
            .map(|(_, value)| match value {
                SettingValue::Texts(list) => list.iter().map(String::as_str).collect(),
                SettingValue::Boolean(_)
                | SettingValue::Integer(_)
                | SettingValue::Number(_)
                | SettingValue::Text(_)
                | SettingValue::Integers(_)
                | SettingValue::Numbers(_)
                | SettingValue::Json(_) => Vec::new(),
            })
            .collect();
        let settings: Vec<_> = self
            .0
            .iter()
            .zip(&texts)
            .map(|((name, value), texts)| wire::Setting {
                name,
                value: match value {
                    SettingValue::Boolean(value) => wire::SettingValueParam::Boolean(*value),
                    SettingValue::Integer(value) => wire::SettingValueParam::Integer(*value),
                    SettingValue::Number(value) => wire::SettingValueParam::Number(*value),
                    SettingValue::Text(value) => wire::SettingValueParam::Text(value),
                    SettingValue::Integers(list) => wire::SettingValueParam::Integers(list),
                    SettingValue::Numbers(list) => wire::SettingValueParam::Numbers(list),
                    SettingValue::Texts(_) => wire::SettingValueParam::Texts(texts),
                    SettingValue::Json(text) => wire::SettingValueParam::Json(text),
                },
            })
            .collect();
        use_it(&settings)
    }
}

fn value_of(spec: &SettingSpec, given: &Settings) -> Result<SettingValue, SettingProblem> {
    let name = || spec.name.clone();
    let Some(given) = given.get(&spec.name).or(spec.default.as_ref()) else {
        return Err(SettingProblem::Missing { name: name(), doc: spec.doc.clone() });
    };
    let Some(value) = given.as_kind(spec.kind) else {
        return Err(SettingProblem::Type { name: name(), expected: spec.kind, found: given.kind() });
    };
    if value.is_finite() { Ok(value) } else { Err(SettingProblem::NotFinite { name: name() }) }
}

impl From<wire::SettingType> for SettingKind {
    fn from(kind: wire::SettingType) -> Self {
        match kind {
            wire::SettingType::Boolean => Self::Boolean,
            wire::SettingType::Integer => Self::Integer,
            wire::SettingType::Number => Self::Number,
            wire::SettingType::Text => Self::Text,
            wire::SettingType::Integers => Self::Integers,
            wire::SettingType::Numbers => Self::Numbers,
            wire::SettingType::Texts => Self::Texts,
            wire::SettingType::Json => Self::Json,
        }
    }
}

impl From<wire::SettingValueResult> for SettingValue {
    fn from(value: wire::SettingValueResult) -> Self {
        match value {
            wire::SettingValueResult::Boolean(value) => Self::Boolean(value),
            wire::SettingValueResult::Integer(value) => Self::Integer(value),
            wire::SettingValueResult::Number(value) => Self::Number(value),
            wire::SettingValueResult::Text(text) => Self::Text(text),
            wire::SettingValueResult::Integers(list) => Self::Integers(list),
            wire::SettingValueResult::Numbers(list) => Self::Numbers(list),
            wire::SettingValueResult::Texts(list) => Self::Texts(list),
            wire::SettingValueResult::Json(text) => Self::Json(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, kind: SettingKind, default: Option<SettingValue>) -> SettingSpec {
        SettingSpec { name: name.to_owned(), kind, default, doc: "seconds".to_owned() }
    }

    fn given(values: &[(&str, SettingValue)]) -> Settings {
        values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn defaults_are_filled_in_and_whole_numbers_are_numbers() {
        let specs = [
            spec("wait", SettingKind::Number, Some(SettingValue::Number(2.0))),
            spec("count", SettingKind::Integer, Some(SettingValue::Integer(5))),
            spec("list", SettingKind::Texts, None),
        ];
        let given = given(&[("wait", SettingValue::Integer(3)), ("list", SettingValue::Integers(Vec::new()))]);
        assert_eq!(
            Complete::merge(&specs, &given).unwrap().0,
            vec![
                ("wait".to_owned(), SettingValue::Number(3.0)),
                ("count".to_owned(), SettingValue::Integer(5)),
                ("list".to_owned(), SettingValue::Texts(Vec::new())),
            ]
        );
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let specs = [
            spec("must", SettingKind::Integer, None),
            spec("count", SettingKind::Integer, Some(SettingValue::Integer(5))),
            spec("wait", SettingKind::Number, Some(SettingValue::Number(2.0))),
        ];
        let given = given(&[
            ("count", SettingValue::Number(1.5)),
            ("wait", SettingValue::Number(f64::NAN)),
            ("wiat", SettingValue::Number(1.0)),
        ]);
        let problems = Complete::merge(&specs, &given).unwrap_err();
        assert_eq!(
            problems,
            vec![
                SettingProblem::Unknown { name: "wiat".to_owned() },
                SettingProblem::Missing { name: "must".to_owned(), doc: "seconds".to_owned() },
                SettingProblem::Type {
                    name: "count".to_owned(),
                    expected: SettingKind::Integer,
                    found: SettingKind::Number
                },
                SettingProblem::NotFinite { name: "wait".to_owned() },
            ]
        );
    }
}
