//! Under which number the server counts a statement. Its text would not do: `pg_stat_statements` writes constants as parameters, and
//! keeps the words of whoever came first. EXPLAIN VERBOSE tells the number of what it explains, without executing it, from
//! PostgreSQL 14 on.

use tokio_postgres::Client;

use super::super::call::Source;
use super::explain::{NO_PLAN, SYNTAX_ERROR, begin, end, explained};
use super::rows::QueryError;

const KNOWS_IDS: u32 = 140_000;
const LABEL: &str = "Query Identifier: ";
/// By statement: its number, or why it is not known.
pub(super) async fn of(
    client: &Client,
    local: &str,
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
        let id = query_id(client, local, source, is_simple).await;
        ids.push(match id {
            Ok(Some(id)) if ids.contains(&Ok(id)) => {
                Err("the server counts it together with another statement of this run".to_owned())
            }
            Ok(Some(id)) => Ok(id),
            Ok(None) => {
                Err("the server does not number its statements: set compute_query_id to auto or on"
                    .to_owned())
            }
            Err(error) if error.sqlstate == SYNTAX_ERROR => Err(NO_PLAN.to_owned()),
            Err(error) => Err(format!("EXPLAIN does not tell its number: {error}")),
        });
    }
    ids
}

/// Values do not matter for it, only where they stand: NULL is a value of every type.
async fn query_id(
    client: &Client,
    local: &str,
    source: &Source,
    is_simple: bool,
) -> Result<Option<i64>, QueryError> {
    let nulls = vec![None; source.parameters];
    let name = begin(client, local, "").await?;
    let lines = explained(client, &name, source, is_simple, &nulls, "VERBOSE, COSTS OFF").await;
    end(client, &name).await;
    let lines = lines?;
    let mut ids = lines.iter().filter_map(|line| line.text("QUERY PLAN")?.trim().strip_prefix(LABEL));
    Ok(ids.next_back().and_then(|id| id.parse().ok()))
}
