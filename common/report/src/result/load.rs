//! When queries were sent, and how the connections spent their time.

use serde::{Deserialize, Serialize};

use muster_stats::latency::distribution::Latency;

/// When queries were sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Load {
    /// When a worker runs its next row.
    pub model: LoadModel,
    /// Queries per second of the whole run, as specified; `null` in a closed loop.
    pub rate: Option<String>,
    /// `uniform` or `poisson`; `null` in a closed loop.
    pub arrivals: Option<String>,
    /// Mean scheduled rate over the run, in queries per second; `null` in a closed loop.
    #[serde(default)]
    pub scheduled_qps: Option<f64>,
    /// Queries per second that ran, including failed ones; `null` in a closed loop.
    #[serde(default)]
    pub achieved_qps: Option<f64>,
    /// Pause between two queries of a worker.
    pub think_time_ms: f64,
    /// The warm-up, which is not counted, as specified: `1000 rows` or `30s`; `null` without one.
    pub warmup: Option<String>,
    /// How often every record was to run; `null` if the run had a duration.
    pub repeat: Option<u64>,
    /// Time after which no query started; `null` if the run ended after its rows.
    pub duration_ms: Option<f64>,
    /// Number of queries that were due before the end of `duration_ms`; `null` in a closed loop, without a duration, and if the run was
    /// interrupted or resumed.
    #[serde(default)]
    pub due: Option<u64>,
    /// Number of the queries counted by `due` that had not started by then. Their waiting times are in no statistic. `null` if `due` is `null`.
    #[serde(default)]
    pub not_begun: Option<u64>,
    /// Random seed (`--seed`).
    pub seed: u64,
}

impl Load {
    /// Returns `(not begun, due)` if so many due queries had not started that response times, lag and queueing are unknown. A run that
    /// keeps up has at most one waiting query for each of its `workers` when it ends.
    pub fn cut_off(&self, workers: usize) -> Option<(u64, u64)> {
        let (not_begun, due) = self.not_begun.zip(self.due)?;
        (not_begun > workers as u64 && not_begun > due / 100).then_some((not_begun, due))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoadModel {
    /// Each worker runs its next row when the previous one is finished.
    #[default]
    Closed,
    /// Rows are due at times that do not depend on when earlier queries finish.
    Open,
}

/// How the workers' connections spent the time of the run. The time of a worker ends with its last query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Utilization {
    /// Share of the workers' time in which a query was running.
    pub busy_share: f64,
    /// The same share for the busiest worker.
    pub busy_share_max: f64,
    /// Time in which workers could have run a query but did not, summed over all workers. In a closed loop it is the wall time of a worker
    /// minus its service times and think times (Little's law); with due times it is the generator delay. `null` if agents were lost or the
    /// run was resumed, because absent workers have no overhead.
    pub generator_overhead_ms: Option<f64>,
    /// Overhead ÷ (overhead + service times).
    pub generator_overhead_share: Option<f64>,
    /// The worker with the largest share, such as `slot-3/0`.
    pub generator_overhead_worst: Option<WorkerShare>,
}

/// A worker, with its share of generator overhead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkerShare {
    /// Its slot and its number within the agent: `slot-3/0`.
    pub worker: String,
    /// Its generator overhead ÷ (overhead + service times).
    pub share: f64,
}

/// Service times of the executions that PostgreSQL plans for their values, and of the later executions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EarlyExecutions {
    /// The first 5 executions on each connection.
    pub early: Latency,
    /// All later executions.
    pub later: Latency,
}

/// Service times by pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Passes {
    /// Service times of the first pass; `null` if none of its queries completed.
    pub first: Option<Latency>,
    /// Service times of the later passes; `null` if none of their queries completed.
    pub later: Option<Latency>,
}
