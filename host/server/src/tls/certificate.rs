//! A certificate of ours with its chain and key, as files hold them.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::client;
use super::read_file;

/// How long before its end a certificate is warned about.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// A certificate that can be shown to clients.
pub struct Certificate {
    file: PathBuf,
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    key_is_open: Option<PathBuf>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("file", &self.file).field("names", &self.names).finish_non_exhaustive()
    }
}

/// Why a certificate can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file isn't PEM.
    #[error("{}: not PEM: {why}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There is no certificate in it.
    #[error("{}: no certificate in it; expected PEM, the server's own first, then those that lead to its CA", .0.display())]
    NoCertificate(PathBuf),
    /// There is no key in it.
    #[error("{}: no private key in it; expected PEM that isn't encrypted", .0.display())]
    NoKey(PathBuf),
    /// The certificate can't be read.
    #[error("{}: its certificate can't be used: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The key can't be used.
    #[error("{}: its key can't be used: {why}; expected RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Key and certificate don't belong together.
    #[error("{} isn't the key of the certificate in {}", key.display(), file.display())]
    Mismatch {
        /// The certificate.
        file: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

impl CertificateError {
    /// Whether it is about the key's file.
    #[must_use]
    pub const fn is_about_the_key(&self) -> bool {
        matches!(self, Self::NoKey(_) | Self::Key { .. } | Self::Mismatch { .. })
    }
}

impl Certificate {
    /// Reads the chain in `file` and the key in `key`, or in `file` too. With
    /// `names` it is shown for these, else for those that it says itself.
    ///
    /// # Errors
    /// [`CertificateError`], also if key and certificate don't belong together.
    pub fn load(
        file: &Path,
        key: Option<&Path>,
        names: &[String],
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |error| CertificateError::Read { path, error }
        };
        let bytes = read_file(file).map_err(unreadable(file))?;
        let chain = chain(file, &bytes)?;
        let key_file = key.unwrap_or(file);
        let key_bytes = match key {
            Some(key) => read_file(key).map_err(unreadable(key))?,
            None => bytes,
        };
        let key = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|error| no_key(key_file, &error))?;
        let unusable = |why: String| CertificateError::Unusable { path: file.to_owned(), why };
        let first = chain.first().ok_or_else(|| CertificateError::NoCertificate(file.to_owned()))?.clone();
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| no_pair(file, key_file, &error))?;
        let (_, parsed) = X509Certificate::from_der(&first).map_err(|error| unusable(error.to_string()))?;
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| unusable(error.to_string()))
        };
        let validity = parsed.validity();
        Ok(Self {
            names: if names.is_empty() { client::names_of(&parsed) } else { names.to_vec() },
            not_before: at(validity.not_before)?,
            not_after: at(validity.not_after)?,
            key_is_open: is_open(key_file).then(|| key_file.to_owned()),
            file: file.to_owned(),
            key: Arc::new(key),
        })
    }

    /// The file that it comes from.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What it is shown for: names in lower case, `*.` for one label, and addresses.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The last moment at which it holds.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub(super) const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// What an operator should hear about it.
    #[must_use]
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let mut warnings = Vec::new();
        let file = self.file.display();
        let (begins, ends) = (self.not_before, self.not_after);
        if now > ends {
            warnings.push(format!("{file}: THE CERTIFICATE HAS EXPIRED, on {ends}: clients refuse it"));
        } else if now < begins {
            warnings.push(format!("{file}: the certificate holds from {begins} on: clients refuse it until then"));
        } else if ends.duration_since(now).unsigned_abs() < EXPIRY_WARNING {
            warnings.push(format!("{file}: the certificate expires soon, on {ends}"));
        }
        if self.names.is_empty() {
            warnings.push(format!("{file}: the certificate says no name that it is for, and clients refuse it"));
        }
        if let Some(key) = &self.key_is_open {
            warnings.push(format!("{}: every user of this machine can read this private key", key.display()));
        }
        warnings
    }
}

fn chain(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = chain.map_err(|error| CertificateError::Pem { path: file.to_owned(), why: error.to_string() })?;
    if chain.is_empty() { Err(CertificateError::NoCertificate(file.to_owned())) } else { Ok(chain) }
}

fn no_key(file: &Path, error: &pem::Error) -> CertificateError {
    if matches!(error, pem::Error::NoItemsFound) {
        return CertificateError::NoKey(file.to_owned());
    }
    CertificateError::Pem { path: file.to_owned(), why: error.to_string() }
}

fn no_pair(file: &Path, key: &Path, error: &Error) -> CertificateError {
    if matches!(error, Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) {
        return CertificateError::Mismatch { file: file.to_owned(), key: key.to_owned() };
    }
    if let Error::InvalidCertificate(error) = error {
        return CertificateError::Unusable { path: file.to_owned(), why: error.to_string() };
    }
    CertificateError::Key { path: key.to_owned(), why: error.to_string() }
}

fn is_open(key: &Path) -> bool {
    std::fs::metadata(key).is_ok_and(|of| of.permissions().mode() & 0o004 != 0)
}
