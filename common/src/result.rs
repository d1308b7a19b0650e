//! The result of a run as plain values, schema `muster.result/v1`. Fields are only added, never removed.
//! All times are numbers in milliseconds; a statistic is `null` if the sample does not support it. Contains no statistics and no rendering.

mod health;
mod latency;
mod server_side;

use serde::{Deserialize, Serialize};

use crate::compare::Comparison;
pub use crate::server_identity::{Role, ServerIdentity};
pub use health::{AgentHealth, Late, ProcessHealth, RunQueue, StarvedWorker};
pub use latency::{Intervals, Latency};
pub use server_side::{Hypertable, Plan, PlanKind, ServerDatabase, ServerSide, ServerStatement};

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
    #[serde(with = "latency::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "latency::LatencyOrNone"))]
    pub service_time_ms: Option<Latency>,
    /// Service time plus lag, of completed queries.
    #[serde(with = "latency::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "latency::LatencyOrNone"))]
    pub response_time_ms: Option<Latency>,
    /// Start minus due time: the sum of queueing and generator delay; 0 in a closed loop.
    #[serde(with = "latency::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "latency::LatencyOrNone"))]
    pub lag_ms: Option<Latency>,
    /// The part of lag in which the worker was busy with earlier queries: the server or the number of connections was the limit.
    #[serde(default)]
    #[serde(with = "latency::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "latency::LatencyOrNone"))]
    pub queueing_ms: Option<Latency>,
    /// The part of lag in which the worker was free: the load generator's own delay.
    #[serde(default)]
    #[serde(with = "latency::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "latency::LatencyOrNone"))]
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

/// When queries were sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Load {
    /// When a worker runs its next row.
    pub model: LoadModel,
    /// Queries per second of the whole run, as specified; `null` in a closed loop.
    pub rate: Option<String>,
    /// `uniform` or `poisson`; `null` in a closed loop.
    pub arrivals: Option<String>,
    /// Mean scheduled rate over the run, in queries per second; `null` in a closed loop.
    #[serde(default)]
    pub scheduled_qps: Option<f64>,
    /// Queries per second that ran, including failed ones; `null` in a closed loop.
    #[serde(default)]
    pub achieved_qps: Option<f64>,
    /// Pause between two queries of a worker.
    pub think_time_ms: f64,
    /// The warm-up, which is not counted, as specified: `1000 rows` or `30s`; `null` without one.
    pub warmup: Option<String>,
    /// How often every record was to run; `null` if the run had a duration.
    pub repeat: Option<u64>,
    /// Time after which no query started; `null` if the run ended after its rows.
    pub duration_ms: Option<f64>,
    /// Number of queries that were due before the end of `duration_ms`; `null` in a closed loop, without a duration, and if the run was
    /// interrupted or resumed.
    #[serde(default)]
    pub due: Option<u64>,
    /// Number of the queries counted by `due` that had not started by then. Their waiting times are in no statistic. `null` if `due` is `null`.
    #[serde(default)]
    pub not_begun: Option<u64>,
    /// Random seed (`--seed`).
    pub seed: u64,
}

impl Load {
    /// Returns `(not begun, due)` if so many due queries had not started that response times, lag and queueing are unknown. A run that
    /// keeps up has at most one waiting query for each of its `workers` when it ends.
    pub fn cut_off(&self, workers: usize) -> Option<(u64, u64)> {
        let (not_begun, due) = self.not_begun.zip(self.due)?;
        (not_begun > workers as u64 && not_begun > due / 100).then_some((not_begun, due))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoadModel {
    /// Each worker runs its next row when the previous one is finished.
    #[default]
    Closed,
    /// Rows are due at times that do not depend on when earlier queries finish.
    Open,
}

/// How the workers' connections spent the time of the run. The time of a worker ends with its last query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Utilization {
    /// Share of the workers' time in which a query was running.
    pub busy_share: f64,
    /// The same share for the busiest worker.
    pub busy_share_max: f64,
    /// Time in which workers could have run a query but did not, summed over all workers. In a closed loop it is the wall time of a worker
    /// minus its service times and think times (Little's law); with due times it is the generator delay. `null` if agents were lost or the
    /// run was resumed, because absent workers have no overhead.
    pub generator_overhead_ms: Option<f64>,
    /// Overhead ÷ (overhead + service times).
    pub generator_overhead_share: Option<f64>,
    /// The worker with the largest share, such as `slot-3/0`.
    pub generator_overhead_worst: Option<WorkerShare>,
}

/// A worker, with its share of generator overhead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkerShare {
    /// Its slot and its number within the agent: `slot-3/0`.
    pub worker: String,
    /// Its generator overhead ÷ (overhead + service times).
    pub share: f64,
}

/// Service times of the executions that PostgreSQL plans for their values, and of the later executions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EarlyExecutions {
    /// The first 5 executions on each connection.
    pub early: Latency,
    /// All later executions.
    pub later: Latency,
}

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

/// Service times by pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Passes {
    /// Service times of the first pass; `null` if none of its queries completed.
    pub first: Option<Latency>,
    /// Service times of the later passes; `null` if none of their queries completed.
    pub later: Option<Latency>,
}

/// A search for the highest rate that meets an objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Search {
    /// Bounds on the response times, as typed: `p99<50ms`.
    pub objective: String,
    /// The highest rate that met the objective; `null` if none did.
    pub highest_rate: Option<f64>,
    /// True if the rate held when it was measured a second time.
    pub is_confirmed: bool,
    /// The measured rates, in the order in which they ran.
    pub steps: Vec<SearchStep>,
}

/// An open loop at one rate for some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchStep {
    /// Specified rate in queries per second.
    pub rate: f64,
    /// True if this step measures the result of the search a second time.
    pub is_confirmation: bool,
    /// How long queries were due in this step.
    pub duration_ms: f64,
    /// Completed queries per second.
    pub achieved_rate: f64,
    /// Number of queries that were due during the step.
    pub due: u64,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Service times of completed queries.
    pub service_time_ms: Option<Latency>,
    /// Service time plus lag.
    pub response_time_ms: Option<Latency>,
    /// Start minus due time.
    pub lag_ms: Option<Latency>,
    /// The part of lag that is the load generator's own delay.
    #[serde(default)]
    pub generator_delay_ms: Option<Latency>,
    /// True if the objective was met.
    pub holds: bool,
    /// Why the objective was not met; `null` if it was.
    pub reason: Option<String>,
}

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

/// An agent, with the rows placed on its slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Agent {
    /// Its place in the run: `slot-3`.
    pub slot: String,
    /// The machine's host name and the agent's process id.
    pub name: String,
    /// Version of the agent.
    pub version: String,
    /// Number of its workers.
    pub workers: u64,
    /// Number of hosts placed on it.
    pub hosts: u64,
    /// Executions of the rows placed on it, over all passes and databases; if the run had a duration, those that have a result.
    pub queries: u64,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Service times of its completed queries; `null` if there are none.
    pub service_time_ms: Option<Latency>,
    /// `null` if its slot was held to the end; otherwise the reason why it was lost.
    pub lost: Option<String>,
    /// Number of hosts placed on it when the run ended; differs from `hosts` after a slot was retired.
    #[serde(default)]
    pub hosts_at_end: u64,
    /// All sessions that held the slot, in order.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// Health of the agent while it ran rows; `null` if it was not reported. With `--local` all agents are one process.
    #[serde(default)]
    pub health: Option<AgentHealth>,
}

/// One agent's session in a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// The number in the database's `application_name`: `muster:<run>:<slot>:<epoch>`.
    pub epoch: u64,
    /// The machine's host name and the agent's process id.
    pub name: String,
    /// The reason if it ended before the run did; otherwise `null`.
    pub lost: Option<String>,
}

/// One database connection of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Worker {
    /// Its slot and its number within the agent: `slot-3/0`.
    pub worker: String,
    /// Number of hosts placed on it.
    pub hosts: u64,
    /// Executions of the rows placed on it, counted as for an agent.
    pub queries: u64,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Sum of service times.
    pub busy_ms: f64,
    /// Time in which it could have run a query but did not; see `utilization`. `null` if it is `null` there.
    #[serde(default)]
    pub generator_overhead_ms: Option<f64>,
    /// Service times of its completed queries; `null` if there are none.
    pub service_time_ms: Option<Latency>,
}

/// A host, with the times of its queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Host {
    /// The value of the host column.
    pub host: String,
    /// The worker to which the host was assigned: `slot-3/0`.
    pub worker: String,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Mean service time; `null` if none of its queries completed.
    pub mean_ms: Option<f64>,
    /// Longest service time; `null` if none of its queries completed.
    pub max_ms: Option<f64>,
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

/// How hosts were assigned to workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Placement {
    /// `rendezvous` or `balanced`.
    pub method: String,
    /// Number of workers.
    pub workers: u64,
    /// Number of workers without a host.
    pub idle: u64,
    /// Rows of the busiest worker ÷ its fair share; 1 is even. 0 without rows.
    pub skew: f64,
}

/// Something that happened during the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Time since the coordinator started to listen.
    pub at_ms: f64,
    /// A plain sentence, such as `slot-3 joined: db1/4711, 1 worker`.
    pub what: String,
    /// How often it happened, if more than once; `at_ms` is the time of the first.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u64,
}

impl Event {
    pub fn once(at_ms: f64, what: String) -> Self {
        Self { at_ms, what, times: once() }
    }
}

fn once() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde requires a reference")]
fn is_once(times: &u64) -> bool {
    *times == once()
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
    pub settings: std::collections::BTreeMap<String, String>,
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

/// The JSON Schema of `RunResult`; committed as `docs/muster.result.v1.schema.json`. Unknown fields are allowed, because later versions add
/// fields.
#[cfg(feature = "schema")]
pub fn json_schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(RunResult);
    schema.insert("$id".to_owned(), "urn:muster:result:v1".into());
    schema.insert("title".to_owned(), "The result of a Muster run (muster.result/v1)".into());
    schema
}
