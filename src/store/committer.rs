//! The committer: the one thread that writes the journal and the registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::Outcome;
use super::StoreError;
use super::applied::{self, AppliedFrame, PendingMessages};
use super::change::Change;
use super::claims::{Claims, has_namesake};
use super::frames::{admin_body, tombstone_body};
use super::kept;
use super::messages::{CheckpointNote, CommitterMessage, Submission};
use super::outbox::{self, Hook, HookHead, HookOrigin, LoggedHook, last_of_message};
use super::parts::{join_first, look_up, replace};
use super::placing::CallIds;
use super::state::Shared;
use super::submit::Backpressure;
use super::tombstones::Tombstones;
use crate::access::{
    CLUSTER, Replaces, RowDigest, RowOfUse, SettingRow, is_never_made_again, row_digest,
};
use crate::codec::{self, MessageId};
use crate::domain::{AccountSid, Call, CallId, Source, Timestamp};
use crate::index::{AdminRow, Index, IndexError};
use crate::journal::{Batch, ChangeOrigin, FrameKind, JournalError, JournalWriter};
use crate::keys::{derived_from, may_be_derived};
use crate::registry::{CallState, Indexed};

/// Changes that one commit takes, beyond which the next one begins.
const COMMIT_CHANGES: usize = 4096;
/// Bytes that one commit takes.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// Runs until [`CommitterMessage::Stop`].
pub(super) fn run(shared: &Shared, mut writer: JournalWriter, jobs: &Receiver<CommitterMessage>) {
    let mut waiting = None;
    let mut messages = PendingMessages::default();
    let doing = shared.queue.doing.clone();
    loop {
        let job = waiting.take().map_or_else(
            || {
                doing.end();
                messages.next_job(jobs)
            },
            |job| Ok(Some(job)),
        );
        let Ok(job) = job else { return };
        match job {
            // A message is to be tried again.
            None => {}
            Some(CommitterMessage::Submit(first)) => {
                doing.begin("looking calls up");
                let mut group = Group::new(shared, &writer);
                group.take(first);
                #[cfg(test)]
                shared.health.strike("committer");
                while group.has_room() {
                    match jobs.try_recv() {
                        Ok(CommitterMessage::Submit(next)) => group.take(next),
                        Ok(other) => {
                            waiting = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                // Who sent them knows already how that went.
                let _told = group.commit(&mut writer);
            }
            Some(CommitterMessage::Apply(first)) => waiting = messages.take(first, jobs),
            Some(CommitterMessage::BeginLog(position, reply)) => {
                doing.begin("beginning a log");
                reply.send(applied::begin(shared, &mut writer, position));
            }
            Some(CommitterMessage::Keep(first)) => {
                doing.begin("keeping messages");
                waiting = kept::write(shared, &mut writer, first, jobs);
            }
            Some(CommitterMessage::Checkpoint(note, reply)) => {
                doing.begin("writing a checkpoint");
                let done = checkpoint(shared, &mut writer, &note);
                let done = done.map(|seq| {
                    shared.view.registry.write().published(seq);
                    // There is nothing new to see: no reader is woken for it.
                    shared.view.published.send_if_modified(|last| {
                        *last = seq;
                        false
                    });
                });
                reply.send(done);
            }
            Some(CommitterMessage::Settle(versions, reply)) => {
                doing.begin("letting calls leave memory");
                versions.settle(shared);
                reply.send(Ok(()));
                messages.try_again();
            }
            Some(CommitterMessage::Place(index, reply)) => {
                doing.begin("looking up calls in a new index");
                reply.send(join_first(shared, &mut writer, &index));
            }
            Some(CommitterMessage::Replace(index, known, reply)) => {
                doing.begin("changing to a new index");
                reply.send(replace(shared, &mut writer, &index, known));
                messages.try_again();
            }
            Some(CommitterMessage::BeginSegment(reply)) => {
                let begun = writer.begin_segment();
                reply.send(note(shared, &writer, begun));
            }
            #[cfg(test)]
            Some(CommitterMessage::Do(act)) => act(),
            Some(CommitterMessage::Stop) => return,
        }
        messages.apply(shared, &mut writer);
    }
}

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
    pub live: Vec<(AccountSid, i64)>,
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
    fn take(&mut self, mut submission: Submission) {
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

    fn draft(
        &self,
        changes: Vec<Change>,
        submission: &Submission,
    ) -> Result<PreparedSubmission, StoreError> {
        let Submission { at, dry, backpressure, .. } = *submission;
        if let Some(reason) = self.shared.health.failed.borrow().clone() {
            return Err(StoreError::Failed(reason));
        }
        if !dry && changes.iter().any(Change::grows) {
            self.shared.disk.admits()?;
        }
        let ids = changes.iter().filter_map(Change::id);
        if !self.has_memory(ids, self.shared.options.calls_in_memory(backpressure)) {
            match backpressure {
                Backpressure::None => self.shared.limit_registry(),
                Backpressure::Wait => self.shared.checkpointer.wake(),
            }
            return Err(StoreError::Busy);
        }
        self.prepare(changes, at)
    }

    /// What changes do, in their order.
    pub fn prepare(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
    ) -> Result<PreparedSubmission, StoreError> {
        let mut draft = PreparedSubmission::default();
        for change in changes {
            self.change(&mut draft, change, at)?;
        }
        Ok(draft)
    }

    /// Whether the registry has memory for the calls of a message. One that has more calls than it may take is taken
    /// once it is empty.
    pub fn has_memory_for_message(&self, ids: impl Iterator<Item = CallId> + Clone) -> bool {
        let is_empty = self.staged.is_empty() && self.shared.view.registry.read().records() == 0;
        is_empty || self.has_memory(ids, self.shared.options.calls_in_memory(Backpressure::None))
    }

    /// Whether the registry has memory for the calls of these changes. A submission larger than all
    /// that it may take is taken once the registry is empty.
    fn has_memory(&self, ids: impl Iterator<Item = CallId> + Clone, most: usize) -> bool {
        let registry = self.shared.view.registry.read();
        let held = registry.len() + self.staged.len();
        let fits = |calls: usize| calls == 0 || held + calls.min(most) <= most;
        // Those that are there already need no more of it.
        let is_new = |id: &CallId| !registry.holds(*id) && !self.staged.contains_key(id);
        fits(ids.clone().count()) || fits(ids.filter(is_new).count())
    }

    fn change(
        &self,
        draft: &mut PreparedSubmission,
        change: Change,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(given) = change.id() else {
            match change {
                Change::Admin(row, replaces) => {
                    if replaces != Replaces::Anything
                        && (!replaces.fits(self.digest(draft, &row.name))
                            || self.is_removed(draft, &row.name))
                    {
                        return Err(StoreError::Conflict(row.name));
                    }
                    self.set(draft, row, at);
                }
                Change::Forward(hook) => {
                    let nth = draft.brought;
                    draft.brought = nth.saturating_add(1);
                    if !self.has_deleted(draft, &hook, at)? {
                        draft.hooks.push((nth, hook));
                    }
                }
                _ => {}
            }
            return Ok(());
        };
        let (is_cdr, is_placed) = (change.is_cdr(), matches!(change, Change::PlaceCdr { .. }));
        let is_gone = matches!(change, Change::Gone(_));
        let is_delete = is_gone || matches!(change, Change::Delete(_));
        let (change, owner_unknown) = self.addressed(draft, change, at)?;
        let Some(id) = change.id() else { return Ok(()) };
        let mut staged = self.staged_in(draft, id, at)?;
        let outcome = &mut draft.outcome;
        outcome.cdrs.by_call_id += u64::from((is_cdr || is_placed) && id != given);
        outcome.cdrs.by_sid += u64::from(is_cdr && !may_be_derived(given.sid));
        let known = match &staged.state {
            // The call that has taken it is in the index, or not: that is seen once there is one.
            Some(CallState::Deleted(_)) if owner_unknown => {
                staged.part = true;
                None
            }
            Some(CallState::Deleted(_)) if !is_gone => {
                outcome.ignored += 1;
                return Ok(());
            }
            Some(CallState::Call(call)) => Some(call.clone()),
            Some(CallState::Deleted(_)) | None => None,
        };
        // No call is known of that sid, and what is known is not shown yet.
        let hidden = staged.waits;
        if staged.part && !hidden && !change.grows() {
            // What is to become of a call depends on all that is known of it.
            self.shared.view.index()?;
            return Err(StoreError::Busy);
        }
        let Some((state, origin)) = change.after(known.as_deref(), at, outcome) else {
            return Ok(());
        };
        // A start, too, tells by its sid and its Call-IDs that it waits.
        let may_wait = is_cdr && call_of(&state).is_some_and(|call| derived_from(call).is_some());
        if hidden {
            // Whatever else is said of it makes it a call.
            staged.waits = may_wait;
            staged.part = may_wait;
        } else if may_wait && known.is_none() {
            staged.waits = !staged.part;
            staged.part = true;
        }
        let state = match state {
            CallState::Call(call) if !staged.part => {
                let before = known.as_deref().filter(|_| !hidden);
                let absorbed = (given != id).then_some(given);
                let whole = self.absorb(draft, before, &call, absorbed, at)?;
                staged.part = whole.is_none();
                CallState::Call(whole.unwrap_or(call))
            }
            state => state,
        };
        let origin = if is_placed { ChangeOrigin::Source(Source::Cdr) } else { origin };
        let state = match state {
            CallState::Call(mut call) if known.is_none() && !staged.part => {
                if !call.namesake && self.has_namesake(draft, id, at)? {
                    Arc::make_mut(&mut call).namesake = true;
                }
                CallState::Call(call)
            }
            state => state,
        };
        if !staged.part && (known.is_none() || hidden || is_deletion(&state)) {
            draft.claims.note(id, &state);
        }
        let outcome = &mut draft.outcome;
        match (&known, &state) {
            (Some(before), CallState::Call(after))
                if before == after && (!hidden || staged.waits) =>
            {
                outcome.unchanged += 1;
                return Ok(());
            }
            // Whether it is new is known once it has its place.
            (before, CallState::Call(_)) if !staged.part && (hidden || before.is_none()) => {
                outcome.new += 1;
                outcome.cdrs.made += u64::from(is_placed);
            }
            _ => outcome.changed += 1,
        }
        outcome.cdrs.waiting += u64::from(staged.waits);
        outcome.cdrs.alone += u64::from(is_cdr && !staged.part && may_be_derived(id.sid));
        let up = |call: Option<&Call>| i64::from(call.is_some_and(Call::live));
        let more = up(call_of(&state)) - up(known.as_deref().filter(|_| !hidden));
        if more != 0 && !staged.part {
            draft.live.push((id.account, more));
        }
        if let (CallState::Call(call), false) = (&state, staged.part)
            && self.shared.takes_cdrs()
        {
            draft.call_ids.learn(known.as_deref().filter(|_| !hidden), call);
        }
        staged.state = Some(state);
        if draft.touched.insert(id, (staged, origin)).is_none() {
            draft.order.push(id);
        }
        if let Some(call) = known.filter(|_| is_delete) {
            self.delete_call_ids(draft, &call, at)?;
        }
        Ok(())
    }

    /// A setting, unless it says nothing new.
    fn set(&self, draft: &mut PreparedSubmission, row: SettingRow, at: Timestamp) {
        let row = if row.name == CLUSTER {
            self.tombstones.row_to_store(&row, at)
        } else if let Some((token, of_use)) = RowOfUse::of(&row) {
            let before = draft.used.get(token).or_else(|| self.used.get(token)).copied();
            let before = before.or_else(|| self.shared.view.access.read().row_of_use(token));
            if of_use.follows(before) {
                draft.used.insert(token.to_owned(), of_use);
                Some(row)
            } else {
                None
            }
        } else {
            Some(row)
        };
        let outcome = &mut draft.outcome;
        *if row.is_some() { &mut outcome.changed } else { &mut outcome.unchanged } += 1;
        draft.admin.extend(row);
    }

    /// Whether a call of a hook was deleted, and what the hook brought is not taken.
    fn has_deleted(
        &self,
        draft: &PreparedSubmission,
        hook: &Hook,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        for sid in &hook.calls {
            let id = CallId { account: hook.account, sid: *sid };
            let state = match draft.touched.get(&id) {
                Some((staged, _)) => staged.state.clone(),
                None => self.current(id, at)?.state,
            };
            if matches!(state, Some(CallState::Deleted(_))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a call is after the changes of a submission so far.
    pub(super) fn staged_in(
        &self,
        draft: &PreparedSubmission,
        id: CallId,
        at: Timestamp,
    ) -> Result<Staged, StoreError> {
        let touched = draft.touched.get(&id).map(|(staged, ..)| staged.clone());
        touched.map_or_else(|| self.current(id, at), Ok)
    }

    /// What is known of a call: by this commit, by the registry, by the index.
    ///
    /// # Errors
    /// In a node, where there is no index.
    fn current(&self, id: CallId, at: Timestamp) -> Result<Staged, StoreError> {
        if let Some(staged) = self.staged.get(&id) {
            let mut staged = staged.clone();
            self.let_pass(&mut staged, at);
            return Ok(staged);
        }
        let mut staged = Staged::default();
        let (in_memory, part) = {
            let registry = self.shared.view.registry.read();
            let in_memory = registry.get(id).map(|entry| entry.state.clone());
            (in_memory, registry.placeable_part(id).map(|part| part.call.clone()))
        };
        if let Some(part) = part {
            staged.part = true;
            staged.state = Some(CallState::Call(match in_memory {
                Some(CallState::Call(call)) => Arc::new(call.join(&part)),
                _ => part,
            }));
            return Ok(staged);
        }
        if in_memory.is_some() {
            staged.state = in_memory;
        } else {
            match self.ask(|index| look_up(index, id)) {
                Ok(found) => (staged.state, staged.indexed) = found.unzip(),
                Err(error) if self.is_node => return Err(error),
                Err(_) => {
                    // It is built again, and the part finds its place then.
                    let registry = self.shared.view.registry.read();
                    staged.state = registry.part(id).map(|part| CallState::Call(part.call.clone()));
                    staged.part = true;
                }
            }
        }
        self.let_pass(&mut staged, at);
        if !staged.part && may_be_derived(id.sid) {
            let registry = self.shared.view.registry.read();
            // It came after any deletion, whether or not that stands for what was received at that time.
            if let Some(waiting) = registry.waiting_for(id) {
                (staged.waits, staged.part) = (true, true);
                staged.state = Some(CallState::Call(waiting.call.clone()));
            }
        }
        Ok(staged)
    }

    /// A deletion may stand no longer for what was received at that time.
    fn let_pass(&self, staged: &mut Staged, at: Timestamp) {
        if let Some(CallState::Deleted(since)) = staged.state
            && !self.tombstones.stands(since, at)
        {
            staged.state = None;
        }
    }

    /// What a setting is after the changes of a submission so far.
    fn digest(&self, draft: &PreparedSubmission, name: &str) -> Option<RowDigest> {
        let staged = draft.admin.iter().rev().find(|row| row.name == name);
        let staged = staged
            .or_else(|| self.admin.iter().map(|(_, row)| row).rev().find(|row| row.name == name));
        match staged {
            Some(row) => row_digest(&row.json),
            None => self.shared.view.access.read().digest(name),
        }
    }

    /// Whether it is a setting that was removed and is never made again: the message that made it has come once more.
    fn is_removed(&self, draft: &PreparedSubmission, name: &str) -> bool {
        let here = self.admin.iter().map(|(_, row)| row);
        let mut rows = here.chain(&draft.admin).filter(|row| row.name == name);
        is_never_made_again(name)
            && (rows.any(|row| row.json.is_empty())
                || self.shared.view.access.read().is_removed(name))
    }

    /// What a call is after the submissions of this commit so far, where they changed it.
    pub(super) fn staged(&self, id: CallId) -> Option<&Staged> {
        self.staged.get(&id)
    }

    /// Asks the index something.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Index) -> Result<T, IndexError>,
    ) -> Result<T, StoreError> {
        let index = self.shared.view.index()?;
        question(&index).map_err(|error| self.shared.view.index_failed(&error))
    }

    /// Whether another account was the first with the sid of a call that is new.
    fn has_namesake(
        &self,
        draft: &PreparedSubmission,
        id: CallId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let claims = [&draft.claims, &self.claims];
        let stands = |deleted_at| self.tombstones.stands(deleted_at, at);
        let asked = self.ask(|index| has_namesake(self.shared, Some(index), &claims, id, stands));
        match asked {
            Err(_) if !self.is_node => {
                // As far as is known without an index.
                Ok(has_namesake(self.shared, None, &claims, id, stands).unwrap_or(false))
            }
            asked => asked,
        }
    }

    /// Makes a draft part of the commit: one frame a call.
    pub fn add(&mut self, draft: PreparedSubmission, at: Timestamp) -> Result<(), JournalError> {
        let PreparedSubmission {
            mut touched,
            order,
            claims,
            admin,
            used,
            hooks,
            live,
            call_ids,
            ..
        } = draft;
        let mut bodies = Vec::with_capacity(order.len());
        for id in order {
            let Some((mut staged, origin)) = touched.remove(&id) else { continue };
            let Some(state) = staged.state.clone() else { continue };
            let (kind, body) = match &state {
                CallState::Call(call) if staged.part => (FrameKind::Part, codec::encode(call)),
                CallState::Call(call) => (FrameKind::Record, codec::encode(call)),
                CallState::Deleted(_) => (FrameKind::Tombstone, tombstone_body(id)),
            };
            let Staged { part, waits, .. } = staged;
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

fn is_deletion(state: &CallState) -> bool {
    matches!(state, CallState::Deleted(_))
}

fn call_of(state: &CallState) -> Option<&Call> {
    match state {
        CallState::Call(call) => Some(call),
        CallState::Deleted(_) => None,
    }
}

/// Writes and syncs a batch.
pub(super) fn append(
    shared: &Shared,
    writer: &mut JournalWriter,
    batch: Batch,
) -> Result<(), StoreError> {
    let appended = writer.append(batch).map(|_| ());
    if let Some(time) = writer.take_sync_time() {
        shared.view.meter.sync_time.observe_time(time);
    }
    note(shared, writer, appended)
}

/// Lets readers know of the present segment, and the process of a journal that has failed.
fn note(
    shared: &Shared,
    writer: &JournalWriter,
    done: Result<(), JournalError>,
) -> Result<(), StoreError> {
    if writer.has_failed() {
        let reason = done.err().map(|error| super::error::chain(&error));
        let reason = reason.unwrap_or_else(|| "it takes nothing more".to_owned());
        if shared.health.failed.borrow().is_none() {
            shared.health.journal_failed(&reason);
        }
        return Err(StoreError::Failed(reason));
    }
    // A new segment may have been begun even where a batch itself found no space.
    let mut segments = shared.view.segments.write();
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
    writer: &mut JournalWriter,
    note: &CheckpointNote,
) -> Result<u64, StoreError> {
    let mut batch = writer.batch();
    let log = shared.log_note(writer);
    let kept_from = log.as_ref().map(|log| log.oldest_kept.unwrap_or(batch.next_seq()));
    batch.push(note.at, ChangeOrigin::Admin, FrameKind::Checkpoint, &note.body(log))?;
    let last_seq = batch.next_seq() - 1;
    append(shared, writer, batch)?;
    if let Some(from) = kept_from {
        shared.kept.note(from);
    }
    shared.newest_checkpoint.store(last_seq, Ordering::Release);
    Ok(last_seq)
}
