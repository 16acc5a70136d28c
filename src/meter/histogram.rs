//! Distributions, as Prometheus has them: counts up to fixed bounds, and a sum.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Whole numbers by size. Each bound has an atomic counter of its own; the histogram of
/// `prometheus-client` takes a lock for each observation.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than bounds: the last one is for what exceeds all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// Units that make up one in the text.
    scale: f64,
}

impl Histogram {
    pub fn of_units(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1.0)
    }

    /// Bounds in microseconds; the text has seconds.
    pub fn of_micros(bounds: &'static [u64]) -> Self {
        Self::new(bounds, 1_000_000.0)
    }

    fn new(bounds: &'static [u64], scale: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0), scale }
    }

    pub fn observe(&self, units: u64) {
        let place = self.bounds.partition_point(|bound| *bound < units);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(units, Ordering::Relaxed);
    }

    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Sum, count, and each bound with what lies between it and the one before it. The count is
    /// made of the buckets, so that the two agree though others go on counting.
    pub(super) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = self.bounds.iter().map(|bound| as_float(*bound) / self.scale);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        (as_float(self.sum.load(Ordering::Relaxed)) / self.scale, count, buckets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

/// A number as Prometheus keeps it.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has floating point numbers alone")]
pub(super) fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_at_the_first_bound_that_it_does_not_exceed() {
        let histogram = Histogram::of_units(&[1, 10]);
        assert!(histogram.is_empty());
        for units in [0, 1, 2, 10, 11, 1000] {
            histogram.observe(units);
        }
        let buckets = vec![(1.0, 2), (10.0, 2), (f64::INFINITY, 2)];
        assert_eq!(histogram.read(), (1024.0, 6, buckets));
        let times = Histogram::of_micros(&[500_000]);
        times.observe_time(Duration::from_millis(250));
        assert_eq!(times.read(), (0.25, 1, vec![(0.5, 1), (f64::INFINITY, 0)]));
    }
}
