//! The search for the highest rate.

use serde::{Deserialize, Serialize};

use muster_core::search::SearchStep;

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
