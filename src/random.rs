//! The one place that asks for random numbers beside the keys: names that nobody else has.
//!
//! They come from the system call, by way of `ring`. What the crate `uuid` uses looks for a function
//! of the C library that a static binary does not have, and then for a device that an empty root
//! directory does not have.

use ring::rand::{SystemRandom, generate};
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
