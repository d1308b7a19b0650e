//! A histogram of service times with fixed bounds, reported while a run is in progress, for charts over time. It takes a few hundred bytes
//! whatever is recorded, so it can be copied several times per second. Percentiles are not computed from it: see [`crate::latency`].

/// Inclusive upper bounds: 1, 2 and 5 times every power of ten from 50 µs to 100 s. One more bucket is above the last bound.
pub const BOUNDS_NS: [u64; 20] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    [
        50 * US,
        100 * US,
        200 * US,
        500 * US,
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        S,
        2 * S,
        5 * S,
        10 * S,
        20 * S,
        50 * S,
        100 * S,
    ]
};

/// Counts per bucket (not cumulative), and the sum of all times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Indexed by bound; the last bucket has none.
    counts: [u64; BOUNDS_NS.len() + 1],
    sum_ns: u128,
}

impl Buckets {
    pub fn record(&mut self, time_ns: u64) {
        self.counts[BOUNDS_NS.partition_point(|bound| *bound < time_ns)] += 1;
        self.sum_ns += u128::from(time_ns);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum_ns(&self) -> u128 {
        self.sum_ns
    }

    /// Iterates over the upper bound (`None` for the last bucket) and the count of each bucket.
    pub fn iter(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        BOUNDS_NS.iter().copied().map(Some).chain([None]).zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        let mut buckets = Buckets::default();
        for time_ns in [0, 50_000, 50_001, 100_000_000_000, u64::MAX] {
            buckets.record(time_ns);
        }
        let filled: Vec<_> = buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(Some(50_000), 2), (Some(100_000), 1), (Some(100_000_000_000), 1), (None, 1)]);
        assert_eq!(buckets.sum_ns(), u128::from(u64::MAX) + 100_000_100_001);
    }

    proptest! {
        #[test]
        fn every_time_is_in_the_first_bucket_whose_bound_is_not_below_it(
            times in prop::collection::vec(0..200_000_000_000u64, 0..200),
        ) {
            let mut buckets = Buckets::default();
            times.iter().for_each(|time_ns| buckets.record(*time_ns));
            prop_assert_eq!(buckets.count(), times.len() as u64);
            let mut below = 0;
            for (bound, count) in buckets.iter() {
                below += count;
                let expected = times.iter().filter(|time_ns| bound.is_none_or(|bound| **time_ns <= bound));
                prop_assert_eq!(below, expected.count() as u64);
            }
        }
    }
}
