//! A new generation of the index while the store runs: when one is begun, who is answered, and how it
//! takes over. It is filled in a thread of its own (`fill.rs`); the checkpointer goes on writing the
//! current one, and does the last part here.

mod fill;
pub(crate) mod from_index;
pub(crate) mod from_journal;

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;
use crate::domain::{counted, was as were};
use crate::index::{CheckpointMeta, Index, IndexError};
use crate::store::checkpoint::{self, CheckpointScope};
use crate::store::messages::{BuildReason, CheckpointerMessage, CommitterMessage, Compacted};
use crate::store::parts::{self, PLACED_AT_ONCE};
use crate::store::state::Shared;
use crate::store::threads::Progress;
use crate::store::threads::{ReplySender, said};
use crate::store::{OpenError, StoreError};

pub(crate) use fill::{BuildOptions, BuildPause};

/// The least time between two attempts to build an index that has failed.
const ATTEMPT_INTERVAL: Duration =
    if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(2) };
/// The same after one that failed: a disk that is full stays so for a while, and reading the whole
/// journal is not free.
const FAILED_INTERVAL: Duration = Duration::from_secs(20);
/// The least time between two compactions that were not asked for, and between two complaints.
const COMPACT_INTERVAL: Duration = Duration::from_hours(1);
/// How often the size of the index is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How long one may go on reading in a generation that was replaced.
const READERS_MAX: Duration = Duration::from_mins(10);

/// Generations in the making, or on their way out.
pub(crate) struct IndexBuilder {
    shared: Arc<Shared>,
    /// The number of the current one.
    generation: u64,
    current: Option<Build>,
    /// Builds that are to come.
    asked: VecDeque<(BuildReason, ReplySender<Compacted>)>,
    /// The store is over its size: the index is to be compacted.
    must_fit: bool,
    waiting: Arc<Mutex<Waiting>>,
    /// When a failed index may be built again.
    next_attempt: Instant,
    /// There is one that waits for that.
    rests: bool,
    /// When the size of the index is looked at next.
    next_look: Instant,
    /// What closes and removes the generation that was replaced last.
    retiring: Option<JoinHandle<()>>,
}

/// Those who are told how far the present build is.
#[derive(Default)]
struct Waiting {
    build: Vec<ReplySender<Compacted>>,
    /// For any index.
    index: Vec<ReplySender<()>>,
}

impl Waiting {
    fn tell(&self, step: &Progress) {
        self.build.iter().for_each(|reply| reply.tell(step.clone()));
        self.index.iter().for_each(|reply| reply.tell(step.clone()));
    }
}

/// A generation that a thread is filling.
struct Build {
    reason: BuildReason,
    /// Nothing is left to do but to return.
    done: bool,
    thread: JoinHandle<Result<FilledGeneration, OpenError>>,
}

/// A generation that has everything up to a sequence number.
struct FilledGeneration {
    index: Index,
    generation: u64,
    until: u64,
}

impl IndexBuilder {
    pub fn new(shared: Arc<Shared>, generation: u64) -> Self {
        let now = Instant::now();
        Self {
            shared,
            generation,
            current: None,
            asked: VecDeque::new(),
            must_fit: false,
            waiting: Arc::default(),
            next_attempt: now,
            rests: false,
            next_look: now,
            retiring: None,
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A generation is wanted. One of the same kind that is being filled is the answer.
    pub fn ask(&mut self, reason: BuildReason, reply: ReplySender<Compacted>) {
        if self.current.as_ref().is_some_and(|build| build.reason == reason) {
            self.waiting.lock().build.push(reply);
        } else {
            self.asked.push_back((reason, reply));
        }
    }

    /// The index is to be compacted; none waits for it.
    pub fn ask_to_fit(&mut self) {
        let compacts = |build: &Build| build.reason == BuildReason::Compact;
        self.must_fit |= !self.current.as_ref().is_some_and(compacts);
    }

    /// Answers once there is an index.
    pub fn await_index(&self, reply: ReplySender<()>) {
        if self.shared.view.index().is_ok() {
            reply.send(Ok(()));
        } else {
            self.waiting.lock().index.push(reply);
        }
    }

    /// The thread that fills a generation is done.
    pub fn filled(&mut self) {
        if let Some(build) = &mut self.current {
            build.done = true;
        }
    }

    pub fn is_building(&self) -> bool {
        self.current.is_some()
    }

    /// How long it takes until a failed index is built again that it was too early for; none where there is none.
    pub fn until_attempt(&self) -> Option<Duration> {
        self.rests.then(|| self.next_attempt.saturating_duration_since(Instant::now()))
    }

    /// Has a generation that is filled take over, and begins one where there is a reason to.
    pub fn tend(&mut self) {
        if let Some(build) = self.current.take_if(|build| build.done) {
            let reason = build.reason;
            let result = self.take_over(build);
            self.report(reason, &result);
        }
        self.rests = false;
        if self.current.is_some() {
            return;
        }
        let failed = self.shared.view.index().is_err();
        self.rests = failed && Instant::now() < self.next_attempt;
        if failed && !self.rests {
            self.next_attempt = Instant::now() + ATTEMPT_INTERVAL;
            self.begin(BuildReason::Repair, BuildReason::Rebuild);
        } else if let Some((reason, _)) = self.asked.front() {
            let reason = *reason;
            self.begin(reason, reason);
        } else if !failed && (self.must_fit || Instant::now() >= self.next_look) {
            self.next_look = Instant::now() + LOOK_INTERVAL;
            let must_fit = std::mem::take(&mut self.must_fit);
            if must_fit || self.shared.view.index().is_ok_and(|index| is_due(&index)) {
                self.next_look = Instant::now() + COMPACT_INTERVAL;
                self.begin(BuildReason::Compact, BuildReason::Compact);
            }
        }
    }

    /// Begins to fill a generation. It is the answer to those who asked for one of the kind `answers`.
    fn begin(&mut self, reason: BuildReason, answers: BuildReason) {
        let asked = std::mem::take(&mut self.asked);
        let (now, later): (Vec<_>, _) = asked.into_iter().partition(|(of, _)| *of == answers);
        self.asked = later.into_iter().collect();
        self.waiting.lock().build.extend(now.into_iter().map(|(_, reply)| reply));
        let shared = self.shared.clone();
        // Where the checkpointer dies, those who wait are not to wait for this thread.
        let waiting = Arc::downgrade(&self.waiting);
        let thread = std::thread::spawn(move || {
            let what = if reason == BuildReason::Compact { "compaction" } else { "rebuild" };
            let holding = shared.segment_users.begin(what);
            let progress = |step| {
                if let Some(waiting) = waiting.upgrade() {
                    waiting.lock().tell(&step);
                }
            };
            let filled = catch_unwind(AssertUnwindSafe(|| filled(&shared, reason, &progress)));
            drop(holding);
            let _ended = shared.checkpointer.inbox.send(CheckpointerMessage::Filled);
            filled.unwrap_or_else(|panic| Err(panicked(&*panic).into()))
        });
        self.current = Some(Build { reason, done: false, thread });
    }

    fn report(&mut self, reason: BuildReason, result: &Result<Compacted, StoreError>) {
        match result {
            Ok(Compacted { calls, bytes_before, bytes_after })
                if reason == BuildReason::Compact =>
            {
                tracing::info!(calls, bytes_before, bytes_after, "the index has been compacted");
            }
            Ok(Compacted { calls, .. }) => {
                self.shared.view.meter.index_rebuilds.inc();
                tracing::info!(calls, "the index has been built again");
            }
            Err(StoreError::Closing) => {}
            Err(error) if reason == BuildReason::Compact => {
                tracing::warn!(%error, "the index was not compacted; it stays as it is");
            }
            Err(error) => {
                self.next_attempt = Instant::now() + FAILED_INTERVAL;
                tracing::error!(%error, "the index cannot be built again; trying on");
            }
        }
        let mut waiting = self.waiting.lock();
        for reply in waiting.build.drain(..) {
            reply.send(result.clone());
        }
        if self.shared.view.index().is_ok() {
            waiting.index.drain(..).for_each(|reply| reply.send(Ok(())));
        }
    }

    /// The last part: what is left of the changes, the mark, the switch.
    fn take_over(&mut self, build: Build) -> Result<Compacted, StoreError> {
        let Build { reason, thread, .. } = build;
        let filled = thread.join().map_err(|panic| panicked(&*panic))?;
        if let (Err(_), Ok(index)) = (&filled, self.shared.view.index()) {
            // Where it was the current generation that could not be read, all are to know.
            index.mark().map_err(|error| self.shared.view.index_failed(&error))?;
        }
        let filled = filled.map_err(not_built)?;
        // Copies what there is, so that little is left to do while the lock is held.
        let shared = self.shared.clone();
        let _may_have_failed =
            checkpoint::take(&shared, self.generation, CheckpointScope::Everything);
        let old_number = self.generation;
        let still = shared.index_writer.lock();
        let generation = filled.generation;
        let (index, bytes_before) = match self.prepared(filled, reason) {
            Ok(prepared) => prepared,
            Err(error) => {
                // The index was dropped with the error, and may go.
                let _kept_for_the_next_start = shared.generations.remove(generation);
                return Err(error);
            }
        };
        while shared.view.registry.read().parts() > PLACED_AT_ONCE {
            let place = |reply| CommitterMessage::Place(index.clone(), reply);
            shared.queue.committer.ask(place)?;
        }
        let damaged = shared.view.damaged.load(Ordering::Acquire);
        if let Err(error) = shared.generations.point_to(generation, damaged) {
            drop(index);
            if shared.generations.current().is_ok_and(|current| current != Some(generation)) {
                let _kept_for_the_next_start = shared.generations.remove(generation);
            }
            return Err(not_built(error.into()));
        }
        let old = shared.view.index().ok();
        let known = parts::known_by(&shared, &index)?;
        let replace = |reply| CommitterMessage::Replace(index.clone(), known, reply);
        shared.queue.committer.ask(replace)?;
        self.generation = generation;
        checkpoint::let_go(&shared, parts::covered(&shared))?;
        drop(still);
        self.retire(old, old_number);
        let (calls, bytes_after) = (index.stats().calls, index.disk_bytes());
        Ok(Compacted { calls, bytes_before, bytes_after })
    }

    /// Brings a filled generation up to the last change that its marks may count on, under the lock
    /// of those who write the index. Returns the size of the current one too.
    fn prepared(
        &self,
        filled: FilledGeneration,
        reason: BuildReason,
    ) -> Result<(Arc<Index>, u64), StoreError> {
        let shared = &self.shared;
        let FilledGeneration { index, until: from, .. } = filled;
        let options = BuildOptions { shared, gentle: false, kept: 0, progress: &|_| {} };
        let published = *shared.view.published.borrow();
        fill::catch_up(&index, from, published, &options).map_err(not_built)?;
        let mut last_seq = published.max(from);
        let mut bytes_before = 0;
        if let Ok(old) = shared.view.index() {
            bytes_before = old.disk_bytes();
            checkpoint::take_locked(shared, self.generation, CheckpointScope::Everything)?;
            let mark = old.mark()?.map_or(0, |mark| mark.last_seq);
            fill::catch_up(&index, last_seq, mark, &options).map_err(not_built)?;
            // The old generation may have nothing after its mark: then there is nothing.
            if reason == BuildReason::Compact {
                same_calls(&old, &index)?;
            }
            last_seq = last_seq.max(mark);
        }
        let now = clock::now();
        index.note_built(now)?;
        let stats = index.stats();
        let replay_from = checkpoint::replay_from(&shared.view.registry.read(), last_seq);
        let at = now.millis();
        index.mark_and_sync(&CheckpointMeta { checkpoint: 1, last_seq, replay_from, stats, at })?;
        Ok((Arc::new(index), bytes_before))
    }

    /// Closes and removes a generation that was replaced, in a thread: sled takes seconds to close.
    fn retire(&mut self, old: Option<Arc<Index>>, number: u64) {
        self.wait_for_retired();
        let shared = self.shared.clone();
        self.retiring = Some(std::thread::spawn(move || {
            let deadline = Instant::now() + READERS_MAX;
            if let Some(old) = old {
                // One who still reads in it would have to close it, in the middle of an answer.
                let read = || Arc::strong_count(&old) > 1 && Instant::now() < deadline;
                while read() && !shared.health.is_closing() {
                    std::thread::park_timeout(Duration::from_millis(10));
                }
            }
            if let Err(error) = shared.generations.remove(number) {
                let error = crate::store::error::chain(&error);
                tracing::warn!(error, "an old index is left behind until the next start");
            }
        }));
    }

    fn wait_for_retired(&mut self) {
        if let Some(Err(panic)) = self.retiring.take().map(JoinHandle::join) {
            let panic = said(&*panic);
            tracing::warn!(panic, "an old index is left behind until the next start");
        }
    }

    /// The end: what is being built is given up, what is being removed is waited for.
    pub fn end(&mut self) {
        if let Some(build) = self.current.take()
            && let Ok(Ok(filled)) = build.thread.join()
        {
            drop(filled.index);
            let _kept_for_the_next_start = self.shared.generations.remove(filled.generation);
        }
        self.wait_for_retired();
    }
}

/// A new generation, filled and nearly up to the present. One that fails is removed.
fn filled(
    shared: &Shared,
    reason: BuildReason,
    progress: &dyn Fn(Progress),
) -> Result<FilledGeneration, OpenError> {
    #[cfg(test)]
    shared.health.strike("builder");
    let gentle = reason == BuildReason::Compact;
    // What can wait does not shut the gate; lists do not wait for an index in place of one that
    // failed, but settings and deletions are to be written meanwhile.
    let kept = match reason {
        BuildReason::Repair => shared.disk.kept_at_least(),
        BuildReason::Rebuild | BuildReason::Compact => shared.disk.kept(),
    };
    let options = BuildOptions { shared, gentle, kept, progress };
    let old = match (reason, roomy(shared, kept)) {
        (BuildReason::Compact, old) => Some(old?),
        // What is wrong with the current one is no reason not to make another.
        (BuildReason::Rebuild, Err(error @ OpenError::Store(StoreError::NotBuilt(_)))) => {
            return Err(error);
        }
        _ => None,
    };
    let (generation, index) = shared.generations.begin()?;
    let fill = || {
        let from = match &old {
            Some(old) => from_index::fill_from(old, &index, &options)?,
            // What parts there are is known from memory.
            None => from_journal::fill_from_journal(&index, &options)?.until,
        };
        index.sync()?;
        fill::approach(&index, from, &options)
    };
    match fill() {
        Ok(until) => Ok(FilledGeneration { index, generation, until }),
        Err(error) => {
            drop(index);
            let _kept_for_the_next_start = shared.generations.remove(generation);
            Err(error)
        }
    }
}

/// The current generation, where there is room on the disk for another.
fn roomy(shared: &Shared, kept: u64) -> Result<Arc<Index>, OpenError> {
    let index = shared.view.index()?;
    let needed =
        from_index::needed_bytes(from_index::expected_bytes(index.stats(), index.built()?));
    let room = shared.disk.leaves("it", needed, kept);
    room.map_err(|error| StoreError::NotBuilt(error.to_string()))?;
    Ok(index)
}

fn panicked(panic: &(dyn Any + Send)) -> StoreError {
    StoreError::NotBuilt(format!("the thread that did it panicked: {}", said(panic)))
}

fn is_due(index: &Index) -> bool {
    let Ok(built) = index.built() else { return false };
    from_index::is_due(index.disk_bytes(), from_index::expected_bytes(index.stats(), built))
}

/// An error where two generations of one moment do not hold the same. The new one may have more
/// tombstones: some may have expired in the old one meanwhile.
fn same_calls(old: &Index, new: &Index) -> Result<(), StoreError> {
    let (was, is) = (old.stats(), new.stats());
    if was.calls == is.calls && (was.tombstones != is.tombstones || was == is) {
        return Ok(());
    }
    let (was, is) = (was.calls, is.calls);
    Err(StoreError::NotBuilt(format!(
        "the old index says that it has {}, and {is} {} found in it; `rollcall rebuild` makes one from \
         the journal",
        counted(was, "call"),
        were(is)
    )))
}

fn not_built(error: OpenError) -> StoreError {
    match error {
        OpenError::Store(error) => error,
        error => StoreError::NotBuilt(crate::store::error::chain(&error)),
    }
}

impl From<IndexError> for StoreError {
    fn from(error: IndexError) -> Self {
        Self::IndexUnavailable(crate::store::error::chain(&error), None)
    }
}
