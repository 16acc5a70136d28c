//! The one place that reads the clock. Everywhere else time is a parameter.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// This machine's time.
#[expect(clippy::disallowed_methods, reason = "this is the module that reads the clock")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// This machine's time, in whole milliseconds.
pub fn now() -> Timestamp {
    let since = system_time().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(millis).unwrap_or(Timestamp::MAX)
}
