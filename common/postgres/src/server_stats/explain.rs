//! Executes a row once more to obtain its plan. The transaction is read-only and is rolled back, even if the agent may write: a row that
//! writes would write twice, so the server rejects it and there is no plan.

use std::time::{Duration, Instant};

use muster_core::limits;
use muster_core::parameters::Values;
use muster_core::protocol::Protocol;
use muster_core::query::{quote, with_literals};
use muster_core::sample::Execution;
use muster_core::server_side::Explain;
use muster_core::server_side::{ExplainedPlan, PlanKind};
use muster_process::random;
use tokio_postgres::Client;

use super::rows::{QueryError, Row, rows};
use crate::prepared_statement::Source;

const ANALYZE: &str = "ANALYZE, BUFFERS";
const NAME: &str = "muster_explain";
/// The first version in which `pg_prepared_statements` counts generic and custom plans.
const COUNTS_PLANS: u32 = 140_000;
/// The SQLSTATE that PREPARE and EXPLAIN return for a statement that they do not accept.
pub(super) const SYNTAX_ERROR: &str = "42601";
pub(super) const NO_PLAN: &str =
    "a statement of this kind has no plan: EXPLAIN takes SELECT, VALUES, INSERT, UPDATE, DELETE and MERGE";

/// Returns the plan. `local` contains the run's session settings where the session is shared, and is empty otherwise.
///
/// # Errors
/// The reason why there is no plan.
pub(super) async fn explain(
    client: &Client,
    local: &str,
    source: &Source,
    protocol: Protocol,
    version_num: u32,
    request: &Explain,
) -> Result<ExplainedPlan, String> {
    let values = unpacked(&request.parameters, source.parameters)?;
    let earlier = match protocol {
        Protocol::Prepared => earlier(request, source.parameters, &values)?,
        // The statement is parsed for each row, so each row is its first execution.
        Protocol::Extended | Protocol::Simple => Vec::new(),
    };
    let milliseconds = i32::try_from(request.timeout.as_millis()).unwrap_or(i32::MAX).max(1);
    let limit = format!("SET LOCAL statement_timeout = {milliseconds}");
    let name = begin(client, local, &limit).await.map_err(|error| error.to_string())?;
    let is_simple = protocol == Protocol::Simple;
    let plan = match is_simple {
        true => explained(client, &name, source, is_simple, &values, ANALYZE).await,
        false => explained_as_executed(client, &name, source, &earlier, &values).await,
    };
    let kind = match &plan {
        Ok(_) if !is_simple && version_num >= COUNTS_PLANS => kind(client, &name).await,
        _ => None,
    };
    end(client, &name).await;
    match plan {
        Ok(rows) => {
            let lines = rows.iter().filter_map(line).take(limits::PLAN_LINES_MAX).collect();
            Ok(ExplainedPlan { lines, kind })
        }
        Err(error) => Err(reason(&error, request.timeout)),
    }
}

fn unpacked(packed: &[u8], parameters: usize) -> Result<Vec<Option<&str>>, String> {
    let mut values = Vec::new();
    Values::new(packed).next_row(parameters, &mut values).map_err(|error| error.to_string())?;
    Ok(values)
}

/// Returns the values of the executions before the row on its connection. PostgreSQL chose the row's plan based on the plans of these
/// executions. If they are not known, the row's own values are used for the first ones.
fn earlier<'a>(
    request: &'a Explain,
    parameters: usize,
    own: &[Option<&'a str>],
) -> Result<Vec<Vec<Option<&'a str>>>, String> {
    let count = request.execution.saturating_sub(1).min(Execution::CUSTOM_PLANS) as usize;
    if request.earlier.len() < count {
        return Ok(vec![own.to_vec(); count]);
    }
    request.earlier.iter().map(|packed| unpacked(packed, parameters)).collect()
}

/// Plans each of the earlier executions without executing it. PostgreSQL counts an EXPLAIN as an execution.
async fn explained_as_executed(
    client: &Client,
    name: &str,
    source: &Source,
    earlier: &[Vec<Option<&str>>],
    values: &[Option<&str>],
) -> Result<Vec<Row>, QueryError> {
    prepare(client, name, source).await?;
    let start = Instant::now();
    for (position, values) in earlier.iter().enumerate() {
        let has_enough = position >= Execution::CUSTOM_PLANS as usize;
        if has_enough && start.elapsed() > limits::EXPLAIN_EARLIER_TIMEOUT {
            break;
        }
        explain_prepared(client, name, values, "COSTS OFF").await?;
    }
    explain_prepared(client, name, values, ANALYZE).await
}

/// Returns the kind of the last plan. After PostgreSQL has chosen a generic plan once, it keeps it.
async fn kind(client: &Client, name: &str) -> Option<PlanKind> {
    let counts = format!(
        "SELECT generic_plans, custom_plans FROM pg_catalog.pg_prepared_statements WHERE name = {}",
        quote(name)
    );
    let counts = rows(client, &counts).await.ok()?;
    let [generic, custom] = ["generic_plans", "custom_plans"].map(|column| counts.first()?.number(column));
    match (generic?, custom?) {
        (1.., _) => Some(PlanKind::Generic),
        (_, 1..) => Some(PlanKind::Custom),
        _ => None,
    }
}

/// Begins one transaction for all statements, because behind a pooler the next transaction may use another session. Returns the name for
/// the prepared statement. The name is random where other clients share the session, so that they do not use it. Elsewhere it is always the
/// same, because pg_stat_statements counts each name separately.
pub(super) async fn begin(client: &Client, local: &str, limit: &str) -> Result<String, QueryError> {
    rows(client, &format!("BEGIN READ ONLY; {local}{limit}")).await?;
    Ok(if local.is_empty() { NAME.to_owned() } else { format!("{NAME}_{:016x}", random::seed()) })
}

/// A prepared statement outlives a rollback, so it is deallocated first, also after an error.
pub(super) async fn end(client: &Client, name: &str) {
    for step in ["ROLLBACK TO SAVEPOINT prepared", &format!("DEALLOCATE {name}"), "ROLLBACK"] {
        // If no statement was prepared, only the last step has an effect.
        let _ = rows(client, step).await;
    }
}

/// Returns the rows of EXPLAIN with these options. Called between [`begin`] and [`end`]. Uses a prepared statement if the run does, so that
/// plan_cache_mode applies.
pub(super) async fn explained(
    client: &Client,
    name: &str,
    source: &Source,
    is_simple: bool,
    values: &[Option<&str>],
    options: &str,
) -> Result<Vec<Row>, QueryError> {
    if is_simple {
        let sql = with_literals(&source.sql, &source.placeholders, values);
        return rows(client, &format!("EXPLAIN ({options}) {sql}")).await;
    }
    prepare(client, name, source).await?;
    explain_prepared(client, name, values, options).await
}

async fn prepare(client: &Client, name: &str, source: &Source) -> Result<(), QueryError> {
    rows(client, &format!("PREPARE {name} AS {}", source.sql)).await?;
    rows(client, "SAVEPOINT prepared").await.map(drop)
}

/// Sends the values as text literals, which the server parses as the types that the statement needs, as in a run.
async fn explain_prepared(
    client: &Client,
    name: &str,
    values: &[Option<&str>],
    options: &str,
) -> Result<Vec<Row>, QueryError> {
    let literals: Vec<String> =
        values.iter().map(|value| value.map_or_else(|| "NULL".to_owned(), quote)).collect();
    let literals = if literals.is_empty() { String::new() } else { format!("({})", literals.join(", ")) };
    rows(client, &format!("EXPLAIN ({options}) EXECUTE {name}{literals}")).await
}

fn line(row: &Row) -> Option<String> {
    Some(row.text("QUERY PLAN")?.chars().take(limits::PLAN_LINE_CHARS_MAX).collect())
}

fn reason(error: &QueryError, timeout: Duration) -> String {
    match error.sqlstate.as_str() {
        "25006" => "the statement writes, and EXPLAIN ANALYZE would write again".to_owned(),
        // The run executed the statement, so the statement itself is valid.
        SYNTAX_ERROR => NO_PLAN.to_owned(),
        "57014" => format!("EXPLAIN ANALYZE did not complete within {timeout:?}"),
        _ => error.to_string(),
    }
}
