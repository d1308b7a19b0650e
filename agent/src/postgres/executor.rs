//! The stopwatch: one worker's connection and its prepared statement, and the execution of one row.
//! Between the two clock readings there is the query and nothing else; everything that can wait until afterwards does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Object};
use futures_util::TryStreamExt;
use muster_common::ids::RowId;
use muster_common::limits;
use muster_common::measurement::{Measurement, Outcome, QueryError, SqlState};
use muster_common::query::{self, BucketFunction, Template, default_sql};
use muster_proto::control::{Database, PrepareFailed, PrepareFailure};
use tokio::time::{sleep, timeout, timeout_at};
use tokio_postgres::Statement;
use tokio_util::sync::CancellationToken;

use super::answer::Rows;
use super::connect::{self, SessionSetup};
use super::failure::with_causes;
use super::pool::{Connector, PoolError, WorkerPool};
use super::server::{ServerFacts, describe_server};
use super::settings::Settings;
use super::text_value::TextValue;

/// What every worker of a session opens its connection with.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) settings: Arc<Settings>,
    pub(crate) setup: SessionSetup,
    pub(crate) application_name: String,
    /// `None` for the default query.
    pub(crate) sql: Option<String>,
    /// Values per row.
    pub(crate) parameters: usize,
    pub(crate) timeout: Option<Duration>,
}

/// What opening and preparing took and found.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub connect: Duration,
    pub prepare: Duration,
    pub database: Database,
    pub sql: String,
    pub bucket_function: Option<String>,
}

/// One held connection that executes rows.
pub(crate) struct Executor {
    target: Arc<Target>,
    sql: String,
    pool: WorkerPool,
    /// `None` after the connection broke or was given up.
    live: Option<Live>,
    cancel: CancellationToken,
    reconnects: u64,
    /// Set while the database has been away for longer than [`limits::RECONNECT_TIMEOUT`].
    away: Option<Away>,
}

/// A connection and its statement. Taken out of the pool for good: dropping it ends the connection, and nobody gets it again.
struct Live {
    client: ClientWrapper,
    statement: Statement,
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

/// One execution, as the clock saw it.
struct Execution {
    start: Instant,
    service_time: Duration,
    outcome: Result<Rows, tokio_postgres::Error>,
}

impl Target {
    fn pool(&self) -> Result<WorkerPool, PoolError> {
        let settings = Arc::clone(&self.settings);
        WorkerPool::try_new(Connector::new(settings, self.application_name.clone(), self.setup.clone()))
    }
}

impl Executor {
    /// Connects, asks the server what it is, prepares the statement.
    pub(crate) async fn open(
        target: Arc<Target>,
        cancel: CancellationToken,
    ) -> Result<(Self, Prepared), PrepareFailed> {
        let pool = target.pool().map_err(|error| no_database(&error))?;
        let connecting = Instant::now();
        let client = pool.get().await.map(Object::take).map_err(|error| no_database(&error))?;
        let connect = connecting.elapsed();
        let facts = describe_server(&client).await.map_err(|error| no_database(&error))?;
        let (sql, bucket_function) = statement_for(&target, &facts);
        let preparing = Instant::now();
        let statement = client.prepare(&sql).await.map_err(|error| refused(&error, &sql))?;
        let prepare = preparing.elapsed();
        check_parameters(&statement, &target, &sql)?;
        let prepared = Prepared {
            connect,
            prepare,
            database: Database {
                server_version: facts.server_version,
                timescaledb: facts.timescaledb,
                settings: facts.settings,
            },
            sql: sql.clone(),
            bucket_function: bucket_function.map(|function| function.to_string()),
        };
        let live = Some(Live { client, statement });
        Ok((Self { target, sql, pool, live, cancel, reconnects: 0, away: None }, prepared))
    }

    /// Values per row.
    pub(crate) fn parameters(&self) -> usize {
        self.target.parameters
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

    /// Runs one row of a session that began at `started_at`. An SQL error, a timeout and a lost connection are results, too; only
    /// the end of the session gives none.
    pub(crate) async fn execute(
        &mut self,
        row: RowId,
        values: &[Option<&str>],
        started_at: Instant,
    ) -> Option<Measurement> {
        let values: Vec<TextValue<'_>> = values.iter().copied().map(TextValue).collect();
        let (start, service_time, outcome) = match self.connected().await? {
            Ok(live) => self.execute_on(live, row, &values).await?,
            Err(error) => (Instant::now(), Duration::ZERO, Outcome::Failed(error)),
        };
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Some(Measurement {
            row,
            start_ns: nanoseconds(start.saturating_duration_since(started_at)),
            lag_ns: 0,
            service_time_ns: nanoseconds(service_time),
            outcome,
        })
    }

    /// Keeps the connection for the next row unless it ended, or a cancel is on its way, which might come late and meet that row.
    async fn execute_on(
        &mut self,
        live: Live,
        row: RowId,
        values: &[TextValue<'_>],
    ) -> Option<(Instant, Duration, Outcome)> {
        let begun = Instant::now();
        let ended = {
            let mut execution = std::pin::pin!(timed(&live, values, Rows::new(row)));
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
        match ended {
            Ok(Execution { start, service_time, outcome: Ok(rows) }) => {
                self.live = Some(live);
                Some((start, service_time, Outcome::Completed(rows.finish())))
            }
            Ok(Execution { start, service_time, outcome: Err(error) }) => {
                let outcome = Outcome::Failed(self.explain(&error).await);
                if !ends_connection(&error) {
                    self.live = Some(live);
                }
                Some((start, service_time, outcome))
            }
            Err((Interruption::SessionEnded, _)) => None,
            Err((Interruption::Timeout(limit), execution)) => {
                let service_time = execution.map(|execution| execution.service_time);
                Some((
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
        if let Err(error) = connect::cancel(&self.target.settings, &live.client.cancel_token()).await {
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
        let client =
            self.pool.get().await.map(Object::take).map_err(|error| cannot_connect(error.to_string()))?;
        let statement = client
            .prepare(&self.sql)
            .await
            .map_err(|error| cannot_connect(format!("prepare: {}", with_causes(&error))))?;
        Ok(Live { client, statement })
    }

    /// The server's words where it had any; for a connection that ended, those with which it ended.
    async fn explain(&self, error: &tokio_postgres::Error) -> QueryError {
        match query_error(error) {
            Some(error) => error,
            None => self.pool.end_cause().await.unwrap_or_else(|| QueryError {
                sqlstate: SqlState::CONNECTION_FAILURE,
                message: with_causes(error),
            }),
        }
    }
}

/// The measurement itself. The clock stops at ReadyForQuery, which ends the stream of rows.
async fn timed(live: &Live, values: &[TextValue<'_>], mut rows: Rows) -> Execution {
    let start = Instant::now();
    let outcome = async {
        let answer = live.client.query_raw(&live.statement, values).await?;
        let mut answer = std::pin::pin!(answer);
        while let Some(row) = answer.try_next().await? {
            rows.push(row);
        }
        Ok(())
    };
    let outcome: Result<(), tokio_postgres::Error> = outcome.await;
    let service_time = start.elapsed();
    Execution { start, service_time, outcome: outcome.map(|()| rows) }
}

fn statement_for(target: &Target, facts: &ServerFacts) -> (String, Option<BucketFunction>) {
    match &target.sql {
        Some(sql) => (sql.clone(), None),
        None => {
            let function = query::for_server(facts.version_num, facts.timescaledb.is_some());
            let template = Template::parse(default_sql(function)).expect("a test parses every default query");
            (template.sql().to_owned(), Some(function))
        }
    }
}

/// The server counts parameters itself: `$1` inside a function body, say, is none.
fn check_parameters(statement: &Statement, target: &Target, sql: &str) -> Result<(), PrepareFailed> {
    let found = statement.params().len();
    if found == target.parameters {
        return Ok(());
    }
    let message =
        format!("the server counts {found} parameters, the query has {} placeholders", target.parameters);
    Err(PrepareFailed { message, ..failed(PrepareFailure::Statement, sql) })
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

fn refused(error: &tokio_postgres::Error, sql: &str) -> PrepareFailed {
    let Some(server) = error.as_db_error() else {
        return no_database(&with_causes(error));
    };
    let position = match server.position() {
        Some(tokio_postgres::error::ErrorPosition::Original(position)) => Some(*position),
        _ => None,
    };
    PrepareFailed {
        message: server.message().to_owned(),
        sqlstate: SqlState::try_new(server.code().code()).ok(),
        detail: server.detail().map(str::to_owned),
        hint: server.hint().map(str::to_owned),
        position,
        ..failed(PrepareFailure::Statement, sql)
    }
}

pub(crate) fn no_database(error: &dyn std::fmt::Display) -> PrepareFailed {
    PrepareFailed { message: error.to_string(), ..failed(PrepareFailure::Database, "") }
}

fn failed(kind: PrepareFailure, sql: &str) -> PrepareFailed {
    PrepareFailed {
        kind,
        message: String::new(),
        sqlstate: None,
        detail: None,
        hint: None,
        position: None,
        sql: sql.to_owned(),
    }
}
