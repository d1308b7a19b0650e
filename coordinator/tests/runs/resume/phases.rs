//! SIGKILL for the coordinator before and after the middle of a run: while it waits for agents, when rows were sent and none has run, and
//! while the run drains.

use tokio::time::{Duration, Instant, sleep};

use crate::resume::kept::KeptRun;
use muster_testing::journal::has_fact;
use muster_testing::load::{Shape, TWO, agent_of, slot_of};
use muster_testing::processes::{TIMEOUT, complete};
use muster_testing::proxy::Proxy;
use muster_testing::report::Report;

#[tokio::test]
async fn an_agent_that_had_joined_before_the_crash_joins_the_next_coordinator() {
    let Some(mut kept) = KeptRun::start_coordinator("phase_waiting", TWO, &[]).await else { return };
    kept.load.join().wait_for("as slot-0").await;
    kept.crash().await;
    kept.wait_until_parked(1).await;
    kept.resume();
    kept.load.coordinator.wait_for("0 of 400 rows are complete, 400 remain").await;
    kept.load.join();
    let report = kept.end_complete().await;
    assert_eq!((report.number("/queries/retried"), kept.load.reruns().await), (0, 0));
}

#[tokio::test]
async fn rows_that_were_sent_but_not_run_before_the_crash_run_under_the_next_coordinator() {
    let Some(mut kept) = KeptRun::start_coordinator("phase_prefetch", TWO, &[]).await else { return };
    // No query completes, regardless of when the coordinator is killed.
    let gate = kept.load.close_gate(0).await;
    kept.join_all();
    kept.load.coordinator.wait_for("slot-1 joined").await;
    kept.wait_for_fact(r#""fact":"began","slot":1"#).await;
    kept.crash().await;
    kept.wait_until_parked(1).await;
    gate.open().await;
    kept.resume();
    kept.load.coordinator.wait_for("0 of 400 rows are complete, 400 remain").await;
    kept.end_complete().await;
    assert_eq!(kept.load.reruns().await, 0);
}

#[tokio::test]
async fn a_crash_during_the_prefetch_leaves_all_rows_to_the_next_coordinator() {
    let Some(mut kept) = KeptRun::start_coordinator("phase_prefetching", TWO, &[]).await else { return };
    // Without credit the first agent is sent no row, and the start waits for that.
    let proxy = Proxy::start(kept.load.address).await;
    proxy.hold_work();
    kept.load.join_at(proxy.address()).wait_for("as slot-0").await;
    kept.load.join();
    kept.wait_for_fact(r#""fact":"began","slot":1"#).await;
    kept.crash().await;
    assert!(!has_fact(&kept.journal(), r#""fact":"armed""#), "the coordinator was killed too late");
    proxy.heal();
    kept.wait_until_parked(1).await;
    kept.resume();
    kept.load.coordinator.wait_for("0 of 400 rows are complete, 400 remain").await;
    kept.end_complete().await;
    assert_eq!(kept.load.reruns().await, 0);
}

#[tokio::test]
async fn a_crash_while_an_interrupted_run_drains_leaves_the_rest_to_the_next_coordinator() {
    let Some(mut kept) = KeptRun::start("phase_drain", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.load.coordinator.signal("INT");
    kept.load.coordinator.wait_for("interrupted: waiting for queries in flight").await;
    kept.crash().await;
    kept.wait_until_parked(1).await;
    gate.open().await;
    let ended = kept.report(&[]).await;
    assert_eq!(Report::of(&ended).text("/ending"), "unfinished");
    kept.resume();
    kept.end_complete().await;
}

/// Long enough that one agent completes its rows well before the other.
const UNEVEN: Shape = Shape { agents: 2, rows: 200, seconds: 0.02 };

#[tokio::test]
async fn a_run_with_every_row_settled_cannot_be_resumed() {
    let Some(mut kept) = KeptRun::start("phase_shutdown", UNEVEN, &[]).await else { return };
    // One of the two agents finishes earlier. Frozen, it lets the run drain but not end.
    // The connection that reads server statistics is always idle.
    let is_done = "state_change < clock_timestamp() - INTERVAL '0.3 s' AND application_name LIKE '%:slot-%'";
    let idle = kept.load.database.workers(&format!("state = 'idle' AND {is_done}"));
    kept.load.database.wait_for(1, &idle).await;
    let of_idle =
        format!("SELECT split_part(application_name, ':', 3) {}", &idle["SELECT count(*) ".len()..]);
    let slot = kept.load.database.text(&of_idle).await;
    let frozen = kept.load.agents.iter().position(|agent| slot_of(agent) == slot).unwrap();
    kept.load.agents[frozen].signal("STOP");
    let deadline = Instant::now() + TIMEOUT;
    while Report::of(&kept.report(&[]).await).accounting() != (UNEVEN.rows as u64, 0, 0) {
        assert!(Instant::now() < deadline, "not every row is in the journal");
        sleep(Duration::from_millis(20)).await;
    }
    kept.crash().await;
    kept.load.agents[frozen].signal("CONT");
    kept.wait_until_parked(1).await;
    let ended = kept.report(&[]).await;
    let report = kept.load.check(&ended).await;
    assert_eq!(report.text("/ending"), "completed");
    assert!(agent_of(&report, &slot)["completed"].as_u64() > Some(0));
    let before = kept.content();
    complete(kept.resume_command(&[]))
        .await
        .expect(2)
        .expect_stderr(" is complete; print its report with: coordinator report ");
    assert_eq!(kept.content(), before);
    kept.load.leave().await;
}
