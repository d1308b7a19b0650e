//! A workload that is overwritten, truncated or replaced while the run reads it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use muster_testing::database::Database;
use muster_testing::files::{Files, HOSTS, SLEEP};
use muster_testing::processes::{Process, coordinator};
use muster_testing::report::Report;

const ROWS: usize = 4_000;

/// Enough rows that the file is read again after the change: every worker still has several windows to read.
fn rows(seconds: &str) -> String {
    let padding = "x".repeat(200);
    let rows = (0..ROWS).map(|row| format!("host_{:02},{seconds},{padding}\n", row % HOSTS));
    format!("hostname,seconds,padding\n{}", rows.collect::<String>())
}

/// Changes the file during the run. Returns the exit code, the report, stderr, and the time from the change to the end of the run.
async fn change(name: &str, change: fn(&Path)) -> Option<(i32, Report, String, Duration)> {
    let database = Database::empty(name).await?;
    let files = Files::new();
    let workload = files.write("rows.csv", rows("0.010"));
    let query = files.write("sleep.sql", SLEEP);
    let head = ["run", "--local", "--workers", "2", "--output", "json", &workload, "--query", &query];
    let mut run = Process::start(coordinator(
        &[&head[..], &["--database-url", database.url(), "--limit", "1500"]].concat(),
    ));
    database.wait_for_running(2).await;
    change(Path::new(&workload));
    let changed_at = Instant::now();
    let ended = run.end().await;
    Some((ended.code.unwrap(), Report::of(&ended), ended.stderr, changed_at.elapsed()))
}

#[track_caller]
fn expect_ended((code, report, stderr, took): (i32, Report, String, Duration)) {
    assert_eq!((code, report.text("/ending")), (2, "workload_unreadable"), "{stderr}");
    assert!(stderr.contains("changed while the run was reading it"), "{stderr}");
    assert!(stderr.contains("rows.csv"), "{stderr}");
    assert_eq!(report.text("/verdict/status"), "DEGRADED");
    let (completed, failed, unaccounted) = report.accounting();
    assert!(completed > 0 && unaccounted > 0, "{:?}", report.accounting());
    assert_eq!(failed, 0, "no row ran with another value");
    assert!(took < Duration::from_secs(20), "the remaining rows did not run: {took:?}");
}

#[tokio::test]
async fn a_workload_that_is_overwritten_with_other_values_ends_the_run() {
    let changed = change("overwritten", |path| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        // Not a number, so a row that is read again with this value fails.
        fs::write(path, rows("other")).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    });
    if let Some(changed) = changed.await {
        expect_ended(changed);
    }
}

#[tokio::test]
async fn a_workload_that_is_truncated_ends_the_run() {
    if let Some(changed) = change("truncated", |path| fs::write(path, "").unwrap()).await {
        expect_ended(changed);
    }
}

#[tokio::test]
async fn a_workload_that_is_replaced_or_grows_runs_as_first_read_and_is_reported() {
    let replace = |path: &Path| {
        fs::write(path.with_extension("new"), rows("other")).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    let append = |path: &Path| {
        let longer = format!("{}host_00,1,x\n", fs::read_to_string(path).unwrap());
        fs::OpenOptions::new().append(true).open(path).unwrap().set_len(longer.len() as u64).unwrap();
    };
    for (name, how) in [("replaced", replace as fn(&Path)), ("grown", append)] {
        let Some((code, report, stderr, _)) = change(name, how).await else { return };
        assert_eq!((code, report.accounting()), (0, (1_500, 0, 0)), "{stderr}");
        assert!(
            report.at("/notes/0").as_str().is_some_and(|note| note.starts_with("the workload file changed"))
        );
        let events = report.list("/events");
        let is_reported = |event: &serde_json::Value| {
            event["what"].as_str().unwrap().contains("changed while the run was reading it")
        };
        assert!(events.iter().any(is_reported), "{events:?}");
    }
}
