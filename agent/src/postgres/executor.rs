//! One worker's connection and its statements: opened before the start, kept through errors, opened anew when it broke, and one row
//! after the other executed on it. The timing itself is `call`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Object};
use muster_common::limits;
use muster_common::measurement::{Outcome, QueryError, SqlState};
use muster_common::protocol::Protocol;
use muster_proto::control::{Database, PrepareFailed, Statement};
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::answer::Rows;
use super::call::{Call, Execution, Source, timed};
use super::connect::{self, SessionSetup, Wire};
use super::failure::with_causes;
use super::pool::{Connector, PoolError, WorkerPool};
use super::server::describe_server;
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
    live: Option<Live>,
    cancel: CancellationToken,
    reconnects: u64,
    /// Set while the database has been away for longer than [`limits::RECONNECT_TIMEOUT`].
    away: Option<Away>,
}

/// A connection and its statements. Taken out of the pool for good: dropping it ends the connection, and nobody gets it again.
struct Live {
    client: ClientWrapper,
    wire: Wire,
    calls: Vec<Call>,
}

/// One execution of one row. An SQL error, a timeout and a lost connection are outcomes, too.
pub struct Executed {
    pub start: Instant,
    pub service_time: Duration,
    /// Which execution of its statement on its connection, from 1; 0 when there was no connection.
    pub number: u32,
    pub outcome: Outcome,
}

/// A database that does not come back: rows fail at once, and only now and then one of them tries again.
struct Away {
    error: QueryError,
    try_again_at: Instant,
}

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
        let calls = prepare_all(&client, &sources).await?;
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
        let live = Some(Live { client, wire, calls });
        Ok((Self { target, sources, pool, live, cancel, reconnects: 0, away: None }, prepared))
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
        if let Some(live) = self.live.as_ref().filter(|live| !live.client.is_closed()) {
            let set = "SELECT set_config('application_name', $1, false)";
            let named = live.client.query_one(set, &[&application_name]).await;
            named.map_err(|error| cannot_connect(format!("name the session: {}", with_causes(&error))))?;
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
            Err(error) => Some(Executed {
                start: Instant::now(),
                service_time: Duration::ZERO,
                number: 0,
                outcome: Outcome::Failed(error),
            }),
        }
    }

    /// Keeps the connection for the next row unless it ended, or a cancel is on its way, which might come late and meet that row.
    async fn execute_on(
        &mut self,
        mut live: Live,
        statement: usize,
        values: &[Option<&str>],
    ) -> Option<Executed> {
        let begun = Instant::now();
        let number = live.calls[statement].next_number();
        let ended = {
            let outgoing =
                live.calls[statement].outgoing(self.target.protocol, &self.sources[statement], values);
            let mut execution =
                std::pin::pin!(timed(&live.client, &live.wire.stopwatch, outgoing, Rows::new()));
            tokio::select! {
                biased;
                execution = &mut execution => Ok(execution),
                interruption = self.interruption() => {
                    // Both at once: the clock must see the query end while the cancel is still under way.
                    let cancelled = timeout(limits::CANCEL_GRACE, self.cancel_on_server(&live));
                    let (_, execution) = tokio::join!(cancelled, timeout(limits::CANCEL_GRACE, execution));
                    Err((interruption, execution.ok()))
                }
            }
        };
        let executed = |start, service_time, outcome| Executed { start, service_time, number, outcome };
        match ended {
            Ok(Execution { start, service_time, outcome: Ok(rows) }) => {
                self.live = Some(live);
                Some(executed(start, service_time, Outcome::Completed(rows.finish())))
            }
            Ok(Execution { start, service_time, outcome: Err(error) }) => {
                let outcome = Outcome::Failed(explain(&error, &live.wire).await);
                if !ends_connection(&error) {
                    self.live = Some(live);
                }
                Some(executed(start, service_time, outcome))
            }
            Err((Interruption::SessionEnded, _)) => None,
            Err((Interruption::Timeout(limit), execution)) => {
                let service_time = execution.map(|execution| execution.service_time);
                Some(executed(
                    begun,
                    service_time.unwrap_or(limit + limits::CANCEL_GRACE),
                    Outcome::Failed(timed_out(limit, service_time)),
                ))
            }
        }
    }

    async fn interruption(&self) -> Interruption {
        let expired = async {
            match self.target.timeout {
                Some(limit) => {
                    sleep(limit).await;
                    Interruption::Timeout(limit)
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.cancel.cancelled() => Interruption::SessionEnded,
            interruption = expired => interruption,
        }
    }

    async fn cancel_on_server(&self, live: &Live) {
        if let Err(error) =
            connect::cancel(&self.target.settings, &live.wire.address, &live.client.cancel_token()).await
        {
            tracing::warn!("cannot {error}");
        }
    }

    /// The held connection, or a new one. Waits for the database, within bounds and off the timed path. `None` when the session ends.
    async fn connected(&mut self) -> Option<Result<Live, QueryError>> {
        // One that ended while it was idle has not met the row.
        if let Some(live) = self.live.take().filter(|live| !live.client.is_closed()) {
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
                attempt = timeout_at(deadline.into(), self.reconnect()) => attempt,
            };
            let error = match attempt {
                Ok(Ok(live)) => {
                    self.reconnects += 1;
                    self.away = None;
                    return Some(Ok(live));
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

    async fn reconnect(&self) -> Result<Live, QueryError> {
        let (client, wire) = self.pool.get().await.map_err(|error| cannot_connect(error.to_string()))?;
        let client = Object::take(client);
        let calls = prepare_all(&client, &self.sources)
            .await
            .map_err(|failed| cannot_connect(format!("prepare: {}", failed.message)))?;
        Ok(Live { client, wire, calls })
    }
}

/// The server's words where it had any; for a connection that ended, those with which it ended.
async fn explain(error: &tokio_postgres::Error, wire: &Wire) -> QueryError {
    match query_error(error) {
        Some(error) => error,
        None => wire.ended.cause().await.unwrap_or_else(|| QueryError {
            sqlstate: SqlState::CONNECTION_FAILURE,
            message: with_causes(error),
        }),
    }
}

async fn prepare_all(client: &ClientWrapper, sources: &[Source]) -> Result<Vec<Call>, PrepareFailed> {
    let mut calls = Vec::with_capacity(sources.len());
    for source in sources {
        calls.push(Call::prepare(client, source).await?);
    }
    Ok(calls)
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

/// A fatal error is the server's last word on a connection, which may look open for a moment longer and would fail the next row, too.
fn ends_connection(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::{DbError, Severity};
    let severity = error.as_db_error().map(DbError::parsed_severity);
    matches!(severity, None | Some(Some(Severity::Fatal | Severity::Panic)))
}

fn query_error(error: &tokio_postgres::Error) -> Option<QueryError> {
    if let Some(server) = error.as_db_error() {
        let sqlstate = SqlState::try_new(server.code().code()).unwrap_or(SqlState::CONNECTION_FAILURE);
        let message = server.message().chars().take(limits::MESSAGE_CHARS_MAX).collect();
        return Some(QueryError { sqlstate, message });
    }
    None
}
