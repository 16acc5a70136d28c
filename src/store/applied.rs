//! Messages of the replicated log: they are applied in their order, and the journal says which was the last.
//!
//! Architecture invariants:
//!
//! * What a message did and the frame that says that it was applied are in one commit. So where a store begins or
//!   begins again, the last such frame in its journal says which message comes next.
//! * Each message has a frame of its own, the last of what it did: a reader of changes knows what each of them did,
//!   however many share a commit.
//! * No message is passed over, and none is refused. What cannot be applied now (no memory, no index, a full disk)
//!   waits, and so does all that comes after it. What can never be applied is the end of the store.
//! * All of a message is decided by one state: it is drafted again from its beginning where the index fails meanwhile.
//!
//! ```text
//! body of a frame
//!  0  1 to 3 u8: the form
//!  1  epoch of the log, 16 bytes
//! 17  number of the message u64
//! 25  CRC-32C of the message u32
//! 29  time of the log u64 (ms): the greatest of this message and those before it; 0 before the first
//! 37  of forms 2 and 3: turn of the log u64
//! ..  id of the message, 16 bytes, where it was kept here (kept.rs) and is done by that
//! ```
//!
//! Form 3 says that the store goes back to that message: what the journal has before the frame of messages after it is of a
//! life of the log that is over, and their numbers are given again ([`GoneBack`]). Such frames stay in the journal.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::change::Change;
use super::frames::Body;
use super::group::{Group, GroupMessage};
use super::kept::KeptHead;
use super::logged::changes_of;
use super::messages::{CommitterMessage, LogNote, Note};
use super::open::Store;
use super::state::{Shared, View};
use super::threads::ReplySender;
use super::tombstones::{logged_time, received_at};
use super::{OpenError, Outcome, StoreError};
use crate::clock;
use crate::codec::{Message, MessageId};
use crate::domain::{CallId, Timestamp};
use crate::journal::{ChangeOrigin, Frame, FrameKind, JournalWriter, Scanner, Segment};

const FORM: u8 = 1;
/// The log has gone back once.
const TURNED_FORM: u8 = 2;
/// The store goes back with it.
const BACK_FORM: u8 = 3;
/// Messages that wait for the committer, and what they weigh: a reader of the log is so far ahead of the disk, and no
/// further. One message may be heavier.
const QUEUED_MAX: usize = 64;
const QUEUED_BYTES_MAX: usize = 32 << 20;
/// When what has to wait is tried again, unless something frees it before.
const RETRY: Duration = Duration::from_secs(1);
/// How often a reader that waits looks whether the store is still there.
const LOOK: Duration = Duration::from_millis(100);

/// Where a message stands in the replicated log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Which log: a log that is made anew has another.
    pub epoch: [u8; 16],
    /// How often that log has gone back, as the number of the message that says so last; 0 where it never has. Numbers
    /// of messages of before say nothing of those after it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turn: u64,
    /// The number of the message; of the log's beginning the one before its first.
    pub seq: u64,
    /// CRC-32C of the message.
    pub crc: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(turn: &u64) -> bool {
    *turn == 0
}

impl LogPosition {
    /// Whether their numbers can be compared.
    pub fn is_of_one_life(&self, other: &Self) -> bool {
        (self.epoch, self.turn) == (other.epoch, other.turn)
    }

    /// Which log, in 32 hexadecimal digits: the same in all lives of it.
    pub fn log(&self) -> String {
        HEXLOWER.encode(&self.epoch)
    }

    /// The life that the numbers of messages belong to, as positions that are told begin: the epoch in 32 hexadecimal
    /// digits, and where the log has gone back a full stop and its turn.
    pub fn life(&self) -> String {
        let epoch = self.log();
        if self.turn == 0 { epoch } else { format!("{epoch}.{}", self.turn) }
    }
}

/// A message as it was read from the log.
#[derive(Debug)]
pub struct AppliedMessage {
    pub position: LogPosition,
    /// When the log took it, by the clock of its servers.
    pub logged_at: Timestamp,
    pub message: Message,
}

/// What became of a submission that was in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionOutcome {
    Done(Outcome),
    /// Nothing of it was done: this setting was not any more what the submission replaces.
    Conflict {
        name: String,
    },
}

/// An answer that arrives when a message was applied and that is on disk.
pub struct ApplyTicket {
    answer: oneshot::Receiver<Result<Vec<SubmissionOutcome>, StoreError>>,
}

impl ApplyTicket {
    /// Waits for the outcomes, one of each submission.
    ///
    /// # Errors
    /// The store closes, or has failed for good.
    pub async fn durable(self) -> Result<Vec<SubmissionOutcome>, StoreError> {
        self.answer.await.unwrap_or(Err(StoreError::Closing))
    }

    /// The same, in a thread that may block.
    ///
    /// # Errors
    /// As [`Self::durable`].
    #[cfg(test)]
    pub fn wait(self) -> Result<Vec<SubmissionOutcome>, StoreError> {
        self.answer.blocking_recv().unwrap_or(Err(StoreError::Closing))
    }
}

/// How far the log was applied, as the body of such a frame says; none where its form is not known.
pub fn applied_position(body: &[u8]) -> Option<LogPosition> {
    AppliedFrame::read(body).map(|frame| frame.position)
}

/// What the body of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AppliedFrame {
    pub position: LogPosition,
    /// The time of the log: that of this message, or of one before it where that is greater.
    pub logged_at: Timestamp,
    /// The message was kept here, and is done by that.
    pub kept: Option<MessageId>,
    /// The store had applied messages after this one, and goes back to it.
    pub goes_back: bool,
}

/// The store has gone back to a message that it had gone beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GoneBack {
    /// The sequence number of the frame that says so.
    pub at: u64,
    pub to_message: u64,
}

impl AppliedFrame {
    fn body(&self) -> Vec<u8> {
        let LogPosition { epoch, turn, seq, crc } = self.position;
        let form = match turn {
            _ if self.goes_back => BACK_FORM,
            0 => FORM,
            _ => TURNED_FORM,
        };
        let mut body = vec![form];
        body.extend_from_slice(&epoch);
        body.extend_from_slice(&seq.to_le_bytes());
        body.extend_from_slice(&crc.to_le_bytes());
        body.extend_from_slice(&self.logged_at.millis().to_le_bytes());
        if form != FORM {
            body.extend_from_slice(&turn.to_le_bytes());
        }
        body.extend_from_slice(self.kept.as_ref().map_or(&[], |id| id.as_slice()));
        body
    }

    /// None where its form is not known.
    pub fn read(body: &[u8]) -> Option<Self> {
        let (&form, rest) = body.split_first()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (crc, rest) = rest.split_first_chunk()?;
        let (logged_at, rest) = rest.split_first_chunk()?;
        let (turn, id) = match form {
            FORM => (0, rest),
            TURNED_FORM | BACK_FORM => {
                let (turn, id) = rest.split_first_chunk()?;
                (u64::from_le_bytes(*turn), id)
            }
            _ => return None,
        };
        let logged_at = Timestamp::from_millis(u64::from_le_bytes(*logged_at))?;
        let (seq, crc) = (u64::from_le_bytes(*seq), u32::from_le_bytes(*crc));
        let kept = match id {
            [] => None,
            id => Some(id.try_into().ok()?),
        };
        let position = LogPosition { epoch: *epoch, turn, seq, crc };
        Some(Self { position, logged_at, kept, goes_back: form == BACK_FORM })
    }
}

/// What the readers of the log and the committer share.
#[derive(Default)]
pub(super) struct MessageQueue {
    /// The last message that was handed over.
    last: Mutex<Option<LogPosition>>,
    space: Arc<MessageSpace>,
    /// Why the next message waits.
    hindered: Mutex<Option<StoreError>>,
}

#[derive(Default)]
struct MessageSpace {
    /// How many there are, and what they weigh.
    queued: Mutex<(usize, usize)>,
    one_gone: Condvar,
}

/// The space of one message, with its weight.
struct MessagePermit(Arc<MessageSpace>, usize);

impl Drop for MessagePermit {
    fn drop(&mut self) {
        let mut queued = self.0.queued.lock();
        *queued = (queued.0.saturating_sub(1), queued.1.saturating_sub(self.1));
        self.0.one_gone.notify_all();
    }
}

/// A message on its way to the committer.
pub(super) struct QueuedMessage {
    position: LogPosition,
    logged_at: Timestamp,
    id: MessageId,
    submissions: Vec<(Timestamp, Vec<Change>)>,
    reply: ReplySender<Vec<SubmissionOutcome>>,
    space: MessagePermit,
}

impl QueuedMessage {
    /// Gives the space back, and only then answers.
    fn answer(self, result: Result<Vec<SubmissionOutcome>, StoreError>) {
        drop(self.space);
        self.reply.send(result);
    }

    fn calls(&self) -> impl Iterator<Item = CallId> + Clone {
        self.submissions.iter().flat_map(|(_, changes)| changes).filter_map(Change::id)
    }
}

impl View {
    /// The last message of the log that was applied; none in a store that is no node. Everything up to it can be read.
    pub fn position(&self) -> Option<LogPosition> {
        *self.applied.borrow()
    }

    /// The same, and says when there is a newer one.
    pub fn log_positions(&self) -> watch::Receiver<Option<LogPosition>> {
        self.applied.subscribe()
    }
}

impl Store {
    /// Begins as a node: nothing was applied yet of a log that begins behind this position. On disk when it returns.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] where this log was begun with already, and something else is the last of it.
    pub fn begin_log(&self, position: LogPosition) -> Result<(), StoreError> {
        let mut last = self.shared.messages.last.lock();
        match *last {
            Some(known) if known == position => return Ok(()),
            Some(known) if known.is_of_one_life(&position) => {
                return Err(StoreError::OutOfOrder(format!(
                    "message {} of the log was applied already, and it cannot begin at {}",
                    known.seq, position.seq
                )));
            }
            _ => {}
        }
        let message = |reply| CommitterMessage::BeginLog(position, reply);
        self.shared.queue.committer.ask(message)?;
        *last = Some(position);
        Ok(())
    }

    /// Hands the next message of the log to the committer, in a thread that may block: it waits for as long as others
    /// wait before it.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] where it is not the next one, [`StoreError::Unreadable`] where something in it means
    /// nothing to this release. Nothing happens then.
    pub fn apply_message(&self, message: AppliedMessage) -> Result<ApplyTicket, StoreError> {
        let AppliedMessage { position, logged_at, message } = message;
        let Message { id, submissions, .. } = message;
        let submissions = submissions.into_iter().map(|submission| {
            let at = submission.at;
            let changes = changes_of(submission).map_err(|error| {
                StoreError::Unreadable(format!("message {} of the log: {error}", position.seq))
            });
            Ok((at, changes?))
        });
        let submissions: Vec<_> = submissions.collect::<Result<_, StoreError>>()?;
        let queue = &self.shared.messages;
        // Held until it is in the channel, so that they come in their order.
        let mut last = queue.last.lock();
        let is_next =
            |last: LogPosition| last.is_of_one_life(&position) && last.seq + 1 == position.seq;
        if !last.is_some_and(is_next) {
            return Err(StoreError::OutOfOrder(match *last {
                None => "no log was begun with: no message of one can be applied".to_owned(),
                Some(last) if !last.is_of_one_life(&position) => {
                    "the message is of another log than those that were applied".to_owned()
                }
                Some(last) => format!(
                    "message {} of the log cannot be applied after {}",
                    position.seq, last.seq
                ),
            }));
        }
        let changes = submissions.iter().flat_map(|(_, changes)| changes);
        let space = self.space_for_message(changes.map(Change::weight).sum())?;
        let (reply, answer) = self.shared.queue.committer.reply_to_task();
        let message = QueuedMessage { position, logged_at, id, submissions, reply, space };
        self.shared.queue.committer.send(CommitterMessage::Apply(message))?;
        *last = Some(position);
        Ok(ApplyTicket { answer })
    }

    fn space_for_message(&self, weight: usize) -> Result<MessagePermit, StoreError> {
        let space = &self.shared.messages.space;
        let mut queued = space.queued.lock();
        loop {
            self.shared.health.lives()?;
            if self.shared.health.is_closing() {
                return Err(StoreError::Closing);
            }
            let (count, bytes) = *queued;
            let has_room = count < QUEUED_MAX && bytes.saturating_add(weight) <= QUEUED_BYTES_MAX;
            if count == 0 || has_room {
                *queued = (count + 1, bytes.saturating_add(weight));
                return Ok(MessagePermit(space.clone(), weight));
            }
            space.one_gone.wait_for(&mut queued, LOOK);
        }
    }

    /// Why the next message waits, where it does: for memory, for the index, for the disk.
    pub fn apply_waits(&self) -> Option<StoreError> {
        self.shared.messages.hindered.lock().clone()
    }
}

/// Messages that the committer is to apply, in their order.
#[derive(Default)]
pub(super) struct PendingMessages {
    messages: VecDeque<QueuedMessage>,
    /// The first one waits, and is tried again then.
    again: Option<Instant>,
}

/// Why a message was not applied.
enum Hindrance {
    /// It waits.
    Waits(StoreError),
    /// It can never be.
    Fatal(StoreError),
}

impl From<StoreError> for Hindrance {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::Full | StoreError::IndexUnavailable(..) => {
                Self::Waits(error)
            }
            error => Self::Fatal(error),
        }
    }
}

impl PendingMessages {
    /// Waits for the next job, or until a message is to be tried again: then there is none.
    ///
    /// # Errors
    /// There will be no further job.
    pub fn next_job(
        &self,
        jobs: &Receiver<CommitterMessage>,
    ) -> Result<Option<CommitterMessage>, StoreError> {
        let Some(again) = self.again else {
            return jobs.recv().map(Some).map_err(|_| StoreError::Closing);
        };
        match jobs.recv_timeout(again.saturating_duration_since(Instant::now())) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(StoreError::Closing),
        }
    }

    /// Takes a message, and those that come right after it. Returns the job that comes after them.
    pub fn take(
        &mut self,
        first: QueuedMessage,
        jobs: &Receiver<CommitterMessage>,
    ) -> Option<CommitterMessage> {
        self.messages.push_back(first);
        while let Ok(job) = jobs.try_recv() {
            match job {
                CommitterMessage::Apply(next) => self.messages.push_back(next),
                other => return Some(other),
            }
        }
        None
    }

    /// Something happened that the first message may have waited for.
    pub fn try_again(&mut self) {
        self.again = self.again.map(|_| Instant::now());
    }

    /// Applies what can be applied.
    pub fn apply(&mut self, shared: &Shared, writer: &mut JournalWriter) {
        if self.again.is_some_and(|again| Instant::now() < again) {
            return;
        }
        self.again = None;
        while !self.messages.is_empty() {
            shared.queue.doing.begin("applying messages of the log");
            match self.commit(shared, writer) {
                Ok(()) => {}
                Err(Hindrance::Waits(error)) => {
                    self.wait(shared, error);
                    return;
                }
                Err(Hindrance::Fatal(error)) => {
                    for message in self.messages.drain(..) {
                        message.answer(Err(error.clone()));
                    }
                }
            }
        }
    }

    fn wait(&mut self, shared: &Shared, error: StoreError) {
        self.again = Some(Instant::now() + RETRY);
        let mut hindered = shared.messages.hindered.lock();
        // That memory is full is nothing to speak of: the checkpointer makes room.
        if hindered.is_none() && !matches!(error, StoreError::Busy) {
            let seq = self.messages.front().map(|message| message.position.seq);
            tracing::warn!(seq, %error, "messages of the log wait to be applied");
        }
        *hindered = Some(error);
    }

    /// Applies as many messages as go into one commit.
    fn commit(&mut self, shared: &Shared, writer: &mut JournalWriter) -> Result<(), Hindrance> {
        shared.health.lives()?;
        shared.view.index()?;
        #[cfg(test)]
        shared.health.strike("committer");
        let mut group = Group::new(shared, writer);
        let mut outcomes = Vec::new();
        for message in &self.messages {
            if !outcomes.is_empty() && !group.has_room() {
                break;
            }
            if !group.has_memory_for_message(message.calls()) {
                if outcomes.is_empty() {
                    shared.limit_registry();
                    return Err(StoreError::Busy.into());
                }
                break;
            }
            let outcome = group.take_message(message).map_err(Hindrance::from);
            outcomes.push(outcome.map_err(|hindrance| hindrance.of(shared, message))?);
        }
        group.commit(writer)?;
        *shared.messages.hindered.lock() = None;
        for outcome in outcomes {
            for outcome in &outcome {
                if let SubmissionOutcome::Done(outcome) = outcome {
                    shared.queue.counted.lock().add(*outcome);
                }
            }
            let Some(message) = self.messages.pop_front() else { break };
            message.answer(Ok(outcome));
        }
        Ok(())
    }
}

impl Hindrance {
    /// What can never be applied is the end of the store: it would be another than those of all other nodes.
    fn of(self, shared: &Shared, message: &QueuedMessage) -> Self {
        let Self::Fatal(error) = self else { return self };
        let seq = message.position.seq;
        let reason = format!("message {seq} of the log cannot be applied: {error}");
        shared.health.log_failed(&reason);
        Self::Fatal(StoreError::Failed(reason))
    }
}

impl Group<'_> {
    /// Makes what a message does part of the commit, and the frame that says so.
    ///
    /// # Errors
    /// It cannot be known what it does. Some of it may be part of the group then, which is of no use any more.
    fn take_message(
        &mut self,
        message: &QueuedMessage,
    ) -> Result<Vec<SubmissionOutcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(message.submissions.len());
        let sent = message.submissions.iter().map(|(at, _)| *at).max();
        let logged_at =
            logged_time(message.logged_at, sent).max(self.logged_at.unwrap_or_default());
        self.logged_at = Some(logged_at);
        let mut hooks = 0_u16;
        for (at, changes) in &message.submissions {
            self.changes += changes.len();
            self.message = Some(GroupMessage { seq: message.position.seq, id: message.id, hooks });
            let brought = changes.iter().filter(|change| matches!(change, Change::Forward(_)));
            hooks =
                u16::try_from(brought.count()).map_or(u16::MAX, |more| hooks.saturating_add(more));
            let at = received_at(*at, logged_at);
            let draft = match self.prepare(changes.clone(), at) {
                Ok(draft) => draft,
                Err(StoreError::Conflict(name)) => {
                    outcomes.push(SubmissionOutcome::Conflict { name });
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A part depends on when the index failed, which is not the same on every node.
            if draft.has_parts() {
                return Err(self.index_is_away());
            }
            let outcome = draft.outcome;
            self.add(draft, at)?;
            outcomes.push(SubmissionOutcome::Done(outcome));
        }
        let kept = Some(message.id).filter(|id| self.shared.kept.has(id));
        let position = message.position;
        let frame = AppliedFrame { position, logged_at, kept, goes_back: false };
        self.push_applied(frame, logged_at)?;
        Ok(outcomes)
    }

    fn index_is_away(&self) -> StoreError {
        let reason = "it failed while a message of the log was looked at".to_owned();
        self.shared.view.index().err().unwrap_or(StoreError::IndexUnavailable(reason, None))
    }

    /// The frame after what a message did.
    fn push_applied(&mut self, frame: AppliedFrame, at: Timestamp) -> Result<(), StoreError> {
        let origin = ChangeOrigin::Admin;
        let seq = self.batch.push(at, origin, FrameKind::Applied, &frame.body())?;
        self.applied.push((frame, seq));
        Ok(())
    }
}

/// Begins a log.
pub(super) fn begin(
    shared: &Shared,
    writer: &mut JournalWriter,
    position: LogPosition,
) -> Result<(), StoreError> {
    let mut group = Group::new(shared, writer);
    // What was logged long ago is still to come: its time counts, and not that of now.
    let logged_at = shared.view.logged_at().unwrap_or_default();
    let goes_back = shared.view.position().is_some_and(|known| known.seq > position.seq);
    let frame = AppliedFrame { position, logged_at, kept: None, goes_back };
    group.push_applied(frame, clock::now())?;
    group.commit(writer)
}

impl Shared {
    /// Messages were applied, and what they did is on disk.
    pub(super) fn applied(&self, frames: &[(AppliedFrame, u64)]) {
        self.kept.let_go(frames.iter().filter_map(|(frame, _)| frame.kept));
        let Some((frame, seq)) = frames.last() else { return };
        self.view.note_logged(frame.logged_at);
        for (frame, end) in frames {
            self.note_end(frame, *end);
        }
        self.view.applied_seq.store(*seq, Ordering::Release);
        self.view.applied.send_replace(Some(frame.position));
    }

    /// A message of the log ends at this sequence number, or, where it is of another log than those before, that log
    /// begins there.
    fn note_end(&self, frame: &AppliedFrame, end: u64) {
        let position = frame.position;
        if self.view.position().is_some_and(|known| known.is_of_one_life(&position)) {
            self.view.log.note(position.seq, end);
            return;
        }
        self.view.log.begin(position.seq, end);
        if frame.goes_back {
            self.view.log.go_back(GoneBack { at: end, to_message: position.seq });
        }
        if let Some(known) = self.view.position().filter(|known| known.epoch != position.epoch) {
            self.view.log.follow_after(known.epoch);
        }
        self.outbox.began(position.seq);
        let mut registry = self.view.registry.write();
        registry.note_message(position.seq);
        registry.opened();
    }

    /// What a checkpoint is to say of the log; none where this store never had to do with one.
    pub(super) fn log_note(&self, writer: &JournalWriter) -> Option<LogNote> {
        let note = || LogNote {
            applied: self.view.position(),
            logged_at: self.view.logged_at().unwrap_or_default().millis(),
            oldest_kept: self.kept.oldest_seq(),
            gone_back: self.view.log.gone_back(),
            followed_before: self.view.log.followed_before(),
        };
        writer.segment().may_have_log().then(note)
    }

    /// What the journal says of the log. What was kept up to the sequence number `kept_after` is another node's.
    pub(super) fn recover_log(&self, kept_after: u64) -> Result<(), OpenError> {
        let segments = self.view.segments.read().clone();
        let mut found = LogScan::of(&segments)?;
        let all = found.kept.len();
        found.kept.retain(|(_, head)| head.seq > kept_after);
        let left = all - found.kept.len();
        if left > 0 {
            tracing::info!(
                left,
                "messages that the node of the backup had kept are left to that one"
            );
        }
        let log = &self.view.log;
        if let Some((note, _)) = found.note {
            found.gone_back.extend(note.gone_back);
            note.followed_before.into_iter().for_each(|epoch| log.follow_after(epoch));
            found.epochs.extend(note.applied.map(|applied| applied.epoch));
        }
        found.gone_back.sort_unstable_by_key(|one| one.at);
        found.gone_back.into_iter().for_each(|one| log.go_back(one));
        found.epochs.retain(|epoch| found.applied.is_none_or(|(now, ..)| now.epoch != *epoch));
        found.epochs.into_iter().for_each(|epoch| log.follow_after(epoch));
        if let Some((position, logged_at, seq)) = found.applied {
            self.view.note_logged(logged_at);
            self.view.applied_seq.store(seq, Ordering::Release);
            self.view.log.begin(position.seq, seq);
            self.view.applied.send_replace(Some(position));
            *self.messages.last.lock() = Some(position);
        }
        self.kept.recovered(found.kept, found.kept_from);
        Ok(())
    }
}

/// What the end of a journal says of the log.
#[derive(Default)]
struct LogScan {
    /// The last message that was applied, the time of the log, and the sequence number of the frame that says so.
    applied: Option<(LogPosition, Timestamp, u64)>,
    /// The newest checkpoint that says something of the log, and its sequence number.
    note: Option<(LogNote, u64)>,
    /// Messages that were kept from here on may still have to be sent.
    kept_from: u64,
    /// Those, in their order.
    kept: Vec<(MessageId, KeptHead)>,
    /// Where it went back; what the checkpoint says of that apart.
    gone_back: Vec<GoneBack>,
    /// The logs that it followed.
    epochs: BTreeSet<[u8; 16]>,
}

impl LogScan {
    /// Reads a journal from its end, back to the newest checkpoint and to the oldest message that was kept by then.
    fn of(segments: &[Arc<Segment>]) -> Result<Self, OpenError> {
        let mut scan = Self::default();
        let mut done: HashMap<MessageId, u64> = HashMap::new();
        let first = segments.iter().position(|segment| segment.may_have_log());
        let with_log = segments.get(first.unwrap_or(segments.len())..).unwrap_or_default();
        let mut read_from = u64::MAX;
        for segment in with_log.iter().rev() {
            if scan.note.is_some() && scan.kept_from >= read_from {
                break;
            }
            read_from = segment.first_seq;
            scan.read(segment, &mut done)?;
        }
        if scan.applied.is_none()
            && let Some((note, seq)) = &scan.note
        {
            let logged_at = Timestamp::from_millis(note.logged_at).unwrap_or_default();
            scan.applied = note.applied.map(|position| (position, logged_at, *seq));
        }
        let from = scan.kept_from;
        scan.kept.retain(|(id, head)| {
            head.seq >= from && done.get(id).is_none_or(|done| *done < head.seq)
        });
        scan.kept.sort_unstable_by_key(|(_, head)| head.seq);
        Ok(scan)
    }

    /// Reads a segment before those that were read.
    fn read(
        &mut self,
        segment: &Segment,
        done: &mut HashMap<MessageId, u64>,
    ) -> Result<(), OpenError> {
        let (mut applied, mut noted) = (None, None);
        let mut scanner = Scanner::new(segment)?;
        while let Some((offset, frame)) = scanner.next_frame()? {
            match frame.kind {
                FrameKind::Applied => {
                    let read = applied_frame(&frame)?;
                    applied = Some((read.position, read.logged_at, frame.seq));
                    self.epochs.insert(read.position.epoch);
                    if read.goes_back {
                        let to_message = read.position.seq;
                        self.gone_back.push(GoneBack { at: frame.seq, to_message });
                    }
                    if let Some(id) = read.kept {
                        let last = done.entry(id).or_default();
                        *last = frame.seq.max(*last);
                    }
                }
                FrameKind::Kept => {
                    self.kept.extend(KeptHead::of(&frame, offset, segment));
                }
                FrameKind::Checkpoint => {
                    if let Body::Checkpoint(Some(Note { log: Some(log), .. })) =
                        Body::decode(&frame)?
                    {
                        noted = Some((log, frame.seq));
                    }
                }
                _ => {}
            }
        }
        self.applied = self.applied.or(applied);
        if self.note.is_none()
            && let Some((log, seq)) = noted
        {
            self.kept_from = log.oldest_kept.unwrap_or(seq);
            self.note = Some((log, seq));
        }
        Ok(())
    }
}

/// What a frame says of the message before it.
pub(super) fn applied_frame(frame: &Frame<'_>) -> Result<AppliedFrame, OpenError> {
    AppliedFrame::read(frame.body).ok_or_else(|| {
        let reason = "it says in another form how far the log was applied".to_owned();
        OpenError::Record { seq: frame.seq, reason }
    })
}
