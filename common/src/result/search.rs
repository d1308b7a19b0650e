//! The search for the highest rate.

use serde::{Deserialize, Serialize};

use crate::latency::distribution::Latency;

/// A search for the highest rate that meets an objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Search {
    /// Bounds on the response times, as typed: `p99<50ms`.
    pub objective: String,
    /// The highest rate that met the objective; `null` if none did.
    pub highest_rate: Option<f64>,
    /// True if the rate held when it was measured a second time.
    pub is_confirmed: bool,
    /// The measured rates, in the order in which they ran.
    pub steps: Vec<SearchStep>,
}

/// An open loop at one rate for some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchStep {
    /// Specified rate in queries per second.
    pub rate: f64,
    /// True if this step measures the result of the search a second time.
    pub is_confirmation: bool,
    /// How long queries were due in this step.
    pub duration_ms: f64,
    /// Completed queries per second.
    pub achieved_rate: f64,
    /// Number of queries that were due during the step.
    pub due: u64,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Service times of completed queries.
    pub service_time_ms: Option<Latency>,
    /// Service time plus lag.
    pub response_time_ms: Option<Latency>,
    /// Start minus due time.
    pub lag_ms: Option<Latency>,
    /// The part of lag that is the load generator's own delay.
    #[serde(default)]
    pub generator_delay_ms: Option<Latency>,
    /// True if the objective was met.
    pub holds: bool,
    /// Why the objective was not met; `null` if it was.
    pub reason: Option<String>,
}
