//! What can go wrong with a journal.

use std::io;
use std::path::{Path, PathBuf};

use crate::fsutil;

/// Facts of a failure; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the journal is damaged: {} at byte {offset}: {reason}; nothing was changed; restore this \
         file from a backup, or keep a copy of the directory and ask for help",
        path.display()
    )]
    Damaged { path: PathBuf, offset: u64, reason: String },
    #[error(
        "{} was written by a later release (journal version {version}); start that release, or \
         restore a backup made by this one",
        path.display()
    )]
    Newer { path: PathBuf, version: u16 },
    #[error("the journal failed earlier and takes no more: {reason}")]
    Failed { reason: String },
    #[error("a frame of {bytes} bytes is over the limit")]
    TooLarge { bytes: usize },
}

impl JournalError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn damaged(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset, reason: reason.into() }
    }

    /// The disk is full: nothing is lost, and writing may go on once there is space.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if fsutil::is_full(source))
    }
}
