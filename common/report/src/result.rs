//! The result of a run as plain values, schema `muster.result/v1`. Fields are only added, never removed.
//! All times are numbers in milliseconds; a statistic is `null` if the sample does not support it. Contains no statistics and no rendering.

pub mod accounting;
pub mod comparison;
pub mod environment;
pub mod event;
pub mod health;
pub mod load;
pub mod participants;
pub mod search;
pub mod series;
pub mod server_side;
pub mod verdict;

use serde::{Deserialize, Serialize};

pub use muster_core::search::SearchStep;
pub use muster_core::server_identity::{Role, ServerIdentity};
use muster_stats::latency::distribution;
pub use muster_stats::latency::distribution::{Intervals, Latency};

pub use accounting::{Answers, Error, Queries, Workload};
use comparison::Comparison;
pub use environment::{Database, Query, Reconnects, ResultFormat, Statement, Tool};
pub use event::Event;
pub use health::{AgentHealth, Late, ProcessHealth, RunQueue, StarvedWorker};
pub use load::{EarlyExecutions, Load, LoadModel, Passes, Utilization, WorkerShare};
pub use participants::{Agent, Host, Placement, Session, Worker};
pub use search::Search;
pub use series::{AgentDistribution, Bins, Distributions, Interval, IntervalLatency};
pub use server_side::{Hypertable, Plan, PlanKind, ServerDatabase, ServerSide, ServerStatement};
pub use verdict::{Cause, Ending, Threshold, Verdict, VerdictStatus};

pub const SCHEMA: &str = "muster.result/v1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunResult {
    /// Always `muster.result/v1`.
    #[cfg_attr(feature = "schema", schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    /// 1 to 24 characters of `a-z`, `0-9` and `-`.
    pub run_id: String,
    /// When the first query was allowed to start: RFC 3339, UTC. `null` if the run never started.
    pub started_at: Option<String>,
    pub ending: Ending,
    pub verdict: Verdict,
    /// Observations that do not change the verdict, such as an agent that is slower than the others: plain sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    pub workload: Workload,
    pub queries: Queries,
    /// Result of the completed queries.
    pub result: Answers,
    /// Sum of the service times of completed queries.
    pub total_processing_time_ms: f64,
    /// From the start of the first query to the last result.
    pub wall_time_ms: f64,
    /// Completed queries per second of wall time.
    pub throughput_qps: f64,
    /// When queries were sent: as soon as a worker was free, or at due times.
    #[serde(default)]
    pub load: Load,
    /// Service times of the first pass, with cold caches, and of the later passes; `null` for a single pass.
    #[serde(default)]
    pub passes: Option<Passes>,
    /// Only with prepared statements: the first 5 executions on each connection, which PostgreSQL plans for their values, compared with the
    /// later ones. `null` if they do not differ by more than noise and a tenth, and if PostgreSQL does not choose the plan type: with a
    /// `plan_cache_mode` other than `auto`, and for statements without parameters.
    #[serde(default)]
    pub early_executions: Option<EarlyExecutions>,
    /// Statistics by statement, if the run had several.
    #[serde(default)]
    pub statements: Vec<Statement>,
    /// The search for the highest rate that meets an objective; the other statistics of the result are those of its confirmation. `null` in
    /// other runs.
    #[serde(default)]
    pub search: Option<Search>,
    /// Service times of completed queries; if there are none, `count` is 0 and everything else is `null`.
    #[serde(with = "distribution::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "distribution::LatencyOrNone"))]
    pub service_time_ms: Option<Latency>,
    /// Service time plus lag, of completed queries.
    #[serde(with = "distribution::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "distribution::LatencyOrNone"))]
    pub response_time_ms: Option<Latency>,
    /// Start minus due time: the sum of queueing and generator delay; 0 in a closed loop.
    #[serde(with = "distribution::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "distribution::LatencyOrNone"))]
    pub lag_ms: Option<Latency>,
    /// The part of lag in which the worker was busy with earlier queries: the server or the number of connections was the limit.
    #[serde(default)]
    #[serde(with = "distribution::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "distribution::LatencyOrNone"))]
    pub queueing_ms: Option<Latency>,
    /// The part of lag in which the worker was free: the load generator's own delay.
    #[serde(default)]
    #[serde(with = "distribution::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "distribution::LatencyOrNone"))]
    pub generator_delay_ms: Option<Latency>,
    /// How the connections spent their time; `null` if no query ran.
    #[serde(default)]
    pub utilization: Option<Utilization>,
    /// Time for opening the workers' database connections, before the clock started.
    pub connect_ms: Option<Latency>,
    /// Time for preparing the statement on each connection, before the clock started.
    pub prepare_ms: Option<Latency>,
    /// Latest minus earliest start of the agents, each corrected by half its round trip.
    pub start_skew_ms: Option<f64>,
    /// One entry for each slot.
    pub agents: Vec<Agent>,
    /// One entry for each worker.
    pub workers: Vec<Worker>,
    /// Hosts with the times of their queries, sorted by mean service time, slowest first; at most 1,000.
    pub hosts: Vec<Host>,
    /// Failures of queries, grouped by SQLSTATE and message.
    pub errors: Vec<Error>,
    pub placement: Placement,
    /// Comparison of the second database with the first; `null` unless the run compared two. All other statistics are of the first.
    #[serde(default)]
    pub versus: Option<Box<Comparison>>,
    /// What happened during the run, in order: joins, losses, phases.
    pub events: Vec<Event>,
    /// The run over time, at most 600 intervals; empty if no query ended, and in results of versions that did not record it. With two
    /// databases, the times are those of the first.
    #[serde(default)]
    pub series: Vec<Interval>,
    /// Distributions of times for plots; `null` if no query completed, and in results of versions that did not record them.
    #[serde(default)]
    pub distributions: Option<Distributions>,
    /// The thresholds of `--threshold`, in the order in which they were given.
    pub thresholds: Vec<Threshold>,
    pub query: Query,
    /// The server that the workers queried; `null` if no agent reached the database.
    pub database: Option<Database>,
    pub tool: Tool,
    /// Health of the coordinator's process while rows ran; `late_ms` is the delay of its event loop.
    #[serde(default)]
    pub coordinator_health: Option<ProcessHealth>,
    /// Statistics from the server, and the plans of the slowest rows; `null` if they could not be read.
    #[serde(default)]
    pub server: Option<ServerSide>,
}

/// The JSON Schema of `RunResult`; committed as `docs/muster.result.v1.schema.json`. Unknown fields are allowed, because later versions add
/// fields.
#[cfg(feature = "schema")]
pub fn json_schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(RunResult);
    schema.insert("$id".to_owned(), "urn:muster:result:v1".into());
    schema.insert("title".to_owned(), "The result of a Muster run (muster.result/v1)".into());
    schema
}
