//! A row that kills every agent that runs it.

use muster_testing::database::Database;
use muster_testing::load::{Load, Row, TWO, slot_of};

const POISON: usize = 7;

/// The row has its own host and runs for ten minutes: the session that holds that host's lock runs it.
fn poison(row: &mut Row) {
    if row.id == POISON {
        (row.host, row.seconds) = ("poison".to_owned(), 600.0);
    }
}

const VICTIM: &str = "\
SELECT coalesce(max(split_part(application_name, ':', 3)), '') FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE datname = current_database() AND locktype = 'advisory' AND granted AND objsubid = 1
  AND (classid::bigint << 32 | objid::bigint) = hashtext('poison')::bigint AND wait_event = 'PgSleep'";

#[tokio::test]
async fn a_row_that_kills_three_agents_is_listed_and_all_others_are_counted() {
    let Some(database) = Database::empty("poison").await else { return };
    let mut load = Load::start_coordinator_on(database, TWO, poison, &["--slot-grace", "60s"]).await;
    for _ in 0..2 {
        load.join().wait_for("joined run").await;
    }
    for times in 1..=3 {
        let slot = load.database.wait_for_text(VICTIM).await;
        let position = load.agents.iter().position(|agent| slot_of(agent) == slot).unwrap();
        load.kill(position).await;
        load.wait_for_events(times, &format!("{slot} lost")).await;
        load.join().wait_for(&format!("as {slot}")).await;
        load.wait_for_events(times, &format!("{slot} continues with")).await;
    }
    let report = load.end(12).await;
    assert_eq!(report.accounting(), (TWO.rows as u64 - 1, 0, 1));
    assert_eq!(*report.at("/queries/quarantined_rows"), serde_json::json!([POISON]));
    assert_eq!(*report.at("/queries/unaccounted_rows"), serde_json::json!([[POISON, POISON]]));
    assert!(
        report.events().contains("row 7 is not run again: 3 agents died while running it"),
        "{}",
        report.events()
    );
    assert_eq!(report.text("/ending"), "completed");
}
