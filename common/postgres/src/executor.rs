//! The connection of one worker and its statements. It is opened before the start, kept after errors and opened again when it is lost. Rows
//! are executed on it one after another, which blocks the worker's thread. Connections are opened by tokio-postgres on the agent's runtime.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use muster_common::limits;
use muster_common::protocol::{Protocol, ResultFormat, UsedFormat};
use muster_common::query::quote;
use muster_common::sample::{Answer, Outcome, QueryError, SqlState};
use muster_common::server_identity::ServerIdentity;
use muster_proto::control::{Database, PrepareFailed, Statement};
use postgres_protocol::message::frontend as write;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout_at};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::answer::ResultAccumulator;
use super::call::{PreparedStatement, Source};
use super::connect::{LocalSettings, SessionSetup, WorkerConnection, connect_worker};
use super::failure::ConnectError;
use super::frontend::{ERROR_RESPONSE, Exchanged, Frontend, Lost};
use super::identity::identify;
use super::in_flight::{InFlight, Interrupter, Interruption};
use super::peer::Peer;
use super::pooler;
use super::previous::{self, Previous};
use super::result_format;
use super::role::RoleRule;
use super::server::{ServerFacts, describe_server};
use super::server_error::ServerError;
use super::settings::Settings;
use super::unprepared::no_database;
use muster_process::random;

/// The configuration with which every worker of a session opens its connection.
#[derive(Debug, Clone)]
pub struct Target {
    pub settings: Arc<Settings>,
    pub setup: SessionSetup,
    /// The application name of the session. Behind a pooler each worker adds its number ([`Target::worker_name`]).
    pub application_name: String,
    /// The statements of the run, at least one.
    pub statements: Vec<Statement>,
    pub protocol: Protocol,
    /// The requested format. `None` is binary, or text for a statement with a type that has no binary output.
    pub results: Option<ResultFormat>,
    pub timeout: Option<Duration>,
    pub role: RoleRule,
    /// Descriptions of the databases for which the warning about a superuser has been logged.
    pub warned: Arc<Mutex<BTreeSet<String>>>,
}

/// The durations and results of connecting and preparing.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub connect: Duration,
    pub prepare: Duration,
    pub database: Database,
    /// The text of the first statement.
    pub sql: String,
    pub bucket_function: Option<String>,
    /// The second database of a run that compares two.
    pub versus: Option<Database>,
    /// The format of each statement's results.
    pub results: Vec<UsedFormat>,
    /// At least one of the databases is behind a connection pooler.
    pub is_pooled: bool,
}

/// Executes rows on one persistent connection.
pub struct Executor {
    target: Arc<Target>,
    worker: u16,
    /// The agent's runtime, used for everything except queries.
    runtime: Handle,
    sources: Vec<Source>,
    /// `None` after the connection was lost or closed.
    live: Option<Box<Live>>,
    /// The connection that was lost during a query, until that query is known to have ended.
    previous: Option<Previous>,
    cancel: CancellationToken,
    /// The time at which the connection was found broken. `None` while there is a connection, and after the worker itself closed it.
    broken_since: Option<Instant>,
    /// Set while the database has been unavailable for longer than [`limits::RECONNECT_TIMEOUT`].
    unavailable: Option<Unavailable>,
    /// The time and details of a reconnect, for the next row to report.
    reconnected: Option<(Instant, Box<Reconnect>)>,
    /// The reason why there is no connection for the next row.
    problem: Option<QueryError>,
}

/// An open connection and its statements. Dropping it closes the connection.
struct Live {
    frontend: Frontend,
    in_flight: InFlight,
    /// The time at which the connection was last known to be open.
    open_at: Instant,
    /// The address of the server, one of those in the settings.
    address: Address,
    server: ServerIdentity,
    peer: Peer,
    /// The settings of each transaction behind a pooler. `None` where the session keeps its settings.
    local: Option<LocalSettings>,
    statements: Vec<PreparedStatement>,
    accumulator: ResultAccumulator,
}

/// A connection for the next row, with the reconnect if there was one, or the reason why there is none.
type Connected = Result<(Box<Live>, Option<Reconnect>), QueryError>;

/// One execution of one row. An SQL error, a timeout and a lost connection are outcomes too.
pub struct Executed {
    pub start: Instant,
    pub service_time: Duration,
    /// The number of the execution of this statement on this connection, from 1. 0 if there was no connection.
    pub number: u32,
    pub outcome: Outcome,
    /// The time at which the connection was open again or the attempt was given up. `None` if there was no reconnect. The time until then
    /// is neither lag nor generator delay.
    pub connected_at: Option<Instant>,
    /// The reconnect that preceded this execution.
    pub reconnect: Option<Box<Reconnect>>,
}

/// A connection that was opened again during the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconnect {
    /// The time since the connection was found broken. `None` when the worker itself closed the connection after `--timeout`.
    pub outage: Option<Duration>,
    pub server: ServerIdentity,
}

impl Executed {
    pub fn end(&self) -> Instant {
        self.start + self.service_time
    }
}

/// A database that remains unavailable. Rows fail immediately, and a new attempt is made at `retry_at`.
struct Unavailable {
    error: QueryError,
    retry_at: Instant,
}

/// The reason why a worker has no connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CannotOpen(String);

impl From<ConnectError> for CannotOpen {
    fn from(error: ConnectError) -> Self {
        Self(error.to_string())
    }
}

fn cannot_open(error: impl Display) -> CannotOpen {
    CannotOpen(error.to_string())
}

/// The state of the connection is checked before a row if the last query ended longer ago than this. Shortly after a query the connection
/// is unlikely to be closed, and the check is a system call.
const CHECK_AFTER: Duration = Duration::from_millis(1);

const SESSION_ENDED: &str = "the session has ended";

/// The information about the server that is read when a worker connects for the first time.
struct Opened {
    connect: Duration,
    facts: ServerFacts,
    server: ServerIdentity,
}

impl Target {
    /// Logs a warning once for each database.
    fn warn_of_superuser(&self) {
        let database = self.settings.describe();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if self.role == RoleRule::WarnOfSuperuser && warned.insert(database.clone()) {
            tracing::warn!(
                "the role of {database} is a superuser, and the coordinator's SQL runs with its privileges: use a role that can only read \
                 (agent --require-read-only-role prints how to make one)"
            );
        }
    }

    /// Returns the application name of one worker. Behind a pooler, only this name distinguishes its queries from those of other clients.
    fn worker_name(&self, worker: u16) -> String {
        format!("{}/{worker}", self.application_name)
    }
}

impl Executor {
    /// Connects, reads the server's properties and prepares the statements. Blocks, so another thread must drive `runtime`.
    pub fn open(
        target: Arc<Target>,
        worker: u16,
        cancel: CancellationToken,
        runtime: Handle,
    ) -> Result<(Self, Prepared), PrepareFailed> {
        let opened = runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(cannot_open(SESSION_ENDED)),
                opened = open_first_connection(&target) => opened,
            }
        });
        let connection = opened.map_err(|error| no_database(&error))?;
        let (is_pooled, Opened { connect, facts, server }) =
            (connection.peer.is_pooler(), &connection.answer);
        let mut settings = facts.settings.clone();
        if let (true, Some(mode)) = (is_pooled, target.setup.plan_cache_mode) {
            // Each transaction of the run sets this mode, but the query that read the settings did not.
            settings.insert("plan_cache_mode".to_owned(), mode.to_string());
        }
        let mut sources: Vec<Source> =
            target.statements.iter().map(|statement| Source::new(statement, facts)).collect();
        let prepared = Prepared {
            connect: *connect,
            prepare: Duration::ZERO,
            database: Database {
                server_version: facts.server_version.clone(),
                timescaledb: facts.timescaledb.clone(),
                settings,
                identities: vec![server.clone()],
            },
            sql: sources.first().ok_or_else(|| no_database(&"the run has no statement"))?.sql.clone(),
            bucket_function: sources[0].bucket_function.map(|function| function.to_string()),
            versus: None,
            results: Vec::new(),
            is_pooled,
        };
        let preparing = Instant::now();
        let server = server.clone();
        let deadline = preparing + limits::PREPARE_TIMEOUT;
        let context = Context { target: &target, worker, runtime: &runtime, cancel: &cancel, deadline };
        let mut live = Live::prepare(context, connection, server, &sources)?;
        let prepare = preparing.elapsed();
        let types: Vec<_> = live.statements.iter().map(|statement| statement.result_types.clone()).collect();
        let choose = |frontend: &mut Frontend| {
            result_format::choose(frontend, &types, target.protocol, target.results)
        };
        let results = live.ask(choose).ok_or_else(|| no_database(&SESSION_ENDED))?;
        let results = results.map_err(|lost| no_database(&lost))?;
        for (source, used) in sources.iter_mut().zip(&results) {
            source.format = used.format;
        }
        let executor = Self {
            target,
            worker,
            runtime,
            sources,
            live: Some(Box::new(live)),
            previous: None,
            cancel,
            broken_since: None,
            unavailable: None,
            reconnected: None,
            problem: None,
        };
        Ok((executor, Prepared { prepare, results, ..prepared }))
    }

    /// Requests the results of this statement as text.
    pub fn request_text(&mut self, statement: usize) {
        if let Some(source) = self.sources.get_mut(statement) {
            source.format = ResultFormat::Text;
        }
    }

    /// Returns the number of values per row of a statement. `None` if there is no such statement.
    pub fn parameters(&self, statement: u16) -> Option<usize> {
        self.sources.get(usize::from(statement)).map(|source| source.parameters)
    }

    /// Returns the time for which the connection has been broken. `None` if it is not known to be broken.
    pub fn disconnected(&self) -> Option<Duration> {
        self.broken_since.map(|since| since.elapsed())
    }

    /// Changes the application name of this and later connections. A standby agent that takes over a slot gets a new name.
    pub fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        let target = Target { application_name: application_name.to_owned(), ..(*self.target).clone() };
        // A connection that has ended gets the name when it is opened again.
        if let Some(live) = &mut self.live
            && live.frontend.is_open()
        {
            match &mut live.local {
                Some(local) => *local = target.setup.local(&target.worker_name(self.worker)),
                None => live.rename(application_name)?,
            }
        }
        self.target = Arc::new(target);
        Ok(())
    }

    /// Reconnects if the connection has ended, which takes up to [`limits::RECONNECT_TIMEOUT`]. Called before each row, so that the caller
    /// can check afterwards whether the row may still begin. Returns `None` when the session ends. A failure becomes the outcome of the
    /// next row.
    pub fn connect(&mut self) -> Option<()> {
        match self.ensure_connected()? {
            Ok((live, None)) => self.live = Some(live),
            Ok((live, Some(reconnect))) => {
                self.live = Some(live);
                self.reconnected = Some((Instant::now(), Box::new(reconnect)));
            }
            Err(error) => self.problem = Some(error),
        }
        Some(())
    }

    /// Runs one row, after [`connect`](Self::connect). Returns `None` when the session ends first.
    ///
    /// # Panics
    /// When the statement or the number of values differs from [`parameters`](Self::parameters).
    pub fn execute(&mut self, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
        let problem = self.problem.take();
        let Some(live) = self.live.take() else {
            let error = problem.unwrap_or_else(|| cannot_connect("there is no connection".to_owned()));
            return Some(Executed { connected_at: Some(Instant::now()), ..not_sent(0, error) });
        };
        let reconnected = self.reconnected.take();
        let executed = self.execute_on(live, statement.into(), values)?;
        Some(match reconnected {
            None => executed,
            Some((at, reconnect)) => {
                Executed { connected_at: Some(at), reconnect: Some(reconnect), ..executed }
            }
        })
    }

    /// Runs one row on this connection. Keeps the connection for the next row, unless it ended or a cancel request was sent, which may
    /// arrive during that row.
    fn execute_on(
        &mut self,
        mut live: Box<Live>,
        statement: usize,
        values: &[Option<&str>],
    ) -> Option<Executed> {
        let (source, prepared) = (&self.sources[statement], &mut live.statements[statement]);
        let number = prepared.next_number();
        let (protocol, local) = (self.target.protocol, live.local.as_ref());
        if let Err(error) = prepared.write(protocol, source, local, values, live.frontend.outgoing()) {
            self.live = Some(live);
            return Some(not_sent(number, cannot_send(&error)));
        }
        if !live.in_flight.begin(live.open_at) {
            return None;
        }
        let Live { frontend, accumulator, in_flight, .. } = &mut *live;
        let Exchanged { start, time: service_time, connection } =
            frontend.exchange(|message| accumulator.take(message));
        let interruption = in_flight.end();
        let executed = |outcome| {
            Some(Executed { start, service_time, number, outcome, connected_at: None, reconnect: None })
        };
        if interruption == Some(Interruption::SessionEnded) {
            return None;
        }
        if connection.is_err() {
            self.remember_lost_query(&live);
        }
        if let (Some(Interruption::Timeout), Some(limit)) = (interruption, self.target.timeout)
            && (service_time > limit || connection.is_err())
        {
            let ended = Some(service_time).filter(|_| !live.in_flight.is_shut_down());
            let service_time = ended.unwrap_or(limit + limits::CANCEL_GRACE);
            let outcome = Outcome::Failed(timed_out(limit, ended));
            return executed(outcome).map(|executed| Executed { service_time, ..executed });
        }
        let (outcome, is_over) = match (live.accumulator.finish(), connection) {
            // The server's error, if there is one, explains more than the end of the connection.
            (Err(error), connection) => {
                let is_over = error.is_fatal || connection.is_err();
                let hint = hint(error.sqlstate, self.target.setup.read_only, self.sources[statement].format);
                let hint = hint.or(pooler::hint(error.sqlstate).filter(|_| live.local.is_some()));
                (Outcome::Failed(error.into_query_error(hint)), is_over)
            }
            (Ok(_), Err(lost)) => (Outcome::Failed(connection_lost(&lost)), true),
            (Ok(answer), Ok(())) if self.sources[statement].format == ResultFormat::Text => {
                (check_timeout(self.target.timeout, service_time, answer.as_text()), false)
            }
            (Ok(answer), Ok(())) => (check_timeout(self.target.timeout, service_time, answer), false),
        };
        if is_over {
            self.broken_since = Some(Instant::now());
        }
        live.open_at = start + service_time;
        // If the query was interrupted, a cancel request is still on its way, even though the query ended in time.
        self.live = Some(live).filter(|_| !is_over && interruption.is_none());
        executed(outcome)
    }

    /// Remembers the query of the lost connection, which may still be running. No other query runs until it has ended.
    fn remember_lost_query(&mut self, live: &Live) {
        self.previous = Some(Previous {
            address: live.address.clone(),
            server: live.server.clone(),
            peer: live.peer.clone(),
            application_name: self.target.worker_name(self.worker),
            lost_at: Instant::now(),
        });
    }

    /// Closes the prepared statements in a session that other clients share, if the connection still exists.
    pub fn close(&mut self) {
        if let Some(mut live) = self.live.take()
            && live.local.is_some()
        {
            // If this times out, the pooler's own reset removes the rest.
            let _ = live.close();
        }
    }

    /// Returns the current connection or a new one. Waits for the database, with a limit and off the timed path. Returns `None` when the
    /// session ends.
    fn ensure_connected(&mut self) -> Option<Connected> {
        if let Some(mut live) = self.live.take() {
            if live.is_open() {
                return Some(Ok((live, None)));
            }
            // The connection ended while it was idle, so this row was not sent on it.
            self.broken_since = Some(Instant::now());
        }
        let limit = match &self.unavailable {
            Some(unavailable) if Instant::now() < unavailable.retry_at => {
                return Some(Err(unavailable.error.clone()));
            }
            _ => limits::RECONNECT_TIMEOUT,
        };
        let began = Instant::now();
        let deadline = began + limit;
        let mut delay = limits::RETRY_FIRST;
        loop {
            let error = match self.reopen(deadline)? {
                Ok(live) => {
                    (self.unavailable, self.previous) = (None, None);
                    let outage = self.broken_since.take().map(|since| since.elapsed());
                    let server = live.server.clone();
                    return Some(Ok((Box::new(live), Some(Reconnect { outage, server }))));
                }
                Err(Some(error)) => error,
                Err(None) => match &self.unavailable {
                    Some(unavailable) => unavailable.error.clone(),
                    None => cannot_connect(format!("no connection within {limit:?}")),
                },
            };
            self.broken_since.get_or_insert(began);
            // A database that is known to be unavailable is tried once. This may take as long as all its servers and the previous one need
            // to respond, because a shorter attempt could not succeed.
            if self.unavailable.is_some() || Instant::now() + delay >= deadline {
                let retry_at = Instant::now() + limits::RETRY_MAX;
                self.unavailable = Some(Unavailable { error: error.clone(), retry_at });
                return Some(Err(error));
            }
            let slept = async {
                tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => None,
                    () = sleep(delay) => Some(()),
                }
            };
            self.runtime.block_on(slept)?;
            delay = (delay * 2).min(limits::RETRY_MAX);
        }
    }

    /// Reconnects and prepares the statements, after the query of the lost connection has ended. Returns `None` when the session ends. The
    /// error is `None` at the deadline.
    fn reopen(&self, deadline: Instant) -> Option<Result<Live, Option<QueryError>>> {
        let Self { target, worker, runtime, cancel, .. } = self;
        let opened = runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                opened = timeout_at(deadline.into(), self.open_connection()) => Some(opened),
            }
        })?;
        let connection = match opened {
            Ok(Ok(connection)) => connection,
            Ok(Err(CannotOpen(message))) => return Some(Err(Some(cannot_connect(message)))),
            Err(_) => return Some(Err(None)),
        };
        let context = Context { target, worker: *worker, runtime, cancel, deadline };
        let server = connection.answer.clone();
        let live = Live::prepare(context, connection, server, &self.sources);
        Some(live.map_err(|failed| Some(cannot_connect(format!("prepare: {}", failed.message)))))
    }

    async fn open_connection(&self) -> Result<WorkerConnection<ServerIdentity>, CannotOpen> {
        let Target { settings, setup, role, application_name, .. } = &*self.target;
        let ask = async |client: &Client, address: &Address, _: &Peer| {
            role.check(client).await.map_err(cannot_open)?;
            let server = identify(client, address).await;
            if let Some(previous) = &self.previous {
                let ended = if previous.server.is_same_server(&server) {
                    previous::wait_for_end(client, previous).await
                } else {
                    previous::wait_for_end_on_other_server(settings, setup, previous).await
                };
                ended.map_err(CannotOpen)?;
            }
            Ok(server)
        };
        connect_worker(settings, application_name, setup, ask).await
    }
}

/// The parameters that all connections of a worker share.
#[derive(Clone, Copy)]
struct Context<'a> {
    target: &'a Arc<Target>,
    worker: u16,
    runtime: &'a Handle,
    cancel: &'a CancellationToken,
    /// The time by which the statements must be prepared.
    deadline: Instant,
}

async fn open_first_connection(target: &Target) -> Result<WorkerConnection<Opened>, CannotOpen> {
    let connecting = Instant::now();
    let ask = async |client: &Client, address: &Address, peer: &Peer| {
        let connect = connecting.elapsed();
        let facts = describe_server(client).await.map_err(cannot_open)?;
        target.role.check(client).await.map_err(cannot_open)?;
        if facts.is_superuser {
            target.warn_of_superuser();
        }
        let server = identify(client, address).await;
        if peer.is_pooler() && target.protocol == Protocol::Prepared {
            pooler::refuse_shared_sessions(client, &target.settings, &target.setup)
                .await
                .map_err(CannotOpen)?;
        }
        Ok(Opened { connect, facts, server })
    };
    connect_worker(&target.settings, &target.application_name, &target.setup, ask).await
}

impl Live {
    /// Prepares the statements on a new connection of the worker.
    fn prepare<T>(
        context: Context<'_>,
        connection: WorkerConnection<T>,
        server: ServerIdentity,
        sources: &[Source],
    ) -> Result<Self, PrepareFailed> {
        let Context { target, worker, runtime, cancel, deadline } = context;
        let WorkerConnection { stream, token, address, peer, answer: _ } = connection;
        let local = peer.is_pooler().then(|| target.setup.local(&target.worker_name(worker)));
        let skip = match (&local, target.protocol) {
            (None, _) => 0,
            (Some(local), Protocol::Simple) => local.simple_statements,
            (Some(_), Protocol::Prepared | Protocol::Extended) => 1,
        };
        let interrupter = Interrupter {
            settings: Arc::clone(&target.settings),
            address: address.clone(),
            is_encrypted: stream.is_encrypted(),
            token,
            shutdown: stream.shutdown_handle().map_err(|error| no_database(&error))?,
        };
        let mut live = Self {
            in_flight: InFlight::watch(runtime, target.timeout, cancel.clone(), interrupter),
            frontend: Frontend::new(stream),
            open_at: Instant::now(),
            address,
            server,
            peer,
            local,
            statements: Vec::with_capacity(sources.len()),
            accumulator: ResultAccumulator::new(skip),
        };
        // The seed makes the names differ from those of other clients that share the session.
        let seed = random::seed();
        for (index, source) in sources.iter().enumerate() {
            let name = match target.protocol {
                Protocol::Prepared => format!("muster:{seed:016x}:{index}"),
                Protocol::Extended | Protocol::Simple => String::new(),
            };
            let local = live.local.clone();
            let limit = deadline.saturating_duration_since(Instant::now());
            let prepare = |frontend: &mut Frontend| {
                PreparedStatement::prepare(frontend, name, source, local.as_ref(), limit)
            };
            let statement = live.ask(prepare).ok_or_else(|| no_database(&SESSION_ENDED))??;
            live.statements.push(statement);
        }
        live.open_at = Instant::now();
        Ok(live)
    }

    /// Exchanges messages that have their own time limit. Returns `None` when the session ends.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Frontend) -> T) -> Option<T> {
        if !self.in_flight.begin_without_limit() {
            return None;
        }
        let answer = ask(&mut self.frontend);
        self.in_flight.end().is_none().then_some(answer)
    }

    /// Returns true if the connection is still open.
    fn is_open(&mut self) -> bool {
        let now = Instant::now();
        let is_open = now.saturating_duration_since(self.open_at) < CHECK_AFTER || self.frontend.is_open();
        self.open_at = now;
        is_open
    }

    /// Closes the prepared statements.
    fn close(&mut self) -> Result<(), Lost> {
        let out = self.frontend.outgoing();
        for statement in &self.statements {
            statement.close(out)?;
        }
        write::sync(out);
        self.frontend.exchange_within(limits::CLOSE_TIMEOUT, |_| ())
    }

    fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        let cannot = |problem: &dyn Display| {
            cannot_connect(format!("name the session '{application_name}': {problem}"))
        };
        let set = format!("SET application_name = {}", quote(application_name));
        write::query(&set, self.frontend.outgoing()).map_err(|error| cannot(&error))?;
        let mut refused = None;
        let answered = self.ask(|frontend| {
            frontend.exchange_within(limits::CONNECT_TIMEOUT, |message| {
                if message.tag == ERROR_RESPONSE {
                    refused = Some(ServerError::parse(message.body));
                }
            })
        });
        answered.ok_or_else(|| cannot(&SESSION_ENDED))?.map_err(|lost| cannot(&lost))?;
        refused.map_or(Ok(()), |error| Err(cannot(&error.message)))
    }
}

/// Fails a query that took longer than `--timeout`. The measured time decides, because the timer that cancels a query counts whole
/// milliseconds and may be delayed on a busy machine.
fn check_timeout(limit: Option<Duration>, service_time: Duration, answer: Answer) -> Outcome {
    match limit {
        Some(limit) if service_time > limit => {
            let message =
                format!("no answer within {limit:?} (--timeout); it arrived before the query was cancelled");
            Outcome::Failed(QueryError::new(SqlState::QUERY_CANCELED, message))
        }
        _ => Outcome::Completed(answer),
    }
}

/// The error of a query that ran longer than `--timeout`, even if it completed before it was cancelled.
fn timed_out(limit: Duration, ended: Option<Duration>) -> QueryError {
    let end = match ended {
        Some(_) => "cancelled on the server".to_owned(),
        None => format!("the server did not end it within {:?} of the cancel", limits::CANCEL_GRACE),
    };
    let message = format!("no answer within {limit:?} (--timeout); {end}");
    QueryError::new(SqlState::QUERY_CANCELED, message)
}

/// Returns how to avoid an error that is caused by this program or by the server's role.
fn hint(sqlstate: SqlState, is_read_only: bool, format: ResultFormat) -> Option<&'static str> {
    match sqlstate.as_str() {
        // This can be a type inside a record, which is not known before the statement runs.
        "42883" if format == ResultFormat::Binary => {
            Some("if a type of the result has no binary output, request the results as text: --results text")
        }
        "25006" if is_read_only => Some(
            "sessions are read-only unless the agent runs with --allow-writes; instead of --local, start agents with \
             `agent --allow-writes`",
        ),
        "25006" => Some("the server is a standby, or its sessions are read-only by default"),
        _ => None,
    }
}

fn cannot_connect(message: String) -> QueryError {
    QueryError::new(SqlState::CANNOT_CONNECT, message)
}

fn cannot_send(error: &io::Error) -> QueryError {
    QueryError::new(SqlState::CANNOT_SEND, format!("cannot send the row: {error}"))
}

fn connection_lost(lost: &Lost) -> QueryError {
    QueryError::new(SqlState::CONNECTION_FAILURE, lost.to_string())
}

/// The outcome of a row that was not sent to the server.
fn not_sent(number: u32, error: QueryError) -> Executed {
    let (start, service_time) = (Instant::now(), Duration::ZERO);
    let outcome = Outcome::Failed(error);
    Executed { start, service_time, number, outcome, connected_at: None, reconnect: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_times_out_by_its_measured_time() {
        let check = |limit: Option<u64>, service_time: u64, is_completed: bool| {
            let outcome = check_timeout(
                limit.map(Duration::from_nanos),
                Duration::from_nanos(service_time),
                Answer::default(),
            );
            assert_eq!(matches!(outcome, Outcome::Completed(_)), is_completed, "{limit:?} {service_time}");
        };
        check(None, u64::MAX, true);
        check(Some(5_000_000), 5_000_000, true);
        check(Some(5_000_000), 5_000_001, false);
        check(Some(1), 2, false);
    }
}
