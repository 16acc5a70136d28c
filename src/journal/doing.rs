//! What the writer is doing, for other threads.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The present piece of work, and since when.
#[derive(Debug, Default)]
pub struct Doing(Mutex<Option<(&'static str, Instant)>>);

impl Doing {
    /// This begins; what was done before is over.
    pub fn begin(&self, what: &'static str) {
        *self.0.lock() = Some((what, Instant::now()));
    }

    /// There is nothing to do.
    pub fn end(&self) {
        *self.0.lock() = None;
    }

    /// The present piece of work, and how long it has taken.
    pub fn now(&self) -> Option<(&'static str, Duration)> {
        self.0.lock().map(|(what, since)| (what, since.elapsed()))
    }
}
