//! Undisturbed runs on a machine that agents and database share: they may be DEGRADED, but not VOID.

use std::collections::BTreeMap;

use muster_testing::database::Database;
use muster_testing::exclusive;
use muster_testing::processes::{complete, coordinator};
use muster_testing::report::Report;

/// Runs the sample's 200 rows on ten agents, `times` times; prints how often each verdict was given, with its causes.
async fn check(name: &str, times: usize) {
    let _turn = exclusive::alone().await;
    let Some(database) = Database::demo(name).await else { return };
    let mut verdicts = BTreeMap::new();
    for _ in 0..times {
        let args = [
            "run",
            "--local",
            "--agents",
            "10",
            "--output",
            "json",
            "--no-run-dir",
            "--database-url",
            database.url(),
        ];
        let ended = complete(coordinator(&args)).await;
        let report = Report::of(&ended);
        let verdict = format!("{} {}", report.text("/verdict/status"), report.at("/verdict/causes"));
        assert_ne!(report.text("/verdict/status"), "VOID", "{}", report.at("/verdict"));
        ended.expect(0);
        *verdicts.entry(verdict).or_insert(0) += 1;
    }
    for (verdict, count) in verdicts {
        println!("{count} of {times}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_healthy_runs_are_not_void() {
    check("healthy_few", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a hundred runs take minutes: `just healthy`"]
async fn a_hundred_healthy_runs_are_not_void() {
    check("healthy_hundred", 100).await;
}
