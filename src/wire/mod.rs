//! What other programs see: the JSON of calls and events, and texts of time.
//!
//! The API's JSON, the export line and the stored record are three shapes of one
//! [`crate::domain::Call`], on purpose: each changes for its own reasons.

mod call;
mod error;
mod event;
mod object;
mod record;
mod split;
mod time;
mod timeline;

pub use call::{write_call, write_export};
pub use error::WireError;
pub use event::{EVENT_BYTES_MAX, Told, parse_event, parse_record};
pub use object::pieces;
pub use split::{Format, Piece, Splitter};
pub use time::{parse_time, show_time};
pub use timeline::write_timeline;
