//! Histograms with logarithmic bins, which can be merged: for latencies over time and for plots. The percentiles of a run are not computed
//! from them: see [`crate::latency`].

use crate::latency::{Intervals, Percentile, Summary, samples_needed};
use crate::statistics::{Confidence, order};

/// Each power of two is divided into this many bins, as a power of two, so a bin is at most 1/128 = 0.8 % wide.
pub const FINE_BITS: u32 = 7;
/// As [`FINE_BITS`], for plots that need few bins: at most 1/16 = 6 % wide. Each bin is a number of whole fine bins.
pub const COARSE_BITS: u32 = 4;

/// Returns the number of the bin of a value, counted from the bin of 0. Values below 2^`bits` have a bin each. Above, each power of two is
/// divided into 2^`bits` equal bins, as in HdrHistogram.
fn bin_of(value: u64, bits: u32) -> usize {
    let shift = (value | 1).ilog2().saturating_sub(bits);
    ((shift as usize) << bits) + (value >> shift) as usize
}

/// Returns the least value of a bin, or `u64::MAX` above the last bin.
fn least_of(bin: usize, bits: u32) -> u64 {
    let power = (bin >> bits).saturating_sub(1);
    let significant = (bin - (power << bits)) as u64;
    significant.checked_shl(power as u32).filter(|least| least >> power == significant).unwrap_or(u64::MAX)
}

/// Counts of times in nanoseconds, in fine bins. It takes four bytes for each bin between the least and the greatest time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogHistogram {
    /// The number of the first bin in `counts`.
    first: usize,
    counts: Vec<u32>,
    count: u64,
    max: u64,
}

/// A bin with its count: times from `from_ns` to below `to_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    pub from_ns: u64,
    pub to_ns: u64,
    pub count: u64,
}

impl LogHistogram {
    pub fn record(&mut self, value_ns: u64) {
        self.add(bin_of(value_ns, FINE_BITS), 1);
        self.max = self.max.max(value_ns);
    }

    pub fn merge(&mut self, other: &Self) {
        let Self { first, counts, count: _, max } = other;
        let filled = (*first..).zip(counts).filter(|(_, count)| **count > 0);
        filled.for_each(|(bin, count)| self.add(bin, *count));
        self.max = self.max.max(*max);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the greatest time, exactly; `None` if the histogram is empty.
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// Returns the nearest-rank percentile, rounded to the middle of its bin; `None` if the histogram is empty.
    pub fn percentile(&self, percentile: Percentile) -> Option<u64> {
        self.at_rank(percentile.rank(self.count)?)
    }

    /// Returns the summary of the times, each rounded to the middle of its bin; `None` if the histogram is empty. For a run in progress:
    /// the summary of a finished one is exact.
    pub fn summary(&self) -> Option<Summary> {
        let middles = || self.bins(FINE_BITS).map(|bin| (bin.from_ns.midpoint(bin.to_ns - 1), bin.count));
        let sum_ns: u128 = middles().map(|(ns, count)| u128::from(ns) * u128::from(count)).sum();
        let mean_ns = sum_ns as f64 / self.count as f64;
        let squares: f64 = middles().map(|(ns, count)| (ns as f64 - mean_ns).powi(2) * count as f64).sum();
        let supported =
            |percentile| self.percentile(percentile).filter(|_| self.count >= samples_needed(percentile));
        let interval = |percentile| {
            let (low, high) =
                order::enclosing_ranks(usize::try_from(self.count).ok()?, percentile, Confidence::P95)?;
            Some([self.at_rank(low as u64)?, self.at_rank(high as u64)?])
        };
        let supported_interval = |percentile| supported(percentile).and_then(|_| interval(percentile));
        Some(Summary {
            count: self.count,
            sum_ns,
            min_ns: self.at_rank(1)?,
            median_ns: self.percentile(Percentile::P50)?,
            mean_ns,
            max_ns: self.max()?,
            stddev_ns: (self.count > 1).then(|| (squares / (self.count - 1) as f64).sqrt()),
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

    /// The time at a rank, counted from 1, rounded to the middle of its bin.
    fn at_rank(&self, rank: u64) -> Option<u64> {
        let mut below = 0;
        let bin = (self.first..).zip(&self.counts).find_map(|(bin, count)| {
            below += u64::from(*count);
            (below >= rank).then_some(bin)
        })?;
        let last = least_of(bin + 1, FINE_BITS) - 1;
        Some(least_of(bin, FINE_BITS).midpoint(last).min(self.max))
    }

    /// Iterates over the filled bins in ascending order, in bins of [`FINE_BITS`] or fewer bits.
    pub fn bins(&self, bits: u32) -> impl Iterator<Item = Bin> {
        let filled = (self.first..).zip(&self.counts).filter(|(_, count)| **count > 0);
        let mut filled = filled
            .map(move |(bin, count)| (bin_of(least_of(bin, FINE_BITS), bits), u64::from(*count)))
            .peekable();
        std::iter::from_fn(move || {
            let (bin, mut count) = filled.next()?;
            while let Some((_, more)) = filled.next_if(|(next, _)| *next == bin) {
                count += more;
            }
            Some(Bin { from_ns: least_of(bin, bits), to_ns: least_of(bin + 1, bits), count })
        })
    }

    fn add(&mut self, bin: usize, count: u32) {
        if self.counts.is_empty() {
            self.first = bin;
        } else if bin < self.first {
            self.counts.splice(0..0, std::iter::repeat_n(0, self.first - bin));
            self.first = bin;
        }
        let at = bin - self.first;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] = self.counts[at].saturating_add(count);
        self.count += u64::from(count);
    }
}

impl FromIterator<u64> for LogHistogram {
    fn from_iter<I: IntoIterator<Item = u64>>(values_ns: I) -> Self {
        let mut histogram = Self::default();
        values_ns.into_iter().for_each(|value_ns| histogram.record(value_ns));
        histogram
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0..64u32).prop_flat_map(|bits| 0..=u64::MAX >> bits), 1..200)
    }

    #[test]
    fn bins_of_small_and_greatest_values_are_as_in_hdr_histogram() {
        let check = |value, from_ns, to_ns| {
            let bins: Vec<Bin> = LogHistogram::from_iter([value]).bins(FINE_BITS).collect();
            assert_eq!(bins, [Bin { from_ns, to_ns, count: 1 }], "{value}");
        };
        check(0, 0, 1);
        check(127, 127, 128);
        check(255, 255, 256);
        check(257, 256, 258);
        check(1_000_000, 999_424, 1_003_520);
        check(u64::MAX, 255 << 56, u64::MAX);
    }

    proptest! {
        #[test]
        fn every_value_is_in_a_narrow_bin(value: u64, bits in prop::sample::select(vec![FINE_BITS, COARSE_BITS])) {
            let bin = bin_of(value, bits);
            let (least, next) = (least_of(bin, bits), least_of(bin + 1, bits));
            prop_assert!(least <= value && (value < next || next == u64::MAX));
            let width = next - least;
            prop_assert!(width == 1 || width <= (least >> bits) + 1, "{least} {width}");
        }

        #[test]
        fn merged_histograms_equal_the_histogram_of_all_values(left in times(), right in times()) {
            let mut merged = LogHistogram::from_iter(left.iter().copied());
            merged.merge(&LogHistogram::from_iter(right.iter().copied()));
            let all = LogHistogram::from_iter(right.into_iter().chain(left));
            prop_assert_eq!(&merged, &all);
            let counted: u64 = all.bins(COARSE_BITS).map(|bin| bin.count).sum();
            prop_assert_eq!(counted, all.count());
            prop_assert!(all.bins(COARSE_BITS).is_sorted_by(|a, b| a.to_ns <= b.from_ns));
        }

        #[test]
        fn percentiles_are_within_half_a_bin_of_the_exact_ones(mut values in times()) {
            let histogram = LogHistogram::from_iter(values.iter().copied());
            values.sort_unstable();
            for percentile in [Percentile::P50, Percentile::P95, Percentile::P99] {
                let exact = values[percentile.index(values.len()).unwrap()];
                let found = histogram.percentile(percentile).unwrap();
                prop_assert!(found.abs_diff(exact) <= exact / 256 + 1, "{found} {exact}");
            }
            prop_assert_eq!(histogram.max(), values.last().copied());
            let summary = histogram.summary().unwrap();
            prop_assert_eq!(summary.count, values.len() as u64);
            let sum: u128 = values.iter().copied().map(u128::from).sum();
            prop_assert!(summary.sum_ns.abs_diff(sum) <= sum / 256 + u128::from(summary.count));
        }
    }
}
