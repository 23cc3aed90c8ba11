//! From root to a user with fewer rights, for the whole process and for good.
//!
//! Sockets that only root may open are opened before; everything else is opened
//! afterwards, so that a reload can read whatever the start could, and all that
//! the server writes belongs to that user.

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, geteuid, getresgid, getresuid, initgroups, setgid, setuid};
use rustix::thread::{CapabilitySet, set_no_new_privs};

use super::capability;

/// Why the server can't run as the user that it is to run as.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("service.user: there is no user called \"{0}\" on this machine")]
    Unknown(String),
    /// It would change nothing.
    #[error("service.user: \"{0}\" is root; name a user with fewer rights, or leave it out")]
    Root(String),
    /// The system doesn't say who users are.
    #[error("service.user: can't look up \"{name}\": {error}")]
    Lookup {
        /// Who.
        name: String,
        /// Why.
        error: Errno,
    },
    /// The system doesn't let the process become somebody else.
    #[error("service.user: can't become \"{name}\": {error}")]
    Become {
        /// Who.
        name: String,
        /// Why.
        error: Errno,
    },
    /// It could become root again.
    #[error("service.user: as \"{0}\" the process could still become root; not started")]
    NotForGood(String),
    /// Read as root, but no reload could.
    #[error("{}: the user \"{name}\" (service.user) can't read it: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Who.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// The system keeps no promise not to gain rights.
    #[error("can't give up gaining rights (no_new_privs): {0}")]
    NewPrivileges(std::io::Error),
}

/// Whom the process is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Nothing that this process or what it starts executes gives it rights that it
/// doesn't have. Threads inherit this: to be called before there are any.
///
/// # Errors
/// [`UserError::NewPrivileges`].
pub fn no_new_privileges() -> Result<(), UserError> {
    set_no_new_privs(true).map_err(|error| UserError::NewPrivileges(error.into()))
}

impl NewUser {
    /// Whom to become by `service.user`, and what the operator should hear.
    /// Nobody if the process isn't root's: then it stays who it is.
    ///
    /// # Errors
    /// [`UserError`] if there is no such user, or it is root.
    pub fn find(configured: Option<&str>) -> Result<(Option<Self>, Option<String>), UserError> {
        let present = geteuid();
        let Some(name) = configured else {
            let warning = present.is_root().then(|| {
                "running as root: a server that strangers speak to needs less; name a user in service.user".to_owned()
            });
            return Ok((None, warning));
        };
        let found = User::from_name(name).map_err(|error| UserError::Lookup { name: name.to_owned(), error })?;
        let User { uid, gid, .. } = found.ok_or_else(|| UserError::Unknown(name.to_owned()))?;
        if uid.is_root() {
            return Err(UserError::Root(name.to_owned()));
        }
        if present.is_root() {
            return Ok((Some(Self { name: name.to_owned(), uid, gid }), None));
        }
        let warning = (present != uid).then(|| {
            format!("service.user is \"{name}\", but only root can become somebody: it runs on as user {present}")
        });
        Ok((None, warning))
    }

    /// Becomes that user, with that user's groups, in all threads and for good;
    /// then `needed` has to be readable. Of root's capabilities the calling
    /// thread keeps `kept`.
    ///
    /// # Errors
    /// [`UserError`]; the process is in no state to go on then.
    pub fn become_for_good(&self, needed: Option<&Path>, kept: CapabilitySet) -> Result<(), UserError> {
        let name = || self.name.clone();
        let fails = |error| UserError::Become { name: name(), error };
        let c_name = CString::new(self.name.as_str()).map_err(|_| fails(Errno::EINVAL))?;
        initgroups(&c_name, self.gid).map_err(fails)?;
        setgid(self.gid).map_err(fails)?;
        capability::through(kept, || setuid(self.uid)).map_err(fails)?;
        let (uids, gids) = (getresuid().map_err(fails)?, getresgid().map_err(fails)?);
        let is_so = [uids.real, uids.effective, uids.saved].iter().all(|uid| *uid == self.uid)
            && [gids.real, gids.effective, gids.saved].iter().all(|gid| *gid == self.gid);
        if !is_so || setuid(Uid::from_raw(0)).is_ok() {
            return Err(UserError::NotForGood(name()));
        }
        if let Some(path) = needed {
            File::open(path).map_err(|error| UserError::Unreadable { path: path.to_owned(), name: name(), error })?;
        }
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_there_isnt_nobody_can_become() {
        let missing = NewUser::find(Some("no-such-user-here"));
        assert_eq!(
            missing.unwrap_err().to_string(),
            "service.user: there is no user called \"no-such-user-here\" on this machine"
        );
        assert!(matches!(NewUser::find(Some("root")), Err(UserError::Root(_))));
    }

    #[test]
    fn only_root_becomes_somebody() {
        let (nobody, warning) = NewUser::find(Some("nobody")).unwrap();
        let (as_it_is, as_root) = NewUser::find(None).unwrap();
        assert_eq!(as_it_is, None);
        if geteuid().is_root() {
            assert_eq!((nobody.unwrap().name(), warning), ("nobody", None));
            assert!(as_root.unwrap().contains("service.user"));
        } else {
            assert_eq!((nobody, as_root), (None, None));
        }
    }
}
