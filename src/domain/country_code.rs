//! Country codes of numbers in the form of E.164.

/// Country codes of two digits. `1` and `7` have one, all others three: no code begins another one.
const OF_TWO_DIGITS: [[u8; 2]; 44] = [
    *b"20", *b"27", *b"30", *b"31", *b"32", *b"33", *b"34", *b"36", *b"39", *b"40", *b"41", *b"43",
    *b"44", *b"45", *b"46", *b"47", *b"48", *b"49", *b"51", *b"52", *b"53", *b"54", *b"55", *b"56",
    *b"57", *b"58", *b"60", *b"61", *b"62", *b"63", *b"64", *b"65", *b"66", *b"81", *b"82", *b"84",
    *b"86", *b"90", *b"91", *b"92", *b"93", *b"94", *b"95", *b"98",
];

/// The country code with which a number begins, `+` included: `+44` of `+442071838750`. None where the number
/// does not begin with `+` and a whole code. What follows the code does not count, so that a search by
/// that prefix finds the same calls.
pub fn country_code(number: &str) -> Option<&str> {
    let digits = number.strip_prefix('+')?.as_bytes();
    let length = match digits {
        [b'1' | b'7', ..] => 1,
        [a, b, ..] if OF_TWO_DIGITS.contains(&[*a, *b]) => 2,
        [b'2'..=b'9', b, c, ..] if b.is_ascii_digit() && c.is_ascii_digit() => 3,
        _ => return None,
    };
    number.get(..=length)
}

#[cfg(test)]
mod tests {
    use super::country_code;

    #[test]
    fn a_code_has_as_many_digits_as_its_zone_gives_it() {
        for (number, code) in [
            ("+15551234567", "+1"),
            ("+78123456789", "+7"),
            ("+442071838750", "+44"),
            ("+982112345678", "+98"),
            ("+20", "+20"),
            ("+35312345678", "+353"),
            ("+999123", "+999"),
            ("+49 30 / 1234", "+49"),
            ("+1é", "+1"),
        ] {
            assert_eq!(country_code(number), Some(code), "{number}");
        }
        for none in [
            "",
            "+",
            "+0",
            "+021",
            "15551234567",
            "0044",
            "+2",
            "+21",
            "+35a",
            "+3é",
            "bob",
            "++44",
        ] {
            assert_eq!(country_code(none), None, "{none}");
        }
    }

    #[test]
    fn no_code_begins_another_one() {
        let codes: std::collections::BTreeSet<_> =
            (100..1000).filter_map(|n| country_code(&format!("+{n}")).map(str::to_owned)).collect();
        assert!(codes.len() > 250, "{codes:?}");
        for code in &codes {
            let longer = codes.iter().find(|other| *other != code && other.starts_with(code));
            assert_eq!(longer, None, "{code}");
        }
    }
}
