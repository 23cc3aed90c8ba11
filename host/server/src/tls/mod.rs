//! TLS at our own listeners, by rustls: certificates and the names they are for,
//! client certificates and whom they name, sessions that can be resumed, and what
//! a handshake can fail of. It must not know sockets, HTTP or the gate.

mod certificate;
mod client;
mod failure;
mod names;
mod server;

use std::io;
use std::path::Path;

pub use certificate::{Certificate, CertificateError, EXPIRY_WARNING};
pub use client::{ClientError, ClientField, Clients};
pub use failure::HandshakeFailure;
pub use names::{Names, valid_name};
pub use server::{ALPN_H1, ALPN_H2, Tls, TlsError};

/// Largest file with certificates, keys or lists of revoked ones that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads a whole file, unless it is larger than any of its kind.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
