//! Writes files completely or not at all: into a temporary file in the same folder, which is renamed when
//! it is complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Replaces the file at `path` with the output of `write`. On failure the old file remains.
pub(super) fn replace_file(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> Result<()> {
    replace_file_by(path, |file| write(file).map_err(|error| unwritable(path, error)))
}

pub(super) fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::file(path.display(), "a file that can be written", error)
}

/// Replaces the file at `path` with the output of `write`, which may fail for reasons of its own. On failure the old
/// file remains and no partial file is left.
///
/// # Errors
/// Returns [`Error::File`] if the file cannot be written, and the error of `write` if that fails.
pub fn replace_file_by<T>(path: impl AsRef<Path>, write: impl FnOnce(&mut fs::File) -> Result<T>) -> Result<T> {
    let path = path.as_ref();
    let failed = |error: io::Error| unwritable(path, error);
    let (path_of_file, folder) = destination(path)?;

    let mut builder = tempfile::Builder::new();
    builder.prefix(".percept-");
    // Temporary files are accessible to their owner alone. This one becomes an ordinary file, whose
    // permissions the umask determines.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file: NamedTempFile = builder.tempfile_in(folder).map_err(failed)?;
    let written = write(file.as_file_mut())?;
    // Without this, the new name could reach the disk before the file's contents.
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path_of_file).map_err(|e| failed(e.error))?;
    Ok(written)
}

/// Returns the file to replace or create, with symbolic links followed, and its folder.
pub(super) fn destination(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let mut file = path.to_owned();
    if let Ok(metadata) = fs::metadata(path) {
        // Renaming over a device would remove the device.
        if !metadata.is_file() {
            let got = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
            return Err(Error::file(path.display(), "a regular file's name", got));
        }
        file = fs::canonicalize(path).unwrap_or(file);
    }
    let folder = match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => return Err(Error::file(path.display(), "a file's name", "no name")),
    };
    if !folder.is_dir() {
        let expected = format!("{} to be a folder", folder.display());
        return Err(Error::file(path.display(), expected, "no such folder"));
    }
    Ok((file, folder))
}
