//! The data directory itself: who owns it, and which release wrote it.
//!
//! Invariant: a store is made only in a directory that has no files of another kind. In one that has a
//! store, or the beginning of one, other files are left alone.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::OpenError;
use super::disk_space::give_up_reserve;
use crate::fsutil;

/// The format of the data directory that this release writes.
pub const FORMAT: u32 = 1;
/// Held by the process that uses the directory.
const LOCK: &str = "LOCK";
/// Directories of a data directory.
const DIRS: [&str; 2] = ["journal", "tls"];
/// A file that says that a restore into its directory, or a backup, has not been finished.
pub const UNFINISHED: &str = "UNFINISHED";

/// The right to use a data directory, held as long as this lives. `LOCK` also says how the last
/// owner left.
pub struct Lock {
    file: File,
    dir: PathBuf,
    /// What stood in it.
    before: String,
    /// Whether it was made now, and the directories that were, the deepest first.
    made: bool,
    made_dirs: Vec<PathBuf>,
    /// The last owner closed the store in order.
    pub was_clean: bool,
}

/// How often `LOCK` is opened where others take it and remove it again.
const TRIES_MAX: usize = 16;

impl Lock {
    /// Takes the directory, before anything else in it is looked at. Where `create` it is made,
    /// for its owner alone.
    pub fn take(dir: &Path, create: bool) -> Result<Self, OpenError> {
        // A journal in there may be half of one, and a backup must not be written to.
        if fsutil::is_there(&dir.join(UNFINISHED)) {
            return Err(OpenError::Unfinished { path: dir.to_owned() });
        }
        if fsutil::is_there(&dir.join("BACKUP")) {
            return Err(OpenError::Backup { path: dir.to_owned() });
        }
        expect_dir(dir)?;
        let is_store = is_store(dir);
        if !is_store && !create {
            return Err(missing(dir));
        }
        let mut made_dirs = Vec::new();
        if create {
            if !is_store {
                expect_free(dir)?;
            }
            made_dirs = make_dirs(dir).map_err(OpenError::io("make", dir))?;
        }
        for name in DIRS {
            let path = dir.join(name);
            fsutil::expect_dir(&path).map_err(OpenError::io("use", &path))?;
        }
        let locked = lock_file(dir).inspect_err(|_| remove_dirs(&made_dirs));
        let (file, text, made) = locked?;
        // A later release's directory is left as it is, `LOCK` too.
        read_format(dir)?;
        // An empty file may be what a crash has left of either.
        let was_clean = text.lines().any(|line| line == "clean");
        let dir = dir.to_owned();
        let mut lock = Self { file, dir, before: text, made, made_dirs, was_clean };
        match lock.write(&format!("pid {}\n", std::process::id())) {
            Ok(()) => Ok(lock),
            Err(error) => {
                let _too = lock.leave_as_it_was();
                Err(error)
            }
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Says that the store was closed in order.
    pub fn leave_clean(mut self) -> Result<(), OpenError> {
        self.write("clean\n")
    }

    /// Gives the directory back without having opened the store: it is as clean as it was, and what
    /// was made of it is gone.
    pub fn leave_as_it_was(mut self) -> Result<(), OpenError> {
        if !self.made || is_store(&self.dir) {
            let before = std::mem::take(&mut self.before);
            return self.write(&before);
        }
        let path = self.dir.join(LOCK);
        fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
        remove_dirs(&self.made_dirs);
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), OpenError> {
        // Over what is there: on a full disk a file that was emptied may find no space again. No text
        // is shorter than "clean", so that nothing of that word outlives it.
        let mut write = || {
            self.file.rewind()?;
            self.file.write_all(text.as_bytes())?;
            self.file.set_len(text.len() as u64)?;
            self.file.sync_all()
        };
        let written = match write() {
            Err(error) if fsutil::is_full(&error) && give_up_reserve(&self.dir) => write(),
            written => written,
        };
        written.map_err(OpenError::io("write", &self.dir.join("LOCK")))
    }
}

/// `LOCK` of a directory, locked; what stands in it; and whether it was not there before.
fn lock_file(dir: &Path) -> Result<(File, String, bool), OpenError> {
    let path = dir.join(LOCK);
    let mut pid = "unknown".to_owned();
    for _ in 0..TRIES_MAX {
        let made = !fsutil::is_there(&path);
        let opened = fsutil::open_or_create(&path).and_then(|file| {
            fsutil::expect_owner(&file, dir)?;
            Ok(file)
        });
        let file = opened.map_err(OpenError::io("use", &path))?;
        let locked = file.try_lock();
        let mut text = String::new();
        let _unreadable = (&file).take(fsutil::SMALL_BYTES_MAX).read_to_string(&mut text);
        match locked {
            // The last owner may have removed it: then the lock of that file is worth nothing.
            Ok(()) if fsutil::is_at(&file, &path).unwrap_or(false) => {
                return Ok((file, text, made));
            }
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let found = text.lines().find_map(|line| line.strip_prefix("pid "));
                found.unwrap_or("unknown").clone_into(&mut pid);
                break;
            }
            Err(TryLockError::Error(source)) => return Err(OpenError::io("lock", &path)(source)),
        }
    }
    Err(OpenError::Locked { path: dir.to_owned(), pid })
}

/// Why there is no store in a directory, unless it cannot be said whether there is one.
fn missing(dir: &Path) -> OpenError {
    match fs::symlink_metadata(dir.join("FORMAT")) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            OpenError::io("look into", dir)(error)
        }
        _ => OpenError::Missing { path: dir.to_owned() },
    }
}

/// Writes `FORMAT`, the last thing that makes a directory a data directory. Returns the epoch: which
/// life of this data sequence numbers belong to. The file knows its own inode and birth, so that a
/// copy is recognised.
pub fn begin(dir: &Path) -> Result<String, OpenError> {
    let path = dir.join("FORMAT");
    let epoch = crate::random::uuid().to_string();
    let text = |file: &str| format!("rollcall-data {FORMAT}\nepoch {epoch}\nfile {file}\n");
    let bytes = |about: &fs::Metadata| text(&identity(about)).into_bytes();
    fsutil::replace(&path, 0o600, bytes).map_err(OpenError::io("write", &path))?;
    Ok(epoch)
}

/// The epoch of a directory in which this `FORMAT` was found; a new one in a new directory. One that
/// was copied begins a new epoch too: it may be an older state of the data, whose sequence numbers
/// are given out again.
pub(super) fn epoch(dir: &Path, found: Option<StoreFormat>) -> Result<String, OpenError> {
    let Some(found) = found else { return begin(dir) };
    if found.original {
        return Ok(found.epoch);
    }
    let new = begin(dir)?;
    let old = found.epoch;
    tracing::info!(old, new, "the data directory is a copy; it begins a new epoch");
    Ok(new)
}

/// What `FORMAT` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFormat {
    /// Which life of the data sequence numbers belong to.
    pub epoch: String,
    /// Whether this is the directory that it was written in, and not a copy of it.
    pub original: bool,
}

/// Reads `FORMAT`, and changes nothing; none in a new directory.
///
/// # Errors
/// It cannot be read, or is of another release.
pub fn read_format(dir: &Path) -> Result<Option<StoreFormat>, OpenError> {
    let path = dir.join("FORMAT");
    let (text, about) = match read_with_metadata(&path) {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("read", &path)(error)),
    };
    let strange = || OpenError::Format { path: path.clone(), text: text.clone() };
    let mut lines = text.lines();
    let found = lines.next().and_then(|line| line.strip_prefix("rollcall-data "));
    let found = found.ok_or_else(strange)?;
    match found.parse::<u32>() {
        Ok(FORMAT) => {}
        // No release has written an older one. Once one has, it is brought up to date here: see
        // "Changing what is stored" in ARCHITECTURE.md.
        Ok(number) if number < FORMAT => return Err(strange()),
        _ => {
            let found = found.to_owned();
            return Err(OpenError::Newer { path: path.clone(), found, known: FORMAT });
        }
    }
    let epoch = lines.next().and_then(|line| line.strip_prefix("epoch ")).ok_or_else(strange)?;
    let known = lines.next().and_then(|line| line.strip_prefix("file "));
    let original = known == Some(&*identity(&about));
    Ok(Some(StoreFormat { epoch: epoch.to_owned(), original }))
}

fn read_with_metadata(path: &Path) -> io::Result<(String, fs::Metadata)> {
    let file = fsutil::open(path)?;
    let about = file.metadata()?;
    let bytes = fsutil::contents(file, fsutil::SMALL_BYTES_MAX)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), about))
}

/// What a copy of a file has otherwise: inodes are given out again, and not every file system knows
/// when a file was born.
fn identity(file: &fs::Metadata) -> String {
    let born = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    format!("{}-{}", file.ino(), born.map_or(0, |born| born.as_nanos()))
}

/// What is in a directory from its first moment as a store.
const SIGNS: [&str; 2] = ["FORMAT", "journal"];
/// What a start may leave before those, and what one who has removed them may have left; each also with
/// `.new` behind it, before it is whole.
const OURS: [&str; 6] = ["LOCK", "tls", "admin.sock", "admin.token", "RESERVE", "CURRENT"];
/// Files that keep an empty directory in a version control system.
const KEEPERS: [&str; 3] = [".gitkeep", ".gitignore", ".keep"];
/// Names that are shown of those that are in the way.
const SHOWN_MAX: usize = 3;

/// Whether there is a store in a directory, or the beginning of one.
fn is_store(dir: &Path) -> bool {
    SIGNS.iter().any(|name| fsutil::is_there(&dir.join(name)))
}

/// An error where something is that is no directory, or a link leads to nothing.
fn expect_dir(dir: &Path) -> Result<(), OpenError> {
    let not = |why: &'static str| Err(OpenError::NoDirectory { path: dir.to_owned(), why });
    match fs::metadata(dir) {
        Ok(about) if about.is_dir() => Ok(()),
        Ok(about) if about.is_file() => not("is a file"),
        Ok(_) => not("is something else"),
        Err(error) if error.kind() == ErrorKind::NotADirectory => not("lies below a file"),
        Err(_) if fsutil::is_there(dir) && fs::canonicalize(dir).is_err() => {
            not("is a link that leads nowhere")
        }
        // Nothing is there yet, or it may not be looked at.
        Err(_) => Ok(()),
    }
}

/// An error where a directory has files of another kind.
fn expect_free(dir: &Path) -> Result<(), OpenError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(OpenError::io("look into", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(OpenError::io("look into", dir))?.file_name();
        if fsutil::is_content(&name) && !is_ours(&name) {
            names.push(name.to_string_lossy().escape_debug().to_string());
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN_MAX);
    names.truncate(SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = format!("{}{more}", names.join(", "));
    Err(OpenError::NotEmpty { path: dir.to_owned(), names })
}

fn is_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let whole = name.strip_suffix(".new").unwrap_or(name);
    let is_known = SIGNS.contains(&whole) || OURS.contains(&whole) || KEEPERS.contains(&name);
    is_known || name.starts_with("index-")
}

/// Makes a directory, for its owner alone, and those above it. Returns those that were not there, the
/// deepest first.
fn make_dirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !fsutil::is_there(dir);
    let made = dir.ancestors().take_while(missing).map(Path::to_owned).collect();
    fsutil::create_dirs(dir)?;
    Ok(made)
}

/// Removes directories that were made, the deepest first, as far as they are empty.
fn remove_dirs(made: &[PathBuf]) {
    for dir in made {
        if let Err(error) = fs::remove_dir(dir) {
            tracing::debug!(%error, dir = %dir.display(), "a directory that was made stays");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_removed_and_nothing_else() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("a/b/c");
        fs::create_dir(top.path().join("a")).unwrap();
        let made = make_dirs(&dir).unwrap();
        assert_eq!(made, [dir.clone(), top.path().join("a/b")]);
        fs::write(top.path().join("a/b/theirs"), "").unwrap();
        remove_dirs(&made);
        assert!(!dir.exists() && top.path().join("a/b/theirs").exists());
        fs::remove_file(top.path().join("a/b/theirs")).unwrap();
        remove_dirs(&make_dirs(&dir).unwrap());
        assert!(top.path().join("a/b").exists(), "it was there before");
        assert!(make_dirs(top.path()).unwrap().is_empty());
    }
}
