//! What the threads and the readers of a store share, in parts that belong together.
//!
//! Queries know [`View`] and nothing else. The threads know [`Shared`]; they know of each other what
//! `messages.rs` says. Locks are taken in this order: `index_writer`, the rounds of `readers`,
//! `registry`, `index`, `access`, `segments`. All others are held for a moment, with no other lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use super::Outcome;
use super::StoreError;
use super::applied::{LogPosition, MessageQueue};
use super::disk_space::DiskSpace;
use super::kept::KeptList;
use super::log_map::LogMap;
use super::messages::{CheckpointerMessage, CommitterMessage, CompactorMessage};
use super::options::Options;
use super::outbox::Outbox;
use super::proposals::Proposals;
use super::scope::NewestCalls;
use super::segment_users::SegmentUsers;
use super::threads::{Health, Inbox};
use super::waits::Waits;
use crate::access::Access;
use crate::clock;
use crate::domain::{AccountSid, CallId, Timestamp};
use crate::index::{Generations, Index, IndexError};
use crate::journal::{Doing, Segment};
use crate::meter::Meter;
use crate::registry::{CallState, Registry};

/// What the threads share.
pub(super) struct Shared {
    pub options: Options,
    pub view: View,
    pub queue: CommitQueue,
    /// Takes what the store changes by itself, where that is not the queue.
    pub proposals: OnceLock<Arc<dyn Proposals>>,
    pub health: Arc<Health>,
    pub disk: DiskSpace,
    /// Hooks that are to be passed on.
    pub outbox: Outbox,
    /// Messages of the replicated log on their way to the committer.
    pub messages: MessageQueue,
    /// Messages that are to be put into the log.
    pub kept: KeptList,
    pub generations: Generations,
    /// Held while the index is written, or has to stand still. Before all other locks: the checkpointer
    /// holds it while it waits for the committer, who takes them.
    pub index_writer: Mutex<()>,
    /// The sequence number of the newest checkpoint in the journal; 0 where none has been met yet.
    pub newest_checkpoint: AtomicU64,
    /// CDRs are taken, or were since the start: see [`Shared::takes_cdrs`].
    pub cdrs_taken: AtomicBool,
    /// Deletions may have left the journal that the index still has.
    pub forgotten: AtomicBool,
    /// Held by those who need the index to stand still: meanwhile nothing is sealed or put in order.
    pub at_rest: RwLock<()>,
    /// The last checkpoint was not taken, since the disk has no room for it.
    pub short_of_space: Mutex<Option<StoreError>>,
    /// Work in hand that holds segments for long.
    pub segment_users: SegmentUsers,
    pub checkpointer: Arc<CheckpointerInbox>,
    pub compactor: Inbox<CompactorMessage>,
}

/// What queries read: everything in it has been published.
pub struct View {
    pub(super) epoch: String,
    /// What is counted for who watches the process.
    pub(super) meter: Arc<Meter>,
    /// Readers that are between index and registry: no call leaves the registry meanwhile.
    pub(super) readers: ReaderTable,
    pub(super) registry: RwLock<Registry>,
    index: RwLock<Result<Arc<Index>, String>>,
    /// Which accounts the index has.
    pub(super) newest_calls: Mutex<NewestCalls>,
    pub(super) access: RwLock<Access>,
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    /// The sequence number of the last change that readers may see, set once registry and settings
    /// both have it: one who reads up to here and then asks who may see it gets the right answer.
    pub(super) published: watch::Sender<u64>,
    /// The last message of the log of which all is published; none in a store that is no node.
    pub(super) applied: watch::Sender<Option<LogPosition>>,
    /// The sequence number of the frame that says so.
    pub(super) applied_seq: AtomicU64,
    /// Where messages of the log end.
    pub(super) log: LogMap,
    /// The calls that are active have been counted, and the count was kept since.
    pub(super) live_known: AtomicBool,
    /// When the index that is being built will be there, about, in milliseconds since 1970; 0 where nobody
    /// knows.
    index_due: AtomicU64,
    /// The current generation is damaged: once another takes over it is kept for inspection.
    pub(super) damaged: AtomicBool,
    /// How long a call lives without an event, as it is configured.
    pub(super) lifetime_millis: u64,
    /// In milliseconds, that of [`View::logged_at`]; 0 for none.
    pub(super) logged_at: AtomicU64,
    checkpointer: Arc<CheckpointerInbox>,
}

/// How changes come in.
pub(super) struct CommitQueue {
    pub committer: Inbox<CommitterMessage>,
    /// Space for changes that wait for the committer.
    pub space: Arc<Semaphore>,
    pub queue_events: usize,
    /// What has become of all changes since the start.
    pub counted: Mutex<Outcome>,
    /// What the committer is at.
    pub doing: Arc<Doing>,
    /// Requests that wait for the disk.
    pub waits: Arc<Waits>,
    /// Signalled after each checkpoint, when calls have left the registry. No message: those who wait
    /// are callers of any number, which no thread knows.
    room_made: (Mutex<()>, Condvar),
    /// It has been logged that there is no more memory for calls and no index to write them to.
    pub crowded: AtomicBool,
}

/// The checkpointer's channel. To be woken is said once, however many say it.
pub(super) struct CheckpointerInbox {
    pub inbox: Inbox<CheckpointerMessage>,
    woken: AtomicBool,
}

impl CheckpointerInbox {
    pub fn new(inbox: Inbox<CheckpointerMessage>) -> Arc<Self> {
        Arc::new(Self { inbox, woken: AtomicBool::new(false) })
    }

    /// Has the checkpointer write all that is in memory to the index, and look what else is to do.
    pub fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            let _ended = self.inbox.send(CheckpointerMessage::Wake);
        }
    }

    /// The checkpointer begins to look: what comes from now on is for the next time.
    pub fn awake(&self) {
        self.woken.store(false, Ordering::Release);
    }
}

impl CommitQueue {
    pub fn new(committer: Inbox<CommitterMessage>, queue_events: usize) -> Self {
        Self {
            committer,
            space: Arc::new(Semaphore::new(queue_events)),
            queue_events,
            counted: Mutex::default(),
            doing: Arc::default(),
            waits: Arc::default(),
            room_made: (Mutex::default(), Condvar::new()),
            crowded: AtomicBool::new(false),
        }
    }

    /// Changes that wait for the committer.
    pub fn queued(&self) -> usize {
        self.queue_events.saturating_sub(self.space.available_permits())
    }

    pub fn announce_room(&self) {
        self.room_made.1.notify_all();
    }

    /// Waits for the checkpointer to make space, or for a moment.
    pub fn wait_a_little(&self) {
        self.wait_for_room(Duration::from_millis(5));
    }

    /// Waits for the checkpointer to make space, but no longer than that.
    pub fn wait_for_room(&self, longest: Duration) {
        let (lock, made) = &self.room_made;
        made.wait_for(&mut lock.lock(), longest);
    }
}

impl Shared {
    /// There is no more space in memory for calls: the checkpointer is to make some.
    pub fn limit_registry(&self) {
        if self.view.index().is_err() && !self.queue.crowded.swap(true, Ordering::AcqRel) {
            let calls = self.options.registry_calls;
            tracing::error!(
                calls,
                "memory is full of calls (store.registry_calls) that wait for the index; until it is \
                 built again events of further calls are answered 503"
            );
        }
        self.checkpointer.wake();
    }

    /// Has everything in memory written to the index, and waits for it.
    ///
    /// # Errors
    /// The index has failed, has no space, or the store closes.
    pub fn checkpoint_now(&self) -> Result<(), StoreError> {
        self.checkpointer.inbox.ask(CheckpointerMessage::Checkpoint)
    }
}

impl View {
    pub(super) fn new(
        epoch: String,
        segments: Vec<Arc<Segment>>,
        lifetime_millis: u64,
        checkpointer: Arc<CheckpointerInbox>,
    ) -> Self {
        Self {
            epoch,
            meter: Arc::default(),
            readers: ReaderTable::default(),
            registry: RwLock::default(),
            index: RwLock::new(Err("it is not open yet".to_owned())),
            newest_calls: Mutex::default(),
            access: RwLock::default(),
            segments: RwLock::new(segments),
            published: watch::Sender::new(0),
            applied: watch::Sender::new(None),
            applied_seq: AtomicU64::new(0),
            log: LogMap::default(),
            live_known: AtomicBool::new(false),
            index_due: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            lifetime_millis,
            logged_at: AtomicU64::new(0),
            checkpointer,
        }
    }

    /// The index, unless it has failed and is being built again.
    pub(super) fn index(&self) -> Result<Arc<Index>, StoreError> {
        self.index.read().clone().map_err(|why| StoreError::IndexUnavailable(why, self.index_due()))
    }

    /// In how many seconds there will be one, about; none where nobody knows.
    fn index_due(&self) -> Option<u16> {
        let left = self.index_due.load(Ordering::Relaxed).checked_sub(clock::now().millis())?;
        u16::try_from(left / 1000 + 1).ok()
    }

    /// One that is being built will take so long, about.
    pub(super) fn expect_index(&self, left: Duration) {
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let due = clock::now().millis().saturating_add(left);
        self.index_due.store(due, Ordering::Relaxed);
    }

    /// Replaces the index, or says why there is none.
    pub(super) fn set_index(&self, index: Result<Arc<Index>, String>) {
        *self.index.write() = index;
    }

    /// An error of the index: from now on there is none, until a new one has been built.
    pub(super) fn index_failed(&self, error: &IndexError) -> StoreError {
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
        self.checkpointer.wake();
        StoreError::IndexUnavailable(reason, None)
    }

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
    pub(super) fn has_left_journal(&self, seq: u64, deleted_at: Timestamp) -> bool {
        let tombstones = self.tombstones();
        let segments = self.segments.read();
        let next = segments.partition_point(|segment| segment.first_seq <= seq);
        let packed = next.checked_sub(1).and_then(|place| segments.get(place)?.packed.as_ref());
        packed.is_some_and(|packed| {
            seq <= packed.erased_until && deleted_at < tombstones.needed_since(packed.at)
        })
    }

    /// Counts the active calls by looking at each of them: once, with the first index that can be read.
    /// From then on the committer keeps count.
    pub(super) fn count_live(&self) {
        let Ok(index) = self.index() else { return };
        let mut live: HashMap<AccountSid, u64> = HashMap::new();
        // The registry changes in this thread alone: it is held for each look, and not while the
        // index is read.
        let counted = index.each_live(|id| {
            if self.registry.read().get(id).is_none() {
                *live.entry(id.account).or_default() += 1;
            }
        });
        let registry = self.registry.read();
        let held =
            registry.iter().filter(|(_, entry)| entry.call().is_some_and(|call| call.live()));
        for (id, _) in held {
            *live.entry(id.account).or_default() += 1;
        }
        drop(registry);
        if let Err(error) = counted {
            self.index_failed(&error);
            return;
        }
        self.meter.set_live(live);
        self.live_known.store(true, Ordering::Release);
    }
}

/// The readers that are between the index and the registry.
///
/// A reader asks the index first and then the registry. A call may leave the registry only when no
/// reader is left that began before the index had it: such a reader would find it in neither. So
/// readers sign in by rounds, and who wants calls to leave begins a new round and waits for the
/// readers of those before. Architecture invariant: readers never wait, and the one who waits for
/// them is the checkpointer, never the committer: no commit takes longer because of a slow reader.
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

/// One that reads, until this is dropped.
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

    /// Waits for all who read now. Those who begin meanwhile are not waited for.
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
            assert_eq!(later.round, 1, "it was let in while one waits");
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
