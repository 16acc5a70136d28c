//! Directories that are filled where they are, since they may be mounts: they have a mark until they are
//! whole.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use super::error::BackupError;
use super::names::DIRS;
use crate::fsutil;
use crate::store::UNFINISHED;

/// What is made in such a directory, beside [`DIRS`].
pub(super) struct BackupEntries {
    pub files: &'static [&'static str],
    /// The text of the mark.
    pub note: &'static str,
}

impl BackupEntries {
    /// Marks a directory as unfinished and holds the mark. Says whether there was one already.
    ///
    /// What is there is looked at once the mark is held: another process may have ended meanwhile, and
    /// what it has made is not a leftover.
    pub fn claim(&self, dir: &Path) -> Result<(File, bool), BackupError> {
        let marker = dir.join(UNFINISHED);
        let not_empty = || Err(BackupError::NotEmpty { path: dir.to_owned() });
        let (mut file, cleared) = match fsutil::open_to_write(&marker) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if has_more(dir)? {
                    return not_empty();
                }
                let made = fsutil::create(&marker);
                (made.map_err(BackupError::io("write", &marker))?, false)
            }
            Err(error) => return Err(BackupError::io("write", &marker)(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BackupError::Busy { path: dir.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(BackupError::io("lock", &marker)(error)),
        }
        if !fsutil::is_at(&file, &marker).map_err(BackupError::io("look at", &marker))? {
            // The process that held it has finished.
            return not_empty();
        }
        if cleared {
            self.clear(dir).map_err(BackupError::io("clear", dir))?;
        }
        if has_more(dir)? {
            if !cleared {
                fs::remove_file(&marker).map_err(BackupError::io("remove", &marker))?;
            }
            return not_empty();
        }
        let written = file.set_len(0).and_then(|()| file.write_all(self.note.as_bytes()));
        let written = written.and_then(|()| file.sync_all()).and_then(|()| fsutil::sync_dir(dir));
        written.map_err(BackupError::io("write", &marker))?;
        Ok((file, cleared))
    }

    /// Removes what was made, and the mark at last, so that what cannot be removed is refused by name.
    pub fn give_up(&self, dir: &Path) -> io::Result<()> {
        self.clear(dir)?;
        fs::remove_file(dir.join(UNFINISHED))
    }

    /// Removes what is made, and nothing else.
    fn clear(&self, dir: &Path) -> io::Result<()> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        for name in DIRS {
            gone(fs::remove_dir_all(dir.join(name)))?;
        }
        for name in self.files {
            gone(fs::remove_file(dir.join(name)))?;
        }
        Ok(())
    }
}

/// Whether anything but the mark is in a directory, and what a machine keeps there for itself.
fn has_more(dir: &Path) -> Result<bool, BackupError> {
    for entry in fs::read_dir(dir).map_err(BackupError::io("list", dir))? {
        let name = entry.map_err(BackupError::io("list", dir))?.file_name();
        // The first directory of a disk has names that only root can remove.
        if name != UNFINISHED && fsutil::is_content(&name) {
            return Ok(true);
        }
    }
    Ok(false)
}
