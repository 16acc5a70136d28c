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
//! index had it (`reading.rs`; the keeper waits for them), and what changes meanwhile is in the
//! registry, so that none is missed.
//!
//! **A new generation.** When the index is built again or compacted, a thread of its own fills a new
//! one (`build.rs`) while the keeper goes on writing the current one; the keeper then has it take
//! over (`online.rs`).
//!
//! **Room.** Another thread looks at how much the disk has free, shuts out what makes the store grow
//! where that is little (`space.rs`), and keeps a reserve for a start on a full disk (`reserve.rs`).
//!
//! **What a crash leaves.** The journal, whole up to the last commit. The index's mark says from
//! which sequence number on the journal is read again. An index without the mark of the last
//! checkpoint, or whose count and sum differ from its mark after an unclean stop, is built anew
//! from the journal; it is never trusted half.

mod build;
mod check;
mod checkpoint;
mod checkpointer;
mod collector;
mod commit;
mod compact;
mod count;
mod error;
mod feed;
mod figures;
mod find;
mod format;
mod frame_bodies;
mod index_builder;
mod latest;
mod new_dir;
mod open;
mod pack;
mod parts;
mod plan;
mod read;
mod reading;
mod rebuild;
mod recovery;
mod reserve;
mod retention;
mod segment_pins;
mod shared;
mod size_limit;
mod space;
mod start;
mod submit;
mod waits;

pub use check::{Checked, StoreFinding};
pub use collector::{Collected, Depth, RetentionPolicy};
pub use compact::Compacted;
pub use count::{Counting, StatusCount};
pub use error::{OpenError, StoreError, chain};
pub use feed::{Event, Feed, FeedBudget, FeedPosition, Reach, What};
pub use find::SidMatches;
pub use format::{FORMAT, Lock, StoreFormat, UNFINISHED, begin, read_format};
pub use open::{Options, Store};
pub use read::{ListRequest, Listed, Listing, Page, Positions, Slice};
pub use recovery::Recovery;
pub use retention::{Expiring, RemovalReason};
pub use segment_pins::Holding;
pub use shared::{Progress, Status, Unit};
pub use space::free_bytes;
pub use submit::{Backpressure, Change, Outcome, Ticket};
pub use waits::WaitGuard;

pub use crate::meter::Cause;

#[cfg(test)]
mod tests;
