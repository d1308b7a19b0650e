//! The summary of a sample in integer nanoseconds: exact, without histograms or estimates.

use std::borrow::Borrow;

use super::distribution::{self, Latency};
use super::parts::{count, min_max, value_at, values};
use super::percentile::{Percentile, samples_needed};
use super::samples::Sorted;
use crate::statistics::{Confidence, order};

/// Summary of a sample. Times are in nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub count: u64,
    /// Sum of all values: the total processing time for service times. 128 bits, so that it cannot overflow.
    pub sum_ns: u128,
    pub min_ns: u64,
    /// Nearest rank, like every percentile: the lower of the two middle values if the count is even.
    pub median_ns: u64,
    pub mean_ns: f64,
    pub max_ns: u64,
    /// Sample standard deviation (n − 1); `None` for fewer than two samples.
    pub stddev_ns: Option<f64>,
    /// `None` for fewer than [`samples_needed`] samples; so are the following percentiles.
    pub p90_ns: Option<u64>,
    pub p95_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub p99_9_ns: Option<u64>,
    pub intervals: Intervals,
}

/// 95 % confidence intervals of the percentiles, from order statistics; they assume independent values. `None` if the sample does not
/// support the percentile or its interval. There is no interval for the mean: the sorted sample does not show the order of the queries, and
/// the mean depends on a few of the slowest values, which a sample may or may not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Intervals {
    pub median_ns: Option<[u64; 2]>,
    pub p90_ns: Option<[u64; 2]>,
    pub p95_ns: Option<[u64; 2]>,
    pub p99_ns: Option<[u64; 2]>,
    pub p99_9_ns: Option<[u64; 2]>,
}

impl Summary {
    /// Returns the exact summary of all `parts` together; `None` if they are empty. Copies nothing: the workers' samples are summarised in
    /// place, for each worker, each agent and the whole run.
    pub fn of<S: Borrow<Sorted>>(parts: &[S]) -> Option<Self> {
        let parts: Vec<&Sorted> = parts.iter().map(Borrow::borrow).collect();
        let parts = parts.as_slice();
        let (min_ns, max_ns) = min_max(parts)?;
        let count = count(parts);
        let sum_ns: u128 = parts.iter().map(|part| part.sum()).sum();
        let mean_ns = sum_ns as f64 / count as f64;
        let nearest_rank = |percentile: Percentile| {
            let index = percentile.index(count)?;
            Some(value_at(parts, index, min_ns..=max_ns))
        };
        let supported = |percentile| {
            let enough = count as u64 >= samples_needed(percentile);
            enough.then(|| nearest_rank(percentile))?
        };
        let interval = |percentile| {
            let (low, high) = order::enclosing_ranks(count, percentile, Confidence::P95)?;
            Some([low, high].map(|rank| value_at(parts, rank - 1, min_ns..=max_ns)))
        };
        let supported_interval = |percentile| supported(percentile).and_then(|_| interval(percentile));
        Some(Self {
            count: count as u64,
            sum_ns,
            min_ns,
            median_ns: nearest_rank(Percentile::P50)?,
            mean_ns,
            max_ns,
            stddev_ns: stddev(parts, count, mean_ns),
            p90_ns: supported(Percentile::P90),
            p95_ns: supported(Percentile::P95),
            p99_ns: supported(Percentile::P99),
            p99_9_ns: supported(Percentile::P99_9),
            intervals: Intervals {
                median_ns: interval(Percentile::P50),
                p90_ns: supported_interval(Percentile::P90),
                p95_ns: supported_interval(Percentile::P95),
                p99_ns: supported_interval(Percentile::P99),
                p99_9_ns: supported_interval(Percentile::P99_9),
            },
        })
    }
}

/// Uses two passes: the one-pass formula (sum of squares minus squared sum) loses the significant digits when times are close together and
/// far from zero.
fn stddev(parts: &[&Sorted], count: usize, mean_ns: f64) -> Option<f64> {
    if count < 2 {
        return None;
    }
    let squares: f64 = values(parts).map(|ns| (ns as f64 - mean_ns).powi(2)).sum();
    Some((squares / (count - 1) as f64).sqrt())
}

/// Converts to milliseconds. `sum_ns` is left out: the result has it as the total processing time, which is not part of a distribution.
impl From<&Summary> for Latency {
    fn from(summary: &Summary) -> Self {
        let Summary {
            count,
            sum_ns: _,
            min_ns,
            median_ns,
            mean_ns,
            max_ns,
            stddev_ns,
            p90_ns,
            p95_ns,
            p99_ns,
            p99_9_ns,
            intervals,
        } = summary;
        let ms = |ns: u64| ns as f64 / 1e6;
        Self {
            count: *count,
            min: ms(*min_ns),
            median: ms(*median_ns),
            mean: mean_ns / 1e6,
            max: ms(*max_ns),
            stddev: stddev_ns.map(|ns| ns / 1e6),
            p90: p90_ns.map(ms),
            p95: p95_ns.map(ms),
            p99: p99_ns.map(ms),
            p99_9: p99_9_ns.map(ms),
            intervals: intervals.into(),
        }
    }
}

impl From<&Intervals> for distribution::Intervals {
    fn from(intervals: &Intervals) -> Self {
        let Intervals { median_ns, p90_ns, p95_ns, p99_ns, p99_9_ns } = intervals;
        let ms = |interval: &Option<[u64; 2]>| interval.map(|ends| ends.map(|ns| ns as f64 / 1e6));
        Self {
            median_ci: ms(median_ns),
            p90_ci: ms(p90_ns),
            p95_ci: ms(p95_ns),
            p99_ci: ms(p99_ns),
            p99_9_ci: ms(p99_9_ns),
        }
    }
}
