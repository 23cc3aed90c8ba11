//! What shadow policies would have done, and policies that are trusted again.

use portcullis_domain::{Compared, Subject};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Reason, time};

/// What shadow policies would have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shadows {
    /// Each shadow policy that is in force, in the order in which they judge.
    pub policies: Vec<Shadow>,
}

/// What one shadow policy would have done, beside what policies of its kind
/// that enforce did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shadow {
    /// Its name.
    pub policy: String,
    /// `wait`, `ban` or `scanner`.
    pub kind: String,
    /// When the comparison began; absent before the first event.
    pub since: Option<String>,
    /// Events that it judged.
    pub judged: u64,
    /// Events that it wasn't asked about, since it would have had them refused.
    pub refused: u64,
    /// Events that its own plugin couldn't judge.
    pub failed: u64,
    /// Orders that it gave; nothing came of them.
    pub orders: u64,
    /// Events for which an enforcing policy of its kind gave an order, and it
    /// did too or would have had them refused.
    pub agreed: u64,
    /// Successful logins that it would have kept out.
    pub logins_refused: u64,
    /// Whom only it would have acted on: how many.
    pub newly_subjects: u64,
    /// Of these, how many logged in afterwards.
    pub newly_logged_in: u64,
    /// Some of these, first ones first.
    pub newly: Vec<ShadowSubject>,
    /// Whom it would no longer act on: how many.
    pub no_longer_subjects: u64,
    /// Some of these, first ones first.
    pub no_longer: Vec<ShadowSubject>,
    /// How many both acted on.
    pub both: u64,
    /// Subjects that had to go for others and are in none of these numbers.
    pub left_out: u64,
}

/// Whom one side acted on and the other didn't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShadowSubject {
    /// Who waits, if it goes by a client auth id.
    pub id: Option<String>,
    /// The network that is banned, or who waits if it goes by one.
    pub source: Option<String>,
    /// When it was first acted on.
    pub first: String,
    /// How often.
    pub orders: u32,
    /// The last reason that was given.
    pub reason: Option<Reason>,
    /// Until when the shadow policy's last order would have held.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// Successful logins from there after the shadow policy's first order.
    pub logins_after: u32,
    /// Of these, those that it would have kept out.
    pub logins_refused: u32,
}

impl From<&Compared> for ShadowSubject {
    fn from(compared: &Compared) -> Self {
        let (id, source) = match &compared.subject {
            Subject::Id(id) => (Some(id), None),
            Subject::Source(network) => (None, Some(network)),
            Subject::Pair(id, network) => (Some(id), Some(network)),
        };
        let (id, source) = (id.map(|id| id.as_str().to_owned()), source.map(ToString::to_string));
        let (logins_after, logins_refused) = (compared.logins_after, compared.logins_refused);
        let (first, orders, reason, until) = match compared.shadow_first {
            Some(first) => {
                let until = Some(time(compared.shadow_until));
                (first, compared.shadow_orders, &compared.shadow_reason, until)
            }
            None => {
                let first = compared.enforced_first.unwrap_or_default();
                (first, compared.enforced_orders, &compared.enforced_reason, None)
            }
        };
        let reason = reason.as_ref().map(Reason::from);
        Self { id, source, first: time(first), orders, reason, until, logins_after, logins_refused }
    }
}

/// A comparison that begins anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShadowReset {
    /// The policy.
    pub policy: String,
}

/// A policy that is trusted again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trusted {
    /// The policy.
    pub policy: String,
    /// Whether its bans weren't enforced until now.
    pub had_tripped: bool,
}
