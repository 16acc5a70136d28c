//! The heads of the calls of a quarter of an hour as stored bytes, so many calls in each part. They belong to
//! the layout of the index, which has a version.
//!
//! ```text
//! length of the texts u32 | texts: bincode | columns: bincode
//! ```
//!
//! A text stands once in a part; columns have its number. So most searches are decided by the texts alone.

use std::borrow::Cow;
use std::collections::HashMap;

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use super::words::{direction, direction_byte, status, status_byte};
use super::{CodecError, shape};
use crate::domain::{
    AFTER_TEXT, Call, CallField, CallKind, Head, HeadFilter, PartyMatch, Position, Quarter,
    Timestamp, add_party_forms, sid_mark,
};

/// Calls of one part, and bytes of their texts; one call may go beyond.
const CALLS: usize = if cfg!(test) { 3 } else { 1024 };
const TEXT_BYTES: usize = 64 * 1024;
/// Bytes of the heads of a quarter, about: of one that has more none are kept, and its calls are read. Senders of
/// events choose the numbers.
const BYTES_MAX: usize = if cfg!(test) { 16 << 10 } else { 64 << 20 };
/// What the columns have of each call.
const COLUMN_BYTES: usize = 27;
/// Far above what a part may have, far below what a corrupt length could ask for.
const DECODE_BYTES_MAX: u64 = 16 * 1024 * 1024;

const STATUS_BITS: u8 = 0b1111;
const STALE: u8 = 1 << 4;
const OUTBOUND: u8 = 1 << 5;
const ANSWERED: u8 = 1 << 6;
/// A CDR may have said another trunk.
const OTHER_TRUNK: u8 = 1 << 7;

/// What a part belongs to. Parts of which this is the same are of one count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOf {
    /// The greatest sequence number of a call of the quarter.
    pub newest_seq: u64,
    /// A checksum of which calls it has, in which versions: a call may come into the index long after newer ones.
    pub versions: u32,
    /// Calls of the quarter.
    pub calls: u64,
    /// Parts of the quarter.
    pub parts: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredTexts<'a> {
    of: PartOf,
    /// Where the oldest and the newest call of the part stand; empty where the quarter has one part.
    #[serde(borrow)]
    ends: &'a [u8],
    calls: u32,
    /// Whether any call may have another trunk than its own.
    other_trunks: bool,
    parties: &'a [u8],
    trunks: &'a [u8],
    applications: &'a [u8],
    terminations: &'a [u8],
}

/// A value for each call, the oldest first; numbers of fixed width, so that those of any call are found.
#[derive(Serialize, Deserialize)]
struct StoredColumns<'a> {
    /// Milliseconds after the begin of the quarter.
    times: &'a [u8],
    marks: &'a [u8],
    flags: &'a [u8],
    sip_statuses: &'a [u8],
    /// One more than the seconds; 0 for none.
    seconds: &'a [u8],
    /// Numbers of parties.
    from: &'a [u8],
    to: &'a [u8],
    /// One more than the number of the text; 0 for none.
    trunks: &'a [u8],
    applications: &'a [u8],
    terminations: &'a [u8],
}

/// The value of a call in a column.
fn at<const WIDTH: usize>(column: &[u8], call: usize) -> Result<[u8; WIDTH], CodecError> {
    let value = column.as_chunks().0.get(call);
    value.copied().ok_or_else(|| shape("a column of heads ends too soon"))
}

/// Texts of which each stands once.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    numbers: HashMap<Box<str>, u16>,
}

impl Texts {
    fn number(&mut self, text: &str, add: impl FnOnce(&mut Vec<u8>)) -> u16 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u16::try_from(self.numbers.len()).unwrap_or(u16::MAX);
        add(&mut self.bytes);
        self.bytes.push(AFTER_TEXT);
        self.numbers.insert(text.into(), number);
        number
    }

    fn party(&mut self, party: &str) -> u16 {
        self.number(party, |bytes| add_party_forms(bytes, party))
    }

    /// One more than the number; 0 where there is none.
    fn optional(&mut self, text: Option<&str>) -> u16 {
        text.map_or(0, |text| self.number(text, |bytes| bytes.extend(text.as_bytes())) + 1)
    }
}

/// Heads of calls of one quarter that are being put together.
#[derive(Debug, Default)]
struct Part {
    ends: Option<(Position, Position)>,
    parties: Texts,
    trunk_texts: Texts,
    application_texts: Texts,
    termination_texts: Texts,
    times: Vec<u8>,
    marks: Vec<u8>,
    flags: Vec<u8>,
    sip_statuses: Vec<u8>,
    seconds: Vec<u8>,
    from: Vec<u8>,
    to: Vec<u8>,
    trunks: Vec<u8>,
    applications: Vec<u8>,
    terminations: Vec<u8>,
}

impl Part {
    fn text_bytes(&self) -> usize {
        let texts =
            [&self.parties, &self.trunk_texts, &self.application_texts, &self.termination_texts];
        texts.iter().map(|texts| texts.bytes.len()).sum()
    }

    fn bytes(&self) -> usize {
        self.text_bytes() + self.flags.len() * COLUMN_BYTES
    }

    /// Nothing more is added: by which numbers its texts are found is needed no longer.
    fn close(&mut self) {
        let texts = [
            &mut self.parties,
            &mut self.trunk_texts,
            &mut self.application_texts,
            &mut self.termination_texts,
        ];
        for texts in texts {
            texts.numbers = HashMap::new();
        }
    }

    fn is_full(&self) -> bool {
        self.flags.len() >= CALLS || self.text_bytes() >= TEXT_BYTES
    }

    fn add(&mut self, call: &Call) {
        let position = Position::of(call);
        self.ends = Some((self.ends.map_or(position, |(oldest, _)| oldest), position));
        let begin = Quarter::of(call.listed_at).start();
        let after = call.listed_at.millis().saturating_sub(begin.millis());
        self.times.extend(u32::try_from(after).unwrap_or(u32::MAX).to_le_bytes());
        self.marks.extend(sid_mark(call.id.sid));
        let kind = CallKind::of(call);
        let set = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        self.flags.push(
            status_byte(kind.status)
                | set(STALE, kind.stale)
                | set(OUTBOUND, direction_byte(kind.direction) > 0)
                | set(ANSWERED, kind.answered)
                | set(OTHER_TRUNK, call.further_text("trunk").is_some()),
        );
        self.sip_statuses.extend(call.progress.sip_status.to_le_bytes());
        let seconds = call.duration().map_or(0, |seconds| seconds.saturating_add(1));
        self.seconds.extend(seconds.to_le_bytes());
        let text = |field| call.text(field).unwrap_or_default();
        self.from.extend(self.parties.party(text(CallField::From)).to_le_bytes());
        self.to.extend(self.parties.party(text(CallField::To)).to_le_bytes());
        self.trunks.extend(self.trunk_texts.optional(kind.trunk).to_le_bytes());
        let application = self.application_texts.optional(kind.application);
        self.applications.extend(application.to_le_bytes());
        let by: Option<Cow<'_, str>> = call.further_text("call_termination_by");
        self.terminations.extend(self.termination_texts.optional(by.as_deref()).to_le_bytes());
    }

    fn encode(&self, of: PartOf) -> Vec<u8> {
        let (oldest, newest) = self.ends.unwrap_or((Position::MAX, Position::MIN));
        let ends = [oldest.to_bytes(), newest.to_bytes()].concat();
        let texts = to_bytes(&StoredTexts {
            of,
            ends: if of.parts > 1 { &ends } else { &[] },
            calls: u32::try_from(self.flags.len()).unwrap_or(u32::MAX),
            other_trunks: self.flags.iter().any(|flags| flags & OTHER_TRUNK > 0),
            parties: &self.parties.bytes,
            trunks: &self.trunk_texts.bytes,
            applications: &self.application_texts.bytes,
            terminations: &self.termination_texts.bytes,
        });
        let columns = to_bytes(&StoredColumns {
            times: &self.times,
            marks: &self.marks,
            flags: &self.flags,
            sip_statuses: &self.sip_statuses,
            seconds: &self.seconds,
            from: &self.from,
            to: &self.to,
            trunks: &self.trunks,
            applications: &self.applications,
            terminations: &self.terminations,
        });
        let length = u32::try_from(texts.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], &texts, &columns].concat()
    }
}

/// The heads of the calls of a quarter, which are added the oldest first.
#[derive(Debug, Default)]
pub struct Heads {
    parts: Vec<Part>,
    newest_seq: u64,
    versions: u32,
    calls: u64,
    bytes: usize,
}

impl Heads {
    /// Adds a call by its version of this sequence number.
    pub fn add(&mut self, call: &Call, seq: u64) {
        self.newest_seq = self.newest_seq.max(seq);
        self.calls += 1;
        self.versions = crc32c::crc32c_append(self.versions, &seq.to_be_bytes());
        self.versions = crc32c::crc32c_append(self.versions, &call.id.sid.bytes());
        if self.bytes > BYTES_MAX {
            return;
        }
        if self.parts.last().is_none_or(Part::is_full) {
            if let Some(part) = self.parts.last_mut() {
                part.close();
            }
            self.parts.push(Part::default());
        }
        if let Some(part) = self.parts.last_mut() {
            let before = part.bytes();
            part.add(call);
            self.bytes += part.bytes() - before;
        }
        if self.bytes > BYTES_MAX {
            self.parts = Vec::new();
        }
    }

    /// The values of all parts; none where they would be too much.
    pub fn encode(&self) -> impl Iterator<Item = Vec<u8>> {
        let parts = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let Self { newest_seq, versions, calls, .. } = *self;
        let of = PartOf { newest_seq, versions, calls, parts };
        self.parts.iter().map(move |part| part.encode(of))
    }
}

/// A part as it is stored.
pub struct HeadsOfPart<'a> {
    texts: StoredTexts<'a>,
    columns: &'a [u8],
}

impl<'a> HeadsOfPart<'a> {
    /// Reads what is there beside the columns.
    pub fn read(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let short = || shape("heads of calls end too soon");
        let (length, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (texts, columns) = rest.split_at_checked(length).ok_or_else(short)?;
        Ok(Self { texts: from_bytes(texts)?, columns })
    }

    /// What it belongs to.
    pub fn of(&self) -> PartOf {
        self.texts.of
    }

    /// The parties of its calls, each once and in its two forms.
    pub fn parties(&self) -> impl Iterator<Item = &'a [u8]> {
        split(self.texts.parties)
    }

    /// How many calls it has.
    pub fn calls(&self) -> usize {
        self.texts.calls as usize
    }

    /// Where its oldest call stands, and its newest; none where the quarter has no other part.
    pub fn ends(&self) -> Option<(Position, Position)> {
        let (oldest, newest) = self.texts.ends.split_first_chunk()?;
        Some((Position::from_bytes(*oldest), Position::from_bytes(*newest.first_chunk()?)))
    }

    /// Of the calls that may match: when they are listed, and the marks of their sids; the oldest first.
    pub fn matching(
        &self,
        quarter: Quarter,
        filter: &HeadFilter,
    ) -> Result<Vec<(Timestamp, [u8; 2])>, CodecError> {
        let texts = &self.texts;
        let is_wanted =
            |of: &dyn Fn(Option<&str>) -> bool, texts: &[u8]| -> Result<_, CodecError> {
                let mut wanted = vec![of(None)];
                for text in split(texts) {
                    wanted.push(of(Some(str::from_utf8(text).map_err(|_| not_utf8())?)));
                }
                Ok(wanted)
            };
        let trunks = is_wanted(&|trunk| filter.trunk(trunk), texts.trunks)?;
        let applications = is_wanted(&|app| filter.application(app), texts.applications)?;
        let terminations = is_wanted(&|by| filter.termination(by), texts.terminations)?;
        let none = |wanted: &[bool]| wanted.iter().all(|wanted| !wanted);
        let is_out = none(&trunks) && !texts.other_trunks
            || none(&applications)
            || none(&terminations)
            || !filter.may_be_among(texts.parties);
        if is_out {
            return Ok(Vec::new());
        }
        let parties = filter.parties(split(texts.parties)).ok_or_else(not_utf8)?;
        let columns: StoredColumns<'_> = from_bytes(self.columns)?;
        let mut found = Vec::new();
        for call in 0..self.calls() {
            let party = |column| -> Result<PartyMatch, CodecError> {
                let party = parties.get(usize::from(u16::from_le_bytes(at(column, call)?)));
                party.copied().ok_or_else(|| shape("a party is missing"))
            };
            let (from, to) = (party(columns.from)?, party(columns.to)?);
            let mark = at(columns.marks, call)?;
            if !filter.matches_parties(from, to, mark) {
                continue;
            }
            let [flags] = at(columns.flags, call)?;
            let is_wanted = |wanted: &[bool], column| -> Result<bool, CodecError> {
                Ok(wanted.get(usize::from(u16::from_le_bytes(at(column, call)?))) == Some(&true))
            };
            let head = Head {
                kind: CallKind {
                    status: status(flags & STATUS_BITS)?,
                    stale: flags & STALE > 0,
                    direction: direction(u8::from(flags & OUTBOUND > 0))?,
                    answered: flags & ANSWERED > 0,
                    trunk: None,
                    application: None,
                },
                sip_status: u16::from_le_bytes(at(columns.sip_statuses, call)?),
                seconds: u64::from_le_bytes(at(columns.seconds, call)?).checked_sub(1),
            };
            if (flags & OTHER_TRUNK > 0 || is_wanted(&trunks, columns.trunks)?)
                && is_wanted(&applications, columns.applications)?
                && is_wanted(&terminations, columns.terminations)?
                && filter.matches(&head)
            {
                let after = u32::from_le_bytes(at(columns.times, call)?);
                found.push((quarter.start().plus_millis(after.into()), mark));
            }
        }
        Ok(found)
    }
}

/// Texts that stand one after the other.
fn split(texts: &[u8]) -> impl Iterator<Item = &[u8]> {
    let texts = texts.strip_suffix(&[AFTER_TEXT]);
    texts.into_iter().flat_map(|texts| texts.split(|byte| *byte == AFTER_TEXT))
}

fn not_utf8() -> CodecError {
    shape("a text of heads is not UTF-8")
}

fn to_bytes(value: &impl Serialize) -> Vec<u8> {
    // Numbers and texts have an encoding.
    bincode::options().serialize(value).unwrap_or_default()
}

fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let options = bincode::options().with_limit(DECODE_BYTES_MAX);
    options.deserialize(bytes).map_err(|error| shape(&error.to_string()))
}
