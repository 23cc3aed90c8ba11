//! Who claims to be whom, and whether the secret is right: Basic credentials,
//! login bodies, guarded paths, and the credentials file.
//!
//! It must not know sockets, the gate, the log or the configuration file.

mod basic;
mod client;
mod field_name;
mod file;
mod fingerprint;
mod form;
mod hash;
mod hasher;
mod id_case;
mod paths;

pub use basic::{BasicCredentials, BasicError, Presented, Secret};
pub use client::{Client, ClientError};
pub use field_name::query_names_login;
pub use file::{
    CREDENTIALS_BYTES_MAX, Checked, Credentials, FileError, FileMistake, FileMistakes, FileWarning, Loaded,
};
pub use fingerprint::{Fingerprints, KeyError, ProcessKey};
pub use form::{FormError, FormFields, LOGIN_BODY_BYTES_MAX, Login, read_login};
pub use hash::HashError;
pub use hasher::{HashPool, HashPoolError, NotChecked};
pub use id_case::{IdCase, IdError};
pub use paths::{LoginPaths, Protected};
