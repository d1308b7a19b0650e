//! Distributions of times: every sample is kept, and every figure is exact. Nearest rank for percentiles, never an average of percentiles.
//! Times are nanoseconds here and milliseconds in the result.

use crate::result;

/// Samples in nanoseconds, 8 bytes each.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    ns: Vec<u64>,
}

/// What a sample of times says. Percentiles are `None` where the sample is too small, see [`samples_needed`].
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub count: u64,
    pub sum_ns: u128,
    pub min_ns: u64,
    pub median_ns: u64,
    pub mean_ns: f64,
    pub max_ns: u64,
    /// Of the sample (n − 1); `None` below two.
    pub stddev_ns: Option<f64>,
    pub p90_ns: Option<u64>,
    pub p95_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub p99_9_ns: Option<u64>,
}

impl Samples {
    pub fn with_capacity(count: usize) -> Self {
        Self { ns: Vec::with_capacity(count) }
    }

    pub fn push(&mut self, ns: u64) {
        self.ns.push(ns);
    }

    pub fn len(&self) -> usize {
        self.ns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ns.is_empty()
    }

    /// The one merge: takes the other's samples and frees it.
    pub fn absorb(&mut self, other: Self) {
        let Self { ns } = other;
        if self.ns.is_empty() && self.ns.capacity() < ns.len() {
            self.ns = ns;
        } else {
            self.ns.extend_from_slice(&ns);
        }
    }

    /// Sorts in place, so that ten million samples stay at 80 MB. `None` without a sample.
    pub fn summarize(&mut self) -> Option<Summary> {
        self.ns.sort_unstable();
        let sorted = &self.ns;
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        let sum_ns: u128 = sorted.iter().map(|ns| u128::from(*ns)).sum();
        let mean_ns = sum_ns as f64 / sorted.len() as f64;
        let supported = |per_mille| {
            let is_enough = sorted.len() as u64 >= samples_needed(per_mille);
            is_enough.then(|| nearest_rank(sorted, per_mille))
        };
        Some(Summary {
            count: sorted.len() as u64,
            sum_ns,
            min_ns: first,
            median_ns: nearest_rank(sorted, 500),
            mean_ns,
            max_ns: last,
            stddev_ns: stddev(sorted, mean_ns),
            p90_ns: supported(900),
            p95_ns: supported(950),
            p99_ns: supported(990),
            p99_9_ns: supported(999),
        })
    }
}

/// How many samples a percentile wants: the least n for which the largest sample lies above it with 99 % probability, 1 − pⁿ ≥ 0.99.
/// 44 for p90, 90 for p95, 459 for p99, 4,603 for p99.9. `per_mille` is below 1,000; 0 wants one sample.
pub fn samples_needed(per_mille: u16) -> u64 {
    let p = f64::from(per_mille) / 1e3;
    if p == 0.0 { 1 } else { (0.01_f64.ln() / p.ln()).ceil() as u64 }
}

/// The nearest rank: index ⌈p·n⌉ − 1, in integers, since `0.95 * 20` is not 19 in floating point. `sorted` is not empty.
fn nearest_rank(sorted: &[u64], per_mille: u16) -> u64 {
    let rank = (sorted.len() as u128 * u128::from(per_mille)).div_ceil(1_000).max(1);
    sorted[usize::try_from(rank - 1).expect("a rank is at most the length")]
}

/// Two passes: the one-pass formula loses all digits when the spread is small against the mean.
fn stddev(samples: &[u64], mean_ns: f64) -> Option<f64> {
    if samples.len() < 2 {
        return None;
    }
    let squares: f64 = samples.iter().map(|ns| (*ns as f64 - mean_ns).powi(2)).sum();
    Some((squares / (samples.len() - 1) as f64).sqrt())
}

impl From<&Summary> for result::Latency {
    fn from(summary: &Summary) -> Self {
        let Summary { count, sum_ns: _, min_ns, median_ns, mean_ns, max_ns, stddev_ns, .. } = summary;
        let Summary { p90_ns, p95_ns, p99_ns, p99_9_ns, .. } = summary;
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
    use super::*;
    use proptest::prelude::*;

    fn samples(ns: impl IntoIterator<Item = u64>) -> Samples {
        Samples { ns: ns.into_iter().collect() }
    }

    /// Nearest rank as the textbook has it: the smallest value that at least p of all samples do not exceed.
    fn naive_percentile(ns: &[u64], per_mille: u64) -> u64 {
        let at_most = |value: u64| ns.iter().filter(|other| **other <= value).count() as u64;
        let reaches = |value: &u64| at_most(*value) * 1_000 >= per_mille * ns.len() as u64;
        ns.iter().copied().filter(reaches).min().unwrap()
    }

    proptest! {
        #[test]
        fn every_figure_is_what_a_naive_look_gives(ns in proptest::collection::vec(any::<u64>(), 1..120)) {
            let summary = samples(ns.clone()).summarize().unwrap();
            prop_assert_eq!(summary.count, ns.len() as u64);
            prop_assert_eq!(summary.sum_ns, ns.iter().map(|ns| u128::from(*ns)).sum::<u128>());
            prop_assert_eq!(Some(summary.min_ns), ns.iter().min().copied());
            prop_assert_eq!(Some(summary.max_ns), ns.iter().max().copied());
            prop_assert_eq!(summary.median_ns, naive_percentile(&ns, 500));
            prop_assert_eq!(summary.p90_ns, (ns.len() >= 44).then(|| naive_percentile(&ns, 900)));
            prop_assert_eq!(summary.p95_ns, (ns.len() >= 90).then(|| naive_percentile(&ns, 950)));
            prop_assert_eq!(summary.p99_ns, None);
        }

        #[test]
        fn merged_is_the_union(
            a in proptest::collection::vec(any::<u64>(), 0..80),
            b in proptest::collection::vec(any::<u64>(), 0..80),
        ) {
            let mut merged = samples(a.clone());
            merged.absorb(samples(b.clone()));
            let mut union = samples(a.into_iter().chain(b));
            prop_assert_eq!(merged.summarize(), union.summarize());
        }
    }

    #[test]
    fn ranks_are_not_off_by_one() {
        let summary = samples(1..=10_000).summarize().unwrap();
        assert_eq!(summary.median_ns, 5_000);
        assert_eq!(summary.p90_ns, Some(9_000));
        assert_eq!(summary.p95_ns, Some(9_500));
        assert_eq!(summary.p99_ns, Some(9_900));
        assert_eq!(summary.p99_9_ns, Some(9_990));
        assert_eq!(samples(1..=500).summarize().unwrap().p99_ns, Some(495));
    }

    #[test]
    fn a_percentile_needs_the_sample_that_theory_asks_for() {
        assert_eq!([900, 950, 990, 999].map(samples_needed), [44, 90, 459, 4_603]);
        assert_eq!(samples(1..=458).summarize().unwrap().p99_ns, None);
        assert!(samples(1..=459).summarize().unwrap().p99_ns.is_some());
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        let summary = samples([2, 4, 4, 4, 5, 5, 7, 9]).summarize().unwrap();
        assert_eq!(summary.mean_ns, 5.0);
        assert!((summary.stddev_ns.unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(samples([7]).summarize().unwrap().stddev_ns, None);
    }

    #[test]
    fn a_small_spread_around_a_large_mean_keeps_its_digits() {
        let hour = 3_600_000_000_000;
        let summary = samples([hour, hour + 2]).summarize().unwrap();
        assert!((summary.stddev_ns.unwrap() - 2.0_f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Samples::default().summarize(), None);
    }
}
