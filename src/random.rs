//! The one place that asks for random numbers, beside the keys of TLS and of hash maps.
//!
//! They come from the system call, by way of `ring`. What the crate `uuid` uses looks for a function
//! of the C library that a static binary does not have, and then for a device that an empty root
//! directory does not have.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::{SecureRandom as _, SystemRandom, generate};
use uuid::{Builder, Uuid};

/// A new random UUID (RFC 9562, version 4).
///
/// # Panics
/// Where the system has no random numbers.
#[expect(clippy::expect_used, reason = "a system without random numbers cannot serve TLS either")]
pub fn uuid() -> Uuid {
    let random = generate(&SystemRandom::new()).expect("the system has random numbers");
    Builder::from_random_bytes(random.expose()).into_uuid()
}

pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))
}

/// A share from 0 to 1, evenly drawn; 1/2 where the system has no random numbers.
pub fn share() -> f64 {
    let mut bytes = [0; 4];
    match fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

/// 32 hexadecimal digits for one request. They are no secret and come without a system call: a
/// hash, with keys of this process, of how many there were, so that nobody learns how many.
pub fn request_id() -> String {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = &*KEYS;
    format!("{:016x}{:016x}", high.hash_one(count), low.hash_one(count))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_request_has_an_id_of_its_own() {
        let ids: HashSet<String> = (0..10_000).map(|_| request_id()).collect();
        assert_eq!(ids.len(), 10_000);
        let digits = |id: &String| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(ids.iter().all(digits));
    }
}
