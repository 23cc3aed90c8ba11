//! The file: found or made, checked, locked, and opened. One that can't be used
//! is left as it is, and the error says what to do.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::StateError;
use super::schema::{self, TooNew};

/// Mode of the file and of those that SQLite puts beside it: it names clients
/// and where they come from.
const FILE_MODE: u32 = 0o600;
/// What every SQLite file begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Where its header says whose it is.
const APPLICATION_ID_AT: usize = 68;
/// Length of that header.
const HEADER_BYTES: usize = 100;
/// Patience with somebody who has opened the file beside us, such as `sqlite3`.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Pages kept in memory, in KiB.
const CACHE_KIB: i64 = 16 * 1024;

/// The open file. Nobody else has it.
pub(super) struct StateFile {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Holds the lock. Closed last: closing any handle of the file would drop
    /// SQLite's own locks.
    lock: File,
}

impl StateFile {
    /// Opens the file, or makes it where there is none, and brings it up to date.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let lock = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create(path)?;
                File::options().read(true).write(true).open(path)
            }
            found => found,
        };
        let lock = lock.map_err(|error| unusable(path, &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => wrong(path, "another process has it: each running server needs a state of its own"),
            other => unusable(path, &other.into()),
        })?;
        check_header(path, &lock)?;
        let mode = lock.metadata().map_err(|error| unusable(path, &error))?.mode();
        if mode & 0o077 != 0 {
            lock.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(|error| unusable(path, &error))?;
            tracing::warn!("state: {} could be read by others and is the server's user's alone now", path.display());
        }
        let mut connection = connect(path).map_err(|error| refused(path, &error))?;
        match schema::migrate(&mut connection).map_err(|error| refused(path, &error))? {
            Ok(()) => Ok(Self { connection, path: path.to_owned(), lock }),
            Err(TooNew { version }) => Err(wrong(
                path,
                format!(
                    "is of version {version}, and this program writes version {}: start the newer program that wrote \
                     it, or {}",
                    schema::VERSION,
                    move_aside(path)
                ),
            )),
        }
    }

    /// Another connection, for reading.
    pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }

    /// Whether what is at the path is this file, another, or nothing.
    pub(super) fn place(&self) -> io::Result<Place> {
        let own = self.lock.metadata()?;
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (own.dev(), own.ino()) => Ok(Place::Own),
            Ok(_) => Ok(Place::Another),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Place::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Makes it anew at its path, where nothing is any more.
    pub(super) fn make_anew(&mut self) -> Result<(), StateError> {
        // The old one is left whole, wherever it is now, and takes its log with it:
        // SQLite leaves that behind when a file has been moved.
        let _as_far_as_it_goes = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let nothing = Connection::open_in_memory().map_err(|error| refused(&self.path, &error))?;
        let _whatever_it_says = std::mem::replace(&mut self.connection, nothing).close();
        remove_if_there(&beside(&self.path, "-wal")).map_err(|error| unusable(&self.path, &error))?;
        remove_if_there(&beside(&self.path, "-shm")).map_err(|error| unusable(&self.path, &error))?;
        *self = Self::open(&self.path.clone())?;
        Ok(())
    }

    /// Is as patient again as it was at first.
    pub(super) fn restore_patience(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(BUSY_TIMEOUT)
    }

    /// Its size and that of its log.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let length = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        (length(&self.path), length(&beside(&self.path, "-wal")))
    }
}

/// What is where the file should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Own,
    Another,
    Nothing,
}

/// Opens a connection that writes: what is committed is on the disk.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The writer moves the log into the file itself, when no ban waits.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Makes the file under another name and gives it its own once it is whole: a
/// process that is killed meanwhile leaves nothing that looks like a state.
fn create(path: &Path) -> Result<(), StateError> {
    let log = beside(path, "-wal");
    if fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        let (log, name) = (log.display(), path.display());
        return Err(wrong(
            path,
            format!(
                "isn't there, but {log} is, which belongs to it: put {name} back beside it, or move {log} aside to \
                 begin with nothing kept"
            ),
        ));
    }
    let new = beside(path, ".new");
    for leftover in [new.clone(), beside(&new, "-wal"), beside(&new, "-shm"), beside(&new, "-journal")] {
        remove_if_there(&leftover).map_err(|error| unusable(path, &error))?;
    }
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, FILE_MODE);
    let file = options.read(true).write(true).create_new(true).open(&new).map_err(|error| unusable(path, &error))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    give_to_owner(&file, folder).map_err(|error| unusable(path, &error))?;
    let make = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&new, flags)?;
        schema::prepare_empty(&connection)?;
        drop(connection);
        let mut connection = connect(&new)?;
        let _an_empty_one_is_of_no_newer_version = schema::migrate(&mut connection)?;
        connection.close().map_err(|(_, error)| error)
    };
    make().map_err(|error| refused(path, &error))?;
    file.sync_all().map_err(|error| unusable(path, &error))?;
    let renamed = match renameat_with(CWD, &new, CWD, path, RenameFlags::NOREPLACE) {
        // Somebody else was faster: theirs it is, if they let go of it.
        Err(Errno::EXIST) => fs::remove_file(&new),
        // Not every file system knows how.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(&new, path),
        other => other.map_err(io::Error::from),
    };
    renamed.and_then(|()| File::open(folder)?.sync_all()).map_err(|error| unusable(path, &error))
}

/// What root makes for somebody who becomes another user later is that user's:
/// the folder says whose.
fn give_to_owner(file: &File, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let folder = fs::metadata(folder)?;
    std::os::unix::fs::fchown(file, Some(folder.uid()), Some(folder.gid()))
}

/// Looks at the file before SQLite does: it would take an empty one for a new one.
fn check_header(path: &Path, mut file: &File) -> Result<(), StateError> {
    let mut header = Vec::new();
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(|error| unusable(path, &error))?;
    let what = if header.is_empty() {
        "is empty"
    } else if !MAGIC.starts_with(&header[..header.len().min(MAGIC.len())]) {
        "isn't a state of Portcullis: it isn't a SQLite file"
    } else if header.len() < HEADER_BYTES {
        "is damaged: it is cut short"
    } else if header[APPLICATION_ID_AT..][..4] != schema::APPLICATION_ID.to_be_bytes() {
        "isn't a state of Portcullis: it is another program's SQLite file"
    } else {
        return Ok(());
    };
    Err(wrong(path, format!("{what}; it is left as it is: give another path, or {}", move_aside(path))))
}

pub(super) fn wrong(path: &Path, why: impl Into<String>) -> StateError {
    StateError::File { path: path.to_owned(), why: why.into() }
}

/// What to do with a file that can't be used.
fn move_aside(path: &Path) -> String {
    let name = path.display();
    format!("move it aside, with {name}-wal and {name}-shm if they are there; the server then begins with nothing kept")
}

/// The system doesn't give it.
fn unusable(path: &Path, error: &io::Error) -> StateError {
    let folder = path.parent().unwrap_or(Path::new("")).display();
    let why = if error.kind() == ErrorKind::NotFound {
        format!("can't be made: make the folder {folder} first, for the server's user alone")
    } else if error.kind() == ErrorKind::PermissionDenied {
        format!("can't be opened ({error}): the server's user has to be able to write it and {folder}")
    } else {
        format!("can't be used: {error}")
    };
    wrong(path, why)
}

/// SQLite doesn't take it.
pub(super) fn refused(path: &Path, error: &rusqlite::Error) -> StateError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(path, &error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            wrong(path, format!("another process has it open and doesn't let go ({error})"))
        }
        Some(ErrorCode::DiskFull) => wrong(path, format!("can't be written ({error}): make room on its disk")),
        _ => wrong(path, format!("can't be used: {error}")),
    }
}

/// What is in it can't be right.
pub(super) fn damaged(path: &Path, how: &str) -> StateError {
    let name = path.display();
    let aside = move_aside(path);
    wrong(
        path,
        format!(
            "is damaged ({how}); it is left as it is: put a copy from before in its place, or {aside}. What can still \
             be read of it, `sqlite3 {name} .recover` shows"
        ),
    )
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The file of that name with something after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
