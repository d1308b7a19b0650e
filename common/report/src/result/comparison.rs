//! The result of a comparison as plain values, schema `muster.compare/v1`. Fields are only added, never removed. Times are in milliseconds.
//! A change is new ÷ base − 1, so 0.05 means 5 % slower. Contains no statistics and no rendering.

use serde::{Deserialize, Serialize};

use super::series::Bins;
use super::verdict::VerdictStatus;

pub const SCHEMA: &str = "muster.compare/v1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Comparison {
    /// Always `muster.compare/v1`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    /// The baseline.
    pub base: Side,
    /// The run that is compared with the baseline.
    pub new: Side,
    /// The conclusion of the whole comparison.
    pub finding: Finding,
    /// Simultaneous confidence of all intervals.
    pub confidence: f64,
    /// Confidence of each interval, chosen so that all hold simultaneously.
    pub confidence_each: f64,
    /// Changes below this margin are negligible.
    pub margin: f64,
    pub rows: Rows,
    /// Statistics of the service times.
    pub service_time: Table,
    /// Statistics of the response times; `null` if every query of both runs began when it was due.
    pub response_time: Option<Table>,
    /// Statistics of the change of each row; `null` unless rows are paired.
    pub row_by_row: Option<RowByRow>,
    /// Mann-Whitney U test of the times of both runs; `null` if rows are paired or measurements are missing.
    pub rank_test: Option<RankTest>,
    pub throughput: Throughput,
    pub failed: Failed,
    /// Differences between the runs other than their times, and other warnings, as plain sentences.
    pub warnings: Vec<String>,
    /// Version of Muster.
    pub tool_version: String,
}

/// One of the two runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Side {
    /// Id of the run.
    pub run_id: String,
    /// When the first query was allowed to start: RFC 3339, UTC. `null` if the run never started.
    pub started_at: Option<String>,
    /// The verdict of the run.
    pub verdict: VerdictStatus,
    /// Workload file as typed.
    pub file: String,
    /// Number of agents.
    pub agents: u64,
    /// Number of workers.
    pub workers: u64,
    /// Completed queries.
    pub completed: u64,
    /// Digest of the result rows, 16 hexadecimal digits.
    pub digest: String,
    /// Command line without secrets.
    pub command: String,
    /// Bins of the compared service times, at most 1 % wide; empty in comparisons of versions that did not record them.
    #[serde(default)]
    pub service_time_bins: Bins,
}

/// The conclusion about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The new run is slower, by more than noise.
    Slower,
    /// The new run is faster, by more than noise.
    Faster,
    /// Only for a whole comparison: some statistics are slower and some are faster.
    Mixed,
    /// There is a significant change, but it is below the margin.
    Negligible,
    /// No significant change: the interval contains 0.
    Noise,
    /// There are too few queries.
    Unsupported,
}

/// How the rows of two runs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Each row is compared with itself.
    Paired,
    /// The rows of one run are compared with those of the other as two samples.
    TwoSample,
    /// Only the results are compared; queries are assumed to be independent of each other.
    Summaries,
}

/// The compared rows. Rows that failed, may have run twice or have no result are not included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rows {
    /// How rows were compared.
    pub method: Method,
    /// Rows of the baseline that were compared.
    pub base: u64,
    /// Rows of the new run that were compared.
    pub new: u64,
    /// Rows left out because new has no time for them.
    pub only_base: u64,
    /// Rows left out because base has no time for them.
    pub only_new: u64,
}

/// Statistics of one kind of time in both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Table {
    /// Median, mean, p95, p99.
    pub figures: Vec<Figure>,
    /// Effective sample sizes of base and new: the number of independent queries whose mean has the same error. `null` without
    /// measurements.
    pub worth: Option<[f64; 2]>,
}

/// One statistic in both runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Figure {
    /// `median`, `mean`, `p95` or `p99`.
    pub name: String,
    /// Number of queries that each run needs.
    pub count_min: u64,
    /// Value of the baseline; `null` if there are too few queries.
    pub base_ms: Option<f64>,
    /// Value of the new run; `null` if there are too few queries.
    pub new_ms: Option<f64>,
    /// New − base; `null` if either is `null`.
    pub difference_ms: Option<f64>,
    /// New ÷ base − 1; `null` if either is `null`.
    pub change: Option<f64>,
    /// `[low, high]` of the change. `null` if there are too few queries.
    pub change_ci: Option<[f64; 2]>,
    /// The conclusion about this figure.
    pub finding: Finding,
}

/// Statistics of the ratio new ÷ base of each row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RowByRow {
    /// Change of the geometric mean.
    pub change: f64,
    /// `[low, high]` of the change. `null` if there are too few rows.
    pub change_ci: Option<[f64; 2]>,
    /// Median of the changes of all rows.
    pub median_change: f64,
    /// The conclusion about this change.
    pub finding: Finding,
    /// Wilcoxon signed-rank test of the ratios; `null` if no row's time differs.
    pub signed_rank: Option<SignedRankTest>,
    /// Effective sample size: the number of independent rows whose mean has the same error.
    pub worth: f64,
    /// Histogram of the changes of all rows, each bin as `[from, to, count]`. The first and the last bin contain all rows beyond them, too.
    #[serde(default)]
    pub changes: Bins,
}

/// Wilcoxon signed-rank test of the rows' ratios.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignedRankTest {
    /// Deviation in standard deviations for independent rows; above 0, new tends to be slower.
    pub deviate: f64,
    /// P-value of this test alone, corrected for dependence.
    pub p_value: f64,
}

/// Mann-Whitney U test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RankTest {
    /// Probability that a query of new takes longer than one of base.
    pub new_longer: f64,
    /// Deviation in standard deviations for independent queries; above 0, new tends to be slower.
    pub deviate: f64,
    /// P-value of this test alone, corrected for dependence.
    pub p_value: f64,
}

/// Completed queries per second of wall time. There is one value per run, so it has no interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Throughput {
    /// Throughput of the baseline.
    pub base_qps: f64,
    /// Throughput of the new run.
    pub new_qps: f64,
    /// New ÷ base − 1; `null` if the throughput of base is 0.
    pub change: Option<f64>,
}

/// Numbers of failed queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failed {
    /// Failed queries of the baseline.
    pub base: u64,
    /// Failed queries of the new run.
    pub new: u64,
}

impl Comparison {
    /// Returns true if the new run is slower in any statistic, by more than noise.
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
