//! Latency statistics over every sample: exact nearest-rank percentiles, and none that the sample cannot support.
//! Nanoseconds as integers until the result; no histogram, no estimate, no reading of a clock here.

mod samples;

use std::borrow::Borrow;
use std::ops::RangeInclusive;

pub use samples::{Samples, Sorted};

use crate::result;
use crate::statistics::{Confidence, order};

/// A percentile is given only when the sample reaches beyond it with this probability.
/// Below that, the nearest rank is often just the maximum under another name.
const CONFIDENCE: f64 = 0.99;

/// A percentile in thousandths, so that ranks are computed in integers: in floating point `0.55 * 100.0` is a hair
/// above 55, and its ceiling the next rank.
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

    /// Between 0 and 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.per_mille) / 1_000.0
    }

    /// Nearest rank: index `ceil(p·n) − 1` of the sorted sample. `None` for an empty sample.
    pub(crate) fn index(self, count: usize) -> Option<usize> {
        usize::try_from(self.rank(count as u64)? - 1).ok()
    }

    /// Nearest rank, counted from 1: `ceil(p·n)`. `None` for an empty sample.
    pub(crate) fn rank(self, count: u64) -> Option<u64> {
        let product = u128::from(count) * u128::from(self.per_mille);
        u64::try_from(product.div_ceil(1_000)).ok().filter(|rank| *rank > 0)
    }
}

/// The least sample size that supports a percentile: the smallest n with `1 − p^n ≥ 0.99`, that is, a sample in which
/// at least one value lies above the true percentile with a probability of 99 %.
/// p90: 44, p95: 90, p99: 459, p99.9: 4,603. (Wilks 1941, one-sided non-parametric tolerance limit.)
pub fn samples_needed(percentile: Percentile) -> u64 {
    let p = percentile.fraction();
    // No p here makes this a whole number, so rounding up cannot be off by one. At most a few thousand: the cast is exact.
    ((1.0 - CONFIDENCE).ln() / p.ln()).ceil() as u64
}

/// What a sample says. Nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub count: u64,
    /// 128 bits: the sum of service times is the total processing time, and must not wrap whatever was measured.
    pub sum_ns: u128,
    pub min_ns: u64,
    /// Nearest rank, like every percentile: the lower of the two middle values where the count is even.
    pub median_ns: u64,
    pub mean_ns: f64,
    pub max_ns: u64,
    /// Of the sample (n − 1); `None` below two samples.
    pub stddev_ns: Option<f64>,
    /// `None` below [`samples_needed`], as for those that follow.
    pub p90_ns: Option<u64>,
    pub p95_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub p99_9_ns: Option<u64>,
    pub intervals: Intervals,
}

/// Where the true percentiles lie with 95 % confidence each, from the order of the sample alone, if its values are independent of each
/// other; `None` where the sample supports no percentile or no interval for it. There is none for the mean: the sorted sample does not
/// tell how the times followed each other, and a few of the slowest, which may be among it or not, decide about its mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Intervals {
    pub median_ns: Option<[u64; 2]>,
    pub p90_ns: Option<[u64; 2]>,
    pub p95_ns: Option<[u64; 2]>,
    pub p99_ns: Option<[u64; 2]>,
    pub p99_9_ns: Option<[u64; 2]>,
}

impl Summary {
    /// Every figure of all `parts` together, exact; `None` when they are empty. Nothing is moved or copied: the workers' samples are
    /// summarised where they lie, for each worker, each agent and the whole run.
    pub fn of<S: Borrow<Sorted>>(parts: &[S]) -> Option<Self> {
        let parts: Vec<&Sorted> = parts.iter().map(Borrow::borrow).collect();
        let parts = parts.as_slice();
        let (min_ns, max_ns) = ends(parts)?;
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

/// Of all pairs of a sample of `parts` and one of `others`, which ascend: in how many the other one is larger; equal ones count a half.
pub(crate) fn smaller(parts: &[&Sorted], others_ns: &[u64]) -> f64 {
    parts.iter().map(|part| part.smaller_twice(others_ns)).sum::<u64>() as f64 / 2.0
}

/// How many samples all parts have.
pub(crate) fn count(parts: &[&Sorted]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// The sample of this rank, counted from 1, of all parts together; `None` when there is no such rank.
pub(crate) fn at_rank(parts: &[&Sorted], rank: usize) -> Option<u64> {
    let (min_ns, max_ns) = ends(parts)?;
    let index = rank.checked_sub(1).filter(|index| *index < count(parts))?;
    Some(value_at(parts, index, min_ns..=max_ns))
}

/// In no order.
pub(crate) fn values(parts: &[&Sorted]) -> impl Iterator<Item = u64> {
    parts.iter().flat_map(|part| part.iter())
}

/// The least and the greatest sample of all parts.
fn ends(parts: &[&Sorted]) -> Option<(u64, u64)> {
    let ends = || parts.iter().filter_map(|part| part.ends());
    Some((ends().map(|(min_ns, _)| min_ns).min()?, ends().map(|(_, max_ns)| max_ns).max()?))
}

/// What would stand at `index` if all parts were one sorted list: the least value with more than `index` at or below it, found by
/// halving the range of values. Such a value is always one of the samples.
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

/// Two passes: the one-pass formula (sum of squares minus squared sum) cancels away the digits that matter when times are
/// close together and far from zero.
fn stddev(parts: &[&Sorted], count: usize, mean_ns: f64) -> Option<f64> {
    if count < 2 {
        return None;
    }
    let squares: f64 = values(parts).map(|ns| (ns as f64 - mean_ns).powi(2)).sum();
    Some((squares / (count - 1) as f64).sqrt())
}

/// The result carries milliseconds; `sum_ns` leaves as the total processing time, which is not part of a distribution.
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
