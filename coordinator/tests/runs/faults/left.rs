//! Agents that are asked to leave in the middle of a run, and processes that are killed while an agent leaves or a run drains.

use tokio::time::{Duration, Instant};

use muster_testing::load::{Load, Shape, THREE, TWO, agent_of, hosts_of, slot_of};

#[tokio::test]
async fn an_agent_that_is_asked_to_leave_hands_its_rows_back_and_none_runs_twice() {
    for (grace, name) in [("0s", "left_moved"), ("60s", "left_replaced")] {
        let Some(mut load) = Load::start(name, THREE, &["--slot-grace", grace]).await else { return };
        let gate = load.close_gate(3).await;
        let mut leaving = load.agents.remove(1);
        let slot = slot_of(&leaving);
        leaving.signal("TERM");
        leaving.wait_for("asked to stop").await;
        gate.open().await;
        leaving.end().await.expect(0);
        let stderr = load.coordinator.wait_for("rows handed back").await;
        assert!(stderr.contains(&format!("{slot} left")), "{stderr}");
        if grace == "60s" {
            load.join();
            load.coordinator.wait_for(&format!("{slot} continues with")).await;
        }
        let report = load.end(0).await;
        let queries = |name: &str| report.number(&format!("/queries/{name}"));
        assert_eq!([queries("retried"), queries("duplicates"), queries("stale")], [0; 3]);
        assert_eq!(load.reruns().await, 0);
        assert_eq!(report.accounting(), (THREE.rows as u64, 0, 0));
        let before = hosts_of(&load.undisturbed().await);
        assert_eq!(hosts_of(&report) == before, grace == "60s");
        assert_eq!(agent_of(&report, &slot)["lost"].is_null(), grace == "60s");
    }
}

#[tokio::test]
async fn an_agent_killed_while_leaving_is_lost() {
    let Some(mut load) = Load::start("left_killed", TWO, &["--slot-grace", "60s"]).await else { return };
    let gate = load.close_gate(2).await;
    load.agents[0].signal("TERM");
    load.agents[0].wait_for("asked to stop").await;
    let slot = load.kill(0).await;
    load.coordinator.wait_for(&format!("{slot} lost")).await;
    load.join();
    gate.open().await;
    let report = load.end(0).await;
    assert!(report.number("/queries/retried") > 0);
    assert_eq!(hosts_of(&report), hosts_of(&load.undisturbed().await), "no host moved");
}

/// Long enough that an early report shows that the coordinator did not wait for the killed agent.
const LONG: Shape = Shape { agents: 2, rows: 40, seconds: 0.3 };

#[tokio::test]
async fn an_agent_killed_while_the_run_drains_does_not_delay_the_report() {
    let Some(mut load) = Load::start("left_draining", LONG, &[]).await else { return };
    let gate = load.close_gate(2).await;
    load.coordinator.signal("INT");
    load.coordinator.wait_for("interrupted: waiting for queries in flight").await;
    load.kill(0).await;
    load.coordinator.wait_for(" lost (").await;
    let opened = Instant::now();
    gate.open().await;
    let report = load.end(130).await;
    assert!(opened.elapsed() < Duration::from_secs(15), "{:?}", opened.elapsed());
    assert_eq!(report.text("/ending"), "interrupted");
    let (completed, failed, unaccounted) = report.accounting();
    assert!(completed > 0 && failed == 0 && unaccounted > 0, "{:?}", report.accounting());
}
