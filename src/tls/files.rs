//! Files that are either wholly there or not at all.

use std::io::ErrorKind;
use std::path::Path;

use super::TlsError;
use crate::fsutil;

/// Bytes of a file of certificates or keys: a whole store of authorities is a tenth of it.
const BYTES_MAX: u64 = 16 << 20;

/// Reads a whole file, wherever the operator has put it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = fsutil::open_named(path).and_then(|file| fsutil::contents(file, BYTES_MAX));
    read.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// Reads a whole file that rollcall has made; `None` where there is none.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match fsutil::read(path, BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::Read { path: path.to_owned(), source }),
    }
}

/// Makes a directory for its owner alone, or takes the rights of all others away where it is there.
pub(super) fn private_directory(directory: &Path) -> Result<(), TlsError> {
    fsutil::private_dir(directory)
        .map_err(|source| TlsError::Write { path: directory.to_owned(), source })
}

/// Replaces a file whole, with exactly these rights: a kill or a power cut leaves the old file or the
/// new one, and at worst a file ending in `.new` that the next call removes.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    fsutil::replace(path, mode, |_| bytes.to_vec())
        .map_err(|source| TlsError::Write { path: path.to_owned(), source })
}
