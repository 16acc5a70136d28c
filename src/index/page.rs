//! Pages: many neighbouring entries in one compressed value.
//!
//! ```text
//! key    P | layer u32 | the page's upper bound: no entry of it is greater; spaced
//! value  crc32c u32 of key and rest | number u64 | lower bound length u16, lower bound
//!        | length of the entries u32 | the entries, zstd
//! entries  count | count × (shared, own, value: lengths as varints; own bytes of the key) | values
//! ```
//!
//! The length of a value is one more than its bytes; 0 says that there is no such entry any more.
//!
//! A page holds what is greater than its lower bound, which is the upper bound of the page before it.
//! Both stay as they are for as long as the page is there: a page that grows too large is cut, and
//! what comes before the cut gets a page of its own. So a reader who goes on from a bound finds what
//! comes next, whatever was written meanwhile.
//!
//! Of each key the bytes that it shares with the one before it are left out.

use std::sync::Arc;

use super::IndexError;
use super::spaced::{close, spaced};
use crate::keys;

/// What the keys of all pages begin with.
pub(super) const PACKED: u8 = b'P';
/// The upper bound of the last page: greater than every key.
pub(super) const LAST: &[u8] = &[0xff];

/// Bytes of entries that a page has when it is full: about 4 KiB once they are compressed.
const ROW_BYTES: usize = if cfg!(test) { 3000 } else { 24 << 10 };
/// The same where the entries have no texts.
const KEY_BYTES: usize = if cfg!(test) { 300 } else { 8 << 10 };
/// Bytes that a page may unpack to: many times as much as a call may have.
const ENTRIES_MAX: usize = 64 << 20;
/// How hard zstd tries: texts repeat each other, what is left of keys hardly does.
const ROW_LEVEL: i32 = 3;
const KEY_LEVEL: i32 = 1;
const HASTY_LEVEL: i32 = -3;

/// A page as it was read.
#[derive(Debug)]
pub(super) struct Page {
    lower: Vec<u8>,
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    entries: Vec<u8>,
    /// Where the first value begins in `entries`.
    values: usize,
    value_ends: Vec<u32>,
    /// Which of them are gone.
    gone: Vec<bool>,
}

impl Page {
    /// Reads the value that stands under a key.
    pub fn read(key: &[u8], value: &[u8]) -> Result<Self, IndexError> {
        let (_, rest) = checked(key, value)?;
        let short = || IndexError::damaged("a page is too short");
        let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (lower, rest) =
            rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(short)?;
        let (length, packed) = rest.split_first_chunk().ok_or_else(short)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > ENTRIES_MAX {
            return Err(IndexError::damaged(format!("a page of {length} bytes")));
        }
        let entries = unpacked(packed, length)?;
        let page = Self::of_entries(lower, entries);
        page.ok_or_else(|| IndexError::damaged("the entries of a page end too soon"))
    }

    fn of_entries(lower: &[u8], entries: Vec<u8>) -> Option<Self> {
        let mut rest = entries.as_slice();
        let count = take_number(&mut rest)?;
        // An entry takes three bytes at least.
        let count = Some(count).filter(|count| *count <= rest.len() / 3)?;
        let (mut keys, mut end) = (Vec::with_capacity(count * 48), 0_u32);
        let (mut key_ends, mut value_ends) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut gone = Vec::with_capacity(count);
        let mut short = Vec::new();
        for _ in 0..count {
            let (shared, own) = (take_number(&mut rest)?, take_number(&mut rest)?);
            let value = take_number(&mut rest)?;
            let (bytes, after) = rest.split_at_checked(own)?;
            rest = after;
            short.truncate(Some(shared).filter(|shared| *shared <= short.len())?);
            short.extend_from_slice(bytes);
            keys.extend_from_slice(&short);
            key_ends.push(u32::try_from(keys.len()).ok()?);
            gone.push(value == 0);
            end = end.checked_add(u32::try_from(value.saturating_sub(1)).ok()?)?;
            value_ends.push(end);
        }
        let values = entries.len() - rest.len();
        let whole = usize::try_from(end).ok()? == rest.len();
        let lower = lower.to_vec();
        whole.then_some(Self { lower, keys, key_ends, entries, values, value_ends, gone })
    }

    /// What all its entries are greater than; empty in the first page.
    pub fn lower(&self) -> &[u8] {
        &self.lower
    }

    pub fn len(&self) -> usize {
        self.key_ends.len()
    }

    /// The key of an entry; empty where there is no such entry.
    pub fn key(&self, n: usize) -> &[u8] {
        slice(&self.keys, &self.key_ends, n).unwrap_or_default()
    }

    /// The value of an entry; none where it is gone.
    pub fn value(&self, n: usize) -> Option<&[u8]> {
        if self.gone.get(n).is_none_or(|gone| *gone) {
            return None;
        }
        slice(self.entries.get(self.values..)?, &self.value_ends, n)
    }

    /// An entry as it is written again.
    pub fn entry(&self, n: usize) -> Put<'_> {
        (self.key(n), self.value(n))
    }

    /// How many entries are less than this key.
    pub fn before(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How many entries are not greater than this key.
    pub fn up_to(&self, key: &[u8]) -> usize {
        self.before(key) + usize::from(self.find(key).is_some())
    }

    /// The number of the entry with this key.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let n = self.before(key);
        (n < self.len() && self.key(n) == key).then_some(n)
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        let ends = (self.key_ends.len() + self.value_ends.len()) * size_of::<u32>();
        self.keys.len() + self.entries.len() + self.lower.len() + ends + size_of::<Self>()
    }
}

/// The number of the page in a value, by which it may be found unpacked, and what follows. Nothing of it is
/// believed, not even its number, unless the value is whole and stands under its own key.
pub(super) fn checked<'a>(key: &[u8], value: &'a [u8]) -> Result<(u64, &'a [u8]), IndexError> {
    let short = || IndexError::damaged("a page is too short");
    let (crc, rest) = value.split_first_chunk().ok_or_else(short)?;
    if checksum(key, rest) != u32::from_be_bytes(*crc) {
        return Err(IndexError::damaged("a page does not fit its checksum"));
    }
    let (number, rest) = rest.split_first_chunk().ok_or_else(short)?;
    Ok((u64::from_be_bytes(*number), rest))
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], n: usize) -> Option<&'a [u8]> {
    let begin = match n.checked_sub(1) {
        None => 0,
        Some(before) => usize::try_from(*ends.get(before)?).ok()?,
    };
    bytes.get(begin..usize::try_from(*ends.get(n)?).ok()?)
}

/// An entry that is to be written; none: it goes.
pub(super) type Put<'a> = (&'a [u8], Option<&'a [u8]>);

/// How many pages' worth of an entry's page it takes, in bytes of a page with texts.
pub(super) fn weight((key, value): Put<'_>) -> usize {
    // Most of a key is shared with its neighbours.
    let bytes = key.len() / 2 + value.map_or(0, <[u8]>::len);
    if keys::carries_texts(key) { bytes } else { bytes * (ROW_BYTES / KEY_BYTES) }
}

/// How many entries go into each of the pages that some take together.
pub(super) fn shares(entries: &[Put<'_>]) -> Vec<usize> {
    let total: usize = entries.iter().copied().map(weight).sum();
    let pages =
        if total <= ROW_BYTES + ROW_BYTES / 2 { 1 } else { (total + ROW_BYTES / 2) / ROW_BYTES };
    let share = total.div_ceil(pages).max(1);
    let (mut shares, mut count, mut bytes) = (Vec::with_capacity(pages), 0, 0);
    for entry in entries.iter().copied() {
        let more = weight(entry);
        if count > 0 && bytes + more / 2 > share {
            shares.push(count);
            (count, bytes) = (0, 0);
        }
        count += 1;
        bytes += more;
    }
    shares.push(count);
    shares
}

/// Makes pages, one after the other.
pub(super) struct PageWriter {
    rows: zstd::bulk::Compressor<'static>,
    keys: zstd::bulk::Compressor<'static>,
    entries: Vec<u8>,
}

impl PageWriter {
    pub fn new() -> Result<Self, IndexError> {
        Self::of_levels(ROW_LEVEL, KEY_LEVEL)
    }

    /// For pages that are read once, soon.
    pub fn hasty() -> Result<Self, IndexError> {
        Self::of_levels(HASTY_LEVEL, HASTY_LEVEL)
    }

    fn of_levels(rows: i32, keys: i32) -> Result<Self, IndexError> {
        let compressor = |level| zstd::bulk::Compressor::new(level).map_err(|e| cannot_pack(&e));
        Ok(Self { rows: compressor(rows)?, keys: compressor(keys)?, entries: Vec::new() })
    }

    /// The value of a page with these entries, which are in order, under this key.
    pub fn value(
        &mut self,
        key: &[u8],
        number: u64,
        lower: &[u8],
        entries: &[Put<'_>],
    ) -> Result<Vec<u8>, IndexError> {
        self.entries.clear();
        put_number(&mut self.entries, entries.len());
        let mut before: &[u8] = &[];
        for (key, value) in entries {
            let shared = before.iter().zip(*key).take_while(|(a, b)| a == b).count();
            let own = key.get(shared..).unwrap_or_default();
            put_number(&mut self.entries, shared);
            put_number(&mut self.entries, own.len());
            put_number(&mut self.entries, value.map_or(0, |value| value.len() + 1));
            self.entries.extend_from_slice(own);
            before = key;
        }
        for value in entries.iter().filter_map(|(_, value)| *value) {
            self.entries.extend_from_slice(value);
        }
        let texts = entries.first().is_some_and(|(key, _)| keys::carries_texts(key));
        let compressor = if texts { &mut self.rows } else { &mut self.keys };
        let packed = compressor.compress(&self.entries).map_err(|e| cannot_pack(&e))?;
        let mut page = Vec::with_capacity(packed.len() + lower.len() + 18);
        page.extend_from_slice(&[0; 4]);
        page.extend_from_slice(&number.to_be_bytes());
        page.extend_from_slice(&u16::try_from(lower.len()).unwrap_or(u16::MAX).to_be_bytes());
        page.extend_from_slice(lower);
        let length = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        page.extend_from_slice(&length.to_be_bytes());
        page.extend_from_slice(&packed);
        let crc = checksum(key, page.get(4..).unwrap_or_default());
        if let Some(place) = page.first_chunk_mut() {
            *place = crc.to_be_bytes();
        }
        Ok(page)
    }
}

/// The key in sled of a layer's page with this upper bound.
pub(super) fn page_key(layer: u32, upper: &[u8]) -> Vec<u8> {
    spaced(&[&[PACKED][..], &layer.to_be_bytes(), upper].concat())
}

/// The upper bound in such a key.
pub(super) fn upper_bound(key: &[u8]) -> Option<Vec<u8>> {
    let mut upper = close(key)?;
    (upper.len() >= 5).then(|| upper.split_off(5))
}

/// The layer in such a key.
pub(super) fn layer_in(key: &[u8]) -> Option<u32> {
    let (_, number) = close(key)?.get(..5)?.split_last_chunk().map(|(kind, n)| (kind.len(), *n))?;
    Some(u32::from_be_bytes(number))
}

pub(super) fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), rest)
}

fn unpacked(packed: &[u8], length: usize) -> Result<Vec<u8>, IndexError> {
    thread_local! {
        static UNPACKER: std::cell::RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            const { std::cell::RefCell::new(None) };
    }
    let damaged =
        |error: std::io::Error| IndexError::damaged(format!("a page cannot be unpacked: {error}"));
    let entries = UNPACKER.with_borrow_mut(|unpacker| {
        if unpacker.is_none() {
            *unpacker = Some(zstd::bulk::Decompressor::new()?);
        }
        match unpacker {
            Some(unpacker) => unpacker.decompress(packed, length),
            None => Ok(Vec::new()),
        }
    });
    let entries = entries.map_err(damaged)?;
    if entries.len() == length {
        Ok(entries)
    } else {
        Err(IndexError::damaged("a page unpacks to less than it says"))
    }
}

fn cannot_pack(error: &std::io::Error) -> IndexError {
    IndexError::damaged(format!("a page cannot be packed: {error}"))
}

/// LEB128.
fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<usize> {
    let (mut number, mut shift) = (0_usize, 0);
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= usize::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
        // Nothing here is as large as 2^35.
        if shift > 28 {
            return None;
        }
    }
}

/// Whether a page that was unpacked is kept for the next reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    Keep,
    /// It is read once: by who goes through very many, or writes it anew.
    Pass,
}

/// The pages that were unpacked last, up to so many bytes of memory.
#[derive(Debug)]
pub(super) struct PageCache {
    bytes_max: usize,
    pages: parking_lot::Mutex<CachedPages>,
}

#[derive(Debug, Default)]
struct CachedPages {
    by_number: std::collections::HashMap<u64, (Arc<Page>, bool)>,
    /// In the order in which they are looked at when one has to go.
    turns: std::collections::VecDeque<u64>,
    bytes: usize,
}

impl PageCache {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, pages: parking_lot::Mutex::default() }
    }

    /// The page in this value, unpacked now or earlier.
    pub fn page(
        &self,
        key: &[u8],
        value: &[u8],
        caching: Caching,
    ) -> Result<Arc<Page>, IndexError> {
        let (number, _) = checked(key, value)?;
        if let Some((page, used)) = self.pages.lock().by_number.get_mut(&number) {
            *used = true;
            return Ok(page.clone());
        }
        let page = Arc::new(Page::read(key, value)?);
        if caching == Caching::Pass {
            return Ok(page);
        }
        let mut pages = self.pages.lock();
        pages.bytes += page.bytes();
        if let Some((before, _)) = pages.by_number.insert(number, (page.clone(), false)) {
            // Two readers unpacked it at the same time.
            pages.bytes -= before.bytes();
        } else {
            pages.turns.push_back(number);
        }
        while pages.bytes > self.bytes_max {
            let Some(number) = pages.turns.pop_front() else { break };
            match pages.by_number.get_mut(&number) {
                Some((_, used)) if *used => {
                    *used = false;
                    pages.turns.push_back(number);
                }
                _ => {
                    let gone = pages.by_number.remove(&number);
                    pages.bytes -= gone.map_or(0, |(page, _)| page.bytes());
                }
            }
        }
        Ok(page)
    }
}
