//! The index: the sled store that lists are read from. A view of the journal, never the truth.
//!
//! Architecture invariant: nothing outside this room names sled. No acknowledged event depends on
//! it, and what it loses or damages is found (a count and a sum when it is opened, checksums
//! and cross-checks when it is read) and built again from the journal.

mod build;
mod cursor;
mod database;
mod days;
mod entries;
mod error;
mod gaps;
mod generation;
mod heads;
mod layers;
mod layout;
mod op;
mod page;
mod quarters;
mod row;
mod rows;
mod sealing;
mod sid_filter;
mod sorter;
mod spaced;
mod tree;

pub use build::{Batch, BuiltSize, Loader, Packer};
pub use days::DayRow;
pub use error::IndexError;
pub use generation::{Generations, OpenedGeneration};
pub use heads::FoundByHeads;
pub use layout::LAYOUT;
pub use op::{Op, Version};
pub use quarters::{KindsRow, PeakRow, QUARTERS_AFTER, QUARTERS_BEFORE, QuarterRow};
pub use row::CallRow;
pub use rows::{AdminRow, CheckpointMeta, IndexStats, Stored};
pub use tree::Index;

#[cfg(test)]
mod days_tests;
#[cfg(test)]
mod entries_tests;
#[cfg(test)]
mod heads_tests;
#[cfg(test)]
mod quarters_tests;
#[cfg(test)]
pub(crate) mod tests;
