//! Server statistics of a run: the server's counters before and after, and their differences. Pure: an agent reads the counters.

mod window;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::server_identity::ServerIdentity;
pub use window::Window;

/// Requests one more execution of a row and its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    pub number: u32,
    /// Position among the run's statements.
    pub statement: u16,
    /// The row's values in the layout of [`crate::parameters`].
    pub parameters: Bytes,
    pub timeout: Duration,
    /// The number of the row's execution, counted from 1 by statement and connection. 0 if unknown.
    pub execution: u32,
    /// The values of the preceding executions on that connection, starting with the first, if known. PostgreSQL chooses the plan of the
    /// row based on the plans of these executions.
    pub earlier: Vec<Bytes>,
}

/// The plan of one execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedPlan {
    pub lines: Vec<String>,
    /// `None` without a prepared statement, or if the server does not report it.
    pub kind: Option<PlanKind>,
}

/// The counters of a server at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsSnapshot {
    /// Identifies the server process and the database: snapshots of different ones cannot be compared.
    pub server: String,
    /// `None` if the agent does not report it.
    #[serde(default)]
    pub identity: Option<ServerIdentity>,
    pub database: DatabaseCounters,
    /// True if the server measures the time spent reading blocks (`track_io_timing`).
    pub times_reads: bool,
    /// Statement counters, or the reason why they are not available.
    pub statements: Result<Statements, String>,
    /// Hypertables, or the reason why they are unknown. Empty without TimescaleDB.
    pub hypertables: Result<Vec<Hypertable>, String>,
}

/// Counters from `pg_stat_database` for the database that the workers use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatabaseCounters {
    pub commits: u64,
    pub rollbacks: u64,
    pub blocks_hit: u64,
    pub blocks_read: u64,
    pub rows_returned: u64,
    pub rows_fetched: u64,
    pub temp_bytes: u64,
    pub deadlocks: u64,
    pub read_ns: u64,
    /// Time of the last reset as printed by the server; empty if there was none.
    pub reset: String,
}

/// Counters from `pg_stat_statements` for the statements of the run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statements {
    /// Indexed by statement; an error is the reason why the server's entry of that statement is unknown.
    pub counters: Vec<Result<StatementCounters, String>>,
    /// True if the server measures planning (`pg_stat_statements.track_planning`).
    pub times_planning: bool,
    /// Time of the last reset of all entries; empty if the server does not report it.
    pub reset: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatementCounters {
    pub calls: u64,
    pub exec_ns: u64,
    pub plans: u64,
    pub plan_ns: u64,
    pub rows: u64,
    pub blocks_hit: u64,
    pub blocks_read: u64,
    pub temp_read: u64,
    pub temp_written: u64,
    pub read_ns: u64,
}

/// A hypertable, with its chunks after the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hypertable {
    /// Its name, qualified with its schema.
    pub name: String,
    /// Number of its chunks.
    pub chunks: u64,
    /// Number of its chunks that are compressed.
    pub compressed_chunks: u64,
    /// True if compression is enabled.
    pub has_compression: bool,
}

/// The kind of plan that PostgreSQL chose for a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// Planned for the values of the row.
    Custom,
    /// Planned once for all values.
    Generic,
}
