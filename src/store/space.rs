//! How much room the disk has, and what is not taken where there is little.
//!
//! **The gate.** Below a configured number of free bytes nothing is taken that makes the store
//! grow: events, imported records. Deletions, calls whose time is over and settings (a token that is
//! revoked among them) go on for as long as the disk takes them: they are small, give space back or
//! must not wait. What is below the number is for the store's own work: checkpoints, packing, a new
//! index. The disk is looked at by a thread of its own every second, and by the committer after each
//! few MiB, so that no event costs a system call and the number is undercut by a few MiB at most,
//! and by what is in memory and still has to go to the index.
//!
//! **Whose bytes.** Those that an ordinary user may take. What a file system keeps for root counts
//! as taken, whoever runs this: the command line of root must not judge otherwise than the server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::StoreError;
use super::reserve::Reserve;

/// How often the disk is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of journal after which it is looked at at once.
const LOOK_BYTES: u64 = 4 << 20;
/// How much more than the least must be free before the gate opens again: an eighth of it.
const MARGIN: u64 = 8;

/// Bytes that a file system has free for ordinary users: of the one that holds this directory.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The room of the disk as it was seen last, and the gate.
pub(super) struct Room {
    dir: PathBuf,
    /// Free bytes below which the gate is shut.
    least: u64,
    pub reserve: Reserve,
    free: AtomicU64,
    /// Bytes of journal that were written since.
    written: AtomicU64,
    shut: AtomicBool,
    /// Set when the store closes.
    stop: (Mutex<bool>, Condvar),
}

impl Room {
    /// Looks for the first time.
    pub fn new(dir: &Path, least: u64, reserve_bytes: u64) -> Self {
        let room = Self {
            dir: dir.to_owned(),
            least,
            reserve: Reserve::new(dir, reserve_bytes),
            free: AtomicU64::new(u64::MAX),
            written: AtomicU64::new(0),
            shut: AtomicBool::new(false),
            stop: (Mutex::new(false), Condvar::new()),
        };
        room.look();
        room
    }

    /// Looks at the disk now and then, and keeps the reserve, until [`Self::stop`].
    pub fn watch(&self) {
        let (stop, stopped) = &self.stop;
        loop {
            self.look();
            let given_up = || *stop.lock();
            self.reserve.keep(self.free.load(Ordering::Relaxed), self.least, &given_up);
            let mut stop = stop.lock();
            if !*stop {
                stopped.wait_for(&mut stop, LOOK_INTERVAL);
            }
            if *stop {
                return;
            }
        }
    }

    /// Ends [`Self::watch`].
    pub fn stop(&self) {
        let (stop, stopped) = &self.stop;
        *stop.lock() = true;
        stopped.notify_all();
    }

    /// Looks at the disk, and shuts or opens the gate.
    pub fn look(&self) {
        let free = match free_bytes(&self.dir) {
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
                "the disk is short of room: events and imports are refused until some is made"
            );
        } else {
            tracing::info!(free, least, "the disk has room again: events and imports are taken");
        }
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
        self.look();
        let free = self.free.load(Ordering::Relaxed);
        if free >= needed { Ok(()) } else { Err(StoreError::NoRoom { what, needed, free }) }
    }
}

/// Whether the gate is shut from now on. It opens later than it shuts, so that it does not flap.
fn is_shut(shut: bool, free: u64, least: u64) -> bool {
    let margin = if shut { least / MARGIN } else { 0 };
    free < least.saturating_add(margin)
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
        let room = Room::new(dir.path(), u64::MAX, 0);
        assert!(matches!(room.admits(), Err(StoreError::Low { least: u64::MAX, .. })));
        room.free.store(7, Ordering::Relaxed);
        let step = usize::try_from(LOOK_BYTES / 2).unwrap();
        room.wrote(step);
        assert_eq!(room.free.load(Ordering::Relaxed), 7, "not yet");
        room.wrote(step);
        assert_ne!(room.free.load(Ordering::Relaxed), 7);
        assert!(room.holds("it", 1).is_ok());
        let refused = room.holds("it", u64::MAX).unwrap_err().to_string();
        assert!(refused.starts_with("it may take 18446744073709551615 bytes"), "{refused}");
    }
}
