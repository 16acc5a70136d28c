//! Files and directories that a command names: why one cannot be used, and what would be right.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::backup::BackupError;
use crate::fsutil;
use crate::ops::Failure;
use crate::store::chain;
use crate::users::Closed;

/// Takes a path as it stands, and refuses one that is meant for a shell.
pub(super) fn whole_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match fsutil::misread(&path) {
        Some(right) => Err(right.to_owned()),
        None => Ok(path),
    })
}

/// A failure that names the path, and what keeps this user from it.
pub(super) fn failure(action: &str, path: &Path, error: &io::Error) -> Failure {
    let hint = hint(path, error.kind());
    Failure::new(format!("cannot {action} {}: {error}{hint}", path.display()))
}

/// The same of a backup; `data_dir` is what is restored, which --data-dir names.
pub(super) fn backup_failure(error: BackupError, data_dir: Option<&Path>) -> Failure {
    let BackupError::Io { path, source, .. } = &error else { return error.into() };
    let hint = hint(path, source.kind());
    let is_data_dir = data_dir.is_some_and(|dir| path.starts_with(dir));
    let other = match source.kind() {
        _ if !is_data_dir => "",
        ErrorKind::NotFound => "",
        _ => "; name a new or an empty directory with --data-dir DIR",
    };
    Failure::new(format!("{}{hint}{other}", chain(&error)))
}

/// What keeps this user from a path, as a half sentence that follows the error.
fn hint(path: &Path, kind: ErrorKind) -> String {
    match kind {
        ErrorKind::NotFound => missing(path),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            let file = path.ancestors().find(|path| path.is_file());
            file.map(|file| format!("; {} is a file and no directory", file.display()))
                .unwrap_or_default()
        }
        ErrorKind::IsADirectory => "; it is a directory: name a file".to_owned(),
        ErrorKind::PermissionDenied => denied(path),
        ErrorKind::ReadOnlyFilesystem => "; name a place on another disk".to_owned(),
        _ => String::new(),
    }
}

fn missing(path: &Path) -> String {
    let dir = fsutil::parent(path);
    if dir.exists() {
        return format!("; see what is there: ls {}", dir.display());
    }
    format!("; there is no directory {}: make it first, or name another", dir.display())
}

fn denied(path: &Path) -> String {
    let Some(closed) = Closed::on_the_way(path) else { return String::new() };
    let (whose, uid) = (closed.whose(""), rustix::process::geteuid().as_raw());
    if !closed.is_of_another() {
        let open = if closed.keeps_owner_out() {
            format!("open it: {}, or name another place", closed.open_it())
        } else {
            "name another place".to_owned()
        };
        return format!("; {whose}; {open}");
    }
    let shut =
        if closed.keeps_owner_out() { format!(" && {}", closed.open_it()) } else { String::new() };
    format!(
        "; {whose}, who may not use it; run this as a user who may, name another place, or give it to \
         them, as root: chown -R {uid} {}{shut}",
        closed.path.display()
    )
}
