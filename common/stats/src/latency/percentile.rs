//! Percentiles as exact numbers, and the sample sizes that support them.

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
    pub fn index(self, count: usize) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_needed_match_the_published_numbers() {
        let needed =
            [Percentile::P90, Percentile::P95, Percentile::P99, Percentile::P99_9].map(samples_needed);
        assert_eq!(needed, [44, 90, 459, 4_603]);
    }

    #[test]
    fn samples_needed_is_the_smallest_sufficient_number() {
        for percentile in [Percentile::P90, Percentile::P95, Percentile::P99_9] {
            let p = f64::from(percentile.per_mille) / 1_000.0;
            let reaches = |n: u64| 1.0 - p.powi(n as i32) >= CONFIDENCE;
            let n = samples_needed(percentile);
            assert!(reaches(n) && !reaches(n - 1), "{percentile:?}: {n}");
        }
    }
}
