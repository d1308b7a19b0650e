//! Runs that end because all rows have run, with and without failures.

use crate::endings::fixture::Running;
use muster_testing::database::Database;
use muster_testing::files::{Files, SLEEP};
use muster_testing::processes::{complete, coordinator};
use muster_testing::report::Report;

#[tokio::test]
async fn a_run_that_is_done_leaves_no_connection_and_exits_0() {
    let Some(database) = Database::demo("done").await else { return };
    let args = ["run", "--local", "--agents", "4", "--output", "json", "--database-url", database.url()];
    let report = Report::of(&complete(coordinator(&args)).await.expect(0));
    assert_eq!(report.text("/ending"), "completed");
    report.expect_undisturbed();
    assert_eq!(report.accounting(), (200, 0, 0));
    database.wait_for_no_workers().await;
}

#[tokio::test]
async fn a_query_beyond_its_timeout_is_cancelled_on_the_server_and_counted_as_failed() {
    let Some(database) = Database::empty("timeouts").await else { return };
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname,seconds\na,0.001\na,600\na,0.001\nb,0.001\n");
    let query = files.write("sleep.sql", SLEEP);
    let head = ["run", "--local", "--output", "json", &rows, "--query", &query, "--timeout", "300ms"];
    let ended = complete(coordinator(&[&head[..], &["--database-url", database.url()]].concat())).await;
    let report = Report::of(&ended.expect(14));
    assert_eq!(report.accounting(), (3, 1, 0));
    assert_eq!((report.text("/errors/0/sqlstate"), report.number("/errors/0/row")), ("57014", 1));
    assert!(report.text("/errors/0/message").contains("--timeout"), "{}", report.text("/errors/0/message"));
    database.wait_for_no_workers().await;
}

#[tokio::test]
async fn rows_whose_connection_the_server_terminates_fail_and_the_run_continues() {
    let Some(mut running) = Running::start("terminated", 2, 0.05, &["--limit", "60"]).await else { return };
    assert_eq!(running.database.terminate_workers().await, 2);
    let report = Report::of(&running.coordinator.end().await.expect(14));
    assert_eq!(report.text("/ending"), "completed");
    // A backend that was between two queries fails the next row, just as one that was executing fails its row.
    assert_eq!(report.accounting(), (58, 2, 0), "{:#}", report.at("/errors"));
    let states: Vec<&str> =
        report.list("/errors").iter().map(|error| error["sqlstate"].as_str().unwrap()).collect();
    assert_eq!(states, ["57P01"], "the server's SQLSTATE");
    for agent in &mut running.agents {
        agent.wait_for("run ended: every row was run").await;
    }
    running.database.wait_for_no_workers().await;
}
