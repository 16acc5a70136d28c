//! Minutes, hours and days on the clocks of a zone.
//!
//! A **day** lasts from the first instant of its date to that of the next: 23 hours where clocks go
//! forward, 25 where they go back. An **hour** begins at each full hour of the zone's clocks, and where
//! the clocks are changed: so an hour that comes twice is two, and where they go by half an hour, one
//! hour of that day is a half. **Minutes** are as hours.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Zone;
use crate::domain::Timestamp;

const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// What time is divided into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    Minute,
    Hour,
    Day,
}

impl Interval {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The word in queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl Zone {
    /// The minute, hour or day that an instant is in: its first instant, and the first one after it.
    /// Nothing is before 1970, and nothing after [`Timestamp::MAX`].
    pub fn span(&self, interval: Interval, at: Timestamp) -> (Timestamp, Timestamp) {
        let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
        let (first, end) = match (interval, &self.0) {
            (Interval::Minute, None) => fixed(millis, MINUTE_MS),
            (Interval::Hour, None) => fixed(millis, HOUR_MS),
            (Interval::Day, None) => fixed(millis, 24 * HOUR_MS),
            (Interval::Minute, Some(zone)) => full(zone, millis, MINUTE_MS),
            (Interval::Hour, Some(zone)) => full(zone, millis, HOUR_MS),
            (Interval::Day, Some(zone)) => day(zone, millis),
        };
        let timestamp = |millis: i64| {
            let millis = u64::try_from(millis.max(0)).unwrap_or_default();
            Timestamp::from_millis(millis).unwrap_or(Timestamp::MAX)
        };
        (timestamp(first), timestamp(end))
    }
}

fn fixed(millis: i64, length: i64) -> (i64, i64) {
    let first = millis - millis.rem_euclid(length);
    (first, first + length)
}

/// A full hour or minute of the clocks, as far as they are not changed in it.
fn full(zone: &TimeZone, millis: i64, length: i64) -> (i64, i64) {
    let offset = offset(zone, millis);
    let (first, end) = fixed(millis + offset, length);
    let (first, end) = (first - offset, end - offset);
    let is_same = |at: i64| self::offset(zone, at) == offset;
    let first = last_same(millis, first, is_same);
    (first, last_same(millis, end - 1, is_same) + 1)
}

/// The farthest instant from one towards another that has the same offset, where there is at most one
/// change between them.
fn last_same(near: i64, far: i64, is_same: impl Fn(i64) -> bool) -> i64 {
    if is_same(far) {
        return far;
    }
    let (mut same, mut other) = (near, far);
    while same.abs_diff(other) > 1 {
        let middle = same.midpoint(other);
        if is_same(middle) {
            same = middle;
        } else {
            other = middle;
        }
    }
    same
}

fn day(zone: &TimeZone, millis: i64) -> (i64, i64) {
    let mut date = zone.to_datetime(instant(millis)).date();
    let (mut first, mut end) = (begin(zone, date), begin(zone, next(date)));
    // Where clocks go back over midnight, the date of some instants is that of the day before.
    while end <= millis && next(date) != date {
        date = next(date);
        (first, end) = (end, begin(zone, next(date)));
    }
    (first.min(millis), end.max(millis + 1))
}

fn next(date: Date) -> Date {
    date.tomorrow().unwrap_or(date)
}

/// The first instant of a date; of one that a zone has left out, that of the next.
fn begin(zone: &TimeZone, date: Date) -> i64 {
    let midnight = zone.to_timestamp(date.at(0, 0, 0, 0));
    let Ok(midnight) = midnight.map(jiff::Timestamp::as_millisecond) else { return i64::MAX };
    // Where clocks go forward over midnight, the date begins when they do.
    let before = offset(zone, midnight - 1);
    let after = offset(zone, midnight);
    let civil = date.at(0, 0, 0, 0).duration_since(Date::constant(1970, 1, 1).at(0, 0, 0, 0));
    let civil = i64::try_from(civil.as_millis()).unwrap_or(i64::MAX);
    if midnight.saturating_add(after) > civil && before == after {
        let is_after = |at: i64| offset(zone, at) == after;
        return last_same(midnight, midnight - 26 * HOUR_MS, is_after);
    }
    midnight
}

/// What a zone's clocks are ahead of UTC, in milliseconds.
fn offset(zone: &TimeZone, millis: i64) -> i64 {
    i64::from(zone.to_offset(instant(millis)).seconds()) * 1000
}

fn instant(millis: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::parse_time;

    fn lengths(zone: &str, interval: Interval, from: &str, to: &str) -> Vec<u64> {
        let zone: Zone = zone.parse().unwrap();
        let (mut at, to) = (parse_time(from).unwrap(), parse_time(to).unwrap());
        let mut minutes = Vec::new();
        while at < to {
            let (first, end) = zone.span(interval, at);
            assert_eq!(first, at, "{from}");
            minutes.push((end.millis() - first.millis()) / 60_000);
            at = end;
        }
        minutes
    }

    #[test]
    fn days_have_as_many_hours_as_their_clocks_show() {
        for (zone, from, to, wanted) in [
            ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-30T22:00:00Z", &[23, 24][..]),
            ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-26T23:00:00Z", &[25, 24]),
            ("America/New_York", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", &[25]),
            ("Asia/Kathmandu", "2026-06-30T18:15:00Z", "2026-07-01T18:15:00Z", &[24]),
            // Clocks went from midnight to one, so that the day began at one.
            ("America/Sao_Paulo", "2018-11-03T03:00:00Z", "2018-11-05T02:00:00Z", &[24, 23]),
            // And back from midnight to eleven.
            ("America/Sao_Paulo", "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z", &[25]),
            // There was no 30th.
            ("Pacific/Apia", "2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z", &[24, 24]),
            ("+05:30", "2026-06-30T18:30:00Z", "2026-07-01T18:30:00Z", &[24]),
            ("UTC", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z", &[24]),
        ] {
            let wanted: Vec<u64> = wanted.iter().map(|hours| hours * 60).collect();
            assert_eq!(lengths(zone, Interval::Day, from, to), wanted, "{zone} {from}");
        }
    }

    #[test]
    fn hours_begin_with_full_hours_and_where_clocks_are_changed() {
        for (zone, from, to, wanted) in [
            ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", vec![60; 23]),
            ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", vec![60; 25]),
            ("Asia/Kathmandu", "2026-06-30T18:15:00Z", "2026-06-30T20:15:00Z", vec![60, 60]),
            // Half an hour back at two, and forward.
            (
                "Australia/Lord_Howe",
                "2026-04-04T14:00:00Z",
                "2026-04-04T16:30:00Z",
                vec![60, 30, 60],
            ),
            (
                "Australia/Lord_Howe",
                "2026-10-03T14:30:00Z",
                "2026-10-03T17:00:00Z",
                vec![60, 30, 60],
            ),
            // A minute after midnight, back to the day before.
            (
                "America/St_Johns",
                "2010-11-07T01:30:00Z",
                "2010-11-07T04:30:00Z",
                vec![60, 1, 59, 60],
            ),
        ] {
            assert_eq!(lengths(zone, Interval::Hour, from, to), wanted, "{zone} {from}");
        }
    }

    #[test]
    fn minutes_begin_with_full_minutes() {
        for (zone, from, to) in [
            ("UTC", "2026-03-29T00:58:00Z", "2026-03-29T01:02:00Z"),
            ("Europe/Berlin", "2026-10-25T00:58:00Z", "2026-10-25T01:02:00Z"),
            ("-03:30", "2026-03-29T00:58:00Z", "2026-03-29T01:02:00Z"),
        ] {
            assert_eq!(lengths(zone, Interval::Minute, from, to), vec![1; 4], "{zone} {from}");
        }
    }

    const ZONES: [&str; 14] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/St_Johns",
        "America/Sao_Paulo",
        "America/Havana",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Pacific/Kiritimati",
        "Africa/Casablanca",
        "Asia/Gaza",
        "Antarctica/Troll",
        "-03:30",
    ];

    proptest! {
        #[test]
        fn every_instant_is_in_one_span(
            zone in prop::sample::select(&ZONES[..]),
            interval in prop::sample::select(&Interval::ALL[..]),
            at in prop_oneof![0..2_000_000_000_000_u64, 0..=Timestamp::MAX.millis() - 1],
            part in 0.0..1.0_f64,
        ) {
            let zone: Zone = zone.parse().unwrap();
            let at = Timestamp::from_millis(at).unwrap();
            let (first, end) = zone.span(interval, at);
            prop_assert!(first <= at && at < end, "{first:?} {at:?} {end:?}");
            let length = end.millis() - first.millis();
            let most = match interval {
                Interval::Minute => 1,
                Interval::Hour => 60,
                Interval::Day => 26 * 60,
            };
            prop_assert!(length <= most * 60 * 1000, "{}", length);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of it")]
            let inside = first.plus_millis((length as f64 * part) as u64);
            for at in [first, inside, end.minus_millis(1)] {
                prop_assert_eq!(zone.span(interval, at), (first, end));
            }
            let after = zone.span(interval, end).0;
            prop_assert!(after == end || end == Timestamp::MAX);
        }
    }
}
