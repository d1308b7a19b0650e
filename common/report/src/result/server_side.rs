//! Server statistics of a run in the result: what PostgreSQL counted while the counted rows ran, and the plans of the slowest rows.

pub use muster_core::server_side::{Hypertable, PlanKind};
use serde::{Deserialize, Serialize};

/// Server statistics. Counters are differences: after the counted rows minus before them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerSide {
    /// Reasons why statistics are missing or doubtful, as plain sentences.
    pub notes: Vec<String>,
    /// From `pg_stat_statements`, in the order of the run's statements; statements without a known entry are left out.
    pub statements: Vec<ServerStatement>,
    /// From `pg_stat_database`: all activity in this database, including other clients; `null` if it could not be read.
    pub database: Option<ServerDatabase>,
    /// TimescaleDB hypertables that a statement names.
    pub hypertables: Vec<Hypertable>,
    /// Plans of the slowest rows, slowest first (`--explain-slowest`).
    pub plans: Vec<Plan>,
}

/// One statement as measured by the server and by the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerStatement {
    /// Name of the statement, as in `statements`.
    pub name: String,
    /// Executions that the server counted.
    pub calls: u64,
    /// Executions that the run completed.
    pub completed: u64,
    /// Rows returned or written.
    pub rows: u64,
    /// Sum of the execution times by the server's clock.
    pub total_exec_time_ms: f64,
    /// Mean execution time by the server's clock; `null` without calls.
    pub mean_exec_time_ms: Option<f64>,
    /// Mean planning time by the server's clock; `null` unless `pg_stat_statements.track_planning` is on.
    pub mean_plan_time_ms: Option<f64>,
    /// Mean service time of the same statement; `null` if none completed.
    pub client_mean_ms: Option<f64>,
    /// Client mean minus server mean: network, protocol, parsing, the client, and planning unless it is measured.
    pub between_ms: Option<f64>,
    /// Blocks of 8 kB found in shared buffers.
    pub blocks_hit: u64,
    /// Blocks read from the operating system or the disk.
    pub blocks_read: u64,
    /// Hit ÷ (hit + read); `null` without block accesses.
    pub hit_share: Option<f64>,
    /// Blocks of 8 kB read from temporary files.
    pub temp_blocks_read: u64,
    /// Blocks of 8 kB written to temporary files.
    pub temp_blocks_written: u64,
    /// Time spent reading blocks; `null` unless `track_io_timing` is on.
    pub block_read_time_ms: Option<f64>,
}

/// Statistics of the whole database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerDatabase {
    /// Committed transactions.
    pub commits: u64,
    /// Transactions that were rolled back.
    pub rollbacks: u64,
    /// Blocks of 8 kB found in shared buffers.
    pub blocks_hit: u64,
    /// Blocks read from the operating system or the disk.
    pub blocks_read: u64,
    /// Hit ÷ (hit + read); `null` without block accesses.
    pub hit_share: Option<f64>,
    /// Rows read by scans.
    pub rows_returned: u64,
    /// Rows fetched by index scans, or from a catalog.
    pub rows_fetched: u64,
    /// Bytes written to temporary files.
    pub temp_bytes: u64,
    /// Deadlocks that the server detected.
    pub deadlocks: u64,
    /// Time spent reading blocks; `null` unless `track_io_timing` is on.
    pub block_read_time_ms: Option<f64>,
}

/// The plan of a slow row: `EXPLAIN (ANALYZE, BUFFERS)` of one more execution after the run, with warm caches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    /// Id of the row, from 0.
    pub row: u64,
    /// Host of the row.
    pub host: String,
    /// Name of the row's statement.
    pub statement: String,
    /// Service time measured in the run.
    pub service_time_ms: f64,
    /// Number of the execution of its statement on its connection, from 1; `null` if unknown.
    #[serde(default)]
    pub execution: Option<u64>,
    /// The kind of plan that PostgreSQL chose after as many executions; `null` without a prepared statement, or if the server does not
    /// report it (before PostgreSQL 14).
    #[serde(default)]
    pub kind: Option<PlanKind>,
    /// Lines as printed by PostgreSQL; empty if there is no plan.
    pub lines: Vec<String>,
    /// The reason why there is no plan; otherwise `null`.
    pub problem: Option<String>,
}
