//! Values that a server reports about itself, values that it may refuse to report, and values that change during a run.

use std::time::Duration;

use tokio::time::sleep;

use crate::identity::server::{Job, Server, causes, reasons};
use muster_testing::processes::{Process, complete, coordinator};

#[tokio::test]
async fn the_identity_of_the_server_is_recorded() {
    let Some(server) = Server::start().await else { return };
    let job = Job::new("SELECT :hostname", 8);
    let ended = complete(coordinator(&job.local(server.url(), &[]))).await.expect(0);
    let report = job.report(&ended).await;
    let identity = report.at("/database/identity");
    let identifier = server.text("SELECT system_identifier::text FROM pg_control_system()").await;
    assert_eq!(identity["system_identifier"], identifier.as_str());
    assert_eq!(identity["address"], server.address().as_str());
    assert_eq!([&identity["role"], &identity["database"]], ["primary", "postgres"]);
    let version = server.text("SHOW server_version").await;
    assert_eq!(identity["server_version"], version.as_str());
    let is_start = format!(
        "SELECT (pg_postmaster_start_time() = '{}'::timestamptz)::text",
        identity["started_at"].as_str().unwrap()
    );
    assert_eq!(server.text(&is_start).await, "true");
    assert!(report.list("/database/other_identities").is_empty());
}

#[tokio::test]
async fn a_role_without_access_to_the_system_identifier_can_run() {
    let Some(server) = Server::start().await else { return };
    server
        .execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE ROLE plain LOGIN")
        .await;
    let url = server.url().replace("postgres@", "plain@");
    let job = Job::new("SELECT :hostname", 8);
    let ended = complete(coordinator(&job.local(&url, &[]))).await.expect(0);
    let report = job.report(&ended).await;
    let identity = report.at("/database/identity");
    assert!(identity["system_identifier"].is_null(), "{identity}");
    assert!(identity["started_at"].is_string() && identity["role"] == "primary", "{identity}");
    assert!(causes(&report).is_empty(), "{}", reasons(&report));
}

#[tokio::test]
async fn an_extension_update_during_the_run_degrades_it() {
    let Some(server) = Server::start().await else { return };
    // The extension itself need not be installed for its entry to change.
    let entry = "SET allow_system_table_mods = on; DELETE FROM pg_extension WHERE extname = 'timescaledb'; \
                 INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) \
                 VALUES (99999, 'timescaledb', 10, 11, false, '2.10.0')";
    server.execute(entry).await;
    let job = Job::new("SELECT pg_sleep(0.01), :hostname", 100);
    let mut running = Process::start(coordinator(&job.local(server.url(), &[])));
    running.wait_for("armed").await;
    sleep(Duration::from_millis(300)).await;
    server
        .execute("SET allow_system_table_mods = on; UPDATE pg_extension SET extversion = '2.11.0' WHERE oid = 99999")
        .await;
    let ended = running.end().await.expect(0).expect_stderr("the version of TimescaleDB at");
    let report = job.report(&ended).await;
    assert_eq!(causes(&report), ["server_version_changed"], "{}", reasons(&report));
    assert!(reasons(&report).contains("changed from 2.10.0 to 2.11.0"), "{}", reasons(&report));
}
