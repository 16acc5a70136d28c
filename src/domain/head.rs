//! Searching the *heads* of calls: what most searches ask of a call, kept apart from the rest of it, so that
//! calls which do not match are passed over unread. A head may say yes where the call says no, never the other way
//! round.

use memchr::memmem::Finder;

use super::{CallKind, CallSid, Filter, PartyPart, fold_party};

/// What stands after each text, and between the two forms of a party: neither byte is one of a text.
pub const AFTER_TEXT: u8 = 0xff;
const BETWEEN_FORMS: u8 = 0xfe;

/// Bytes that are in no text, beside these two: two of them are a quarter of a day.
const QUARTER_BYTES: [u8; 11] = [0xc0, 0xc1, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd];

/// Quarters of a day, by bits, as they stand after a party.
pub fn add_quarters(bytes: &mut Vec<u8>, quarters: u128) {
    for (n, first) in QUARTER_BYTES.into_iter().enumerate() {
        for (m, second) in QUARTER_BYTES.into_iter().enumerate() {
            if quarters >> (n * QUARTER_BYTES.len() + m) & 1 == 1 {
                bytes.extend_from_slice(&[first, second]);
            }
        }
    }
}

/// The quarters that stand at the beginning of some bytes.
fn leading_quarters(bytes: &[u8]) -> u128 {
    let place = |byte: &u8| QUARTER_BYTES.iter().position(|one| one == byte);
    let mut quarters = 0;
    for pair in bytes.as_chunks::<2>().0 {
        let [Some(n), Some(m)] = pair.each_ref().map(place) else { break };
        quarters |= 1 << (n * QUARTER_BYTES.len() + m);
    }
    quarters
}

/// What is asked of heads.
#[derive(Debug)]
pub struct HeadFilter {
    filter: Filter,
    /// Of each of these groups one stands in a party of every call that matches.
    needles: Vec<Vec<Finder<'static>>>,
    /// What may stand in a party besides.
    others: Vec<Finder<'static>>,
    /// That of the call whose sid was typed.
    mark: Option<[u8; 2]>,
}

/// Quarters of a day among which it is no use to choose.
pub const DENSE: u32 = if cfg!(test) { 2 } else { 48 };

/// What of a filter a party fulfils, by bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartyMatch(u8);

impl PartyMatch {
    const AS_FROM: u8 = 1;
    const AS_TO: u8 = 2;
    const NUMBER: u8 = 4;
    const CONTAINS: u8 = 8;
    const TYPED: u8 = 16;
    const EITHER: u8 = Self::NUMBER | Self::CONTAINS | Self::TYPED;
}

/// The head of a call, its texts apart: whether they match is known already.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// Without trunk and application.
    pub kind: CallKind<'static>,
    pub sip_status: u16,
    pub seconds: Option<u64>,
}

/// A few bits of a sid: they tell most calls of one moment apart.
pub fn sid_mark(sid: CallSid) -> [u8; 2] {
    let [a, b, ..] = crc32c::crc32c(&sid.bytes()).to_be_bytes();
    [a, b]
}

/// A party in its two forms: as it is compared, and as it stands where that is more than a `+` besides.
pub fn add_party_forms(bytes: &mut Vec<u8>, party: &str) {
    let folded = fold_party(party);
    if *folded != *bare(party) {
        bytes.extend_from_slice(folded.as_bytes());
        bytes.push(BETWEEN_FORMS);
    }
    bytes.extend_from_slice(party.as_bytes());
}

fn bare(party: &str) -> &str {
    party.strip_prefix('+').unwrap_or(party)
}

/// The two forms of a party.
fn forms(bytes: &[u8]) -> Option<(&str, &str)> {
    match memchr::memchr(BETWEEN_FORMS, bytes) {
        Some(at) => {
            let (folded, text) = bytes.split_at_checked(at)?;
            Some((str::from_utf8(folded).ok()?, str::from_utf8(text.get(1..)?).ok()?))
        }
        None => str::from_utf8(bytes).ok().map(|text| (bare(text), text)),
    }
}

impl HeadFilter {
    /// None where heads tell nothing of what is asked.
    pub fn of(filter: &Filter) -> Option<Self> {
        let search = &filter.search;
        let parts = [&search.from_contains, &search.to_contains, &search.number_contains];
        let prefixes = [&filter.from_prefix, &filter.to_prefix];
        let texts = [&search.application_sid, &search.trunk, &search.termination];
        let asks = parts.iter().any(|parts| !parts.is_empty())
            || prefixes.iter().any(|texts| !texts.is_empty())
            || texts.iter().any(|texts| !texts.is_empty())
            || !search.sip_status.is_empty()
            || search.answered.is_some()
            || search.duration_min.is_some()
            || search.duration_max.is_some()
            || search.q.is_some();
        if !asks {
            return None;
        }
        let finder = |text: &str| Finder::new(text.as_bytes()).into_owned();
        let of_parts = |parts: &&Vec<PartyPart>| -> Option<Vec<_>> {
            let finders = parts.iter().map(|part| finder(part.as_str()));
            (!parts.is_empty()).then(|| finders.collect())
        };
        let of_texts = |texts: &&Vec<String>| -> Option<Vec<_>> {
            (!texts.is_empty()).then(|| texts.iter().map(|text| finder(text)).collect())
        };
        let needles = parts.iter().filter_map(of_parts);
        let mut needles: Vec<_> = needles.chain(prefixes.iter().filter_map(of_texts)).collect();
        let (mut others, mut mark) = (Vec::new(), None);
        if let Some(typed) = &search.q {
            let in_parties = typed.in_parties().into_iter().map(finder);
            mark = typed.sid().map(sid_mark);
            match mark {
                Some(_) => others.extend(in_parties),
                None => needles.push(in_parties.collect()),
            }
        }
        Some(Self { filter: filter.clone(), needles, others, mark })
    }

    /// How many texts are looked for in parties.
    pub fn texts(&self) -> usize {
        self.needles.iter().map(Vec::len).sum::<usize>() + self.others.len()
    }

    /// Whether it asks for anything that stands in a party of each call.
    pub fn asks_parties(&self) -> bool {
        !self.needles.is_empty()
    }

    /// Goes through some of a day's parties, which stand one after the other, each with its quarters: in which
    /// quarters one of each group of texts stands, by bits, besides what was found before.
    pub fn note_quarters(&self, parties: &[u8], found: &mut Vec<u128>) {
        found.resize(self.needles.len(), 0);
        for (group, quarters) in self.needles.iter().zip(found) {
            for finder in group {
                // A party counts once, however often it has the text: senders choose how long it is.
                let mut rest = parties;
                while let Some(at) = finder.find(rest).filter(|_| !rest.is_empty()) {
                    rest = rest.get(at..).unwrap_or_default();
                    let end = memchr::memchr(AFTER_TEXT, rest).map_or(rest.len(), |end| end + 1);
                    rest = rest.get(end..).unwrap_or_default();
                    *quarters |= leading_quarters(rest);
                    if quarters.count_ones() > DENSE {
                        *quarters = u128::MAX;
                        break;
                    }
                }
            }
        }
    }

    /// Whether any of some parties, which stand one after the other, may be one that is asked for.
    pub fn may_be_among(&self, parties: &[u8]) -> bool {
        let is_there = |finder: &Finder<'_>| finder.find(parties).is_some();
        self.needles.iter().all(|group| group.iter().any(is_there))
    }

    /// What each of some parties fulfils, which are given in their two forms; none where one is not UTF-8.
    pub fn parties<'p>(&self, parties: impl Iterator<Item = &'p [u8]>) -> Option<Vec<PartyMatch>> {
        // Most parties have nothing of what is looked for.
        let other = self.party("", "");
        let is_plain = self.filter.from.is_empty()
            && self.filter.to.is_empty()
            && self.filter.search.number.is_empty();
        let has_needle = |party: &[u8]| {
            let mut finders = self.needles.iter().flatten().chain(&self.others);
            finders.any(|finder| finder.find(party).is_some())
        };
        let one = |party: &'p [u8]| {
            if is_plain && !has_needle(party) {
                return Some(other);
            }
            let (folded, text) = forms(party)?;
            Some(self.party(folded, text))
        };
        parties.map(one).collect()
    }

    fn party(&self, folded: &str, text: &str) -> PartyMatch {
        let (filter, search) = (&self.filter, &self.filter.search);
        let is_any = |wanted: &[String]| wanted.is_empty() || wanted.iter().any(|one| one == text);
        let begins = |wanted: &[String]| {
            wanted.is_empty() || wanted.iter().any(|begin| text.starts_with(begin.as_str()))
        };
        let has = |parts: &[PartyPart]| {
            parts.is_empty() || parts.iter().any(|part| folded.contains(part.as_str()))
        };
        let as_from =
            is_any(&filter.from) && begins(&filter.from_prefix) && has(&search.from_contains);
        let as_to = is_any(&filter.to) && begins(&filter.to_prefix) && has(&search.to_contains);
        let typed = search.q.as_ref().is_none_or(|typed| typed.is_in(folded, text));
        let bits = [
            (PartyMatch::AS_FROM, as_from),
            (PartyMatch::AS_TO, as_to),
            (PartyMatch::NUMBER, is_any(&search.number)),
            (PartyMatch::CONTAINS, has(&search.number_contains)),
            (PartyMatch::TYPED, typed),
        ];
        let set = bits.into_iter().filter(|(_, fulfils)| *fulfils);
        PartyMatch(set.map(|(bit, _)| bit).sum())
    }

    /// Whether a call between these parties may match, whose sid has this mark.
    pub fn matches_parties(&self, from: PartyMatch, to: PartyMatch, mark: [u8; 2]) -> bool {
        let typed = if self.mark == Some(mark) { PartyMatch::TYPED } else { 0 };
        from.0 & PartyMatch::AS_FROM > 0
            && to.0 & PartyMatch::AS_TO > 0
            && (from.0 | to.0 | typed) & PartyMatch::EITHER == PartyMatch::EITHER
    }

    /// Whether a call by this trunk may match.
    pub fn trunk(&self, trunk: Option<&str>) -> bool {
        named(&self.filter.search.trunk, trunk)
    }

    /// The same for an application.
    pub fn application(&self, application: Option<&str>) -> bool {
        named(&self.filter.search.application_sid, application)
    }

    /// The same for what ended it.
    pub fn termination(&self, termination: Option<&str>) -> bool {
        named(&self.filter.search.termination, termination)
    }

    /// Whether the call may match whose parties and texts do.
    pub fn matches(&self, head: &Head) -> bool {
        let search = &self.filter.search;
        self.filter.matches_bare_kind(&head.kind)
            && (search.sip_status.is_empty()
                || search.sip_status.iter().any(|wanted| wanted.have(head.sip_status)))
            && search.are_seconds(head.seconds)
    }
}

fn named(wanted: &[String], value: Option<&str>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|one| one == value))
}
