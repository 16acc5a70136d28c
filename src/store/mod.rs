//! The store: one journal, one registry, one index, and the threads that move calls between them.
//!
//! **One way in.** Every change goes through the queue to the *committer*, the only thread that
//! writes the journal and the registry. It takes all that wait, merges each with its call, gives
//! every new record the next sequence number, appends and syncs once, publishes, and answers.
//! Architecture invariant: nothing is published or answered before the sync has returned.
//!
//! **The way to the index.** The *keeper*, the only thread that writes the index, copies calls from
//! the registry to it in small batches, marks and syncs it, and hands the committer the list of
//! what it wrote. The committer writes the checkpoint into the journal and lets those calls leave
//! the registry, unless they have changed since.
//!
//! **The way out.** A reader asks the index first and then the registry, and where both know a call
//! the registry is right. No call leaves the registry before all readers are done who began before the
//! index had it (`state.rs`; the keeper waits for them), and what changes meanwhile is in the
//! registry, so that none is missed.
//!
//! **A new generation.** When the index is built again or compacted, a thread of its own fills a new
//! one (`index_builder/`) while the keeper goes on writing the current one; the keeper then has it take
//! over (`index_builder/`).
//!
//! **Room.** Another thread looks at how much the disk has free, shuts out what makes the store grow
//! where that is little (`disk_space.rs`), and keeps a reserve for a start on a full disk (`disk_space.rs`).
//!
//! **What a crash leaves.** The journal, whole up to the last commit. The index's mark says from
//! which sequence number on the journal is read again. An index without the mark of the last
//! checkpoint, or whose count and sum differ from its mark after an unclean stop, is built anew
//! from the journal; it is never trusted half.

mod change_feed;
mod check;
mod checkpointer;
mod committer;
mod compactor;
mod count;
mod data_dir;
mod disk_space;
mod error;
mod frames;
mod index_builder;
mod list;
mod open;
mod parts;
mod query;
mod recovery;
mod segment_pins;
mod state;
mod stats;
mod submit;
mod waits;

pub use change_feed::{Event, Feed, FeedBudget, FeedPosition, Reach, What};
pub use check::Checked;
pub use compactor::retention::{Expiring, RemovalReason};
pub use compactor::{Collected, Depth, RetentionPolicy};
pub use count::{Counting, StatusCount};
pub use data_dir::{FORMAT, Lock, UNFINISHED, begin, read_format};
pub use error::{OpenError, StoreError, chain};
pub use index_builder::from_index::Compacted;
pub use list::{ListRequest, Listed, Listing, Slice};
pub use open::{Options, Store};
pub use query::SidMatches;
pub use recovery::Recovery;
pub use state::{Progress, Status, Unit};
pub use submit::{Change, Outcome};
pub use waits::WaitGuard;

pub use crate::meter::Cause;

#[cfg(test)]
mod tests;
