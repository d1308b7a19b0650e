//! A comparison as plain values: schema `muster.compare/v1`. Fields are only ever added. Times are milliseconds; a change is
//! new ÷ base − 1, so 0.05 is 5 % slower. No statistics here, no rendering.

use serde::{Deserialize, Serialize};

use super::{Measured, Options, Run, Timing, change};
use crate::result::{RunResult, VerdictStatus};
use crate::statistics::Confidence;

pub const SCHEMA: &str = "muster.compare/v1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Comparison {
    /// Always `muster.compare/v1`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    pub base: Side,
    pub new: Side,
    pub finding: Finding,
    /// Of all intervals at once.
    pub confidence: f64,
    /// Of each interval, so that all hold at once.
    pub confidence_each: f64,
    /// Changes below it are not held to be any.
    pub margin: f64,
    pub rows: Rows,
    pub service_time: Table,
    /// `null` where every query of both runs began when it was due.
    pub response_time: Option<Table>,
    /// `null` unless rows are paired.
    pub row_by_row: Option<RowByRow>,
    /// `null` where rows are paired, and without measurements.
    pub rank_test: Option<RankTest>,
    pub throughput: Throughput,
    pub failed: Failed,
    /// In what the runs differ beside their times, and what else to know: plain sentences.
    pub warnings: Vec<String>,
    pub tool_version: String,
}

/// One of the two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Side {
    pub run_id: String,
    pub started_at: Option<String>,
    pub verdict: VerdictStatus,
    /// Workload, as typed.
    pub file: String,
    pub agents: u64,
    pub workers: u64,
    pub completed: u64,
    /// 16 hexadecimal digits.
    pub digest: String,
    /// Without secrets.
    pub command: String,
}

/// What is held to be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The new run is slower, by more than noise.
    Slower,
    /// The new run is faster, by more than noise.
    Faster,
    /// Of a whole comparison: some figures are slower and some faster.
    Mixed,
    /// There is a change, and it is below the margin.
    Negligible,
    /// No change was found: the interval has 0 in it.
    Noise,
    /// There are too few queries to tell.
    Unsupported,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Each row against itself.
    Paired,
    /// The rows of one run against those of the other.
    TwoSample,
    /// The results alone; queries are taken for independent of each other.
    Summaries,
}

/// Which rows are compared. Those that failed, that may have run twice or that have no result are not among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rows {
    pub method: Method,
    pub base: u64,
    pub new: u64,
    /// Left out, because new has no time of them.
    pub only_base: u64,
    /// Left out, because base has no time of them.
    pub only_new: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Table {
    /// Median, mean, p95, p99.
    pub figures: Vec<Figure>,
    /// How many independent queries would make the means of base and of new as sure. `null` without measurements.
    pub worth: Option<[f64; 2]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Figure {
    /// `median`, `mean`, `p95` or `p99`.
    pub name: String,
    /// Queries that each run needs for it.
    pub count_min: u64,
    pub base_ms: Option<f64>,
    pub new_ms: Option<f64>,
    pub difference_ms: Option<f64>,
    pub change: Option<f64>,
    /// `[low, high]` of the change. `null` where there are too few queries.
    pub change_ci: Option<[f64; 2]>,
    pub finding: Finding,
}

/// Of each row new ÷ base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RowByRow {
    /// Of the geometric mean.
    pub change: f64,
    pub change_ci: Option<[f64; 2]>,
    pub median_change: f64,
    pub finding: Finding,
    /// `null` when no row's time differs.
    pub signed_rank: Option<SignedRankTest>,
    /// How many independent rows would make the change as sure.
    pub worth: f64,
}

/// Wilcoxon's signed-rank test of the rows' ratios.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignedRankTest {
    /// Standard deviations, were the rows independent; above 0, new is rather slower.
    pub deviate: f64,
    /// Of this test alone, corrected for dependence.
    pub p_value: f64,
}

/// The test of Mann and Whitney.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RankTest {
    /// How probable it is that a query of new takes longer than one of base.
    pub new_longer: f64,
    /// Standard deviations, were the queries independent; above 0, new is rather slower.
    pub deviate: f64,
    /// Of this test alone, corrected for dependence.
    pub p_value: f64,
}

/// Completed queries per second of wall time. One value a run, so it has no interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Throughput {
    pub base_qps: f64,
    pub new_qps: f64,
    pub change: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failed {
    pub base: u64,
    pub new: u64,
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
            "only results were compared, not measurements: queries are taken for independent, which makes a difference look surer than \
             it is; name the runs or their directories for more"
                .to_owned(),
        );
    }
    let is_difference = matches!(finding, Finding::Slower | Finding::Faster | Finding::Mixed);
    if is_difference && options.timing == Timing::Separate {
        warnings.push(
            "whatever else changed between the two runs looks the same as this difference: run both again, in turn, to see whether it stays"
                .to_owned(),
        );
    }
    let throughput = [base, new].map(|run| run.result.throughput_qps);
    Comparison {
        schema: SCHEMA.to_owned(),
        base: side(base.result),
        new: side(new.result),
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

fn side(result: &RunResult) -> Side {
    Side {
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
    /// Every statement that has an interval, by name.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        let tables = [Some(&self.service_time), self.response_time.as_ref()].into_iter().flatten();
        let figures = tables.flat_map(|table| table.figures.iter().map(|figure| figure.finding));
        figures.chain(self.row_by_row.iter().map(|rows| rows.finding))
    }
}

/// What all of it comes to.
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

impl Comparison {
    /// The new run is slower in something, by more than noise.
    pub fn is_regression(&self) -> bool {
        matches!(self.finding, Finding::Slower | Finding::Mixed)
    }
}

/// The JSON Schema of `Comparison`; committed as `docs/muster.compare.v1.schema.json`.
#[cfg(feature = "schema")]
pub fn json_schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(Comparison);
    schema.insert("$id".to_owned(), "urn:muster:compare:v1".into());
    schema.insert("title".to_owned(), "Two Muster runs compared (muster.compare/v1)".into());
    schema
}
