//! Reading the entries of the index: by key, and one after another in either direction.

use std::collections::VecDeque;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

use bytes::Bytes;

use super::IndexError;
use super::entries::{Bounded, Entries, Recent, recent_value};
use super::layers::{BASE, Stack};
use super::page::{Caching, LAST, Page, page_key};
use super::spaced::{close, spaced};
use super::tree::strange_key;
use crate::keys;

/// Recent entries that a reader takes at once.
const RECENT_ROWS: usize = if cfg!(test) { 4 } else { 64 };
/// Bytes of their values, after which it takes no more of them.
const RECENT_BYTES: usize = 64 << 10;

/// An entry as it was read, or that there is none any more.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Recent(Vec<u8>, Recent),
    Packed(Arc<Page>, usize),
}

impl Entry {
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Recent(key, _) => key,
            Self::Packed(page, n) => page.key(*n),
        }
    }

    /// None where it is gone.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Recent(_, value) => value.as_deref(),
            Self::Packed(page, n) => page.value(*n),
        }
    }

    /// A copy of the value: who keeps that does not keep a whole page. Empty where it is gone.
    pub fn value(&self) -> Bytes {
        match self {
            Self::Recent(_, value) => value.clone().unwrap_or_default(),
            Self::Packed(..) => Bytes::copy_from_slice(self.bytes().unwrap_or_default()),
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

/// The numbers of some layers and of the base, in the order in which they hide each other. Where rows of
/// calls are looked for, only those that have some.
fn numbers(stack: &Stack, rows: bool) -> impl Iterator<Item = u32> {
    let layers = stack.iter().filter(move |layer| layer.rows || !rows);
    layers.map(|layer| layer.number).chain([BASE])
}

/// Finds entries by their keys, neighbours faster than strangers.
pub(super) struct Lookup<'a> {
    entries: &'a Entries,
    stack: Stack,
    /// How many batches had been written when the layers were looked at; none: while one was.
    as_of: Option<u64>,
    /// The page of each layer that was looked into last.
    pages: Vec<Option<Bounded>>,
    /// They were looked into for rows of calls.
    rows: bool,
}

impl<'a> Lookup<'a> {
    pub fn new(entries: &'a Entries) -> Self {
        Self { entries, stack: Stack::default(), as_of: None, pages: Vec::new(), rows: false }
    }

    /// What stands under a key.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, IndexError> {
        if let Some(recent) = self.entries.recent_at(key)? {
            return Ok(recent);
        }
        let (written, rows) = (self.entries.batches.written(), keys::carries_texts(key));
        if self.as_of.is_none() || written != self.as_of || rows != self.rows {
            self.rows = rows;
            (self.as_of, self.stack) = (written, self.entries.layers.stack());
            self.pages = vec![None; self.stack.len() + 1];
        }
        let numbers = numbers(&self.stack, self.rows);
        for (number, place) in numbers.zip(&mut self.pages) {
            let holds = |(upper, page): &Bounded| key <= upper.as_slice() && key > page.lower();
            if !place.as_ref().is_some_and(holds) {
                *place = self.entries.page_with(number, Included(key), Caching::Keep)?;
            }
            let Some((_, page)) = place else {
                is_empty_base(number)?;
                continue;
            };
            if let Some(n) = page.find(key) {
                return Ok(page.value(n).map(Bytes::copy_from_slice));
            }
        }
        Ok(None)
    }
}

/// Goes from entry to entry, while others may be written.
pub(super) struct Cursor<'a> {
    entries: &'a Entries,
    /// What is still to be given out.
    left: Left,
    /// None where it reads layers alone.
    recents: Option<Recents>,
    /// The layers, and perhaps the base.
    pages: Vec<Pages>,
    /// Keeps the layers while they are read.
    stack: Stack,
    /// How many batches had been written when the layers were looked at.
    as_of: Option<u64>,
    caching: Caching,
}

/// The bounds of what is left, and in which direction it is read.
struct Left {
    direction: Direction,
    low: Bound<Vec<u8>>,
    high: Bound<Vec<u8>>,
}

impl Left {
    /// Nothing up to this key is given out any more.
    fn pass(&mut self, key: &[u8]) {
        let bound = match self.direction {
            Direction::Up => &mut self.low,
            Direction::Down => &mut self.high,
        };
        match bound {
            // The room of the last one is used again.
            Excluded(last) => {
                last.clear();
                last.extend_from_slice(key);
            }
            _ => *bound = Excluded(key.to_vec()),
        }
    }

    /// Whether no key but those of whole calls lies between the bounds.
    fn is_of_rows(&self) -> bool {
        let (low, high) = (start(&self.low, &[]), start(&self.high, LAST));
        keys::carries_texts(low) && (keys::carries_texts(high) || *high == [keys::CALL + 1])
    }

    /// Whether a key, which comes later, is not beyond the end.
    fn holds(&self, key: &[u8]) -> bool {
        let (bound, beyond) = match self.direction {
            Direction::Up => (&self.high, std::cmp::Ordering::Greater),
            Direction::Down => (&self.low, std::cmp::Ordering::Less),
        };
        match bound {
            Included(end) => key.cmp(end) != beyond,
            Excluded(end) => key.cmp(end) == beyond.reverse(),
            Unbounded => true,
        }
    }

    /// Whether the first key comes before the second.
    fn is_before(&self, a: &[u8], b: &[u8]) -> bool {
        match self.direction {
            Direction::Up => a < b,
            Direction::Down => a > b,
        }
    }
}

impl<'a> Cursor<'a> {
    /// The entries between these bounds, one after the other.
    pub fn new(entries: &'a Entries, (low, high): Bounds, direction: Direction) -> Self {
        let left = Left { direction, low, high };
        let recents = Some(Recents::default());
        let (pages, stack) = (Vec::new(), Stack::default());
        Self { entries, left, recents, pages, stack, as_of: None, caching: Caching::Keep }
    }

    /// What some layers together say from a key on, without the base.
    pub fn over(entries: &'a Entries, stack: Stack, low: Bound<Vec<u8>>) -> Self {
        let left = Left { direction: Direction::Up, low, high: Unbounded };
        let pages = stack.iter().map(|layer| Pages::new(layer.number)).collect();
        Self { entries, left, recents: None, pages, stack, as_of: None, caching: Caching::Pass }
    }

    /// The same for one who reads very much of the index once.
    pub fn passing(self) -> Self {
        Self { caching: Caching::Pass, ..self }
    }

    /// Where what is left begins.
    pub fn low(&self) -> Bound<Vec<u8>> {
        self.left.low.clone()
    }

    /// The next entry, also where it is gone.
    pub fn step(&mut self) -> Result<Option<Entry>, IndexError> {
        let Self { entries, left, recents, pages, stack, as_of, caching } = self;
        if let Some(recents) = recents
            && recents.next.is_empty()
            && !recents.end
        {
            recents.read(entries, left)?;
            // The pages have to be as new as that.
            let written = entries.batches.written();
            if as_of.is_none() || written != *as_of {
                (*as_of, *stack) = (written, entries.layers.stack());
                *pages = numbers(stack, left.is_of_rows()).map(Pages::new).collect();
            }
        }
        for pages in &mut *pages {
            while pages.page.is_none() && !pages.end {
                pages.read(entries, left, *caching)?;
            }
        }
        // What is found first hides all that is found later.
        let recent = recents.as_ref().and_then(|recents| recents.next.front());
        let mut best = recent.map(|(key, _)| (key.as_slice(), None));
        for (page, n) in pages.iter().filter_map(|pages| pages.next(left.direction)) {
            let key = page.key(n);
            let first = best.is_none_or(|(best, _)| left.is_before(key, best));
            if first && left.holds(key) {
                best = Some((key, Some((page, n))));
            }
        }
        let Some((key, packed)) = best else { return Ok(None) };
        let packed = packed.map(|(page, n)| Entry::Packed(page.clone(), n));
        left.pass(key);
        let recent = recents.as_mut().filter(|_| packed.is_none());
        let recent = recent.and_then(|recents| recents.next.pop_front());
        let Some(found) = packed.or(recent.map(|(key, value)| Entry::Recent(key, value))) else {
            return Ok(None);
        };
        for pages in pages {
            if pages.next(left.direction).is_some_and(|(page, n)| page.key(n) == found.key()) {
                pages.pass(left.direction);
            }
        }
        Ok(Some(found))
    }
}

impl Iterator for Cursor<'_> {
    type Item = Result<Entry, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Ok(Some(entry)) if entry.bytes().is_none() => {}
                found => return found.transpose(),
            }
        }
    }
}

/// Reads recent entries.
#[derive(Default)]
struct Recents {
    /// Those that come next, in the direction; none: it is gone.
    next: VecDeque<(Vec<u8>, Recent)>,
    end: bool,
}

impl Recents {
    fn read(&mut self, entries: &Entries, left: &Left) -> Result<(), IndexError> {
        if is_empty(&left.low, &left.high) {
            self.end = true;
            return Ok(());
        }
        let in_sled = |bound: &Bound<Vec<u8>>| bound.as_ref().map(|key| spaced(key));
        let mut rows = entries.db.range((in_sled(&left.low), in_sled(&left.high)));
        let mut bytes = 0;
        while self.next.len() < RECENT_ROWS && bytes < RECENT_BYTES {
            let row = match left.direction {
                Direction::Up => rows.next(),
                Direction::Down => rows.next_back(),
            };
            let Some(row) = row else {
                self.end = true;
                break;
            };
            let (in_sled, value) = row?;
            bytes += value.len();
            let value = recent_value(&in_sled, &value)?;
            self.next.push_back((close(&in_sled).ok_or_else(strange_key)?, value));
        }
        Ok(())
    }
}

/// Reads the pages of a layer.
struct Pages {
    layer: u32,
    /// The page that is being read, and the number of its next entry, plus one where it goes down.
    page: Option<(Arc<Page>, usize)>,
    /// The bound from which on the next page is looked for, where one was read.
    from: Option<Vec<u8>>,
    end: bool,
}

impl Pages {
    fn new(layer: u32) -> Self {
        Self { layer, page: None, from: None, end: false }
    }

    /// Reads the next page that may hold an entry of what is left.
    fn read(&mut self, entries: &Entries, left: &Left, caching: Caching) -> Result<(), IndexError> {
        let found = match (left.direction, &self.from) {
            (Direction::Up, Some(from)) => {
                entries.page_with(self.layer, Excluded(from), caching)?
            }
            (Direction::Up, None) => {
                entries.page_with(self.layer, Included(start(&left.low, &[])), caching)?
            }
            (Direction::Down, Some(from)) => {
                let key = page_key(self.layer, from);
                let lost = || IndexError::damaged("a page is missing");
                let value = entries.db.get(&key)?.ok_or_else(lost)?;
                Some((from.clone(), entries.cache.page(&key, &value, caching)?))
            }
            (Direction::Down, None) => {
                entries.page_with(self.layer, Included(start(&left.high, LAST)), caching)?
            }
        };
        let Some((upper, page)) = found else {
            self.end = true;
            return if self.from.is_none() { is_empty_base(self.layer) } else { Ok(()) };
        };
        match left.direction {
            Direction::Up => {
                let first = match &left.low {
                    Included(low) => page.before(low),
                    Excluded(low) => page.up_to(low),
                    Unbounded => 0,
                };
                self.end = match &left.high {
                    Included(high) | Excluded(high) => upper >= *high,
                    Unbounded => upper == LAST,
                };
                self.from = Some(upper);
                self.page = (first < page.len()).then_some((page, first));
            }
            Direction::Down => {
                let end = match &left.high {
                    Excluded(high) => page.before(high),
                    Included(high) => page.up_to(high),
                    Unbounded => page.len(),
                };
                let beyond = match &left.low {
                    Included(low) | Excluded(low) => page.lower() < low.as_slice(),
                    Unbounded => false,
                };
                self.end = beyond || page.lower().is_empty();
                self.from = Some(page.lower().to_vec());
                self.page = (end > 0).then_some((page, end));
            }
        }
        Ok(())
    }

    /// The next entry of the page.
    fn next(&self, direction: Direction) -> Option<(&Arc<Page>, usize)> {
        let (page, n) = self.page.as_ref()?;
        match direction {
            Direction::Up => Some((page, *n)),
            Direction::Down => Some((page, n.checked_sub(1)?)),
        }
    }

    /// That one is done with.
    fn pass(&mut self, direction: Direction) {
        let Some((page, n)) = &mut self.page else { return };
        let left = match direction {
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

/// An error where a layer has no pages at all: the base alone may be empty.
fn is_empty_base(layer: u32) -> Result<(), IndexError> {
    if layer == BASE { Ok(()) } else { Err(IndexError::damaged("a layer is missing")) }
}

/// Where a bound lies; `end` where there is none.
fn start<'k>(bound: &'k Bound<Vec<u8>>, end: &'k [u8]) -> &'k [u8] {
    match bound {
        Included(key) | Excluded(key) => key,
        Unbounded => end,
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
