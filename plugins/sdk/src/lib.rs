//! What the author of a Portcullis policy depends on. It knows the interface in
//! `wit/` and nothing of the host.
//!
//! A policy is one plain function over plain values:
//!
//! ```
//! //! Bans a source after too many failed logins in a row.
//! use portcullis_sdk::ban::*;
//!
//! #[derive(Settings)]
//! struct Settings {
//!     /// Failures in a row that ban the source.
//!     #[setting(default = 5)]
//!     max_failed_login: u32,
//!     /// Seconds that a ban lasts.
//!     #[setting(default = 3600.0)]
//!     ban_time: Seconds,
//! }
//!
//! #[derive(State)]
//! #[state(format = "failures-in-a-row/1")]
//! struct Failures {
//!     count: u32,
//! }
//!
//! fn judge(settings: &Settings, attempt: &Attempt, failures: &mut Option<Failures>) -> Verdict {
//!     if attempt.succeeded() {
//!         *failures = None;
//!         return pass();
//!     }
//!     let count = failures.take().map_or(0, |kept| kept.count) + 1;
//!     if count < settings.max_failed_login {
//!         *failures = Some(Failures { count });
//!         return pass();
//!     }
//!     ban(settings.ban_time).because("max-failed-login", format!("{count} failures in a row."))
//! }
//!
//! export!(name = "ban", judge);
//! # fn main() {}
//! ```
//!
//! The modules [`wait`], [`ban`] and [`scanner`] hold everything that a policy of the
//! kind needs. Natively a policy compiles and is tested like any other function (see
//! [`testing`]); for `wasm32-unknown-unknown`, `export!` makes it a plugin.
//!
//! # State
//! The host keeps the state; the judge gets `&mut Option<State>` and leaves in it what
//! is to be kept. `None` before and after, or the very same state and no
//! [`keep_for`](Verdict::keep_for): nothing changes, and the state keeps the time that
//! it had. `Some` before and `None` after: the host forgets it. Otherwise the new
//! state is put, for as long as `keep_for` says, or until the host needs the room.
//! Bytes that can't be read under the own format count as none, and a warning says so.

extern crate self as portcullis_sdk;

#[cfg(any(test, target_arch = "wasm32"))]
mod allocator;
#[doc(hidden)]
pub mod bindings;
mod event;
#[doc(hidden)]
pub mod glue;
mod interest;
pub mod log;
mod policy;
mod settings;
mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod text;
mod value;
mod verdict;
mod wire;

pub use event::{Attempt, Attribute, Outcome, Request};
pub use glue::Description;
pub use interest::Interest;
pub use policy::{Answer, BanKind, Kind, Policy, ScannerKind, WaitKind};
/// Exports several kinds from one file:
/// `export!(name = "all", wait = wait_judge, ban = ban_judge, scanner = scan);`
pub use portcullis_sdk_macros::export;
pub use portcullis_sdk_macros::{Settings, State};
pub use settings::{NoSettings, Problems, Reader, SettingError, SettingSpec, SettingType, SettingValue, Settings};
pub use state::{NoState, State};
pub use value::{FromSetting, Json, Seconds};
pub use verdict::{Ban, BanOrder, Reason, Verdict, Wait, WaitOrder};

#[doc(hidden)]
pub mod derive {
    //! What the derives name.
    pub use crate::settings::{spec, unchecked};
    pub use crate::state::text;
    pub use borsh;
}

/// Everything that a `wait` policy needs.
pub mod wait {
    pub use crate::{Attempt, Interest, Json, NoSettings, Outcome, Problems, Seconds, log, text};
    pub use portcullis_sdk_macros::{Settings, State, export_wait as export};
    pub use std::time::Duration;

    /// Pass, or a wait.
    pub type Verdict = crate::Verdict<crate::WaitOrder>;

    /// Orders nothing.
    pub fn pass() -> Verdict {
        Verdict::pass()
    }

    /// Makes the subject wait so long; say why with `because`.
    pub fn wait(duration: impl Into<Duration>) -> crate::Wait {
        crate::Wait::new(duration)
    }
}

/// Everything that a `ban` policy needs.
pub mod ban {
    pub use crate::{Attempt, Interest, Json, NoSettings, Outcome, Problems, Seconds, log, text};
    pub use portcullis_sdk_macros::{Settings, State, export_ban as export};
    pub use std::time::Duration;

    /// Pass, or a ban.
    pub type Verdict = crate::Verdict<crate::BanOrder>;

    /// Orders nothing.
    pub fn pass() -> Verdict {
        Verdict::pass()
    }

    /// Bans the event's source for so long; say why with `because`.
    pub fn ban(duration: impl Into<Duration>) -> crate::Ban {
        crate::Ban::new(duration)
    }
}

/// Everything that a `scanner` policy needs.
pub mod scanner {
    pub use crate::{Interest, Json, NoSettings, Problems, Request, Seconds, log, text};
    pub use portcullis_sdk_macros::{Settings, State, export_scanner as export};
    pub use std::time::Duration;

    pub use crate::ban::{Verdict, ban, pass};
}
