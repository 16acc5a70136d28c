//! Files and directories that a command names: why one cannot be used, and what would be right.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::backup::BackupError;
use crate::ops::Failure;
use crate::store::chain;
use crate::{fsutil, users};

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
    let us = users::us();
    let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut ways: Vec<&Path> = absolute.ancestors().collect();
    ways.reverse();
    // The first that lets nobody on.
    let closed = ways.iter().find(|way| {
        let wanted = if way.is_dir() { Access::EXEC_OK } else { Access::READ_OK };
        way.exists() && !may(way, wanted)
    });
    let there = ways.iter().rev().find(|way| way.exists());
    let Some(closed) = closed.or(there) else { return String::new() };
    let owner = std::fs::metadata(closed).map(|about| users::shown(about.uid()));
    let owner = owner.map(|owner| format!("belongs to {owner}")).unwrap_or_default();
    let (closed, uid) = (closed.display(), rustix::process::geteuid().as_raw());
    format!(
        "; {closed} {owner}, and this runs as {us}, who may not use it; run this as a user who may, name \
         another place, or give it to them, as root: chown -R {uid} {closed}"
    )
}
