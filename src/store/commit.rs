//! The committer: the one thread that writes the journal and the registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use super::StoreError;
use super::bodies::admin_body;
use super::checkpoint::{Noted, Versions};
use super::shared::Shared;
use super::submit::{Change, Outcome, Submission};
use crate::access::Row;
use crate::codec;
use crate::domain::{AccountSid, Call, CallId, Source, Timestamp, merge};
use crate::index::{AdminRow, Index, Stored};
use crate::journal::{Batch, JournalError, Kind, Origin, Writer};
use crate::keys::Facets;
use crate::registry::{Indexed, State};

/// Changes that one commit takes, beyond which the next one begins.
const COMMIT_CHANGES: usize = 4096;
/// Bytes that one commit takes.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// Tells whoever asked for a job what became of it.
pub(super) type Done = SyncSender<Result<(), StoreError>>;

/// What the committer does.
pub(super) enum Job {
    /// Changes to be made durable.
    Submit(Submission),
    /// A checkpoint has been written to the index: the journal is to say so.
    Checkpoint(Noted, Done),
    /// The index has these versions of calls and of settings.
    Settle(Versions, Done),
    /// A new generation takes over.
    Replace(Arc<Index>, Done),
    /// A new segment is begun, so that the present one can be collected.
    BeginSegment(Done),
    /// The end.
    Stop,
}

/// Runs until [`Job::Stop`].
pub(super) fn run(shared: &Arc<Shared>, mut writer: Writer, jobs: &Receiver<Job>) {
    let mut waiting = None;
    let doing = shared.doing.clone();
    while let Some(job) = waiting.take().or_else(|| {
        doing.end();
        jobs.recv().ok()
    }) {
        match job {
            Job::Submit(first) => {
                doing.begin("looking calls up");
                let mut group = Group::new(shared, &writer);
                group.take(first);
                #[cfg(test)]
                shared.strike("committer");
                while group.has_room() {
                    match jobs.try_recv() {
                        Ok(Job::Submit(next)) => group.take(next),
                        Ok(other) => {
                            waiting = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                group.commit(&mut writer);
            }
            Job::Checkpoint(noted, reply) => {
                doing.begin("writing a checkpoint");
                let done = checkpoint(shared, &mut writer, &noted);
                let done = done.map(|seq| {
                    shared.registry.write().published(seq);
                    // There is nothing new to see: nobody is woken for it.
                    shared.published.send_if_modified(|last| {
                        *last = seq;
                        false
                    });
                });
                let _gone = reply.send(done);
            }
            Job::Settle(versions, reply) => {
                doing.begin("letting calls leave memory, once nobody reads them");
                versions.settle(shared);
                let _gone = reply.send(Ok(()));
            }
            Job::Replace(index, reply) => {
                doing.begin("changing to a new index, once nobody reads the old one");
                let _gone = reply.send(replace(shared, &index));
            }
            Job::BeginSegment(reply) => {
                let begun = writer.begin_segment();
                let _gone = reply.send(noted(shared, &writer, begun));
            }
            Job::Stop => return,
        }
    }
}

/// What a call is after the changes of this commit so far.
#[derive(Clone)]
struct Staged {
    state: Option<State>,
    /// What the index has, where it was asked.
    indexed: Option<Indexed>,
}

/// The changes that are synced together.
struct Group<'a> {
    shared: &'a Shared,
    batch: Batch,
    staged: HashMap<CallId, Staged>,
    /// What is published once it is durable.
    published: Vec<(CallId, State, u64, Option<Indexed>, Timestamp)>,
    admin: Vec<(u64, Row)>,
    replies: Vec<(Submission, Outcome)>,
    changes: usize,
    /// More calls that are up, or fewer, by account.
    live: Vec<(AccountSid, i64)>,
}

/// What one submission does, before it is part of the commit.
#[derive(Default)]
struct Draft {
    touched: HashMap<CallId, (Staged, Origin)>,
    order: Vec<CallId>,
    admin: Vec<Row>,
    outcome: Outcome,
    live: Vec<(AccountSid, i64)>,
}

impl<'a> Group<'a> {
    fn new(shared: &'a Shared, writer: &Writer) -> Self {
        Self {
            shared,
            batch: writer.batch(),
            staged: HashMap::new(),
            published: Vec::new(),
            admin: Vec::new(),
            replies: Vec::new(),
            changes: 0,
            live: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.changes < COMMIT_CHANGES && self.batch.bytes() < COMMIT_BYTES
    }

    /// Merges a submission's changes, all of them or none.
    fn take(&mut self, mut submission: Submission) {
        self.changes += submission.changes.len();
        let changes = std::mem::take(&mut submission.changes);
        match self.draft(changes, submission.at, submission.dry) {
            Err(error) => {
                submission.answer(Err(error));
            }
            Ok(draft) if submission.dry => {
                submission.answer(Ok(draft.outcome));
            }
            Ok(draft) => match self.add(&draft, submission.at) {
                Ok(()) => {
                    self.live.extend_from_slice(&draft.live);
                    self.replies.push((submission, draft.outcome));
                }
                Err(error) => {
                    submission.answer(Err(error.into()));
                }
            },
        }
    }

    fn draft(&self, changes: Vec<Change>, at: Timestamp, dry: bool) -> Result<Draft, StoreError> {
        if let Some(reason) = self.shared.failed.borrow().clone() {
            return Err(StoreError::Failed(reason));
        }
        if !dry && changes.iter().any(Change::grows) {
            self.shared.room.admits()?;
        }
        let room = self.shared.options.registry_calls;
        let waiting = self.shared.registry.read().len() + self.staged.len();
        // A submission larger than the whole registry is taken once that is empty.
        let needed = changes.iter().filter(|change| change.id().is_some()).count().min(room);
        if needed > 0 && waiting + needed > room {
            self.shared.wake_keeper();
            return Err(StoreError::Busy);
        }
        let mut draft = Draft::default();
        for change in changes {
            self.change(&mut draft, change, at)?;
        }
        Ok(draft)
    }

    fn change(&self, draft: &mut Draft, change: Change, at: Timestamp) -> Result<(), StoreError> {
        let outcome = &mut draft.outcome;
        let Some(id) = change.id() else {
            if let Change::Admin(row) = change {
                outcome.changed += 1;
                draft.admin.push(row);
            }
            return Ok(());
        };
        let mut staged = match draft.touched.get(&id) {
            Some((staged, ..)) => staged.clone(),
            None => self.current(id, at)?,
        };
        let known = match &staged.state {
            Some(State::Deleted(_)) => {
                outcome.ignored += 1;
                return Ok(());
            }
            Some(State::Call(call)) => Some(call.clone()),
            None => None,
        };
        let (state, origin) = match change {
            Change::Event(event) => {
                let origin = Origin::Source(event.source);
                outcome.unknown_statuses += u64::from(event.status.is_none());
                let sent: Vec<Box<str>> = event.extras.iter().map(|(key, _)| key.clone()).collect();
                outcome.dropped_keys += event.left_out.count();
                let merged = merge(known.as_deref(), *event, at);
                let dropped = sent.iter().filter(|key| merged.extras.get(key).is_none());
                outcome.dropped_keys += dropped.count() as u64;
                (State::Call(Arc::new(merged)), origin)
            }
            Change::Record(record) => {
                let joined = known.as_deref().map_or_else(|| *record.clone(), |c| c.join(&record));
                (State::Call(Arc::new(joined)), Origin::Source(Source::Import))
            }
            Change::Delete(_) => {
                if known.is_none() {
                    outcome.ignored += 1;
                    return Ok(());
                }
                (State::Deleted(at), Origin::Admin)
            }
            Change::Expire(_) => match known.as_deref() {
                Some(call) if !call.live() => (State::Deleted(at), Origin::Source(Source::Sweep)),
                _ => {
                    outcome.unchanged += 1;
                    return Ok(());
                }
            },
            Change::Stale(_, heard_before) => match known.as_deref() {
                Some(call) if call.live() && call.last_event_at() < heard_before => {
                    let stale = call.clone().into_stale(at);
                    (State::Call(Arc::new(stale)), Origin::Source(Source::Sweep))
                }
                _ => {
                    outcome.unchanged += 1;
                    return Ok(());
                }
            },
            Change::Admin(_) => return Ok(()),
        };
        match (&known, &state) {
            (Some(before), State::Call(after)) if before == after => {
                outcome.unchanged += 1;
                return Ok(());
            }
            (None, _) => outcome.new += 1,
            (Some(_), _) => outcome.changed += 1,
        }
        let up = |call: Option<&Call>| i64::from(call.is_some_and(Call::live));
        let more = up(call_of(&state)) - up(known.as_deref());
        if more != 0 {
            draft.live.push((id.account, more));
        }
        staged.state = Some(state);
        if draft.touched.insert(id, (staged, origin)).is_none() {
            draft.order.push(id);
        }
        Ok(())
    }

    /// What is known of a call: by this commit, by the registry, by the index.
    fn current(&self, id: CallId, at: Timestamp) -> Result<Staged, StoreError> {
        if let Some(staged) = self.staged.get(&id) {
            return Ok(staged.clone());
        }
        let mut staged = Staged { state: None, indexed: None };
        if let Some(entry) = self.shared.registry.read().get(id) {
            staged.state = Some(entry.state.clone());
        } else {
            let index = self.shared.index()?;
            let found = look_up(&index, id).map_err(|error| self.shared.index_failed(&error))?;
            if let Some((state, indexed)) = found {
                staged = Staged { state: Some(state), indexed: Some(indexed) };
            }
        }
        // A tombstone stands for as long as a call may live.
        let lifetime = self.shared.options.max_lifetime_millis;
        if let Some(State::Deleted(since)) = staged.state
            && since.plus_millis(lifetime) < at
        {
            staged.state = None;
        }
        Ok(staged)
    }

    /// Makes a draft part of the commit: one frame a call.
    fn add(&mut self, draft: &Draft, at: Timestamp) -> Result<(), JournalError> {
        let mut bodies = Vec::with_capacity(draft.order.len());
        for id in &draft.order {
            let Some((staged, origin)) = draft.touched.get(id) else { continue };
            match &staged.state {
                Some(State::Call(call)) => {
                    bodies.push((*id, staged, *origin, Kind::Record, codec::encode(call)));
                }
                Some(State::Deleted(_)) => {
                    let body = [id.account.bytes(), id.sid.bytes()].concat();
                    bodies.push((*id, staged, *origin, Kind::Tombstone, body));
                }
                None => {}
            }
        }
        let admin: Vec<_> = draft.admin.iter().map(|row| (row, admin_body(row))).collect();
        // Every frame is within the bounds before the first one is taken.
        let sizes = bodies.iter().map(|body| body.4.len());
        for bytes in sizes.chain(admin.iter().map(|(_, body)| body.len())) {
            crate::journal::fits(bytes)?;
        }
        for (id, staged, origin, kind, body) in bodies {
            let seq = self.batch.push(at, origin, kind, &body)?;
            self.staged.insert(id, staged.clone());
            if let Some(state) = staged.state.clone() {
                self.published.push((id, state, seq, staged.indexed.clone(), at));
            }
        }
        for (row, body) in admin {
            let seq = self.batch.push(at, Origin::Admin, Kind::Admin, &body)?;
            self.admin.push((seq, row.clone()));
        }
        Ok(())
    }

    /// Writes, syncs, publishes, answers, in this order.
    fn commit(self, writer: &mut Writer) {
        let Self { shared, batch, published, admin, replies, live, .. } = self;
        let (begun, changes, bytes) = (Instant::now(), batch.frames(), batch.bytes());
        if let Err(error) = append(shared, writer, batch) {
            shared.room.look();
            for (submission, _) in replies {
                submission.answer(Err(error.clone()));
            }
            return;
        }
        shared.committed(changes, bytes, begun.elapsed());
        shared.room.wrote(bytes);
        shared.doing.begin("publishing, once nobody reads");
        let mut registry = shared.registry.write();
        for (id, state, seq, indexed, at) in published {
            registry.put(id, state, seq, at, indexed);
        }
        for (seq, row) in &admin {
            let (name, json) = (row.name.clone(), row.json.clone());
            registry.put_admin(AdminRow { name, seq: *seq, json });
        }
        let pressed = registry.len() * 2 > shared.options.registry_calls;
        let last_seq = registry.last_seq();
        drop(registry);
        if !admin.is_empty() {
            let mut access = shared.access.write();
            for (_, row) in &admin {
                if let Err(error) = access.apply(row) {
                    tracing::error!(name = row.name, %error, "a setting cannot be read back");
                }
            }
        }
        for (account, more) in live {
            shared.meter.add_live(account, more);
        }
        shared.published.send_replace(last_seq);
        if pressed {
            shared.wake_keeper();
        }
        for (submission, outcome) in replies {
            shared.counted.lock().add(outcome);
            submission.answer(Ok(outcome));
        }
    }
}

fn call_of(state: &State) -> Option<&Call> {
    match state {
        State::Call(call) => Some(call),
        State::Deleted(_) => None,
    }
}

/// What the index has of a call.
pub(super) fn look_up(
    index: &Index,
    id: CallId,
) -> Result<Option<(State, Indexed)>, crate::index::IndexError> {
    match index.stored(id)? {
        // Most calls that are looked up are new: one question is enough for them.
        None => Ok(None),
        Some(stored @ Stored::Tombstone { deleted_at, .. }) => {
            Ok(Some((State::Deleted(deleted_at), (stored, None))))
        }
        Some(Stored::Call { .. }) => Ok(index.call(id)?.map(|(seq, call)| {
            let stored = Stored::Call { seq, listed_at: call.listed_at };
            let indexed = (stored, Some(Facets::of(&call)));
            (State::Call(Arc::new(call)), indexed)
        })),
    }
}

/// What the index has of a call, without the call itself.
pub(super) fn look_up_indexed(
    index: &Index,
    id: CallId,
) -> Result<Option<Indexed>, crate::index::IndexError> {
    Ok(look_up(index, id)?.map(|(_, indexed)| indexed))
}

fn append(shared: &Shared, writer: &mut Writer, batch: Batch) -> Result<(), StoreError> {
    let appended = writer.append(batch).map(|_| ());
    if let Some(time) = writer.take_sync_time() {
        shared.meter.sync_time.observe_time(time);
    }
    noted(shared, writer, appended)
}

/// Lets readers know of the present segment, and the process of a journal that has failed.
fn noted(
    shared: &Shared,
    writer: &Writer,
    done: Result<(), JournalError>,
) -> Result<(), StoreError> {
    if writer.has_failed() {
        let error = done.err().map(StoreError::from);
        let error = error.unwrap_or_else(|| StoreError::Failed("the journal failed".to_owned()));
        if shared.failed.borrow().is_none() {
            shared.journal_failed(&error.to_string());
        }
        return Err(error);
    }
    // A new segment may have been begun even where a batch itself found no room.
    let mut segments = shared.segments.write();
    let current = Arc::new(writer.segment().clone());
    match segments.last_mut() {
        Some(last) if last.first_seq == current.first_seq => *last = current,
        _ => segments.push(current),
    }
    drop(segments);
    done.map_err(StoreError::from)
}

/// Writes the checkpoint into the journal. Returns the sequence number of its frame.
pub(super) fn checkpoint(
    shared: &Shared,
    writer: &mut Writer,
    noted: &Noted,
) -> Result<u64, StoreError> {
    let mut batch = writer.batch();
    batch.push(noted.at, Origin::Admin, Kind::Checkpoint, &noted.body())?;
    let last_seq = batch.next_seq() - 1;
    append(shared, writer, batch)?;
    shared.newest_checkpoint.store(last_seq, Ordering::Release);
    Ok(last_seq)
}

/// A new generation takes over: what the registry knows of the old one is of no use. What the new
/// one has of these calls is looked up before anybody has to wait: no other thread adds to them.
fn replace(shared: &Shared, index: &Arc<Index>) -> Result<(), StoreError> {
    let entries: Vec<(CallId, u64)> =
        shared.registry.read().iter().map(|(id, entry)| (id, entry.seq)).collect();
    let mut known = Vec::with_capacity(entries.len());
    for (id, seq) in entries {
        let indexed = match index.stored(id)? {
            // The same version: the call leaves, and nothing more need be known of it.
            Some(stored) if stored.seq() == seq => Some((stored, None)),
            _ => look_up_indexed(index, id)?,
        };
        known.push((id, indexed));
    }
    let nobody_reads = shared.gate.write();
    let mut registry = shared.registry.write();
    for (id, indexed) in known {
        registry.settle(id, indexed);
    }
    drop(registry);
    // It may have been copied while a deletion left.
    shared.forgotten.store(true, Ordering::Release);
    shared.set_index(Ok(index.clone()));
    drop(nobody_reads);
    // What an index that had failed did not tell is known now.
    super::figures::count_live(shared);
    Ok(())
}
