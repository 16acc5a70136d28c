//! What can go wrong with the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::show_size;
use crate::index::IndexError;
use crate::journal::JournalError;

/// Why a change or a question was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("too much is waiting to be written; try again in a moment")]
    Busy,
    #[error("the disk is full; nothing of this was stored")]
    Full,
    #[error(
        "the disk has {} free, and below {} (store.min_free_bytes) nothing new is stored; free some \
         space, and it goes on by itself",
        show_size(*.free),
        show_size(*.least)
    )]
    Low { free: u64, least: u64 },
    #[error(
        "{what} may take {}, and the disk has only {} free{}; free some space",
        show_size(*.needed),
        show_size(*.free),
        kept_free(*.kept)
    )]
    NoSpace { what: &'static str, needed: u64, free: u64, kept: u64 },
    #[error("the store has failed and takes nothing more: {0}")]
    Failed(String),
    #[error("the journal cannot be read: {0}")]
    Unreadable(String),
    #[error("{0} panicked; the log says where")]
    Panicked(&'static str),
    #[error("the index is not available and is being built again: {0}")]
    IndexUnavailable(String, Option<u16>),
    #[error("the new index could not be built: {0}")]
    NotBuilt(String),
    #[error("a record of {0} bytes is over the limit")]
    TooLarge(usize),
    #[error("{0} was changed by somebody else meanwhile; look at it again")]
    Conflict(String),
    #[error("{0}")]
    OutOfOrder(String),
    #[error(
        "messages of {} wait for the log already, and {} are the most (cluster.kept_bytes)",
        show_size(*.kept),
        show_size(*.most)
    )]
    KeptFull { kept: u64, most: u64 },
    #[error("the data are those of a node of a cluster, and change by its log alone")]
    OfNode,
    #[error("{0}")]
    NoQuorum(String),
    #[error(
        "these changes take {bytes} bytes in the log of the cluster, and its servers take {most} at most \
         (max_payload in nats.conf)"
    )]
    LongMessage { bytes: usize, most: usize },
    #[error("the store is closing")]
    Closing,
    #[error("{0}; begin again without a position")]
    Gone(String),
    #[error("this node is behind: it has come to message {applied} of the log")]
    Behind { applied: u64 },
}

impl StoreError {
    /// The disk has no space for it, so that it may succeed later.
    pub(super) fn is_short_of_space(&self) -> bool {
        matches!(self, Self::Full | Self::Low { .. } | Self::NoSpace { .. })
    }
}

/// What is where no store is.
fn looks(path: &Path) -> &'static str {
    if let Some(why) = crate::fsutil::misread(path) {
        return why;
    }
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => "which is empty",
        Ok(false) => "which has other files",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "which does not exist",
        Err(_) => "which cannot be read",
    }
}

fn kept_free(kept: u64) -> String {
    if kept == 0 {
        return String::new();
    }
    format!(", of which {} stay free (store.min_free_bytes)", show_size(kept))
}

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::TooLarge { bytes } => Self::TooLarge(bytes),
            error if error.is_full() => Self::Full,
            // What cannot be read is no reason not to write on.
            JournalError::Damaged { path, offset, reason } => {
                Self::Unreadable(format!("{} at byte {offset}: {reason}", path.display()))
            }
            error @ (JournalError::Newer { .. }
            | JournalError::Io { action: "open" | "read", .. }) => Self::Unreadable(chain(&error)),
            error => Self::Failed(chain(&error)),
        }
    }
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is in use by another rollcall (process {pid})", path.display())]
    Locked { path: PathBuf, pid: String },
    #[error(
        "there is no store in {}, {}; name the directory of your server with --config FILE or \
         --data-dir DIR; a new store is made by `rollcall serve`, and by --init of `token create`, \
         `account set` and `import`",
        path.display(),
        looks(path)
    )]
    Missing { path: PathBuf },
    #[error("{} {why}, and the store needs a directory: name one with --data-dir DIR", path.display())]
    NoDirectory { path: PathBuf, why: &'static str },
    #[error(
        "{} has other files and no store ({names}), so that none is made among them; name an empty \
         directory, or one that is still to be made, with --data-dir DIR",
        path.display()
    )]
    NotEmpty { path: PathBuf, names: String },
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
    #[error(
        "{} has the data of node {found:?}, and cluster.node is {wanted:?}: set cluster.node = {found:?}; a new node \
         is made from a backup of another one (`rollcall cluster seed`) in a directory of its own; where {found:?} is to be \
         called so from now on, and no other machine has its data, remove {}/NODE",
        path.display(),
        path.display()
    )]
    OtherNode { path: PathBuf, found: String, wanted: String },
    #[error("{} does not say what it should; it reads {text:?}", path.display())]
    Format { path: PathBuf, text: String },
    #[error(
        "the index in {} is ahead of the journal ({index} > {journal}): the journal has lost its \
         end; restore a backup, or accept the loss with `rollcall rebuild`",
        path.display()
    )]
    IndexAhead { path: PathBuf, index: u64, journal: u64 },
    #[error(
        "the disk of {} is full ({} free); free some space on it and start again: nothing else is \
         wrong, and no call is lost",
        path.display(),
        show_size(*.free)
    )]
    NoSpace { path: PathBuf, free: u64, source: Box<OpenError> },
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

    /// It is the disk that has no space.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => crate::fsutil::is_full(source),
            Self::Journal(error) => error.is_full(),
            Self::Index(error) => error.is_full(),
            Self::Store(error) => matches!(error, StoreError::Full | StoreError::NoSpace { .. }),
            _ => false,
        }
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
