//! Health of the load generator's processes in the result.

use serde::{Deserialize, Serialize};

/// Health of a process. Shares are from 0 to 1; `null` is unknown on its system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessHealth {
    /// Time covered by these statistics.
    pub watched_ms: f64,
    /// Number of processors available to the process: the least of CPU affinity, cpuset and quota.
    pub cores: f64,
    /// CPU time used ÷ CPU time available.
    pub cpu_share: Option<f64>,
    /// CPU time used ÷ CPU time available, in its busiest second.
    pub cpu_share_worst: Option<f64>,
    /// Total time of the seconds in which it used more than 0.8 of the available CPU time.
    pub cpu_hot_ms: Option<f64>,
    /// Busy share of all processors of the machine, for all processes.
    pub machine_busy_share: Option<f64>,
    /// Busy share of all processors of the machine, in its busiest second.
    pub machine_busy_share_worst: Option<f64>,
    /// Share of the machine's CPU time that the hypervisor gave to other virtual machines.
    pub steal_share: Option<f64>,
    /// Share of the time in which a CPU quota throttled its threads; 0 without a quota.
    pub throttled_share: Option<f64>,
    pub late_ms: Option<Late>,
}

/// Scheduling delay of threads in milliseconds. Percentiles are up to 25 % above the true value; `max` is exact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Late {
    /// Number of measurements.
    pub count: u64,
    /// Half of the delays were shorter.
    pub median: f64,
    /// 90 % of the delays were shorter; `null` below 44 samples.
    pub p90: Option<f64>,
    /// 95 % of the delays were shorter; `null` below 90 samples.
    pub p95: Option<f64>,
    /// 99 % of the delays were shorter; `null` below 459 samples.
    pub p99: Option<f64>,
    /// The longest delay.
    pub max: f64,
}

/// Health of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentHealth {
    #[serde(flatten)]
    pub process: ProcessHealth,
    /// Time in which its worker threads waited for a processor; `null` if the system does not report it.
    #[serde(default)]
    pub run_queue: Option<RunQueue>,
    /// Number of times that its workers waited for a row.
    pub starved_times: u64,
    /// Time in which its workers waited for a row, summed over all of them.
    pub starved_ms: f64,
    /// The time in `starved_ms` as a share of the time in which its workers could have run queries.
    pub starved_share: f64,
    pub starved_worst: Option<StarvedWorker>,
    /// The highest number of results that the coordinator had not acknowledged.
    pub results_kept_max: u64,
    /// The limit on the number of unacknowledged results when it was highest.
    pub results_kept_bound: u64,
    /// Longest round trip of a heartbeat.
    pub round_trip_max_ms: f64,
}

/// Waits of an agent's worker threads in the run queue: ready to run, but all available processors were in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunQueue {
    /// Summed over all its threads.
    pub waited_ms: f64,
    /// How often a thread was given a processor.
    pub turns: u64,
    /// Sum of the service times of all queries in the same period, including failed ones.
    pub in_flight_ms: f64,
    /// Upper bound, 0 to 1, of the share of `in_flight_ms` that was spent waiting for a processor. It includes waits between queries, which
    /// cannot be distinguished.
    pub share: f64,
}

/// The worker that had no row for the longest time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StarvedWorker {
    /// Index of the worker within the agent.
    pub worker: u64,
    /// Time in which it had no row to run.
    pub starved_ms: f64,
}
