//! One worker's connection and its statements: opened before the start, kept through errors, opened again when it broke, and one row
//! after the other executed on it. It blocks the worker's thread. Connections are opened on the agent's runtime, by tokio-postgres.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use muster_common::limits;
use muster_common::measurement::{Answer, Outcome, QueryError, SqlState};
use muster_common::protocol::{Protocol, ResultFormat, UsedFormat};
use muster_common::query::quote;
use muster_common::server_identity::ServerIdentity;
use muster_proto::control::{Database, PrepareFailed, Statement};
use postgres_protocol::message::frontend as write;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout_at};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::answer::Reduction;
use super::call::{Call, Source};
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
use crate::surroundings::random_seed;

/// What every worker of a session opens its connection with.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) settings: Arc<Settings>,
    pub(crate) setup: SessionSetup,
    /// The application name of the session. Behind a pooler each worker adds its number ([`Target::worker_name`]).
    pub(crate) application_name: String,
    /// At least one.
    pub(crate) statements: Vec<Statement>,
    pub(crate) protocol: Protocol,
    /// `None`: binary, and text for a statement with a type that has no binary output.
    pub(crate) results: Option<ResultFormat>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) role: RoleRule,
    /// Databases, as described, of which a superuser was warned of.
    pub(crate) warned: Arc<Mutex<BTreeSet<String>>>,
}

/// What opening and preparing took and found.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub connect: Duration,
    pub prepare: Duration,
    pub database: Database,
    /// Of the first statement.
    pub sql: String,
    pub bucket_function: Option<String>,
    /// The second database of a run that compares two.
    pub versus: Option<Database>,
    /// One for each statement.
    pub results: Vec<UsedFormat>,
    /// At least one of the databases is behind a connection pooler.
    pub is_pooled: bool,
}

/// One held connection that executes rows.
pub(crate) struct Executor {
    target: Arc<Target>,
    worker: u16,
    /// The agent's, for everything but queries.
    runtime: Handle,
    sources: Vec<Source>,
    /// `None` after the connection broke or was given up.
    live: Option<Box<Live>>,
    /// The connection that was lost with a query under way, until that query is known to have ended.
    previous: Option<Previous>,
    cancel: CancellationToken,
    /// When the connection was found broken. `None` while there is a connection, and after the worker itself gave it up.
    broken_since: Option<Instant>,
    /// Set while the database has been away for longer than [`limits::RECONNECT_TIMEOUT`].
    away: Option<Away>,
    /// When and how the connection was opened again, for the next row to report.
    reconnected: Option<(Instant, Box<Reconnect>)>,
    /// Why there is no connection for the next row.
    problem: Option<QueryError>,
}

/// A connection and its statements. Dropping it ends the connection.
struct Live {
    frontend: Frontend,
    in_flight: InFlight,
    /// When the connection was last known to be open.
    open_at: Instant,
    /// Which of several hosts answered.
    address: Address,
    server: ServerIdentity,
    peer: Peer,
    /// The settings of each transaction behind a pooler, where the session keeps none.
    local: Option<LocalSettings>,
    calls: Vec<Call>,
    reduction: Reduction,
}

/// A connection for the next row, with the reconnect that it took, or why there is none.
type Connected = Result<(Box<Live>, Option<Reconnect>), QueryError>;

/// One execution of one row. An SQL error, a timeout and a lost connection are outcomes, too.
pub struct Executed {
    pub start: Instant,
    pub service_time: Duration,
    /// Which execution of its statement on its connection, from 1; 0 when there was no connection.
    pub number: u32,
    pub outcome: Outcome,
    /// For an execution that had to reconnect first: when the connection was open again or the attempt was given up. The time until then is
    /// neither lag nor generator delay.
    pub connected_at: Option<Instant>,
    /// The reconnect that came before this execution.
    pub reconnect: Option<Box<Reconnect>>,
}

/// A connection that was opened again during the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconnect {
    /// Measured from the moment at which the connection was found broken. `None` when the worker itself gave up the connection after
    /// `--timeout`.
    pub outage: Option<Duration>,
    pub server: ServerIdentity,
}

impl Executed {
    pub(crate) fn end(&self) -> Instant {
        self.start + self.service_time
    }
}

/// A database that does not come back: rows fail at once, and only now and then one of them tries again.
struct Away {
    error: QueryError,
    try_again_at: Instant,
}

/// Why there is no connection for a worker.
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

/// The connection is asked for its state before a row if the last query ended longer ago: between two queries in a row it is not likely to
/// end, and asking is a system call.
const CHECK_AFTER: Duration = Duration::from_millis(1);

const SESSION_ENDED: &str = "the session has ended";

/// What the server says when a worker connects for the first time.
struct Opened {
    connect: Duration,
    facts: ServerFacts,
    server: ServerIdentity,
}

impl Target {
    /// Once a process and database.
    fn warn_of_superuser(&self) {
        let database = self.settings.describe();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if self.role == RoleRule::WarnOfSuperuser && warned.insert(database.clone()) {
            tracing::warn!(
                "the role of {database} is a superuser, and the coordinator's SQL can do with it whatever it likes: use a role that can only read \
                 (agent --require-read-only-role prints how to make one)"
            );
        }
    }

    /// Behind a pooler the name is the only means to distinguish this worker's queries from others.
    fn worker_name(&self, worker: u16) -> String {
        format!("{}/{worker}", self.application_name)
    }
}

impl Executor {
    /// Connects, asks the server what it is, prepares the statements. Blocks; `runtime` is driven by another thread.
    pub(crate) fn open(
        target: Arc<Target>,
        worker: u16,
        cancel: CancellationToken,
        runtime: Handle,
    ) -> Result<(Self, Prepared), PrepareFailed> {
        let opened = runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(cannot_open(SESSION_ENDED)),
                opened = first_connection(&target) => opened,
            }
        });
        let connection = opened.map_err(|error| no_database(&error))?;
        let (is_pooled, Opened { connect, facts, server }) =
            (connection.peer.is_pooler(), &connection.answer);
        let mut settings = facts.settings.clone();
        if let (true, Some(mode)) = (is_pooled, target.setup.plan_cache_mode) {
            // Each transaction of the run sets this mode, but the one that read the settings did not.
            settings.insert("plan_cache_mode".to_owned(), mode.to_string());
        }
        let mut sources: Vec<Source> =
            target.statements.iter().map(|statement| Source::of(statement, facts)).collect();
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
        let types: Vec<_> = live.calls.iter().map(|call| call.result_types.clone()).collect();
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
            away: None,
            reconnected: None,
            problem: None,
        };
        Ok((executor, Prepared { prepare, results, ..prepared }))
    }

    /// Requests the results of this statement as text.
    pub(crate) fn take_text(&mut self, statement: usize) {
        if let Some(source) = self.sources.get_mut(statement) {
            source.format = ResultFormat::Text;
        }
    }

    /// Values per row of a statement; `None` when there is no such statement.
    pub(crate) fn parameters(&self, statement: u16) -> Option<usize> {
        self.sources.get(usize::from(statement)).map(|source| source.parameters)
    }

    /// How long the connection has been broken. `None` when it is not known to be broken.
    pub(crate) fn disconnected(&self) -> Option<Duration> {
        self.broken_since.map(|since| since.elapsed())
    }

    /// The session's name in the database, now and after a reconnect: an agent that stood by has taken a slot.
    pub(crate) fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        let target = Target { application_name: application_name.to_owned(), ..(*self.target).clone() };
        // One that ended takes the name when it is opened anew.
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

    /// Opens the connection again if it has ended, which may take as long as [`limits::RECONNECT_TIMEOUT`]. To be called before each row,
    /// so that the caller can check after it whether the row may still begin. `None` when the session ends; a problem is the outcome of the
    /// next row.
    pub(crate) fn connect(&mut self) -> Option<()> {
        match self.connected()? {
            Ok((live, None)) => self.live = Some(live),
            Ok((live, Some(reconnect))) => {
                self.live = Some(live);
                self.reconnected = Some((Instant::now(), Box::new(reconnect)));
            }
            Err(error) => self.problem = Some(error),
        }
        Some(())
    }

    /// Runs one row, after [`connect`](Self::connect). `None` when the session ends before it does.
    ///
    /// # Panics
    /// For a statement or a number of values other than [`parameters`](Self::parameters) says.
    pub(crate) fn execute(&mut self, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
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

    /// Keeps the connection for the next row unless it ended, or a cancel is on its way, which might come late and meet that row.
    fn execute_on(
        &mut self,
        mut live: Box<Live>,
        statement: usize,
        values: &[Option<&str>],
    ) -> Option<Executed> {
        let (source, call) = (&self.sources[statement], &mut live.calls[statement]);
        let number = call.next_number();
        let (protocol, local) = (self.target.protocol, live.local.as_ref());
        if let Err(error) = call.write(protocol, source, local, values, live.frontend.outgoing()) {
            self.live = Some(live);
            return Some(not_sent(number, cannot_send(&error)));
        }
        if !live.in_flight.begin(live.open_at) {
            return None;
        }
        let Live { frontend, reduction, in_flight, .. } = &mut *live;
        let Exchanged { start, time: service_time, connection } =
            frontend.exchange(|message| reduction.take(message));
        let interruption = in_flight.end();
        let executed = |outcome| {
            Some(Executed { start, service_time, number, outcome, connected_at: None, reconnect: None })
        };
        if interruption == Some(Interruption::SessionEnded) {
            return None;
        }
        if connection.is_err() {
            self.left_behind(&live);
        }
        if let (Some(Interruption::Timeout), Some(limit)) = (interruption, self.target.timeout)
            && (service_time > limit || connection.is_err())
        {
            let ended = Some(service_time).filter(|_| !live.in_flight.is_cut());
            let service_time = ended.unwrap_or(limit + limits::CANCEL_GRACE);
            let outcome = Outcome::Failed(timed_out(limit, ended));
            return executed(outcome).map(|executed| Executed { service_time, ..executed });
        }
        let (outcome, is_over) = match (live.reduction.finish(), connection) {
            // The server's words, where it had any, say more than the end that followed.
            (Err(error), connection) => {
                let is_over = error.is_fatal || connection.is_err();
                let hint = hint(error.sqlstate, self.target.setup.read_only, self.sources[statement].format);
                let hint = hint.or(pooler::hint(error.sqlstate).filter(|_| live.local.is_some()));
                (Outcome::Failed(error.into_query_error(hint)), is_over)
            }
            (Ok(_), Err(lost)) => (Outcome::Failed(cannot_go_on(&lost)), true),
            (Ok(answer), Ok(())) if self.sources[statement].format == ResultFormat::Text => {
                (within(self.target.timeout, service_time, answer.as_text()), false)
            }
            (Ok(answer), Ok(())) => (within(self.target.timeout, service_time, answer), false),
        };
        if is_over {
            self.broken_since = Some(Instant::now());
        }
        live.open_at = start + service_time;
        // A query that ended just in time has a cancel on its way.
        self.live = Some(live).filter(|_| !is_over && interruption.is_none());
        executed(outcome)
    }

    /// The query of the lost connection may still run. No other query runs until it has ended.
    fn left_behind(&mut self, live: &Live) {
        self.previous = Some(Previous {
            address: live.address.clone(),
            server: live.server.clone(),
            peer: live.peer.clone(),
            application_name: self.target.worker_name(self.worker),
            lost_at: Instant::now(),
        });
    }

    /// Leaves nothing behind in a session that other clients share, if the connection still exists.
    pub(crate) fn close(&mut self) {
        if let Some(mut live) = self.live.take()
            && live.local.is_some()
        {
            // If closing takes too long, the rest is left to the pooler's own reset.
            let _ = live.close();
        }
    }

    /// The held connection, or a new one. Waits for the database, within bounds and off the timed path. `None` when the session ends.
    fn connected(&mut self) -> Option<Connected> {
        if let Some(mut live) = self.live.take() {
            if live.is_open() {
                return Some(Ok((live, None)));
            }
            // The connection ended while it was idle, so this row was not sent on it.
            self.broken_since = Some(Instant::now());
        }
        let patience = match &self.away {
            Some(away) if Instant::now() < away.try_again_at => return Some(Err(away.error.clone())),
            _ => limits::RECONNECT_TIMEOUT,
        };
        let began = Instant::now();
        let deadline = began + patience;
        let mut delay = limits::RETRY_FIRST;
        loop {
            let error = match self.reopen(deadline)? {
                Ok(live) => {
                    (self.away, self.previous) = (None, None);
                    let outage = self.broken_since.take().map(|since| since.elapsed());
                    let server = live.server.clone();
                    return Some(Ok((Box::new(live), Some(Reconnect { outage, server }))));
                }
                Err(Some(error)) => error,
                Err(None) => match &self.away {
                    Some(away) => away.error.clone(),
                    None => cannot_connect(format!("no connection within {patience:?}")),
                },
            };
            self.broken_since.get_or_insert(began);
            // A database that is known to be away is tried once. This may take as long as all its servers and the previous one need to
            // answer, because a shorter attempt could never succeed.
            if self.away.is_some() || Instant::now() + delay >= deadline {
                let try_again_at = Instant::now() + limits::RETRY_MAX;
                self.away = Some(Away { error: error.clone(), try_again_at });
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

    /// Connects again and prepares the statements, once the query of the lost connection has ended. `None` when the session ends, and an
    /// error without a reason when the time is over.
    fn reopen(&self, deadline: Instant) -> Option<Result<Live, Option<QueryError>>> {
        let Self { target, worker, runtime, cancel, .. } = self;
        let opened = runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                opened = timeout_at(deadline.into(), self.connection_again()) => Some(opened),
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

    async fn connection_again(&self) -> Result<WorkerConnection<ServerIdentity>, CannotOpen> {
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

/// What belongs to a worker's every connection.
#[derive(Clone, Copy)]
struct Context<'a> {
    target: &'a Arc<Target>,
    worker: u16,
    runtime: &'a Handle,
    cancel: &'a CancellationToken,
    /// Until when the statements have to be prepared.
    deadline: Instant,
}

async fn first_connection(target: &Target) -> Result<WorkerConnection<Opened>, CannotOpen> {
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
    /// Prepares the statements on a connection that is the worker's from now on.
    fn prepare<T>(
        context: Context<'_>,
        connection: WorkerConnection<T>,
        server: ServerIdentity,
        sources: &[Source],
    ) -> Result<Self, PrepareFailed> {
        let Context { target, worker, runtime, cancel, deadline } = context;
        let WorkerConnection { stream, token, address, peer, answer: _ } = connection;
        let local = peer.is_pooler().then(|| target.setup.local(&target.worker_name(worker)));
        let passed_over = match (&local, target.protocol) {
            (None, _) => 0,
            (Some(local), Protocol::Simple) => local.simple_statements,
            (Some(_), Protocol::Prepared | Protocol::Extended) => 1,
        };
        let interrupter = Interrupter {
            settings: Arc::clone(&target.settings),
            address: address.clone(),
            is_encrypted: stream.is_encrypted(),
            token,
            cutter: stream.cutter().map_err(|error| no_database(&error))?,
        };
        let mut live = Self {
            in_flight: InFlight::watch(runtime, target.timeout, cancel.clone(), interrupter),
            frontend: Frontend::new(stream),
            open_at: Instant::now(),
            address,
            server,
            peer,
            local,
            calls: Vec::with_capacity(sources.len()),
            reduction: Reduction::new(passed_over),
        };
        // Other clients of the same session have other statement names.
        let seed = random_seed();
        for (index, source) in sources.iter().enumerate() {
            let name = match target.protocol {
                Protocol::Prepared => format!("muster:{seed:016x}:{index}"),
                Protocol::Extended | Protocol::Simple => String::new(),
            };
            let local = live.local.clone();
            let limit = deadline.saturating_duration_since(Instant::now());
            let call = live.ask(|frontend| Call::prepare(frontend, name, source, local.as_ref(), limit));
            live.calls.push(call.ok_or_else(|| no_database(&SESSION_ENDED))??);
        }
        live.open_at = Instant::now();
        Ok(live)
    }

    /// Exchanges messages that are bounded in another way than a row. `None` when the session ends.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Frontend) -> T) -> Option<T> {
        if !self.in_flight.begin_without_limit() {
            return None;
        }
        let answer = ask(&mut self.frontend);
        self.in_flight.end().is_none().then_some(answer)
    }

    /// Whether the connection is as the last query left it.
    fn is_open(&mut self) -> bool {
        let now = Instant::now();
        let is_open = now.saturating_duration_since(self.open_at) < CHECK_AFTER || self.frontend.is_open();
        self.open_at = now;
        is_open
    }

    /// Closes the prepared statements.
    fn close(&mut self) -> Result<(), Lost> {
        let out = self.frontend.outgoing();
        for call in &self.calls {
            call.close(out)?;
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

/// The clock decides about `--timeout`: the timer that cancels a query counts whole milliseconds and fires late on a busy machine.
fn within(limit: Option<Duration>, service_time: Duration, answer: Answer) -> Outcome {
    match limit {
        Some(limit) if service_time > limit => {
            let message = format!("no answer within {limit:?} (--timeout); it came before the cancel");
            Outcome::Failed(QueryError::new(SqlState::QUERY_CANCELED, message))
        }
        _ => Outcome::Completed(answer),
    }
}

/// A query that outlived `--timeout` has failed, even if its answer came before the cancel did.
fn timed_out(limit: Duration, ended: Option<Duration>) -> QueryError {
    let end = match ended {
        Some(_) => "cancelled on the server".to_owned(),
        None => format!("the server did not end it within {:?} of the cancel", limits::CANCEL_GRACE),
    };
    let message = format!("no answer within {limit:?} (--timeout); {end}");
    QueryError::new(SqlState::QUERY_CANCELED, message)
}

/// How to avoid an error that is caused by this program or by the server's role.
fn hint(sqlstate: SqlState, is_read_only: bool, format: ResultFormat) -> Option<&'static str> {
    match sqlstate.as_str() {
        // A type within a record: it is not known before the statement runs.
        "42883" if format == ResultFormat::Binary => {
            Some("if a type of the result has no binary output, take the results as text: --results text")
        }
        "25006" if is_read_only => Some(
            "sessions only read, unless the agent runs with --allow-writes; instead of --local, start such an agent: agent --allow-writes",
        ),
        "25006" => Some("the server is a standby, or its sessions are read-only by default"),
        _ => None,
    }
}

fn cannot_connect(message: String) -> QueryError {
    QueryError::new(SqlState::CANNOT_CONNECT, message)
}

fn cannot_send(error: &io::Error) -> QueryError {
    QueryError::new(SqlState::CANNOT_SEND, format!("the row cannot be sent: {error}"))
}

fn cannot_go_on(lost: &Lost) -> QueryError {
    QueryError::new(SqlState::CONNECTION_FAILURE, lost.to_string())
}

/// A row that never reached the server.
fn not_sent(number: u32, error: QueryError) -> Executed {
    let (start, service_time) = (Instant::now(), Duration::ZERO);
    let outcome = Outcome::Failed(error);
    Executed { start, service_time, number, outcome, connected_at: None, reconnect: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_decides_whether_a_query_was_in_time() {
        let check = |limit: Option<u64>, service_time: u64, is_completed: bool| {
            let outcome = within(
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
