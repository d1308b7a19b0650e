//! SIGKILL for agents in the middle of a run, under each policy.

use muster_testing::load::{Load, THREE, TWO, agent_of, hosts_of};

#[tokio::test]
async fn only_the_hosts_of_a_killed_agent_move_when_it_is_not_replaced() {
    let Some(mut load) = Load::start("killed_reassign", THREE, &["--slot-grace", "500ms"]).await else {
        return;
    };
    let slot = load.kill_in_flight(1).await;
    load.coordinator.wait_for(&format!("{slot} given up: its hosts and their")).await;
    let report = load.end(0).await;
    assert_eq!(report.text("/verdict/status"), "DEGRADED");
    assert!(report.number("/queries/retried") > 0, "the query in flight ran again");
    let before = hosts_of(&load.undisturbed().await);
    let (after, ran_in) = (hosts_of(&report), load.slots_of_hosts().await);
    for (host, owner) in &before {
        let has_moved = *owner == slot;
        assert_eq!(after[host] != *owner, has_moved, "{host} of {owner} is with {}", after[host]);
        assert!(has_moved || ran_in[host] == [owner.clone()], "{host} of {owner} ran in {:?}", ran_in[host]);
    }
    let lost = agent_of(&report, &slot);
    assert_eq!(lost["hosts_at_end"], 0);
    assert!(lost["hosts"].as_u64().unwrap() > 0 && !lost["lost"].is_null(), "{lost}");
}

#[tokio::test]
async fn a_replacement_takes_the_slot_of_a_killed_agent_with_all_its_hosts() {
    let grace = ["--slot-grace", "60s", "--include-retried"];
    let Some(mut load) = Load::start("killed_replaced", THREE, &grace).await else { return };
    let slot = load.kill_in_flight(0).await;
    load.wait_until_idle().await;
    load.join().wait_for(&format!("as {slot}")).await;
    load.coordinator.wait_for(&format!("{slot} continues with")).await;
    let report = load.end(0).await;
    assert_eq!(report.text("/verdict/status"), "DEGRADED");
    assert!(report.number("/queries/retried") > 0);
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
    for (host, slots) in load.slots_of_hosts().await {
        assert_eq!(slots.len(), 1, "{host} ran in {slots:?}");
    }
    let agent = agent_of(&report, &slot);
    assert_eq!((&agent["hosts_at_end"], &agent["lost"]), (&agent["hosts"], &serde_json::Value::Null));
    let sessions = agent["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{agent}");
    assert!(sessions[0]["epoch"].as_u64() < sessions[1]["epoch"].as_u64(), "{agent}");
    assert!(!sessions[0]["lost"].is_null() && sessions[1]["lost"].is_null(), "{agent}");
    let skew = report.at("/start_skew_ms").as_f64().unwrap();
    let wall = report.at("/wall_time_ms").as_f64().unwrap();
    assert!(skew < wall / 4.0, "the start of a replacement is not counted: {skew} of {wall} ms");
}

#[tokio::test]
async fn the_hosts_of_two_killed_agents_go_to_the_third() {
    let Some(mut load) = Load::start("killed_two", THREE, &["--slot-grace", "500ms"]).await else { return };
    let gate = load.close_gate(3).await;
    let killed = [load.kill(0).await, load.kill(0).await];
    for slot in &killed {
        load.coordinator.wait_for(&format!("{slot} given up")).await;
    }
    gate.open().await;
    let report = load.end(0).await;
    assert!(hosts_of(&report).values().all(|slot| !killed.contains(slot)));
    assert_eq!(report.accounting(), (THREE.rows as u64, 0, 0));
}

#[tokio::test]
async fn a_killed_agent_ends_a_run_with_policy_fail_after_the_grace() {
    let policy = ["--on-agent-loss", "fail", "--slot-grace", "500ms"];
    let Some(mut load) = Load::start("killed_fail", THREE, &policy).await else { return };
    let gate = load.close_gate(3).await;
    let slot = load.kill(2).await;
    load.coordinator.wait_for(&format!("{slot} lost")).await;
    // The other agents may finish their queries; no host moves.
    load.agents[0].wait_for("joined").await;
    gate.open().await;
    let report = load.end(13).await;
    assert_eq!(report.text("/ending"), "agents_lost");
    assert!(!report.events().contains("given up"), "{}", report.events());
    assert!(report.accounting().2 > 0, "its rows are unaccounted and listed");
}

#[tokio::test]
async fn a_replacement_within_the_grace_saves_a_run_with_policy_fail() {
    let policy = ["--on-agent-loss", "fail", "--slot-grace", "60s"];
    let Some(mut load) = Load::start("killed_saved", TWO, &policy).await else { return };
    let slot = load.kill_in_flight(0).await;
    load.join();
    load.coordinator.wait_for(&format!("{slot} continues with")).await;
    assert_eq!(load.end(0).await.accounting(), (TWO.rows as u64, 0, 0));
}

#[tokio::test]
async fn a_run_with_policy_wait_prints_the_missing_slot_and_continues_with_a_replacement() {
    let policy = ["--on-agent-loss", "wait", "--slot-grace", "200ms"];
    let Some(mut load) = Load::start("killed_wait", TWO, &policy).await else { return };
    let slot = load.kill_in_flight(1).await;
    load.coordinator.wait_for(&format!("waiting for 1 of 2 agents ({slot}); start each with: agent")).await;
    // The other agent has run all its rows, and no host moves.
    load.wait_until_idle().await;
    load.coordinator.wait_for_times(2, &format!("waiting for 1 of 2 agents ({slot})")).await;
    load.join();
    load.coordinator.wait_for(&format!("{slot} continues with")).await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
}

#[tokio::test]
async fn a_run_whose_agents_are_all_killed_ends_after_the_grace() {
    for (policy, name) in
        [("reassign", "all_killed_reassign"), ("wait", "all_killed_wait"), ("fail", "all_killed_fail")]
    {
        let args = ["--on-agent-loss", policy, "--slot-grace", "500ms"];
        let Some(mut load) = Load::start(name, TWO, &args).await else { return };
        let gate = load.close_gate(2).await;
        load.kill(0).await;
        load.kill(0).await;
        load.wait_for_events(1, "slot-0 lost").await;
        load.wait_for_events(1, "slot-1 lost").await;
        let report = load.coordinator.end().await;
        gate.open().await;
        // The queries of the killed agents run to their end, because no agent is left to end them.
        load.database.wait_for_no_workers().await;
        let report = load.check(&report.expect(13)).await;
        assert_eq!(report.text("/ending"), "agents_lost", "{policy}");
        // The number of results that arrived before the kill varies.
        let (_, failed, unaccounted) = report.accounting();
        assert!(failed == 0 && unaccounted > 0, "{:?}", report.accounting());
    }
}
