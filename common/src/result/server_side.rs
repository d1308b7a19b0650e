//! The server's side of a run, as the result has it: what PostgreSQL itself counted while the counted rows ran, and how it executes the
//! slowest of them.

use serde::{Deserialize, Serialize};

/// What the server says of the run. Counters are differences: after the counted rows minus before them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerSide {
    /// Why something could not be had, and what casts doubt on a figure: plain sentences.
    pub notes: Vec<String>,
    /// From `pg_stat_statements`, in the order of the run's statements; without those of which the server's entry is not known.
    pub statements: Vec<ServerStatement>,
    /// From `pg_stat_database`: everybody's work in this database, not the run's alone.
    pub database: Option<ServerDatabase>,
    /// Of TimescaleDB: those that a statement names.
    pub hypertables: Vec<Hypertable>,
    /// Of the slowest rows, slowest first (`--explain-slowest`).
    pub plans: Vec<Plan>,
}

/// One statement, by the server's clock and by the client's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerStatement {
    pub name: String,
    /// Executions that the server counted.
    pub calls: u64,
    /// Executions that the run completed.
    pub completed: u64,
    /// Rows that it returned or wrote.
    pub rows: u64,
    pub total_exec_time_ms: f64,
    /// `null` without a call.
    pub mean_exec_time_ms: Option<f64>,
    /// `null` unless `pg_stat_statements.track_planning` is on.
    pub mean_plan_time_ms: Option<f64>,
    /// The mean service time of the same statement.
    pub client_mean_ms: Option<f64>,
    /// The client's mean less the server's: network, protocol, parsing, the client, and planning where that is not counted.
    pub between_ms: Option<f64>,
    /// 8 kB blocks that were found in shared buffers.
    pub blocks_hit: u64,
    /// Blocks that were not, and came from the operating system or the disk.
    pub blocks_read: u64,
    /// Hit ÷ (hit + read); `null` where no block was touched.
    pub hit_share: Option<f64>,
    pub temp_blocks_read: u64,
    pub temp_blocks_written: u64,
    /// Waiting for blocks; `null` unless `track_io_timing` is on.
    pub block_read_time_ms: Option<f64>,
}

/// A database as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerDatabase {
    pub commits: u64,
    pub rollbacks: u64,
    pub blocks_hit: u64,
    pub blocks_read: u64,
    /// Hit ÷ (hit + read); `null` where no block was touched.
    pub hit_share: Option<f64>,
    /// Rows that scans looked at.
    pub rows_returned: u64,
    /// Rows that came by index scans, or from a catalog.
    pub rows_fetched: u64,
    pub temp_bytes: u64,
    pub deadlocks: u64,
    /// Waiting for blocks; `null` unless `track_io_timing` is on.
    pub block_read_time_ms: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hypertable {
    /// With its schema.
    pub name: String,
    pub chunks: u64,
    pub compressed_chunks: u64,
    /// Compression is switched on for it.
    pub has_compression: bool,
}

/// How the server executes a slow row: `EXPLAIN (ANALYZE, BUFFERS)` of one more execution after the run, when caches are warm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plan {
    pub row: u64,
    pub host: String,
    /// Name of its statement.
    pub statement: String,
    /// As it was measured in the run.
    pub service_time_ms: f64,
    /// Which execution of its statement on its connection it was, from 1; `null` where that is not known.
    #[serde(default)]
    pub execution: Option<u64>,
    /// Which plan PostgreSQL chose after as many executions; `null` without a prepared statement, and where the server does not tell
    /// (before PostgreSQL 14).
    #[serde(default)]
    pub kind: Option<PlanKind>,
    /// As PostgreSQL prints them; empty when there is no plan.
    pub lines: Vec<String>,
    /// Why there is no plan.
    pub problem: Option<String>,
}

/// Which plan of a prepared statement PostgreSQL chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// Planned for the values of the row.
    Custom,
    /// Planned once, for whatever values.
    Generic,
}
