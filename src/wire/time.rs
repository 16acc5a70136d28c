//! Instants as texts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::time_fault;
use crate::domain::{Timestamp, parse_duration};

/// An instant as RFC 3339 in UTC with milliseconds: `2026-11-23T14:01:42.123Z`.
pub fn show_time(time: Timestamp) -> impl fmt::Display {
    let millis = i64::try_from(time.millis()).unwrap_or(i64::MAX);
    ZonedTime(jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
}

/// A time zone in which instants are shown; UTC by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone(pub(super) Option<TimeZone>);

/// A name that no time zone has. Who asked for one quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no time zone; expected UTC, a name of the IANA database, as Europe/Berlin, or an offset from \
     -18:00 to +18:00, as +05:30"
)]
pub struct ZoneError;

impl FromStr for Zone {
    type Err = ZoneError;

    /// A name of the IANA database, in either case, or an offset from UTC. The database is part of the
    /// program.
    fn from_str(name: &str) -> Result<Self, ZoneError> {
        if name.eq_ignore_ascii_case("UTC") || name == "Z" {
            return Ok(Self(None));
        }
        if let Some(offset) = fixed_offset(name) {
            return Ok(Self(Some(TimeZone::fixed(offset)).filter(|_| offset != Offset::UTC)));
        }
        let zone = TimeZoneDatabase::bundled().get(name);
        zone.map(|zone| Self(Some(zone))).map_err(|_| ZoneError)
    }
}

impl Zone {
    /// An instant as RFC 3339 with milliseconds and the zone's offset of that instant:
    /// `2026-11-23T16:01:42.123+02:00`, and in UTC as [`show_time`] has it. [`parse_time`] reads
    /// the very same instant.
    pub fn show(&self, time: Timestamp) -> String {
        let Some(zone) = &self.0 else { return show_time(time).to_string() };
        let millis = i64::try_from(time.millis()).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        // RFC 3339 knows no seconds of an offset, and some places had them until 1972.
        let seconds = zone.to_offset(at).seconds() / 60 * 60;
        let offset = Offset::from_seconds(seconds).unwrap_or(Offset::UTC);
        format!("{:.3}", at.display_with_offset(offset))
    }
}

/// `+05:30`, `-0330` or `+02`.
fn fixed_offset(text: &str) -> Option<Offset> {
    const MINUTES_MAX: i32 = 18 * 60;
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let rest = text.get(1..)?;
    let (hours, minutes) = match rest.len() {
        2 => (rest, "00"),
        4 => rest.split_at_checked(2)?,
        5 => rest.split_once(':').filter(|(hours, _)| hours.len() == 2)?,
        _ => return None,
    };
    let number = |digits: &str| {
        let all = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i32>().ok().filter(|_| all)
    };
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|minutes| *minutes < 60)?);
    let minutes = Some(hours * 60 + minutes).filter(|minutes| *minutes <= MINUTES_MAX)?;
    Offset::from_seconds(sign * minutes * 60).ok()
}

/// A duration in words, down to milliseconds: `90 days`, `1 day 6 hours`, `12 minutes`.
pub fn show_duration(time: Duration) -> String {
    let units = [
        ("day", 86_400_000),
        ("hour", 3_600_000),
        ("minute", 60_000),
        ("second", 1000),
        ("millisecond", 1),
    ];
    let mut rest = time.as_millis();
    let mut words = Vec::new();
    for (unit, millis) in units {
        let count = rest / millis;
        rest %= millis;
        match count {
            0 => {}
            1 => words.push(format!("1 {unit}")),
            _ => words.push(format!("{count} {unit}s")),
        }
    }
    if words.is_empty() { "no time".to_owned() } else { words.join(" ") }
}

struct ZonedTime(jiff::Timestamp);

impl fmt::Display for ZonedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

/// The instant that a text names: RFC 3339, also with a blank for its T or an offset without a colon,
/// RFC 2822, or `YYYY-MM-DD` for the start of that day in UTC. None for anything else, and for times outside 1970..=9999. Fractions finer than a millisecond
/// are cut off.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let mail = || Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp());
    let time: jiff::Timestamp = text.parse().ok().or_else(|| midnight(text)).or_else(mail)?;
    let millis = time.as_millisecond();
    Timestamp::from_millis(u64::try_from(millis).ok()?)
}

/// On which side of now a duration leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// `2h` is two hours ago.
    Ago,
    /// `2h` is in two hours.
    Ahead,
}

/// The instant that a person means: all that [`parse_time`] reads, a time without seconds or without a zone,
/// which is then UTC as that of a day is, `now`, `today`, `yesterday`, `tomorrow`, or a duration from now.
///
/// # Errors
/// Why it is none, and what would be right, without the text itself.
pub fn parse_when(text: &str, now: Timestamp, when: When) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(time) = parse_time(text).or_else(|| named_day(text, now)).or_else(|| local(text)) {
        return Ok(time);
    }
    let (days, meant) = match when {
        When::Ago => ("now, today, yesterday", "2d for two days ago"),
        When::Ahead => ("tomorrow", "2d for two days from now"),
    };
    let expected = format!(
        "expected a time as 2026-01-31T23:59 (UTC, or with its zone: 2026-01-31T23:59+02:00), a day as \
         2026-01-31, {days}, or {meant}"
    );
    let span = text.strip_suffix("ago").filter(|_| when == When::Ago).unwrap_or(text);
    match parse_duration(span.trim_end()) {
        Ok(span) => {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            Ok(match when {
                When::Ago => now.minus_millis(millis),
                When::Ahead => now.plus_millis(millis),
            })
        }
        Err(why) => Err(match time_fault(text) {
            Some(fault) => format!("{fault}; {expected}"),
            // The reason helps where a duration was meant.
            None if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains('-') => {
                format!("{why}; {expected}")
            }
            None => expected,
        }),
    }
}

/// A day by its name: its start in UTC, as that of a date.
fn named_day(text: &str, now: Timestamp) -> Option<Timestamp> {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let today = now.minus_millis(now.millis() % DAY_MS);
    match text.to_ascii_lowercase().as_str() {
        "now" => Some(now),
        "today" => Some(today),
        "yesterday" => Some(today.minus_millis(DAY_MS)),
        "tomorrow" => Some(today.plus_millis(DAY_MS)),
        _ => None,
    }
}

/// A date and a time, with or without seconds and a zone, which is UTC where there is none.
fn local(text: &str) -> Option<Timestamp> {
    let (day, time) = text.split_once(['T', 't', ' '])?;
    let fits =
        |part: &str, more: &str| part.chars().all(|c| c.is_ascii_digit() || more.contains(c));
    // The parser would take more forms than are documented, and pass over a zone in brackets.
    if !fits(day, "-") || !fits(time, ":.") || !time.contains(':') {
        return None;
    }
    let at: jiff::civil::DateTime = format!("{day}T{time}").parse().ok()?;
    let millis = TimeZone::UTC.to_timestamp(at).ok()?.as_millisecond();
    Timestamp::from_millis(u64::try_from(millis).ok()?)
}

fn midnight(text: &str) -> Option<jiff::Timestamp> {
    if text.len() != "YYYY-MM-DD".len() {
        return None;
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_a_zone_and_read_back() {
        for (zone, time, shown) in [
            ("Europe/Berlin", "2026-11-23T14:01:42.123Z", "2026-11-23T15:01:42.123+01:00"),
            ("europe/berlin", "2026-07-01T00:00:00Z", "2026-07-01T02:00:00.000+02:00"),
            ("Asia/Kathmandu", "2026-07-01T00:00:00Z", "2026-07-01T05:45:00.000+05:45"),
            ("America/St_Johns", "2026-01-01T00:00:00Z", "2025-12-31T20:30:00.000-03:30"),
            ("Europe/London", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000+00:00"),
            // Its offset was -00:44:30 then.
            ("Africa/Monrovia", "1970-01-01T00:00:00Z", "1969-12-31T23:16:00.000-00:44"),
            ("Pacific/Kiritimati", "9999-12-30T22:00:00.999Z", "9999-12-31T12:00:00.999+14:00"),
            ("utc", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z"),
            ("+05:30", "2026-07-01T00:00:00Z", "2026-07-01T05:30:00.000+05:30"),
            ("-0330", "2026-07-01T00:00:00Z", "2026-06-30T20:30:00.000-03:30"),
            ("+18", "2026-07-01T00:00:00Z", "2026-07-01T18:00:00.000+18:00"),
            ("+00:00", "2026-07-01T00:00:00Z", "2026-07-01T00:00:00.000Z"),
        ] {
            let (zone, time): (Zone, _) = (zone.parse().unwrap(), parse_time(time).unwrap());
            assert_eq!(zone.show(time), shown);
            assert_eq!(parse_time(shown), Some(time), "{shown}");
        }
        for junk in [
            "",
            "Mars/Olympus",
            "../etc/passwd",
            "+",
            "+2",
            "+2:00",
            "02:00",
            "+18:01",
            "-19",
            "+05:60",
            "+05:3",
            "++5:30",
            "+٠٥:00",
            "+1é:0",
        ] {
            assert_eq!(junk.parse::<Zone>(), Err(ZoneError), "{junk}");
        }
    }

    #[test]
    fn a_duration_is_a_time_on_one_side_of_now() {
        let now = parse_time("2026-11-23T12:00:00Z").unwrap();
        for (text, ago, ahead) in [
            ("90m", "2026-11-23T10:30:00.000Z", "2026-11-23T13:30:00.000Z"),
            (" 0.5h ", "2026-11-23T11:30:00.000Z", "2026-11-23T12:30:00.000Z"),
            ("2D", "2026-11-21T12:00:00.000Z", "2026-11-25T12:00:00.000Z"),
            ("1 week", "2026-11-16T12:00:00.000Z", "2026-11-30T12:00:00.000Z"),
            ("2026-01-31", "2026-01-31T00:00:00.000Z", "2026-01-31T00:00:00.000Z"),
            ("100000years", "1970-01-01T00:00:00.000Z", "9999-12-30T22:00:00.999Z"),
        ] {
            for (when, shown) in [(When::Ago, ago), (When::Ahead, ahead)] {
                assert_eq!(show_time(parse_when(text, now, when).unwrap()).to_string(), shown);
            }
        }
        for (text, says) in [
            ("1M", "M may be minutes or months"),
            ("90", "it lacks a unit"),
            ("monday", "expected a time"),
            ("-1h", "expected a time"),
            ("2026-13-01", "it is no date: there is no month 13"),
            ("20261301", "it is no date: there is no month 13"),
            ("", "expected a time"),
        ] {
            let error = parse_when(text, now, When::Ago).unwrap_err();
            assert!(error.starts_with(says) && error.contains("2d for two days ago"), "{error}");
        }
    }

    #[test]
    fn a_person_may_leave_out_seconds_and_zone_and_name_a_day() {
        let now = parse_time("2026-11-28T12:34:56.789Z").unwrap();
        for (text, shown) in [
            ("2026-11-28T16:00", "2026-11-28T16:00:00.000Z"),
            ("2026-11-28t16:00", "2026-11-28T16:00:00.000Z"),
            ("2026-11-28 16:00", "2026-11-28T16:00:00.000Z"),
            ("2026-11-28 16:00:30", "2026-11-28T16:00:30.000Z"),
            ("2026-11-28T16:00:30.5", "2026-11-28T16:00:30.500Z"),
            ("2026-11-28T16:00Z", "2026-11-28T16:00:00.000Z"),
            ("2026-11-28 16:00+02:00", "2026-11-28T14:00:00.000Z"),
            ("2026-11-28T16:00+0200", "2026-11-28T14:00:00.000Z"),
            ("now", "2026-11-28T12:34:56.789Z"),
            ("Today", "2026-11-28T00:00:00.000Z"),
            ("yesterday", "2026-11-27T00:00:00.000Z"),
            ("tomorrow", "2026-11-29T00:00:00.000Z"),
            ("1h", "2026-11-28T11:34:56.789Z"),
            ("2d ago", "2026-11-26T12:34:56.789Z"),
            ("2 days ago", "2026-11-26T12:34:56.789Z"),
        ] {
            let time = parse_when(text, now, When::Ago);
            let time = time.unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(show_time(time).to_string(), shown, "{text}");
        }
        for junk in [
            "2026-11-28T",
            "2026-11-28T24:01",
            "2026-11-31 10:00",
            "2026-11-28T16",
            "2026-11-28T16:00[Europe/Berlin]",
            "16:00",
            "ago",
            "1969-12-31T23:59",
        ] {
            let why = parse_when(junk, now, When::Ago).expect_err(junk);
            assert!(why.contains("expected a time as 2026-01-31T23:59 (UTC"), "{why}");
            assert!(why.contains("now, today, yesterday"), "{why}");
        }
        assert!(parse_when("2d ago", now, When::Ahead).is_err());
    }

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
