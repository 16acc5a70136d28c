//! The ordered map in which the index keeps its rows: each by its key, in sled.
//!
//! An entry stands in one of two places. What was written lately is **recent**: a value of its own, under its
//! own key. Everything else is **packed**, with its neighbours, into pages. A recent entry hides
//! a packed one of the same key, and may say that there is none any more. Packing moves recent
//! entries into the pages, which changes nothing of what the map holds.
//!
//! ```text
//! recent  the key, spaced -> crc32c u32 of key and rest | 1, value  or  0
//! packed  see `page.rs`
//! ```
//!
//! **One writer, many readers.** What is packed is in its page before it ceases to be recent. So a reader
//! who looks at recent entries first, and at a page after that, misses nothing. Pages are found by
//! their upper bounds, which stay. Between two steps of a reader entries may come and go; none
//! that stays is passed over, and none is given out twice or out of order.

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use sled::IVec;

use super::IndexError;
use super::cursor::{Bounds, Cursor, Direction};
use super::database::Database;
use super::page::{
    LAST, PACKED, Page, PageCache, PageWriter, Put, checksum, page_key, shares, upper_bound, weight,
};
use super::spaced::{close, spaced};
use super::tree::strange_key;
use crate::keys;

/// Keys of one batch while others read. sled holds a lock of the whole process meanwhile.
const BATCH_KEYS: usize = 96;
/// Changes that go into one page at once, by their weight: a few pages' worth.
const PORTION_BYTES: usize = 1 << 20;
/// Recent entries that are packed at once.
const RECENT_PACKED: usize = 8192;
/// The part of the cache that unpacked pages have: a fourth.
pub(super) const CACHE_SHARE: u64 = 4;

/// An entry that is to be written; none: it goes.
pub type Change = (Vec<u8>, Option<Vec<u8>>);
/// The same, borrowed.
pub(super) type Edit<'a> = (&'a [u8], Option<&'a [u8]>);

/// What a recent entry says: its value, or that there is none any more.
pub(super) type Recent = Option<Bytes>;
/// A page, and its upper bound.
pub(super) type Bounded = (Vec<u8>, Arc<Page>);

/// The entries, for one writer at a time and any number of readers.
pub(super) struct Entries {
    pub db: Database,
    pub batches: Batches,
    pub cache: PageCache,
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
        if let Some(recent) = self.recent_at(key)? {
            return Ok(recent);
        }
        let Some((_, page)) = self.page_with(Included(key))? else { return Ok(None) };
        Ok(page.find(key).map(|n| Bytes::copy_from_slice(page.value(n))))
    }

    /// What a recent entry says of a key; none where there is none.
    pub fn recent_at(&self, key: &[u8]) -> Result<Option<Recent>, IndexError> {
        let key = spaced(key);
        let found = self.db.get(&key)?;
        found.map(|value| recent_value(&key, &value)).transpose()
    }

    /// The first page that may hold a key beyond this bound, and its upper bound; none where there are
    /// no pages at all.
    pub fn page_with(&self, bound: Bound<&[u8]>) -> Result<Option<Bounded>, IndexError> {
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
        let upper = upper_bound(&key).ok_or_else(strange_key)?;
        Ok(Some((upper, page)))
    }

    /// The entries between these bounds, one after the other.
    pub fn cursor(&self, bounds: Bounds, direction: Direction) -> Cursor<'_> {
        Cursor::new(self, bounds, direction)
    }

    /// Writes a few changes in one step. They stay recent.
    pub fn put(&self, changes: Vec<Change>, then: impl FnOnce()) -> Result<(), IndexError> {
        let (mut batch, count) = (sled::Batch::default(), changes.len());
        for (key, value) in changes {
            let key = spaced(&key);
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
                let (mut changes, mut packed): (Vec<Change>, Vec<IVec>) = Default::default();
                for row in self.db.range((low, end.clone())).take(RECENT_PACKED) {
                    let (key, value) = row?;
                    let value = recent_value(&key, &value)?;
                    let closed = close(&key).ok_or_else(strange_key)?;
                    changes.push((closed, value.map(|value| value.to_vec())));
                    packed.push(key);
                }
                let Some(last) = packed.last() else { break };
                low = Excluded(last.to_vec());
                self.pack(&edits(&changes))?;
                // Only now: see the head of this file.
                for some in packed.chunks(BATCH_KEYS) {
                    let mut batch = sled::Batch::default();
                    for key in some {
                        batch.remove(key);
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
                None => (LAST.to_vec(), None),
            };
            let mut bytes = 0;
            let within = changes.iter().take_while(|(key, value)| {
                let fits = bytes < PORTION_BYTES;
                bytes += weight((key, value.unwrap_or_default()));
                fits && *key <= upper.as_slice()
            });
            let (now, later) = changes.split_at(within.count());
            let cut = later.first().is_some_and(|(key, _)| *key <= upper.as_slice());
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
            None => (LAST.to_vec(), None),
        };
        if upper == bound {
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

pub(super) fn recent_value(key: &[u8], bytes: &IVec) -> Result<Recent, IndexError> {
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
