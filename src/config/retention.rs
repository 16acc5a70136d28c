//! How long things are kept, in words: a duration is easily written wrong, and deleted calls do not come
//! back.

use std::time::Duration;

use super::Config;
use crate::domain::{exact_size, show_size};
use crate::wire::show_duration;

/// Calls are kept for less only with `retention.allow_short`.
pub const SHORT: Duration = Duration::from_hours(24);

impl Config {
    /// How long calls are kept.
    pub fn keeps(&self) -> String {
        let retention = &self.retention;
        let age = match retention.age {
            Some(age) => format!("for {} after they were listed", show_duration(age)),
            None => "for good".to_owned(),
        };
        match retention.bytes {
            0 => format!("calls are kept {age} (retention.age)"),
            bytes => format!(
                "calls are kept {age} (retention.age), as long as the store fits into {} \
                 (retention.bytes)",
                show_bytes(bytes)
            ),
        }
    }

    /// All durations that decide how long something is kept, with their keys.
    pub fn durations(&self) -> Vec<String> {
        let Self { retention, calls, list, .. } = self;
        let window = list.window.map_or_else(
            || "every call is in the plain list (list.window)".to_owned(),
            |window| {
                let window = show_duration(window);
                format!("a call is in the plain list for {window} after its end (list.window)")
            },
        );
        vec![
            self.keeps(),
            format!(
                "every version of a call is kept for {} (retention.history)",
                show_duration(retention.history)
            ),
            format!(
                "a deleted call has left the disk within {} (retention.erase_within)",
                show_duration(retention.erase_within)
            ),
            format!(
                "a call without an event is stale after {} (calls.max_lifetime)",
                show_duration(calls.max_lifetime)
            ),
            window,
        ]
    }
}

/// A limit as people write it: `10 GB`, `64MiB`; rounded where no unit fits.
fn show_bytes(bytes: u64) -> String {
    let units = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    let decimal = units.into_iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    match decimal {
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None if bytes.is_multiple_of(1024) => exact_size(bytes).to_string(),
        None => show_size(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{ConfigError, Settings};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        let text = format!("[retention]\n{text}\n");
        Config::parse(Path::new("c.toml"), &text, &Settings::default())
    }

    #[test]
    fn an_age_below_a_day_has_to_be_meant() {
        for (age, words) in [
            ("12m", "12 minutes"),
            ("1s", "1 second"),
            ("23h 59m 59s", "23 hours 59 minutes 59 seconds"),
            ("1ms", "1 millisecond"),
        ] {
            let refused = parse(&format!("age = {age:?}")).unwrap_err().to_string();
            let expected = format!("c.toml:2: retention.age is {words}, ");
            assert!(refused.starts_with(&expected), "{refused}");
            assert!(refused.contains("retention.allow_short = true"), "{refused}");
            let meant = parse(&format!("age = {age:?}\nallow_short = true")).unwrap();
            assert!(meant.keeps().starts_with(&format!("calls are kept for {words} ")));
        }
        for (age, words) in
            [("1day", "1 day"), ("24h", "1 day"), ("1year", "365 days"), ("90days", "90 days")]
        {
            let keeps = parse(&format!("age = {age:?}")).unwrap().keeps();
            assert!(keeps.starts_with(&format!("calls are kept for {words} after")), "{keeps}");
        }
        assert_eq!(parse("").unwrap().keeps(), "calls are kept for good (retention.age)");
        for (bytes, words) in [
            ("1000", "1 kB"),
            ("10_000_000_000", "10 GB"),
            ("'10GB'", "10 GB"),
            ("'1.5GB'", "1500 MB"),
            ("'64MiB'", "64MiB"),
            ("1_234_567", "1.2 MB"),
            ("7", "7 B"),
        ] {
            let bounded = parse(&format!("bytes = {bytes}")).unwrap().keeps();
            let expected = format!("the store fits into {words} (retention.bytes)");
            assert!(bounded.ends_with(&expected), "{bounded}");
        }
    }
}
