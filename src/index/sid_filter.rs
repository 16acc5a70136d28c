//! Which sids an index may know: a Bloom filter in memory, so that most new calls are known to be new
//! without a look at the index. What it does not hold, the index does not know.
//!
//! After an index was opened its sids are read little by little ([`Index::learn_sids`]); until all are known
//! the filter says of each that it may be there.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Bound::Excluded;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::cursor::{Bounds, Direction, beginning};
use super::tree::known_in;
use super::{Index, IndexError};
use crate::domain::CallSid;
use crate::keys;

/// Words of a block; all bits of a sid are in one.
const BLOCK_WORDS: usize = 8;
/// Bits that a sid sets.
const BITS: u32 = 6;
/// Bits of memory for each sid: one in a hundred that is not there seems to be.
const BITS_PER_SID: usize = 12;
const SIDS_MIN: usize = 8192;

pub(super) struct SidFilter {
    /// Senders may choose sids; what they set cannot be foreseen.
    hasher: RandomState,
    /// Each for twice as many as the one before.
    layers: RwLock<Vec<Layer>>,
    /// All sids are in it that the index had when it was opened.
    is_whole: AtomicBool,
    /// The last key whose sid is.
    learned: Mutex<Option<Vec<u8>>>,
}

struct Layer {
    words: Box<[AtomicU64]>,
    capacity: usize,
    count: AtomicUsize,
}

impl Layer {
    fn new(capacity: usize) -> Self {
        let blocks = (capacity * BITS_PER_SID).div_ceil(BLOCK_WORDS * 64).max(1);
        let words = (0..blocks * BLOCK_WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { words, capacity, count: AtomicUsize::new(0) }
    }

    /// The words in which a hash has its bits, and those bits.
    fn bits(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let blocks = (self.words.len() / BLOCK_WORDS) as u64;
        // The upper half says which block, the lower one which bits in it.
        let block = usize::try_from(((hash >> 32) * blocks) >> 32).unwrap_or_default();
        let words = self.words.get(block * BLOCK_WORDS..).unwrap_or_default();
        let bits = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..BITS).filter_map(move |n| {
            let bit = (bits >> (9 * n)) & 0x1ff;
            let word = words.get(usize::try_from(bit / 64).unwrap_or_default())?;
            Some((word, 1 << (bit % 64)))
        })
    }
}

impl SidFilter {
    /// For about so many sids; it grows with more.
    pub fn new(sids: u64) -> Self {
        let capacity = usize::try_from(sids).unwrap_or(usize::MAX).max(SIDS_MIN);
        let layers = RwLock::new(vec![Layer::new(capacity)]);
        let (is_whole, learned) = Default::default();
        Self { hasher: RandomState::new(), layers, is_whole, learned }
    }

    pub fn insert(&self, sid: CallSid) {
        let hash = self.hasher.hash_one(sid.bytes());
        if holds(&self.layers.read(), hash) {
            return;
        }
        let mut full = None;
        if let Some(layer) = self.layers.read().last() {
            layer.bits(hash).for_each(|(word, bit)| {
                word.fetch_or(bit, Ordering::Release);
            });
            let count = layer.count.fetch_add(1, Ordering::Relaxed) + 1;
            full = (count >= layer.capacity).then_some(layer.capacity);
        }
        if let Some(capacity) = full {
            let mut layers = self.layers.write();
            if layers.last().is_some_and(|last| last.capacity == capacity) {
                layers.push(Layer::new(capacity * 2));
            }
        }
    }

    /// Whether this sid may have been inserted, or was there before.
    pub fn may_hold(&self, sid: CallSid) -> bool {
        if !self.is_whole.load(Ordering::Acquire) {
            return true;
        }
        let hash = self.hasher.hash_one(sid.bytes());
        holds(&self.layers.read(), hash)
    }
}

impl Index {
    /// Reads so many more of the sids that were there when it was opened. True where more are left.
    pub fn learn_sids(&self, most: usize) -> Result<bool, IndexError> {
        if self.sids.is_whole.load(Ordering::Acquire) {
            return Ok(false);
        }
        self.guarded(|| {
            let mut learned = self.sids.learned.lock();
            let (mut bounds, mut left): (Bounds, _) = (beginning(&[keys::KNOWN]), most);
            if let Some(last) = learned.take() {
                bounds.0 = Excluded(last);
            }
            for entry in self.entries.cursor(bounds, Direction::Up).passing() {
                let entry = entry?;
                self.sids.insert(known_in(&entry)?.0.sid);
                left -= 1;
                if left == 0 {
                    *learned = Some(entry.key().to_vec());
                    return Ok(true);
                }
            }
            self.sids.is_whole.store(true, Ordering::Release);
            Ok(false)
        })
    }
}

fn holds(layers: &[Layer], hash: u64) -> bool {
    layers
        .iter()
        .any(|layer| layer.bits(hash).all(|(word, bit)| word.load(Ordering::Acquire) & bit != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(n: u64) -> CallSid {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        CallSid::from_bytes(bytes)
    }

    #[test]
    fn what_was_inserted_is_held_and_little_else() {
        let filter = SidFilter::new(0);
        assert!(filter.may_hold(sid(70_000)), "nothing is known of what was there before");
        filter.is_whole.store(true, Ordering::Release);
        for n in 0..60_000 {
            filter.insert(sid(n));
        }
        assert!((0..60_000).all(|n| filter.may_hold(sid(n))));
        let wrong = (60_000..120_000).filter(|n| filter.may_hold(sid(*n))).count();
        assert!(wrong < 4000, "{wrong} of 60000");
        assert!(filter.layers.read().len() > 2);
    }
}
