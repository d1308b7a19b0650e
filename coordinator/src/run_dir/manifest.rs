//! What a run was asked to do, schema `muster.run/v1`: enough to go on with it, and nothing that is secret. The database's address is
//! not in it, for it may hold a password; whoever goes on with the run names it again. Fields are only ever added.

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
    /// Of the database sessions.
    pub timezone: String,
    /// With fractions, so that 500 µs is a valid limit. `null` means no limit.
    pub timeout_ms: Option<f64>,
    pub on_agent_loss: OnAgentLoss,
    /// How long a lost agent's slot waits for another one.
    pub slot_grace_ms: f64,
    pub listen: SocketAddr,
    /// The agents that the coordinator started itself; `null` when they came from elsewhere.
    pub local: Option<LocalAgents>,
    /// Where the programs of the embedded server came from, of which nothing is left; `null` for a database of the user's own.
    pub embedded: Option<String>,
    /// What the run must reach, as typed.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// As typed; `-` for standard input.
    pub file: String,
    /// Where it can be read again. `null` for standard input, and for a path that is not UTF-8, which JSON cannot hold.
    pub path: Option<PathBuf>,
    /// Of the whole file, hexadecimal.
    pub sha256: String,
    /// Good rows.
    pub rows: u32,
    pub hosts: u32,
    /// Bad records that were left out.
    pub skipped: u64,
    /// How the file was read; read so again, every row has the same id.
    #[serde(flatten)]
    pub options: Options,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// `default` or the file it came from.
    pub name: String,
    /// As its author wrote it, with `:column` placeholders; `null` for the default one.
    pub sql: Option<String>,
    /// Its part of a mix, above 0.
    pub weight: u32,
}

/// What to do when a lost agent's slot was not taken by another one in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAgentLoss {
    /// Its hosts go to the others.
    Reassign,
    /// The run ends with a partial report.
    Fail,
    /// Until another agent comes.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAgents {
    /// Connections of each.
    pub workers: u16,
}

impl Workload {
    /// `path` as typed. A relative one means the directory that the process works in now.
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

/// The manifest as it is written: its schema first.
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

/// Read before everything else: of another schema the rest may mean anything.
#[derive(Deserialize)]
pub(super) struct Schema {
    #[serde(default)]
    pub(super) schema: String,
}
