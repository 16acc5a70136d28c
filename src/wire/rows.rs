//! Rows of CSV, taken off a stream in bounded memory.

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// A row's text without its line end.
pub(super) struct RowText {
    /// As it stands in the input; cut off at the limit where `whole` is false.
    pub text: Vec<u8>,
    /// False where the row is longer than the limit, or the input ends within quotes.
    pub whole: bool,
    /// Lines between the row before and this one.
    pub lines_before: u64,
    /// Line ends within the row and after it.
    pub lines: u64,
}

/// Finds the ends of rows.
pub(super) struct RowScanner {
    reader: Reader,
    /// The last byte was a carriage return: a line feed after it ends no other line.
    after_return: bool,
}

impl RowScanner {
    pub fn new(separator: u8) -> Self {
        Self { reader: reader(separator), after_return: false }
    }

    /// Cells of the rows that follow are separated by this.
    pub fn separated_by(&mut self, separator: u8) {
        self.reader = reader(separator);
    }

    /// The next row, of which at most `limit` bytes are kept, or none at the end. Lines without any
    /// character are no rows.
    pub fn next(&mut self, input: &mut impl BufRead, limit: usize) -> io::Result<Option<RowText>> {
        let mut row = RowText { text: Vec::new(), whole: true, lines_before: 0, lines: 0 };
        let mut begun = false;
        loop {
            let buffer = input.fill_buf()?;
            if buffer.is_empty() {
                row.whole &= self.read(b"\n").0;
                return Ok(begun.then_some(row));
            }
            if !begun {
                let blanks = buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                let blank = buffer.get(..blanks).unwrap_or_default();
                row.lines_before += line_ends(&mut self.after_return, blank);
                begun = blanks < buffer.len();
                if blanks > 0 {
                    input.consume(blanks);
                    continue;
                }
            }
            let (ended, used) = self.read(buffer);
            let part = buffer.get(..used).unwrap_or(buffer);
            row.lines += line_ends(&mut self.after_return, part);
            let part =
                if ended { part.get(..used.saturating_sub(1)).unwrap_or_default() } else { part };
            let room = limit.saturating_sub(row.text.len());
            row.whole &= part.len() <= room;
            row.text.extend_from_slice(part.get(..room).unwrap_or(part));
            input.consume(used);
            if ended {
                return Ok(Some(row));
            }
        }
    }

    /// Whether a row ended, and how many bytes were read. The last one is then a line end.
    fn read(&mut self, buffer: &[u8]) -> (bool, usize) {
        // Only the ends of rows matter here.
        let (mut cells, mut ends) = ([0; 4096], [0; 64]);
        let (result, used, ..) = self.reader.read_record(buffer, &mut cells, &mut ends);
        (result == ReadRecordResult::Record, used)
    }
}

/// The cells of one row, at most `most`; none where there are more, or where one is no UTF-8.
pub(super) fn cells(row: &str, most: usize, separator: u8) -> Option<Vec<String>> {
    let mut reader = reader(separator);
    let mut text = vec![0; row.len() + 1];
    let mut ends = vec![0; most + 1];
    let (result, _, bytes, count) = reader.read_record(row.as_bytes(), &mut text, &mut ends);
    if result != ReadRecordResult::InputEmpty {
        return None;
    }
    let (result, _, _, last) =
        reader.read_record(&[], text.get_mut(bytes..)?, ends.get_mut(count..)?);
    if result != ReadRecordResult::Record || count + last > most {
        return None;
    }
    let mut begin = 0;
    let ends = ends.into_iter().take(count + last);
    ends.map(|end| {
        let cell = text.get(std::mem::replace(&mut begin, end)..end)?;
        std::str::from_utf8(cell).ok().map(str::to_owned)
    })
    .collect()
}

/// The first cell, from 1, whose quotation marks are not those of CSV: something stands after the closing
/// one. So it is where marks within a cell are not doubled but have a backslash before them.
pub(super) fn misquoted(row: &str, separator: u8) -> Option<usize> {
    let mut rest = row.as_bytes();
    let mut cell = 0;
    loop {
        cell += 1;
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            rest = after_quotes(quoted);
            let blanks =
                rest.iter().take_while(|byte| matches!(byte, b' ' | b'\r' | b'\n')).count();
            rest = rest.get(blanks..).unwrap_or_default();
            if rest.first().is_some_and(|byte| *byte != separator) {
                return Some(cell);
            }
        }
        let end = rest.iter().position(|byte| *byte == separator)?;
        rest = rest.get(end + 1..)?;
    }
}

/// What stands after the mark that closes a cell.
fn after_quotes(mut rest: &[u8]) -> &[u8] {
    while let Some(mark) = rest.iter().position(|byte| *byte == b'"') {
        rest = rest.get(mark + 1..).unwrap_or_default();
        match rest.strip_prefix(b"\"") {
            Some(doubled) => rest = doubled,
            None => return rest,
        }
    }
    &[]
}

/// A reader that takes a byte order mark for text, wherever it stands: the one at the beginning has been
/// looked for by now, and whether another is noticed would depend on how the input arrives.
fn reader(separator: u8) -> Reader {
    let mut reader = ReaderBuilder::new().delimiter(separator).build();
    reader.read_record(b"\n", &mut [0], &mut [0]);
    reader
}

/// Lines end with CR, LF, or both.
fn line_ends(after_return: &mut bool, bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |lines, &byte| {
        let ends = byte == b'\r' || byte == b'\n' && !*after_return;
        *after_return = byte == b'\r';
        lines + u64::from(ends)
    })
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str, buffer: usize, limit: usize) -> Vec<(String, bool, u64)> {
        let mut input = BufReader::with_capacity(buffer, text.as_bytes());
        let (mut rows, mut all, mut line) = (RowScanner::new(b','), Vec::new(), 1);
        while let Some(row) = rows.next(&mut input, limit).unwrap() {
            line += row.lines_before;
            all.push((String::from_utf8(row.text).unwrap(), row.whole, line));
            line += row.lines;
        }
        all
    }

    #[test]
    fn rows_end_where_their_quotes_allow() {
        let one = |text: &str, line| (text.to_owned(), true, line);
        for buffer in [1, 2, 3, 100] {
            assert_eq!(
                rows("a,b\r\n\"x\r\ny\",\"\"\"\"\r\n\r\n\nc\nd\re", buffer, 100),
                [
                    one("a,b", 1),
                    one("\"x\r\ny\",\"\"\"\"", 2),
                    one("c", 6),
                    one("d", 7),
                    one("e", 8)
                ]
            );
            assert_eq!(rows("\r\n\n", buffer, 100), []);
            assert_eq!(rows("a,\"b\nc", buffer, 100), [("a,\"b\nc".to_owned(), false, 1)]);
            let long = rows("abcdef,\"g\nh\"\nabcd\nabc", buffer, 4);
            assert_eq!(
                long,
                [("abcd".to_owned(), false, 1), one("abcd", 3), one("abc", 4)],
                "{buffer}"
            );
        }
    }

    #[test]
    fn cells_are_counted() {
        assert_eq!(cells("a,\"b,\"\"c\",", 3, b',').unwrap(), ["a", "b,\"c", ""]);
        assert_eq!(cells("a,b", 2, b',').unwrap().len(), 2);
        assert_eq!(cells("a,b,c", 2, b','), None);
        assert_eq!(cells("a,b,c,d,e", 2, b','), None);
        assert_eq!(cells("a,,", 2, b','), None);
    }

    #[test]
    fn marks_that_are_not_doubled_are_noticed() {
        for row in [
            "",
            "a,b",
            "\"a\",b",
            "\"a\"\"b\",\"\"",
            "a\"b,c",
            "\"a,b\"",
            "\"a\" ,b",
            "\"a\r\nb\"\r",
        ] {
            assert_eq!(misquoted(row, b','), None, "{row}");
        }
        for (row, cell) in [
            (r#"a,"Pat \"Ace\" O",b"#, 2),
            (r#""\"Ace\"",b"#, 1),
            (r#""a"b,c"#, 1),
            (r#""a""b"c"#, 1),
        ] {
            assert_eq!(misquoted(row, b','), Some(cell), "{row}");
        }
        assert_eq!(misquoted("\"a\",b", b';'), Some(1));
    }

    proptest! {
        #[test]
        fn cells_that_were_written_are_read(
            table in prop::collection::vec(prop::collection::vec("[a\",\r\n ä]{0,4}", 2..4), 1..5),
            buffer in 1..9_usize,
        ) {
            let mut text = Vec::new();
            for row in &table {
                for (n, cell) in row.iter().enumerate() {
                    text.extend((n > 0).then_some(b','));
                    super::super::cell::write_cell(&mut text, cell, false);
                }
                text.extend(b"\r\n");
            }
            let written = text.clone();
            let read = rows(&String::from_utf8(text).unwrap(), buffer, 1000);
            let read: Vec<_> = read.iter().map(|(row, ..)| cells(row, 3, b',').unwrap()).collect();
            prop_assert_eq!(read, table);
            let quoted = rows(&String::from_utf8(written).unwrap(), buffer, 1000);
            prop_assert!(quoted.iter().all(|(row, ..)| misquoted(row, b',').is_none()));
        }

        #[test]
        fn nothing_makes_it_fail_or_loop(text in "[a\",\r\n]{0,30}", buffer in 1..9_usize) {
            let rows = rows(&text, buffer, 1000);
            prop_assert!(rows.iter().all(|(row, ..)| cells(row, 40, b',').is_some()));
            prop_assert!(rows.len() <= text.len());
        }
    }
}
