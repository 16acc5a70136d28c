//! The parties of the calls of a day as stored bytes, so many in each part. They belong to the layout of the index,
//! which has a version.
//!
//! ```text
//! bincode of what the part belongs to, and its texts: in order, for each party
//! its forms | FF | for each quarter of the day in which a call has it: two bytes
//! ```
//!
//! No byte of a quarter is one of a text, so that what is looked for is found in parties alone.

use std::collections::BTreeMap;

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use super::heads::{HeadsOfPart, PartOf};
use super::{CodecError, shape};
use crate::domain::{AFTER_TEXT, Day, Quarter, add_quarters};

/// Bytes of the texts of a part; one party may go beyond.
const PART_BYTES: usize = if cfg!(test) { 60 } else { 64 * 1024 };
/// Bytes of the parties of a day, about: of one that has more none are kept. Senders of events choose the numbers.
const BYTES_MAX: usize = if cfg!(test) { 4096 } else { 16 << 20 };
/// What a party takes in memory beside its forms, about.
const PARTY_BYTES: usize = 64;
/// Far above what a part may have, far below what a corrupt length could ask for.
const DECODE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct StoredParties<'a> {
    of: PartOf,
    #[serde(borrow)]
    texts: &'a [u8],
}

/// The parties of a day, and in which of its quarters each has calls.
#[derive(Debug, Default)]
pub struct Parties {
    quarters: BTreeMap<Box<[u8]>, u128>,
    bytes: usize,
    newest_seq: u64,
    versions: u32,
    calls: u64,
    is_missing: bool,
}

impl Parties {
    /// Adds a part of the heads of a quarter.
    pub fn add(&mut self, quarter: Quarter, part: &HeadsOfPart<'_>) {
        let bit = 1_u128 << (quarter.number() % Day::QUARTERS);
        for party in part.parties().filter(|_| !self.is_missing) {
            if let Some(quarters) = self.quarters.get_mut(party) {
                *quarters |= bit;
                continue;
            }
            self.bytes += party.len() + PARTY_BYTES;
            if self.bytes > BYTES_MAX {
                return self.miss();
            }
            self.quarters.insert(party.into(), bit);
        }
    }

    /// All parts of the heads of a quarter were added, which are those of these calls.
    pub fn note(&mut self, of: PartOf) {
        self.newest_seq = self.newest_seq.max(of.newest_seq);
        self.calls += of.calls;
        for number in [of.newest_seq, u64::from(of.versions), of.calls] {
            self.versions = crc32c::crc32c_append(self.versions, &number.to_be_bytes());
        }
    }

    /// Those of some calls are not known: none are kept.
    pub fn miss(&mut self) {
        *self = Self { is_missing: true, ..Self::default() };
    }

    /// Whether those of some calls are not known.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// The values of all parts; none where they are not kept.
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let mut texts = Vec::new();
        let mut current: Vec<u8> = Vec::new();
        for (party, quarters) in &self.quarters {
            current.extend_from_slice(party);
            current.push(AFTER_TEXT);
            add_quarters(&mut current, *quarters);
            if current.len() >= PART_BYTES {
                texts.push(std::mem::take(&mut current));
            }
        }
        if !current.is_empty() {
            texts.push(current);
        }
        let parts = u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let Self { newest_seq, versions, calls, .. } = *self;
        let of = PartOf { newest_seq, versions, calls, parts };
        let value = |texts: &Vec<u8>| {
            // Numbers and bytes have an encoding.
            bincode::options().serialize(&StoredParties { of, texts }).unwrap_or_default()
        };
        texts.iter().map(value).collect()
    }
}

/// A part as it is stored.
pub struct PartiesOfPart<'a>(StoredParties<'a>);

impl<'a> PartiesOfPart<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let options = bincode::options().with_limit(DECODE_BYTES_MAX);
        options.deserialize(bytes).map(Self).map_err(|error| shape(&error.to_string()))
    }

    /// What it belongs to.
    pub fn of(&self) -> PartOf {
        self.0.of
    }

    /// The parties, each with its quarters.
    pub fn texts(&self) -> &'a [u8] {
        self.0.texts
    }
}
