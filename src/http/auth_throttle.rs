//! Wrong credentials cost their sender time.
//!
//! Some failures are free: a client with an old token is not an attacker. After them each takes a
//! second of its address's time, and all that fail together wait in one line; where the line is too
//! long the answer is 429, and the connection is closed. The same holds for each user name whose
//! password is wrong, from any address and with any other credential beside it. A right
//! credential is never kept waiting, since many clients may share one address, and anybody may
//! guess at a user's password.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures that cost nothing, and the time in which they are forgiven.
const FREE: u32 = 10;
const FORGIVEN: Duration = Duration::from_mins(1);
/// What each further failure costs.
const COST: Duration = Duration::from_secs(1);
/// How long anybody waits in line.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The same, in whole seconds.
pub(super) const RETRY_SECONDS: u64 = WAIT_MAX.as_secs();
/// How long a refused one waits, and how many of them, from all addresses.
pub(super) const REFUSED: Duration = COST;
pub(super) const WAITING_MAX: usize = 256;
/// Addresses that are remembered, and as many user names.
const REMEMBERED_MAX: usize = 10_000;

/// What becomes of a failed authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Penalty {
    /// It is answered after this time.
    Wait(Duration),
    /// It is refused.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    since: Instant,
    failures: u32,
    /// When the last one in line is answered.
    line_ends: Instant,
}

/// Failures by address and by user name.
#[derive(Debug, Default)]
pub(super) struct AuthThrottle {
    addresses: FailureQueues<IpAddr>,
    /// By a hash that no client can foresee.
    users: FailureQueues<u64>,
    hashes: RandomState,
}

impl AuthThrottle {
    /// Takes note of a failure from this address.
    pub fn failed(&self, address: IpAddr, now: Instant) -> Penalty {
        let address = network(address);
        let (penalty, first) = self.addresses.failed(address, now);
        if first {
            tracing::warn!(%address, "many wrong credentials; further ones are slowed");
        }
        penalty
    }

    /// Takes note of a wrong password of this user.
    pub fn failed_user(&self, user: &str, now: Instant) -> Penalty {
        let (penalty, first) = self.users.failed(self.hashes.hash_one(user), now);
        if first {
            tracing::warn!("many wrong passwords of one user; further ones are slowed");
        }
        penalty
    }
}

/// Failures by what those have in common who wait in one line.
#[derive(Debug)]
struct FailureQueues<K>(Mutex<HashMap<K, Record>>);

impl<K> Default for FailureQueues<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> FailureQueues<K> {
    /// Takes note of a failure. Whether it is the first that costs anything.
    fn failed(&self, key: K, now: Instant) -> (Penalty, bool) {
        let mut records = self.0.lock();
        if records.len() >= REMEMBERED_MAX && !records.contains_key(&key) {
            records.retain(|_, record| record.since + FORGIVEN > now || record.line_ends > now);
            // A client with so many addresses is not slowed by any one of them.
            if records.len() >= REMEMBERED_MAX {
                return (Penalty::Wait(COST), false);
            }
        }
        let fresh = Record { since: now, failures: 0, line_ends: now };
        let record = records.entry(key).or_insert(fresh);
        if record.since + FORGIVEN <= now && record.line_ends <= now {
            *record = fresh;
        }
        record.failures = record.failures.saturating_add(1);
        if record.failures <= FREE {
            return (Penalty::Wait(Duration::ZERO), false);
        }
        let first = record.failures == FREE + 1;
        let ends = record.line_ends.max(now) + COST;
        if ends - now > WAIT_MAX {
            return (Penalty::Refuse, first);
        }
        record.line_ends = ends;
        (Penalty::Wait(ends - now), first)
    }
}

/// What one client has at its hands: an IPv4 address, or a /64 of IPv6.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_free_at_first_then_slow_then_refused_and_forgiven_later() {
        let throttle = AuthThrottle::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let begun = Instant::now();
        for _ in 0..FREE {
            assert_eq!(throttle.failed(address, begun), Penalty::Wait(Duration::ZERO));
        }
        for seconds in 1..=5 {
            let wait = Penalty::Wait(Duration::from_secs(seconds));
            assert_eq!(throttle.failed(address, begun), wait);
        }
        assert_eq!(throttle.failed(address, begun), Penalty::Refuse);
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(throttle.failed(mapped, begun), Penalty::Refuse);
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        assert_eq!(throttle.failed(other, begun), Penalty::Wait(Duration::ZERO));
        let later = begun + FORGIVEN;
        assert_eq!(throttle.failed(address, later), Penalty::Wait(Duration::ZERO));
    }

    #[test]
    fn each_user_has_a_line_of_its_own() {
        let throttle = AuthThrottle::default();
        let now = Instant::now();
        for _ in 0..FREE {
            assert_eq!(throttle.failed_user("one", now), Penalty::Wait(Duration::ZERO));
        }
        assert_eq!(throttle.failed_user("one", now), Penalty::Wait(COST));
        assert_eq!(throttle.failed_user("two", now), Penalty::Wait(Duration::ZERO));
        assert!(Penalty::Wait(WAIT_MAX) < Penalty::Refuse);
    }

    #[test]
    fn the_addresses_of_one_network_are_one_and_the_memory_is_bounded() {
        let throttle = AuthThrottle::default();
        let now = Instant::now();
        for n in 0..20_000_u16 {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
            throttle.failed(address.into(), now);
        }
        assert_eq!(throttle.addresses.0.lock().len(), 1);
        for n in 0..20_000_u16 {
            throttle.failed(Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 0).into(), now);
            throttle.failed_user(&n.to_string(), now);
        }
        assert_eq!(throttle.addresses.0.lock().len(), REMEMBERED_MAX);
        assert_eq!(throttle.users.0.lock().len(), REMEMBERED_MAX);
    }
}
