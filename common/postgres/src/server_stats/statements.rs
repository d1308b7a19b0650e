//! Reads `pg_stat_statements` for the run's statements. A role can read the entries of its own statements. Only the texts of others' are
//! hidden.

use muster_core::query::quote;
use muster_core::server_side::{StatementCounters, Statements};
use tokio_postgres::Client;

use super::rows::{QueryError, Row, rows};

/// The first version that has `pg_stat_statements_info`.
const HAS_INFO: u32 = 140_000;

const LOAD: &str = "add pg_stat_statements to shared_preload_libraries and restart the server";
const CREATE: &str = "CREATE EXTENSION pg_stat_statements";
const INSTALL: &str = "install the package of the server's contrib modules";

/// Returns what is missing before the server can count statements.
const MISSING: &str = "SELECT \
    EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'pg_stat_statements.track') AS is_loaded, \
    EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'pg_stat_statements') AS is_installed";

/// Returns the counters of the statements with these query ids.
///
/// # Errors
/// The reason why the counters are not available.
pub(super) async fn read(
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
        let found = rows(client, MISSING).await.map_err(|error| refused(&error))?;
        let has = |what: &str| found.first().is_some_and(|row| row.is_on(what));
        return Err(missing(has("is_installed"), has("is_loaded")));
    };
    if settings.text("track") == Some("none") {
        return Err("pg_stat_statements counts nothing: set pg_stat_statements.track to top".to_owned());
    }
    let schema = identifier(settings.text("schema").unwrap_or_default());
    let known: Vec<String> = query_ids.iter().flatten().map(i64::to_string).collect();
    let entries = rows(client, &entries(&schema, &known)).await.map_err(|error| refused(&error))?;
    let counters = query_ids.iter().map(|id| {
        let id = id.clone()?;
        // A statement that was never executed has no entry yet.
        let entry = entries.iter().find(|entry| entry.number("queryid") == Some(id));
        Ok(entry.map(counters_of).unwrap_or_default())
    });
    let counters = counters.collect();
    let reset = if version_num < HAS_INFO { String::new() } else { reset(client, &schema).await };
    Ok(Statements { counters, times_planning: settings.is_on("planning"), reset })
}

/// The names of columns differ between versions, so each row is read as JSON, which contains the existing ones. The texts are omitted,
/// because reading them requires reading a file.
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

/// Returns the time at which all entries were reset. Empty in older versions of the extension, for which only decreasing counters indicate
/// a reset.
async fn reset(client: &Client, schema: &str) -> String {
    let found =
        rows(client, &format!("SELECT stats_reset::text AS reset FROM {schema}.pg_stat_statements_info"))
            .await;
    let found = found.ok().and_then(|rows| Some(rows.first()?.text("reset")?.to_owned()));
    found.unwrap_or_default()
}

/// Describes what is missing in a database without the extension.
fn missing(is_installed: bool, is_loaded: bool) -> String {
    let steps = [(INSTALL, is_installed || is_loaded), (LOAD, is_loaded), (CREATE, false)];
    let steps: Vec<&str> = steps.into_iter().filter(|(_, is_done)| !is_done).map(|(step, _)| step).collect();
    format!("the extension pg_stat_statements is not installed in this database: {}", steps.join(", then "))
}

fn refused(error: &QueryError) -> String {
    match error.sqlstate.as_str() {
        "55000" => format!("pg_stat_statements is installed but not loaded: {LOAD}"),
        "42501" => format!(
            "this role may not read pg_stat_statements ({}): grant it pg_read_all_stats, or EXECUTE on the function",
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
    fn every_error_states_its_fix() {
        let refused = |sqlstate: &str| {
            let (sqlstate, message) = (sqlstate.to_owned(), "no".to_owned());
            refused(&QueryError { sqlstate, message, detail: None, hint: None })
        };
        assert!(refused("55000").ends_with("shared_preload_libraries and restart the server"));
        assert!(refused("42501").contains("grant it pg_read_all_stats"));
        assert_eq!(refused("XX000"), "pg_stat_statements cannot be read: no (SQLSTATE XX000)");
    }

    #[test]
    fn only_what_is_missing_is_named() {
        assert!(missing(true, true).ends_with("in this database: CREATE EXTENSION pg_stat_statements"));
        assert!(missing(true, false).ends_with(&format!(": {LOAD}, then {CREATE}")));
        assert!(missing(false, false).ends_with(&format!(": {INSTALL}, then {LOAD}, then {CREATE}")));
    }

    #[test]
    fn a_schema_is_quoted() {
        assert_eq!(identifier("my \"stats\""), "\"my \"\"stats\"\"\"");
    }
}
