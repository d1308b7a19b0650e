//! Determines the query id under which `pg_stat_statements` counts a statement. The text cannot be used, because `pg_stat_statements`
//! replaces constants by parameters and stores the text of the first execution. Since PostgreSQL 14, EXPLAIN VERBOSE prints the query id of
//! a statement without executing it.

use tokio_postgres::Client;

use super::explain::{NO_PLAN, SYNTAX_ERROR, begin, end, explained};
use super::rows::QueryError;
use crate::prepared_statement::Source;

/// The first version whose EXPLAIN prints query ids.
const HAS_QUERY_IDS: u32 = 140_000;
const LABEL: &str = "Query Identifier: ";
/// Returns the query id of each statement, or why it is not known.
pub(super) async fn of(
    client: &Client,
    local: &str,
    sources: &[Source],
    is_simple: bool,
    version_num: u32,
) -> Vec<Result<i64, String>> {
    if version_num < HAS_QUERY_IDS {
        let why =
            "PostgreSQL 14 or later is required to find a statement's entry in pg_stat_statements".to_owned();
        return vec![Err(why); sources.len()];
    }
    let mut ids: Vec<Result<i64, String>> = Vec::with_capacity(sources.len());
    for source in sources {
        let id = query_id(client, local, source, is_simple).await;
        ids.push(match id {
            Ok(Some(id)) if ids.contains(&Ok(id)) => {
                Err("the server counts it together with another statement of this run (same query id)"
                    .to_owned())
            }
            Ok(Some(id)) => Ok(id),
            Ok(None) => {
                Err("the server does not compute query ids: set compute_query_id to auto or on".to_owned())
            }
            Err(error) if error.sqlstate == SYNTAX_ERROR => Err(NO_PLAN.to_owned()),
            Err(error) => Err(format!("EXPLAIN did not return its query id: {error}")),
        });
    }
    ids
}

/// The query id does not depend on the values of parameters. NULL is valid for every type.
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
