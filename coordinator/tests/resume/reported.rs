//! `report RUN` of a run that has ended: byte for byte what the run printed, whatever happened in it.

use crate::kept::Kept;
use crate::support::load::{THREE, TWO};

#[tokio::test]
async fn a_run_in_which_nothing_happened() {
    let Some(mut kept) = Kept::start("reported_quiet", TWO, &[]).await else { return };
    let report = kept.end(0).await;
    report.expect_undisturbed();
}

#[tokio::test]
async fn a_run_whose_agent_was_killed_and_replaced() {
    let Some(mut kept) = Kept::start("reported_replaced", TWO, &["--slot-grace", "60s"]).await else {
        return;
    };
    let slot = kept.load.kill_in_flight(0).await;
    kept.load.join();
    kept.load.coordinator.wait_for(&format!("{slot} goes on with")).await;
    let report = kept.end(0).await;
    assert!(report.number("/queries/retried") > 0);
}

#[tokio::test]
async fn a_run_whose_slot_was_given_up() {
    let Some(mut kept) = Kept::start("reported_moved", THREE, &["--slot-grace", "500ms"]).await else {
        return;
    };
    let slot = kept.load.kill_in_flight(1).await;
    kept.load.coordinator.wait_for(&format!("{slot} given up")).await;
    kept.end(0).await;
}
