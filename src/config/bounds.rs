//! Reading and writing of single values: whole numbers and durations within bounds, and texts
//! that may be empty. The bounds stand at the fields, as const parameters.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, Unexpected, Visitor};

use crate::domain::{exact_size, parse_size};

/// Bytes.
pub const KIB: u64 = 1024;
/// Bytes.
pub const MIB: u64 = 1024 * KIB;
/// Bytes.
pub const GIB: u64 = 1024 * MIB;
/// Milliseconds.
pub const MINUTE_MS: u64 = 60_000;
/// Milliseconds.
pub const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// Reads a whole number from `MIN` to `MAX`, both included.
pub fn whole<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_u64(WholeNumber::<T, MIN, MAX>(PhantomData))
}

struct WholeNumber<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> Visitor<'_> for WholeNumber<T, MIN, MAX> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        if (MIN..=MAX).contains(&number)
            && let Ok(number) = T::try_from(number)
        {
            return Ok(number);
        }
        Err(E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

/// Reads a size from `MIN` to `MAX` bytes, both included: a whole number of bytes, or a text such as
/// "512MiB".
pub fn size<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    deserializer.deserialize_any(Size::<T, MIN, MAX>(PhantomData))
}

struct Size<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> Visitor<'_> for Size<T, MIN, MAX> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (least, most) = (exact_size(MIN), exact_size(MAX));
        let within = |text: &&str| parse_size(text).is_ok_and(|bytes| (MIN..=MAX).contains(&bytes));
        let example = ["10GB", "512MiB", "64MiB", "1MiB"].into_iter().find(within);
        let example = example.map_or_else(|| least.to_string(), str::to_owned);
        write!(
            formatter,
            "a size from {least} to {most}, such as \"{example}\" or a number of bytes"
        )
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<T, E> {
        if (MIN..=MAX).contains(&bytes)
            && let Ok(bytes) = T::try_from(bytes)
        {
            return Ok(bytes);
        }
        Err(E::invalid_value(Unexpected::Unsigned(bytes), &self))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<T, E> {
        match u64::try_from(bytes) {
            Ok(bytes) => self.visit_u64(bytes),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(bytes), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        match parse_size(text) {
            Ok(bytes) if (MIN..=MAX).contains(&bytes) => {
                let wrong = || E::invalid_value(Unexpected::Str(text), &Self(PhantomData));
                T::try_from(bytes).map_err(|_| wrong())
            }
            Ok(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
            Err(why) => Err(refused(text, &why, &self)),
        }
    }
}

/// The refusal of a text, with the reason.
fn refused<E: de::Error>(text: &str, why: &dyn fmt::Display, expected: &dyn de::Expected) -> E {
    E::custom(format!("invalid value: string {text:?}: {why}; expected {expected}"))
}

/// Durations, written as people do: "30s", "12h", "1day 6h".
pub mod span {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{self, Deserializer, Unexpected, Visitor};
    use serde::ser::Serializer;

    use crate::domain::parse_duration;

    /// A duration from `MIN_MS` to `MAX_MS` milliseconds, both included.
    pub struct Between<const MIN_MS: u64, const MAX_MS: u64>;

    impl<const MIN_MS: u64, const MAX_MS: u64> Between<MIN_MS, MAX_MS> {
        /// Reads such a duration.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Duration, D::Error> {
            deserializer.deserialize_str(Self)
        }

        /// Writes a duration.
        pub fn serialize<S: Serializer>(
            duration: &Duration,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&DurationText(*duration))
        }
    }

    /// A duration in days and what is below; `humantime` by itself goes on to months of 30.44
    /// days, which nobody wrote.
    struct DurationText(Duration);

    impl fmt::Display for DurationText {
        fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            let days = self.0.as_secs() / 86_400;
            let rest = self.0.saturating_sub(Duration::from_secs(days * 86_400));
            match days {
                0 => return humantime::format_duration(rest).fmt(formatter),
                1 => formatter.write_str("1day")?,
                _ => write!(formatter, "{days}days")?,
            }
            if rest.is_zero() {
                return Ok(());
            }
            write!(formatter, " {}", humantime::format_duration(rest))
        }
    }

    impl<const MIN_MS: u64, const MAX_MS: u64> Visitor<'_> for Between<MIN_MS, MAX_MS> {
        type Value = Duration;

        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            let least = DurationText(Duration::from_millis(MIN_MS));
            let most = DurationText(Duration::from_millis(MAX_MS));
            write!(formatter, "a duration from {least} to {most}, such as \"90s\" or \"1h 30m\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            let bounds = Duration::from_millis(MIN_MS)..=Duration::from_millis(MAX_MS);
            match parse_duration(text) {
                Ok(duration) if bounds.contains(&duration) => Ok(duration),
                Ok(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
                Err(why) => Err(super::refused(text, &why, &self)),
            }
        }
    }
}

/// Durations from a millisecond to a hundred years, where "" stands for none.
pub mod optional_span {
    use std::time::Duration;

    use serde::de::value::StrDeserializer;
    use serde::de::{Deserialize, Deserializer};
    use serde::{Serialize, Serializer};

    use super::{DAY_MS, span};

    type Allowed = span::Between<1, { 36_500 * DAY_MS }>;

    /// Reads "" as `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        Allowed::deserialize(StrDeserializer::new(&text)).map(Some)
    }

    /// Writes `None` as "".
    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => Allowed::serialize(duration, serializer),
            None => "".serialize(serializer),
        }
    }
}

/// Texts where "" stands for none.
pub mod optional {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::{Serialize, Serializer};

    /// Reads "" as `None`, any other text with `T`'s `FromStr`.
    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(D::Error::custom)
    }

    /// Writes `None` as "".
    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub fn serialize<S: Serializer, T: Display>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => "".serialize(serializer),
        }
    }
}

/// Paths where "" stands for none.
pub mod optional_path {
    use std::path::PathBuf;

    use serde::de::{Deserialize, Deserializer};
    use serde::{Serialize, Serializer};

    /// Reads "" as `None`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
    }

    /// Writes `None` as "".
    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => path.serialize(serializer),
            None => "".serialize(serializer),
        }
    }
}

/// Reads a list of at most `MAX` values.
pub fn few<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: de::Deserialize<'de>,
{
    let list = <Vec<T> as de::Deserialize>::deserialize(deserializer)?;
    if list.len() > MAX {
        let expected = format!("at most {MAX} values");
        return Err(de::Error::invalid_length(list.len(), &expected.as_str()));
    }
    Ok(list)
}

/// Reads a path that must not be empty.
pub fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<std::path::PathBuf, D::Error> {
    match optional_path::deserialize(deserializer)? {
        Some(path) => Ok(path),
        None => Err(de::Error::invalid_value(Unexpected::Str(""), &"a path")),
    }
}
