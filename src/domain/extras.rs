//! The keys that rollcall does not know, and what of them a record keeps.
//!
//! A record has room for so many keys and bytes. What does not fit is left out by itself, the largest
//! first, and which that is must not depend on the order in which events arrive. So a record keeps of
//! each key the least and the most bytes that it has ever had, of a key that was left out too, and a
//! key fits where it and all those that have ever been smaller fit together (`cost`). That sum only
//! grows: a key that was left out once would be left out in every other order of events as well, and
//! stays out.
//!
//! More names than [`EXTRAS_MAX`] make a record *crowded*. Then the names that come first, the
//! shortest before longer ones, are kept apart from all others, which are forgotten; and since it
//! is lost how many bytes those had taken, a key is kept where it needs no more than its even share. In
//! a record that is not crowded such a key fits, too, so that nothing that was left out before would
//! have to come back.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::Origin;

/// Extra keys that a record keeps, and tells apart.
pub const EXTRAS_MAX: usize = 64;
/// Bytes that a record has for extra keys and values, and for the names of those left out.
pub const EXTRA_BYTES_MAX: usize = 10 * 1024;
/// Bytes of the name of an extra key.
pub const KEY_BYTES_MAX: usize = 128;
/// Names that a record remembers beside those that it tells apart.
pub const REMEMBERED_MAX: usize = 16;
/// Bytes of such a name: longer ones are cut.
const REMEMBERED_BYTES_MAX: usize = 48;
/// What a key needs that can never fit.
const NEVER: u16 = u16_of(EXTRA_BYTES_MAX + 1);
/// What each of [`EXTRAS_MAX`] keys may have, where they all have the same.
const EVEN_SHARE: usize = EXTRA_BYTES_MAX / EXTRAS_MAX;

/// A key that rollcall does not know, kept as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// The key.
    pub key: Box<str>,
    /// The value: one compact JSON text.
    pub json: Box<str>,
    /// Where the value came from.
    pub origin: Origin,
    /// What key and value have ever needed together.
    pub bytes: SizeRange,
}

impl Extra {
    /// A key with its first value.
    pub fn new(key: Box<str>, json: Box<str>, origin: Origin) -> Self {
        let bytes = SizeRange::one(key.len() + json.len());
        Self { key, json, origin, bytes }
    }

    /// The bytes of key and value.
    pub fn size(&self) -> usize {
        self.key.len() + self.json.len()
    }
}

/// A key whose values are not kept, since they did not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The key.
    pub key: Box<str>,
    /// What key and value have ever needed together.
    pub bytes: SizeRange,
}

/// The least and the most bytes that a value has ever had; all sizes that can never fit count the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// The least.
    pub least: u16,
    /// The most.
    pub most: u16,
}

impl SizeRange {
    /// Of a single value.
    pub fn one(bytes: usize) -> Self {
        let bytes = u16::try_from(bytes).map_or(NEVER, |bytes| bytes.min(NEVER));
        Self { least: bytes, most: bytes }
    }

    /// Of two, each within the bounds.
    pub fn new(least: u16, most: u16) -> Self {
        let most = most.min(NEVER);
        Self { least: least.min(most), most }
    }

    fn join(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

/// What a record knows of the keys that rollcall does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extras {
    /// What is kept; ascending by key, without repetition.
    pub kept: Vec<Extra>,
    /// What is left out for good; ascending by key, without repetition.
    pub dropped: Vec<Dropped>,
    /// More names than [`EXTRAS_MAX`] were seen.
    pub crowded: bool,
    /// Names of which a value was left out, a known key's too: the first [`REMEMBERED_MAX`] of them, the
    /// shortest before longer ones.
    pub remembered: BTreeSet<NameOrder>,
}

/// A name in the order in which names are remembered: by length, then by its characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameOrder(Box<str>);

impl NameOrder {
    /// The name, cut where it is too long.
    pub fn new(name: &str) -> Self {
        if name.len() <= REMEMBERED_BYTES_MAX {
            return Self(name.into());
        }
        let room = REMEMBERED_BYTES_MAX - '…'.len_utf8();
        let cut = name.get(..name.floor_char_boundary(room)).unwrap_or_default();
        Self(format!("{cut}…").into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for NameOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        by_length(&self.0).cmp(&by_length(&other.0))
    }
}

impl PartialOrd for NameOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order in which names are remembered.
fn by_length(name: &str) -> (usize, &str) {
    (name.len(), name)
}

impl Extras {
    /// What a single event brings.
    pub fn of(pairs: Vec<(Box<str>, Box<str>)>, left_out: LeftOut, origin: Origin) -> Self {
        let (pairs, left_out) = bounded(pairs, left_out);
        let mut extras = Self::default();
        for name in &left_out.remembered {
            extras.note(name);
        }
        let never = SizeRange::one(usize::MAX);
        let large = left_out.large.into_iter();
        extras.dropped = large.map(|key| Dropped { key, bytes: never }).collect();
        let pairs = pairs.into_iter();
        extras.kept = pairs.map(|(key, json)| Extra::new(key, json, origin)).collect();
        extras.fit();
        extras
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let place = self.kept.binary_search_by(|have| (*have.key).cmp(key)).ok()?;
        self.kept.get(place).map(|extra| &*extra.json)
    }

    /// The names of which a value was left out, ascending; not all of them, where there were many.
    pub fn names_left_out(&self) -> impl Iterator<Item = &str> {
        let names = self.dropped.iter().map(|dropped| &*dropped.key);
        let names: BTreeSet<_> =
            names.chain(self.remembered.iter().map(NameOrder::as_str)).collect();
        names.into_iter()
    }

    /// What both say together.
    pub(super) fn join(&mut self, other: &Self) {
        for dropped in &other.dropped {
            self.drop_key(&dropped.key, dropped.bytes);
        }
        for extra in &other.kept {
            if let Ok(place) = self.place_of_dropped(&extra.key) {
                if let Some(have) = self.dropped.get_mut(place) {
                    have.bytes = have.bytes.join(extra.bytes);
                }
                continue;
            }
            match self.kept.binary_search_by(|have| have.key.cmp(&extra.key)) {
                Err(place) => self.kept.insert(place, extra.clone()),
                Ok(place) => {
                    let Some(have) = self.kept.get_mut(place) else { continue };
                    let bytes = have.bytes.join(extra.bytes);
                    if extra.weight() > have.weight() {
                        *have = extra.clone();
                    }
                    have.bytes = bytes;
                }
            }
        }
        self.crowded |= other.crowded;
        for name in &other.remembered {
            self.note(name.as_str());
        }
        self.fit();
    }

    fn place_of_dropped(&self, key: &str) -> Result<usize, usize> {
        self.dropped.binary_search_by(|have| (*have.key).cmp(key))
    }

    /// Leaves a key out for good.
    fn drop_key(&mut self, key: &str, mut bytes: SizeRange) {
        if let Ok(place) = self.kept.binary_search_by(|have| (*have.key).cmp(key)) {
            bytes = bytes.join(self.kept.remove(place).bytes);
        }
        match self.place_of_dropped(key) {
            Err(place) => self.dropped.insert(place, Dropped { key: key.into(), bytes }),
            Ok(place) => {
                if let Some(have) = self.dropped.get_mut(place) {
                    have.bytes = have.bytes.join(bytes);
                }
            }
        }
    }

    fn note(&mut self, name: &str) {
        self.remembered.insert(NameOrder::new(name));
        while self.remembered.len() > REMEMBERED_MAX {
            self.remembered.pop_last();
        }
    }

    /// Leaves out what does not fit.
    fn fit(&mut self) {
        if self.kept.len() + self.dropped.len() > EXTRAS_MAX {
            self.crowded = true;
            self.forget_the_last();
        }
        let whole: usize = self.kept.iter().map(|extra| usize::from(extra.bytes.most)).sum();
        if !self.crowded && self.dropped.is_empty() && whole <= EXTRA_BYTES_MAX {
            return;
        }
        let sizes = self.kept.iter().map(|extra| (&*extra.key, extra.bytes));
        let sizes: Vec<_> =
            sizes.chain(self.dropped.iter().map(|gone| (&*gone.key, gone.bytes))).collect();
        let fits = |extra: &Extra| {
            if self.crowded {
                usize::from(extra.bytes.most) <= EVEN_SHARE
            } else {
                cost(&sizes, &extra.key, extra.bytes.most) <= EXTRA_BYTES_MAX
            }
        };
        let large: Vec<(Box<str>, SizeRange)> = self
            .kept
            .iter()
            .filter(|extra| !fits(extra))
            .map(|extra| (extra.key.clone(), extra.bytes))
            .collect();
        for (key, bytes) in large {
            self.drop_key(&key, bytes);
        }
    }

    /// Keeps the names that come first.
    fn forget_the_last(&mut self) {
        let names = self.kept.iter().map(|extra| &*extra.key);
        let mut names: Vec<&str> =
            names.chain(self.dropped.iter().map(|gone| &*gone.key)).collect();
        names.sort_unstable_by(|a, b| by_length(a).cmp(&by_length(b)));
        let forgotten: Vec<Box<str>> =
            names.iter().skip(EXTRAS_MAX).map(|name| Box::from(*name)).collect();
        for name in forgotten {
            self.kept.retain(|extra| extra.key != name);
            self.dropped.retain(|gone| gone.key != name);
            self.note(&name);
        }
    }
}

/// A key and its value as compact JSON.
type ExtraPair = (Box<str>, Box<str>);

/// What of a single event may come to a record at all: pairs and names ascending by key, without
/// repetition. Of more keys than a record has room for the smallest count, so that one event alone does
/// not make a record crowded.
pub fn bounded(pairs: Vec<ExtraPair>, mut left_out: LeftOut) -> (Vec<ExtraPair>, LeftOut) {
    let size = |(key, json): &ExtraPair| key.len() + json.len();
    let (mut pairs, large): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|pair| size(pair) <= EXTRA_BYTES_MAX);
    left_out.large.extend(large.into_iter().map(|(key, _)| key));
    left_out.large.sort_unstable();
    left_out.large.dedup();
    let surplus = (pairs.len() + left_out.large.len()).saturating_sub(EXTRAS_MAX);
    if surplus > 0 {
        let names = left_out.large.len().saturating_sub(surplus);
        left_out.large.sort_unstable_by(|a, b| by_length(a).cmp(&by_length(b)));
        let gone = left_out.large.split_off(names);
        left_out.large.sort_unstable();
        pairs.sort_unstable_by(|a, b| (size(a), &a.0).cmp(&(size(b), &b.0)));
        let small = pairs.split_off(pairs.len().min(EXTRAS_MAX - left_out.large.len()));
        pairs.sort_unstable();
        left_out.remembered.extend(gone);
        left_out.remembered.extend(small.into_iter().map(|(key, _)| key));
    }
    left_out.remembered.sort_unstable_by(|a, b| by_length(a).cmp(&by_length(b)));
    left_out.more += left_out.remembered.len().saturating_sub(REMEMBERED_MAX) as u64;
    left_out.remembered.truncate(REMEMBERED_MAX);
    (pairs, left_out)
}

/// What a key needs together with all that have ever been smaller. Of a key that has grown larger
/// since no more counts than this key has itself; of every other one its name, which is remembered
/// also where it is left out.
fn cost(sizes: &[(&str, SizeRange)], key: &str, most: u16) -> usize {
    let other = |(name, bytes): &(&str, SizeRange)| {
        let smaller = (bytes.least, *name) < (most, key);
        let counts = if smaller { usize::from(bytes.most.min(most)) } else { 0 };
        counts.max(name.len())
    };
    let others = sizes.iter().filter(|(name, _)| *name != key).map(other);
    usize::from(most) + others.sum::<usize>()
}

impl Extra {
    /// Of two values the greater wins. An empty text never replaces another.
    fn weight(&self) -> impl Ord + '_ {
        (&*self.json != "\"\"", self.origin, &*self.json)
    }
}

/// What of an event does not come to its record, and is named there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Keys whose values are too large for any record.
    pub large: Vec<Box<str>>,
    /// Names of what cannot be kept for another reason.
    pub remembered: Vec<Box<str>>,
    /// How many more names there are, which need not be told.
    pub more: u64,
}

impl LeftOut {
    /// How many values were left out.
    pub fn count(&self) -> u64 {
        (self.large.len() + self.remembered.len()) as u64 + self.more
    }

    /// Their names; not all of them, where there are many.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.large.iter().chain(&self.remembered).map(|name| &**name)
    }
}

const fn u16_of(n: usize) -> u16 {
    assert!(n < u16::MAX as usize, "it fits");
    #[expect(clippy::cast_possible_truncation, reason = "it was looked at")]
    {
        n as u16
    }
}
