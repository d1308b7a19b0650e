//! Under which number the server counts a statement. Its text would not do: `pg_stat_statements` writes constants as parameters, and
//! keeps the words of whoever came first. EXPLAIN VERBOSE tells the number of what it explains, without executing it, from
//! PostgreSQL 14 on.

use muster_common::query::with_literals;
use tokio_postgres::Client;

use super::super::call::Source;
use super::rows::{QueryError, rows};

const KNOWS_IDS: u32 = 140_000;
const LABEL: &str = "Query Identifier: ";
/// EXPLAIN has no parameters of its own without a plan for them, so the statement is prepared first.
const NAME: &str = "muster_look";

/// By statement: its number, or why it is not known.
pub(super) async fn of(
    client: &Client,
    sources: &[Source],
    is_simple: bool,
    version_num: u32,
) -> Vec<Result<i64, String>> {
    if version_num < KNOWS_IDS {
        let why = "PostgreSQL tells from version 14 on which entry of pg_stat_statements is a statement's"
            .to_owned();
        return vec![Err(why); sources.len()];
    }
    let mut ids: Vec<Result<i64, String>> = Vec::with_capacity(sources.len());
    for source in sources {
        let id = query_id(client, source, is_simple).await;
        ids.push(match id {
            Ok(Some(id)) if ids.contains(&Ok(id)) => {
                Err("the server counts it together with another statement of this run".to_owned())
            }
            Ok(Some(id)) => Ok(id),
            Ok(None) => {
                Err("the server does not number its statements: set compute_query_id to auto or on"
                    .to_owned())
            }
            Err(error) => Err(format!("EXPLAIN does not tell its number: {error}")),
        });
    }
    ids
}

/// Values do not matter for it, only where they stand: NULL is a value of every type.
async fn query_id(client: &Client, source: &Source, is_simple: bool) -> Result<Option<i64>, QueryError> {
    let nulls = vec![None; source.parameters];
    let lines = if is_simple {
        let sql = with_literals(&source.sql, &source.placeholders, &nulls);
        rows(client, &format!("EXPLAIN (VERBOSE, COSTS OFF) {sql}")).await?
    } else {
        rows(client, &format!("PREPARE {NAME} AS {}", source.sql)).await?;
        let values = if nulls.is_empty() {
            String::new()
        } else {
            format!("({})", vec!["NULL"; nulls.len()].join(", "))
        };
        let lines = rows(client, &format!("EXPLAIN (VERBOSE, COSTS OFF) EXECUTE {NAME}{values}")).await;
        rows(client, &format!("DEALLOCATE {NAME}")).await?;
        lines?
    };
    let mut ids = lines.iter().filter_map(|line| line.text("QUERY PLAN")?.trim().strip_prefix(LABEL));
    Ok(ids.next_back().and_then(|id| id.parse().ok()))
}
