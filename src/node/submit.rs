//! Changes are handed over: encoded, put into the log or kept, and waited for.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

use super::health::Untrusted;
use super::{Node, kept};
use crate::cluster::{PlaceError, Placed, message_crc};
use crate::codec::{assemble, encode_submission, peek_message_id};
use crate::config::WithoutQuorum;
use crate::domain::Timestamp;
use crate::random;
use crate::store::{
    Backpressure, Change, LogPosition, Outcome, Proposals, StoreError, SubmissionOutcome, chain,
    logged,
};

/// How long a sender waits for this node to have its message, once the log has it.
const OWN_COPY: Duration = Duration::from_millis(250);
/// How long who needs the outcome waits for it.
const OUTCOME: Duration = Duration::from_secs(30);
/// How long bulk work waits where too much waits for the log already.
const BUSY: Duration = Duration::from_millis(50);

pub(super) const UNKNOWN: &str =
    "it is not known yet whether the servers of the log keep what they acknowledge";
const NOT_KEPT: &str = "no quorum of servers takes it, and it is not kept for later";

/// Where changes are that were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Where they are in the log; none where there is none.
    pub position: Option<LogPosition>,
    /// It is on this machine's disk alone, and will be forwarded.
    pub kept: bool,
}

impl Node {
    /// Hands changes over, all of them or none. Once this says so they are safe, and this store has them, unless it
    /// lags. They are on their way when this returns, though nobody polls the answer.
    pub fn submit(
        self: &Arc<Self>,
        changes: Vec<Change>,
        at: Timestamp,
    ) -> impl Future<Output = Result<Accepted, StoreError>> + Send + use<> {
        let node = self.clone();
        let submitted = self.runtime.spawn(async move { node.submitted(&changes, at).await });
        async move { submitted.await.unwrap_or(Err(StoreError::Closing)) }
    }

    async fn submitted(&self, changes: &[Change], at: Timestamp) -> Result<Accepted, StoreError> {
        let placed = self.place(self.writes(), changes, at, true).await?;
        let Placed::Logged { seq, message, nth } = placed else {
            return Ok(Accepted { position: None, kept: true });
        };
        let outcome = self.outcome(&message, nth, OWN_COPY).await;
        if let Some(SubmissionOutcome::Conflict { name }) = outcome {
            return Err(StoreError::Conflict(name));
        }
        Ok(Accepted { position: Some(self.position_of(seq, &message)), kept: false })
    }

    /// The same, and what became of them here. They are never kept.
    ///
    /// # Errors
    /// Also where this store does not apply them in time: then they may still happen.
    pub async fn outcome_of(
        &self,
        changes: &[Change],
        at: Timestamp,
    ) -> Result<(Outcome, Accepted), StoreError> {
        self.outcome_as(self.writes(), changes, at).await
    }

    /// The same, in messages of this version.
    pub(super) async fn outcome_as(
        &self,
        version: u8,
        changes: &[Change],
        at: Timestamp,
    ) -> Result<(Outcome, Accepted), StoreError> {
        let placed = self.place(version, changes, at, false).await?;
        let Placed::Logged { seq, message, nth } = placed else {
            return Err(StoreError::NoQuorum(NOT_KEPT.to_owned()));
        };
        let position = Some(self.position_of(seq, &message));
        // A node that applies nothing more is not waited for.
        let broken = self.broken();
        let longest = if broken.is_some() { Duration::ZERO } else { OUTCOME };
        match self.outcome(&message, nth, longest).await {
            Some(SubmissionOutcome::Done(outcome)) => {
                Ok((outcome, Accepted { position, kept: false }))
            }
            Some(SubmissionOutcome::Conflict { name }) => Err(StoreError::Conflict(name)),
            None => {
                let why = broken.and_then(|state| state.problem()).unwrap_or_else(|| {
                    format!("this node has not applied that within {} s", OUTCOME.as_secs())
                });
                Err(StoreError::NoQuorum(format!(
                    "it is in the log as message {seq}, and {why}; it is done here once the node has caught up"
                )))
            }
        }
    }

    /// The same in a thread that may block.
    pub fn apply(&self, changes: &[Change], at: Timestamp) -> Result<Outcome, StoreError> {
        self.block_on(async {
            loop {
                match self.outcome_of(changes, at).await {
                    // Bulk work waits for as long as others are before it.
                    Err(StoreError::Busy) => sleep(BUSY).await,
                    done => return done.map(|(outcome, _)| outcome),
                }
            }
        })
    }

    async fn place(
        &self,
        version: u8,
        changes: &[Change],
        at: Timestamp,
        may_be_kept: bool,
    ) -> Result<Placed, StoreError> {
        self.store.lives()?;
        if changes.iter().any(Change::grows) {
            self.store.takes_events()?;
        }
        let Some(running) = self.running() else {
            return Err(StoreError::NoQuorum(self.why_not_begun()));
        };
        if let Some(why) = self.holds_back() {
            return Err(StoreError::NoQuorum(why));
        }
        let bytes = encode_submission(&logged(changes, at), version).map(Bytes::from);
        let bytes = bytes.map_err(|error| StoreError::Unreadable(chain(&error)))?;
        let most = running.log.message_bytes_max();
        if bytes.len() > most {
            return Err(StoreError::LongMessage { bytes: bytes.len(), most });
        }
        let begun = Instant::now();
        let keeps = self.config.without_quorum == WithoutQuorum::Keep;
        let placed = match self.refusal() {
            None if may_be_kept => running.packer.place(bytes).await,
            None => running.packer.place_or_refuse(bytes).await,
            Some(Untrusted::Unknown) if keeps && may_be_kept => {
                let id = *random::uuid().as_bytes();
                let message = Bytes::from(assemble(self.name.as_str(), id, &[bytes]));
                kept::keep_one(self, message).await?;
                return Ok(Placed::Kept);
            }
            Some(Untrusted::Unknown) => return Err(StoreError::NoQuorum(UNKNOWN.to_owned())),
            Some(Untrusted::Servers(why)) => return Err(StoreError::NoQuorum(why)),
        };
        let metrics = &self.store.meter().cluster;
        match placed {
            Ok(placed) => {
                if let Placed::Logged { seq, .. } = placed {
                    metrics.publish.observe_time(begun.elapsed());
                    self.health.lock().logged(seq, Instant::now());
                    running.wake(seq);
                    self.has_news.notify_one();
                }
                Ok(placed)
            }
            Err(error) => {
                metrics.failed(kind_of(&error));
                Err(match error {
                    PlaceError::Busy => StoreError::Busy,
                    PlaceError::Closing => StoreError::Closing,
                    PlaceError::Unavailable(log) if !may_be_kept && log.may_be_there() => {
                        StoreError::NoQuorum(format!(
                            "no quorum of servers has acknowledged it: {log}; it may be done all the same, so look before you repeat it"
                        ))
                    }
                    error => {
                        StoreError::NoQuorum(format!("no quorum of servers takes it: {error}"))
                    }
                })
            }
        }
    }

    async fn outcome(
        &self,
        message: &Bytes,
        nth: usize,
        longest: Duration,
    ) -> Option<SubmissionOutcome> {
        self.waiters.outcome(peek_message_id(message)?, nth, longest).await
    }

    pub(super) fn position_of(&self, seq: u64, message: &Bytes) -> LogPosition {
        let crc = message_crc(message);
        let position = self.running().map(|running| running.position(seq, crc));
        position.unwrap_or(LogPosition { epoch: [0; 16], turn: 0, seq, crc })
    }
}

fn kind_of(error: &PlaceError) -> &'static str {
    match error {
        PlaceError::Busy => "busy",
        PlaceError::Closing => "closing",
        PlaceError::Unavailable(error) => error.kind(),
        PlaceError::NotKept { .. } => "not_kept",
    }
}

/// What the store itself wants to change, as one node does it for all.
pub(super) struct Proposer(pub Weak<Node>);

impl Proposals for Proposer {
    fn is_mine(&self) -> bool {
        self.0.upgrade().is_some_and(|node| node.is_first())
    }

    fn time(&self, clock: Timestamp) -> Timestamp {
        let earliest = |node: Arc<Node>| node.health.lock().earliest(clock, Instant::now());
        self.0.upgrade().map_or(clock, earliest)
    }

    fn propose(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
        backpressure: Backpressure,
    ) -> Result<Option<Outcome>, StoreError> {
        let Some(node) = self.0.upgrade() else { return Err(StoreError::Closing) };
        match backpressure {
            // Who asks is to make room for what is applied: it does not wait for that.
            Backpressure::None => {
                node.block_on(node.place(node.writes(), &changes, at, false))?;
                Ok(None)
            }
            Backpressure::Wait => node.apply(&changes, at).map(Some),
        }
    }
}
