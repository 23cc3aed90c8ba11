//! Typed settings: what an author declares, what `describe` tells of them, and how
//! the operator's values are read back with every mistake named at once.

use crate::bindings::types;
use crate::text::joined;
use crate::value::{FromSetting, shown};

pub use types::{SettingError, SettingSpec, SettingType, SettingValue};

/// The settings of a policy. Derive it on a struct with named fields:
///
/// - a field's doc comment becomes the setting's doc: one line, with the unit;
/// - `#[setting(default = 5)]`: its default; without one the operator must set it;
/// - `#[setting(check = path)]`: `fn(&T) -> Result<(), String>` (a list may be a slice),
///   where the error says what is expected;
/// - `#[settings(validate = path)]` on the struct: `fn(&Self, &mut Problems)`, for what
///   no field can know alone.
pub trait Settings: Sized + Send + Sync + 'static {
    /// Every setting, in the order of the fields.
    fn specs() -> Vec<SettingSpec>;

    /// Takes every setting out of the reader; none if one of them is wrong.
    fn read(reader: &mut Reader) -> Option<Self>;

    /// Reads the host's values. All mistakes are told at once.
    ///
    /// # Errors
    /// One error per mistake: the setting, what was found, and what was expected.
    fn from_values(values: Vec<types::Setting>) -> Result<Self, Vec<SettingError>> {
        let mut reader = Reader { values, problems: Problems::default() };
        let settings = Self::read(&mut reader);
        for setting in &reader.values {
            if !setting.name.is_empty() {
                reader.problems.add(&setting.name, "no such setting".to_owned());
            }
        }
        match settings {
            Some(settings) if reader.problems.0.is_empty() => Ok(settings),
            _ => Err(reader.problems.0),
        }
    }
}

/// A policy that can't be set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoSettings;

impl Settings for NoSettings {
    fn specs() -> Vec<SettingSpec> {
        Vec::new()
    }

    fn read(_: &mut Reader) -> Option<Self> {
        Some(Self)
    }
}

/// The mistakes found in the settings.
#[derive(Debug, Default)]
pub struct Problems(Vec<SettingError>);

impl Problems {
    /// Adds a mistake: the setting, what was found and what was expected.
    pub fn add(&mut self, setting: &str, message: impl Into<String>) {
        self.0.push(SettingError { name: setting.to_owned(), message: message.into() });
    }
}

/// The values that the host sent, of which each setting takes its own.
#[derive(Debug)]
pub struct Reader {
    values: Vec<types::Setting>,
    problems: Problems,
}

impl Reader {
    /// Takes one setting, or notes what is wrong with it.
    pub fn take<T: FromSetting>(&mut self, name: &str, check: fn(&T) -> Result<(), String>) -> Option<T> {
        let index = self.find(name, T::EXPECTED)?;
        let Some(read) = T::from_setting(&self.values[index].value) else {
            self.refuse(index, name, T::EXPECTED);
            return None;
        };
        if let Err(expected) = check(&read) {
            self.refuse(index, name, &expected);
            return None;
        }
        Some(read)
    }

    // These two apart from `take`, which is compiled once for each type of setting.

    fn find(&mut self, name: &str, expected: &str) -> Option<usize> {
        let index = self.values.iter().position(|setting| setting.name == name);
        match index {
            // What still has its name in the end is no setting of ours.
            Some(index) => self.values[index].name.clear(),
            None => self.problems.add(name, joined(&["missing, expected ", expected])),
        }
        index
    }

    fn refuse(&mut self, index: usize, name: &str, expected: &str) {
        let found = shown(&self.values[index].value);
        self.problems.add(name, joined(&["found ", &found, ", expected ", expected]));
    }

    /// Where the author's own validation notes mistakes.
    pub fn problems(&mut self) -> &mut Problems {
        &mut self.problems
    }
}

/// What `describe` tells of one setting; for the derive.
pub fn spec<T: FromSetting>(name: &str, default: Option<T::Default>, doc: &str) -> SettingSpec {
    make_spec(name, T::KIND, default.map(T::default_value), doc)
}

fn make_spec(name: &str, kind: SettingType, default_value: Option<SettingValue>, doc: &str) -> SettingSpec {
    SettingSpec { name: name.to_owned(), kind, default_value, doc: doc.to_owned() }
}

/// The check of a setting that has none; for the derive.
pub fn unchecked<T>(_: &T) -> Result<(), String> {
    Ok(())
}
