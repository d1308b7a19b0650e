//! `--explain-slowest`: the plans are those of the slowest rows, which are executed once more after all counters were read; nothing is
//! written.

use crate::server_side::server::{notes, rows, run, with_extension};
use muster_testing::files::Files;
use muster_testing::processes::{Process, address, agent, complete, coordinator};
use muster_testing::report::Report;

/// The row of each plan, slowest first.
fn explained(report: &Report) -> Vec<u64> {
    report.list("/server/plans").iter().map(|plan| plan["row"].as_u64().unwrap()).collect()
}

fn lines(report: &Report, position: usize) -> String {
    let lines = report.list(&format!("/server/plans/{position}/lines")).iter();
    lines.map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_slowest_rows_have_their_plans() {
    let Some(database) = with_extension("slowest").await else { return };
    let files = Files::new();
    let slow = |n| match n {
        7 => 0.6,
        23 => 0.3,
        _ => 0.001,
    };
    let csv = files.write("rows.csv", rows(40, slow));
    let query = files.write("q.sql", "SELECT :hostname, :n::int FROM pg_sleep(:seconds::float8) -- one more");
    for protocol in ["prepared", "simple"] {
        let args = [&*csv, "--query", &query, "--protocol", protocol, "--explain-slowest", "2"];
        let report = run(&database, &files, &args).await;
        assert_eq!(explained(&report), [7, 23], "{protocol}: {}", report.at("/server/plans"));
        assert_eq!(report.text("/server/plans/0/host"), "host_7");
        assert!(report.at("/server/plans/0/service_time_ms").as_f64().unwrap() >= 600.0);
        for (position, ms) in [(0, 600.0), (1, 300.0)] {
            let plan = lines(&report, position);
            let time = plan.rsplit_once("Execution Time: ").unwrap().1.trim_end_matches(" ms");
            assert!(time.parse::<f64>().unwrap() >= ms, "the plan is for the row's own parameters: {plan}");
        }
        assert_eq!(report.number("/server/statements/0/calls"), 40, "explained executions are not counted");
        assert_eq!(notes(&report), [""; 0]);
    }
}

/// With one worker, a row's number determines the number of its execution, and so whether its plan was custom or generic.
#[tokio::test]
async fn the_plan_has_the_same_kind_as_that_of_the_row() {
    let Some(database) = with_extension("kinds").await else { return };
    // Most rows have the same value: a plan for any other value is cheap, and a generic plan is not.
    database.execute("CREATE TABLE skewed AS SELECT CASE WHEN i > 400 THEN 7 ELSE i % 40 END AS k FROM generate_series(1, 400000) i").await;
    database.execute("CREATE INDEX ON skewed (k)").await;
    database.execute("ANALYZE skewed").await;
    let files = Files::new();
    let slow = |slow: &'static [usize]| move |n| if slow.contains(&n) { 0.3 + n as f64 / 1e3 } else { 0.0 };
    let even = files.write("even.sql", "SELECT :hostname, :n::int FROM pg_sleep(:seconds::float8)");
    let none = files.write("none.sql", "SELECT pg_sleep(0.001)");
    let skewed =
        files.write("skewed.sql", "SELECT count(*) FROM skewed WHERE k = :n::int AND :hostname <> ''");
    let kinds = async |query: &str, slow_rows: &'static [usize], more: &[&str]| {
        let csv = files.write("rows.csv", rows(20, slow(slow_rows)));
        let args =
            ["run", "--local", "--no-run-dir", "--output", "json", "--database-url", database.url(), &csv];
        let count = slow_rows.len().to_string();
        let args = [&args[..], &["--query", query, "--explain-slowest", &count], more].concat();
        let report = Report::of(&complete(coordinator(&args)).await.expect(0));
        let plans = report.list("/server/plans").clone();
        plans
            .iter()
            .map(|plan| {
                (
                    plan["row"].as_u64().unwrap(),
                    plan["execution"].as_u64(),
                    plan["kind"].as_str().map(str::to_owned),
                )
            })
            .collect::<Vec<_>>()
    };
    let plan = |row: u64, execution: u64, kind: &str| (row, Some(execution), Some(kind.to_owned()));
    assert_eq!(kinds(&even, &[2, 12], &[]).await, [plan(12, 13, "generic"), plan(2, 3, "custom")]);
    let forced = |mode| ["--plan-cache-mode", mode];
    assert_eq!(kinds(&even, &[12], &forced("force_custom_plan")).await, [plan(12, 13, "custom")]);
    assert_eq!(kinds(&even, &[2], &forced("force_generic_plan")).await, [plan(2, 3, "generic")]);
    assert_eq!(kinds(&even, &[12], &["--protocol", "extended"]).await, [plan(12, 13, "custom")]);
    assert_eq!(kinds(&even, &[12], &["--protocol", "simple"]).await, [(12, Some(13), None)]);
    assert!(
        matches!(&kinds(&none, &[0], &[]).await[..], [(_, _, Some(kind))] if kind == "generic"),
        "a statement without parameters has a generic plan"
    );
    assert_eq!(
        kinds(&skewed, &[7], &[]).await,
        [plan(7, 8, "custom")],
        "the plans of the previous rows were cheap"
    );
    // With the warm-up, the costly plan is among the first five, so the generic plan is cheaper.
    assert_eq!(kinds(&skewed, &[7], &["--warmup", "10"]).await, [plan(7, 18, "generic")]);
}

#[tokio::test]
async fn writing_statements_are_not_explained() {
    let Some(database) = with_extension("writing").await else { return };
    database.execute("CREATE TABLE written (n INT)").await;
    let files = Files::new();
    let csv = files.write("rows.csv", rows(10, |_| 0.0));
    let query = files.write("q.sql", "INSERT INTO written VALUES (:n::int)");
    let address = address();
    let listen = address.to_string();
    let args =
        ["run", "--listen", &listen, "--agents", "1", "--output", "json", "--database-url", database.url()];
    let more = ["--no-run-dir", &csv, "--query", &query, "--explain-slowest", "1"];
    let mut run = Process::start(coordinator(&[&args[..], &more].concat()));
    let mut agent = Process::start(agent(address, &["--once", "--allow-writes"]));
    let report = Report::of(&run.end().await.expect(0));
    agent.end().await.expect(0);
    assert_eq!(report.number("/server/statements/0/calls"), 10);
    assert_eq!(
        report.text("/server/plans/0/problem"),
        "the statement writes, and EXPLAIN ANALYZE would write again"
    );
    assert_eq!(database.number("SELECT count(*) FROM written").await, 10);
}

#[tokio::test]
async fn a_statement_without_a_plan_is_reported() {
    let Some(database) = with_extension("planless").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(4, |_| 0.0));
    let query = files.write("q.sql", "SHOW server_version");
    let report = run(&database, &files, &[&csv, "--query", &query, "--explain-slowest", "1"]).await;
    assert!(report.text("/server/plans/0/problem").starts_with("a statement of this kind has no plan"));
}

#[tokio::test]
async fn explain_stops_at_the_timeout() {
    let Some(database) = with_extension("too_long").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(4, |_| 0.0));
    // Only the connection that reads server statistics waits.
    let is_statistics = "current_setting('application_name') LIKE '%:server_stats'";
    let sleep = format!("SELECT :n::int FROM pg_sleep(CASE WHEN {is_statistics} THEN 30 ELSE 0 END)");
    let query = files.write("q.sql", sleep);
    let args = [&*csv, "--query", &query, "--timeout", "500ms", "--explain-slowest", "1"];
    let report = run(&database, &files, &args).await;
    assert_eq!(report.text("/server/plans/0/problem"), "EXPLAIN ANALYZE did not complete within 500ms");
}

#[tokio::test]
async fn an_interrupted_run_has_counters_and_gets_plans_when_it_is_completed() {
    let Some(database) = with_extension("interrupted").await else { return };
    let files = Files::new();
    let csv = files.write("rows.csv", rows(40, |_| 0.1));
    let query = files.write("q.sql", "SELECT :n::int FROM pg_sleep(:seconds::float8)");
    let runs = files.path().join("runs").to_str().unwrap().to_owned();
    let always =
        ["--output", "json", "--database-url", database.url(), "--run-dir", &runs, "--explain-slowest", "1"];
    let args = ["run", "--local", "--agents", "2", &csv, "--query", &query];
    let mut begun = Process::start(coordinator(&[&args, &always[..]].concat()));
    database.wait_for_running(2).await;
    begun.signal("INT");
    let report = Report::of(&begun.end().await.expect(130));
    assert_eq!(notes(&report), ["plans of the slowest queries are missing: the run did not complete"]);
    assert_eq!(report.number("/server/statements/0/calls"), report.number("/queries/completed"));

    let again = ["run", "--resume", report.text("/run_id")];
    let ended = complete(coordinator(&[&again, &always[..]].concat())).await.expect(0);
    let resumed = Report::of(&ended);
    assert_eq!(explained(&resumed).len(), 1);
    let since = resumed.number("/queries/completed") - report.number("/queries/completed");
    assert_eq!(resumed.number("/server/statements/0/calls"), since);
    let note =
        "the run was resumed by another coordinator: the server's figures cover only what ran since then";
    assert_eq!(notes(&resumed), [note]);
    let read = coordinator(&["report", resumed.text("/run_id"), "--run-dir", &runs, "--output", "json"]);
    assert_eq!(complete(read).await.expect(0).stdout, ended.stdout, "the report from the journal differs");
}

#[tokio::test]
async fn the_number_of_plans_is_bounded() {
    for (count, code) in [("0", 2), ("101", 2)] {
        complete(coordinator(&["run", "--local", "--explain-slowest", count]))
            .await
            .expect(code)
            .expect_stderr("--explain-slowest");
    }
}
