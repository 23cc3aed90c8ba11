//! A connection through an entrance, from the accept to its first request: the
//! PROXY header, whether it may come in at all, the TLS handshake. It must not
//! know who decides that.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{Arrived, Connection};
use super::door::{Banned, Entrance, Standing};
use super::handshakes::Handshake;
use super::service::{Refusal, RefusedRequest, Service};
use super::wire::Protocol;
use super::worker::{Worker, until_told};
use crate::proxy_protocol::{self, Announced, HeaderError};
use crate::tls::{ALPN_H1, ALPN_H2, HandshakeFailure, Tls};

impl<S: Service> Worker<S> {
    /// Does what the door asks for, and then serves.
    pub(super) async fn receive(
        self: Arc<Self>,
        mut stream: TcpStream,
        connection: Arc<Connection>,
        entrance: Arc<Entrance>,
    ) {
        let Some(door) = entrance.door() else { return };
        connection.handshake_begins();
        let peer = connection.peer();
        let mut standing = self.service.standing(peer.ip());
        let mut announced = None;
        if door.proxy_protocol {
            let said = match self.announcement(&mut stream, &connection, standing).await {
                Ok(said) => said,
                Err(refusal) => return self.turn_away(refusal, &connection),
            };
            let Some(said) = said else { return };
            if let Announced::Client { source, .. } = said {
                standing = self.service.standing(source.ip());
            }
            announced = Some(said);
        }
        let arrived =
            Arrived { announced, secure: door.tls.is_some(), client: None, entrance, door: Arc::clone(&door) };
        if standing.banned && door.banned == Banned::Close {
            connection.arrives(arrived);
            return self.turn_away(Refusal::Banned, &connection);
        }
        match &door.tls {
            None => {
                connection.arrives(arrived);
                connection.handshake_is_over();
                self.converse(stream, None, connection).await;
            }
            Some(tls) => {
                let shaken = Box::pin(self.shake_hands(tls, stream, &connection, standing));
                match shaken.await {
                    Ok(Some((stream, protocol, client))) => {
                        connection.arrives(Arrived { client, ..arrived });
                        connection.handshake_is_over();
                        self.converse(stream, protocol, connection).await;
                    }
                    Ok(None) => {}
                    Err(failure) => {
                        connection.arrives(arrived);
                        self.turn_away(Refusal::Handshake(failure), &connection);
                    }
                }
            }
        }
    }

    /// The PROXY header; none if the connection went away or the server ends.
    async fn announcement(
        self: &Arc<Self>,
        stream: &mut TcpStream,
        connection: &Arc<Connection>,
        standing: Standing,
    ) -> Result<Option<Announced>, Refusal> {
        if !standing.trusted {
            return Err(Refusal::NotAProxy);
        }
        // Of a proxy, which may have many clients.
        let under_way = self.handshakes.begin(None, connection);
        match until_told(proxy_protocol::read(stream), connection, None).await {
            Some(Ok(announced)) => Ok(Some(announced)),
            Some(Err(HeaderError::Malformed)) => Err(Refusal::NoProxyHeader),
            // A look at our health, most likely.
            Some(Err(HeaderError::Ended | HeaderError::Socket(_))) => Ok(None),
            None => given_up(&under_way, connection).map_or(Ok(None), |_| Err(Refusal::SlowProxyHeader)),
        }
    }

    /// The TLS handshake; nothing if the server ends.
    async fn shake_hands(
        self: &Arc<Self>,
        tls: &Tls,
        stream: TcpStream,
        connection: &Arc<Connection>,
        standing: Standing,
    ) -> Result<Option<Shaken>, HandshakeFailure> {
        // Behind a proxy that says nothing of its clients all of them are one source.
        let source = (!standing.trusted).then(|| standing.source.network());
        let mut under_way = self.handshakes.begin(source, connection);
        let accepting = async {
            // Until the client has said what it wants it costs little, and goes before those who have.
            let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            under_way.has_begun();
            hello.into_stream(Arc::clone(tls.config())).await
        };
        let stream = match until_told(accepting, connection, None).await {
            Some(Ok(stream)) => stream,
            Some(Err(error)) => return Err(self.failed(&error)),
            None => return given_up(&under_way, connection).map_or(Ok(None), Err),
        };
        let session = stream.get_ref().1;
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let client = match (tls.clients(), certificate) {
            (Some(clients), Some(certificate)) => match clients.name(certificate, Timestamp::now()) {
                Ok(name) => Some(name),
                Err(error) => {
                    tracing::debug!(peer = %connection.peer(), "a client certificate isn't taken: {error}");
                    return Err(HandshakeFailure::Certificate);
                }
            },
            _ => None,
        };
        let protocol = match session.alpn_protocol() {
            Some(ALPN_H2) => Some(Protocol::Http2),
            Some(ALPN_H1) => Some(Protocol::Http1),
            // Whoever names none may still speak either.
            _ => None,
        };
        self.service.shook_hands(matches!(session.handshake_kind(), Some(rustls::HandshakeKind::Resumed)));
        Ok(Some((stream, protocol, client)))
    }

    fn failed(&self, error: &io::Error) -> HandshakeFailure {
        tracing::debug!("a TLS handshake failed: {error}");
        HandshakeFailure::of(error)
    }

    fn turn_away(&self, refusal: Refusal, connection: &Connection) {
        let peer = connection.peer();
        self.service.refused(&RefusedRequest { refusal, peer, connection: Some(connection), request: None });
    }
}

type Shaken = (TlsStream<TcpStream>, Option<Protocol>, Option<Arc<str>>);

/// Why a handshake was given up; nothing if the server ends.
fn given_up(under_way: &Handshake, connection: &Connection) -> Option<HandshakeFailure> {
    if under_way.was_crowded_out() {
        return Some(HandshakeFailure::Crowded);
    }
    (!connection.is_closing()).then_some(HandshakeFailure::Timeout)
}
