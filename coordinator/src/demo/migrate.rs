//! Creates the demo's schema and loads its data. It is idempotent: a table that contains rows is not changed, unless it is to be replaced.
//! Everything happens in one transaction, so that no other session sees a partial load.

use std::error::Error;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use muster_postgres::connect::{Connection, SessionSetup, connect};
use muster_postgres::failure::ConnectError;
use muster_postgres::{Settings, server};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, SimpleQueryMessage, Transaction};

use super::generate::{Samples, Shape, ShapeError, host_name};
use super::samples_csv::{Row, SamplesCsv, SamplesError};

/// What to load, and how.
#[derive(Debug, Clone)]
pub struct Options {
    pub source: Source,
    /// Also create an index on (host, ts).
    pub index: bool,
    /// Truncate the table first.
    pub replace: bool,
}

#[derive(Debug, Clone)]
pub enum Source {
    Generated(Shape),
    File(PathBuf),
}

/// The result of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The number of rows loaded; `None` if the table already contained rows and was not changed.
    pub loaded: Option<u64>,
    /// The version of TimescaleDB if the table is a hypertable.
    pub timescaledb: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("cannot {0}")]
    Connect(#[from] ConnectError),
    #[error("{step}: {message}")]
    Sql { step: &'static str, message: String },
    #[error(transparent)]
    Samples(#[from] SamplesError),
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS cpu_usage (ts TIMESTAMPTZ, host TEXT, usage DOUBLE PRECISION)";
const HYPERTABLE: &str =
    "SELECT create_hypertable('cpu_usage', 'ts', if_not_exists => TRUE, migrate_data => TRUE)";
const INDEX: &str = "CREATE INDEX IF NOT EXISTS cpu_usage_host_ts ON cpu_usage (host, ts)";
const COPY: &str = "COPY cpu_usage (ts, host, usage) FROM STDIN (FORMAT binary)";
/// Makes concurrent migrations wait for each other. The number is an arbitrary constant of this tool.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7305789024137)";

const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Creates and loads what `options` specify. Calls `report` with lines of progress.
pub async fn migrate(
    settings: &Settings,
    options: &Options,
    report: &(dyn Fn(&str) + Sync),
) -> Result<Migrated, MigrateError> {
    let setup = SessionSetup {
        timezone: "UTC".to_owned(),
        read_only: false,
        statement_timeout: None,
        plan_cache_mode: None,
    };
    let Connection { client, driver, .. } = connect(settings, "muster:migrate", &setup).await?;
    let mut driver = pin!(driver.run());
    tokio::select! {
        migrated = migrate_on(client, options, report) => migrated,
        () = &mut driver => Err(MigrateError::Sql { step: "load", message: "the server ended the connection".to_owned() }),
    }
}

async fn migrate_on(
    mut client: Client,
    options: &Options,
    report: &(dyn Fn(&str) + Sync),
) -> Result<Migrated, MigrateError> {
    let timescaledb = timescaledb(&client).await?;
    let transaction = client.transaction().await.map_err(at("begin"))?;
    let run = async |step, sql| transaction.batch_execute(sql).await.map_err(at(step));
    run("lock", LOCK).await?;
    run("create the table", CREATE).await?;
    if timescaledb.is_some() {
        run("create the hypertable", HYPERTABLE).await?;
    }
    if options.replace {
        run("empty the table", "TRUNCATE cpu_usage").await?;
    }
    let found = transaction.simple_query("SELECT FROM cpu_usage LIMIT 1").await;
    let is_filled = has_row(&found.map_err(at("check whether the table has rows"))?);
    let loaded = if is_filled { None } else { Some(load(&transaction, &options.source, report).await?) };
    if options.index {
        run("create the index", INDEX).await?;
    }
    run("analyze", "ANALYZE cpu_usage").await?;
    transaction.commit().await.map_err(at("commit"))?;
    Ok(Migrated { loaded, timescaledb })
}

/// Creates the extension if the server offers it, and returns its version. Without the privilege to create it, the table stays a plain
/// table.
async fn timescaledb(client: &Client) -> Result<Option<String>, MigrateError> {
    let available = "SELECT FROM pg_available_extensions WHERE name = 'timescaledb'";
    let available = client.simple_query(available).await.map_err(at("check for TimescaleDB"))?;
    if has_row(&available)
        && let Err(error) = client.batch_execute("CREATE EXTENSION IF NOT EXISTS timescaledb").await
    {
        tracing::warn!(
            "cannot create the extension timescaledb, using a plain table: {}",
            sql_message(&error)
        );
    }
    let facts = server::describe_server(client).await;
    let facts = facts
        .map_err(|error| MigrateError::Sql { step: "check for TimescaleDB", message: error.to_string() })?;
    Ok(facts.timescaledb)
}

/// True if a simple query returned a row. The extended protocol is not used, because behind a pooler a prepared statement may belong to
/// another client.
fn has_row(messages: &[SimpleQueryMessage]) -> bool {
    messages.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_)))
}

async fn load(
    transaction: &Transaction<'_>,
    source: &Source,
    report: &(dyn Fn(&str) + Sync),
) -> Result<u64, MigrateError> {
    match source {
        Source::Generated(shape) => {
            let samples = Samples::try_new(shape)?;
            report(&format!("loading {} rows of demo data", samples.rows()));
            let rows = samples.map(|sample| {
                Ok(Row {
                    ts_us: sample.ts_us - MICROS_1970_TO_2000,
                    host: host_name(sample.host),
                    usage: sample.usage(),
                })
            });
            copy(transaction, rows, report).await
        }
        Source::File(path) => {
            report(&format!("loading {}", path.display()));
            copy(transaction, SamplesCsv::open(path)?, report).await
        }
    }
}

async fn copy(
    transaction: &Transaction<'_>,
    rows: impl Iterator<Item = Result<Row, SamplesError>>,
    report: &(dyn Fn(&str) + Sync),
) -> Result<u64, MigrateError> {
    let sink = transaction.copy_in(COPY).await.map_err(at("copy"))?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::TIMESTAMPTZ, Type::TEXT, Type::FLOAT8]));
    let mut reported = Instant::now();
    let mut count = 0u64;
    for row in rows {
        let Row { ts_us, host, usage } = row?;
        let ts = Timestamptz(ts_us);
        let values: [&(dyn ToSql + Sync); 3] = [&ts, &host, &usage];
        writer.as_mut().write(&values).await.map_err(at("copy"))?;
        count += 1;
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            report(&format!("{count} rows loaded"));
        }
    }
    writer.finish().await.map_err(at("copy"))
}

const MICROS_1970_TO_2000: i64 = 946_684_800_000_000;

/// Microseconds since 2000, as in PostgreSQL's binary format. `SystemTime` is not used because it cannot represent infinity.
#[derive(Debug)]
struct Timestamptz(i64);

impl ToSql for Timestamptz {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

fn at(step: &'static str) -> impl Fn(tokio_postgres::Error) -> MigrateError {
    move |error| MigrateError::Sql { step, message: sql_message(&error) }
}

fn sql_message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => {
            let hint = match server.code().code() {
                "26000" | "42P05" => {
                    "; a connection pooler in transaction mode seems to be in use: connect to the server's own port"
                }
                _ => "",
            };
            format!("{} (SQLSTATE {}){hint}", server.message(), server.code().code())
        }
        None => error.to_string(),
    }
}
