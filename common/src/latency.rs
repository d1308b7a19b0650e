//! Latency statistics over every sample: exact nearest-rank percentiles, and none that the sample cannot support.
//! Nanoseconds as integers until the result; no histogram, no estimate, no reading of a clock here.

use crate::result;

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

    /// Nearest rank: index `ceil(p·n) − 1` of the sorted sample. `None` for an empty sample.
    fn index(self, count: usize) -> Option<usize> {
        let product = count as u128 * u128::from(self.per_mille);
        let rank = usize::try_from(product.div_ceil(1_000)).ok()?;
        rank.checked_sub(1)
    }
}

/// The least sample size that supports a percentile: the smallest n with `1 − p^n ≥ 0.99`, that is, a sample in which
/// at least one value lies above the true percentile with a probability of 99 %.
/// p90: 44, p95: 90, p99: 459, p99.9: 4,603. (Wilks 1941, one-sided non-parametric tolerance limit.)
pub fn samples_needed(percentile: Percentile) -> u64 {
    let p = f64::from(percentile.per_mille) / 1_000.0;
    // No p here makes this a whole number, so rounding up cannot be off by one. At most a few thousand: the cast is exact.
    ((1.0 - CONFIDENCE).ln() / p.ln()).ceil() as u64
}

/// Times in nanoseconds, in order of arrival until they are summarised. Eight bytes a sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Samples {
    values_ns: Vec<u64>,
}

impl Samples {
    pub const fn new() -> Self {
        Self { values_ns: Vec::new() }
    }

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

    /// The one merge: takes every sample of `other` and frees its memory.
    pub fn absorb(&mut self, other: Samples) {
        let Samples { values_ns: mut incoming } = other;
        // Where memory must move, the shorter one moves.
        let must_grow = self.values_ns.capacity() - self.values_ns.len() < incoming.len();
        if must_grow && incoming.len() > self.values_ns.len() {
            std::mem::swap(&mut self.values_ns, &mut incoming);
        }
        self.values_ns.append(&mut incoming);
    }

    /// Every figure of the sample, exact; `None` when it is empty. Sorts in place: a second copy of 10 million samples
    /// would cost another 80 MB.
    pub fn summarize(&mut self) -> Option<Summary> {
        self.values_ns.sort_unstable();
        Summary::of_sorted(&self.values_ns)
    }
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
}

impl Summary {
    fn of_sorted(sorted_ns: &[u64]) -> Option<Self> {
        let (min_ns, max_ns) = (*sorted_ns.first()?, *sorted_ns.last()?);
        let count = sorted_ns.len() as u64;
        let sum_ns: u128 = sorted_ns.iter().map(|&ns| u128::from(ns)).sum();
        let mean_ns = sum_ns as f64 / count as f64;
        Some(Self {
            count,
            sum_ns,
            min_ns,
            median_ns: nearest_rank(sorted_ns, Percentile::P50)?,
            mean_ns,
            max_ns,
            stddev_ns: stddev(sorted_ns, mean_ns),
            p90_ns: supported(sorted_ns, Percentile::P90),
            p95_ns: supported(sorted_ns, Percentile::P95),
            p99_ns: supported(sorted_ns, Percentile::P99),
            p99_9_ns: supported(sorted_ns, Percentile::P99_9),
        })
    }
}

fn nearest_rank(sorted_ns: &[u64], percentile: Percentile) -> Option<u64> {
    sorted_ns.get(percentile.index(sorted_ns.len())?).copied()
}

fn supported(sorted_ns: &[u64], percentile: Percentile) -> Option<u64> {
    let enough = sorted_ns.len() as u64 >= samples_needed(percentile);
    enough.then(|| nearest_rank(sorted_ns, percentile))?
}

/// Two passes: the one-pass formula (sum of squares minus squared sum) cancels away the digits that matter when times are
/// close together and far from zero.
fn stddev(values_ns: &[u64], mean_ns: f64) -> Option<f64> {
    if values_ns.len() < 2 {
        return None;
    }
    let squares: f64 = values_ns.iter().map(|&ns| (ns as f64 - mean_ns).powi(2)).sum();
    Some((squares / (values_ns.len() - 1) as f64).sqrt())
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
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(values_ns: impl IntoIterator<Item = u64>) -> Samples {
        Samples { values_ns: values_ns.into_iter().collect() }
    }

    fn summary(values_ns: impl IntoIterator<Item = u64>) -> Summary {
        samples(values_ns).summarize().unwrap()
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
    fn an_empty_sample_has_no_summary() {
        assert_eq!(Samples::new().summarize(), None);
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

        #[test]
        fn merged_samples_say_what_their_union_says(parts in prop::collection::vec(
            prop::collection::vec(any::<u64>(), 0..50), 0..8,
        )) {
            let mut merged = Samples::new();
            for part in &parts {
                merged.absorb(samples(part.iter().copied()));
            }
            let mut union = samples(parts.concat());
            prop_assert_eq!(merged.len(), union.len());
            prop_assert_eq!(merged.summarize(), union.summarize());
        }
    }
}
