//! How changes come in: the queue to the committer, and the answer.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Outcome;
use super::StoreError;
use super::change::Change;
use super::messages::{CommitterMessage, Submission};
use super::state::CommitQueue;
use super::waits::WaitGuard;
use crate::domain::Timestamp;

/// How long a submission waits for space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backpressure {
    /// Not at all: the sender is to come again.
    None,
    /// Until there is space: bulk work.
    Wait,
}

/// An answer that is on its way: it arrives when the changes are on disk.
pub struct Ticket {
    answer: oneshot::Receiver<Result<Outcome, StoreError>>,
    _waits: WaitGuard,
}

impl Ticket {
    pub(super) fn new(
        answer: oneshot::Receiver<Result<Outcome, StoreError>>,
        waits: WaitGuard,
    ) -> Self {
        Self { answer, _waits: waits }
    }

    /// Waits for the answer.
    pub async fn durable(self) -> Result<Outcome, StoreError> {
        self.answer.await.unwrap_or(Err(StoreError::Closing))
    }

    /// Waits for the answer, in a thread that may block.
    pub fn wait(self) -> Result<Outcome, StoreError> {
        self.answer.blocking_recv().unwrap_or(Err(StoreError::Closing))
    }
}

impl CommitQueue {
    /// Hands changes to the committer. The ticket tells when they are on disk.
    pub(super) fn submit(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
        dry: bool,
        backpressure: Backpressure,
    ) -> Result<Ticket, StoreError> {
        self.committer.lives()?;
        // A submission larger than the whole queue takes all of it.
        let weight = changes.len().clamp(1, self.queue_events);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let permit = loop {
            match self.space.clone().try_acquire_many_owned(weight) {
                Ok(permit) => break permit,
                Err(_) if backpressure == Backpressure::None => return Err(StoreError::Busy),
                Err(_) => {
                    self.wait_a_little();
                    self.committer.lives()?;
                }
            }
        };
        let (reply, answer) = self.committer.reply_to_task();
        let submission = Submission { changes, at, dry, backpressure, reply, permit };
        self.committer.send(CommitterMessage::Submit(submission))?;
        Ok(Ticket::new(answer, self.waits.begin(None, Instant::now())))
    }
}
