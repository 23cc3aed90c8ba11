//! Settings of plugins as others see them: complaints by the line they are
//! about, and values as JSON.

use portcullis_runtime::{ConfigureError, SettingProblem, SettingValue};
use serde_json::json;

use crate::config::{Cause, Mistake, Place, PolicyConfig, Setting};

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
        ConfigureError::Kind { .. } => return vec![whole(policy, "plugin", ours(error))],
        ConfigureError::Limits(_) => return vec![whole(policy, "limits", ours(error))],
        ConfigureError::Failed(_) => {
            return vec![whole(policy, "plugin", Cause::Plugin { why: error.to_string() })];
        }
    };
    let mistake = |problem: SettingProblem| {
        let name = problem.name();
        // A name that the operator didn't write is the plugin's.
        let written = settings.iter().find(|setting| setting.name == name);
        let place = Place::from(written.map(|setting| setting.line.0));
        let mut key = format!("policy.{}.{table}", policy.name);
        if written.is_some() {
            key = format!("{key}.{name}");
        }
        let cause = match &problem {
            SettingProblem::Unknown { .. } => match nearest(name, known) {
                None => Cause::UnknownKey { nearest: None },
                Some(near) => Cause::Plugin { why: Cause::UnknownKey { nearest: Some(near.to_owned()) }.to_string() },
            },
            SettingProblem::Missing { .. } | SettingProblem::Refused { .. } => {
                let why = problem.to_string();
                // Where the place names the setting already, once is enough.
                let again = format!("{name}: ");
                let once = why.strip_prefix(&again).filter(|_| written.is_some());
                Cause::Plugin { why: once.map(str::to_owned).unwrap_or(why) }
            }
            SettingProblem::Type { .. } | SettingProblem::NotFinite { .. } => ours(&problem),
        };
        Mistake { place, key, cause }
    };
    problems.into_iter().map(mistake).collect()
}

/// A mistake about the policy as a whole.
pub(super) fn whole(policy: &PolicyConfig, key: &str, cause: Cause) -> Mistake {
    Mistake { place: Place::Nowhere, key: format!("policy.{}.{key}", policy.name), cause }
}

/// Words without any of the plugin's among them.
pub(super) fn ours(why: impl ToString) -> Cause {
    Cause::Conflict { why: why.to_string() }
}

fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|known| (strsim::jaro_winkler(name, known), *known));
    scored.filter(|(score, _)| *score > 0.75).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, known)| known)
}

/// A setting's value as JSON.
#[must_use]
pub fn setting_as_json(value: &SettingValue) -> serde_json::Value {
    match value {
        SettingValue::Boolean(boolean) => json!(boolean),
        SettingValue::Integer(integer) => json!(integer),
        SettingValue::Number(number) => json!(number),
        SettingValue::Text(text) => json!(text),
        SettingValue::Integers(integers) => json!(integers),
        SettingValue::Numbers(numbers) => json!(numbers),
        SettingValue::Texts(texts) => json!(texts),
        SettingValue::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
    }
}
