//! Making a folder: whole or not at all, and over nothing that is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::scaffold::File;
use crate::cli::Failed;

pub(super) fn make(folder: &Path, files: &[File]) -> Result<(), Failed> {
    let shown = folder.display();
    let Some(name) = folder.file_name() else {
        return Err(Failed::Usage(format!("{shown}: name the folder that is to be made")));
    };
    check_free(folder)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(Failed::No(format!("{shown}: there is no folder {} to make it in", parent.display())));
    }
    // Beside it, so that it can be renamed; and never one that is there.
    let mut partial_name = name.to_owned();
    partial_name.push(format!(".partial-{}", std::process::id()));
    let partial = Partial::make(parent.join(partial_name))?;
    for file in files {
        let path = partial.0.join(&file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        }
        fs::write(&path, &file.bytes).with_context(|| format!("can't write {}", path.display()))?;
    }
    // An empty folder gives way; anything that came there meanwhile doesn't.
    fs::rename(&partial.0, folder).with_context(|| format!("can't make {shown}"))?;
    partial.keep();
    Ok(())
}

/// Whether there is nothing, or an empty folder.
fn check_free(folder: &Path) -> Result<(), Failed> {
    let shown = folder.display();
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failed::No(format!("{shown}: {error}"))),
        Ok(found) if !found.is_dir() => Err(Failed::No(format!("{shown}: it is there, and no folder"))),
        Ok(_) => {
            let mut entries = fs::read_dir(folder).map_err(|error| Failed::No(format!("{shown}: {error}")))?;
            match entries.next() {
                None => Ok(()),
                Some(_) => Err(Failed::No(format!("{shown}: it is there and isn't empty; nothing was written"))),
            }
        }
    }
}

/// A folder that goes unless it is kept.
struct Partial(PathBuf);

impl Partial {
    fn make(path: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir(&path).with_context(|| format!("can't make a folder {}", path.display()))?;
        Ok(Self(path))
    }

    /// It has another name now.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing helps if even that fails; why it was begun to be undone is said anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}
