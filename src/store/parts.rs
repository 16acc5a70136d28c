//! Events while there is no index, and how a new index takes over from the committer's side.
//!
//! The journal holds whole records, so that an event of a call that is not in memory needs the
//! record that the index has. While there is none, such an event is taken all the same: what was
//! heard of the call is a *part*, kept in the registry and journaled as a frame of its own kind. The
//! join of records is commutative, so that the part joins with the record later, and nothing is lost
//! by that. Architecture invariants:
//!
//! * A part is no version of its call: a search for the newest one passes it over, and no client
//!   is shown it.
//! * The record that is written next holds the part. So a part counts exactly where no record or
//!   deletion of its call stands behind it in the journal.
//! * Each part holds the earlier ones of its call.
//! * A call in memory has a part where it has got to know a Call-ID, and the index that is away may have a
//!   CDR's call of that Call-ID (`placing.rs`). Whatever is heard of it then is part of that part.
//! * CDRs find their place after all other parts: one of those may be their call.
//! * While there is an index that is asked, there are no parts but CDRs that wait for their call
//!   (`placing.rs`): the last of them finds its place in the step in which the index takes over.
//! * No mark of an index lets a replay begin after a part that has no place yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::StoreError;
use super::claims::{Claims, has_namesake};
use super::committer::append;
use super::frames::tombstone_body;
use super::messages::{KnownCalls, Versions};
use super::placing::owner_of;
use super::state::Shared;
use crate::domain::{Call, CallId, Source};
use crate::index::{Index, IndexError, Stored};
use crate::journal::{ChangeOrigin, FrameKind, JournalWriter};
use crate::keys::{IndexKeys, derived, derived_from};
use crate::registry::{CallState, Indexed};
use crate::{clock, codec};

/// Parts that find their place before others get a turn.
pub(super) const PLACED_AT_ONCE: usize = 500;

/// What the index has of a call.
pub(super) fn look_up(
    index: &Index,
    id: CallId,
) -> Result<Option<(CallState, Indexed)>, IndexError> {
    match index.stored(id)? {
        // Most calls that are looked up are new: one question is enough for them.
        None => Ok(None),
        Some(stored @ Stored::Tombstone { deleted_at, .. }) => {
            Ok(Some((CallState::Deleted(deleted_at), (stored, None))))
        }
        Some(Stored::Call { .. }) => Ok(index.call(id)?.map(|(seq, call)| {
            let indexed = indexed(seq, &call);
            (CallState::Call(Arc::new(call)), indexed)
        })),
    }
}

/// What the index has of a call, without the call itself.
pub(super) fn look_up_indexed(index: &Index, id: CallId) -> Result<Option<Indexed>, IndexError> {
    Ok(look_up(index, id)?.map(|(_, indexed)| indexed))
}

fn indexed(seq: u64, call: &Call) -> Indexed {
    (Stored::Call { seq, listed_at: call.listed_at }, Some(IndexKeys::of(call)))
}

/// Gives the first parts their place, by what an index has of their calls: the records that hold them
/// are written to the journal and published.
pub(super) fn join_first(
    shared: &Shared,
    writer: &mut JournalWriter,
    index: &Index,
) -> Result<(), StoreError> {
    let parts = shared.view.registry.read().first_parts(PLACED_AT_ONCE);
    if parts.is_empty() {
        return Ok(());
    }
    let now = clock::now();
    let tombstones = shared.view.tombstones();
    let mut batch = writer.batch();
    let mut placed = Vec::with_capacity(parts.len());
    let mut live = Vec::new();
    let mut new = 0;
    let mut claims = Claims::default();
    let mut waiting = Vec::new();
    let mut step = HashMap::new();
    for (id, part) in parts {
        // A call that came before it has taken it.
        if matches!(step.get(&id), Some(CallState::Deleted(_))) {
            continue;
        }
        let (mut found, indexed) = known_now(shared, index, &step, id)?;
        // In a node a part is a CDR that waits, and there was no deletion that stood.
        if let Some(CallState::Deleted(since)) = found
            && (shared.is_node() || !tombstones.stands(since, part.at))
        {
            found = None;
        }
        let up_before = matches!(&found, Some(CallState::Call(call)) if call.live());
        if let Some(call_id) = derived_from(&part.call) {
            if found.is_none() {
                waiting.push(id);
                continue;
            }
            let changed = |id| step.get(&id).cloned();
            let (key, direction) = ((id.account, &*call_id), part.call.direction.value);
            if let Some(before) = owner_of(shared, index, key, direction, changed, &[])? {
                let (_, owner_indexed) = known_now(shared, index, &step, before.id)?;
                let mut call = before.join(&part.call);
                if let Some(CallState::Call(known)) = &found {
                    call = call.join(known);
                }
                let more = i64::from(call.live()) - i64::from(before.live());
                live.push((id.account, more - i64::from(up_before)));
                let origin = ChangeOrigin::Source(Source::Cdr);
                let seq = batch.push(now, origin, FrameKind::Record, &codec::encode(&call))?;
                let state = CallState::Call(Arc::new(call));
                step.insert(before.id, state.clone());
                placed.push((before.id, state, seq, owner_indexed));
                let seq = batch.push(now, origin, FrameKind::Tombstone, &tombstone_body(id))?;
                step.insert(id, CallState::Deleted(now));
                placed.push((id, CallState::Deleted(now), seq, indexed));
                continue;
            }
        }
        let state = match found {
            // It is said again, so that it stands behind the part.
            Some(CallState::Deleted(_)) => CallState::Deleted(now),
            Some(CallState::Call(call)) => CallState::Call(Arc::new(call.join(&part.call))),
            None => {
                new += 1;
                let mut call = Arc::unwrap_or_clone(part.call);
                let stands = |deleted_at| tombstones.stands(deleted_at, part.at);
                call.namesake =
                    call.namesake || has_namesake(shared, Some(index), &[&claims], id, stands)?;
                CallState::Call(Arc::new(call))
            }
        };
        let state = match state {
            CallState::Call(mut call) if derived_from(&call).is_none() => {
                for (other, known, up, indexed) in derived_of(shared, index, &step, &call)? {
                    call = Arc::new(call.join(&known));
                    live.push((id.account, -i64::from(up)));
                    let body = tombstone_body(other);
                    let origin = ChangeOrigin::Source(Source::Cdr);
                    let seq = batch.push(now, origin, FrameKind::Tombstone, &body)?;
                    step.insert(other, CallState::Deleted(now));
                    placed.push((other, CallState::Deleted(now), seq, indexed));
                }
                CallState::Call(call)
            }
            state => state,
        };
        let seq = match &state {
            CallState::Call(call) => {
                batch.push(now, ChangeOrigin::Admin, FrameKind::Record, &codec::encode(call))?
            }
            CallState::Deleted(_) => {
                batch.push(now, ChangeOrigin::Admin, FrameKind::Tombstone, &tombstone_body(id))?
            }
        };
        let up = matches!(&state, CallState::Call(call) if call.live());
        live.push((id.account, i64::from(up) - i64::from(up_before)));
        claims.note(id, &state);
        step.insert(id, state.clone());
        placed.push((id, state, seq, indexed));
    }
    append(shared, writer, batch)?;
    let mut registry = shared.view.registry.write();
    if !waiting.is_empty() {
        shared.cdrs_taken.store(true, Ordering::Release);
    }
    for id in waiting {
        registry.wait(id);
    }
    for (id, state, seq, indexed) in placed {
        registry.put(id, state, seq, now, indexed);
    }
    let last_seq = registry.last_seq();
    drop(registry);
    for (account, more) in live.into_iter().filter(|(_, more)| *more != 0) {
        shared.view.meter.add_live(account, more);
    }
    shared.queue.counted.lock().new += new;
    shared.view.published.send_replace(last_seq);
    Ok(())
}

/// What is known of a call after what one step has placed so far, and what the index has, where the call was
/// not in memory. What is in memory is newer than that: a start read it in the journal.
fn known_now(
    shared: &Shared,
    index: &Index,
    step: &HashMap<CallId, CallState>,
    id: CallId,
) -> Result<(Option<CallState>, Option<Indexed>), StoreError> {
    let in_memory = step.get(&id).cloned().or_else(|| {
        let registry = shared.view.registry.read();
        registry.get(id).map(|entry| entry.state.clone())
    });
    Ok(match in_memory {
        Some(state) => (Some(state), None),
        None => look_up(index, id)?.unzip(),
    })
}

/// What is known under a sid, whether a call is active there, and what the index has of it.
type KnownCall = (CallId, Arc<Call>, bool, Option<Indexed>);

/// What is known under the sids of a call's Call-IDs, whether or not CDRs are taken now: a call may be a part
/// for that alone.
fn derived_of(
    shared: &Shared,
    index: &Index,
    step: &HashMap<CallId, CallState>,
    call: &Call,
) -> Result<Vec<KnownCall>, StoreError> {
    let mut known = Vec::new();
    let mut ids: Vec<_> =
        call.call_ids().map(|call_id| derived(call.id.account, &call_id)).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let (state, indexed) = known_now(shared, index, step, id)?;
        let part = shared.view.registry.read().part(id).map(|part| part.call.clone());
        let up = matches!(&state, Some(CallState::Call(call)) if call.live());
        let whole = match (state, part) {
            (Some(CallState::Call(call)), Some(part)) => Some(Arc::new(call.join(&part))),
            (Some(CallState::Call(call)), None) => Some(call),
            (None, part) => part,
            // What was said since goes to the call that has it, when it is its turn.
            (Some(CallState::Deleted(_)), _) => None,
        };
        known.extend(whole.map(|whole| (id, whole, up, indexed)));
    }
    Ok(known)
}

/// What a generation that is not read yet has of the calls in memory.
pub(super) fn known_by(shared: &Shared, index: &Index) -> Result<KnownCalls, IndexError> {
    let entries: Vec<(CallId, u64, CallState)> = {
        let registry = shared.view.registry.read();
        registry.iter().map(|(id, entry)| (id, entry.seq, entry.state.clone())).collect()
    };
    let mut known = KnownCalls::with_capacity(entries.len());
    for (id, seq, state) in entries {
        let found = match (index.stored(id)?, state) {
            (None, _) => None,
            (Some(stored), CallState::Call(call)) if stored.seq() == seq => {
                Some(indexed(seq, &call))
            }
            _ => look_up_indexed(index, id)?,
        };
        known.insert(id, found);
    }
    Ok(known)
}

/// A new generation takes over: what the registry knows of the old one is of no use. The calls that
/// the new one has stay in memory until those are done who read in the old one.
pub(super) fn replace(
    shared: &Shared,
    writer: &mut JournalWriter,
    index: &Arc<Index>,
    mut known: KnownCalls,
) -> Result<(), StoreError> {
    while shared.view.registry.read().first_part_seq().is_some() {
        join_first(shared, writer, index)?;
    }
    let missing: Vec<CallId> = {
        let registry = shared.view.registry.read();
        registry.iter().map(|(id, _)| id).filter(|id| !known.contains_key(id)).collect()
    };
    for id in missing {
        known.insert(id, look_up_indexed(index, id)?);
    }
    let mut registry = shared.view.registry.write();
    for (id, indexed) in known {
        registry.note_indexed(id, indexed);
    }
    registry.count_from(index.stats());
    // It may have been copied while a deletion left.
    shared.forgotten.store(true, Ordering::Release);
    shared.view.set_index(Ok(index.clone()));
    drop(registry);
    shared.queue.crowded.store(false, Ordering::Release);
    shared.view.damaged.store(false, Ordering::Release);
    if !shared.view.live_known.load(Ordering::Acquire) {
        shared.view.count_live();
    }
    Ok(())
}

/// The calls in memory that the index has as they are.
pub(super) fn covered(shared: &Shared) -> Versions {
    let registry = shared.view.registry.read();
    let covered = registry.iter().filter(|(_, entry)| entry.covered());
    let calls = covered.map(|(id, entry)| (id, entry.indexed.clone())).collect();
    Versions { calls, ..Versions::default() }
}
