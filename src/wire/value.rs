//! Single values of an event: texts, whole numbers, times.

use super::{WireError, parse_time, show_time};
use crate::domain::Timestamp;

/// How far ahead of rollcall's clock a source's clock may be, in milliseconds.
const AHEAD_MAX_MILLIS: u64 = 5 * 60 * 1000;
/// 2000-01-01T00:00:00Z in milliseconds: no call is older.
const EARLIEST_MILLIS: u64 = 946_684_800_000;
/// Seconds of a call at most: more is some clock's count, and no duration.
pub(super) const DURATION_MAX: u64 = 366 * 24 * 60 * 60;
/// Seconds from the year 0 to 1970, as Erlang counts them (Kazoo).
const GREGORIAN_SECONDS: i128 = 62_167_219_200;
/// Seconds from 1900 to 1970, as NTP counts them.
const NTP_SECONDS: i128 = 2_208_988_800;
/// Digits of a number that are looked at, and how far its exponent may move the point.
const DIGITS_MAX: usize = 30;

/// The text of a JSON string, or of a number: the digits of a whole one (`15551230001.0`, `1.5e10`), else
/// as it was written.
pub(super) fn text(key: &str, raw: &str) -> Result<String, WireError> {
    if raw.starts_with('"') {
        let broken = |_| WireError::new(key, raw, "expected valid Unicode");
        return serde_json::from_str(raw).map_err(broken);
    }
    if raw.starts_with(['{', '[', 't', 'f', 'n']) {
        return Err(WireError::new(key, raw, "expected a string"));
    }
    let is_shifted = raw.contains(['.', 'e', 'E']);
    Ok(whole(raw)
        .filter(|_| is_shifted)
        .map_or_else(|| raw.to_owned(), |number| number.to_string()))
}

/// A whole number; none for an empty text. `42.0`, `4.2e1` and `"42"` are 42.
pub(super) fn number(
    key: &str,
    raw: &str,
    least: u64,
    most: u64,
) -> Result<Option<u64>, WireError> {
    let value = text(key, raw)?;
    if value.trim().is_empty() {
        return Ok(None);
    }
    let number = whole(value.trim()).and_then(|number| u64::try_from(number).ok());
    let number = number.filter(|number| (least..=most).contains(number));
    let expected = || format!("expected a whole number, {least} to {most}");
    number.map(Some).ok_or_else(|| WireError::new(key, raw, expected()))
}

/// The whole number that a decimal one is, exactly; none where it has a fraction, or is very large.
fn whole(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: isize = exponent.parse().ok()?;
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [before, after].concat();
    if before.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if digits.bytes().all(|byte| byte == b'0') {
        return Some(0);
    }
    let point = isize::try_from(before.len()).ok()?.checked_add(exponent)?;
    let point = usize::try_from(point).ok().filter(|point| *point <= DIGITS_MAX)?;
    let kept = digits.get(..point).unwrap_or(&digits);
    if !digits.get(point..).unwrap_or_default().bytes().all(|byte| byte == b'0') {
        return None;
    }
    let zeros = "0".repeat(point - kept.len());
    let number: i128 = format!("0{kept}{zeros}").parse().ok()?;
    Some(if negative { -number } else { number })
}

/// RFC 3339, or whole milliseconds since 1970 as in CDRs; none for an empty text. Where `now` is
/// given a time is to be plausible: from 2000 on, and hardly ahead of it; and where the answer or the
/// end of a call lies in 1970, that means that there was none.
pub(super) fn time(
    key: &str,
    raw: &str,
    now: Option<Timestamp>,
) -> Result<Option<Timestamp>, WireError> {
    let value = text(key, raw)?;
    let value = value.trim();
    let optional = matches!(key, "answered_at" | "terminated_at");
    if value.is_empty() || now.is_some() && optional && means_none(value) {
        return Ok(None);
    }
    let wrong = |expected: String| WireError::new(key, raw, expected);
    let number = whole(value);
    let time = match number {
        Some(millis) => u64::try_from(millis).ok().and_then(Timestamp::from_millis),
        None => parse_time(value),
    };
    let Some(now) = now else {
        return time.map(Some).ok_or_else(|| wrong(format!("expected {RIGHT}")));
    };
    let latest = now.plus_millis(AHEAD_MAX_MILLIS);
    let hint = |number| match looks_like(number, latest) {
        Some(unit) => format!("it looks like {unit}; expected {RIGHT}"),
        None => format!("expected {RIGHT}"),
    };
    match time {
        Some(time) if time.millis() < EARLIEST_MILLIS => {
            let hint = number.map_or_else(|| "no call is older".to_owned(), hint);
            Err(wrong(format!("before 2000-01-01: {hint}")))
        }
        Some(time) if time > latest => {
            let clock = show_time(now);
            let hint = number.filter(|number| looks_like(*number, latest).is_some()).map(hint);
            let hint = hint.map(|hint| format!(": {hint}")).unwrap_or_default();
            Err(wrong(format!("more than 5 minutes ahead of this machine's clock ({clock}){hint}")))
        }
        Some(time) => Ok(Some(time)),
        None => {
            let seconds = value.split_once('.').and_then(|(seconds, _)| whole(seconds));
            let number = number.or(seconds);
            Err(wrong(match number {
                Some(number) => hint(number),
                None if has_no_zone(value) => format!("it has no zone: expected {RIGHT}"),
                None => format!("expected {RIGHT}"),
            }))
        }
    }
}

/// What a time should have been.
const RIGHT: &str = "a time as 2026-01-31T23:59:59.000Z, or milliseconds since 1970";

/// Some programs write the beginning of their count of time for "never", or a day that is none.
fn means_none(value: &str) -> bool {
    let epoch = |time: Timestamp| time.millis() == 0;
    whole(value) == Some(0)
        || value.starts_with("1970-01-01")
        || value.starts_with("0000-00-00")
        || value.starts_with("0001-01-01")
        || parse_time(value).is_some_and(epoch)
}

/// The unit in which a number would be a plausible time.
fn looks_like(number: i128, latest: Timestamp) -> Option<&'static str> {
    let plausible = |millis: i128| {
        (i128::from(EARLIEST_MILLIS)..=i128::from(latest.millis())).contains(&millis)
    };
    let units = [
        (number.saturating_mul(1000), "seconds since 1970"),
        (number / 1000, "microseconds since 1970"),
        (number / 1_000_000, "nanoseconds since 1970"),
        (number.saturating_sub(GREGORIAN_SECONDS).saturating_mul(1000), "Gregorian seconds"),
        (number.saturating_sub(GREGORIAN_SECONDS * 1000), "Gregorian milliseconds"),
        (number.saturating_sub(NTP_SECONDS).saturating_mul(1000), "seconds since 1900"),
    ];
    units.into_iter().find(|(millis, _)| plausible(*millis)).map(|(_, unit)| unit)
}

/// A time of day without a zone.
fn has_no_zone(value: &str) -> bool {
    value.len() > "YYYY-MM-DD".len() && value.parse::<jiff::civil::DateTime>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for text in ["42", "42.0", "42.000", "4.2e1", "4.2E+1", "420e-1", "0042", "+42", "0.42e2"] {
            assert_eq!(whole(text), Some(42), "{text}");
        }
        for zero in ["0", "-0", "0.0", "0e999999999999"] {
            assert!(whole(zero).is_none_or(|zero| zero == 0), "{zero}");
        }
        assert_eq!(whole("-4.2e1"), Some(-42));
        assert_eq!(whole("1e29"), Some(10_i128.pow(29)));
        for junk in [
            "",
            "-",
            "e1",
            ".5",
            "42.7",
            "4.25e1",
            "4e-1",
            "1e31",
            "1e999999999",
            "0x2a",
            "4 2",
            "1_0",
        ] {
            assert_eq!(whole(junk), None, "{junk}");
        }
    }

    fn read(key: &str, raw: &str) -> Result<Option<String>, String> {
        let now = parse_time("2026-11-28T12:00:00Z").unwrap();
        let time = time(key, raw, Some(now)).map_err(|error| error.to_string())?;
        Ok(time.map(|time| show_time(time).to_string()))
    }

    #[test]
    fn times_of_other_systems_are_read_rightly() {
        let right = Ok(Some("2026-11-28T11:00:00.000Z".to_owned()));
        for raw in [
            "1795863600000",
            "\"1795863600000\"",
            "1795863600000.0",
            "1.7958636e12",
            "\"2026-11-28T11:00:00Z\"",
            "\"2026-11-28T11:00:00+0000\"",
            "\"2026-11-28T12:00:00+0100\"",
            "\"2026-11-28 11:00:00+00\"",
            "\"2026-11-28 11:00:00.000000+00\"",
            "\"2026-11-28 11:00:00Z\"",
            "\" 2026-11-28T11:00:00Z \"",
            "\"Sat, 28 Nov 2026 11:00:00 +0000\"",
            "\"Sat, 28 Nov 2026 12:00:00 +0100\"",
        ] {
            assert_eq!(read("attempted_at", raw), right, "{raw}");
        }
        let leap = read("attempted_at", "\"2016-12-31T23:59:60Z\"").unwrap().unwrap();
        assert!(leap == "2016-12-31T23:59:59.000Z" || leap == "2017-01-01T00:00:00.000Z", "{leap}");
    }

    #[test]
    fn implausible_times_are_refused_by_name() {
        for (raw, says) in [
            ("1795863600", "before 2000-01-01: it looks like seconds since 1970; expected a time"),
            ("\"1795863600\"", "it looks like seconds since 1970"),
            ("1795863600.123", "it looks like seconds since 1970"),
            ("1795863600000000", "it looks like microseconds since 1970"),
            ("1795863600000000000", "it looks like nanoseconds since 1970"),
            ("63963082800", "it looks like Gregorian seconds"),
            ("63963082800000", "it looks like Gregorian milliseconds"),
            ("4004852400", "it looks like seconds since 1900"),
            ("0", "before 2000-01-01"),
            ("-5", "expected a time as"),
            ("946684799999", "before 2000-01-01"),
            ("\"1999-12-31T23:59:59Z\"", "before 2000-01-01: no call is older"),
            ("1795867500001", "more than 5 minutes ahead of this machine's clock (2026-11-28T12"),
            ("\"2027-01-01\"", "more than 5 minutes ahead"),
            ("\"2026-11-28 11:00:00\"", "it has no zone: expected a time as"),
            ("\"2026-11-28T11:00:00\"", "it has no zone"),
            ("\"28.11.2026 11:00\"", "expected a time as"),
            ("true", "expected a string"),
        ] {
            let error = read("attempted_at", raw).unwrap_err();
            assert!(error.starts_with(&format!("attempted_at {raw}: ")), "{error}");
            assert!(error.contains(says), "{raw}: {error}");
        }
        assert!(read("at", "946684800000").is_ok() && read("at", "1795867500000").is_ok());
    }

    #[test]
    fn the_beginning_of_time_means_that_there_was_none() {
        for raw in [
            "0",
            "0.0",
            "\"0\"",
            "\"\"",
            "\"1970-01-01T00:00:00.000Z\"",
            "\"1970-01-01 00:00:00\"",
            "\"1970-01-01T01:00:00+01:00\"",
            "\"1969-12-31T19:00:00-05:00\"",
            "\"0000-00-00 00:00:00\"",
        ] {
            for key in ["answered_at", "terminated_at"] {
                assert_eq!(read(key, raw), Ok(None), "{raw}");
            }
            assert!(raw == "\"\"" || read("attempted_at", raw).is_err(), "{raw}");
        }
        let kept = time("answered_at", "0", None).unwrap();
        assert_eq!(kept, Timestamp::from_millis(0), "what was accepted is not judged again");
    }
}
