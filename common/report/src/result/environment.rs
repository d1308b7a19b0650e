//! What was queried, where, and with which program.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use muster_core::server_identity::ServerIdentity;
use muster_stats::latency::distribution::Latency;

/// One statement of a mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Statement {
    /// The name given with `--query NAME=FILE`, or the file.
    pub name: String,
    /// As sent to the server, `$1` for the first placeholder.
    pub sql: String,
    /// Format of its result rows; `null` if unknown.
    #[serde(default)]
    pub results: Option<ResultFormat>,
    /// Its share of the mix if no column of the workload selects the statement.
    pub weight: u64,
    /// Completed queries of this statement.
    pub completed: u64,
    /// Failed queries of this statement.
    pub failed: u64,
    /// Sum of the service times of its completed queries.
    pub total_processing_time_ms: f64,
    /// Service times of its completed queries; `null` if there are none.
    pub service_time_ms: Option<Latency>,
    /// Response times of its completed queries; `null` if rows had no due times.
    pub response_time_ms: Option<Latency>,
}

/// The statement of the run, or the first one of a mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Query {
    /// `default` or the name of its file.
    pub name: String,
    /// As sent to the server, `$1` for the first placeholder.
    pub sql: String,
    /// `prepared`, `extended` or `simple`.
    pub protocol: String,
    /// Format of the result rows; for a mix, of its first statement. `null` if unknown.
    #[serde(default)]
    pub results: Option<ResultFormat>,
    /// The bucketing function of the default query: `time_bucket`, `date_bin` or `date_trunc`; `null` for other queries.
    pub bucket_function: Option<String>,
}

/// The format of the values in result rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResultFormat {
    /// `binary` or `text`. Digests of different formats differ.
    pub format: String,
    /// `default`, `--results`, or what else determines the format.
    pub reason: String,
}

/// The server that the workers queried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Database {
    /// Version as the server reports it.
    pub server_version: String,
    /// Version of the extension; `null` if it is not installed.
    pub timescaledb: Option<String>,
    /// `PostgreSQL 15.18 from /usr/lib/postgresql/15/bin` for the embedded server; `null` for a server that the user provides.
    pub embedded: Option<String>,
    /// Settings that affect timings: `shared_buffers`, `work_mem`, `jit`, ….
    pub settings: BTreeMap<String, String>,
    /// The server that answered the workers' connections. `null` in results of versions that did not record it.
    #[serde(default)]
    pub identity: Option<ServerIdentity>,
    /// Other servers that connections reached, and other states of the same server, such as after a restart.
    #[serde(default)]
    pub other_identities: Vec<ServerIdentity>,
    /// Connections that broke while rows ran.
    #[serde(default)]
    pub reconnects: Reconnects,
}

/// Connections to the database that broke while rows ran.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reconnects {
    /// How often a broken connection was opened again.
    pub count: u64,
    /// The longest time from detecting a broken connection to having it again; `null` if none was opened again.
    pub outage_max_ms: Option<f64>,
    /// Number of workers whose connection was broken when they ended.
    pub disconnected: u64,
}

/// The program that produced the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tool {
    /// Version of Muster.
    pub version: String,
    /// The command line, without secrets.
    pub command: String,
}
