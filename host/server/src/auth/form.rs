//! Login bodies: the one client auth id in an urlencoded or JSON body (rule 7).
//!
//! Whatever an upstream might read in another way is refused: a doubled field,
//! a field by another spelling of its name (see `field_name`), another charset. It must not know how the
//! body was read; the caller bounds it to [`LOGIN_BODY_BYTES_MAX`].

use std::collections::HashSet;
use std::fmt;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Secret;
use super::field_name::{self, same};

/// Longest login body that is read, in bytes.
pub const LOGIN_BODY_BYTES_MAX: usize = 64 << 10;

/// Names of the fields of a login body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormFields<'a> {
    /// Holds the client auth id.
    pub id: &'a str,
    /// Holds the secret, which is needed only for its fingerprint.
    pub secret: &'a str,
}

/// What a login body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The client auth id as presented, neither folded nor bounded.
    pub id: String,
    /// The secret, where there is one.
    pub secret: Option<Secret>,
}

/// Why a login body can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Neither urlencoded nor JSON, or more than one Content-Type.
    #[error("a login body that is neither urlencoded nor JSON")]
    MediaType,
    /// A charset other than UTF-8.
    #[error("a login body in another charset than UTF-8")]
    Charset,
    /// A Content-Encoding other than identity.
    #[error("a compressed login body")]
    Encoding,
    /// Longer than [`LOGIN_BODY_BYTES_MAX`].
    #[error("a login body of more than {LOGIN_BODY_BYTES_MAX} bytes")]
    TooLong,
    /// The body isn't what its type says.
    #[error("a malformed login body")]
    Malformed,
    /// No field holds the id.
    #[error("no field with the id")]
    NoId,
    /// A field that occurs twice, or by another spelling of its name.
    #[error("a field of the login that can be read in two ways")]
    Ambiguous,
    /// The id or the secret isn't text.
    #[error("an id or secret that isn't text")]
    NotText,
    /// The id is empty or holds control characters.
    #[error("an empty id, or one with control characters")]
    IdForm,
}

impl FormError {
    /// The status that answers it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::MediaType | Self::Charset | Self::Encoding => 415,
            Self::TooLong => 413,
            Self::Malformed | Self::NoId | Self::Ambiguous | Self::NotText | Self::IdForm => 400,
        }
    }
}

/// Reads a login body.
///
/// # Errors
/// [`FormError`] if there isn't exactly one way to read it.
pub fn read_login(headers: &HeaderMap, body: &[u8], fields: FormFields<'_>) -> Result<Login, FormError> {
    if body.len() > LOGIN_BODY_BYTES_MAX {
        return Err(FormError::TooLong);
    }
    let identity = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(|value| identity(value.as_bytes())) {
        return Err(FormError::Encoding);
    }
    let found = match body_type(headers)? {
        BodyType::Urlencoded => urlencoded(body, fields)?,
        BodyType::Json => serde_json::from_slice::<JsonFields>(body).map_err(|_| FormError::Malformed)?.pick(fields)?,
    };
    let id = found.id.ok_or(FormError::NoId)?;
    if id.is_empty() || id.chars().any(char::is_control) {
        return Err(FormError::IdForm);
    }
    Ok(Login { id, secret: found.secret.map(Secret::new) })
}

enum BodyType {
    Urlencoded,
    Json,
}

fn body_type(headers: &HeaderMap) -> Result<BodyType, FormError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(FormError::MediaType) };
    let mut parts = value.to_str().map_err(|_| FormError::MediaType)?.split(';');
    let essence = parts.next().unwrap_or_default().trim_ascii();
    let body_type = if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        BodyType::Urlencoded
    } else if essence.eq_ignore_ascii_case("application/json") {
        BodyType::Json
    } else {
        return Err(FormError::MediaType);
    };
    for part in parts {
        let Some((name, value)) = part.split_once('=') else { continue };
        let value = value.trim_ascii().trim_matches('"');
        if name.trim_ascii().eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8") {
            return Err(FormError::Charset);
        }
    }
    Ok(body_type)
}

#[derive(Default)]
struct Found {
    id: Option<String>,
    secret: Option<String>,
}

impl Found {
    /// Takes one field; `value` makes its text only where it is wanted.
    fn take(
        &mut self,
        name: &str,
        fields: FormFields<'_>,
        value: impl FnOnce() -> Result<String, FormError>,
    ) -> Result<(), FormError> {
        let slot = if same(name, fields.id) {
            (&mut self.id, fields.id)
        } else if same(name, fields.secret) {
            (&mut self.secret, fields.secret)
        } else {
            return Ok(());
        };
        if slot.0.is_some() || name != slot.1 {
            return Err(FormError::Ambiguous);
        }
        *slot.0 = Some(value()?);
        Ok(())
    }
}

fn urlencoded(body: &[u8], fields: FormFields<'_>) -> Result<Found, FormError> {
    let mut found = Found::default();
    for pair in body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        if field_name::hides_field(pair, fields) {
            return Err(FormError::Ambiguous);
        }
        let name = field_name::name_of(pair);
        let value = pair.get(name.len() + 1..).unwrap_or_default();
        if field_name::has_u_escape(name) {
            return Err(FormError::Ambiguous);
        }
        let name = text(name)?;
        if name == fields.id && field_name::has_u_escape(value) {
            return Err(FormError::Ambiguous);
        }
        found.take(&name, fields, || text(value))?;
    }
    Ok(found)
}

fn text(raw: &[u8]) -> Result<String, FormError> {
    String::from_utf8(field_name::decode(raw)).map_err(|_| FormError::Malformed)
}

/// The top level of a JSON object; a name that comes twice is remembered as such.
struct JsonFields {
    fields: Vec<(String, JsonValue)>,
    doubled: bool,
}

enum JsonValue {
    Text(String),
    Other,
}

impl JsonFields {
    fn pick(self, fields: FormFields<'_>) -> Result<Found, FormError> {
        if self.doubled {
            return Err(FormError::Ambiguous);
        }
        let mut found = Found::default();
        for (name, value) in self.fields {
            found.take(&name, fields, || match value {
                JsonValue::Text(text) => Ok(text),
                JsonValue::Other => Err(FormError::NotText),
            })?;
        }
        Ok(found)
    }
}

impl<'de> Deserialize<'de> for JsonFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = JsonFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonFields, A::Error> {
                let (mut fields, mut names, mut doubled) = (Vec::new(), HashSet::new(), false);
                while let Some(name) = map.next_key::<String>()? {
                    doubled |= !names.insert(name.clone());
                    fields.push((name, map.next_value()?));
                }
                Ok(JsonFields { fields, doubled })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with('"') {
            return serde_json::from_str(raw.get()).map(Self::Text).map_err(serde::de::Error::custom);
        }
        serde_json::from_str::<IgnoredAny>(raw.get()).map(|_| Self::Other).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const FIELDS: FormFields<'_> = FormFields { id: "username", secret: "password" };
    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";

    fn read(content_type: &str, body: &[u8]) -> Result<Login, FormError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        read_login(&headers, body, FIELDS)
    }

    fn login(id: &str, secret: Option<&str>) -> Result<Login, FormError> {
        Ok(Login { id: id.to_owned(), secret: secret.map(Secret::new) })
    }

    #[test]
    fn finds_id_and_secret() {
        assert_eq!(read(FORM, b"password=s%26t&x=1&user%6Eame=a+b%2Bc"), login("a b+c", Some("s&t")));
        assert_eq!(read(FORM, b"username=a"), login("a", None));
        assert_eq!(
            read(FORM, b"username=a%3Bb&password=%up;q&user_id=1&password_confirmation=x;y&tags%5B%5D=1&x.y=%ff"),
            login("a;b", Some("%up;q"))
        );
        assert_eq!(
            read(JSON, br#"{"username":"a\u0062", "x":[{"username":1}], "password":"s"}"#),
            login("ab", Some("s"))
        );
        assert_eq!(read("Application/JSON; Charset=\"UTF-8\"; v=1", br#"{"username":"a"}"#), login("a", None));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for body in [
            "username=a&username=b",
            "username=a&user%6eame=b",
            "Username=a",
            "username=a&USERNAME=b",
            "username=a&password=1&password=2",
            "u\u{17f}ername=a",
            "username=a&+username=b",
            "username=a&username%00x=b",
            "username=a&username%5B%5D=b",
            "username=a&%5Busername%5D=b",
            "username=a&x=1;username=b",
            "username=a&x=1;%75sername",
            "username=a&password=1;password=2",
            "username=a;b",
            "username;x=1&username=a",
            "username=a&%u0075sername=b",
            "username=%u0061",
        ] {
            assert_eq!(read(FORM, body.as_bytes()), Err(FormError::Ambiguous), "{body}");
        }
        for body in [
            r#"{"username":"a","username":"b"}"#,
            r#"{"username":"a","user\u006eame":"b"}"#,
            r#"{"UserName":"a"}"#,
            r#"{"username":"a","x":1,"x":2}"#,
            r#"{"username":"a","username\u0000":"b"}"#,
        ] {
            assert_eq!(read(JSON, body.as_bytes()), Err(FormError::Ambiguous), "{body}");
        }
    }

    #[test]
    fn what_is_no_login_is_refused() {
        assert_eq!(read(FORM, b"user=a"), Err(FormError::NoId));
        assert_eq!(read(FORM, b""), Err(FormError::NoId));
        assert_eq!(read(FORM, b"username="), Err(FormError::IdForm));
        assert_eq!(read(FORM, b"username=a%0ab"), Err(FormError::IdForm));
        assert_eq!(read(FORM, b"username=%ff"), Err(FormError::Malformed));
        assert_eq!(read(JSON, br#"{"username":1}"#), Err(FormError::NotText));
        for body in
            [&b"[]"[..], b"", b"{", br#"{"username":"a"} x"#, b"\xff", br#""username""#, br#"{"username":"\ud800"}"#]
        {
            assert_eq!(read(JSON, body), Err(FormError::Malformed), "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(read(FORM, &vec![b'a'; LOGIN_BODY_BYTES_MAX + 1]), Err(FormError::TooLong));
    }

    #[test]
    fn other_types_charsets_and_encodings_are_unsupported() {
        assert_eq!(read("multipart/form-data; boundary=x", b""), Err(FormError::MediaType));
        assert_eq!(read("text/plain", b"username=a"), Err(FormError::MediaType));
        assert_eq!(read("application/json; charset=utf-16", b"{}"), Err(FormError::Charset));
        assert_eq!(read_login(&HeaderMap::new(), b"username=a", FIELDS), Err(FormError::MediaType));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(read_login(&headers, b"username=a", FIELDS), Err(FormError::Encoding));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("identity"));
        assert_eq!(read_login(&headers, b"username=a", FIELDS), login("a", None));
        headers.append(CONTENT_TYPE, HeaderValue::from_static(JSON));
        assert_eq!(read_login(&headers, b"username=a", FIELDS), Err(FormError::MediaType));
        assert_eq!(FormError::Encoding.status(), 415);
    }

    proptest! {
        #[test]
        fn both_encodings_give_back_what_was_sent(id in "[^\\p{Cc}]{1,40}", secret in ".{0,20}") {
            let form = form_urlencoded::Serializer::new(String::new())
                .append_pair("username", &id).append_pair("password", &secret).finish();
            prop_assert_eq!(read(FORM, form.as_bytes()), login(&id, Some(&secret)));
            let json = serde_json::json!({ "username": id, "password": secret }).to_string();
            prop_assert_eq!(read(JSON, json.as_bytes()), login(&id, Some(&secret)));
        }

        #[test]
        fn no_body_is_too_strange_to_be_answered(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(FORM, &body);
            let _ = read(JSON, &body);
        }
    }
}
