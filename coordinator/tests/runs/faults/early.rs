//! SIGKILL before the first query: for agents that have joined, that prepare, that are being sent the first rows, and that were armed.

use muster_testing::journal;
use muster_testing::load::{Load, TWO, hosts_of};
use muster_testing::proxy::{Direction, Proxy};

/// Under every policy, a loss before the start has no effect.
const POLICIES: [&str; 3] = ["reassign", "fail", "wait"];

#[tokio::test]
async fn an_agent_killed_before_the_start_is_replaced_by_the_next() {
    for policy in POLICIES {
        let name = format!("early_joined_{policy}");
        let Some(mut load) = Load::start_coordinator(&name, TWO, &["--on-agent-loss", policy]).await else {
            return;
        };
        load.join();
        load.agents[0].wait_for("as slot-0").await;
        load.kill(0).await;
        load.coordinator.wait_for("slot-0 lost").await;
        load.join();
        load.join();
        let report = load.end(0).await;
        assert_eq!(report.number("/queries/retried"), 0);
        report.expect_undisturbed();
    }
}

#[tokio::test]
async fn an_agent_killed_while_preparing_is_replaced_by_a_standby() {
    for policy in POLICIES {
        let name = format!("early_preparing_{policy}");
        let Some(mut load) = Load::start_coordinator(&name, TWO, &["--on-agent-loss", policy]).await else {
            return;
        };
        // Preparing reads the table's definition and waits for this lock.
        let locker = load.database.session().await;
        locker.batch_execute("BEGIN; LOCK TABLE ran IN ACCESS EXCLUSIVE MODE").await.unwrap();
        for _ in 0..2 {
            load.join().wait_for("joined run").await;
        }
        load.join().wait_for("on standby").await;
        load.database.wait_for(3, &load.database.workers("wait_event_type = 'Lock'")).await;
        let slot = load.kill(0).await;
        load.coordinator.wait_for(&format!("{slot} lost")).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
        load.coordinator.wait_for(&format!("{slot} taken over by")).await;
        let report = load.end(0).await;
        assert_eq!(report.number("/queries/retried"), 0);
        report.expect_undisturbed();
        assert_eq!(report.list("/agents").len(), 2);
    }
}

/// The start waits at most two seconds until the first rows are sent; on a busy machine the kill may come after that.
const TRIES: usize = 5;

/// Starts a run whose first agent is killed while the start waits for the agent's credit.
async fn killed_in_prefetch(name: &str, policy: &[&str]) -> Option<Load> {
    for number in 0..TRIES {
        let mut load = Load::start_coordinator(&format!("{name}_{number}"), TWO, policy).await?;
        let journal = load.journal().await;
        let proxy = Proxy::start(load.address).await;
        proxy.hold_work();
        load.join_at(proxy.address()).wait_for("as slot-0").await;
        load.join();
        journal::wait_for_fact(&journal, r#""fact":"began","slot":1"#).await;
        load.kill(0).await;
        load.coordinator.wait_for("slot-0 lost").await;
        journal::wait_for_fact(&journal, ARMED).await;
        if journal::position(&journal, r#""fact":"lost""#) < journal::position(&journal, ARMED) {
            return Some(load);
        }
        println!("{name}: the start came before the kill; trying again");
    }
    panic!("the start came before the kill {TRIES} times");
}

const ARMED: &str = r#""fact":"armed""#;

#[tokio::test]
async fn an_agent_killed_while_rows_are_prefetched_is_replaced() {
    for policy in POLICIES {
        let args = ["--on-agent-loss", policy, "--slot-grace", "60s"];
        let name = format!("early_prefetch_replaced_{policy}");
        let Some(mut load) = killed_in_prefetch(&name, &args).await else { return };
        load.join().wait_for("as slot-0").await;
        load.coordinator.wait_for("slot-0 continues with").await;
        let report = load.end(0).await;
        assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
        assert_eq!(report.number("/queries/retried"), 0, "the killed agent had been sent no rows");
    }
}

#[tokio::test]
async fn the_hosts_of_an_agent_killed_while_rows_are_prefetched_move_to_the_others() {
    let Some(mut load) = killed_in_prefetch("early_prefetch_moved", &["--slot-grace", "200ms"]).await else {
        return;
    };
    load.coordinator.wait_for("slot-0 given up").await;
    let report = load.end(0).await;
    assert!(hosts_of(&report).values().all(|slot| slot == "slot-1"));
    assert_eq!(report.number("/queries/retried"), 0, "the killed agent had been sent no rows");
}

#[tokio::test]
async fn an_agent_killed_while_rows_are_prefetched_ends_a_run_with_policy_fail() {
    let args = ["--on-agent-loss", "fail", "--slot-grace", "0s"];
    let Some(mut load) = killed_in_prefetch("early_prefetch_fail", &args).await else { return };
    let report = load.end(13).await;
    assert_eq!(report.text("/ending"), "agents_lost");
    assert!(report.accounting().2 > 0, "{:?}", report.accounting());
}

/// Starts a run whose first agent is killed after its rows and the start were sent and before it has received either.
async fn killed_unarmed(name: &str, policy: &[&str]) -> Option<(Load, Proxy)> {
    let mut load = Load::start_coordinator(name, TWO, policy).await?;
    let locker = load.database.session().await;
    locker.batch_execute("BEGIN; LOCK TABLE ran IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let proxy = Proxy::start(load.address).await;
    load.join_at(proxy.address()).wait_for("as slot-0").await;
    load.join().wait_for("as slot-1").await;
    load.database.wait_for(2, &load.database.workers("wait_event_type = 'Lock'")).await;
    proxy.stall(Direction::ToAgent);
    locker.batch_execute("ROLLBACK").await.unwrap();
    load.coordinator.wait_for("all 2 agents armed").await;
    load.kill(0).await;
    load.coordinator.wait_for("slot-0 lost").await;
    Some((load, proxy))
}

#[tokio::test]
async fn an_agent_killed_when_all_are_armed_is_replaced() {
    for policy in POLICIES {
        let args = ["--on-agent-loss", policy, "--slot-grace", "60s"];
        let Some((mut load, _proxy)) = killed_unarmed(&format!("early_replaced_{policy}"), &args).await
        else {
            return;
        };
        load.join().wait_for("as slot-0").await;
        load.coordinator.wait_for("slot-0 continues with").await;
        let report = load.end(0).await;
        assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
        assert_eq!(load.reruns().await, 0, "the killed agent had run nothing");
    }
}

#[tokio::test]
async fn the_hosts_of_an_agent_killed_when_all_are_armed_move_to_the_others() {
    let args = ["--slot-grace", "200ms"];
    let Some((mut load, _proxy)) = killed_unarmed("early_armed_moved", &args).await else { return };
    load.coordinator.wait_for("slot-0 given up").await;
    let report = load.end(0).await;
    assert!(hosts_of(&report).values().all(|slot| slot == "slot-1"));
    assert_eq!(load.reruns().await, 0, "the killed agent had run nothing");
}

#[tokio::test]
async fn an_agent_killed_when_all_are_armed_ends_a_run_with_policy_fail() {
    let args = ["--on-agent-loss", "fail", "--slot-grace", "0s"];
    let Some((mut load, _proxy)) = killed_unarmed("early_armed_fail", &args).await else { return };
    let report = load.end(13).await;
    assert_eq!(report.text("/ending"), "agents_lost");
    assert!(report.accounting().2 > 0, "{:?}", report.accounting());
}
