//! The rows of a run and what became of each.

use serde::{Deserialize, Serialize};

/// The file of query parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Workload {
    /// File name as typed; `-` for standard input.
    pub file: String,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// Number of rows to run: valid records.
    pub rows: u64,
    /// Number of different hosts.
    pub hosts: u64,
    /// Number of invalid records that were skipped (`--on-bad-row skip`).
    pub skipped: u64,
}

/// Accounting of all queries: `completed + failed + unaccounted = total`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Queries {
    /// Executions of rows, over all passes.
    pub total: u64,
    /// Queries that returned a result.
    pub completed: u64,
    /// Queries that ended with an SQL error, a timeout or a lost database connection.
    pub failed: u64,
    /// Rows without a result.
    pub unaccounted: u64,
    /// Counted rows that may have run before, in a session that was lost. Each is counted once. Their times are not included in latencies
    /// unless `--include-retried` is given.
    pub retried: u64,
    /// Results that were dropped because their row already had one.
    #[serde(default)]
    pub duplicates: u64,
    /// Results that were dropped because their session had lost its slot.
    #[serde(default)]
    pub stale: u64,
    /// Unaccounted rows that were not run again, because three agent processes died with each of them.
    #[serde(default)]
    pub quarantined_rows: Vec<u64>,
    /// The unaccounted rows as inclusive ranges `[first, last]` of row ids.
    pub unaccounted_rows: Vec<[u64; 2]>,
}

/// The result rows of the completed queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Answers {
    /// Number of result rows.
    pub rows: u64,
    /// Bytes of all column values.
    pub bytes: u64,
    /// 16 hexadecimal digits; equal if two runs of the same workload read the same data in the same format.
    pub digest: String,
}

/// Failures with the same SQLSTATE and message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Error {
    /// Five characters, as PostgreSQL documents them; `57014` for a timeout.
    pub sqlstate: String,
    /// Number of queries that failed with it.
    pub count: u64,
    /// The server's message, or that of the client for a broken connection.
    pub message: String,
    /// The server's DETAIL for the row in `row`; `null` if there is none.
    #[serde(default)]
    pub detail: Option<String>,
    /// The server's HINT, or how to avoid the error; `null` if there is none.
    #[serde(default)]
    pub hint: Option<String>,
    /// The first row id (from 0) that failed with this error.
    pub row: u64,
    /// The host of the row in `row`.
    pub host: String,
}
