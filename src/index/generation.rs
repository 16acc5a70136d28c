//! Generations: whole indexes, of which one is current. A new one is built beside the old and takes
//! its place in one step.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::layout::LAYOUT;
use super::{Index, IndexError};
use crate::fsutil;

/// The generations in a data directory: `index-<n>/`, and the file `CURRENT`, which names one.
pub struct Generations {
    dir: PathBuf,
    cache_bytes: u64,
}

/// The current generation, or why there is none.
pub enum OpenedGeneration {
    /// It is open.
    Ready(Box<Index>),
    /// There never was one, or `CURRENT` names none that exists.
    Missing,
    /// It has a layout that this release does not read.
    Other {
        /// Where it is.
        path: PathBuf,
        /// The number of that layout.
        layout: u32,
        /// The last sequence number of the journal that it knew.
        last_seq: u64,
    },
    /// It is there and cannot be opened.
    Broken(IndexError),
}

impl Generations {
    /// The generations in this data directory.
    pub fn new(dir: &Path, cache_bytes: u64) -> Self {
        Self { dir: dir.to_owned(), cache_bytes }
    }

    /// Opens the current generation.
    pub fn open(&self) -> Result<OpenedGeneration, IndexError> {
        let Some(current) = self.current()? else { return Ok(OpenedGeneration::Missing) };
        let dir = self.path(current);
        if !fsutil::is_dir(&dir) {
            return Ok(OpenedGeneration::Missing);
        }
        // sled opens what is in there.
        if let Err(error) = fsutil::expect_plain(&dir) {
            return Ok(OpenedGeneration::Broken(IndexError::io("use", &dir)(error)));
        }
        Ok(match Index::open(&dir, self.cache_bytes) {
            Ok(index) => OpenedGeneration::Ready(Box::new(index)),
            Err(IndexError::Layout { found: layout, last_seq }) => {
                OpenedGeneration::Other { path: dir, layout, last_seq }
            }
            Err(error) => OpenedGeneration::Broken(error),
        })
    }

    /// The number of the current generation.
    pub fn current(&self) -> Result<Option<u64>, IndexError> {
        let path = self.dir.join("CURRENT");
        match fsutil::read(&path, fsutil::SMALL_BYTES_MAX) {
            Ok(text) => Ok(std::str::from_utf8(&text).ok().and_then(number)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(IndexError::io("read", &path)(error)),
        }
    }

    /// An empty generation, not current yet. What an earlier attempt left is removed.
    pub fn begin(&self) -> Result<(u64, Index), IndexError> {
        let (all, current) = (self.all()?, self.current()?);
        let next = all.iter().copied().chain(current).max().unwrap_or(0) + 1;
        for attempt in all.into_iter().filter(|number| current.is_none_or(|now| *number > now)) {
            let dir = self.path(attempt);
            fs::remove_dir_all(&dir).map_err(IndexError::io("remove", &dir))?;
        }
        let index = Index::open(&self.path(next), self.cache_bytes)?;
        index.say_layout(LAYOUT)?;
        Ok((next, index))
    }

    /// Makes a generation current and removes all others, what earlier attempts left too. Its
    /// predecessor is quarantined where it is `damaged`.
    pub fn finish(&self, number: u64, damaged: bool) -> Result<(), IndexError> {
        self.point_to(number, damaged)?;
        self.remove_others()
    }

    /// Makes a generation current: from now on this one is opened. Its predecessor is quarantined
    /// under a name that says so where it is `damaged`, for inspection.
    pub fn point_to(&self, number: u64, damaged: bool) -> Result<(), IndexError> {
        let old = self.current()?.filter(|old| *old != number && fsutil::is_dir(&self.path(*old)));
        if let Some(old) = old.filter(|_| damaged) {
            // Before it loses its place: what has none is removed, after a crash here too.
            // One is enough to look at.
            self.remove_damaged(Duration::ZERO)?;
            let (dir, aside) = (self.path(old), self.dir.join(format!("index-{old}.damaged")));
            fs::rename(&dir, &aside).map_err(IndexError::io("rename", &dir))?;
        }
        let path = self.dir.join("CURRENT");
        let written = fsutil::replace(&path, 0o600, |_| format!("{number}\n").into_bytes());
        written.map_err(IndexError::io("write", &path))
    }

    /// Removes what has been kept for so long for inspection: there are calls in it that may
    /// have been erased since.
    pub fn remove_damaged(&self, kept: Duration) -> Result<(), IndexError> {
        for aside in self.numbered(".damaged")? {
            let aside = self.dir.join(format!("index-{aside}.damaged"));
            let metadata =
                fs::symlink_metadata(&aside).map_err(IndexError::io("look at", &aside))?;
            // When it was moved there.
            let since = u64::try_from(metadata.ctime()).unwrap_or_default();
            let since = UNIX_EPOCH + Duration::from_secs(since);
            if since.elapsed().unwrap_or_default() >= kept {
                fs::remove_dir_all(&aside).map_err(IndexError::io("remove", &aside))?;
            }
        }
        Ok(())
    }

    /// Removes all generations but the current one. Nobody may be building one.
    pub fn remove_others(&self) -> Result<(), IndexError> {
        let Some(current) = self.current()? else { return Ok(()) };
        for other in self.all()?.into_iter().filter(|other| *other != current) {
            self.remove(other)?;
        }
        Ok(())
    }

    /// Removes one generation, which is not current and which is not open.
    pub fn remove(&self, number: u64) -> Result<(), IndexError> {
        let dir = self.path(number);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(IndexError::io("remove", &dir)(error))
            }
            _ => Ok(()),
        }
    }

    fn all(&self) -> Result<Vec<u64>, IndexError> {
        self.numbered("")
    }

    /// The numbers of the directories whose names end so.
    fn numbered(&self, end: &str) -> Result<Vec<u64>, IndexError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(IndexError::io("list", &self.dir))? {
            let name = entry.map_err(IndexError::io("list", &self.dir))?.file_name();
            let number = name
                .to_str()
                .and_then(|name| number(name.strip_prefix("index-")?.strip_suffix(end)?));
            found.extend(number);
        }
        Ok(found)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("index-{number}"))
    }
}

/// A number that has a successor.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|number| *number < u64::MAX)
}
