//! JSON objects whose values stay as they were sent.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::WireError;

/// The byte order mark, which some senders put before JSON (RFC 8259, section 8.1).
const MARK: char = '\u{feff}';

/// The keys of an object in the order in which they were sent, each with the text of its value.
pub(super) struct Object<'a>(pub Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Object<'a> {
    /// The object that a JSON text holds, with a byte order mark before it or without.
    pub fn parse(text: &'a str) -> Result<Self, WireError> {
        let text = text.strip_prefix(MARK).unwrap_or(text);
        serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                WireError::new("", text, "expected a JSON object")
            } else {
                WireError::new("", "", format!("not valid JSON: {error}"))
            }
        })
    }

    /// Whether the object has that key.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(have, _)| have == key)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<(Cow<'de, str>, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((ObjectKey(key), value)) =
                    map.next_entry::<ObjectKey<'de>, &RawValue>()?
                {
                    entries.push((key, value.get()));
                }
                Ok(entries)
            }
        }
        from.deserialize_map(Entries).map(Self)
    }
}

/// A key, borrowed where it has no escapes.
struct ObjectKey<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for ObjectKey<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ObjectText;
        impl<'de> Visitor<'de> for ObjectText {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        from.deserialize_str(ObjectText).map(ObjectKey)
    }
}

/// The events of one request body: an object, an array of objects, or a line each.
pub fn pieces(body: &str, ndjson: bool) -> Result<Vec<&str>, WireError> {
    if ndjson {
        let lines = body.lines().map(|line| line.trim_start_matches(MARK).trim());
        return Ok(lines.filter(|line| !line.is_empty()).collect());
    }
    let body = body.strip_prefix(MARK).unwrap_or(body);
    let broken = |error| WireError::new("", "", format!("not valid JSON: {error}"));
    if body.trim_start().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(body).map_err(broken)?;
        Ok(items.into_iter().map(RawValue::get).collect())
    } else {
        if body.starts_with('{') && body.ends_with('}') {
            // It is read once, by who takes it apart.
            return Ok(vec![body]);
        }
        let one: &RawValue = serde_json::from_str(body).map_err(broken)?;
        Ok(vec![one.get()])
    }
}

/// Digits that every reader takes of a number: more than the largest double has.
const NUMBER_BYTES_MAX: usize = 400;

/// The same JSON without white space between its parts. Every value stays as it was written, but for a
/// number that no double holds or that has too many digits: strict readers refuse the whole answer for
/// it, so it becomes a text (RFC 7493, section 2.2).
pub(super) fn compact(json: &str) -> Box<str> {
    let mut kept = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => {
                let ends = |c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9');
                rest.find(ends).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        let (part, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = after;
        match first {
            ' ' | '\t' | '\n' | '\r' => {}
            '-' | '0'..='9' if !every_reader_takes(part) => {
                kept.push('"');
                kept.push_str(part);
                kept.push('"');
            }
            _ => kept.push_str(part),
        }
    }
    kept.into()
}

/// The bytes of the string that a text begins with, its quotes included.
fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

fn every_reader_takes(number: &str) -> bool {
    number.len() <= NUMBER_BYTES_MAX && number.parse().is_ok_and(f64::is_finite)
}

/// How many objects and arrays stand in one another at the deepest place.
pub(super) fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_keeps_every_value_as_it_was_written() {
        let json = "{ \"a b\" : [ 1.50 , \"x \\\" y\\\\\" , 1e300 ] ,\n\t\"c\":\"\\ud800 \" }";
        assert_eq!(&*compact(json), r#"{"a b":[1.50,"x \" y\\",1e300],"c":"\ud800 "}"#);
        for json in
            ["7", "-0.0", "true", "null", "\"é\\\"\"", "[[],{}]", "1E-400", "{\"1e400\":\"1e400\"}"]
        {
            assert_eq!(&*compact(json), json);
        }
    }

    #[test]
    fn numbers_that_strict_readers_refuse_are_texts() {
        let (long, longest) = ("7".repeat(NUMBER_BYTES_MAX + 1), "7".repeat(300));
        let parts = format!("0.{}", "3".repeat(5000));
        for number in ["1e400", "-1E+99999", "1e309", &long, &parts] {
            assert_eq!(&*compact(number), format!("\"{number}\""));
            let nested = compact(&format!("{{\"a\": [1, {number} ], \"b\":{number}}}"));
            assert_eq!(&*nested, format!("{{\"a\":[1,\"{number}\"],\"b\":\"{number}\"}}"));
            assert!(serde_json::from_str::<serde_json::Value>(&nested).is_ok());
        }
        for number in ["1e308", "-1.7976931348623157e308", &longest] {
            assert_eq!(&*compact(number), number);
        }
    }

    #[test]
    fn nesting_is_counted_outside_strings() {
        assert_eq!(nesting(r#"{"a":[1,"[[[\"{"],"b":{}}"#), 2);
        assert_eq!(nesting("7"), 0);
    }

    #[test]
    fn bodies_are_taken_apart() {
        assert_eq!(pieces("{\"a\":1}", false).unwrap(), ["{\"a\":1}"]);
        assert_eq!(pieces(" [{\"a\":1}, 2]", false).unwrap(), ["{\"a\":1}", "2"]);
        assert_eq!(pieces("{\"a\":1}\n\n{}\n", true).unwrap(), ["{\"a\":1}", "{}"]);
        assert_eq!(pieces("\u{feff}{\"a\":1}", false).unwrap(), ["{\"a\":1}"]);
        assert_eq!(pieces("\u{feff}[{}, 2]", false).unwrap(), ["{}", "2"]);
        assert_eq!(pieces("\u{feff}{}\r\n\u{feff}{}\n\u{feff}", true).unwrap(), ["{}", "{}"]);
        assert!(pieces("\u{feff}\u{feff}{}", false).is_err());
        // One that looks like an object is read by who takes it apart.
        for broken in ["{\"a\":1} {}", "{\"a\":}", "{{}}"] {
            let all = pieces(broken, false).unwrap();
            assert!(all == [broken] && Object::parse(broken).is_err(), "{broken}");
        }
        assert!(pieces("[{\"a\":1}", false).is_err());
        assert!(pieces("", false).is_err());
    }
}
