//! Compares two runs: by how much the new one is faster or slower, and whether the difference is more than noise.
//!
//! Differences are reported as relative changes, new ÷ base − 1, each with a confidence interval. All intervals of a comparison hold
//! simultaneously with 95 % confidence: with 95 % for each of five statistics, every fourth comparison of two equal runs would find a
//! difference. Dependence between successive queries (a busy minute, a checkpoint) is taken into account by
//! [`crate::statistics::dependence`]. Changes between the two runs cannot be: a change of the machine looks like a change of the database.
//!
//! If both runs had the same workload, rows are paired by id, so that differences in cost between rows cancel out. Otherwise the runs are
//! compared as two samples. Functions of plain values: nothing is read or rendered here.

mod design;
mod environment_diff;
mod figures;
mod result;
mod rows;
mod series;
mod summaries;
#[cfg(test)]
mod tests;

#[cfg(feature = "schema")]
pub use result::json_schema;
pub use result::{
    Comparison, Failed, Figure, Finding, Method, RankTest, RowByRow, Rows, SCHEMA, Side, SignedRankTest,
    Table, Throughput,
};
pub use series::{Series, Timed};

use crate::result::RunResult;
use crate::statistics::Confidence;
use design::Design;
use figures::FIGURES;

/// Criteria for calling a change a difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// A smaller change is negligible even if it is significant: 0.01 is 1 %.
    pub margin: f64,
    pub timing: Timing,
}

/// The order of two runs in time, which determines what else may have changed between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// One after the other.
    Separate,
    /// Their queries alternated, so any other change affected both.
    Interleaved,
}

impl Default for Options {
    /// The default margin is 1 %, because two separate runs differ by about a percent for reasons that neither of them shows.
    fn default() -> Self {
        Self { margin: 0.01, timing: Timing::Separate }
    }
}

/// One of the two runs.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub result: &'a RunResult,
    /// `None` if only its result is known.
    pub samples: Option<&'a Series>,
}

/// The part of a [`Comparison`] that is computed from measurements alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub rows: Rows,
    pub confidence_each: f64,
    pub service_time: Table,
    /// Present if a query of either run started after it was due.
    pub response_time: Option<Table>,
    pub row_by_row: Option<RowByRow>,
    pub rank_test: Option<RankTest>,
}

/// Compares two runs.
pub fn compare(base: Run<'_>, new: Run<'_>, options: Options) -> Comparison {
    let is_same_workload = environment_diff::is_same_workload(base.result, new.result);
    let measured = match (base.samples, new.samples) {
        (Some(base), Some(new)) if is_same_workload => paired(base, new, options),
        (Some(base), Some(new)) => two_samples(base, new, options),
        _ => summaries::measured(base.result, new.result, options),
    };
    result::comparison(base, new, options, measured, environment_diff::warnings(base.result, new.result))
}

/// Compares rows by id. Rows that only one of the runs has are left out.
pub fn paired(base: &Series, new: &Series, options: Options) -> Measured {
    measured(base, new, options, Method::Paired)
}

/// Compares two runs of different rows.
pub fn two_samples(base: &Series, new: &Series, options: Options) -> Measured {
    measured(base, new, options, Method::TwoSample)
}

fn measured(base: &Series, new: &Series, options: Options, method: Method) -> Measured {
    let has_lag = base.has_lag() || new.has_lag();
    let design = |time: fn(&Timed) -> u64| match method {
        Method::Paired => Design::paired(base, new, time),
        Method::TwoSample | Method::Summaries => Design::two_samples(base, new, time),
    };
    let service = design(Timed::service_ns);
    let response = has_lag.then(|| design(Timed::response_ns));
    let tables = 1 + usize::from(has_lag);
    let each = Confidence::P95.bonferroni(tables * service.figures() + usize::from(method == Method::Paired));
    let table = |design: &Design| figures::table(design, each, options.margin);
    let [in_base, in_new] = service.counts();
    Measured {
        rows: Rows {
            method,
            base: in_base as u64,
            new: in_new as u64,
            only_base: (base.len() - in_base) as u64,
            only_new: (new.len() - in_new) as u64,
        },
        confidence_each: each.get(),
        service_time: table(&service),
        response_time: response.as_ref().map(table),
        row_by_row: rows::row_by_row(&service, each, options.margin),
        rank_test: rows::rank_test(&service),
    }
}

impl Design {
    /// Returns the number of statistics that its samples support.
    fn figures(&self) -> usize {
        FIGURES.iter().filter(|figure| figure.is_supported(self)).count()
    }
}

/// Returns the relative change; `None` if the base is 0.
fn change(base: f64, new: f64) -> Option<f64> {
    (base > 0.0).then(|| new / base - 1.0)
}

/// Classifies a change by its interval and the margin.
fn finding(change: Option<f64>, interval: Option<[f64; 2]>, margin: f64) -> Finding {
    let (Some(change), Some([low, high])) = (change, interval) else { return Finding::Unsupported };
    if low <= 0.0 && high >= 0.0 {
        Finding::Noise
    } else if change.abs() < margin {
        Finding::Negligible
    } else if change > 0.0 {
        Finding::Slower
    } else {
        Finding::Faster
    }
}
