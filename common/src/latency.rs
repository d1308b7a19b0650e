//! Descriptive statistics of latencies over every sample: exact nearest-rank percentiles, and only those that the sample size supports.
//! Works on integer nanoseconds, without histograms or estimates. Reads no clock.

mod samples;

use std::borrow::Borrow;
use std::ops::RangeInclusive;

pub use samples::{Samples, Sorted};

use crate::result;
use crate::statistics::{Confidence, order};

/// A percentile is reported only if at least one sample lies above the true percentile with this probability.
/// With fewer samples, the nearest rank is often just the maximum.
const CONFIDENCE: f64 = 0.99;

/// A percentile in thousandths, so that ranks are computed in integers: in floating point `0.55 * 100.0` is slightly above 55, and its
/// ceiling is the next rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentile {
    per_mille: u16,
}

impl Percentile {
    pub const P50: Self = Self { per_mille: 500 };
    pub const P90: Self = Self { per_mille: 900 };
    pub const P95: Self = Self { per_mille: 950 };
    pub const P99: Self = Self { per_mille: 990 };
    pub const P99_9: Self = Self { per_mille: 999 };

    /// Returns the percentile as a fraction between 0 and 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.per_mille) / 1_000.0
    }

    /// Returns the nearest-rank index in the sorted sample: `ceil(p·n) − 1`. `None` for an empty sample.
    pub(crate) fn index(self, count: usize) -> Option<usize> {
        usize::try_from(self.rank(count as u64)? - 1).ok()
    }

    /// Returns the nearest rank, counted from 1: `ceil(p·n)`. `None` for an empty sample.
    pub(crate) fn rank(self, count: u64) -> Option<u64> {
        let product = u128::from(count) * u128::from(self.per_mille);
        u64::try_from(product.div_ceil(1_000)).ok().filter(|rank| *rank > 0)
    }
}

/// Returns the least sample size that supports a percentile: the smallest n with `1 − p^n ≥ 0.99`, that is, a sample in which at least one
/// value lies above the true percentile with a probability of 99 %.
/// p90: 44, p95: 90, p99: 459, p99.9: 4,603. (Wilks 1941, one-sided non-parametric tolerance limit.)
pub fn samples_needed(percentile: Percentile) -> u64 {
    let p = percentile.fraction();
    // The quotient is never a whole number here, so rounding up is exact. It is at most a few thousand, so the cast is exact, too.
    ((1.0 - CONFIDENCE).ln() / p.ln()).ceil() as u64
}

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

/// Returns the Mann-Whitney U statistic: the number of pairs of a sample of `parts` and a value of `others_ns` (ascending) in which the
/// other value is larger; ties count one half.
pub(crate) fn mann_whitney_u(parts: &[&Sorted], others_ns: &[u64]) -> f64 {
    parts.iter().map(|part| part.mann_whitney_u_twice(others_ns)).sum::<u64>() as f64 / 2.0
}

/// Returns the number of samples in all parts.
pub(crate) fn count(parts: &[&Sorted]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// Returns the sample at a rank, counted from 1, of all parts together; `None` if there is no such rank.
pub(crate) fn at_rank(parts: &[&Sorted], rank: usize) -> Option<u64> {
    let (min_ns, max_ns) = min_max(parts)?;
    let index = rank.checked_sub(1).filter(|index| *index < count(parts))?;
    Some(value_at(parts, index, min_ns..=max_ns))
}

/// Iterates over all samples in no particular order.
pub(crate) fn values(parts: &[&Sorted]) -> impl Iterator<Item = u64> {
    parts.iter().flat_map(|part| part.iter())
}

/// Returns the least and the greatest sample of all parts.
fn min_max(parts: &[&Sorted]) -> Option<(u64, u64)> {
    let of_parts = || parts.iter().filter_map(|part| part.min_max());
    Some((of_parts().map(|(min_ns, _)| min_ns).min()?, of_parts().map(|(_, max_ns)| max_ns).max()?))
}

/// Returns the value at `index` of all parts merged into one sorted list: the least value such that more than `index` samples are at or
/// below it. Found by bisecting the range of values; the result is always one of the samples.
fn value_at(parts: &[&Sorted], index: usize, range_ns: RangeInclusive<u64>) -> u64 {
    let (mut low, mut high) = range_ns.into_inner();
    while low < high {
        let middle = low.midpoint(high);
        if parts.iter().map(|part| part.at_or_below(middle)).sum::<usize>() > index {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
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
impl From<&Summary> for result::Latency {
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

impl From<&Intervals> for result::Intervals {
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

#[cfg(test)]
mod tests;
