//! Two runs side by side: by how much the new one is faster or slower, and whether that is more than noise.
//!
//! Differences are told as changes, new ÷ base − 1, each with an interval. All intervals of a comparison hold at once with 95 %: who
//! compares five figures at 95 % each finds a difference between a run and its like every fourth time. What links queries that follow
//! each other (a busy minute, a checkpoint) is taken into account by [`crate::statistics::dependence`]; what happened between the two runs
//! cannot be: a change of the machine looks like a change of the database.
//!
//! Rows are paired by id where both runs had the same workload: what a row costs then cancels out. Otherwise the runs are two samples.
//! Plain values in and out; nothing is read or rendered here.

mod design;
mod figures;
mod result;
mod rows;
mod series;
mod summaries;
#[cfg(test)]
mod tests;
mod unlike;

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

/// What a comparison is to hold to be a difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// A change below it is not called one, however sure it is: 0.01 is 1 %.
    pub margin: f64,
    pub timing: Timing,
}

/// How two runs are ordered in time, which shows what may have changed besides the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// One after the other.
    Separate,
    /// Their queries alternated, so any other change affected both.
    Interleaved,
}

impl Default for Options {
    /// Two runs one after the other differ by a percent for reasons that neither of them shows.
    fn default() -> Self {
        Self { margin: 0.01, timing: Timing::Separate }
    }
}

/// One of the two runs.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub result: &'a RunResult,
    /// `None` where nothing but its result is known.
    pub samples: Option<&'a Series>,
}

/// What the measurements alone say: the part of a [`Comparison`] that needs no result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub rows: Rows,
    pub confidence_each: f64,
    pub service_time: Table,
    /// Where a query of either run started after it was due.
    pub response_time: Option<Table>,
    pub row_by_row: Option<RowByRow>,
    pub rank_test: Option<RankTest>,
}

/// Compares two runs.
pub fn compare(base: Run<'_>, new: Run<'_>, options: Options) -> Comparison {
    let is_same_workload = unlike::is_same_workload(base.result, new.result);
    let measured = match (base.samples, new.samples) {
        (Some(base), Some(new)) if is_same_workload => paired(base, new, options),
        (Some(base), Some(new)) => two_samples(base, new, options),
        _ => summaries::measured(base.result, new.result, options),
    };
    result::comparison(base, new, options, measured, unlike::warnings(base.result, new.result))
}

/// Compares rows by their ids; those that only one of the runs has are left out.
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
    let each = Confidence::P95.of_each(tables * service.figures() + usize::from(method == Method::Paired));
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
    /// How many figures its samples support.
    fn figures(&self) -> usize {
        FIGURES.iter().filter(|figure| figure.is_supported(self)).count()
    }
}

/// The change from one figure to another; `None` where the base is nothing.
fn change(base: f64, new: f64) -> Option<f64> {
    (base > 0.0).then(|| new / base - 1.0)
}

/// Whether a change with its interval is one.
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
