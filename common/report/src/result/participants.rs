//! Who ran the rows: agents, their workers, and the hosts that were placed on them.

use serde::{Deserialize, Serialize};

use muster_stats::latency::distribution::Latency;

use super::health::AgentHealth;

/// An agent, with the rows placed on its slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Agent {
    /// Its place in the run: `slot-3`.
    pub slot: String,
    /// The machine's host name and the agent's process id.
    pub name: String,
    /// Version of the agent.
    pub version: String,
    /// Number of its workers.
    pub workers: u64,
    /// Number of hosts placed on it.
    pub hosts: u64,
    /// Executions of the rows placed on it, over all passes and databases; if the run had a duration, those that have a result.
    pub queries: u64,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Service times of its completed queries; `null` if there are none.
    pub service_time_ms: Option<Latency>,
    /// `null` if its slot was held to the end; otherwise the reason why it was lost.
    pub lost: Option<String>,
    /// Number of hosts placed on it when the run ended; differs from `hosts` after a slot was retired.
    #[serde(default)]
    pub hosts_at_end: u64,
    /// All sessions that held the slot, in order.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// Health of the agent while it ran rows; `null` if it was not reported. With `--local` all agents are one process.
    #[serde(default)]
    pub health: Option<AgentHealth>,
}

/// One agent's session in a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// The number in the database's `application_name`: `muster:<run>:<slot>:<epoch>`.
    pub epoch: u64,
    /// The machine's host name and the agent's process id.
    pub name: String,
    /// The reason if it ended before the run did; otherwise `null`.
    pub lost: Option<String>,
}

/// One database connection of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Worker {
    /// Its slot and its number within the agent: `slot-3/0`.
    pub worker: String,
    /// Number of hosts placed on it.
    pub hosts: u64,
    /// Executions of the rows placed on it, counted as for an agent.
    pub queries: u64,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Sum of service times.
    pub busy_ms: f64,
    /// Time in which it could have run a query but did not; see `utilization`. `null` if it is `null` there.
    #[serde(default)]
    pub generator_overhead_ms: Option<f64>,
    /// Service times of its completed queries; `null` if there are none.
    pub service_time_ms: Option<Latency>,
}

/// A host, with the times of its queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Host {
    /// The value of the host column.
    pub host: String,
    /// The worker to which the host was assigned: `slot-3/0`.
    pub worker: String,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Mean service time; `null` if none of its queries completed.
    pub mean_ms: Option<f64>,
    /// Longest service time; `null` if none of its queries completed.
    pub max_ms: Option<f64>,
}

/// How hosts were assigned to workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Placement {
    /// `rendezvous` or `balanced`.
    pub method: String,
    /// Number of workers.
    pub workers: u64,
    /// Number of workers without a host.
    pub idle: u64,
    /// Rows of the busiest worker ÷ its fair share; 1 is even. 0 without rows.
    pub skew: f64,
}
