//! Being a service of the system: the user that it runs as, and what the
//! service manager is told. It must not know what is served.

pub mod capability;
mod manager;
mod user;

pub use manager::{Manager, Pulse};
pub use user::{NewUser, UserError, no_new_privileges};
