//! A PostgreSQL that crashes in the middle of a run and restarts: every connection breaks, and for a moment no new one is accepted.

use muster_coordinator::embedded::{Embedded, EmbeddedError, Options};

use muster_testing::database::Database;
use muster_testing::load::{Load, TWO};
use muster_testing::processes::signal;

#[tokio::test]
async fn rows_in_flight_when_the_server_crashes_fail_and_the_run_continues() {
    // A separate server, so that no other test is affected by the crash.
    let server = match Embedded::start(&Options::default(), &|_| ()).await {
        Ok(server) => server,
        Err(error @ EmbeddedError::NotFound { .. }) => return println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let database = Database::on(server.url(), "restarted").await;
    // Rows written before the crash have to survive it.
    database.execute("ALTER DATABASE restarted SET synchronous_commit = on").await;
    let mut load = Load::start_coordinator_on(database, TWO, |_| {}, &[]).await;
    for _ in 0..2 {
        load.join();
    }
    load.wait_until_running().await;
    let _gate = load.close_gate(2).await;
    let worker = "SELECT max(pid)::bigint FROM pg_stat_activity WHERE application_name LIKE 'muster:%'";
    let backend = load.database.number(worker).await;
    // When one of its processes is killed, the server ends all others, recovers and accepts connections again.
    signal("KILL", u32::try_from(backend).unwrap());
    load.database.reconnect().await;
    let report = load.end(14).await;
    // The query in flight of each worker, and the next one of a worker that reconnected before the server noticed the crash.
    let (completed, failed, _) = report.accounting();
    assert!(completed + failed == TWO.rows as u64 && (2..=4).contains(&failed), "{:#}", report.at("/errors"));
    for error in report.list("/errors") {
        let sqlstate = error["sqlstate"].as_str().unwrap();
        assert!(sqlstate.starts_with("08") || sqlstate.starts_with("57P0"), "{error}");
    }
    assert_eq!(report.text("/ending"), "completed");
    assert_eq!(report.number("/queries/retried"), 0, "a failed row does not run again");
    assert!(report.list("/agents").iter().all(|agent| agent["lost"].is_null()), "no agent was lost");
    server.stop().await.unwrap();
}
