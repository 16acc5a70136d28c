//! Opening and closing a store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::bodies::{admin_row, record, tombstone_id};
use super::checkpoint::{self, Note, Scope};
use super::collect::{Collected, Collector, Depth, Retention};
use super::commit::{self, Job, look_up_indexed};
use super::format::{self, Lock};
use super::keeper::Keeper;
use super::rebuild;
use super::shared::{Progress, Shared, Status};
use super::{OpenError, StoreError};
use crate::access::{Access, Row};
use crate::domain::Timestamp;
use crate::index::{AdminRow, Generations, Index, IndexError, Mark, Opened};
use crate::journal::{self, Kind, Scanner, Writer};
use crate::registry::State;

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
    /// How long a call lives without an event.
    pub max_lifetime_millis: u64,
    /// How often quiet calls are looked for.
    pub sweep_interval: Duration,
    /// What is kept, and for how long.
    pub retention: Retention,
    /// Build the index anew, whatever its state.
    pub rebuild: bool,
    /// False only in the benchmark that measures what syncing costs.
    pub sync: bool,
}

/// A data directory, open.
pub struct Store {
    pub(super) shared: Arc<Shared>,
    lock: Mutex<Option<Lock>>,
    /// The collector, the keeper and the committer, in the order in which they end.
    threads: Mutex<Vec<(JoinHandle<()>, Option<Job>)>>,
    /// Settings are changed by one at a time.
    settings: Mutex<()>,
    /// One new generation is asked for at a time.
    pub(super) building: Mutex<()>,
    /// One round of the collector is asked for at a time.
    collecting: Mutex<()>,
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
        let epoch = format::epoch(&dir)?;
        let journal_dir = dir.join("journal");
        make_private(&journal_dir)?;
        let mut journal = journal::open(&journal_dir, epoch.is_none(), options.segment_bytes)?;
        let epoch = match epoch {
            Some(epoch) => epoch,
            None => format::begin(&dir)?,
        };
        if let Some(torn) = &journal.torn {
            tracing::warn!(
                file = %torn.path.display(), offset = torn.offset, bytes = torn.bytes,
                "the last commit was cut off before it was acknowledged; it is dropped"
            );
        }
        if !options.sync {
            tracing::warn!("syncing is off: acknowledged calls can be lost");
            journal.writer.without_sync();
        }
        let generations = Generations::new(&dir, options.index_cache_bytes);
        let (jobs, queue) = channel();
        let segments = journal.segments.into_iter().map(Arc::new).collect();
        let shared = Shared::new(options, generations, epoch, jobs, segments);
        let mut start = Start { shared, writer: journal.writer, generation: 0 };
        start.index(&lock, now, progress)?;
        // What a build that was killed has left takes room.
        start.shared.generations.remove_others()?;
        Ok(start.run(lock, queue))
    }

    /// Everything that readers and writers share is fine, or what has failed for good.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.shared.failed.subscribe()
    }

    /// Whether lists can be answered and changes be taken.
    pub fn ready(&self) -> Result<(), StoreError> {
        if let Some(reason) = self.shared.failed.borrow().clone() {
            return Err(StoreError::Failed(reason));
        }
        self.shared.index().map(|_| ())
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
        let _one_at_a_time = self.collecting.lock();
        let (tidy, woken) = &self.shared.tidy;
        let mut tidy = tidy.lock();
        (tidy.asked, tidy.done) = (Some(depth), None);
        woken.notify_all();
        loop {
            if let Some(done) = tidy.done.take() {
                return done;
            }
            if tidy.stop {
                return Err(StoreError::Closing);
            }
            woken.wait(&mut tidy);
        }
    }

    /// Looks something up in the tokens and accounts.
    pub fn access<T>(&self, look: impl FnOnce(&Access) -> T) -> T {
        look(&self.shared.access.read())
    }

    /// Takes no more changes, copies everything into the index, and says that all is in order where
    /// the index has it all.
    pub fn close(&self) -> Result<(), StoreError> {
        self.stop();
        let failed = self.shared.failed.borrow().clone();
        if let Some(reason) = failed {
            return Err(StoreError::Failed(reason));
        }
        // An index that has failed may have been written in part: the next start looks it through.
        let whole = self.shared.index().is_ok_and(|index| index.sync().is_ok());
        // Whoever takes the lock next finds the index closed.
        self.shared.set_index(Err("the store is closed".to_owned()));
        if let Some(lock) = self.lock.lock().take().filter(|_| whole) {
            lock.leave_clean().map_err(|error| StoreError::Failed(super::error::chain(&error)))?;
        }
        Ok(())
    }

    fn stop(&self) {
        {
            let (wake, woken) = &self.shared.wake;
            wake.lock().stop = true;
            woken.notify_all();
            let (tidy, woken) = &self.shared.tidy;
            tidy.lock().stop = true;
            woken.notify_all();
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

/// A store on its way up.
struct Start {
    shared: Shared,
    writer: Writer,
    generation: u64,
}

impl Start {
    /// Opens the index if it can be trusted, else builds it anew; then replays the rest.
    fn index(
        &mut self,
        lock: &Lock,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<(), OpenError> {
        let last_seq = self.writer.last_seq();
        let (index, reason, damaged) = match self.shared.generations.open()? {
            Opened::Missing if last_seq == 0 => {
                let (generation, index) = self.shared.generations.begin()?;
                let empty = Mark {
                    checkpoint: 0,
                    last_seq: 0,
                    replay_from: 1,
                    tally: index.tally(),
                    at: now.millis(),
                };
                index.mark_and_sync(&empty)?;
                self.shared.generations.finish(generation, false)?;
                (Some((index, empty)), "", false)
            }
            Opened::Missing => (None, "there is none", false),
            Opened::Broken(error) => {
                tracing::warn!(error = super::error::chain(&error), "the index cannot be opened");
                (None, "it cannot be opened", true)
            }
            Opened::Ready(index) => match self.trusted(&index, lock)? {
                Ok(mark) if !self.shared.options.rebuild => (Some((*index, mark)), "", false),
                Ok(_) => (None, "it was asked for", false),
                Err(reason) => (None, reason, true),
            },
        };
        self.generation = self.shared.generations.current()?.unwrap_or_default();
        if let Some((index, mark)) = index {
            let index = Arc::new(index);
            self.shared.set_index(Ok(index.clone()));
            let reason = match self.replay(&index, &mark, now, progress) {
                Ok(true) => return Ok(()),
                Ok(false) => "it is older than the journal says it is".to_owned(),
                Err(OpenError::Index(error)) => super::error::chain(&error),
                Err(error) => return Err(error),
            };
            tracing::warn!(reason, "the index is built anew from the journal");
            self.shared.set_index(Err(reason));
            drop(index);
            self.shared.registry = parking_lot::RwLock::default();
            *self.shared.access.write() = Access::default();
            return self.build(true, now, progress);
        }
        tracing::warn!(reason, "the index is built anew from the journal");
        self.build(damaged, now, progress)
    }

    /// The mark of an index that can be believed so far, or what is wrong with it.
    fn trusted(&self, index: &Index, lock: &Lock) -> Result<Result<Mark, &'static str>, OpenError> {
        let mark = match index.mark() {
            Ok(Some(mark)) => mark,
            Ok(None) => return Ok(Err("it has no mark of a checkpoint")),
            Err(error) => {
                tracing::warn!(error = super::error::chain(&error), "the index cannot be read");
                return Ok(Err("it cannot be read"));
            }
        };
        let last_seq = self.writer.last_seq();
        if mark.last_seq > last_seq && !self.shared.options.rebuild {
            return Err(OpenError::IndexAhead {
                path: index.dir().to_owned(),
                index: mark.last_seq,
                journal: last_seq,
            });
        }
        if !lock.was_clean {
            match index.recount() {
                Ok(tally) if tally == mark.tally => {}
                Ok(_) => return Ok(Err("its count or its sum differs from its mark")),
                Err(_) => return Ok(Err("it cannot be read")),
            }
        }
        Ok(Ok(mark))
    }

    /// Builds a generation from the whole journal and makes it current.
    fn build(
        &mut self,
        damaged: bool,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<(), OpenError> {
        let built = rebuild::build(&self.shared, now, progress)?;
        let last_seq = self.writer.last_seq();
        self.shared.generations.finish(built.generation, damaged)?;
        self.generation = built.generation;
        self.shared.meter.index_rebuilds.add_one();
        self.load_access(&built.index)?;
        let note = built.note(last_seq);
        self.shared.set_index(Ok(built.index));
        let written = checkpoint::Written { calls: Vec::new(), admin: Vec::new(), note, at: now };
        let seq = commit::checkpoint(&self.shared, &mut self.writer, written)?;
        self.shared.registry.write().published(seq);
        Ok(())
    }

    fn load_access(&self, index: &Index) -> Result<(), OpenError> {
        let mut access = self.shared.access.write();
        for row in index.admin_rows()? {
            apply(&mut access, row.seq, &Row { name: row.name, json: row.json })?;
        }
        Ok(())
    }

    /// Reads the journal from where the index ends. False where a checkpoint is found that the
    /// index should have and has not.
    fn replay(
        &mut self,
        index: &Index,
        mark: &Mark,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<bool, OpenError> {
        self.load_access(index)?;
        let segments = self.shared.segments.read().clone();
        let newer = segments.iter().position(|segment| segment.first_seq > mark.replay_from);
        let first = newer.unwrap_or(segments.len()).saturating_sub(1);
        let from = segments.get(first..).unwrap_or_default();
        let total: u64 = from.iter().map(|segment| segment.length).sum();
        let mut before = 0;
        let mut frames = 0_u64;
        for segment in from {
            let mut scanner = Scanner::new(segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                frames += 1;
                if frames.is_multiple_of(10_000) {
                    let what = "replaying the journal".to_owned();
                    progress(Progress { what, done: before + offset, total: Some(total) });
                }
                let seq = frame.seq;
                match frame.kind {
                    Kind::Checkpoint => {
                        self.shared.newest_checkpoint.store(seq, Ordering::Release);
                        let note: Result<Note, _> = serde_json::from_slice(frame.body);
                        let newer = note.is_ok_and(|note| {
                            note.generation == self.generation && note.checkpoint > mark.checkpoint
                        });
                        if newer {
                            return Ok(false);
                        }
                    }
                    _ if seq < mark.replay_from => {}
                    Kind::Record => {
                        let call = record(seq, frame.body)?;
                        self.put(index, call.id, State::Call(Arc::new(call)), seq, now)?;
                    }
                    Kind::Tombstone => {
                        let strange =
                            || OpenError::Record { seq, reason: "a strange tombstone".to_owned() };
                        let id = tombstone_id(frame.body).ok_or_else(strange)?;
                        self.put(index, id, State::Deleted(frame.at), seq, now)?;
                    }
                    Kind::Admin => {
                        if let Some(row) = admin_row(frame.body) {
                            apply(&mut self.shared.access.write(), seq, &row)?;
                            let row = AdminRow { name: row.name, seq, json: row.json };
                            self.shared.registry.write().put_admin(row);
                        }
                    }
                }
                self.shared.registry.write().published(seq);
                if self.shared.registry.read().len() >= self.shared.options.registry_calls {
                    self.make_room(index, now)?;
                }
            }
            before += segment.length;
        }
        self.shared.registry.write().published(self.writer.last_seq());
        Ok(true)
    }

    fn put(
        &self,
        index: &Index,
        id: crate::domain::CallId,
        state: State,
        seq: u64,
        now: Timestamp,
    ) -> Result<(), IndexError> {
        let indexed = if self.shared.registry.read().get(id).is_some() {
            None
        } else {
            let stored = index.stored(id)?;
            if stored.is_some_and(|stored| stored.seq() >= seq) {
                return Ok(());
            }
            look_up_indexed(index, id)?
        };
        self.shared.registry.write().put(id, state, seq, now, indexed);
        Ok(())
    }

    /// The registry is full in the middle of a replay: all that it holds goes into the index, which
    /// from then on needs the journal from this place on.
    fn make_room(&mut self, index: &Index, now: Timestamp) -> Result<(), OpenError> {
        let written =
            checkpoint::write(&self.shared, index, self.generation, Scope::Everything, now)?;
        match written {
            Some(written) => {
                commit::checkpoint(&self.shared, &mut self.writer, written)?;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn run(self, lock: Lock, queue: Receiver<Job>) -> Store {
        let Self { shared, writer, generation, .. } = self;
        shared.registry.write().opened();
        shared.published.send_replace(shared.registry.read().last_seq());
        super::figures::count_live(&shared);
        let shared = Arc::new(shared);
        let committer = {
            let work = shared.clone();
            watched(shared.clone(), "committer", move || commit::run(&work, writer, &queue))
        };
        let collector = Collector::new(shared.clone());
        let collector = watched(shared.clone(), "collector", move || collector.run());
        let keeper = Keeper::new(shared.clone(), generation);
        let keeper = watched(shared.clone(), "keeper", move || keeper.run());
        Store {
            shared,
            lock: Mutex::new(Some(lock)),
            threads: Mutex::new(vec![
                (collector, None),
                (keeper, None),
                (committer, Some(Job::Stop)),
            ]),
            settings: Mutex::new(()),
            building: Mutex::new(()),
            collecting: Mutex::new(()),
        }
    }
}

/// Runs a thread of the store. Its work is nobody else's, so that its panic is the store's end.
pub(super) fn watched(
    shared: Arc<Shared>,
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> JoinHandle<()> {
    let reason = format!("the {name} panicked");
    std::thread::spawn(move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            shared.journal_failed(&reason);
        }
    })
}

fn apply(access: &mut Access, seq: u64, row: &Row) -> Result<(), OpenError> {
    let unread = |error| OpenError::Record { seq, reason: format!("{}: {error}", row.name) };
    access.apply(row).map_err(unread)
}

fn make_private(dir: &std::path::Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).map_err(OpenError::io("make", dir))
}
