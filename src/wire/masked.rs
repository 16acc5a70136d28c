//! Calls without the middle digits of their numbers.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::{Call, CallField, Dropped, Extra, NameOrder, mask_numbers, mask_party};

/// The same call with every text masked: parties, ids, reasons, and whatever its source has sent beside them.
/// What identifies the call itself, its times and its statuses are as they were.
pub fn masked_call(call: &Call) -> Call {
    let mut call = call.clone();
    for (field, text) in CallField::ALL.into_iter().zip(call.texts.iter_mut()) {
        let Some(text) = text else { continue };
        let masked = match field {
            CallField::From | CallField::To => mask_party(&text.value),
            _ => mask_numbers(&text.value),
        };
        text.value = masked.into();
    }
    if let Some(reason) = &mut call.reason {
        reason.text = mask_numbers(&reason.text).into();
    }
    let mut seen = BTreeSet::new();
    call.extras.kept = std::mem::take(&mut call.extras.kept)
        .into_iter()
        .map(|extra| Extra {
            key: mask_numbers(&extra.key).into(),
            json: masked_json(&extra.json).into(),
            ..extra
        })
        // Of keys that look alike the first is shown: an object has each but once.
        .filter(|extra| seen.insert(extra.key.clone()))
        .collect();
    for Dropped { key, .. } in &mut call.extras.dropped {
        *key = mask_numbers(key).into();
    }
    let remembered = std::mem::take(&mut call.extras.remembered);
    let masked = remembered.iter().map(|name| NameOrder::new(&mask_numbers(name.as_str())));
    call.extras.remembered = masked.collect();
    call
}

/// A JSON text with all of its texts, names and numbers masked.
fn masked_json(json: &str) -> String {
    let Ok(value) = serde_json::from_str(json) else { return "null".to_owned() };
    masked_value(value).to_string()
}

fn masked_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(mask_numbers(&text).into_owned()),
        Value::Number(number) => {
            let text = number.to_string();
            let masked = mask_numbers(&text);
            if masked == text { Value::Number(number) } else { Value::String(masked.into_owned()) }
        }
        Value::Array(values) => values.into_iter().map(masked_value).collect(),
        Value::Object(members) => {
            let masked = members
                .into_iter()
                .map(|(name, value)| (mask_numbers(&name).into_owned(), masked_value(value)));
            Value::Object(masked.collect())
        }
        Value::Null | Value::Bool(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_names_and_numbers_of_json_are_masked() {
        for (json, masked) in [
            ("\"+15551234567\"", "\"+1555***67\""),
            ("15551234567", "\"1555***67\""),
            ("-15551234567", "\"-1555***67\""),
            ("42", "42"),
            ("12.5", "12.5"),
            ("null", "null"),
            (
                "{\"15551234567\":[\"a\",{\"b\":\"tel:+15551234567\"}]}",
                "{\"1555***67\":[\"a\",{\"b\":\"tel:+1555***67\"}]}",
            ),
            (r#""\\u0031\\u0035\\u0035\\u0035\\u0031""#, "\"***\""),
            ("no json", "null"),
        ] {
            assert_eq!(masked_json(json), masked, "{json}");
        }
    }
}
