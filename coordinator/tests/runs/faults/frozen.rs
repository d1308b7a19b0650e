//! Agents that freeze for longer than their lease while a query of theirs waits at the gate, and then wake: within the grace, after
//! their slot was taken, and after their hosts have moved. Also a coordinator that freezes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use muster_testing::load::{Load, TWO, hosts_of, slot_of};

/// Freezes the first agent and waits until its session is lost. Returns its slot and the application name of its backends.
async fn freeze(load: &mut Load) -> (String, String) {
    let slot = slot_of(&load.agents[0]);
    let old = format!("SELECT DISTINCT session FROM ran WHERE session LIKE '%:{slot}:%'");
    let session = load.database.text(&old).await;
    load.agents[0].signal("STOP");
    let stderr = load.coordinator.wait_for(&format!("{slot} lost")).await;
    assert!(stderr.contains("no heartbeat for 3.3s"), "{stderr}");
    (slot, session)
}

/// The number of rows that this session ran to their end, without those at the gate.
async fn rows_of(load: &Load, session: &str) -> i64 {
    load.database.number(&format!("SELECT count(*) FROM ran WHERE session = '{session}'")).await
}

async fn is_running(load: &Load, session: &str) -> bool {
    load.database.number(&load.database.workers(&format!("application_name = '{session}'"))).await > 0
}

#[tokio::test]
async fn a_frozen_agent_that_wakes_within_the_grace_rejoins_its_slot() {
    let Some(mut load) = Load::start("frozen_briefly", TWO, &["--slot-grace", "60s"]).await else { return };
    let gate = load.close_gate(2).await;
    let (slot, session) = freeze(&mut load).await;
    assert!(is_running(&load, &session).await, "a frozen agent's query continues");
    load.agents[0].signal("CONT");
    load.agents[0].wait_for("lease expired").await;
    load.agents[0].wait_for_times(2, &format!("as {slot}")).await;
    load.coordinator.wait_for(&format!("{slot} continues with")).await;
    assert!(!is_running(&load, &session).await, "the successor has begun, so the old query must have ended");
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
    assert_eq!(
        load.reruns().await,
        0,
        "queries at the gate were ended there, and completed ones were reported"
    );
    assert!(report.number("/queries/retried") > 0);
}

#[tokio::test]
async fn the_query_of_a_replaced_agent_is_ended_before_its_successor_begins() {
    let Some(mut load) = Load::start("frozen_replaced", TWO, &["--slot-grace", "60s"]).await else { return };
    let gate = load.close_gate(2).await;
    let (slot, session) = freeze(&mut load).await;
    let before = rows_of(&load, &session).await;
    assert!(is_running(&load, &session).await, "a frozen agent's query continues");
    load.join().wait_for(&format!("as {slot}")).await;
    load.coordinator.wait_for(&format!("{slot}: 1 backend of the lost session ended in the database")).await;
    load.coordinator.wait_for(&format!("{slot} continues with")).await;
    assert!(!is_running(&load, &session).await, "the successor has begun, so the old query must have ended");
    load.wait_at_gate(2).await;
    load.agents[0].signal("CONT");
    load.agents[0].wait_for("lease expired").await;
    load.agents[0].wait_for("on standby in run").await;
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
    assert_eq!(rows_of(&load, &session).await, before, "queries at the gate were ended there");
}

#[tokio::test]
async fn the_query_of_an_agent_whose_slot_is_given_up_is_ended_before_its_hosts_move() {
    let Some(mut load) = Load::start("frozen_long", TWO, &["--slot-grace", "500ms"]).await else { return };
    let gate = load.close_gate(2).await;
    let (slot, session) = freeze(&mut load).await;
    let before = rows_of(&load, &session).await;
    let stderr = load.coordinator.wait_for(&format!("{slot} given up: its hosts and their")).await;
    assert!(stderr.contains(&format!("{slot}: 1 backend of the lost session ended")), "{stderr}");
    assert!(!is_running(&load, &session).await, "the hosts have moved, so the old query must have ended");
    load.agents[0].signal("CONT");
    load.agents[0].wait_for("lease expired").await;
    load.agents[0].wait_for("on standby in run").await;
    gate.open().await;
    let report = load.end(0).await;
    assert!(hosts_of(&report).values().all(|owner| *owner != slot));
    assert_eq!(rows_of(&load, &session).await, before, "queries at the gate were ended there");
}

#[tokio::test]
async fn a_coordinator_that_wakes_after_all_leases_have_lapsed_continues_with_the_same_agents() {
    let Some(mut load) = Load::start("frozen_coordinator", TWO, &["--slot-grace", "60s"]).await else {
        return;
    };
    let gate = load.close_gate(2).await;
    load.coordinator.signal("STOP");
    let until = Instant::now() + Duration::from_secs(10);
    for agent in &mut load.agents {
        agent.wait_for("lease expired").await;
    }
    // The agents end their queries on their own, because no coordinator can ask them to.
    load.database.wait_for(0, &load.database.workers("wait_event_type = 'Lock'")).await;
    sleep_until(until).await;
    load.coordinator.signal("CONT");
    for slot in ["slot-0", "slot-1"] {
        load.coordinator.wait_for(&format!("{slot} continues with")).await;
    }
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
    assert_eq!(
        load.reruns().await,
        0,
        "queries at the gate were ended there, and completed ones were reported"
    );
}
