//! What a call is, how events become one, and which calls a query means.
//!
//! Architecture invariant: nothing here knows bytes, a clock, a file or a socket, and of JSON nothing
//! but that the value of a further key is a text of it. Everything
//! is a pure function of its arguments.

mod already;
mod amount;
mod call;
mod country_code;
mod event;
mod extras;
mod head;
mod ids;
mod join;
mod kind;
mod mask;
mod number;
mod party;
mod quarter;
mod query;
mod search;
mod status;
mod symbols;
mod time;
mod up;

pub use amount::{
    AmountError, DURATION_HINT, SIZE_HINT, counted, exact_count, exact_duration, exact_size,
    parse_count, parse_duration, parse_size, short_duration, show_age, show_size, was,
};
pub use call::{
    Call, CallField, CallId, CdrTimes, Field, Origin, SipReason, Source, StatusProgress,
    TEXT_BYTES_MAX, TIMELINE_MAX, TimelineEntry,
};
pub use country_code::country_code;
pub use event::{EVENT_FIELDS, EventTimes, MirroredAt, StampedEvent};
pub use extras::{
    Dropped, EXTRA_BYTES_MAX, EXTRAS_MAX, Extra, Extras, KEY_BYTES_MAX, LeftOut, NameOrder,
    REMEMBERED_MAX, SizeRange, bounded,
};
pub use head::{
    AFTER_TEXT, DENSE, Head, HeadFilter, PartyMatch, add_party_forms, add_quarters, sid_mark,
};
pub use ids::{AccountSid, ApplicationSid, CallSid, ServiceProviderSid, SidError};
pub use join::merge;
pub use kind::{CallKind, GroupStatus, KindGroup};
pub use mask::{mask_numbers, mask_party};
pub use number::{NUMBER_BYTES_MAX, NUMBER_DIGITS_MIN, Number, Sighting, fold, party_parts};
pub use party::{PART_CHARS_MIN, PartyPart, fold_party};
pub use quarter::{Day, Quarter};
pub use query::{AcrossPosition, Filter, Order, Position, Recent};
pub use search::{
    SEARCH_PARAMETERS, Search, SearchError, SipStatuses, Typed, VALUES_MAX, with_plus,
};
pub use status::{CallStatus, Direction, Rank};
pub use time::{Moment, Timestamp};
pub use up::{Peaks, UP_AFTER_MS, UP_BEFORE_MS, Up, UpTime};

#[cfg(test)]
mod number_tests;
#[cfg(test)]
mod party_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod search_tests;
