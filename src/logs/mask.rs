//! Telephone numbers in texts that are logged.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Fewer digits in a row are no telephone number.
const DIGITS_MIN: usize = 5;
/// The same beside letters, as in `call_15551234567`.
const RUN_MIN: usize = 7;
/// Digits of a number that are shown.
const SHOWN: usize = 2;

/// Whether numbers are shown as they are.
static FULL: AtomicBool = AtomicBool::new(false);

/// Shows numbers as they are from now on, or no longer. The process has one log.
pub fn show_numbers(full: bool) {
    FULL.store(full, Ordering::Relaxed);
}

/// A text whose telephone numbers are masked, unless the configuration wants them whole: each word
/// of five digits or more, with or without a `+`, keeps its last two, as do seven digits or more in
/// a word that is no part of a uuid. For texts that may repeat what a caller wrote, such as errors.
pub fn masked(text: &str) -> Cow<'_, str> {
    if FULL.load(Ordering::Relaxed) { Cow::Borrowed(text) } else { mask(text) }
}

fn mask(text: &str) -> Cow<'_, str> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    let mut changed = false;
    while let Some(start) = rest.find(in_word) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !in_word(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(before);
        changed |= mask_word(word, &mut out);
        rest = after;
    }
    if !changed {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Adds a word, and says whether anything in it was masked.
fn mask_word(word: &str, out: &mut String) -> bool {
    let least = match word.len() {
        _ if word.bytes().all(|byte| byte.is_ascii_digit()) => DIGITS_MIN,
        // The long parts of a uuid, and one without hyphens.
        8 | 12 | 32 if word.bytes().all(|byte| byte.is_ascii_hexdigit()) => usize::MAX,
        _ => RUN_MIN,
    };
    let mut changed = false;
    let mut rest = word;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        out.push_str(before);
        if run.len() >= least {
            out.push_str("***");
            out.push_str(run.get(run.len() - SHOWN..).unwrap_or_default());
            changed = true;
        } else {
            out.push_str(run);
        }
        rest = after;
    }
    out.push_str(rest);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_last_two_digits_and_other_words_stay() {
        for (text, shown) in [
            ("+15551234567", "+***67"),
            (
                "from sip:15551234567@10.0.0.5:5060 to 12345",
                "from sip:***67@10.0.0.5:5060 to ***45",
            ),
            (
                "the call 9351f46a-678c-43f5-b8a6-d4eb58d131af",
                "the call 9351f46a-678c-43f5-b8a6-d4eb58d131af",
            ),
            ("call_15551234567 x1234567y 1234", "call_***67 x***67y 1234"),
            ("é15551234567é", "é***67é"),
            (
                "ab123456 0123456789abcdef0123456789abcde1",
                "ab123456 0123456789abcdef0123456789abcde1",
            ),
            ("", ""),
        ] {
            assert_eq!(mask(text), shown, "{text}");
        }
    }
}
