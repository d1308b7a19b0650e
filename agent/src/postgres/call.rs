//! One statement of a connection, as the run's protocol sends it, and the timing of one execution. The clock is read at the socket.
//! Between its two readings there is the query and nothing else; everything that can wait until afterwards does.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use muster_common::protocol::Protocol;
use muster_common::query::{self, BucketFunction, Placeholder, Template, default_sql, with_literals};
use muster_proto::control::{self, PrepareFailed, PrepareFailure};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use super::answer::Rows;
use super::server::ServerFacts;
use super::socket::Stopwatch;
use super::text_value::TextValue;
use super::unprepared::{failed, refused};

/// A statement's text, as this server gets it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) sql: String,
    /// Values per row.
    pub(super) parameters: usize,
    pub(super) placeholders: Vec<Placeholder>,
    /// Of the default query.
    pub(super) bucket_function: Option<BucketFunction>,
}

/// A statement that a connection knows.
pub(super) struct Call {
    statement: Statement,
    executions: u32,
}

/// What is sent for one row; made before the clock starts.
pub(super) enum Outgoing<'a> {
    Prepared(&'a Statement, Vec<TextValue<'a>>),
    Extended(&'a str, Vec<(TextValue<'a>, Type)>),
    Simple(String),
}

/// One execution, as the clock saw it.
pub(super) struct Execution {
    pub(super) start: Instant,
    pub(super) service_time: Duration,
    pub(super) outcome: Result<Rows, tokio_postgres::Error>,
}

impl Source {
    pub(super) fn of(statement: &control::Statement, facts: &ServerFacts) -> Self {
        let control::Statement { sql, parameters, placeholders } = statement.clone();
        match sql {
            Some(sql) => Self { sql, parameters, placeholders, bucket_function: None },
            None => {
                let function = query::for_server(facts.version_num, facts.timescaledb.is_some());
                let template =
                    Template::parse(default_sql(function)).expect("a test parses every default query");
                Self {
                    sql: template.sql().to_owned(),
                    parameters,
                    placeholders: template.placeholders().to_owned(),
                    bucket_function: Some(function),
                }
            }
        }
    }
}

impl Call {
    /// Prepares the statement, with each protocol: the server checks it, and says which types its parameters have.
    pub(super) async fn prepare(client: &Client, source: &Source) -> Result<Self, PrepareFailed> {
        let statement = client.prepare(&source.sql).await.map_err(|error| refused(&error, &source.sql))?;
        check_parameters(&statement, source)?;
        Ok(Self { statement, executions: 0 })
    }

    /// Of one more execution, from 1.
    pub(super) fn next_number(&mut self) -> u32 {
        self.executions = self.executions.saturating_add(1);
        self.executions
    }

    pub(super) fn outgoing<'a>(
        &'a self,
        protocol: Protocol,
        source: &'a Source,
        values: &[Option<&'a str>],
    ) -> Outgoing<'a> {
        let texts = values.iter().copied().map(TextValue);
        match protocol {
            Protocol::Prepared => Outgoing::Prepared(&self.statement, texts.collect()),
            Protocol::Extended => {
                Outgoing::Extended(&source.sql, texts.zip(self.statement.params().iter().cloned()).collect())
            }
            Protocol::Simple => Outgoing::Simple(with_literals(&source.sql, &source.placeholders, values)),
        }
    }
}

/// The measurement itself: from the first bytes that go out to those with ReadyForQuery, which ends the stream of rows.
pub(super) async fn timed(
    client: &Client,
    stopwatch: &Stopwatch,
    outgoing: Outgoing<'_>,
    mut rows: Rows,
) -> Execution {
    let asked = Instant::now();
    stopwatch.reset();
    let outcome = read(client, outgoing, &mut rows).await;
    // A connection that had ended takes nothing and gives nothing.
    let (start, service_time) = stopwatch.lap().unwrap_or_else(|| (asked, asked.elapsed()));
    Execution { start, service_time, outcome: outcome.map(|()| rows) }
}

async fn read(client: &Client, outgoing: Outgoing<'_>, rows: &mut Rows) -> Result<(), tokio_postgres::Error> {
    let answer = match outgoing {
        Outgoing::Prepared(statement, values) => client.query_raw(statement, values).await?,
        Outgoing::Extended(sql, values) => client.query_typed_raw(sql, values).await?,
        Outgoing::Simple(sql) => {
            let mut answer = std::pin::pin!(client.simple_query_raw(&sql).await?);
            while let Some(message) = answer.try_next().await? {
                if let SimpleQueryMessage::Row(row) = message {
                    rows.push_text(row);
                }
            }
            return Ok(());
        }
    };
    let mut answer = std::pin::pin!(answer);
    while let Some(row) = answer.try_next().await? {
        rows.push(row);
    }
    Ok(())
}

/// The server counts parameters itself: `$1` inside a function body, say, is none.
fn check_parameters(statement: &Statement, source: &Source) -> Result<(), PrepareFailed> {
    let found = statement.params().len();
    if found == source.parameters {
        return Ok(());
    }
    let message =
        format!("the server counts {found} parameters, the query has {} placeholders", source.parameters);
    Err(PrepareFailed { message, ..failed(PrepareFailure::Statement, &source.sql) })
}
