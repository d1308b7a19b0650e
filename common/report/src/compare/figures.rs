//! The statistics of two samples, each with the confidence interval of its relative change.
//!
//! All computations use logarithms, so that a relative change is a difference, and twice as slow is as far from no change as twice as fast.
//! The interval of a percentile is given by the order statistics of each sample, as in [`muster_stats::statistics::order`]: between the samples of
//! ranks `n·p ± t·√(n·p·(1 − p)·κ)`, where κ corrects for the dependence of the queries above and below the percentile (Woodruff,
//! *Confidence intervals for medians*, 1952). The intervals of both samples are combined by the method of Zou and Donner (*Construction of
//! confidence limits about effect measures*, 2008), which preserves their asymmetry. For paired rows, κ is the fraction of the variance
//! that remains after differences in cost between rows have cancelled out.

use muster_stats::latency::figure::{self, COMPARED};
use muster_stats::latency::percentile::Percentile;
use muster_stats::statistics::Confidence;
use muster_stats::statistics::dependence::COUNT_MIN;

use super::conclusion::{change, finding};
use super::design::{Design, Sample};
use crate::result::comparison::{Figure, Table};

/// Only rows that are above a percentile in one run and below it in the other determine the error of its change. In a small sample they are
/// a handful, or none by chance, so this number is added, as Agresti and Coull add four observations to a proportion (1998).
const CROSSINGS_ADDED: f64 = 4.0;

pub(super) fn table(design: &Design, each: Confidence, margin: f64) -> Table {
    let compared = |figure: &figure::Figure| {
        let values_ms = values(figure, design).map(|values| values.map(|ns| ns / 1e6));
        let interval = values_ms.and_then(|_| interval(figure.percentile, design, each));
        Figure::new(figure, values_ms, interval, margin)
    };
    Table { figures: COMPARED.map(compared).into(), worth: effective_sample_size(design) }
}

/// Returns the number of statistics that the samples support.
pub(super) fn supported(design: &Design) -> usize {
    COMPARED.into_iter().filter(|figure| is_supported(figure, design)).count()
}

/// Returns the number of samples that each run needs: enough for the statistic and for the dependence between queries.
pub(super) fn count_min(figure: &figure::Figure) -> u64 {
    figure.count_min.max(COUNT_MIN as u64)
}

impl Figure {
    /// `interval` is the interval of the logarithm of new ÷ base.
    pub(super) fn new(
        figure: &figure::Figure,
        values_ms: Option<[f64; 2]>,
        interval: Option<[f64; 2]>,
        margin: f64,
    ) -> Self {
        let [base_ms, new_ms] = values_ms.map_or([None; 2], |values| values.map(Some));
        let change = values_ms.and_then(|[base, new]| change(base, new));
        let change_ci = interval.filter(|_| change.is_some()).map(|ends| ends.map(f64::exp_m1));
        Self {
            name: figure.name.to_owned(),
            count_min: count_min(figure),
            base_ms,
            new_ms,
            difference_ms: values_ms.map(|[base, new]| new - base),
            change,
            change_ci,
            finding: finding(change, change_ci, margin),
        }
    }
}

/// Returns the effective sample sizes of base and new.
fn effective_sample_size(design: &Design) -> Option<[f64; 2]> {
    let [base, new] = [&design.base, &design.new].map(|sample| sample.mean(|ns| ns as f64));
    Some([base?.effective_sample_size(), new?.effective_sample_size()])
}

fn is_supported(figure: &figure::Figure, design: &Design) -> bool {
    design.counts().iter().all(|count| *count as u64 >= count_min(figure))
}

/// Returns the values of base and new in nanoseconds. A statistic that is not a percentile is the mean.
fn values(figure: &figure::Figure, design: &Design) -> Option<[f64; 2]> {
    if !is_supported(figure, design) {
        return None;
    }
    let [base, new] = [&design.base, &design.new].map(|sample| match figure.percentile {
        None => Some(mean(sample)),
        Some(percentile) => Some(sample.percentile(percentile)? as f64),
    });
    Some([base?, new?])
}

fn interval(percentile: Option<Percentile>, design: &Design, each: Confidence) -> Option<[f64; 2]> {
    match (percentile, &design.pairs) {
        (None, Some(_)) => mean_of_pairs(design, each),
        (None, None) => mean_of_two(design, each),
        (Some(percentile), Some(_)) => percentile_of_pairs(design, percentile, each),
        (Some(percentile), None) => percentile_of_two(design, percentile, each),
    }
}

// -- the mean ----------------------------------------------------------------------------------------------------------

fn mean(sample: &Sample) -> f64 {
    let sum: u128 = sample.times_ns.iter().map(|ns| u128::from(*ns)).sum();
    sum as f64 / sample.len() as f64
}

/// Uses the delta method for logarithms: the error of each mean relative to the mean.
fn mean_of_two(design: &Design, each: Confidence) -> Option<[f64; 2]> {
    let means = [&design.base, &design.new].map(mean);
    let [base, new] = [(&design.base, means[0]), (&design.new, means[1])]
        .map(|(sample, mean)| sample.mean(|ns| ns as f64 / mean));
    let [base, new] = [base?, new?];
    let errors = [base.error_variance(), new.error_variance()];
    let margin = each.student_quantile(welch(errors, [base.degrees_of_freedom, new.degrees_of_freedom]))
        * (errors[0] + errors[1]).sqrt();
    around((means[1] / means[0]).ln(), margin)
}

fn mean_of_pairs(design: &Design, each: Confidence) -> Option<[f64; 2]> {
    let [of_base, of_new] = [&design.base, &design.new].map(mean);
    let relative = design.of_pairs(|base, new| new as f64 / of_new - base as f64 / of_base)?;
    let error = design.mean_of_pairs(&relative)?;
    let margin = each.student_quantile(error.degrees_of_freedom) * error.error_variance().sqrt();
    around((of_new / of_base).ln(), margin)
}

/// Returns the interval `centre ± margin`; `None` if it is not finite.
pub(super) fn around(centre: f64, margin: f64) -> Option<[f64; 2]> {
    let ends = [centre - margin, centre + margin];
    ends.iter().all(|end| end.is_finite()).then_some(ends)
}

/// Returns the degrees of freedom of a sum of two errors (Welch 1947, Satterthwaite 1946).
pub(super) fn welch(errors: [f64; 2], degrees_of_freedom: [f64; 2]) -> f64 {
    let sum = errors[0] + errors[1];
    if sum == 0.0 {
        return degrees_of_freedom[0].min(degrees_of_freedom[1]);
    }
    let part = |i: usize| errors[i] * errors[i] / degrees_of_freedom[i];
    sum * sum / (part(0) + part(1))
}

// -- percentiles -------------------------------------------------------------------------------------------------------

impl Sample {
    fn percentile(&self, percentile: Percentile) -> Option<u64> {
        self.sorted_ns.get(percentile.index(self.len())?).copied()
    }

    /// Returns the margins of error of the percentile below and above, as logarithms: the distances to the samples that are `deviates`
    /// standard deviations of a binomial rank away, whose variance is `inflation` times that of independent queries. `None` if a rank is
    /// outside the sample.
    fn margins(&self, percentile: Percentile, deviates: f64, inflation: f64) -> Option<[f64; 2]> {
        let (n, p) = (self.len() as f64, percentile.fraction());
        let wanted = deviates * inflation.sqrt();
        // A distance of a few ranks is too noisy to measure; use a fraction of a longer one.
        let measured = wanted.max(Confidence::P95.normal_quantile());
        let ranks = measured * (n * p * (1.0 - p)).sqrt();
        let fraction = wanted / measured;
        let middle = logarithm(self.percentile(percentile)?);
        let [low, high] = [self.at_rank(n * p - ranks + 0.5)?, self.at_rank(n * p + ranks + 0.5)?];
        Some([(middle - low).max(0.0) * fraction, (high - middle).max(0.0) * fraction])
    }

    /// Returns the logarithm of the sample at a rank, counted from 1. Interpolates between samples, because whole ranks would make every
    /// interval wider than its confidence requires (Hettmansperger and Sheather 1986). `None` outside the sample.
    fn at_rank(&self, rank: f64) -> Option<f64> {
        let below = (rank.floor() as usize).checked_sub(1)?;
        let at = |index: usize| self.sorted_ns.get(index).copied().map(logarithm);
        let fraction = rank.fract();
        if fraction > 0.0 {
            Some(at(below)? * (1.0 - fraction) + at(below + 1)? * fraction)
        } else {
            at(below)
        }
    }

    /// Returns the standard error of the logarithm of a percentile ÷ that of the share below it, for independent queries.
    fn slope(&self, percentile: Percentile) -> Option<f64> {
        let deviates = Confidence::P95.normal_quantile();
        let [below, above] = self.margins(percentile, deviates, 1.0)?;
        let p = percentile.fraction();
        let error_of_share = (p * (1.0 - p) / self.len() as f64).sqrt();
        Some((below + above) / (2.0 * deviates) / error_of_share)
    }
}

/// A query takes more than 0 ns, but a coarse clock may measure 0.
fn logarithm(ns: u64) -> f64 {
    (ns.max(1) as f64).ln()
}

fn percentile_of_two(design: &Design, percentile: Percentile, each: Confidence) -> Option<[f64; 2]> {
    let one = |sample: &Sample| {
        let at_ns = sample.percentile(percentile)?;
        let share = sample.mean(|ns| f64::from(u8::from(ns > at_ns)))?;
        let slope = sample.slope(percentile)?;
        let p = percentile.fraction();
        let error = slope * slope * p * (1.0 - p) * share.inflation() / sample.len() as f64;
        Some((share, error))
    };
    let ((base, error_of_base), (new, error_of_new)) = (one(&design.base)?, one(&design.new)?);
    let degrees_of_freedom =
        welch([error_of_base, error_of_new], [base.degrees_of_freedom, new.degrees_of_freedom]);
    let deviates = each.student_quantile(degrees_of_freedom);
    combine(design, percentile, deviates, [base.inflation(), new.inflation()])
}

fn percentile_of_pairs(design: &Design, percentile: Percentile, each: Confidence) -> Option<[f64; 2]> {
    let [base_ns, new_ns] = [design.base.percentile(percentile)?, design.new.percentile(percentile)?];
    let [of_base, of_new] = [design.base.slope(percentile)?, design.new.slope(percentile)?];
    let above = |ns: u64, at_ns: u64| f64::from(u8::from(ns > at_ns));
    let influence = design.of_pairs(|base, new| of_new * above(new, new_ns) - of_base * above(base, base_ns));
    let error = design.mean_of_pairs(&influence?)?;
    let p = percentile.fraction();
    let of_both = of_base * of_base + of_new * of_new;
    let remaining = if of_both > 0.0 {
        let added_variance = CROSSINGS_ADDED * of_both / 2.0 / design.base.len() as f64;
        (error.long_run_variance + added_variance) / (p * (1.0 - p) * of_both)
    } else {
        1.0
    };
    combine(design, percentile, each.student_quantile(error.degrees_of_freedom), [remaining; 2])
}

/// Returns the interval of a difference from the intervals of its terms (Zou and Donner 2008, MOVER).
fn combine(design: &Design, percentile: Percentile, deviates: f64, inflations: [f64; 2]) -> Option<[f64; 2]> {
    let difference =
        logarithm(design.new.percentile(percentile)?) - logarithm(design.base.percentile(percentile)?);
    let [base_below, base_above] = design.base.margins(percentile, deviates, inflations[0])?;
    let [new_below, new_above] = design.new.margins(percentile, deviates, inflations[1])?;
    Some([difference - new_below.hypot(base_above), difference + new_above.hypot(base_below)])
}
