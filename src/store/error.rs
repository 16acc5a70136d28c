//! What can go wrong with the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::index::IndexError;
use crate::journal::JournalError;

/// Why a change or a question was not answered.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("too much is waiting to be written; try again in a moment")]
    Busy,
    #[error("the disk is full; nothing of this was stored")]
    Full,
    #[error("the journal has failed and takes nothing more: {0}")]
    Failed(String),
    #[error("the index is not available and is being built again: {0}")]
    IndexUnavailable(String),
    #[error("the new index could not be built: {0}")]
    NotBuilt(String),
    #[error("a record of {0} bytes is over the limit")]
    TooLarge(usize),
    #[error("the store is closing")]
    Closing,
    #[error("{0}; begin again without a position")]
    Gone(String),
}

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::TooLarge { bytes } => Self::TooLarge(bytes),
            error if error.is_full() => Self::Full,
            error => Self::Failed(chain(&error)),
        }
    }
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is in use by another rollcall (process {pid})", path.display())]
    Locked { path: PathBuf, pid: String },
    #[error("there is no data directory at {}; `rollcall serve` or `rollcall import` makes one", path.display())]
    Missing { path: PathBuf },
    #[error(
        "{} holds a backup or a restore that was not finished, and no data; do that again, or \
         remove the directory",
        path.display()
    )]
    Unfinished { path: PathBuf },
    #[error(
        "{} is a backup and no data directory; `rollcall restore {} --data-dir NEW` makes one of it",
        path.display(),
        path.display()
    )]
    Backup { path: PathBuf },
    #[error(
        "{} was written by a later release (format {found}, this one knows {known}); start that \
         release, or restore a backup made by this one",
        path.display()
    )]
    Newer { path: PathBuf, found: String, known: u32 },
    #[error("{} does not say what it should; it reads {text:?}", path.display())]
    Format { path: PathBuf, text: String },
    #[error(
        "the index in {} is ahead of the journal ({index} > {journal}): the journal has lost its \
         end; restore a backup, or accept the loss with `rollcall rebuild`",
        path.display()
    )]
    IndexAhead { path: PathBuf, index: u64, journal: u64 },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(
        "the call in frame {seq} of the journal was written by a later release (record version \
         {version}); start that release, or restore a backup made by this one"
    )]
    NewerRecord { seq: u64, version: u8 },
    #[error("a frame of the journal ({seq}) cannot be read: {reason}")]
    Record { seq: u64, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
