//! What the journal does to the disk. Every change goes through here, so that tests see all of them
//! in their order, can have each of them fail, and know what a power cut would leave.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::fsutil;

/// A change to a file that is open, or to a directory.
#[derive(Debug, Clone, Copy)]
pub(super) enum DiskOp<'a> {
    /// Bytes, from this place on.
    Write(&'a File, u64, &'a [u8]),
    /// What lies behind this length goes.
    Cut(&'a File, u64),
    /// The file's bytes and its length are on disk after this.
    Sync(&'a File),
    /// A file gets another name, and takes the place of the one that had it.
    Rename(&'a Path, &'a Path),
    /// A name goes.
    Remove(&'a Path),
    /// The names in this directory are on disk after this.
    SyncDir(&'a Path),
}

pub(super) fn make(change: DiskOp<'_>) -> io::Result<()> {
    #[cfg(test)]
    super::disk_tests::before(&change)?;
    match change {
        DiskOp::Write(file, at, bytes) => file.write_all_at(bytes, at),
        DiskOp::Cut(file, length) => file.set_len(length),
        DiskOp::Sync(file) => file.sync_data(),
        DiskOp::Rename(from, to) => fs::rename(from, to),
        DiskOp::Remove(path) => fs::remove_file(path),
        DiskOp::SyncDir(dir) => fsutil::sync_dir(dir),
    }
}

/// An empty file for its owner alone, to be read too. One that has this name already is emptied.
pub(super) fn create(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    super::disk_tests::creates(path)?;
    let file = fsutil::open_or_create(path)?;
    file.set_len(0)?;
    #[cfg(test)]
    super::disk_tests::created(path, &file);
    Ok(file)
}
