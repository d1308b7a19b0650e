//! `kill -9` of agents in mid-run, under each policy.

use crate::support::load::{Load, THREE, TWO, agent_of, hosts_of};

#[tokio::test]
async fn the_hosts_of_a_killed_agent_and_they_alone_move_when_nobody_replaces_it() {
    let Some(mut load) = Load::start("killed_reassign", THREE, &["--slot-grace", "500ms"]).await else {
        return;
    };
    let slot = load.kill_in_flight(1).await;
    load.coordinator.wait_for(&format!("{slot} given up: its hosts and their")).await;
    let report = load.end(0).await;
    assert_eq!(report.text("/verdict/status"), "DEGRADED");
    assert!(report.number("/queries/retried") > 0, "the query in flight ran again");
    let before = hosts_of(&load.undisturbed().await);
    let (after, seen) = (hosts_of(&report), load.slots_of_hosts().await);
    for (host, owner) in &before {
        let has_moved = *owner == slot;
        assert_eq!(after[host] != *owner, has_moved, "{host} of {owner} is with {}", after[host]);
        assert!(has_moved || seen[host] == [owner.clone()], "{host} of {owner} ran in {:?}", seen[host]);
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
    load.until_idle().await;
    load.join().wait_for(&format!("as {slot}")).await;
    load.coordinator.wait_for(&format!("{slot} goes on with")).await;
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
    assert!(skew < wall / 4.0, "a replacement does not start with the others: {skew} of {wall} ms");
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
    assert_eq!(report.books(), (THREE.rows as u64, 0, 0));
}

#[tokio::test]
async fn a_killed_agent_ends_a_run_that_is_to_fail_once_the_grace_is_over() {
    let policy = ["--on-agent-loss", "fail", "--slot-grace", "500ms"];
    let Some(mut load) = Load::start("killed_fail", THREE, &policy).await else { return };
    let gate = load.close_gate(3).await;
    let slot = load.kill(2).await;
    load.coordinator.wait_for(&format!("{slot} lost")).await;
    // The others may end what they run; nothing is moved.
    load.agents[0].wait_for("joined").await;
    gate.open().await;
    let report = load.end(13).await;
    assert_eq!(report.text("/ending"), "agents_lost");
    assert!(!report.events().contains("given up"), "{}", report.events());
    assert!(report.books().2 > 0, "its rows are unaccounted and listed");
}

#[tokio::test]
async fn a_replacement_within_the_grace_saves_a_run_that_is_to_fail() {
    let policy = ["--on-agent-loss", "fail", "--slot-grace", "60s"];
    let Some(mut load) = Load::start("killed_saved", TWO, &policy).await else { return };
    let slot = load.kill_in_flight(0).await;
    load.join();
    load.coordinator.wait_for(&format!("{slot} goes on with")).await;
    assert_eq!(load.end(0).await.books(), (TWO.rows as u64, 0, 0));
}

#[tokio::test]
async fn a_run_that_waits_says_whom_it_awaits_and_goes_on_when_somebody_comes() {
    let policy = ["--on-agent-loss", "wait", "--slot-grace", "200ms"];
    let Some(mut load) = Load::start("killed_wait", TWO, &policy).await else { return };
    let slot = load.kill_in_flight(1).await;
    load.coordinator.wait_for(&format!("waiting for 1 of 2 agents ({slot}); start each with: agent")).await;
    // The other one has run all that is its own, and still nothing moves.
    load.until_idle().await;
    load.coordinator.wait_for_times(2, &format!("waiting for 1 of 2 agents ({slot})")).await;
    load.join();
    load.coordinator.wait_for(&format!("{slot} goes on with")).await;
    let report = load.end(0).await;
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
}

#[tokio::test]
async fn with_all_agents_killed_and_none_back_the_run_ends_after_the_grace() {
    for (policy, name) in [("reassign", "nobody_reassign"), ("wait", "nobody_wait"), ("fail", "nobody_fail")]
    {
        let words = ["--on-agent-loss", policy, "--slot-grace", "500ms"];
        let Some(mut load) = Load::start(name, TWO, &words).await else { return };
        let gate = load.close_gate(2).await;
        load.kill(0).await;
        load.kill(0).await;
        load.wait_for_events(1, "slot-0 lost").await;
        load.wait_for_events(1, "slot-1 lost").await;
        let report = load.coordinator.end().await;
        gate.open().await;
        // What the killed agents had running ends by itself: nobody is left to end it.
        load.database.wait_for_silence().await;
        let report = load.check(&report.expect(13)).await;
        assert_eq!(report.text("/ending"), "agents_lost", "{policy}");
        // How many results had come before the kill is chance.
        let (_, failed, unaccounted) = report.books();
        assert!(failed == 0 && unaccounted > 0, "{:?}", report.books());
    }
}
