//! Database roles that may not end, or not even see, the queries of a lost session. Then the coordinator has to wait, and prints why.

use tokio::time::{Duration, Instant};

use crate::faults::cut::run_unacked;
use muster_testing::database::Database;
use muster_testing::load::{Load, TWO};
use muster_testing::proxy::{Direction, Proxy};

/// Creates a role that may do only what a run does; returns the URL of this database for it.
async fn role(database: &Database, name: &str) -> String {
    database.execute(&format!("CREATE ROLE {name} LOGIN; GRANT ALL ON ran TO {name}")).await;
    database.url().replace("postgres@", &format!("{name}@"))
}

#[tokio::test]
async fn without_permission_to_end_a_lost_query_its_slot_waits_for_the_timeout() {
    let own = ["--slot-grace", "60s", "--timeout", "1s"];
    let Some(mut load) = Load::start_coordinator("roles_end", TWO, &own).await else { return };
    let address = load.address;
    let urls = [role(&load.database, "faults_one").await, role(&load.database, "faults_two").await];
    load.join_with(address, &["--database-url", &urls[0]]).wait_for("as slot-0").await;
    load.join_with(address, &["--database-url", &urls[1]]).wait_for("as slot-1").await;
    load.wait_until_running().await;
    let gate = load.close_gate(2).await;
    load.kill(0).await;
    load.join_with(address, &["--database-url", &urls[1]]).wait_for("as slot-0").await;
    let unknown = "slot-0: it is not known whether queries of the lost session still run";
    let stderr = load.coordinator.wait_for(unknown).await;
    assert!(stderr.contains("end backend") && stderr.contains("waiting 6s"), "{stderr}");
    // The agent is gone and cannot cancel its query at the gate; the server's statement timeout does.
    load.coordinator.wait_for("slot-0 continues with").await;
    load.database.wait_for(0, &load.database.workers("application_name LIKE '%:slot-0:1'")).await;
    gate.open().await;
    // The other agent's queries at the gate exceeded their timeout and failed.
    let report = load.end(14).await;
    let (completed, failed, _) = report.accounting();
    assert_eq!(completed + failed, TWO.rows as u64);
    assert_eq!(report.text("/errors/0/sqlstate"), "57014");
}

#[tokio::test]
async fn without_permission_to_see_a_lost_query_its_slot_waits_and_an_interrupt_does_not() {
    let own = ["--slot-grace", "60s", "--timeout", "600s"];
    let Some(mut load) = Load::start_coordinator("roles_read", TWO, &own).await else { return };
    load.database.execute("REVOKE SELECT ON pg_stat_activity FROM PUBLIC").await;
    let url = role(&load.database, "faults_blind").await;
    let proxy = Proxy::start(load.address).await;
    load.join_with(proxy.address(), &["--database-url", &url]).wait_for("as slot-0").await;
    load.join();
    load.wait_until_running().await;
    let (unacked, gate) = run_unacked(&load, &proxy, Direction::ToCoordinator).await;
    proxy.cut();
    load.coordinator.wait_for("slot-0 lost").await;
    proxy.heal();
    let stderr = load.coordinator.wait_for("it is not known whether queries of the lost session").await;
    assert!(stderr.contains("permission denied") && stderr.contains("waiting 605s"), "{stderr}");
    gate.open().await;
    let signalled = Instant::now();
    load.coordinator.signal("INT");
    let report = load.end(130).await;
    assert!(signalled.elapsed() < Duration::from_secs(15), "{:?}", signalled.elapsed());
    let ran = load.database.number("SELECT count(*) FROM ran").await;
    assert_eq!(report.accounting().0 as i64, ran, "the {unacked} results that the agent kept are counted");
}
