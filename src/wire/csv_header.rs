//! Rows of CSV as the JSON of records.

use super::call::string;
use super::cell::{INVISIBLE, unguard};
use super::csv::{BOM, COLUMNS, EXPORT_COLUMNS};
use super::names::canonical;
use super::object::Object;
use super::rows::{RowScanner, RowText, cells, misquoted};
use super::{WireError, replace_lone_surrogates};
use crate::domain::CallField;

/// Columns without which no row is a record.
const NEEDED: [&str; 4] = ["account_sid", "call_sid", "call_status", "direction"];
/// Cells of a row that are looked at; more are as wrong as one too many.
const ROW_CELLS_MAX: usize = 64;

/// The header of a CSV file, by which its rows are read.
#[derive(Debug, Clone)]
pub struct CsvHeader {
    /// As it stands in the file, with the byte order mark and without the line end.
    text: Vec<u8>,
    /// None for a column without a name.
    columns: Vec<Option<&'static str>>,
    /// What stands between two cells.
    separator: u8,
    /// The file has a byte order mark, and so guards.
    guarded: bool,
}

/// Why a header is not one of calls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvHeaderError {
    /// It is too long, or ends within quotes.
    #[error("the header is not whole: is there a quotation mark too many in line 1?")]
    Cut,
    #[error("the header is not UTF-8 at byte {0}; save the file as UTF-8")]
    NotUtf8(usize),
    #[error("the header has an unknown column {name:?}; {hint}the columns are {columns}")]
    Unknown { name: String, hint: &'static str, columns: String },
    #[error("the header has the column {0} twice")]
    Twice(&'static str),
    #[error("the header lacks the column {0}; every record needs {needed}", needed = NEEDED.join(", "))]
    Missing(&'static str),
}

impl CsvHeader {
    /// Reads a header. `bom` says whether a byte order mark stood before it, and `separator` what a
    /// line before it says of what stands between cells.
    pub(super) fn read(
        header: &RowText,
        bom: bool,
        separator: Option<u8>,
    ) -> Result<Self, CsvHeaderError> {
        if !header.whole {
            return Err(CsvHeaderError::Cut);
        }
        let names = std::str::from_utf8(&header.text);
        let names = names.map_err(|error| CsvHeaderError::NotUtf8(error.valid_up_to()))?;
        // A spreadsheet that wrote the file anew may have kept that line and changed the rows.
        let said = separator.filter(|said| separates(names, *said));
        let separator = said.unwrap_or_else(|| separator_of(names));
        let names = cells(names, names.len() + 1, separator).unwrap_or_default();
        let mut columns = Vec::new();
        for name in names {
            let folded = fold(&name);
            if folded.is_empty() {
                columns.push(None);
                continue;
            }
            let mut names = COLUMNS.into_iter().chain(EXPORT_COLUMNS);
            let Some(column) = names.find(|name| fold(name) == folded) else {
                return Err(unknown(&name));
            };
            if columns.contains(&Some(column)) {
                return Err(CsvHeaderError::Twice(column));
            }
            columns.push(Some(column));
        }
        let mut needed = NEEDED.into_iter();
        if let Some(missing) = needed.find(|needed| !columns.contains(&Some(needed))) {
            return Err(CsvHeaderError::Missing(missing));
        }
        let mut text = if bom { BOM.to_vec() } else { Vec::new() };
        if let Some(separator) = said {
            text.extend_from_slice(&[b's', b'e', b'p', b'=', separator, b'\r', b'\n']);
        }
        text.extend_from_slice(&header.text);
        Ok(Self { text, columns, separator, guarded: bom })
    }

    /// What stands between two cells.
    pub(super) fn separator(&self) -> u8 {
        self.separator
    }

    /// No cell of the row holds anything: spreadsheets leave such rows where some were emptied.
    pub(super) fn is_blank(&self, row: &[u8]) -> bool {
        let blank = |byte: &u8| {
            *byte == self.separator || *byte == b'"' || byte.is_ascii_whitespace() || *byte >= 0x80
        };
        row.iter().all(blank)
            && std::str::from_utf8(row).is_ok_and(|row| {
                let cells = cells(row, row.len() + 1, self.separator).unwrap_or_default();
                cells.iter().all(|cell| cell.trim().is_empty())
            })
    }

    /// The JSON of the record that a row holds, for [`super::parse_record`].
    pub fn record(&self, row: &str) -> Result<String, WireError> {
        let wanted = self.columns.len();
        let wrong = |expected: String| Err(WireError::new("", "", expected));
        if let Some(cell) = misquoted(row, self.separator) {
            return wrong(format!(
                "cell {cell} goes on after its closing quotation mark: marks within a cell are \
                 doubled, and have no backslash"
            ));
        }
        let Some(mut cells) = cells(row, ROW_CELLS_MAX, self.separator) else {
            return wrong(format!("more than {ROW_CELLS_MAX} cells: the header has {wanted}"));
        };
        // Cells after the last name may be there or not, as long as they hold nothing.
        let named = self.columns.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let found = cells.len();
        while cells.len() > named && cells.last().is_some_and(|cell| cell.trim().is_empty()) {
            cells.pop();
        }
        if found < named || cells.len() > wanted {
            let many = cells.len() > wanted;
            let hint = if many { "; is there a separator that is not in quotes?" } else { "" };
            return wrong(format!("{found} cells: the header has {wanted}{hint}"));
        }
        let texts = cells.iter().map(|cell| if self.guarded { unguard(cell) } else { cell });
        let mut row: Vec<(&str, &str)> = Vec::with_capacity(cells.len());
        for (n, (column, text)) in self.columns.iter().zip(texts).enumerate() {
            match column {
                Some(column) => row.push((column, text)),
                None if text.trim().is_empty() => {}
                None => {
                    let expected = "its column has no name in the header";
                    return Err(WireError::new(&format!("cell {}", n + 1), text, expected));
                }
            }
        }
        // What an export says is exact, whatever it looks like.
        let is_export = row.iter().any(|(column, cell)| *column == "merge" && !cell.is_empty());
        let mut out = vec![b'{'];
        for &(column, cell) in &row {
            match column {
                _ if cell.is_empty() => {}
                "from" | "to" if !is_export && is_lost(cell) => {
                    let expected = "a spreadsheet did not keep this number: make the column text there, \
                                    fill it again, and save it as CSV once more";
                    return Err(WireError::new(column, &format!("{cell:?}"), expected));
                }
                "extra" => further(&mut out, cell)?,
                "merge" => merge(&mut out, cell, &row)?,
                "stale" | "time_unknown" => flag(&mut out, column, cell)?,
                _ => member(&mut out, column, |out| string(out, cell)),
            }
        }
        out.push(b'}');
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// A row that was not taken, so that such rows together are a file that can be corrected and
    /// imported: the first one of them has the header before it. It ends with the first half of a
    /// line end.
    pub fn reject(&self, row: &[u8], first: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(row.len() + 8);
        if first {
            out.extend_from_slice(&self.text);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(row);
        if !matches!(RowScanner::new(self.separator).next(&mut &*row, usize::MAX), Ok(Some(row)) if row.whole)
        {
            // Else the rows after it would be taken for its end.
            out.push(b'"');
        }
        out.push(b'\r');
        out
    }
}

/// A name of a column without regard to case, blanks and what stands for them.
fn fold(name: &str) -> String {
    let blank = |c: &char| c.is_whitespace() || matches!(c, '_' | '-') || INVISIBLE.contains(c);
    let letters = name.chars().filter(|c| !blank(c));
    letters.flat_map(char::to_lowercase).collect()
}

/// Whether a row names a column that only calls have.
pub(super) fn names_calls(row: &[u8]) -> bool {
    fold(&String::from_utf8_lossy(row)).contains("callsid")
}

/// What a line says that stands before the header: `sep=;`, maybe in quotes, and with empty cells
/// after it.
pub(super) fn said_separator(row: &[u8]) -> Option<u8> {
    let row = row.strip_prefix(b"\"").unwrap_or(row);
    let (name, rest) = row.split_at_checked(3)?;
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?;
    // A tab is a blank, too.
    let rest = if rest == b"\t" { rest } else { rest.trim_ascii_start() };
    let (separator, empty) = rest.split_first()?;
    let separates = separator.is_ascii_punctuation() && *separator != b'"' || *separator == b'\t';
    (name.eq_ignore_ascii_case(b"sep") && separates && is_empty(empty)).then_some(*separator)
}

/// Whether a row has no filled cell, apart from what stands between cells.
pub(super) fn is_empty(row: &[u8]) -> bool {
    row.iter().all(|byte| byte.is_ascii_whitespace() || b",;|\"".contains(byte))
}

/// Whether the names of a header stand apart by this.
fn separates(header: &str, separator: u8) -> bool {
    let names = cells(header, header.len() + 1, separator).unwrap_or_default();
    names.iter().any(|name| fold(name) == "callsid")
}

/// What stands between the names of a header.
fn separator_of(header: &str) -> u8 {
    let mut usual = [b',', b';', b'\t', b'|'].into_iter();
    usual.find(|separator| separates(header, *separator)).unwrap_or(b',')
}

fn unknown(name: &str) -> CsvHeaderError {
    let separated = name.contains([';', '\t', ',', '|']);
    CsvHeaderError::Unknown {
        name: name.chars().take(80).collect(),
        hint: if separated { "cells are separated by commas, semicolons or tabs; " } else { "" },
        columns: COLUMNS.into_iter().chain(EXPORT_COLUMNS).collect::<Vec<_>>().join(", "),
    }
}

/// Whether a spreadsheet has put something else in the place of a telephone number: `1.55512E+10`, of
/// which digits are missing, or `#NAME?`.
fn is_lost(cell: &str) -> bool {
    let errors = ["#NAME?", "#VALUE!", "#REF!", "#N/A", "#DIV/0!", "#NUM!", "#NULL!"];
    let cell = cell.trim();
    let shortened = || {
        let (mantissa, exponent) = cell.split_once("E+")?;
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (before, after) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, "0"));
        let is_one = before.len() == 1 && digits(before) && digits(after);
        (is_one && digits(exponent)).then_some(())
    };
    errors.contains(&cell)
        || cell.len() > 3 && cell.bytes().all(|byte| byte == b'#')
        || shortened().is_some()
}

/// The members of the object that the cell `extra` holds.
fn further(out: &mut Vec<u8>, cell: &str) -> Result<(), WireError> {
    let wrong = |_| WireError::new("extra", cell, "expected a JSON object");
    let cell = &*replace_lone_surrogates(cell);
    for (key, json) in Object::parse(cell).map_err(wrong)?.0 {
        let own = COLUMNS.into_iter().filter(|column| *column != "extra").chain(EXPORT_COLUMNS);
        if own.into_iter().any(|column| column == canonical(&key, false)) {
            let expected = format!("{key} has a column of its own");
            return Err(WireError::new("extra", cell, expected));
        }
        member(out, &key, |out| out.extend_from_slice(json.as_bytes()));
    }
    Ok(())
}

/// The state of the merge. A text that it knows is there, even where its cell is empty.
fn merge(out: &mut Vec<u8>, cell: &str, row: &[(&str, &str)]) -> Result<(), WireError> {
    let wrong = |_| WireError::new("merge", cell, "expected a JSON object as an export has it");
    let cell = &*replace_lone_surrogates(cell);
    let object = Object::parse(cell).map_err(wrong)?;
    let origins = object.0.iter().find(|(key, _)| key == "origins");
    if let Some((_, origins)) = origins {
        let origins = Object::parse(origins).map_err(wrong)?;
        let texts = CallField::ALL.map(CallField::key).into_iter();
        for key in texts.filter(|key| origins.has(key) && row.contains(&(key, ""))) {
            member(out, key, |out| out.extend_from_slice(b"\"\""));
        }
    }
    member(out, "merge", |out| out.extend_from_slice(cell.as_bytes()));
    Ok(())
}

/// What is true or absent. Spreadsheets write it in capitals.
fn flag(out: &mut Vec<u8>, column: &str, cell: &str) -> Result<(), WireError> {
    if cell.eq_ignore_ascii_case("true") {
        member(out, column, |out| out.extend_from_slice(b"true"));
    } else if !cell.eq_ignore_ascii_case("false") {
        let quoted = format!("{cell:?}");
        return Err(WireError::new(column, &quoted, "expected true or an empty cell"));
    }
    Ok(())
}

fn member(out: &mut Vec<u8>, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    if out.len() > 1 {
        out.push(b',');
    }
    string(out, key);
    out.push(b':');
    value(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Timestamp, samples};
    use crate::wire::{
        CsvStyle, ParsedInput, RecordFormat, RecordReader, csv_export_header, csv_header,
        parse_record, write_csv, write_csv_export,
    };

    const URL: &str = "http://{host}:3000";
    const SID: &str = "c1000000-0000-4000-8000-000000000001";

    fn style() -> impl Strategy<Value = CsvStyle> {
        let zones = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"];
        (any::<bool>(), prop::sample::select(zones.to_vec()))
            .prop_map(|(spreadsheet, zone)| CsvStyle { spreadsheet, zone: zone.parse().unwrap() })
    }

    /// What a file tells, as an import reads it.
    fn parsed(file: &[u8], format: RecordFormat) -> Vec<Result<ParsedInput, String>> {
        let mut record_reader = RecordReader::new(file, format, 64 * 1024);
        let mut records = Vec::new();
        while let Some(piece) = record_reader.next_piece().unwrap() {
            assert!(piece.whole);
            let row = String::from_utf8(piece.text).unwrap();
            let csv_header = record_reader.csv_header().unwrap();
            let json = csv_header.record(&row);
            let record = json.and_then(|json| parse_record(&json, Timestamp::MAX, URL));
            records.push(record.map_err(|error| error.to_string()));
        }
        records
    }

    /// Texts that a spreadsheet or a reader of CSV might take for something else.
    fn hostile() -> impl Strategy<Value = Box<str>> {
        let texts =
            ["=1+1", "'", "'=x", "''", "a\"b\r\n,c", "\0", "+1", "-", "@", "\t=", "＝", " "];
        prop_oneof![
            prop::sample::select(texts.to_vec()).prop_map(Box::from),
            "[='\",\r\n +\\-@a\u{feff}\0;]{0,8}".prop_map(Box::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn import_undoes_export_as_csv(
            calls in prop::collection::vec((samples::call(), hostile()), 1..3),
            style in style(),
        ) {
            let calls: Vec<_> = calls.into_iter().map(|(mut call, text)| {
                for field in call.texts.iter_mut().flatten() {
                    field.value = text.clone();
                }
                call
            }).collect();
            let mut file = Vec::new();
            csv_export_header(&mut file, &style);
            for call in &calls {
                write_csv_export(&mut file, call, &style);
            }
            let expected: Vec<_> =
                calls.into_iter().map(|call| Ok(ParsedInput::Record(Box::new(call)))).collect();
            prop_assert_eq!(parsed(&file, RecordFormat::Auto), expected);
        }

        #[test]
        fn import_undoes_export_of_any_sample(call in samples::call(), style in style()) {
            let mut file = Vec::new();
            csv_export_header(&mut file, &style);
            write_csv_export(&mut file, &call, &style);
            prop_assert_eq!(parsed(&file, RecordFormat::Csv), [Ok(ParsedInput::Record(Box::new(call)))]);
        }

        #[test]
        fn an_answer_of_the_api_says_what_its_json_says(
            call in samples::call(),
            style in style(),
        ) {
            // A sample's texts are no sids, which plain records have to have.
            let mut call = call;
            for field in [CallField::ApplicationSid, CallField::ParentCallSid] {
                if let Some(text) = &mut call.texts[field as usize] {
                    text.value = SID.into();
                }
            }
            // An empty cell is an absent member.
            for slot in &mut call.texts {
                slot.take_if(|field| field.value.is_empty());
            }
            let mut file = Vec::new();
            csv_header(&mut file, &style);
            write_csv(&mut file, &call, &style);
            let record = parsed(&file, RecordFormat::Auto).remove(0);
            let mut json = Vec::new();
            crate::wire::write_call(&mut json, &call);
            let json = String::from_utf8(json).unwrap();
            prop_assume!(json.len() < 16 * 1024);
            let Ok(ParsedInput::Event(mut expected)) = parse_record(&json, Timestamp::MAX, "") else {
                panic!("{json}")
            };
            for slot in &mut expected.texts {
                slot.take_if(|value| value.is_empty());
            }
            prop_assert_eq!(record, Ok(ParsedInput::Event(expected)));
        }
    }

    fn columns(header: &str) -> Result<CsvHeader, CsvHeaderError> {
        let row = RowText { text: header.into(), whole: true, lines_before: 0, lines: 0 };
        CsvHeader::read(&row, false, None)
    }

    #[test]
    fn a_header_has_known_columns_once_each_and_those_that_are_needed() {
        for header in [
            "call_sid, account_sid ,\"direction\",call_status",
            "CALL_SID;Account Sid;Direction;CallStatus",
            "call_sid\taccount_sid\tdirection\tcall_status\t\t",
            "call_sid|account_sid||direction|call_status",
            "Call-SID,account\u{200b}_sid,direction,call-status",
        ] {
            assert!(columns(header).is_ok(), "{header}");
        }
        for (header, says) in [
            ("call_sid,colour", "unknown column \"colour\"; the columns are account_sid, call_id,"),
            ("call_sid:direction", "unknown column \"call_sid:direction\"; the columns"),
            ("call_sid;a,b", "unknown column \"a,b\"; cells are separated by commas, semicolons"),
            ("call_sid;Call Sid", "the column call_sid twice"),
            ("call_sid,", "lacks the column account_sid"),
            ("call_sid,call_sid", "the column call_sid twice"),
            ("call_sid,account_sid,direction", "lacks the column call_status; every record needs"),
        ] {
            let error = columns(header).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_row_that_does_not_fit_says_what_is_wrong() {
        let csv_header =
            columns("account_sid,call_sid,call_status,direction,stale,extra,merge,from").unwrap();
        let row = |more: &str| csv_header.record(&format!("a,b,c,d,{more}"));
        assert_eq!(
            row("TRUE,\"{\"\"x\"\": 1.50,\"\"extra\"\":2}\",,").unwrap(),
            r#"{"account_sid":"a","call_sid":"b","call_status":"c","direction":"d","stale":true,"x":1.50,"extra":2}"#
        );
        assert!(
            row("FALSE,,\"{\"\"origins\"\":{\"\"from\"\":[1,2],\"\"to\"\":[1,2]}}\",")
                .unwrap()
                .contains(r#","from":"","merge""#)
        );
        for user in ["2e11", "E+11", "#1", "12.5E+3", "1E+", "alice"] {
            assert!(row(&format!(",,,{user}")).unwrap().contains(user), "{user}");
        }
        assert!(row(",,{},#NAME?").is_ok(), "an export is exact");
        for (more, says) in [
            ("", "5 cells: the header has 8"),
            (",,,,x", "9 cells: the header has 8; is there a separator"),
            (&",".repeat(100), "more than 64 cells"),
            ("maybe,,,", "stale \"maybe\": expected true"),
            (",[],,", "extra []: expected a JSON object"),
            (",{,,", "extra {: expected a JSON object"),
            (",\"{\"\"from\"\":1}\",,", "from has a column of its own"),
            (",,,1.55512E+10", "from \"1.55512E+10\": a spreadsheet did not keep this number"),
            (",,,\"1,55512E+10\"", "a spreadsheet did not keep this number"),
            (",,,2E+11", "a spreadsheet did not keep this number"),
            (",,,#NAME?", "from \"#NAME?\": a spreadsheet did not keep this number"),
            (",,,########", "a spreadsheet did not keep this number"),
            (",\"{\"\"callStatus\"\":\"\"failed\"\"}\",,", "callStatus has a column of its own"),
            (",,{},\"call_sid\":1},", "cell 8 goes on after its closing quotation mark"),
            (",,\"{},\"\"call_sid\"\":1\",", "merge {},\"call_sid\":1: expected a JSON object"),
        ] {
            let error = row(more).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn rejects_are_a_file_of_their_own() {
        let csv_header = columns("account_sid,call_sid,call_status,direction,extra").unwrap();
        let mut file = Vec::new();
        for (n, row) in ["a,b", "a,b,c,d,\"cut\r\noff", "x,\"y\""].into_iter().enumerate() {
            file.extend(csv_header.reject(row.as_bytes(), n == 0));
            file.push(b'\n');
        }
        assert_eq!(
            String::from_utf8(file).unwrap(),
            "account_sid,call_sid,call_status,direction,extra\r\na,b\r\n\
             a,b,c,d,\"cut\r\noff\"\r\nx,\"y\"\r\n"
        );
    }
}
