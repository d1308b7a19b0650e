//! A page of metrics: families with their names, help texts and labels, encoded as OpenMetrics text. Only this module and `served` use
//! prometheus-client.

use std::fmt;

use muster_stats::buckets::Buckets;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A source of metrics, which is read at every scrape.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Writes every family with every value of its labels from the first scrape on, even if it is 0: the increase of a series that appears
    /// later would be unknown.
    fn write(&self, page: &mut Page<'_>) -> fmt::Result;
}

/// A page that is being written. Each family must be written once, under a unique name.
#[derive(Debug)]
pub struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    /// Writes a gauge with one series for each value of a label.
    pub fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }

    /// Writes a counter. `name` ends in `_total`, as for all counters.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(family_of(name), help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    /// Writes a counter of seconds, which may be fractional.
    pub(crate) fn counter_of_seconds(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        let metric = self.0.encode_descriptor(family_of(name), help, None, MetricType::Counter)?;
        ConstCounter::new(seconds).encode(metric)
    }

    pub fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(family_of(name), help, None, MetricType::Counter)?;
        for (of, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }

    /// Writes a histogram in seconds. `name` ends in `_seconds`.
    pub fn histogram(&mut self, name: &str, help: &str, times: &Buckets) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let buckets: Vec<(f64, u64)> = times
            .iter()
            .map(|(bound_ns, count)| {
                (bound_ns.map_or(f64::INFINITY, |bound_ns| seconds(bound_ns.into())), count)
            })
            .collect();
        metric.encode_histogram::<NoLabelSet>(seconds(times.sum_ns()), times.count(), &buckets, None)
    }
}

/// Returns the name of a counter's family, which is without `_total`. The encoder adds that suffix to every sample.
fn family_of(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// Converts nanoseconds.
#[allow(clippy::cast_precision_loss, reason = "16 digits are enough for a metric")]
pub fn seconds(ns: u128) -> f64 {
    ns as f64 / 1e9
}
