//! What a call is, how events become one, and which calls a query means.
//!
//! Architecture invariant: nothing here knows bytes, JSON, a clock, a file or a socket. Everything
//! is a pure function of its arguments.

mod call;
mod event;
mod ids;
mod join;
mod number;
mod query;
mod status;
mod symbols;
mod time;

pub use call::{
    Call, CallId, EXTRA_BYTES_MAX, EXTRAS_MAX, Entry, Extra, Field, Known, Origin, Progress,
    Source, TEXT_BYTES_MAX, TIMELINE_MAX,
};
pub use event::{Stamp, StampedEvent};
pub use ids::{AccountSid, CallSid, ServiceProviderSid, SidError};
pub use join::merge;
pub use number::{NUMBER_BYTES_MAX, NUMBER_DIGITS_MIN, Number, Sighting, fold, party_parts};
pub use query::{Filter, Order, Position, Recent};
pub use status::{CallStatus, Direction, Rank};
pub use time::Timestamp;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod number_tests;
#[cfg(test)]
pub(crate) mod samples;
