//! Parts of numbers and of SIP users, however both are written.
//!
//! A party is *folded* before it is compared, and so is a part that is looked for:
//!
//! 1. Of a URI the user counts: what stands between `<` and `>`, where a name stands before it; without
//!    `sip:`, `sips:` or `tel:`; up to `@`, and up to `;` or `:` before that. Where there is no `@`, up
//!    to `;`, `:` or `?`.
//! 2. Escapes of URIs are taken off once (`%2B1555` is `+1555`), unless what they leave is not UTF-8.
//! 3. Characters are replaced by those that they are compatible with (Unicode, NFKC: `１` is `1`), and
//!    decimal digits of any script by ASCII ones.
//! 4. Upper and lower case are the same.
//! 5. Of all this the letters and digits are left, in their order: no `+`, blanks, brackets, hyphens,
//!    dots.
//!
//! So a number is its digits, and `+1 (555) 123` is a part of `0015551234`. A leading `00` is two digits
//! like others: it is no part of a number that is written with `+`.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use super::symbols::decimal;

/// The fewest letters and digits of a part: fewer stand in almost everything.
pub const PART_CHARS_MIN: usize = 3;

/// What a URI of a party may begin with.
const SCHEMES: [&str; 3] = ["sip:", "sips:", "tel:"];

/// A part of a number or of a SIP user, folded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartyPart(Box<str>);

impl PartyPart {
    /// The part that a text means; none where fewer than [`PART_CHARS_MIN`] letters and digits are left
    /// of it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::short(text).filter(|part| part.0.chars().count() >= PART_CHARS_MIN)
    }

    /// The same, of one letter or digit at least.
    pub fn short(text: &str) -> Option<Self> {
        let folded = fold_party(text);
        (!folded.is_empty()).then(|| Self(folded.into()))
    }

    /// Whether any of these stands in a number, a SIP user or the user of a URI.
    pub fn any_in(parts: &[Self], party: &str) -> bool {
        !parts.is_empty() && {
            let folded = fold_party(party);
            parts.iter().any(|part| folded.contains(&*part.0))
        }
    }

    /// Its letters and digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The letters and digits that a party is compared by. Stored heads have them: where this changes, so does
/// the layout of the index.
pub fn fold_party(text: &str) -> Cow<'_, str> {
    let user = user_of(text);
    let bare = user.strip_prefix('+').unwrap_or(user);
    // Most parties are plain numbers.
    if bare.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()) {
        return Cow::Borrowed(bare);
    }
    let unescaped = without_escapes(user);
    let mut folded = String::with_capacity(user.len());
    for c in unescaped.nfkc() {
        if let Some(digit) = decimal(c) {
            folded.push(char::from(digit));
        } else {
            // By way of upper case: there is more than one small sigma.
            let lower = c.to_uppercase().flat_map(char::to_lowercase);
            folded.extend(lower.filter(|c| c.is_alphanumeric()));
        }
    }
    Cow::Owned(folded)
}

/// The user of a URI; all of what is none.
fn user_of(text: &str) -> &str {
    let uri = match text.rsplit_once('<') {
        Some((_, uri)) => uri.split('>').next().unwrap_or_default(),
        None => text,
    };
    let uri = uri.trim_start();
    let scheme = SCHEMES.iter().find_map(|scheme| {
        let (begin, rest) = uri.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let uri = scheme.unwrap_or(uri);
    let (user, ends): (_, &[char]) = match uri.split_once('@') {
        Some((user, _)) => (user, &[';', ':']),
        None => (uri, &[';', ':', '?']),
    };
    user.split(ends).next().unwrap_or_default()
}

/// A text with each `%41` replaced by the byte that it stands for; as it is where that makes no text.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let hex = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = hex(after.first()).zip(hex(after.get(1))).map(|(high, low)| high * 16 + low);
        let code = code.filter(|_| *first == b'%').and_then(|code| u8::try_from(code).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}
