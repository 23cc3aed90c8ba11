//! A client given on the command line as `ID:PASSWORD`.

use std::fmt;

use super::Secret;

/// An id and its plain secret, from the operator.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// The client auth id as given.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?}, …)", self.id)
    }
}

/// Why a text is no client. The text itself is a secret and isn't repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No colon between id and password.
    #[error("no colon")]
    NoColon,
    /// Nothing before the colon.
    #[error("an empty id")]
    IdEmpty,
    /// Nothing after the colon.
    #[error("an empty password")]
    SecretEmpty,
    /// Control characters, which no Basic credentials can hold.
    #[error("control characters")]
    Control,
    /// The id is longer than one may be.
    #[error("an id of more than 256 bytes")]
    IdTooLong,
}

impl Client {
    /// Takes `ID:PASSWORD`, split at the first colon.
    ///
    /// # Errors
    /// [`ClientError`] if nobody could log in with it.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let (id, secret) = text.split_once(':').ok_or(ClientError::NoColon)?;
        if text.chars().any(char::is_control) {
            return Err(ClientError::Control);
        }
        if id.is_empty() {
            return Err(ClientError::IdEmpty);
        }
        if secret.is_empty() {
            return Err(ClientError::SecretEmpty);
        }
        if id.len() > portcullis_domain::event::CLIENT_ID_BYTES_MAX {
            return Err(ClientError::IdTooLong);
        }
        Ok(Self { id: id.to_owned(), secret: Secret::new(secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_colon() {
        let client = Client::parse("clientAuth1:12:34").unwrap();
        assert_eq!((client.id.as_str(), client.secret.expose()), ("clientAuth1", &b"12:34"[..]));
        assert_eq!(format!("{client:?}"), "Client(\"clientAuth1\", …)");
    }

    #[test]
    fn refuses_what_nobody_could_log_in_with() {
        assert_eq!(Client::parse("abc"), Err(ClientError::NoColon));
        assert_eq!(Client::parse(":abc"), Err(ClientError::IdEmpty));
        assert_eq!(Client::parse("abc:"), Err(ClientError::SecretEmpty));
        assert_eq!(Client::parse("a\n:b"), Err(ClientError::Control));
        assert_eq!(Client::parse(&format!("{}:b", "a".repeat(257))), Err(ClientError::IdTooLong));
    }
}
