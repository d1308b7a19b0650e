//! Compares two runs: by how much the new one is faster or slower, and whether the difference is more than noise.
//!
//! Differences are reported as relative changes, new ÷ base − 1, each with a confidence interval. All intervals of a comparison hold
//! simultaneously with 95 % confidence: with 95 % for each of five statistics, every fourth comparison of two equal runs would find a
//! difference. Dependence between successive queries (a busy minute, a checkpoint) is taken into account by
//! [`muster_stats::statistics::dependence`]. Changes between the two runs cannot be: a change of the machine looks like a change of the database.
//!
//! If both runs had the same workload, rows are paired by id, so that differences in cost between rows cancel out. Otherwise the runs are
//! compared as two samples. Functions of plain values: nothing is read or rendered here.

mod conclusion;
mod design;
mod environment_diff;
mod figures;
mod input;
mod rows;
mod series;
mod summaries;
#[cfg(test)]
mod tests;

pub use conclusion::Measured;
pub use input::{Options, Run, Timing};
pub use series::{Series, Timed};

use muster_stats::statistics::Confidence;

use crate::result::comparison::{Comparison, Method, Rows};
use design::Design;

/// Compares two runs.
pub fn compare(base: Run<'_>, new: Run<'_>, options: Options) -> Comparison {
    let is_same_workload = environment_diff::is_same_workload(base.result, new.result);
    let measured = match (base.samples, new.samples) {
        (Some(base), Some(new)) if is_same_workload => paired(base, new, options),
        (Some(base), Some(new)) => two_samples(base, new, options),
        _ => summaries::measured(base.result, new.result, options),
    };
    conclusion::comparison(base, new, options, measured, environment_diff::warnings(base.result, new.result))
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
    let each = Confidence::P95
        .bonferroni(tables * figures::supported(&service) + usize::from(method == Method::Paired));
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
