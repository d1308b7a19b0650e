//! Distribution-free confidence intervals for percentiles, from the order statistics of the sample.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::Confidence;
use crate::latency::percentile::Percentile;

/// Returns the ranks, counted from 1, of the two samples that enclose the true percentile with at least this confidence; the probability of
/// error is at most `(1 − c) ÷ 2` on either side. Returns `None` if the sample is too small, because the percentile may lie outside of it.
///
/// The number of samples below the true percentile p is binomial, B(n, p), so the percentile lies between the samples of ranks l and u
/// with probability `P(l ≤ B < u)` for any distribution, and with a higher one if values repeat (Thompson 1936; Conover, *Practical
/// Nonparametric Statistics*, 3.2). The samples are assumed to be independent.
pub fn enclosing_ranks(
    count: usize,
    percentile: Percentile,
    confidence: Confidence,
) -> Option<(usize, usize)> {
    let n = u64::try_from(count).ok()?;
    let p = percentile.fraction();
    let below = Binomial::new(p, n).ok()?;
    let tail = confidence.tail();
    // The percentile must lie within the sample on both sides: there is no rank 0, and none above n.
    if below.cdf(0) > tail || below.sf(n.checked_sub(1)?) > tail {
        return None;
    }
    let spread = confidence.normal_quantile() * (count as f64 * p * (1.0 - p)).sqrt();
    // Start from the normal approximation, which is off by a rank or two, and step to the exact rank. A float-to-integer cast saturates.
    let mut low = ((count as f64 * p - spread).max(0.0) as u64).clamp(1, n);
    while low > 1 && below.cdf(low - 1) > tail {
        low -= 1;
    }
    while below.cdf(low) <= tail {
        low += 1;
    }
    let mut high = ((count as f64 * p + spread).ceil() as u64).clamp(1, n);
    while high < n && below.sf(high - 1) > tail {
        high += 1;
    }
    while high > 1 && below.sf(high - 2) <= tail {
        high -= 1;
    }
    Some((usize::try_from(low).ok()?, usize::try_from(high).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::parts::at_rank;
    use crate::latency::samples::Samples;
    use crate::random::SplitMix64;

    #[track_caller]
    fn check(count: usize, percentile: Percentile, expected: Option<(usize, usize)>) {
        assert_eq!(enclosing_ranks(count, percentile, Confidence::P95), expected, "{count} samples");
    }

    #[test]
    fn ranks_of_the_median_match_published_tables() {
        // Conover, and Hollander and Wolfe: the interval of the sign test.
        check(5, Percentile::P50, None);
        check(6, Percentile::P50, Some((1, 6)));
        check(8, Percentile::P50, Some((1, 8)));
        check(10, Percentile::P50, Some((2, 9)));
        check(20, Percentile::P50, Some((6, 15)));
        check(50, Percentile::P50, Some((18, 33)));
        check(100, Percentile::P50, Some((40, 61)));
    }

    #[test]
    fn ranks_lie_within_the_sample() {
        check(0, Percentile::P50, None);
        check(1, Percentile::P50, None);
        // 0.9ⁿ falls below 0.025 at n = 36, and 0.99ⁿ at n = 368.
        check(35, Percentile::P90, None);
        check(36, Percentile::P90, Some((29, 36)));
        check(367, Percentile::P99, None);
        check(368, Percentile::P99, Some((360, 368)));
    }

    /// Compares with sums of binomial probabilities computed from their definition.
    #[test]
    fn ranks_are_the_narrowest_with_the_required_confidence() {
        let tail = Confidence::P95.tail();
        for percentile in [Percentile::P50, Percentile::P95, Percentile::P99] {
            let p = percentile.fraction();
            for count in [40_usize, 73, 400, 459, 1_001] {
                // Start at n: at the other end the probabilities underflow.
                let mut probabilities = vec![0.0; count + 1];
                probabilities[count] = p.powf(count as f64);
                for k in (0..count).rev() {
                    let step = (k + 1) as f64 / (count - k) as f64 * (1.0 - p) / p;
                    probabilities[k] = probabilities[k + 1] * step;
                }
                let at_most = |k: usize| probabilities[..=k].iter().sum::<f64>();
                let at_least = |k: usize| probabilities[k..].iter().sum::<f64>();
                match enclosing_ranks(count, percentile, Confidence::P95) {
                    Some((low, high)) => {
                        assert!(at_most(low - 1) <= tail && at_most(low) > tail, "{count} {p}: {low}");
                        assert!(at_least(high) <= tail && at_least(high - 1) > tail, "{count} {p}: {high}");
                    }
                    None => assert!(at_most(0) > tail || at_least(count) > tail, "{count} {p}"),
                }
            }
        }
    }

    #[test]
    fn ten_million_samples_are_supported() {
        let n = 10_000_000;
        let (low, high) = enclosing_ranks(n, Percentile::P50, Confidence::P95).unwrap();
        // 1.959964 × √n ÷ 2 = 3,098.98; rounded to whole ranks with the continuity correction, at equal distance from either end.
        assert_eq!((low, n + 1 - high), (n / 2 - 3_099, n / 2 - 3_099));
    }

    /// Draws 2,000 samples of a skewed distribution: the interval covers the true percentile with its nominal probability, or slightly more
    /// often because ranks are integers.
    #[test]
    fn the_interval_covers_the_true_percentile() {
        const DRAWS: u32 = 2_000;
        let sigma = 0.8;
        for (percentile, deviate, count) in [
            (Percentile::P50, 0.0, 200),
            (Percentile::P90, 1.281_551_6, 300),
            (Percentile::P95, 1.644_853_6, 500),
            (Percentile::P99, 2.326_347_9, 1_000),
        ] {
            let truth = 1e6 * f64::exp(sigma * deviate);
            let mut random = SplitMix64::new(count as u64);
            let mut covered = 0;
            for _ in 0..DRAWS {
                let mut samples = Samples::default();
                (0..count).for_each(|_| samples.push(random.latency_ns(sigma)));
                let sorted = [samples.into_sorted()];
                let (low, high) = enclosing_ranks(count, percentile, Confidence::P95).unwrap();
                let [low, high] = [low, high].map(|rank| at_rank(&sorted.each_ref(), rank).unwrap() as f64);
                let inside = low <= truth && truth <= high;
                covered += u32::from(inside);
            }
            let share = f64::from(covered) / f64::from(DRAWS);
            assert!((0.94..=0.98).contains(&share), "{percentile:?} of {count}: {share}");
        }
    }
}
