//! The PROXY protocol, versions 1 and 2: what a proxy says about a connection
//! before its first byte, read off the socket without taking a byte more.
//!
//! The bounds are ours, what the bytes say is the business of the crate `ppp`.
//! It must not know whom to believe.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Longest line of version 1, its end included, as the specification has it.
const V1_BYTES_MAX: usize = 107;
/// What a header of version 2 begins with: signature, command, family, length.
const V2_START_BYTES: usize = 16;
/// Longest header of version 2 that is read, its extensions (TLVs) included. They
/// are read over; HAProxy's with all that it can say about TLS have some 300 bytes.
const V2_BYTES_MAX: usize = 2048;

/// What a proxy says about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// It is another's: its two ends as the proxy saw them.
    Client {
        /// The client.
        source: SocketAddr,
        /// Where the client had connected.
        destination: SocketAddr,
    },
    /// It is the proxy's own (`LOCAL`), such as a look at our health, or one of
    /// whose client nothing can be said (`UNKNOWN`, Unix sockets, datagrams).
    Itself,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// What came isn't a header, or is longer than one may be.
    #[error("no PROXY header")]
    Malformed,
    /// The connection ended before the header did.
    #[error("the connection ended within the PROXY header")]
    Ended,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// Reads the header, and leaves what follows it in the socket. It waits for as
/// long as the other side takes.
///
/// # Errors
/// [`HeaderError`]; the connection is good for nothing then.
pub async fn read(stream: &mut TcpStream) -> Result<Announced, HeaderError> {
    // Given back once it is read, where an array would be part of the connection's task.
    let mut header = vec![0; V2_BYTES_MAX];
    let mut taken = 0;
    loop {
        // Only looked at: what comes behind the header isn't ours.
        let there = stream.peek(&mut header[taken..]).await?;
        if there == 0 {
            return Err(HeaderError::Ended);
        }
        let (length, whole) = match extent(&header[..taken + there]) {
            Extent::Whole(length) => (length, true),
            Extent::Partial if taken + there < header.len() => (taken + there, false),
            Extent::Partial | Extent::Malformed => return Err(HeaderError::Malformed),
        };
        stream.read_exact(&mut header[taken..length]).await?;
        taken = length;
        if whole {
            return parse(&header[..length]).ok_or(HeaderError::Malformed);
        }
    }
}

/// How far a header reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All of it is there: so many bytes.
    Whole(usize),
    /// It begins as one does; all that is there is part of it.
    Partial,
    /// It isn't one.
    Malformed,
}

/// How far the header reaches that `bytes` begin with.
fn extent(bytes: &[u8]) -> Extent {
    if begins(bytes, v2::PROTOCOL_PREFIX) {
        return extent_of_v2(bytes);
    }
    if !begins(bytes, b"PROXY ") {
        return Extent::Malformed;
    }
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    match line.windows(2).position(|end| end == b"\r\n") {
        Some(end) => Extent::Whole(end + 2),
        None if bytes.len() < V1_BYTES_MAX => Extent::Partial,
        None => Extent::Malformed,
    }
}

fn extent_of_v2(bytes: &[u8]) -> Extent {
    let Some(&[high, low]) = bytes.get(V2_START_BYTES - 2..V2_START_BYTES) else { return Extent::Partial };
    let length = V2_START_BYTES + usize::from(u16::from_be_bytes([high, low]));
    match length {
        _ if length > V2_BYTES_MAX => Extent::Malformed,
        _ if length <= bytes.len() => Extent::Whole(length),
        _ => Extent::Partial,
    }
}

/// Whether `bytes`, which may be few, begin as `start` does.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, expected)| byte == expected)
}

/// What a whole header says.
fn parse(header: &[u8]) -> Option<Announced> {
    if header.starts_with(v2::PROTOCOL_PREFIX) { parse_v2(header) } else { parse_v1(header) }
}

fn parse_v1(header: &[u8]) -> Option<Announced> {
    // The crate takes a sign before a port; the specification has digits alone.
    if header.contains(&b'+') {
        return None;
    }
    Some(match v1::Header::try_from(header).ok()?.addresses {
        v1::Addresses::Tcp4(ends) => Announced::Client {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
        },
        v1::Addresses::Tcp6(ends) => Announced::Client {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
        },
        v1::Addresses::Unknown => Announced::Itself,
    })
}

fn parse_v2(header: &[u8]) -> Option<Announced> {
    let header = v2::Header::try_from(header).ok()?;
    let stream = header.protocol == v2::Protocol::Stream;
    Some(match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ends)) if stream => Announced::Client {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
        },
        (v2::Command::Proxy, v2::Addresses::IPv6(ends)) if stream => Announced::Client {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
        },
        (v2::Command::Local | v2::Command::Proxy, _) => Announced::Itself,
    })
}

#[cfg(test)]
mod tests;
