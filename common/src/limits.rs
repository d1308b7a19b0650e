//! Every limit and every time constant of the system, each with its reason. Defaults of options live here too.

use std::time::Duration;

/// Version of the gRPC protocol; an agent of another version is refused with a sentence that names both.
pub const PROTOCOL_VERSION: u32 = 4;

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
/// Characters of a query's DETAIL, and of its HINT, that are sent and kept. Each is a sentence.
pub const ADVICE_CHARS_MAX: usize = 300;

/// Records whose results are compared when they run again, in another pass or another session; takes some 3 MB. A larger workload is
/// sampled.
pub const ANSWERS_COMPARED_MAX: usize = 64 << 10;

/// Result rows of one query that are kept for the digest until the clock has stopped; a larger answer is hashed while it runs.
pub const ANSWER_BYTES_KEPT: usize = 16 << 20;

/// The longest time that an option accepts. The sum of a clock reading and such a time does not overflow, and no run waits longer.
pub const OPTION_TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

// -- wire --------------------------------------------------------------------------------------------------------------

/// One gRPC message: a batch of the largest records stays below.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Size of all statements of a run, which are sent to an agent in one message with its other settings. The rest of the message is for these
/// settings: database addresses and the time zone come from the command line or the environment, where Linux allows 128 KiB for each.
pub const STATEMENTS_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (1 << 20);
/// Rows in one batch. Waking who waits for one costs as much as a hundred rows in it: batches of 256 took the coordinator twice the
/// CPU a row (docs/PERFORMANCE.md).
pub const BATCH_ROWS_MAX: usize = 1_024;
const _: () = assert!(
    BATCH_ROWS_MAX * ((MESSAGE_CHARS_MAX + 2 * ADVICE_CHARS_MAX) * 4 + 256) <= MESSAGE_BYTES_MAX,
    "a batch of failures with the longest texts fits into a message"
);
/// Bytes of parameters in one batch; one record of the largest size always fits beside it into a message.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// A result waits at most this long for others to share its message: a fifth of [`CREDIT_WINDOW`]. Sending one takes processors from
/// the queries of that moment, and on a small machine is seen in their tail.
pub const RESULT_LINGER: Duration = Duration::from_millis(100);
/// HTTP/2 windows between agents and coordinator: the default of 64 KiB stalls a stream of batches at 100 ms of latency.
pub const HTTP2_WINDOW_BYTES: u32 = 4 << 20;
/// Of every other server: the smallest that HTTP/2 allows for a connection.
pub const HTTP2_WINDOW_BYTES_SMALL: u32 = 65_535;
/// What one side of a connection within a process has written and the other has not read yet: a few batches of rows, as a socket has it.
pub const IN_PROCESS_BUFFER_BYTES: usize = 64 << 10;
/// An agent reads its work stream at once, even when its workers are busy. An agent that sends heartbeats but does not read for this long
/// keeps its rows from others. The slowest useful link transfers a message of the largest size in this time.
pub const WORK_SEND_TIMEOUT: Duration = Duration::from_secs(60);
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
/// Size of a run's manifest; a larger one is not read. JSON takes up to six bytes for one byte of a statement, and names its columns once
/// more.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(
    7 * STATEMENTS_BYTES_MAX + MESSAGE_BYTES_MAX <= MANIFEST_BYTES_MAX,
    "a run that may begin can go on"
);
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
/// How often the workload's file is checked for changes; if it was written to, all of it is read again. Rows are also checked when they are
/// read. But the rows of a small file stay in memory, so a change to it would not be found before the run ends.
pub const WORKLOAD_CHECK_EVERY: Duration = Duration::from_secs(1);
/// Work that is kept ahead of each worker.
pub const CREDIT_WINDOW: Duration = Duration::from_millis(500);

// -- loss --------------------------------------------------------------------------------------------------------------

/// A row that was in flight when this many agent processes died is given up, because it may be the cause.
pub const LOSSES_MAX: usize = 3;
/// An agent may hold results of this many earlier sessions. It gets no new rows before those results are counted, so honest agents hold
/// results of one or two.
pub const FORMER_SESSIONS_MAX: usize = 16;
/// A process whose session was lost is considered dead when it has not joined again after this time. A live process tries to join within
/// its lease ([`LEASE`]) plus [`RETRY_MAX`], and its network may need a moment to recover.
pub const RETURN_GRACE: Duration = Duration::from_secs(10);
/// `--slot-grace`: a lost agent's slot waits this long for a replacement.
pub const SLOT_GRACE: Duration = Duration::from_secs(10);
/// An agent that lost its coordinator keeps its results this long for one that takes the run up again.
pub const PARK: Duration = Duration::from_secs(60);
/// Agents that stand by at most: each holds connections to the database.
pub const STANDBYS_MAX: usize = 64;
/// Ending the backends of a lost session: connecting, asking, and waiting until they are gone.
pub const END_BACKENDS_TIMEOUT: Duration = Duration::from_secs(15);

// -- joining from other machines ----------------------------------------------------------------------------------------

/// A machine whose join string is wrong is logged once within this time: an agent that a service restarts tries every few seconds.
pub const REFUSAL_LOGGED_EVERY: Duration = Duration::from_secs(60);
/// Machines that are remembered for it: some 64 KiB.
pub const REFUSED_MACHINES_MAX: usize = 1_024;

// -- connections of strangers ------------------------------------------------------------------------------------------
//
// Every listener of both programs accepts connections by the same loop and serves HTTP/2 with the same settings (agent/src/listen). Memory
// that strangers can take is at most (connections) × (bytes that each may send + what the settings below let it hold).

/// Connections to the port that agents join by which no agent has joined yet. Each may send [`ADMISSION_BYTES_MAX`], so all of them together
/// take some 40 MiB. For one more the oldest is closed. Agents that start together need no more: a connection is counted for the milliseconds
/// until its agent has joined.
pub const STRANGERS_MAX: usize = 512;
/// Such connections that are accepted in a second: accepting one costs some 50 µs of CPU, with TLS a millisecond. At this rate each one is
/// open for a second at least.
pub const STRANGERS_PER_SECOND: usize = STRANGERS_MAX;
/// An agent says Hello at once, so a connection by which no agent joins within this time after it was accepted is closed. The TLS handshake is
/// part of it.
pub const ADMISSION_TIMEOUT: Duration = HELLO_TIMEOUT;
/// Bytes that are read of a connection before an agent has joined by it: a TLS handshake with a chain of certificates takes up to 10 KiB, Hello
/// less than 2 KiB.
pub const ADMISSION_BYTES_MAX: u64 = 32 << 10;
/// After a connection could not be accepted, most likely because the process may not open more files.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The reason is logged this often.
pub const ACCEPT_PROBLEM_LOGGED_EVERY: Duration = Duration::from_secs(5);
/// Streams of one connection. An agent has two; two more are for a session that replaces another one.
pub const HTTP2_STREAMS_MAX: u32 = 4;
/// Headers of one request, decoded. An agent's take a few hundred bytes; proxies of a service mesh add some.
pub const HTTP2_HEADER_BYTES_MAX: u32 = 8 << 10;
/// Streams that the client resets before they are served, and streams that are reset because of errors of the client; with one more the
/// connection ends.
pub const HTTP2_RESETS_MAX: usize = 16;

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
/// A query that was running when its connection was lost: the worker ends it, or waits this long for its end, before it runs another row.
/// Shorter than [`RECONNECT_TIMEOUT`], so that the row fails with the reason.
pub const PREVIOUS_QUERY_TIMEOUT: Duration = Duration::from_secs(25);
const _: () = assert!(PREVIOUS_QUERY_TIMEOUT.as_secs() < RECONNECT_TIMEOUT.as_secs());
/// After a failover: opening a connection to the first server, to end the query there. Short, because a server that failed often does not
/// answer at all, and [`RECONNECT_TIMEOUT`] includes this time.
pub const PREVIOUS_SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Each step of the test whether a pooler shares one server connection between clients. In session mode a full pool makes a second client
/// wait.
pub const POOLER_TEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Closing the statements on a connection that other clients share. The rest is left to the pooler's own reset.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// After a cancel the server gets this long to end the query before the connection is dropped.
pub const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// On an early end, queries in flight get this long before they are cancelled on the server.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// From Drain answered to the agent's Report, and from Bye to the closed streams.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);
/// An agent without a coordinator waits between these bounds, doubled and jittered, and for ever.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
pub const RETRY_MAX: Duration = Duration::from_secs(2);

// -- which server was measured ---------------------------------------------------------------------------------------------

/// The number of servers, and of states of a server, that one session or one report distinguishes. A run on more servers measures none of
/// them.
pub const SERVERS_MAX: usize = 32;
/// Reconnects that follow each other within this time are one event. Workers that lose a server together reconnect within [`RETRY_MAX`],
/// and their agents report it with the next heartbeat.
pub const RECONNECTS_QUIET: Duration = Duration::from_secs(4);

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
/// The number of executions before an explained row whose values are planned first, so that PostgreSQL chooses the same plan as for the
/// row. From the sixth execution on, PostgreSQL compares the mean cost of the custom plans so far with that of a generic plan. It stops
/// comparing when the generic plan is cheaper.
pub const EXPLAIN_EARLIER_MAX: usize = 100;
/// The total size of these values, which are sent in one message with those of the row.
pub const EXPLAIN_EARLIER_BYTES_MAX: usize = 1 << 20;
/// After this time no further one is planned: planning a query on many chunks is slow.
pub const EXPLAIN_EARLIER_TIMEOUT: Duration = Duration::from_secs(1);
/// Lines of one plan, and characters of a line, that travel and are kept.
pub const PLAN_LINES_MAX: usize = 1_000;
pub const PLAN_LINE_CHARS_MAX: usize = 2_000;
/// Hypertables that are looked up by the words of the statements.
pub const HYPERTABLES_MAX: usize = 100;

// -- metrics -----------------------------------------------------------------------------------------------------------

/// Connections to the port of `--metrics` at a time: far more than monitoring systems and probes need. For one more the oldest is closed.
pub const METRICS_CONNECTIONS_MAX: usize = 256;
/// Connections that are accepted in a second. At this rate each is open for a second at least, which is enough for a page on a busy machine.
pub const METRICS_CONNECTIONS_PER_SECOND: usize = METRICS_CONNECTIONS_MAX;
/// After this time such a connection is closed, whatever it does.
pub const METRICS_CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// Bytes of requests that such a connection may send at once, and then per second. A request of Prometheus takes some 300 bytes, and the
/// shortest request that costs a page about 20.
pub const METRICS_REQUEST_BYTES_FIRST: u64 = 2 << 10;
pub const METRICS_REQUEST_BYTES_PER_SECOND: u64 = 1 << 10;
/// A message of the gRPC health protocol: the name of a service.
pub const HEALTH_MESSAGE_BYTES_MAX: usize = 1 << 10;

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
