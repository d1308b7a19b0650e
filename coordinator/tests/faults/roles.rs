//! Database roles that may not end, or not even see, what a lost session left: then only time helps, and the coordinator says so.

use tokio::time::{Duration, Instant};

use crate::cut::run_untold;
use crate::support::database::Database;
use crate::support::load::{Load, TWO};
use crate::support::proxy::{Proxy, Way};

/// The URL of this database for a role of its own, which may do what a run does and no more.
async fn role(database: &Database, name: &str) -> String {
    database.execute(&format!("CREATE ROLE {name} LOGIN; GRANT ALL ON ran TO {name}")).await;
    database.url().replace("postgres@", &format!("{name}@"))
}

#[tokio::test]
async fn who_may_not_end_the_lost_query_waits_as_long_as_it_may_run() {
    let own = ["--slot-grace", "60s", "--timeout", "1s"];
    let Some(mut load) = Load::gather("roles_end", TWO, &own).await else { return };
    let address = load.address;
    let urls = [role(&load.database, "faults_one").await, role(&load.database, "faults_two").await];
    load.join_with(address, &["--database-url", &urls[0]]).wait_for("as slot-0").await;
    load.join_with(address, &["--database-url", &urls[1]]).wait_for("as slot-1").await;
    load.run().await;
    let gate = load.close_gate(2).await;
    load.kill(0).await;
    load.join_with(address, &["--database-url", &urls[1]]).wait_for("as slot-0").await;
    let unknown = "slot-0: it is not known whether queries of the lost session still run";
    let said = load.coordinator.wait_for(unknown).await;
    assert!(said.contains("end backend") && said.contains("waiting 6s"), "{said}");
    // With its agent gone nobody cancels the query at the gate; the server does.
    load.coordinator.wait_for("slot-0 goes on with").await;
    load.database.wait_for(0, &load.database.workers("application_name LIKE '%:slot-0:1'")).await;
    gate.open().await;
    // The other one's queries at the gate were cancelled in time, and failed.
    let report = load.end(14).await;
    let (completed, failed, _) = report.books();
    assert_eq!(completed + failed, TWO.rows as u64);
    assert_eq!(report.text("/errors/0/sqlstate"), "57014");
}

#[tokio::test]
async fn who_may_not_look_waits_too_and_an_interrupt_does_not_wait_for_it() {
    let own = ["--slot-grace", "60s", "--timeout", "600s"];
    let Some(mut load) = Load::gather("roles_look", TWO, &own).await else { return };
    load.database.execute("REVOKE SELECT ON pg_stat_activity FROM PUBLIC").await;
    let url = role(&load.database, "faults_blind").await;
    let proxy = Proxy::start(load.address).await;
    load.join_with(proxy.address(), &["--database-url", &url]).wait_for("as slot-0").await;
    load.join();
    load.run().await;
    let (untold, gate) = run_untold(&load, &proxy, Way::ToCoordinator).await;
    proxy.cut();
    load.coordinator.wait_for("slot-0 lost").await;
    proxy.heal();
    let said = load.coordinator.wait_for("it is not known whether queries of the lost session").await;
    assert!(said.contains("permission denied") && said.contains("waiting 605s"), "{said}");
    gate.open().await;
    let asked = Instant::now();
    load.coordinator.signal("INT");
    let report = load.end(130).await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    let ran = load.database.number("SELECT count(*) FROM ran").await;
    assert_eq!(report.books().0 as i64, ran, "the {untold} results that were kept are counted");
}
