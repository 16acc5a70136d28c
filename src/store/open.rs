//! Opening and closing a store, and what is asked of its threads.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::watch;

use super::Outcome;
use super::applied::MessageQueue;
use super::change::Change;
use super::checkpointer::Checkpointer;
use super::compactor::Compactor;
use super::compactor::retention::Expiring;
use super::data_dir::{self, Lock};
use super::disk_space::{self, DiskSpace};
use super::kept::KeptList;
use super::messages::{
    BuildReason, CheckpointerMessage, Collected, CommitterMessage, Compacted, CompactorMessage,
    Depth,
};
use super::node_name::read_node;
use super::options::Options;
use super::outbox::{self, Outbox};
use super::recovery::{Recovery, Start};
use super::segment_users::{SegmentUse, SegmentUsers};
use super::state::{CheckpointerInbox, CommitQueue, Shared, View};
use super::submit::{Backpressure, Ticket};
use super::threads::{self, Health, Inbox, Progress};
use super::{OpenError, StoreError, WaitGuard, committer};
use crate::access::{Access, SettingRow};
use crate::domain::Timestamp;
use crate::fsutil;
use crate::index::Generations;
use crate::journal::{self, Segment};

/// How long bulk work waits for space before it tries again.
const BUSY: Duration = Duration::from_millis(100);

/// A data directory, open.
pub struct Store {
    pub(super) shared: Arc<Shared>,
    lock: Mutex<Option<Lock>>,
    /// In the order in which they end; the committer is the last.
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Dropped when those who look at the disk and at requests that wait are to end.
    ticking: Mutex<Vec<Sender<()>>>,
    /// Settings are changed by one at a time.
    settings: Mutex<()>,
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
        Self::open_with_reserve(lock, options, now, progress).map_err(|error| {
            if !error.is_full() {
                return error;
            }
            // It took more than was free, and there may have been a reserve yet.
            disk_space::give_up_reserve(&dir);
            let free = fsutil::free_bytes(&dir).unwrap_or_default();
            OpenError::NoSpace { path: dir, free, source: Box::new(error) }
        })
    }

    fn open_with_reserve(
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
        let segments = journal.segments.into_iter().map(Arc::new).collect();
        let health = Health::new();
        let (committer, for_committer) = Inbox::new("committer", &health);
        let (checkpointer, for_checkpointer) = Inbox::new("checkpointer", &health);
        let (compactor, for_compactor) = Inbox::new("compactor", &health);
        let checkpointer = CheckpointerInbox::new(checkpointer);
        let lifetime = options.max_lifetime_millis;
        let shared = Shared {
            view: View::new(epoch, segments, lifetime, checkpointer.clone()),
            queue: CommitQueue::new(committer, options.queue_events),
            proposals: OnceLock::new(),
            health: health.clone(),
            disk: DiskSpace::new(&dir, options.min_free_bytes, options.reserve_bytes),
            outbox: Outbox::new(),
            messages: MessageQueue::default(),
            kept: KeptList::default(),
            generations: Generations::new(&dir, options.index_cache_bytes),
            index_writer: Mutex::new(()),
            newest_checkpoint: AtomicU64::new(0),
            cdrs_taken: AtomicBool::new(options.cdrs.taken),
            forgotten: AtomicBool::new(true),
            at_rest: RwLock::new(()),
            short_of_space: Mutex::default(),
            segment_users: SegmentUsers::default(),
            checkpointer,
            compactor,
            options,
        };
        journal.writer.tell(shared.queue.doing.clone());
        shared.recover_log(read_node(&dir)?.map_or(0, |node| node.kept_after))?;
        let recovery = Recovery {
            is_new: !begun,
            was_clean: lock.was_clean,
            torn_bytes: journal.torn.as_ref().map(|torn| torn.bytes),
            ..Recovery::default()
        };
        let mut start = Start { shared, writer: journal.writer, generation: 0, recovery };
        start.index(&lock, now, progress)?;
        // What a build that was killed has left takes space.
        start.shared.generations.remove_others()?;
        let Start { shared, writer, generation, recovery } = start;
        {
            let mut registry = shared.view.registry.write();
            if let Some(position) = shared.view.position() {
                registry.note_message(position.seq);
            }
            registry.opened();
        }
        shared.view.published.send_replace(shared.view.registry.read().last_seq());
        shared.view.count_live();
        begin_outbox(&shared)?;
        let shared = Arc::new(shared);
        let ((waits_end, waits_stop), (disk_end, disk_stop)) = (channel(), channel());
        let work = shared.clone();
        let waits =
            threads::start(health.clone(), "look at those who wait", waits_stop, move |stop| {
                work.queue.waits.watch(&work.queue.doing, || work.queue.queued(), stop);
            });
        let work = shared.clone();
        let disk = threads::start(health.clone(), "look at the disk", disk_stop, move |stop| {
            work.disk.watch(stop);
        });
        let work = shared.clone();
        let compactor = threads::start(health.clone(), "compactor", for_compactor, move |inbox| {
            Compactor::new(work, inbox).run();
        });
        let work = shared.clone();
        let checkpointer =
            threads::start(health.clone(), "checkpointer", for_checkpointer, move |inbox| {
                Checkpointer::new(work, generation).run(inbox);
            });
        let work = shared.clone();
        let committer = threads::start(health, "committer", for_committer, move |inbox| {
            committer::run(&work, writer, inbox);
        });
        Ok(Self {
            shared,
            lock: Mutex::new(Some(lock)),
            threads: Mutex::new(vec![waits, disk, compactor, checkpointer, committer]),
            ticking: Mutex::new(vec![waits_end, disk_end]),
            settings: Mutex::new(()),
            recovery,
        })
    }

    /// What it took to open it.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Everything that readers and writers share is fine, or what has failed for good.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.shared.health.failed.subscribe()
    }

    /// Whether lists can be answered and changes be taken.
    pub fn ready(&self) -> Result<(), StoreError> {
        self.lives()?;
        self.shared.view.index().map(|_| ())
    }

    /// Whether changes can be taken, with or without an index.
    pub fn lives(&self) -> Result<(), StoreError> {
        self.shared.health.lives()
    }

    /// Waits until lists can be answered, or for so long; says how far the index is.
    pub fn wait_for_index(&self, longest: Duration, progress: &dyn Fn(Progress)) {
        let end = Instant::now().checked_add(longest);
        if let Ok(answer) = self.shared.checkpointer.inbox.begin(CheckpointerMessage::AwaitIndex) {
            let _error_or_not_yet = answer.wait(end, &mut |step| progress(step));
        }
    }

    /// Whether the disk has space enough for events and imports.
    ///
    /// # Errors
    /// [`StoreError::Low`], and nothing else.
    pub fn takes_events(&self) -> Result<(), StoreError> {
        self.shared.disk.admits()
    }

    /// Held by the caller that changes settings after having looked at them.
    pub fn settings(&self) -> MutexGuard<'_, ()> {
        self.settings.lock()
    }

    /// Hands changes to the committer, all of them or none; refused at once where there is no space.
    pub fn submit(&self, changes: Vec<Change>, at: Timestamp) -> Result<Ticket, StoreError> {
        self.shared.queue.submit(changes, at, false, Backpressure::None)
    }

    /// The same for bulk work, in a thread that may block: waits for space in memory as long as it takes.
    /// Where `dry` it only says what would happen.
    ///
    /// # Errors
    /// Also where there will be none, since what is in memory does not fit on the disk.
    pub fn apply(
        &self,
        changes: &[Change],
        at: Timestamp,
        dry: bool,
    ) -> Result<Outcome, StoreError> {
        loop {
            let ticket = self.shared.queue.submit(changes.to_vec(), at, dry, Backpressure::Wait)?;
            match ticket.wait() {
                // Trying costs a copy of them.
                Err(StoreError::Busy) => self.shared.queue.wait_for_room(BUSY),
                answer => return answer,
            }
            if let Some(error) = self.shared.short_of_space.lock().clone() {
                return Err(error);
            }
        }
    }

    /// A task has panicked without which the server is not what it says. That is the end of the store, as where one of
    /// its threads has.
    pub fn task_died(&self, task: &str, panic: &str) {
        self.shared.health.died(task, panic);
    }

    /// Has the compactor make a round, and waits for it.
    pub fn collect(&self, depth: Depth) -> Result<Collected, StoreError> {
        self.collect_telling(depth, &mut |_| {})
    }

    /// The same, and says how far the packing is.
    pub fn collect_telling(
        &self,
        depth: Depth,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Collected, StoreError> {
        self.shared.compactor.ask_telling(|reply| CompactorMessage::Collect(depth, reply), progress)
    }

    /// Has the index built anew from the journal, and waits for it; lists are answered from the old
    /// one and changes are taken meanwhile. Returns how many calls the new one holds.
    pub fn rebuild(&self, progress: &mut dyn FnMut(Progress)) -> Result<u64, StoreError> {
        self.build(BuildReason::Rebuild, progress).map(|done| done.calls)
    }

    /// Has the index copied into a new one in the order of its keys, which takes as little of the
    /// disk as it can, and waits for it; lists are answered and changes are taken meanwhile.
    ///
    /// # Errors
    /// [`StoreError::NotBuilt`] where there is no space for it, or the old one proves damaged.
    pub fn compact(&self, progress: &mut dyn FnMut(Progress)) -> Result<Compacted, StoreError> {
        self.build(BuildReason::Compact, progress)
    }

    /// Does both: the index is copied while the journal is packed, so that two processors have work. What
    /// fails then for want of space, or misses calls that went to make the store fit, is done once more
    /// after the other.
    ///
    /// The outer error is that of the journal, the inner one that of the index.
    pub fn collect_and_compact(
        &self,
        depth: Depth,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Collected, Result<Compacted, StoreError>), StoreError> {
        let mut begun = None;
        let mut journal = self.collect_telling(depth, &mut |step| {
            // It packs: calls whose time is over have gone by now.
            let compact = |reply| CheckpointerMessage::Build(BuildReason::Compact, reply);
            begun.get_or_insert_with(|| self.shared.checkpointer.inbox.begin(compact));
            progress(step);
        });
        let index = begun.and_then(|answer| match answer {
            Ok(answer) => answer.wait(None, progress),
            Err(error) => Some(Err(error)),
        });
        if index.is_some() && journal.as_ref().is_err_and(StoreError::is_short_of_space) {
            journal = self.collect_telling(depth, progress);
        }
        let journal = journal?;
        let index = match index {
            Some(Ok(compacted)) if !journal.fitting => Ok(compacted),
            Some(Err(error)) if !matches!(error, StoreError::NotBuilt(_)) => Err(error),
            _ => self.compact(progress),
        };
        Ok((journal, index))
    }

    fn build(
        &self,
        reason: BuildReason,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Compacted, StoreError> {
        let message = |reply| CheckpointerMessage::Build(reason, reply);
        self.shared.checkpointer.inbox.ask_telling(message, progress)
    }

    /// What the next round of retention would delete, by account.
    pub fn expiring(&self) -> Result<Vec<Expiring>, StoreError> {
        self.shared.expiring()
    }

    /// The journal as it is now: everything that was acknowledged is in these segments, up to the
    /// length that each says. Its files stay for as long as they are held.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.shared.view.segments.read().clone()
    }

    /// Where everything is.
    pub fn data_dir(&self) -> &Path {
        &self.shared.options.data_dir
    }

    /// Notes that this work reads segments for long from now on.
    pub fn uses_segments(&self, what: &'static str) -> SegmentUse<'_> {
        self.shared.segment_users.begin(what)
    }

    /// Who reads segments for long, in words: `a backup`, `2 checks`.
    pub fn segment_users(&self) -> Vec<String> {
        self.shared.segment_users.in_words()
    }

    /// What has been replaced and is still there, until it is read no more: files of the journal,
    /// and directories of indexes.
    pub fn replaced(&self) -> Result<Vec<PathBuf>, StoreError> {
        let failed = |error: std::io::Error| StoreError::Failed(error.to_string());
        let dir = self.data_dir();
        let mut found = Vec::new();
        // Files first, segments second: what is written meanwhile is not taken for a leftover.
        let mut there = names(&dir.join("journal")).map_err(failed)?;
        let segments = self.segments();
        there.retain(|file| {
            let file = Path::new(file);
            let ours = segments.iter().any(|segment| segment.path.file_name() == file.file_name());
            // What others have put there is not waited for.
            let is_segment = file.extension().is_some_and(|end| end == "log" || end == "zst");
            let is_content = fsutil::is_content(file.as_os_str());
            !ours && is_segment && is_content
        });
        found.extend(there.into_iter().map(|file| dir.join("journal").join(file)));
        let Ok(index) = self.shared.view.index() else { return Ok(found) };
        let number = |name: &Path| -> Option<u64> {
            name.file_name()?.to_str()?.strip_prefix("index-")?.parse().ok()
        };
        let Some(current) = number(index.dir()) else { return Ok(found) };
        let names = names(dir).map_err(failed)?;
        // One of a greater number is being built.
        let old =
            names.into_iter().filter(|name| number(Path::new(name)).is_some_and(|n| n < current));
        found.extend(old.map(|name| dir.join(name)));
        Ok(found)
    }

    /// The caller waits for this, until the value is dropped; one who waits for long is named in the
    /// log.
    pub fn waits_for(&self, what: &'static str) -> WaitGuard {
        self.shared.queue.waits.begin(Some(what), Instant::now())
    }

    /// Looks something up in the tokens and accounts.
    pub fn access<T>(&self, look: impl FnOnce(&Access) -> T) -> T {
        look(&self.shared.view.access.read())
    }

    /// Takes no more changes, copies everything into the index, and says that all is in order where
    /// the index has it all.
    pub fn close(&self) -> Result<(), StoreError> {
        self.stop();
        self.shared.health.lives()?;
        // An index that has failed may have been written in part: the next start looks it through.
        let whole = self.shared.view.index().is_ok_and(|index| index.sync().is_ok());
        // Who takes the lock next finds the index closed.
        self.shared.view.set_index(Err("the store is closed".to_owned()));
        if let Some(lock) = self.lock.lock().take().filter(|_| whole) {
            lock.leave_clean().map_err(|error| StoreError::Failed(super::error::chain(&error)))?;
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        let shared = &self.shared;
        shared.health.closing.store(true, Ordering::Release);
        // One that has ended need not be told.
        let _ended = shared.compactor.send(CompactorMessage::Stop);
        let _ended = shared.checkpointer.inbox.send(CheckpointerMessage::Stop);
        self.ticking.lock().clear();
        let mut threads = std::mem::take(&mut *self.threads.lock());
        let committer = threads.pop();
        for thread in threads {
            let _panicked = thread.join();
        }
        let _ended = shared.queue.committer.send(CommitterMessage::Stop);
        let _panicked = committer.map(JoinHandle::join);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What only reads is asked of the [`View`].
impl std::ops::Deref for Store {
    type Target = View;

    fn deref(&self) -> &View {
        &self.shared.view
    }
}

/// Lets the outbox know what was stored of it.
fn begin_outbox(shared: &Shared) -> Result<(), OpenError> {
    let registry = shared.view.registry.read();
    let mut rows: Vec<_> = registry.admin().cloned().collect();
    drop(registry);
    if let Ok(index) = shared.view.index() {
        rows.extend(index.admin_rows()?);
    }
    let rows = rows.into_iter().filter(|row| outbox::is_row(&row.name));
    let rows = rows.map(|row| (row.seq, SettingRow { name: row.name, json: row.json }));
    let log = shared.view.followed_log();
    // Of several nodes one sends, and that is decided later.
    shared.outbox.sends(log.is_none());
    let before = shared.view.log.followed_before();
    let before = before.iter().map(|epoch| HEXLOWER.encode(epoch));
    let epochs = log.into_iter().chain(before).chain([shared.view.epoch.clone()]);
    let epochs: Vec<String> = epochs.collect();
    let gone_back = shared.view.log.gone_back();
    let (rows, last) = (outbox::newest_rows(rows), shared.view.last_number());
    shared.outbox.begin(rows, &epochs, &gone_back, last);
    Ok(())
}

fn names(dir: &Path) -> std::io::Result<Vec<OsString>> {
    std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
}

fn make_private(dir: &Path) -> Result<(), OpenError> {
    fsutil::create_dirs(dir).map_err(OpenError::io("make", dir))
}
