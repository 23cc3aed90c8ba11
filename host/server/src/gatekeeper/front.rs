//! What a request meets: who checks secrets, and what is behind. Swapped as a
//! whole when the configuration changes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::auth::{Credentials, IdCase, LoginPaths, Protected};
use crate::http::{Tunnels, Upstream};

/// The part of the configuration that requests meet.
pub struct Front {
    /// Who checks secrets.
    pub authentication: Authentication,
    /// The service behind; without one the server answers by itself (rule 9).
    pub upstream: Option<Arc<Upstream>>,
    /// What other proxies may ask.
    pub asking: Asking,
    /// How long a login body may take (rule 7).
    pub login_body_time: Duration,
    /// The tunnels open through this upstream or one before it, if a ban closes
    /// those of its source (rule 15).
    pub tunnels_to_close: Option<Tunnels>,
}

/// What other proxies may ask about requests that they hold (rule 40).
pub struct Asking {
    /// Those that may.
    pub trusted: Vec<IpNet>,
    /// The header in which they name who logs in by a form.
    pub id_header: Option<HeaderName>,
    /// Longest body of one report, in bytes.
    pub max_report: usize,
}

impl Asking {
    /// Whether this peer is believed.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer))
    }
}

/// Who checks secrets.
pub enum Authentication {
    /// The server, by its credentials (rule 5).
    File(FileAuthentication),
    /// The service behind, by the status of its answer (rule 6).
    Upstream(UpstreamAuthentication),
}

/// File mode.
pub struct FileAuthentication {
    /// Who may log in.
    pub credentials: Arc<Credentials>,
    /// Which paths need credentials.
    pub protected: Protected,
    /// What a 401 asks for.
    pub challenge: HeaderValue,
    /// Whether Abc and abc are one id.
    pub id_case: IdCase,
}

/// Upstream mode.
pub struct UpstreamAuthentication {
    /// Paths where the service demands Basic credentials: only there does its
    /// 2xx or 3xx say that they were right. Elsewhere it may not have looked.
    pub guarded: Protected,
    /// Paths whose POST is a login.
    pub login_paths: LoginPaths,
    /// Field of a login body that holds the id.
    pub id_field: String,
    /// Field of a login body that holds the secret.
    pub secret_field: String,
    /// Whether Abc and abc are one id.
    pub id_case: IdCase,
    /// Statuses that mean a failed login.
    pub failure_statuses: Vec<u16>,
    /// Statuses that mean a successful login on a login path.
    pub success_statuses: Vec<u16>,
}

impl Front {
    /// Whether Abc and abc are one id.
    #[must_use]
    pub const fn id_case(&self) -> IdCase {
        match &self.authentication {
            Authentication::File(file) => file.id_case,
            Authentication::Upstream(by_upstream) => by_upstream.id_case,
        }
    }

    /// Whether the same credentials are checked by the same: then a pair that
    /// was verified by the one still counts by the other (rule 8).
    pub(super) fn verifies_as(&self, other: &Self) -> bool {
        match (&self.authentication, &other.authentication) {
            (Authentication::File(one), Authentication::File(other)) => {
                Arc::ptr_eq(&one.credentials, &other.credentials)
            }
            (Authentication::Upstream(one), Authentication::Upstream(two)) => {
                let same_service = match (&self.upstream, &other.upstream) {
                    (Some(one), Some(other)) => one.authority() == other.authority(),
                    (one, other) => one.is_none() && other.is_none(),
                };
                one.id_case == two.id_case && same_service
            }
            (Authentication::File(_), Authentication::Upstream(_))
            | (Authentication::Upstream(_), Authentication::File(_)) => false,
        }
    }
}
