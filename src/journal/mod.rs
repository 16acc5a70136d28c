//! The journal: the truth. Whole records after the merge, in the order of their sequence numbers.
//!
//! A journal is a chain of *segments*, files named after the first sequence number in them. A
//! segment is a header and then *frames*; frames that were synced together are a *commit*.
//! [`format`] draws the bytes of all of them.
//!
//! **What a crash leaves.** A commit is written with one `write` and acknowledged after one
//! `fdatasync`. At most the last commit can be incomplete: a bad frame is a *torn tail* when no
//! valid frame of a later commit follows it, and then its whole commit is dropped, since none of it
//! was acknowledged and a batch is all or nothing. A bad frame before a later commit is *damage*,
//! which stops the start.
//!
//! **Start.** What the last process wrote may be in the page cache and not on the disk (its last
//! sync may have failed). So the last complete commit is copied into a new segment, synced, before
//! anything is served. The new header says how much of its predecessor counts: all before that
//! commit. Nothing is ever changed in an old segment; what follows the counted length is ignored.
//! A new segment is written under a temporary name, synced, renamed, and the directory synced.
//!
//! **Space.** Full segments are packed ([`packed`]): compressed, and without what later segments say
//! better. Sequence numbers stay as they were, and so may have gaps in a packed segment.
//!
//! **Rejected.** A footer that marks a segment as complete: its successor's header says the same
//! without a second write. Truncating the torn tail in place: it changes bytes whose state on disk
//! is unknown.

mod disk;
mod doing;
mod error;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod packed;
mod reader;
mod recover;
mod segment;
mod truncate;
mod verify;
mod writer;

pub use doing::Doing;
pub use error::JournalError;
pub use format::{ChangeOrigin, FRAME_BODY_BYTES_MAX, Frame, FrameKind, Packed, fits};
pub use packed::{FrameDecision, PackedStamp, pack};
pub use reader::Scanner;
pub use recover::{OpenedJournal, TornTail, open};
pub use segment::Segment;
pub use truncate::{Chain, cut};
pub use verify::{Flaw, Passed, SegmentVerifier, Truncation, Until};
pub use writer::{Batch, JournalWriter};

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod disk_tests;
#[cfg(test)]
mod packed_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verify_tests;
