//! Whether Abc and abc are one client auth id (rule 7).

use std::borrow::Cow;

use portcullis_domain::{ClientId, IdTooLong};

/// What becomes of an id's case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdCase {
    /// Unicode upper case and then lower case, every character by its full
    /// mapping, the same in every language: `ſ` is `s`, `ß` is `ss`, and each
    /// sigma is one. White space at both ends is trimmed. Nothing is composed
    /// or decomposed.
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
    /// Nothing but white space, of which folding leaves nothing.
    #[error("a blank client auth id")]
    Blank,
}

impl IdCase {
    /// The id in the case in which it is compared.
    #[must_use]
    pub fn apply(self, id: &str) -> Cow<'_, str> {
        let folded = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        match self {
            Self::Keep => Cow::Borrowed(id),
            Self::Fold if id.bytes().all(folded) => Cow::Borrowed(id.trim()),
            Self::Fold => Cow::Owned(id.trim().to_uppercase().to_lowercase()),
        }
    }

    /// The client auth id that a presented text stands for.
    ///
    /// # Errors
    /// [`IdError::TooLong`] above 256 bytes, which folding may reach where the
    /// presented text didn't; [`IdError::Blank`] if folding leaves nothing.
    pub fn client_id(self, id: &str) -> Result<ClientId, IdError> {
        let applied = self.apply(id);
        if applied.is_empty() && !id.is_empty() {
            return Err(IdError::Blank);
        }
        Ok(ClientId::new(&applied)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_takes_every_script_and_trims_the_ends() {
        for (id, folded) in [
            ("\u{c4}BC Stra\u{df}e\u{212a}", "\u{e4}bc strassek"),
            ("ju\u{17f}tu\u{17f}", "justus"),
            ("\u{39f}\u{394}\u{39f}\u{3a3}", "\u{3bf}\u{3b4}\u{3bf}\u{3c2}"),
            ("\u{3bf}\u{3b4}\u{3bf}\u{3c3}", "\u{3bf}\u{3b4}\u{3bf}\u{3c2}"),
            (" abc\t", "abc"),
            ("\u{a0}\u{3000}Abc d\u{2003}", "abc d"),
        ] {
            assert_eq!(IdCase::Fold.apply(id), folded, "{id:?}");
            assert_eq!(IdCase::Fold.apply(folded), folded, "once folded, always folded");
        }
        assert_eq!(IdCase::Keep.apply(" Abc"), " Abc");
        assert_eq!(IdCase::Fold.client_id(" \u{a0}"), Err(IdError::Blank));
        assert!(IdCase::Keep.client_id(" ").is_ok());
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
