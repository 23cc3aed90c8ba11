//! TLS as others speak it: a CA of the test's own, and clients that choose
//! version, name, protocol and certificate, and from where they come.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned};

use crate::client::{Connection, Request};
use crate::wait::DEADLINE;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Somebody who vouches for servers and clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, as PEM.
    pub pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Pair {
    /// Both in one file.
    #[must_use]
    pub fn in_one(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

impl Authority {
    /// One by that name.
    ///
    /// # Panics
    /// If there are no random numbers.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server's certificate for these names, from yesterday to next year.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Pair {
        self.server_until(names, 365)
    }

    /// One that expires, or has expired, so many days from now.
    ///
    /// # Panics
    /// If a name can be none.
    #[must_use]
    pub fn server_until(&self, names: &[&str], days: i32) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, days)
    }

    /// A client's certificate by that common name, if it isn't empty, with these
    /// alternative names.
    ///
    /// # Panics
    /// If a name can be none.
    #[must_use]
    pub fn client(&self, common_name: &str, alternatives: Vec<SanType>) -> Pair {
        self.client_until(common_name, alternatives, 365, 1)
    }

    /// One that expires, or has expired, so many days from now; by its number.
    ///
    /// # Panics
    /// If a name can be none.
    #[must_use]
    pub fn client_until(&self, common_name: &str, alternatives: Vec<SanType>, days: i32, number: u64) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !common_name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        params.subject_alt_names = alternatives;
        params.serial_number = Some(SerialNumber::from(number));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, days)
    }

    fn sign(&self, mut params: CertificateParams, days: i32) -> Pair {
        let now = SystemTime::now();
        let distance = DAY * days.unsigned_abs();
        let end = if days < 0 { now - distance } else { now + distance };
        params.not_before = (end.min(now) - DAY).into();
        params.not_after = end.into();
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// The list in which it says that the certificates of these numbers count no more.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn revokes(&self, numbers: &[u64]) -> String {
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: (SystemTime::now() - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (SystemTime::now() - DAY).into(),
            next_update: (SystemTime::now() + DAY).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2 and nothing else.
    V12,
    /// 1.3 and nothing else.
    V13,
}

/// A client of TLS. Its connections resume each other's sessions.
#[derive(Clone)]
pub struct TlsClient {
    roots: Arc<RootCertStore>,
    name: String,
    version: Option<TlsVersion>,
    alpn: Vec<Vec<u8>>,
    certificate: Option<Pair>,
    from: Option<IpAddr>,
    /// Made once: rustls resumes no session of another configuration.
    config: OnceLock<Arc<ClientConfig>>,
}

/// A connection of one.
pub type TlsConnection = Connection<StreamOwned<ClientConnection, TcpStream>>;

impl TlsClient {
    /// One that believes `authority` and asks for that name.
    ///
    /// # Panics
    /// If the authority is none.
    pub fn new(authority: &Authority, name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        Self {
            roots: Arc::new(roots),
            name: name.to_owned(),
            version: None,
            alpn: Vec::new(),
            certificate: None,
            from: None,
            config: OnceLock::new(),
        }
    }

    /// Asking for another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// With that version alone.
    #[must_use]
    pub fn version(mut self, version: TlsVersion) -> Self {
        self.config = OnceLock::new();
        self.version = Some(version);
        self
    }

    /// Offering these protocols.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.config = OnceLock::new();
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Showing that certificate.
    #[must_use]
    pub fn certificate(mut self, pair: &Pair) -> Self {
        self.config = OnceLock::new();
        self.certificate = Some(pair.clone());
        self
    }

    /// From that address of the loopback.
    #[must_use]
    pub const fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// If nobody does on the other side.
    ///
    /// # Panics
    /// If the client itself can't be.
    pub fn try_connect(&self, address: SocketAddr) -> io::Result<TlsConnection> {
        let stream = match self.from {
            None => TcpStream::connect(address)?,
            Some(from) => connect_from(from, address)?,
        };
        self.over(stream)
    }

    /// Shakes hands over a stream.
    ///
    /// # Errors
    /// If nobody does on the other side.
    ///
    /// # Panics
    /// If the client itself can't be.
    pub fn over(&self, mut stream: TcpStream) -> io::Result<TlsConnection> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let mut session = ClientConnection::new(self.config(), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Connection::over(StreamOwned::new(session, stream)))
    }

    /// What it says first, whole.
    ///
    /// # Panics
    /// If the client itself can't be.
    #[must_use]
    pub fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let mut hello = Vec::new();
        ClientConnection::new(self.config(), name).unwrap().write_tls(&mut hello).unwrap();
        hello
    }

    /// Connects and shakes hands.
    ///
    /// # Panics
    /// If nobody does on the other side.
    #[must_use]
    #[track_caller]
    pub fn connect(&self, address: SocketAddr) -> TlsConnection {
        self.try_connect(address).unwrap_or_else(|error| panic!("no TLS with {address}: {error}"))
    }

    /// A GET on a connection of its own: its status. With TLS 1.3 a server that
    /// doesn't want a client says so only after the handshake.
    ///
    /// # Errors
    /// If there is no whole reply.
    pub fn try_get(&self, address: SocketAddr, target: &str) -> io::Result<u16> {
        let reply = self.try_connect(address)?.try_exchange(&Request::new(address, "GET", target))?;
        Ok(reply.status)
    }

    fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(self.config.get_or_init(|| self.make_config()))
    }

    fn make_config(&self) -> Arc<ClientConfig> {
        let versions = match self.version {
            None => vec![&TLS13, &TLS12],
            Some(TlsVersion::V12) => vec![&TLS12],
            Some(TlsVersion::V13) => vec![&TLS13],
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.resumption = Resumption::in_memory_sessions(64);
        Arc::new(config)
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TlsConnection {
    /// The version that was agreed upon.
    ///
    /// # Panics
    /// If it is none of ours.
    #[must_use]
    pub fn version(&self) -> TlsVersion {
        match self.stream().conn.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::V12,
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V13,
            other => panic!("{other:?}"),
        }
    }

    /// The protocol that was agreed upon.
    #[must_use]
    pub fn protocol(&self) -> Option<String> {
        self.stream().conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// The server's certificate, as DER.
    ///
    /// # Panics
    /// If it has shown none.
    #[must_use]
    pub fn shown(&self) -> Vec<u8> {
        self.stream().conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Whether a session was resumed.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.stream().conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

impl Pair {
    /// The certificate as DER.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap().to_vec()
    }
}

/// Connects from an address of the loopback, of which there are many.
///
/// # Errors
/// If nobody listens.
pub fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}
