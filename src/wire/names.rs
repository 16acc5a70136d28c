//! The names of keys, and the shapes in which an event comes.

use std::borrow::Cow;

use super::WireError;
use super::object::Object;

/// The `type` of a WebSocket message of jambonz that holds an event as its `data`.
pub(super) const MESSAGE_TYPE: &str = "call:status";

/// Keys that mean the same in either spelling, independent of the others: those that have a meaning
/// here, and those that jambonz sends.
const EITHER: [&str; 30] = [
    "account_sid",
    "answered_at",
    "application_sid",
    "attempted_at",
    "call_id",
    "call_sid",
    "call_status",
    "call_termination_by",
    "caller_id",
    "caller_name",
    "customer_data",
    "fs_public_ip",
    "fs_sip_address",
    "has_recording",
    "listed_at",
    "local_sip_address",
    "originating_sip_ip",
    "originating_sip_trunk_name",
    "parent_call_sid",
    "recording_url",
    "remote_host",
    "sbc_callid",
    "service_url",
    "sip_callid",
    "sip_reason",
    "sip_status",
    "terminated_at",
    "termination_reason",
    "time_unknown",
    "trace_id",
];

/// The name that a key has here. In an event whose own keys are in camelCase every key is folded
/// that is written so; in one whose keys are in `snake_case`, those that have a meaning or come from
/// jambonz, which sends `customerData` beside `call_sid`. All others stay as they were sent.
pub(super) fn canonical(key: &str, camel: bool) -> Cow<'_, str> {
    let folds = key.bytes().any(|byte| byte.is_ascii_uppercase())
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !folds {
        return Cow::Borrowed(key);
    }
    let snake = snake_case(key);
    if camel || EITHER.binary_search(&snake.as_str()).is_ok() {
        Cow::Owned(snake)
    } else {
        Cow::Borrowed(key)
    }
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The event itself, whether it stands alone or is the `data` of a WebSocket message.
pub(super) fn unwrapped(object: Object<'_>) -> Result<Object<'_>, WireError> {
    let of = |key: &str| object.0.iter().rev().find(|(have, _)| have == key).map(|(_, raw)| *raw);
    let (kind, data) = (of("type"), of("data"));
    let is_status = kind.is_some_and(|kind| {
        serde_json::from_str::<String>(kind).is_ok_and(|kind| kind == MESSAGE_TYPE)
    });
    let own = object.has("account_sid") || object.has("accountSid");
    let expected = || format!("expected \"{MESSAGE_TYPE}\", or an event by itself");
    match (kind, data) {
        (Some(_), Some(data)) if is_status && data.starts_with('{') => {
            let event = Object::parse(data)?;
            if object.has("direction") && !event.has("direction") {
                // An event by itself, that has a key `data` of its own.
                return Ok(object);
            }
            Ok(with_sids_of(event, &object))
        }
        (Some(_), Some(data)) if is_status && !own => {
            Err(WireError::new("data", data, "expected an object: the event of the message"))
        }
        (Some(_), None) if is_status && !own => {
            Err(WireError::missing("data", "expected the event of the message"))
        }
        (Some(kind), Some(data)) if data.starts_with('{') && !own => {
            Err(WireError::new("type", kind, expected()))
        }
        (None, Some(data)) if data.starts_with('{') && !own => {
            Err(WireError::missing("type", expected()))
        }
        _ => Ok(object),
    }
}

/// The event with the sids of the message around it, where it lacks them.
fn with_sids_of<'a>(mut event: Object<'a>, message: &Object<'a>) -> Object<'a> {
    for [snake, camel] in [["account_sid", "accountSid"], ["call_sid", "callSid"]] {
        if event.has(snake) || event.has(camel) {
            continue;
        }
        let of_message = message.0.iter().filter(|(key, _)| key == snake || key == camel);
        event.0.extend(of_message.cloned().collect::<Vec<_>>());
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_have_two_spellings_and_others_are_what_they_are() {
        assert!(EITHER.is_sorted());
        for (key, in_snake, in_camel) in [
            ("customerData", "customer_data", "customer_data"),
            ("customer_data", "customer_data", "customer_data"),
            ("callStatus", "call_status", "call_status"),
            ("fooBar", "fooBar", "foo_bar"),
            ("X-Foo", "X-Foo", "X-Foo"),
            ("x-Foo", "x-Foo", "x-Foo"),
            ("FooBar", "FooBar", "FooBar"),
            ("from", "from", "from"),
            ("éA", "éA", "éA"),
            ("", "", ""),
        ] {
            assert_eq!(canonical(key, false), in_snake);
            assert_eq!(canonical(key, true), in_camel);
        }
    }

    #[test]
    fn a_message_is_unwrapped_and_nothing_else_is() {
        let keys = |text: &str| {
            let object = unwrapped(Object::parse(text)?)?;
            Ok::<_, WireError>(object.0.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>())
        };
        let message = r#"{"type":"call:status","msgid":"a","data":{"x":1}}"#;
        assert_eq!(keys(message).unwrap(), ["x"]);
        let plain = r#"{"account_sid":"a","type":"x","data":{"y":1}}"#;
        assert_eq!(keys(plain).unwrap(), ["account_sid", "type", "data"]);
        let escaped = message.replace(':', "\\u003a").replace("\"\\u003a", "\":");
        assert_eq!(keys(&escaped).unwrap(), ["x"], "{escaped}");
        let sids =
            r#"{"accountSid":"a","call_sid":"b","type":"call:status","data":{"call_sid":"c"}}"#;
        assert_eq!(keys(sids).unwrap(), ["call_sid", "accountSid"]);
        let own = r#"{"account_sid":"a","direction":"x","type":"call:status","data":{"y":1}}"#;
        assert_eq!(keys(own).unwrap(), ["account_sid", "direction", "type", "data"]);
        for (text, says) in [
            (r#"{"data":{"y":1}}"#, "type is missing: expected \"call:status\""),
            (r#"{"type":"call:status","data":[{}]}"#, "data [{}]: expected an object"),
            (r#"{"type":"verb:hook","data":{}}"#, "type \"verb:hook\": expected \"call:status\""),
            (r#"{"type":"call:status"}"#, "data is missing"),
        ] {
            let error = keys(text).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
