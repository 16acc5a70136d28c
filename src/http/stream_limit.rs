//! Who follows the changes at a time: so many in all, and of one account at most half of them, so
//! that no account takes the streams of all others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::Reach;

/// Open event streams.
pub struct StreamLimit {
    most: usize,
    inside: Mutex<HashMap<Reach, usize>>,
}

/// One event stream, given back when it ends.
pub(super) struct StreamPermit {
    streams: Arc<StreamLimit>,
    reach: Reach,
}

impl StreamLimit {
    /// For so many event streams.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, inside: Mutex::default() })
    }

    /// How many there are.
    pub(super) fn inside(&self) -> u64 {
        self.inside.lock().values().sum::<usize>() as u64
    }

    /// One more, if it is allowed.
    pub(super) fn enter(self: &Arc<Self>, reach: Reach) -> Option<StreamPermit> {
        let mut inside = self.inside.lock();
        let all: usize = inside.values().sum();
        let own = inside.entry(reach).or_default();
        if all >= self.most || *own >= self.most.div_ceil(2) {
            return None;
        }
        *own += 1;
        Some(StreamPermit { streams: self.clone(), reach })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut inside = self.streams.inside.lock();
        if let Some(own) = inside.get_mut(&self.reach) {
            *own -= 1;
        }
        inside.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AccountSid;

    #[test]
    fn one_account_takes_half_the_room_and_all_of_them_no_more_than_there_is() {
        let streams = StreamLimit::new(4);
        let account = |n: u8| Reach::Account(AccountSid::from_bytes([n; 16]));
        let first = streams.enter(account(1));
        let second = streams.enter(account(1));
        assert!(first.is_some() && second.is_some());
        assert!(streams.enter(account(1)).is_none());
        let (third, fourth) = (streams.enter(account(2)), streams.enter(Reach::Everybody));
        assert!(third.is_some() && fourth.is_some());
        assert!(streams.enter(account(3)).is_none());
        drop(first);
        assert!(streams.enter(account(3)).is_some());
        assert!(streams.enter(account(1)).is_some());
        drop((second, third, fourth));
        assert!(streams.inside.lock().is_empty());
        assert!(StreamLimit::new(1).enter(account(1)).is_some());
    }
}
