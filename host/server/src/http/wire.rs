//! A client's socket as hyper reads and writes it, telling its [`Connection`]
//! what the sweep must know; and which protocol its first bytes speak. It must
//! not know what the bytes mean beyond that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Connection;

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

/// A client's socket.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TokioIo<TcpStream>,
    first: [u8; PREFACE.len()],
    first_at: usize,
    first_len: usize,
    lingered: usize,
    shut: bool,
    connection: Arc<Connection>,
}

impl Wire {
    /// Reads until the protocol is known. Whoever is slow at that is cut by the
    /// sweep as for a slow head.
    pub(super) async fn detect(
        mut stream: TcpStream,
        connection: Arc<Connection>,
    ) -> io::Result<Option<(Protocol, Self)>> {
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
        let stream = TokioIo::new(stream);
        Ok(Some((protocol, Self { stream, first, first_at: 0, first_len: len, lingered: 0, shut: false, connection })))
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.first_at < this.first_len {
            let take = buf.remaining().min(this.first_len - this.first_at);
            buf.put_slice(&this.first[this.first_at..this.first_at + take]);
            this.first_at += take;
            return Poll::Ready(Ok(()));
        }
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        this.connection.saw_read();
        Poll::Ready(read)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.connection.saw_write(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
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
            ready!(Pin::new(this.stream.inner_mut()).poll_read(cx, &mut away))?;
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
