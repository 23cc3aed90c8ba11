//! Which names of fields some upstream takes for the id's or the secret's
//! (rule 7), in a query and in a body. It must not know what the fields hold.
//!
//! PHP cuts spaces off a name's beginning and ends it at a NUL, and `.`, ` ` and
//! an open `[` are `_` to it; PHP, Rack and qs read `id[]` and `[id]` as `id`; a
//! Go program's JSON and ASP.NET take any letter case, and ASP.NET `%u0069` for
//! `i`; Rack 2 and old Pythons end a field at `;` too.

use std::borrow::Cow;

use super::FormFields;

/// Whether some upstream takes `name` for `field`.
pub(super) fn same(name: &str, field: &str) -> bool {
    if name == field {
        return true;
    }
    let name = name.split('\0').next().unwrap_or_default().trim_start();
    let (name, field) = (fold(name), fold(field));
    is_spelled(&name, &field) || is_spelled(name.trim_start_matches(['[', ']']), &field)
}

/// Whether one of a query's names can be read as one of the login's fields.
/// Many an upstream lets it override the body's, where the id is read: a login
/// with one is to be refused.
#[must_use]
pub fn query_names_login(query: Option<&str>, fields: FormFields<'_>) -> bool {
    let pieces = query.unwrap_or_default().as_bytes().split(|byte| matches!(byte, b'&' | b';'));
    pieces.filter(|piece| !piece.is_empty()).any(|piece| names_login(name_of(piece), fields))
}

/// Whether a raw pair of a body, split at `;` too, has a login's field that it
/// hasn't when split at `&` alone, or has the id shortened.
pub(super) fn hides_field(pair: &[u8], fields: FormFields<'_>) -> bool {
    if !pair.contains(&b';') {
        return false;
    }
    pair.split(|&byte| byte == b';').enumerate().any(|(at, piece)| {
        let name = name_of(piece);
        if at == 0 && name.len() < piece.len() {
            // The same name either way, but the value ends here; a secret may, since nobody is counted by it.
            return same(&String::from_utf8_lossy(&decode(name)), fields.id);
        }
        names_login(name, fields)
    })
}

fn names_login(raw: &[u8], fields: FormFields<'_>) -> bool {
    let name = decode(raw);
    let name = String::from_utf8_lossy(&name);
    has_u_escape(raw) || same(&name, fields.id) || same(&name, fields.secret)
}

/// Whether a raw text holds `%u`, which is nothing but text to all but ASP.NET.
/// Whoever encodes properly writes `%25u`.
pub(super) fn has_u_escape(raw: &[u8]) -> bool {
    raw.windows(2).any(|pair| pair.eq_ignore_ascii_case(b"%u"))
}

/// What comes before a raw pair's `=`.
pub(super) fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|&byte| byte == b'=').next().unwrap_or_default()
}

/// Decodes `+` and percent once.
pub(super) fn decode(text: &[u8]) -> Vec<u8> {
    let spaced: Cow<'_, [u8]> = if text.contains(&b'+') {
        text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect()
    } else {
        Cow::Borrowed(text)
    };
    percent_encoding::percent_decode(&spaced).collect()
}

/// Upper case first: Go takes `ſ` for `s`.
fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.to_uppercase().to_lowercase())
}

/// Whether a folded name is that of a folded field or of something within it.
fn is_spelled(name: &str, field: &str) -> bool {
    let flat = |c: char| if matches!(c, '.' | ' ' | '[') { '_' } else { c };
    let kept = |c: &char| *c != ']';
    let mut name = name.chars().filter(kept);
    let begins = field.chars().filter(kept).all(|wanted| name.next().is_some_and(|found| flat(found) == flat(wanted)));
    begins && matches!(name.next(), None | Some('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: FormFields<'_> = FormFields { id: "user_name", secret: "password" };

    #[test]
    fn a_field_has_many_names() {
        for name in [
            "user_name",
            "USER_NAME",
            "u\u{17f}er_name",
            "user.name",
            "user name",
            "user[name",
            "user[name]",
            "  user_name",
            "user_name\0x",
            "user_name[]",
            "user_name[0][x]",
            "[user_name]",
            "]user_name",
            "user_name]",
        ] {
            assert!(same(name, "user_name"), "{name:?}");
        }
        for name in
            ["", "[", "user", "username", "user_name2", "user_name_again", "x_user_name", "user_name.x", "\0user_name"]
        {
            assert!(!same(name, "user_name"), "{name:?}");
        }
        assert!(same("user[login]", "user[login]") && same("user[login][]", "user[login]"));
        assert!(!same("user[remember]", "user[login]") && !same("user", "user[login]"));
    }

    #[test]
    fn a_query_may_not_name_the_login() {
        for query in [
            "user_name=b",
            "user_name",
            "x=1&user%5Fname=b",
            "x=1;user_name=b",
            "user.name=b",
            "+user+name=b",
            "user_name%00=b",
            "user_name%5b%5d=b",
            "PASSWORD=b",
            "%u0075ser_name=b",
            "user_name%00%ff=b",
        ] {
            assert!(query_names_login(Some(query), FIELDS), "{query}");
        }
        for query in [None, Some(""), Some("next=/user_name&x=user_name;y=%ff&100%"), Some("=user_name"), Some("&&;")] {
            assert!(!query_names_login(query, FIELDS), "{query:?}");
        }
    }
}
