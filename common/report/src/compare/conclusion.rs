//! What follows from the changes of the statistics: a finding for each, one for the whole comparison, and what else a reader must know.

use muster_stats::log_histogram::{FINE_BITS, LogHistogram};
use muster_stats::statistics::Confidence;

use super::input::{Options, Run, Timing};
use super::series::Timed;
use crate::result::Bins;
use crate::result::comparison::{
    Comparison, Failed, Finding, Method, RankTest, RowByRow, Rows, SCHEMA, Side, Table, Throughput,
};

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

pub(super) fn comparison(
    base: Run<'_>,
    new: Run<'_>,
    options: Options,
    measured: Measured,
    mut warnings: Vec<String>,
) -> Comparison {
    let finding = overall(&measured);
    let Measured { rows, confidence_each, service_time, response_time, row_by_row, rank_test } = measured;
    if rows.method == Method::Summaries {
        warnings.push(
            "only results were compared, not measurements: queries are assumed to be independent, which overstates the significance of a \
             difference; pass runs or run directories to compare measurements"
                .to_owned(),
        );
    }
    let is_difference = matches!(finding, Finding::Slower | Finding::Faster | Finding::Mixed);
    if is_difference && options.timing == Timing::Separate {
        warnings.push(
            "any other change between the two runs would look the same as this difference: run both again, alternating, to see \
             whether it persists"
                .to_owned(),
        );
    }
    let throughput = [base, new].map(|run| run.result.throughput_qps);
    Comparison {
        schema: SCHEMA.to_owned(),
        base: side(base),
        new: side(new),
        finding,
        confidence: Confidence::P95.get(),
        confidence_each,
        margin: options.margin,
        rows,
        service_time,
        response_time,
        row_by_row,
        rank_test,
        throughput: Throughput {
            base_qps: throughput[0],
            new_qps: throughput[1],
            change: change(throughput[0], throughput[1]),
        },
        failed: Failed { base: base.result.queries.failed, new: new.result.queries.failed },
        warnings,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn side(Run { result, samples }: Run<'_>) -> Side {
    let of_samples = samples.map(|samples| {
        let times: LogHistogram = samples.timed().iter().map(Timed::service_ns).collect();
        Bins::of(&times, FINE_BITS)
    });
    let of_result = || result.distributions.as_ref().map(|distributions| distributions.service_time.clone());
    Side {
        service_time_bins: of_samples.or_else(of_result).unwrap_or_default(),
        run_id: result.run_id.clone(),
        started_at: result.started_at.clone(),
        verdict: result.verdict.status,
        file: result.workload.file.clone(),
        agents: result.agents.len() as u64,
        workers: result.workers.len() as u64,
        completed: result.queries.completed,
        digest: result.result.digest.clone(),
        command: result.tool.command.clone(),
    }
}

impl Measured {
    /// Returns the findings of all changes that have an interval.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        let tables = [Some(&self.service_time), self.response_time.as_ref()].into_iter().flatten();
        let figures = tables.flat_map(|table| table.figures.iter().map(|figure| figure.finding));
        figures.chain(self.row_by_row.iter().map(|rows| rows.finding))
    }
}

/// Returns the overall finding.
pub(super) fn overall(measured: &Measured) -> Finding {
    let has = |wanted: Finding| measured.findings().any(|finding| finding == wanted);
    match (has(Finding::Slower), has(Finding::Faster)) {
        (true, true) => Finding::Mixed,
        (true, false) => Finding::Slower,
        (false, true) => Finding::Faster,
        (false, false) if has(Finding::Negligible) => Finding::Negligible,
        (false, false) if has(Finding::Noise) => Finding::Noise,
        (false, false) => Finding::Unsupported,
    }
}

/// Returns the relative change; `None` if the base is 0.
pub(super) fn change(base: f64, new: f64) -> Option<f64> {
    (base > 0.0).then(|| new / base - 1.0)
}

/// Classifies a change by its interval and the margin.
pub(super) fn finding(change: Option<f64>, interval: Option<[f64; 2]>, margin: f64) -> Finding {
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
