//! The Authorization header: Basic credentials, or the reason why not (rule 5).
//!
//! It must not know whether the credentials are right.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// A secret as it was presented: any bytes but control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for comparing and hashing.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An id and a secret, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicCredentials {
    /// The client auth id as presented, neither folded nor bounded.
    pub id: String,
    /// The secret.
    pub secret: Secret,
}

/// What a request presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// No Authorization header.
    Nothing,
    /// One of another scheme.
    NotBasic,
    /// Basic credentials.
    Basic(BasicCredentials),
}

/// Why an Authorization header is malformed: a 400, and no attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BasicError {
    /// More than one header: upstream and host might each look at another.
    #[error("more than one Authorization header")]
    Several,
    /// Not a scheme followed by credentials.
    #[error("an Authorization header without a scheme")]
    NoScheme,
    /// The credentials aren't padded standard base64.
    #[error("Basic credentials that aren't base64")]
    NotBase64,
    /// There is no colon between id and secret.
    #[error("Basic credentials without a colon")]
    NoColon,
    /// The id isn't UTF-8.
    #[error("an id that isn't UTF-8")]
    IdNotUtf8,
    /// The id is empty.
    #[error("an empty id")]
    IdEmpty,
    /// Control characters in id or secret.
    #[error("control characters in id or secret")]
    Control,
}

impl Presented {
    /// Reads a request's headers.
    ///
    /// # Errors
    /// [`BasicError`] if there is an Authorization header that can't be read in
    /// exactly one way.
    pub fn read(headers: &HeaderMap) -> Result<Self, BasicError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Self::Nothing) };
        if values.next().is_some() {
            return Err(BasicError::Several);
        }
        let value = value.as_bytes().trim_ascii();
        let scheme_end = value.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
        let (scheme, rest) = value.split_at(scheme_end);
        if scheme.is_empty() {
            return Err(BasicError::NoScheme);
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            // `Basic,…` or `Basic"…` would be read as Basic by a lenient upstream.
            let token = scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte));
            return if token { Ok(Self::NotBasic) } else { Err(BasicError::NoScheme) };
        }
        let decoded = STANDARD.decode(rest.trim_ascii()).map_err(|_| BasicError::NotBase64)?;
        let colon = decoded.iter().position(|&byte| byte == b':').ok_or(BasicError::NoColon)?;
        let (id, secret) = (&decoded[..colon], &decoded[colon + 1..]);
        let id = std::str::from_utf8(id).map_err(|_| BasicError::IdNotUtf8)?;
        if id.chars().any(char::is_control) || secret.iter().any(u8::is_ascii_control) {
            return Err(BasicError::Control);
        }
        if id.is_empty() {
            return Err(BasicError::IdEmpty);
        }
        Ok(Self::Basic(BasicCredentials { id: id.to_owned(), secret: Secret::new(secret) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn read(values: &[&[u8]]) -> Result<Presented, BasicError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        Presented::read(&headers)
    }

    fn basic(pair: &[u8]) -> Result<Presented, BasicError> {
        read(&[format!("Basic {}", STANDARD.encode(pair)).as_bytes()])
    }

    #[test]
    fn the_scheme_is_taken_in_any_case() {
        for scheme in ["Basic", "basic", "BASIC"] {
            let presented = read(&[format!("{scheme}  YTpiOmM=").as_bytes()]).unwrap();
            let credentials = BasicCredentials { id: "a".to_owned(), secret: Secret::new("b:c") };
            assert_eq!(presented, Presented::Basic(credentials));
        }
    }

    #[test]
    fn other_schemes_and_no_header_are_no_credentials() {
        assert_eq!(read(&[]), Ok(Presented::Nothing));
        assert_eq!(read(&[b"Bearer abc"]), Ok(Presented::NotBasic));
        assert_eq!(read(&[b"Basically YTpi"]), Ok(Presented::NotBasic));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_malformed() {
        assert_eq!(read(&[b"Basic YTpi", b"Basic YTpi"]), Err(BasicError::Several));
        assert_eq!(read(&[b"Bearer x", b"Basic YTpi"]), Err(BasicError::Several));
        assert_eq!(read(&[b"Basic,YTpi"]), Err(BasicError::NoScheme));
        assert_eq!(read(&[b""]), Err(BasicError::NoScheme));
        for wrong in
            [&b"Basic"[..], b"Basic YTpiYw", b"Basic YTp!", b"Basic YTpi YTpi", b"Basic YTpiYx==", b"Basic YT-_"]
        {
            let result = read(&[wrong]);
            assert!(matches!(result, Err(BasicError::NotBase64 | BasicError::NoColon)), "{result:?}");
        }
        assert_eq!(basic(b"ab"), Err(BasicError::NoColon));
        assert_eq!(basic(b":b"), Err(BasicError::IdEmpty));
        assert_eq!(basic(b"\xff:b"), Err(BasicError::IdNotUtf8));
        assert_eq!(basic(b"a\n:b"), Err(BasicError::Control));
        assert_eq!(basic(b"a\xc2\x85:b"), Err(BasicError::Control));
        assert_eq!(basic(b"a:b\0"), Err(BasicError::Control));
    }

    #[test]
    fn a_secret_never_shows_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    proptest! {
        #[test]
        fn whatever_is_sent_comes_back(id in "[^:\\p{Cc}]{1,40}", secret in "[^\\p{Cc}]{0,40}") {
            let presented = basic(format!("{id}:{secret}").as_bytes()).unwrap();
            prop_assert_eq!(presented, Presented::Basic(BasicCredentials { id, secret: Secret::new(secret) }));
        }

        #[test]
        fn no_header_is_too_strange_to_be_answered(value in "[\\x20-\\x7e]{0,80}") {
            let _ = read(&[value.as_bytes()]);
        }
    }
}
