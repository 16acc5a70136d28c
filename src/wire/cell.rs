//! One cell of CSV: its quotes, and the guard that keeps spreadsheets from running it.

/// Appends a cell as RFC 4180 has it: in quotes where it needs them, and these doubled.
pub(super) fn write_cell(out: &mut Vec<u8>, text: &str, guarded: bool) {
    let guard = guarded && runs(text);
    let special = |byte: u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
    // Some readers drop blanks at the ends of a cell that has no quotes.
    let blank = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    let quotes = blank || text.bytes().any(special);
    if quotes {
        out.push(b'"');
    }
    if guard {
        out.push(GUARD as u8);
    }
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    if quotes {
        out.push(b'"');
    }
}

/// The text of a guarded cell. A text that begins with the guard's own character is guarded too, so
/// that this undoes every guard and takes nothing else away.
pub(super) fn unguard(cell: &str) -> &str {
    cell.strip_prefix(GUARD).filter(|text| runs(text)).unwrap_or(cell)
}

/// What spreadsheets take as "this is text".
const GUARD: char = '\'';
/// What begins a formula, in ASCII and in full width.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Whether a spreadsheet might run this text, or take its first character for a guard. A number as
/// `+15551234567` does no harm.
fn runs(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or_default();
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let blank = |c: char| c.is_whitespace() || c.is_control() || INVISIBLE.contains(&c);
    text.starts_with(GUARD)
        || text.starts_with(char::is_control)
        || text.trim_start_matches(blank).starts_with(FORMULA)
}

/// Characters of no width, which some programs drop before they look at a cell.
pub(super) const INVISIBLE: [char; 4] = ['\u{200b}', '\u{200e}', '\u{200f}', '\u{feff}'];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell(text: &str, guarded: bool) -> String {
        let mut out = Vec::new();
        write_cell(&mut out, text, guarded);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_have_quotes_where_they_need_them() {
        for (text, plain) in [
            ("", ""),
            ("a b", "a b"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            (" a", "\" a\""),
            ("b\0c", "b\0c"),
            ("=1+1", "=1+1"),
        ] {
            assert_eq!(cell(text, false), plain);
        }
    }

    #[test]
    fn formulas_are_guarded_and_numbers_are_not() {
        let run = ["=1+1", "+1+1", "-1", "@x", "＝1", "＋1", "－1", "＠x", " =1", "\u{feff}=1"];
        for text in run.into_iter().chain(["+", "++1", "+１", "'a", "'", "+49 30 1"]) {
            let guarded = cell(text, true);
            assert_eq!(guarded.trim_matches('"'), format!("'{text}"), "{text}");
        }
        for text in ["\t=1", "\r=1", "\n=1", "\0=1", "\tx", "\rx"] {
            assert!(cell(text, true).trim_matches('"').starts_with('\''), "{text:?}");
        }
        for text in ["", "+15551234567", "15551234567", "sip:a@b", "a'b", "a=b", "{\"a\":1}"] {
            assert!(!cell(text, true).trim_matches('"').starts_with('\''), "{text}");
        }
        assert_eq!(unguard("'a"), "'a", "written by someone else");
        assert_eq!(unguard("'+1555"), "'+1555");
    }

    proptest! {
        #[test]
        fn no_guard_stays_and_nothing_else_goes(text in "['=+\\-@＝ \ta1\0\r\n]{0,6}") {
            let written = if runs(&text) { format!("'{text}") } else { text.clone() };
            prop_assert_eq!(unguard(&written), text);
        }
    }
}
