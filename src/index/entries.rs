//! The ordered map in which the index keeps its rows: each by its key, in sled.
//!
//! What was written lately is **recent**: a value of its own, under its own key. Everything else is **packed**,
//! with its neighbours, into pages, which form **layers** (`layers.rs`). A recent entry hides packed ones
//! of the same key, a newer layer the older ones and the base; each may say that there is no such entry any
//! more. Packing, merging and folding move entries downwards, which changes nothing of what
//! the map holds.
//!
//! ```text
//! recent  the key, spaced -> crc32c u32 of key and rest | 1, value  or  0
//! packed  see `page.rs`
//! ```
//!
//! **One writer, many readers.** What moves is in its new place before it leaves the old one, and places are
//! looked into from above. So a reader misses nothing. Pages are found by their upper bounds, which stay.
//! Between two steps of a reader entries may come and go; none that stays is passed over, and none is
//! given out twice or out of order.

use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use sled::IVec;

use super::IndexError;
use super::cursor::{Bounds, Cursor, Direction, Lookup};
use super::database::Database;
use super::layers::{BASE, Layer, Layers, Stack};
use super::page::{
    Caching, LAST, Page, PageCache, PageWriter, Put, checksum, page_key, shares, upper_bound,
    weight,
};
use super::spaced::{close, spaced};
use super::tree::strange_key;
use crate::keys;

/// Keys of one batch while others read. sled holds a lock of the whole process meanwhile.
const BATCH_KEYS: usize = 96;
/// Changes that go into one page at once, by their weight: a few pages' worth.
const PORTION_BYTES: usize = 1 << 20;
/// Recent entries that are read at once, and bytes of those that are packed at once, about.
const RECENT_PACKED: usize = 8192;
const PACKED_BYTES: usize = 64 << 20;
/// Rows for each page of the base that is rewritten for them, at least.
const NEIGHBOURS: usize = 8;
/// Layers of about the same size that are merged.
const MERGED_LAYERS: usize = if cfg!(test) { 3 } else { 6 };
/// Layers that are left alone where nothing else is to be done.
const IDLE_LAYERS: usize = 2;
/// What the layers may have of all entries before they are folded into the base: half of them.
const FOLD_SHARE: u64 = 2;
/// Entries that are folded for each one that is packed, and at least so many at a time.
const FOLD_PACE: u64 = 2;
const FOLDED_MIN: u64 = if cfg!(test) { 20 } else { 200_000 };
/// Bytes of entries that are moved at once.
const MOVED_BYTES: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };
/// The part of the cache that unpacked pages have: a fourth.
pub(super) const CACHE_SHARE: u64 = 4;

/// An entry that is to be written; none: it goes.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// What a recent entry says: its value, or that there is none any more.
pub(super) type Recent = Option<Bytes>;
/// A page, and its upper bound.
pub(super) type Bounded = (Vec<u8>, Arc<Page>);

/// The entries, for one writer at a time and any number of readers.
pub(super) struct Entries {
    pub db: Database,
    pub batches: Batches,
    pub layers: Layers,
    pub cache: PageCache,
    /// How many recent entries there are, about.
    recent: AtomicUsize,
    /// The number of the page that was written last, none before the first.
    number: Mutex<Option<u64>>,
    /// The layers that are being folded into the base, bit by bit.
    folding: Mutex<Option<Fold>>,
}

/// How far some layers are folded into the base.
struct Fold {
    stack: Stack,
    /// What is still to be folded begins here.
    left: Bound<Vec<u8>>,
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
        let (layers, batches) = (Layers::open(&db)?, Batches::default());
        Ok(Self {
            db,
            batches,
            layers,
            cache,
            recent: recent.into(),
            number: Mutex::default(),
            folding: Mutex::default(),
        })
    }

    /// How many recent entries there are, about.
    pub fn recent(&self) -> usize {
        self.recent.load(Ordering::Relaxed)
    }

    /// What stands under a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        Lookup::new(self).get(key)
    }

    /// What a recent entry says of a key; none where there is none.
    pub fn recent_at(&self, key: &[u8]) -> Result<Option<Recent>, IndexError> {
        let key = spaced(key);
        let found = self.db.get(&key)?;
        found.map(|value| recent_value(&key, &value)).transpose()
    }

    /// A layer's first page that may hold a key beyond this bound, and its upper bound; none where it has
    /// no pages at all.
    pub fn page_with(
        &self,
        layer: u32,
        bound: Bound<&[u8]>,
        caching: Caching,
    ) -> Result<Option<Bounded>, IndexError> {
        let missing = || IndexError::damaged("a page is missing");
        let find = || {
            let from = bound.map(|key| page_key(layer, key));
            let end = Excluded(page_key(layer.saturating_add(1), &[]));
            self.db.range((from, end)).next().transpose()
        };
        let mut found = find()?;
        let beyond_last = matches!(bound, Excluded(key) if key == LAST);
        let any = || self.db.scan_prefix(page_key(layer, &[])).next().is_some();
        if found.is_none() && !beyond_last && any() {
            // The first pages may have come between these two looks, and with them the last one.
            found = Some(find()?.ok_or_else(missing)?);
        }
        let Some((key, value)) = found else { return Ok(None) };
        let page = self.cache.page(&key, &value, caching)?;
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

    /// Packs all recent entries. The map has so many in all, about.
    pub fn pack_recent(&self, whole: u64) -> Result<(), IndexError> {
        while self.recent() > 0 {
            let (mut changes, mut bytes): (Vec<Change>, usize) = Default::default();
            self.each_recent(|recent| {
                for (_, key, value) in recent {
                    bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
                    changes.push((key.clone(), value.as_ref().map(|value| value.to_vec())));
                }
                Ok(bytes < PACKED_BYTES)
            })?;
            if changes.is_empty() {
                self.recent.store(0, Ordering::Relaxed);
            }
            self.pack(&edits(&changes), whole)?;
        }
        Ok(())
    }

    /// Writes many changes at once, in the order of their keys, each key once.
    pub fn pack(&self, changes: &[Put<'_>], whole: u64) -> Result<(), IndexError> {
        // Rows come before all others.
        let rows = changes.partition_point(|(key, _)| keys::carries_texts(key));
        let (rows, others) = changes.split_at(rows);
        let stack = self.layers.stack();
        let most = stack.is_empty() && (changes.len() as u64).saturating_mul(FOLD_SHARE) >= whole;
        if most {
            // Most pages of the base have some of them anyway.
            self.write(BASE, changes)?;
        } else if !stack.iter().any(|layer| layer.rows) && self.are_neighbours(rows)? {
            self.write(BASE, rows)?;
            self.write_layer(others, false)?;
        } else {
            self.write_layer(changes, !rows.is_empty())?;
        }
        drop(stack);
        // Recent entries would hide them. Only now: see the head of this file.
        self.each_recent(|recent| {
            let hide =
                |key: &Vec<u8>| changes.binary_search_by_key(&key.as_slice(), |(key, _)| key);
            let hiding = recent.iter().filter(|(_, key, _)| hide(key).is_ok());
            self.forget(hiding.map(|(in_sled, ..)| in_sled))?;
            Ok(true)
        })?;
        self.settle(changes.len() as u64, whole)
    }

    /// Whether some rows, which are in order, stand so close together that it is no matter to rewrite the
    /// pages of the base that they belong to.
    fn are_neighbours(&self, mut rows: &[Put<'_>]) -> Result<bool, IndexError> {
        let mut left = rows.len() / NEIGHBOURS;
        while let Some((first, _)) = rows.first() {
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            let pages = page_key(BASE, first)..page_key(BASE + 1, &[]);
            let Some(key) = self.db.range(pages).keys().next().transpose()? else { break };
            let upper = upper_bound(&key).ok_or_else(strange_key)?;
            let within = rows.partition_point(|(key, _)| *key <= upper.as_slice());
            rows = rows.get(within..).unwrap_or_default();
        }
        Ok(true)
    }

    /// Makes a layer of changes, and has it count.
    fn write_layer(&self, changes: &[Put<'_>], rows: bool) -> Result<(), IndexError> {
        if changes.is_empty() {
            return Ok(());
        }
        let number = self.layers.new_number();
        self.write(number, changes)?;
        let layer = Arc::new(Layer { number, entries: changes.len() as u64, rows });
        let stack: Stack = [layer].into_iter().chain(self.layers.stack().iter().cloned()).collect();
        self.batches.write(|| self.layers.replace(&self.db, &stack))
    }

    /// All recent entries, some at a time, for as long as the visitor wants more: the key in sled, the
    /// key, what it says.
    fn each_recent(
        &self,
        mut visit: impl FnMut(&[(IVec, Vec<u8>, Recent)]) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        for kind in keys::ENTRIES {
            let (mut low, end) = (Included(vec![*kind]), Excluded(vec![*kind + 1]));
            loop {
                let mut some = Vec::new();
                for row in self.db.range((low, end.clone())).take(RECENT_PACKED) {
                    let (in_sled, value) = row?;
                    let value = recent_value(&in_sled, &value)?;
                    let key = close(&in_sled).ok_or_else(strange_key)?;
                    some.push((in_sled, key, value));
                }
                let Some((last, ..)) = some.last() else { break };
                low = Excluded(last.to_vec());
                if !visit(&some)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Removes entries from those that are recent.
    fn forget<'k>(&self, in_sled: impl Iterator<Item = &'k IVec>) -> Result<(), IndexError> {
        let mut in_sled = in_sled.peekable();
        while in_sled.peek().is_some() {
            let (mut batch, mut count) = (sled::Batch::default(), 0);
            for key in in_sled.by_ref().take(BATCH_KEYS) {
                batch.remove(key);
                count += 1;
            }
            self.batches.write(|| self.db.apply_batch(batch))?;
            let less = |recent: usize| Some(recent.saturating_sub(count));
            let _always = self.recent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        Ok(())
    }

    /// Folds the layers into the base where they have much of the whole, a part for each part that was
    /// packed, and merges those of a size. So each entry moves a few times, and that not more often
    /// the more there are.
    fn settle(&self, packed: u64, whole: u64) -> Result<(), IndexError> {
        let mut stack = self.layers.stack();
        let above: u64 = stack.iter().map(|layer| layer.entries).sum();
        let mut folding = self.folding.lock();
        if folding.is_none() && above > 0 && above.saturating_mul(FOLD_SHARE) >= whole {
            *folding = Some(Fold { stack: stack.clone(), left: Unbounded });
        }
        stack = self.fold(&mut folding, packed.saturating_mul(FOLD_PACE).max(FOLDED_MIN))?;
        let folded = folding.as_ref().map_or(0, |fold| fold.stack.len());
        while let Some(count) = of_a_size(stack.get(..stack.len() - folded).unwrap_or_default()) {
            stack = self.merge(&stack, count)?;
        }
        drop(stack);
        self.layers.sweep(&self.db)
    }

    /// Folds so many entries. Returns the layers that count then.
    fn fold(&self, folding: &mut Option<Fold>, count: u64) -> Result<Stack, IndexError> {
        if let Some(Fold { stack, left }) = folding {
            let mut cursor = Cursor::over(self, stack.clone(), left.clone());
            let moved = self.move_down(&mut cursor, BASE, count)?;
            *left = cursor.low();
            if moved >= count {
                return Ok(self.layers.stack());
            }
            let folded = std::mem::take(stack);
            let now = self.layers.stack();
            let others: Stack =
                now.iter().filter(|layer| !folded.contains(layer)).cloned().collect();
            self.batches.write(|| self.layers.replace(&self.db, &others))?;
            *folding = None;
        }
        Ok(self.layers.stack())
    }

    /// Whether there are more than a few layers.
    pub fn is_untidy(&self) -> bool {
        self.folding.lock().is_some() || self.layers.stack().len() > IDLE_LAYERS
    }

    /// Folds on, or merges all layers: for when nothing else is to be done.
    pub fn tidy(&self) -> Result<(), IndexError> {
        let mut folding = self.folding.lock();
        if folding.is_some() {
            self.fold(&mut folding, FOLDED_MIN)?;
        } else {
            let stack = self.layers.stack();
            if stack.len() > 1 {
                self.merge(&stack, stack.len())?;
            }
        }
        self.layers.sweep(&self.db)
    }

    /// Makes one of the newest layers.
    fn merge(&self, stack: &Stack, count: usize) -> Result<Stack, IndexError> {
        let (newest, others) = stack.split_at_checked(count).unwrap_or((stack, &[]));
        let number = self.layers.new_number();
        let rows = newest.iter().any(|layer| layer.rows);
        let newest = newest.iter().cloned().collect();
        let mut cursor = Cursor::over(self, newest, Unbounded);
        let entries = self.move_down(&mut cursor, number, u64::MAX)?;
        let merged = Arc::new(Layer { number, entries, rows });
        let stack: Stack = [merged].into_iter().chain(others.iter().cloned()).collect();
        self.batches.write(|| self.layers.replace(&self.db, &stack))?;
        Ok(stack)
    }

    /// Writes so many entries of some layers into another, or some more. Returns how many there were.
    fn move_down(
        &self,
        cursor: &mut Cursor<'_>,
        layer: u32,
        count: u64,
    ) -> Result<u64, IndexError> {
        let mut moved = 0;
        while moved < count {
            let (mut some, mut bytes) = (Vec::new(), 0);
            while bytes < MOVED_BYTES {
                let Some(entry) = cursor.step()? else { break };
                bytes += entry.key().len() + entry.bytes().map_or(0, <[u8]>::len);
                some.push(entry);
            }
            if some.is_empty() {
                break;
            }
            moved += some.len() as u64;
            let changes: Vec<Put<'_>> =
                some.iter().map(|entry| (entry.key(), entry.bytes())).collect();
            self.write(layer, &changes)?;
        }
        Ok(moved)
    }

    /// Writes changes into the pages of a layer: in the order of their keys, each key once.
    pub fn write(&self, layer: u32, mut changes: &[Put<'_>]) -> Result<(), IndexError> {
        let mut writer = PageWriter::new()?;
        while let Some((first, _)) = changes.first() {
            let (upper, page) = match self.page_with(layer, Included(first), Caching::Pass)? {
                Some((upper, page)) => (upper, Some(page)),
                None => (LAST.to_vec(), None),
            };
            let mut bytes = 0;
            let within = changes.iter().take_while(|change| {
                let fits = bytes < PORTION_BYTES;
                bytes += weight(**change);
                fits && change.0 <= upper.as_slice()
            });
            let (now, later) = changes.split_at(within.count());
            let cut = later.first().is_some_and(|(key, _)| *key <= upper.as_slice());
            let cut = now.last().filter(|_| cut).map(|(key, _)| *key);
            self.rewrite(&mut writer, (layer, &upper), page.as_deref(), now, cut)?;
            changes = later;
        }
        Ok(())
    }

    /// Has a page of the base end with this key, so that what comes after it is written into others.
    pub fn divide(&self, bound: &[u8]) -> Result<(), IndexError> {
        let mut writer = PageWriter::new()?;
        let (upper, page) = match self.page_with(BASE, Included(bound), Caching::Pass)? {
            Some((upper, page)) => (upper, Some(page)),
            None => (LAST.to_vec(), None),
        };
        if upper == bound {
            return Ok(());
        }
        let page = page.as_deref();
        let entries: Vec<Put<'_>> =
            page.into_iter().flat_map(|page| (0..page.len()).map(|n| page.entry(n))).collect();
        let (before, after) = entries.split_at(entries.partition_point(|(key, _)| *key <= bound));
        let mut batch = sled::Batch::default();
        for (upper, lower, entries) in
            [(bound, page.map(Page::lower).unwrap_or_default(), before), (&*upper, bound, after)]
        {
            let key = page_key(BASE, upper);
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
        (layer, upper): (u32, &[u8]),
        page: Option<&Page>,
        changes: &[Put<'_>],
        cut: Option<&[u8]>,
    ) -> Result<(), IndexError> {
        let mut merged: Vec<Put<'_>> = Vec::new();
        let (mut n, count) = (0, page.map_or(0, Page::len));
        let there = |n: usize| page.map(|page| page.entry(n));
        for (key, value) in changes {
            while let Some(entry) = there(n).filter(|(before, _)| n < count && before < key) {
                merged.push(entry);
                n += 1;
            }
            n += usize::from(n < count && there(n).is_some_and(|(same, _)| same == *key));
            // Under the base there is nothing that would have to be hidden.
            if value.is_some() || layer != BASE {
                merged.push((*key, *value));
            }
        }
        let rest: Vec<Put<'_>> = (n..count).filter_map(there).collect();
        let mut lower = page.map(Page::lower).unwrap_or_default();
        let mut batch = sled::Batch::default();
        let mut add = |upper: &[u8], lower: &[u8], entries: &[Put<'_>]| {
            let key = page_key(layer, upper);
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

/// How many of the newest layers are merged; none where they differ in size enough.
fn of_a_size(stack: &[Arc<Layer>]) -> Option<usize> {
    let (mut count, mut sum) = (0, 0);
    for layer in stack {
        if count >= MERGED_LAYERS && layer.entries >= sum {
            break;
        }
        count += 1;
        sum += layer.entries;
    }
    (count >= MERGED_LAYERS).then_some(count)
}

/// Changes as [`Entries::pack`] takes them.
pub(super) fn edits(changes: &[Change]) -> Vec<Put<'_>> {
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
