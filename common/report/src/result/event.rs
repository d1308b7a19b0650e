//! What happened during a run.

use serde::{Deserialize, Serialize};

/// Something that happened during the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Time since the coordinator started to listen.
    pub at_ms: f64,
    /// Time since the first query was allowed to start; `null` before that, and in results of versions that did not record it.
    #[serde(default)]
    pub run_ms: Option<f64>,
    /// A plain sentence, such as `slot-3 joined: db1/4711, 1 worker`.
    pub what: String,
    /// How often it happened, if more than once; `at_ms` is the time of the first.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u64,
}

impl Event {
    pub fn once(at_ms: f64, what: String) -> Self {
        Self { at_ms, run_ms: None, what, times: once() }
    }
}

fn once() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde requires a reference")]
fn is_once(times: &u64) -> bool {
    *times == once()
}
