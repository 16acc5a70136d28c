//! Memory for answers that wait for their readers. A connection may hold a small piece of its answer
//! in any case; larger pieces, which cost less to make, come out of a budget that all share, an
//! account at most half of what is left to it. No reader ever waits for it: where it is used up, pieces
//! are small.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::store::Scope;

/// Bytes of a piece that are free.
pub(super) const FREE: usize = 16 * 1024;
/// Bytes of a piece, where the budget allows it.
pub(super) const PIECE: usize = 48 * 1024;
/// Bytes in all.
const TOTAL: usize = 64 * 1024 * 1024;

#[derive(Debug)]
pub struct AnswerBudget {
    total: usize,
    taken: Mutex<TakenBytes>,
}

#[derive(Debug, Default)]
struct TakenBytes {
    bytes: usize,
    by: HashMap<Scope, usize>,
}

/// Some of it, given back when this is dropped.
#[derive(Debug)]
pub(super) struct AnswerPermit {
    budget: Arc<AnswerBudget>,
    scope: Scope,
    bytes: usize,
}

impl AnswerBudget {
    /// All of it.
    pub fn new() -> Arc<Self> {
        Self::of(TOTAL)
    }

    fn of(total: usize) -> Arc<Self> {
        Arc::new(Self { total, taken: Mutex::default() })
    }

    /// A permit for a piece of at most so many bytes.
    pub(super) fn piece(self: &Arc<Self>, scope: Scope, bytes: usize) -> AnswerPermit {
        self.take(scope, bytes.saturating_sub(FREE)).unwrap_or_else(|| self.permit(scope, 0))
    }

    /// A permit for so many bytes, if they are left.
    pub(super) fn take(self: &Arc<Self>, scope: Scope, bytes: usize) -> Option<AnswerPermit> {
        let mut taken = self.taken.lock();
        let all = taken.bytes;
        let own = taken.by.entry(scope).or_default();
        // Others have what others have; of the rest half.
        let share = (self.total - (all - *own)) / 2;
        let fits = *own + bytes <= share;
        if fits {
            *own += bytes;
            taken.bytes += bytes;
        }
        taken.by.retain(|_, own| *own > 0);
        drop(taken);
        fits.then(|| self.permit(scope, bytes))
    }

    fn permit(self: &Arc<Self>, scope: Scope, bytes: usize) -> AnswerPermit {
        AnswerPermit { budget: self.clone(), scope, bytes }
    }
}

impl AnswerPermit {
    /// How large a piece may be; what is written last may exceed it.
    pub fn bytes(&self) -> usize {
        FREE + self.bytes
    }

    /// The piece, which holds its permit for as long as it exists.
    pub fn hold(self, piece: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { piece, _permit: self })
    }
}

impl Drop for AnswerPermit {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut taken = self.budget.taken.lock();
        taken.bytes -= self.bytes;
        if let Some(own) = taken.by.get_mut(&self.scope) {
            *own -= self.bytes;
            if *own == 0 {
                taken.by.remove(&self.scope);
            }
        }
    }
}

struct Held {
    piece: Vec<u8>,
    _permit: AnswerPermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AccountSid;

    #[test]
    fn pieces_are_small_where_an_account_has_used_its_share_and_others_have_room() {
        let budget = AnswerBudget::of(20 * (PIECE - FREE));
        let account = |n: u8| Scope::Account(AccountSid::from_bytes([n; 16]));
        let pieces = |scope| {
            let permits: Vec<_> = (0..20).map(|_| budget.piece(scope, PIECE)).collect();
            let large = permits.iter().filter(|permit| permit.bytes() == PIECE).count();
            assert!(permits.iter().all(|permit| permit.bytes() >= FREE));
            (permits, large)
        };
        let (first, large) = pieces(account(1));
        assert_eq!(large, 10, "half of the budget");
        let (second, large) = pieces(account(2));
        assert_eq!(large, 5, "half of what is left");
        let (third, large) = pieces(Scope::Everybody);
        assert_eq!(large, 2);
        drop((second, third));
        let held: Vec<Bytes> = first.into_iter().map(|permit| permit.hold(vec![1; 3])).collect();
        assert_eq!(&*held[0], [1; 3]);
        assert_eq!(pieces(account(1)).1, 0);
        drop(held);
        assert_eq!(budget.taken.lock().bytes, 0);
        assert!(budget.taken.lock().by.is_empty());
    }
}
