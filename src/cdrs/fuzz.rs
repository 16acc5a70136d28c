//! Fuzzing of what is written as lines of CDRs.
#![expect(clippy::missing_panics_doc, reason = "a panic is what fuzzing looks for")]

use super::line::{Line, Value, lines};
use super::point::Cdr;
use super::{MEASUREMENTS, Precision};
use crate::domain::{Source, Timestamp};

/// A body: its lines lie in it one after the other, and what is read of one is no more than has arrived.
/// What a CDR says is of a call, and says the same when it is read again.
pub fn cdr(data: &[u8]) {
    let body = String::from_utf8_lossy(data);
    let mut rest = &*body;
    for line in lines(&body) {
        let at = rest.find(line);
        assert!(at.is_some() && !line.is_empty() && !line.starts_with('#'), "{line:?}");
        rest = rest.get(at.unwrap_or_default() + line.len()..).unwrap_or_default();
        if let Ok(read) = Line::read(line) {
            assert!(kept(&read) <= line.len(), "{line:?}");
        }
        let now = Timestamp::from_millis(1_800_000_000_000).unwrap_or_default();
        let said = Cdr::read(line, Precision::default(), now);
        if let Ok(Cdr::Event(event, _)) = &said {
            assert_eq!(event.source, Source::Cdr);
            assert!(Line::measurement_of(line).is_ok_and(|name| MEASUREMENTS.contains(&&*name)));
            assert_eq!(said.ok(), Cdr::read(line, Precision::default(), now).ok());
        }
    }
}

/// Bytes of all texts.
fn kept(line: &Line<'_>) -> usize {
    let tags: usize = line.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    let fields = line.fields.iter().map(|(key, value)| {
        let text = if let Value::Text(text) = value { text.len() } else { 1 };
        key.len() + text
    });
    line.measurement.len() + tags + fields.sum::<usize>()
}
