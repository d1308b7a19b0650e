//! `report RUN` of a run that has ended prints exactly what the run printed, byte for byte, with and without faults.

use crate::resume::kept::KeptRun;
use muster_testing::load::{THREE, TWO};

#[tokio::test]
async fn the_report_of_an_undisturbed_run_is_reproduced() {
    let Some(mut kept) = KeptRun::start("reported_quiet", TWO, &[]).await else { return };
    let report = kept.end(0).await;
    report.expect_undisturbed();
}

#[tokio::test]
async fn the_report_of_a_run_with_a_replaced_agent_is_reproduced() {
    let Some(mut kept) = KeptRun::start("reported_replaced", TWO, &["--slot-grace", "60s"]).await else {
        return;
    };
    let slot = kept.load.kill_in_flight(0).await;
    kept.load.join();
    kept.load.coordinator.wait_for(&format!("{slot} continues with")).await;
    let report = kept.end(0).await;
    assert!(report.number("/queries/retried") > 0);
}

#[tokio::test]
async fn the_report_of_a_run_with_a_given_up_slot_is_reproduced() {
    let Some(mut kept) = KeptRun::start("reported_moved", THREE, &["--slot-grace", "500ms"]).await else {
        return;
    };
    let slot = kept.load.kill_in_flight(1).await;
    kept.load.coordinator.wait_for(&format!("{slot} given up")).await;
    kept.end(0).await;
}
