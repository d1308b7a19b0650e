//! SIGKILL for the coordinator in the middle of a run, and another coordinator that resumes the run on the same address.

use crate::resume::kept::KeptRun;
use muster_testing::load::{TWO, agent_of, hosts_of};

#[tokio::test]
async fn agents_that_outlive_their_coordinator_rejoin_and_run_the_remaining_rows() {
    let Some(mut kept) = KeptRun::start("killed_alone", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.crash().await;
    kept.wait_until_parked(1).await;
    gate.open().await;
    let before = kept.load.database.number("SELECT count(*) FROM ran").await;
    kept.resume();
    let stderr = kept.load.coordinator.wait_for("rows are complete").await;
    assert!(stderr.contains(&format!(" of {} rows are complete, ", TWO.rows)), "{stderr}");
    let report = kept.end_complete().await;
    let after = kept.load.database.number("SELECT count(*) FROM ran").await - before;
    assert!(before > 0 && after < TWO.rows as i64, "{before} rows ran before and {after} after");
    assert_eq!(hosts_of(&report), hosts_of(&kept.load.undisturbed().await), "no host moved");
    for slot in ["slot-0", "slot-1"] {
        let sessions = agent_of(&report, slot)["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 2, "{sessions:?}");
        assert_eq!(sessions[0]["lost"], "the coordinator was lost");
        assert_eq!(sessions[0]["name"], sessions[1]["name"], "each agent returns to its slot: {sessions:?}");
    }
}

/// A frozen coordinator acknowledges nothing, and its agents continue while their lease lasts.
#[tokio::test]
async fn unacknowledged_results_are_sent_to_the_next_coordinator() {
    let Some(mut kept) = KeptRun::start("killed_frozen", TWO, &[]).await else { return };
    kept.load.coordinator.signal("STOP");
    let ran = kept.load.database.number("SELECT count(*) FROM ran").await;
    let more = format!("SELECT (count(*) >= {ran} + 10)::int::bigint FROM ran");
    kept.load.database.wait_for(1, &more).await;
    kept.crash().await;
    kept.wait_until_parked(1).await;
    kept.load.wait_until_idle().await;
    let ran = kept.load.database.number("SELECT count(DISTINCT id) FROM ran").await;
    kept.resume();
    let stderr = kept.load.coordinator.wait_for("rows are complete").await;
    let settled =
        stderr.split(" of 400 rows are complete").next().unwrap().rsplit(['\n', ' ']).next().unwrap();
    let settled: i64 = settled.parse().unwrap();
    assert!(settled < ran, "{settled} of {ran} rows that ran were acknowledged");
    kept.end_complete().await;
    let reruns = kept.load.reruns().await;
    println!("ran {ran} settled {settled} reruns {reruns}");
    assert!(reruns < ran - settled, "{reruns} of {} rows ran again", ran - settled);
}

#[tokio::test]
async fn after_a_crash_of_all_processes_old_backends_are_ended_before_new_agents_run_the_rest() {
    let Some(mut kept) = KeptRun::start("killed_all", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.crash_all().await;
    // The server does not notice that the clients of waiting queries are gone.
    kept.load.wait_at_gate(2).await;
    kept.resume();
    kept.join_all();
    let stderr = kept.load.coordinator.wait_for_times(2, "of earlier sessions ended in the database").await;
    assert!(!stderr.contains("armed"), "{stderr}");
    gate.open().await;
    let report = kept.end_complete().await;
    assert!(report.number("/queries/retried") > 0, "the queries in flight ran again");
    assert!(report.events().contains("of earlier sessions ended in the database"), "{}", report.events());
}

#[tokio::test]
async fn a_run_whose_coordinator_is_killed_twice_is_completed_by_the_third() {
    let Some(mut kept) = KeptRun::start("killed_twice", TWO, &[]).await else { return };
    for times in 1..=2 {
        let gate = kept.load.close_gate(2).await;
        kept.crash().await;
        kept.wait_until_parked(times).await;
        gate.open().await;
        let ran = kept.load.database.number("SELECT count(*) FROM ran").await;
        kept.resume();
        if times == 1 {
            let more = format!("SELECT (count(*) >= {ran} + 20)::int::bigint FROM ran");
            kept.load.database.wait_for(1, &more).await;
        }
    }
    let report = kept.end_complete().await;
    let again = report.events().matches("the run continues where").count();
    assert_eq!(again, 2, "{}", report.events());
    assert_eq!(agent_of(&report, "slot-1")["sessions"].as_array().unwrap().len(), 3);
}

/// The death of a coordinator is not counted against the rows that were in flight.
#[tokio::test]
async fn the_death_of_a_coordinator_quarantines_no_row() {
    let Some(mut kept) = KeptRun::start("killed_often", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    for times in 1..=4 {
        kept.crash().await;
        kept.wait_until_parked(times).await;
        kept.resume();
        kept.load.coordinator.wait_for("agents armed").await;
        // The same two rows are in flight again.
        kept.load.wait_at_gate(2).await;
    }
    gate.open().await;
    let report = kept.end_complete().await;
    assert_eq!(*report.at("/queries/quarantined_rows"), serde_json::json!([]));
}
