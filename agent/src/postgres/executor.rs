//! The stopwatch: one worker's connection and its prepared statement, and the execution of one row.
//! Between the two clock readings there is the query and nothing else; everything that can wait until afterwards does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Client;
use futures_util::TryStreamExt;
use muster_common::ids::RowId;
use muster_common::limits;
use muster_common::measurement::{Measurement, Outcome, QueryError, SqlState};
use muster_common::query::{self, BucketFunction, Template, default_sql};
use muster_proto::control::{Database, PrepareFailed, PrepareFailure};
use tokio::time::{sleep, timeout};
use tokio_postgres::Statement;
use tokio_util::sync::CancellationToken;

use super::answer::Rows;
use super::connect::{self, SessionSetup};
use super::failure::with_causes;
use super::pool::{Connector, WorkerPool};
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
pub(crate) struct Prepared {
    pub(crate) connect: Duration,
    pub(crate) prepare: Duration,
    pub(crate) database: Database,
    pub(crate) sql: String,
    pub(crate) bucket_function: Option<String>,
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
    /// The database was away for longer than [`limits::RECONNECT_TIMEOUT`]: later rows are not held up again.
    is_given_up: bool,
}

struct Live {
    client: Client,
    statement: Statement,
}

/// Why a query in flight is cancelled on the server.
enum Interruption {
    Timeout(Duration),
    SessionEnded,
}

/// One execution, as the clock saw it.
struct Execution {
    service_time: Duration,
    outcome: Result<Rows, tokio_postgres::Error>,
}

impl Executor {
    /// Connects, asks the server what it is, prepares the statement.
    pub(crate) async fn open(
        target: Arc<Target>,
        cancel: CancellationToken,
    ) -> Result<(Self, Prepared), PrepareFailed> {
        let connector = Connector::new(
            Arc::clone(&target.settings),
            target.application_name.clone(),
            target.setup.clone(),
        );
        let pool = WorkerPool::try_new(connector).map_err(|error| no_database(&error))?;
        let connecting = Instant::now();
        let client = pool.get().await.map_err(|error| no_database(&error))?;
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
        Ok((Self { target, sql, pool, live, cancel, reconnects: 0, is_given_up: false }, prepared))
    }

    /// Values per row.
    pub(crate) fn parameters(&self) -> usize {
        self.target.parameters
    }

    pub(crate) fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// Runs one row. An SQL error, a timeout and a lost connection are results, too; only the end of the session gives none (`None`).
    pub(crate) async fn execute(&mut self, row: RowId, values: &[Option<&str>]) -> Option<Measurement> {
        let values: Vec<TextValue<'_>> = values.iter().copied().map(TextValue).collect();
        let (service_time, outcome) = match self.connected().await {
            Ok(live) => self.execute_on(live, row, &values).await,
            Err(error) => (Duration::ZERO, Outcome::Failed(error)),
        };
        if self.cancel.is_cancelled() && matches!(outcome, Outcome::Failed(_)) {
            return None;
        }
        let service_time_ns = u64::try_from(service_time.as_nanos()).unwrap_or(u64::MAX);
        Some(Measurement { row, lag_ns: 0, service_time_ns, outcome })
    }

    async fn execute_on(&mut self, live: Live, row: RowId, values: &[TextValue<'_>]) -> (Duration, Outcome) {
        let (execution, interruption) = {
            let mut execution = std::pin::pin!(timed(&live, values, Rows::new(row)));
            tokio::select! {
                biased;
                execution = &mut execution => (Some(execution), None),
                interruption = self.interruption() => {
                    self.cancel_on_server(&live).await;
                    (timeout(limits::CANCEL_GRACE, execution).await.ok(), Some(interruption))
                }
            }
        };
        let Some(Execution { service_time, outcome }) = execution else {
            let error = QueryError {
                sqlstate: SqlState::CONNECTION_FAILURE,
                message: format!(
                    "the server did not end the query within {:?} of its cancel",
                    limits::CANCEL_GRACE
                ),
            };
            return (limits::CANCEL_GRACE, Outcome::Failed(error));
        };
        let is_ended = outcome.as_ref().err().is_some_and(ends_connection) || live.client.is_closed();
        let outcome = match outcome {
            Ok(rows) => Outcome::Completed(rows.finish()),
            Err(error) => Outcome::Failed(self.explain(&error, interruption.as_ref()).await),
        };
        // A cancel that comes late would meet the next query: such a connection is not used again.
        if interruption.is_none() && !is_ended {
            self.live = Some(live);
        }
        (service_time, outcome)
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

    /// The held connection, or a new one. Waits for the database, within bounds and off the timed path.
    async fn connected(&mut self) -> Result<Live, QueryError> {
        if let Some(live) = self.live.take() {
            return Ok(live);
        }
        let deadline = Instant::now() + limits::RECONNECT_TIMEOUT;
        let mut delay = limits::RETRY_FIRST;
        loop {
            match self.reconnect().await {
                Ok(live) => {
                    self.reconnects += 1;
                    self.is_given_up = false;
                    return Ok(live);
                }
                Err(error) if self.is_given_up || Instant::now() + delay >= deadline => {
                    self.is_given_up = true;
                    return Err(error);
                }
                Err(error) => tracing::debug!("{}; trying again", error.message),
            }
            tokio::select! {
                () = self.cancel.cancelled() => self.is_given_up = true,
                () = sleep(delay) => delay = (delay * 2).min(limits::RETRY_MAX),
            }
        }
    }

    async fn reconnect(&self) -> Result<Live, QueryError> {
        let cannot = |message: String| QueryError { sqlstate: SqlState::CANNOT_CONNECT, message };
        let client = self.pool.get().await.map_err(|error| cannot(error.to_string()))?;
        let statement = client
            .prepare(&self.sql)
            .await
            .map_err(|error| cannot(format!("prepare: {}", with_causes(&error))))?;
        Ok(Live { client, statement })
    }

    /// The server's words where it had any; for a connection that ended, those with which it ended.
    async fn explain(
        &self,
        error: &tokio_postgres::Error,
        interruption: Option<&Interruption>,
    ) -> QueryError {
        match interruption {
            Some(Interruption::Timeout(limit)) => QueryError {
                sqlstate: SqlState::QUERY_CANCELED,
                message: format!("no answer within {limit:?} (--timeout); cancelled on the server"),
            },
            Some(Interruption::SessionEnded) | None => match query_error(error) {
                Some(error) => error,
                None => self.pool.end_cause().await.unwrap_or_else(|| QueryError {
                    sqlstate: SqlState::CONNECTION_FAILURE,
                    message: with_causes(error),
                }),
            },
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
    Execution { service_time, outcome: outcome.map(|()| rows) }
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

/// A fatal error is the server's last word on a connection, which may look open for a moment longer and would fail the next row, too.
fn ends_connection(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::Severity;
    let severity = error.as_db_error().map(tokio_postgres::error::DbError::parsed_severity);
    severity.map_or(error.is_closed(), |severity| matches!(severity, Some(Severity::Fatal | Severity::Panic)))
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
