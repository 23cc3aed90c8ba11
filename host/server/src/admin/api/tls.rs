//! TLS at our listeners, over the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// TLS at the server's own listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TlsStatus {
    /// Handshakes and PROXY headers that are waited for.
    pub handshakes_under_way: u64,
    /// What is shown to clients, each file once.
    pub certificates: Vec<Certificate>,
}

/// A certificate that is shown to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The file that it comes from.
    pub file: String,
    /// The names for which it is shown.
    pub names: Vec<String>,
    /// Its last moment.
    pub expires: String,
}
