//! Whose the files of a data directory are, said to a person.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{getegid, geteuid};

use crate::fsutil;
use crate::ops::Failure;
use crate::store::chain;
use crate::users;

/// The data belong to another user than this process.
pub fn of_another(data_dir: &Path, owner: u32) -> Failure {
    let (dir, us) = (data_dir.display(), users::us());
    let (owns, sudo) = (users::shown(owner), users::sudo(owner, "…"));
    Failure::new(format!(
        "the data directory {dir} belongs to {owns}, and this runs as {us}, whose files they could \
         not open; run this as that user: {sudo}"
    ))
}

/// Why a store was not opened. Where the system does not let this user at a file, whose those are and
/// what gives them back.
pub fn cannot_open(error: &(dyn std::error::Error + 'static), data_dir: &Path) -> Failure {
    explained(chain(error), error, data_dir)
}

/// The same of something else that was tried in a data directory.
pub fn explained(
    text: String,
    error: &(dyn std::error::Error + 'static),
    data_dir: &Path,
) -> Failure {
    if !fsutil::is_denied(error) && !is_read_only(error) {
        return Failure::new(text);
    }
    if !data_dir.exists() {
        return Failure::new(format!("{text}; {}", elsewhere(data_dir)));
    }
    let closed = closed(data_dir);
    let Some((path, owner)) = closed.first() else { return Failure::new(text) };
    let more = match closed.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let (us, uid, gid) = (users::us(), geteuid().as_raw(), getegid().as_raw());
    let (path, dir) = (path.display(), data_dir.display());
    let owner = users::shown(*owner);
    Failure::new(format!(
        "{text}; {path}{more} belongs to {owner}, and this runs as {us}, who may not read and write \
         it; give the files to the service, as root: chown -R {uid}:{gid} {dir}"
    ))
}

/// What is to be done where no data directory can be made.
fn elsewhere(data_dir: &Path) -> String {
    let place = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let there = place.ancestors().skip(1).find(|dir| dir.exists());
    let whose = there.and_then(|dir| {
        let owner = users::shown(fs::metadata(dir).ok()?.uid());
        Some(format!("{} belongs to {owner}, and this runs as {}; ", dir.display(), users::us()))
    });
    format!(
        "{}name a directory that this user may make or write to with --data-dir DIR (or data_dir in the \
         configuration)",
        whose.unwrap_or_default()
    )
}

fn is_read_only(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    let here = io.is_some_and(|error| error.kind() == std::io::ErrorKind::ReadOnlyFilesystem);
    here || error.source().is_some_and(is_read_only)
}

/// What of a data directory this process may not use, and whose it is; the nearest first.
fn closed(data_dir: &Path) -> Vec<(PathBuf, u32)> {
    let mut closed = Vec::new();
    let mut dirs = vec![data_dir.to_owned()];
    let mut level = 0;
    // Nothing of a store lies deeper.
    while level < 4 && !dirs.is_empty() {
        let mut next = Vec::new();
        for path in dirs {
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            let needed = match about.file_type() {
                kind if kind.is_dir() => Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
                kind if kind.is_file() => Access::READ_OK | Access::WRITE_OK,
                _ => continue,
            };
            if accessat(CWD, &path, needed, AtFlags::EACCESS).is_err() {
                closed.push((path, about.uid()));
            } else if about.is_dir() {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                next.extend(entries.map(|entry| entry.path()));
            }
        }
        next.sort_unstable();
        dirs = next;
        level += 1;
    }
    closed
}
