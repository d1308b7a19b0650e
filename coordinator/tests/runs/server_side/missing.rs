//! Server statistics that are not available: the report says how to enable them, and the run continues without.

use crate::server_side::server::{notes, rows, run, with_extension, without_extension};
use muster_testing::database::Database;
use muster_testing::files::Files;

const QUERY: &str = "SELECT :n::int + 1 FROM (SELECT 'cpu_usage') AS cpu_usage";

fn files() -> (Files, String, String) {
    let files = Files::new();
    let csv = files.write("rows.csv", rows(20, |_| 0.0));
    let query = format!("q={}", files.write("q.sql", QUERY));
    (files, csv, query)
}

#[tokio::test]
async fn a_missing_extension_is_noted() {
    let Some(database) = without_extension("not_installed").await else { return };
    let (files, csv, query) = files();
    let report = run(&database, &files, &[&csv, "--query", &query]).await;
    assert_eq!(
        notes(&report),
        [
            "the extension pg_stat_statements is not installed in this database: CREATE EXTENSION pg_stat_statements"
        ]
    );
    assert!(report.list("/server/statements").is_empty());
    assert!(report.number("/server/database/commits") >= 20, "the database's counters are still reported");
}

#[tokio::test]
async fn an_extension_that_is_not_loaded_is_noted() {
    let Some(database) = Database::empty("not_loaded").await else { return };
    if database.number("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'").await
        == 0
    {
        return println!("skipped: pg_stat_statements is not available");
    }
    database.execute("CREATE EXTENSION pg_stat_statements").await;
    let (files, csv, query) = files();
    let report = run(&database, &files, &[&csv, "--query", &query]).await;
    assert_eq!(
        notes(&report),
        [
            "pg_stat_statements is installed but not loaded: add pg_stat_statements to shared_preload_libraries and restart the server"
        ]
    );
}

#[tokio::test]
async fn disabled_tracking_and_query_ids_are_noted() {
    let Some(database) = with_extension("counts_nothing").await else { return };
    let (files, csv, query) = files();
    let name = database.name();
    database.execute(&format!("ALTER DATABASE {name} SET compute_query_id = off")).await;
    let report = run(&database, &files, &[&csv, "--query", &query]).await;
    assert_eq!(
        notes(&report),
        ["query 'q': the server does not compute query ids: set compute_query_id to auto or on"]
    );
    database
        .execute(&format!(
            "ALTER DATABASE {name} RESET ALL; ALTER DATABASE {name} SET pg_stat_statements.track = none"
        ))
        .await;
    let report = run(&database, &files, &[&csv, "--query", &query]).await;
    assert_eq!(notes(&report), ["pg_stat_statements counts nothing: set pg_stat_statements.track to top"]);
}

#[tokio::test]
async fn missing_privileges_are_noted() {
    let Some(database) = with_extension("may_not_ask").await else { return };
    database
        .execute(
            "CREATE ROLE blind LOGIN; REVOKE EXECUTE ON FUNCTION pg_stat_statements(boolean) FROM PUBLIC",
        )
        .await;
    let (files, csv, query) = files();
    let url = database.url().replace("postgres@", "blind@");
    let ended = crate::server_side::server::run_on(&url, &files, &[&csv, "--query", &query]).await.expect(0);
    let report = muster_testing::report::Report::of(&ended);
    let why = notes(&report).join("; ");
    assert!(why.starts_with("this role may not read pg_stat_statements (permission denied"), "{why}");
}

/// Tables with the documented names replace the views of TimescaleDB, which need not be installed.
#[tokio::test]
async fn hypertables_in_a_statement_are_reported() {
    let Some(database) = with_extension("hypertables").await else { return };
    database
        .execute(
            "CREATE SCHEMA timescaledb_information; \
             CREATE TABLE timescaledb_information.hypertables (hypertable_schema NAME, hypertable_name NAME, compression_enabled BOOL); \
             CREATE TABLE timescaledb_information.chunks (hypertable_schema NAME, hypertable_name NAME, is_compressed BOOL); \
             INSERT INTO timescaledb_information.hypertables VALUES ('public', 'cpu_usage', true), ('public', 'other', false); \
             INSERT INTO timescaledb_information.chunks SELECT 'public', 'cpu_usage', n < 3 FROM generate_series(1, 5) n",
        )
        .await;
    let (files, csv, query) = files();
    let report = run(&database, &files, &[&csv, "--query", &query]).await;
    let expected = serde_json::json!([
        { "name": "public.cpu_usage", "chunks": 5, "compressed_chunks": 2, "has_compression": true }
    ]);
    assert_eq!(*report.at("/server/hypertables"), expected);
    database.execute("ALTER TABLE timescaledb_information.chunks RENAME is_compressed TO compressed").await;
    let report = run(&database, &files, &[&csv, "--query", &query]).await;
    let why = notes(&report).join("; ");
    assert!(why.starts_with("timescaledb_information cannot be read: column \"is_compressed\""), "{why}");
    assert_eq!(report.number("/server/statements/0/calls"), 20, "the other figures are still reported");
}
