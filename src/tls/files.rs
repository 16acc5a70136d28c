//! Files that are either wholly there or not at all.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::TlsError;
use crate::files;

/// Bytes of a file of certificates or keys: a whole store of authorities is a tenth of it.
const BYTES_MAX: u64 = 16 << 20;

/// Reads a whole file, wherever the operator has put it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = files::open_named(path).and_then(|file| files::contents(file, BYTES_MAX));
    read.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// Reads a whole file that rollcall has made; `None` where there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match files::read(path, BYTES_MAX) {
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
        Ok(()) => files::sync_dir(files::parent(directory))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let directory: File = files::open_dir(directory)?;
    let about = directory.metadata()?;
    // A volume may be given to the group that this process is in.
    let group = if files::shared_with_us(&about, 0) { 0 } else { 0o070 };
    if about.mode() & (0o007 | group) == 0 {
        return Ok(());
    }
    match directory.set_permissions(Permissions::from_mode(0o700)) {
        // It is another user's, who made it when the volume was that one's. What is in it is for its
        // owner alone all the same.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// Puts `bytes` where `path` says, with exactly the rights in `mode`.
///
/// The new content gets its name only when all of it is on disk: a kill or a
/// power cut leaves the old file or the new one, and at worst a file ending
/// in `.new` that the next call removes.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    files::replace(path, mode, |_| bytes.to_vec())
        .map_err(|source| TlsError::Write { path: path.to_owned(), source })
}
