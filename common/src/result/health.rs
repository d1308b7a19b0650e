//! How the processes of the load generator fared, as the result has it.

use serde::{Deserialize, Serialize};

/// How a process fared. Shares are 0 to 1; `null` is what its system does not tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessHealth {
    /// The time that these figures are about.
    pub watched_ms: f64,
    /// Processors that the process may use at most: affinity, cpuset and quota.
    pub cores: f64,
    /// CPU time used ÷ CPU time that it might have used.
    pub cpu_share: Option<f64>,
    /// Of its busiest second.
    pub cpu_share_worst: Option<f64>,
    /// In seconds with a share above 0.8.
    pub cpu_hot_ms: Option<f64>,
    /// Of all processors of the machine, whoever used them.
    pub machine_busy_share: Option<f64>,
    pub machine_busy_share_worst: Option<f64>,
    /// Of the machine's CPU time, what the hypervisor gave to others.
    pub steal_share: Option<f64>,
    /// Of the time, that in which a CPU quota held threads back; 0 without a quota.
    pub throttled_share: Option<f64>,
    pub late_ms: Option<Late>,
}

/// How late threads were that were due at a known moment, in milliseconds: told as up to 25 % above the truth, but for `max`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Late {
    pub count: u64,
    pub median: f64,
    /// `null` below 44 samples.
    pub p90: Option<f64>,
    /// `null` below 90 samples.
    pub p95: Option<f64>,
    /// `null` below 459 samples.
    pub p99: Option<f64>,
    pub max: f64,
}

/// How an agent fared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentHealth {
    #[serde(flatten)]
    pub process: ProcessHealth,
    /// Waits of its workers' threads for a processor; `null` where the system does not count them.
    #[serde(default)]
    pub run_queue: Option<RunQueue>,
    /// Waits of its workers for a row that came later.
    pub starved_times: u64,
    /// Of all its workers together.
    pub starved_ms: f64,
    /// Of the time in which its workers could have run queries.
    pub starved_share: f64,
    pub starved_worst: Option<StarvedWorker>,
    /// Results that the coordinator had not yet acknowledged: the most at any time, and how many there might have been then.
    pub results_kept_max: u64,
    pub results_kept_bound: u64,
    /// The slowest beat, there and back.
    pub round_trip_max_ms: f64,
}

/// Waits of the threads that an agent's workers run on: ready to run, and every processor that they may use taken by others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunQueue {
    /// Of all its threads together.
    pub waited_ms: f64,
    /// How often one of them was given a processor.
    pub turns: u64,
    /// The service times of all queries of the same time, failed ones included.
    pub in_flight_ms: f64,
    /// Of `in_flight_ms`, up to so much was wait for a processor; 0 to 1. Waits between queries cannot be told apart and count, too.
    pub share: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StarvedWorker {
    /// Its index within the agent.
    pub worker: u64,
    pub starved_ms: f64,
}
