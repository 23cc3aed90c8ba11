//! The types that a setting can have, and their way from and to the wire.

use std::fmt;
use std::time::Duration;

use crate::bindings::types::{SettingType, SettingValue};
use crate::text::{push_integer, push_thousandths};
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
    fn from_setting(value: &SettingValue) -> Option<Self>;
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
    pub const fn as_ms(self) -> u64 {
        crate::verdict::to_ms(self.0)
    }

    /// As people write it, to a millisecond: `20s`, `1.5s`.
    pub fn text(self) -> String {
        let mut text = String::new();
        push_thousandths(&mut text, self.as_ms());
        text.push('s');
        text
    }

    /// From seconds with a fraction; nothing for what is no length of time that the
    /// interface can carry: NaN, negative, infinite or 2^53 ms and more.
    pub fn from_secs(secs: f64) -> Option<Self> {
        const SECS_END: f64 = (DURATION_MS_MAX / 1000) as f64;
        // Also false for NaN.
        if !(0.0..SECS_END).contains(&secs) {
            return None;
        }
        // Not `Duration::try_from_secs_f64`, which would be a fiftieth of a guest.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the fraction is cut off on purpose, and both parts are bounded just above"
        )]
        let (whole, nanos) = (secs as u64, ((secs - secs.trunc()) * 1e9 + 0.5) as u64);
        Some(Self(Duration::from_secs(whole) + Duration::from_nanos(nanos)))
    }
}

/// As people write it, to a millisecond: `20s`, `1.5s`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
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

            fn from_setting(value: &SettingValue) -> Option<Self> {
                let SettingValue::$kind(value) = value else { return None };
        value.clone().try_into().ok()
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
}

impl FromSetting for u64 {
    // A default beyond what the wire holds must not compile.
    type Default = u32;
    const KIND: SettingType = SettingType::Integer;
    const EXPECTED: &'static str = "a whole number that is not negative";

    fn default_value(default: u32) -> SettingValue {
        SettingValue::Integer(default.into())
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Integer(value) = value else { return None };
        (*value).try_into().ok()
    }
}

impl FromSetting for f64 {
    type Default = f64;
    const KIND: SettingType = SettingType::Number;
    const EXPECTED: &'static str = "a number";

    fn default_value(default: f64) -> SettingValue {
        SettingValue::Number(default)
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Number(value) = value else { return None };
        value.is_finite().then_some(*value)
    }
}

impl FromSetting for Seconds {
    type Default = f64;
    const KIND: SettingType = SettingType::Number;
    const EXPECTED: &'static str = "a number of seconds, 0 or more and below 9007199254740";

    fn default_value(default: f64) -> SettingValue {
        SettingValue::Number(default)
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Number(value) = value else { return None };
        Self::from_secs(*value)
    }
}

// Loops instead of iterators that collect: each of those is compiled for its own types.
impl FromSetting for Vec<u16> {
    type Default = &'static [u16];
    const KIND: SettingType = SettingType::Integers;
    const EXPECTED: &'static str = "a list of whole numbers from 0 to 65535";

    fn default_value(default: &'static [u16]) -> SettingValue {
        let mut values = Vec::with_capacity(default.len());
        for value in default {
            values.push(i64::from(*value));
        }
        SettingValue::Integers(values)
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Integers(values) = value else { return None };
        let mut read = Vec::with_capacity(values.len());
        for value in values {
            read.push((*value).try_into().ok()?);
        }
        Some(read)
    }
}

impl FromSetting for Vec<f64> {
    type Default = &'static [f64];
    const KIND: SettingType = SettingType::Numbers;
    const EXPECTED: &'static str = "a list of numbers";

    fn default_value(default: &'static [f64]) -> SettingValue {
        SettingValue::Numbers(default.to_vec())
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Numbers(values) = value else { return None };
        values.iter().all(|value| value.is_finite()).then(|| values.clone())
    }
}

impl FromSetting for Vec<String> {
    type Default = &'static [&'static str];
    const KIND: SettingType = SettingType::Texts;
    const EXPECTED: &'static str = "a list of texts";

    fn default_value(default: &'static [&'static str]) -> SettingValue {
        let mut values = Vec::with_capacity(default.len());
        for value in default {
            values.push((*value).to_owned());
        }
        SettingValue::Texts(values)
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Texts(values) = value else { return None };
        Some(values.clone())
    }
}

impl FromSetting for Json {
    type Default = &'static str;
    const KIND: SettingType = SettingType::Json;
    const EXPECTED: &'static str = "JSON";

    fn default_value(default: &'static str) -> SettingValue {
        SettingValue::Json(default.to_owned())
    }

    fn from_setting(value: &SettingValue) -> Option<Self> {
        let SettingValue::Json(value) = value else { return None };
        Some(Self(value.clone()))
    }
}

/// A value as an operator should see it in a message; long ones are cut. By hand, since
/// the standard library's way of printing would be a third of a guest.
pub(crate) fn shown(value: &SettingValue) -> String {
    let mut text = String::new();
    match value {
        SettingValue::Boolean(value) => text.push_str(if *value { "true" } else { "false" }),
        SettingValue::Integer(value) => push_integer(&mut text, *value),
        SettingValue::Number(value) => push_number(&mut text, *value),
        SettingValue::Text(value) | SettingValue::Json(value) => push_quoted(&mut text, value),
        SettingValue::Integers(values) => push_list(&mut text, values.len(), &|text, index| {
            push_integer(text, values[index]);
        }),
        SettingValue::Numbers(values) => push_list(&mut text, values.len(), &|text, index| {
            push_number(text, values[index]);
        }),
        SettingValue::Texts(values) => push_list(&mut text, values.len(), &|text, index| {
            push_quoted(text, &values[index]);
        }),
    }
    text
}

/// The first few of a list.
fn push_list(text: &mut String, len: usize, push: &dyn Fn(&mut String, usize)) {
    const SHOWN_MAX: usize = 8;
    text.push('[');
    for index in 0..len.min(SHOWN_MAX) {
        if index > 0 {
            text.push_str(", ");
        }
        push(text, index);
    }
    if len > SHOWN_MAX {
        text.push_str(", …");
    }
    text.push(']');
}

fn push_quoted(text: &mut String, value: &str) {
    const SHOWN_MAX: usize = 40;
    let end = value.floor_char_boundary(SHOWN_MAX);
    text.push('"');
    text.push_str(&value[..end]);
    text.push_str(if end < value.len() { "…\"" } else { "\"" });
}

/// To a thousandth.
fn push_number(text: &mut String, value: f64) {
    // Up to here a float's thousandths fit a u64.
    const PLAIN_MAX: f64 = 1e15;
    if value.is_nan() {
        text.push_str("not a number");
        return;
    }
    if value < 0.0 {
        text.push('-');
    }
    if value.abs() > PLAIN_MAX {
        text.push_str("(more than 10^15)");
        return;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative and within u64: bounded just above"
    )]
    push_thousandths(text, (value.abs() * 1000.0 + 0.5) as u64);
}
