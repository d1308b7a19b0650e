//! The Mann-Whitney U test (1947), also known as the Wilcoxon rank-sum test: does one sample tend to have larger values?

use super::confidence::two_sided;
use super::signed_rank::continuity_corrected;
use crate::latency::parts;
use crate::latency::samples::Sorted;

/// The result of the test for two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// The U statistic: the number of pairs of a base and a new value in which the new one is larger; ties count one half.
    pub larger: f64,
    /// Number of all pairs.
    pub pairs: f64,
    /// Deviation of U from half of all pairs in standard deviations, by the normal approximation with corrections for continuity and ties.
    /// Positive if the new values tend to be larger.
    pub deviate: f64,
}

impl MannWhitney {
    /// Takes two samples in ascending order. Returns `None` if one is empty, or if all values are equal.
    pub fn of(base: &[u64], new: &[u64]) -> Option<Self> {
        let (n, m) = (base.len() as f64, new.len() as f64);
        let (mut of_base, mut of_new) = (base.chunk_by(u64::eq).peekable(), new.chunk_by(u64::eq).peekable());
        let (mut below, mut larger, mut ties) = (0.0, 0.0, 0.0);
        // Iterate over the distinct values, each with all its copies in both samples.
        while let Some(value) = [of_base.peek(), of_new.peek()].into_iter().flatten().map(|of| of[0]).min() {
            let copies = |chunk: Option<&[u64]>| chunk.map_or(0.0, |chunk| chunk.len() as f64);
            let in_base = copies(of_base.next_if(|chunk| chunk[0] == value));
            let in_new = copies(of_new.next_if(|chunk| chunk[0] == value));
            larger += in_new * (below + in_base / 2.0);
            below += in_base;
            let equal: f64 = in_base + in_new;
            ties += equal.powi(3) - equal;
        }
        let (pairs, all) = (n * m, n + m);
        let variance = pairs / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
        let is_defined = pairs > 0.0 && variance > 0.0;
        is_defined.then(|| Self {
            larger,
            pairs,
            deviate: continuity_corrected(larger - pairs / 2.0) / variance.sqrt(),
        })
    }

    /// Takes two samples of several sorted parts each. Copies only the new sample, which should be the smaller one. Does not correct for
    /// ties, which are rare in times in nanoseconds. Returns `None` if one sample is empty.
    pub fn of_parts(base: &[&Sorted], new: &[&Sorted]) -> Option<Self> {
        let (n, m) = (parts::count(base) as f64, parts::count(new) as f64);
        let (pairs, all) = (n * m, n + m);
        let mut new: Vec<u64> = parts::values(new).collect();
        new.sort_unstable();
        let larger = parts::mann_whitney_u(base, &new);
        let variance = pairs / 12.0 * (all + 1.0);
        let deviate = continuity_corrected(larger - pairs / 2.0) / variance.sqrt();
        (pairs > 0.0).then_some(Self { larger, pairs, deviate })
    }

    /// Returns the probability that a new value is larger than a base value; one half if there is no difference.
    pub fn share(&self) -> f64 {
        self.larger / self.pairs
    }

    /// Returns the two-sided p-value for independent values.
    pub fn p_value(&self) -> f64 {
        two_sided(self.deviate, f64::INFINITY)
    }

    /// Returns the p-value for dependent values. `inflation` is the factor by which dependence increases the variance of their mean,
    /// estimated with `degrees_of_freedom`.
    pub fn p_value_of_dependent(&self, inflation: f64, degrees_of_freedom: f64) -> f64 {
        two_sided(self.deviate / inflation.max(1.0).sqrt(), degrees_of_freedom)
    }
}

/// Returns the share of an ascending sample that is below a value; ties count one half. The placements of all values of the other sample
/// add up to the U statistic, so the series of placements shows how dependence affects its variance.
pub fn placement(sample: &[u64], value: u64) -> f64 {
    let below = sample.partition_point(|other| *other < value);
    let up_to = below + sample[below..].partition_point(|other| *other == value);
    (below as f64).midpoint(up_to as f64) / sample.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    fn sorted(values: &[u64]) -> Vec<u64> {
        let mut values = values.to_vec();
        values.sort_unstable();
        values
    }

    #[track_caller]
    fn check(base: &[u64], new: &[u64], larger: f64, p_value: f64) {
        let test = MannWhitney::of(&sorted(base), &sorted(new)).unwrap();
        assert_eq!(test.larger, larger);
        let got = test.p_value();
        assert!((got - p_value).abs() < p_value * 1e-3, "{got}, expected {p_value}");
    }

    /// Hollander and Wolfe 1973, p. 69: permeability of membranes, in hundredths. W = 35, and R's `wilcox.test(x, y, exact = FALSE)`
    /// gives 0.2446.
    #[test]
    fn the_example_of_hollander_and_wolfe() {
        let at_term = [80, 83, 189, 104, 145, 138, 191, 164, 73, 146];
        let earlier = [115, 88, 90, 74, 121];
        check(&earlier, &at_term, 35.0, 0.2446);
        check(&at_term, &earlier, 15.0, 0.2446);
    }

    /// Ozone in New York in May and in August 1973, with many ties: R's documentation of `wilcox.test` gives W = 127.5, p = 0.0001208.
    #[test]
    fn the_example_with_ties_from_the_documentation_of_r() {
        let may = [
            41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115,
            37,
        ];
        let august = [
            39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118,
            84, 85,
        ];
        check(&august, &may, 127.5, 0.000_120_8);
    }

    #[test]
    fn placements_add_up_to_the_u_statistic() {
        let (base, new) = (sorted(&[3, 5, 5, 8, 9]), sorted(&[1, 5, 6, 9, 9, 12]));
        let test = MannWhitney::of(&base, &new).unwrap();
        let sum: f64 = new.iter().map(|value| placement(&base, *value)).sum();
        assert!((sum / new.len() as f64 - test.share()).abs() < 1e-12);
    }

    #[test]
    fn empty_or_constant_samples_are_not_tested() {
        assert_eq!(MannWhitney::of(&[], &[1]), None);
        assert_eq!(MannWhitney::of(&[1], &[]), None);
        assert_eq!(MannWhitney::of(&[4, 4, 4], &[4, 4]), None);
    }

    #[test]
    fn samples_of_one_distribution_differ_significantly_as_often_as_the_level_says() {
        let mut random = SplitMix64::new(6);
        let mut sample = |count: usize| {
            let values: Vec<u64> = (0..count).map(|_| random.latency_ns(1.0)).collect();
            sorted(&values)
        };
        let found = (0..2_000)
            .filter(|_| MannWhitney::of(&sample(40), &sample(60)).unwrap().p_value() < 0.05)
            .count();
        assert!((60..=140).contains(&found), "{found} of 2,000");
    }

    #[test]
    fn a_test_of_parts_equals_the_test_of_the_whole() {
        let part = |values: &[u64]| {
            let mut samples = crate::latency::samples::Samples::default();
            values.iter().for_each(|value| samples.push(*value));
            samples.into_sorted()
        };
        let (base, new) = ([[5, 1, 9], [7, 3, 11]], [[2, 8], [4, 20]]);
        let whole = MannWhitney::of(&sorted(&base.concat()), &sorted(&new.concat())).unwrap();
        let (base, new) = (base.map(|values| part(&values)), new.map(|values| part(&values)));
        assert_eq!(MannWhitney::of_parts(&base.each_ref(), &new.each_ref()), Some(whole));
        assert_eq!(MannWhitney::of_parts(&base.each_ref(), &[]), None);
    }
}
