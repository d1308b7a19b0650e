//! Two databases in one run: every row runs on both, the slower one is found, and the URL of the second one is not shown.

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{complete, coordinator};
use muster_testing::report::Report;

/// Creates a database with the demo's data and a function that waits `pause_s` seconds before it returns.
async fn database(name: &str, pause_s: f64) -> Option<Database> {
    let database = Database::demo(name).await?;
    let function = format!(
        "CREATE FUNCTION slept(host text) RETURNS text LANGUAGE sql VOLATILE \
         AS $$ SELECT host FROM (SELECT pg_sleep({pause_s})) AS pause $$"
    );
    database.session().await.batch_execute(&function).await.unwrap();
    Some(database)
}

#[tokio::test]
async fn every_row_runs_on_both_databases_and_the_slower_one_is_found() {
    let Some(base) = database("versus_base", 0.002).await else { return };
    let Some(slower) = database("versus_slower", 0.006).await else { return };
    let files = Files::new();
    let query = files.write("q.sql", "SELECT slept(:hostname)");
    let runs = files.path().join("runs").to_str().unwrap().to_owned();
    let secret = slower.url().replace("postgres@", "postgres:hidden@");
    assert!(secret.contains("hidden"), "{secret}");
    let args = ["run", "--local", "--agents", "2", "--output", "json", "--query", &query, "--run-dir", &runs];
    let more = ["--database-url", base.url(), "--versus", &secret, "data/query_params.csv"];
    let ended = complete(coordinator(&[&args[..], &more].concat())).await.expect(0);
    let report = Report::of(&ended);
    assert_eq!(report.accounting(), (400, 0, 0));
    let of_agents: u64 = report.list("/agents").iter().map(|agent| agent["queries"].as_u64().unwrap()).sum();
    assert_eq!(of_agents, 400, "the agents' queries add up");
    assert!(!ended.stdout.contains("run both again"), "{}", ended.stdout);
    assert_eq!(
        report.number("/service_time_ms/count"),
        200,
        "the report's own figures are those of the first database"
    );
    let versus = |pointer: &str| report.at(&format!("/versus{pointer}"));
    assert_eq!(versus("/finding"), "slower");
    assert_eq!(versus("/rows/method"), "paired");
    assert_eq!([versus("/rows/base"), versus("/rows/new")].map(|rows| rows.as_u64()), [Some(200); 2]);
    assert_eq!(versus("/base/digest"), versus("/new/digest"), "both returned the same results");
    assert!(versus("/row_by_row/change").as_f64().unwrap() > 0.5, "{}", versus("/row_by_row"));
    for database in [&base, &slower] {
        let session = database.session().await;
        let calls = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name LIKE 'muster:%'";
        let left: i64 = session.query_one(calls, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "a connection is left");
    }
    assert!(!ended.stdout.contains("hidden") && !ended.stderr.contains("hidden"), "the URL is secret");
    let again = coordinator(&["report", report.text("/run_id"), "--run-dir", &runs, "--output", "json"]);
    assert_eq!(complete(again).await.expect(0).stdout, ended.stdout, "the report from the journal differs");
}

#[tokio::test]
async fn an_unusable_second_database_is_named_in_the_error() {
    let Some(base) = Database::demo("versus_alone").await else { return };
    let nowhere = base.url().replace("versus_alone", "versus_missing");
    let args =
        ["run", "--local", "--database-url", base.url(), "--versus", &nowhere, "data/query_params.csv"];
    complete(coordinator(&args)).await.expect(2).expect_stderr("second database (--versus)");
    let searching = ["run", "--local", "--max-rate", "--slo", "p99<1s", "--versus", &nowhere];
    complete(coordinator(&searching)).await.expect(2).expect_stderr("cannot be used with");
}
