//! Client certificates: whose are believed, and whom one names.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use portcullis_domain::event::CLIENT_ID_BYTES_MAX;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::read_file;

/// Which field of a certificate names the client auth id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientField {
    /// The subject's common name.
    CommonName,
    /// The alternative name that is a DNS name.
    Dns,
    /// The alternative name that is an e-mail address.
    Email,
    /// The alternative name that is a URI.
    Uri,
}

/// Whose certificates are believed and whether there has to be one.
pub struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    field: ClientField,
    required: bool,
    /// Of what they were made from.
    digest: [u8; 32],
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("field", &self.field).field("required", &self.required).finish_non_exhaustive()
    }
}

/// Why client certificates can't be asked for, or one isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file isn't what it should be.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The certificate doesn't say exactly one such name.
    #[error("it names {found} clients, where exactly one is expected")]
    Names {
        /// How many.
        found: usize,
    },
    /// The name can be no client auth id.
    #[error("its name can be no client auth id")]
    Name,
    /// It can't be read, or doesn't hold now: a session outlives no certificate.
    #[error("it doesn't hold")]
    Invalid,
}

impl Clients {
    /// Believes certificates that the ones in `ca` vouch for and that aren't in
    /// the lists of revoked ones in `crl`.
    ///
    /// # Errors
    /// [`ClientError`], if a file isn't what it should be.
    pub fn load(
        ca: &Path,
        crl: Option<&Path>,
        required: bool,
        field: ClientField,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, ClientError> {
        let mut digest = Sha256::new();
        let mut read = |path: &Path| {
            let bytes = read_file(path).map_err(|error| ClientError::Read { path: path.to_owned(), error })?;
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(&bytes);
            Ok(bytes)
        };
        let (roots, revoked) = (read(ca)?, crl.map(&mut read).transpose()?);
        digest.update([u8::from(required), field as u8]);
        let wrong = |path: &Path, why: String| ClientError::File { path: path.to_owned(), why };
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&roots) {
            let root = root.map_err(|error| wrong(ca, format!("not PEM: {error}")))?;
            store.add(root).map_err(|error| wrong(ca, format!("not a certificate to vouch for others: {error}")))?;
        }
        if store.is_empty() {
            return Err(wrong(ca, "no certificate in it; expected PEM, of those who vouch for clients".to_owned()));
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
        if let (Some(path), Some(revoked)) = (crl, &revoked) {
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(revoked).collect();
            let lists = lists.map_err(|error| wrong(path, format!("not PEM: {error}")))?;
            if lists.is_empty() {
                return Err(wrong(path, "no list of revoked certificates in it; expected PEM".to_owned()));
            }
            // The list of one CA says nothing about the certificates of another.
            builder = builder.with_crls(lists).allow_unknown_revocation_status();
        }
        if !required {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| wrong(crl.unwrap_or(ca), error.to_string()))?;
        Ok(Self { verifier, field, required, digest: digest.finalize().into() })
    }

    /// Whether both believe the same in the same way.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Whether nobody is let in without a certificate.
    #[must_use]
    pub const fn required(&self) -> bool {
        self.required
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Whom a certificate names that has been verified, now or when the session
    /// began that is resumed.
    ///
    /// # Errors
    /// [`ClientError`] if it doesn't name exactly one, or has expired meanwhile.
    pub fn name(&self, certificate: &CertificateDer<'_>, now: Timestamp) -> Result<Arc<str>, ClientError> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| ClientError::Invalid)?;
        let validity = parsed.validity();
        if !(validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now.as_second()) {
            return Err(ClientError::Invalid);
        }
        let names = self.field.of(&parsed);
        match names[..] {
            [name] if is_an_id(name) => Ok(name.into()),
            [_] => Err(ClientError::Name),
            _ => Err(ClientError::Names { found: names.len() }),
        }
    }
}

fn is_an_id(name: &str) -> bool {
    (1..=CLIENT_ID_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

impl ClientField {
    fn of<'c>(self, certificate: &'c X509Certificate<'_>) -> Vec<&'c str> {
        // One that isn't text is no name, and counts: it must not hide behind another.
        if self == Self::CommonName {
            return certificate.subject().iter_common_name().map(|name| name.as_str().unwrap_or("")).collect();
        }
        let name = |alternative: &'c GeneralName<'c>| match (self, alternative) {
            (Self::Dns, GeneralName::DNSName(name))
            | (Self::Email, GeneralName::RFC822Name(name))
            | (Self::Uri, GeneralName::URI(name)) => Some(*name),
            (_, GeneralName::Invalid(tag, _)) if Some(tag.0) == self.tag() => Some(""),
            _ => None,
        };
        alternatives(certificate).filter_map(name).collect()
    }

    /// Of such an alternative name (RFC 5280, section 4.2.1.6).
    const fn tag(self) -> Option<u32> {
        match self {
            Self::CommonName => None,
            Self::Email => Some(1),
            Self::Dns => Some(2),
            Self::Uri => Some(6),
        }
    }
}

fn alternatives<'c>(certificate: &'c X509Certificate<'_>) -> impl Iterator<Item = &'c GeneralName<'c>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.into_iter().flat_map(|extension| extension.value.general_names.iter())
}

/// What a server's certificate says that it is for: alternative names, or the
/// common name where there are none.
pub(super) fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let shown = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    };
    let names: Vec<_> = alternatives(certificate).filter_map(shown).collect();
    if !names.is_empty() {
        return names;
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.filter(|name| super::valid_name(name)).map(str::to_ascii_lowercase).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    /// The names found in a certificate with these alternative names, each a tag and its bytes.
    fn found(field: ClientField, alternatives: &[(u8, &[u8])]) -> Vec<String> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let one = |(tag, bytes): &(u8, &[u8])| [&[0x80 | tag, length(bytes)], *bytes].concat();
        let list = alternatives.iter().flat_map(one).collect::<Vec<_>>();
        let content = [&[0x30, length(&list)], &list[..]].concat();
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
        field.of(&parsed).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn rule_41_a_name_that_is_no_text_counts() {
        for (field, tag) in [(ClientField::Email, 1), (ClientField::Dns, 2), (ClientField::Uri, 6)] {
            let good = (tag, &b"a.example"[..]);
            assert_eq!(found(field, &[good]), ["a.example"]);
            assert_eq!(found(field, &[good, (tag, b"b.\xff")]), ["a.example", ""], "{field:?}");
            // Those of other kinds are none of its own.
            let others = [1, 2, 6].into_iter().filter(|other| *other != tag);
            let others = others.flat_map(|other| [(other, &b"c.example"[..]), (other, b"\xff")]);
            assert_eq!(found(field, &others.chain([good]).collect::<Vec<_>>()), ["a.example"], "{field:?}");
        }
    }
}
