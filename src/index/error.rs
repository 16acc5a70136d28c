//! What can go wrong with the index.

use std::path::PathBuf;

use super::layout::LAYOUT;
use crate::fsutil;

/// Facts of a failure; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("the index failed")]
    Sled(#[from] sled::Error),
    #[error("the index failed in {}: it panicked: {reason}", path.display())]
    Panicked { path: PathBuf, reason: String },
    #[error("the index is damaged: {0}")]
    Damaged(String),
    #[error("the index has layout {found}, and this release reads layout {LAYOUT}")]
    Layout { found: u32, last_seq: u64 },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

impl IndexError {
    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged(reason.into())
    }

    /// It is the disk that has no room.
    pub fn is_full(&self) -> bool {
        let (Self::Sled(sled::Error::Io(source)) | Self::Io { source, .. }) = self else {
            return false;
        };
        fsutil::is_full(source)
    }

    /// The system did not let this user at it.
    pub fn is_denied(&self) -> bool {
        let (Self::Sled(sled::Error::Io(source)) | Self::Io { source, .. }) = self else {
            return false;
        };
        source.kind() == std::io::ErrorKind::PermissionDenied
    }

    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
