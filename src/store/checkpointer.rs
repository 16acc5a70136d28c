//! The keeper: the one thread that writes the index. It takes checkpoints, gives up calls that
//! have gone quiet, and has a new index take over when the old one fails or is compacted.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::committer::Job;
use super::index_builder::Builds;
use super::state::{State, Wake};
use super::submit::{Backpressure, Change, Ticket};
use crate::clock;
use crate::domain::{CallId, Position, Timestamp};
use crate::index::{AdminRow, CheckpointMeta, Index, IndexError, Op, Stored, Version};
use crate::keys::IndexKeys;
use crate::registry::{CallState, Indexed, Registry};

/// Calls that one submission of the sweep gives up.
const SWEEP_CALLS: usize = 500;
/// A step of the clock that is not believed at once.
const STEP: Duration = Duration::from_hours(1);

/// The keeper's own state.
pub(super) struct Checkpointer {
    pub(super) shared: Arc<State>,
    pub(super) generation: u64,
    sweep: Sweep,
    pub(super) builds: Builds,
    /// It has been said that there is no room for a checkpoint.
    cramped: bool,
}

impl Checkpointer {
    pub fn new(shared: Arc<State>, generation: u64) -> Self {
        let sweep = Sweep::new();
        Self { shared, generation, sweep, builds: Builds::none(), cramped: false }
    }

    /// Runs until the store closes; the last thing is a checkpoint of everything.
    pub fn run(mut self) {
        let interval = self.shared.options.checkpoint_interval;
        let mut next = Instant::now() + interval;
        loop {
            let Wake { stop, pressure, .. } = self.sleep_until(next);
            next = Instant::now() + interval;
            #[cfg(test)]
            self.shared.strike("checkpointer");
            if stop {
                self.end_builds();
            } else {
                self.tend_builds();
            }
            let all = stop || pressure;
            let scope = if all { CheckpointScope::Everything } else { scope_of_next(&self.shared) };
            match self.checkpoint(scope) {
                Ok(()) => {
                    self.cramped = false;
                    self.shared.checkpointed(clock::now());
                }
                Err(error) => {
                    self.shared.meter.checkpoints_failed.inc();
                    self.complain(&error);
                }
            }
            self.announce();
            if stop {
                return;
            }
            if self.sweep.last.elapsed() >= self.shared.options.sweep_interval {
                self.sweep();
            }
        }
    }

    /// Waits until that time, or until somebody wakes the keeper; returns what it is asked to do.
    fn sleep_until(&self, next: Instant) -> Wake {
        let (wake, woken) = &self.shared.wake;
        let mut wake = wake.lock();
        while !wake.stop && !wake.pressure && !wake.look {
            if woken.wait_until(&mut wake, next).timed_out() {
                break;
            }
        }
        let pressure = std::mem::take(&mut wake.pressure);
        wake.look = false;
        Wake { pressure, stop: wake.stop, ..Wake::default() }
    }

    /// Says that a checkpoint was not taken, unless it is known why.
    fn complain(&mut self, error: &StoreError) {
        let cramped = error.is_short_of_room();
        if cramped {
            self.shared.wake.0.lock().cramped = Some(error.clone());
        }
        if std::mem::replace(&mut self.cramped, cramped) && cramped {
            return;
        }
        if !matches!(error, StoreError::IndexUnavailable(_)) || !self.is_building() {
            tracing::warn!(%error, "the checkpoint was not taken");
        }
    }

    fn announce(&self) {
        self.shared.wake.1.notify_all();
    }

    /// Copies calls into the index, and has the journal say so.
    pub(super) fn checkpoint(&self, scope: CheckpointScope) -> Result<(), StoreError> {
        let _writing = self.shared.index_writer.lock();
        self.checkpoint_locked(scope)
    }

    /// The same for whoever holds the lock of those who write the index.
    pub(super) fn checkpoint_locked(&self, scope: CheckpointScope) -> Result<(), StoreError> {
        let shared = &self.shared;
        let index = shared.index()?;
        // An index that finds no room while it is written has failed, and with it all lists.
        if let Some(needed) = needed_bytes(shared) {
            shared.room.holds("a checkpoint", needed)?;
        }
        let written = write_checkpoint(shared, &index, self.generation, scope, clock::now());
        let written = written.map_err(|error| shared.index_failed(&error))?;
        let Some(IndexCheckpoint { note, versions }) = written else { return Ok(()) };
        let done = shared.ask(|reply| Job::Checkpoint(note, reply));
        self.let_go(versions)?;
        done
    }

    /// Has calls leave memory that the index has, once those are done who may not have seen them there.
    pub(super) fn let_go(&self, versions: Versions) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.readers.wait_for_present();
        for piece in versions.pieces() {
            shared.ask(|reply| Job::Settle(piece, reply))?;
        }
        Ok(())
    }

    /// Gives up every call that has heard nothing for longer than a call may live.
    fn sweep(&mut self) {
        let now = clock::now();
        if !self.sweep.believes(now) {
            return;
        }
        let shared = &self.shared;
        let heard_before = now.minus_millis(shared.options.max_lifetime_millis);
        let mut quiet: Vec<CallId> = {
            let registry = shared.registry.read();
            let quiet = registry.iter().filter(|(_, entry)| {
                entry.call().is_some_and(|c| c.live() && c.last_event_at() < heard_before)
            });
            quiet.map(|(id, _)| id).collect()
        };
        if let Ok(index) = shared.index() {
            match index.live_before(heard_before, SWEEP_CALLS * 20) {
                Ok(more) => {
                    let registry = shared.registry.read();
                    quiet.extend(more.into_iter().filter(|id| registry.get(*id).is_none()));
                }
                Err(error) => {
                    shared.index_failed(&error);
                }
            }
        }
        for calls in quiet.chunks(SWEEP_CALLS) {
            let changes = calls.iter().map(|id| Change::Stale(*id, heard_before)).collect();
            let swept =
                shared.submit(changes, now, false, Backpressure::None).and_then(Ticket::wait);
            match swept {
                Ok(outcome) => {
                    shared.meter.gone_stale.inc_by(outcome.changed);
                    tracing::info!(calls = outcome.changed, "calls have gone stale");
                }
                Err(error) => {
                    tracing::warn!(%error, "stale calls wait for the next sweep");
                    return;
                }
            }
        }
    }
}

/// When the last sweep was, by two clocks: one that can be set and one that cannot.
pub(super) struct Sweep {
    last: Instant,
    clock: Timestamp,
    paused_until: Option<Instant>,
}

impl Sweep {
    pub fn new() -> Self {
        Self { last: Instant::now(), clock: clock::now(), paused_until: None }
    }

    /// Whether this time is believed. A clock that has stepped forward by more than an hour is not,
    /// until it has stayed there for an hour: a wrong clock must not end everybody's calls.
    pub fn believes(&mut self, now: Timestamp) -> bool {
        let passed = self.last.elapsed();
        let shown = now.millis().saturating_sub(self.clock.millis());
        self.last = Instant::now();
        self.clock = now;
        if Duration::from_millis(shown) > passed + STEP {
            tracing::warn!(
                "the clock has stepped forward; no call is given up or deleted for an hour"
            );
            self.paused_until = Some(self.last + STEP);
        }
        if self.paused_until.is_some_and(|until| until > self.last) {
            return false;
        }
        self.paused_until = None;
        true
    }
}

/// Expired tombstones that one checkpoint removes.
const EXPIRED_MAX: usize = 10_000;
/// What a call takes of the disk when it is written beside others, in no order.
const CALL_BYTES: u64 = 6000;
/// Calls that leave the registry before others get a turn.
const SETTLED_AT_ONCE: usize = 500;
/// What sled takes at once, whatever is written.
const SLACK_BYTES: u64 = 4 << 20;

/// What a checkpoint frame says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub generation: u64,
    pub checkpoint: u64,
    pub replay_from: u64,
}

/// A checkpoint that is on disk in the index, and not yet in the journal.
pub(super) struct IndexCheckpoint {
    pub note: CheckpointNote,
    pub versions: Versions,
}

/// What the journal is to say of a checkpoint.
pub(super) struct CheckpointNote {
    pub note: Note,
    pub at: Timestamp,
}

/// What the index has of some calls and settings.
#[derive(Default)]
pub(super) struct Versions {
    pub calls: Vec<(CallId, Option<Indexed>)>,
    pub admin: Vec<AdminRow>,
    /// Deletions that it has let go of.
    pub forgotten: Vec<CallId>,
}

impl CheckpointNote {
    pub fn body(&self) -> Vec<u8> {
        // A struct of three numbers has a JSON.
        serde_json::to_vec(&self.note).unwrap_or_default()
    }
}

impl Versions {
    /// The same in pieces: who waits for a commit waits for one of them at most.
    pub fn pieces(self) -> impl Iterator<Item = Self> {
        let Self { calls, admin, forgotten } = self;
        let (mut calls, mut forgotten) = (calls.into_iter(), forgotten.into_iter());
        let mut first = Some(admin);
        std::iter::from_fn(move || {
            let calls: Vec<_> = calls.by_ref().take(SETTLED_AT_ONCE).collect();
            let forgotten: Vec<_> = forgotten.by_ref().take(SETTLED_AT_ONCE).collect();
            let admin = first.take().unwrap_or_default();
            let any = !calls.is_empty() || !admin.is_empty() || !forgotten.is_empty();
            any.then_some(Self { calls, admin, forgotten })
        })
    }

    /// Lets go of them. The committer does, and it does so too where the journal had no room for the
    /// checkpoint: were it forgotten that the index has them, the next one would leave their keys
    /// behind. Whoever asks for it has waited for the readers who may not have seen them in the index.
    pub fn settle(self, shared: &State) {
        let mut registry = shared.registry.write();
        for id in self.forgotten {
            registry.forget(id);
        }
        for (id, indexed) in self.calls {
            registry.settle(id, indexed);
        }
        for row in &self.admin {
            registry.settle_admin(row);
        }
    }
}

/// Which calls go into the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckpointScope {
    /// Those that have ended, and live ones that have been in the registry for long.
    Settled,
    /// All.
    Everything,
}

struct Chosen {
    id: CallId,
    state: CallState,
    seq: u64,
    indexed: Option<Indexed>,
}

/// Writes a checkpoint into the index. None where there is nothing to write.
pub(super) fn write_checkpoint(
    shared: &State,
    index: &Index,
    generation: u64,
    scope: CheckpointScope,
    now: Timestamp,
) -> Result<Option<IndexCheckpoint>, IndexError> {
    let (mut chosen, admin, replay_from, last_seq) = choose(shared, scope, now);
    let expired_before = now.minus_millis(shared.options.max_lifetime_millis);
    let expired = forgotten(shared, index, expired_before)?;
    if chosen.is_empty() && admin.is_empty() && expired.is_empty() {
        return Ok(None);
    }
    for call in &mut chosen {
        // A tombstone may have expired since somebody looked: only this thread knows for sure.
        if let Some((Stored::Tombstone { .. }, _)) = call.indexed {
            call.indexed = index.stored(call.id)?.map(|stored| (stored, None));
        }
    }
    // Neighbours together, and the oldest first: each that follows comes to the front, before those
    // whose block is full.
    chosen.sort_by_cached_key(|chosen| match &chosen.state {
        CallState::Call(call) => Reverse((chosen.id.account, Position::of(call))),
        CallState::Deleted(at) => Reverse((chosen.id.account, Position::new(*at, chosen.id.sid))),
    });
    let mut ops: Vec<Op<'_>> = Vec::with_capacity(chosen.len() + expired.len());
    for call in &chosen {
        let new = match &call.state {
            CallState::Call(record) => Version::Call(call.seq, record),
            CallState::Deleted(at) => Version::Tombstone(call.seq, *at),
        };
        ops.push(Op { id: call.id, old: call.indexed.clone(), new });
    }
    for id in &expired {
        let old = index.stored(*id)?.map(|stored| (stored, None));
        ops.push(Op { id: *id, old, new: Version::Nothing });
    }
    index.write(&ops, &admin)?;
    drop(ops);
    let checkpoint = index.mark()?.map_or(0, |mark| mark.checkpoint) + 1;
    let stats = index.stats();
    let mark = CheckpointMeta { checkpoint, last_seq, replay_from, stats, at: now.millis() };
    index.mark_and_sync(&mark)?;
    let calls = chosen.into_iter().map(|call| {
        let indexed = match &call.state {
            CallState::Call(record) => {
                let stored = Stored::Call { seq: call.seq, listed_at: record.listed_at };
                (stored, Some(IndexKeys::of(record)))
            }
            CallState::Deleted(at) => (Stored::Tombstone { seq: call.seq, deleted_at: *at }, None),
        };
        (call.id, Some(indexed))
    });
    let calls = calls.collect();
    let note = Note { generation, checkpoint, replay_from };
    let note = CheckpointNote { note, at: now };
    let versions = Versions { calls, admin, forgotten: expired };
    Ok(Some(IndexCheckpoint { note, versions }))
}

/// Bytes that the index may grow by when all that is in memory is written to it; none where nothing
/// is.
fn needed_bytes(shared: &State) -> Option<u64> {
    let registry = shared.registry.read();
    if registry.is_empty() && registry.admin().next().is_none() {
        return None;
    }
    Some((registry.len() as u64).saturating_mul(CALL_BYTES).saturating_add(SLACK_BYTES))
}

/// Deletions that the journal has let go of.
fn forgotten(
    shared: &State,
    index: &Index,
    expired_before: Timestamp,
) -> Result<Vec<CallId>, IndexError> {
    if !shared.forgotten.swap(false, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let expired = index.deleted_before(expired_before, EXPIRED_MAX)?;
    let full = expired.len() == EXPIRED_MAX;
    let mut forgotten = Vec::new();
    for id in expired {
        let Some(Stored::Tombstone { seq, deleted_at }) = index.stored(id)? else { continue };
        let known = shared.registry.read().get(id).is_some();
        if !known && shared.has_left_journal(seq, deleted_at) {
            forgotten.push(id);
        }
    }
    // They leave the journal in the order in which they leave the index: there may be more.
    if full && !forgotten.is_empty() {
        shared.forgotten.store(true, Ordering::Release);
    }
    Ok(forgotten)
}

/// What goes into the index, and from where the journal is to be replayed after that.
fn choose(
    shared: &State,
    scope: CheckpointScope,
    now: Timestamp,
) -> (Vec<Chosen>, Vec<AdminRow>, u64, u64) {
    let registry = shared.registry.read();
    let last_seq = registry.last_seq();
    let mut replay_from = replay_from(&registry, last_seq);
    let mut chosen = Vec::new();
    let age = shared.options.live_checkpoint_age_millis;
    for (id, entry) in registry.iter() {
        let live = entry.call().is_some_and(|call| call.live());
        let waits =
            live && scope == CheckpointScope::Settled && entry.entered_at.plus_millis(age) > now;
        if waits {
            replay_from = replay_from.min(entry.seq);
        } else {
            let (state, indexed) = (entry.state.clone(), entry.indexed.clone());
            chosen.push(Chosen { id, state, seq: entry.seq, indexed });
        }
    }
    let admin = registry.admin().cloned().collect();
    (chosen, admin, replay_from, last_seq)
}

/// From where on the journal is to be read again by an index that has all records up to this one.
pub(super) fn replay_from(registry: &Registry, last_seq: u64) -> u64 {
    registry.first_part_seq().unwrap_or(u64::MAX).min(last_seq + 1)
}

/// Which calls the next checkpoint should take: all of them where the registry fills up or the
/// journal that would be replayed grows long.
fn scope_of_next(shared: &State) -> CheckpointScope {
    let registry = shared.registry.read();
    let oldest = registry.iter().map(|(_, entry)| entry.seq).min();
    let crowded = registry.len() * 2 > shared.options.registry_calls;
    drop(registry);
    let Some(oldest) = oldest else { return CheckpointScope::Settled };
    let segments = shared.segments.read();
    let replayed = segments.iter().rev().scan(true, |wanted, segment| {
        let this = *wanted;
        *wanted = this && segment.first_seq > oldest;
        this.then_some(segment.length)
    });
    let long = replayed.sum::<u64>() > shared.options.replay_bytes;
    if crowded || long { CheckpointScope::Everything } else { CheckpointScope::Settled }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_is_not_believed_at_once() {
        let now = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let mut sweep = Sweep { last: Instant::now(), clock: now, paused_until: None };
        assert!(sweep.believes(now.plus_millis(1000)));
        assert!(!sweep.believes(now.plus_millis(2 * 3_600_000)));
        assert!(!sweep.believes(now.plus_millis(2 * 3_600_000 + 1)), "not yet confirmed");
        sweep.paused_until = Some(Instant::now());
        assert!(sweep.believes(now.plus_millis(2 * 3_600_000 + 2)), "an hour later it is");
    }
}
