//! Telephone numbers without their middle digits, for those who may see calls and not whom they are of.
//!
//! What a number is, is what a purge takes for one ([`super::Number`]): digits of any script with gaps between
//! them. Of a run of digits so many are kept at its begin and at its end that it can be recognised, and three
//! stars stand for all others, so that not even their number shows.

use std::borrow::Cow;

use unicode_normalization::char::decompose_compatible;

use super::number::NUMBER_DIGITS_MIN;
use super::symbols::{decimal, each_layer, is_gap};

/// Gaps between two digits of one number.
const GAPS_MAX: usize = 4;
/// Digits that are kept at the end, and at most at the begin.
const LAST: usize = 2;
const FIRST_MAX: usize = 4;
/// Digits that are hidden at least, before any is kept at the begin.
const HIDDEN_MIN: usize = 4;
/// What stands for what is hidden.
const HIDDEN: &str = "***";
/// Characters of a UUID, and where it has hyphens.
const UUID_CHARS: usize = 36;
const UUID_HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// What parts an address, so that no number goes on behind it.
const PARTS: &str = "@:;<>\"=?";

/// What a character is to a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digit,
    Gap,
    Other,
}

/// What may stand between two digits of one number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    /// A few gaps, as in any text.
    Gaps,
    /// Whatever is no letter and parts no address.
    AllWithinPart,
    Anything,
}

fn kind(c: char) -> Kind {
    if c.is_ascii() {
        return match c {
            '0'..='9' => Kind::Digit,
            // A purge knows it as the end of a number, as it stands in names of files.
            '_' => Kind::Gap,
            c if is_gap(c) => Kind::Gap,
            _ => Kind::Other,
        };
    }
    if decimal(c).is_some() {
        return Kind::Digit;
    }
    // A digit in a circle, in brackets or as an exponent is one, too.
    let mut has_digit = false;
    decompose_compatible(c, |part| has_digit |= decimal(part).is_some());
    match c {
        _ if has_digit => Kind::Digit,
        c if is_gap(c) => Kind::Gap,
        _ => Kind::Other,
    }
}

/// A text without the middle digits of its numbers. UUIDs, and the address of a host where it stands behind
/// `@` or `//`, are none. Where a number stands under escapes nothing of the text is left.
pub fn mask_numbers(text: &str) -> Cow<'_, str> {
    mask(text, Between::Gaps)
}

/// The same of a party of a call: what has no letter is one number, whatever stands between its digits, and so
/// are digits of one part of an address with no letter between them.
pub fn mask_party(text: &str) -> Cow<'_, str> {
    let has_letter = text.chars().any(char::is_alphabetic);
    mask(text, if has_letter { Between::AllWithinPart } else { Between::Anything })
}

fn mask(text: &str, between: Between) -> Cow<'_, str> {
    let masked = mask_plain(text, between);
    let mut is_hidden = true;
    let mut is_first = true;
    each_layer(masked.as_bytes(), &mut |layer| {
        if std::mem::take(&mut is_first) {
            return;
        }
        let layer = String::from_utf8_lossy(layer);
        is_hidden &= matches!(mask_plain(&layer, Between::Gaps), Cow::Borrowed(_));
    });
    if is_hidden { masked } else { Cow::Borrowed(HIDDEN) }
}

fn mask_plain(text: &str, between: Between) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        if let Some(length) = kept_length(text, at) {
            at += length;
        } else if kind(c) == Kind::Digit {
            let run = Run::at(text, at, between);
            if run.digits.len() >= NUMBER_DIGITS_MIN {
                out.push_str(text.get(copied..at).unwrap_or_default());
                run.write(&mut out);
                copied = run.end;
            }
            at = run.end;
        } else {
            at += c.len_utf8();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// Digits with nothing but gaps between them.
struct Run {
    digits: Vec<char>,
    /// Behind the last digit.
    end: usize,
}

impl Run {
    /// That which begins here.
    fn at(text: &str, begin: usize, between: Between) -> Self {
        let mut run = Self { digits: Vec::new(), end: begin };
        let mut gaps = 0;
        for (place, c) in text.get(begin..).unwrap_or_default().char_indices() {
            if kept_length(text, begin + place).is_some() {
                break;
            }
            match kind(c) {
                Kind::Digit => {
                    run.digits.push(c);
                    run.end = begin + place + c.len_utf8();
                    gaps = 0;
                }
                _ if between == Between::Anything => {}
                _ if between == Between::AllWithinPart
                    && !c.is_alphabetic()
                    && !PARTS.contains(c) => {}
                Kind::Gap if gaps < GAPS_MAX => gaps += 1,
                Kind::Gap | Kind::Other => break,
            }
        }
        run
    }

    fn write(&self, out: &mut String) {
        let count = self.digits.len();
        let first = count.saturating_sub(LAST + HIDDEN_MIN).min(FIRST_MAX);
        out.extend(self.digits.iter().take(first));
        out.push_str(HIDDEN);
        out.extend(self.digits.iter().skip(count - LAST));
    }
}

/// How long what stands here is, where it is no number though it has digits.
fn kept_length(text: &str, at: usize) -> Option<usize> {
    let (before, rest) = text.split_at_checked(at)?;
    let is_word = |c: char| c.is_alphanumeric();
    if let Some(uuid) = rest.get(..UUID_CHARS) {
        let is_uuid = uuid.bytes().enumerate().all(|(place, byte)| {
            if UUID_HYPHENS.contains(&place) { byte == b'-' } else { byte.is_ascii_hexdigit() }
        });
        let ends = !rest.get(UUID_CHARS..).unwrap_or_default().starts_with(is_word);
        // One of digits alone could be anything.
        if is_uuid
            && ends
            && !before.ends_with(is_word)
            && uuid.bytes().any(|byte| byte.is_ascii_alphabetic())
        {
            return Some(UUID_CHARS);
        }
    }
    if before.ends_with('@') || before.ends_with("//") {
        let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let address = rest.get(..length)?;
        return address.parse::<std::net::Ipv4Addr>().is_ok().then_some(length);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_lose_their_middle_and_nothing_else_does() {
        for (text, shown) in [
            ("+15551234567", "+1555***67"),
            ("15551234567", "1555***67"),
            ("+1 (555) 123-4567", "+1555***67"),
            ("0049 30 1234567", "0049***67"),
            ("1_555_123_4567", "1555***67"),
            ("rec_20261130_15551234567.wav", "rec_2026***67.wav"),
            ("12345", "***45"),
            ("123456", "***56"),
            ("1234567", "1***67"),
            ("1234", "1234"),
            ("112", "112"),
            ("anonymous", "anonymous"),
            ("", ""),
            (
                "sip:+15551234567@10.20.30.40:5060;user=phone",
                "sip:+1555***67@10.20.30.40:5060;user=phone",
            ),
            (
                "\"Bob 15551234567\" <sip:bob@example.com>",
                "\"Bob 1555***67\" <sip:bob@example.com>",
            ),
            ("tel:+1-555-123-4567;ext=9876543", "tel:+1555***67;ext=9***43"),
            ("9351f46a-678c-43f5-b8a6-d4eb58d131af", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
            ("http://192.168.10.25:3000/x", "http://192.168.10.25:3000/x"),
            ("12.34.56.78", "12***78"),
            ("c15551234567x@host", "c1555***67x@host"),
            ("１５５５１２３４５６７", "１５５５***６７"),
            ("٠١٢٣٤٥٦٧٨٩", "٠١٢٣***٨٩"),
            ("①②③④⑤⑥", "***⑤⑥"),
            ("sip:%2B%31%35%35%35%31%32%33%34@h", "***"),
            ("sip:%2B1%35551234567@h", "sip:%2B1%3555***67@h"),
            ("call +15551234567 or +15557654321", "call +1555***67 or +1555***21"),
            ("11111111-1111-1111-1111-111111111111", "1111***11"),
        ] {
            assert_eq!(mask_numbers(text), shown, "{text}");
        }
        assert_eq!(mask_party("+1_555_123_4567"), "+1555***67");
        for (party, shown) in [
            ("bob_12_34", "bob_12_34"),
            ("sip:+1_555_123_4567@10.20.30.40:5060", "sip:+1555***67@10.20.30.40:5060"),
            ("tel:+1*555*123*4567;ext=12", "tel:+1555***67;ext=12"),
            ("\"555  -  1234567\" <sip:bob@1.2.3.4:5060>", "\"5551***67\" <sip:bob@1.2.3.4:5060>"),
            ("sip:%2B15551234567@h", "sip:%2B1555***67@h"),
        ] {
            assert_eq!(mask_party(party), shown, "{party}");
        }
    }

    proptest! {
        #[test]
        fn no_number_stands_in_what_is_left(
            digits in "[0-9]{5,20}",
            before in "[a-z+:@/<\" ]{0,8}",
            after in "[a-z@;>\" ]{0,8}",
        ) {
            let text = format!("{before}{digits}{after}");
            let masked = mask_numbers(&text);
            prop_assert!(!masked.contains(&digits), "{text} {masked}");
            prop_assert_eq!(mask_numbers(&masked).into_owned(), masked.clone().into_owned());
            // Those that differ in their middle alone look alike.
            let mut other: Vec<u8> = digits.clone().into_bytes();
            let hidden = digits.len() - LAST - 1;
            other[hidden] = if other[hidden] == b'9' { b'0' } else { other[hidden] + 1 };
            let other = format!("{before}{}{after}", String::from_utf8(other).unwrap());
            prop_assert_eq!(mask_numbers(&other).into_owned(), masked.into_owned());
        }

        #[test]
        fn any_text_is_masked_without_a_panic(text in "\\PC{0,60}") {
            let masked = mask_numbers(&text).into_owned();
            prop_assert_eq!(mask_numbers(&masked).into_owned(), masked.clone());
            let _either = mask_party(&text);
        }
    }
}
