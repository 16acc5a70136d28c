//! What a change is, and what becomes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::StoreError;
use super::committer::{Done, Job};
use super::open::Store;
use super::state::State;
use super::waits::WaitGuard;
use crate::access::SettingRow;
use crate::domain::{Call, CallId, Source, StampedEvent, Timestamp, merge};
use crate::journal::ChangeOrigin;
use crate::registry::CallState;

/// One thing that is to happen to the store.
#[derive(Debug, Clone)]
pub enum Change {
    /// An event is merged with its call.
    Event(Box<StampedEvent>),
    /// A whole record is joined with its call.
    Record(Box<Call>),
    /// A call is deleted.
    Delete(CallId),
    /// A call that has heard nothing since this time becomes stale.
    Stale(CallId, Timestamp),
    /// A call whose time is over is deleted, unless it is up.
    Expire(CallId),
    /// A token or the settings of an account.
    Admin(SettingRow),
}

impl Change {
    /// The call that it is about.
    pub fn id(&self) -> Option<CallId> {
        match self {
            Self::Event(event) => Some(event.id),
            Self::Record(call) => Some(call.id),
            Self::Delete(id) | Self::Expire(id) | Self::Stale(id, _) => Some(*id),
            Self::Admin(_) => None,
        }
    }

    /// It makes the store grow, and has to wait where the disk is short of room.
    pub(super) fn grows(&self) -> bool {
        matches!(self, Self::Event(_) | Self::Record(_))
    }

    /// What its call is after it, and where it came from; none where nothing happens to it.
    pub(super) fn after(
        self,
        known: Option<&Call>,
        at: Timestamp,
        outcome: &mut Outcome,
    ) -> Option<(CallState, ChangeOrigin)> {
        let sweep = ChangeOrigin::Source(Source::Sweep);
        match self {
            Self::Event(event) => {
                let origin = ChangeOrigin::Source(event.source);
                outcome.unknown_statuses += u64::from(event.status.is_none());
                let sent: Vec<Box<str>> = event.extras.iter().map(|(key, _)| key.clone()).collect();
                outcome.dropped_keys += event.left_out.count();
                let merged = merge(known, *event, at);
                let dropped = sent.iter().filter(|key| merged.extras.get(key).is_none());
                outcome.dropped_keys += dropped.count() as u64;
                Some((CallState::Call(Arc::new(merged)), origin))
            }
            Self::Record(record) => {
                let joined = known.map_or_else(|| *record.clone(), |call| call.join(&record));
                Some((CallState::Call(Arc::new(joined)), ChangeOrigin::Source(Source::Import)))
            }
            Self::Delete(_) => {
                outcome.ignored += u64::from(known.is_none());
                known.map(|_| (CallState::Deleted(at), ChangeOrigin::Admin))
            }
            Self::Expire(_) => match known {
                Some(call) if !call.live() => Some((CallState::Deleted(at), sweep)),
                _ => {
                    outcome.unchanged += 1;
                    None
                }
            },
            Self::Stale(_, heard_before) => match known {
                Some(call) if call.live() && call.last_event_at() < heard_before => {
                    Some((CallState::Call(Arc::new(call.clone().into_stale(at))), sweep))
                }
                _ => {
                    outcome.unchanged += 1;
                    None
                }
            },
            Self::Admin(_) => None,
        }
    }
}

/// What became of the changes of one submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Calls that were not known before.
    pub new: u64,
    /// Changes of known calls, deletions and settings among them; and what was heard of calls while it
    /// was not known whether they are new.
    pub changed: u64,
    /// Said nothing new.
    pub unchanged: u64,
    /// For calls that were deleted, or deletions of unknown ones.
    pub ignored: u64,
    /// Events with a status that this version does not know: the rest of them was merged.
    pub unknown_statuses: u64,
    /// Unknown keys that did not fit into their record.
    pub dropped_keys: u64,
}

impl Outcome {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.new += other.new;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.ignored += other.ignored;
        self.unknown_statuses += other.unknown_statuses;
        self.dropped_keys += other.dropped_keys;
    }
}

/// How long a submission waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backpressure {
    /// Not at all: who sent it is told to come again.
    None,
    /// Until there is room: bulk work.
    Wait,
}

/// Changes on their way to the committer: all of them happen or none.
pub(super) struct Submission {
    pub changes: Vec<Change>,
    /// When they were received.
    pub at: Timestamp,
    /// Say what would happen, and do nothing.
    pub dry: bool,
    pub reply: SubmitReply,
    /// Room in the queue.
    pub permit: tokio::sync::OwnedSemaphorePermit,
}

impl Submission {
    /// Gives the room back, and only then answers: whoever hears the answer may send more at once.
    pub fn answer(self, result: Result<Outcome, StoreError>) {
        drop(self.permit);
        self.reply.send(result);
    }
}

/// Where the answer goes. Whoever waits gets one, also where the committer has died.
pub(super) struct SubmitReply {
    to: Option<oneshot::Sender<Result<Outcome, StoreError>>>,
    failed: watch::Receiver<Option<String>>,
}

impl SubmitReply {
    fn send(mut self, result: Result<Outcome, StoreError>) {
        if let Some(to) = self.to.take() {
            let _gone = to.send(result);
        }
    }
}

impl Drop for SubmitReply {
    fn drop(&mut self) {
        let Some(to) = self.to.take() else { return };
        let reason = self.failed.borrow().clone();
        let dying = || "the committer panicked".to_owned();
        let reason = reason.or_else(|| std::thread::panicking().then(dying));
        let _gone = to.send(Err(reason.map_or(StoreError::Closing, StoreError::Failed)));
    }
}

/// An answer that is on its way: it arrives when the changes are on disk.
pub struct Ticket {
    answer: oneshot::Receiver<Result<Outcome, StoreError>>,
    _waits: WaitGuard,
}

impl Ticket {
    /// Waits for the answer.
    pub async fn durable(self) -> Result<Outcome, StoreError> {
        self.answer.await.unwrap_or(Err(StoreError::Closing))
    }

    /// Waits for the answer, in a thread that may block.
    pub fn wait(self) -> Result<Outcome, StoreError> {
        self.answer.blocking_recv().unwrap_or(Err(StoreError::Closing))
    }
}

impl State {
    /// Hands changes to the committer. The ticket tells when they are on disk.
    pub(super) fn submit(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
        dry: bool,
        backpressure: Backpressure,
    ) -> Result<Ticket, StoreError> {
        self.lives()?;
        // A submission larger than the whole queue takes all of it.
        let weight = changes.len().clamp(1, self.options.queue_events);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let permit = loop {
            match self.queue.clone().try_acquire_many_owned(weight) {
                Ok(permit) => break permit,
                Err(_) if backpressure == Backpressure::None => return Err(StoreError::Busy),
                Err(_) => {
                    self.wait_a_little();
                    self.lives()?;
                }
            }
        };
        let (reply, answer) = oneshot::channel();
        let reply = SubmitReply { to: Some(reply), failed: self.failed.subscribe() };
        let submission = Submission { changes, at, dry, reply, permit };
        self.jobs.send(Job::Submit(submission)).map_err(|_| self.gone())?;
        Ok(Ticket { answer, _waits: self.waits.begin(None, Instant::now()) })
    }

    /// Has the committer do something, and waits until it is done.
    pub(super) fn ask(&self, job: impl FnOnce(Done) -> Job) -> Result<(), StoreError> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.jobs.send(job(reply)).map_err(|_| self.gone())?;
        answer.recv().unwrap_or_else(|_| Err(self.gone()))
    }

    /// Waits for the keeper to make room, or for a moment.
    fn wait_a_little(&self) {
        let (wake, woken) = &self.wake;
        woken.wait_for(&mut wake.lock(), Duration::from_millis(5));
    }
}

impl Store {
    /// Hands changes to the committer, all of them or none; refused at once where there is no room.
    pub fn submit(&self, changes: Vec<Change>, at: Timestamp) -> Result<Ticket, StoreError> {
        self.shared.submit(changes, at, false, Backpressure::None)
    }

    /// The same for bulk work, in a thread that may block: waits for room as long as it takes.
    /// Where `dry` it only says what would happen.
    pub fn apply(
        &self,
        changes: &[Change],
        at: Timestamp,
        dry: bool,
    ) -> Result<Outcome, StoreError> {
        loop {
            let ticket = self.shared.submit(changes.to_vec(), at, dry, Backpressure::Wait)?;
            match ticket.wait() {
                Err(StoreError::Busy) => self.shared.wait_a_little(),
                answer => return answer,
            }
        }
    }
}
