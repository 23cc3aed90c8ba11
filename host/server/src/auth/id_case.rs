//! Whether Abc and abc are one client auth id (rule 7).

use std::borrow::Cow;

use portcullis_domain::{ClientId, IdTooLong};

/// What becomes of an id's case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdCase {
    /// Unicode lower case as `str::to_lowercase` makes it: every character by
    /// its full mapping, the same in every language. Nothing is trimmed and
    /// nothing is composed or decomposed.
    Fold,
    /// As presented.
    Keep,
}

/// Why a text is no client auth id: a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Longer than one may be, after folding.
    #[error(transparent)]
    TooLong(#[from] IdTooLong),
}

impl IdCase {
    /// The id in the case in which it is compared.
    #[must_use]
    pub fn apply(self, id: &str) -> Cow<'_, str> {
        let folded = |c: char| c.is_lowercase() || !c.is_alphabetic();
        match self {
            Self::Keep => Cow::Borrowed(id),
            Self::Fold if id.bytes().all(|byte| byte.is_ascii() && folded(char::from(byte))) => Cow::Borrowed(id),
            Self::Fold => Cow::Owned(id.to_lowercase()),
        }
    }

    /// The client auth id that a presented text stands for.
    ///
    /// # Errors
    /// [`IdError::TooLong`] above 256 bytes, which folding may reach where the
    /// presented text didn't.
    pub fn client_id(self, id: &str) -> Result<ClientId, IdError> {
        Ok(ClientId::new(&self.apply(id))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_takes_every_script_and_trims_nothing() {
        assert_eq!(IdCase::Fold.apply("ÄBC Straße\u{212a}"), "äbc straßek");
        assert_eq!(IdCase::Fold.apply(" abc "), " abc ");
        assert_eq!(IdCase::Keep.apply("Abc"), "Abc");
    }

    #[test]
    fn an_id_is_bounded_after_folding() {
        assert!(IdCase::Fold.client_id(&"A".repeat(256)).is_ok());
        assert!(IdCase::Keep.client_id(&"a".repeat(257)).is_err());
        let grows = "İ".repeat(128);
        assert!(IdCase::Keep.client_id(&grows).is_ok());
        assert!(IdCase::Fold.client_id(&grows).is_err());
    }
}
