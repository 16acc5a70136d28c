//! What can go wrong with a backup.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::show_size;
use crate::journal::{Flaw, JournalError};
use crate::store::{OpenError, StoreError};

/// Facts of a failure; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: {file} is damaged at byte {offset}: {reason}", path.display())]
    Damaged { path: PathBuf, file: String, offset: u64, reason: String },
    #[error(
        "{} was not finished, and is no backup; make another one, or remove it",
        path.display()
    )]
    Unfinished { path: PathBuf },
    #[error("there is no backup at {}: {reason}", path.display())]
    NoBackup { path: PathBuf, reason: String },
    #[error(
        "{} was made by a later release ({found}, this one knows {known}); use that release",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{} is there already; a backup is never written over anything: name another place, or a directory \
         for many of them with --keep N", path.display())]
    Exists { path: PathBuf },
    #[error("{} is being written by another process", path.display())]
    Busy { path: PathBuf },
    #[error("{} is not empty; restore into a new or an empty directory: name one with --data-dir DIR", path.display())]
    NotEmpty { path: PathBuf },
    #[error("the parts of a backup do not fit: {0}")]
    Parts(String),
    #[error(
        "{} needs {} more, and its disk has {} free; make space, or write to another disk",
        path.display(),
        show_size(*.needed),
        show_size(*.free)
    )]
    NoSpace { path: PathBuf, needed: u64, free: u64 },
    #[error("{0}")]
    Usage(String),
    #[error("--until {asked} is too early: {reason}")]
    TooEarly { asked: String, reason: String },
    #[error("{} is encrypted; name the file of a key of it with --identity", path.display())]
    Encrypted { path: PathBuf },
    #[error("{} cannot be decrypted: {reason}", path.display())]
    Decrypt { path: PathBuf, reason: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn damaged(path: &Path, file: &str, offset: u64, reason: impl Into<String>) -> Self {
        let (path, file, reason) = (path.to_owned(), file.to_owned(), reason.into());
        Self::Damaged { path, file, offset, reason }
    }

    pub(super) fn flaw(path: &Path, file: &str) -> impl FnOnce(Flaw) -> Self {
        move |flaw| Self::damaged(path, file, flaw.offset, flaw.reason)
    }
}
