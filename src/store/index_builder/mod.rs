//! A new generation of the index while the store runs: when one is begun, who is told, and how it
//! takes over. The work itself is done in a thread of its own (`index_builder/`); the keeper goes on with
//! its checkpoints in the current generation, and does the last part.

pub(crate) mod fill;
pub(crate) mod from_index;
pub(crate) mod from_journal;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::clock;
use crate::domain::{counted, was as were};
use crate::index::{CheckpointMeta, Index, IndexError};
use crate::store::checkpointer::Checkpointer;
use crate::store::checkpointer::{self, CheckpointScope};
use crate::store::committer::Job;
use crate::store::open::{Store, said};
use crate::store::parts::{self, PLACED_AT_ONCE};
use crate::store::state::{Progress, State};
use crate::store::{OpenError, StoreError};
use fill::BuildOptions;
use from_index::Compacted;

/// The least time between two attempts to build an index that has failed.
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(2);
/// The same after one that failed: a disk that is full stays so for a while, and reading the whole
/// journal is not free.
const FAILED_INTERVAL: Duration = Duration::from_secs(20);
/// The least time between two compactions that nobody asked for, and between two complaints.
const COMPACT_INTERVAL: Duration = Duration::from_hours(1);
/// How often the size of the index is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often a build says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// How long nobody may go on reading in a generation that was replaced.
const READERS_MAX: Duration = Duration::from_mins(10);

/// What a new generation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuildReason {
    /// The current one has failed: from the journal, as fast as it goes.
    Repair,
    /// Somebody asked for it: from the journal.
    Rebuild,
    /// The current one takes more disk than it need: from itself.
    Compact,
}

/// Generations in the making, or on their way out.
pub(crate) struct Builds {
    current: Option<Build>,
    /// When a failed index may be built again.
    next_attempt: Instant,
    /// When the size of the index is looked at next.
    next_look: Instant,
    /// What closes and removes the generation that was replaced last.
    retiring: Option<JoinHandle<()>>,
}

/// A generation that a thread is filling.
struct Build {
    purpose: BuildReason,
    /// Somebody waits for it.
    asked: bool,
    /// Nothing is left to do but to return.
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<FilledGeneration, OpenError>>,
}

/// A generation that has everything up to a sequence number.
struct FilledGeneration {
    index: Index,
    generation: u64,
    until: u64,
}

impl Builds {
    pub fn none() -> Self {
        let now = Instant::now();
        Self { current: None, next_attempt: now, next_look: now, retiring: None }
    }
}

impl Checkpointer {
    /// Has a generation that is filled take over, and begins one where there is a reason to.
    pub(crate) fn tend_builds(&mut self) {
        if let Some(build) = self.builds.current.take_if(|build| build.done.load(Ordering::Acquire))
        {
            let (purpose, asked) = (build.purpose, build.asked);
            let result = self.take_over(build);
            self.report(purpose, asked, result);
        }
        let failed = self.shared.index().is_err();
        let asked = self.asked();
        if self.builds.current.is_some() {
            return;
        }
        if failed && Instant::now() >= self.builds.next_attempt {
            self.builds.next_attempt = Instant::now() + ATTEMPT_INTERVAL;
            let asked = asked == Some(BuildReason::Rebuild) && self.answer_with_next();
            self.begin(BuildReason::Repair, asked);
        } else if let Some(purpose) = asked {
            self.answer_with_next();
            self.begin(purpose, true);
        } else if !failed && (self.must_fit() || Instant::now() >= self.builds.next_look) {
            self.builds.next_look = Instant::now() + LOOK_INTERVAL;
            let must_fit = std::mem::take(&mut self.shared.wake.0.lock().fit);
            if must_fit || self.shared.index().is_ok_and(|index| is_due(&index)) {
                self.builds.next_look = Instant::now() + COMPACT_INTERVAL;
                self.begin(BuildReason::Compact, false);
            }
        }
    }

    /// Whether a generation is being filled.
    pub(crate) fn is_building(&self) -> bool {
        self.builds.current.is_some()
    }

    /// The store is over its size.
    fn must_fit(&self) -> bool {
        self.shared.wake.0.lock().fit
    }

    /// What somebody waits for. Whoever asks for what is being done already waits for that.
    fn asked(&mut self) -> Option<BuildReason> {
        let mut wake = self.shared.wake.0.lock();
        if let Some(build) = &mut self.builds.current
            && wake.build == Some(build.purpose)
        {
            build.asked = true;
            wake.build = None;
        }
        if self.builds.current.as_ref().is_some_and(|build| build.purpose == BuildReason::Compact) {
            wake.fit = false;
        }
        wake.build
    }

    /// Takes note of the question: the next build is the answer.
    fn answer_with_next(&self) -> bool {
        self.shared.wake.0.lock().build.take().is_some()
    }

    fn begin(&mut self, purpose: BuildReason, asked: bool) {
        let shared = self.shared.clone();
        let done = Arc::new(AtomicBool::new(false));
        let is_done = done.clone();
        let thread = std::thread::spawn(move || {
            let what = if purpose == BuildReason::Compact { "compaction" } else { "rebuild" };
            let holding = shared.holders.begin(what);
            let filled = catch_unwind(AssertUnwindSafe(|| filled(&shared, purpose)));
            drop(holding);
            is_done.store(true, Ordering::Release);
            shared.wake.0.lock().look = true;
            shared.wake.1.notify_all();
            filled.unwrap_or_else(|panic| Err(panicked(&*panic).into()))
        });
        self.builds.current = Some(Build { purpose, asked, done, thread });
    }

    fn report(&mut self, purpose: BuildReason, asked: bool, result: Result<Compacted, StoreError>) {
        match &result {
            Ok(Compacted { calls, bytes_before, bytes_after })
                if purpose == BuildReason::Compact =>
            {
                tracing::info!(calls, bytes_before, bytes_after, "the index has been compacted");
            }
            Ok(Compacted { calls, .. }) => {
                self.shared.meter.index_rebuilds.inc();
                tracing::info!(calls, "the index has been built again");
            }
            Err(StoreError::Closing) => {}
            Err(error) if purpose == BuildReason::Compact => {
                tracing::warn!(%error, "the index was not compacted; it stays as it is");
            }
            Err(error) => {
                self.builds.next_attempt = Instant::now() + FAILED_INTERVAL;
                tracing::error!(%error, "the index cannot be built again; trying on");
            }
        }
        *self.shared.building.lock() = None;
        if asked {
            self.shared.wake.0.lock().built = Some(result);
        }
    }

    /// The last part: what is left of the changes, the mark, the switch.
    fn take_over(&mut self, build: Build) -> Result<Compacted, StoreError> {
        let Build { purpose, thread, .. } = build;
        let filled = thread.join().map_err(|panic| panicked(&*panic))?;
        if let (Err(_), Ok(index)) = (&filled, self.shared.index()) {
            // Where it was the current generation that could not be read, everybody is to know.
            index.mark().map_err(|error| self.shared.index_failed(&error))?;
        }
        let filled = filled.map_err(not_built)?;
        // Copies what there is, so that little is left to do while the lock is held.
        let _may_have_failed = self.checkpoint(CheckpointScope::Everything);
        let old_number = self.generation;
        let shared = self.shared.clone();
        let still = shared.index_writer.lock();
        let generation = filled.generation;
        let (index, bytes_before) = match self.prepared(filled, purpose) {
            Ok(prepared) => prepared,
            Err(error) => {
                // The index was dropped with the error, and may go.
                let _kept_for_the_next_start = shared.generations.remove(generation);
                return Err(error);
            }
        };
        while shared.registry.read().len() - shared.registry.read().records() > PLACED_AT_ONCE {
            shared.ask(|reply| Job::Place(index.clone(), reply))?;
        }
        let damaged = shared.damaged.load(Ordering::Acquire);
        if let Err(error) = shared.generations.point_to(generation, damaged) {
            drop(index);
            if shared.generations.current().is_ok_and(|current| current != Some(generation)) {
                let _kept_for_the_next_start = shared.generations.remove(generation);
            }
            return Err(not_built(error.into()));
        }
        let old = shared.index().ok();
        let known = parts::known_by(&shared, &index)?;
        shared.ask(|reply| Job::Replace(index.clone(), known, reply))?;
        self.generation = generation;
        self.let_go(parts::covered(&shared))?;
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
        purpose: BuildReason,
    ) -> Result<(Arc<Index>, u64), StoreError> {
        let shared = &self.shared;
        let FilledGeneration { index, until: from, .. } = filled;
        let options = BuildOptions { shared, gentle: false, kept: 0, progress: &|_| {} };
        let published = *shared.published.borrow();
        fill::catch_up(&index, from, published, &options).map_err(not_built)?;
        let mut last_seq = published.max(from);
        let mut bytes_before = 0;
        if let Ok(old) = shared.index() {
            bytes_before = old.disk_bytes();
            self.checkpoint_locked(CheckpointScope::Everything)?;
            let mark = old.mark()?.map_or(0, |mark| mark.last_seq);
            fill::catch_up(&index, last_seq, mark, &options).map_err(not_built)?;
            // The old generation may have nothing after its mark: then there is nothing.
            if purpose == BuildReason::Compact {
                same_calls(&old, &index)?;
            }
            last_seq = last_seq.max(mark);
        }
        let now = clock::now();
        index.note_built(now)?;
        let stats = index.stats();
        let replay_from = checkpointer::replay_from(&shared.registry.read(), last_seq);
        let at = now.millis();
        index.mark_and_sync(&CheckpointMeta { checkpoint: 1, last_seq, replay_from, stats, at })?;
        Ok((Arc::new(index), bytes_before))
    }

    /// Closes and removes a generation that was replaced, in a thread: sled takes seconds to close.
    fn retire(&mut self, old: Option<Arc<Index>>, number: u64) {
        self.wait_for_retired();
        let shared = self.shared.clone();
        self.builds.retiring = Some(std::thread::spawn(move || {
            let deadline = Instant::now() + READERS_MAX;
            if let Some(old) = old {
                // Whoever still reads in it would have to close it, in the middle of an answer.
                let read = || Arc::strong_count(&old) > 1 && Instant::now() < deadline;
                while read() && !shared.wake.0.lock().stop {
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
        if let Some(Err(panic)) = self.builds.retiring.take().map(JoinHandle::join) {
            let panic = said(&*panic);
            tracing::warn!(panic, "an old index is left behind until the next start");
        }
    }

    /// The end: what is being built is given up, what is being removed is waited for.
    pub(crate) fn end_builds(&mut self) {
        if let Some(build) = self.builds.current.take()
            && let Ok(Ok(filled)) = build.thread.join()
        {
            drop(filled.index);
            let _kept_for_the_next_start = self.shared.generations.remove(filled.generation);
        }
        self.wait_for_retired();
    }
}

/// A new generation, filled and nearly up to the present. One that fails is removed.
fn filled(shared: &State, purpose: BuildReason) -> Result<FilledGeneration, OpenError> {
    #[cfg(test)]
    shared.strike("builder");
    let progress = |step| *shared.building.lock() = Some(step);
    let gentle = purpose == BuildReason::Compact;
    // What can wait does not shut the gate; lists do not wait for an index in place of one that
    // failed, but settings and deletions are to be written meanwhile.
    let kept = match purpose {
        BuildReason::Repair => shared.room.kept_at_least(),
        BuildReason::Rebuild | BuildReason::Compact => shared.room.kept(),
    };
    let options = BuildOptions { shared, gentle, kept, progress: &progress };
    let old = match (purpose, roomy(shared, kept)) {
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
fn roomy(shared: &State, kept: u64) -> Result<Arc<Index>, OpenError> {
    let index = shared.index()?;
    let needed =
        from_index::needed_bytes(from_index::expected_bytes(index.stats(), index.built()?));
    let room = shared.room.leaves("it", needed, kept);
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
        Self::IndexUnavailable(crate::store::error::chain(&error))
    }
}

impl Store {
    /// Has the index built anew from the journal, and waits for it; lists are answered from the old
    /// one and changes are taken meanwhile. Returns how many calls the new one holds.
    pub fn rebuild(&self, progress: &mut dyn FnMut(Progress)) -> Result<u64, StoreError> {
        self.build(BuildReason::Rebuild, progress).map(|done| done.calls)
    }

    /// Has the index copied into a new one in the order of its keys, which takes as little of the
    /// disk as it can, and waits for it; lists are answered and changes are taken meanwhile.
    ///
    /// # Errors
    /// [`StoreError::NotBuilt`] where there is no room for it, or the old one proves damaged.
    pub fn compact(&self, progress: &mut dyn FnMut(Progress)) -> Result<Compacted, StoreError> {
        self.build(BuildReason::Compact, progress)
    }

    fn build(
        &self,
        purpose: BuildReason,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Compacted, StoreError> {
        let _one_at_a_time = self.building.lock();
        let (wake, woken) = &self.shared.wake;
        let mut wake = wake.lock();
        // A build that was given up by whoever asked for it may have left its answer.
        (wake.build, wake.built) = (Some(purpose), None);
        wake.look = true;
        woken.notify_all();
        loop {
            if let Some(result) = wake.built.take() {
                return result;
            }
            if wake.stop {
                return Err(StoreError::Closing);
            }
            self.shared.lives()?;
            woken.wait_for(&mut wake, PROGRESS_INTERVAL);
            if let Some(step) = self.shared.building.lock().take() {
                MutexGuard::unlocked(&mut wake, || progress(step));
            }
        }
    }
}
