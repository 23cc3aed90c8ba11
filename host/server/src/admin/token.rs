//! The token that the administration over TCP takes.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Shortest token: shorter ones could be guessed.
pub(super) const TOKEN_BYTES_MIN: usize = 16;
/// Longest token.
pub(super) const TOKEN_BYTES_MAX: usize = 1024;

/// A token as it is kept in a file: shown nowhere.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others can read it.
    #[error("{}: others can read it (mode {mode:03o}); chmod 600 makes it its owner's alone", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else.
    #[error(
        "{}: expected one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} printable ASCII characters without spaces, \
         such as `head -c 32 /dev/urandom | base64` makes",
        path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the token of a file that nobody else can read.
///
/// # Errors
/// [`TokenError`].
pub fn read_token(path: &Path) -> Result<Token, TokenError> {
    let wrong = |error| TokenError::Read { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(wrong)?;
    let found = file.metadata().map_err(wrong)?;
    if found.mode() & 0o077 != 0 {
        return Err(TokenError::Open { path: path.to_owned(), mode: found.mode() & 0o777 });
    }
    let mut text = Vec::new();
    // One more than a token and its newline may have shows that it is too long.
    let most = u64::try_from(TOKEN_BYTES_MAX + 3).unwrap_or(u64::MAX);
    file.by_ref().take(most).read_to_end(&mut text).map_err(wrong)?;
    let token = text.trim_ascii_end();
    let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
    let form = || TokenError::Form { path: path.to_owned() };
    if !fits || !token.iter().all(u8::is_ascii_graphic) {
        return Err(form());
    }
    String::from_utf8(token.to_vec()).map(Token).map_err(|_| form())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_one_line_that_nobody_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_token(&path)
        };
        assert_eq!(read("0123456789abcdef\n", 0o600).unwrap().expose(), "0123456789abcdef");
        assert_eq!(read("0123456789abcdef\r\n", 0o400).unwrap().expose(), "0123456789abcdef");
        assert!(matches!(read("0123456789abcdef", 0o640), Err(TokenError::Open { mode: 0o640, .. })));
        for text in ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcdef\nsecond", "0123456789abcdé"] {
            assert!(matches!(read(text, 0o600), Err(TokenError::Form { .. })), "{text:?}");
        }
        assert!(matches!(read(&"x".repeat(1025), 0o600), Err(TokenError::Form { .. })));
        assert!(read(&"x".repeat(1024), 0o600).is_ok());
        assert!(!format!("{:?}", read("0123456789abcdef", 0o600).unwrap()).contains("0123"));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read_token(&path), Err(TokenError::Read { .. })));
    }
}
