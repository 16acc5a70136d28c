//! Memory for request bodies. Each connection may hold a small one; what a larger one needs comes out
//! of a pool that all share, so that memory is bounded however many clients send large ones.
//!
//! Clients that are not authenticated by then have a pool of their own: those that send large bodies
//! slowly and without credentials keep out only their like. A sender may hold no more of a pool than
//! is left in it, except one body of the greatest size: one sender alone has half of it at most, and
//! there is always space for another. A sender is an account, with any of its credentials; a service
//! provider; one admin token, however many accounts its events are of; or, until it is authenticated,
//! an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::ApiError;
use crate::domain::{AccountSid, ServiceProviderSid};

/// Bytes of a body that are free.
pub(super) const FREE: usize = 16 * 1024;
/// Bytes of each pool; more where bodies may be larger.
const POOL_BYTES: usize = 64 * 1024 * 1024;
/// Bodies of the greatest size that a pool has space for, however large.
const BODIES: usize = 4;
/// Bytes are paid in pieces of this size.
const PERMIT_BYTES: usize = 4096;

/// Who brings a body.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum BodyOwner {
    /// An account: its own user and password, or a token of it.
    Account(AccountSid),
    /// A token of a service provider.
    Provider(ServiceProviderSid),
    /// An admin token, by its id.
    Token(Arc<str>),
    /// To be authenticated by the body's signature, if at all: the network that it comes from.
    Unauthenticated(Option<IpAddr>),
}

#[derive(Debug)]
pub struct BodyBudget {
    authenticated: Mutex<Pool>,
    unauthenticated: Mutex<Pool>,
    /// What one body of the greatest size takes.
    body: usize,
}

/// In units of [`PERMIT_BYTES`].
#[derive(Debug)]
struct Pool {
    left: usize,
    /// Senders that hold any: never more than there are units.
    held: HashMap<BodyOwner, usize>,
}

impl BodyBudget {
    /// For bodies of at most so many bytes.
    pub fn new(body_bytes: usize) -> Self {
        let left = POOL_BYTES.max(body_bytes.saturating_mul(BODIES)) / PERMIT_BYTES;
        let pool = || Mutex::new(Pool { left, held: HashMap::new() });
        Self {
            authenticated: pool(),
            unauthenticated: pool(),
            body: body_bytes.div_ceil(PERMIT_BYTES),
        }
    }

    /// A permit that holds nothing yet.
    pub(super) fn open(&self, owner: BodyOwner) -> BodyPermit<'_> {
        let pool = match owner {
            BodyOwner::Unauthenticated(_) => &self.unauthenticated,
            _ => &self.authenticated,
        };
        BodyPermit { pool, owner, body: self.body, permits: 0, bytes: FREE }
    }
}

/// What one body has taken, until it is gone.
#[derive(Debug)]
pub(super) struct BodyPermit<'a> {
    pool: &'a Mutex<Pool>,
    owner: BodyOwner,
    body: usize,
    permits: usize,
    bytes: usize,
}

impl BodyPermit<'_> {
    /// Takes memory for a body that has grown to so many bytes; 503 where there is none.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let permits = bytes.saturating_sub(self.bytes).div_ceil(PERMIT_BYTES);
        if permits == 0 {
            return Ok(());
        }
        let mut pool = self.pool.lock();
        let own = pool.held.get(&self.owner).copied().unwrap_or_default() + permits;
        let left = pool.left.checked_sub(permits);
        let left = left.ok_or_else(|| ApiError::busy("too many large bodies are being read"))?;
        if own > self.body.max(left) {
            let msg = "too many large bodies of this sender are being read";
            return Err(ApiError::busy(msg));
        }
        pool.left = left;
        pool.held.insert(self.owner.clone(), own);
        self.permits += permits;
        self.bytes += permits * PERMIT_BYTES;
        Ok(())
    }
}

impl Drop for BodyPermit<'_> {
    fn drop(&mut self) {
        if self.permits == 0 {
            return;
        }
        let mut pool = self.pool.lock();
        pool.left += self.permits;
        if let Some(held) = pool.held.get_mut(&self.owner) {
            *held = held.saturating_sub(self.permits);
            if *held == 0 {
                pool.held.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account(n: u8) -> BodyOwner {
        BodyOwner::Account(AccountSid::from_bytes([n; 16]))
    }

    #[test]
    fn what_is_large_is_shared_and_what_is_small_is_free() {
        let body_budget = BodyBudget::new(1024);
        let mut large = body_budget.open(BodyOwner::Unauthenticated(None));
        large.grow(FREE + 1).unwrap();
        large.grow(FREE + POOL_BYTES / 2).unwrap();
        assert!(large.grow(FREE + POOL_BYTES / 2 + 1).is_err());
        assert!(body_budget.open(BodyOwner::Unauthenticated(None)).grow(FREE + 1).is_err());
        body_budget.open(BodyOwner::Unauthenticated(None)).grow(FREE).unwrap();
        body_budget.open(account(1)).grow(FREE + POOL_BYTES / 2).unwrap();
        drop(large);
        body_budget.open(BodyOwner::Unauthenticated(None)).grow(FREE + 1).unwrap();
        // One of the greatest size always has space, if there is any.
        let huge = BodyBudget::new(POOL_BYTES);
        let held: Vec<_> = (0..4)
            .map(|n| {
                let mut one = huge.open(account(n));
                one.grow(FREE + POOL_BYTES).unwrap();
                one
            })
            .collect();
        assert!(huge.open(account(5)).grow(FREE + 1).is_err());
        drop(held);
        assert!(huge.authenticated.lock().held.is_empty());
    }

    #[test]
    fn one_sender_leaves_memory_for_another() {
        let body_budget = BodyBudget::new(1 << 20);
        let take = |owner: &BodyOwner| {
            let mut held = Vec::new();
            loop {
                let mut one = body_budget.open(owner.clone());
                if one.grow(1 << 20).is_err() {
                    return held;
                }
                held.push(one);
            }
        };
        let mut all = Vec::new();
        let counts: Vec<_> = (0..6)
            .map(|n| {
                let held = take(&account(n));
                let count = held.len();
                all.push(held);
                count
            })
            .collect();
        assert_eq!(counts[0], 32);
        assert!(counts.iter().all(|count| *count >= 1), "{counts:?}");
    }

    proptest! {
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0..4_u8, 0..3 * POOL_BYTES), 1..40)) {
            let body_budget = BodyBudget::new(1 << 20);
            let mut held = Vec::new();
            for (n, bytes) in steps {
                let mut one = body_budget.open(account(n));
                if one.grow(bytes).is_ok() {
                    held.push(one);
                }
                let own: usize = body_budget.authenticated.lock().held.values().sum();
                prop_assert_eq!(own + body_budget.authenticated.lock().left, POOL_BYTES / PERMIT_BYTES);
            }
            drop(held);
            prop_assert_eq!(body_budget.authenticated.lock().left, POOL_BYTES / PERMIT_BYTES);
            prop_assert!(body_budget.authenticated.lock().held.is_empty());
        }
    }
}
