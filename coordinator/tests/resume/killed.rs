//! `kill -9` of the coordinator in mid-run, and another one that takes the run up on the same address.

use crate::kept::Kept;
use crate::support::load::{TWO, agent_of, hosts_of};

#[tokio::test]
async fn agents_that_outlive_their_coordinator_come_back_by_themselves_and_run_the_rest() {
    let Some(mut kept) = Kept::start("killed_alone", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.crash().await;
    kept.until_parked(1).await;
    gate.open().await;
    let before = kept.load.database.number("SELECT count(*) FROM ran").await;
    kept.go_on();
    let said = kept.load.coordinator.wait_for("rows are settled").await;
    assert!(said.contains(&format!(" of {} rows are settled; ", TWO.rows)), "{said}");
    let report = kept.end_whole().await;
    let after = kept.load.database.number("SELECT count(*) FROM ran").await - before;
    assert!(before > 0 && after < TWO.rows as i64, "{before} rows ran before and {after} after");
    assert_eq!(hosts_of(&report), hosts_of(&kept.load.undisturbed().await), "no host moved");
    for slot in ["slot-0", "slot-1"] {
        let sessions = agent_of(&report, slot)["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), 2, "{sessions:?}");
        assert_eq!(sessions[0]["lost"], "the coordinator was gone");
        assert_eq!(
            sessions[0]["name"], sessions[1]["name"],
            "each agent comes back to its place: {sessions:?}"
        );
    }
}

/// A frozen coordinator acknowledges nothing, and its agents run on while their lease lasts.
#[tokio::test]
async fn results_that_nobody_acknowledged_are_told_to_the_next_coordinator() {
    let Some(mut kept) = Kept::start("killed_frozen", TWO, &[]).await else { return };
    kept.load.coordinator.signal("STOP");
    let ran = kept.load.database.number("SELECT count(*) FROM ran").await;
    let more = format!("SELECT (count(*) >= {ran} + 10)::int::bigint FROM ran");
    kept.load.database.wait_for(1, &more).await;
    kept.crash().await;
    kept.until_parked(1).await;
    kept.load.until_idle().await;
    let ran = kept.load.database.number("SELECT count(DISTINCT id) FROM ran").await;
    kept.go_on();
    let said = kept.load.coordinator.wait_for("are left to run").await;
    let settled = said.split(" of 400 rows are settled").next().unwrap().rsplit(['\n', ' ']).next().unwrap();
    let settled: i64 = settled.parse().unwrap();
    assert!(settled < ran, "{settled} of {ran} rows that ran were acknowledged");
    kept.end_whole().await;
    let reruns = kept.load.reruns().await;
    println!("ran {ran} settled {settled} reruns {reruns}");
    assert!(reruns < ran - settled, "{reruns} of {} rows ran again", ran - settled);
}

#[tokio::test]
async fn new_agents_run_the_rest_when_all_were_killed_and_their_backends_are_ended_first() {
    let Some(mut kept) = Kept::start("killed_all", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    kept.crash_all().await;
    // The server does not notice that the clients of queries that wait are gone.
    kept.load.wait_at_gate(2).await;
    kept.go_on();
    kept.join_all();
    let said = kept.load.coordinator.wait_for_times(2, "of before ended in the database").await;
    assert!(!said.contains("armed"), "{said}");
    gate.open().await;
    let report = kept.end_whole().await;
    assert!(report.number("/queries/retried") > 0, "the queries in flight ran again");
    assert!(report.events().contains("of before ended in the database"), "{}", report.events());
}

#[tokio::test]
async fn a_run_whose_coordinator_is_killed_twice_is_completed_by_the_third() {
    let Some(mut kept) = Kept::start("killed_twice", TWO, &[]).await else { return };
    for times in 1..=2 {
        let gate = kept.load.close_gate(2).await;
        kept.crash().await;
        kept.until_parked(times).await;
        gate.open().await;
        let ran = kept.load.database.number("SELECT count(*) FROM ran").await;
        kept.go_on();
        if times == 1 {
            let more = format!("SELECT (count(*) >= {ran} + 20)::int::bigint FROM ran");
            kept.load.database.wait_for(1, &more).await;
        }
    }
    let report = kept.end_whole().await;
    let again = report.events().matches("the run goes on where").count();
    assert_eq!(again, 2, "{}", report.events());
    assert_eq!(agent_of(&report, "slot-1")["sessions"].as_array().unwrap().len(), 3);
}

/// The death of a coordinator is no evidence against the rows that were in flight.
#[tokio::test]
async fn no_row_is_given_up_for_the_deaths_of_coordinators() {
    let Some(mut kept) = Kept::start("killed_often", TWO, &[]).await else { return };
    let gate = kept.load.close_gate(2).await;
    for times in 1..=4 {
        kept.crash().await;
        kept.until_parked(times).await;
        kept.go_on();
        kept.load.coordinator.wait_for("agents armed").await;
        // The same two rows are in flight again.
        kept.load.wait_at_gate(2).await;
    }
    gate.open().await;
    let report = kept.end_whole().await;
    assert_eq!(*report.at("/queries/quarantined_rows"), serde_json::json!([]));
}
