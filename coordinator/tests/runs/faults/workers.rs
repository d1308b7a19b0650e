//! Agents with several connections. In the middle of a run a slot goes only to an agent with the same number of workers, because with
//! fewer some hosts would have no worker.

use muster_testing::load::{Load, TWO, hosts_of, slot_of};

#[tokio::test]
async fn a_vacant_slot_goes_to_an_agent_with_the_same_number_of_workers() {
    let Some(mut load) = Load::start_coordinator("workers", TWO, &["--slot-grace", "60s"]).await else {
        return;
    };
    let address = load.address;
    load.join_with(address, &["--workers", "3"]).wait_for("as slot-0").await;
    load.join_with(address, &["--workers", "1"]).wait_for("as slot-1").await;
    load.wait_until_running().await;
    let gate = load.close_gate(4).await;
    load.kill(0).await;
    load.kill(0).await;
    load.wait_for_events(1, "slot-0 lost").await;
    load.wait_for_events(1, "slot-1 lost").await;
    gate.open().await;
    // An agent that asks for a slot with more workers is refused with the reason; one that accepts any slot gets a matching one.
    load.join_with(address, &["--workers", "2", "--slot", "0"])
        .wait_for("slot-0 has hosts for 3 workers in this run, the agent has 2")
        .await;
    load.join_with(address, &["--workers", "1"]).wait_for("as slot-1").await;
    load.join_with(address, &["--workers", "2"]).wait_for("on standby in run").await;
    load.join_with(address, &["--workers", "3"]).wait_for("as slot-0").await;
    let report = load.end(0).await;
    assert_eq!(report.accounting(), (TWO.rows as u64, 0, 0));
    for (host, slots) in load.slots_of_hosts().await {
        assert_eq!(slots, [hosts_of(&report)[&host].clone()], "{host}");
    }
}

#[tokio::test]
async fn an_agent_with_several_workers_rejoins_and_sends_its_results_again() {
    let Some(mut load) = Load::start_coordinator("workers_several", TWO, &["--slot-grace", "60s"]).await
    else {
        return;
    };
    let address = load.address;
    for _ in 0..2 {
        load.join_with(address, &["--workers", "3"]).wait_for("joined run").await;
    }
    load.wait_until_running().await;
    let gate = load.close_gate(6).await;
    let slot = slot_of(&load.agents[0]);
    load.agents[0].signal("STOP");
    load.coordinator.wait_for(&format!("{slot} lost")).await;
    load.agents[0].signal("CONT");
    load.coordinator.wait_for(&format!("{slot} continues with")).await;
    gate.open().await;
    let report = load.end(0).await;
    assert_eq!(report.list("/workers").len(), 6);
    assert_eq!(
        load.reruns().await,
        0,
        "queries at the gate were ended there, and completed ones were reported"
    );
}
