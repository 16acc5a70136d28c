//! Instants as texts.

use std::fmt;

use crate::domain::Timestamp;

/// An instant as RFC 3339 in UTC with milliseconds: `2026-11-23T14:01:42.123Z`.
pub fn show_time(time: Timestamp) -> impl fmt::Display {
    let millis = i64::try_from(time.millis()).unwrap_or(i64::MAX);
    Shown(jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
}

struct Shown(jiff::Timestamp);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

/// The instant that a text names: RFC 3339, or `YYYY-MM-DD` for the start of that day in UTC.
/// None for anything else, and for times outside 1970..=9999. Fractions finer than a millisecond
/// are cut off.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok().or_else(|| midnight(text))?;
    let millis = time.as_millisecond();
    Timestamp::from_millis(u64::try_from(millis).ok()?)
}

fn midnight(text: &str) -> Option<jiff::Timestamp> {
    if text.len() != "YYYY-MM-DD".len() {
        return None;
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, shown) in [
            ("2026-11-23T14:01:42.123Z", "2026-11-23T14:01:42.123Z"),
            ("2026-11-23T14:01:42.123987+02:00", "2026-11-23T12:01:42.123Z"),
            ("2026-11-23", "2026-11-23T00:00:00.000Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("9999-12-30T22:00:00.999Z", "9999-12-30T22:00:00.999Z"),
        ] {
            assert_eq!(show_time(parse_time(text).unwrap()).to_string(), shown);
        }
        for junk in ["", "yesterday", "2026-13-01", "2026-1-1", "1969-12-31", "-000001-01-01", "12"]
        {
            assert_eq!(parse_time(junk), None, "{junk}");
        }
    }
}
