//! What a run must reach is kept with it: whoever takes it up, and whoever reports it, holds all of it against the same.

use crate::kept::Kept;
use crate::support::load::TWO;
use crate::support::processes::{complete, coordinator};
use crate::support::report::Report;

#[tokio::test]
async fn a_run_that_is_taken_up_is_held_against_its_own_with_the_samples_of_before() {
    let own = ["--threshold", "host:*:max<60s,failed=0"];
    let Some(mut kept) = Kept::start("thresholds_kept", TWO, &own).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.crash().await;
    kept.until_parked(1).await;
    gate.open().await;
    let others = kept.resume(&["--threshold", "p95<1s"]);
    complete(others)
        .await
        .expect(2)
        .says("'--resume <RUN>' cannot be used with '--threshold <EXPRESSION,…>'");
    kept.go_on();
    let report = kept.end_whole().await;
    let judged: Vec<_> =
        report.list("/thresholds").iter().map(|one| (&one["expression"], &one["passed"])).collect();
    assert_eq!(serde_json::json!(judged), serde_json::json!([["host:*:max<60s", true], ["failed=0", true]]));
    // Of every row that was timed, whichever coordinator counted it.
    let worst = report.at("/thresholds/0/value").as_f64().unwrap();
    assert_eq!(worst, report.at("/service_time_ms/max").as_f64().unwrap());
    let note = report.text("/thresholds/0/note");
    assert!(note.starts_with("the worst of 60 hosts: host_"), "{note}");
}

#[tokio::test]
async fn a_report_holds_a_run_against_whatever_is_asked() {
    let Some(mut kept) = Kept::start("thresholds_asked", TWO, &["--threshold", "max<1us"]).await else {
        return;
    };
    let ended = kept.load.coordinator.end().await.expect(10);
    assert_eq!(
        kept.report(&[]).await.stdout,
        ended.stdout,
        "what was missed then is told, and no failure now"
    );
    let (runs, id) = (kept.runs(), kept.id());
    let ask = async |thresholds: &str, code| {
        let words = ["report", &id, "--run-dir", &runs, "--output", "json", "--threshold", thresholds];
        complete(coordinator(&words)).await.expect(code)
    };
    let report = Report::of(&ask("host:host_07:median>5ms,throughput>0.1", 0).await);
    assert_eq!(report.list("/thresholds").len(), 2, "instead of its own");
    assert_eq!(report.text("/thresholds/0/note"), "the worst of 1 host: host_07");
    let report = Report::of(&ask("host:*:p99<1m", 10).await);
    assert_eq!(report.at("/thresholds/0/value"), &serde_json::Value::Null);
    assert!(report.text("/thresholds/0/note").contains("p99 needs 459 queries, and there are "));
    ask("host:nobody:p99<1m", 2).await.says("is about a host that the workload does not have");
    ask("p99", 2).await.says("'p99' is no threshold");
    kept.load.leave().await;
}
