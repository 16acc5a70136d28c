//! One file, looked at as it passes by.

use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::error::BackupError;
use super::manifest::{FrameSpan, ManifestFile, hex};
use super::names;
use crate::journal::{Passed, SegmentVerifier, Until};

/// Bytes that are read at once.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Takes the bytes of one file.
pub(super) struct Examination {
    name: String,
    bytes: u64,
    sum: Context,
    audit: Option<SegmentVerifier>,
}

/// What a file is.
#[derive(Debug, Clone)]
pub(super) struct Examined {
    pub entry: ManifestFile,
    /// Where it is a segment.
    pub passed: Option<Passed>,
}

impl Examination {
    /// Of a file of this name in the backup at `path`.
    pub fn new(path: &Path, name: &str, until: Option<Until>) -> Result<Self, BackupError> {
        let strange = |reason: &str| BackupError::damaged(path, name, 0, reason);
        if !names::is_known(name) {
            return Err(strange("no file of a backup has this name"));
        }
        let audit = match names::segment(name) {
            None => None,
            Some(file) => {
                let audit = SegmentVerifier::new(file, until);
                let audit = audit.ok_or_else(|| strange("no segment has this name"))?;
                Some(audit.map_err(BackupError::io("unpack", path))?)
            }
        };
        Ok(Self { name: name.to_owned(), bytes: 0, sum: Context::new(&SHA256), audit })
    }

    pub fn take(&mut self, path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
        self.bytes += bytes.len() as u64;
        let most = names::bytes_max(&self.name);
        if self.bytes > most {
            let reason = format!("it has more than {most} bytes, and no such file has");
            return Err(BackupError::damaged(path, &self.name, most, reason));
        }
        self.sum.update(bytes);
        match &mut self.audit {
            Some(audit) => audit.take(bytes).map_err(BackupError::flaw(path, &self.name)),
            None => Ok(()),
        }
    }

    pub fn end(self, path: &Path) -> Result<Examined, BackupError> {
        let Self { name, bytes, sum, audit } = self;
        let passed = audit.map(SegmentVerifier::end).transpose();
        let passed = passed.map_err(BackupError::flaw(path, &name))?;
        let sha256 = hex(sum.finish().as_ref());
        let frames = passed.as_ref().map(|passed| {
            let Passed { frames, first_seq, last_seq, .. } = *passed;
            FrameSpan { frames, first_seq, last_seq }
        });
        Ok(Examined { entry: ManifestFile { name, bytes, sha256, frames }, passed })
    }
}

/// Why a backup cannot be read on.
pub(super) fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("it is cut off here: {error}"),
        _ => error.to_string(),
    }
}

/// Examines a whole file and hands its bytes on.
pub(super) fn examine(
    path: &Path,
    name: &str,
    until: Option<Until>,
    from: &mut dyn Read,
    to: &mut dyn FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<Examined, BackupError> {
    let mut examination = Examination::new(path, name, until)?;
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(BackupError::damaged(
                    path,
                    name,
                    examination.bytes,
                    unreadable(&error),
                ));
            }
        };
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return examination.end(path);
        }
        examination.take(path, piece)?;
        to(piece)?;
    }
}
