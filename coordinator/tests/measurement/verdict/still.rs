//! Processes and networks that stop for less than a lease: nothing is lost, but the measured times are affected.

use tokio::time::{Duration, sleep};

use crate::verdict::fixture::{Generator, health, reason};
use muster_testing::processes::signal;
use muster_testing::proxy::{Direction, Proxy};

const TIME_BEFORE_FAULT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stopped_for_a_second_is_reported() {
    let mut generator = Generator::start(2, 1_200, "4ms", &[]).await;
    generator.join(&[]);
    generator.join(&[]);
    generator.armed().await;
    sleep(TIME_BEFORE_FAULT).await;
    generator.agents[1].signal("STOP");
    sleep(Duration::from_secs(1)).await;
    generator.agents[1].signal("CONT");
    let report = generator.end(false).await;
    let reason = reason(&report, "agent_stood_still");
    assert!(reason.starts_with("slot-1 ") && reason.contains("was paused for "), "{reason}");
    assert!(health(&report, 1, "late_ms/max") > 900.0);
    assert!(health(&report, 1, "late_ms/max") > health(&report, 0, "late_ms/max"));
    report_has_nothing_lost(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_repeatedly_voids_the_run() {
    let mut generator = Generator::start(1, 3_000, "200us", &[]).await;
    generator.join(&[]);
    generator.armed().await;
    let id = generator.agents[0].id();
    // It runs for 30 of 90 ms and is fast in that time, so the service times do not show that it was stopped.
    while generator.agents[0].is_running() {
        signal("STOP", id);
        sleep(Duration::from_millis(60)).await;
        signal("CONT", id);
        sleep(Duration::from_millis(30)).await;
    }
    let report = generator.end(false).await;
    assert_eq!(report.text("/verdict/status"), "VOID");
    let reason = reason(&report, "agent_late");
    assert!(reason.contains("it did not run when it was due"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_coordinator_and_the_workers_that_it_starved_are_reported() {
    // Workers hold rows for half a second of work.
    let mut generator = Generator::start(1, 1_200, "3ms", &[]).await;
    generator.join(&[]);
    generator.armed().await;
    sleep(TIME_BEFORE_FAULT).await;
    generator.coordinator.signal("STOP");
    sleep(Duration::from_millis(1_800)).await;
    generator.coordinator.signal("CONT");
    let report = generator.end(false).await;
    let delayed = reason(&report, "coordinator_late");
    assert!(delayed.starts_with("the coordinator's event loop was delayed by "), "{delayed}");
    let starved = reason(&report, "agent_starved");
    assert!(starved.starts_with("workers of slot-0 had no row to run for "), "{starved}");
    assert!(health(&report, 0, "starved_ms") > 300.0);
    assert!(report.at("/coordinator_health/late_ms/max").as_f64().unwrap() > 1_500.0);
    report_has_nothing_lost(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_starved_by_a_stalled_network_are_reported() {
    let mut generator = Generator::start(2, 1_600, "3ms", &[]).await;
    let proxy = Proxy::start(generator.address).await;
    generator.join(&[]);
    generator.join_at(proxy.address(), &[]);
    generator.armed().await;
    sleep(TIME_BEFORE_FAULT).await;
    proxy.stall(Direction::Both);
    sleep(Duration::from_millis(1_500)).await;
    proxy.heal();
    let report = generator.end(false).await;
    let starved = reason(&report, "agent_starved");
    assert!(starved.starts_with("workers of slot-1 "), "{starved}");
    assert!(health(&report, 1, "starved_ms") > 300.0);
    assert!(health(&report, 1, "round_trip_max_ms") > 400.0, "a heartbeat was in transit");
    report_has_nothing_lost(&report);
}

#[track_caller]
fn report_has_nothing_lost(report: &muster_testing::report::Report) {
    report.expect_undisturbed();
    assert_eq!(report.number("/queries/retried"), 0);
}
