//! Where the Unix socket of the administration is, and opening it so that
//! nobody else can, nor take its place.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, Mode, access, fchmod, flock};
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

/// The folder of a service's run-time files.
const SERVICE_FOLDER: &str = "/run/portcullis";
/// The socket's name in its folder.
const NAME: &str = "admin.sock";
/// Connections that may wait for an accept.
const BACKLOG: i32 = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A server listens there.
    #[error("{}: a running server has this socket", path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{}: this is a file and no socket; remove it, or name another path", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// The folder for it could be somebody else's trap.
    #[error("{}: this folder has to belong to this user alone, with mode 0700", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
    },
    /// The system says no.
    #[error("{}: {error}", path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl SocketError {
    fn system(path: &Path, error: impl Into<io::Error>) -> Self {
        Self::System { path: path.to_owned(), error: error.into() }
    }
}

/// The places where a server of this user would have its socket, the likeliest
/// first. The last one is in a folder that anyone may write to.
#[must_use]
pub fn usual_places() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let own = runtime.map(|folder| folder.join("portcullis"));
    let folders = [Some(PathBuf::from(SERVICE_FOLDER)), own, Some(shared_folder())];
    folders.into_iter().flatten().map(|folder| folder.join(NAME)).collect()
}

/// The usual place for a server of this user, its folder made where it is missing.
pub(super) fn usual_place() -> Result<PathBuf, SocketError> {
    let service = Path::new(SERVICE_FOLDER);
    if geteuid().is_root() {
        match DirBuilder::new().mode(0o755).create(service) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SocketError::system(service, error));
            }
            Ok(()) | Err(_) => return Ok(service.join(NAME)),
        }
    }
    if access(service, Access::WRITE_OK).is_ok() {
        return Ok(service.join(NAME));
    }
    let own = usual_places().into_iter().nth(1).unwrap_or_default();
    let folder = own.parent().unwrap_or(service);
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(SocketError::system(folder, error)),
        Ok(()) | Err(_) => {}
    }
    if is_private(folder) { Ok(own) } else { Err(SocketError::Folder { folder: folder.to_owned() }) }
}

/// Of this user, where all users may write: whoever uses it looks whose it is.
fn shared_folder() -> PathBuf {
    std::env::temp_dir().join(format!("portcullis-{}", geteuid().as_raw()))
}

/// Whether a folder is this user's, and nobody else's business.
#[must_use]
pub fn is_private(folder: &Path) -> bool {
    // Not followed: a link in a folder of all users leads where its owner wants.
    let found = fs::symlink_metadata(folder);
    found.is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0)
}

/// A socket that is listened on. Dropped, its file goes, if it still is its own.
#[derive(Debug)]
pub(super) struct OwnSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// The file of a socket.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: somebody may have put another in its place.
    identity: (u64, u64),
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if own {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

/// Listens there, for this user alone. What a dead process left behind is
/// replaced; the socket of a live one is not.
pub(super) fn open(path: &Path) -> Result<OwnSocket, SocketError> {
    let wrong = |error: io::Error| SocketError::system(path, error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Two servers that start at once look and bind one after the other.
    let folder = File::open(folder).map_err(|error| SocketError::system(folder, error))?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|error| wrong(error.into()))?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NoSocket { path: path.to_owned() }),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(SocketError::Taken { path: path.to_owned() }),
        Ok(_) => fs::remove_file(path).map_err(wrong)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error)),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(wrong)?;
    // Before it has a name: nobody else can open it at any time.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| wrong(error.into()))?;
    socket.bind(&SockAddr::unix(path).map_err(wrong)?).map_err(wrong)?;
    socket.listen(BACKLOG).map_err(wrong)?;
    socket.set_nonblocking(true).map_err(wrong)?;
    let found = fs::symlink_metadata(path).map_err(wrong)?;
    let file = SocketFile { path: path.to_owned(), identity: (found.dev(), found.ino()) };
    Ok(OwnSocket { listener: socket.into(), file })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_its_users_alone_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let socket = open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(open(&path), Err(SocketError::Taken { .. })), "a live one stays");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the standard library leaves it");
        let socket = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(matches!(open(&path), Err(SocketError::NoSocket { .. })));
        drop(socket);
        assert_eq!(fs::read(&path).unwrap(), b"mine", "another's file isn't removed");
    }

    #[test]
    fn a_folder_that_others_may_enter_is_no_place_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        DirBuilder::new().mode(0o700).create(&inner).unwrap();
        assert!(is_private(&inner));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&inner, &link).unwrap();
        assert!(!is_private(&link));
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(!is_private(&inner));
    }
}
