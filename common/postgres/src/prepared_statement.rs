//! One statement on one connection, as it is sent in the run's protocol.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use muster_core::prepare::{PrepareFailed, PrepareFailure};
use muster_core::protocol::{Protocol, ResultFormat};
use muster_core::query::{self, BucketFunction, Placeholder, Template, default_sql, with_literals};
use muster_core::session_spec::Statement;
use postgres_protocol::message::frontend::{self as write, BindError};
use postgres_protocol::{IsNull, Oid};

use crate::frontend::{ERROR_RESPONSE, Frontend, PARAMETER_DESCRIPTION, ROW_DESCRIPTION};
use crate::prepare_failure::{failed, no_database, refused};
use crate::result_format::column_types;
use crate::server::ServerFacts;
use crate::server_error::ServerError;
use crate::session_setup::LocalSettings;

/// The text of a statement, as it is sent to this server.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) sql: String,
    /// The number of values per row.
    pub(crate) parameters: usize,
    pub(crate) placeholders: Vec<Placeholder>,
    /// The bucket function that the default query uses. `None` for other queries.
    pub(crate) bucket_function: Option<BucketFunction>,
    /// The format of the result rows.
    pub(crate) format: ResultFormat,
}

/// A statement that was checked on a connection, and prepared if the protocol requires it.
pub(crate) struct PreparedStatement {
    name: String,
    parameter_types: Vec<Oid>,
    /// The types of the result's columns; empty for a statement that returns no rows.
    pub(crate) result_types: Vec<Oid>,
    executions: u32,
}

const ALL_ROWS: i32 = 0;
const UNNAMED: &str = "";

impl Source {
    pub(crate) fn new(statement: &Statement, facts: &ServerFacts) -> Self {
        let bucket_function =
            statement.is_default().then(|| query::for_server(facts.version_num, facts.timescaledb.is_some()));
        let of_server = bucket_function.map(|function| {
            Template::parse(default_sql(function)).expect("a test parses every default query")
        });
        let template = of_server.as_ref().unwrap_or(statement.template());
        Self {
            sql: template.sql().to_owned(),
            parameters: template.columns().len(),
            placeholders: template.placeholders().to_owned(),
            bucket_function,
            format: ResultFormat::Binary,
        }
    }
}

impl PreparedStatement {
    /// Lets the server check the statement and report the types of its parameters and columns. The server keeps the statement under `name`,
    /// or not at all if the name is empty. It must reply within `limit`.
    pub(crate) fn prepare(
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

    /// Writes a Close message for a named statement. The caller writes the Sync.
    pub(crate) fn close(&self, out: &mut BytesMut) -> io::Result<()> {
        if self.name.is_empty() { Ok(()) } else { write::close(b'S', &self.name, out) }
    }

    /// Counts one more execution and returns its number, from 1.
    pub(crate) fn next_number(&mut self) -> u32 {
        self.executions = self.executions.saturating_add(1);
        self.executions
    }

    /// Writes the messages for one row. Called before the clock starts.
    ///
    /// # Errors
    /// For values that the protocol cannot transmit: longer than 2 GiB, or a zero byte in a statement with literals.
    pub(crate) fn write(
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

/// Writes messages that set parameters for one transaction, which consists of the messages up to the next Sync.
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

/// Values are sent as the text in the CSV file, and the server parses them as the types that the statement needs. It rejects values that
/// are not of this type (22007, 22P02, …).
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

/// Reads a ParameterDescription: a count, followed by the type of each parameter.
fn parameter_types(body: &[u8]) -> Vec<Oid> {
    let (types, _) = body.get(2..).unwrap_or_default().as_chunks();
    types.iter().map(|bytes| Oid::from_be_bytes(*bytes)).collect()
}

/// The server counts the parameters too. For example, `$1` inside a function body is not one.
fn check_parameters(found: usize, source: &Source) -> Result<(), PrepareFailed> {
    if found == source.parameters {
        return Ok(());
    }
    let message =
        format!("the server found {found} parameters, but the query has {} placeholders", source.parameters);
    Err(PrepareFailed { message, ..failed(PrepareFailure::Statement, &source.sql) })
}
