//! The store: one journal, one registry, one index, and the threads that move calls between them.
//!
//! **One way in.** Every change goes through the queue to the *committer* (`committer.rs`), the only
//! thread that writes the journal and the registry. It takes all that wait (`group/`), merges each with its
//! call, gives every new record the next sequence number, appends and syncs once, publishes, and answers.
//! Architecture invariant: nothing is published or answered before the sync has returned.
//!
//! **The way to the index.** The *checkpointer* (`checkpointer.rs`), the only thread that writes the
//! index, copies calls from the registry to it in small batches, marks and syncs it (`checkpoint.rs`),
//! and hands the committer the list of what it wrote. The committer writes the checkpoint into the
//! journal and lets those calls leave the registry, unless they have changed since.
//!
//! **The way out.** A reader asks the index first and then the registry, and where both know a call
//! the registry is right (`query.rs`). No call leaves the registry before all readers are done who began
//! before the index had it (`ReaderTable`; the checkpointer waits for them), and what changes meanwhile
//! is in the registry, so that none is missed.
//!
//! **A new generation.** When the index is built again or compacted, a thread of its own fills a new
//! one while the checkpointer goes on writing the current one; the checkpointer then has it take over
//! (`index_builder/`).
//!
//! **Giving space back.** The *compactor* (`compactor/`) deletes calls whose time is over and packs the
//! journal. Another thread looks at how much the disk has free, refuses what makes the store grow where
//! that is little, and keeps a reserve for a start on a full disk (`disk_space.rs`).
//!
//! **Who knows whom.** Queries know the `View` of `state.rs` and nothing else. Each thread has one
//! channel of messages (`messages.rs`, `threads.rs`); what all of them share is `Shared` of `state.rs`.
//! A thread names no other thread, and nothing names the [`Store`], which starts them (`open.rs`).
//!
//! **What a crash leaves.** The journal, whole up to the last commit. The index's mark says from
//! which sequence number on the journal is read again. An index without the mark of the last
//! checkpoint, or whose count and sum differ from its mark after an unclean stop, is built anew
//! from the journal; it is never trusted half.

mod across;
mod aggregate;
mod applied;
mod believed_clock;
mod change;
mod change_feed;
mod check;
mod checkpoint;
mod checkpointer;
mod claims;
mod committer;
mod compactor;
mod content;
mod count;
mod data_dir;
mod disk_space;
mod error;
mod frames;
mod give_back;
mod group;
mod index_builder;
mod kept;
mod list;
mod log_map;
mod logged;
mod messages;
mod node_name;
mod open;
mod options;
mod outbox;
mod page_start;
mod parts;
mod placing;
mod proposals;
mod query;
mod recovery;
mod scope;
mod sealed;
mod segment_users;
mod state;
mod stats;
mod submit;
mod threads;
mod tombstones;
mod waits;

pub use across::{Across, CountingAcross};
pub use aggregate::{
    AggregateRequest, Aggregates, Aggregating, BUCKETS_MAX, Bucket, CALLS_OF_AN_HOUR_MAX,
    CELLS_MAX, Dimension, Exceeded, Figures, Group, TOP_MAX,
};
pub use applied::{AppliedMessage, ApplyTicket, LogPosition, SubmissionOutcome, applied_position};
pub use believed_clock::BelievedClock;
pub use change::Change;
pub use change_feed::{Event, Feed, FeedAccounts, FeedBudget, FeedPosition, Reach, What};
pub use check::Checked;
pub use compactor::retention::{Expiring, RemovalReason};
pub use count::{Counting, StatusCount};
pub use data_dir::{FORMAT, Lock, UNFINISHED, begin, read_format};
pub use error::{OpenError, StoreError, chain};
pub use give_back::{ChangedSince, LogPlace, given_setting, gone_instead, is_progress};
pub use kept::KeptMessages;
pub use list::{Listing, Slice};
pub use log_map::LogPoint;
pub use logged::{FILLER, logged, without_effect};
pub use messages::{Collected, Compacted, Depth};
pub use node_name::{NodeName, expect_node, read_node, write_node};
pub use open::Store;
pub use options::{CdrOptions, Options, RetentionPolicy};
pub use outbox::{
    Audience, FoundHooks, HOOK_CALLS_MAX, Hook, HookContent, HookHead, HookLookup, HookOrigin,
    HookReader, Progress as ForwardProgress, Span,
};
pub use page_start::{PageStart, PassingOver};
pub use proposals::Proposals;
pub use query::{ListRequest, Listed, SidMatches};
pub use scope::{Scope, ScopedAccount};
pub use stats::Status;
pub use submit::{Backpressure, Ticket};
pub use threads::{Progress, Unit};
pub use waits::WaitGuard;

pub use crate::meter::{Cause, CdrOutcome, MirrorMode, Outcome, TargetMetrics};

#[cfg(test)]
mod tests;
