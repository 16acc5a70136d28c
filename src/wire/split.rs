//! A stream of records taken apart in bounded memory, whatever its length.

use std::io::{self, BufRead};

/// How records stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Told by the first bytes.
    #[default]
    Auto,
    /// An array, or objects one after the other.
    Json,
    /// One object a line.
    Ndjson,
}

/// One record's text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The first line of the record, from 1.
    pub line: u64,
    /// Which record it is, from 1.
    pub item: u64,
    /// The text; cut off at the limit where `whole` is false.
    pub text: Vec<u8>,
    /// False where the record is longer than the limit, or the input ends inside it.
    pub whole: bool,
}

/// Reads records off a stream, one at a time.
pub struct Splitter<R> {
    input: R,
    format: Format,
    limit: usize,
    line: u64,
    item: u64,
    /// Arrays around the records that are open.
    arrays: u64,
}

impl<R: BufRead> Splitter<R> {
    /// Records have at most `limit` bytes; of a longer one the rest is passed over.
    pub fn new(input: R, format: Format, limit: usize) -> Self {
        Self { input, format, limit, line: 1, item: 0, arrays: 0 }
    }

    /// The format, once the first record has been read.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The next record, or none at the end.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        if self.format == Format::Auto {
            self.format = self.detect()?;
        }
        match self.format {
            Format::Ndjson => self.next_line(),
            Format::Auto | Format::Json => self.next_value(),
        }
    }

    /// Lines that each hold a whole object are NDJSON; all else is JSON.
    fn detect(&mut self) -> io::Result<Format> {
        self.skip(|byte| byte.is_ascii_whitespace())?;
        let start = self.input.fill_buf()?;
        let first_line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if !start.starts_with(b"{") {
            return Ok(Format::Json);
        }
        let whole = first_line.len() < start.len();
        let object: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(first_line);
        // A first line longer than the buffer is a long record: nobody writes a pretty one so.
        Ok(if object.is_ok() || !whole { Format::Ndjson } else { Format::Json })
    }

    fn next_line(&mut self) -> io::Result<Option<Piece>> {
        loop {
            let line = self.line;
            let mut text = Vec::new();
            let mut whole = true;
            let mut any = false;
            loop {
                let buffer = self.input.fill_buf()?;
                if buffer.is_empty() {
                    break;
                }
                any = true;
                let end = buffer.iter().position(|&byte| byte == b'\n');
                let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
                let room = self.limit.saturating_sub(text.len());
                whole &= part.len() <= room;
                text.extend_from_slice(part.get(..room).unwrap_or(part));
                let used = part.len() + usize::from(end.is_some());
                self.input.consume(used);
                if end.is_some() {
                    self.line += 1;
                    break;
                }
            }
            if !any {
                return Ok(None);
            }
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.item += 1;
            return Ok(Some(Piece { line, item: self.item, text, whole }));
        }
    }

    fn next_value(&mut self) -> io::Result<Option<Piece>> {
        // The brackets and commas of the array around the records carry nothing.
        let mut arrays = self.arrays;
        self.skip(|byte| {
            match byte {
                b'[' => arrays += 1,
                b']' => arrays = arrays.saturating_sub(1),
                _ => {}
            }
            byte.is_ascii_whitespace() || matches!(byte, b'[' | b']' | b',')
        })?;
        self.arrays = arrays;
        let line = self.line;
        let mut scan = Scan::default();
        let mut text = Vec::new();
        let mut fits = true;
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                if text.is_empty() && self.arrays > 0 {
                    // A list whose connection was cut looks so.
                    let error = "it ends inside an array, and was probably cut off";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
                }
                if text.is_empty() {
                    return Ok(None);
                }
                self.item += 1;
                let whole = fits && scan.may_end();
                return Ok(Some(Piece { line, item: self.item, text, whole }));
            }
            let used = scan.run(buffer);
            let part = buffer.get(..used.bytes).unwrap_or(buffer);
            let room = self.limit.saturating_sub(text.len());
            fits &= part.len() <= room;
            text.extend_from_slice(part.get(..room).unwrap_or(part));
            self.line += part.iter().fold(0, |lines, &byte| lines + u64::from(byte == b'\n'));
            let length = part.len();
            self.input.consume(length);
            if used.ended {
                self.item += 1;
                return Ok(Some(Piece { line, item: self.item, text, whole: fits }));
            }
        }
    }

    fn skip(&mut self, mut blank: impl FnMut(u8) -> bool) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let blanks = buffer.iter().take_while(|&&byte| blank(byte)).count();
            let lines = buffer.iter().take(blanks).filter(|&&byte| byte == b'\n').count();
            let all = blanks == buffer.len();
            let empty = buffer.is_empty();
            self.input.consume(blanks);
            self.line += lines as u64;
            if empty || !all {
                return Ok(());
            }
        }
    }
}

/// Finds the end of one JSON value.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    scalar: bool,
}

struct Used {
    bytes: usize,
    ended: bool,
}

impl Scan {
    fn run(&mut self, buffer: &[u8]) -> Used {
        for (n, &byte) in buffer.iter().enumerate() {
            if self.in_string {
                self.in_string = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                if !self.in_string && self.depth == 0 {
                    return Used { bytes: n + 1, ended: true };
                }
                continue;
            }
            match byte {
                // A word that stands alone ends where the next thing begins.
                _ if self.scalar && (byte.is_ascii_whitespace() || b",[]{}\"".contains(&byte)) => {
                    return Used { bytes: n, ended: true };
                }
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Used { bytes: n + 1, ended: true };
                    }
                }
                _ if self.depth == 0 => self.scalar = true,
                _ => {}
            }
        }
        Used { bytes: buffer.len(), ended: false }
    }

    fn may_end(&self) -> bool {
        self.scalar
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn split(text: &str, format: Format, buffer: usize) -> Vec<(u64, u64, String, bool)> {
        let reader = BufReader::with_capacity(buffer, text.as_bytes());
        let mut splitter = Splitter::new(reader, format, 40);
        let mut pieces = Vec::new();
        // An input that is cut off ends in an error.
        while let Ok(Some(piece)) = splitter.next_piece() {
            let text = String::from_utf8(piece.text).unwrap();
            pieces.push((piece.line, piece.item, text, piece.whole));
        }
        pieces
    }

    #[test]
    fn arrays_objects_and_lines_are_taken_apart() {
        let one = |line, item, text: &str| (line, item, text.to_owned(), true);
        for buffer in [1, 2, 7, 1000] {
            assert_eq!(
                split("[ {\"a\":\"]}\\\"\"},\n{\"b\":[{}]} ]\n", Format::Json, buffer),
                [one(1, 1, "{\"a\":\"]}\\\"\"}"), one(2, 2, "{\"b\":[{}]}")]
            );
            assert_eq!(
                split("{\"a\":1}\n\n{oops\n{\"b\":2}", Format::Ndjson, buffer),
                [one(1, 1, "{\"a\":1}"), one(3, 2, "{oops"), one(4, 3, "{\"b\":2}")]
            );
            assert_eq!(split("[]", Format::Json, buffer), []);
            assert_eq!(split("", Format::Auto, buffer), []);
        }
        assert_eq!(split("{\n \"a\": 1\n}\n{}", Format::Auto, 100).len(), 2);
        assert_eq!(split("{\"a\":1}\n{\"b\n", Format::Auto, 100).len(), 2);
        assert_eq!(split("[1, true]", Format::Auto, 100)[1], one(1, 2, "true"));
    }

    #[test]
    fn an_array_that_is_not_closed_is_an_error() {
        let read = |text: &str| {
            let mut splitter = Splitter::new(text.as_bytes(), Format::Auto, 40);
            while splitter.next_piece()?.is_some() {}
            io::Result::Ok(())
        };
        assert!(read("[{}").is_err() && read("[{},").is_err() && read("[").is_err());
        assert!(read("[{}]").is_ok() && read("[]\n").is_ok() && read("{}\n").is_ok());
    }

    #[test]
    fn what_is_too_long_or_cut_off_is_said_so() {
        let long = format!("[{{\"a\":\"{}\"}},{{}}]", "x".repeat(100));
        let pieces = split(&long, Format::Json, 16);
        assert_eq!((pieces[0].2.len(), pieces[0].3, pieces[1].3), (40, false, true));
        let pieces = split("[{\"a\":1},{\"b\":", Format::Json, 16);
        assert_eq!((pieces[0].3, pieces[1].3), (true, false));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail_or_loop(text in "[\\[\\]{},\":a\\\\ \n]{0,60}", buffer in 1..9_usize) {
            for format in [Format::Auto, Format::Json, Format::Ndjson] {
                prop_assert!(split(&text, format, buffer).len() <= text.len());
            }
        }
    }
}
