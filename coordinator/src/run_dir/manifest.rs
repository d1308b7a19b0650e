//! The manifest of a run: its configuration, schema `muster.run/v1`. It contains what is needed to resume the run and no secrets. It
//! does not contain the database URL, which may include a password; the user passes the URL again to resume. Fields are only added.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use muster_common::ids::RunId;
use muster_common::load::Load;
use muster_common::placement::Method;
use serde::{Deserialize, Serialize};

use crate::threshold::Threshold;
use crate::workload::{self, Options};

pub(super) const SCHEMA: &str = "muster.run/v1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub run_id: RunId,
    pub created_at: Timestamp,
    pub tool_version: String,
    /// The command line, without secrets.
    pub command: String,
    pub workload: Workload,
    /// Slots, 1 to [`muster_common::limits::AGENTS_MAX`].
    pub agents: u16,
    pub placement: Method,
    /// At least one.
    pub statements: Vec<Statement>,
    #[serde(default)]
    pub load: Load,
    /// Time zone of the database sessions.
    pub timezone: String,
    /// Query timeout. Fractional, so that 500 µs is a valid limit. `null` means no limit.
    pub timeout_ms: Option<f64>,
    pub on_agent_loss: OnAgentLoss,
    /// How long a lost agent's slot stays reserved for a replacement.
    pub slot_grace_ms: f64,
    pub listen: SocketAddr,
    /// The agents that the coordinator starts in its own process; `null` if the agents join from outside.
    pub local: Option<LocalAgents>,
    /// Origin of the embedded server's binaries; the server's data is not preserved. `null` if the user provides the database.
    pub embedded: Option<String>,
    /// Pass/fail thresholds as given on the command line.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// File name as given on the command line; `-` for standard input.
    pub file: String,
    /// Absolute path. `null` for standard input and for a path that is not UTF-8, which JSON cannot represent.
    pub path: Option<PathBuf>,
    /// SHA-256 of the whole file, hexadecimal.
    pub sha256: String,
    /// Number of valid rows.
    pub rows: u32,
    pub hosts: u32,
    /// Number of invalid records that were skipped.
    pub skipped: u64,
    /// How the file was read. Reading it again with these options gives every row the same id.
    #[serde(flatten)]
    pub options: Options,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// `default` or the name of the query file.
    pub name: String,
    /// Original text with `:column` placeholders; `null` for the default statement.
    pub sql: Option<String>,
    /// Relative weight in a mix, greater than 0.
    pub weight: u32,
}

/// Policy for a lost agent's slot that no other agent takes within the grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAgentLoss {
    /// Reassign its hosts to the other agents.
    Reassign,
    /// End the run with a partial report.
    Fail,
    /// Wait until another agent joins.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAgents {
    /// Connections per agent.
    pub workers: u16,
}

impl Workload {
    /// `path` is as given on the command line. A relative path is resolved against the current directory.
    pub fn of(workload: &workload::Workload, path: &Path, options: Options) -> Self {
        let is_input = path.as_os_str() == "-";
        let absolute = std::path::absolute(path).ok();
        Self {
            file: workload.file().to_owned(),
            path: absolute.filter(|path| !is_input && path.to_str().is_some()),
            sha256: workload.sha256().to_owned(),
            rows: workload.rows(),
            hosts: u32::try_from(workload.hosts().len()).expect("there are no more hosts than rows"),
            skipped: workload.skipped(),
            options,
        }
    }
}

/// The manifest as written to the file, with the schema first.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    schema: &'static str,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

impl<'a> Written<'a> {
    pub(super) fn new(manifest: &'a Manifest) -> Self {
        Self { schema: SCHEMA, manifest }
    }
}

/// Parsed before the other fields, whose meaning depends on the schema.
#[derive(Deserialize)]
pub(super) struct Schema {
    #[serde(default)]
    pub(super) schema: String,
}
