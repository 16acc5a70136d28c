//! The text of a scrape: the exposition format of Prometheus, version 0.0.4.
//!
//! The crate writes `OpenMetrics`, whose counters are described without the `_total` that their
//! samples have. The older format, which everything reads, wants the name as it stands in the
//! samples: [`older`] makes the one of the other.

use std::fmt::{Error, Result};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::histogram::{Histogram, as_float};

/// A label and its value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// Writes metrics one after another.
pub(super) struct MetricsText<'a>(pub DescriptorEncoder<'a>);

/// Counters of one name.
pub(super) struct Counters<'a>(MetricEncoder<'a>);
/// Gauges of one name.
pub(super) struct Gauges<'a>(MetricEncoder<'a>);
/// Histograms of one name.
pub(super) struct Histograms<'a>(MetricEncoder<'a>);

impl MetricsText<'_> {
    /// A counter without labels; `name` is without `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    /// The same, of a whole number.
    pub fn number(&mut self, name: &str, help: &str, value: u64) -> Result {
        self.gauge(name, help, as_float(value))
    }

    /// A histogram without labels.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let (sum, count, buckets) = histogram.read();
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    /// Counters with labels; `name` is without `_total`.
    pub fn counters<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
    ) -> std::result::Result<Counters<'a>, Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Counter).map(Counters)
    }

    /// Gauges with labels.
    pub fn gauges<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
    ) -> std::result::Result<Gauges<'a>, Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge).map(Gauges)
    }

    /// Histograms with labels.
    pub fn histograms<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
    ) -> std::result::Result<Histograms<'a>, Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Histogram).map(Histograms)
    }
}

impl Counters<'_> {
    pub fn value(&mut self, labels: &[Label<'_>], value: u64) -> Result {
        let mut metric = self.0.encode_family(&labels)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }
}

impl Gauges<'_> {
    pub fn value(&mut self, labels: &[Label<'_>], value: f64) -> Result {
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }
}

impl Histograms<'_> {
    pub fn value(&mut self, labels: &[Label<'_>], histogram: &Histogram) -> Result {
        let (sum, count, buckets) = histogram.read();
        let mut metric = self.0.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// What a collector writes, as text.
pub(super) fn written(collector: impl Collector) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut text = String::with_capacity(32 * 1024);
    // Writing to a string does not fail.
    let _infallible = encode_registry(&mut text, &registry);
    older(&text)
}

/// Describes each counter under the name of its samples.
fn older(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1024);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let kind = if line.starts_with("# HELP ") { lines.peek() } else { Some(&line) };
        let counter =
            kind.is_some_and(|kind| kind.starts_with("# TYPE ") && kind.ends_with(" counter"));
        let mut words = line.splitn(4, ' ');
        let parts = [words.next(), words.next(), words.next(), words.next()];
        match parts {
            [Some(hash), Some(what), Some(name), Some(rest)] if counter => {
                out.extend([hash, " ", what, " ", name, "_total ", rest, "\n"]);
            }
            _ => out.extend([line, "\n"]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_under_the_name_of_their_samples() {
        let new = "# HELP a_b Of a counter\n# TYPE a_b counter\na_b_total 1\n\
            # HELP c Of a gauge\n# TYPE c gauge\nc 2.0\n";
        let old = "# HELP a_b_total Of a counter\n# TYPE a_b_total counter\na_b_total 1\n\
            # HELP c Of a gauge\n# TYPE c gauge\nc 2.0\n";
        assert_eq!(older(new), old);
    }
}
