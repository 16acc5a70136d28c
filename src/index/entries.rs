//! The ordered map in which the index keeps its rows: each by its key, in sled.
//!
//! An entry stands in one of two places. What was written lately is **recent**: a value of its own, under its
//! own key. Everything else is **packed**, with its neighbours, into pages. A recent entry hides
//! a packed one of the same key, and may say that there is none any more. Packing moves recent
//! entries into the pages, which changes nothing of what the map holds.
//!
//! ```text
//! recent  the key -> crc32c u32 of key and rest | 1, value  or  0
//! packed  see `page.rs`
//! ```
//!
//! **One writer, many readers.** What is packed is in its page before it ceases to be recent. So a reader
//! who looks at recent entries first, and at a page after that, misses nothing. Pages are found by
//! their upper bounds, which stay. Between two steps of a reader entries may come and go; none
//! that stays is passed over, and none is given out twice or out of order.

use std::collections::VecDeque;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use sled::IVec;

use super::IndexError;
use super::database::Database;
use super::page::{
    LAST, PACKED, Page, PageCache, PageWriter, Put, checksum, page_key, shares, weight,
};
use crate::keys;

/// Keys of one batch while others read. sled holds a lock of the whole process meanwhile.
const BATCH_KEYS: usize = 96;
/// Changes that go into one page at once, by their weight: a few pages' worth.
const PORTION_BYTES: usize = 1 << 20;
/// Recent entries that a reader takes at once.
const RECENT_ROWS: usize = if cfg!(test) { 4 } else { 64 };
/// Recent entries that are packed at once.
const RECENT_PACKED: usize = 8192;
/// The part of the cache that unpacked pages have: a fourth.
pub(super) const CACHE_SHARE: u64 = 4;

/// An entry that is to be written; none: it goes.
pub type Change = (Vec<u8>, Option<Vec<u8>>);
/// The same, borrowed.
pub(super) type Edit<'a> = (&'a [u8], Option<&'a [u8]>);

/// The entries, for one writer at a time and any number of readers.
pub(super) struct Entries {
    pub db: Database,
    pub batches: Batches,
    cache: PageCache,
    /// How many recent entries there are, about.
    recent: AtomicUsize,
    /// The number of the page that was written last, none before the first.
    number: Mutex<Option<u64>>,
}

/// Counts the batches that are written, so that a reader knows whether what it has read in several
/// steps is of one piece.
#[derive(Debug, Default)]
pub(super) struct Batches {
    halves: AtomicU64,
    /// A build writes from two threads.
    writing: Mutex<()>,
}

impl Batches {
    /// How many have been written; none while one is.
    pub fn written(&self) -> Option<u64> {
        let halves = self.halves.load(Ordering::SeqCst);
        halves.is_multiple_of(2).then_some(halves / 2)
    }

    /// Writes one.
    pub fn write<T>(&self, write: impl FnOnce() -> T) -> T {
        let _one = self.writing.lock();
        self.halves.fetch_add(1, Ordering::SeqCst);
        let done = write();
        self.halves.fetch_add(1, Ordering::SeqCst);
        done
    }
}

/// An entry as it was read.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Recent(IVec, Bytes),
    Packed(Arc<Page>, usize),
}

impl Entry {
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Recent(key, _) => key,
            Self::Packed(page, n) => page.key(*n),
        }
    }

    pub fn value(&self) -> Bytes {
        match self {
            Self::Recent(_, value) => value.clone(),
            // Who keeps the value does not keep the page.
            Self::Packed(page, n) => Bytes::copy_from_slice(page.value(*n)),
        }
    }
}

/// In which direction a cursor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// The bounds between which keys lie.
pub(super) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// All keys that begin so.
pub(super) fn beginning(prefix: &[u8]) -> Bounds {
    let mut end = prefix.to_vec();
    while let Some(last) = end.last_mut() {
        if let Some(next) = last.checked_add(1) {
            *last = next;
            return (Included(prefix.to_vec()), Excluded(end));
        }
        end.pop();
    }
    (Included(prefix.to_vec()), Unbounded)
}

impl Entries {
    pub fn open(db: Database, cache_bytes: u64) -> Result<Self, IndexError> {
        let cache =
            PageCache::new(usize::try_from(cache_bytes / CACHE_SHARE).unwrap_or(usize::MAX));
        let mut recent = 0;
        for kind in keys::ENTRIES {
            for key in db.scan_prefix([*kind]).keys() {
                key?;
                recent += 1;
            }
        }
        let number = Mutex::new(None);
        Ok(Self { db, batches: Batches::default(), cache, recent: recent.into(), number })
    }

    /// How many recent entries there are, about.
    pub fn recent(&self) -> usize {
        self.recent.load(Ordering::Relaxed)
    }

    /// What stands under a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        if let Some(value) = self.db.get(key)? {
            return recent_value(key, &value);
        }
        let Some((_, page)) = self.page_with(Included(key))? else { return Ok(None) };
        Ok(page.find(key).map(|n| Bytes::copy_from_slice(page.value(n))))
    }

    /// The first page that may hold a key beyond this bound, and its upper bound; none where there are
    /// no pages at all.
    fn page_with(&self, bound: Bound<&[u8]>) -> Result<Option<(IVec, Arc<Page>)>, IndexError> {
        let missing = || IndexError::damaged("a page is missing");
        let find = || {
            let pages = (bound.map(page_key), Excluded(vec![PACKED + 1]));
            self.db.range(pages).next().transpose()
        };
        let mut found = find()?;
        let beyond_last = matches!(bound, Excluded(key) if key == LAST);
        if found.is_none() && !beyond_last && self.db.scan_prefix([PACKED]).next().is_some() {
            // The first pages may have come between these two looks, and with them the last one.
            found = Some(find()?.ok_or_else(missing)?);
        }
        let Some((key, value)) = found else { return Ok(None) };
        let page = self.cache.page(&key, &value)?;
        let follows = match bound {
            Included(key) => page.lower() < key || page.lower().is_empty(),
            Excluded(key) => page.lower() <= key,
            Unbounded => true,
        };
        if !follows {
            return Err(missing());
        }
        Ok(Some((key.subslice(1, key.len() - 1), page)))
    }

    /// The entries between these bounds, one after the other.
    pub fn cursor(&self, bounds: Bounds, direction: Direction) -> Cursor<'_> {
        let (low, high) = bounds;
        Cursor {
            entries: self,
            direction,
            low,
            high,
            recents: VecDeque::new(),
            recents_read: None,
            recents_end: false,
            page: None,
            page_from: None,
            pages_end: false,
            as_of: None,
        }
    }

    /// Writes a few changes in one step. They stay recent.
    pub fn put(&self, changes: Vec<Change>, then: impl FnOnce()) -> Result<(), IndexError> {
        let (mut batch, count) = (sled::Batch::default(), changes.len());
        for (key, value) in changes {
            let value = recent_bytes(&key, value.as_deref());
            batch.insert(key, value);
        }
        self.batches.write(|| {
            self.db.apply_batch(batch)?;
            self.recent.fetch_add(count, Ordering::Relaxed);
            then();
            Ok(())
        })
    }

    /// Packs all recent entries.
    pub fn pack_recent(&self) -> Result<(), IndexError> {
        for kind in keys::ENTRIES {
            let (mut low, end) = (Included(vec![*kind]), Excluded(vec![*kind + 1]));
            loop {
                let mut changes: Vec<Change> = Vec::new();
                for row in self.db.range((low.clone(), end.clone())).take(RECENT_PACKED) {
                    let (key, value) = row?;
                    let value = recent_value(&key, &value)?;
                    changes.push((key.to_vec(), value.map(|value| value.to_vec())));
                }
                let Some((last, _)) = changes.last() else { break };
                low = Excluded(last.clone());
                self.pack(&edits(&changes))?;
                // Only now: see the head of this file.
                for some in changes.chunks(BATCH_KEYS) {
                    let mut batch = sled::Batch::default();
                    for (key, _) in some {
                        batch.remove(key.as_slice());
                    }
                    self.batches.write(|| self.db.apply_batch(batch))?;
                }
            }
        }
        self.recent.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Writes changes into the pages: in the order of their keys, each key once, and none that is
    /// recent.
    pub fn pack(&self, mut changes: &[Edit<'_>]) -> Result<(), IndexError> {
        let mut writer = PageWriter::new()?;
        while let Some((first, _)) = changes.first() {
            let (upper, page) = match self.page_with(Included(first))? {
                Some((upper, page)) => (upper, Some(page)),
                None => (LAST.into(), None),
            };
            let mut bytes = 0;
            let within = changes.iter().take_while(|(key, value)| {
                let fits = bytes < PORTION_BYTES;
                bytes += weight((key, value.unwrap_or_default()));
                fits && *key <= &*upper
            });
            let (now, later) = changes.split_at(within.count());
            let cut = later.first().is_some_and(|(key, _)| *key <= &*upper);
            let cut = now.last().filter(|_| cut).map(|(key, _)| *key);
            self.rewrite(&mut writer, &upper, page.as_deref(), now, cut)?;
            changes = later;
        }
        Ok(())
    }

    /// Has a page end with this key, so that what comes after it is written into others.
    pub fn divide(&self, bound: &[u8]) -> Result<(), IndexError> {
        let mut writer = PageWriter::new()?;
        let (upper, page) = match self.page_with(Included(bound))? {
            Some((upper, page)) => (upper, Some(page)),
            None => (LAST.into(), None),
        };
        if *upper == *bound {
            return Ok(());
        }
        let page = page.as_deref();
        let entries: Vec<Put<'_>> = page
            .into_iter()
            .flat_map(|page| (0..page.len()).map(|n| (page.key(n), page.value(n))))
            .collect();
        let (before, after) = entries.split_at(entries.partition_point(|(key, _)| *key <= bound));
        let mut batch = sled::Batch::default();
        for (upper, lower, entries) in
            [(bound, page.map(Page::lower).unwrap_or_default(), before), (&*upper, bound, after)]
        {
            let key = page_key(upper);
            let value = writer.value(&key, self.next_number()?, lower, entries)?;
            batch.insert(key, value);
        }
        self.batches.write(|| Ok(self.db.apply_batch(batch)?))
    }

    /// Writes changes into a page, in one step. What comes after `cut` stays in it, as there is more
    /// to come.
    fn rewrite(
        &self,
        writer: &mut PageWriter,
        upper: &[u8],
        page: Option<&Page>,
        changes: &[Edit<'_>],
        cut: Option<&[u8]>,
    ) -> Result<(), IndexError> {
        let mut merged: Vec<Put<'_>> = Vec::new();
        let (mut n, count) = (0, page.map_or(0, Page::len));
        let there = |n: usize| page.map(|page| (page.key(n), page.value(n)));
        for (key, value) in changes {
            while let Some(entry) = there(n).filter(|(before, _)| n < count && before < key) {
                merged.push(entry);
                n += 1;
            }
            n += usize::from(n < count && there(n).is_some_and(|(same, _)| same == *key));
            merged.extend(value.map(|value| (*key, value)));
        }
        let rest: Vec<Put<'_>> = (n..count).filter_map(there).collect();
        let mut lower = page.map(Page::lower).unwrap_or_default();
        let mut batch = sled::Batch::default();
        let mut add = |upper: &[u8], lower: &[u8], entries: &[Put<'_>]| {
            let key = page_key(upper);
            let value = writer.value(&key, self.next_number()?, lower, entries)?;
            batch.insert(key, value);
            Ok::<_, IndexError>(())
        };
        if cut.is_none() {
            merged.extend_from_slice(&rest);
        }
        let mut entries = merged.as_slice();
        let shares = if entries.is_empty() { Vec::new() } else { shares(entries) };
        for (n, count) in shares.iter().enumerate() {
            let (now, later) = entries.split_at(*count);
            let last = n + 1 == shares.len();
            // Where more is to come, all of these pages end with what they hold.
            if last && cut.is_none() {
                break;
            }
            let end = match cut {
                Some(cut) if last => cut,
                _ => now.last().map_or(upper, |(key, _)| *key),
            };
            add(end, lower, now)?;
            (lower, entries) = (end, later);
        }
        add(upper, lower, if cut.is_some() { &rest } else { entries })?;
        self.batches.write(|| Ok(self.db.apply_batch(batch)?))
    }

    /// A number that no page of this index has had. They go on from one opening to the next.
    fn next_number(&self) -> Result<u64, IndexError> {
        let mut number = self.number.lock();
        let last = if let Some(last) = *number {
            last
        } else {
            let opened = match self.db.get(keys::OPENED)? {
                Some(value) => super::rows::unsealed(&value)?.0 + 1,
                None => 1,
            };
            self.db.insert(keys::OPENED, super::rows::sealed(opened, &[]))?;
            opened << 40
        };
        *number = Some(last + 1);
        Ok(last + 1)
    }
}

/// Changes as [`Entries::pack`] takes them.
pub(super) fn edits(changes: &[Change]) -> Vec<Edit<'_>> {
    changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect()
}

fn recent_bytes(key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + value.map_or(0, <[u8]>::len));
    bytes.extend_from_slice(&[0; 4]);
    bytes.push(u8::from(value.is_some()));
    bytes.extend_from_slice(value.unwrap_or_default());
    let crc = checksum(key, bytes.get(4..).unwrap_or_default());
    if let Some(place) = bytes.first_chunk_mut() {
        *place = crc.to_be_bytes();
    }
    bytes
}

/// What a recent entry says: its value, or that there is none.
fn recent_value(key: &[u8], bytes: &IVec) -> Result<Option<Bytes>, IndexError> {
    let damaged = || IndexError::damaged("a recent row does not fit its checksum");
    let (crc, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
    if checksum(key, rest) != u32::from_be_bytes(*crc) {
        return Err(damaged());
    }
    match rest {
        [0] => Ok(None),
        [1, value @ ..] => Ok(Some(Bytes::copy_from_slice(value))),
        _ => Err(damaged()),
    }
}

/// Finds entries by their keys, neighbours faster than strangers.
pub(super) struct Lookup<'a> {
    entries: &'a Entries,
    /// The page that was looked into last, its upper bound, and how many batches had been written.
    page: Option<(IVec, Arc<Page>, u64)>,
}

impl<'a> Lookup<'a> {
    pub fn new(entries: &'a Entries) -> Self {
        Self { entries, page: None }
    }

    /// What stands under a key.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        if let Some(value) = self.entries.db.get(key)? {
            return recent_value(key, &value);
        }
        let written = self.entries.batches.written();
        let within = |(upper, page, as_of): &&(IVec, Arc<Page>, u64)| {
            Some(*as_of) == written && key <= &**upper && key > page.lower()
        };
        if self.page.as_ref().is_none_or(|page| !within(&page)) {
            let found = self.entries.page_with(Included(key))?;
            let Some((upper, page)) = found else { return Ok(None) };
            // One that was read while others wrote is not used again.
            self.page = Some((upper, page, written.unwrap_or(u64::MAX)));
        }
        let page = self.page.as_ref().map(|(_, page, _)| page);
        Ok(page.and_then(|page| page.find(key).map(|n| Bytes::copy_from_slice(page.value(n)))))
    }
}

/// Goes from entry to entry, while others may be written.
pub(super) struct Cursor<'a> {
    entries: &'a Entries,
    direction: Direction,
    /// What is still to be given out.
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
    /// Recent entries that come next, in the direction; none: it is gone.
    recents: VecDeque<(IVec, Option<Bytes>)>,
    /// The last of them that was read.
    recents_read: Option<IVec>,
    recents_end: bool,
    /// The page that is being read, and the number of its next entry, plus one where it goes down.
    page: Option<(Arc<Page>, usize)>,
    /// The bound from which on the next page is looked for, where one was read.
    page_from: Option<Vec<u8>>,
    pages_end: bool,
    /// How many batches had been written when the first of the pages was read.
    as_of: Option<u64>,
}

impl Cursor<'_> {
    fn step(&mut self) -> Result<Option<Entry>, IndexError> {
        loop {
            if self.recents.is_empty() && !self.recents_end {
                self.read_recents()?;
                // The pages have to be as new as that.
                if self.as_of.is_none() || self.entries.batches.written() != self.as_of {
                    (self.page, self.page_from, self.pages_end) = (None, None, false);
                }
            }
            if self.page.is_none() && !self.pages_end {
                self.read_page()?;
                continue;
            }
            let packed = self.packed();
            let recent = self.recents.front().map(|(key, _)| &**key);
            let order = match (recent, &packed) {
                (None, None) => return Ok(None),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(recent), Some(packed)) => match self.direction {
                    Direction::Up => recent.cmp(packed.key()),
                    Direction::Down => packed.key().cmp(recent),
                },
            };
            if order.is_ge() {
                self.pass_packed();
            }
            let found = if order.is_le() {
                let Some((key, value)) = self.recents.pop_front() else { return Ok(None) };
                self.pass(key.to_vec());
                value.map(|value| Entry::Recent(key, value))
            } else {
                self.pass(packed.as_ref().map(|packed| packed.key().to_vec()).unwrap_or_default());
                packed
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Nothing up to this key is given out any more.
    fn pass(&mut self, key: Vec<u8>) {
        match self.direction {
            Direction::Up => self.low = Excluded(key),
            Direction::Down => self.high = Excluded(key),
        }
    }

    fn read_recents(&mut self) -> Result<(), IndexError> {
        let (mut low, mut high) = (self.low.clone(), self.high.clone());
        if let Some(read) = &self.recents_read {
            match self.direction {
                Direction::Up => low = Excluded(read.to_vec()),
                Direction::Down => high = Excluded(read.to_vec()),
            }
        }
        if is_empty(&low, &high) {
            self.recents_end = true;
            return Ok(());
        }
        let mut rows = self.entries.db.range((low, high));
        for _ in 0..RECENT_ROWS {
            let row = match self.direction {
                Direction::Up => rows.next(),
                Direction::Down => rows.next_back(),
            };
            let Some(row) = row else {
                self.recents_end = true;
                break;
            };
            let (key, value) = row?;
            let value = recent_value(&key, &value)?;
            self.recents_read = Some(key.clone());
            self.recents.push_back((key, value));
        }
        Ok(())
    }

    /// Reads the next page that may hold an entry.
    fn read_page(&mut self) -> Result<(), IndexError> {
        let entries = self.entries;
        if self.page_from.is_none() {
            self.as_of = entries.batches.written();
        }
        match self.direction {
            Direction::Up => {
                let from = match (&self.page_from, &self.low) {
                    (Some(from), _) => Excluded(from.as_slice()),
                    (None, Included(low) | Excluded(low)) => Included(low.as_slice()),
                    (None, Unbounded) => Included(&[][..]),
                };
                let Some((upper, page)) = entries.page_with(from)? else {
                    self.pages_end = true;
                    return Ok(());
                };
                let first = match &self.low {
                    Included(low) => page.before(low),
                    Excluded(low) => {
                        let n = page.before(low);
                        n + usize::from(n < page.len() && page.key(n) == low.as_slice())
                    }
                    Unbounded => 0,
                };
                let beyond = match &self.high {
                    Included(high) | Excluded(high) => &*upper >= high.as_slice(),
                    Unbounded => &*upper == LAST,
                };
                self.page_from = Some(upper.to_vec());
                self.pages_end = beyond;
                self.page = (first < page.len()).then_some((page, first));
            }
            Direction::Down => {
                let page = match (&self.page_from, &self.high) {
                    (Some(from), _) => {
                        let key = page_key(from);
                        let lost = || IndexError::damaged("a page is missing");
                        let value = entries.db.get(&key)?.ok_or_else(lost)?;
                        Some(entries.cache.page(&key, &value)?)
                    }
                    (None, Included(high) | Excluded(high)) => {
                        entries.page_with(Included(high))?.map(|(_, page)| page)
                    }
                    (None, Unbounded) => entries.page_with(Included(LAST))?.map(|(_, page)| page),
                };
                let Some(page) = page else {
                    self.pages_end = true;
                    return Ok(());
                };
                let end = match &self.high {
                    Excluded(high) => page.before(high),
                    Included(high) => {
                        let n = page.before(high);
                        n + usize::from(n < page.len() && page.key(n) == high.as_slice())
                    }
                    Unbounded => page.len(),
                };
                let beyond = match &self.low {
                    Included(low) | Excluded(low) => page.lower() < low.as_slice(),
                    Unbounded => false,
                };
                self.pages_end = beyond || page.lower().is_empty();
                self.page_from = Some(page.lower().to_vec());
                self.page = (end > 0).then_some((page, end));
            }
        }
        Ok(())
    }

    /// The next entry of the page, if it lies within the bounds.
    fn packed(&self) -> Option<Entry> {
        let (page, n) = self.page.as_ref()?;
        let n = match self.direction {
            Direction::Up => *n,
            Direction::Down => n.checked_sub(1)?,
        };
        let key = page.key(n);
        let within = match self.direction {
            Direction::Up => match &self.high {
                Included(high) => key <= high.as_slice(),
                Excluded(high) => key < high.as_slice(),
                Unbounded => true,
            },
            Direction::Down => match &self.low {
                Included(low) => key >= low.as_slice(),
                Excluded(low) => key > low.as_slice(),
                Unbounded => true,
            },
        };
        within.then(|| Entry::Packed(page.clone(), n))
    }

    fn pass_packed(&mut self) {
        let Some((page, n)) = &mut self.page else { return };
        let left = match self.direction {
            Direction::Up => {
                *n += 1;
                *n < page.len()
            }
            Direction::Down => {
                *n = n.saturating_sub(1);
                *n > 0
            }
        };
        if !left {
            self.page = None;
        }
    }
}

impl Iterator for Cursor<'_> {
    type Item = Result<Entry, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// No key lies between the two. sled panics where they are the wrong way round.
fn is_empty(low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> bool {
    match (low, high) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(low), Included(high)) => low > high,
        (Excluded(low), Included(high) | Excluded(high)) | (Included(low), Excluded(high)) => {
            low >= high
        }
    }
}
