//! What fuzzing drives: one function for each kind of bytes that come from outside, with the laws
//! that they keep checked inside. `fuzz/` runs them with bytes that it makes up, and a test with
//! those that it has found worth keeping.

use std::io::BufReader;

use serde::de::IgnoredAny;

pub use crate::admin::fuzz::admin;
pub use crate::http::fuzz::{cursor, query, signature};
pub use crate::journal::fuzz::journal;

use crate::codec;
use crate::domain::{Call, Timestamp, merge};
use crate::journal::fits;
use crate::wire::{
    CsvStyle, ParsedInput, RECORD_BYTES_MAX, RecordFormat, RecordReader, RecordText,
    csv_export_header, parse_event, parse_record, pieces, write_call, write_csv_export,
    write_export, write_timeline,
};

/// A target by its name, which is that of its corpus.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [FuzzTarget; 9] = [
    ("query", query),
    ("event", event),
    ("ndjson", ndjson),
    ("csv", csv),
    ("signature", signature),
    ("cursor", cursor),
    ("journal", journal),
    ("record", record),
    ("admin", admin),
];

const TEMPLATE: &str = "http://{host}:3000";

/// The time of all tests: no clock is read, so that what was found is found again.
fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).unwrap_or_default()
}

/// A JSON text, as a webhook and as an import: what is taken makes a call that is kept, shown and
/// taken again whole.
pub fn event(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(event) = parse_event(text, now(), TEMPLATE) {
        let call = merge(None, event.clone(), now());
        assert_eq!(merge(Some(&call), event, now()), call);
        whole(&call);
    }
    told(text);
}

/// A record of an import.
fn told(text: &str) {
    match parse_record(text, now(), TEMPLATE) {
        Ok(ParsedInput::Event(event)) => whole(&merge(None, *event, now())),
        Ok(ParsedInput::Record(call)) => whole(&call),
        Err(_) => {}
    }
}

/// A call is stored, and exported in both forms, without loss, and within bounds.
fn whole(call: &Call) {
    let stored = codec::encode(call);
    assert!(fits(stored.len()).is_ok(), "{} bytes", stored.len());
    assert_eq!(codec::decode(&stored).ok().as_ref(), Some(call));
    assert_eq!(codec::peek_id(&stored), Some(call.id));
    let mut json = Vec::new();
    write_call(&mut json, call);
    valid(&json);
    json.clear();
    write_timeline(&mut json, call);
    valid(&json);
    let mut line = Vec::new();
    write_export(&mut line, call);
    let line = String::from_utf8_lossy(&line);
    let again = parse_record(&line, now(), TEMPLATE);
    assert_eq!(again, Ok(ParsedInput::Record(Box::new(call.clone()))), "{line}");
    for spreadsheet in [false, true] {
        let style = CsvStyle { spreadsheet, ..CsvStyle::default() };
        let mut csv_header = Vec::new();
        csv_export_header(&mut csv_header, &style);
        write_csv_export(&mut csv_header, call, &style);
        let mut rows =
            RecordReader::new(csv_header.as_slice(), RecordFormat::Csv, RECORD_BYTES_MAX);
        let row = rows.next_piece().ok().flatten().map(|row| row.text).unwrap_or_default();
        let row = String::from_utf8_lossy(&row);
        let json = rows.csv_header().map(|csv_header| csv_header.record(&row));
        let again = json.map(|json| json.and_then(|json| parse_record(&json, now(), TEMPLATE)));
        assert_eq!(again, Some(Ok(ParsedInput::Record(Box::new(call.clone())))), "{row}");
    }
}

fn valid(json: &[u8]) {
    let parsed = serde_json::from_slice::<IgnoredAny>(json);
    assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(json));
}

/// Lines and arrays of a webhook, and lines of an import: nothing is taken twice or made up, and it
/// does not matter in which pieces the input arrives.
pub fn ndjson(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        for ndjson in [false, true] {
            let Ok(events) = pieces(text, ndjson) else { continue };
            assert!(events.iter().map(|event| event.len()).sum::<usize>() <= text.len());
            events.into_iter().for_each(told);
        }
    }
    for format in [RecordFormat::Ndjson, RecordFormat::Json] {
        let split = split(data, format, 4096);
        assert_eq!(split, self::split(data, format, 1), "one byte at a time");
        for piece in split.unwrap_or_default().iter().filter(|piece| piece.whole) {
            told(&String::from_utf8_lossy(&piece.text));
        }
    }
    // Only what it looks at in advance depends on the pieces.
    let _any = split(data, RecordFormat::Auto, 64);
}

/// Rows of CSV: as for lines; and rows that are given back are the same number of rows.
pub fn csv(data: &[u8]) {
    let rows = split(data, RecordFormat::Csv, 4096);
    assert_eq!(rows, split(data, RecordFormat::Csv, 1), "one byte at a time");
    let mut record_reader = RecordReader::new(data, RecordFormat::Csv, LIMIT);
    let mut rejected = Vec::new();
    let mut count = 0;
    while let Ok(Some(piece)) = record_reader.next_piece() {
        let Some(csv_header) = record_reader.csv_header() else { continue };
        if let Ok(row) = std::str::from_utf8(&piece.text)
            && let Ok(json) = csv_header.record(row)
        {
            valid(json.as_bytes());
            told(&json);
        }
        rejected.extend_from_slice(&csv_header.reject(&piece.text, count == 0));
        rejected.push(b'\n');
        count += 1;
    }
    let again = split(&rejected, RecordFormat::Csv, 4096).map(|rows| rows.len());
    assert!(count == 0 || again == Some(count), "{count}, then {again:?}");
}

/// Bytes of one record, so that a small input can go beyond them.
const LIMIT: usize = 2048;

/// All records of an input that arrives in pieces of this size; none where it breaks off.
fn split(data: &[u8], format: RecordFormat, capacity: usize) -> Option<Vec<RecordText>> {
    let input = BufReader::with_capacity(capacity, data);
    let mut record_reader = RecordReader::new(input, format, LIMIT);
    let mut pieces = Vec::new();
    while let Some(piece) = record_reader.next_piece().ok()? {
        assert!(piece.text.len() <= record_reader.limit());
        pieces.push(piece);
        assert!(pieces.len() <= data.len());
    }
    Some(pieces)
}

/// Stored bytes: what is read as a call is written so that it is read again.
pub fn record(data: &[u8]) {
    let Ok(call) = codec::decode(data) else { return };
    assert_eq!(codec::peek_id(data), Some(call.id));
    let again = codec::encode(&call);
    assert_eq!(codec::decode(&again).ok(), Some(call));
}
