//! Opening and closing a store.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::committer::Job;
use super::compactor::{Collected, Depth, RetentionPolicy};
use super::data_dir::{self, Lock};
use super::disk_space;
use super::recovery::Start;
use super::state::{Progress, State, Status};
use super::{OpenError, Recovery, StoreError, WaitGuard};
use crate::access::Access;
use crate::domain::Timestamp;
use crate::fsutil;
use crate::index::Generations;
use crate::journal::{self};

/// How often whoever waits for a thread of the store looks whether it is alive.
const LIVES_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is looked whether there is an index.
const LOOK: Duration = Duration::from_millis(50);

/// How a store is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is.
    pub data_dir: PathBuf,
    /// Bytes of memory for sled's cache.
    pub index_cache_bytes: u64,
    /// Bytes after which a new journal segment is begun.
    pub segment_bytes: u64,
    /// Calls and tombstones in memory, beyond which changes have to wait.
    pub registry_calls: usize,
    /// Changes that may wait for the committer.
    pub queue_events: usize,
    /// How often calls are copied into the index.
    pub checkpoint_interval: Duration,
    /// How long a live call stays out of the index.
    pub live_checkpoint_age_millis: u64,
    /// Bytes of journal that a start may have to replay, beyond which live calls are copied too.
    pub replay_bytes: u64,
    /// Free bytes of the disk below which nothing is taken that makes the store grow.
    pub min_free_bytes: u64,
    /// Bytes that are held for a start on a full disk.
    pub reserve_bytes: u64,
    /// How long a call lives without an event.
    pub max_lifetime_millis: u64,
    /// How often quiet calls are looked for.
    pub sweep_interval: Duration,
    /// What is kept, and for how long.
    pub retention: RetentionPolicy,
    /// Build the index anew, whatever its state.
    pub rebuild: bool,
    /// An index that has to be built anew is built after the start, while changes are taken.
    pub build_later: bool,
    /// False only in the benchmark that measures what syncing costs.
    pub sync: bool,
}

/// A data directory, open.
pub struct Store {
    pub(super) shared: Arc<State>,
    lock: Mutex<Option<Lock>>,
    /// The looks at those who wait and at the disk, the collector, the keeper and the committer, in the order in which they end.
    threads: Mutex<Vec<(JoinHandle<()>, Option<Job>)>>,
    /// Settings are changed by one at a time.
    settings: Mutex<()>,
    /// One new generation is asked for at a time.
    pub(super) building: Mutex<()>,
    /// One round of the collector is asked for at a time.
    collecting: Mutex<()>,
    /// What it took to open it.
    recovery: Recovery,
}

impl Store {
    /// Opens the directory of this lock: reads the journal's end, opens the index or builds it
    /// anew, replays, and begins to take changes.
    pub fn open(
        lock: Lock,
        options: Options,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<Self, OpenError> {
        let dir = options.data_dir.clone();
        disk_space::make_way_by_reserve(&dir);
        Self::open_with_room(lock, options, now, progress).map_err(|error| {
            if !error.is_full() {
                return error;
            }
            // It took more than was free, and there may have been a reserve yet.
            disk_space::give_up_reserve(&dir);
            let free = fsutil::free_bytes(&dir).unwrap_or_default();
            OpenError::NoRoom { path: dir, free, source: Box::new(error) }
        })
    }

    fn open_with_room(
        lock: Lock,
        options: Options,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<Self, OpenError> {
        let dir = options.data_dir.clone();
        let format = data_dir::read_format(&dir)?;
        let journal_dir = dir.join("journal");
        let begun = journal_dir.exists();
        make_private(&journal_dir)?;
        let mut journal = match journal::open(&journal_dir, format.is_none(), options.segment_bytes)
        {
            Ok(journal) => journal,
            // Nothing was changed, and nothing is to look as if.
            Err(error) => {
                lock.leave_as_it_was()?;
                return Err(error.into());
            }
        };
        if begun && format.is_none() {
            tracing::warn!("FORMAT was missing beside a journal; the data begin a new epoch");
        }
        let epoch = data_dir::epoch(&dir, format)?;
        if let Some(torn) = &journal.torn {
            tracing::warn!(
                file = %torn.path.display(), offset = torn.offset, bytes = torn.bytes,
                "the last commit was cut off; it is dropped (it was acknowledged only if the disk has \
                 lost what it had synced)"
            );
        }
        if !options.sync {
            tracing::warn!("syncing is off: acknowledged calls can be lost");
            journal.writer.without_sync();
        }
        let generations = Generations::new(&dir, options.index_cache_bytes);
        let (jobs, queue) = channel();
        let segments = journal.segments.into_iter().map(Arc::new).collect();
        let shared = State::new(options, generations, epoch, jobs, segments);
        journal.writer.tell(shared.doing.clone());
        let recovery = Recovery {
            is_new: !begun,
            was_clean: lock.was_clean,
            torn_bytes: journal.torn.as_ref().map(|torn| torn.bytes),
            ..Recovery::default()
        };
        let mut start = Start { shared, writer: journal.writer, generation: 0, recovery };
        start.index(&lock, now, progress)?;
        // What a build that was killed has left takes room.
        start.shared.generations.remove_others()?;
        Ok(start.run(lock, queue))
    }

    /// A store whose threads run.
    pub(super) fn running(
        shared: Arc<State>,
        lock: Lock,
        threads: Vec<(JoinHandle<()>, Option<Job>)>,
        recovery: Recovery,
    ) -> Self {
        Self {
            shared,
            lock: Mutex::new(Some(lock)),
            threads: Mutex::new(threads),
            settings: Mutex::new(()),
            building: Mutex::new(()),
            collecting: Mutex::new(()),
            recovery,
        }
    }

    /// What it took to open it.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Everything that readers and writers share is fine, or what has failed for good.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.shared.failed.subscribe()
    }

    /// Whether lists can be answered and changes be taken.
    pub fn ready(&self) -> Result<(), StoreError> {
        self.lives()?;
        self.shared.index().map(|_| ())
    }

    /// Whether changes can be taken, with or without an index.
    pub fn lives(&self) -> Result<(), StoreError> {
        self.shared.lives()
    }

    /// Waits until lists can be answered, or for so long; says how far the index is.
    pub fn wait_for_index(&self, longest: Duration, progress: &dyn Fn(Progress)) {
        let end = Instant::now().checked_add(longest);
        let (wake, woken) = &self.shared.wake;
        let mut wake = wake.lock();
        while self.shared.index().is_err()
            && self.shared.failed.borrow().is_none()
            && end.is_none_or(|end| Instant::now() < end)
        {
            woken.wait_for(&mut wake, LOOK);
            if let Some(step) = self.shared.building.lock().take() {
                MutexGuard::unlocked(&mut wake, || progress(step));
            }
        }
    }

    /// Whether the disk has room enough for events and imports.
    ///
    /// # Errors
    /// [`StoreError::Low`], and nothing else.
    pub fn takes_events(&self) -> Result<(), StoreError> {
        self.shared.room.admits()
    }

    /// Figures.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Held by whoever changes settings after having looked at them.
    pub fn settings(&self) -> MutexGuard<'_, ()> {
        self.settings.lock()
    }

    /// Has the collector make a round, and waits for it.
    pub fn collect(&self, depth: Depth) -> Result<Collected, StoreError> {
        self.collect_telling(depth, &mut |_| {})
    }

    /// The same, and says how far the packing is.
    pub fn collect_telling(
        &self,
        depth: Depth,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Collected, StoreError> {
        let _one_at_a_time = self.collecting.lock();
        let (tidy, woken) = &self.shared.tidy;
        let mut tidy = tidy.lock();
        (tidy.asked, tidy.done) = (Some(depth), None);
        *self.shared.packing.lock() = None;
        woken.notify_all();
        loop {
            let step = self.shared.packing.lock().take();
            if let Some(step) = step {
                MutexGuard::unlocked(&mut tidy, || progress(step));
            }
            if let Some(done) = tidy.done.take() {
                drop(tidy);
                if let Some(last) = self.shared.packing.lock().take() {
                    progress(last);
                }
                return done;
            }
            if tidy.stop {
                return Err(StoreError::Closing);
            }
            self.shared.lives()?;
            // Whoever dies wakes it, and may do so just before it waits.
            woken.wait_for(&mut tidy, LIVES_INTERVAL);
        }
    }

    /// Somebody waits for this, until the value is dropped; one who waits for long is named in the
    /// log.
    pub fn waits_for(&self, what: &'static str) -> WaitGuard {
        self.shared.waits.begin(Some(what), Instant::now())
    }

    /// Looks something up in the tokens and accounts.
    pub fn access<T>(&self, look: impl FnOnce(&Access) -> T) -> T {
        look(&self.shared.access.read())
    }

    /// Takes no more changes, copies everything into the index, and says that all is in order where
    /// the index has it all.
    pub fn close(&self) -> Result<(), StoreError> {
        self.stop();
        self.shared.lives()?;
        // An index that has failed may have been written in part: the next start looks it through.
        let whole = self.shared.index().is_ok_and(|index| index.sync().is_ok());
        // Whoever takes the lock next finds the index closed.
        self.shared.set_index(Err("the store is closed".to_owned()));
        if let Some(lock) = self.lock.lock().take().filter(|_| whole) {
            lock.leave_clean().map_err(|error| StoreError::Failed(super::error::chain(&error)))?;
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        {
            let (wake, woken) = &self.shared.wake;
            wake.lock().stop = true;
            woken.notify_all();
            let (tidy, woken) = &self.shared.tidy;
            tidy.lock().stop = true;
            woken.notify_all();
            self.shared.room.stop();
            self.shared.waits.stop();
        }
        for (thread, end) in self.threads.lock().drain(..) {
            if let Some(end) = end {
                let _gone = self.shared.jobs.send(end);
            }
            let _panicked = thread.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a thread of the store. Its work is nobody else's, so that its panic is the store's end. What
/// it is given lives until that is known: whoever finds it gone is to find out why.
pub(super) fn watched<G: Send + 'static>(
    shared: Arc<State>,
    name: &'static str,
    given: G,
    work: impl FnOnce(&G) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&given))) {
            shared.died(name, said(&*panic));
        }
    })
}

/// What a panic says.
pub(super) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn make_private(dir: &Path) -> Result<(), OpenError> {
    fsutil::create_dirs(dir).map_err(OpenError::io("make", dir))
}
