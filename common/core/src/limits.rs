//! All limits and time constants of the system, with their reasons. Default values of options are here, too.

use std::time::Duration;

/// Version of the gRPC protocol. An agent of another version is refused with a message that names both versions.
pub const PROTOCOL_VERSION: u32 = 5;

// -- size of a run ---------------------------------------------------------------------------------------------------

/// Maximum number of agents in a run. Each costs two streams and a few tasks. Far more than one PostgreSQL server can use.
pub const AGENTS_MAX: u16 = 2_000;
/// Maximum number of workers (connections) of an agent. PostgreSQL's `max_connections` is 100 by default.
pub const WORKERS_PER_AGENT_MAX: u16 = 512;
/// Maximum number of rows of a workload. Row ids have 32 bits, to keep the index at 12 bytes per row.
pub const ROWS_MAX: u32 = u32::MAX - 1;
/// Maximum size of a CSV record; also bounds the parameters of a row on the wire.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Maximum number of placeholders of a statement: PostgreSQL's protocol counts parameters in 16 bits.
pub const PARAMETERS_MAX: usize = 65_535;
/// Maximum number of statements of a mix: the statement of each row is stored in one byte.
pub const STATEMENTS_MAX: usize = 255;
/// Number of a role's privileges that are named in a message. A role may have thousands.
pub const PRIVILEGES_SHOWN: usize = 5;
/// Number of invalid records that are shown; all are counted.
pub const BAD_ROWS_SHOWN: usize = 10;
/// Maximum number of hosts in the result, slowest first; the text report shows ten.
pub const HOSTS_REPORTED: usize = 1_000;
/// Maximum number of distinct errors (SQLSTATE and message) in the result; others are counted by their SQLSTATE.
pub const ERRORS_REPORTED: usize = 100;
/// Maximum length in characters of a server message that is sent and shown.
pub const MESSAGE_CHARS_MAX: usize = 1_000;
/// Maximum length in characters of a query's DETAIL, and of its HINT, that is sent and stored. Each is usually one sentence.
pub const ADVICE_CHARS_MAX: usize = 300;

/// Maximum number of records whose results are compared when they run again, in another pass or another session; takes about 3 MB. A
/// larger workload is sampled.
pub const ANSWERS_COMPARED_MAX: usize = 64 << 10;

/// Minimum free space for one read from a database connection. A response that fits into it is received with a single read.
pub const ANSWER_READ_BYTES: usize = 16 << 10;
/// Buffer size that a database connection keeps from one response to the next.
pub const ANSWER_BUFFER_BYTES_KEPT: usize = 1 << 20;
/// Maximum size of one query's result rows that are buffered for the digest until the clock has stopped; a larger result is hashed while
/// it is read.
pub const ANSWER_BYTES_KEPT: usize = 16 << 20;

/// Maximum duration that an option accepts. A clock reading plus this duration does not overflow, and no run takes longer.
pub const OPTION_TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

// -- wire --------------------------------------------------------------------------------------------------------------

/// Maximum size of a gRPC message; a batch of the largest records is smaller.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Maximum size of all statements of a run, which are sent to an agent in one message with the other settings. The rest of the message is
/// for these settings: database addresses and the time zone come from the command line or the environment, where Linux allows 128 KiB each.
pub const STATEMENTS_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (1 << 20);
/// Maximum number of rows in a batch. Waking a task for a batch costs as much as a hundred rows in it: with batches of 256, the coordinator
/// took twice the CPU per row (docs/internals/performance.md).
pub const BATCH_ROWS_MAX: usize = 1_024;
const _: () = assert!(
    BATCH_ROWS_MAX * ((MESSAGE_CHARS_MAX + 2 * ADVICE_CHARS_MAX) * 4 + 256) <= MESSAGE_BYTES_MAX,
    "a batch of failures with the longest texts must fit into a message"
);
/// Maximum size of the parameters in a batch; one more record of the largest size still fits into the message.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Maximum time that a result waits for others to share its message: a fifth of [`CREDIT_WINDOW`]. Sending a message takes CPU time from
/// running queries, which affects their tail latency on a small machine.
pub const RESULT_LINGER: Duration = Duration::from_millis(100);
/// HTTP/2 windows between agents and coordinator. The default of 64 KiB stalls a stream of batches at 100 ms of latency.
pub const HTTP2_WINDOW_BYTES: u32 = 4 << 20;
/// HTTP/2 windows of all other servers: the smallest that HTTP/2 allows for a connection.
pub const HTTP2_WINDOW_BYTES_SMALL: u32 = 65_535;
/// Buffer size of a connection within a process: a few batches of rows, like a socket's buffer, and more than any message that sets up a
/// database session.
pub const IN_PROCESS_BUFFER_BYTES: usize = 64 << 10;
/// Timeout for sending on a work stream. An agent reads its work stream at once, even if its workers are busy. An agent that sends
/// heartbeats but does not read for this long would keep its rows from other agents. The slowest useful link transfers a message of the
/// largest size in this time.
pub const WORK_SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Capacity of the queues between a session's tasks; small, because each message may be a whole batch.
pub const SESSION_QUEUE_MAX: usize = 16;

// -- journal and run directory -----------------------------------------------------------------------------------------

/// Maximum size of a record: a batch of the longest messages takes 1.1 MiB, a placement on the most workers about 8 MiB. A reader rejects a
/// larger one before allocating memory for it.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 16 << 20;
/// Maximum number of rows in a record; part of the journal's format. A writer splits larger batches, a reader rejects them.
pub const JOURNAL_RECORD_ROWS_MAX: usize = 256;
/// Maximum size of a writer's buffer; it is written when full, even without a flush.
pub const JOURNAL_BUFFER_BYTES_MAX: usize = 4 << 20;
/// A check of whether a journal is being written holds its lock for a moment; a writer waits this long before it gives up.
pub const JOURNAL_LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// Number of rows that an export to Parquet buffers before it writes them (about 20 MB), and the unit in which readers read the file.
pub const ROW_GROUP_ROWS_MAX: usize = 128 << 10;
/// Maximum size of a run's manifest. JSON takes up to six bytes for one byte of a statement, and the manifest contains the statement's
/// columns once more.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(
    7 * STATEMENTS_BYTES_MAX + MESSAGE_BYTES_MAX <= MANIFEST_BYTES_MAX,
    "the manifest of any valid run must be readable"
);
/// Maximum size of a JSON result that is compared. The result of the largest run has about 400 MB.
pub const RESULT_BYTES_MAX: usize = 512 << 20;
/// Maximum number of run names in a message.
pub const RUNS_SHOWN: usize = 10;

// -- flow of rows ------------------------------------------------------------------------------------------------------

/// Minimum window: one row running and one waiting.
pub const CREDIT_ROWS_MIN: u32 = 2;
/// Maximum window, which also bounds a worker's queue and its unacknowledged results.
pub const CREDIT_ROWS_MAX: u32 = 8_192;
/// Number of rows in flight, over all workers, beyond which no worker gets more than its share. A row in flight takes about 130 bytes in
/// the coordinator (docs/internals/performance.md). It is half a second of work for a thousand workers at 260,000 queries per second in
/// total.
pub const IN_FLIGHT_ROWS_MAX: usize = 128 << 10;
/// Minimum share of a worker.
pub const IN_FLIGHT_ROWS_OF_WORKER: usize = 64;
/// How often the workload file is checked for changes; if it was modified, all of it is read again. Rows are also checked when they are
/// read, but the rows of a small file stay in memory, so that a change would not be detected before the run ends.
pub const WORKLOAD_CHECK_EVERY: Duration = Duration::from_secs(1);
/// Duration of the work that is sent ahead to each worker.
pub const CREDIT_WINDOW: Duration = Duration::from_millis(500);

// -- start of a run ----------------------------------------------------------------------------------------------------
//
// All agents join, receive their first rows and start within a short time, on as many machines as there are or on one. The start of each
// worker must be delayed neither by the messages of the others nor by a wait for rows.

/// Interval before the start: each reply is a reading of the coordinator's clock, and at least one of them should have a short round trip.
pub const HEARTBEAT_EVERY_BEFORE_START: Duration = Duration::from_millis(250);
/// Delay of the start per agent, for the burst of joining to end and for every agent to have a reply with a short round trip.
pub const START_DELAY_PER_AGENT: Duration = Duration::from_micros(300);
/// Time between Arm and the first query: longer than any reasonable round trip, so that all agents start together.
pub const ARM_COUNTDOWN: Duration = Duration::from_millis(200);
/// No heartbeats are sent between Arm and this time after the start: the heartbeats of a thousand agents took a third of two processors and
/// delayed starts.
pub const HEARTBEAT_PAUSE_AFTER_START: Duration = Duration::from_millis(50);
/// Timeout for sending rows ahead of the start; with a slower link, the run starts with the rows that have arrived.
pub const PREFETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of rows that a worker may hold before its speed is known.
pub const CREDIT_ROWS_FIRST: u32 = 16;
/// Number of rows after which a worker sends its first results, which let its window grow. Not one: all workers start at the same moment, and
/// sending the first results would delay the start of the others.
pub const RESULTS_FIRST: u64 = 2;
/// Capacity per worker of the channel of events, so that no worker's thread waits while the session is busy: prepared, placed, a reconnect
/// and the end.
pub const EVENTS_PER_WORKER: usize = 4;
/// Stack size of a worker's thread. Opening a TLS connection needs most of it. Only pages that the thread has touched take memory.
pub const WORKER_STACK_BYTES: usize = 512 << 10;

// -- loss --------------------------------------------------------------------------------------------------------------

/// A row that was in flight when this many agent processes died is not run again, because it may be the cause.
pub const LOSSES_MAX: usize = 3;
/// Number of earlier sessions whose results an agent may hold. It gets no new rows until those results are counted, so a correct agent
/// holds results of one or two.
pub const FORMER_SESSIONS_MAX: usize = 16;
/// A process that lost its session is considered dead if it has not joined again after this time. A live process tries to join within its
/// lease ([`LEASE`]) plus [`RETRY_MAX`], and its network may need a moment to recover.
pub const RETURN_GRACE: Duration = Duration::from_secs(10);
/// `--slot-grace`: how long the slot of a lost agent waits for a replacement.
pub const SLOT_GRACE: Duration = Duration::from_secs(10);
/// How long an agent that lost its coordinator keeps its results for a coordinator that resumes the run.
pub const UNACKED_RESULTS_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of standby agents; each holds connections to the database.
pub const STANDBYS_MAX: usize = 64;
/// Timeout for terminating the backends of a lost session: connecting, terminating, and waiting until they are gone.
pub const END_BACKENDS_TIMEOUT: Duration = Duration::from_secs(15);

// -- joining from other machines ----------------------------------------------------------------------------------------

/// A machine with a wrong join string is logged at most once in this time, because an agent that a service manager restarts tries every few
/// seconds.
pub const REFUSAL_LOGGED_EVERY: Duration = Duration::from_secs(60);
/// Number of machines remembered for this purpose; takes about 64 KiB.
pub const REFUSED_MACHINES_MAX: usize = 1_024;

// -- unauthenticated connections ---------------------------------------------------------------------------------------
//
// Every listener of both programs accepts connections in the same loop and serves HTTP/2 with the same settings (common/net/src/listen). The
// memory that unauthenticated peers can take is at most (connections) × (bytes that each may send + what the settings below let it hold).

/// Maximum number of connections to the port for agents on which no agent has joined yet. Each may send [`ADMISSION_BYTES_MAX`], so
/// together they take about 40 MiB. If there is one more, the oldest is closed. This suffices for agents that start together, because a
/// connection counts only for the milliseconds until its agent has joined.
pub const UNAUTHENTICATED_CONNECTIONS_MAX: usize = 512;
/// Maximum number of these connections accepted per second: accepting one takes about 50 µs of CPU, and 1 ms with TLS. At this rate each
/// connection stays open for at least a second.
pub const UNAUTHENTICATED_CONNECTIONS_PER_SECOND: usize = UNAUTHENTICATED_CONNECTIONS_MAX;
/// Timeout for an agent to join after its connection was accepted, including the TLS handshake. An agent sends Hello at once.
pub const ADMISSION_TIMEOUT: Duration = HELLO_TIMEOUT;
/// Maximum number of bytes read from a connection before an agent has joined: a TLS handshake with a certificate chain takes up to 10 KiB,
/// Hello less than 2 KiB.
pub const ADMISSION_BYTES_MAX: u64 = 32 << 10;
/// Pause after a connection could not be accepted, most likely because of the limit on open files.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the reason is logged.
pub const ACCEPT_PROBLEM_LOGGED_EVERY: Duration = Duration::from_secs(5);
/// Maximum number of streams per connection. An agent has two; two more are for a session that replaces another one.
pub const HTTP2_STREAMS_MAX: u32 = 4;
/// Maximum decoded size of the headers of a request. An agent's take a few hundred bytes; proxies of a service mesh add more.
pub const HTTP2_HEADER_BYTES_MAX: u32 = 8 << 10;
/// Maximum number of streams that the client resets before they are served, and of streams that are reset because of client errors. If
/// there is one more, the connection is closed.
pub const HTTP2_RESETS_MAX: usize = 16;

// -- time --------------------------------------------------------------------------------------------------------------

/// Interval of an agent's heartbeats.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// An agent stops if no heartbeat sent within this time was acknowledged. Measured from *sending* the heartbeat.
pub const LEASE: Duration = Duration::from_secs(3);
/// The coordinator fences a session this long after *receiving* its last heartbeat. The agent stops earlier, without a shared clock.
pub const FENCE: Duration = Duration::from_millis(3_300);
/// `--join-timeout`.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the coordinator logs that agents are missing.
pub const JOIN_NOTICE_EVERY: Duration = Duration::from_secs(5);
/// Timeout from the first message of a connection to its Hello or Open, so that a silent peer holds no resources for longer.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for connecting to one coordinator. An agent without a coordinator tries again.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay until the next address of a host name is tried. Longer than most handshakes, so that the first address is used if it answers.
pub const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Interval of HTTP/2 pings on an idle connection, below the idle timeouts of common NATs and load balancers.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
/// Timeout from Welcome to Ready: connecting, preparing, warming up.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);
/// A worker checks before a row whether its connection is still open if the last query ended longer ago than this. Shortly after a query the
/// connection is unlikely to be closed, and the check is a system call.
pub const OPEN_CHECK_AFTER: Duration = Duration::from_millis(1);
/// Timeout for opening one database connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker whose connection broke tries to reconnect before its row fails.
pub const RECONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A query that was running when its connection was lost: the worker terminates it, or waits this long for its end, before it runs another
/// row. Shorter than [`RECONNECT_TIMEOUT`], so that the row fails with the reason.
pub const PREVIOUS_QUERY_TIMEOUT: Duration = Duration::from_secs(25);
const _: () = assert!(PREVIOUS_QUERY_TIMEOUT.as_secs() < RECONNECT_TIMEOUT.as_secs());
/// Timeout for connecting to the previous server after a failover, to terminate the query there. Short, because a failed server often does
/// not answer at all, and [`RECONNECT_TIMEOUT`] includes this time.
pub const PREVIOUS_SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of each step of the test whether a pooler shares one server connection between clients. In session mode, a full pool makes a
/// second client wait.
pub const POOLER_TEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for closing the statements on a connection that other clients share. Anything left is removed by the pooler's reset.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// After a cancel request, the server has this long to end the query before the connection is closed.
pub const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// Interval at which the cancel request is repeated, because one that arrives before its query has no effect.
pub const CANCEL_EVERY: Duration = Duration::from_secs(1);
/// Interval at which the server is asked whether the query of a lost connection has ended. Rows of its hosts wait for that.
pub const PREVIOUS_QUERY_POLL_EVERY: Duration = Duration::from_millis(20);
/// Interval at which the server is asked whether backends have ended.
pub const BACKENDS_POLL_EVERY: Duration = Duration::from_millis(50);
/// When a run ends early, queries in flight have this long before they are cancelled on the server.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout from the reply to Drain until the agent's Report, and from Bye until the streams are closed.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Bounds of the delay before an agent without a coordinator retries; the delay doubles with jitter, without an end.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
pub const RETRY_MAX: Duration = Duration::from_secs(2);

// -- which server was measured ---------------------------------------------------------------------------------------------

/// Maximum number of servers, and of states of a server, that a session or a report distinguishes. A run on more servers measures none of
/// them.
pub const SERVERS_MAX: usize = 32;
/// Reconnects that follow each other within this time are one event. Workers that lose a server together reconnect within [`RETRY_MAX`],
/// and their agents report it with the next heartbeat.
pub const RECONNECTS_QUIET: Duration = Duration::from_secs(4);

// -- server statistics -------------------------------------------------------------------------------------------------

/// Timeout for reading the server's counters once, including connecting: a few round trips. Without them, only the statistics are missing.
pub const STATS_TIMEOUT: Duration = Duration::from_secs(5);
/// After the run the workers' backends flush their counters when they exit; timeout for waiting until they have.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum of `--explain-slowest`: plans are read by people, and each takes one more execution.
pub const PLANS_MAX: u16 = 100;
/// Timeout of one execution for a plan, unless `--timeout` is shorter.
pub const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout for all plans: a report with fewer plans is better than none.
pub const EXPLAIN_ALL_TIMEOUT: Duration = Duration::from_secs(300);
/// Maximum number of earlier executions whose values are planned before an explained row, so that PostgreSQL chooses the same plan as it
/// did for the row. From the sixth execution on, PostgreSQL compares the mean cost of the custom plans so far with that of a generic plan,
/// until the generic plan is cheaper.
pub const EXPLAIN_EARLIER_MAX: usize = 100;
/// Maximum total size of these values, which are sent in one message with those of the row.
pub const EXPLAIN_EARLIER_BYTES_MAX: usize = 1 << 20;
/// After this time no further execution is planned, because planning a query on many chunks is slow.
pub const EXPLAIN_EARLIER_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of lines of a plan, and of characters of a line, that are sent and stored.
pub const PLAN_LINES_MAX: usize = 1_000;
pub const PLAN_LINE_CHARS_MAX: usize = 2_000;
/// Maximum number of hypertables that are looked up by the identifiers in the statements.
pub const HYPERTABLES_MAX: usize = 100;

// -- metrics -----------------------------------------------------------------------------------------------------------

/// Maximum number of concurrent connections to the port of `--web`. A page has one or two. If there is one more, the oldest is closed.
pub const WEB_CONNECTIONS_MAX: usize = 256;
/// Maximum number of connections accepted per second, as for metrics.
pub const WEB_CONNECTIONS_PER_SECOND: usize = WEB_CONNECTIONS_MAX;
/// Such a connection is closed after this time, even if it is in use. A page connects again.
pub const WEB_CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// Number of request bytes that such a connection may send at first, and then per second. A browser sends about 500 bytes with each
/// request, and two requests per second.
pub const WEB_REQUEST_BYTES_FIRST: u64 = 64 << 10;
pub const WEB_REQUEST_BYTES_PER_SECOND: u64 = 8 << 10;
/// The page of `--web` is rendered at most so often, for all browsers together. It takes some milliseconds.
pub const WEB_RENDERS_PER_SECOND: u64 = 4;
/// The interval at which a page asks for news.
pub const WEB_EVENT_EVERY: Duration = Duration::from_millis(500);
/// The time that open pages have to load the report and its files before the coordinator ends.
pub const WEB_FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of concurrent connections to the port of `--metrics`: far more than monitoring systems and probes need. If there is one
/// more, the oldest is closed.
pub const METRICS_CONNECTIONS_MAX: usize = 256;
/// Maximum number of connections accepted per second. At this rate each stays open for at least a second, which suffices for a page even on
/// a busy machine.
pub const METRICS_CONNECTIONS_PER_SECOND: usize = METRICS_CONNECTIONS_MAX;
/// Such a connection is closed after this time, even if it is in use.
pub const METRICS_CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// Number of request bytes that such a connection may send at first, and then per second. A request of Prometheus takes about 300 bytes,
/// and the shortest request that causes a page to be rendered about 20.
pub const METRICS_REQUEST_BYTES_FIRST: u64 = 2 << 10;
pub const METRICS_REQUEST_BYTES_PER_SECOND: u64 = 1 << 10;
/// Maximum size of a message of the gRPC health protocol, which contains the name of a service.
pub const HEALTH_MESSAGE_BYTES_MAX: usize = 1 << 10;

// -- health of the load generator --------------------------------------------------------------------------------------

/// Interval at which every process of a run samples its own health.
pub const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// Interval at which a probe thread measures scheduling delay. Like a worker between two queries, it sleeps and is woken: 200 times per
/// second, which takes 0.2 % of a core.
pub const PROBE_EVERY: Duration = Duration::from_millis(5);
/// A sample counts for the worst second if it covers at least this time.
pub const HEALTH_SECOND_NS_MIN: u64 = 500_000_000;
/// A process that uses more than this share of its available CPU is busy: work that waits for it is noticeably delayed.
pub const CPU_SHARE_MAX_PER_MILLE: u32 = 800;
/// Health totals are written after this time, and then whenever they have grown by a tenth: about sixty times in an hour.
pub const HEALTH_WRITTEN_EVERY: Duration = Duration::from_secs(10);
/// Maximum number of samples kept per host for thresholds on hosts: 256 MiB, or three times as much if every latency is above 4.29 s. Does
/// not limit the latencies of the run as a whole.
pub const HOST_SAMPLES_MAX: usize = 64 << 20;
/// Interval at which the coordinator measures the delay of its event loop. tokio's timers have a resolution of a millisecond.
pub const LOOP_PROBE_EVERY: Duration = Duration::from_millis(20);
