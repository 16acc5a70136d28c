//! Whose the files of a data directory are, said to a person.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{getegid, geteuid};

use crate::fsutil;
use crate::ops::Failure;
use crate::store::chain;

/// Whom this process runs as.
pub fn us() -> String {
    named(geteuid().as_raw())
}

/// A user by name and number.
fn named(uid: u32) -> String {
    let users = fsutil::read_text(Path::new("/etc/passwd")).unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.map_or_else(|| format!("user {uid}"), |name| format!("user {uid} ({name})"))
}

/// The data belong to another user than this process.
pub fn of_another(data_dir: &Path, owner: u32) -> Failure {
    let (dir, us) = (data_dir.display(), us());
    let owns = named(owner);
    Failure::new(format!(
        "the data directory {dir} belongs to {owns}, and this runs as {us}, whose files they could \
         not open; run this as that user: sudo -u '#{owner}' rollcall …"
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
    if !fsutil::is_denied(error) {
        return Failure::new(text);
    }
    let closed = closed(data_dir);
    let Some((path, owner)) = closed.first() else { return Failure::new(text) };
    let more = match closed.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let (us, uid, gid) = (us(), geteuid().as_raw(), getegid().as_raw());
    let (path, dir) = (path.display(), data_dir.display());
    let owner = named(*owner);
    Failure::new(format!(
        "{text}; {path}{more} belongs to {owner}, and this runs as {us}, who may not read and write \
         it; give the files to the service, as root: chown -R {uid}:{gid} {dir}"
    ))
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
