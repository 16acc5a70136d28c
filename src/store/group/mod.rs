//! What one commit of the committer takes: changes that are looked at, written, synced and published together.

mod prepare;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::Outcome;
use super::StoreError;
use super::applied::AppliedFrame;
use super::claims::Claims;
use super::committer::append;
use super::frames::{admin_body, tombstone_body};
use super::messages::Submission;
use super::outbox::{self, Hook, HookHead, HookOrigin, LoggedHook, last_of_message};
use super::placing::CallIds;
use super::state::Shared;
use super::submit::Backpressure;
use super::tombstones::Tombstones;
use crate::access::{RowOfUse, SettingRow};
use crate::codec::{self, MessageId};
use crate::domain::{AccountSid, CallId, Source, Timestamp};
use crate::index::{AdminRow, Index, IndexError};
use crate::journal::{Batch, ChangeOrigin, FrameKind, JournalError, JournalWriter};
use crate::registry::{CallState, Indexed};

/// Changes that one commit takes, beyond which the next one begins.
const COMMIT_CHANGES: usize = 4096;
/// Bytes that one commit takes.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// What a call is after the changes of this commit so far.
#[derive(Clone, Default)]
pub(super) struct Staged {
    pub state: Option<CallState>,
    /// What the index has, where it was asked, until the first version of this commit takes it along.
    indexed: Option<Indexed>,
    /// The state is a part, or none: there is no index, and it may have more of the call, or of what the
    /// call is to take.
    pub part: bool,
    /// There is no such call: the state is that of CDRs which wait for theirs. A part, too.
    pub waits: bool,
    /// Active calls more, or fewer, by what the submission has done so far. Of a part this is counted when it
    /// finds its place.
    pub live: i64,
}

/// The changes that are synced together.
pub(super) struct Group<'a> {
    pub shared: &'a Shared,
    pub batch: Batch,
    staged: HashMap<CallId, Staged>,
    /// Those of calls that this commit makes or deletes.
    claims: Claims,
    /// What is published once it is durable.
    published: Vec<PublishedCall>,
    admin: Vec<(u64, SettingRow)>,
    /// With where they begin in the batch.
    hooks: Vec<HookHead>,
    replies: Vec<(Submission, Outcome)>,
    pub changes: usize,
    /// Messages of the log of which everything is in the commit, each with the sequence number of its frame.
    pub applied: Vec<(AppliedFrame, u64)>,
    /// The time of the log after these messages; none where the store is no node.
    pub logged_at: Option<Timestamp>,
    /// The message of the log whose changes come now.
    pub message: Option<GroupMessage>,
    /// More active calls, or fewer, by account.
    live: Vec<(AccountSid, i64)>,
    /// Calls whose Call-IDs are new with this commit.
    pub call_ids: CallIds,
    /// What decides whether a deletion stands, with this commit so far.
    tombstones: Tombstones,
    /// What rows of this commit say of when tokens were used.
    used: HashMap<String, RowOfUse>,
    /// What cannot be known without an index is an error, and no part: what is applied of a log must not
    /// depend on when an index fails.
    pub is_node: bool,
}

/// A message of the log, some submissions of which have been looked at.
#[derive(Clone, Copy)]
pub(super) struct GroupMessage {
    pub seq: u64,
    pub id: MessageId,
    /// How many hooks these have brought, whether or not they were taken.
    pub hooks: u16,
}

/// A version of a call that is in the commit.
struct PublishedCall {
    id: CallId,
    state: CallState,
    part: bool,
    waits: bool,
    /// What the index has: with the first version of a call that was not in memory.
    indexed: Option<Indexed>,
    seq: u64,
    at: Timestamp,
}

/// What one submission does, before it is part of the commit.
#[derive(Default)]
pub(super) struct PreparedSubmission {
    pub touched: HashMap<CallId, (Staged, ChangeOrigin)>,
    pub order: Vec<CallId>,
    claims: Claims,
    admin: Vec<SettingRow>,
    /// Those of them that say when a token was used.
    used: HashMap<String, RowOfUse>,
    /// With which of all that it brings each one is.
    hooks: Vec<(u16, Arc<Hook>)>,
    /// How many those were up to now.
    brought: u16,
    pub outcome: Outcome,
    pub call_ids: CallIds,
}

impl PreparedSubmission {
    /// Deletes what is known under the sid of a Call-ID, should there be anything.
    pub fn delete(&mut self, id: CallId, staged: Staged, at: Timestamp, origin: ChangeOrigin) {
        let state = CallState::Deleted(at);
        self.claims.note(id, &state);
        let staged = Staged { state: Some(state), part: false, waits: false, ..staged };
        if self.touched.insert(id, (staged, origin)).is_none() {
            self.order.push(id);
        }
    }

    /// Of a call in it not all is known; CDRs that wait apart.
    pub fn has_parts(&self) -> bool {
        self.touched.values().any(|(staged, _)| staged.part && !staged.waits)
    }
}

impl<'a> Group<'a> {
    pub fn new(shared: &'a Shared, writer: &JournalWriter) -> Self {
        Self {
            shared,
            batch: writer.batch(),
            staged: HashMap::new(),
            claims: Claims::default(),
            published: Vec::new(),
            admin: Vec::new(),
            hooks: Vec::new(),
            replies: Vec::new(),
            changes: 0,
            applied: Vec::new(),
            logged_at: shared.view.logged_at(),
            message: None,
            live: Vec::new(),
            call_ids: CallIds::default(),
            tombstones: shared.view.tombstones(),
            used: HashMap::new(),
            is_node: shared.is_node(),
        }
    }

    pub fn has_room(&self) -> bool {
        self.changes < COMMIT_CHANGES && self.batch.bytes() < COMMIT_BYTES
    }

    /// Merges a submission's changes, all of them or none.
    pub fn take(&mut self, mut submission: Submission) {
        self.changes += submission.changes.len();
        let changes = std::mem::take(&mut submission.changes);
        match self.draft(changes, &submission) {
            Err(error) => {
                submission.answer(Err(error));
            }
            Ok(draft) if submission.dry => {
                submission.answer(Ok(draft.outcome));
            }
            Ok(draft) => {
                let outcome = draft.outcome;
                match self.add(draft, submission.at) {
                    Ok(()) => self.replies.push((submission, outcome)),
                    Err(error) => submission.answer(Err(error.into())),
                }
            }
        }
    }

    /// What a call is after the submissions of this commit so far, where they changed it.
    pub fn staged(&self, id: CallId) -> Option<&Staged> {
        self.staged.get(&id)
    }

    /// Asks the index something.
    pub fn ask<T>(
        &self,
        question: impl FnOnce(&Index) -> Result<T, IndexError>,
    ) -> Result<T, StoreError> {
        let index = self.shared.view.index()?;
        question(&index).map_err(|error| self.shared.view.index_failed(&error))
    }

    /// Makes a draft part of the commit: one frame a call.
    pub fn add(&mut self, draft: PreparedSubmission, at: Timestamp) -> Result<(), JournalError> {
        let PreparedSubmission { mut touched, order, claims, admin, used, hooks, call_ids, .. } =
            draft;
        let mut bodies = Vec::with_capacity(order.len());
        let mut live = Vec::new();
        for id in order {
            let Some((mut staged, origin)) = touched.remove(&id) else { continue };
            let Some(state) = staged.state.clone() else { continue };
            let (kind, body) = match &state {
                CallState::Call(call) if staged.part => (FrameKind::Part, codec::encode(call)),
                CallState::Call(call) => (FrameKind::Record, codec::encode(call)),
                CallState::Deleted(_) => (FrameKind::Tombstone, tombstone_body(id)),
            };
            let Staged { part, waits, .. } = staged;
            let more = std::mem::take(&mut staged.live);
            if more != 0 && !part {
                live.push((id.account, more));
            }
            // A CDR that waits takes nothing along.
            let indexed = if part { None } else { staged.indexed.take() };
            let version = PublishedCall { id, state, part, waits, indexed, seq: 0, at };
            bodies.push((staged, version, origin, kind, body));
        }
        let admin: Vec<_> = admin.into_iter().map(|row| (admin_body(&row), row)).collect();
        // Every frame is within the bounds before the first one is taken.
        let sizes = bodies.iter().map(|(.., body)| body.len());
        for bytes in sizes.chain(admin.iter().map(|(body, _)| body.len())) {
            crate::journal::fits(bytes)?;
        }
        self.claims.extend(claims);
        self.used.extend(used);
        self.tombstones = admin.iter().fold(self.tombstones, |now, (_, row)| now.with(row));
        self.live.extend(live);
        self.call_ids.extend(call_ids);
        for (staged, version, origin, kind, body) in bodies {
            let seq = self.batch.push(at, origin, kind, &body)?;
            self.staged.insert(version.id, staged);
            self.published.push(PublishedCall { seq, ..version });
        }
        for (body, row) in admin {
            let seq = self.batch.push(at, ChangeOrigin::Admin, FrameKind::Admin, &body)?;
            self.admin.push((seq, row));
        }
        for (nth, hook) in hooks {
            let logged = self.message.map(|GroupMessage { seq, id, hooks }| {
                let nth = hooks.saturating_add(nth);
                LoggedHook::of(seq, nth, hook.origin.unwrap_or(HookOrigin { id, nth }))
            });
            let (begin, frames) = (self.batch.bytes() as u64, hook.frames(logged));
            let origin = ChangeOrigin::Source(Source::Webhook);
            let first = self.batch.next_seq();
            for body in &frames {
                self.batch.push(at, origin, FrameKind::Outbox, body)?;
            }
            self.hooks.push(hook.head((first, begin, frames.len()), logged, at));
        }
        Ok(())
    }

    /// Writes, syncs, publishes, answers, in this order.
    pub fn commit(self, writer: &mut JournalWriter) -> Result<(), StoreError> {
        let Self { shared, batch, published, admin, mut hooks, replies, applied, live, .. } = self;
        let (begun, changes, bytes) = (Instant::now(), batch.frames(), batch.bytes());
        let last_of_batch = batch.next_seq() - 1;
        if let Err(error) = append(shared, writer, batch) {
            shared.disk.look();
            for (submission, _) in replies {
                submission.answer(Err(error.clone()));
            }
            return Err(error);
        }
        let meter = &shared.view.meter;
        // One that held nothing new was not written.
        if changes > 0 {
            meter.commit_changes.observe(changes as u64);
            meter.commit_bytes.observe(bytes as u64);
            meter.commit_time.observe_time(begun.elapsed());
        }
        shared.disk.wrote(bytes);
        shared.queue.doing.begin("publishing");
        let forwards = !hooks.is_empty();
        let mut woken = Vec::new();
        if forwards {
            let begin = writer.segment().length.saturating_sub(bytes as u64);
            for head in &mut hooks {
                head.begins_after(begin);
            }
            woken = shared.outbox.accepted(hooks);
        }
        let mut registry = shared.view.registry.write();
        let mut messages = applied.iter().peekable();
        for PublishedCall { id, state, part, waits, indexed, seq, at } in published {
            // What a message did comes before the frame that ends it.
            while messages.next_if(|(_, end)| *end < seq).is_some() {}
            if let Some((frame, _)) = messages.peek() {
                registry.note_message(frame.position.seq);
            }
            match state {
                CallState::Call(call) if waits => registry.put_waiting(id, call, seq, at),
                CallState::Call(call) if part => registry.put_part(id, call, seq, at),
                state => registry.put(id, state, seq, at, indexed),
            }
        }
        for (seq, row) in &admin {
            let (name, json) = (row.name.clone(), row.json.clone());
            registry.put_admin(AdminRow { name, seq: *seq, json });
        }
        let is_bulk = |(of, _): &(Submission, _)| of.backpressure == Backpressure::Wait;
        let by = if replies.iter().any(is_bulk) { Backpressure::Wait } else { Backpressure::None };
        let pressed = registry.len() * 2 > shared.options.calls_in_memory(by);
        if forwards || !applied.is_empty() {
            registry.published(last_of_batch);
        }
        let last_seq = registry.last_seq();
        drop(registry);
        if !admin.is_empty() {
            let mut access = shared.view.access.write();
            for (_, row) in &admin {
                if let Err(error) = access.apply(row) {
                    tracing::error!(name = row.name, %error, "a setting cannot be read back");
                }
            }
            drop(access);
            let of_hooks = admin.iter().filter(|(_, row)| outbox::is_row(&row.name));
            let last = applied.last().map(|(frame, _)| last_of_message(frame.position.seq));
            of_hooks.for_each(|(_, row)| shared.outbox.stored(row, last));
        }
        for (account, more) in live {
            shared.view.meter.add_live(account, more);
        }
        shared.view.published.send_replace(last_seq);
        shared.applied(&applied);
        for target in woken {
            target.notify_one();
        }
        if pressed {
            shared.checkpointer.wake();
        }
        for (submission, outcome) in replies {
            shared.queue.counted.lock().add(outcome);
            submission.answer(Ok(outcome));
        }
        Ok(())
    }
}
