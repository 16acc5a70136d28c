//! Memory for request bodies. Each connection may hold a small one; what goes beyond that comes out
//! of a purse that all share, so that memory is bounded however many bring large ones.
//!
//! Whoever is not yet known by then has a purse apart: those who send large bodies slowly and
//! without credentials keep nobody out but their like.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::reply::Refusal;

/// Bytes of a body that are free.
pub(super) const FREE: usize = 16 * 1024;
/// Bytes of each purse; more where bodies may be larger.
const PURSE: usize = 64 * 1024 * 1024;
/// Bodies of the greatest size that a purse has room for, however large.
const BODIES: usize = 4;
/// Bytes are paid in pieces of this size.
const COIN: usize = 4096;

/// Who brings a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearer {
    /// Known by a token or a password.
    Known,
    /// To be known by the body's signature, if at all.
    Unknown,
}

/// Both purses.
#[derive(Debug)]
pub struct Purses {
    known: Semaphore,
    unknown: Semaphore,
}

impl Purses {
    /// For bodies of at most so many bytes.
    pub fn new(body_bytes: usize) -> Self {
        let coins = PURSE.max(body_bytes.saturating_mul(BODIES)) / COIN;
        let purse = || Semaphore::new(coins.min(Semaphore::MAX_PERMITS));
        Self { known: purse(), unknown: purse() }
    }

    /// Nothing yet.
    pub(super) fn open(&self, bearer: Bearer) -> Paid<'_> {
        let purse = match bearer {
            Bearer::Known => &self.known,
            Bearer::Unknown => &self.unknown,
        };
        Paid { purse, coins: None, bytes: FREE }
    }
}

/// What one body has taken, until it is gone.
#[derive(Debug)]
pub(super) struct Paid<'a> {
    purse: &'a Semaphore,
    coins: Option<SemaphorePermit<'a>>,
    bytes: usize,
}

impl Paid<'_> {
    /// Makes room for a body that has grown to so many bytes; 503 where there is none.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let coins = bytes.saturating_sub(self.bytes).div_ceil(COIN);
        if coins == 0 {
            return Ok(());
        }
        let more = u32::try_from(coins).ok().and_then(|n| self.purse.try_acquire_many(n).ok());
        let more = more.ok_or_else(|| Refusal::crowded("too many large bodies are being read"))?;
        match &mut self.coins {
            Some(coins) => coins.merge(more),
            none => *none = Some(more),
        }
        self.bytes += coins * COIN;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_is_shared_and_what_is_small_is_free() {
        let purses = Purses::new(1024);
        let mut large = purses.open(Bearer::Unknown);
        large.grow(FREE + 1).unwrap();
        large.grow(PURSE).unwrap();
        large.grow(FREE + PURSE).unwrap();
        assert!(purses.open(Bearer::Unknown).grow(FREE + 1).is_err());
        purses.open(Bearer::Unknown).grow(FREE).unwrap();
        purses.open(Bearer::Known).grow(FREE + PURSE).unwrap();
        assert!(large.grow(FREE + PURSE + 1).is_err());
        drop(large);
        purses.open(Bearer::Unknown).grow(FREE + 1).unwrap();
        let huge = Purses::new(PURSE);
        huge.open(Bearer::Known).grow(FREE + BODIES * PURSE).unwrap();
    }
}
