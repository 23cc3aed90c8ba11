//! The types that a setting can have, and their way from and to the wire.

use std::fmt;
use std::time::Duration;

use crate::bindings::types::{SettingType, SettingValue};
use crate::verdict::DURATION_MS_MAX;

/// A type that a setting can have.
pub trait FromSetting: Sized {
    /// How a default is written in `#[setting(default = …)]`.
    type Default;
    /// The type on the wire.
    const KIND: SettingType;
    /// Ends the sentence "found …, expected …".
    const EXPECTED: &'static str;

    /// A default, as told by `describe`.
    fn default_value(default: Self::Default) -> SettingValue;

    /// The typed value, or nothing if it is not what is expected.
    fn from_setting(value: SettingValue) -> Option<Self>;
}

/// A length of time. On the wire it is a number of seconds, fractions allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Seconds(Duration);

impl Seconds {
    /// So many whole seconds.
    pub const fn new(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The same as a duration.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// No time at all, which usually means "off".
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Milliseconds, rounded up.
    pub fn as_ms(self) -> u64 {
        crate::verdict::to_ms(self.0)
    }

    /// From seconds with a fraction; nothing for what is no length of time that the
    /// interface can carry: NaN, negative, infinite or 2^53 ms and more.
    pub fn from_secs(secs: f64) -> Option<Self> {
        let duration = Duration::try_from_secs_f64(secs).ok()?;
        (duration.as_millis() < u128::from(DURATION_MS_MAX)).then_some(Self(duration))
    }
}

/// As people write it, to a millisecond: `20s`, `1.5s`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", thousandths(self.as_ms()))
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        seconds.0
    }
}

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

/// Anything nested, as JSON text. The SDK brings no parser.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub String);

macro_rules! plain_settings {
    ($($type:ty, $default:ty, $kind:ident, $expected:literal;)*) => {$(
        impl FromSetting for $type {
            type Default = $default;
            const KIND: SettingType = SettingType::$kind;
            const EXPECTED: &'static str = $expected;

            fn default_value(default: $default) -> SettingValue {
                SettingValue::$kind(default.into())
            }

            fn from_setting(value: SettingValue) -> Option<Self> {
                match value {
                    SettingValue::$kind(value) => value.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

plain_settings! {
    bool, bool, Boolean, "true or false";
    i64, i64, Integer, "a whole number";
    u32, u32, Integer, "a whole number from 0 to 4294967295";
    u16, u16, Integer, "a whole number from 0 to 65535";
    String, &'static str, Text, "a text";
    Vec<i64>, &'static [i64], Integers, "a list of whole numbers";
    Vec<f64>, &'static [f64], Numbers, "a list of numbers";
}

impl FromSetting for u64 {
    // A default beyond what the wire holds must not compile.
    type Default = u32;
    const KIND: SettingType = SettingType::Integer;
    const EXPECTED: &'static str = "a whole number that is not negative";

    fn default_value(default: u32) -> SettingValue {
        SettingValue::Integer(default.into())
    }

    fn from_setting(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Integer(value) => value.try_into().ok(),
            _ => None,
        }
    }
}

impl FromSetting for f64 {
    type Default = f64;
    const KIND: SettingType = SettingType::Number;
    const EXPECTED: &'static str = "a number";

    fn default_value(default: f64) -> SettingValue {
        SettingValue::Number(default)
    }

    fn from_setting(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Number(value) if value.is_finite() => Some(value),
            _ => None,
        }
    }
}

impl FromSetting for Seconds {
    type Default = f64;
    const KIND: SettingType = SettingType::Number;
    const EXPECTED: &'static str = "a number of seconds, 0 or more and below 9007199254740";

    fn default_value(default: f64) -> SettingValue {
        SettingValue::Number(default)
    }

    fn from_setting(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Number(value) => Self::from_secs(value),
            _ => None,
        }
    }
}

impl FromSetting for Vec<u16> {
    type Default = &'static [u16];
    const KIND: SettingType = SettingType::Integers;
    const EXPECTED: &'static str = "a list of whole numbers from 0 to 65535";

    fn default_value(default: &'static [u16]) -> SettingValue {
        SettingValue::Integers(default.iter().copied().map(i64::from).collect())
    }

    fn from_setting(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Integers(values) => {
                values.into_iter().map(|value| value.try_into().ok()).collect()
            }
            _ => None,
        }
    }
}

impl FromSetting for Vec<String> {
    type Default = &'static [&'static str];
    const KIND: SettingType = SettingType::Texts;
    const EXPECTED: &'static str = "a list of texts";

    fn default_value(default: &'static [&'static str]) -> SettingValue {
        SettingValue::Texts(default.iter().copied().map(str::to_owned).collect())
    }

    fn from_setting(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Texts(values) => Some(values),
            _ => None,
        }
    }
}

impl FromSetting for Json {
    type Default = &'static str;
    const KIND: SettingType = SettingType::Json;
    const EXPECTED: &'static str = "JSON";

    fn default_value(default: &'static str) -> SettingValue {
        SettingValue::Json(default.to_owned())
    }

    fn from_setting(value: SettingValue) -> Option<Self> {
        match value {
            SettingValue::Json(value) => Some(Self(value)),
            _ => None,
        }
    }
}

/// A value as an operator should see it in a message; long ones are cut.
pub(crate) fn shown(value: &SettingValue) -> String {
    match value {
        SettingValue::Boolean(value) => value.to_string(),
        SettingValue::Integer(value) => value.to_string(),
        SettingValue::Number(value) => number(*value),
        SettingValue::Text(value) | SettingValue::Json(value) => text(value),
        SettingValue::Integers(values) => list(values, i64::to_string),
        SettingValue::Numbers(values) => list(values, |value| number(*value)),
        SettingValue::Texts(values) => list(values, |value| text(value)),
    }
}

/// The first few of a list.
fn list<T>(values: &[T], show: impl Fn(&T) -> String) -> String {
    const SHOWN_MAX: usize = 8;
    let mut shown: Vec<String> = values.iter().take(SHOWN_MAX).map(show).collect();
    if values.len() > SHOWN_MAX {
        shown.push(format!("and {} more", values.len() - SHOWN_MAX));
    }
    format!("[{}]", shown.join(", "))
}

fn text(value: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let mut shown: String = value.chars().take(SHOWN_MAX).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// To a thousandth, by whole numbers: the standard library's way of printing floats
/// would be a third of a guest.
fn number(value: f64) -> String {
    // Up to here a float's thousandths fit a u64.
    const PLAIN_MAX: f64 = 1e15;
    if value.is_nan() {
        return "not a number".to_owned();
    }
    let sign = if value < 0.0 { "-" } else { "" };
    if value.abs() > PLAIN_MAX {
        return format!("{sign}(more than 10^15)");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative and within u64: bounded just above"
    )]
    let value = (value.abs() * 1000.0 + 0.5) as u64;
    format!("{sign}{}", thousandths(value))
}

fn thousandths(value: u64) -> String {
    let (whole, rest) = (value / 1000, value % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    let fraction = format!("{rest:03}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}
