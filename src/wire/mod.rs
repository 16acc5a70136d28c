//! What other programs see: the JSON and CSV of calls, JSON of events, and texts of time.
//!
//! The API's JSON, the export line and the stored record are three shapes of one
//! [`crate::domain::Call`], on purpose: each changes for its own reasons.

mod call;
mod cell;
mod csv;
mod csv_header;
mod error;
mod event;
mod first;
mod input;
mod masked;
mod names;
mod near_time;
mod object;
mod recent_call;
mod record;
mod record_reader;
mod rows;
mod time;
mod timeline;
mod unicode;
mod value;
mod zone_spans;

pub use call::{write_call, write_export};
pub use csv::{CsvStyle, csv_export_header, csv_header, write_csv, write_csv_export};
pub use csv_header::CsvHeader;
pub use error::WireError;
pub use event::{
    ParsedInput, RECORD_BYTES_MAX, parse_cdr, parse_event, parse_mirrored, parse_record,
};
pub use first::first_account;
pub use input::text_of;
pub use masked::masked_call;
use names::MESSAGE_TYPE;
pub use near_time::time_fault;
pub use object::pieces;
pub use recent_call::write_recent_call;
pub use record_reader::{RecordFormat, RecordReader, RecordText};
pub use time::{When, Zone, ZoneError, parse_time, parse_when, show_duration, show_time};
pub use timeline::write_timeline;
pub use unicode::replace_lone_surrogates;
pub use zone_spans::Interval;
