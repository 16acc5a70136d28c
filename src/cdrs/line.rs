//! `InfluxDB`'s line protocol: `measurement,tag=value field=value,field="text" time`.
//!
//! Read as `InfluxDB` 1.x reads it, and a little beyond: SBCs write the bare word `undefined` for a field
//! that they do not know, which is no value at all. A line that cannot be read costs no other.

use std::borrow::Cow;

/// Tags and fields of a line. Far more than are kept of a call: what is too much is left out of it.
const PAIRS_MAX: usize = 4096;
/// Bytes of a measurement or a key.
const NAME_BYTES_MAX: usize = 4096;
/// Lines of one body that go over a line end and cannot be read. After as many, each line end ends a line.
const BROKEN_MAX: usize = 16;
/// Bytes of a line that an error shows.
const SHOWN_BYTES: usize = 256;

/// A line that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    pub measurement: Cow<'a, str>,
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Those that have a value.
    pub fields: Vec<(Cow<'a, str>, Value<'a>)>,
    /// In units of the request's precision.
    pub time: Option<i64>,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("missing measurement")]
    NoMeasurement,
    #[error("missing tag key")]
    NoTagKey,
    #[error("missing tag value")]
    NoTagValue,
    #[error("missing fields")]
    NoFields,
    #[error("missing field key")]
    NoFieldKey,
    #[error("missing field value")]
    NoFieldValue,
    #[error("unbalanced quotes")]
    Quotes,
    #[error("invalid field format")]
    FieldFormat,
    #[error("invalid number")]
    Number,
    #[error("bad timestamp")]
    Time,
    #[error("more than {PAIRS_MAX} tags and fields")]
    Pairs,
    #[error("a name of more than {NAME_BYTES_MAX} bytes")]
    Name,
}

/// The unit of a request's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

impl Precision {
    /// That of the parameter `precision`; nanoseconds where it is empty.
    pub fn read(text: &str) -> Option<Self> {
        Some(match text {
            "" | "n" | "ns" => Self::Nanoseconds,
            "u" | "us" | "µ" => Self::Microseconds,
            "ms" => Self::Milliseconds,
            "s" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            _ => return None,
        })
    }

    /// So many of these units since 1970, in nanoseconds.
    pub fn nanoseconds(self, units: i64) -> i128 {
        let unit: i128 = match self {
            Self::Nanoseconds => 1,
            Self::Microseconds => 1000,
            Self::Milliseconds => 1_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Minutes => 60_000_000_000,
            Self::Hours => 3_600_000_000_000,
        };
        i128::from(units) * unit
    }
}

/// The lines of a body, comments and empty ones left out. One whose quote does not end costs itself alone: what goes over a
/// line end and cannot be read ends there.
pub fn lines(body: &str) -> impl Iterator<Item = &str> {
    let mut rest = body.trim_start_matches('\u{feff}');
    let mut broken = 0;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\r', '\n', '\0']);
            if rest.is_empty() {
                return None;
            }
            let first = rest.find('\n').unwrap_or(rest.len());
            let whole = if broken < BROKEN_MAX { line_end(rest) } else { first };
            let is_right = whole <= first || rest.get(..whole).is_some_and(is_line);
            broken += usize::from(!is_right);
            let end = if is_right { whole } else { first };
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            rest = after;
            if !line.starts_with('#') {
                return Some(line.trim_end_matches('\r'));
            }
        }
    })
}

/// Where a line ends: at a line end that is in no quoted value of a field. A quote within the tags is a
/// character like any other.
fn line_end(text: &str) -> usize {
    if text.starts_with('#') {
        return text.find('\n').unwrap_or(text.len());
    }
    let bytes = text.as_bytes();
    let (mut in_fields, mut quoted) = (false, false);
    let (mut equals, mut commas) = (0_usize, 0_usize);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quoted || bytes.get(at + 1) != Some(&b'\n') => {
                at += 2;
                continue;
            }
            b' ' if !in_fields => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

fn is_line(text: &str) -> bool {
    Line::read(text.trim_end_matches('\r')).is_ok()
}

/// A line as an error shows it.
pub(super) fn shown(line: &str) -> &str {
    line.get(..line.floor_char_boundary(SHOWN_BYTES)).unwrap_or_default()
}

impl<'a> Line<'a> {
    /// The measurement alone, of a line that need not be right otherwise.
    pub fn measurement_of(line: &'a str) -> Result<Cow<'a, str>, LineError> {
        let (name, _) = until(line, b", ");
        if name.is_empty() {
            return Err(LineError::NoMeasurement);
        }
        name_of(name)
    }

    pub fn read(line: &'a str) -> Result<Self, LineError> {
        let measurement = Self::measurement_of(line)?;
        let (_, mut rest) = until(line, b", ");
        let mut tags = Vec::new();
        while let Some(after) = rest.strip_prefix(',') {
            let (key, value) = until(after, b",= ");
            let value = value.strip_prefix('=').ok_or(LineError::NoTagValue)?;
            if key.is_empty() {
                return Err(LineError::NoTagKey);
            }
            let (value, after) = until(value, b", =");
            if value.is_empty() || after.starts_with('=') {
                return Err(LineError::NoTagValue);
            }
            if tags.len() == PAIRS_MAX {
                return Err(LineError::Pairs);
            }
            // A value that is too large for a call is left out of it.
            tags.push((name_of(key)?, unescaped(value, b",= ")));
            rest = after;
        }
        let (fields, rest) = fields(rest.trim_start_matches(' '), PAIRS_MAX - tags.len())?;
        let rest = rest.trim_matches(' ');
        let time = match rest {
            "" => None,
            digits => Some(digits.parse().map_err(|_| LineError::Time)?),
        };
        Ok(Self { measurement, tags, fields, time })
    }
}

/// A field: its key and its value.
type Pair<'a> = (Cow<'a, str>, Value<'a>);

/// The fields that a text begins with, and what follows them.
fn fields(mut rest: &str, most: usize) -> Result<(Vec<Pair<'_>>, &str), LineError> {
    let mut fields = Vec::new();
    let mut seen = 0;
    loop {
        if rest.is_empty() {
            let error = if seen == 0 { LineError::NoFields } else { LineError::NoFieldKey };
            return Err(error);
        }
        let (key, after) = until(rest, b"=, ");
        let after = after.strip_prefix('=').ok_or(LineError::FieldFormat)?;
        if key.is_empty() {
            return Err(LineError::NoFieldKey);
        }
        seen += 1;
        if seen > most {
            return Err(LineError::Pairs);
        }
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            let (text, after) = quoted_text(quoted).ok_or(LineError::Quotes)?;
            (Some(Value::Text(text)), after)
        } else {
            let end = after.find([',', ' ']).unwrap_or(after.len());
            let (word, after) = after.split_at_checked(end).unwrap_or((after, ""));
            if word.is_empty() {
                return Err(LineError::NoFieldValue);
            }
            (bare(word)?, after)
        };
        fields.extend(value.map(|value| name_of(key).map(|key| (key, value))).transpose()?);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() || after.starts_with(' ') => return Ok((fields, after)),
            None => return Err(LineError::FieldFormat),
        }
    }
}

/// The text up to a quote that ends it, and what follows the quote.
fn quoted_text(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let bytes = text.as_bytes();
    let (mut at, mut escapes) = (0, false);
    loop {
        match bytes.get(at)? {
            b'"' => break,
            b'\\' if matches!(bytes.get(at + 1), Some(b'"' | b'\\')) => {
                escapes = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
    let (inside, after) = (text.get(..at)?, text.get(at + 1..)?);
    let inside = if escapes { unescaped(inside, b"\"\\") } else { Cow::Borrowed(inside) };
    Some((inside, after))
}

/// A value that is not in quotes; none where it stands for no value.
fn bare(word: &str) -> Result<Option<Value<'_>>, LineError> {
    let value = match word {
        "t" | "T" | "true" | "True" | "TRUE" => Value::Boolean(true),
        "f" | "F" | "false" | "False" | "FALSE" => Value::Boolean(false),
        "undefined" | "null" | "NaN" => return Ok(None),
        _ => {
            let digits = word.strip_suffix(['i', 'u']);
            if let Some(digits) = digits {
                Value::Integer(digits.parse().map_err(|_| LineError::Number)?)
            } else if let Ok(integer) = word.parse() {
                Value::Integer(integer)
            } else {
                let begins = word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
                let float = word.parse::<f64>().ok().filter(|float| begins && float.is_finite());
                Value::Float(float.ok_or(LineError::Number)?)
            }
        }
    };
    Ok(Some(value))
}

/// What stands before the first of these bytes that is not escaped, and the rest from there on.
fn until<'a>(text: &'a str, ends: &[u8]) -> (&'a str, &'a str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' && bytes.get(at + 1).is_some_and(|next| b",= ".contains(next)) {
            at += 2;
            continue;
        }
        if ends.contains(byte) {
            break;
        }
        at += 1;
    }
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// A measurement or a key.
fn name_of(text: &str) -> Result<Cow<'_, str>, LineError> {
    if text.len() > NAME_BYTES_MAX {
        return Err(LineError::Name);
    }
    Ok(unescaped(text, b",= "))
}

/// A text without the backslashes before these characters.
fn unescaped<'a>(text: &'a str, escaped: &[u8]) -> Cow<'a, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_escape = |next: &char| u8::try_from(*next).is_ok_and(|next| escaped.contains(&next));
        if c == '\\'
            && let Some(next) = rest.next_if(is_escape)
        {
            out.push(next);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Line<'_> {
        Line::read(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn tag<'a>(line: &'a Line<'_>, key: &str) -> Option<&'a str> {
        line.tags.iter().find(|(name, _)| name == key).map(|(_, value)| &**value)
    }

    fn field<'a>(line: &'a Line<'_>, key: &str) -> Option<&'a Value<'a>> {
        line.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    #[test]
    fn a_line_is_read_as_influxdb_reads_it() {
        let line = read(
            r#"cd\ rs,host=198.51.100.7:5060,trunk=Carrier\,\ "A"\ \=\ 1,x\ y=\a a="b, c=d \"e\" \\f",n=12,i=-3i,f=1.5e2,yes=T,no=false,none=undefined 1795849200123829690"#,
        );
        assert_eq!(line.measurement, "cd rs");
        assert_eq!(tag(&line, "trunk"), Some("Carrier, \"A\" = 1"));
        assert_eq!(
            (tag(&line, "x y"), tag(&line, "host")),
            (Some("\\a"), Some("198.51.100.7:5060"))
        );
        let text = Value::Text("b, c=d \"e\" \\f".into());
        assert_eq!(field(&line, "a"), Some(&text));
        assert_eq!(field(&line, "n"), Some(&Value::Integer(12)));
        assert_eq!(field(&line, "i"), Some(&Value::Integer(-3)));
        assert_eq!(field(&line, "f"), Some(&Value::Float(150.0)));
        assert_eq!(field(&line, "yes"), Some(&Value::Boolean(true)));
        assert_eq!(field(&line, "no"), Some(&Value::Boolean(false)));
        assert_eq!(field(&line, "none"), None);
        assert_eq!(line.time, Some(1_795_849_200_123_829_690));
        assert_eq!(read("m a=1").time, None);
        assert_eq!(read("m a=undefined 5").fields, []);
        assert_eq!(read("m   a=1   7 ").time, Some(7));
    }

    #[test]
    fn lines_end_outside_of_quotes_alone() {
        let body = "# a comment \"\nm,t=\"a b=\"x\ny\",c=1 5\r\n\n  n a=1\nm,t=\" a=2\n\\";
        let all: Vec<_> = lines(body).collect();
        assert_eq!(all, ["m,t=\"a b=\"x\ny\",c=1 5", "n a=1", "m,t=\" a=2", "\\"]);
        assert_eq!(field(&read(all[0]), "b"), Some(&Value::Text("x\ny".into())));
        assert_eq!(tag(&read(all[2]), "t"), Some("\""));
        assert_eq!(lines("").count(), 0);
        // A quote that does not end takes no other line with it, nor do two, and a backslash none but in quotes.
        let good = "n b=\"y\",c=\"1\" 5";
        let body =
            format!("m a=\"x\n{good}\nm a=\"x\n{good}\nk a=1\\\no,t=u\\\np b=\"\\\n\",c=\"\n\" 3");
        let all: Vec<_> = lines(&body).collect();
        let expected =
            ["m a=\"x", good, "m a=\"x", good, "k a=1\\", "o,t=u\\", "p b=\"\\\n\",c=\"\n\" 3"];
        assert_eq!(all, expected);
        // They are not looked for without end.
        let body = format!("m a=\"x\n{good}\n").repeat(BROKEN_MAX + 3) + "n b=\"y\nz\"";
        assert_eq!(lines(&body).filter(|line| *line == good).count(), BROKEN_MAX + 3);
        assert_eq!(lines("\u{feff}m a=1").next(), Some("m a=1"));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let many = format!("m {}", vec!["a=1"; PAIRS_MAX + 1].join(","));
        let long = format!("m,{}=1 a=1", "x".repeat(NAME_BYTES_MAX + 1));
        for (line, expected) in [
            (",a=1 b=1", LineError::NoMeasurement),
            (" a=1", LineError::NoMeasurement),
            ("m,=1 a=1", LineError::NoTagKey),
            ("m,t a=1", LineError::NoTagValue),
            ("m,t= a=1", LineError::NoTagValue),
            ("m,t=a=b a=1", LineError::NoTagValue),
            ("m", LineError::NoFields),
            ("m ", LineError::NoFields),
            ("m,t=1", LineError::NoFields),
            ("m =1", LineError::NoFieldKey),
            ("m a=1,", LineError::NoFieldKey),
            ("m a", LineError::FieldFormat),
            ("m a=", LineError::NoFieldValue),
            ("m a=\"x", LineError::Quotes),
            ("m a=\"x\"y", LineError::FieldFormat),
            ("m a=x", LineError::Number),
            ("m a=inf", LineError::Number),
            ("m a=1e999", LineError::Number),
            ("m a=99999999999999999999i", LineError::Number),
            ("m a=1 x", LineError::Time),
            ("m a=1 1 2", LineError::Time),
            (&many, LineError::Pairs),
            (&long, LineError::Name),
        ] {
            assert_eq!(Line::read(line), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn times_are_in_the_units_of_the_request() {
        for (text, one) in [
            ("", 1),
            ("n", 1),
            ("ns", 1),
            ("u", 1000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ] {
            assert_eq!(Precision::read(text).unwrap().nanoseconds(1), one, "{text}");
        }
        assert_eq!(Precision::read("d"), None);
    }
}
