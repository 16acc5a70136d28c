//! What the threads and the readers share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use super::StoreError;
use super::committer::Job;
use super::compactor::Tidy;
use super::disk_space::DiskSpace;
use super::index_builder::BuildReason;
use super::index_builder::from_index::Compacted;
use super::open::Options;
use super::segment_pins::Holders;
use super::submit::Outcome;
use super::waits::Waits;
use crate::access::Access;
use crate::domain::{CallId, Timestamp};
use crate::index::{Generations, Index, IndexError};
use crate::journal::{Doing, Segment};
use crate::meter::Meter;
use crate::registry::{CallState, Registry};

/// How far a long piece of work has come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// What is being done.
    pub what: String,
    /// Units done.
    pub done: u64,
    /// Units in all, where that is known.
    pub total: Option<u64>,
    /// What they are.
    #[serde(default)]
    pub unit: Unit,
}

/// What progress is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Unit {
    /// Calls, records or rounds.
    #[default]
    Steps,
    /// Bytes.
    Bytes,
}

impl Progress {
    /// So many steps of so many.
    pub fn steps(what: impl Into<String>, done: u64, total: Option<u64>) -> Self {
        Self { what: what.into(), done, total, unit: Unit::Steps }
    }

    /// So many bytes of so many.
    pub fn bytes(what: impl Into<String>, done: u64, total: Option<u64>) -> Self {
        Self { what: what.into(), done, total, unit: Unit::Bytes }
    }
}

/// Figures of a store.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Status {
    pub epoch: String,
    pub sequence: u64,
    /// None while that is not known: while the index is built again after a start, and while events
    /// wait for it that may be of calls that are counted or not.
    pub calls: Option<u64>,
    /// Calls that are up; none while that is not known. Told beside these figures.
    #[serde(skip)]
    pub live_calls: Option<u64>,
    pub registry_calls: u64,
    /// None while that is not known.
    pub tombstones: Option<u64>,
    pub checkpoint_sequence: u64,
    /// RFC 3339; none before the first checkpoint.
    pub checkpoint_at: Option<String>,
    /// None while it is being built again.
    pub index_bytes: Option<u64>,
    /// On disk.
    pub journal_bytes: u64,
    /// What they are before they are compressed.
    pub journal_unpacked_bytes: u64,
    pub journal_segments: u64,
    /// Free to ordinary users on the disk; none where it does not say.
    pub disk_free_bytes: Option<u64>,
    /// Below so many, events and imports are refused.
    pub disk_least_bytes: u64,
    /// They are refused now.
    pub disk_low: bool,
    /// Held for a start on a full disk.
    pub reserve_bytes: u64,
    /// What has become of all changes since the store was opened.
    pub changes: Outcome,
    /// Values of events that made no sense since the store was opened, by field, where there are any.
    pub unread_values: BTreeMap<String, u64>,
    /// Failed authentications since the store was opened.
    pub failed_authentications: u64,
}

/// What is under everybody's hands. Locks are taken in the order of the fields.
pub(super) struct State {
    pub options: Options,
    pub generations: Generations,
    pub epoch: String,
    /// What is counted for whoever watches.
    pub meter: Arc<Meter>,
    /// Held by whoever writes the index, or needs it to stand still. Before all others: the keeper
    /// holds it while it waits for the committer, who takes them.
    pub index_writer: Mutex<()>,
    /// Who is between index and registry: no call leaves the registry under their eyes.
    pub readers: ReaderTable,
    pub registry: RwLock<Registry>,
    index: RwLock<Result<Arc<Index>, String>>,
    pub access: RwLock<Access>,
    pub segments: RwLock<Vec<Arc<Segment>>>,
    /// Room for changes that wait for the committer.
    pub queue: Arc<Semaphore>,
    pub jobs: Sender<Job>,
    /// Set once the journal has failed: nothing more is taken and the process should end.
    pub failed: watch::Sender<Option<String>>,
    /// The sequence number of the last change that readers may see, set once registry and settings
    /// both have it: whoever reads up to here and then asks who may see it is told the truth.
    pub published: watch::Sender<u64>,
    /// What has become of all changes since the start.
    pub counted: Mutex<Outcome>,
    /// How far a new generation is, until somebody has taken note.
    pub building: Mutex<Option<Progress>>,
    /// How far the journal is packed, for whoever waits for it.
    pub packing: Mutex<Option<Progress>>,
    /// Wakes the keeper, and those who wait for room in the registry.
    pub wake: (Mutex<Wake>, Condvar),
    /// Wakes the collector, and those who wait for it.
    pub tidy: (Mutex<Tidy>, Condvar),
    /// The room of the disk.
    pub room: DiskSpace,
    /// Who waits for the disk.
    pub waits: Arc<Waits>,
    /// What the committer is at.
    pub doing: Arc<Doing>,
    /// The sequence number of the newest checkpoint in the journal; 0 where none has been met yet.
    pub newest_checkpoint: AtomicU64,
    /// Something is wrong with the generation that is current: once another takes over it is kept for
    /// somebody to look at.
    pub damaged: AtomicBool,
    /// Deletions may have left the journal that the index still has.
    pub forgotten: AtomicBool,
    /// The thread that is to panic.
    #[cfg(test)]
    pub doomed: Mutex<Option<&'static str>>,
    /// Who holds segments for long.
    pub holders: Holders,
    /// Whether the calls that are up have been counted, and the count was kept since.
    pub live_known: AtomicBool,
    /// It has been said that there is no more memory for calls and no index to write them to.
    pub crowded: AtomicBool,
}

/// What the keeper is asked to do.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "wishes of several, any of which come together")]
pub(super) struct Wake {
    /// The registry is filling up.
    pub pressure: bool,
    /// Close.
    pub stop: bool,
    /// There is something to see: somebody has asked for a new generation, or one is filled.
    pub look: bool,
    /// Compact the index, since the store is over its size; nobody waits for it.
    pub fit: bool,
    /// Make a new generation, though the current one is fine.
    pub build: Option<BuildReason>,
    /// What became of the last one that was asked for.
    pub built: Option<Result<Compacted, StoreError>>,
    /// Why the last checkpoint found no room.
    pub cramped: Option<StoreError>,
}

impl State {
    pub fn new(
        options: Options,
        generations: Generations,
        epoch: String,
        jobs: Sender<Job>,
        segments: Vec<Arc<Segment>>,
    ) -> Self {
        Self {
            generations,
            epoch,
            meter: Arc::default(),
            index_writer: Mutex::new(()),
            readers: ReaderTable::default(),
            registry: RwLock::default(),
            index: RwLock::new(Err("it is not open yet".to_owned())),
            access: RwLock::default(),
            segments: RwLock::new(segments),
            queue: Arc::new(Semaphore::new(options.queue_events)),
            jobs,
            failed: watch::Sender::new(None),
            published: watch::Sender::new(0),
            counted: Mutex::default(),
            building: Mutex::new(None),
            packing: Mutex::new(None),
            wake: (Mutex::default(), Condvar::new()),
            tidy: (Mutex::default(), Condvar::new()),
            newest_checkpoint: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            forgotten: AtomicBool::new(true),
            #[cfg(test)]
            doomed: Mutex::new(None),
            holders: Holders::default(),
            waits: Arc::default(),
            doing: Arc::default(),
            live_known: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            room: DiskSpace::new(&options.data_dir, options.min_free_bytes, options.reserve_bytes),
            options,
        }
    }

    /// The index, unless it has failed and is being built again.
    pub fn index(&self) -> Result<Arc<Index>, StoreError> {
        self.index.read().clone().map_err(StoreError::IndexUnavailable)
    }

    /// Replaces the index, or says why there is none.
    pub fn set_index(&self, index: Result<Arc<Index>, String>) {
        *self.index.write() = index;
    }

    /// An error of the index: from now on there is none, until the keeper has built a new one.
    pub fn index_failed(&self, error: &IndexError) -> StoreError {
        let reason = super::error::chain(error);
        let mut index = self.index.write();
        if index.is_ok() {
            let shown = &*crate::logs::masked(&reason);
            tracing::error!(
                reason = shown,
                "the index has failed; lists answer 503 until it is rebuilt, and events are taken"
            );
            *index = Err(reason.clone());
            self.damaged.store(true, Ordering::Release);
        }
        drop(index);
        self.wake_checkpointer();
        StoreError::IndexUnavailable(reason)
    }

    /// The journal has failed.
    pub fn journal_failed(&self, reason: &str) {
        tracing::error!(%reason, "the journal has failed; nothing more is acknowledged");
        self.failed.send_replace(Some(reason.to_owned()));
    }

    /// Panics where a test has it in for this thread.
    #[cfg(test)]
    pub fn strike(&self, thread: &str) {
        let doomed = self.doomed.lock().take_if(|doomed| *doomed == thread);
        assert!(doomed.is_none(), "{thread} was struck");
    }

    /// A thread of the store has died. What it did is nobody else's work, so that this is the end of
    /// the store, and whoever waits for it is to know.
    pub fn died(&self, thread: &str, panic: &str) {
        tracing::error!(
            thread,
            panic,
            "a thread of the store has died; nothing more is acknowledged"
        );
        self.failed.send_replace(Some(format!("the {thread} panicked: {panic}")));
        for woken in [&self.wake.1, &self.tidy.1] {
            woken.notify_all();
        }
    }

    /// An error where the store has failed for good.
    pub fn lives(&self) -> Result<(), StoreError> {
        self.failed.borrow().clone().map_or(Ok(()), |reason| Err(StoreError::Failed(reason)))
    }

    /// Why somebody does not answer any more.
    pub fn gone(&self) -> StoreError {
        self.lives().err().unwrap_or(StoreError::Closing)
    }

    /// There is no more room in memory for calls: the keeper is to make some.
    pub fn limit_registry(&self) {
        if self.index().is_err() && !self.crowded.swap(true, Ordering::AcqRel) {
            let calls = self.options.registry_calls;
            tracing::error!(
                calls,
                "memory is full of calls (store.registry_calls) that wait for the index; until it is \
                 built again events of further calls are answered 503"
            );
        }
        self.wake_checkpointer();
    }

    /// Has the keeper look around now.
    pub fn wake_checkpointer(&self) {
        let (wake, woken) = &self.wake;
        wake.lock().pressure = true;
        woken.notify_all();
    }

    /// Has the keeper write all that is in memory to the index, and waits for it.
    ///
    /// # Errors
    /// The index has failed, the store closes, or it takes too long.
    pub fn checkpoint_now(&self, longest: Duration) -> Result<(), StoreError> {
        let until = *self.published.borrow();
        let end = Instant::now() + longest;
        // What was said of an earlier one may no longer be so.
        self.wake.0.lock().cramped = None;
        loop {
            let waits = {
                let registry = self.registry.read();
                registry.iter().any(|(_, entry)| entry.seq <= until)
                    || registry.admin().any(|row| row.seq <= until)
            };
            if !waits {
                return self.index().map(|_| ());
            }
            self.index()?;
            if Instant::now() >= end {
                return Err(StoreError::Busy);
            }
            self.wake_checkpointer();
            self.lives()?;
            let (wake, woken) = &self.wake;
            let mut wake = wake.lock();
            if wake.stop {
                return Err(StoreError::Closing);
            }
            woken.wait_for(&mut wake, Duration::from_millis(20));
            if let Some(error) = wake.cramped.take() {
                return Err(error);
            }
        }
    }

    pub fn status(&self) -> Status {
        let failed_authentications = self.access.read().refused();
        let registry = self.registry.read();
        let counts = registry.counts();
        let live_known = self.live_known.load(Ordering::Acquire);
        let live_calls = counts.filter(|_| live_known).map(|_| self.meter.live());
        let index = self.index().ok();
        let mark = index.as_ref().and_then(|index| index.mark().ok().flatten());
        let segments = self.segments.read();
        let checkpoint_at = mark.as_ref().and_then(|mark| {
            Timestamp::from_millis(mark.at).map(|at| crate::wire::show_time(at).to_string())
        });
        Status {
            epoch: self.epoch.clone(),
            sequence: registry.last_seq(),
            calls: counts.map(|counts| counts.calls),
            live_calls,
            registry_calls: registry.len() as u64,
            tombstones: counts.map(|counts| counts.tombstones),
            checkpoint_sequence: mark.map(|mark| mark.last_seq).unwrap_or_default(),
            checkpoint_at,
            index_bytes: index.map(|index| index.disk_bytes()),
            journal_bytes: segments.iter().map(|segment| segment.disk_bytes()).sum(),
            journal_unpacked_bytes: segments.iter().map(|segment| segment.length).sum(),
            journal_segments: segments.len() as u64,
            disk_free_bytes: crate::fsutil::free_bytes(&self.options.data_dir).ok(),
            disk_least_bytes: self.options.min_free_bytes,
            disk_low: self.room.admits().is_err(),
            reserve_bytes: self.room.reserve.held_bytes(),
            changes: *self.counted.lock(),
            unread_values: self
                .meter
                .unread_fields()
                .filter(|(_, count)| *count > 0)
                .map(|(field, count)| (field.to_owned(), count))
                .collect(),
            failed_authentications,
        }
    }
}

impl State {
    /// The sequence number of what is newest of a call, and when it was deleted if it was.
    pub(super) fn newest(
        &self,
        id: CallId,
    ) -> Result<Option<(u64, Option<Timestamp>)>, StoreError> {
        let _reading = self.readers.begin();
        if let Some(entry) = self.registry.read().get(id) {
            let deleted_at = match entry.state {
                CallState::Deleted(at) => Some(at),
                CallState::Call(_) => None,
            };
            return Ok(Some((entry.seq, deleted_at)));
        }
        let stored = self.index()?.stored(id).map_err(|error| self.index_failed(&error))?;
        Ok(stored.map(|stored| (stored.seq(), stored.deleted_at())))
    }

    /// The sequence number of what is newest of a setting.
    pub(super) fn newest_setting(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let _reading = self.readers.begin();
        if let Some(row) = self.registry.read().admin().find(|row| row.name == name) {
            return Ok(Some(row.seq));
        }
        self.index()?.admin_seq(name).map_err(|error| self.index_failed(&error))
    }

    /// Whether a deletion is no longer in the journal: then the index may let go of it.
    pub fn has_left_journal(&self, seq: u64, deleted_at: Timestamp) -> bool {
        let segments = self.segments.read();
        let next = segments.partition_point(|segment| segment.first_seq <= seq);
        let packed = next.checked_sub(1).and_then(|place| segments.get(place)?.packed.as_ref());
        let lifetime = self.options.max_lifetime_millis;
        packed.is_some_and(|packed| {
            seq <= packed.erased_until && deleted_at.plus_millis(lifetime) < packed.at
        })
    }
}

/// All readers.
#[derive(Default)]
pub(super) struct ReaderTable {
    rounds: Mutex<Rounds>,
    one_gone: Condvar,
}

#[derive(Default)]
struct Rounds {
    current: u64,
    /// How many readers of each round are there; none has none.
    readers: BTreeMap<u64, usize>,
}

/// Somebody reads, until this is dropped.
pub(super) struct ReadGuard<'a> {
    readers: &'a ReaderTable,
    round: u64,
}

impl ReaderTable {
    /// Signs in.
    pub fn begin(&self) -> ReadGuard<'_> {
        let mut rounds = self.rounds.lock();
        let round = rounds.current;
        *rounds.readers.entry(round).or_default() += 1;
        ReadGuard { readers: self, round }
    }

    /// Waits until nobody reads any more who reads now. Whoever begins meanwhile is not waited for.
    pub fn wait_for_present(&self) {
        let mut rounds = self.rounds.lock();
        let round = rounds.current;
        rounds.current += 1;
        while rounds.readers.first_key_value().is_some_and(|(first, _)| *first <= round) {
            self.one_gone.wait(&mut rounds);
        }
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        let mut rounds = self.readers.rounds.lock();
        let Some(count) = rounds.readers.get_mut(&self.round) else { return };
        *count -= 1;
        if *count == 0 {
            rounds.readers.remove(&self.round);
            self.readers.one_gone.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn those_who_read_are_waited_for_and_those_who_come_later_are_not() {
        let readers = ReaderTable::default();
        let waited = AtomicBool::new(false);
        let first = readers.begin();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                readers.wait_for_present();
                waited.store(true, Ordering::SeqCst);
            });
            while readers.rounds.lock().current == 0 {
                std::thread::yield_now();
            }
            let later = readers.begin();
            assert_eq!(later.round, 1, "it was let in while somebody waits");
            assert!(!waited.load(Ordering::SeqCst));
            drop(first);
            while !waited.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            drop(later);
        });
        readers.wait_for_present();
        assert!(readers.rounds.lock().readers.is_empty());
    }
}
