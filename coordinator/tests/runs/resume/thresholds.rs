//! Thresholds are stored with a run: a resumed run and every report of it evaluate the same ones over all samples.

use crate::resume::kept::KeptRun;
use muster_testing::load::TWO;
use muster_testing::processes::{complete, coordinator};
use muster_testing::report::Report;

#[tokio::test]
async fn a_resumed_run_evaluates_its_own_thresholds_over_all_samples() {
    let own = ["--threshold", "host:*:max<60s,failed=0"];
    let Some(mut kept) = KeptRun::start("thresholds_kept", TWO, &own).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.crash().await;
    kept.wait_until_parked(1).await;
    gate.open().await;
    let others = kept.resume_command(&["--threshold", "p95<1s"]);
    complete(others)
        .await
        .expect(2)
        .expect_stderr("'--resume <RUN>' cannot be used with '--threshold <EXPRESSION,…>'");
    kept.resume();
    let report = kept.end_complete().await;
    let results: Vec<_> =
        report.list("/thresholds").iter().map(|one| (&one["expression"], &one["passed"])).collect();
    assert_eq!(serde_json::json!(results), serde_json::json!([["host:*:max<60s", true], ["failed=0", true]]));
    // The value covers every timed row, whichever coordinator counted it.
    let worst = report.at("/thresholds/0/value").as_f64().unwrap();
    assert_eq!(worst, report.at("/service_time_ms/max").as_f64().unwrap());
    let note = report.text("/thresholds/0/note");
    assert!(note.starts_with("worst of 60 hosts: host_"), "{note}");
}

#[tokio::test]
async fn a_report_evaluates_the_given_thresholds_instead_of_those_of_the_run() {
    let Some(mut kept) = KeptRun::start("thresholds_asked", TWO, &["--threshold", "max<1us"]).await else {
        return;
    };
    let ended = kept.load.coordinator.end().await.expect(10);
    assert_eq!(
        kept.report(&[]).await.stdout,
        ended.stdout,
        "the report repeats the missed threshold and exits with 0"
    );
    let (runs, id) = (kept.runs(), kept.id());
    let ask = async |thresholds: &str, code| {
        let args = ["report", &id, "--run-dir", &runs, "--output", "json", "--threshold", thresholds];
        complete(coordinator(&args)).await.expect(code)
    };
    let report = Report::of(&ask("host:host_07:median>5ms,throughput>0.1", 0).await);
    assert_eq!(report.list("/thresholds").len(), 2, "instead of those of the run");
    assert_eq!(report.text("/thresholds/0/note"), "worst of 1 host: host_07");
    let report = Report::of(&ask("host:*:p99<1m", 10).await);
    assert_eq!(report.at("/thresholds/0/value"), &serde_json::Value::Null);
    assert!(report.text("/thresholds/0/note").contains("p99 needs 459 queries, but there are "));
    ask("host:missing:p99<1m", 2).await.expect_stderr("matches no host of the workload");
    ask("p99", 2).await.expect_stderr("'p99' is not a valid threshold");
    kept.load.leave().await;
}
