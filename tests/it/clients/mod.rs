//! Clients that other people wrote, unmodified, against the running binary. `tests/clients/setup`
//! installs them.

mod programs;
mod schema;

use std::fs;
use std::path::PathBuf;

use super::harness::skip;

/// Where the clients are, if they are the ones that the lock files name. A failure in CI if not.
pub fn installed() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = root.join("target/clients");
    let locks = ["package-lock.json", "requirements.txt"]
        .map(|name| fs::read_to_string(sources().join(name)).unwrap());
    let stamp = fs::read_to_string(target.join("installed")).unwrap_or_default();
    if stamp == locks.concat() {
        return Some(target);
    }
    skip("the official clients are not installed; run tests/clients/setup");
    None
}

/// The programs that drive the clients.
pub fn sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}
