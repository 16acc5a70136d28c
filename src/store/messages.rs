//! What the threads of a store are asked to do.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::StoreError;
use super::applied::{GoneBack, LogPosition, QueuedMessage};
use super::change::Change;
use super::kept::KeepMessage;
use super::submit::Backpressure;
use super::threads::ReplySender;
use crate::domain::{CallId, Timestamp};
use crate::index::{AdminRow, Index};
use crate::registry::Indexed;

/// What the committer does.
pub(super) enum CommitterMessage {
    /// Changes to be made durable.
    Submit(Submission),
    /// A message of the replicated log is to be applied.
    Apply(QueuedMessage),
    /// A log is begun with.
    BeginLog(LogPosition, ReplySender<()>),
    /// A message that found no quorum is to be kept.
    Keep(KeepMessage),
    /// A checkpoint has been written to the index: the journal is to say so.
    Checkpoint(CheckpointNote, ReplySender<()>),
    /// The index has these versions of calls and of settings.
    Settle(Versions, ReplySender<()>),
    /// Some of the calls of which only parts are known find their place, by this generation.
    Place(Arc<Index>, ReplySender<()>),
    /// A new generation takes over, which has this of the calls in memory.
    Replace(Arc<Index>, KnownCalls, ReplySender<()>),
    /// A new segment is begun, so that the present one can be packed.
    BeginSegment(ReplySender<()>),
    /// A test has something done in the thread that writes the journal.
    #[cfg(test)]
    Do(Box<dyn FnOnce() + Send>),
    Stop,
}

/// What the checkpointer does.
pub(super) enum CheckpointerMessage {
    /// The registry fills up, or the index has failed: look at once. Sent once until it is taken.
    Wake,
    /// Everything that is in memory goes to the index.
    Checkpoint(ReplySender<()>),
    /// A new generation is built, and takes over.
    Build(BuildReason, ReplySender<Compacted>),
    /// The index is compacted, since the store is over its size; none waits for it.
    Compact,
    /// Answered once there is an index, and with reports of how far it is.
    AwaitIndex(ReplySender<()>),
    /// A generation is filled, or has failed.
    Filled,
    Stop,
}

/// What the compactor does.
pub(super) enum CompactorMessage {
    /// A round out of turn.
    Collect(Depth, ReplySender<Collected>),
    Stop,
}

/// Changes on their way to the committer: all of them happen or none.
pub(super) struct Submission {
    pub changes: Vec<Change>,
    /// When they were received.
    pub at: Timestamp,
    /// Say what would happen, and do nothing.
    pub dry: bool,
    /// Bulk work leaves memory for others.
    pub backpressure: Backpressure,
    pub reply: ReplySender<Outcome>,
    /// Space in the queue.
    pub permit: tokio::sync::OwnedSemaphorePermit,
}

impl Submission {
    /// Gives the space back, and only then answers: who hears the answer may send more at once.
    pub fn answer(self, result: Result<Outcome, StoreError>) {
        drop(self.permit);
        self.reply.send(result);
    }
}

/// What a checkpoint frame says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub generation: u64,
    pub checkpoint: u64,
    pub replay_from: u64,
    /// None where the store never had to do with a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogNote>,
}

/// What a checkpoint says of the replicated log: all that a start would else have to look for further back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogNote {
    pub applied: Option<LogPosition>,
    /// The time of the log, in milliseconds since 1970.
    pub logged_at: u64,
    /// Where the first message begins that was kept and is not done; none where none is.
    pub oldest_kept: Option<u64>,
    /// Where the store went back, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone_back: Vec<GoneBack>,
    /// Epochs of logs that it followed before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub followed_before: Vec<[u8; 16]>,
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

/// What a new generation has of the calls in memory.
pub(super) type KnownCalls = HashMap<CallId, Option<Indexed>>;

/// What a new generation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BuildReason {
    /// The current one has failed: from the journal, as fast as it goes.
    Repair,
    /// It was asked for: from the journal.
    Rebuild,
    /// The current one takes more disk than it need: from itself.
    Compact,
}

/// What a compaction of the index did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// Calls in the index.
    pub calls: u64,
    /// Bytes on disk before.
    pub bytes_before: u64,
    /// Bytes on disk now.
    pub bytes_after: u64,
}

/// How far a round of the compactor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What is worth the work.
    Usual,
    /// Everything that can go, but for the history that is kept.
    Thorough,
    /// Everything that can go.
    Erase,
}

/// What a round of the compactor has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collected {
    /// Calls whose time was over.
    pub expired: u64,
    /// Segments that were packed.
    pub segments: u64,
    /// Bytes on disk of these segments before, and of what took their place.
    pub bytes_before: u64,
    /// The same after.
    pub bytes_after: u64,
    /// The store is larger than it may be: more follows.
    pub fitting: bool,
}
