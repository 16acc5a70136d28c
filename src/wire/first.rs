//! A look at whose the first event of a body is, before anything of it is believed: nothing is kept of
//! what is passed over, and no byte is looked at more than twice.

use crate::domain::AccountSid;

/// How far into a body is looked.
const LOOK_BYTES_MAX: usize = 1024 * 1024;
/// White space in one place.
const BLANK_BYTES_MAX: usize = 16 * 1024;
/// The longest key or text that may be one of those that are looked for, with its escapes.
const WORD_BYTES_MAX: usize = 256;

/// The account that the first event of a body names: of an object, of the first one of an array or
/// of lines, or of the `data` of a WebSocket message. None where there is none, or where it is too
/// far from the beginning. The body need not be valid beyond that, so that its events have to be
/// looked at again once they are read.
pub fn first_account(body: &[u8]) -> Option<AccountSid> {
    let mut look = Cursor(body.get(..LOOK_BYTES_MAX).unwrap_or(body));
    look.blanks();
    if look.takes(b'[') {
        look.blanks();
    }
    let Names { own, message, data } = look.object(true);
    if message { data.or(own) } else { own }
}

/// What an object names.
#[derive(Default)]
struct Names {
    own: Option<AccountSid>,
    /// It says that it is the message of a status.
    message: bool,
    data: Option<AccountSid>,
}

/// What has not been looked at.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Passes over so many bytes and returns them.
    fn pass(&mut self, bytes: usize) -> &'a [u8] {
        let (passed, rest) = self.0.split_at_checked(bytes).unwrap_or((self.0, &[]));
        self.0 = rest;
        passed
    }

    fn takes(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.pass(1);
        }
        there
    }

    /// White space, and a byte order mark.
    fn blanks(&mut self) {
        if let Some(rest) = self.0.strip_prefix(super::csv::BOM.as_slice()) {
            self.0 = rest;
        }
        let near = self.0.iter().take(BLANK_BYTES_MAX);
        let blanks = near.take_while(|byte| byte.is_ascii_whitespace()).count();
        self.pass(blanks);
    }

    /// What an object says, up to its end or to where it makes no sense.
    fn object(&mut self, outer: bool) -> Names {
        let mut names = Names::default();
        if !self.takes(b'{') {
            return names;
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return names;
            }
            let key = self.string();
            self.blanks();
            if !self.takes(b':') {
                return names;
            }
            self.blanks();
            let key = word(key);
            match key.as_deref() {
                Some("account_sid" | "accountSid") if self.peek() == Some(b'"') => {
                    names.own = word(self.string()).and_then(|text| text.parse().ok());
                }
                Some("type") if outer && self.peek() == Some(b'"') => {
                    names.message = word(self.string()).as_deref() == Some(super::MESSAGE_TYPE);
                }
                Some("data") if outer && self.peek() == Some(b'{') => {
                    let mut inside = Cursor(self.value());
                    names.data = inside.object(false).own;
                }
                _ => {
                    self.value();
                }
            }
            self.blanks();
            if !self.takes(b',') {
                return names;
            }
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> &'a [u8] {
        let mut escaped = false;
        let end = self.0.iter().skip(1).position(|&byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        self.pass(end.map_or(self.0.len(), |end| end + 2))
    }

    /// Any value.
    fn value(&mut self) -> &'a [u8] {
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        let end = self.0.iter().position(|&byte| {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                return false;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                // What comes after a value at this depth.
                b',' | b'}' | b']' if depth == 0 => return true,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            false
        });
        self.pass(end.unwrap_or(self.0.len()))
    }
}

/// The text of a string, where it is a short one.
fn word(quoted: &[u8]) -> Option<String> {
    if quoted.len() > WORD_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(quoted).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Timestamp;
    use crate::wire::{parse_event, pieces};

    const SID: &str = "9351f46a-678c-43f5-b8a6-d4eb58d131af";

    fn named(body: &str) -> bool {
        first_account(body.as_bytes()) == Some(SID.parse().unwrap())
    }

    #[test]
    fn the_account_of_the_first_event_is_found() {
        let own = format!("\"account_sid\":\"{SID}\"");
        let other = own.replace("9351", "0000");
        for body in [
            format!("{{{own}}}"),
            format!(" \n[ {{ {own} ,\"x\":1}},{{{other}}}]"),
            format!("\u{feff}{{{own}}}"),
            format!("\u{feff}[{{{own}}}]"),
            format!("\r\n\n{{\"a\":1,{own}}}\n{{{other}}}"),
            format!("{{\"a\":[{{{other}}},\"]\\\"\"],\"data\":{{{other}}},{own}}}"),
            format!("{{\"accountSid\" : \"{}\"}}", SID.to_uppercase()),
            format!("{{\"account\\u005fsid\":\"{SID}\"}}"),
            format!("{{{other},{own}}}"),
            format!("{{\"type\":\"call:status\",\"data\":{{\"x\":{{}},{own}}}}}"),
            format!("{{{other},\"data\":{{{own}}},\"type\":\"call:status\"}}"),
            format!("{{\"type\":\"call:status\",{own}}}"),
            format!("{{\"x\":\"{}\",{own}}}", "y".repeat(100_000)),
        ] {
            assert!(named(&body), "{body}");
        }
        for body in [
            String::new(),
            "[]".to_owned(),
            "7".to_owned(),
            format!("[[{{{own}}}]]"),
            format!("{{\"account_sid\":[\"{SID}\"]}}"),
            format!("{{\"a\":{{{own}}}}}"),
            format!("{{\"data\":{{{own}}}}}"),
            format!("{{\"type\":\"call:status\",\"data\":{{\"data\":{{{own}}}}}}}"),
            format!("{{\"x\":\"{}\",{own}}}", "y".repeat(LOOK_BYTES_MAX)),
            "[".repeat(100_000),
            "{\"a\":".repeat(100_000),
        ] {
            assert_eq!(first_account(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_fail(body in "[\\[\\]{},\":a\\\\ \n]{0,60}") {
            first_account(body.as_bytes());
        }

        /// What is taken in the end is of the account that was seen first.
        #[test]
        fn it_sees_what_a_reader_of_json_reads(
            before in "[a-c\\\\\"\u{e9}{}\\[\\]:, ]{0,12}",
            nested in any::<bool>(),
            wrapped in any::<bool>(),
        ) {
            let text = serde_json::to_string(&before).unwrap();
            let value = if nested { format!("{{{text}:[{text}]}}") } else { text.clone() };
            let event = format!(
                "{{{text}:{value},\"call_sid\":\"{SID}\",\"direction\":\"inbound\",\
                 \"account_sid\":\"{SID}\",\"y\":{value}}}"
            );
            let body = if wrapped {
                format!("[{{\"data\":{event},\"msgid\":{text},\"type\":\"call:status\"}}]")
            } else {
                event
            };
            let first = pieces(&body, false).unwrap()[0];
            let parsed = parse_event(first, Timestamp::default(), "").unwrap();
            prop_assert_eq!(first_account(body.as_bytes()), Some(parsed.id.account));
        }
    }
}
