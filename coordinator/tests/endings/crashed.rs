//! A coordinator that is gone without a word: its agents cancel what they run and wait for the next one.

use crate::fixture::Running;

#[tokio::test]
async fn agents_outlive_a_killed_coordinator_and_their_queries_do_not() {
    let Some(mut running) = Running::start("crashed", 2, 600.0, &[]).await else { return };
    running.coordinator.signal("KILL");
    for agent in &mut running.agents {
        agent.wait_for("joining again").await;
    }
    running.database.wait_for_silence().await;
    running.run_again(2).await;
}

#[tokio::test]
async fn a_frozen_coordinator_loses_its_agents_by_their_lease() {
    let Some(mut running) = Running::start("frozen", 2, 600.0, &[]).await else { return };
    running.coordinator.signal("STOP");
    for agent in &mut running.agents {
        agent.wait_for("lease lapsed").await;
    }
    running.database.wait_for_silence().await;
    running.coordinator.signal("CONT");
    // The same agents come back for the same slots.
    running.coordinator.wait_for_times(2, "goes on with").await;
    running.database.wait_for_running(2).await;
    running.coordinator.signal("INT");
    running.coordinator.wait_for("interrupted").await;
    running.coordinator.signal("INT");
    running.coordinator.end().await.expect(130);
}
