//! `RESERVE`: a file that holds room on the disk and nothing else.
//!
//! A start writes: the last commit into a new segment, a snapshot of sled, a few small files. On a
//! disk that somebody has filled up it could not, and lists would be out of reach just when somebody
//! has to look what can go. So the file is given up at a start that finds less free than it is large,
//! and made again once there is room for it without shutting the gate (`space.rs`). A running store
//! does not touch it: it needs no room to answer lists, and room that is given up while others fill
//! the disk is gone before the next start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{FallocateFlags, fallocate};

use super::space::free_bytes;
use crate::files;

/// Its name in the data directory.
const NAME: &str = "RESERVE";
/// Bytes that are written at once where the file system cannot allocate.
const PIECE_BYTES: usize = 1 << 20;
/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;

/// The reserve of a data directory.
pub(super) struct Reserve {
    path: PathBuf,
    /// How large it is to be; 0 for none.
    bytes: u64,
    /// Nothing more need be done about it.
    settled: AtomicBool,
    /// It is known why it could not be made.
    told: AtomicBool,
}

impl Reserve {
    pub fn new(dir: &Path, bytes: u64) -> Self {
        let (settled, told) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { path: dir.join(NAME), bytes, settled, told }
    }

    /// Bytes of the disk that it holds.
    pub fn held_bytes(&self) -> u64 {
        held_bytes(&self.path)
    }

    /// Makes it what it is to be, where `free` bytes leave `least` beside it, and as much as itself.
    /// Gives up where that is asked for.
    pub fn keep(&self, free: u64, least: u64, given_up: &dyn Fn() -> bool) {
        if self.settled.load(Ordering::Relaxed) {
            return;
        }
        let kept = self.kept(free, least, given_up);
        match kept {
            Ok(settled) => self.settled.store(settled, Ordering::Relaxed),
            Err(error) => {
                let _half = fs::remove_file(&self.path);
                if !self.told.swap(true, Ordering::Relaxed) {
                    let file = self.path.display();
                    tracing::warn!(%file, %error, "the reserve cannot be made; trying on");
                }
            }
        }
    }

    fn kept(&self, free: u64, least: u64, given_up: &dyn Fn() -> bool) -> io::Result<bool> {
        let length = fs::symlink_metadata(&self.path).map_or(0, |file| file.len());
        let held = self.held_bytes();
        if length == self.bytes && held >= self.bytes {
            return Ok(true);
        }
        let rest = free.saturating_add(held).saturating_sub(self.bytes);
        if self.bytes > 0 && rest < least.max(self.bytes) {
            return Ok(false);
        }
        if length > 0 {
            // Of another size, or a copy that holds nothing.
            fs::remove_file(&self.path)?;
        }
        if self.bytes > 0 {
            make(&self.path, self.bytes, given_up)?;
            tracing::info!(
                bytes = self.bytes,
                "room is held in reserve for a start on a full disk"
            );
        }
        sync_parent(&self.path)?;
        Ok(true)
    }
}

/// Gives the reserve of a directory up where less is free than it is large.
pub(super) fn make_way(dir: &Path) {
    let held = held_bytes(&dir.join(NAME));
    match free_bytes(dir) {
        Ok(free) if free < held && give_up(dir) => tracing::warn!(
            free,
            reserve = held,
            "the disk is full: the reserve is given up, so that the store can be opened"
        ),
        _ => {}
    }
}

/// Gives the reserve up. Says whether there was one. Whoever asks holds the lock.
pub(super) fn give_up(dir: &Path) -> bool {
    let path = dir.join(NAME);
    // Some file systems give the room back only once the removal is on the disk.
    fs::remove_file(&path).and_then(|()| sync_parent(&path)).is_ok()
}

fn held_bytes(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |file| file.blocks().saturating_mul(BLOCK_BYTES))
}

/// Makes a file that holds so many bytes of the disk.
fn make(path: &Path, bytes: u64, given_up: &dyn Fn() -> bool) -> io::Result<()> {
    let mut file = files::create(path)?;
    if fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
        fill(&mut file, bytes, given_up)?;
    }
    file.sync_all()
}

/// Writes so many bytes of noise: there are file systems that store no zeros.
fn fill(file: &mut File, bytes: u64, given_up: &dyn Fn() -> bool) -> io::Result<()> {
    let mut noise = vec![0; PIECE_BYTES];
    SystemRandom::new().fill(&mut noise).map_err(|_| io::Error::other("no random numbers"))?;
    let mut left = bytes;
    while left > 0 {
        if given_up() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let piece = noise.chunks(usize::try_from(left).unwrap_or(PIECE_BYTES)).next();
        let piece = piece.unwrap_or_default();
        file.write_all(piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    files::sync_dir(files::parent(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 3 << 20;

    fn kept(dir: &Path, bytes: u64, free: u64, least: u64) -> (u64, bool) {
        let reserve = Reserve::new(dir, bytes);
        reserve.keep(free, least, &|| false);
        (reserve.held_bytes(), reserve.settled.load(Ordering::Relaxed))
    }

    #[test]
    fn it_holds_what_it_says_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let (held, settled) = kept(dir.path(), BYTES, 3 * BYTES, 2 * BYTES);
        assert!(held >= BYTES && settled, "{held}");
        let about = fs::metadata(&path).unwrap();
        assert_eq!((about.len(), about.mode() & 0o777), (BYTES, 0o600));
        // Another size, and none at all.
        assert!(kept(dir.path(), BYTES / 3, 3 * BYTES, 0).0 < BYTES);
        assert_eq!(fs::metadata(&path).unwrap().len(), BYTES / 3);
        assert_eq!(kept(dir.path(), 0, 0, BYTES), (0, true));
        assert!(!path.exists());
        // A copy that has holes in its place.
        File::create(&path).unwrap().set_len(BYTES).unwrap();
        assert_eq!(held_bytes(&path), 0);
        assert!(kept(dir.path(), BYTES, 9 * BYTES, 0).0 >= BYTES);
    }

    #[test]
    fn it_is_not_made_where_it_would_take_what_others_need() {
        let dir = tempfile::tempdir().unwrap();
        for (free, least) in [(3 * BYTES - 1, 2 * BYTES), (2 * BYTES - 1, 0)] {
            assert_eq!(kept(dir.path(), BYTES, free, least), (0, false), "{free} {least}");
        }
        assert!(kept(dir.path(), BYTES, 2 * BYTES, 0).1);
        assert!(give_up(dir.path()) && !give_up(dir.path()));
    }

    #[test]
    fn noise_does_where_nothing_can_be_allocated() {
        let mut file = tempfile::tempfile().unwrap();
        fill(&mut file, PIECE_BYTES as u64 + 5, &|| false).unwrap();
        let about = file.metadata().unwrap();
        assert_eq!(about.len(), PIECE_BYTES as u64 + 5);
        assert!(about.blocks() * BLOCK_BYTES >= about.len());
        assert!(fill(&mut file, 1, &|| true).is_err(), "whoever stops does not wait for it");
    }
}
