//! The definition of a run: parsed from the command line, stored in the manifest, in part sent to the agents, and shown in the report.
//! Contains no secrets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_core::ids::RunId;
use muster_core::placement::Method;
use muster_core::session_spec::{SessionSpec, milliseconds};
use serde::{Deserialize, Serialize};

use crate::threshold::Threshold;
use crate::workload::{Options, Workload};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    pub run_id: RunId,
    /// The command line, without secrets.
    pub command: String,
    pub workload: WorkloadSpec,
    /// Slots, 1 to [`muster_core::limits::AGENTS_MAX`].
    pub agents: u16,
    pub placement: Method,
    #[serde(flatten)]
    pub session: SessionSpec,
    pub on_agent_loss: OnAgentLoss,
    /// How long a lost agent's slot stays reserved for a replacement.
    #[serde(rename = "slot_grace_ms", with = "milliseconds")]
    pub slot_grace: Duration,
    /// The agents that the coordinator starts in its own process; `null` if the agents join from outside.
    pub local: Option<LocalAgents>,
    /// Origin of the embedded server's binaries; the server's data is not preserved. `null` if the user provides the database.
    pub embedded: Option<String>,
    /// Pass/fail thresholds as given on the command line.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
}

/// The workload file, and how it is read. Reading it again in the same way gives every row the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadSpec {
    /// File name as given on the command line; `-` for standard input.
    pub file: String,
    /// Absolute path. `null` for standard input and for a path that is not UTF-8, which JSON cannot represent.
    pub path: Option<PathBuf>,
    #[serde(flatten)]
    pub content: Content,
    #[serde(flatten)]
    pub options: Options,
}

/// What the file contained. Empty until it has been read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Content {
    /// SHA-256 of the whole file, hexadecimal.
    pub sha256: String,
    /// Number of valid rows.
    pub rows: u32,
    pub hosts: u32,
    /// Number of invalid records that were skipped.
    pub skipped: u64,
}

/// What happens if no agent takes a lost agent's slot within the grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAgentLoss {
    /// The hosts of that slot move to the remaining agents. No other host moves.
    Reassign,
    /// The run ends with a partial report.
    Fail,
    /// The other agents continue, and the run waits for a replacement without a time limit.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAgents {
    /// Connections per agent.
    pub workers: u16,
}

impl WorkloadSpec {
    /// `path` is as given on the command line. A relative path is resolved against the current directory.
    pub fn unread(path: &Path, options: Options) -> Self {
        let is_input = path.as_os_str() == "-";
        let absolute = std::path::absolute(path).ok();
        Self {
            file: path.display().to_string(),
            path: absolute.filter(|path| !is_input && path.to_str().is_some()),
            content: Content::default(),
            options,
        }
    }
}

impl Content {
    pub fn of(workload: &Workload) -> Self {
        Self {
            sha256: workload.sha256().to_owned(),
            rows: workload.rows(),
            hosts: u32::try_from(workload.hosts().len()).expect("there are no more hosts than rows"),
            skipped: workload.skipped(),
        }
    }
}
