//! Half a character in JSON.
//!
//! JSON may name half of a character beyond the first 65536, as `\ud83d`: some programs cut texts in the
//! middle of one. That is no Unicode, and strict readers refuse a whole answer for it. So the half is
//! replaced by U+FFFD, in keys and values alike, before anything else is read.

use std::borrow::Cow;

/// The same JSON, in which every half of a surrogate pair that stands alone is `\ufffd`; nothing else
/// is different, its length neither.
pub fn replace_lone_surrogates(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut replaced: Option<Vec<u8>> = None;
    let mut place = 0;
    while let Some(escape) = find(bytes, place, b'\\') {
        place = escape + 2;
        let Some(unit) = unit(bytes, escape) else { continue };
        place = escape + 6;
        match unit {
            0xd800..=0xdbff if self::unit(bytes, place).is_some_and(is_low) => place += 6,
            0xd800..=0xdfff => {
                let out = replaced.get_or_insert_with(|| bytes.to_vec());
                if let Some(digits) = out.get_mut(escape + 2..escape + 6) {
                    digits.copy_from_slice(b"fffd");
                }
            }
            _ => {}
        }
    }
    match replaced {
        None => Cow::Borrowed(json),
        Some(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    let found = bytes.get(from..)?.iter().position(|&byte| byte == wanted)?;
    Some(from + found)
}

/// The UTF-16 unit that `\uXXXX` at this place names.
fn unit(bytes: &[u8], place: usize) -> Option<u16> {
    let escape = bytes.get(place..place + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    // A sign would be read as part of a number.
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn is_low(unit: u16) -> bool {
    matches!(unit, 0xdc00..=0xdfff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_replaced_and_nothing_else() {
        for (json, right) in [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\uD83D\uDE00\uDE00""#, r#""\uD83D\uDE00\ufffd""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\u0041""#, r#""\ufffd\u0041""#),
            (r#""\ud83dA""#, r#""\ufffdA""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#"{"\ud83d":{"\udfff":["\udbff\\"]}}"#, r#"{"\ufffd":{"\ufffd":["\ufffd\\"]}}"#),
            (r#""\u+83d\u12""#, r#""\u+83d\u12""#),
            ("\"é\\ud8", "\"é\\ud8"),
            ("\\", "\\"),
        ] {
            assert_eq!(replace_lone_surrogates(json), right);
        }
    }

    proptest! {
        #[test]
        fn whatever_was_mended_is_unicode(text in r"(\\u(d8|d9|dc|DF)[0-9a]{2}|\\\\|\\n|a|ud83d){0,8}") {
            let json = format!("\"{text}\"");
            let replaced = replace_lone_surrogates(&json);
            prop_assert!(serde_json::from_str::<String>(&replaced).is_ok(), "{replaced}");
            prop_assert_eq!(replaced.len(), json.len());
            if serde_json::from_str::<String>(&json).is_ok() {
                prop_assert_eq!(&*replaced, &*json);
            }
        }
    }
}
