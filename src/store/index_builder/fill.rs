//! Filling a new generation of the index, wherever its records come from, while the store goes on.
//!
//! **Filling.** One function takes the newest version of each call and sorts what it means: from the
//! journal when the index is built again, from the current generation when it is compacted. All are of
//! one moment: the state as of a sequence number.
//!
//! **Catching up.** What has changed since is read from the journal and written over it, until
//! little is left; the checkpointer does the rest and has the new generation take over.
//!
//! **What a crash leaves.** The current generation, which is untouched, or the new one, whole.
//! A directory that is not current is removed at the next start.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use crate::domain::CallId;
use crate::index::{AdminRow, Batch, CallRow, Index, IndexError, Loader, Op, Packer, Version};
use crate::journal::{Frame, Scanner};
use crate::registry::{CallState, Indexed};
use crate::store::frames::Body;
use crate::store::parts::look_up_indexed;
use crate::store::state::Shared;
use crate::store::threads::Progress;
use crate::store::{OpenError, StoreError};

/// Calls that are prepared before the next look at whether to go on.
const BATCH_CALLS: usize = 1000;
/// What such a batch may take of the disk.
const BATCH_BYTES: u64 = 8 << 20;
/// Calls of the journal that are merged in memory before they are written.
const MERGED_CALLS: usize = 10_000;
/// The longest rest after one batch.
const REST_MAX: Duration = Duration::from_secs(2);
/// How long nothing must have changed for a build not to rest at all.
const IDLE: Duration = Duration::from_millis(500);
/// Changes that are few enough for the checkpointer to catch up with.
const FEW: u64 = 2000;
/// Rounds of catching up, after which the checkpointer takes what is left.
const ROUNDS: usize = 20;

/// The newest version of a call.
pub(crate) struct Latest {
    pub id: CallId,
    pub seq: u64,
    pub state: CallState,
    /// Its row in another generation, which is copied.
    pub row: Option<CallRow>,
}

impl Latest {
    /// Its change of an index that has `old`.
    fn after(&self, old: Option<Indexed>) -> Op<'_> {
        let new = match (&self.state, &self.row) {
            (CallState::Call(call), Some(row)) => Version::Copy(row, call),
            (CallState::Call(call), None) => Version::Call(self.seq, call),
            (CallState::Deleted(at), _) => Version::Tombstone(self.seq, *at),
        };
        Op { id: self.id, old, new }
    }
}

/// How a build goes about its work.
pub(crate) struct BuildOptions<'a> {
    pub shared: &'a Shared,
    /// Take no more than two thirds of a processor while others need it.
    pub gentle: bool,
    /// Bytes of the disk that it leaves free.
    pub kept: u64,
    pub progress: &'a dyn Fn(Progress),
}

impl BuildOptions<'_> {
    /// An error where the store is closing, or the disk has no room for the next batch.
    pub fn go_on(&self) -> Result<(), OpenError> {
        if self.shared.health.is_closing() {
            return Err(StoreError::Closing.into());
        }
        if self.kept > 0 {
            let room = self.shared.disk.leaves("the rest of it", BATCH_BYTES, self.kept);
            room.map_err(|error| StoreError::NotBuilt(error.to_string()))?;
        }
        Ok(())
    }
}

/// When the store was last seen to change, so that long work rests only beside others'.
pub(crate) struct BuildPause {
    published: u64,
    changed: Instant,
}

impl BuildPause {
    pub fn new(shared: &Shared) -> Self {
        Self { published: *shared.view.published.borrow(), changed: Instant::now() }
    }

    /// Whether others have changed something lately.
    pub fn is_due(&mut self, shared: &Shared) -> bool {
        let published = *shared.view.published.borrow();
        if published != self.published {
            (self.published, self.changed) = (published, Instant::now());
        }
        self.changed.elapsed() < IDLE
    }

    /// Rests for twice as long as the last batch took, since another thread works beside this one.
    fn after(&mut self, shared: &Shared, took: Duration) {
        if self.is_due(shared) {
            std::thread::park_timeout((took * 2).min(REST_MAX));
        }
    }
}

/// Fills an empty generation. `latest` has each call once; where they come in the order of their
/// account and position, their rows need no sorting.
pub(crate) fn fill(
    index: &Index,
    latest: impl Iterator<Item = Result<Latest, OpenError>>,
    total: u64,
    options: &BuildOptions<'_>,
) -> Result<(), OpenError> {
    let (gentle, mut packer, filling) = (options.gentle, Packer::new(index)?, Instant::now());
    // One thread reads and prepares, the other sorts.
    let packer = std::thread::scope(|scope| {
        let (batches, waiting) = sync_channel::<Batch>(1);
        let sorting = scope.spawn(move || {
            for batch in waiting {
                packer.take(&batch)?;
                if gentle {
                    // In small parts, so that none who writes beside it has much to wait for.
                    index.sync()?;
                }
            }
            Ok::<_, IndexError>(packer)
        });
        let hand_on = |batch| {
            let ended = |_| index.damaged("the thread that sorts it has ended");
            batches.send(batch).map_err(ended)
        };
        let gathered = gather(Loader::new(index, hand_on), latest, total, options);
        drop(batches);
        let sorted = sorting.join().map_err(|panic| OpenError::from(super::panicked(&*panic)))?;
        // What that thread says weighs more than that it is gone.
        let packer = sorted?;
        gathered.map(|()| packer)
    })?;
    let (sorted_in, packing) = (filling.elapsed(), Instant::now());
    let (mut rest, mut begun, mut done) = (BuildPause::new(options.shared), Instant::now(), 0);
    packer.finish(|entries| {
        options.go_on()?;
        done += entries as u64;
        options.shared.view.expect_index(sorted_in.saturating_sub(packing.elapsed()));
        (options.progress)(Progress::steps("packing the index".to_owned(), done, None));
        if gentle {
            index.sync()?;
            rest.after(options.shared, begun.elapsed());
            begun = Instant::now();
        }
        Ok(())
    })
}

fn gather(
    mut loader: Loader<'_>,
    latest: impl Iterator<Item = Result<Latest, OpenError>>,
    total: u64,
    options: &BuildOptions<'_>,
) -> Result<(), OpenError> {
    let mut rest = BuildPause::new(options.shared);
    let mut latest = latest.peekable();
    let (filling, mut done) = (Instant::now(), 0);
    while latest.peek().is_some() {
        options.go_on()?;
        let begun = Instant::now();
        for latest in latest.by_ref().take(BATCH_CALLS) {
            loader.add(&latest?.after(None))?;
            done += 1;
        }
        let total = total.max(done);
        let so_far = filling.elapsed();
        let in_all = so_far.as_millis() * u128::from(total) / u128::from(done.max(1));
        let in_all = Duration::from_millis(u64::try_from(in_all).unwrap_or(u64::MAX));
        // To pack what is sorted takes about as long again.
        options.shared.view.expect_index(in_all.saturating_mul(2).saturating_sub(so_far));
        (options.progress)(Progress::steps("building the index".to_owned(), done, Some(total)));
        if options.gentle {
            rest.after(options.shared, begun.elapsed());
        }
    }
    Ok(loader.finish()?)
}

/// Brings a generation that has everything up to `from` near to the present. Returns up to where.
pub(crate) fn approach(
    index: &Index,
    mut from: u64,
    options: &BuildOptions<'_>,
) -> Result<u64, OpenError> {
    for _ in 0..ROUNDS {
        let until = *options.shared.view.published.borrow();
        let left = until.saturating_sub(from);
        let what = "catching up".to_owned();
        (options.progress)(Progress::steps(what, 0, Some(left)));
        catch_up(index, from, until, options)?;
        from = from.max(until);
        index.sync()?;
        if left <= FEW {
            break;
        }
    }
    Ok(from)
}

/// Writes all changes after `from` up to `until`, which are in the journal, to a generation that
/// is not read and that has everything up to `from`.
pub(crate) fn catch_up(
    index: &Index,
    from: u64,
    until: u64,
    options: &BuildOptions<'_>,
) -> Result<(), OpenError> {
    if from >= until {
        return Ok(());
    }
    let segments = options.shared.view.segments.read().clone();
    let newer = segments.iter().position(|segment| segment.first_seq > from + 1);
    let first = newer.unwrap_or(segments.len()).saturating_sub(1);
    let mut changes = Changes::default();
    'journal: for segment in segments.get(first..).unwrap_or_default() {
        let mut scanner = Scanner::new(segment)?;
        while let Some((_, frame)) = scanner.next_frame()? {
            if frame.seq > until {
                break 'journal;
            }
            if frame.seq > from {
                changes.take(&frame)?;
            }
            if changes.calls.len() >= MERGED_CALLS {
                changes.write(index, options)?;
            }
        }
    }
    changes.write(index, options)
}

/// The newest of some changes, by call and by name.
#[derive(Default)]
struct Changes {
    calls: HashMap<CallId, Latest>,
    admin: HashMap<String, AdminRow>,
}

impl Changes {
    fn take(&mut self, frame: &Frame<'_>) -> Result<(), OpenError> {
        let seq = frame.seq;
        let (id, state) = match Body::decode(frame)? {
            Body::Record(id, record) => (id, CallState::Call(Arc::new(record.call()?))),
            Body::Tombstone(id) => (id, CallState::Deleted(frame.at)),
            Body::Setting(row) => {
                if let Some(row) = row {
                    let row = AdminRow { name: row.name, seq, json: row.json };
                    self.admin.insert(row.name.clone(), row);
                }
                return Ok(());
            }
            // The committer writes the record that holds it.
            Body::Checkpoint(_)
            | Body::Part(..)
            | Body::Outbox(_)
            | Body::Applied(_)
            | Body::Kept(_) => return Ok(()),
        };
        self.calls.insert(id, Latest { id, seq, state, row: None });
        Ok(())
    }

    fn write(&mut self, index: &Index, options: &BuildOptions<'_>) -> Result<(), OpenError> {
        let calls: Vec<Latest> = std::mem::take(&mut self.calls).into_values().collect();
        let mut ops = Vec::with_capacity(calls.len());
        for batch in calls.chunks(BATCH_CALLS) {
            options.go_on()?;
            for latest in batch {
                let old = look_up_indexed(index, latest.id)?;
                if old.as_ref().is_none_or(|(stored, _)| stored.seq() < latest.seq) {
                    ops.push(latest.after(old));
                }
            }
        }
        let admin: Vec<AdminRow> = std::mem::take(&mut self.admin).into_values().collect();
        Ok(index.write(&ops, &admin)?)
    }
}
