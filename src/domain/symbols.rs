//! Text as digits and what stands between them, in any script or escape.

use unicode_normalization::char::decompose_compatible;

/// Layers of escapes that are taken off: JSON in JSON in a URI.
const LAYERS_MAX: usize = 4;
/// Bytes on both sides of an escape that are looked at without it.
const AROUND_BYTES: usize = super::number::NUMBER_BYTES_MAX;

/// What a character is to a telephone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    /// A decimal digit, as its ASCII one.
    Digit(u8),
    /// A country follows.
    Plus,
    /// What may stand within a number.
    Gap,
    /// A letter: digits directly beside it are a part of a word, such as an id in hexadecimal.
    Letter,
    Other,
}

/// Visits bytes as they are, and then what is around their escapes, without each layer of them.
pub(super) fn each_layer(bytes: &[u8], visit: &mut dyn FnMut(&[u8])) {
    visit(bytes);
    let mut at = 0;
    while let Some(first) = next_escape(bytes, at) {
        let begin = first.saturating_sub(AROUND_BYTES).max(at);
        let mut end = first + AROUND_BYTES;
        at = first + 1;
        while let Some(next) = next_escape(bytes, at).filter(|next| *next < end) {
            end = next + AROUND_BYTES;
            at = next + 1;
        }
        let around = bytes.get(begin..end.min(bytes.len())).unwrap_or_default();
        let mut layer = unescaped(around);
        for _ in 1..LAYERS_MAX {
            let Some(bytes) = layer else { break };
            visit(&bytes);
            layer = unescaped(&bytes);
        }
    }
}

/// Where the next escape is, from this place on.
fn next_escape(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let marks = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\\' || **byte == b'%');
    let mut marks = marks.map(|(place, _)| from + place);
    marks.find(|place| escape(bytes.get(*place..).unwrap_or_default()).is_some())
}

fn escape(bytes: &[u8]) -> Option<(Escaped, usize)> {
    match bytes.first()? {
        b'\\' => json_escape(bytes),
        b'%' => uri_escape(bytes),
        _ => None,
    }
}

/// The bytes without escapes of JSON (`\u0031`, `\/`) and of URIs (`%31`); none where there are none.
fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut rest, mut changed) = (bytes, false);
    while let Some((first, after)) = rest.split_first() {
        if let Some((escaped, length)) = escape(rest) {
            match escaped {
                Escaped::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                Escaped::Byte(byte) => out.push(byte),
            }
            changed = true;
            rest = rest.get(length..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = after;
        }
    }
    changed.then_some(out)
}

enum Escaped {
    Char(char),
    Byte(u8),
}

/// What an escape of a URI stands for, and its length.
fn uri_escape(bytes: &[u8]) -> Option<(Escaped, usize)> {
    let code = hex(bytes.get(1..3))?;
    Some((Escaped::Byte(u8::try_from(code).ok()?), 3))
}

/// What an escape of JSON stands for, and its length, however often the backslash was escaped.
fn json_escape(bytes: &[u8]) -> Option<(Escaped, usize)> {
    let slashes = bytes.iter().take_while(|byte| **byte == b'\\').count();
    let unit = |at: usize| {
        let slashes = bytes.get(at..)?.iter().take_while(|byte| **byte == b'\\').count();
        let at = at + slashes;
        (slashes > 0 && bytes.get(at) == Some(&b'u')).then_some(())?;
        Some((hex(bytes.get(at + 1..at + 5))?, at + 5))
    };
    match bytes.get(slashes)? {
        b'u' => {
            let (high, end) = unit(0)?;
            if let Some(c) = char::from_u32(high) {
                return Some((Escaped::Char(c), end));
            }
            let (low, end) = unit(end)?;
            let pair = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
            let c = char::decode_utf16(pair).next()?.ok()?;
            Some((Escaped::Char(c), end))
        }
        b'/' => Some((Escaped::Char('/'), slashes + 1)),
        b't' => Some((Escaped::Char('\t'), slashes + 1)),
        _ => None,
    }
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Visits bytes as symbols; what is no UTF-8 is something else.
pub(super) fn each_symbol(bytes: &[u8], visit: &mut dyn FnMut(Symbol)) {
    let mut rest = bytes;
    let mut digits = 0;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let symbol = match first {
            b'0'..=b'9' => Symbol::Digit(*first),
            // As in +44 (0)20: behind a country, and dialled within it alone.
            b'(' if (1..=3).contains(&digits) && after.starts_with(b"0)") => {
                rest = after.get(2..).unwrap_or_default();
                Symbol::Gap
            }
            b'+' => Symbol::Plus,
            b' ' | b'\t' | b'-' | b'.' | b'(' | b')' | b'/' => Symbol::Gap,
            0x80.. => {
                let Some((c, length)) = character(*first, after) else {
                    count(&mut digits, Symbol::Other);
                    visit(Symbol::Other);
                    continue;
                };
                rest = after.get(length..).unwrap_or_default();
                fold_symbol(c, &mut |symbol| {
                    count(&mut digits, symbol);
                    visit(symbol);
                });
                continue;
            }
            _ if first.is_ascii_alphabetic() => Symbol::Letter,
            _ => Symbol::Other,
        };
        count(&mut digits, symbol);
        visit(symbol);
        if matches!(symbol, Symbol::Letter | Symbol::Other) {
            // Most of what there is can begin no number.
            let begins = |byte: &u8| byte.is_ascii_digit() || *byte == b'+' || *byte >= 0x80;
            let next = rest.iter().position(begins).unwrap_or(rest.len());
            let last = next.checked_sub(1).and_then(|last| rest.get(last));
            if let Some(last) = last {
                visit(if last.is_ascii_alphabetic() { Symbol::Letter } else { Symbol::Other });
            }
            rest = rest.get(next..).unwrap_or_default();
        }
    }
}

/// Counts the digits since something else stood there.
fn count(digits: &mut u32, symbol: Symbol) {
    match symbol {
        Symbol::Digit(_) => *digits = digits.saturating_add(1),
        Symbol::Gap => {}
        Symbol::Plus | Symbol::Letter | Symbol::Other => *digits = 0,
    }
}

/// The character that begins with this byte, and how many more bytes it has.
fn character(first: u8, after: &[u8]) -> Option<(char, usize)> {
    let more = match first {
        0xc2..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf4 => 3,
        _ => return None,
    };
    let mut bytes = [first, 0, 0, 0];
    let (_, place) = bytes.split_first_mut()?;
    place.get_mut(..more)?.copy_from_slice(after.get(..more)?);
    let text = std::str::from_utf8(bytes.get(..=more)?).ok()?;
    Some((text.chars().next()?, more))
}

fn fold_symbol(c: char, visit: &mut dyn FnMut(Symbol)) {
    if let Some(digit) = decimal(c) {
        visit(Symbol::Digit(digit));
    } else if is_gap(c) {
        visit(Symbol::Gap);
    } else {
        decompose_compatible(c, |c| {
            visit(match decimal(c) {
                Some(digit) => Symbol::Digit(digit),
                None if c == '+' => Symbol::Plus,
                None if is_gap(c) => Symbol::Gap,
                None => Symbol::Other,
            });
        });
    }
}

/// Whether a character may stand within a number: blanks, hyphens, brackets, and what is not seen.
pub(super) fn is_gap(c: char) -> bool {
    match c {
        '\n' | '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => false,
        ' ' | '\t' | '-' | '.' | '(' | ')' | '/' | '\u{b7}' | '\u{ad}'
        // Combining marks and a keycap around a digit.
        | '\u{300}'..='\u{36f}' | '\u{20d0}'..='\u{20f0}' | '\u{fe00}'..='\u{fe0f}'
        // Marks of direction, joiners, hyphens and dashes, a minus sign.
        | '\u{200b}'..='\u{2015}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{61c}' | '\u{180e}' | '\u{2212}' | '\u{feff}' => true,
        c => c.is_whitespace(),
    }
}

/// The ASCII digit for a decimal digit of any script (Unicode 17, general category Nd).
pub(super) fn decimal(c: char) -> Option<u8> {
    if c.is_ascii() {
        return u8::try_from(c).ok().filter(u8::is_ascii_digit);
    }
    let code = u32::from(c);
    let next = ZEROS.partition_point(|zero| *zero <= code);
    let zero = ZEROS.get(next.checked_sub(1)?)?;
    let value = u8::try_from(code - zero).ok().filter(|value| *value < 10)?;
    Some(b'0' + value)
}

/// The zeros of all scripts, ascending; the nine other digits follow each of them.
pub(super) const ZEROS: [u32; 76] = [
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66,
    0x0de6, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x10d40, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0,
    0x11650, 0x116c0, 0x116d0, 0x116da, 0x11730, 0x118e0, 0x11950, 0x11bf0, 0x11c50, 0x11d50,
    0x11da0, 0x11de0, 0x11f50, 0x16130, 0x16a60, 0x16ac0, 0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce,
    0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1, 0x1e950, 0x1fbf0,
];
