//! Sizes and times on the command line. clap names the flag and quotes the value.

use std::time::Duration;

use crate::clock;
use crate::domain::{DURATION_HINT, SIZE_HINT, parse_count, parse_duration, parse_size};
use crate::wire::{When, parse_when};

/// How long a token may last.
const EXPIRES_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// A number of bytes, such as 64MiB.
pub(super) fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|why| format!("{why}; {SIZE_HINT}"))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|why| format!("{why}; {DURATION_HINT}"))
}

/// How many calls are shown.
pub(super) fn limit(text: &str) -> Result<u32, String> {
    count(text, 10_000, "a number of calls from 1 to 10000, such as 50")
}

/// How many backups are kept.
pub(super) fn backups(text: &str) -> Result<u16, String> {
    count(text, u64::from(u16::MAX), "a number of backups from 1 to 65535, such as 14")
}

fn count<N: TryFrom<u64>>(text: &str, most: u64, expected: &str) -> Result<N, String> {
    let number = parse_count(text).ok().filter(|number| (1..=most).contains(number));
    number.and_then(|number| N::try_from(number).ok()).ok_or_else(|| format!("expected {expected}"))
}

/// How long it is from now to a time that is still to come.
pub(super) fn expiry(text: &str) -> Result<Duration, String> {
    let now = clock::now();
    let then = parse_when(text, now, When::Ahead)?;
    let left = Duration::from_millis(then.millis().saturating_sub(now.millis()));
    match left {
        Duration::ZERO => Err("that is in the past; expected a later time".to_owned()),
        left if left < Duration::from_secs(1) => Err("expected 1s at least".to_owned()),
        left if left > EXPIRES_MAX => Err("expected 100years at most".to_owned()),
        left => Ok(left),
    }
}
