//! A client's socket as hyper reads and writes it, telling its [`Connection`]
//! what the sweep and the vetting must know; and which protocol its first bytes
//! speak. It must not know what the bytes mean beyond that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::connection::Connection;
use super::framing::Framing;

/// What an HTTP/2 client with prior knowledge says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much of what a client still sends is read away before its connection is closed.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// The protocol that a client's first bytes speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What bytes to and from a client go through.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// It takes bytes that the socket hasn't taken yet: only its flush tells.
    const HOLDS_BACK: bool;
}

impl Stream for TcpStream {
    const HOLDS_BACK: bool = false;
}

impl Stream for TlsStream<TcpStream> {
    const HOLDS_BACK: bool = true;
}

/// A client's socket.
#[derive(Debug)]
pub(super) struct Wire<T = TcpStream> {
    stream: T,
    first: [u8; PREFACE.len()],
    first_at: usize,
    first_len: usize,
    lingered: usize,
    shut: bool,
    /// Of HTTP/1, while requests come.
    framing: Option<Framing>,
    connection: Arc<Connection>,
}

impl<T: Stream> Wire<T> {
    /// Where the protocol has been agreed upon.
    pub(super) fn speaking(stream: T, protocol: Protocol, connection: Arc<Connection>) -> Self {
        Self::with_first(stream, protocol, ([0; PREFACE.len()], 0), connection)
    }

    fn with_first(
        stream: T,
        protocol: Protocol,
        (first, first_len): ([u8; PREFACE.len()], usize),
        connection: Arc<Connection>,
    ) -> Self {
        let framing = (protocol == Protocol::Http1).then(Framing::new);
        Self { stream, first, first_at: 0, first_len, lingered: 0, shut: false, framing, connection }
    }

    /// Reads until the protocol is known. Whoever is slow at that is cut by the
    /// sweep as for a slow head.
    pub(super) async fn detect(mut stream: T, connection: Arc<Connection>) -> io::Result<Option<(Protocol, Self)>> {
        let mut first = [0; PREFACE.len()];
        let mut len = 0;
        let protocol = loop {
            if len == PREFACE.len() {
                break Protocol::Http2;
            }
            let read = stream.read(&mut first[len..]).await?;
            if read == 0 {
                return Ok(None);
            }
            len += read;
            if first[..len] != PREFACE[..len] {
                break Protocol::Http1;
            }
        };
        Ok(Some((protocol, Self::with_first(stream, protocol, (first, len), connection))))
    }

    /// Looks at bytes that hyper is about to read: what it hands on of them comes after.
    fn saw(&mut self, bytes: &[u8]) {
        let Some(framing) = &mut self.framing else { return };
        if self.connection.is_tunnel() {
            self.framing = None;
        } else if let Some(number) = framing.see(bytes) {
            self.connection.saw_two_lengths(number);
            self.framing = None;
        }
    }
}

impl<T: Stream> AsyncRead for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = if this.first_at < this.first_len {
            let take = buf.remaining().min(this.first_len - this.first_at);
            buf.put_slice(&this.first[this.first_at..this.first_at + take]);
            this.first_at += take;
            Ok(())
        } else {
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
            this.connection.saw_read();
            read
        };
        this.saw(&buf.filled()[before..]);
        Poll::Ready(read)
    }
}

impl<T: Stream> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.connection.saw_write(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if T::HOLDS_BACK {
            self.connection.saw_write(flushed.is_pending());
        }
        flushed
    }

    /// Says that no more will come; and if a body was left unread, reads on for
    /// a while: a socket closed with bytes unread resets the connection, and
    /// the client's kernel may throw our reply away with it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.shut = true;
        }
        if !this.connection.has_unread_body() {
            return Poll::Ready(Ok(()));
        }
        this.connection.lingers();
        while this.lingered < LINGER_BYTES_MAX {
            let mut room = [0; 4096];
            let mut away = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut away))?;
            if away.filled().is_empty() {
                break;
            }
            this.lingered += away.filled().len();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.connection.saw_write(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cap::ConnectionCap;
    use super::super::connection::Clock;
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    const TWO_LENGTHS: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

    /// Reads what a client sends, into a buffer of that size, and says whether any request has two lengths.
    async fn two_lengths(sent: &[u8], room: usize, tunnel: bool) -> (Protocol, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        client.write_all(sent).await.unwrap();
        drop(client);
        let slot = ConnectionCap::new(1).try_acquire().unwrap();
        let connection = Arc::new(Connection::new(peer, address, Arc::new(Clock::default()), slot));
        if tunnel {
            connection.becomes_tunnel();
        }
        let (protocol, mut wire) = Wire::detect(stream, Arc::clone(&connection)).await.unwrap().unwrap();
        let mut read = Vec::new();
        let mut buffer = vec![0; room];
        loop {
            let length = wire.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            read.extend_from_slice(&buffer[..length]);
        }
        assert_eq!(read, sent);
        (protocol, (0..9).any(|_| connection.next_request_has_two_lengths()))
    }

    #[tokio::test]
    async fn two_lengths_are_seen_in_requests_of_http_1_alone() {
        for room in [1, 7, 4096] {
            assert_eq!(two_lengths(TWO_LENGTHS, room, false).await, (Protocol::Http1, true));
            assert_eq!(two_lengths(TWO_LENGTHS, room, true).await, (Protocol::Http1, false), "in a tunnel");
            let h2 = [PREFACE, TWO_LENGTHS].concat();
            assert_eq!(two_lengths(&h2, room, false).await, (Protocol::Http2, false));
        }
    }
}
