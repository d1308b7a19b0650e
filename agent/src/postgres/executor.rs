//! One worker's connection and its statements: opened before the start, kept through errors, opened anew when it broke, and one row
//! after the other executed on it. The timing itself is `call`'s.

use std::fmt::Display;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use muster_common::limits;
use muster_common::measurement::{Outcome, QueryError, SqlState};
use muster_common::protocol::Protocol;
use muster_common::query::quote;
use muster_proto::control::{Database, PrepareFailed, Statement};
use postgres_protocol::message::frontend as write;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_postgres::{CancelToken, Client};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::address::Address;
use super::answer::Reduction;
use super::call::{Call, Execution, Source, timed};
use super::connect::{self, SessionSetup, Wire};
use super::frontend::{ERROR_RESPONSE, Frontend, Lost};
use super::pool::{Connector, PoolError, WorkerPool};
use super::server::describe_server;
use super::server_error::ServerError;
use super::settings::Settings;
use super::unprepared::no_database;

/// What every worker of a session opens its connection with.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) settings: Arc<Settings>,
    pub(crate) setup: SessionSetup,
    pub(crate) application_name: String,
    /// At least one.
    pub(crate) statements: Vec<Statement>,
    pub(crate) protocol: Protocol,
    pub(crate) timeout: Option<Duration>,
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
}

/// One held connection that executes rows.
pub(crate) struct Executor {
    target: Arc<Target>,
    sources: Vec<Source>,
    pool: WorkerPool,
    /// `None` after the connection broke or was given up.
    live: Option<Box<Live>>,
    cancel: CancellationToken,
    /// Made once: to wait for it anew with every row costs more than the row's own way through this file.
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    reconnects: u64,
    /// Set while the database has been away for longer than [`limits::RECONNECT_TIMEOUT`].
    away: Option<Away>,
}

/// A connection and its statements. Taken out of the pool for good: dropping it ends the connection, and nobody gets it again.
struct Live {
    frontend: Frontend,
    /// Which of several hosts answered.
    address: Address,
    token: CancelToken,
    calls: Vec<Call>,
    reduction: Reduction,
}

/// One execution of one row. An SQL error, a timeout and a lost connection are outcomes, too.
pub struct Executed {
    pub start: Instant,
    pub service_time: Duration,
    /// Which execution of its statement on its connection, from 1; 0 when there was no connection.
    pub number: u32,
    pub outcome: Outcome,
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

type Cancelled<'a> = Pin<&'a mut WaitForCancellationFutureOwned>;

/// Why a query in flight is cancelled on the server.
enum Interruption {
    Timeout(Duration),
    SessionEnded,
}

impl Target {
    fn pool(&self) -> Result<WorkerPool, PoolError> {
        let settings = Arc::clone(&self.settings);
        WorkerPool::try_new(Connector::new(settings, self.application_name.clone(), self.setup.clone()))
    }
}

impl Executor {
    /// Connects, asks the server what it is, prepares the statements.
    pub(crate) async fn open(
        target: Arc<Target>,
        cancel: CancellationToken,
    ) -> Result<(Self, Prepared), PrepareFailed> {
        let pool = target.pool().map_err(|error| no_database(&error))?;
        let connecting = Instant::now();
        let (client, wire) = pool.get().await.map_err(|error| no_database(&error))?;
        let client = Object::take(client);
        let connect = connecting.elapsed();
        let facts = describe_server(&client).await.map_err(|error| no_database(&error))?;
        let sources: Vec<Source> =
            target.statements.iter().map(|statement| Source::of(statement, &facts)).collect();
        let preparing = Instant::now();
        let live = Live::prepare(&client, wire, &sources).await?;
        let prepare = preparing.elapsed();
        let first = sources.first().ok_or_else(|| no_database(&"the run has no statement"))?;
        let prepared = Prepared {
            connect,
            prepare,
            database: Database {
                server_version: facts.server_version,
                timescaledb: facts.timescaledb,
                settings: facts.settings,
            },
            sql: first.sql.clone(),
            bucket_function: first.bucket_function.map(|function| function.to_string()),
            versus: None,
        };
        let cancelled = Box::pin(cancel.clone().cancelled_owned());
        let (live, reconnects, away) = (Some(Box::new(live)), 0, None);
        Ok((Self { target, sources, pool, live, cancel, cancelled, reconnects, away }, prepared))
    }

    /// Values per row of a statement; `None` when there is no such statement.
    pub(crate) fn parameters(&self, statement: u16) -> Option<usize> {
        self.sources.get(usize::from(statement)).map(|source| source.parameters)
    }

    pub(crate) fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// The session's name in the database, now and after a reconnect: an agent that stood by has taken a slot.
    pub(crate) async fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        let target = Target { application_name: application_name.to_owned(), ..(*self.target).clone() };
        let pool = target.pool().map_err(|error| cannot_connect(error.to_string()))?;
        // One that ended takes the name when it is opened anew.
        if let Some(live) = &mut self.live
            && live.frontend.is_open()
        {
            live.rename(application_name).await?;
        }
        (self.target, self.pool) = (Arc::new(target), pool);
        Ok(())
    }

    /// Runs one row. `None` when the session ends before it does.
    ///
    /// # Panics
    /// For a statement or a number of values other than [`parameters`](Self::parameters) says.
    pub(crate) async fn execute(&mut self, statement: u16, values: &[Option<&str>]) -> Option<Executed> {
        match self.connected().await? {
            Ok(live) => self.execute_on(live, statement.into(), values).await,
            Err(error) => Some(not_sent(0, error)),
        }
    }

    /// Keeps the connection for the next row unless it ended, or a cancel is on its way, which might come late and meet that row.
    async fn execute_on(
        &mut self,
        mut live: Box<Live>,
        statement: usize,
        values: &[Option<&str>],
    ) -> Option<Executed> {
        let (source, call) = (&self.sources[statement], &mut live.calls[statement]);
        let number = call.next_number();
        if let Err(error) = call.write(self.target.protocol, source, values, live.frontend.outgoing()) {
            self.live = Some(live);
            return Some(not_sent(number, cannot_send(&error)));
        }
        let begun = Instant::now();
        let Live { frontend, address, token, reduction, calls: _ } = &mut *live;
        let ended = {
            let mut execution = std::pin::pin!(timed(frontend, reduction));
            tokio::select! {
                biased;
                execution = &mut execution => Ok(execution),
                interruption = interruption(self.cancelled.as_mut(), self.target.timeout) => {
                    // Both at once: the clock must see the query end while the cancel is still under way.
                    let cancel = cancel_on_server(&self.target.settings, address, token);
                    let cancelled = timeout(limits::CANCEL_GRACE, cancel);
                    let (_, execution) = tokio::join!(cancelled, timeout(limits::CANCEL_GRACE, execution));
                    Err((interruption, execution.ok()))
                }
            }
        };
        match ended {
            Ok(Execution { start, service_time, connection }) => {
                let (outcome, is_over) = match (live.reduction.finish(), connection) {
                    // The server's words, where it had any, say more than the end that followed.
                    (Err(error), connection) => {
                        (Outcome::Failed(error.to_query_error()), error.is_fatal || connection.is_err())
                    }
                    (Ok(_), Err(lost)) => (Outcome::Failed(cannot_go_on(&lost)), true),
                    (Ok(answer), Ok(())) => (Outcome::Completed(answer), false),
                };
                self.live = Some(live).filter(|_| !is_over);
                Some(Executed { start, service_time, number, outcome })
            }
            Err((Interruption::SessionEnded, _)) => None,
            Err((Interruption::Timeout(limit), execution)) => {
                let service_time = execution.map(|execution| execution.service_time);
                Some(Executed {
                    start: begun,
                    service_time: service_time.unwrap_or(limit + limits::CANCEL_GRACE),
                    number,
                    outcome: Outcome::Failed(timed_out(limit, service_time)),
                })
            }
        }
    }

    /// The held connection, or a new one. Waits for the database, within bounds and off the timed path. `None` when the session ends.
    async fn connected(&mut self) -> Option<Result<Box<Live>, QueryError>> {
        // One that ended while it was idle has not met the row.
        if let Some(mut live) = self.live.take()
            && live.frontend.is_open()
        {
            return Some(Ok(live));
        }
        let patience = match &self.away {
            Some(away) if Instant::now() < away.try_again_at => return Some(Err(away.error.clone())),
            Some(_) => limits::RETRY_MAX,
            None => limits::RECONNECT_TIMEOUT,
        };
        let deadline = Instant::now() + patience;
        let mut delay = limits::RETRY_FIRST;
        loop {
            let attempt = tokio::select! {
                () = self.cancel.cancelled() => return None,
                attempt = timeout_at(deadline.into(), Live::open(&self.pool, &self.sources)) => attempt,
            };
            let error = match attempt {
                Ok(Ok(live)) => {
                    self.reconnects += 1;
                    self.away = None;
                    return Some(Ok(Box::new(live)));
                }
                Ok(Err(error)) => error,
                Err(_) => cannot_connect(format!("no connection within {patience:?}")),
            };
            if Instant::now() + delay >= deadline {
                let try_again_at = Instant::now() + limits::RETRY_MAX;
                self.away = Some(Away { error: error.clone(), try_again_at });
                return Some(Err(error));
            }
            tokio::select! {
                () = self.cancel.cancelled() => return None,
                () = sleep(delay) => delay = (delay * 2).min(limits::RETRY_MAX),
            }
        }
    }
}

impl Live {
    async fn open(pool: &WorkerPool, sources: &[Source]) -> Result<Self, QueryError> {
        let (client, wire) = pool.get().await.map_err(|error| cannot_connect(error.to_string()))?;
        let prepared = Self::prepare(&Object::take(client), wire, sources).await;
        prepared.map_err(|failed| cannot_connect(format!("prepare: {}", failed.message)))
    }

    /// The client's part is over then.
    async fn prepare(client: &Client, wire: Wire, sources: &[Source]) -> Result<Self, PrepareFailed> {
        let (address, token) = (wire.address.clone(), client.cancel_token());
        let mut frontend = wire.into_frontend().map_err(|error| no_database(&error))?;
        let mut calls = Vec::with_capacity(sources.len());
        for (index, source) in sources.iter().enumerate() {
            calls.push(Call::prepare(&mut frontend, index, source).await?);
        }
        Ok(Self { frontend, address, token, calls, reduction: Reduction::new() })
    }

    async fn rename(&mut self, application_name: &str) -> Result<(), QueryError> {
        let cannot = |problem: &dyn Display| {
            cannot_connect(format!("name the session '{application_name}': {problem}"))
        };
        let set = format!("SET application_name = {}", quote(application_name));
        write::query(&set, self.frontend.outgoing()).map_err(|error| cannot(&error))?;
        let mut refused = None;
        let answered = self.frontend.exchange(|message| {
            if message.tag == ERROR_RESPONSE {
                refused = Some(ServerError::parse(message.body));
            }
        });
        answered.await.map_err(|lost| cannot(&lost))?;
        refused.map_or(Ok(()), |error| Err(cannot(&error.message)))
    }
}

async fn interruption(cancelled: Cancelled<'_>, limit: Option<Duration>) -> Interruption {
    let expired = async {
        match limit {
            Some(limit) => {
                sleep(limit).await;
                Interruption::Timeout(limit)
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = cancelled => Interruption::SessionEnded,
        interruption = expired => interruption,
    }
}

async fn cancel_on_server(settings: &Settings, address: &Address, token: &CancelToken) {
    if let Err(error) = connect::cancel(settings, address, token).await {
        tracing::warn!("cannot {error}");
    }
}

/// A query that outlived `--timeout` has failed, even if its answer came before the cancel did.
fn timed_out(limit: Duration, ended: Option<Duration>) -> QueryError {
    let end = match ended {
        Some(_) => "cancelled on the server".to_owned(),
        None => format!("the server did not end it within {:?} of the cancel", limits::CANCEL_GRACE),
    };
    let message = format!("no answer within {limit:?} (--timeout); {end}");
    QueryError { sqlstate: SqlState::QUERY_CANCELED, message }
}

fn cannot_connect(message: String) -> QueryError {
    QueryError { sqlstate: SqlState::CANNOT_CONNECT, message }
}

fn cannot_send(error: &io::Error) -> QueryError {
    QueryError { sqlstate: SqlState::CANNOT_SEND, message: format!("the row cannot be sent: {error}") }
}

fn cannot_go_on(lost: &Lost) -> QueryError {
    QueryError { sqlstate: SqlState::CONNECTION_FAILURE, message: lost.to_string() }
}

/// A row that never reached the server.
fn not_sent(number: u32, error: QueryError) -> Executed {
    let (start, service_time) = (Instant::now(), Duration::ZERO);
    Executed { start, service_time, number, outcome: Outcome::Failed(error) }
}
