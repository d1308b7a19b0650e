//! How a run ended, and what its numbers are worth.

use serde::{Deserialize, Serialize};

/// How the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every row ran.
    Completed,
    /// Stopped by Ctrl-C or SIGTERM; the result is partial.
    Interrupted,
    /// Agents were lost, and the run could not continue without them; the result is partial.
    AgentsLost,
    /// The workload file was changed or became unreadable during the run; the result is partial.
    WorkloadUnreadable,
    /// The journal could not be written, for example because the disk was full; the result is partial.
    CannotWrite,
    /// The run has not ended: it is still in progress, or its coordinator was killed.
    Unfinished,
}

/// The verdict on the run, with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    pub status: VerdictStatus,
    /// Each is a cause with its remedy; empty if VALID.
    pub reasons: Vec<String>,
    /// The causes of the reasons, one for each, for programs.
    #[serde(default)]
    pub causes: Vec<Cause>,
}

/// The cause of a verdict that is not VALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The run ended before all rows had run.
    EndedEarly,
    /// The run was resumed by another coordinator process.
    Resumed,
    /// An agent was lost while it ran rows.
    AgentLost,
    /// Queries started late although their workers were free: the generator delay was too high.
    Lag,
    /// Workers spent too much of their time between queries.
    GeneratorOverhead,
    /// A CPU quota throttled an agent.
    AgentThrottled,
    /// The scheduling delay of an agent's threads was too high.
    AgentLate,
    /// Workers of an agent waited for a CPU during a large part of their service times.
    AgentWaited,
    /// An agent was suspended as a whole: its process or its machine was stopped.
    AgentStoodStill,
    /// An agent used most of its available CPU.
    AgentBusy,
    /// Workers had no rows to run although the run had more.
    AgentStarved,
    /// The hypervisor gave too little CPU time to an agent's machine.
    MachineStolen,
    /// The delay of the coordinator's event loop was too high.
    CoordinatorLate,
    /// An agent ran without a database.
    NoDatabase,
    /// No query completed, and some failed.
    AllFailed,
    /// Connections of the run reached different servers or databases.
    ServersDiffer,
    /// The server was restarted during the run.
    ServerRestarted,
    /// The server changed from standby to primary, or back.
    ServerRoleChanged,
    /// The version of the server or of its extension changed.
    ServerVersionChanged,
    /// Connections to the database broke and were opened again.
    Reconnected,
    /// Connections to the database broke and were not opened again.
    Disconnected,
}

/// What the figures of a run are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum VerdictStatus {
    /// No problem was detected.
    Valid,
    /// Something may have affected the figures.
    Degraded,
    /// The load generator was the bottleneck.
    Void,
}

impl VerdictStatus {
    /// As in reports and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Degraded => "DEGRADED",
            Self::Void => "VOID",
        }
    }
}

/// A condition on the figures of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Threshold {
    /// As typed.
    pub expression: String,
    /// In `unit`; for a threshold on several hosts, the value of the worst. `null` if it cannot be decided, which counts as failed.
    pub value: Option<f64>,
    /// True if the threshold was met.
    pub passed: bool,
    /// `ms`, `%`, `queries/s`, or `queries` for a count.
    #[serde(default)]
    pub unit: String,
    /// Why it cannot be decided, or which host is the worst and how many failed the threshold; otherwise `null`.
    #[serde(default)]
    pub note: Option<String>,
}
