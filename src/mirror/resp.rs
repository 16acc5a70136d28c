//! The protocol of Redis, RESP2 and RESP3: commands out, replies and pushes in.
//!
//! Architecture invariant: a length that a server claims is checked before anything is kept for it, and
//! nothing is reserved beyond the bytes that have arrived.

use std::fmt;

/// Bytes of a whole reply or push. One event loop of Redis may report many keys at once.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one text. A hash of jambonz has some hundred.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a line: a number, a status, an error.
const LINE_BYTES_MAX: usize = 4096;
/// Values of one array or map.
const ITEMS_MAX: usize = 262_144;
/// Arrays and maps in one another.
const DEPTH_MAX: usize = 8;

/// A value that a server sends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A status, a text, a number with a fraction or of many digits, a boolean: as bytes.
    Text(Vec<u8>),
    Error(String),
    Integer(i64),
    Null,
    Array(Vec<Value>),
    /// Keys and values in turn.
    Map(Vec<Value>),
    /// What comes without a question: invalidations.
    Push(Vec<Value>),
}

/// Why bytes are not a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RespError {
    #[error("it does not speak the protocol of Redis: a reply begins with {0:?}")]
    Kind(char),
    #[error("a reply of it has {what} {found:?}; expected {expected}")]
    Length { what: &'static str, found: String, expected: String },
    #[error("a reply of it has more than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
    #[error("a reply of it has more than {DEPTH_MAX} arrays in one another")]
    TooDeep,
    #[error("a text of a reply does not end with a line end")]
    Unterminated,
}

impl Value {
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of a list; none where it is no list. What is no text in it is left out.
    pub fn texts(&self) -> Option<impl Iterator<Item = &[u8]>> {
        match self {
            Self::Array(items) | Self::Map(items) | Self::Push(items) => {
                Some(items.iter().filter_map(Self::text))
            }
            _ => None,
        }
    }

    /// The value of a key, in a map of RESP3 or a list of keys and values of RESP2.
    pub fn member(&self, key: &str) -> Option<&Self> {
        let (Self::Array(items) | Self::Map(items)) = self else { return None };
        let mut pairs = items.chunks_exact(2);
        pairs.find_map(|pair| match pair {
            [name, value] if name.text() == Some(key.as_bytes()) => Some(value),
            _ => None,
        })
    }
}

impl fmt::Display for Value {
    /// What an error shows of a reply that was not expected.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => {
                let text: String = String::from_utf8_lossy(text).chars().take(80).collect();
                write!(f, "{text:?}")
            }
            Self::Error(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Null => f.write_str("nothing"),
            Self::Array(items) | Self::Push(items) => write!(f, "a list of {}", items.len()),
            Self::Map(items) => write!(f, "a map of {}", items.len() / 2),
        }
    }
}

/// Appends a command.
pub(super) fn write_command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first value of what has arrived, and its bytes; none where it has not arrived whole.
///
/// # Errors
/// Those of [`RespError`]: then nothing of the connection can be understood any more.
pub(super) fn read_value(bytes: &[u8]) -> Result<Option<(Value, usize)>, RespError> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0)? {
        Some(value) => Ok(Some((value, reader.at))),
        None if bytes.len() >= FRAME_BYTES_MAX => Err(RespError::TooLarge),
        None => Ok(None),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Option<Value>, RespError> {
        if depth > DEPTH_MAX {
            return Err(RespError::TooDeep);
        }
        let Some(kind) = self.bytes.get(self.at).copied() else { return Ok(None) };
        if !b"+-:$*_,(#%~>|=!".contains(&kind) {
            return Err(RespError::Kind(char::from(kind)));
        }
        self.at += 1;
        let Some(line) = self.line()? else { return Ok(None) };
        let value = match kind {
            b'+' | b',' | b'(' | b'#' => Value::Text(line.to_vec()),
            b'-' => Value::Error(String::from_utf8_lossy(line).into_owned()),
            b':' => Value::Integer(number(line).ok_or_else(|| length("a number", line, "one"))?),
            b'_' => Value::Null,
            b'$' | b'=' | b'!' => return self.bulk(kind, line),
            // What stands before a value and describes it.
            b'|' => {
                let Some(_) = self.items(line, 2, depth)? else { return Ok(None) };
                return self.value(depth + 1);
            }
            b'%' => match self.items(line, 2, depth)? {
                Some(items) => Value::Map(items),
                None => return Ok(None),
            },
            // RESP2 has no other null of a list.
            b'*' if line == b"-1" => Value::Null,
            _ => match self.items(line, 1, depth)? {
                Some(items) if kind == b'>' => Value::Push(items),
                Some(items) => Value::Array(items),
                None => return Ok(None),
            },
        };
        Ok(Some(value))
    }

    fn bulk(&mut self, kind: u8, line: &[u8]) -> Result<Option<Value>, RespError> {
        if line == b"-1" {
            return Ok(Some(Value::Null));
        }
        let bytes = count(line, TEXT_BYTES_MAX, "a text of so many bytes")?;
        let end = self.at + bytes;
        let Some(text) = self.bytes.get(self.at..end) else { return Ok(None) };
        match self.bytes.get(end..end + 2) {
            None => return Ok(None),
            Some(b"\r\n") => self.at = end + 2,
            Some(_) => return Err(RespError::Unterminated),
        }
        Ok(Some(match kind {
            b'!' => Value::Error(String::from_utf8_lossy(text).into_owned()),
            // A verbatim text says first in four bytes what it is.
            b'=' => Value::Text(text.get(4..).unwrap_or_default().to_vec()),
            _ => Value::Text(text.to_vec()),
        }))
    }

    fn items(
        &mut self,
        line: &[u8],
        each: usize,
        depth: usize,
    ) -> Result<Option<Vec<Value>>, RespError> {
        let items = count(line, ITEMS_MAX / each, "so many values")? * each;
        // No value has fewer than three bytes.
        if (self.bytes.len() - self.at) / 3 < items {
            return Ok(None);
        }
        let mut values = Vec::new();
        for _ in 0..items {
            let Some(value) = self.value(depth + 1)? else { return Ok(None) };
            values.push(value);
        }
        Ok(Some(values))
    }

    /// What stands before the next line end.
    fn line(&mut self) -> Result<Option<&'a [u8]>, RespError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let rest = rest.get(..LINE_BYTES_MAX.min(rest.len())).unwrap_or_default();
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            if rest.len() >= LINE_BYTES_MAX {
                return Err(length("a line of over", b"", &format!("{LINE_BYTES_MAX} bytes")));
            }
            return Ok(None);
        };
        self.at += end + 2;
        Ok(rest.get(..end))
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn count(line: &[u8], most: usize, what: &'static str) -> Result<usize, RespError> {
    let digits = !line.is_empty() && line.iter().all(u8::is_ascii_digit);
    let count = number(line).filter(|_| digits).and_then(|count| usize::try_from(count).ok());
    let wrong = || length(what, line, &format!("a number up to {most}"));
    count.filter(|count| *count <= most).ok_or_else(wrong)
}

fn length(what: &'static str, found: &[u8], expected: &str) -> RespError {
    let found = String::from_utf8_lossy(found).chars().take(40).collect();
    RespError::Length { what, found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(mut bytes: &[u8]) -> Result<Vec<Value>, RespError> {
        let mut values = Vec::new();
        while let Some((value, length)) = read_value(bytes)? {
            values.push(value);
            bytes = &bytes[length..];
        }
        assert!(bytes.is_empty(), "{bytes:?} is left");
        Ok(values)
    }

    #[test]
    fn what_redis_sends_is_read_whole_and_in_pieces() {
        let recorded = include_bytes!("../../tests/fixtures/tracking-bcast.resp3");
        let values = all(recorded).unwrap();
        assert_eq!(values[0].member("proto"), Some(&Value::Integer(3)));
        assert_eq!(values[1], Value::Text(b"OK".to_vec()));
        let keys: Vec<_> = values[2..]
            .iter()
            .map(|push| {
                let Value::Push(items) = push else { panic!("{push:?}") };
                assert_eq!(items[0].text(), Some(&b"invalidate"[..]));
                items[1].texts().unwrap().map(<[u8]>::to_vec).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(keys.len(), 11);
        assert!(keys.iter().all(|keys| keys.len() == 1 && keys[0].starts_with(b"call:")));
        for end in 0..recorded.len() {
            let mut at = 0;
            while let Some((_, length)) = read_value(&recorded[at..end]).unwrap() {
                at += length;
            }
        }
        // Both protocols, nulls, errors, and what describes a value.
        let bytes = b"$-1\r\n*-1\r\n_\r\n-ERR no\r\n!5\r\nERR x\r\n=7\r\ntxt:abc\r\n#t\r\n|1\r\n+a\r\n:1\r\n:2\r\n~1\r\n,1.5\r\n";
        let text = |text: &str| Value::Text(text.as_bytes().to_vec());
        let expected = [
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Error("ERR no".to_owned()),
            Value::Error("ERR x".to_owned()),
            text("abc"),
            text("t"),
            Value::Integer(2),
            Value::Array(vec![text("1.5")]),
        ];
        assert_eq!(all(bytes).unwrap(), expected);
    }

    #[test]
    fn lengths_that_are_too_large_or_none_are_refused_before_their_bytes_arrive() {
        for (bytes, says) in [
            (&b"$1048577\r\n"[..], "expected a number up to 1048576"),
            (b"$99999999999999999999\r\n", "99999999999999999999"),
            (b"$-2\r\n", "\"-2\""),
            (b"$+2\r\n", "\"+2\""),
            (b"*262145\r\n", "expected a number up to 262144"),
            (b"%131073\r\n", "expected a number up to 131072"),
            (b"*?\r\n", "\"?\""),
            (b":\r\n", "a number"),
            (b"$1\r\nabc", "line end"),
            (b"HTTP/1.1 400 Bad Request\r\n", "'H'"),
            (
                b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+a\r\n",
                "in one another",
            ),
        ] {
            let error = read_value(bytes).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let line = vec![b'+'; LINE_BYTES_MAX + 2];
        assert!(read_value(&line).is_err());
        let frame = [&b"$1048576\r\n"[..], &vec![b'x'; 1000]].concat();
        assert_eq!(read_value(&frame).unwrap(), None);
    }

    #[test]
    fn a_command_says_how_long_its_words_are() {
        let mut out = Vec::new();
        write_command(&mut out, &[b"HGETALL", b"call:a\r\nb"]);
        assert_eq!(out, b"*2\r\n$7\r\nHGETALL\r\n$9\r\ncall:a\r\nb\r\n");
        assert_eq!(all(&out).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(
            prop_oneof![
                prop::sample::select(b"+-:$*_,(#%~>|=!\r\n0123456789a".to_vec()),
                any::<u8>(),
            ],
            0..200,
        )) {
            if let Ok(Some((_, length))) = read_value(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
