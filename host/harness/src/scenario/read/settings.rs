//! Settings of plugins as generic typed values, each with its line.
//!
//! It must not know which settings a plugin has.

use portcullis_runtime::SettingValue;
use toml::de::{DeTable, DeValue};

use super::document::{Document, Section, full};
use crate::scenario::mistake::Wrong;
use crate::scenario::model::Given;
use crate::scenario::parse;

/// Most settings of one policy.
const SETTINGS_MAX: usize = 64;
/// Longest text of one setting, in bytes.
const SETTING_BYTES_MAX: usize = 64 << 10;

/// The settings at `path`, `None` where there are none.
pub(super) fn read<'t>(document: &mut Document<'t>, section: Section<'t>, path: &'static str) -> Option<Given> {
    let found = document.raw(section, path)?;
    let key = full(path, section.policy);
    let Some(table) = found.get_ref().as_table().filter(|table| table.len() <= SETTINGS_MAX) else {
        let expected = format!("a table of at most {SETTINGS_MAX} settings, such as {{ max_failed_login = 3 }}");
        document.wrong(found, &key, Wrong::expected(expected));
        return None;
    };
    let mut given = Given::default();
    for (name, value) in table.iter() {
        if let Some(setting) = setting_value(value.get_ref()) {
            given.lines.insert(name.get_ref().to_string(), document.line(value.span().start));
            given.values.insert(name.get_ref().to_string(), setting);
        } else {
            let key = format!("{key}.{}", name.get_ref());
            let expected = "a finite number, text (at most 64 KiB), true, false, a list or a table; times as text";
            document.wrong(value, &key, Wrong::expected(expected));
        }
    }
    Some(given)
}

fn setting_value(value: &DeValue<'_>) -> Option<SettingValue> {
    Some(match value {
        DeValue::Boolean(boolean) => SettingValue::Boolean(*boolean),
        DeValue::Integer(_) => SettingValue::Integer(parse::integer(value)?),
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
        return elements.into_iter().map(parse::integer).collect::<Option<_>>().map(SettingValue::Integers);
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
        DeValue::Integer(_) => parse::integer(value)?.into(),
        DeValue::Float(_) => float(value)?.into(),
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Array(array) => {
            array.iter().map(|element| json(element.get_ref())).collect::<Option<Vec<_>>>()?.into()
        }
        DeValue::Table(table) => json_table(table)?,
        DeValue::Datetime(_) => return None,
    })
}
