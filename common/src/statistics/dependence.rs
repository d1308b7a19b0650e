//! What a series of measurements is worth whose values depend on those before: a busy minute makes many queries slow, and counts once.
//!
//! The error of a mean is estimated from the means of batches of neighbours in time, which keep whatever links neighbours, be it within a
//! worker or across all of them. Overlapping batches (Meketon and Schmeiser, *Overlapping batch means*, 1984) make more of a short series
//! than batches side by side. There are about thirty, however long the series is, so that each spans as much time as can be, and the
//! interval takes Student's quantile for so few. Of a short series they are shorter than the dependence may reach; what that leaves out
//! is put back for an autoregression with the observed correlation between one query of a worker and its next.

/// Values of a shorter series tell nothing of how they depend on each other.
pub const COUNT_MIN: usize = 20;
/// Batches of a long series, side by side.
const BATCHES: usize = 30;
/// Batches of a short series; fewer make Student's quantile too wide.
const BATCHES_MIN: usize = 8;
/// Queries of each worker that a batch wants: dependence between neighbours has mostly died out within it.
const BATCH_QUERIES: usize = 20;
/// Degrees of freedom of overlapping batches, for one of batches side by side.
const OVERLAP_GAIN: f64 = 1.5;
/// Queries of each worker for which the bias of a correlation is known well enough.
const EACH_MIN: f64 = 8.0;
/// Beyond it a series is all trend, and the correction for short batches would be a guess.
const CORRELATION_MAX: f64 = 0.95;

/// Which worker ran each query of a run, in the order in which they began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Dense: 0 to `workers - 1`.
    worker_of: Vec<u32>,
    workers: usize,
}

impl Sequence {
    /// From the queries' workers, by whatever numbers, in the order in which the queries began.
    pub fn new(workers: impl IntoIterator<Item = u32>) -> Self {
        let mut known = std::collections::HashMap::new();
        let mut dense = |worker| {
            let next = u32::try_from(known.len()).expect("as many as there are 32-bit numbers at most");
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

    /// How long a batch is.
    pub fn batch(&self) -> usize {
        let count = self.len();
        let wanted = (count / BATCHES).max(BATCH_QUERIES * self.workers);
        wanted.min(count / BATCHES_MIN).max(1)
    }

    /// What `values`, one a query in this order, say of their mean; `None` for fewer than [`COUNT_MIN`].
    ///
    /// # Panics
    /// When there are not as many values as queries.
    pub fn mean(&self, values: &[f64]) -> Option<SeriesMean> {
        assert_eq!(values.len(), self.len(), "one value a query");
        if values.len() < COUNT_MIN {
            return None;
        }
        let (count, batch) = (values.len() as f64, self.batch());
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        // A batch that has not even one query of each worker shows nothing of what links a worker's queries.
        let left = share_left(self.correlation(values), (batch as f64 / self.workers as f64).max(1.0));
        Some(SeriesMean {
            mean,
            count: values.len(),
            variance,
            long_run_variance: batch_variance(values, mean, batch) / left,
            degrees_of_freedom: OVERLAP_GAIN * (count / batch as f64 - 1.0),
        })
    }

    /// Between one query of a worker and its next, about each worker's own mean, which makes it too small: of n values by
    /// (1 + 3ρ) ÷ n (Marriott and Pope 1954; Kendall 1954), and that is put back.
    fn correlation(&self, values: &[f64]) -> f64 {
        let mut sums = vec![(0.0, 0.0); self.workers];
        for (worker, value) in self.worker_of.iter().zip(values) {
            let (sum, count) = &mut sums[*worker as usize];
            *sum += value;
            *count += 1.0;
        }
        let mut before = vec![0.0; self.workers];
        let (mut products, mut squares) = (0.0, 0.0);
        for (worker, value) in self.worker_of.iter().zip(values) {
            let worker = *worker as usize;
            let (sum, count) = sums[worker];
            let deviation = value - sum / count;
            products += before[worker] * deviation;
            squares += deviation * deviation;
            before[worker] = deviation;
        }
        if squares == 0.0 {
            return 0.0;
        }
        let each = (values.len() as f64 / self.workers as f64).max(EACH_MIN);
        (each * products / squares + 1.0) / (each - 3.0)
    }
}

/// The mean of a series, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesMean {
    pub mean: f64,
    pub count: usize,
    /// Of the values (n − 1).
    pub variance: f64,
    /// What the variance would have to be for as many independent values to have a mean as unsure as this.
    pub long_run_variance: f64,
    pub degrees_of_freedom: f64,
}

impl SeriesMean {
    /// Squared standard error of the mean.
    pub fn error_variance(&self) -> f64 {
        self.long_run_variance / self.count as f64
    }

    /// How many times more unsure the mean is than that of independent values; 1 where nothing varies.
    pub fn inflation(&self) -> f64 {
        if self.variance > 0.0 { self.long_run_variance / self.variance } else { 1.0 }
    }

    /// As many independent values would say as much: the effective sample size. Never more than there are.
    pub fn worth(&self) -> f64 {
        self.count as f64 / self.inflation().max(1.0)
    }
}

/// Overlapping batch means: the variance of a batch's mean about the whole one, for one value. Every run of `batch` neighbours is a batch.
fn batch_variance(values: &[f64], mean: f64, batch: usize) -> f64 {
    let count = values.len();
    let mut sum: f64 = values[..batch].iter().map(|value| value - mean).sum();
    let mut squares = sum * sum;
    for (leaving, coming) in values.iter().zip(&values[batch..]) {
        sum += coming - leaving;
        squares += sum * sum;
    }
    let batches = (count - batch + 1) as f64;
    let (count, batch) = (count as f64, batch as f64);
    // (sum ÷ batch)² × batch, with Meketon and Schmeiser's correction for n.
    squares / batch / batches * count / (count - batch)
}

/// The share of an autoregression's long-run variance that the means of batches of so many of its values show:
/// `1 − 2ρ ÷ (1 − ρ²) × (1 − ρᵇ) ÷ b`, by summing its autocovariances.
fn share_left(correlation: f64, batch: f64) -> f64 {
    let rho = correlation.clamp(0.0, CORRELATION_MAX);
    1.0 - 2.0 * rho / (1.0 - rho * rho) * (1.0 - rho.powf(batch)) / batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Confidence;
    use crate::statistics::random::Random;

    /// An autoregression of each worker, in turn, of deviation 1; and one that all of them share, to this share of the variance.
    fn series(random: &mut Random, count: usize, workers: usize, rho: f64, shared: f64) -> Vec<f64> {
        let fresh = (1.0 - rho * rho).sqrt();
        let step = |state: &mut f64, random: &mut Random| {
            *state = rho * *state + fresh * random.normal();
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

    fn in_turn(count: usize, workers: u32) -> Sequence {
        Sequence::new((0..workers).cycle().take(count))
    }

    /// How many of a hundred 95 % intervals miss the true mean of 0.
    fn misses(count: usize, workers: u32, rho: f64, shared: f64) -> f64 {
        const DRAWS: u32 = 2_000;
        let mut random = Random::new(count as u64 + u64::from(workers));
        let sequence = in_turn(count, workers);
        let mut missed = 0;
        for _ in 0..DRAWS {
            let values = series(&mut random, count, workers as usize, rho, shared);
            let mean = sequence.mean(&values).unwrap();
            let reach = Confidence::P95.student_quantile(mean.degrees_of_freedom);
            missed += u32::from(mean.mean.abs() > reach * mean.error_variance().sqrt());
        }
        100.0 * f64::from(missed) / f64::from(DRAWS)
    }

    #[test]
    fn independent_values_have_the_intervals_that_they_deserve() {
        for (count, workers) in [(40, 1), (200, 4), (200, 10), (1_000, 4)] {
            let missed = misses(count, workers, 0.0, 0.0);
            assert!((3.0..=7.0).contains(&missed), "{count} values, {workers} workers: {missed} %");
        }
    }

    #[test]
    fn dependence_is_not_taken_for_evidence() {
        for (count, workers, rho, shared, most) in [
            (200, 1, 0.7, 0.0, 7.0),
            (1_000, 4, 0.7, 0.0, 7.0),
            (1_000, 4, 0.7, 0.5, 7.0),
            (1_000, 4, 0.7, 1.0, 7.0),
            (1_000, 10, 0.7, 0.0, 7.0),
            // Fifty queries a worker, and twenty: too short a series to see all of it.
            (200, 4, 0.7, 0.0, 9.0),
            (200, 10, 0.7, 0.0, 10.0),
        ] {
            let missed = misses(count, workers, rho, shared);
            assert!(missed <= most, "{count} values, {workers} workers, {shared} shared: {missed} %");
        }
    }

    /// As many intervals that take the values for independent miss: the tests above could fail.
    #[test]
    fn the_naive_interval_would_fail_those_tests() {
        let mut random = Random::new(1);
        let naive = (0..1_000).filter(|_| {
            let values = series(&mut random, 200, 1, 0.7, 0.0);
            let mean = in_turn(200, 1).mean(&values).unwrap();
            mean.mean.abs() > 1.96 * (mean.variance / 200.0).sqrt()
        });
        assert!(naive.count() > 300);
    }

    #[test]
    fn the_worth_of_an_autoregression_is_what_theory_says() {
        let mut random = Random::new(2);
        let values = series(&mut random, 200_000, 4, 0.7, 0.0);
        let mean = in_turn(200_000, 4).mean(&values).unwrap();
        // (1 + ρ) ÷ (1 − ρ), estimated with 43 degrees of freedom.
        assert!((4.0..=7.5).contains(&mean.inflation()), "{mean:?}");
        assert!((mean.worth() * mean.inflation() - 200_000.0).abs() < 1e-3, "{mean:?}");
    }

    #[test]
    fn values_that_do_not_vary_are_sure() {
        let mean = in_turn(100, 3).mean(&[7.0; 100]).unwrap();
        assert_eq!((mean.mean, mean.error_variance(), mean.worth()), (7.0, 0.0, 100.0));
    }

    #[test]
    fn too_few_values_say_nothing() {
        assert_eq!(in_turn(COUNT_MIN - 1, 2).mean(&[1.0; COUNT_MIN - 1]), None);
        assert!(in_turn(COUNT_MIN, 2).mean(&[1.0; COUNT_MIN]).is_some());
        assert_eq!(in_turn(0, 1).mean(&[]), None);
    }

    /// More workers than a batch has queries.
    #[test]
    fn a_thousand_workers_with_two_queries_each_are_no_matter() {
        let mut random = Random::new(3);
        let values: Vec<f64> = (0..2_000).map(|_| random.normal()).collect();
        let mean = in_turn(2_000, 1_000).mean(&values).unwrap();
        assert!((0.3..=3.0).contains(&mean.inflation()), "{mean:?}");
    }

    /// The definition of overlapping batch means, written down as slowly as possible.
    #[test]
    fn the_sliding_sum_is_the_sum_of_each_batch() {
        let mut random = Random::new(4);
        let values: Vec<f64> = (0..97).map(|_| random.normal()).collect();
        let (n, m) = (97.0, 12.0);
        let mean = values.iter().sum::<f64>() / n;
        let deviations = values.windows(12).map(|batch| batch.iter().sum::<f64>() / m - mean);
        let slow = n * m / ((n - m + 1.0) * (n - m)) * deviations.map(|d| d * d).sum::<f64>();
        assert!((batch_variance(&values, mean, 12) - slow).abs() < 1e-9);
    }
}
