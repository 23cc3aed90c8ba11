//! Settings of plugins as generic typed values, each with its line.
//!
//! It must not know which settings a plugin has.

use portcullis_runtime::{SettingValue, Settings};
use toml::de::{DeTable, DeValue};

use super::mistake::Wrong;
use super::reader::{Reader, Section, full};
use super::value::integer;

/// Most settings of one policy.
const SETTINGS_MAX: usize = 64;
/// Longest text of one setting, in bytes.
const SETTING_BYTES_MAX: usize = 64 << 10;

/// A line of the file, for messages. All lines are equal: moving a setting in
/// the file is no change of what it says.
#[derive(Clone, Copy, Debug)]
pub struct Line(pub usize);

impl PartialEq for Line {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Line {}

/// One setting of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// What it is set to.
    pub value: SettingValue,
    /// Where it stands.
    pub line: Line,
}

/// The settings as a plugin takes them.
#[must_use]
pub fn to_plugin(settings: &[Setting]) -> Settings {
    settings.iter().map(|setting| (setting.name.clone(), setting.value.clone())).collect()
}

/// The settings at `path`, `None` where there are none.
pub fn read<'t>(reader: &mut Reader<'t>, section: Section<'t>, path: &'static str) -> Option<Vec<Setting>> {
    let found = reader.raw(section, path)?;
    let key = full(path, section.policy);
    let Some(table) = found.get_ref().as_table().filter(|table| table.len() <= SETTINGS_MAX) else {
        let expected = format!("a table of at most {SETTINGS_MAX} settings, such as {{ max_failed_login = 3 }}");
        reader.wrong(found, &key, Wrong::expected(expected));
        return None;
    };
    let mut settings = Vec::with_capacity(table.len());
    for (name, value) in table.iter() {
        let line = Line(reader.line(value.span().start));
        if let Some(value) = setting_value(value.get_ref()) {
            settings.push(Setting { name: name.get_ref().to_string(), value, line });
        } else {
            let key = format!("{key}.{}", name.get_ref());
            let expected = "a finite number, text (at most 64 KiB), true, false, a list or a table; times as text";
            reader.wrong(value, &key, Wrong::expected(expected));
        }
    }
    Some(settings)
}

/// One setting as the command line gives it: `NAME=VALUE`, the value as TOML.
///
/// # Errors
/// What was found and what is expected.
pub fn parse_setting(given: &str) -> Result<Setting, String> {
    let wrong =
        || format!("{given}: expected NAME=VALUE with a value as in TOML, such as findtime=20 or mode='\"strict\"'");
    let table = DeTable::parse(given).map_err(|_| wrong())?;
    let mut entries = table.get_ref().iter();
    let (Some((name, value)), None) = (entries.next(), entries.next()) else { return Err(wrong()) };
    let value = setting_value(value.get_ref()).ok_or_else(wrong)?;
    Ok(Setting { name: name.get_ref().to_string(), value, line: Line(1) })
}

fn setting_value(value: &DeValue<'_>) -> Option<SettingValue> {
    Some(match value {
        DeValue::Boolean(boolean) => SettingValue::Boolean(*boolean),
        DeValue::Integer(_) => SettingValue::Integer(integer(value)?),
        DeValue::Float(_) => SettingValue::Number(float(value)?),
        DeValue::String(text) => SettingValue::Text(bounded(text.to_string())?),
        DeValue::Array(array) => list(array.iter().map(|element| element.get_ref()).collect())?,
        DeValue::Table(table) => SettingValue::Json(bounded(json_table(table)?.to_string())?),
        DeValue::Datetime(_) => return None,
    })
}

fn list(elements: Vec<&DeValue<'_>>) -> Option<SettingValue> {
    let all = |fits: fn(&DeValue<'_>) -> bool| elements.iter().all(|element| fits(element));
    // A list without elements is one too: of what is the plugin's business, which the runtime sees to.
    if all(|element| element.is_str()) {
        let texts: Vec<String> = elements.iter().filter_map(|text| text.as_str()).map(str::to_owned).collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        return (bytes <= SETTING_BYTES_MAX).then_some(SettingValue::Texts(texts));
    }
    if all(|element| element.is_integer()) {
        return elements.into_iter().map(integer).collect::<Option<_>>().map(SettingValue::Integers);
    }
    if all(|element| element.is_integer() || element.is_float()) {
        return elements.into_iter().map(float).collect::<Option<_>>().map(SettingValue::Numbers);
    }
    let json: Option<Vec<_>> = elements.into_iter().map(json).collect();
    bounded(serde_json::Value::from(json?).to_string()).map(SettingValue::Json)
}

fn float(value: &DeValue<'_>) -> Option<f64> {
    let number = match value {
        DeValue::Float(float) => float.as_str().parse().ok()?,
        // Only whole numbers beside fractions in one list come here.
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok()?,
        DeValue::Integer(_)
        | DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => return None,
    };
    f64::is_finite(number).then_some(number)
}

fn bounded(text: String) -> Option<String> {
    (text.len() <= SETTING_BYTES_MAX).then_some(text)
}

fn json_table(table: &DeTable<'_>) -> Option<serde_json::Value> {
    let entries = table.iter().map(|(name, value)| Some((name.get_ref().to_string(), json(value.get_ref())?)));
    entries.collect::<Option<serde_json::Map<_, _>>>().map(serde_json::Value::Object)
}

fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::Boolean(boolean) => (*boolean).into(),
        DeValue::Integer(_) => integer(value)?.into(),
        DeValue::Float(_) => float(value)?.into(),
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Array(array) => {
            array.iter().map(|element| json(element.get_ref())).collect::<Option<Vec<_>>>()?.into()
        }
        DeValue::Table(table) => json_table(table)?,
        DeValue::Datetime(_) => return None,
    })
}
