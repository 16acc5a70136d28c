//! A stream of records taken apart in bounded memory, at any length.

use std::io::{self, BufRead};

use super::csv::BOM;
use super::csv_header::{CsvHeader, is_empty, names_calls, said_separator};
use super::rows::{RowScanner, RowText};

/// How records stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordFormat {
    /// Decided by the first bytes.
    #[default]
    Auto,
    /// An array, or objects one after the other.
    Json,
    /// One object a line.
    Ndjson,
    /// A header, and a row each.
    Csv,
}

/// One record's text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordText {
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
pub struct RecordReader<R> {
    input: R,
    format: RecordFormat,
    limit: usize,
    line: u64,
    item: u64,
    /// Arrays around the records that are open.
    arrays: u64,
    rows: RowScanner,
    csv_header: Option<CsvHeader>,
    /// What a line before the header says of what stands between cells.
    separator: Option<u8>,
    /// A byte order mark stood before all else; none before the first look.
    bom: Option<bool>,
}

impl<R: BufRead> RecordReader<R> {
    /// Records have at most `limit` bytes as JSON; of a longer one the rest is passed over.
    pub fn new(input: R, format: RecordFormat, limit: usize) -> Self {
        Self {
            input,
            format,
            limit,
            line: 1,
            item: 0,
            arrays: 0,
            rows: RowScanner::new(b','),
            csv_header: None,
            separator: None,
            bom: None,
        }
    }

    /// The header of CSV, once the first record has been read.
    pub fn csv_header(&self) -> Option<&CsvHeader> {
        self.csv_header.as_ref()
    }

    /// Bytes of a record in this format. A row of CSV may have twice as many as the JSON of the
    /// same record, since its quotes are doubled.
    pub fn limit(&self) -> usize {
        if self.format == RecordFormat::Csv { self.limit.saturating_mul(2) } else { self.limit }
    }

    /// The format, once the first record has been read.
    pub fn format(&self) -> RecordFormat {
        self.format
    }

    /// The next record, or none at the end.
    pub fn next_piece(&mut self) -> io::Result<Option<RecordText>> {
        if self.bom.is_none() {
            self.bom = Some(self.take_bom()?);
        }
        if self.format == RecordFormat::Auto {
            self.format = self.detect()?;
            if self.format == RecordFormat::Auto {
                return self.first_row();
            }
        }
        match self.format {
            RecordFormat::Ndjson => self.next_line(),
            RecordFormat::Csv => self.next_row(),
            RecordFormat::Auto | RecordFormat::Json => self.next_value(),
        }
    }

    fn take_bom(&mut self) -> io::Result<bool> {
        for (n, byte) in BOM.into_iter().enumerate() {
            if self.input.fill_buf()?.first() != Some(&byte) {
                if n == 0 {
                    return Ok(false);
                }
                let error = "it begins with a broken byte order mark; expected UTF-8";
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            self.input.consume(1);
        }
        Ok(true)
    }

    /// A first row that names calls is the header of CSV; any other is a record that is none.
    fn first_row(&mut self) -> io::Result<Option<RecordText>> {
        let limit = self.limit.saturating_mul(2);
        let (line, mut row) = loop {
            let Some(row) = self.rows.next(&mut self.input, limit)? else { return Ok(None) };
            let line = self.line + row.lines_before;
            self.line = line + row.lines;
            if !is_empty(&row.text) {
                break (line, row);
            }
        };
        if said_separator(&row.text).is_some() || names_calls(&row.text) {
            self.format = RecordFormat::Csv;
            self.read_header(&row)?;
            return self.next_row();
        }
        self.format = RecordFormat::Json;
        self.item += 1;
        let text = std::mem::take(&mut row.text);
        Ok(Some(RecordText { line, item: self.item, text, whole: row.whole }))
    }

    /// Reads the header, or a line before it that says what stands between cells.
    fn read_header(&mut self, row: &RowText) -> io::Result<()> {
        if let Some(separator) = said_separator(&row.text) {
            self.separator = Some(separator);
            self.rows.separated_by(separator);
            return Ok(());
        }
        let csv_header = CsvHeader::read(row, self.bom == Some(true), self.separator);
        let csv_header =
            csv_header.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.rows.separated_by(csv_header.separator());
        self.csv_header = Some(csv_header);
        Ok(())
    }

    fn next_row(&mut self) -> io::Result<Option<RecordText>> {
        let limit = self.limit();
        while let Some(row) = self.rows.next(&mut self.input, limit)? {
            let line = self.line + row.lines_before;
            self.line = line + row.lines;
            let Some(csv_header) = &self.csv_header else {
                if !is_empty(&row.text) {
                    self.read_header(&row)?;
                }
                continue;
            };
            if row.whole && csv_header.is_blank(&row.text) {
                continue;
            }
            self.item += 1;
            return Ok(Some(RecordText {
                line,
                item: self.item,
                text: row.text,
                whole: row.whole,
            }));
        }
        Ok(None)
    }

    /// Lines that each hold a whole object are NDJSON; what begins as no JSON does may be CSV, for
    /// which this is still [`RecordFormat::Auto`]; all else is JSON.
    fn detect(&mut self) -> io::Result<RecordFormat> {
        self.skip(|byte| byte.is_ascii_whitespace())?;
        let start = self.input.fill_buf()?;
        let first_line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match start.first() {
            Some(b'{') => {}
            Some(byte) if *byte == b'"' || byte.is_ascii_alphabetic() => {
                return Ok(RecordFormat::Auto);
            }
            // Emptied rows before a header; so may the name of its first column be.
            Some(b',' | b';' | b'|')
                if is_empty(first_line)
                    || names_calls(first_line) && !first_line.contains(&b'{') =>
            {
                return Ok(RecordFormat::Auto);
            }
            _ => return Ok(RecordFormat::Json),
        }
        let whole = first_line.len() < start.len();
        let object: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(first_line);
        // A first line longer than the buffer is a long record: pretty ones have short lines.
        Ok(if object.is_ok() || !whole { RecordFormat::Ndjson } else { RecordFormat::Json })
    }

    fn next_line(&mut self) -> io::Result<Option<RecordText>> {
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
            return Ok(Some(RecordText { line, item: self.item, text, whole }));
        }
    }

    fn next_value(&mut self) -> io::Result<Option<RecordText>> {
        // The brackets and commas of the array around the records carry nothing, nor do the bytes of
        // byte order marks where files were put together: no value begins with one of them.
        let mut arrays = self.arrays;
        self.skip(|byte| {
            match byte {
                b'[' => arrays += 1,
                b']' => arrays = arrays.saturating_sub(1),
                _ => {}
            }
            byte.is_ascii_whitespace() || matches!(byte, b'[' | b']' | b',') || BOM.contains(&byte)
        })?;
        self.arrays = arrays;
        let line = self.line;
        let mut scan = JsonScan::default();
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
                return Ok(Some(RecordText { line, item: self.item, text, whole }));
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
                return Ok(Some(RecordText { line, item: self.item, text, whole: fits }));
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
struct JsonScan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    scalar: bool,
}

struct UsedBytes {
    bytes: usize,
    ended: bool,
}

impl JsonScan {
    fn run(&mut self, buffer: &[u8]) -> UsedBytes {
        for (n, &byte) in buffer.iter().enumerate() {
            if self.in_string {
                self.in_string = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
                if !self.in_string && self.depth == 0 {
                    return UsedBytes { bytes: n + 1, ended: true };
                }
                continue;
            }
            match byte {
                // A word that stands alone ends where the next thing begins.
                _ if self.scalar && (byte.is_ascii_whitespace() || b",[]{}\"".contains(&byte)) => {
                    return UsedBytes { bytes: n, ended: true };
                }
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return UsedBytes { bytes: n + 1, ended: true };
                    }
                }
                _ if self.depth == 0 => self.scalar = true,
                _ => {}
            }
        }
        UsedBytes { bytes: buffer.len(), ended: false }
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

    fn split(text: &str, format: RecordFormat, buffer: usize) -> Vec<(u64, u64, String, bool)> {
        let reader = BufReader::with_capacity(buffer, text.as_bytes());
        let mut record_reader = RecordReader::new(reader, format, 40);
        let mut pieces = Vec::new();
        // An input that is cut off ends in an error.
        while let Ok(Some(piece)) = record_reader.next_piece() {
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
                split("[ {\"a\":\"]}\\\"\"},\n{\"b\":[{}]} ]\n", RecordFormat::Json, buffer),
                [one(1, 1, "{\"a\":\"]}\\\"\"}"), one(2, 2, "{\"b\":[{}]}")]
            );
            assert_eq!(
                split("{\"a\":1}\n\n{oops\n{\"b\":2}", RecordFormat::Ndjson, buffer),
                [one(1, 1, "{\"a\":1}"), one(3, 2, "{oops"), one(4, 3, "{\"b\":2}")]
            );
            assert_eq!(split("[]", RecordFormat::Json, buffer), []);
            assert_eq!(split("", RecordFormat::Auto, buffer), []);
        }
        assert_eq!(split("{\n \"a\": 1\n}\n{}", RecordFormat::Auto, 100).len(), 2);
        assert_eq!(split("{\"a\":1}\n{\"b\n", RecordFormat::Auto, 100).len(), 2);
        assert_eq!(split("[1, true]", RecordFormat::Auto, 100)[1], one(1, 2, "true"));
    }

    #[test]
    fn csv_is_known_by_its_header() {
        let header = "account_sid,call_sid,call_status,direction";
        let one = |line, item, text: &str| (line, item, text.to_owned(), true);
        for buffer in [1, 3, 1000] {
            for bom in ["", "\u{feff}"] {
                let file = format!("{bom}\n{header}\r\na,\"b\r\nc\"\r\n\r\nd");
                let rows = [one(3, 1, "a,\"b\r\nc\""), one(6, 2, "d")];
                assert_eq!(split(&file, RecordFormat::Auto, buffer), rows, "{buffer}");
                assert_eq!(split(&file, RecordFormat::Csv, buffer), rows);
                for format in [RecordFormat::Auto, RecordFormat::Json, RecordFormat::Ndjson] {
                    let json = format!("{bom}{{\"a\":1}}\n");
                    assert_eq!(split(&json, format, buffer), [one(1, 1, "{\"a\":1}")]);
                }
            }
            // As long as no header says otherwise, it is meant to be JSON.
            let junk = split("oops\n{\"a\":1}", RecordFormat::Auto, buffer);
            assert_eq!(junk, [one(1, 1, "oops"), one(2, 2, "{\"a\":1}")]);
        }
        // Rows that were emptied, and a first column without a name.
        for (before, line) in [(",,,\r\n\"\",,,\r\n", 4), (";;\n", 3), (",", 2)] {
            let rows = split(&format!("{before}{header}\r\nd"), RecordFormat::Auto, 1000);
            assert_eq!(rows, [one(line, 1, "d")], "{before}");
        }
        let mut record_reader =
            RecordReader::new(&b"call_sid,colour\n"[..], RecordFormat::Auto, 40);
        assert!(record_reader.next_piece().unwrap_err().to_string().contains("\"colour\""));
        let mut broken = RecordReader::new(&b"\xef\xbb{}"[..], RecordFormat::Auto, 40);
        assert!(broken.next_piece().is_err());
    }

    #[test]
    fn files_that_were_put_together_keep_their_marks() {
        let one = |line, item, text: &str| (line, item, text.to_owned(), true);
        for buffer in [1, 2, 3, 1000] {
            let files = "\u{feff}[{\"a\":1}]\n\u{feff}[{\"a\":2}]\n\u{feff}{\"a\":3}";
            let pieces = ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"];
            let pieces: Vec<_> = (1..).zip(pieces).map(|(n, text)| one(n, n, text)).collect();
            assert_eq!(split(files, RecordFormat::Json, buffer), pieces);
        }
    }

    #[test]
    fn an_array_that_is_not_closed_is_an_error() {
        let read = |text: &str| {
            let mut record_reader = RecordReader::new(text.as_bytes(), RecordFormat::Auto, 40);
            while record_reader.next_piece()?.is_some() {}
            io::Result::Ok(())
        };
        assert!(read("[{}").is_err() && read("[{},").is_err() && read("[").is_err());
        assert!(read("[{}]").is_ok() && read("[]\n").is_ok() && read("{}\n").is_ok());
    }

    #[test]
    fn what_is_too_long_or_cut_off_is_said_so() {
        let long = format!("[{{\"a\":\"{}\"}},{{}}]", "x".repeat(100));
        let pieces = split(&long, RecordFormat::Json, 16);
        assert_eq!((pieces[0].2.len(), pieces[0].3, pieces[1].3), (40, false, true));
        let pieces = split("[{\"a\":1},{\"b\":", RecordFormat::Json, 16);
        assert_eq!((pieces[0].3, pieces[1].3), (true, false));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail_or_loop(text in "[\\[\\]{},\":a\\\\ \n]{0,60}", buffer in 1..9_usize) {
            for format in [RecordFormat::Auto, RecordFormat::Json, RecordFormat::Ndjson, RecordFormat::Csv] {
                prop_assert!(split(&text, format, buffer).len() <= text.len());
            }
        }
    }
}
