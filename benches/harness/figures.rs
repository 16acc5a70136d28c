//! Figures as people read them.

use std::time::Duration;

/// Times of many requests.
#[derive(Debug, Default, Clone)]
pub struct Times(Vec<Duration>);

impl Times {
    /// In order of length.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// The time that so many of 1000 requests did not exceed, in milliseconds.
    pub fn permille(&self, permille: usize) -> f64 {
        let at = (self.0.len() * permille / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
    }

    /// The half and the tail.
    pub fn text(&self) -> String {
        format!("p50 {:.2} ms, p99 {:.2} ms", self.permille(500), self.permille(990))
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn per(count: u64, of: f64) -> f64 {
    count as f64 / of
}

/// About three digits, whatever the size.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0001..0.1 => format!("{value:.4}"),
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
