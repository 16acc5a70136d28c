use super::number::{Number, Sighting, fold, party_parts};

const ASKED: &str = "+15551230001";

fn number(text: &str) -> Number {
    Number::parse(text).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn a_number_is_given_in_any_writing_and_alone() {
    for text in [
        ASKED,
        "0015551230001",
        " +1 (555) 123-0001 ",
        "tel:+1-555-123-0001",
        "sip:0015551230001@h",
        "\u{ff0b}\u{ff11}5551230001",
    ] {
        assert_eq!(number(text), number(ASKED), "{text}");
    }
    assert_ne!(number("15551230001"), number(ASKED), "it may be a national one");
    for wrong in ["", "+", "1234", "+1555x12345", "bob", "sip:bob@15551230001", &"1".repeat(33)] {
        assert_eq!(Number::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_party_is_the_number_however_it_is_written() {
    let number = number(ASKED);
    for same in [
        "+15551230001",
        "15551230001",
        "0015551230001",
        "+1 (555) 123-0001",
        "+1 (0) 555 123 0001",
        "+1\u{a0}555\u{a0}123\u{a0}0001",
        "+1\u{2011}555\u{2013}123\u{2212}0001",
        "\u{202a}+15551230001\u{202c}",
        "\u{ff0b}\u{ff11}\u{ff15}\u{ff15}\u{ff15}\u{ff11}\u{ff12}\u{ff13}\u{ff10}\u{ff10}\u{ff10}\u{ff11}",
        "+\u{661}\u{665}\u{665}\u{665}\u{661}\u{662}\u{663}\u{660}\u{660}\u{660}\u{661}",
        "+\u{1d7cf}5551230001",
        "+1\u{fe0f}\u{20e3}5551230001",
        "sip:0015551230001@example.com",
        "sips:+15551230001@example.com;transport=tls",
        "sip:+15551230001;phone-context=x@example.com;user=phone",
        "SIP:%2B15551230001@example.com",
        "sip:%31%35%35%351230001@example.com",
        "sip:%EF%BC%915551230001@example.com",
        "sip:%252B15551230001@example.com",
        "tel:+1-555-123-0001",
        "tel:+1-555-123-0001;ext=12",
        "\"Bob\" <sip:+15551230001@example.com>;tag=1",
        "Bob <tel:+1.555.123.0001>",
        "\"+1 555 123 0001\" <sip:anonymous@anonymous.invalid>",
        "+15551230001@example.com",
        "\\u002b\\u0031\\u0035551230001",
    ] {
        assert_eq!(number.is_party(same), Some(Sighting::Certain), "{same}");
    }
    for unclear in [
        "5551230001",
        "1230001",
        "05551230001",
        "915551230001",
        "9-15551230001",
        "01115551230001",
        "155512300010",
        "+1_555_123_0001",
        "sip:00*1*555*123*0001@example.com",
        "1,5551230001",
        "1      5551230001#",
    ] {
        assert_eq!(number.is_party(unclear), Some(Sighting::Unclear), "{unclear}");
    }
    for other in [
        "+155512300010",
        "+915551230001",
        "00915551230001",
        "30001",
        "bob",
        "",
        "sip:bob@1.5.5.5",
        "sip:15551230001x@example.com",
        "9_15551230001",
        "230001",
    ] {
        assert_eq!(number.is_party(other), None, "{other}");
    }
}

#[test]
fn a_national_number_may_be_meant_by_an_international_one() {
    let asked = number("5551234");
    assert_eq!(asked.is_party("5551234"), Some(Sighting::Certain));
    for unclear in
        ["0015551234", "+15551234", "+1 555 1234", "+1-5551234", "05551234", "15551234", "55512349"]
    {
        assert_eq!(asked.is_party(unclear), Some(Sighting::Unclear), "{unclear}");
    }
    for text in ["call +1 555 1234", "0015551234"] {
        assert_eq!(asked.stands_in(text), Some(Sighting::Unclear), "{text}");
    }
    assert_eq!(asked.stands_in("10 555 1234"), Some(Sighting::Certain));
    assert_eq!(number("0015551234").is_party("5551234"), Some(Sighting::Unclear));
}

#[test]
fn it_is_found_in_any_text_as_a_number_of_its_own() {
    let number = number(ASKED);
    for text in [
        "15551230001",
        "tel:+15551230001;x",
        "a15551230001b",
        "10 15551230001 20",
        "call +1 (555) 123-0001 back",
        "{\"n\":\"\\u0031\\u0035\\u0035\\u00351230001\"}",
        "\"{\\\"n\\\":\\\"\\\\u00315551230001\\\"}\"",
        "a\\/15551230001",
        "a%3D1%35551230001",
        // As it stands it is there, whatever the escapes would make of it.
        "50%15551230001",
        "C:\\u15551230001",
    ] {
        assert_eq!(number.stands_in(text), Some(Sighting::Certain), "{text}");
    }
    for text in ["call 915551230001", "call 555-123-0001", "0 5551230001 x"] {
        assert_eq!(number.stands_in(text), Some(Sighting::Unclear), "{text}");
    }
    // Ids in hexadecimal have digits of anything.
    for id in ["4bf92f5551230001ce929d0e", "a1230001", "1230001f", "91aa915551230001b"] {
        assert_eq!(number.stands_in(id), None, "{id}");
    }
    assert_eq!(number.stands_in("ext:1230001, x"), Some(Sighting::Unclear));
    for text in ["155512300012", "+915551230001", "1555123000", "", "15551\n230001", "1555,123001"]
    {
        assert_eq!(number.stands_in(text), None, "{text}");
    }
}

#[test]
fn a_byte_beside_it_hides_it_nowhere() {
    let number = number(ASKED);
    // The length of a text may look like a digit, and so may what stands behind it.
    for bytes in [&b"215551230001"[..], b"\x00155512300019", b"+155512300017"] {
        assert_eq!(number.stands_in_bytes(bytes), Some(Sighting::Unclear), "{bytes:?}");
    }
    for bytes in
        [&b"\xff\xfe15551230001\x80"[..], b"\xef\xbc\x915551230001", b"\\\\u00315551230001"]
    {
        assert_eq!(number.stands_in_bytes(bytes), Some(Sighting::Certain), "{bytes:?}");
    }
    // Far from the beginning, between other escapes.
    let far = [&b"%20"[..], &[b'x'; 9000], b"\\u0031555123%30001 \\u0020", &[b'y'; 5000]].concat();
    assert_eq!(number.stands_in_bytes(&far), Some(Sighting::Certain));
    assert_eq!(number.stands_in_bytes(b"5551230001 1555123000 \xef\xbc"), None);
    // Behind more digits than are looked at together.
    let long = [vec![b'7'; 5000], b" 15551230001".to_vec()].concat();
    assert_eq!(number.stands_in_bytes(&long), Some(Sighting::Certain));
    let long = [vec![b'7'; 5000], b"15551230001".to_vec()].concat();
    assert!(number.stands_in_bytes(&long).is_some());
}

#[test]
fn the_parts_of_an_address_are_who_it_names() {
    for (address, parts) in [
        ("\"Bob B\" <sip:bob:secret@h;x>;y", &["bob", "Bob B"][..]),
        ("tel:+1-555;ext=1", &["+1-555"]),
        ("+1 555", &["+1 555"]),
        ("<sip:a@b>", &["a"]),
        ("\"Bob <work>\" <sip:+1555@h>", &["work", "Bob", "+1555", "Bob <work>"]),
        ("", &[]),
    ] {
        assert_eq!(party_parts(address), parts, "{address}");
    }
    assert_eq!(fold("\u{ff33}\u{ff29}\u{ff30}\u{ff1a}\u{ff12}\u{a0}\u{96a}"), "SIP:2 4");
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes: Vec<u8>, text: String) {
        let number = number(ASKED);
        let _any = number.stands_in_bytes(&bytes);
        let _any = (number.stands_in(&text), number.is_party(&text), Number::parse(&text));
    }

    #[test]
    fn any_digits_and_gaps_are_the_number(
        zeros in proptest::collection::vec(0..super::symbols::ZEROS.len() + 1, 11),
        gaps in proptest::collection::vec("[ .()\u{a0}\u{2010}\u{2060}/-]{0,2}", 11),
    ) {
        let mut written = "+".to_owned();
        for ((digit, zero), gap) in "15551230001".bytes().zip(zeros).zip(gaps) {
            let zero = super::symbols::ZEROS.get(zero).copied().unwrap_or(0x30);
            written.push(char::from_u32(zero + u32::from(digit - b'0')).unwrap());
            written.push_str(&gap);
        }
        let number = number(ASKED);
        proptest::prop_assert_eq!(number.is_party(&written), Some(Sighting::Certain), "{}", written);
        let within = format!("x {written} y");
        proptest::prop_assert_eq!(number.stands_in(&within), Some(Sighting::Certain));
        proptest::prop_assert!(number.stands_in_bytes(within.as_bytes()) == Some(Sighting::Certain));
    }
}
