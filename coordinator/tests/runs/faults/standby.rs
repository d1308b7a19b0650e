//! Standby agents: they are connected and prepared, and take the next slot that becomes vacant.

use std::time::Instant;

use tokio::time::Duration;

use muster_testing::load::{Load, TWO, agent_of, hosts_of};

/// Much longer than the second that this takes on an idle machine, and far below the grace.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_standby_takes_over_long_before_the_grace_is_over() {
    let Some(mut load) = Load::start("standby", TWO, &["--slot-grace", "60s"]).await else { return };
    let gate = load.close_gate(2).await;
    load.join().wait_for("on standby in run").await;
    let standbys = load.database.workers("application_name ~ '^muster:[^:]+:standby$' AND state = 'idle'");
    load.database.wait_for(1, &standbys).await;
    load.coordinator.wait_for("is on standby").await;
    let killed = Instant::now();
    let slot = load.kill(0).await;
    load.coordinator.wait_for(&format!("{slot} taken over by")).await;
    load.coordinator.wait_for(&format!("{slot} continues with")).await;
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    load.database.wait_for(0, &standbys).await;
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
    for (host, slots) in load.slots_of_hosts().await {
        assert_eq!(slots.len(), 1, "{host} ran in {slots:?}");
    }
    assert_eq!(agent_of(&report, &slot)["sessions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_unused_standby_does_not_affect_the_run() {
    let Some(mut load) = Load::start("standby_idle", TWO, &[]).await else { return };
    let gate = load.close_gate(2).await;
    for _ in 0..2 {
        load.join().wait_for("on standby in run").await;
    }
    load.coordinator.wait_for_times(2, "is on standby").await;
    let mut killed = load.agents.remove(3);
    killed.signal("KILL");
    killed.end().await;
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(report.list("/agents").len(), 2);
    report.expect_undisturbed();
}
