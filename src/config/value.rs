//! How a single value is read, checked and written.
//!
//! [`Form`] is data: what a value looks like, and its bounds. [`Setting`] is a type that a value of
//! some form becomes. What is wrong is said with the value and what would be right.

use std::fmt::{Display, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::cdrs::CdrUser;
use super::cluster::{ClusterError, ClusterName, LogServer, LogUser};
use super::net::{AllowedOrigin, ListenAddr, ProxyAddress, ServiceUrlTemplate, SubjectName};
use super::redis::{RedisUrl, RedisUrlError, RedisUser, SentinelAddr, WantedAccounts};
use crate::domain::{
    AccountSid, exact_duration, exact_size, parse_count, parse_duration, parse_size,
};
use crate::outbound::{Base, Network};

/// Characters of a value that are quoted at most.
const QUOTED_MAX: usize = 80;

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;
pub const GIB: u64 = 1024 * MIB;
pub const TIB: u64 = 1024 * GIB;
/// Milliseconds.
pub const SECOND: u64 = 1000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;

/// What a value looks like, and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Count(RangeInclusive<u64>),
    /// Bytes: a whole number, or a text with a unit.
    Size(RangeInclusive<u64>),
    /// A text such as "1h 30m"; the bounds are milliseconds.
    Duration(RangeInclusive<u64>),
    /// Any other text, with what stands for it in the help.
    Text(&'static str),
    /// A list of texts, with what stands for them in the help, and how many it has at most.
    List(&'static str, usize),
    /// A list of tables, and how many it has at most; as a flag or variable it is written as in the file.
    Tables(usize),
}

impl Form {
    /// What stands for the value in the help.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Boolean => "BOOL",
            Self::Count(_) => "N",
            Self::Size(_) => "BYTES",
            Self::Duration(_) => "DURATION",
            Self::Text(name) | Self::List(name, _) => name,
            Self::Tables(_) => "TABLES",
        }
    }

    /// The bounds as a sentence; empty where there are none.
    pub fn bounds(&self) -> String {
        match self {
            Self::Boolean | Self::Text(_) | Self::List(_, usize::MAX) => String::new(),
            Self::Count(range) => format!("From {} to {}.", range.start(), range.end()),
            Self::Size(range) => {
                format!("From {} to {}.", exact_size(*range.start()), exact_size(*range.end()))
            }
            Self::Duration(range) => {
                format!("From \"{}\" to \"{}\".", bound(*range.start()), bound(*range.end()))
            }
            Self::List(_, most) | Self::Tables(most) => format!("At most {most}."),
        }
    }

    fn expected(&self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Count(range) => {
                format!("a whole number from {} to {}", range.start(), range.end())
            }
            Self::Size(range) => {
                let within = |text: &&str| parse_size(text).is_ok_and(|size| range.contains(&size));
                let example = ["10GB", "512MiB", "64MiB", "1MiB"].into_iter().find(within);
                let (least, most) = (exact_size(*range.start()), exact_size(*range.end()));
                let example = example.map_or_else(|| least.to_string(), str::to_owned);
                format!("a size from {least} to {most}, such as \"{example}\" or a number of bytes")
            }
            Self::Duration(range) => {
                let (least, most) = (bound(*range.start()), bound(*range.end()));
                format!("a duration from {least} to {most}, such as \"90s\" or \"1h 30m\"")
            }
            Self::Text(_) => "a text in quotes".to_owned(),
            Self::List(..) => "a list, such as [\"a\", \"b\"]".to_owned(),
            Self::Tables(_) => "an array of tables, such as [{ name = \"a\" }]".to_owned(),
        }
    }

    /// The text of a flag or variable as a value. A text that is not of this form stays one, and is
    /// quoted where it is refused.
    pub fn value_of(&self, text: &str) -> Value {
        let as_text = || Value::String(text.to_owned());
        match self {
            Self::Text(_) | Self::Size(_) | Self::Duration(_) => as_text(),
            Self::Count(_) => {
                let number = parse_count(text).ok().and_then(|number| i64::try_from(number).ok());
                number.or_else(|| text.parse().ok()).map_or_else(as_text, Value::Integer)
            }
            Self::Boolean => text.parse().map_or_else(|_| as_text(), Value::Boolean),
            Self::Tables(_) => {
                let file = format!("tables = {text}").parse::<toml::Table>();
                let found = file.ok().filter(|file| file.len() == 1);
                found.and_then(|mut file| file.remove("tables")).unwrap_or_else(as_text)
            }
            Self::List(..) if text.is_empty() => Value::Array(Vec::new()),
            Self::List(..) => {
                let items = text.split(',').map(|item| Value::String(item.trim().to_owned()));
                Value::Array(items.collect())
            }
        }
    }

    fn number(&self, value: &Value) -> Result<u64, Problem> {
        let number = match (self, value) {
            (Self::Count(_) | Self::Size(_), Value::Integer(number)) => u64::try_from(*number).ok(),
            (Self::Size(_), Value::String(text)) => {
                Some(parse_size(text).map_err(|why| self.because(value, &why))?)
            }
            (Self::Duration(_), Value::String(text)) => {
                let duration = parse_duration(text).map_err(|why| self.because(value, &why))?;
                u64::try_from(duration.as_millis()).ok()
            }
            _ => None,
        };
        let within = |number: &u64| match self {
            Self::Count(range) | Self::Size(range) | Self::Duration(range) => {
                range.contains(number)
            }
            _ => false,
        };
        number.filter(within).ok_or_else(|| self.wrong(value))
    }

    fn text<'a>(&self, value: &'a Value) -> Result<&'a str, Problem> {
        value.as_str().ok_or_else(|| self.wrong(value))
    }

    pub fn wrong(&self, value: &Value) -> Problem {
        Problem::found(value, &self.expected())
    }

    fn because(&self, value: &Value, why: &dyn Display) -> Problem {
        Problem::from(format!("found {}: {why}; expected {}", shown(value), self.expected()))
    }
}

/// What is wrong with a value.
#[derive(Debug)]
pub struct Problem {
    pub text: String,
    /// The item, where one of a list is wrong.
    pub item: Option<usize>,
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self { text: one_line(&text), item: None }
    }
}

impl Problem {
    fn found(value: &Value, expected: &str) -> Self {
        Self::from(format!("found {}, expected {expected}", shown(value)))
    }
}

/// A type of which there are values in the configuration.
pub trait Setting: Sized {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem>;
    fn write(&self) -> Value;
}

impl Setting for bool {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        value.as_bool().ok_or_else(|| form.wrong(value))
    }

    fn write(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for u64 {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        form.number(value)
    }

    fn write(&self) -> Value {
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Setting for usize {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        Self::try_from(form.number(value)?).map_err(|_| form.wrong(value))
    }

    fn write(&self) -> Value {
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Setting for Duration {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        form.number(value).map(Self::from_millis)
    }

    fn write(&self) -> Value {
        Value::String(exact_duration(*self).to_string())
    }
}

impl Setting for PathBuf {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        match form.text(value)? {
            "" => Err(Problem::found(value, "a path")),
            path => match crate::fsutil::misread(Path::new(path)) {
                Some(why) => Err(Problem::from(format!("found {}: {why}", shown(value)))),
                None => Ok(Self::from(path)),
            },
        }
    }

    fn write(&self) -> Value {
        Value::String(self.to_string_lossy().into_owned())
    }
}

/// The empty text is `None`.
impl<T: Setting> Setting for Option<T> {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        if value.as_str() == Some("") { Ok(None) } else { T::read(value, form).map(Some) }
    }

    fn write(&self) -> Value {
        self.as_ref().map_or_else(|| Value::String(String::new()), Setting::write)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        let (Form::List(name, most), Value::Array(items)) = (form, value) else {
            return Err(form.wrong(value));
        };
        if items.len() > *most {
            let found = items.len();
            return Err(format!("found {found} values, expected at most {most} values").into());
        }
        let read = |(item, value)| {
            T::read(value, &Form::Text(name))
                .map_err(|problem| Problem { item: Some(item), ..problem })
        };
        items.iter().enumerate().map(read).collect()
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(Setting::write).collect())
    }
}

/// Types that are read with `FromStr`, whose errors quote the text, and written with `Display`.
macro_rules! texts {
    ($($type:ty),*) => { $(
        impl Setting for $type {
            fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
                let text = form.text(value)?;
                text.parse::<Self>().map_err(|error| {
                    let said = error.to_string();
                    let quoted = said.contains(&format!("`{text}`"));
                    if quoted { said.into() } else { format!("found {}: {said}", shown(value)).into() }
                })
            }

            fn write(&self) -> Value {
                Value::String(self.to_string())
            }
        }
    )* };
}

texts!(
    ListenAddr,
    SubjectName,
    ProxyAddress,
    ServiceUrlTemplate,
    AllowedOrigin,
    Base,
    Network,
    AccountSid,
    CdrUser,
    ClusterName,
    LogUser,
    RedisUser,
    SentinelAddr,
    WantedAccounts
);

impl Setting for RedisUrl {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        // What is refused may hold a password: it is not quoted.
        form.text(value)?.parse().map_err(|error: RedisUrlError| error.to_string().into())
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for LogServer {
    fn read(value: &Value, form: &Form) -> Result<Self, Problem> {
        // What is refused may hold a password: it is not quoted.
        form.text(value)?.parse().map_err(|error: ClusterError| error.to_string().into())
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// Enums whose variants are words.
macro_rules! words {
    ($($(#[$attribute:meta])* $name:ident {
        $($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)?
    })*) => { $(
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),* }

        impl $crate::config::value::Setting for $name {
            fn read(
                value: &toml::Value,
                form: &$crate::config::value::Form,
            ) -> Result<Self, $crate::config::value::Problem> {
                $crate::config::value::word(value, form, &[$(($word, Self::$variant)),*])
            }

            fn write(&self) -> toml::Value {
                toml::Value::String(match self { $(Self::$variant => $word),* }.to_owned())
            }
        }
    )* };
}
pub(super) use words;

/// The one of `words` that a value is.
pub fn word<T: Copy>(
    value: &Value,
    form: &Form,
    words: &[(&'static str, T)],
) -> Result<T, Problem> {
    let text = form.text(value)?;
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, found)| *found).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        match words.split_last() {
            Some((last, before)) => {
                Problem::found(value, &format!("{} or {last}", before.join(", ")))
            }
            None => form.wrong(value),
        }
    })
}

fn bound(millis: u64) -> impl Display {
    exact_duration(Duration::from_millis(millis))
}

/// A value as an error quotes it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let mut cut: String = text.chars().take(QUOTED_MAX).collect();
            if cut.len() < text.len() {
                cut.push('…');
            }
            format!("{cut:?}")
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// A text without line ends and other control characters.
pub fn one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if c.is_control() {
            let _infallible = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}
