//! A coordinator that is killed or frozen: its agents cancel their queries and wait for the next one.

use crate::endings::fixture::Running;

#[tokio::test]
async fn agents_outlive_a_killed_coordinator_and_their_queries_do_not() {
    let Some(mut running) = Running::start("crashed", 2, 600.0, &[]).await else { return };
    running.coordinator.signal("KILL");
    for agent in &mut running.agents {
        agent.wait_for("joining again").await;
    }
    running.database.wait_for_no_workers().await;
    running.run_again(2).await;
}

#[tokio::test]
async fn agents_of_a_frozen_coordinator_end_their_sessions_when_the_lease_lapses() {
    let Some(mut running) = Running::start("frozen", 2, 600.0, &[]).await else { return };
    running.coordinator.signal("STOP");
    for agent in &mut running.agents {
        agent.wait_for("lease expired").await;
    }
    running.database.wait_for_no_workers().await;
    running.coordinator.signal("CONT");
    // The same agents return to the same slots.
    for slot in ["slot-0", "slot-1"] {
        running.coordinator.wait_for(&format!("{slot} continues with")).await;
    }
    running.database.wait_for_running(2).await;
    running.coordinator.signal("INT");
    running.coordinator.wait_for("interrupted").await;
    running.coordinator.signal("INT");
    running.coordinator.end().await.expect(130);
}
