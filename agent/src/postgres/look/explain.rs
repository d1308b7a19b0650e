//! One more execution of a row, with its plan. Within a transaction that only reads and is rolled back, also where the agent may write: a
//! row that writes would write twice, so the server refuses it and there is no plan.

use std::time::Duration;

use muster_common::limits;
use muster_common::parameters::Values;
use muster_common::query::{quote, with_literals};
use muster_proto::control::Explain;
use tokio_postgres::Client;

use super::super::call::Source;
use super::rows::{QueryError, Row, rows};

const NAME: &str = "muster_explain";

/// The lines of the plan.
///
/// # Errors
/// Why there is none.
pub(super) async fn explain(
    client: &Client,
    source: &Source,
    is_simple: bool,
    asked: &Explain,
) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    let mut packed = Values::new(&asked.parameters);
    packed.next_row(source.parameters, &mut values).map_err(|error| error.to_string())?;
    begin(client, asked.timeout).await.map_err(|error| error.to_string())?;
    let plan = explained(client, source, is_simple, &values, "ANALYZE, BUFFERS").await;
    let _ = rows(client, "ROLLBACK").await;
    forget(client, is_simple).await;
    match plan {
        Ok(rows) => Ok(rows.iter().filter_map(line).take(limits::PLAN_LINES_MAX).collect()),
        Err(error) => Err(told(&error, asked.timeout)),
    }
}

async fn begin(client: &Client, timeout: Duration) -> Result<(), QueryError> {
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).max(1);
    rows(client, &format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {milliseconds}")).await?;
    Ok(())
}

/// The rows of EXPLAIN with these options; [`forget`] comes after. The values are texts that the server reads as whatever
/// type the statement needs, as those of a run are. Through a prepared statement where the run has one, so that plan_cache_mode counts.
pub(super) async fn explained(
    client: &Client,
    source: &Source,
    is_simple: bool,
    values: &[Option<&str>],
    options: &str,
) -> Result<Vec<Row>, QueryError> {
    if is_simple {
        let sql = with_literals(&source.sql, &source.placeholders, values);
        return rows(client, &format!("EXPLAIN ({options}) {sql}")).await;
    }
    rows(client, &format!("PREPARE {NAME} AS {}", source.sql)).await?;
    let literals: Vec<String> =
        values.iter().map(|value| value.map_or_else(|| "NULL".to_owned(), quote)).collect();
    let literals = if literals.is_empty() { String::new() } else { format!("({})", literals.join(", ")) };
    rows(client, &format!("EXPLAIN ({options}) EXECUTE {NAME}{literals}")).await
}

/// What was prepared outlives a rollback.
pub(super) async fn forget(client: &Client, is_simple: bool) {
    if !is_simple {
        let _ = rows(client, &format!("DEALLOCATE {NAME}")).await;
    }
}

fn line(row: &Row) -> Option<String> {
    Some(row.text("QUERY PLAN")?.chars().take(limits::PLAN_LINE_CHARS_MAX).collect())
}

fn told(error: &QueryError, timeout: Duration) -> String {
    match error.sqlstate.as_str() {
        "25006" => "it writes, and EXPLAIN ANALYZE would write once more".to_owned(),
        "57014" => format!("it was not done within {timeout:?}"),
        _ => error.to_string(),
    }
}
