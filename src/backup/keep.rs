//! What else is where a backup is written: leftovers, earlier ones, old ones.

use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::BackupError;
use super::names::{self, ARCHIVE, ENCRYPTED};
use crate::domain::Timestamp;
use crate::fsutil;
use crate::store::UNFINISHED;
use crate::wire::show_time;

/// What the names of backups in a directory of several begin with.
const PREFIX: &str = "rollcall-";

/// The name of a backup that is made now: `rollcall-20261123T140142Z`.
pub(super) fn name(now: Timestamp, ending: &str) -> String {
    let time = show_time(now).to_string();
    let seconds = time.split('.').next().unwrap_or_default().replace(['-', ':'], "");
    format!("{PREFIX}{seconds}Z{ending}")
}

/// Removes what a killed backup has left at this place. Says whether there was anything.
///
/// # Errors
/// [`BackupError::Busy`] where it is still being written.
pub(super) fn clear(partial: &Path) -> Result<bool, BackupError> {
    let about = match fs::symlink_metadata(partial) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(BackupError::io("look at", partial)(error)),
    };
    let mark = if about.is_dir() { partial.join(UNFINISHED) } else { partial.to_owned() };
    match fsutil::open(&mark) {
        Ok(file) => match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BackupError::Busy { path: partial.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(BackupError::io("lock", &mark)(error)),
        },
        // It was made or removed just now, by a process that was killed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(BackupError::io("open", &mark)(error)),
    }
    remove(partial)?;
    Ok(true)
}

/// Removes a directory or a file.
pub(super) fn remove(path: &Path) -> Result<(), BackupError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    removed.map_err(BackupError::io("remove", path))
}

/// Removes all that killed backups have left in a directory of several.
pub(super) fn clear_all(parent: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut cleared = Vec::new();
    for path in ours(parent)? {
        // Anything else is not ours and does no harm.
        if names::is_partial(&path) && (fsutil::is_dir(&path) || fsutil::is_file(&path)) {
            match clear(&path) {
                Ok(true) => cleared.push(path),
                Ok(false) | Err(BackupError::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(cleared)
}

/// The whole backups in a directory of several, newest first.
pub(super) fn whole(parent: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut found = ours(parent)?;
    found.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let archive = name.ends_with(ARCHIVE) || name.ends_with(ENCRYPTED);
        // Nothing that a link leads to is counted, or removed for another.
        let directory = fsutil::is_dir(path) && fsutil::is_file(&path.join(names::MANIFEST));
        directory || archive && fsutil::is_file(path)
    });
    found.sort();
    found.reverse();
    Ok(found)
}

/// Removes all but the newest whole backups, and never the one that was just made.
pub(super) fn remove_old(
    parent: &Path,
    keep: usize,
    made: &Path,
) -> Result<Vec<PathBuf>, BackupError> {
    let others = whole(parent)?.into_iter().filter(|path| path != made);
    let old: Vec<_> = others.skip(keep.saturating_sub(1)).collect();
    for path in &old {
        // It loses its name first: a kill leaves no part of it that looks whole.
        let partial = names::partial(path);
        fs::rename(path, &partial).map_err(BackupError::io("remove", path))?;
        remove(&partial)?;
    }
    Ok(old)
}

/// Everything in a directory whose name begins as those of backups do.
fn ours(parent: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent).map_err(BackupError::io("list", parent))? {
        let entry = entry.map_err(BackupError::io("list", parent))?;
        let name = entry.file_name();
        let stamp = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).unwrap_or_default();
        let (digits, rest) = stamp.split_at_checked("20261123T140142".len()).unwrap_or_default();
        let timed = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'T');
        if timed && rest.starts_with('Z') {
            found.push(entry.path());
        }
    }
    Ok(found)
}
