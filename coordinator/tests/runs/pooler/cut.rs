//! A connection to the pooler that is cut while a query runs. The server continues to run it, on a connection that is not the worker's.

use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::pgbouncer::PgBouncer;
use muster_testing::processes::{Process, coordinator};
use muster_testing::proxy::Proxy;
use muster_testing::report::Report;

#[tokio::test]
async fn the_next_query_waits_until_the_old_one_has_ended() {
    let Some(database) = Database::empty("pooled_cut").await else { return };
    let Some(pooler) = PgBouncer::start(&database, "transaction", 3).await else { return };
    let proxy = Proxy::before_pooler(pooler.address()).await;
    let url = format!("postgresql://postgres@{}/{}", proxy.address(), database.name());
    let files = Files::new();
    let sleeps = files.sleeps(2, 3.0);
    let rows = files.write("rows.csv", "hostname,seconds\nh,3\nh,0.1\n");
    let own =
        ["run", "--local", "--agents", "1", "--output", "json", "--no-run-dir", "--protocol", "extended"];
    let more = [&["--database-url", &url, &rows][..], &args(&sleeps)[1..]].concat();
    let mut run = Process::start(coordinator(&[&own[..], &more].concat()));
    // Before its first query, the worker is also active for moments, with statements of its setup.
    let running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name LIKE 'muster:%:slot-0:%/0' \
                   AND datname = current_database()";
    database.wait_for(1, running).await;
    proxy.cut();
    proxy.heal();
    let ended = run.end().await.expect(14);
    let report = Report::of(&ended);
    assert_eq!(report.accounting(), (1, 1, 0));
    assert_eq!(report.text("/errors/0/sqlstate"), "08006");
    // The second row began after the three seconds of the first one, although its client was gone.
    let wall = report.at("/wall_time_ms").as_f64().unwrap();
    assert!(wall >= 2_900.0, "{wall} ms");
    assert_eq!(pooler.left_behind().await, [""; 0]);
}
