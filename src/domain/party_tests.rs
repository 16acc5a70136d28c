//! Folding: a table of what is the same, and laws.

use proptest::prelude::*;
use proptest::sample::select;

use super::party::{PART_CHARS_MIN, PartyPart, fold_party};

#[test]
fn a_party_is_the_letters_and_digits_of_its_user() {
    for (text, expected) in [
        ("+1 (555) 123", "1555123"),
        ("0015551234", "0015551234"),
        ("+1-555-123.0001/2", "155512300012"),
        ("sip:alice@host;user=phone", "alice"),
        ("sip:+15551230001;phone-context=x@host:5060", "15551230001"),
        ("SIPS:Alice@host", "alice"),
        ("tel:+1-555-123-0001;ext=7", "15551230001"),
        ("\"Bob <1>\" <sip:carol@host;transport=tcp>;tag=5", "carol"),
        ("Bob <sip:+1 555 123@host", "1555123"),
        ("<tel:+1555>", "1555"),
        ("alice@sip.example.com", "alice"),
        ("alice:secret@host", "alice"),
        ("sip:host.example:5060", "hostexample"),
        ("sip:a?b@host", "ab"),
        ("sip:host?subject=x", "host"),
        ("  sip:alice@host", "alice"),
        ("Alice.Smith-2", "alicesmith2"),
        ("agent 007", "agent007"),
        ("sip:%2B1555%20123@host", "1555123"),
        ("%2B1555", "1555"),
        ("100%", "100"),
        ("sip:%ff1555@host", "ff1555"),
        ("sip:M%C3%BCller@host", "müller"),
        ("MU\u{308}LLER", "müller"),
        ("\u{ff0b}\u{ff11}\u{ff15}\u{ff15}", "155"),
        ("\u{0661}\u{0662}\u{0663}", "123"),
        ("1\u{fe0f}\u{20e3}2\u{fe0f}\u{20e3}", "12"),
        ("+1\u{202a}555\u{a0}123\u{202c}", "1555123"),
        ("Straße", "strasse"),
        ("ΟΔΟΣ", "οδοσ"),
        ("οδος", "οδοσ"),
        ("東京", "東京"),
        ("sip:@host", ""),
        ("<", ""),
        ("+", ""),
        ("", ""),
        (";user=phone", ""),
    ] {
        assert_eq!(fold_party(text), expected, "{text}");
    }
}

#[test]
fn a_part_has_three_letters_and_digits_at_least() {
    for text in
        ["", "12", "+1 (5", "a-b", "%31%32", "@example.org", "sip:ab@long.host", "é1", "..."]
    {
        assert_eq!(PartyPart::parse(text), None, "{text}");
    }
    for text in ["123", "+12-3", "abc", "a1é", "東京都", "ab@x c", "%31%32%33"] {
        let expected = !text.contains('@');
        assert_eq!(PartyPart::parse(text).is_some(), expected, "{text}");
    }
}

#[test]
fn a_part_stands_where_its_digits_and_letters_stand_together() {
    for (part, party, expected) in [
        ("+1 (555) 123", "0015551234", true),
        ("0015551", "+15551234", false),
        ("15551", "+15551234", true),
        ("123", "+44 12 34", true),
        ("CAROL", "sip:carol@example.org;transport=tcp", true),
        ("example", "sip:carol@example.org", false),
        ("tcp", "sip:carol@example.org;transport=tcp", false),
        ("sip:car", "sip:carol@example.org", true),
        ("bob", "\"Bob\" <sip:1000@host>", false),
        ("smith", "alice.smith", true),
        ("alice smith", "Alice.Smith", true),
        ("e123", "alice123", true),
        ("muller", "müller", false),
        ("123", "1a2b3", false),
        ("1234", "123", false),
    ] {
        let parts = [PartyPart::parse(part).unwrap()];
        assert_eq!(PartyPart::any_in(&parts, party), expected, "{part} in {party}");
    }
    let any = ["999", "555"].map(|part| PartyPart::parse(part).unwrap());
    assert!(PartyPart::any_in(&any, "+1555") && !PartyPart::any_in(&any, "+1444"));
    assert!(!PartyPart::any_in(&[], "+1555"));
}

/// A number, and the same with blanks, brackets, hyphens and dots in it.
fn written() -> impl Strategy<Value = (String, String)> {
    let gaps = ["", "", "", " ", "-", ".", "(", ")", "/", "\u{a0}", "\u{2011}", " - "];
    let digits = proptest::collection::vec((0..10_u8, select(gaps.to_vec())), 3..16);
    (digits, select(vec!["", "+", "(", "tel:", "sip:", " "])).prop_map(|(digits, begin)| {
        let number: String = digits.iter().map(|(digit, _)| digit.to_string()).collect();
        let mut written = begin.to_owned();
        for (digit, gap) in digits {
            written.push_str(&digit.to_string());
            written.push_str(gap);
        }
        (number, written)
    })
}

proptest! {
    #[test]
    fn how_a_number_is_written_does_not_matter((number, written) in written()) {
        prop_assert_eq!(fold_party(&written), number.as_str());
        prop_assert_eq!(PartyPart::parse(&written), PartyPart::parse(&number));
    }

    #[test]
    fn every_part_of_a_number_is_found_however_both_are_written(
        (number, written) in written(), (other, otherwise) in written(),
        from in 0..16_usize, length in PART_CHARS_MIN..16,
    ) {
        let from = from.min(number.len() - PART_CHARS_MIN);
        let part = &number[from..(from + length).min(number.len())];
        let spaced: String = part.chars().flat_map(|digit| [digit, ' ']).collect();
        for part in [part, &spaced] {
            let parts = [PartyPart::parse(part).unwrap()];
            prop_assert!(PartyPart::any_in(&parts, &written), "{} in {}", part, written);
            let uri = format!("<{written};phone-context=x@h>");
            prop_assert!(PartyPart::any_in(&parts, &uri), "{} in {}", part, uri);
        }
        let of = |part: &str, party: &str| {
            PartyPart::any_in(&[PartyPart::parse(part).unwrap()], party)
        };
        let expected = number.contains(&other);
        prop_assert_eq!(of(&other, &number), expected);
        prop_assert_eq!(of(&otherwise, &written), expected);
        prop_assert_eq!(of(&otherwise, &number), expected);
    }

    #[test]
    fn letters_and_digits_are_left(text in any::<String>(), escaped in "[%0-9a-fA-F]{0,12}") {
        for text in [text, escaped] {
            let folded = fold_party(&text);
            prop_assert!(folded.chars().all(char::is_alphanumeric), "{}", folded);
        }
    }

    #[test]
    fn case_does_not_matter(text in "[ -$&-~]{0,30}") {
        let folded = fold_party(&text);
        for same in [text.to_ascii_uppercase(), text.to_ascii_lowercase(), folded.to_string()] {
            prop_assert_eq!(fold_party(&same), &*folded);
        }
    }
}
