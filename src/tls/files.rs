//! Files that are either wholly there or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::TlsError;

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// Reads a whole file; `None` where there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::Read { path: path.to_owned(), source }),
    }
}

/// Makes `directory` (its parent must be there) so that only its owner may
/// enter it, and takes away the rights of others where it was there already.
pub(super) fn private_directory(directory: &Path) -> Result<(), TlsError> {
    make_private(directory).map_err(|source| TlsError::Write { path: directory.to_owned(), source })
}

fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => sync_directory(parent_of(directory))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if fs::metadata(directory)?.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Puts `bytes` where `path` says, with exactly the rights in `mode`.
///
/// The new content gets its name only when all of it is on disk: a kill or a
/// power cut leaves the old file or the new one, and at worst a file ending
/// in `.new` that the next call removes.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    write_then_rename(path, bytes, mode)
        .map_err(|source| TlsError::Write { path: path.to_owned(), source })
}

fn write_then_rename(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // A left-over is removed, not opened: its rights may be anything.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(parent_of(path))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
