//! The result of a run as plain values: schema `muster.result/v1`. Fields are only ever added.
//! All times are milliseconds as numbers; `null` where the sample does not support a figure. No statistics here, no rendering.

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
    /// When the first query was allowed to start: RFC 3339, UTC. `null` when the run never started.
    pub started_at: Option<String>,
    pub ending: Ending,
    pub verdict: Verdict,
    /// What deserves a look and does not change the verdict, such as an agent that is slower than the others: plain sentences.
    #[serde(default)]
    pub notes: Vec<String>,
    pub workload: Workload,
    pub queries: Queries,
    /// What the completed queries returned.
    pub result: Answers,
    /// Sum of the service times of completed queries.
    pub total_processing_time_ms: f64,
    /// From the start of the first query to the last result.
    pub wall_time_ms: f64,
    /// Completed queries per second of wall time.
    pub throughput_qps: f64,
    /// When queries were sent: as workers became free, or at due times.
    #[serde(default)]
    pub load: Load,
    /// Service times of the first pass, which met what nobody had read before, and of those that followed; `null` for a single pass.
    #[serde(default)]
    pub passes: Option<Passes>,
    /// Prepared statements only: the first 5 executions on each connection, which PostgreSQL plans for their values, against the later ones.
    /// `null` where they do not differ by more than noise and a tenth, and where PostgreSQL does not decide so: with a `plan_cache_mode` other
    /// than `auto`, and for statements without parameters.
    #[serde(default)]
    pub early_executions: Option<EarlyExecutions>,
    /// By statement, where the run had several.
    #[serde(default)]
    pub statements: Vec<Statement>,
    /// The search for the highest rate that holds an objective; the figures of the result are those of its confirmation. `null` in
    /// other runs.
    #[serde(default)]
    pub search: Option<Search>,
    /// Of completed queries; `count` is 0 and all else `null` when there is none.
    #[serde(with = "latency::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "latency::LatencyOrNone"))]
    pub service_time_ms: Option<Latency>,
    /// Service time plus lag.
    #[serde(with = "latency::or_none")]
    #[cfg_attr(feature = "schema", schemars(with = "latency::LatencyOrNone"))]
    pub response_time_ms: Option<Latency>,
    /// Start minus due time, which is queueing and generator delay together; 0 in a closed loop.
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
    /// How the connections spent their time; `null` when no query ran.
    #[serde(default)]
    pub utilization: Option<Utilization>,
    /// Opening the workers' database connections, before the clock started.
    pub connect_ms: Option<Latency>,
    /// Preparing the statement on each connection, before the clock started.
    pub prepare_ms: Option<Latency>,
    /// Latest minus earliest start over the agents, each corrected by half its round trip.
    pub start_skew_ms: Option<f64>,
    pub agents: Vec<Agent>,
    pub workers: Vec<Worker>,
    /// By mean service time, slowest first; at most 1,000.
    pub hosts: Vec<Host>,
    pub errors: Vec<Error>,
    pub placement: Placement,
    /// The second database against the first, where the run compared two: a `muster.compare/v1`. All other figures are of the first.
    #[serde(default)]
    pub versus: Option<Box<Comparison>>,
    pub events: Vec<Event>,
    pub thresholds: Vec<Threshold>,
    pub query: Query,
    /// `null` when no agent reached the database.
    pub database: Option<Database>,
    pub tool: Tool,
    /// How the coordinator's process fared while rows ran; `late_ms` is that of its event loop.
    #[serde(default)]
    pub coordinator_health: Option<ProcessHealth>,
    /// What the server itself counted, and how it executes the slowest rows; `null` where nobody could be asked.
    #[serde(default)]
    pub server: Option<ServerSide>,
}

/// When queries were sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Load {
    pub model: LoadModel,
    /// Queries per second of the whole run, as it was asked for; `null` in a closed loop.
    pub rate: Option<String>,
    /// `uniform` or `poisson`; `null` in a closed loop.
    pub arrivals: Option<String>,
    /// The mean rate that was scheduled for the time of the run, in queries per second; `null` in a closed loop.
    #[serde(default)]
    pub scheduled_qps: Option<f64>,
    /// Queries per second that ran, failed ones included; `null` in a closed loop.
    #[serde(default)]
    pub achieved_qps: Option<f64>,
    /// Between a query and the next one of its worker.
    pub think_time_ms: f64,
    /// What was run before and not counted, as it was asked for: `1000 rows` or `30s`.
    pub warmup: Option<String>,
    /// How often every record was to be run; `null` when the clock ended the run.
    pub repeat: Option<u64>,
    /// After which no query began; `null` when the rows ended the run.
    pub duration_ms: Option<f64>,
    /// Queries that were due before the end of `duration_ms`; `null` in a closed loop, without a duration, and in a run that was
    /// interrupted or resumed.
    #[serde(default)]
    pub due: Option<u64>,
    /// Those of them that had not begun by then. Their waits are in no figure. `null` like `due`.
    #[serde(default)]
    pub not_begun: Option<u64>,
    pub seed: u64,
}

impl Load {
    /// `(not begun, due)`, where so many due queries had not begun that response times, lag and queueing are not known. In a run that keeps up,
    /// the end finds at most one waiting query for each of its `workers`.
    pub fn cut_off(&self, workers: usize) -> Option<(u64, u64)> {
        let (not_begun, due) = self.not_begun.zip(self.due)?;
        (not_begun > workers as u64 && not_begun > due / 100).then_some((not_begun, due))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoadModel {
    /// Each worker runs its next row when the last one is done.
    #[default]
    Closed,
    /// Rows are due at times that do not depend on the answers.
    Open,
}

/// How the workers' connections spent the time of the run. A worker's time ends with its last query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Utilization {
    /// Share of the workers' time in which a query was running.
    pub busy_share: f64,
    /// The same for the busiest worker.
    pub busy_share_max: f64,
    /// Time in which a worker could have run a query and did not, of all workers together: in a closed loop the wall time of a worker
    /// minus the sum of its service times and think times (Little's law), with due times the generator delay. `null` when agents were
    /// lost or the run was resumed, for absent workers have no overhead.
    pub generator_overhead_ms: Option<f64>,
    /// Its part of the time that was spent on queries and overhead.
    pub generator_overhead_share: Option<f64>,
    /// The worker with the largest share, such as `slot-3/0`.
    pub generator_overhead_worst: Option<WorkerShare>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkerShare {
    pub worker: String,
    pub share: f64,
}

/// Service times of the executions that PostgreSQL plans anew, and of those that follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EarlyExecutions {
    pub early: Latency,
    pub later: Latency,
}

/// One statement of a mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Statement {
    pub name: String,
    pub sql: String,
    /// How its result rows were sent; `null` where that is not known.
    #[serde(default)]
    pub results: Option<ResultFormat>,
    /// Its part of the mix where no column of the workload decides.
    pub weight: u64,
    pub completed: u64,
    pub failed: u64,
    pub total_processing_time_ms: f64,
    pub service_time_ms: Option<Latency>,
    /// `null` where rows had no due times.
    pub response_time_ms: Option<Latency>,
}

/// Service times by pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Passes {
    pub first: Option<Latency>,
    pub later: Option<Latency>,
}

/// A search for the highest rate that holds an objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Search {
    /// Bounds on the response times, as typed: `p99<50ms`.
    pub objective: String,
    /// Queries per second; `null` when no rate held.
    pub highest_rate: Option<f64>,
    /// It held when it was measured once more.
    pub is_confirmed: bool,
    /// In the order in which they were run.
    pub steps: Vec<SearchStep>,
}

/// An open loop at one rate for some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchStep {
    /// Queries per second that were asked for.
    pub rate: f64,
    /// What the search found, measured once more.
    pub is_confirmation: bool,
    pub duration_ms: f64,
    /// Completed queries per second.
    pub achieved_rate: f64,
    /// Queries that were due in its time.
    pub due: u64,
    pub completed: u64,
    pub failed: u64,
    pub service_time_ms: Option<Latency>,
    /// Service time plus lag.
    pub response_time_ms: Option<Latency>,
    /// Start minus due time.
    pub lag_ms: Option<Latency>,
    /// The part of lag that is the load generator's own delay.
    #[serde(default)]
    pub generator_delay_ms: Option<Latency>,
    /// The objective was kept.
    pub holds: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// How the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every row was run.
    Completed,
    /// Stopped by Ctrl-C or SIGTERM; the result is partial.
    Interrupted,
    /// Agents were lost, and the run could not go on without them; the result is partial.
    AgentsLost,
    /// The workload's file was changed or became unreadable in mid-run; the result is partial.
    WorkloadUnreadable,
    /// The journal could not be written, a full disk say; the result is partial.
    CannotWrite,
    /// There is no end yet: the run goes on, or its coordinator was killed.
    Unfinished,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    pub status: VerdictStatus,
    /// Each a cause with its remedy; empty when VALID.
    pub reasons: Vec<String>,
    /// The causes of the reasons, one each, for programs.
    #[serde(default)]
    pub causes: Vec<Cause>,
}

/// Why a verdict is not VALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The run did not come to its end.
    EndedEarly,
    /// It was taken up again by another coordinator.
    Resumed,
    AgentLost,
    /// Queries began late although their workers were free: the generator delay was too high.
    Lag,
    /// Workers spent too much of their time between queries.
    GeneratorOverhead,
    /// A quota on the agent's CPU held it back.
    AgentThrottled,
    /// Threads of an agent that were due woke late.
    AgentLate,
    /// Workers of an agent waited for a CPU in a large part of the time that their queries took.
    AgentWaited,
    /// An agent stood still as a whole: stopped, or its machine was.
    AgentStoodStill,
    /// An agent used most of the CPU that it may use.
    AgentBusy,
    /// Workers had no rows although some were still to come.
    AgentStarved,
    /// The hypervisor gave an agent's machine too little time.
    MachineStolen,
    /// The coordinator's event loop was late.
    CoordinatorLate,
    /// An agent asked no database.
    NoDatabase,
    /// No query completed, and some failed.
    AllFailed,
    /// Connections of the run led to different servers or databases.
    ServersDiffer,
    /// The server was restarted while it was measured.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum VerdictStatus {
    Valid,
    Degraded,
    Void,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Workload {
    /// As typed; `-` for standard input.
    pub file: String,
    /// Of the whole file, hexadecimal.
    pub sha256: String,
    /// Rows to run: good records.
    pub rows: u64,
    pub hosts: u64,
    /// Bad records left out (`--on-bad-row skip`).
    pub skipped: u64,
}

/// The books: `completed + failed + unaccounted = total`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Queries {
    pub total: u64,
    pub completed: u64,
    /// Ended with an SQL error, a timeout or a lost database connection.
    pub failed: u64,
    /// Rows with no result.
    pub unaccounted: u64,
    /// Counted rows that may have run before, in a session that was lost; each is counted once. Their times are not among the
    /// latencies unless `--include-retried`.
    pub retried: u64,
    /// Results that came for a row which had one, and were dropped.
    #[serde(default)]
    pub duplicates: u64,
    /// Results that came from a session which had lost its slot, and were dropped.
    #[serde(default)]
    pub stale: u64,
    /// Rows among the unaccounted that were given to nobody again, because three agent processes died with each of them.
    #[serde(default)]
    pub quarantined_rows: Vec<u64>,
    /// The unaccounted rows as inclusive ranges `[first, last]` of row ids.
    pub unaccounted_rows: Vec<[u64; 2]>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Answers {
    /// Result rows.
    pub rows: u64,
    /// Bytes of column values.
    pub bytes: u64,
    /// 16 hexadecimal digits; equal when two runs of the same workload read the same data in the same format.
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Agent {
    /// `slot-3`.
    pub slot: String,
    /// The machine's host name and the agent's process id.
    pub name: String,
    pub version: String,
    pub workers: u64,
    /// Hosts placed on it.
    pub hosts: u64,
    /// Executions of the rows placed on it, of all passes and databases; where the clock ended the run, those that have a result.
    pub queries: u64,
    pub completed: u64,
    pub failed: u64,
    pub service_time_ms: Option<Latency>,
    /// `null` when its slot was held to the end; otherwise why it was lost.
    pub lost: Option<String>,
    /// Hosts placed on it when the run ended; differs from `hosts` after a slot was given up.
    #[serde(default)]
    pub hosts_at_end: u64,
    /// Everybody who held the slot, in order.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// How it fared while it ran rows; `null` when it told nothing of it. With `--local` all agents are one process.
    #[serde(default)]
    pub health: Option<AgentHealth>,
}

/// One agent's time in a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// The number in the database's `application_name`: `muster:<run>:<slot>:<epoch>`.
    pub epoch: u64,
    pub name: String,
    /// Why it ended before the run did.
    pub lost: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Worker {
    /// `slot-3/0`.
    pub worker: String,
    pub hosts: u64,
    /// As of an agent.
    pub queries: u64,
    pub completed: u64,
    pub failed: u64,
    /// Sum of service times.
    pub busy_ms: f64,
    /// Time in which it could have run a query and did not; see `utilization`. `null` where that is.
    #[serde(default)]
    pub generator_overhead_ms: Option<f64>,
    pub service_time_ms: Option<Latency>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Host {
    pub host: String,
    pub worker: String,
    pub completed: u64,
    pub failed: u64,
    /// `null` when none of its queries completed.
    pub mean_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

/// Failures that share SQLSTATE and message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Error {
    pub sqlstate: String,
    pub count: u64,
    pub message: String,
    /// The server's DETAIL for the row below; `null` where it gave none.
    #[serde(default)]
    pub detail: Option<String>,
    /// The server's HINT, or how to avoid the error; `null` where there is none.
    #[serde(default)]
    pub hint: Option<String>,
    /// The first row id (from 0) that failed so.
    pub row: u64,
    pub host: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Placement {
    /// `rendezvous` or `balanced`.
    pub method: String,
    pub workers: u64,
    /// Workers without a host.
    pub idle: u64,
    /// Rows of the busiest worker ÷ rows ÷ workers; 1 is even. 0 without rows.
    pub skew: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Since the coordinator began to listen.
    pub at_ms: f64,
    /// A plain sentence: `slot-3 joined: db1/4711, 1 worker`.
    pub what: String,
    /// How often it happened, if more than once; `at_ms` is the first time.
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_once(times: &u64) -> bool {
    *times == once()
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Threshold {
    /// As typed.
    pub expression: String,
    /// In `unit`; of a threshold on several hosts that of the worst. `null` when it cannot be decided, which is missed, too.
    pub value: Option<f64>,
    pub passed: bool,
    /// `ms`, `%`, `queries/s`, or `queries` for a count.
    #[serde(default)]
    pub unit: String,
    /// Why it cannot be decided, or which host is the worst and how many missed it.
    #[serde(default)]
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Query {
    /// `default` or the file it came from.
    pub name: String,
    /// As sent to the server, `$1` for the first placeholder.
    pub sql: String,
    /// `prepared`.
    pub protocol: String,
    /// How result rows were sent; of a mix, those of its first statement. `null` where that is not known.
    #[serde(default)]
    pub results: Option<ResultFormat>,
    /// The bucketing function of the default query: `time_bucket`, `date_bin` or `date_trunc`.
    pub bucket_function: Option<String>,
}

/// How the values of result rows were sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResultFormat {
    /// `binary` or `text`. Digests of different formats differ.
    pub format: String,
    /// `default`, `--results`, or what the format follows from.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Database {
    pub server_version: String,
    /// `null` where the extension is absent.
    pub timescaledb: Option<String>,
    /// `PostgreSQL 15.18 from /usr/lib/postgresql/15/bin` for the embedded server; `null` for a server of the user's own.
    pub embedded: Option<String>,
    /// Settings that change timings: `shared_buffers`, `work_mem`, `jit`, ….
    pub settings: std::collections::BTreeMap<String, String>,
    /// The server that answered the workers' connections. `null` from a version that did not ask.
    #[serde(default)]
    pub identity: Option<ServerIdentity>,
    /// Further servers that the connections met, and other states of the same one, such as after a restart.
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
    /// The longest time from finding one broken to having it again; `null` when none was opened again.
    pub outage_max_ms: Option<f64>,
    /// Workers whose connection was broken when they ended.
    pub disconnected: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tool {
    pub version: String,
    /// The command line, without secrets.
    pub command: String,
}

/// The JSON Schema of `RunResult`; committed as `docs/muster.result.v1.schema.json`. Unknown fields are allowed, because
/// later versions add some.
#[cfg(feature = "schema")]
pub fn json_schema() -> schemars::Schema {
    let mut schema = schemars::schema_for!(RunResult);
    schema.insert("$id".to_owned(), "urn:muster:result:v1".into());
    schema.insert("title".to_owned(), "The result of a Muster run (muster.result/v1)".into());
    schema
}
