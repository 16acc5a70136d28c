//! Texts of others on a terminal: nothing in them is obeyed, and nothing changes how the rest reads.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A text in which control and format characters (Unicode's Cc, Cf, Zl and Zp: line ends, colours,
/// the turning round of what follows, what is not seen) stand as JSON would escape them.
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() || is_format(c))
}

/// The same of lines: their ends and tabs stay.
pub fn plain_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && c.is_control() || is_format(c))
}

/// Lines as a program has put them together, with colours: only format characters are escaped.
pub fn plain_log(text: &str) -> Cow<'_, str> {
    escaped(text, is_format)
}

fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_meant) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_meant(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Unicode's general categories Cf, Zl and Zp.
fn is_format(c: char) -> bool {
    matches!(
        u32::from(c),
        0xad | 0x600..=0x605
            | 0x61c
            | 0x6dd
            | 0x70f
            | 0x890..=0x891
            | 0x8e2
            | 0x180e
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x206f
            | 0xfeff
            | 0xfff9..=0xfffb
            | 0x1_10bd
            | 0x1_10cd
            | 0x1_3430..=0x1_343f
            | 0x1_bca0..=0x1_bca3
            | 0x1_d173..=0x1_d17a
            | 0xe_0001
            | 0xe_0020..=0xe_007f
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (text, shown) in [
            ("+15550001", "+15550001"),
            ("Zoë \u{5d0}\u{5d1} 电话", "Zoë \u{5d0}\u{5d1} 电话"),
            ("a\u{202e}b", "a\\u202eb"),
            ("\u{2066}x\u{2069}\u{200f}\u{61c}", "\\u2066x\\u2069\\u200f\\u061c"),
            ("\u{1b}[31mred\r\n", "\\u001b[31mred\\u000d\\u000a"),
            ("a\u{9b}b\u{7f}", "a\\u009bb\\u007f"),
            ("zero\u{200b}\u{feff}\u{2028}", "zero\\u200b\\ufeff\\u2028"),
            ("tag\u{e0041}", "tag\\udb40\\udc41"),
            ("", ""),
        ] {
            assert_eq!(plain(text), shown, "{text:?}");
        }
        assert_eq!(plain_lines("a\tb\n\u{1b}c\u{202d}\r"), "a\tb\n\\u001bc\\u202d\\u000d");
        assert_eq!(plain_log("\u{1b}[2mx\u{202e}\n"), "\u{1b}[2mx\\u202e\n");
        // What is escaped within JSON reads as before.
        let json = serde_json::Value::from("a\u{202e}\u{e0041}").to_string();
        let read: String = serde_json::from_str(&plain_log(&json)).unwrap();
        assert_eq!(read, "a\u{202e}\u{e0041}");
    }
}
