//! Who ran the rows: agents, their workers, and the hosts that were placed on them.

use serde::{Deserialize, Serialize};

use super::health::AgentHealth;
use crate::latency::distribution::Latency;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Agent {
    /// `slot-3`.
    pub slot: String,
    /// The machine's host name and the agent's process id.
    pub name: String,
    pub version: String,
    pub workers: u64,
    /// Number of hosts placed on it.
    pub hosts: u64,
    /// Executions of the rows placed on it, over all passes and databases; if the run had a duration, those that have a result.
    pub queries: u64,
    pub completed: u64,
    pub failed: u64,
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
    pub name: String,
    /// The reason if it ended before the run did.
    pub lost: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Worker {
    /// `slot-3/0`.
    pub worker: String,
    pub hosts: u64,
    /// As for an agent.
    pub queries: u64,
    pub completed: u64,
    pub failed: u64,
    /// Sum of service times.
    pub busy_ms: f64,
    /// Time in which it could have run a query but did not; see `utilization`. `null` if it is `null` there.
    #[serde(default)]
    pub generator_overhead_ms: Option<f64>,
    pub service_time_ms: Option<Latency>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Host {
    pub host: String,
    pub worker: String,
    pub completed: u64,
    pub failed: u64,
    /// `null` if none of its queries completed.
    pub mean_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Placement {
    /// `rendezvous` or `balanced`.
    pub method: String,
    pub workers: u64,
    /// Number of workers without a host.
    pub idle: u64,
    /// Rows of the busiest worker ÷ fair share; 1 is even. 0 without rows.
    pub skew: f64,
}
