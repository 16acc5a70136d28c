//! How much room the disk has.

use std::io;
use std::path::Path;

/// Bytes that a file system has free for this process: of the one that holds this directory.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
