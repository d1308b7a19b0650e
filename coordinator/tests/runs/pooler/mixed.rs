//! One agent is connected through the pooler, the other one directly. When one of them freezes, the other one takes over its host while the
//! frozen agent's query is still running.

use std::time::Duration;

use tokio::time::sleep;

use muster_testing::database::Database;
use muster_testing::files::{Files, SLEEP};
use muster_testing::pgbouncer::PgBouncer;
use muster_testing::processes::{Process, address, agent, run};
use muster_testing::report::Report;

/// `slow` belongs to slot 0 and `fast` to slot 1. The long query outlasts the lease and the grace.
const ROWS: &str = "hostname,seconds\nslow,8\nfast,0.1\nslow,0.1\n";
const LONG_QUERY: &str = "FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep' AND datname = current_database()";

/// Freezes the agent that runs the long query. Returns the process id of its backend and the highest number of long queries that ran at
/// the same time afterwards.
async fn freeze(name: &str, is_pooled_frozen: bool) -> Option<(i64, i64, Report, Database, PgBouncer)> {
    let database = Database::empty(name).await?;
    let pooler = PgBouncer::start(&database, "transaction", 4).await?;
    let files = Files::new();
    let (rows, query) = (files.write("rows.csv", ROWS), files.write("q.sql", SLEEP));
    let listen = address();
    let args = ["--query", &query, "--slot-grace", "500ms", "--protocol", "extended", "--no-run-dir", &rows];
    let mut coordinator = Process::start(run(listen, 2, &args));
    let urls = if is_pooled_frozen { [pooler.url(), database.url()] } else { [database.url(), pooler.url()] };
    let agents = [0, 1].map(|slot: usize| {
        let mut agent = agent(listen, &["--slot", &slot.to_string()]);
        agent.env("DATABASE_URL", urls[slot]);
        Process::start(agent)
    });
    database
        .wait_for(1, &format!("SELECT count(*) {LONG_QUERY} AND application_name LIKE '%:slot-0:%'"))
        .await;
    let process = database
        .number(&format!("SELECT pid::bigint {LONG_QUERY} AND application_name LIKE '%:slot-0:%'"))
        .await;
    agents[0].signal("STOP");
    coordinator.wait_for("slot-0 lost").await;
    let mut at_once = 0;
    while coordinator.is_running() {
        at_once = at_once.max(database.number(&format!("SELECT count(*) {LONG_QUERY}")).await);
        sleep(Duration::from_millis(20)).await;
    }
    let report = Report::of(&coordinator.end().await.expect(0));
    Some((process, at_once, report, database, pooler))
}

async fn is_connected(database: &Database, process: i64) -> bool {
    database.number(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {process}")).await == 1
}

#[tokio::test]
async fn a_direct_agent_waits_for_the_query_of_a_pooled_one() {
    let Some((process, at_once, report, database, pooler)) = freeze("mixed_pooled", true).await else {
        return;
    };
    assert_eq!((report.accounting(), at_once), ((3, 0, 0), 1));
    assert!(is_connected(&database, process).await, "a connection of the pool was ended");
    assert_eq!(pooler.left_behind().await, [""; 0]);
}

#[tokio::test]
async fn a_pooled_agent_ends_the_query_of_a_direct_one() {
    let Some((process, at_once, report, database, pooler)) = freeze("mixed_direct", false).await else {
        return;
    };
    assert_eq!((report.accounting(), at_once), ((3, 0, 0), 1));
    assert!(!is_connected(&database, process).await, "the frozen agent's backend is still there");
    assert_eq!(pooler.left_behind().await, [""; 0]);
}
