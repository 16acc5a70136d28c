//! A directory on its way to a store: whether one may be made in it, and what takes that back.
//!
//! Invariant: a store is made only where nothing of somebody else's is. In a directory that has one, or
//! the beginning of one, other files are its owner's business.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::files;

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
pub(super) fn is_store(dir: &Path) -> bool {
    SIGNS.iter().any(|name| files::is_there(&dir.join(name)))
}

/// An error where something is that is no directory, or a link leads to nothing.
pub(super) fn expect_dir(dir: &Path) -> Result<(), OpenError> {
    let not = |why: &'static str| Err(OpenError::NoDirectory { path: dir.to_owned(), why });
    match fs::metadata(dir) {
        Ok(about) if about.is_dir() => Ok(()),
        Ok(about) if about.is_file() => not("is a file"),
        Ok(_) => not("is something else"),
        Err(error) if error.kind() == ErrorKind::NotADirectory => not("lies below a file"),
        Err(_) if files::is_there(dir) && fs::canonicalize(dir).is_err() => {
            not("is a link that leads nowhere")
        }
        // Nothing is there yet, or nobody may look.
        Err(_) => Ok(()),
    }
}

/// An error where a directory has files of somebody else.
pub(super) fn expect_free(dir: &Path) -> Result<(), OpenError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(OpenError::io("look into", dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(OpenError::io("look into", dir))?.file_name();
        if files::is_content(&name) && !is_ours(&name) {
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
pub(super) fn make(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = |dir: &&Path| !dir.as_os_str().is_empty() && !files::is_there(dir);
    let made = dir.ancestors().take_while(missing).map(Path::to_owned).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    Ok(made)
}

/// Removes directories that were made, the deepest first, as far as they are empty.
pub(super) fn remove(made: &[PathBuf]) {
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
        let made = make(&dir).unwrap();
        assert_eq!(made, [dir.clone(), top.path().join("a/b")]);
        fs::write(top.path().join("a/b/theirs"), "").unwrap();
        remove(&made);
        assert!(!dir.exists() && top.path().join("a/b/theirs").exists());
        fs::remove_file(top.path().join("a/b/theirs")).unwrap();
        remove(&make(&dir).unwrap());
        assert!(top.path().join("a/b").exists(), "it was there before");
        assert!(make(top.path()).unwrap().is_empty());
    }
}
