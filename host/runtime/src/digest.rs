//! One number for a plugin's settings: the same values have the same digest on
//! any machine, and no two settings share one.

use sha2::{Digest as _, Sha256};

use crate::settings::SettingValue;

/// SHA-256 of names, types and values, each piece with its length before it.
pub(crate) fn of_settings(settings: &[(String, SettingValue)]) -> [u8; 32] {
    let mut pieces = Pieces(Sha256::new());
    for (name, value) in settings {
        pieces.add(name.as_bytes());
        pieces.add(value.kind().to_string().as_bytes());
        match value {
            SettingValue::Boolean(value) => pieces.add(&[u8::from(*value)]),
            SettingValue::Integer(value) => pieces.add(&value.to_be_bytes()),
            SettingValue::Number(value) => pieces.add(&value.to_bits().to_be_bytes()),
            SettingValue::Text(value) | SettingValue::Json(value) => pieces.add(value.as_bytes()),
            SettingValue::Integers(list) => pieces.list(list, |value| value.to_be_bytes()),
            SettingValue::Numbers(list) => pieces.list(list, |value| value.to_bits().to_be_bytes()),
            SettingValue::Texts(list) => pieces.list(list, String::clone),
        }
    }
    pieces.0.finalize().into()
}

struct Pieces(Sha256);

impl Pieces {
    fn add(&mut self, piece: &[u8]) {
        self.length(piece.len());
        self.0.update(piece);
    }

    fn list<T, B: AsRef<[u8]>>(&mut self, list: &[T], bytes: impl Fn(&T) -> B) {
        self.length(list.len());
        list.iter().for_each(|value| self.add(bytes(value).as_ref()));
    }

    fn length(&mut self, length: usize) {
        self.0.update(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_settings_share_a_digest() {
        let setting = |name: &str, value| (name.to_owned(), value);
        let all = [
            vec![],
            vec![setting("a", SettingValue::Integer(1))],
            vec![setting("a", SettingValue::Number(1.0))],
            vec![setting("a", SettingValue::Text("1".to_owned()))],
            vec![setting("a", SettingValue::Json("1".to_owned()))],
            vec![setting("a", SettingValue::Texts(vec!["12".to_owned(), "3".to_owned()]))],
            vec![setting("a", SettingValue::Texts(vec!["1".to_owned(), "23".to_owned()]))],
            vec![setting("a", SettingValue::Integers(vec![1, 2])), setting("b", SettingValue::Integers(vec![]))],
            vec![setting("a", SettingValue::Integers(vec![1])), setting("b", SettingValue::Integers(vec![2]))],
        ];
        let digests: std::collections::HashSet<_> = all.iter().map(|settings| of_settings(settings)).collect();
        assert_eq!(digests.len(), all.len());
    }
}
