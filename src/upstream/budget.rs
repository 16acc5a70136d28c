//! How many questions may be asked: token buckets, for all together and for each client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// The time in which jambonz counts requests.
pub(super) const WINDOW: Duration = Duration::from_mins(5);
/// The same less a quarter, which is kept for tokens that were accepted before.
const OF_NEW: Duration = Duration::from_secs(225);

/// What is left of the questions.
#[derive(Debug)]
pub(super) struct Budget {
    /// What one question costs: the time after which it may be asked again.
    cost: Duration,
    address_cost: Duration,
    /// When all questions may be asked again at once.
    full_at: Instant,
    /// The same by address. Each of them has cost a question of all, so that there are never many.
    addresses: HashMap<IpAddr, Instant>,
}

/// Which questions are used up, and when there is one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsedUp {
    All(Duration),
    OfAddress(Duration),
}

impl Budget {
    /// So many questions in [`WINDOW`], and as many at once after a quiet time.
    pub fn new(questions: u64, of_address: u64, now: Instant) -> Self {
        let cost = |questions: u64| WINDOW / u32::try_from(questions).unwrap_or(u32::MAX).max(1);
        let (cost, address_cost) = (cost(questions), cost(of_address));
        Self { cost, address_cost, full_at: now, addresses: HashMap::new() }
    }

    /// Takes a question about a token that was accepted before.
    pub fn take(&mut self, now: Instant) -> Result<(), UsedUp> {
        let full_at = taken(self.full_at, self.cost, WINDOW, now).map_err(UsedUp::All)?;
        self.full_at = full_at;
        Ok(())
    }

    /// Takes a question that has to be asked, even if that is one too many.
    pub fn owe(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.cost;
    }

    /// Takes a question about any other token, which comes from this address.
    pub fn take_new(&mut self, address: Option<IpAddr>, now: Instant) -> Result<(), UsedUp> {
        let full_at = taken(self.full_at, self.cost, OF_NEW, now).map_err(UsedUp::All)?;
        if let Some(address) = address {
            let of_address = self.addresses.get(&address).copied().unwrap_or(now);
            let of_address = taken(of_address, self.address_cost, WINDOW, now);
            let of_address = of_address.map_err(UsedUp::OfAddress)?;
            self.addresses.retain(|_, full_at| *full_at > now);
            self.addresses.insert(address, of_address);
        }
        self.full_at = full_at;
        Ok(())
    }
}

/// When a bucket that is full at this time is full again after one more question; else how long it takes
/// until there is one. `most` is the time of all questions together.
fn taken(
    full_at: Instant,
    cost: Duration,
    most: Duration,
    now: Instant,
) -> Result<Instant, Duration> {
    let after = full_at.max(now) + cost;
    let over = (after - now).saturating_sub(most);
    if over.is_zero() { Ok(after) } else { Err(over) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(mut take: impl FnMut() -> Result<(), UsedUp>) -> usize {
        std::iter::from_fn(|| take().ok()).take(1000).count()
    }

    #[test]
    fn a_quarter_is_kept_for_tokens_that_were_accepted() {
        let now = Instant::now();
        let mut budget = Budget::new(40, 100, now);
        assert_eq!(asked(|| budget.take_new(None, now)), 30);
        assert_eq!(budget.take_new(None, now), Err(UsedUp::All(WINDOW / 40)));
        assert_eq!(asked(|| budget.take(now)), 10);
        assert_eq!(budget.take(now), Err(UsedUp::All(WINDOW / 40)));
        let later = now + WINDOW / 40;
        assert_eq!(asked(|| budget.take(later)), 1);
        budget.owe(later);
        assert_eq!(budget.take(later), Err(UsedUp::All(WINDOW / 20)));
        assert_eq!(asked(|| budget.take_new(None, now + 3 * WINDOW)), 30);
    }

    #[test]
    fn an_address_leaves_something_for_others() {
        let now = Instant::now();
        let mut budget = Budget::new(40, 3, now);
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|ip| Some(ip.parse().unwrap()));
        assert_eq!(asked(|| budget.take_new(one, now)), 3);
        assert_eq!(budget.take_new(one, now), Err(UsedUp::OfAddress(WINDOW / 3)));
        assert_eq!(asked(|| budget.take_new(two, now)), 3);
        // What was refused for an address has cost nobody anything.
        assert_eq!(asked(|| budget.take_new(None, now)), 24);
        assert_eq!(budget.addresses.len(), 2);
        let later = now + 2 * WINDOW;
        assert_eq!(budget.take_new(None, later), Ok(()));
        assert_eq!(budget.take_new(one, later), Ok(()));
        assert_eq!(budget.addresses.len(), 1, "those that are full again are forgotten");
    }
}
