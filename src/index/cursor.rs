//! Reading the entries of the index: by key, and one after another in either direction.

use std::collections::VecDeque;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use bytes::Bytes;

use super::IndexError;
use super::entries::{Entries, Recent, recent_value};
use super::page::{LAST, Page, page_key};
use super::spaced::{close, spaced};
use super::tree::strange_key;

/// Recent entries that a reader takes at once.
const RECENT_ROWS: usize = if cfg!(test) { 4 } else { 64 };

/// An entry as it was read.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Recent(Vec<u8>, Bytes),
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

/// Finds entries by their keys, neighbours faster than strangers.
pub(super) struct Lookup<'a> {
    entries: &'a Entries,
    /// The page that was looked into last, its upper bound, and how many batches had been written.
    page: Option<(Vec<u8>, Arc<Page>, u64)>,
}

impl<'a> Lookup<'a> {
    pub fn new(entries: &'a Entries) -> Self {
        Self { entries, page: None }
    }

    /// What stands under a key.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        if let Some(recent) = self.entries.recent_at(key)? {
            return Ok(recent);
        }
        let written = self.entries.batches.written();
        let within = |(upper, page, as_of): &&(Vec<u8>, Arc<Page>, u64)| {
            Some(*as_of) == written && key <= upper.as_slice() && key > page.lower()
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
    recents: VecDeque<(Vec<u8>, Recent)>,
    /// The last of them that was read.
    recents_read: Option<Vec<u8>>,
    recents_end: bool,
    /// The page that is being read, and the number of its next entry, plus one where it goes down.
    page: Option<(Arc<Page>, usize)>,
    /// The bound from which on the next page is looked for, where one was read.
    page_from: Option<Vec<u8>>,
    pages_end: bool,
    /// How many batches had been written when the first of the pages was read.
    as_of: Option<u64>,
}

impl<'a> Cursor<'a> {
    /// The entries between these bounds, one after the other.
    pub fn new(entries: &'a Entries, bounds: Bounds, direction: Direction) -> Self {
        let (low, high) = bounds;
        Self {
            entries,
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
            let recent = self.recents.front().map(|(key, _)| key.as_slice());
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
                self.pass(key.clone());
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
                Direction::Up => low = Excluded(read.clone()),
                Direction::Down => high = Excluded(read.clone()),
            }
        }
        if is_empty(&low, &high) {
            self.recents_end = true;
            return Ok(());
        }
        let in_sled = |bound: Bound<Vec<u8>>| bound.map(|key| spaced(&key));
        let mut rows = self.entries.db.range((in_sled(low), in_sled(high)));
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
            let key = close(&key).ok_or_else(strange_key)?;
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
                    Included(high) | Excluded(high) => upper >= *high,
                    Unbounded => upper == LAST,
                };
                self.page_from = Some(upper);
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
