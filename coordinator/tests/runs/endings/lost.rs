//! Runs that lose an agent because it is killed, frozen, or asked to leave. The other agents continue.

use tokio::time::{Duration, Instant};

use crate::endings::fixture::{Running, expect_partial};
use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::processes::{Process, address, agent, run};
use muster_testing::report::Report;

/// The session is fenced 3.3 s after the last heartbeat; queries of 0.1 s, the drain and a busy machine add to that.
const FENCED_WITHIN: Duration = Duration::from_secs(6);

/// The first loss ends the run immediately.
const FAIL_IMMEDIATELY: &[&str] = &["--on-agent-loss", "fail", "--slot-grace", "0s"];

/// Returns the slot of the only lost agent in the report and the reason.
#[track_caller]
fn lost_agent(report: &Report) -> (String, String) {
    let lost: Vec<_> = report.list("/agents").iter().filter(|agent| !agent["lost"].is_null()).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    (lost[0]["slot"].as_str().unwrap().to_owned(), lost[0]["lost"].as_str().unwrap().to_owned())
}

/// Expects exit code 13 and a partial report with one lost agent; returns the reason of the loss.
async fn expect_loss(coordinator: &mut Process) -> String {
    let report = Report::of(&coordinator.end().await.expect(13));
    expect_partial(&report, "agents_lost");
    let (slot, reason) = lost_agent(&report);
    let events = [format!("{slot} lost"), format!("{slot} left")];
    assert!(events.iter().any(|event| report.events().contains(event)), "{}", report.events());
    assert!(report.text("/verdict/reasons/0").contains(&reason), "{}", report.text("/verdict/reasons/0"));
    reason
}

#[tokio::test]
async fn a_killed_agent_ends_the_run_and_the_others_serve_the_next() {
    let Some(mut running) = Running::start("lost_killed", 3, 0.1, FAIL_IMMEDIATELY).await else { return };
    running.database.wait_for(3, &running.database.workers("query_start > backend_start + '0.5 s'")).await;
    let mut killed = running.agents.remove(0);
    killed.signal("KILL");
    killed.end().await;
    expect_loss(&mut running.coordinator).await;
    for agent in &mut running.agents {
        agent.wait_for("run ended: agents were lost").await;
        agent.wait_for("waiting for a coordinator").await;
    }
    running.database.wait_for_no_workers().await;
    let _third = Process::start(agent(running.address, &[]));
    running.run_again(3).await;
}

#[tokio::test]
async fn a_frozen_agent_is_fenced_and_rejoins_when_it_wakes() {
    let Some(mut running) = Running::start("lost_frozen", 2, 0.1, FAIL_IMMEDIATELY).await else { return };
    running.database.wait_for(2, &running.database.workers("query_start > backend_start + '0.5 s'")).await;
    let frozen = Instant::now();
    running.agents[0].signal("STOP");
    let reason = expect_loss(&mut running.coordinator).await;
    assert!(reason.contains("no heartbeat for 3.3s"), "{reason}");
    assert!(frozen.elapsed() < FENCED_WITHIN, "{:?}", frozen.elapsed());
    running.agents[1].wait_for("run ended: agents were lost").await;

    running.agents[0].signal("CONT");
    running.agents[0].wait_for("waiting for a coordinator").await;
    assert!(!running.agents[0].stderr().contains("run ended"), "it did not receive the end of the run");
    running.database.wait_for_no_workers().await;
    running.run_again(2).await;
}

#[tokio::test]
async fn an_agent_that_is_asked_to_leave_reports_it_and_exits_0() {
    for (signal, name) in [("INT", "lost_int"), ("TERM", "lost_term")] {
        let Some(mut running) = Running::start(name, 2, 0.1, FAIL_IMMEDIATELY).await else { return };
        running
            .database
            .wait_for(2, &running.database.workers("query_start > backend_start + '0.5 s'"))
            .await;
        let leaving = &mut running.agents[0];
        leaving.signal(signal);
        leaving.end().await.expect(0);
        let reason = expect_loss(&mut running.coordinator).await;
        assert!(reason.contains("asked to stop"), "{reason}");
        running.database.wait_for_no_workers().await;
    }
}

#[tokio::test]
async fn an_agent_that_is_lost_before_the_start_only_frees_its_slot() {
    let Some(database) = Database::empty("lost_early").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(40, 0.001);
    let address = address();
    let mut coordinator =
        Process::start(run(address, 2, &[&args(&sleeps)[..], &["--database-url", database.url()]].concat()));
    let mut first = Process::start(agent(address, &[]));
    coordinator.wait_for("slot-0 joined").await;
    first.signal("KILL");
    first.end().await;
    coordinator.wait_for("slot-0 lost").await;
    let agents = [(); 2].map(|()| Process::start(agent(address, &["--once"])));
    let report = Report::of(&coordinator.end().await.expect(0));
    assert_eq!(report.accounting(), (40, 0, 0));
    report.expect_undisturbed();
    assert_eq!(report.list("/agents").len(), 2);
    assert!(report.list("/agents").iter().all(|agent| agent["lost"].is_null()));
    for mut agent in agents {
        agent.end().await.expect(0);
    }
}
