//! The figures of two samples side by side, each with the interval of its change.
//!
//! All is done with logarithms, so that a change is a difference and twice as slow is as far from no change as twice as fast.
//! The interval of a percentile is found by the order of each sample, as in [`crate::statistics::order`]: between the samples of ranks
//! `n·p ± t·√(n·p·(1 − p)·κ)`, where κ corrects for the dependence of the queries above and below the percentile (Woodruff, *Confidence
//! intervals for medians*, 1952). The intervals of both samples are combined as Zou and Donner do (*Construction of confidence limits about
//! effect measures*, 2008), which keeps them as lopsided as the samples are. Of paired rows κ is what is left of the variance once the
//! rows' own costs have cancelled out.

use super::design::{Design, Sample};
use super::result::{Figure, Table};
use super::{change, finding};
use crate::latency::{Percentile, samples_needed};
use crate::statistics::Confidence;
use crate::statistics::dependence::COUNT_MIN;

/// Only rows that are on one side of a percentile in one run and on the other in the other tell how unsure its change is. Of a small
/// sample they are a handful, or none by chance: so many more are taken for possible, as Agresti and Coull add four to a share (1998).
const CROSSINGS_UNSEEN: f64 = 4.0;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Mean,
    Percentile(&'static str, Percentile),
}

pub(super) const FIGURES: [Kind; 4] = [
    Kind::Percentile("median", Percentile::P50),
    Kind::Mean,
    Kind::Percentile("p95", Percentile::P95),
    Kind::Percentile("p99", Percentile::P99),
];

pub(super) fn table(design: &Design, each: Confidence, margin: f64) -> Table {
    let figure = |kind: Kind| {
        let values_ms = kind.values(design).map(|values| values.map(|ns| ns / 1e6));
        let interval = if values_ms.is_some() { kind.interval(design, each) } else { None };
        Figure::new(kind.name(), kind.count_min(), values_ms, interval, margin)
    };
    Table { figures: FIGURES.map(figure).into(), worth: worth(design) }
}

impl Figure {
    /// `interval` is one of the logarithm of new ÷ base.
    pub(super) fn new(
        name: &str,
        count_min: u64,
        values_ms: Option<[f64; 2]>,
        interval: Option<[f64; 2]>,
        margin: f64,
    ) -> Self {
        let [base_ms, new_ms] = values_ms.map_or([None; 2], |values| values.map(Some));
        let change = values_ms.and_then(|[base, new]| change(base, new));
        let change_ci = interval.filter(|_| change.is_some()).map(|ends| ends.map(f64::exp_m1));
        Self {
            name: name.to_owned(),
            count_min,
            base_ms,
            new_ms,
            difference_ms: values_ms.map(|[base, new]| new - base),
            change,
            change_ci,
            finding: finding(change, change_ci, margin),
        }
    }
}

/// How many independent queries would make the mean as sure, of base and of new.
fn worth(design: &Design) -> Option<[f64; 2]> {
    let [base, new] = [&design.base, &design.new].map(|sample| sample.mean(|ns| ns as f64));
    Some([base?.worth(), new?.worth()])
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Percentile(name, _) => name,
        }
    }

    /// Of each sample.
    fn count_min(self) -> u64 {
        let at_all = COUNT_MIN as u64;
        match self {
            Self::Mean => at_all,
            Self::Percentile(_, percentile) => samples_needed(percentile).max(at_all),
        }
    }

    pub(super) fn is_supported(self, design: &Design) -> bool {
        design.counts().iter().all(|count| *count as u64 >= self.count_min())
    }

    /// In nanoseconds, of base and of new.
    fn values(self, design: &Design) -> Option<[f64; 2]> {
        if !self.is_supported(design) {
            return None;
        }
        let [base, new] = [&design.base, &design.new].map(|sample| match self {
            Self::Mean => Some(mean(sample)),
            Self::Percentile(_, percentile) => Some(sample.percentile(percentile)? as f64),
        });
        Some([base?, new?])
    }

    fn interval(self, design: &Design, each: Confidence) -> Option<[f64; 2]> {
        match (self, &design.pairs) {
            (Self::Mean, Some(_)) => mean_of_pairs(design, each),
            (Self::Mean, None) => mean_of_two(design, each),
            (Self::Percentile(_, percentile), Some(_)) => percentile_of_pairs(design, percentile, each),
            (Self::Percentile(_, percentile), None) => percentile_of_two(design, percentile, each),
        }
    }
}

// -- the mean ----------------------------------------------------------------------------------------------------------

fn mean(sample: &Sample) -> f64 {
    let sum: u128 = sample.times_ns.iter().map(|ns| u128::from(*ns)).sum();
    sum as f64 / sample.len() as f64
}

/// By the error of each time relative to its mean (the delta method for a logarithm).
fn mean_of_two(design: &Design, each: Confidence) -> Option<[f64; 2]> {
    let means = [&design.base, &design.new].map(mean);
    let [base, new] = [(&design.base, means[0]), (&design.new, means[1])]
        .map(|(sample, mean)| sample.mean(|ns| ns as f64 / mean));
    let [base, new] = [base?, new?];
    let errors = [base.error_variance(), new.error_variance()];
    let reach = each.student_quantile(welch(errors, [base.degrees_of_freedom, new.degrees_of_freedom]))
        * (errors[0] + errors[1]).sqrt();
    about((means[1] / means[0]).ln(), reach)
}

fn mean_of_pairs(design: &Design, each: Confidence) -> Option<[f64; 2]> {
    let [of_base, of_new] = [&design.base, &design.new].map(mean);
    let relative = design.of_pairs(|base, new| new as f64 / of_new - base as f64 / of_base)?;
    let error = design.mean_of_pairs(&relative)?;
    let reach = each.student_quantile(error.degrees_of_freedom) * error.error_variance().sqrt();
    about((of_new / of_base).ln(), reach)
}

pub(super) fn about(middle: f64, reach: f64) -> Option<[f64; 2]> {
    let ends = [middle - reach, middle + reach];
    ends.iter().all(|end| end.is_finite()).then_some(ends)
}

/// Degrees of freedom of a sum of two errors (Welch 1947, Satterthwaite 1946).
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

    /// How far the percentile may be below and above the sample's, as logarithms: to the samples that are `deviates` standard deviations
    /// of a binomial rank away, of which the variance is `inflation` times that of independent queries. `None` where a rank is beyond the
    /// sample.
    fn reach(&self, percentile: Percentile, deviates: f64, inflation: f64) -> Option<[f64; 2]> {
        let (n, p) = (self.len() as f64, percentile.fraction());
        let wanted = deviates * inflation.sqrt();
        // A few ranks are too few to measure a distance by: of a longer one a part is taken.
        let measured = wanted.max(Confidence::P95.normal_quantile());
        let ranks = measured * (n * p * (1.0 - p)).sqrt();
        let part = wanted / measured;
        let middle = logarithm(self.percentile(percentile)?);
        let [low, high] = [self.at_rank(n * p - ranks + 0.5)?, self.at_rank(n * p + ranks + 0.5)?];
        Some([(middle - low).max(0.0) * part, (high - middle).max(0.0) * part])
    }

    /// The logarithm of the sample of a rank, counted from 1; between two samples it is interpolated, lest whole ranks make every interval
    /// wider than it claims to be (Hettmansperger and Sheather 1986). `None` beyond the sample.
    fn at_rank(&self, rank: f64) -> Option<f64> {
        let below = (rank.floor() as usize).checked_sub(1)?;
        let at = |index: usize| self.sorted_ns.get(index).copied().map(logarithm);
        let part = rank.fract();
        if part > 0.0 { Some(at(below)? * (1.0 - part) + at(below + 1)? * part) } else { at(below) }
    }

    /// The standard error of the logarithm of a percentile, were the queries independent, over that of the share below it.
    fn slope(&self, percentile: Percentile) -> Option<f64> {
        let deviates = Confidence::P95.normal_quantile();
        let [below, above] = self.reach(percentile, deviates, 1.0)?;
        let p = percentile.fraction();
        let error_of_share = (p * (1.0 - p) / self.len() as f64).sqrt();
        Some((below + above) / (2.0 * deviates) / error_of_share)
    }
}

/// A query takes more than no time; a clock may think otherwise.
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
    let left = if of_both > 0.0 {
        let crossing_unseen = CROSSINGS_UNSEEN * of_both / 2.0 / design.base.len() as f64;
        (error.long_run_variance + crossing_unseen) / (p * (1.0 - p) * of_both)
    } else {
        1.0
    };
    combine(design, percentile, each.student_quantile(error.degrees_of_freedom), [left; 2])
}

/// The interval of a difference from those of its parts (Zou and Donner 2008, MOVER).
fn combine(design: &Design, percentile: Percentile, deviates: f64, inflations: [f64; 2]) -> Option<[f64; 2]> {
    let difference =
        logarithm(design.new.percentile(percentile)?) - logarithm(design.base.percentile(percentile)?);
    let [base_below, base_above] = design.base.reach(percentile, deviates, inflations[0])?;
    let [new_below, new_above] = design.new.reach(percentile, deviates, inflations[1])?;
    Some([difference - new_below.hypot(base_above), difference + new_above.hypot(base_below)])
}
