//! An interrupted run prints the command that resumes it, and that command completes the run.

use crate::resume::kept::KeptRun;
use muster_testing::load::TWO;
use muster_testing::processes::{Process, coordinator};
use muster_testing::report::Report;

const HINT: &str = "to resume this run: coordinator ";

#[tokio::test]
async fn the_command_printed_by_an_interrupted_run_completes_it() {
    let Some(mut kept) = KeptRun::start("asked", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.load.coordinator.signal("INT");
    kept.load.coordinator.wait_for("interrupted: waiting for queries in flight").await;
    gate.open().await;
    let ended = kept.load.coordinator.end().await.expect(130);
    let report = Report::of(&ended);
    assert_eq!(report.text("/ending"), "interrupted");
    assert!(report.at("/verdict/reasons").to_string().contains("--resume"), "{}", report.at("/verdict"));
    assert_eq!(kept.report(&[]).await.stdout, ended.stdout);
    assert_eq!(kept.load.reruns().await, 0);
    let command = ended.stderr.lines().find_map(|line| line.strip_prefix(HINT));
    let command = command.unwrap_or_else(|| panic!("'{HINT}' is not in:\n{}", ended.stderr));
    let args: Vec<&str> = command.split(' ').collect();
    let address = kept.load.address.to_string();
    let own = ["--listen", &address, "--output", "json", "--database-url", kept.load.database.url()];
    kept.load.coordinator = Process::start(coordinator(&[&args[..], &own].concat()));
    // The agents were dismissed and wait for the next run.
    let report = kept.end_complete().await;
    assert_eq!((report.number("/queries/retried"), kept.load.reruns().await), (0, 0));
}
