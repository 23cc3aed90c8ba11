//! The cache from inside: what is loaded, what is compiled again, and which
//! folders are refused.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use super::*;

struct Fixture {
    folder: tempfile::TempDir,
    engine: Engine,
    cache: Cache,
    wasm: Vec<u8>,
    digest: [u8; 32],
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let wasm = portcullis_guests::component("always-bans");
    let digest = Sha256::digest(&wasm).into();
    Fixture { folder, engine: Engine::new(false).unwrap().0, cache, wasm, digest }
}

impl Fixture {
    fn compile(&self) {
        self.cache.compile(&self.engine, &self.wasm, self.digest).unwrap();
    }

    fn name(&self) -> String {
        entry_name(&self.engine, &self.digest)
    }

    fn entry(&self) -> PathBuf {
        self.folder.path().join(self.name())
    }

    fn is_cached(&self) -> bool {
        self.cache.load(&self.engine, &self.name()).is_some()
    }
}

#[test]
fn what_was_compiled_is_loaded_the_next_time() {
    let fixture = fixture();
    assert!(!fixture.is_cached());
    fixture.compile();
    assert!(fixture.is_cached());
    let files: Vec<_> = fs::read_dir(fixture.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, [fixture.name().as_str()], "no temporary file is left");
    let mode = fs::metadata(fixture.entry()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_damaged_entry_is_compiled_again() {
    let fixture = fixture();
    fixture.compile();
    let whole = fs::read(fixture.entry()).unwrap();
    for at in [0, 31, 32, 100, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(fixture.entry(), &damaged).unwrap();
        assert!(!fixture.is_cached(), "damaged at byte {at}");
    }
    for bytes in [0, 10, 32, 33, whole.len() - 1] {
        fs::write(fixture.entry(), &whole[..bytes]).unwrap();
        assert!(!fixture.is_cached(), "cut after {bytes} bytes");
    }
    fixture.compile();
    assert!(fixture.is_cached());
    assert_eq!(fs::read(fixture.entry()).unwrap(), whole);
}

#[test]
fn an_entry_under_another_name_is_no_good() {
    let fixture = fixture();
    fixture.compile();
    let other = fixture.name().replace(&hex(&fixture.digest), &hex(&[7; 32]));
    fs::copy(fixture.entry(), fixture.folder.path().join(&other)).unwrap();
    assert!(fixture.cache.load(&fixture.engine, &other).is_none());
}

#[test]
fn a_link_is_not_followed() {
    let fixture = fixture();
    fixture.compile();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("entry");
    fs::rename(fixture.entry(), &target).unwrap();
    symlink(&target, fixture.entry()).unwrap();
    assert!(!fixture.is_cached());
}

#[test]
fn a_folder_that_others_can_get_at_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o755, 0o770, 0o707, 0o701] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(Cache::open(folder.path()), Err(CacheError::Mode { mode: found }) if found == mode));
    }
}

#[test]
fn a_folder_that_is_a_link_or_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink(folder.path(), &link).unwrap();
    assert!(matches!(Cache::open(&link), Err(CacheError::Io(_))));
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(Cache::open(&file), Err(CacheError::Io(_))));
}

#[test]
fn a_folder_that_is_not_there_is_made_for_this_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    assert!(Cache::open(&deep).is_ok());
    assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_number_of_entries_is_bounded_and_the_oldest_go() {
    let fixture = fixture();
    let old = |n: usize| fixture.folder.path().join(format!("{}-{n:016x}{EXTENSION}", hex(&[7; 32])));
    let foreign = fixture.folder.path().join("id_ed25519");
    File::create(&foreign).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    for n in 0..ENTRIES_MAX + 10 {
        let file = File::create(old(n)).unwrap();
        let age = std::time::Duration::from_secs(1_000_000 + n as u64);
        file.set_modified(std::time::UNIX_EPOCH + age).unwrap();
    }
    fixture.compile();
    assert!(foreign.exists(), "what isn't an entry is left alone");
    assert_eq!(fs::read_dir(fixture.folder.path()).unwrap().count(), ENTRIES_MAX + 1);
    assert!(fixture.is_cached());
    assert!(!old(0).exists());
    assert!(old(ENTRIES_MAX + 9).exists());
}

#[test]
fn a_folder_that_can_not_be_written_to_does_no_harm() {
    let fixture = fixture();
    fs::remove_dir(fixture.folder.path()).unwrap();
    fixture.compile();
}
