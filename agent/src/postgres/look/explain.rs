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
    let plan = match is_simple {
        true => {
            let sql = with_literals(&source.sql, &source.placeholders, &values);
            rows(client, &format!("EXPLAIN (ANALYZE, BUFFERS) {sql}")).await
        }
        false => prepared(client, source, &values).await,
    };
    // What was prepared outlives a rollback.
    let _ = rows(client, "ROLLBACK").await;
    let _ = rows(client, &format!("DEALLOCATE {NAME}")).await;
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

/// The values are texts that the server reads as whatever type the statement needs, as those of a run are. Through a prepared
/// statement, so that plan_cache_mode counts.
async fn prepared(client: &Client, source: &Source, values: &[Option<&str>]) -> Result<Vec<Row>, QueryError> {
    rows(client, &format!("PREPARE {NAME} AS {}", source.sql)).await?;
    let literals = values.iter().map(|value| value.map_or_else(|| "NULL".to_owned(), quote));
    let literals = match values.is_empty() {
        true => String::new(),
        false => format!("({})", literals.collect::<Vec<_>>().join(", ")),
    };
    rows(client, &format!("EXPLAIN (ANALYZE, BUFFERS) EXECUTE {NAME}{literals}")).await
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
