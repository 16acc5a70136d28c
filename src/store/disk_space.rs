//! How much space the disk has, and what is not taken where there is little.
//!
//! **The gate.** Below a configured number of free bytes nothing is taken that makes the store
//! grow: events, imported records. Deletions, calls whose time is over and settings (a token that is
//! revoked among them) go on for as long as the disk takes them: they are small, give space back or
//! must not wait. What is below the number is for the store's own work: checkpoints, an index in place
//! of one that has failed. The disk is looked at by a thread of its own every second, and by the
//! committer after each few MiB, so that no event costs a system call and the number is undercut by a
//! few MiB at most, and by what is in memory and still has to go to the index.
//!
//! **Work that can wait** (packing the journal, compacting the index) takes nothing of that: it looks
//! ahead, and does not begin where it would shut the gate ([`DiskSpace::kept`]). Where others have shut
//! it, packing is what opens it again, and may go down to a fourth, one segment at a time.
//!
//! **Whose bytes.** Those that an ordinary user may take. What a file system keeps for root counts
//! as taken, also for root: the command line of root must not judge otherwise than the server.
//!
//! **The reserve.** A start writes: the last commit into a new segment, a snapshot of sled, a few small
//! files. On a full disk it could not, and lists would be out of reach just when they are needed to see
//! what can go. So a file, `RESERVE`, holds space and nothing else. It is given up at a start that finds
//! less free than it is large, and made again once there is space for it without shutting the gate. A
//! running store does not touch it: it needs no space to answer lists, and space that is given up while
//! others fill the disk is gone before the next start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};

use super::StoreError;
use crate::fsutil;

/// How often the disk is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of journal after which it is looked at at once.
const LOOK_BYTES: u64 = 4 << 20;
/// How much more than the least must be free before the gate opens again: an eighth of it.
const MARGIN: u64 = 8;
/// What of the least is left alone even by work that opens the gate again: a fourth of it.
const KEPT: u64 = 4;

/// The space of the disk as it was seen last, and the gate.
pub(super) struct DiskSpace {
    dir: PathBuf,
    /// Free bytes below which the gate is shut.
    least: u64,
    pub reserve: Reserve,
    free: AtomicU64,
    /// Bytes of journal that were written since.
    written: AtomicU64,
    shut: AtomicBool,
    /// Where a test says how much the disk holds, and the least that was seen free.
    #[cfg(test)]
    pub pretended: parking_lot::Mutex<Option<Pretended>>,
}

/// A disk that has nothing on it but the journal.
#[cfg(test)]
pub(super) struct Pretended {
    pub bytes: u64,
    pub lowest: u64,
}

impl DiskSpace {
    /// Looks for the first time.
    pub fn new(dir: &Path, least: u64, reserve_bytes: u64) -> Self {
        let space = Self {
            dir: dir.to_owned(),
            least,
            reserve: Reserve::new(dir, reserve_bytes),
            free: AtomicU64::new(u64::MAX),
            written: AtomicU64::new(0),
            shut: AtomicBool::new(false),
            #[cfg(test)]
            pretended: parking_lot::Mutex::new(None),
        };
        space.look();
        space
    }

    /// Looks at the disk now and then, and keeps the reserve, until the other end of `stop` is gone.
    pub fn watch(&self, stop: &Receiver<()>) {
        loop {
            self.look();
            let given_up = || stop.try_recv() == Err(TryRecvError::Disconnected);
            self.reserve.keep(self.free.load(Ordering::Relaxed), self.least, &given_up);
            if stop.recv_timeout(LOOK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Looks at the disk, and shuts or opens the gate.
    pub fn look(&self) {
        let free = match self.measured() {
            Ok(free) => free,
            Err(error) => {
                tracing::debug!(%error, "the free space of the disk is not known");
                return;
            }
        };
        self.written.store(0, Ordering::Relaxed);
        self.free.store(free, Ordering::Relaxed);
        let shut = is_shut(self.shut.load(Ordering::Relaxed), free, self.least);
        if self.shut.swap(shut, Ordering::Relaxed) == shut {
            return;
        }
        let least = self.least;
        if shut {
            tracing::warn!(
                free,
                least,
                "the disk is short of space: events and imports are refused until some is made"
            );
        } else {
            tracing::info!(free, least, "the disk has space again: events and imports are taken");
        }
    }

    #[cfg(not(test))]
    fn measured(&self) -> io::Result<u64> {
        fsutil::free_bytes(&self.dir)
    }

    #[cfg(test)]
    fn measured(&self) -> io::Result<u64> {
        let mut pretended = self.pretended.lock();
        let Some(disk) = &mut *pretended else { return fsutil::free_bytes(&self.dir) };
        let mut free = disk.bytes;
        for entry in fs::read_dir(self.dir.join("journal"))? {
            // One that goes meanwhile takes nothing.
            let bytes = entry?.metadata().map_or(0, |file| file.len());
            free = free.saturating_sub(bytes);
        }
        disk.lowest = disk.lowest.min(free);
        Ok(free)
    }

    /// So many bytes of journal were written.
    pub fn wrote(&self, bytes: usize) {
        let before = self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) >= LOOK_BYTES {
            self.look();
        }
    }

    /// Whether the gate is open to what makes the store grow.
    pub fn admits(&self) -> Result<(), StoreError> {
        if !self.shut.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(StoreError::Low { free: self.free.load(Ordering::Relaxed), least: self.least })
    }

    /// Whether work may begin that takes so many bytes for a while. It is asked for before the work:
    /// what fills the disk up fails, and fails others.
    pub fn holds(&self, what: &'static str, needed: u64) -> Result<(), StoreError> {
        self.leaves(what, needed, 0)
    }

    /// Bytes that work which can wait leaves free: so many that it does not shut the gate, and where
    /// that is shut a fourth of them.
    pub fn kept(&self) -> u64 {
        self.look();
        if self.shut.load(Ordering::Relaxed) { self.kept_at_least() } else { self.least }
    }

    /// Bytes that are left free by work of the store that cannot wait, for smaller such work.
    pub fn kept_at_least(&self) -> u64 {
        self.least / KEPT
    }

    /// Whether work may begin, or go on, that takes so many bytes more and leaves so many free.
    pub fn leaves(&self, what: &'static str, needed: u64, kept: u64) -> Result<(), StoreError> {
        self.look();
        let free = self.free.load(Ordering::Relaxed);
        if free >= needed.saturating_add(kept) {
            return Ok(());
        }
        Err(StoreError::NoSpace { what, needed, free, kept })
    }
}

/// Whether the gate is shut from now on. It opens later than it shuts, so that it does not flap.
fn is_shut(shut: bool, free: u64, least: u64) -> bool {
    let margin = if shut { least / MARGIN } else { 0 };
    free < least.saturating_add(margin)
}

/// Its name in the data directory.
const RESERVE: &str = "RESERVE";
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
    /// It has been logged why it could not be made.
    reported: AtomicBool,
}

impl Reserve {
    pub fn new(dir: &Path, bytes: u64) -> Self {
        let (settled, reported) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { path: dir.join(RESERVE), bytes, settled, reported }
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
                if !self.reported.swap(true, Ordering::Relaxed) {
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
                "space is held in reserve for a start on a full disk"
            );
        }
        fsutil::sync_parent(&self.path)?;
        Ok(true)
    }
}

/// Gives the reserve of a directory up where less is free than it is large.
pub(super) fn make_way_by_reserve(dir: &Path) {
    let held = held_bytes(&dir.join(RESERVE));
    match fsutil::free_bytes(dir) {
        Ok(free) if free < held && give_up_reserve(dir) => tracing::warn!(
            free,
            reserve = held,
            "the disk is full: the reserve is given up, so that the store can be opened"
        ),
        _ => {}
    }
}

/// Gives the reserve up. Says whether there was one. The caller holds the lock.
pub(super) fn give_up_reserve(dir: &Path) -> bool {
    let path = dir.join(RESERVE);
    // Some file systems give the space back only once the removal is on the disk.
    fs::remove_file(&path).and_then(|()| fsutil::sync_parent(&path)).is_ok()
}

fn held_bytes(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |file| file.blocks().saturating_mul(BLOCK_BYTES))
}

/// Makes a file that holds so many bytes of the disk.
fn make(path: &Path, bytes: u64, given_up: &dyn Fn() -> bool) -> io::Result<()> {
    let mut file = fsutil::create(path)?;
    if fallocate(&file, FallocateFlags::empty(), 0, bytes).is_err() {
        fill(&mut file, bytes, given_up)?;
    }
    file.sync_all()
}

/// Writes so many bytes of noise: there are file systems that store no zeros.
fn fill(file: &mut File, bytes: u64, given_up: &dyn Fn() -> bool) -> io::Result<()> {
    let mut noise = vec![0; PIECE_BYTES];
    crate::random::fill(&mut noise)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_opens_later_than_it_shuts() {
        assert!(!is_shut(false, 800, 800));
        assert!(is_shut(false, 799, 800));
        assert!(is_shut(true, 899, 800));
        assert!(!is_shut(true, 900, 800));
        assert!(!is_shut(true, 0, 0) && !is_shut(false, 0, 0), "0 is no gate");
        assert!(is_shut(true, u64::MAX - 1, u64::MAX));
    }

    #[test]
    fn the_disk_is_looked_at_again_after_a_few_mib() {
        let dir = tempfile::tempdir().unwrap();
        let space = DiskSpace::new(dir.path(), u64::MAX, 0);
        assert!(matches!(space.admits(), Err(StoreError::Low { least: u64::MAX, .. })));
        space.free.store(7, Ordering::Relaxed);
        let step = usize::try_from(LOOK_BYTES / 2).unwrap();
        space.wrote(step);
        assert_eq!(space.free.load(Ordering::Relaxed), 7, "not yet");
        space.wrote(step);
        assert_ne!(space.free.load(Ordering::Relaxed), 7);
        assert!(space.holds("it", 1).is_ok());
        let refused = space.holds("it", u64::MAX).unwrap_err().to_string();
        assert!(refused.starts_with("it may take 18.4 EB, and the disk has only "), "{refused}");
    }

    #[test]
    fn work_that_can_wait_does_not_shut_the_gate() {
        let dir = tempfile::tempdir().unwrap();
        let space = DiskSpace::new(dir.path(), 4096, 0);
        assert_eq!(space.kept(), 4096);
        let free = fsutil::free_bytes(dir.path()).unwrap();
        assert!(space.leaves("it", 1, 4096).is_ok() && space.leaves("it", 1, free / 2).is_ok());
        let refused = space.leaves("it", 1, u64::MAX - 1).unwrap_err().to_string();
        assert!(refused.contains(", of which 18.4 EB stay free"), "{refused}");
        let shut = DiskSpace::new(dir.path(), u64::MAX, 0);
        assert_eq!(shut.kept(), u64::MAX / KEPT);
    }

    const BYTES: u64 = 3 << 20;

    fn kept(dir: &Path, bytes: u64, free: u64, least: u64) -> (u64, bool) {
        let reserve = Reserve::new(dir, bytes);
        reserve.keep(free, least, &|| false);
        (reserve.held_bytes(), reserve.settled.load(Ordering::Relaxed))
    }

    #[test]
    fn it_holds_what_it_says_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RESERVE);
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
        assert!(give_up_reserve(dir.path()) && !give_up_reserve(dir.path()));
    }

    #[test]
    fn noise_does_where_nothing_can_be_allocated() {
        let mut file = tempfile::tempfile().unwrap();
        fill(&mut file, PIECE_BYTES as u64 + 5, &|| false).unwrap();
        let about = file.metadata().unwrap();
        assert_eq!(about.len(), PIECE_BYTES as u64 + 5);
        assert!(about.blocks() * BLOCK_BYTES >= about.len());
        assert!(fill(&mut file, 1, &|| true).is_err(), "a stop does not wait for it");
    }
}
