//! One statement of a connection, as the run's protocol sends it, and the timing of one execution. The clock is read at the socket.
//! Between its two readings there is the query and nothing else; everything that can wait until afterwards does.

use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use muster_common::protocol::Protocol;
use muster_common::query::{self, BucketFunction, Placeholder, Template, default_sql, with_literals};
use muster_proto::control::{self, PrepareFailed, PrepareFailure};
use postgres_protocol::message::frontend::{self as write, BindError};
use postgres_protocol::{IsNull, Oid};

use super::answer::Reduction;
use super::frontend::{ERROR_RESPONSE, Frontend, Lost, PARAMETER_DESCRIPTION};
use super::server::ServerFacts;
use super::server_error::ServerError;
use super::unprepared::{failed, no_database, refused};

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
    name: String,
    parameter_types: Vec<Oid>,
    executions: u32,
}

/// One execution, as the clock saw it.
pub(super) struct Execution {
    pub(super) start: Instant,
    pub(super) service_time: Duration,
    /// Whether the connection is still there.
    pub(super) connection: Result<(), Lost>,
}

/// Results in binary, whatever their types: the server need not write them as text.
const BINARY: i16 = 1;
const ALL_ROWS: i32 = 0;
const UNNAMED: &str = "";

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
    /// Prepares the statement, with each protocol: the server checks it, and says which types its parameters have. `index` tells the
    /// statements of a connection apart.
    pub(super) async fn prepare(
        frontend: &mut Frontend,
        index: usize,
        source: &Source,
    ) -> Result<Self, PrepareFailed> {
        let name = format!("s{index}");
        let (mut described, mut error) = (None, None);
        parse(&name, &source.sql, frontend.outgoing()).map_err(|error| no_database(&error))?;
        let answered = frontend.exchange(|message| match message.tag {
            PARAMETER_DESCRIPTION => described = Some(parameter_types(message.body)),
            ERROR_RESPONSE => error = Some(ServerError::parse(message.body)),
            _ => {}
        });
        let answered = answered.await;
        if let Some(error) = error {
            return Err(refused(error, &source.sql));
        }
        answered.map_err(|lost| no_database(&lost))?;
        let parameter_types = described.unwrap_or_default();
        check_parameters(parameter_types.len(), source)?;
        Ok(Self { name, parameter_types, executions: 0 })
    }

    /// Of one more execution, from 1.
    pub(super) fn next_number(&mut self) -> u32 {
        self.executions = self.executions.saturating_add(1);
        self.executions
    }

    /// What is sent for one row; written before the clock starts.
    ///
    /// # Errors
    /// For what the protocol cannot carry: a value beyond 2 GiB, a zero byte in a statement with literals.
    pub(super) fn write(
        &self,
        protocol: Protocol,
        source: &Source,
        values: &[Option<&str>],
        out: &mut BytesMut,
    ) -> io::Result<()> {
        match protocol {
            Protocol::Prepared => bind(&self.name, values, out)?,
            Protocol::Extended => {
                write::parse(UNNAMED, &source.sql, self.parameter_types.iter().copied(), out)?;
                bind(UNNAMED, values, out)?;
                write::describe(b'P', UNNAMED, out)?;
            }
            Protocol::Simple => {
                return write::query(&with_literals(&source.sql, &source.placeholders, values), out);
            }
        }
        write::execute(UNNAMED, ALL_ROWS, out)?;
        write::sync(out);
        Ok(())
    }
}

fn parse(name: &str, sql: &str, out: &mut BytesMut) -> io::Result<()> {
    write::parse(name, sql, [], out)?;
    write::describe(b'S', name, out)?;
    write::sync(out);
    Ok(())
}

/// Values as the CSV has them: text, which the server reads as whatever type the statement needs. One that is none of the type is the
/// server's to refuse (22007, 22P02, …).
fn bind(statement: &str, values: &[Option<&str>], out: &mut BytesMut) -> io::Result<()> {
    let value = |value: &Option<&str>, out: &mut BytesMut| {
        let Some(text) = value else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok::<_, Box<dyn Error + Send + Sync>>(IsNull::No)
    };
    let bound = write::bind(UNNAMED, statement, [], values, value, [BINARY], out);
    bound.map_err(|error| match error {
        BindError::Conversion(error) => io::Error::other(error),
        BindError::Serialization(error) => error,
    })
}

/// A count, and for each parameter its type.
fn parameter_types(body: &[u8]) -> Vec<Oid> {
    let (types, _) = body.get(2..).unwrap_or_default().as_chunks();
    types.iter().map(|bytes| Oid::from_be_bytes(*bytes)).collect()
}

/// The measurement itself: from the first bytes that go out to those with ReadyForQuery.
pub(super) async fn timed(frontend: &mut Frontend, reduction: &mut Reduction) -> Execution {
    let asked = Instant::now();
    frontend.stopwatch().reset();
    let connection = frontend.exchange(|message| reduction.take(message)).await;
    // A connection that had ended takes nothing and gives nothing.
    let (start, service_time) = frontend.stopwatch().lap().unwrap_or_else(|| (asked, asked.elapsed()));
    Execution { start, service_time, connection }
}

/// The server counts parameters itself: `$1` inside a function body, say, is none.
fn check_parameters(found: usize, source: &Source) -> Result<(), PrepareFailed> {
    if found == source.parameters {
        return Ok(());
    }
    let message =
        format!("the server counts {found} parameters, the query has {} placeholders", source.parameters);
    Err(PrepareFailed { message, ..failed(PrepareFailure::Statement, &source.sql) })
}
