//! Settings as the configuration has them, as a plugin takes them; and a
//! plugin's complaints, by the line they are about.

use portcullis_runtime::{ConfigureError, SettingProblem, SettingValue as PluginValue, Settings};

use crate::config::{Cause, Mistake, Place, PolicyConfig, Setting, SettingValue};

/// The settings as the plugin's interface knows them.
pub(super) fn to_plugin(settings: &[Setting]) -> Settings {
    settings.iter().map(|setting| (setting.name.clone(), value(&setting.value))).collect()
}

fn value(value: &SettingValue) -> PluginValue {
    match value {
        SettingValue::Boolean(boolean) => PluginValue::Boolean(*boolean),
        SettingValue::Integer(integer) => PluginValue::Integer(*integer),
        SettingValue::Number(number) => PluginValue::Number(*number),
        SettingValue::Text(text) => PluginValue::Text(text.clone()),
        SettingValue::EmptyList => PluginValue::Texts(Vec::new()),
        SettingValue::Integers(integers) => PluginValue::Integers(integers.clone()),
        SettingValue::Numbers(numbers) => PluginValue::Numbers(numbers.clone()),
        SettingValue::Texts(texts) => PluginValue::Texts(texts.clone()),
        SettingValue::Json(json) => PluginValue::Json(json.clone()),
    }
}

/// What is wrong with a policy, each by its line where it has one; `table` is
/// `settings` or `fallback_settings`, `known` the names that the plugin declares.
pub(super) fn mistakes(
    error: ConfigureError,
    policy: &PolicyConfig,
    table: &str,
    settings: &[Setting],
    known: &[&str],
) -> Vec<Mistake> {
    let problems = match error {
        ConfigureError::Settings(problems) => problems,
        ConfigureError::Kind { .. } => return vec![whole(policy, "plugin", error.to_string())],
        ConfigureError::Limits(_) => return vec![whole(policy, "limits", error.to_string())],
        ConfigureError::Failed(_) => return vec![whole(policy, "plugin", error.to_string())],
    };
    let mistake = |problem: SettingProblem| {
        let name = problem.name();
        let line = settings.iter().find(|setting| setting.name == name).map(|setting| setting.line.0);
        let place = line.map_or(Place::Nowhere, |line| Place::Line { line, column: None });
        let key = format!("policy.{}.{table}.{name}", policy.name);
        let cause = match &problem {
            SettingProblem::Unknown { .. } => Cause::UnknownKey { nearest: nearest(name, known).map(str::to_owned) },
            SettingProblem::Missing { .. }
            | SettingProblem::Type { .. }
            | SettingProblem::NotFinite { .. }
            | SettingProblem::Refused { .. } => Cause::Conflict { why: problem.to_string() },
        };
        Mistake { place, key, cause }
    };
    problems.into_iter().map(mistake).collect()
}

/// A mistake about the policy as a whole.
pub(super) fn whole(policy: &PolicyConfig, key: &str, why: String) -> Mistake {
    Mistake { place: Place::Nowhere, key: format!("policy.{}.{key}", policy.name), cause: Cause::Conflict { why } }
}

fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|known| (strsim::jaro_winkler(name, known), *known));
    scored.filter(|(score, _)| *score > 0.75).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, known)| known)
}
