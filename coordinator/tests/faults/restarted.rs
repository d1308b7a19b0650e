//! A PostgreSQL that crashes in mid-run and comes back: every connection breaks, and for a moment no new one is taken.

use muster_coordinator::embedded::{Embedded, EmbeddedError, Options};

use crate::support::database::Database;
use crate::support::load::{Load, TWO};
use crate::support::processes::signal;

#[tokio::test]
async fn rows_in_flight_when_the_server_crashes_are_failed_and_the_run_goes_on() {
    // A server of its own: no other test shares its crash.
    let server = match Embedded::start(&Options::default(), &|_| ()).await {
        Ok(server) => server,
        Err(error @ EmbeddedError::NotFound { .. }) => return println!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let database = Database::on(server.url(), "restarted").await;
    // What a row wrote is there after the crash.
    database.execute("ALTER DATABASE restarted SET synchronous_commit = on").await;
    let mut load = Load::gather_on(database, TWO, |_| {}, &[]).await;
    for _ in 0..2 {
        load.join();
    }
    load.run().await;
    let _gate = load.close_gate(2).await;
    let worker = "SELECT max(pid)::bigint FROM pg_stat_activity WHERE application_name LIKE 'muster:%'";
    let backend = load.database.number(worker).await;
    // The server ends all others at once when one of its processes is killed, recovers and takes connections again.
    signal("KILL", u32::try_from(backend).unwrap());
    load.database.reconnect().await;
    let report = load.end(14).await;
    // The query of each; and the next one, of a worker that connected again before the server knew of its crash.
    let (completed, failed, _) = report.books();
    assert!(completed + failed == TWO.rows as u64 && (2..=4).contains(&failed), "{:#}", report.at("/errors"));
    for error in report.list("/errors") {
        let sqlstate = error["sqlstate"].as_str().unwrap();
        assert!(sqlstate.starts_with("08") || sqlstate.starts_with("57P0"), "{error}");
    }
    assert_eq!(report.text("/ending"), "completed");
    assert_eq!(report.number("/queries/retried"), 0, "a row that failed is not run again");
    assert!(report.list("/agents").iter().all(|agent| agent["lost"].is_null()), "no agent was lost");
    server.stop().await.unwrap();
}
