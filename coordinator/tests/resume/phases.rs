//! `kill -9` of the coordinator before and after the middle of a run: while agents gather, when rows were sent and none has run, and
//! while the run drains.

use tokio::time::{Duration, Instant, sleep};

use crate::kept::Kept;
use crate::support::journal::has_fact;
use crate::support::load::{Shape, TWO, agent_of, slot_of};
use crate::support::processes::{WITHIN, complete};
use crate::support::proxy::Proxy;
use crate::support::report::Report;

#[tokio::test]
async fn while_agents_gather_the_one_that_had_come_waits_for_the_next_coordinator() {
    let Some(mut kept) = Kept::gather("phase_gather", TWO, &[]).await else { return };
    kept.load.join().wait_for("as slot-0").await;
    kept.crash().await;
    kept.until_parked(1).await;
    kept.go_on();
    kept.load.coordinator.wait_for("0 of 400 rows are settled; 400 are left to run").await;
    kept.load.join();
    let report = kept.end_whole().await;
    assert_eq!((report.number("/queries/retried"), kept.load.reruns().await), (0, 0));
}

#[tokio::test]
async fn when_rows_were_sent_and_none_has_run_all_of_them_run_under_the_next_coordinator() {
    let Some(mut kept) = Kept::gather("phase_prefetch", TWO, &[]).await else { return };
    // No query gets through, however late the coordinator is killed.
    let gate = kept.load.close_gate(0).await;
    kept.join_all();
    kept.load.coordinator.wait_for("slot-1 joined").await;
    kept.wait_for_fact(r#""fact":"began","slot":1"#).await;
    kept.crash().await;
    kept.until_parked(1).await;
    gate.open().await;
    kept.go_on();
    kept.load.coordinator.wait_for("0 of 400 rows are settled; 400 are left to run").await;
    kept.end_whole().await;
    assert_eq!(kept.load.reruns().await, 0);
}

#[tokio::test]
async fn while_rows_are_prefetched_all_of_them_are_left_to_the_next_coordinator() {
    let Some(mut kept) = Kept::gather("phase_prefetching", TWO, &[]).await else { return };
    // Without its credit the first agent is not sent a row, and the start waits for that.
    let proxy = Proxy::start(kept.load.address).await;
    proxy.hold_work();
    kept.load.join_at(proxy.address()).wait_for("as slot-0").await;
    kept.load.join();
    kept.wait_for_fact(r#""fact":"began","slot":1"#).await;
    kept.crash().await;
    assert!(!has_fact(&kept.journal(), r#""fact":"armed""#), "it was killed too late");
    proxy.heal();
    kept.until_parked(1).await;
    kept.go_on();
    kept.load.coordinator.wait_for("0 of 400 rows are settled; 400 are left to run").await;
    kept.end_whole().await;
    assert_eq!(kept.load.reruns().await, 0);
}

#[tokio::test]
async fn while_an_interrupted_run_drains_the_rest_is_left_to_the_next_coordinator() {
    let Some(mut kept) = Kept::start("phase_drain", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.load.coordinator.signal("INT");
    kept.load.coordinator.wait_for("interrupted: queries in flight may end").await;
    kept.crash().await;
    kept.until_parked(1).await;
    gate.open().await;
    let said = kept.report(&[]).await;
    assert_eq!(Report::of(&said).text("/ending"), "unfinished");
    kept.go_on();
    kept.end_whole().await;
}

/// Long enough that one agent has run its rows well before the other.
const UNEVEN: Shape = Shape { agents: 2, rows: 200, seconds: 0.02 };

#[tokio::test]
async fn when_every_row_is_settled_nothing_is_left_to_go_on_with() {
    let Some(mut kept) = Kept::start("phase_farewell", UNEVEN, &[]).await else { return };
    // Of the two agents, one is done earlier; frozen, it lets the run drain and not end.
    // The connection that looks at counters is idle all the time.
    let is_done = "state_change < clock_timestamp() - INTERVAL '0.3 s' AND application_name LIKE '%:slot-%'";
    let idle = kept.load.database.workers(&format!("state = 'idle' AND {is_done}"));
    kept.load.database.wait_for(1, &idle).await;
    let of_idle =
        format!("SELECT split_part(application_name, ':', 3) {}", &idle["SELECT count(*) ".len()..]);
    let slot = kept.load.database.text(&of_idle).await;
    let frozen = kept.load.agents.iter().position(|agent| slot_of(agent) == slot).unwrap();
    kept.load.agents[frozen].signal("STOP");
    let deadline = Instant::now() + WITHIN;
    while Report::of(&kept.report(&[]).await).books() != (UNEVEN.rows as u64, 0, 0) {
        assert!(Instant::now() < deadline, "not every row is in the journal");
        sleep(Duration::from_millis(20)).await;
    }
    kept.crash().await;
    kept.load.agents[frozen].signal("CONT");
    kept.until_parked(1).await;
    let ended = kept.report(&[]).await;
    let report = kept.load.check(&ended).await;
    assert_eq!(report.text("/ending"), "completed");
    assert!(agent_of(&report, &slot)["completed"].as_u64() > Some(0));
    let before = kept.content();
    complete(kept.resume(&[])).await.expect(2).says(" is complete; see it by: coordinator report ");
    assert_eq!(kept.content(), before);
    kept.load.leave().await;
}
