//! Durations, sizes and counts as people write and read them.
//!
//! One grammar for every place where one is asked for: a number, which may have a decimal point and `_`
//! between its digits, and a unit, with or without blanks between them, in either case.

use std::fmt;
use std::time::Duration;

/// Why a text is no duration or no size. The caller says which text, and of what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AmountError(String);

fn wrong<T>(why: impl Into<String>) -> Result<T, AmountError> {
    Err(AmountError(why.into()))
}

/// Milliseconds of each unit of time.
const TIMES: [(&[&str], u64); 6] = [
    (&["ms", "msec", "millisecond", "milliseconds"], 1),
    (&["s", "sec", "secs", "second", "seconds"], 1000),
    (&["m", "min", "mins", "minute", "minutes"], MINUTE),
    (&["h", "hr", "hrs", "hour", "hours"], 60 * MINUTE),
    (&["d", "day", "days"], DAY),
    (&["w", "week", "weeks"], 7 * DAY),
];
const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
/// A year has 365 days here.
const YEARS: [&str; 3] = ["y", "year", "years"];
const MONTHS: [&str; 2] = ["month", "months"];

/// Bytes of each unit of size, in lower case.
const SIZES: [(&[&str], u64); 11] = [
    (&["", "b", "byte", "bytes"], 1),
    (&["kb"], 1000),
    (&["mb"], 1_000_000),
    (&["gb"], 1_000_000_000),
    (&["tb"], 1_000_000_000_000),
    (&["pb"], 1_000_000_000_000_000),
    (&["kib"], 1 << 10),
    (&["mib"], 1 << 20),
    (&["gib"], 1 << 30),
    (&["tib"], 1 << 40),
    (&["pib"], 1 << 50),
];

/// What is right for a duration.
pub const DURATION_HINT: &str =
    "write a number and a unit (ms, s, m, h, d, w), such as 90s or 1h 30m";
/// What is right for a size.
pub const SIZE_HINT: &str = "write a number of bytes, such as 1_000_000, 10GB or 512MiB";

/// Reads a duration: `90s`, `1h 30m`, `0.5h`, `1 week`. `1m` is a minute. A month is refused, since none
/// is as long as the next.
///
/// # Errors
/// It is none, or too long for milliseconds in 64 bits.
pub fn parse_duration(text: &str) -> Result<Duration, AmountError> {
    let mut rest = begun(text)?;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let (number, unit, after) = next(rest)?;
        let factor = time_unit(unit)?;
        let more = number.times(factor).map_or_else(|| wrong("it is too long"), Ok)?;
        let sum = millis.checked_add(more);
        millis = sum.map_or_else(|| wrong("it is too long"), Ok)?;
        rest = after;
    }
    Ok(Duration::from_millis(millis))
}

fn time_unit(unit: &str) -> Result<u64, AmountError> {
    if unit.is_empty() {
        return wrong("it lacks a unit");
    }
    if unit == "M" {
        return wrong("M may be minutes or months: write m for minutes, 30d for a month");
    }
    let lower = unit.to_ascii_lowercase();
    let is = |names: &[&str]| names.contains(&lower.as_str());
    if is(&MONTHS) || lower == "mo" {
        return wrong("months differ in length: write days, such as 30d");
    }
    if is(&YEARS) {
        return Ok(365 * DAY);
    }
    let found = TIMES.iter().find(|(names, _)| is(names));
    found.map_or_else(|| wrong(format!("{unit:?} is no unit of time")), |(_, millis)| Ok(*millis))
}

/// Reads a size: `1000000`, `1_000_000`, `10GB` (of 1000 MB), `1.5GiB` (of 1024 MiB). A letter alone is
/// refused, since programs do not agree on what it means.
///
/// # Errors
/// It is none, or more than 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64, AmountError> {
    let (number, unit, rest) = next(begun(text)?)?;
    let lower = unit.to_ascii_lowercase();
    if let "k" | "m" | "g" | "t" | "p" = lower.as_str() {
        let big = lower.to_ascii_uppercase();
        return wrong(format!("write {big}B for the decimal unit or {big}iB for the binary one"));
    }
    let found = SIZES.iter().find(|(names, _)| names.contains(&lower.as_str()));
    let Some((_, factor)) = found else { return wrong(format!("{unit:?} is no unit of size")) };
    if !rest.is_empty() {
        return wrong("it is more than one number");
    }
    if *factor == 1 && number.has_fraction() {
        return wrong("there are no parts of a byte");
    }
    number.times(*factor).map_or_else(|| wrong("it is too much"), Ok)
}

/// Reads a whole number without a unit: `1000000` or `1_000_000`.
///
/// # Errors
/// It is none, or more than 64 bits hold.
pub fn parse_count(text: &str) -> Result<u64, AmountError> {
    let (number, unit, rest) = next(begun(text)?)?;
    if !unit.is_empty() || !rest.is_empty() || number.has_fraction() {
        return wrong("it is no whole number");
    }
    number.times(1).map_or_else(|| wrong("it is too much"), Ok)
}

/// What every amount begins with.
fn begun(text: &str) -> Result<&str, AmountError> {
    let text = text.trim();
    if text.is_empty() {
        return wrong("it is empty");
    }
    if text.starts_with(['-', '\u{2212}']) {
        return wrong("it is negative");
    }
    Ok(text)
}

/// A decimal number: its digits as one number, and how many of them stand behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    digits: u128,
    behind: u32,
}

impl Decimal {
    /// Digits that count: enough for 64 bits and as many behind the point.
    const DIGITS_MAX: usize = 24;

    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        if text.contains('.') && part.is_empty() {
            return None;
        }
        // Like the numbers of TOML: `_` stands between two digits.
        for digits in [whole, part] {
            if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
                return None;
            }
        }
        let plain = format!("{whole}{part}").replace('_', "");
        let behind = part.bytes().filter(|byte| *byte != b'_').count();
        let right = !whole.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
        if !right || behind > Self::DIGITS_MAX {
            return None;
        }
        // What has more digits is too much for anybody; `times` says so.
        let digits = if plain.trim_start_matches('0').len() > 2 * Self::DIGITS_MAX - 10 {
            u128::MAX
        } else {
            plain.parse().ok()?
        };
        Some(Self { digits, behind: u32::try_from(behind).ok()? })
    }

    fn has_fraction(self) -> bool {
        let unit = 10_u128.pow(self.behind);
        !self.digits.is_multiple_of(unit)
    }

    /// So many units, rounded; none where it is more than 64 bits hold.
    fn times(self, unit: u64) -> Option<u64> {
        let product = self.digits.checked_mul(u128::from(unit))?;
        let behind = 10_u128.pow(self.behind);
        u64::try_from(product.checked_add(behind / 2)? / behind).ok()
    }
}

/// The next number, its unit, and what follows.
fn next(text: &str) -> Result<(Decimal, &str, &str), AmountError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_');
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    if number.is_empty() {
        return wrong(if rest.starts_with('-') { "it is negative" } else { "it is no number" });
    }
    if rest.starts_with(',') {
        return wrong(
            "a comma is no decimal point: write 1.5 for one and a half, 1_000 for a thousand",
        );
    }
    let Some(number) = Decimal::parse(number) else { return wrong("it is no number") };
    let rest = rest.trim_start();
    let end = rest.find(|c: char| c.is_ascii_digit() || c.is_whitespace() || "-.,+_".contains(c));
    let (unit, rest) = rest.split_at(end.unwrap_or(rest.len()));
    Ok((number, unit, rest.trim_start()))
}

/// A number that is read back as the same, with `_` between thousands.
pub fn exact_count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            shown.push('_');
        }
        shown.push(digit);
    }
    shown
}

/// A size that is read back as the same: in the largest unit of which it is a whole number.
pub fn exact_size(bytes: u64) -> impl fmt::Display {
    let units = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, bits)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    unit.map_or_else(|| format!("{bytes} B"), |(unit, bits)| format!("{}{unit}", bytes >> bits))
}

/// A duration as it is read back, down to milliseconds: `90days`, `1day 2h 30m`, `500ms`, `0s`.
pub fn exact_duration(time: Duration) -> impl fmt::Display {
    let units = [("days", DAY), ("h", 60 * MINUTE), ("m", MINUTE), ("s", 1000), ("ms", 1)];
    let mut rest = time.as_millis();
    let mut parts = Vec::new();
    for (unit, millis) in units {
        let count = rest / u128::from(millis);
        rest %= u128::from(millis);
        match (count, unit) {
            (0, _) => {}
            (1, "days") => parts.push("1day".to_owned()),
            _ => parts.push(format!("{count}{unit}")),
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// A size in three digits or so, for people: `1.2 GB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn show_size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut amount, mut shown) = (bytes as f64, None);
    for unit in units {
        // What would be rounded to 1000 is one of the next unit.
        if amount < 999.95 {
            break;
        }
        amount /= 1000.0;
        shown = Some(unit);
    }
    shown.map_or_else(|| format!("{bytes} B"), |unit| format!("{amount:.1} {unit}"))
}

/// A duration in its two largest units, for people: `3d 4h`, `5m 2s`, `12s`.
pub fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (size, unit) in units {
        if !parts.is_empty() || rest >= size {
            parts.push((rest / size, unit));
        }
        rest %= size;
    }
    let shown = parts.iter().take(2).filter(|(count, _)| *count > 0);
    let shown: Vec<String> = shown.map(|(count, unit)| format!("{count}{unit}")).collect();
    if shown.is_empty() { "0s".to_owned() } else { shown.join(" ") }
}

/// How long ago, in ten characters: `now`, `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`.
pub fn show_age(age: Duration) -> String {
    match age.as_secs() {
        0 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// A number and what it counts: `1 call`, `2 calls`, `0 calls`. The noun is one whose plural has an s.
pub fn counted(count: impl TryInto<u64>, one: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// The verb that goes with a number: `1 was`, `2 were`.
pub fn was(count: impl TryInto<u64>) -> &'static str {
    if count.try_into().is_ok_and(|count| count == 1) { "was" } else { "were" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("1m", 60_000),
            ("1 min", 60_000),
            ("90m", 5_400_000),
            ("1h", 3_600_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("  2d ", 172_800_000),
            ("1D", 86_400_000),
            ("1DAY 6h", 108_000_000),
            ("1 week", 604_800_000),
            ("2 Weeks", 1_209_600_000),
            ("0.5h", 1_800_000),
            ("1.5 d", 129_600_000),
            ("1_000s", 1_000_000),
            ("1year", 31_536_000_000),
            ("90days", 7_776_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text:?}");
        }
        for (text, says) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("90", "it lacks a unit"),
            ("1h 30", "it lacks a unit"),
            ("-1h", "it is negative"),
            ("\u{2212}1h", "it is negative"),
            ("1h -5m", "it is negative"),
            ("1M", "M may be minutes or months: write m for minutes, 30d for a month"),
            ("1 month", "months differ in length: write days, such as 30d"),
            ("1,5h", "a comma is no decimal point"),
            ("1x", "\"x\" is no unit of time"),
            ("10GB", "\"GB\" is no unit of time"),
            ("soon", "it is no number"),
            ("+1h", "it is no number"),
            ("1.h", "it is no number"),
            (".5h", "it is no number"),
            ("1.2.3h", "it is no number"),
            ("_1h", "it is no number"),
            ("1__0h", "it is no number"),
            ("1e3s", "\"e\" is no unit of time"),
            ("99999999999999999999d", "it is too long"),
            ("18446744073709551615ms 1ms", "it is too long"),
            (&"9".repeat(4000), "it lacks a unit"),
            (&("9".repeat(4000) + "d"), "it is too long"),
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.starts_with(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1000000", 1_000_000),
            ("1_000_000", 1_000_000),
            ("10GB", 10_000_000_000),
            ("10 gb", 10_000_000_000),
            ("512MiB", 536_870_912),
            ("512 mib", 536_870_912),
            ("1.5GB", 1_500_000_000),
            ("0.5KiB", 512),
            ("1.0", 1),
            ("12 bytes", 12),
            ("7B", 7),
            ("1TiB", 1 << 40),
            (" 64MiB ", 64 << 20),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text:?}");
        }
        for (text, says) in [
            ("", "it is empty"),
            ("-1", "it is negative"),
            ("-1GB", "it is negative"),
            ("10G", "write GB for the decimal unit or GiB for the binary one"),
            ("1M", "write MB"),
            ("1,5GB", "a comma is no decimal point"),
            ("1.5", "there are no parts of a byte"),
            ("0.3B", "there are no parts of a byte"),
            ("10XB", "\"XB\" is no unit of size"),
            ("1h", "\"h\" is no unit of size"),
            ("GB", "it is no number"),
            ("1GB 5MB", "it is more than one number"),
            ("18446744073709551616", "it is too much"),
            ("20000PiB", "it is too much"),
            ("1e9", "\"e\" is no unit of size"),
            ("much", "it is no number"),
        ] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.starts_with(says), "{text:?}: {error}");
        }
        assert_eq!(parse_count("1_000"), Ok(1000));
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1_000"), (20_261_101, "20_261_101")]
        {
            assert_eq!(exact_count(number), shown);
            assert_eq!(parse_count(shown), Ok(number));
        }
        for junk in ["", "-1", "1.5", "1k", "1 2", "1_", "18446744073709551616"] {
            assert!(parse_count(junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn amounts_are_shown_in_few_characters() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_999, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(show_size(bytes), shown);
        }
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3600, "1h"),
            (3661, "1h 1m"),
            (90_000, "1d 1h"),
            (86_400 * 400, "400d"),
        ] {
            assert_eq!(short_duration(Duration::from_secs(seconds)), shown);
        }
        for (seconds, shown) in [
            (0, "now"),
            (1, "1 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3599, "59 min ago"),
            (7200, "2 h ago"),
            (86_400, "1 d ago"),
        ] {
            assert_eq!(show_age(Duration::from_secs(seconds)), shown);
        }
        assert_eq!([0_u64, 1, 2].map(|n| counted(n, "call")), ["0 calls", "1 call", "2 calls"]);
        assert_eq!([0_u64, 1, 2].map(was), ["were", "was", "were"]);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,24}", digits in "[0-9._ a-zA-Z-]{0,40}") {
            for text in [text, digits] {
                let _either_way = (parse_duration(&text), parse_size(&text), parse_count(&text));
            }
        }

        #[test]
        fn an_exact_size_is_read_back(bytes in any::<u64>(), bits in 0..50_u32) {
            for bytes in [bytes, bytes >> bits << bits, (bytes & 1023) << bits] {
                prop_assert_eq!(parse_size(&exact_size(bytes).to_string()), Ok(bytes));
            }
        }

        #[test]
        fn an_exact_duration_is_read_back(millis in any::<u64>(), bits in 0..60_u32, days in 0..100_000_u64) {
            for millis in [millis, millis >> bits, days * DAY, days * DAY + (millis >> 40)] {
                let time = Duration::from_millis(millis);
                prop_assert_eq!(parse_duration(&exact_duration(time).to_string()), Ok(time));
            }
        }
    }
}
