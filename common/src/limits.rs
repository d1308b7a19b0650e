//! Every limit and every time constant of the system, each with its reason. Defaults of options live here too.

use std::time::Duration;

/// Version of the gRPC protocol; an agent of another version is refused with a sentence that names both.
pub const PROTOCOL_VERSION: u32 = 3;

// -- size of a run ---------------------------------------------------------------------------------------------------

/// Agents of one run. Each costs two streams and a few tasks; far above what one PostgreSQL server can use.
pub const AGENTS_MAX: u16 = 2_000;
/// Workers (connections) of one agent. PostgreSQL's own `max_connections` is 100 by default.
pub const WORKERS_PER_AGENT_MAX: u16 = 512;
/// Rows of one workload: row ids are 32 bits wide to keep the index at 12 bytes a row.
pub const ROWS_MAX: u32 = u32::MAX - 1;
/// One CSV record; also bounds one row's parameters on the wire.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Placeholders of one statement: PostgreSQL's protocol counts parameters in 16 bits.
pub const PARAMETERS_MAX: usize = 65_535;
/// Statements of one mix: a row's is kept in a byte.
pub const STATEMENTS_MAX: usize = 255;
/// Bad records that are shown; all are counted.
pub const BAD_ROWS_SHOWN: usize = 10;
/// Hosts in the result, slowest first; the text report shows ten.
pub const HOSTS_REPORTED: usize = 1_000;
/// Different errors (SQLSTATE and message) in the result; the rest is counted under its SQLSTATE.
pub const ERRORS_REPORTED: usize = 100;
/// Characters of a server message that travel and are shown.
pub const MESSAGE_CHARS_MAX: usize = 1_000;

/// Result rows of one query that are kept for the digest until the clock has stopped; a larger answer is hashed while it runs.
pub const ANSWER_BYTES_KEPT: usize = 16 << 20;

// -- wire --------------------------------------------------------------------------------------------------------------

/// One gRPC message: a batch of the largest records stays below.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Rows in one batch. Waking who waits for one costs as much as a hundred rows in it: batches of 256 took the coordinator twice the
/// CPU a row (docs/PERFORMANCE.md).
pub const BATCH_ROWS_MAX: usize = 1_024;
const _: () = assert!(
    BATCH_ROWS_MAX * (MESSAGE_CHARS_MAX * 4 + 256) <= MESSAGE_BYTES_MAX,
    "a batch of failures with the longest texts fits into a message"
);
/// Bytes of parameters in one batch; one record of the largest size always fits beside it into a message.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// A result waits at most this long for others to share its message: a fifth of [`CREDIT_WINDOW`]. Sending one takes processors from
/// the queries of that moment, and on a small machine is seen in their tail.
pub const RESULT_LINGER: Duration = Duration::from_millis(100);
/// HTTP/2 windows: the default of 64 KiB stalls a stream of batches at 100 ms of latency.
pub const HTTP2_WINDOW_BYTES: u32 = 4 << 20;
/// Messages between a session's tasks; small, because each may be a whole batch.
pub const SESSION_QUEUE_MAX: usize = 16;

// -- journal and run directory -----------------------------------------------------------------------------------------

/// One record: a batch of the longest messages takes 1.1 MiB, a placement on the most workers some 8 MiB. A reader refuses more
/// before it makes room for it.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 16 << 20;
/// Rows of one record, part of the journal's format: a writer divides what is larger, a reader refuses it.
pub const JOURNAL_RECORD_ROWS_MAX: usize = 256;
/// Bytes that a writer gathers before it writes them without being asked to.
pub const JOURNAL_BUFFER_BYTES_MAX: usize = 4 << 20;
/// A look at whether a journal is being written holds its lock for a moment; a writer waits that much longer before it gives up.
pub const JOURNAL_LOCK_PATIENCE: Duration = Duration::from_millis(200);

/// Rows that an export to Parquet holds in memory until it writes them, which takes some 20 MB. Readers work by such groups, too.
pub const ROW_GROUP_ROWS_MAX: usize = 128 << 10;
/// A run's manifest, the statement included. More is not read.
pub const MANIFEST_BYTES_MAX: usize = 16 << 20;
/// A JSON result that is compared: those of the largest run have some 400 MB. More is not read.
pub const RESULT_BYTES_MAX: usize = 512 << 20;
/// Names of runs that a message lists.
pub const RUNS_SHOWN: usize = 10;

// -- flow of rows ------------------------------------------------------------------------------------------------------

/// Rows that a worker may hold before its speed is known.
pub const CREDIT_ROWS_FIRST: u32 = 16;
/// The least window: one row running, one waiting.
pub const CREDIT_ROWS_MIN: u32 = 2;
/// The largest window, and with it the bound of a worker's queue and of its results not yet acknowledged.
pub const CREDIT_ROWS_MAX: u32 = 8_192;
/// Rows sent and not settled, of all workers together, beyond which none gets more than its share: a row in flight takes some 130 bytes of
/// the coordinator (docs/PERFORMANCE.md). A thousand workers have half a second of work at 260,000 queries a second, all told.
pub const IN_FLIGHT_ROWS_MAX: usize = 128 << 10;
/// A worker's share of them at least.
pub const IN_FLIGHT_ROWS_OF_WORKER: usize = 64;
/// Work that is kept ahead of each worker.
pub const CREDIT_WINDOW: Duration = Duration::from_millis(500);

// -- loss --------------------------------------------------------------------------------------------------------------

/// A row that was in flight when so many sessions were lost is run no more: it may be what kills them.
pub const LOSSES_MAX: usize = 3;
/// `--slot-grace`: a lost agent's slot waits this long for a replacement.
pub const SLOT_GRACE: Duration = Duration::from_secs(10);
/// An agent that lost its coordinator keeps its results this long for one that takes the run up again.
pub const PARK: Duration = Duration::from_secs(60);
/// Agents that stand by at most: each holds connections to the database.
pub const STANDBYS_MAX: usize = 64;
/// Ending the backends of a lost session: connecting, asking, and waiting until they are gone.
pub const END_BACKENDS_TIMEOUT: Duration = Duration::from_secs(15);

// -- joining from other machines ----------------------------------------------------------------------------------------

/// Wrong secrets of one machine within [`JOIN_ATTEMPTS_PER`]: enough for an honest mistake in a script that starts some agents.
pub const JOIN_ATTEMPTS_MAX: u32 = 10;
pub const JOIN_ATTEMPTS_PER: Duration = Duration::from_secs(60);
/// Machines whose failures are remembered: some 64 KiB.
pub const JOIN_MACHINES_MAX: usize = 1_024;
/// From the moment at which a connection is there, its TLS handshake done, to the agent that came in by it: an agent says Hello at once,
/// and whoever does not is no agent. As long as the handshake may take.
pub const ADMISSION_TIMEOUT: Duration = HELLO_TIMEOUT;
/// TLS handshakes under way: each is a millisecond of a processor. Others wait in the kernel's queue.
pub const HANDSHAKES_MAX: usize = 64;

// -- time --------------------------------------------------------------------------------------------------------------

/// An agent sends a beat this often.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Until it is told when to start: each answer tells the coordinator's clock, and one of them is quick.
pub const BEAT_EVERY_AT_FIRST: Duration = Duration::from_millis(250);
/// For each agent the start is put off by so much, until the rush of joining is over and every one of them has had a quick answer.
pub const CALM_PER_AGENT: Duration = Duration::from_micros(300);
/// An agent stops by itself when no beat sent within this time was acknowledged. Counted from the *sending* of the beat.
pub const LEASE: Duration = Duration::from_secs(3);
/// The coordinator fences a session this long after the *receipt* of its last beat: later than the agent stops, with no clock in common.
pub const FENCE: Duration = Duration::from_millis(3_300);
/// Between Arm and the first query: longer than any round trip that makes sense, so that all agents start together.
pub const ARM_COUNTDOWN: Duration = Duration::from_millis(200);
/// No beat is sent from Arm until then: of a thousand agents beats took a third of two processors, and starts were late by that.
pub const CALM_AFTER_START: Duration = Duration::from_millis(50);
/// Rows are sent ahead of the start; a link that needs longer starts with what it has.
pub const PREFETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// `--join-timeout`.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(120);
/// While agents are missing, the coordinator says so this often.
pub const JOIN_NOTICE_EVERY: Duration = Duration::from_secs(5);
/// From the first message of a connection to its Hello or Open; a silent stranger holds nothing longer.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// From Welcome to Ready: connecting, preparing, warming up.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);
/// Opening one database connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A worker whose connection broke tries this long to get a new one before it fails its row.
pub const RECONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// After a cancel the server gets this long to end the query before the connection is dropped.
pub const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// On an early end, queries in flight get this long before they are cancelled on the server.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// From Drain answered to the agent's Report, and from Bye to the closed streams.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);
/// An agent without a coordinator waits between these bounds, doubled and jittered, and for ever.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
pub const RETRY_MAX: Duration = Duration::from_secs(2);

// -- the server's side ---------------------------------------------------------------------------------------------------

/// One look at the server's counters, connecting included: a few round trips. The run goes on without it, so little is lost.
pub const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// After the run the workers' backends hand in what they counted when they end, which is asked for at most so long.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// `--explain-slowest`: plans are for people, and each takes one more execution.
pub const PLANS_MAX: u16 = 100;
/// One execution for a plan, unless `--timeout` is shorter.
pub const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// All of them: a report that does not come is worth less than one with fewer plans.
pub const EXPLAIN_ALL_TIMEOUT: Duration = Duration::from_secs(300);
/// Lines of one plan, and characters of a line, that travel and are kept.
pub const PLAN_LINES_MAX: usize = 1_000;
pub const PLAN_LINE_CHARS_MAX: usize = 2_000;
/// Hypertables that are looked up by the words of the statements.
pub const HYPERTABLES_MAX: usize = 100;

// -- metrics -----------------------------------------------------------------------------------------------------------

/// Connections to the port of `--metrics` at a time: a few monitoring systems and probes. Others wait in the kernel's queue.
pub const METRICS_CONNECTIONS_MAX: usize = 64;
/// After so long such a connection is closed, whatever it does: nobody holds one of them for ever.
pub const METRICS_CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// After a connection could not be accepted, most likely because this process may open no more files.
pub const METRICS_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// -- health of the load generator --------------------------------------------------------------------------------------

/// Every process of a run looks at itself this often.
pub const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// A thread that does what a worker does between two queries, sleep and be woken, measures how late it is this often: 200 times a
/// second, 0.2 % of a core.
pub const PROBE_EVERY: Duration = Duration::from_millis(5);
/// An interval of at least half a second counts among the seconds of which the worst is told.
pub const HEALTH_SECOND_NS_MIN: u64 = 500_000_000;
/// A process that uses more of the CPU it may use is busy: what waits for it waits noticeably.
pub const CPU_SHARE_MAX_PER_MILLE: u32 = 800;
/// A sum of health is written down after so much time, and then whenever it has grown by a tenth: some sixty times an hour.
pub const HEALTH_WRITTEN_EVERY: Duration = Duration::from_secs(10);
/// Samples that are kept by host for thresholds on hosts: a quarter of a gigabyte, and three of them if every time is above 4.29 s.
/// The latencies of the run have no part in it.
pub const HOST_SAMPLES_MAX: usize = 64 << 20;
/// The coordinator's event loop measures how late it is this often; tokio's timers are a millisecond late by themselves.
pub const LOOP_PROBE_EVERY: Duration = Duration::from_millis(20);
