//! Server statistics as recorded, before anything is computed from them.

use muster_core::server_side::StatsSnapshot;
use muster_report::result::PlanKind;
use serde::{Deserialize, Serialize};

/// The server statistics of a run, as recorded by the facts so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ServerStats {
    /// The snapshot before the counted rows.
    pub(crate) before: Option<StatsSnapshot>,
    /// The snapshot after the counted rows.
    pub(crate) after: Option<StatsSnapshot>,
    /// The reasons why statistics are missing.
    pub(crate) problems: Vec<String>,
    /// Slowest first.
    pub(crate) plans: Vec<Explained>,
}

/// A slow row, with its plan or the reason why the plan is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explained {
    pub(crate) row: u32,
    pub(crate) host: String,
    pub(crate) statement: u16,
    pub(crate) service_time_ns: u64,
    pub(crate) plan: Result<Vec<String>, String>,
    /// The number of the execution, counted by statement and connection; 0 where it is not known.
    #[serde(default)]
    pub(crate) execution: u32,
    #[serde(default)]
    pub(crate) kind: Option<PlanKind>,
}

impl ServerStats {
    pub(crate) fn add_snapshot(&mut self, is_last: bool, snapshot: StatsSnapshot) {
        let slot = if is_last { &mut self.after } else { &mut self.before };
        *slot = Some(snapshot);
    }
}
