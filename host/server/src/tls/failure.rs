//! What a handshake can fail of, in the few words that counters and the log have.

use std::io;

use rustls::Error;

/// Why there is no TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// It took longer than it may.
    Timeout,
    /// It had to go for others: too many were under way, of its source or in all.
    Crowded,
    /// The client went away, or said that it won't go on: it may not believe our certificate.
    Client,
    /// What came isn't TLS.
    NotTls,
    /// No protocol version, cipher or application protocol in common.
    Incompatible,
    /// The client's certificate is missing, isn't believed, or names nobody.
    Certificate,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::Timeout, Self::Crowded, Self::Client, Self::NotTls, Self::Incompatible, Self::Certificate, Self::Other];

    /// Its name for counters and the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Crowded => "crowded",
            Self::Client => "client",
            Self::NotTls => "not-tls",
            Self::Incompatible => "incompatible",
            Self::Certificate => "certificate",
            Self::Other => "other",
        }
    }

    /// What an error of a handshake means.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            // The socket's own, an end among them.
            return Self::Client;
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "rustls may know more errors in the next version")]
        match error {
            Error::AlertReceived(_) => Self::Client,
            Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::PeerSentOversizedRecord => {
                Self::NotTls
            }
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => Self::Certificate,
            _ => Self::Other,
        }
    }
}
