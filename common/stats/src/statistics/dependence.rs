//! The mean of autocorrelated measurements, its standard error and the effective sample size: a busy minute makes many queries slow, but is
//! evidence only once.
//!
//! The standard error is estimated from the means of batches of consecutive measurements. A batch preserves the dependence between them,
//! within a worker and across workers. Overlapping batches (Meketon and Schmeiser, *Overlapping batch means*, 1984) use a short series
//! better than adjacent ones. There are about thirty batches whatever the length of the series, so that each spans as much time as
//! possible; the interval uses Student's quantile because thirty are few. In a short series a batch may be shorter than the dependence
//! reaches; the missing part is added for an autoregressive process with the observed correlation between successive queries of a worker.

/// A shorter series does not show how its values depend on each other.
pub const COUNT_MIN: usize = 20;
/// Number of non-overlapping batches in a long series.
const BATCHES: usize = 30;
/// Number of batches in a short series; with fewer, Student's quantile is too wide.
const BATCHES_MIN: usize = 8;
/// Target number of queries per worker in a batch: dependence between neighbours has mostly decayed over this distance.
const BATCH_QUERIES: usize = 20;
/// Degrees of freedom of overlapping batches ÷ degrees of freedom of adjacent batches.
const OVERLAP_GAIN: f64 = 1.5;
/// Minimum number of queries per worker for which the bias of the correlation is known well enough.
const EACH_MIN: f64 = 8.0;
/// Above this correlation a series is dominated by its trend, and the correction for short batches would be unreliable.
const CORRELATION_MAX: f64 = 0.95;

/// The worker of each query of a run, in order of the queries' start times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Dense numbers: 0 to `workers - 1`.
    worker_of: Vec<u32>,
    workers: usize,
}

impl Sequence {
    /// Takes the worker number of each query, in order of the queries' start times. The numbers need not be dense.
    pub fn new(workers: impl IntoIterator<Item = u32>) -> Self {
        let mut known = std::collections::HashMap::new();
        let mut dense = |worker| {
            let next = u32::try_from(known.len()).expect("a u32 has at most 2^32 values");
            *known.entry(worker).or_insert(next)
        };
        let worker_of = workers.into_iter().map(&mut dense).collect();
        Self { worker_of, workers: known.len() }
    }

    pub fn len(&self) -> usize {
        self.worker_of.len()
    }

    pub fn is_empty(&self) -> bool {
        self.worker_of.is_empty()
    }

    /// Returns the length of a batch.
    pub fn batch(&self) -> usize {
        let count = self.len();
        let wanted = (count / BATCHES).max(BATCH_QUERIES * self.workers);
        wanted.min(count / BATCHES_MIN).max(1)
    }

    /// Returns the mean of `values` (one value per query, in this order) with its error; `None` for fewer than [`COUNT_MIN`] values.
    ///
    /// # Panics
    /// Panics if the number of values differs from the number of queries.
    pub fn mean(&self, values: &[f64]) -> Option<SeriesMean> {
        assert_eq!(values.len(), self.len(), "one value per query");
        if values.len() < COUNT_MIN {
            return None;
        }
        let (count, batch) = (values.len() as f64, self.batch());
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        // A batch with less than one query per worker shows nothing of the dependence within a worker.
        let captured =
            captured_share(self.correlation(values), (batch as f64 / self.workers as f64).max(1.0));
        Some(SeriesMean {
            mean,
            count: values.len(),
            variance,
            long_run_variance: batch_variance(values, mean, batch) / captured,
            degrees_of_freedom: OVERLAP_GAIN * (count / batch as f64 - 1.0),
        })
    }

    /// Returns the lag-1 autocorrelation of each worker's queries. Deviations from each worker's own mean underestimate it by (1 + 3ρ) ÷ n
    /// for n values (Marriott and Pope 1954; Kendall 1954); this is corrected.
    fn correlation(&self, values: &[f64]) -> f64 {
        let mut sums = vec![(0.0, 0.0); self.workers];
        for (worker, value) in self.worker_of.iter().zip(values) {
            let (sum, count) = &mut sums[*worker as usize];
            *sum += value;
            *count += 1.0;
        }
        let mut previous = vec![0.0; self.workers];
        let (mut products, mut squares) = (0.0, 0.0);
        for (worker, value) in self.worker_of.iter().zip(values) {
            let worker = *worker as usize;
            let (sum, count) = sums[worker];
            let deviation = value - sum / count;
            products += previous[worker] * deviation;
            squares += deviation * deviation;
            previous[worker] = deviation;
        }
        if squares == 0.0 {
            return 0.0;
        }
        let each = (values.len() as f64 / self.workers as f64).max(EACH_MIN);
        (each * products / squares + 1.0) / (each - 3.0)
    }
}

/// The mean of a series and its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesMean {
    pub mean: f64,
    pub count: usize,
    /// Sample variance of the values (n − 1).
    pub variance: f64,
    /// The variance that independent values would need for their mean to have the same standard error.
    pub long_run_variance: f64,
    pub degrees_of_freedom: f64,
}

impl SeriesMean {
    /// Returns the squared standard error of the mean.
    pub fn error_variance(&self) -> f64 {
        self.long_run_variance / self.count as f64
    }

    /// Returns the factor by which dependence increases the variance of the mean; 1 if the values do not vary.
    pub fn inflation(&self) -> f64 {
        if self.variance > 0.0 { self.long_run_variance / self.variance } else { 1.0 }
    }

    /// Returns the number of independent values with the same information; at most the number of values.
    pub fn effective_sample_size(&self) -> f64 {
        self.count as f64 / self.inflation().max(1.0)
    }
}

/// Returns the long-run variance per value by overlapping batch means. Every `batch` consecutive values are a batch.
fn batch_variance(values: &[f64], mean: f64, batch: usize) -> f64 {
    let count = values.len();
    let mut sum: f64 = values[..batch].iter().map(|value| value - mean).sum();
    let mut squares = sum * sum;
    for (leaving, entering) in values.iter().zip(&values[batch..]) {
        sum += entering - leaving;
        squares += sum * sum;
    }
    let batches = (count - batch + 1) as f64;
    let (count, batch) = (count as f64, batch as f64);
    // (sum ÷ batch)² × batch, with the correction of Meketon and Schmeiser for n.
    squares / batch / batches * count / (count - batch)
}

/// Returns the share of an autoregressive process's long-run variance that means of batches of length `batch` capture:
/// `1 − 2ρ ÷ (1 − ρ²) × (1 − ρᵇ) ÷ b`, the sum of its autocovariances.
fn captured_share(correlation: f64, batch: f64) -> f64 {
    let rho = correlation.clamp(0.0, CORRELATION_MAX);
    1.0 - 2.0 * rho / (1.0 - rho * rho) * (1.0 - rho.powf(batch)) / batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;
    use crate::statistics::Confidence;

    /// Values of workers in turn: each worker's own AR(1) process plus one that all workers share, which has the share `shared` of the
    /// variance 1.
    fn series(random: &mut SplitMix64, count: usize, workers: usize, rho: f64, shared: f64) -> Vec<f64> {
        let innovation = (1.0 - rho * rho).sqrt();
        let step = |state: &mut f64, random: &mut SplitMix64| {
            *state = rho * *state + innovation * random.normal();
            *state
        };
        let mut own: Vec<f64> = (0..workers).map(|_| random.normal()).collect();
        let mut common = random.normal();
        let value = |i: usize| {
            if i.is_multiple_of(workers) {
                step(&mut common, random);
            }
            shared.sqrt() * common + (1.0 - shared).sqrt() * step(&mut own[i % workers], random)
        };
        (0..count).map(value).collect()
    }

    fn round_robin(count: usize, workers: u32) -> Sequence {
        Sequence::new((0..workers).cycle().take(count))
    }

    /// Returns the percentage of 95 % intervals that miss the true mean of 0.
    fn misses(count: usize, workers: u32, rho: f64, shared: f64) -> f64 {
        const DRAWS: u32 = 2_000;
        let mut random = SplitMix64::new(count as u64 + u64::from(workers));
        let sequence = round_robin(count, workers);
        let mut missed = 0;
        for _ in 0..DRAWS {
            let values = series(&mut random, count, workers as usize, rho, shared);
            let mean = sequence.mean(&values).unwrap();
            let quantile = Confidence::P95.student_quantile(mean.degrees_of_freedom);
            missed += u32::from(mean.mean.abs() > quantile * mean.error_variance().sqrt());
        }
        100.0 * f64::from(missed) / f64::from(DRAWS)
    }

    #[test]
    fn intervals_of_independent_values_have_the_nominal_coverage() {
        for (count, workers) in [(40, 1), (200, 4), (200, 10), (1_000, 4)] {
            let missed = misses(count, workers, 0.0, 0.0);
            assert!((3.0..=7.0).contains(&missed), "{count} values, {workers} workers: {missed} %");
        }
    }

    #[test]
    fn intervals_of_dependent_values_have_the_nominal_coverage() {
        for (count, workers, rho, shared, most) in [
            (200, 1, 0.7, 0.0, 7.0),
            (1_000, 4, 0.7, 0.0, 7.0),
            (1_000, 4, 0.7, 0.5, 7.0),
            (1_000, 4, 0.7, 1.0, 7.0),
            (1_000, 10, 0.7, 0.0, 7.0),
            // Fifty and twenty queries per worker: too short a series to show all of the dependence.
            (200, 4, 0.7, 0.0, 9.0),
            (200, 10, 0.7, 0.0, 10.0),
        ] {
            let missed = misses(count, workers, rho, shared);
            assert!(missed <= most, "{count} values, {workers} workers, {shared} shared: {missed} %");
        }
    }

    /// Shows that the tests above can fail: intervals that ignore dependence miss far too often.
    #[test]
    fn intervals_that_assume_independence_miss_too_often() {
        let mut random = SplitMix64::new(1);
        let naive = (0..1_000).filter(|_| {
            let values = series(&mut random, 200, 1, 0.7, 0.0);
            let mean = round_robin(200, 1).mean(&values).unwrap();
            mean.mean.abs() > 1.96 * (mean.variance / 200.0).sqrt()
        });
        assert!(naive.count() > 300);
    }

    #[test]
    fn the_effective_sample_size_of_an_autoregression_matches_theory() {
        let mut random = SplitMix64::new(2);
        let values = series(&mut random, 200_000, 4, 0.7, 0.0);
        let mean = round_robin(200_000, 4).mean(&values).unwrap();
        // The theoretical value is (1 + ρ) ÷ (1 − ρ) = 5.7; it is estimated with 43 degrees of freedom.
        assert!((4.0..=7.5).contains(&mean.inflation()), "{mean:?}");
        assert!((mean.effective_sample_size() * mean.inflation() - 200_000.0).abs() < 1e-3, "{mean:?}");
    }

    #[test]
    fn constant_values_have_no_error() {
        let mean = round_robin(100, 3).mean(&[7.0; 100]).unwrap();
        assert_eq!((mean.mean, mean.error_variance(), mean.effective_sample_size()), (7.0, 0.0, 100.0));
    }

    #[test]
    fn too_few_values_give_no_mean() {
        assert_eq!(round_robin(COUNT_MIN - 1, 2).mean(&[1.0; COUNT_MIN - 1]), None);
        assert!(round_robin(COUNT_MIN, 2).mean(&[1.0; COUNT_MIN]).is_some());
        assert_eq!(round_robin(0, 1).mean(&[]), None);
    }

    /// There are more workers than queries in a batch.
    #[test]
    fn a_thousand_workers_with_two_queries_each_are_supported() {
        let mut random = SplitMix64::new(3);
        let values: Vec<f64> = (0..2_000).map(|_| random.normal()).collect();
        let mean = round_robin(2_000, 1_000).mean(&values).unwrap();
        assert!((0.3..=3.0).contains(&mean.inflation()), "{mean:?}");
    }

    /// Compares with a direct implementation of the definition of overlapping batch means.
    #[test]
    fn the_sliding_sum_equals_the_sum_of_each_batch() {
        let mut random = SplitMix64::new(4);
        let values: Vec<f64> = (0..97).map(|_| random.normal()).collect();
        let (n, m) = (97.0, 12.0);
        let mean = values.iter().sum::<f64>() / n;
        let deviations = values.windows(12).map(|batch| batch.iter().sum::<f64>() / m - mean);
        let expected = n * m / ((n - m + 1.0) * (n - m)) * deviations.map(|d| d * d).sum::<f64>();
        assert!((batch_variance(&values, mean, 12) - expected).abs() < 1e-9);
    }
}
