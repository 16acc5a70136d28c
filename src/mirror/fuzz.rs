//! Fuzzing of what a Redis sends, and of the hashes in it.
#![expect(clippy::missing_panics_doc, reason = "a panic is what fuzzing looks for")]

use serde::de::IgnoredAny;

use super::calls::{Seen, call_of, key_of, object_of};
use super::resp::{Value, read_value};
use crate::domain::{AccountSid, CallId, CallSid, Timestamp};

/// A connection: each value is read once it is whole and not before, and is the same whatever follows
/// it. Keys of calls are written as they were read; of a hash comes JSON, and what it says is no news twice.
pub fn resp(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((value, length))) = read_value(rest) {
        let whole = rest.get(..length);
        assert!(length > 0 && whole.is_some(), "{length} of {}", rest.len());
        let before = rest.get(..length.saturating_sub(1)).unwrap_or_default();
        assert_eq!(read_value(before), Ok(None));
        assert_eq!(read_value(whole.unwrap_or_default()), Ok(Some((value.clone(), length))));
        assert!(kept(&value) <= length);
        said(&value);
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// Bytes of all texts, and one for each value: no more than has arrived.
fn kept(value: &Value) -> usize {
    match value {
        // What is no text in it is three bytes of text then, and was one.
        Value::Error(text) => text.len() / 3,
        Value::Text(text) => text.len(),
        Value::Integer(_) | Value::Null => 1,
        Value::Array(items) | Value::Map(items) | Value::Push(items) => {
            items.iter().map(kept).sum::<usize>() + 1
        }
    }
}

/// What the mirror makes of a value.
fn said(value: &Value) {
    let _shown = value.to_string();
    for key in value.texts().into_iter().flatten() {
        if let Some(call) = call_of(key) {
            assert_eq!(key_of(call).as_bytes(), key);
        }
    }
    if let Ok(Some(json)) = object_of(value) {
        assert!(serde_json::from_str::<IgnoredAny>(&json).is_ok(), "{json}");
    }
    let text =
        |key| value.member(key).and_then(Value::text).and_then(|t| std::str::from_utf8(t).ok());
    let account = text("accountSid").and_then(|sid| sid.parse::<AccountSid>().ok());
    let sid = text("callSid").and_then(|sid| sid.parse::<CallSid>().ok());
    let (Some(account), Some(sid)) = (account, sid) else { return };
    let (call, now) = (CallId { account, sid }, Timestamp::from_millis(1_800_000_000_000));
    let now = now.unwrap_or_default();
    let mut seen = Seen::default();
    for live in [None, Some(now.into())] {
        if let Ok(super::calls::Reading::News(news)) =
            seen.read(call, value, live, now, "http://{host}:3000")
        {
            assert!(live.is_none(), "it is known already");
            assert_eq!(news.event.id, call);
            seen.remember(&news);
        }
    }
}
