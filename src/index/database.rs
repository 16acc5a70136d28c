//! sled as the index uses it: opened once its lock is released, closed without a panic, and asked so that
//! its panics are errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use super::IndexError;

/// What is said of a panic.
const PANIC_CHARS_MAX: usize = 80;
/// How long a store that was just closed may still be locked.
const RELEASE_MAX: Duration = Duration::from_secs(10);
const RELEASE_POLL: Duration = Duration::from_millis(2);

/// sled's own threads close a store some time after it was dropped. Nobody but this process opens
/// it, so that a lock on it means just that.
pub(super) fn open_once_released(config: &sled::Config) -> Result<sled::Db, sled::Error> {
    let end = Instant::now() + RELEASE_MAX;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && Instant::now() < end =>
            {
                std::thread::park_timeout(RELEASE_POLL);
            }
            opened => return opened,
        }
    }
}

/// sled, which syncs once more when it is closed and panics where it cannot. The last user of an
/// index does not notice that: what it has to keep was synced before.
pub(super) struct Database(Option<sled::Db>);

impl Database {
    pub fn new(db: sled::Db) -> Self {
        Self(Some(db))
    }
}

impl std::ops::Deref for Database {
    type Target = sled::Db;

    #[expect(clippy::expect_used, reason = "it is taken out when it is dropped, and not before")]
    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("the index is open")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.0.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// sled may panic where it finds damage; others are not to notice that.
pub(super) fn guarded<T>(
    dir: &Path,
    read: impl FnOnce() -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        // sled may add all that it holds, and with it calls of all accounts.
        let reason = text.unwrap_or("no reason given").chars().take(PANIC_CHARS_MAX).collect();
        Err(IndexError::Panicked { path: dir.to_owned(), reason })
    })
}
