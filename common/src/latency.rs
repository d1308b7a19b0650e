//! Latency statistics over every sample: exact nearest-rank percentiles, and none that the sample cannot support.
//! Nanoseconds as integers until the result; no histogram, no estimate, no reading of a clock here.

use std::borrow::Borrow;
use std::ops::RangeInclusive;

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

/// Times in nanoseconds, in order of arrival. Eight bytes a sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Samples {
    values_ns: Vec<u64>,
}

impl Samples {
    /// For a known number of samples: growing by doubling holds old and new together for a moment.
    pub fn with_capacity(count: usize) -> Self {
        Self { values_ns: Vec::with_capacity(count) }
    }

    pub fn push(&mut self, value_ns: u64) {
        self.values_ns.push(value_ns);
    }

    pub fn len(&self) -> usize {
        self.values_ns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values_ns.is_empty()
    }

    /// Each value with the one of `other` that stands beside it: response time is service time and lag. As long as the shorter of both.
    pub fn plus(&self, other: &Self) -> Self {
        let pairs = self.values_ns.iter().zip(&other.values_ns);
        Self { values_ns: pairs.map(|(a, b)| a.saturating_add(*b)).collect() }
    }

    /// Sorts in place: a second copy of 10 million samples would cost another 80 MB.
    pub fn into_sorted(self) -> Sorted {
        let Self { mut values_ns } = self;
        values_ns.sort_unstable();
        Sorted { values_ns }
    }
}

/// Times in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted {
    values_ns: Vec<u64>,
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
        let min_ns = *parts.iter().filter_map(|part| part.values_ns.first()).min()?;
        let max_ns = *parts.iter().filter_map(|part| part.values_ns.last()).max()?;
        let count = count(parts);
        let sum_ns: u128 = values(parts).map(u128::from).sum();
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

/// How many samples all parts have below a value, those that equal it counted by half.
pub(crate) fn below(parts: &[&Sorted], value_ns: u64) -> f64 {
    let of_part = |part: &&Sorted| {
        let below = part.values_ns.partition_point(|&ns| ns < value_ns);
        let at_or_below = part.values_ns.partition_point(|&ns| ns <= value_ns);
        (below + at_or_below) as f64 / 2.0
    };
    parts.iter().map(of_part).sum()
}

/// How many samples all parts have.
pub(crate) fn count(parts: &[&Sorted]) -> usize {
    parts.iter().map(|part| part.values_ns.len()).sum()
}

/// The sample of this rank, counted from 1, of all parts together; `None` when there is no such rank.
pub(crate) fn at_rank(parts: &[&Sorted], rank: usize) -> Option<u64> {
    let min_ns = *parts.iter().filter_map(|part| part.values_ns.first()).min()?;
    let max_ns = *parts.iter().filter_map(|part| part.values_ns.last()).max()?;
    let index = rank.checked_sub(1).filter(|index| *index < count(parts))?;
    Some(value_at(parts, index, min_ns..=max_ns))
}

pub(crate) fn values(parts: &[&Sorted]) -> impl Iterator<Item = u64> {
    parts.iter().flat_map(|part| part.values_ns.iter().copied())
}

/// What would stand at `index` if all parts were one sorted list: the least value with more than `index` at or below it, found by
/// halving the range of values. Such a value is always one of the samples.
fn value_at(parts: &[&Sorted], index: usize, range_ns: RangeInclusive<u64>) -> u64 {
    let (mut low, mut high) = range_ns.into_inner();
    while low < high {
        let middle = low.midpoint(high);
        let at_or_below = |part: &&Sorted| part.values_ns.partition_point(|&ns| ns <= middle);
        if parts.iter().map(at_or_below).sum::<usize>() > index {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(values_ns: impl IntoIterator<Item = u64>) -> Sorted {
        Samples { values_ns: values_ns.into_iter().collect() }.into_sorted()
    }

    fn summary(values_ns: impl IntoIterator<Item = u64>) -> Summary {
        Summary::of(&[sorted(values_ns)]).unwrap()
    }

    #[test]
    fn the_result_states_the_same_needs() {
        use crate::result::Latency;
        let stated = [
            Latency::P90_COUNT_MIN,
            Latency::P95_COUNT_MIN,
            Latency::P99_COUNT_MIN,
            Latency::P99_9_COUNT_MIN,
        ];
        let needed =
            [Percentile::P90, Percentile::P95, Percentile::P99, Percentile::P99_9].map(samples_needed);
        assert_eq!(stated, needed);
    }

    #[test]
    fn known_arithmetic() {
        // Sum 40, mean 5, squares of the differences 9+1+1+1+0+0+4+16 = 32.
        let got = summary([9, 2, 5, 4, 4, 4, 5, 7]);
        assert_eq!((got.count, got.sum_ns), (8, 40));
        assert_eq!((got.min_ns, got.median_ns, got.max_ns), (2, 4, 9));
        assert_eq!(got.mean_ns, 5.0);
        assert_eq!(got.stddev_ns, Some((32.0_f64 / 7.0).sqrt()));
    }

    #[test]
    fn percentiles_are_nearest_rank_without_an_off_by_one() {
        // Of 1..=n the value at index ceil(p·n) − 1 is ceil(p·n) itself.
        let got = summary(1..=10_000);
        assert_eq!(got.median_ns, 5_000);
        assert_eq!(got.p90_ns, Some(9_000));
        assert_eq!(got.p95_ns, Some(9_500));
        assert_eq!(got.p99_ns, Some(9_900));
        assert_eq!(got.p99_9_ns, Some(9_990));
        // p99 of 1,000 is the 990th, not the maximum; of 1,001 it is the 991st.
        assert_eq!(summary(1..=1_000).p99_ns, Some(990));
        assert_eq!(summary(1..=1_001).p99_ns, Some(991));
    }

    #[test]
    fn samples_needed_are_the_published_numbers() {
        let needed =
            [Percentile::P90, Percentile::P95, Percentile::P99, Percentile::P99_9].map(samples_needed);
        assert_eq!(needed, [44, 90, 459, 4_603]);
    }

    #[test]
    fn samples_needed_is_the_smallest_that_suffices() {
        for percentile in [Percentile::P90, Percentile::P95, Percentile::P99_9] {
            let p = f64::from(percentile.per_mille) / 1_000.0;
            let reaches = |n: u64| 1.0 - p.powi(n as i32) >= CONFIDENCE;
            let n = samples_needed(percentile);
            assert!(reaches(n) && !reaches(n - 1), "{percentile:?}: {n}");
        }
    }

    #[test]
    fn a_percentile_appears_with_the_first_sample_size_that_supports_it() {
        let given = |n: u64| {
            let s = summary(1..=n);
            [s.p90_ns, s.p95_ns, s.p99_ns, s.p99_9_ns].map(|p| p.is_some())
        };
        assert_eq!(given(43), [false; 4]);
        assert_eq!(given(44), [true, false, false, false]);
        assert_eq!(given(89), [true, false, false, false]);
        assert_eq!(given(90), [true, true, false, false]);
        assert_eq!(given(458), [true, true, false, false]);
        assert_eq!(given(459), [true, true, true, false]);
        assert_eq!(given(4_602), [true, true, true, false]);
        assert_eq!(given(4_603), [true; 4]);
    }

    #[test]
    fn intervals_are_the_values_of_the_enclosing_ranks() {
        // Of 1..=n every value is its own rank: 40 and 61 of 100 enclose the median with 95 %.
        let got = summary(1..=100).intervals;
        assert_eq!(got.median_ns, Some([40, 61]));
        assert_eq!(got.p95_ns, Some([90, 100]));
        assert_eq!((got.p99_ns, got.p99_9_ns), (None, None));
    }

    #[test]
    fn an_interval_is_given_where_its_percentile_is_and_the_sample_supports_it() {
        let given = |n: u64| {
            let Intervals { median_ns, p90_ns, p95_ns, p99_ns, p99_9_ns } = summary(1..=n).intervals;
            [median_ns, p90_ns, p95_ns, p99_ns, p99_9_ns].map(|interval| interval.is_some())
        };
        let median_needs = usize::try_from(result::Latency::MEDIAN_CI_COUNT_MIN).unwrap();
        assert_eq!(order::enclosing_ranks(median_needs - 1, Percentile::P50, Confidence::P95), None);
        assert_eq!(given(result::Latency::MEDIAN_CI_COUNT_MIN - 1), [false; 5]);
        assert_eq!(given(result::Latency::MEDIAN_CI_COUNT_MIN), [true, false, false, false, false]);
        // 36 samples would do for the interval, but not for the percentile.
        assert_eq!(given(43), [true, false, false, false, false]);
        assert_eq!(given(44), [true, true, false, false, false]);
        assert_eq!(given(4_602), [true, true, true, true, false]);
        assert_eq!(given(4_603), [true; 5]);
    }

    #[test]
    fn an_empty_sample_has_no_summary() {
        assert_eq!(Summary::of::<Sorted>(&[]), None);
        assert_eq!(Summary::of(&[sorted([]), sorted([])]), None);
    }

    #[test]
    fn a_single_sample_is_its_own_minimum_median_and_maximum() {
        let got = summary([7]);
        assert_eq!((got.min_ns, got.median_ns, got.max_ns), (7, 7, 7));
        assert_eq!((got.mean_ns, got.stddev_ns, got.p90_ns), (7.0, None, None));
    }

    #[test]
    fn huge_values_neither_wrap_nor_lose_their_spread() {
        let got = summary([u64::MAX; 3]);
        assert_eq!(got.sum_ns, 3 * u128::from(u64::MAX));
        assert_eq!((got.max_ns, got.stddev_ns), (u64::MAX, Some(0.0)));
        // Ten hours, one nanosecond apart: a one-pass formula answers 0 or worse here.
        let far = 36_000_000_000_000;
        assert_eq!(summary([far, far + 1, far + 2]).stddev_ns, Some(1.0));
    }

    #[test]
    fn the_result_is_in_milliseconds() {
        let latency = result::Latency::from(&summary((1..=100).map(|ms| ms * 1_000_000)));
        assert_eq!(latency.count, 100);
        assert_eq!((latency.min, latency.median), (1.0, 50.0));
        assert_eq!((latency.mean, latency.max), (50.5, 100.0));
        assert_eq!((latency.p90, latency.p95), (Some(90.0), Some(95.0)));
        assert_eq!((latency.p99, latency.p99_9), (None, None));
        assert!((latency.stddev.unwrap() - 29.011_491_975_882_016).abs() < 1e-9);
    }

    /// The definition, written down as slowly as possible: the smallest value with at least p of the sample at or below it.
    fn naive_percentile(values_ns: &[u64], per_mille: u128) -> u64 {
        let reaches = |v: u64| {
            let at_or_below = values_ns.iter().filter(|&&other| other <= v).count() as u128;
            at_or_below * 1_000 >= per_mille * values_ns.len() as u128
        };
        let found = values_ns.iter().copied().filter(|&v| reaches(v)).min();
        found.unwrap()
    }

    proptest! {
        #[test]
        fn every_figure_matches_its_definition(values in prop::collection::vec(any::<u64>(), 1..600)) {
            let got = summary(values.clone());
            prop_assert_eq!(got.count, values.len() as u64);
            prop_assert_eq!(got.sum_ns, values.iter().map(|&v| u128::from(v)).sum::<u128>());
            prop_assert_eq!(Some(got.min_ns), values.iter().copied().min());
            prop_assert_eq!(Some(got.max_ns), values.iter().copied().max());
            prop_assert_eq!(got.median_ns, naive_percentile(&values, 500));
            for (given, per_mille) in [(got.p90_ns, 900), (got.p95_ns, 950), (got.p99_ns, 990)] {
                if let Some(given) = given {
                    prop_assert_eq!(given, naive_percentile(&values, per_mille));
                }
            }
        }

        /// Both wide and narrow: many equal values lie in several parts.
        #[test]
        fn parts_together_say_what_their_union_says(parts in prop::collection::vec(
            prop::collection::vec(prop_oneof![any::<u64>(), 0u64..8], 0..150), 0..8,
        )) {
            let together: Vec<Sorted> = parts.iter().map(|part| sorted(part.iter().copied())).collect();
            let (together, union) = (Summary::of(&together), Summary::of(&[sorted(parts.concat())]));
            let stddev = |summary: &Option<Summary>| summary.as_ref().and_then(|summary| summary.stddev_ns);
            // Added up in another order, so its last digits may differ.
            match (stddev(&together), stddev(&union)) {
                (Some(a), Some(b)) => prop_assert!((a - b).abs() <= b * 1e-12, "{} and {}", a, b),
                (a, b) => prop_assert_eq!(a, b),
            }
            let but_for_stddev = |summary: Option<Summary>| {
                summary.map(|summary| Summary { stddev_ns: None, ..summary })
            };
            prop_assert_eq!(but_for_stddev(together), but_for_stddev(union));
        }
    }
}
