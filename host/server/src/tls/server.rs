//! Our side of TLS: which certificate is shown, what is offered, and which
//! sessions go on.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{
    ClientHello, NoClientAuth, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};

use super::{Certificate, Clients, Names};

/// HTTP/2 by its name in ALPN.
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 by its name in ALPN.
pub const ALPN_H1: &[u8] = b"http/1.1";

/// Sessions of TLS 1.2 clients without tickets that are remembered; the rest is with the clients.
const SESSIONS_MAX: usize = 1024;
/// Tickets that a client of TLS 1.3 gets: browsers open a few connections at once.
const TICKETS: usize = 2;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("TLS can't be set up: {0}")]
pub struct TlsError(#[from] Error);

/// What a listener shows to clients and asks of them.
pub struct Tls {
    config: Arc<ServerConfig>,
    certificates: Vec<Arc<Certificate>>,
    clients: Option<Arc<Clients>>,
    resumption: Resumption,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Tls");
        shown.field("certificates", &self.certificates).field("clients", &self.clients).finish_non_exhaustive()
    }
}

/// What sessions are resumed by: keys of tickets, and a memory for those who
/// take none. A session carries who the client was found to be, so it may not
/// outlive a change of whom we believe.
#[derive(Clone)]
struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Resumption {
    fn new() -> Result<Self, Error> {
        Ok(Self { tickets: Ticketer::new()?, sessions: ServerSessionMemoryCache::new(SESSIONS_MAX) })
    }
}

impl Tls {
    /// The cryptography that all of it goes by: rustls' own choice of ciphers,
    /// all of them with forward secrecy and authenticated.
    #[must_use]
    pub fn provider() -> Arc<CryptoProvider> {
        Arc::new(default_provider())
    }

    /// Shows one of `certificates`, of which the first is for whoever asks for
    /// none of the others' names. Sessions begun with `before` go on unless it
    /// believed other clients.
    ///
    /// # Errors
    /// [`TlsError`], if the system has no random numbers.
    pub fn new(
        certificates: Vec<Arc<Certificate>>,
        clients: Option<Arc<Clients>>,
        provider: &Arc<CryptoProvider>,
        before: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let same = |before: &&Self| match (&before.clients, &clients) {
            (Some(one), Some(other)) => one.same_as(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let resumption = match before.filter(same) {
            Some(before) => before.resumption.clone(),
            None => Resumption::new()?,
        };
        let verifier = clients.as_ref().map_or_else(|| Arc::new(NoClientAuth) as _, |clients| clients.verifier());
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Resolver::new(&certificates)));
        config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_H1.to_vec()];
        config.ticketer = Arc::clone(&resumption.tickets);
        config.session_storage = Arc::clone(&resumption.sessions);
        config.send_tls13_tickets = TICKETS;
        // All are strong; in whose order they are tried matters to those who audit servers.
        config.ignore_client_order = true;
        Ok(Self { config: Arc::new(config), certificates, clients, resumption })
    }

    /// As rustls takes it.
    #[must_use]
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Its certificates, the default first.
    #[must_use]
    pub fn certificates(&self) -> &[Arc<Certificate>] {
        &self.certificates
    }

    /// Whose certificates are believed, if any are asked for.
    #[must_use]
    pub const fn clients(&self) -> Option<&Arc<Clients>> {
        self.clients.as_ref()
    }
}

/// Chooses the certificate by the name that a client asks for and by what it can verify.
struct Resolver {
    by_name: Names<Arc<CertifiedKey>>,
    /// For any other name, or none: the first, and others for the same names with other kinds of keys.
    default: Vec<Arc<CertifiedKey>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    fn new(certificates: &[Arc<Certificate>]) -> Self {
        let mut by_name = Names::default();
        for certificate in certificates {
            certificate.names().iter().for_each(|name| by_name.insert(name, Arc::clone(certificate.key())));
        }
        let first = certificates.first().map(|first| first.names());
        let like_first = certificates.iter().filter(|certificate| Some(certificate.names()) == first);
        Self { by_name, default: like_first.map(|certificate| Arc::clone(certificate.key())).collect() }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = hello.server_name().and_then(|name| self.by_name.find(name)).unwrap_or(&self.default);
        let usable = keys.iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or(keys.first()).cloned()
    }
}
