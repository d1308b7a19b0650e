//! Machines that freeze for longer than their lease and then wake up, while a query of theirs is at the gate: before the grace is over,
//! after somebody else has taken their slot, and after their hosts have moved. And the coordinator's own.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::support::load::{Load, TWO, hosts_of, slot_of};

/// In mid-run with a query of each agent at the gate, the first agent is frozen and given up. Returns what its backends are called.
async fn freeze(load: &mut Load) -> (String, String) {
    let slot = slot_of(&load.agents[0]);
    let old = format!("SELECT DISTINCT session FROM ran WHERE session LIKE '%:{slot}:%'");
    let session = load.database.text(&old).await;
    load.agents[0].signal("STOP");
    let said = load.coordinator.wait_for(&format!("{slot} lost")).await;
    assert!(said.contains("no beat for 3.3s"), "{said}");
    (slot, session)
}

/// How many rows this session ran to their end. Those at the gate are not among them.
async fn rows_of(load: &Load, session: &str) -> i64 {
    load.database.number(&format!("SELECT count(*) FROM ran WHERE session = '{session}'")).await
}

async fn is_running(load: &Load, session: &str) -> bool {
    load.database.number(&load.database.workers(&format!("application_name = '{session}'"))).await > 0
}

#[tokio::test]
async fn one_that_wakes_within_the_grace_joins_anew_and_takes_its_slot_again() {
    let Some(mut load) = Load::start("frozen_briefly", TWO, &["--slot-grace", "60s"]).await else { return };
    let gate = load.close_gate(2).await;
    let (slot, session) = freeze(&mut load).await;
    assert!(is_running(&load, &session).await, "a frozen machine's query runs on");
    load.agents[0].signal("CONT");
    load.agents[0].wait_for("lease lapsed").await;
    load.agents[0].wait_for_times(2, &format!("as {slot}")).await;
    load.coordinator.wait_for(&format!("{slot} goes on with")).await;
    assert!(!is_running(&load, &session).await, "its successor has begun");
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
    assert_eq!(load.reruns().await, 0, "what was at the gate was ended there, and what had ended was told");
    assert!(report.number("/queries/retried") > 0);
}

#[tokio::test]
async fn the_query_of_one_whose_slot_is_taken_is_ended_before_its_successor_begins() {
    let Some(mut load) = Load::start("frozen_replaced", TWO, &["--slot-grace", "60s"]).await else { return };
    let gate = load.close_gate(2).await;
    let (slot, session) = freeze(&mut load).await;
    let before = rows_of(&load, &session).await;
    assert!(is_running(&load, &session).await, "a frozen machine's query runs on");
    load.join().wait_for(&format!("as {slot}")).await;
    load.coordinator.wait_for(&format!("{slot}: 1 backend of the lost session ended in the database")).await;
    load.coordinator.wait_for(&format!("{slot} goes on with")).await;
    assert!(!is_running(&load, &session).await, "its successor has begun");
    load.wait_at_gate(2).await;
    load.agents[0].signal("CONT");
    load.agents[0].wait_for("lease lapsed").await;
    load.agents[0].wait_for("standing by in run").await;
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
    assert_eq!(rows_of(&load, &session).await, before, "what was at the gate was ended there");
}

#[tokio::test]
async fn the_query_of_one_that_is_given_up_is_ended_before_its_hosts_move() {
    let Some(mut load) = Load::start("frozen_long", TWO, &["--slot-grace", "500ms"]).await else { return };
    let gate = load.close_gate(2).await;
    let (slot, session) = freeze(&mut load).await;
    let before = rows_of(&load, &session).await;
    let said = load.coordinator.wait_for(&format!("{slot} given up: its hosts and their")).await;
    assert!(said.contains(&format!("{slot}: 1 backend of the lost session ended")), "{said}");
    assert!(!is_running(&load, &session).await, "its hosts have moved");
    load.agents[0].signal("CONT");
    load.agents[0].wait_for("lease lapsed").await;
    load.agents[0].wait_for("standing by in run").await;
    gate.open().await;
    let report = load.end(0).await;
    assert!(hosts_of(&report).values().all(|owner| *owner != slot));
    assert_eq!(rows_of(&load, &session).await, before, "what was at the gate was ended there");
}

#[tokio::test]
async fn a_coordinator_that_wakes_after_all_leases_goes_on_with_the_same_agents() {
    let Some(mut load) = Load::start("frozen_coordinator", TWO, &["--slot-grace", "60s"]).await else {
        return;
    };
    let gate = load.close_gate(2).await;
    load.coordinator.signal("STOP");
    let until = Instant::now() + Duration::from_secs(10);
    for agent in &mut load.agents {
        agent.wait_for("lease lapsed").await;
    }
    // Agents end their queries by themselves: nobody could tell them to.
    load.database.wait_for(0, &load.database.workers("wait_event_type = 'Lock'")).await;
    sleep_until(until).await;
    load.coordinator.signal("CONT");
    for slot in ["slot-0", "slot-1"] {
        load.coordinator.wait_for(&format!("{slot} goes on with")).await;
    }
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
    assert_eq!(load.reruns().await, 0, "what was at the gate was ended there, and what had ended was told");
}
