//! The one table of statistics of a distribution of times: thresholds, objectives, comparisons and every format of a report take their
//! names, sample sizes and values from here. Pure.

use super::distribution::Latency;
use super::percentile::Percentile;

/// A named statistic of a distribution.
#[derive(Debug)]
pub struct Figure {
    /// As in thresholds and tables: `p99.9`.
    pub name: &'static str,
    /// The field of the JSON and, followed by `_ms`, the column of the CSV: `p99_9`.
    pub field: &'static str,
    pub percentile: Option<Percentile>,
    /// The least number of samples that supports the statistic. For a percentile p it is the least n with pⁿ ≤ 0.01: with 99 % confidence
    /// a sample value then lies above the true percentile.
    pub count_min: u64,
    /// The value; `None` if there are too few samples.
    pub of: fn(&Latency) -> Option<f64>,
    /// The least number of samples that supports the confidence interval. Not used for statistics without one.
    pub interval_count_min: u64,
    /// The 95 % confidence interval. `None` if there are too few samples, or if the statistic has none.
    pub interval: fn(&Latency) -> Option<[f64; 2]>,
}

pub static MIN: Figure = plain("min", 1, |latency| Some(latency.min));
pub static MEDIAN: Figure = Figure {
    // With fewer than 6 samples, the probability that all of them lie on one side of the median is above 2.5 % per side.
    interval_count_min: 6,
    ..percentile("median", "median", Percentile::P50, 1, |l| Some(l.median), |l| l.intervals.median_ci)
};
pub static MEAN: Figure = plain("mean", 1, |latency| Some(latency.mean));
pub static MAX: Figure = plain("max", 1, |latency| Some(latency.max));
pub static STDDEV: Figure = plain("stddev", 2, |latency| latency.stddev);
pub static P90: Figure = percentile("p90", "p90", Percentile::P90, 44, |l| l.p90, |l| l.intervals.p90_ci);
pub static P95: Figure = percentile("p95", "p95", Percentile::P95, 90, |l| l.p95, |l| l.intervals.p95_ci);
pub static P99: Figure = percentile("p99", "p99", Percentile::P99, 459, |l| l.p99, |l| l.intervals.p99_ci);
pub static P99_9: Figure =
    percentile("p99.9", "p99_9", Percentile::P99_9, 4_603, |l| l.p99_9, |l| l.intervals.p99_9_ci);

/// In the order of every table.
pub static ALL: [&Figure; 9] = [&MIN, &MEDIAN, &MEAN, &MAX, &STDDEV, &P90, &P95, &P99, &P99_9];
/// Those that a comparison of two runs covers. Each one more makes all intervals wider.
pub static COMPARED: [&Figure; 4] = [&MEDIAN, &MEAN, &P95, &P99];

const fn plain(name: &'static str, count_min: u64, of: fn(&Latency) -> Option<f64>) -> Figure {
    Figure {
        name,
        field: name,
        percentile: None,
        count_min,
        of,
        interval_count_min: count_min,
        interval: |_| None,
    }
}

const fn percentile(
    name: &'static str,
    field: &'static str,
    percentile: Percentile,
    count_min: u64,
    of: fn(&Latency) -> Option<f64>,
    interval: fn(&Latency) -> Option<[f64; 2]>,
) -> Figure {
    Figure {
        percentile: Some(percentile),
        field,
        interval,
        interval_count_min: count_min,
        ..plain(name, count_min, of)
    }
}

impl Figure {
    /// Returns the statistic that a bound on a time names. `p50` is another name of the median; a standard deviation is not a time that
    /// a query takes.
    pub fn named(name: &str) -> Option<&'static Self> {
        let name = if name == "p50" { MEDIAN.name } else { name };
        ALL.into_iter().find(|figure| figure.name == name && **figure != STDDEV)
    }

    /// Returns the names that [`named`](Self::named) accepts.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let names = ALL.into_iter().map(|figure| figure.name).filter(|name| *name != STDDEV.name);
        names.flat_map(|name| [Some(name), (name == MEDIAN.name).then_some("p50")]).flatten()
    }
}

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::percentile::samples_needed;

    #[test]
    fn statistics_are_found_by_their_names() {
        assert!(
            Figure::names().all(|name| {
                Figure::named(name).is_some_and(|figure| figure.name == name || name == "p50")
            })
        );
        assert!(
            Figure::named("p97").is_none()
                && Figure::named("").is_none()
                && Figure::named("stddev").is_none()
        );
        let names: Vec<&str> = Figure::names().collect();
        assert_eq!(names.join(" "), "min median p50 mean max p90 p95 p99 p99.9");
    }

    #[test]
    fn percentiles_state_the_number_of_samples_that_they_need() {
        for figure in [&P90, &P95, &P99, &P99_9] {
            assert_eq!(figure.percentile.map(samples_needed), Some(figure.count_min), "{}", figure.name);
        }
    }
}
