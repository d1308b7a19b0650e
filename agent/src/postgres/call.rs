//! One statement of a connection, as the run's protocol sends it.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use muster_common::protocol::{Protocol, ResultFormat};
use muster_common::query::{self, BucketFunction, Placeholder, Template, default_sql, with_literals};
use muster_proto::control::{self, PrepareFailed, PrepareFailure};
use postgres_protocol::message::frontend::{self as write, BindError};
use postgres_protocol::{IsNull, Oid};

use super::connect::LocalSettings;
use super::frontend::{ERROR_RESPONSE, Frontend, PARAMETER_DESCRIPTION, ROW_DESCRIPTION};
use super::result_format::column_types;
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
    /// The format of the results.
    pub(super) format: ResultFormat,
}

/// A statement that a connection knows.
pub(super) struct Call {
    name: String,
    parameter_types: Vec<Oid>,
    /// The types of the result's columns; empty for a statement that returns no rows.
    pub(super) result_types: Vec<Oid>,
    executions: u32,
}

const ALL_ROWS: i32 = 0;
const UNNAMED: &str = "";

impl Source {
    pub(super) fn of(statement: &control::Statement, facts: &ServerFacts) -> Self {
        let control::Statement { sql, parameters, placeholders } = statement.clone();
        match sql {
            Some(sql) => {
                Self { sql, parameters, placeholders, bucket_function: None, format: ResultFormat::Binary }
            }
            None => {
                let function = query::for_server(facts.version_num, facts.timescaledb.is_some());
                let template =
                    Template::parse(default_sql(function)).expect("a test parses every default query");
                Self {
                    sql: template.sql().to_owned(),
                    parameters,
                    placeholders: template.placeholders().to_owned(),
                    bucket_function: Some(function),
                    format: ResultFormat::Binary,
                }
            }
        }
    }
}

impl Call {
    /// Has the server check the statement and report the types of its parameters. The server keeps the statement under `name`, or keeps
    /// nothing when the name is empty. It has `limit` for the answer.
    pub(super) fn prepare(
        frontend: &mut Frontend,
        name: String,
        source: &Source,
        local: Option<&LocalSettings>,
        limit: Duration,
    ) -> Result<Self, PrepareFailed> {
        let (mut described, mut result_types, mut error) = (None, Vec::new(), None);
        let out = frontend.outgoing();
        let local = local.map_or(Ok(()), |local| set(local, out));
        local.and_then(|()| parse(&name, &source.sql, out)).map_err(|error| no_database(&error))?;
        let answered = frontend.exchange_within(limit, |message| match message.tag {
            PARAMETER_DESCRIPTION => described = Some(parameter_types(message.body)),
            ROW_DESCRIPTION => result_types = column_types(message.body),
            ERROR_RESPONSE => error = Some(ServerError::parse(message.body)),
            _ => {}
        });
        if let Some(error) = error {
            return Err(refused(error, &source.sql));
        }
        answered.map_err(|lost| no_database(&lost))?;
        let parameter_types = described.unwrap_or_default();
        check_parameters(parameter_types.len(), source)?;
        Ok(Self { name, parameter_types, result_types, executions: 0 })
    }

    /// Closes a named statement; to be followed by Sync.
    pub(super) fn close(&self, out: &mut BytesMut) -> io::Result<()> {
        if self.name.is_empty() { Ok(()) } else { write::close(b'S', &self.name, out) }
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
        local: Option<&LocalSettings>,
        values: &[Option<&str>],
        out: &mut BytesMut,
    ) -> io::Result<()> {
        if let (Some(local), Protocol::Prepared | Protocol::Extended) = (local, protocol) {
            set(local, out)?;
        }
        match protocol {
            Protocol::Prepared => bind(&self.name, values, source.format, out)?,
            Protocol::Extended => {
                write::parse(UNNAMED, &source.sql, self.parameter_types.iter().copied(), out)?;
                bind(UNNAMED, values, source.format, out)?;
                write::describe(b'P', UNNAMED, out)?;
            }
            Protocol::Simple => {
                let sql = with_literals(&source.sql, &source.placeholders, values);
                return match local {
                    Some(local) => write::query(&format!("{}{sql}", local.simple), out),
                    None => write::query(&sql, out),
                };
            }
        }
        write::execute(UNNAMED, ALL_ROWS, out)?;
        write::sync(out);
        Ok(())
    }
}

/// Sets parameters for one transaction, which consists of the messages that follow until Sync.
fn set(local: &LocalSettings, out: &mut BytesMut) -> io::Result<()> {
    write::parse(UNNAMED, &local.extended, [], out)?;
    bind(UNNAMED, &[], ResultFormat::Text, out)?;
    write::execute(UNNAMED, ALL_ROWS, out)
}

fn parse(name: &str, sql: &str, out: &mut BytesMut) -> io::Result<()> {
    write::parse(name, sql, [], out)?;
    write::describe(b'S', name, out)?;
    write::sync(out);
    Ok(())
}

/// Values as the CSV has them: text, which the server reads as whatever type the statement needs. One that is none of the type is the
/// server's to refuse (22007, 22P02, …).
fn bind(
    statement: &str,
    values: &[Option<&str>],
    format: ResultFormat,
    out: &mut BytesMut,
) -> io::Result<()> {
    let format = match format {
        ResultFormat::Text => 0,
        ResultFormat::Binary => 1,
    };
    let value = |value: &Option<&str>, out: &mut BytesMut| {
        let Some(text) = value else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok::<_, Box<dyn Error + Send + Sync>>(IsNull::No)
    };
    let bound = write::bind(UNNAMED, statement, [], values, value, [format], out);
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

/// The server counts parameters itself: `$1` inside a function body, say, is none.
fn check_parameters(found: usize, source: &Source) -> Result<(), PrepareFailed> {
    if found == source.parameters {
        return Ok(());
    }
    let message =
        format!("the server counts {found} parameters, the query has {} placeholders", source.parameters);
    Err(PrepareFailed { message, ..failed(PrepareFailure::Statement, &source.sql) })
}
