use proptest::prelude::*;

use super::*;
use crate::statistics::{Confidence, order};

fn sorted(values_ns: impl IntoIterator<Item = u64>) -> Sorted {
    let mut samples = Samples::default();
    values_ns.into_iter().for_each(|value_ns| samples.push(value_ns));
    samples.into_sorted()
}

fn summary(values_ns: impl IntoIterator<Item = u64>) -> Summary {
    Summary::of(&[sorted(values_ns)]).unwrap()
}

#[test]
fn a_small_sample_matches_values_computed_by_hand() {
    // Sum 40, mean 5, squares of the differences 9+1+1+1+0+0+4+16 = 32.
    let got = summary([9, 2, 5, 4, 4, 4, 5, 7]);
    assert_eq!((got.count, got.sum_ns), (8, 40));
    assert_eq!((got.min_ns, got.median_ns, got.max_ns), (2, 4, 9));
    assert_eq!(got.mean_ns, 5.0);
    assert_eq!(got.stddev_ns, Some((32.0_f64 / 7.0).sqrt()));
}

#[test]
fn percentiles_are_nearest_rank_without_an_off_by_one() {
    // In 1..=n, the value at index ceil(p·n) − 1 is ceil(p·n).
    let got = summary(1..=10_000);
    assert_eq!(got.median_ns, 5_000);
    assert_eq!(got.p90_ns, Some(9_000));
    assert_eq!(got.p95_ns, Some(9_500));
    assert_eq!(got.p99_ns, Some(9_900));
    assert_eq!(got.p99_9_ns, Some(9_990));
    // p99 of 1,000 samples is the 990th, not the maximum; p99 of 1,001 is the 991st.
    assert_eq!(summary(1..=1_000).p99_ns, Some(990));
    assert_eq!(summary(1..=1_001).p99_ns, Some(991));
}

#[test]
fn a_percentile_is_reported_from_the_first_sample_size_that_supports_it() {
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
fn intervals_are_the_values_at_the_enclosing_ranks() {
    // In 1..=n every value equals its rank: ranks 40 and 61 of 100 enclose the median with a confidence of 95 %.
    let got = summary(1..=100).intervals;
    assert_eq!(got.median_ns, Some([40, 61]));
    assert_eq!(got.p95_ns, Some([90, 100]));
    assert_eq!((got.p99_ns, got.p99_9_ns), (None, None));
}

#[test]
fn an_interval_is_reported_if_its_percentile_is_and_the_sample_supports_it() {
    let given = |n: u64| {
        let Intervals { median_ns, p90_ns, p95_ns, p99_ns, p99_9_ns } = summary(1..=n).intervals;
        [median_ns, p90_ns, p95_ns, p99_ns, p99_9_ns].map(|interval| interval.is_some())
    };
    let median_needs = usize::try_from(figure::MEDIAN.interval_count_min).unwrap();
    assert_eq!(order::enclosing_ranks(median_needs - 1, Percentile::P50, Confidence::P95), None);
    assert_eq!(given(figure::MEDIAN.interval_count_min - 1), [false; 5]);
    assert_eq!(given(figure::MEDIAN.interval_count_min), [true, false, false, false, false]);
    // 36 samples suffice for the interval, but not for the percentile.
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
fn huge_values_neither_overflow_nor_lose_precision() {
    let got = summary([u64::MAX; 3]);
    assert_eq!(got.sum_ns, 3 * u128::from(u64::MAX));
    assert_eq!((got.max_ns, got.stddev_ns), (u64::MAX, Some(0.0)));
    // Ten hours, one nanosecond apart: a one-pass formula returns 0 or a wrong value here.
    let far = 36_000_000_000_000;
    assert_eq!(summary([far, far + 1, far + 2]).stddev_ns, Some(1.0));
}

#[test]
fn the_result_is_in_milliseconds() {
    let latency = Latency::from(&summary((1..=100).map(|ms| ms * 1_000_000)));
    assert_eq!(latency.count, 100);
    assert_eq!((latency.min, latency.median), (1.0, 50.0));
    assert_eq!((latency.mean, latency.max), (50.5, 100.0));
    assert_eq!((latency.p90, latency.p95), (Some(90.0), Some(95.0)));
    assert_eq!((latency.p99, latency.p99_9), (None, None));
    assert!((latency.stddev.unwrap() - 29.011_491_975_882_016).abs() < 1e-9);
}

/// A direct implementation of the definition: the smallest value with at least p of the sample at or below it.
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
    fn every_statistic_matches_its_definition(values in prop::collection::vec(any::<u64>(), 1..600)) {
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

    /// Mixes wide and narrow values, so that equal values occur in several parts.
    #[test]
    fn a_summary_of_parts_equals_the_summary_of_their_union(parts in prop::collection::vec(
        prop::collection::vec(prop_oneof![any::<u64>(), 0u64..8], 0..150), 0..8,
    )) {
        let together: Vec<Sorted> = parts.iter().map(|part| sorted(part.iter().copied())).collect();
        let (together, union) = (Summary::of(&together), Summary::of(&[sorted(parts.concat())]));
        let stddev = |summary: &Option<Summary>| summary.as_ref().and_then(|summary| summary.stddev_ns);
        // The sums are added in another order, so the last digits may differ.
        match (stddev(&together), stddev(&union)) {
            (Some(a), Some(b)) => prop_assert!((a - b).abs() <= b * 1e-12, "{} and {}", a, b),
            (a, b) => prop_assert_eq!(a, b),
        }
        let without_stddev = |summary: Option<Summary>| {
            summary.map(|summary| Summary { stddev_ns: None, ..summary })
        };
        prop_assert_eq!(without_stddev(together), without_stddev(union));
    }
}
