//! Texts that look like a time and are none: what is wrong with them, for a person.

use std::ops::RangeInclusive;

use jiff::civil::Date;

use super::show_time;
use crate::domain::Timestamp;

/// Years that a number is taken for; others are rather something else.
const YEARS: RangeInclusive<i16> = 1900..=2199;

/// What keeps a text that looks like a day, a time or a Unix time from being read as one, and how that is
/// written; none where it does not look like one.
pub fn time_fault(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return of_digits(text);
    }
    let (day, time) = match text.split_once(['T', 't', ' ']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    of_day(day).or_else(|| of_time(day, time?.trim())).or_else(|| {
        let is_clock = text.contains(':') && numbers(text, ':').is_some();
        is_clock.then(|| format!("a time of day lacks its day: write 2026-01-31T{text}"))
    })
}

/// A number without anything else.
fn of_digits(text: &str) -> Option<String> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let year = part(0, 4).filter(|year| YEARS.contains(year));
    match (text.len(), year) {
        (4, Some(year)) => Some(format!("a year alone is no day: write {year}-01-01")),
        (6, Some(year)) => {
            let month = part(4, 6)?;
            let fault = calendar(year, month, 1).err();
            Some(fault.unwrap_or_else(|| month_alone(year, month)))
        }
        (8, Some(year)) => {
            let (month, day) = (part(4, 6)?, part(6, 8)?);
            Some(match calendar(year, month, day) {
                Ok(date) => format!("a day is written with hyphens: {date}"),
                Err(fault) => fault,
            })
        }
        (8, None) => {
            let year = part(4, 8).filter(|year| YEARS.contains(year))?;
            Some(format!("the year comes first, then month and day: {year}-MM-DD"))
        }
        (12 | 14, Some(year)) => {
            let (month, day) = (part(4, 6)?, part(6, 8)?);
            Some(match calendar(year, month, day) {
                Ok(date) => {
                    let (hour, minute) = (text.get(8..10)?, text.get(10..12)?);
                    let clock = format!("{hour}:{minute}");
                    clock_fault(&clock)
                        .unwrap_or_else(|| format!("a time is written as {date}T{clock}"))
                }
                Err(fault) => fault,
            })
        }
        (10, _) => unix(text.parse::<u64>().ok()?.checked_mul(1000)?),
        (13, _) => unix(text.parse().ok()?),
        _ => None,
    }
}

fn unix(millis: u64) -> Option<String> {
    let at = show_time(Timestamp::from_millis(millis)?);
    Some(format!("a Unix time is not read: write {at}"))
}

fn month_alone(year: i16, month: i16) -> String {
    format!("a month alone is no day: write {year}-{month:02}-01")
}

/// A day that is not in the calendar, or is not written as it is to be.
fn of_day(day: &str) -> Option<String> {
    let separator = day.chars().find(|c| !c.is_ascii_digit()).filter(|c| "-/.".contains(*c))?;
    let parts = numbers(day, separator)?;
    match &parts[..] {
        [(4, year), (_, month)] => {
            let fault = calendar(*year, *month, 1).err();
            Some(fault.unwrap_or_else(|| month_alone(*year, *month)))
        }
        [(4, year), (months, month), (days, date)] => match calendar(*year, *month, *date) {
            Err(fault) => Some(fault),
            Ok(_) if (separator, *months, *days) == ('-', 2, 2) => None,
            Ok(date) => Some(format!("a day is written with hyphens and two digits each: {date}")),
        },
        [_, _, (4, year)] => {
            Some(format!("the year comes first, then month and day: {year}-MM-DD"))
        }
        [(2, _), (1 | 2, _), (1 | 2, _)] => Some("a year has four digits".to_owned()),
        _ => None,
    }
}

/// The time of a day that is right.
fn of_time(day: &str, time: &str) -> Option<String> {
    numbers(day, '-')?;
    let clock = time.split(['Z', 'z', '+', '-', '.']).next()?.trim_end();
    clock_fault(clock).or_else(|| {
        let is_hour = (1..=2).contains(&clock.len()) && numbers(clock, ':').is_some();
        is_hour.then(|| format!("the time lacks its minutes: write {day}T{clock:0>2}:00"))
    })
}

fn clock_fault(clock: &str) -> Option<String> {
    let parts = numbers(clock, ':')?;
    let limits = [("hour", 23), ("minute", 59), ("second", 60)];
    let mut wrong = parts.iter().zip(limits).filter(|((_, found), (_, most))| found > most);
    wrong
        .next()
        .map(|((_, found), (what, most))| format!("there is no {what} {found}: {most} is the last"))
}

fn calendar(year: i16, month: i16, day: i16) -> Result<Date, String> {
    let Some(first) = i8::try_from(month).ok().and_then(|month| Date::new(year, month, 1).ok())
    else {
        return Err(format!("it is no date: there is no month {month}"));
    };
    if year < 1970 {
        return Err("it is before 1970".to_owned());
    }
    let last = first.days_in_month();
    if !(1..=i16::from(last)).contains(&day) {
        return Err(format!(
            "it is no date: {year}-{month:02} has no day {day}, its last is {last}"
        ));
    }
    i8::try_from(day)
        .ok()
        .and_then(|day| Date::new(year, first.month(), day).ok())
        .ok_or_else(|| "it is no date".to_owned())
}

/// Numbers of four digits at most between separators: how many digits each has, and what it is.
fn numbers(text: &str, separator: char) -> Option<Vec<(usize, i16)>> {
    let number = |part: &str| {
        let fits = (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| part.parse().ok().map(|number| (part.len(), number))).flatten()
    };
    text.split(separator).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_a_time_is_told_what_it_lacks() {
        for (text, fault) in [
            ("20261301", "there is no month 13"),
            ("20260001", "there is no month 0"),
            ("20260231", "2026-02 has no day 31, its last is 28"),
            ("20261101", "with hyphens: 2026-11-01"),
            ("01112026", "the year comes first, then month and day: 2026-MM-DD"),
            ("202611", "write 2026-11-01"),
            ("202613", "there is no month 13"),
            ("2026", "write 2026-01-01"),
            ("1764331200", "write 2025-11-28T12:00:00.000Z"),
            ("1764331200000", "write 2025-11-28T12:00:00.000Z"),
            ("202611281630", "as 2026-11-28T16:30"),
            ("20261128163059", "as 2026-11-28T16:30"),
            ("202611282530", "there is no hour 25"),
            ("2026-13-01", "there is no month 13"),
            ("2026-13-01T12:00", "there is no month 13"),
            ("2026-11-31", "2026-11 has no day 31, its last is 30"),
            ("2026-11-31 10:00", "2026-11 has no day 31"),
            ("2025-02-29", "2025-02 has no day 29"),
            ("2026/11/01", "2026-11-01"),
            ("2026-1-1", "2026-01-01"),
            ("2026.11.01", "2026-11-01"),
            ("01.11.2026", "the year comes first"),
            ("11/01/2026", "the year comes first"),
            ("26-11-01", "a year has four digits"),
            ("2026-11", "write 2026-11-01"),
            ("1969-12-31", "before 1970"),
            ("2026-11-28T24:01", "there is no hour 24"),
            ("2026-11-28 12:60:00Z", "there is no minute 60"),
            ("2026-11-28T16", "write 2026-11-28T16:00"),
            ("16:00", "write 2026-01-31T16:00"),
        ] {
            let found = time_fault(text).unwrap_or_else(|| panic!("{text} is passed over"));
            assert!(found.contains(fault), "{text}: {found}");
        }
        for other in [
            "",
            "90",
            "3600",
            "86400",
            "monday",
            "1h 30",
            "99999999",
            "2026-11-28",
            "-1h",
            "T",
            "ü-1",
        ] {
            assert_eq!(time_fault(other), None, "{other}");
        }
    }
}
