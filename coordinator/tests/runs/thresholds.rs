//! Thresholds of whole runs against a fake PostgreSQL whose delays are known, with the built programs: passed and missed thresholds, the
//! exit code of the run, and the lines of each report.

use muster_report::result::{RunResult, Threshold};
use muster_testing::fake_postgres::FakePostgres;
use muster_testing::processes::Ended;
use muster_testing::scripted_run::Run;

/// 100 rows of 2 ms on ten hosts, and 50 rows of 40 ms on a slow one.
fn rows() -> Vec<String> {
    let fast = (0..100).map(|row| format!("fast-{},2ms", row % 10));
    fast.chain((0..50).map(|_| "slow,40ms".to_owned())).collect()
}

/// A busy machine may void a run, which these tests ignore.
fn run(rows: &[String], thresholds: &[&str]) -> Ended {
    let fake = FakePostgres::start();
    let mut run = Run::new(&fake.url(), rows).with(&["--allow-void"]);
    for threshold in thresholds {
        run = run.with(&["--threshold", threshold]);
    }
    run.local(3)
}

#[track_caller]
fn evaluated<'a>(report: &'a RunResult, expression: &str) -> &'a Threshold {
    report.thresholds.iter().find(|threshold| threshold.expression == expression).unwrap()
}

#[test]
fn a_run_that_passes_all_thresholds_succeeds() {
    let expressions =
        ["median>=2ms,p90>=40ms", "failed<0.1%", "throughput>0.1", "host:slow:min>=40ms", "response:max<1m"];
    let report = run(&rows(), &expressions).report(0);
    assert_eq!(report.thresholds.len(), 6);
    assert!(report.thresholds.iter().all(|threshold| threshold.passed), "{:?}", report.thresholds);
    let median = evaluated(&report, "median>=2ms");
    assert_eq!(
        (median.value, median.unit.as_str()),
        (report.service_time_ms.as_ref().map(|latency| latency.median), "ms")
    );
}

#[test]
fn a_missed_threshold_exits_with_10_and_names_the_host() {
    let report = run(&rows(), &["host:*:median<40ms", "median<1m", "host:fast-*:min>=2ms"]).report(10);
    let missed = evaluated(&report, "host:*:median<40ms");
    assert_eq!(
        (missed.passed, missed.note.as_deref()),
        (false, Some("worst: slow; missed by 1 of 11 hosts"))
    );
    assert!(missed.value.unwrap() >= 40.0);
    assert!(evaluated(&report, "median<1m").passed);
    assert_eq!(
        evaluated(&report, "host:fast-*:min>=2ms").note.as_deref().map(|note| &note[..18]),
        Some("worst of 10 hosts:")
    );
}

#[test]
fn a_threshold_that_the_sample_cannot_support_is_missed() {
    let report = run(&rows(), &["p99<1m", "host:slow:p90<1m", "host:fast-3:p90<1m"]).report(10);
    let (run, host) = (evaluated(&report, "p99<1m"), evaluated(&report, "host:fast-3:p90<1m"));
    assert_eq!((run.value, run.passed), (None, false));
    assert_eq!(run.note.as_deref(), Some("cannot be decided: p99 needs 459 queries, but there are 150"));
    assert_eq!(
        host.note.as_deref(),
        Some("cannot be decided for fast-3: p90 needs 44 queries, but there are 10")
    );
    assert!(evaluated(&report, "host:slow:p90<1m").passed, "50 queries support p90");
}

#[test]
fn a_threshold_on_failures_replaces_the_exit_code_of_failed_queries() {
    let mut rows = rows();
    rows.push("bad,error 22012 division by zero".to_owned());
    assert_eq!(
        run(&rows, &["median<1m"]).code,
        Some(14),
        "without a threshold on failures, any failure counts"
    );
    assert_eq!(run(&rows, &["failed<1%"]).code, Some(0));
    assert_eq!(run(&rows, &["failed=0"]).code, Some(10));
    assert_eq!(run(&rows, &["host:fast-*:failed=0"]).code, Some(14), "the threshold covers only some hosts");
}

#[test]
fn every_report_shows_the_value_and_the_result_of_a_threshold() {
    let fake = FakePostgres::start();
    let run = Run::new(&fake.url(), &rows()).with(&["--allow-void", "--threshold", "max<1us,failed=0"]);
    let run = run.with_output("text=report.txt,csv=report.csv,markdown=report.md");
    let (finished, files) = run.local_with_files(3, &["report.txt", "report.csv", "report.md"]);
    assert_eq!(finished.code, Some(10), "{}", finished.stderr);
    let [text, csv, markdown] = files.try_into().unwrap();
    let line = |text: &str, begin: &str| {
        let line = text.lines().find(|line| line.starts_with(begin));
        line.unwrap_or_else(|| panic!("no '{begin}' in {text}")).to_owned()
    };
    assert!(line(&text, "  MISSED  max<1us (is ").ends_with(" ms)"), "{text}");
    assert_eq!(line(&text, "  passed  "), "  passed  failed=0 (is 0 queries)");
    assert!(line(&csv, "threshold,max<1us,").ends_with(",false"), "{csv}");
    assert!(line(&csv, "threshold,failed=0,").ends_with(",0,true"), "{csv}");
    assert!(line(&markdown, "| `max<1us` | ").ends_with(" ms | **missed** |"), "{markdown}");
}
