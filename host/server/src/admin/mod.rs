//! The administration: HTTP on a Unix socket, and over TCP with a token.

use std::sync::Arc;

use crate::config;
use crate::running::Running;

/// Why there is no administration.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// An address can't be listened on.
    #[error("{key}: {why}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// Why.
        why: String,
    },
}

/// The listeners of the administration, open and not yet served.
pub struct Bound;

impl Bound {
    /// Opens what the configuration wants.
    ///
    /// # Errors
    /// [`AdminError`]; where the usual socket can't be had, that is a warning only.
    pub fn open(config: &config::Admin) -> Result<Self, AdminError> {
        let _ = config;
        Ok(Self)
    }

    /// Serves them on a thread of its own until the handle is dropped.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn serve(self, running: Arc<Running>) -> std::io::Result<AdminHandle> {
        let _ = running;
        Ok(AdminHandle)
    }
}

/// The administration while it runs. Dropped, it ends.
pub struct AdminHandle;
