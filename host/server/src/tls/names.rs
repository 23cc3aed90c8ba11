//! Which names something is for. It must not know what.

use std::collections::HashMap;
use std::net::IpAddr;

/// Names, with `*.` for any one label in front, and addresses; whatever is under
/// them, in the order in which it came.
#[derive(Clone, Debug)]
pub struct Names<T> {
    exact: HashMap<String, Vec<T>>,
    /// Without the `*.`.
    wild: HashMap<String, Vec<T>>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wild: HashMap::new() }
    }
}

impl<T> Names<T> {
    /// Puts one more under a name.
    pub fn insert(&mut self, name: &str, what: T) {
        let (map, name) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wild, rest),
            None => (&mut self.exact, name),
        };
        map.entry(name.to_ascii_lowercase()).or_default().push(what);
    }

    /// What is under a name, whatever its letters' case and with or without the
    /// root's dot: under itself, else under its domain's `*.`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&[T]> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let found = self.exact.get(&name).or_else(|| {
            let (label, rest) = name.split_once('.')?;
            // An address has no labels.
            let is_label = !label.is_empty() && name.parse::<IpAddr>().is_err();
            is_label.then(|| self.wild.get(rest))?
        });
        found.map(Vec::as_slice)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty()
    }
}

/// Whether an operator may write this: a name of letters, digits, `-` and `_` in
/// labels of at most 63, perhaps behind `*.`.
#[must_use]
pub fn valid_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(of_name);
    rest.len() <= 253 && rest.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_before_a_wildcard_and_a_wildcard_is_one_label() {
        let mut names = Names::default();
        for (name, what) in [("example.org", 1), ("*.example.org", 2), ("www.example.org", 3), ("192.0.2.1", 4)] {
            names.insert(name, what);
        }
        names.insert("WWW.example.org", 5);
        for (name, found) in [
            ("example.org", &[1][..]),
            ("EXAMPLE.org.", &[1]),
            ("api.example.org", &[2]),
            ("www.example.org", &[3, 5]),
            ("192.0.2.1", &[4]),
        ] {
            assert_eq!(names.find(name), Some(found), "{name}");
        }
        for name in ["a.b.example.org", "org", "", ".", ".example.org", "2.0.2.1", "xexample.org", "*.*.example.org"] {
            assert_eq!(names.find(name), None, "{name}");
        }
    }

    #[test]
    fn names_that_an_operator_may_write() {
        for good in ["a", "a.b", "*.a.b", "xn--abc.de", "a_b.c", "A-1"] {
            assert!(valid_name(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "*", "*.", "a.*.b", "a b", "a/b", "ä.de", &"a".repeat(64)] {
            assert!(!valid_name(bad), "{bad}");
        }
    }
}
