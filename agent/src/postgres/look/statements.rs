//! `pg_stat_statements`, of the run's own statements. A role always sees the entries of its own; only the texts of others are hidden.

use muster_common::query::quote;
use muster_common::server_side::{StatementCounters, Statements};
use tokio_postgres::Client;

use super::rows::{QueryError, Row, rows};

/// `pg_stat_statements_info` is from this version on.
const HAS_INFO: u32 = 140_000;

const REMEDY: &str = "add pg_stat_statements to shared_preload_libraries and restart the server";

/// The counters of the statements of these numbers.
///
/// # Errors
/// Why the server does not tell of statements.
pub(super) async fn look(
    client: &Client,
    query_ids: &[Result<i64, String>],
    version_num: u32,
) -> Result<Statements, String> {
    let settings = "SELECT n.nspname AS schema, \
        coalesce(current_setting('pg_stat_statements.track', true), '') AS track, \
        coalesce(current_setting('pg_stat_statements.track_planning', true), '') AS planning \
        FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
        WHERE e.extname = 'pg_stat_statements'";
    let found = rows(client, settings).await.map_err(|error| refused(&error))?;
    let Some(settings) = found.first() else {
        return Err(format!(
            "the extension pg_stat_statements is not installed in this database: {REMEDY}, then CREATE EXTENSION pg_stat_statements"
        ));
    };
    if settings.text("track") == Some("none") {
        return Err("pg_stat_statements counts nothing: set pg_stat_statements.track to top".to_owned());
    }
    let schema = identifier(settings.text("schema").unwrap_or_default());
    let known: Vec<String> = query_ids.iter().flatten().map(i64::to_string).collect();
    let entries = rows(client, &entries(&schema, &known)).await.map_err(|error| refused(&error))?;
    let counters = query_ids.iter().map(|id| {
        let id = id.clone()?;
        // One that was never executed has no entry yet.
        let entry = entries.iter().find(|entry| entry.number("queryid") == Some(id));
        Ok(entry.map(counters_of).unwrap_or_default())
    });
    let counters = counters.collect();
    let reset = if version_num < HAS_INFO { String::new() } else { reset(client, &schema).await };
    Ok(Statements { counters, times_planning: settings.is_on("planning"), reset })
}

/// Columns have changed their names from version to version, so each row is taken as JSON, which has what there is. Without the
/// texts, which lie in a file.
fn entries(schema: &str, query_ids: &[String]) -> String {
    let sum = |column: &str, kind: &str| format!("sum((entry->>'{column}')::{kind}) AS {column}");
    let counts = [
        "calls",
        "plans",
        "rows",
        "shared_blks_hit",
        "shared_blks_read",
        "temp_blks_read",
        "temp_blks_written",
    ];
    let times = ["total_exec_time", "total_plan_time"];
    let counts = counts.map(|column| sum(column, "numeric"));
    let times = times.map(|column| sum(column, "float8"));
    let ids = quote(&format!("{{{}}}", query_ids.join(",")));
    format!(
        "SELECT entry->>'queryid' AS queryid, {}, {}, \
         sum(coalesce(entry->>'shared_blk_read_time', entry->>'blk_read_time')::float8) AS read_time \
         FROM (SELECT to_jsonb(s) AS entry FROM {schema}.pg_stat_statements(false) s \
         WHERE s.queryid = ANY ({ids}::int8[]) \
         AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
         AND s.userid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)) entries \
         WHERE coalesce((entry->>'toplevel')::bool, true) GROUP BY 1",
        counts.join(", "),
        times.join(", ")
    )
}

fn counters_of(entry: &Row) -> StatementCounters {
    StatementCounters {
        calls: entry.count("calls"),
        exec_ns: entry.nanoseconds("total_exec_time"),
        plans: entry.count("plans"),
        plan_ns: entry.nanoseconds("total_plan_time"),
        rows: entry.count("rows"),
        blocks_hit: entry.count("shared_blks_hit"),
        blocks_read: entry.count("shared_blks_read"),
        temp_read: entry.count("temp_blks_read"),
        temp_written: entry.count("temp_blks_written"),
        read_ns: entry.nanoseconds("read_time"),
    }
}

/// When all entries were thrown away; empty where an older version of the extension does not tell: then counters that fell do.
async fn reset(client: &Client, schema: &str) -> String {
    let found =
        rows(client, &format!("SELECT stats_reset::text AS reset FROM {schema}.pg_stat_statements_info"))
            .await;
    let found = found.ok().and_then(|rows| Some(rows.first()?.text("reset")?.to_owned()));
    found.unwrap_or_default()
}

fn refused(error: &QueryError) -> String {
    match error.sqlstate.as_str() {
        "55000" => format!("pg_stat_statements is installed but not loaded: {REMEDY}"),
        "42501" => format!(
            "this role may not read pg_stat_statements ({}): GRANT pg_read_all_stats to it, or EXECUTE on the function",
            error.message
        ),
        _ => format!("pg_stat_statements cannot be read: {error}"),
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_remedy() {
        let refused =
            |sqlstate: &str| refused(&QueryError { sqlstate: sqlstate.to_owned(), message: "no".to_owned() });
        assert!(refused("55000").ends_with("shared_preload_libraries and restart the server"));
        assert!(refused("42501").contains("GRANT pg_read_all_stats"));
        assert_eq!(refused("XX000"), "pg_stat_statements cannot be read: no (SQLSTATE XX000)");
    }

    #[test]
    fn a_schema_is_quoted() {
        assert_eq!(identifier("my \"stats\""), "\"my \"\"stats\"\"\"");
    }
}
