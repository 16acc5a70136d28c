//! Copying calls from the registry into the index.

use std::sync::atomic::Ordering;

use super::StoreError;
use super::messages::{CheckpointNote, CommitterMessage, LogNote, Note, Versions};
use super::state::Shared;
use crate::clock;
use crate::domain::{CallId, Position, Timestamp};
use crate::index::{AdminRow, CheckpointMeta, Index, IndexError, Op, Stored, Version};
use crate::keys::IndexKeys;
use crate::registry::{CallState, Indexed, Registry};

/// Expired tombstones that one checkpoint removes.
const EXPIRED_MAX: usize = 10_000;
/// Calls that leave the registry before others get a turn.
const SETTLED_AT_ONCE: usize = 500;
/// What sled takes at once, however little is written.
const SLACK_BYTES: u64 = 4 << 20;
/// What is kept of a call that is sealed may take so much at most: it may be alone in its quarter.
const SEALED_BYTES: u64 = 1024;
/// What the parties of a day take at most, which are written at once.
const PARTIES_BYTES: u64 = 16 << 20;

/// A checkpoint that is on disk in the index, and not yet in the journal.
pub(super) struct IndexCheckpoint {
    pub note: CheckpointNote,
    pub versions: Versions,
}

impl CheckpointNote {
    /// The body of its frame, with what is to be said of the log.
    pub fn body(&self, log: Option<LogNote>) -> Vec<u8> {
        // A struct of numbers has a JSON.
        serde_json::to_vec(&Note { log, ..self.note.clone() }).unwrap_or_default()
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
    /// behind. The checkpointer has waited for the readers who may not have seen them in the index.
    pub fn settle(self, shared: &Shared) {
        let mut registry = shared.view.registry.write();
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

/// Copies calls into the index, and has the journal say so. False where there was nothing to copy.
pub(super) fn take(
    shared: &Shared,
    generation: u64,
    scope: CheckpointScope,
) -> Result<bool, StoreError> {
    let _writing = shared.index_writer.lock();
    take_locked(shared, generation, scope)
}

/// The same where the caller holds the lock of those who write the index.
pub(super) fn take_locked(
    shared: &Shared,
    generation: u64,
    scope: CheckpointScope,
) -> Result<bool, StoreError> {
    let index = shared.view.index()?;
    // An index that finds no room while it is written has failed, and with it all lists.
    if let Some(needed) = needed_bytes(shared, &index) {
        let room = shared.disk.holds("a checkpoint", needed);
        *shared.short_of_space.lock() = room.clone().err();
        room?;
    }
    let written = write(shared, &index, generation, scope, clock::now());
    let written = written.map_err(|error| shared.view.index_failed(&error))?;
    let Some(IndexCheckpoint { note, versions }) = written else { return Ok(false) };
    let done = shared.queue.committer.ask(|reply| CommitterMessage::Checkpoint(note, reply));
    let_go(shared, versions)?;
    done.map(|()| true)
}

/// Has the index put in order what many checkpoints have left, where the disk has room for that.
pub(super) fn tidy(shared: &Shared) -> Result<(), StoreError> {
    let Some(_moves) = shared.at_rest.try_read() else { return Ok(()) };
    let _writing = shared.index_writer.lock();
    let index = shared.view.index()?;
    let room = index.writing_bytes(0, 0).saturating_add(SLACK_BYTES);
    if index.is_untidy() && shared.disk.holds("merging layers", room).is_ok() {
        index.tidy().map_err(|error| shared.view.index_failed(&error))?;
    }
    Ok(())
}

/// Counts the calls of quarters of an hour that have ended by then, and keeps that in the index. True where there
/// is more to do. What is not sealed is counted each time that it is asked for.
pub(super) fn seal(
    shared: &Shared,
    until: Timestamp,
    calls: usize,
    busy: bool,
) -> Result<bool, StoreError> {
    let Some(_moves) = shared.at_rest.try_read() else { return Ok(false) };
    let _writing = shared.index_writer.lock();
    let index = shared.view.index()?;
    let room = (calls as u64).saturating_mul(SEALED_BYTES);
    let room = room.saturating_add(SLACK_BYTES + PARTIES_BYTES);
    if shared.disk.holds("counts of calls", room).is_err() {
        return Ok(false);
    }
    index.seal(until, calls, busy).map_err(|error| shared.view.index_failed(&error))
}

/// Has calls leave memory that the index has, once those are done who may not have seen them there.
pub(super) fn let_go(shared: &Shared, versions: Versions) -> Result<(), StoreError> {
    shared.view.readers.wait_for_present();
    for piece in versions.pieces() {
        shared.queue.committer.ask(|reply| CommitterMessage::Settle(piece, reply))?;
    }
    Ok(())
}

/// Writes a checkpoint into the index. None where there is nothing to write.
pub(super) fn write(
    shared: &Shared,
    index: &Index,
    generation: u64,
    scope: CheckpointScope,
    now: Timestamp,
) -> Result<Option<IndexCheckpoint>, IndexError> {
    let (mut chosen, admin, replay_from, last_seq) = choose(shared, scope, now);
    let expired_before = shared.view.tombstones().needed_since(now);
    let expired = forgotten(shared, index, expired_before)?;
    if chosen.is_empty() && admin.is_empty() && expired.is_empty() {
        return Ok(None);
    }
    for call in &mut chosen {
        // A tombstone may have expired since it was looked up: only this thread knows for sure.
        if let Some((Stored::Tombstone { .. }, _)) = call.indexed {
            call.indexed = index.stored(call.id)?.map(|stored| (stored, None));
        }
    }
    // sled is faster where neighbours are written together.
    chosen.sort_by_cached_key(|chosen| match &chosen.state {
        CallState::Call(call) => (chosen.id.account, Position::of(call)),
        CallState::Deleted(at) => (chosen.id.account, Position::new(*at, chosen.id.sid)),
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
    let note = Note { generation, checkpoint, replay_from, log: None };
    let note = CheckpointNote { note, at: now };
    let versions = Versions { calls, admin, forgotten: expired };
    Ok(Some(IndexCheckpoint { note, versions }))
}

/// Bytes that the index may grow by when all that is in memory is written to it; none where nothing
/// is.
fn needed_bytes(shared: &Shared, index: &Index) -> Option<u64> {
    let registry = shared.view.registry.read();
    if registry.is_empty() && registry.admin().next().is_none() {
        return None;
    }
    let weight =
        registry.iter().filter_map(|(_, entry)| entry.call()).map(|call| call.weight()).sum();
    Some(index.writing_bytes(registry.len(), weight).saturating_add(SLACK_BYTES))
}

/// Deletions that the journal has let go of.
fn forgotten(
    shared: &Shared,
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
        let known = shared.view.registry.read().get(id).is_some();
        if !known && shared.view.has_left_journal(seq, deleted_at) {
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
    shared: &Shared,
    scope: CheckpointScope,
    now: Timestamp,
) -> (Vec<Chosen>, Vec<AdminRow>, u64, u64) {
    let registry = shared.view.registry.read();
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
    registry.first_unplaced_seq().unwrap_or(u64::MAX).min(last_seq + 1)
}

/// Which calls the next checkpoint should take: all of them where the registry fills up or the
/// journal that would be replayed grows long.
pub(super) fn scope_of_next(shared: &Shared) -> CheckpointScope {
    let registry = shared.view.registry.read();
    let oldest = registry.iter().map(|(_, entry)| entry.seq).min();
    let crowded = registry.len() * 2 > shared.options.registry_calls;
    drop(registry);
    let Some(oldest) = oldest else { return CheckpointScope::Settled };
    let segments = shared.view.segments.read();
    let replayed = segments.iter().rev().scan(true, |wanted, segment| {
        let this = *wanted;
        *wanted = this && segment.first_seq > oldest;
        this.then_some(segment.length)
    });
    let long = replayed.sum::<u64>() > shared.options.replay_bytes;
    if crowded || long { CheckpointScope::Everything } else { CheckpointScope::Settled }
}
