//! Telephone numbers in any spelling: `+1 (555) 123-0001`, `0015551230001`,
//! `"Bob" <sip:+15551230001@host>`, `tel:+1-555-123-0001`, with full-width or Arabic digits, with
//! escapes of JSON or of URIs. What counts are the digits of the user part.
//!
//! Text is read as a row of *runs*: digits with nothing but gaps (blanks, hyphens, brackets) between
//! them. Escapes may be part of the text as well as of its writing (`%15559990001`), so text is looked
//! at as it stands and once more for each layer of escapes that comes off.

use unicode_normalization::char::decompose_compatible;

use super::symbols::{Symbol, decimal, each_layer, each_symbol, is_gap};

/// The fewest digits of a number: fewer stand in everything.
pub const NUMBER_DIGITS_MIN: usize = 5;
/// The most digits: E.164 has 15, and some networks put a prefix before them.
pub const NUMBER_DIGITS_MAX: usize = 32;
/// Digits from which on a number without its country or area may be meant by another one.
const LOCAL_DIGITS_MIN: usize = 7;
/// Digits before a number that may be a prefix that was dialled: `0`, `9`, `011`.
const PREFIX_DIGITS_MAX: usize = 6;
/// Gaps between two digits of one number.
const GAPS_MAX: usize = 4;
/// Digits of a run that are looked at together.
const RUN_DIGITS_MAX: usize = 1024;
/// Bytes that a number may take as it is written, escapes and gaps included.
pub const NUMBER_BYTES_MAX: usize = 1024;

/// A telephone number, as its digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    digits: Vec<u8>,
    /// It was given with its country: `+` or `00`.
    international: bool,
}

/// How sure it is that a number stands somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sighting {
    /// Digits of it stand there as a part of more, or without its country: it may be another one.
    Unclear,
    /// It stands there as a number of its own.
    Certain,
}

/// What stands between a digit and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Digit,
    Gap,
    Plus,
}

/// Where a text is from decides how much is made of a part of a number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextSource {
    /// A part of an address that names a party.
    Party,
    /// Any text.
    Text,
    /// Bytes of a file: what stands beside a number may be no part of any text.
    Bytes,
}

impl Number {
    /// The number in a text; none where there is not one alone.
    pub fn parse(text: &str) -> Option<Self> {
        let folded = fold(text);
        let parts: Vec<&str> = party_parts(&folded).into_iter().filter(|p| is_bare(p)).collect();
        let [part] = parts.as_slice() else { return None };
        let mut digits: Vec<u8> = part.bytes().filter(u8::is_ascii_digit).collect();
        let mut international = part.trim_start().starts_with('+');
        if !international && digits.starts_with(b"00") {
            digits.drain(..2);
            international = true;
        }
        let known = (NUMBER_DIGITS_MIN..=NUMBER_DIGITS_MAX).contains(&digits.len());
        known.then_some(Self { digits, international })
    }

    /// Whether the user or the display name of an address is this number and nothing else. One whose
    /// digits have something between them that numbers do not have, and no letter, may be.
    pub fn is_party(&self, address: &str) -> Option<Sighting> {
        let mut best = None;
        each_layer(address.as_bytes(), &mut |bytes| {
            let folded = fold(&String::from_utf8_lossy(bytes));
            for part in party_parts(&folded) {
                best = best.max(if is_bare(part) {
                    self.scan(part.as_bytes(), TextSource::Party)
                } else {
                    self.are_digits_of(part).then_some(Sighting::Unclear)
                });
            }
        });
        best
    }

    /// Whether these are the digits of a folded text without letters, a dialled `00` apart.
    fn are_digits_of(&self, folded: &str) -> bool {
        if folded.chars().any(char::is_alphabetic) {
            return false;
        }
        let digits: Vec<u8> = folded.bytes().filter(u8::is_ascii_digit).collect();
        digits
            .strip_suffix(&*self.digits)
            .is_some_and(|prefix| prefix.is_empty() || prefix == b"00")
    }

    /// Whether it stands anywhere in a text.
    pub fn stands_in(&self, text: &str) -> Option<Sighting> {
        self.layers(text.as_bytes(), TextSource::Text)
    }

    /// Whether it stands in bytes that are not known to be text: one that is a part of more digits is
    /// unclear, since the byte beside it may only look like a digit.
    pub fn stands_in_bytes(&self, bytes: &[u8]) -> Option<Sighting> {
        self.layers(bytes, TextSource::Bytes)
    }

    fn layers(&self, bytes: &[u8], place: TextSource) -> Option<Sighting> {
        let mut best = None;
        each_layer(bytes, &mut |bytes| best = best.max(self.scan(bytes, place)));
        best
    }

    fn scan(&self, bytes: &[u8], place: TextSource) -> Option<Sighting> {
        let mut best = None;
        let mut run = Run::default();
        each_symbol(bytes, &mut |symbol| {
            if !run.take(symbol) {
                run.ends_in_word = symbol == Symbol::Letter && run.gaps == 0 && !run.plus;
                best = best.max(self.in_run(&run, place));
                run.begin(symbol);
            }
        });
        best.max(self.in_run(&run, place))
    }

    fn in_run(&self, run: &Run, place: TextSource) -> Option<Sighting> {
        let size = self.digits.len();
        let mut best = None;
        for (at, digits) in run.digits.windows(size).enumerate() {
            if digits == self.digits {
                best = best.max(self.judged(run, at, place));
            }
        }
        if best.is_none() && place != TextSource::Bytes && self.may_be_meant(run) {
            best = Some(Sighting::Unclear);
        }
        best
    }

    /// What it means that the digits stand at this place of a run.
    fn judged(&self, run: &Run, at: usize, place: TextSource) -> Option<Sighting> {
        let end = at + self.digits.len();
        // All of a party is one number, gaps or not; elsewhere a gap may part two of them.
        let (first, longer) = match place {
            TextSource::Party => (run.number_start(at), run.digits.len() > end),
            TextSource::Text | TextSource::Bytes => (run.group_start(at), run.is_joined(end)),
        };
        let prefix = run.digits.get(first..at).unwrap_or_default();
        // Without a country it may be the rest of any number with one.
        let elsewhere = !self.international
            && place == TextSource::Text
            && run.number_start(at) < at
            && run.is_international(run.number_start(at));
        if !longer && !elsewhere && (prefix.is_empty() || prefix == b"00") {
            return Some(Sighting::Certain);
        }
        let long = self.digits.len() >= LOCAL_DIGITS_MIN;
        let unclear = match place {
            // Both say their country: they are two numbers.
            TextSource::Party | TextSource::Text
                if self.international && run.is_international(first) =>
            {
                false
            }
            TextSource::Party => true,
            TextSource::Text => {
                let short = prefix.len() <= PREFIX_DIGITS_MAX;
                long && !longer && short && !run.is_in_word(first, end)
            }
            TextSource::Bytes => long,
        };
        unclear.then_some(Sighting::Unclear)
    }

    /// Whether a number of this run lacks nothing but the country or the area of this one.
    fn may_be_meant(&self, run: &Run) -> bool {
        let starts = (0..run.digits.len()).filter(|at| !run.is_joined(*at));
        for start in starts.filter(|start| !run.is_international(*start)) {
            let rest = run.digits.get(start..).unwrap_or_default();
            let zeros = rest.iter().take_while(|digit| **digit == b'0').count().min(1);
            let most = rest.len().min(self.digits.len() + zeros - 1);
            for end in (LOCAL_DIGITS_MIN + zeros..=most).rev() {
                let digits = rest.get(zeros..end).unwrap_or_default();
                let is_whole = !run.is_joined(start + end) && !run.is_in_word(start, start + end);
                if is_whole && self.digits.ends_with(digits) {
                    return true;
                }
            }
        }
        false
    }
}

/// Digits with nothing but gaps between them.
#[derive(Default)]
struct Run {
    digits: Vec<u8>,
    before: Vec<Before>,
    gaps: usize,
    plus: bool,
    /// A letter stands directly before its first digit.
    begins_in_word: bool,
    /// A letter stands directly behind its last digit.
    ends_in_word: bool,
}

impl Run {
    /// Takes what comes next; false where it does not belong to this run.
    fn take(&mut self, symbol: Symbol) -> bool {
        match symbol {
            Symbol::Digit(digit) if self.digits.len() < RUN_DIGITS_MAX => {
                let before = match (self.plus, self.gaps) {
                    (true, _) => Before::Plus,
                    (_, 0) if !self.digits.is_empty() => Before::Digit,
                    _ => Before::Gap,
                };
                self.digits.push(digit);
                self.before.push(before);
                (self.gaps, self.plus) = (0, false);
                true
            }
            Symbol::Plus => {
                self.plus = true;
                self.begins_in_word &= !self.digits.is_empty();
                true
            }
            Symbol::Gap if self.gaps < GAPS_MAX || self.digits.is_empty() => {
                self.gaps += 1;
                self.begins_in_word &= !self.digits.is_empty();
                true
            }
            Symbol::Letter | Symbol::Other if self.digits.is_empty() => {
                self.clear(symbol);
                true
            }
            _ => false,
        }
    }

    fn clear(&mut self, symbol: Symbol) {
        (self.gaps, self.plus) = (0, false);
        self.begins_in_word = symbol == Symbol::Letter;
        self.ends_in_word = false;
    }

    /// Whether digits from here to there have a letter directly beside them.
    fn is_in_word(&self, start: usize, end: usize) -> bool {
        let begins = start == 0 && self.begins_in_word;
        begins || (end == self.digits.len() && self.ends_in_word)
    }

    /// Begins another one. Of one that was only too long the end may be the beginning of a number.
    fn begin(&mut self, symbol: Symbol) {
        if matches!(symbol, Symbol::Letter | Symbol::Other | Symbol::Gap) {
            self.digits.clear();
            self.before.clear();
            self.clear(symbol);
            return;
        }
        let kept = self.digits.len().saturating_sub(2 * NUMBER_DIGITS_MAX);
        self.digits.drain(..kept);
        self.before.drain(..kept);
        self.take(symbol);
    }

    /// Whether the digit at this place stands directly behind another one.
    fn is_joined(&self, at: usize) -> bool {
        at > 0 && self.before.get(at) == Some(&Before::Digit)
    }

    /// Where the digits begin that this one stands among without a gap.
    fn group_start(&self, at: usize) -> usize {
        (0..=at).rev().find(|at| !self.is_joined(*at)).unwrap_or(0)
    }

    /// Where a number begins that goes on over gaps: at a plus, or with the run.
    fn number_start(&self, at: usize) -> usize {
        (0..=at).rev().find(|at| self.before.get(*at) == Some(&Before::Plus)).unwrap_or(0)
    }

    /// Whether a number that begins here says its country.
    fn is_international(&self, at: usize) -> bool {
        self.before.get(at) == Some(&Before::Plus)
            || self.digits.get(at..).is_some_and(|digits| digits.starts_with(b"00"))
    }
}

/// A text with every character that stands for an ASCII one replaced by it, and gaps that are not
/// ASCII by a blank. What has no such meaning stays.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            folded.push(c);
        } else if let Some(digit) = decimal(c) {
            folded.push(char::from(digit));
        } else if is_gap(c) {
            folded.push(' ');
        } else {
            decompose_compatible(c, |c| match decimal(c) {
                Some(digit) => folded.push(char::from(digit)),
                None if is_gap(c) && !c.is_ascii() => folded.push(' '),
                None => folded.push(c),
            });
        }
    }
    folded
}

/// The parts of a folded address that name a party: the user of a URI, and the display name.
pub fn party_parts(folded: &str) -> Vec<&str> {
    // A display name may have brackets, too: then there are two places where the address may begin.
    let (first, last) = (folded.split_once('<'), folded.rsplit_once('<'));
    let mut parts = parts_of(first, folded);
    if first != last {
        parts.extend(parts_of(last, folded));
    }
    parts
}

/// The user and the display name, where the address is in brackets that begin there.
fn parts_of<'a>(bracketed: Option<(&'a str, &'a str)>, folded: &'a str) -> Vec<&'a str> {
    let (name, uri) = match bracketed {
        Some((name, uri)) => (name, uri.split('>').next().unwrap_or_default()),
        None => ("", folded),
    };
    let is_scheme =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
    let uri = match uri.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme.trim()) => rest.trim_start_matches('/'),
        _ => uri,
    };
    let user = uri.split('@').next().unwrap_or_default();
    let user = user.split([';', ':', '?']).next().unwrap_or_default();
    let name = name.trim().trim_matches(['"', '\'', '\\']);
    [user.trim().trim_matches(['"', '\'', '\\']), name]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect()
}

/// Digits and what may stand within a number, and nothing else.
fn is_bare(folded: &str) -> bool {
    let mut bare = true;
    let mut digits = false;
    each_symbol(folded.as_bytes(), &mut |symbol| {
        bare &= !matches!(symbol, Symbol::Letter | Symbol::Other);
        digits |= matches!(symbol, Symbol::Digit(_));
    });
    bare && digits
}
